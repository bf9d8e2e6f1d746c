//! A timer wheel: one wake-up serves every leg that is due in the same millisecond.

use std::time::{Duration, Instant};

/// Width of a slot. Higher batches more legs into one wake-up, lower sends closer to the intended moment.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Slots, and so the longest wait: what is due later is looked at again then.
const SLOTS: u64 = 512;

const NEVER: u64 = u64::MAX;

/// Keys with one deadline each, rounded up to the next [`TICK`]. A key is in at most a few slots at a time: entries that a
/// newer deadline made obsolete are skipped when their slot comes.
pub(crate) struct Wheel {
    origin: Instant,
    slots: Vec<Vec<usize>>,
    /// The tick at which each key is due.
    due: Vec<u64>,
    /// Every slot up to this tick has been emptied.
    done: u64,
}

impl Wheel {
    /// Keys count from 0; the wheel grows with them.
    pub(crate) fn new(origin: Instant) -> Self {
        Self { origin, slots: vec![Vec::new(); SLOTS as usize], due: Vec::new(), done: 0 }
    }

    /// Sets the deadline of a key.
    pub(crate) fn schedule(&mut self, key: usize, at: Instant) {
        if self.due.len() <= key {
            self.due.resize(key + 1, NEVER);
        }
        let micros = at.saturating_duration_since(self.origin).as_micros();
        let tick = u64::try_from(micros.div_ceil(TICK.as_micros())).unwrap_or(NEVER);
        let tick = tick.clamp(self.done + 1, self.done + SLOTS - 1);
        if self.due[key] != tick {
            self.due[key] = tick;
            self.slots[(tick % SLOTS) as usize].push(key);
        }
    }

    /// Forgets a key.
    pub(crate) fn cancel(&mut self, key: usize) {
        if let Some(due) = self.due.get_mut(key) {
            *due = NEVER;
        }
    }

    /// Puts the keys that are due by `now` into `due`.
    pub(crate) fn advance(&mut self, now: Instant, due: &mut Vec<usize>) {
        let elapsed = now.saturating_duration_since(self.origin).as_micros() / TICK.as_micros();
        let until = u64::try_from(elapsed).unwrap_or(NEVER);
        // After a hold-up of more than a turn every slot has been seen once.
        for tick in (self.done + 1..=until).take(SLOTS as usize) {
            for key in std::mem::take(&mut self.slots[(tick % SLOTS) as usize]) {
                if self.due[key] <= until {
                    self.due[key] = NEVER;
                    due.push(key);
                }
            }
        }
        self.done = self.done.max(until);
    }

    /// When [`Wheel::advance`] will next find something, at the latest.
    pub(crate) fn next(&self) -> Option<Instant> {
        let tick = (self.done + 1..self.done + SLOTS)
            .find(|tick| !self.slots[(tick % SLOTS) as usize].is_empty())?;
        Some(self.origin + TICK * u32::try_from(tick).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn due(wheel: &mut Wheel, now: Instant) -> Vec<usize> {
        let mut due = Vec::new();
        wheel.advance(now, &mut due);
        due
    }

    #[test]
    fn keys_come_due_in_their_millisecond_and_not_before() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.schedule(3, start + ms(5));
        wheel.schedule(4, start + Duration::from_micros(4_100));
        wheel.schedule(5, start + ms(9));
        assert_eq!(wheel.next(), Some(start + ms(5)));
        assert!(due(&mut wheel, start + ms(4)).is_empty());
        assert_eq!(due(&mut wheel, start + ms(5)), [3, 4]);
        assert_eq!(due(&mut wheel, start + ms(20)), [5]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn only_the_newest_deadline_of_a_key_counts() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.schedule(0, start + ms(10));
        wheel.schedule(0, start + ms(3));
        assert_eq!(due(&mut wheel, start + ms(3)), [0]);
        assert!(due(&mut wheel, start + ms(30)).is_empty());
        wheel.schedule(0, start + ms(40));
        wheel.schedule(0, start + ms(50));
        assert!(due(&mut wheel, start + ms(45)).is_empty());
        assert_eq!(due(&mut wheel, start + ms(50)), [0]);
    }

    #[test]
    fn a_cancelled_key_stays_silent() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.schedule(7, start + ms(2));
        wheel.cancel(7);
        assert!(due(&mut wheel, start + ms(10)).is_empty());
    }

    #[test]
    fn after_a_hold_up_of_many_turns_everything_is_due_once() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        for key in 0..100 {
            wheel.schedule(key, start + ms(key as u64 * 3));
        }
        let mut all = due(&mut wheel, start + ms(10_000));
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_far_deadline_is_looked_at_again_within_a_turn() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.schedule(0, start + Duration::from_secs(3600));
        assert!(wheel.next().unwrap() <= start + ms(SLOTS));
    }

    #[test]
    fn a_deadline_in_the_past_is_due_with_the_next_tick() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        assert!(due(&mut wheel, start + ms(100)).is_empty());
        wheel.schedule(1, start + ms(20));
        assert_eq!(due(&mut wheel, start + ms(101)), [1]);
    }
}
