//! Packets of one source that did not come yet, and when to ask for them (NACK, RFC 4585 section 6.2.1).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::window::WINDOW;

/// Least time between two requests for packets of one source. Higher repairs later, lower asks for what is only late.
const ASK_EVERY: Duration = Duration::from_millis(33);

/// When to ask for a packet, and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// It may be only late, or in the next packet. Longer repairs later, shorter asks for what comes anyway.
    after: Duration,
    /// Most requests; then its viewers live without it. Higher feeds a path that loses nearly all, lower gives up on paths that lose much.
    asks: u8,
    /// After this it is of no use any more. Longer brings viewers what nobody waits for, shorter gives up on long paths.
    within: Duration,
}

impl Terms {
    pub(crate) const PICTURE: Self = Self { after: Duration::ZERO, asks: 5, within: Duration::from_secs(10) };
    /// Shown to be missing by a packet of plain sound: the next may be redundant, or it.
    pub(crate) const SOUND: Self =
        Self { after: Duration::from_millis(25), asks: 2, within: Duration::from_millis(300) };
    /// By a redundant one, which does not have it.
    pub(crate) const REDUNDANT_SOUND: Self = Self { after: Duration::ZERO, ..Self::SOUND };
}

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
    terms: Terms,
    missed_at: Instant,
    asks: u8,
    asked_at: Option<Instant>,
}

impl Missing {
    /// The numbers from `from` up to `to`, which came, were left out.
    pub(crate) fn skipped(&mut self, now: Instant, from: u64, to: u64, terms: Terms) {
        let first = from.max(to.saturating_sub(MAX_MISSING as u64));
        for number in first..to {
            if self.packets.len() == MAX_MISSING {
                self.packets.pop_front();
            }
            self.packets.push_back(Absent { number, terms, missed_at: now, asks: 0, asked_at: None });
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
        let soonest = self.packets.iter().map(|p| p.ask_at(again)).min()?.max(now);
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
        self.packets.retain(|absent| now <= absent.missed_at + absent.terms.within);
        for absent in &mut self.packets {
            if absent.ask_at(again) <= now {
                absent.asks += 1;
                absent.asked_at = Some(now);
                numbers.push(absent.number as u16);
            }
        }
        self.asked_at = Some(now);
        // The last request has as much time as any: what is given up here may still come.
        self.packets.retain(|absent| absent.asks < absent.terms.asks && absent.number + WINDOW > highest);
    }
}

impl Absent {
    fn ask_at(&self, again: Duration) -> Instant {
        self.asked_at.map_or(self.missed_at + self.terms.after, |at| at + again)
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
        missing.skipped(t0, 69_990, 69_992, Terms::PICTURE);
        assert_eq!(missing.due_at(t0, None), Some(t0));
        assert_eq!(ask(&mut missing, t0), [4454, 4455]);
        assert!(missing.found(69_990));
        let again = t0 + DEFAULT_ROUND_TRIP + MARGIN;
        assert_eq!(missing.due_at(t0, None), Some(again));
        assert_eq!(ask(&mut missing, again - Duration::from_nanos(1)), [0; 0]);
        for n in 1..Terms::PICTURE.asks {
            assert_eq!(ask(&mut missing, t0 + (again - t0) * u32::from(n)), [4455]);
        }
        assert_eq!(missing.due_at(t0, None), None);
        assert!(!missing.found(69_991), "it was given up");
    }

    #[test]
    fn sound_that_comes_soon_is_not_asked_for_and_what_comes_too_late_neither() {
        let t0 = Instant::now();
        let at = |millis| t0 + Duration::from_millis(millis);
        let mut missing = Missing::default();
        missing.skipped(t0, 69_990, 69_992, Terms::SOUND);
        assert_eq!((ask(&mut missing, at(24)), missing.due_at(t0, None)), (vec![], Some(at(25))));
        assert!(!missing.found(69_990), "it was only late");
        assert_eq!(ask(&mut missing, at(25)), [4455]);
        assert_eq!(ask(&mut missing, at(200)), [4455]);
        assert_eq!(missing.due_at(at(200), None), None, "twice");
        missing.skipped(at(200), 69_995, 69_996, Terms::REDUNDANT_SOUND);
        assert_eq!(missing.due_at(at(200), None), Some(at(233)), "at once, but for the distance of requests");
        assert_eq!(ask(&mut missing, at(501)), [0; 0]);
        assert_eq!(missing.due_at(at(501), None), None);
    }

    #[test]
    fn requests_keep_their_distance() {
        let t0 = Instant::now();
        let mut missing = Missing::default();
        missing.skipped(t0, 10, 11, Terms::PICTURE);
        assert_eq!(ask(&mut missing, t0), [10]);
        let soon = t0 + Duration::from_millis(3);
        missing.skipped(soon, 12, 13, Terms::PICTURE);
        assert_eq!(missing.due_at(soon, None), Some(t0 + ASK_EVERY));
        assert_eq!(ask(&mut missing, soon), [0; 0]);
        assert_eq!(ask(&mut missing, t0 + ASK_EVERY), [12]);
    }

    #[test]
    fn a_huge_gap_is_bounded_and_what_is_too_old_is_given_up() {
        let t0 = Instant::now();
        let mut missing = Missing::default();
        missing.skipped(t0, 1, 60_000, Terms::PICTURE);
        assert_eq!(missing.packets.len(), MAX_MISSING);
        assert_eq!(ask(&mut missing, t0).len(), MAX_MISSING);
        assert!(missing.packets.is_empty(), "the source is at 70000");
    }
}
