//! Packets of one source that did not come yet, and when to ask for them (NACK, RFC 4585 section 6.2.1).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::window::WINDOW;

/// Least time between two requests for packets of one source. Higher repairs later, lower asks for what is only late.
const ASK_EVERY: Duration = Duration::from_millis(33);

/// Most requests for one packet; then its viewers live without it. Higher feeds a path that loses nearly all, lower gives up
/// on paths that lose much.
const MAX_ASKS: u8 = 5;

/// Most packets that are waited for; at the bound the oldest is given up. A longer gap is no loss to repair: a key frame is
/// quicker.
const MAX_MISSING: usize = 128;

/// Round trip to the publisher as long as it was not measured.
const DEFAULT_ROUND_TRIP: Duration = Duration::from_millis(100);

/// How much longer than the round trip a repetition may take before it is asked for again.
const MARGIN: Duration = Duration::from_millis(5);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    /// Ascending.
    packets: VecDeque<Absent>,
    asked_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Absent {
    number: u64,
    asks: u8,
    asked_at: Option<Instant>,
}

impl Missing {
    /// The numbers from `from` up to `to`, which came, were left out.
    pub(crate) fn skipped(&mut self, from: u64, to: u64) {
        let first = from.max(to.saturating_sub(MAX_MISSING as u64));
        for number in first..to {
            if self.packets.len() == MAX_MISSING {
                self.packets.pop_front();
            }
            self.packets.push_back(Absent { number, asks: 0, asked_at: None });
        }
    }

    /// This one came after all. True if it was asked for.
    pub(crate) fn found(&mut self, number: u64) -> bool {
        let at = self.packets.binary_search_by_key(&number, |absent| absent.number);
        at.is_ok_and(|at| self.packets.remove(at).is_some_and(|absent| absent.asks > 0))
    }

    /// When [`Missing::ask`] has something to say.
    pub(crate) fn due_at(&self, now: Instant, round_trip: Option<Duration>) -> Option<Instant> {
        let again = again_after(round_trip);
        let soonest = self.packets.iter().map(|p| p.asked_at.map_or(now, |at| at + again)).min()?;
        Some(self.asked_at.map_or(soonest, |at| soonest.max(at + ASK_EVERY)))
    }

    /// The numbers to ask for now, ascending, put into `numbers`. `highest`: the source's highest number.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        highest: u64,
        round_trip: Option<Duration>,
        numbers: &mut Vec<u16>,
    ) {
        numbers.clear();
        if self.due_at(now, round_trip).is_none_or(|at| at > now) {
            return;
        }
        let again = again_after(round_trip);
        for absent in &mut self.packets {
            if absent.asked_at.is_none_or(|at| at + again <= now) {
                absent.asks += 1;
                absent.asked_at = Some(now);
                numbers.push(absent.number as u16);
            }
        }
        self.asked_at = Some(now);
        // The last request has as much time as any: what is given up here may still come.
        self.packets.retain(|absent| absent.asks < MAX_ASKS && absent.number + WINDOW > highest);
    }
}

fn again_after(round_trip: Option<Duration>) -> Duration {
    round_trip.unwrap_or(DEFAULT_ROUND_TRIP) + MARGIN
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
mod tests {
    use super::*;

    fn ask(missing: &mut Missing, now: Instant) -> Vec<u16> {
        let mut numbers = Vec::new();
        missing.ask(now, 70_000, None, &mut numbers);
        numbers
    }

    #[test]
    fn what_is_missing_is_asked_for_at_once_then_after_each_round_trip_and_five_times() {
        let t0 = Instant::now();
        let mut missing = Missing::default();
        assert_eq!(missing.due_at(t0, None), None);
        missing.skipped(69_990, 69_992);
        assert_eq!(missing.due_at(t0, None), Some(t0));
        assert_eq!(ask(&mut missing, t0), [4454, 4455]);
        missing.found(69_990);
        let again = t0 + DEFAULT_ROUND_TRIP + MARGIN;
        assert_eq!(missing.due_at(t0, None), Some(again));
        assert_eq!(ask(&mut missing, again - Duration::from_nanos(1)), [0; 0]);
        for n in 1..MAX_ASKS {
            assert_eq!(ask(&mut missing, t0 + (again - t0) * u32::from(n)), [4455]);
        }
        assert_eq!(missing.due_at(t0, None), None);
        missing.found(69_991);
    }

    #[test]
    fn requests_keep_their_distance() {
        let t0 = Instant::now();
        let mut missing = Missing::default();
        missing.skipped(10, 11);
        assert_eq!(ask(&mut missing, t0), [10]);
        let soon = t0 + Duration::from_millis(3);
        missing.skipped(12, 13);
        assert_eq!(missing.due_at(soon, None), Some(t0 + ASK_EVERY));
        assert_eq!(ask(&mut missing, soon), [0; 0]);
        assert_eq!(ask(&mut missing, t0 + ASK_EVERY), [12]);
    }

    #[test]
    fn a_huge_gap_is_bounded_and_what_is_too_old_is_given_up() {
        let t0 = Instant::now();
        let mut missing = Missing::default();
        missing.skipped(1, 60_000);
        assert_eq!(missing.packets.len(), MAX_MISSING);
        assert_eq!(ask(&mut missing, t0).len(), MAX_MISSING);
        assert!(missing.packets.is_empty(), "the source is at 70000");
    }
}
