//! Deadlines of many legs: the earliest is found without asking each of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// A heap of deadlines with at most one live entry per key; entries that a key has outgrown are skipped when they come up.
///
/// A key that only moves its deadline later costs nothing: its old entry wakes once, finds the later one and goes back in.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u32)>>,
    /// By key: when the key wants to be woken, and for when it stands in the heap.
    keys: Vec<Slot>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    wanted: Option<Instant>,
    queued: Option<Instant>,
}

impl Timers {
    /// Sets when `key` is to be woken; `None` for never. Replaces what was set before.
    pub(crate) fn set(&mut self, key: u32, at: Option<Instant>) {
        let index = key as usize;
        if index >= self.keys.len() {
            self.keys.resize(index + 1, Slot::default());
        }
        let slot = &mut self.keys[index];
        slot.wanted = at;
        if let Some(at) = at
            && slot.queued.is_none_or(|queued| at < queued)
        {
            slot.queued = Some(at);
            self.heap.push(Reverse((at, key)));
        }
        self.drop_outgrown();
    }

    /// Keeps an entry that nobody waits for from being the next.
    fn drop_outgrown(&mut self) {
        while let Some(&Reverse((at, key))) = self.heap.peek() {
            let slot = &mut self.keys[key as usize];
            let is_latest = slot.queued == Some(at);
            if is_latest && slot.wanted.is_some() {
                return;
            }
            if is_latest {
                slot.queued = None;
            }
            self.heap.pop();
        }
    }

    /// Takes a key whose time has come; its deadline is then unset.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        while let Some(&Reverse((at, key))) = self.heap.peek() {
            if at > now {
                return None;
            }
            self.heap.pop();
            let slot = &mut self.keys[key as usize];
            if slot.queued != Some(at) {
                continue;
            }
            slot.queued = None;
            match slot.wanted {
                Some(wanted) if wanted <= now => {
                    slot.wanted = None;
                    return Some(key);
                }
                later => self.set(key, later),
            }
        }
        None
    }

    /// The earliest moment at which [`Timers::pop_due`] may have something, and whose it is.
    pub(crate) fn next(&self) -> Option<(Instant, u32)> {
        self.heap.peek().map(|&Reverse(next)| next)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
    fn keys_come_up_once_at_their_last_deadline_in_order() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.set(1, Some(at(10)));
        timers.set(2, Some(at(20)));
        timers.set(3, Some(at(5)));
        timers.set(1, Some(at(30)));
        timers.set(2, Some(at(15)));
        timers.set(3, None);
        let mut woken = Vec::new();
        for ms in 0..40 {
            while let Some(key) = timers.pop_due(at(ms)) {
                woken.push((ms, key));
            }
        }
        assert_eq!(woken, [(15, 2), (30, 1)]);
        assert_eq!(timers.next(), None);
        timers.set(4, Some(at(50)));
        timers.set(5, Some(at(60)));
        timers.set(4, None);
        assert_eq!(timers.next(), Some((at(60), 5)));
    }
}
