//! When a client is asked for a report on what arrived, where it can be (WebRTC's transport-wide-cc-02). By itself Chromium reports every 50 to
//! 250 ms, by what it takes its own way up to carry: a way that has narrowed is full by then, and sound waits in it.

use std::collections::VecDeque;

/// A report takes so many bits on its way, and reports this part of what the path carries. Higher is told of a queue sooner, lower leaves the client's
/// way up to its own media. WebRTC's own reports take as much.
const REPORT_BITS: f64 = 600.0;
const SHARE: f64 = 0.05;

/// Not more often and not less, in microseconds: sound has a packet every 20 ms, which comes a little sooner or later.
const EVERY_BOUNDS: (f64, f64) = (15e3, 100e3);

/// So often while nothing is known of the path, in microseconds.
const EVERY_AT_FIRST: f64 = 50e3;

/// Who answered none of so many does not understand: it is told plain numbers from then on, on which it reports by itself. Higher leaves such a path
/// unknown for longer, lower takes a second without connection for it.
const UNANSWERED_MAX: u32 = 30;

/// Packets that asked and wait for an answer; more are not remembered. At the usual rate the round trip would be longer than a second.
const ASKED_MAX: usize = 64;

/// Of one client. Times in microseconds.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// Numbers of packets that asked and that no report covers, and when they were sent.
    asked: VecDeque<(u64, u64)>,
    asked_at: Option<u64>,
    unanswered: u32,
    was_answered: bool,
}

impl Asking {
    /// Whether it may understand.
    pub(super) fn is_possible(&self) -> bool {
        self.was_answered || self.unanswered < UNANSWERED_MAX
    }

    /// Whether the packet that is sent now asks. `bits`: what the path is thought to carry, per second.
    pub(super) fn is_due(&self, now: u64, bits: Option<f64>) -> bool {
        let (least, most) = EVERY_BOUNDS;
        let every =
            bits.map_or(EVERY_AT_FIRST, |bits| (REPORT_BITS * 1e6 / (SHARE * bits)).clamp(least, most));
        self.asked_at.is_none_or(|at| now.saturating_sub(at) as f64 >= every)
    }

    /// The packet with this number, which asks, is sent.
    pub(super) fn note_asked(&mut self, now: u64, number: u64) {
        self.asked_at = Some(now);
        self.unanswered = self.unanswered.saturating_add(1);
        if self.asked.len() < ASKED_MAX {
            self.asked.push_back((number, now));
        }
        if !self.is_possible() {
            self.asked.clear();
        }
    }

    /// Reports cover all numbers below this.
    pub(super) fn note_covered(&mut self, end: u64) {
        while self.asked.pop_front_if(|(number, _)| *number < end).is_some() {
            (self.unanswered, self.was_answered) = (0, true);
        }
    }

    /// What was asked is of no interest any more.
    pub(super) fn forget(&mut self) {
        self.asked.clear();
    }

    /// It answers, so no report comes unasked.
    pub(super) fn was_answered(&self) -> bool {
        self.was_answered
    }

    /// When the first packet was sent that asked and was not answered.
    pub(super) fn waits_since(&self) -> Option<u64> {
        self.asked.front().map(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it is asked in a second, a packet every millisecond.
    fn asked(bits: Option<f64>) -> usize {
        let mut asking = Asking::default();
        let due = |now: &u64| {
            let is_due = asking.is_due(*now, bits);
            if is_due {
                asking.note_asked(*now, 0);
            }
            is_due
        };
        (0..1_000_000).step_by(1000).filter(due).count()
    }

    #[test]
    fn reports_take_a_twentieth_of_what_the_path_carries() {
        assert_eq!(asked(None), 20);
        assert_eq!(asked(Some(2e6)), 67, "not for each packet");
        assert_eq!(asked(Some(300e3)), 25);
        assert_eq!(asked(Some(30e3)), 10, "one must know, on the narrowest as well");
    }

    #[test]
    fn who_never_answered_is_not_asked_for_ever_and_who_did_is() {
        let mut asking = Asking::default();
        (0..UNANSWERED_MAX).for_each(|n| {
            assert!(asking.is_possible(), "asked {n} times");
            asking.note_asked(n.into(), n.into());
        });
        assert!(!asking.is_possible() && asking.waits_since().is_none());
        let mut asking = Asking::default();
        asking.note_asked(0, 7);
        asking.note_covered(8);
        (0..10 * UNANSWERED_MAX).for_each(|n| asking.note_asked(n.into(), n.into()));
        assert!(asking.is_possible(), "its way is dead");
    }

    #[test]
    fn the_first_that_no_report_covers_is_waited_for() {
        let mut asking = Asking::default();
        [(100, 7), (200, 9), (300, 12)].into_iter().for_each(|(at, number)| asking.note_asked(at, number));
        assert_eq!((asking.waits_since(), asking.was_answered()), (Some(100), false));
        asking.note_covered(7);
        assert_eq!(
            (asking.waits_since(), asking.was_answered()),
            (Some(100), false),
            "it was something else"
        );
        asking.note_covered(10);
        assert_eq!((asking.waits_since(), asking.was_answered()), (Some(300), true));
        asking.note_covered(13);
        assert_eq!(asking.waits_since(), None);
    }
}
