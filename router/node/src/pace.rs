//! When to let datagrams gather, so that one turn of a worker handles many.

use std::time::{Duration, Instant};

/// How long a packet is with a busy worker at most, while turns are shorter than half of this: it gathers with others until the next turn begins, and
/// leaves when that ends. So the longer turns are, the sooner they follow. Higher saves CPU where packets are few (a tenth at 17,000 a second with
/// 1 ms) and adds latency to every packet, lower saves less.
const TICK: Duration = Duration::from_micros(500);

/// A worker that receives more datagrams a second than this is busy. Higher keeps latency lowest for longer, lower saves
/// CPU on small machines. An idle worker never waits.
const BUSY_PER_SECOND: u64 = 4000;

/// How often the rate is looked at.
const WINDOW: Duration = Duration::from_millis(100);

/// Watches the rate of datagrams of one worker.
#[derive(Debug)]
pub(crate) struct Pace {
    window_began: Instant,
    in_window: u64,
    is_busy: bool,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { window_began: now, in_window: 0, is_busy: false }
    }

    /// A turn handled this many datagrams. Says how long to wait before the next.
    pub(crate) fn after_turn(&mut self, began: Instant, ended: Instant, datagrams: usize) -> Duration {
        self.in_window += datagrams as u64;
        let age = began.saturating_duration_since(self.window_began);
        if age >= WINDOW {
            let per_second = self.in_window * 1000 / (age.as_millis() as u64).max(1);
            self.is_busy = per_second > BUSY_PER_SECOND;
            self.in_window = 0;
            self.window_began = began;
        }
        if self.is_busy && datagrams > 0 {
            // The next turn will take as long as this one did.
            TICK.saturating_sub(2 * ended.saturating_duration_since(began))
        } else {
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_busy_worker_waits_and_it_stops_when_the_load_is_gone() {
        let t0 = Instant::now();
        let mut pace = Pace::new(t0);
        let mut waits = |from_ms: u64, per_ms: usize| {
            let at = |ms| t0 + Duration::from_millis(ms);
            (from_ms..from_ms + 300).filter(|ms| !pace.after_turn(at(*ms), at(*ms), per_ms).is_zero()).count()
        };
        assert_eq!(waits(1, 2), 0);
        assert!(waits(301, 10) >= 200);
        assert!(waits(601, 1) <= 100);
    }

    #[test]
    fn a_turn_that_took_long_is_followed_sooner_and_one_that_took_too_long_at_once() {
        let t0 = Instant::now();
        let mut pace = Pace::new(t0);
        let took = |micros| t0 + WINDOW + Duration::from_micros(micros);
        let mut waits = |micros| pace.after_turn(took(0), took(micros), 10_000).as_micros();
        assert_eq!([waits(0), waits(100), waits(200), waits(350)], [500, 300, 100, 0]);
    }
}
