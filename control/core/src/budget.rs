//! How often somebody may do something: a token bucket for each key, kept as one moment (GCRA, the leaky bucket as a
//! meter: ITU-T I.371, appendix I).

use std::collections::BTreeMap;
use std::time::Duration;

use duocast_model::UnixMillis;

/// A rate with a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many at once, from rest. At least 1.
    pub burst: u32,
    /// One more each time this has passed. At least 1 ms.
    pub every: Duration,
}

impl Rate {
    /// `burst` at once, then one each `every`.
    pub const fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every }
    }

    fn every_millis(self) -> u64 {
        u64::try_from(self.every.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn depth_millis(self) -> u64 {
        self.every_millis().saturating_mul(u64::from(self.burst.max(1)))
    }
}

/// Too often: wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetSpent {
    /// How long until the next one is allowed.
    pub retry_after: Duration,
}

/// The buckets of all keys. A full bucket takes no memory.
#[derive(Debug)]
pub(crate) struct Budget<K> {
    rate: Rate,
    /// When each bucket that is not full will be full again.
    full_at: BTreeMap<K, UnixMillis>,
    /// Keys kept; at the bound those that are full again are dropped, and if all are in use one more key is refused.
    keys_max: usize,
}

impl<K: Ord + Clone> Budget<K> {
    pub(crate) fn new(rate: Rate, keys_max: usize) -> Self {
        Self { rate, full_at: BTreeMap::new(), keys_max }
    }

    /// Says whether one may be taken, without taking it.
    pub(crate) fn check(&self, now: UnixMillis, key: &K) -> Result<(), BudgetSpent> {
        self.next(now, key).map(|_| ())
    }

    /// Takes one.
    pub(crate) fn spend(&mut self, now: UnixMillis, key: K) -> Result<(), BudgetSpent> {
        let next = self.next(now, &key)?;
        if self.full_at.len() >= self.keys_max && !self.full_at.contains_key(&key) {
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() >= self.keys_max {
                return Err(BudgetSpent { retry_after: self.rate.every });
            }
        }
        self.full_at.insert(key, next);
        Ok(())
    }

    /// Gives one back.
    pub(crate) fn refund(&mut self, now: UnixMillis, key: &K) {
        let every = self.rate.every_millis();
        if let Some(full_at) = self.full_at.get_mut(key) {
            full_at.0 = full_at.0.saturating_sub(every);
            if *full_at <= now {
                self.full_at.remove(key);
            }
        }
    }

    fn next(&self, now: UnixMillis, key: &K) -> Result<UnixMillis, BudgetSpent> {
        let from = self.full_at.get(key).copied().map_or(now, |at| at.max(now));
        let next = from.0.saturating_add(self.rate.every_millis());
        let latest = now.0.saturating_add(self.rate.depth_millis());
        if next > latest {
            return Err(BudgetSpent { retry_after: Duration::from_millis(next - latest) });
        }
        Ok(UnixMillis(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::new(3, Duration::from_secs(10));

    fn at(seconds: u64) -> UnixMillis {
        UnixMillis(1_000_000 + seconds * 1000)
    }

    #[test]
    fn a_burst_then_one_each_interval_and_the_wait_is_told() {
        let mut budget = Budget::new(RATE, 10);
        for _ in 0..3 {
            budget.spend(at(0), "a").unwrap();
        }
        assert_eq!(budget.spend(at(0), "a"), Err(BudgetSpent { retry_after: Duration::from_secs(10) }));
        assert_eq!(budget.check(at(4), &"a"), Err(BudgetSpent { retry_after: Duration::from_secs(6) }));
        budget.spend(at(10), "a").unwrap();
        assert!(budget.spend(at(10), "a").is_err());
        budget.spend(at(10), "b").expect("another key has its own");
    }

    #[test]
    fn what_is_given_back_can_be_spent_again_but_no_more_than_the_burst() {
        let mut budget = Budget::new(RATE, 10);
        for _ in 0..3 {
            budget.spend(at(0), "a").unwrap();
        }
        budget.refund(at(0), &"a");
        budget.spend(at(0), "a").unwrap();
        assert!(budget.spend(at(0), "a").is_err());
        for _ in 0..9 {
            budget.refund(at(0), &"a");
        }
        for _ in 0..3 {
            budget.spend(at(0), "a").unwrap();
        }
        assert!(budget.spend(at(0), "a").is_err());
    }

    #[test]
    fn the_number_of_keys_is_bounded_and_full_buckets_make_room() {
        let mut budget = Budget::new(RATE, 2);
        budget.spend(at(0), "a").unwrap();
        budget.spend(at(5), "b").unwrap();
        assert!(budget.spend(at(6), "c").is_err(), "both are in use");
        budget.spend(at(11), "c").expect("a's bucket is full again and was dropped");
        assert_eq!(budget.full_at.len(), 2);
    }
}
