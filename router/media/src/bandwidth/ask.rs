//! When a client is asked for a report on what arrived, where it can be (WebRTC's transport-wide-cc-02). By itself Chromium reports every 50 to
//! 250 ms, by what it takes its own way up to carry: a way that has narrowed is full by then, and sound waits in it.

use std::collections::VecDeque;

/// What a report takes on the client's way up, in bits, and each packet that it tells of.
const REPORT_BITS: f64 = 500.0;
const PACKET_BITS: f64 = 12.0;

/// Reports take this part of what the client's way down carries, and no more than this of its way up, in bits per second. Higher is told of a queue
/// sooner, lower leaves the way up to the client's own media.
const SHARE: f64 = 0.05;
const BITS_MAX: f64 = 30e3;

/// Not more often and not less, in microseconds: sound has a packet every 20 ms, which comes a little sooner or later.
const EVERY_BOUNDS: (f64, f64) = (15e3, 100e3);

/// So often while nothing is known of the path, in microseconds.
const EVERY_AT_FIRST: f64 = 50e3;

/// Who answered none of so many does not understand: it is told plain numbers from then on, on which it reports by itself. Higher leaves such a path
/// unknown for longer, lower takes a second without connection for it.
const UNANSWERED_MAX: u32 = 30;

/// Packets that asked and wait for an answer; more are not remembered. At the usual rate the round trip would be about a second.
const ASKED_MAX: usize = 64;

/// An ask without an answer of its own counts so much. Higher follows faster, lower takes longer to know.
const FOLLOWS: f64 = 0.05;
/// From this share of such on a late answer may be a lost one. Higher holds pictures back where packets get lost, lower notices queues later.
const LOSSY: f64 = 0.02;

/// Of one client. Times in microseconds.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// It is told numbers that can ask.
    is_on: bool,
    /// Numbers of packets that asked and that no report covers, and when they were sent.
    asked: VecDeque<(u64, u64)>,
    asked_at: Option<u64>,
    has_reported: bool,
    unanswered: u32,
    was_answered: bool,
    /// The share of those that had no answer of their own: it or they got lost.
    lost: f64,
}

impl Asking {
    /// Whether it may understand. Who reports on plain numbers has a way here.
    pub(super) fn is_possible(&self) -> bool {
        self.has_reported && (self.was_answered || self.unanswered < UNANSWERED_MAX)
    }

    /// Whether the packet that is sent now asks. `bits`: what the path is thought to carry, per second; `packets`: those that the report would tell of.
    pub(super) fn is_due(&self, now: u64, bits: Option<f64>, packets: u64) -> bool {
        let (least, most) = EVERY_BOUNDS;
        let takes = REPORT_BITS + PACKET_BITS * packets as f64;
        let every = bits.map_or(EVERY_AT_FIRST, |bits| takes * 1e6 / (SHARE * bits).min(BITS_MAX));
        self.asked_at.is_none_or(|at| now.saturating_sub(at) as f64 >= every.clamp(least, most))
    }

    /// A packet is sent under a number that can ask.
    pub(super) fn note_on(&mut self) {
        self.is_on = true;
    }

    /// A packet is sent under a plain number.
    pub(super) fn note_off(&mut self) {
        self.is_on = false;
        self.asked.clear();
    }

    /// The packet with this number, which asks, is sent.
    pub(super) fn note_asked(&mut self, now: u64, number: u64) {
        self.asked_at = Some(now);
        self.unanswered = self.unanswered.saturating_add(1);
        if self.asked.len() < ASKED_MAX {
            self.asked.push_back((number, now));
        }
    }

    /// A report covers all numbers below this: when the packet was sent that asked for it.
    pub(super) fn note_covered(&mut self, end: u64) -> Option<u64> {
        self.has_reported = true;
        let (mut asked_at, mut answered) = (None, 0_u32);
        while let Some((_, at)) = self.asked.pop_front_if(|(number, _)| *number < end) {
            let is_lost = f64::from(u8::from(answered > 0));
            self.lost += FOLLOWS * (is_lost - self.lost);
            (asked_at, answered) = (Some(at), answered + 1);
        }
        if asked_at.is_some() {
            (self.unanswered, self.was_answered) = (0, true);
        }
        asked_at
    }

    /// What was asked is of no interest any more.
    pub(super) fn forget(&mut self) {
        self.asked.clear();
    }

    /// It answers, so no report comes unasked.
    pub(super) fn is_answering(&self) -> bool {
        self.is_on && self.was_answered
    }

    /// When the first packet was sent that asked and was not answered, or the second where the first may be lost.
    pub(super) fn waits_since(&self) -> Option<u64> {
        let nth = usize::from(self.lost > LOSSY);
        self.asked.get(nth).map(|(_, at)| *at)
    }

    /// Something was asked and not answered.
    pub(super) fn waits(&self) -> bool {
        !self.asked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it is asked in a second, a packet every millisecond.
    fn asked(bits: Option<f64>, packets: u64) -> usize {
        let mut asking = Asking::default();
        let due = |now: &u64| {
            let is_due = asking.is_due(*now, bits, packets);
            if is_due {
                asking.note_asked(*now, 0);
            }
            is_due
        };
        (0..1_000_000).step_by(1000).filter(due).count()
    }

    #[test]
    fn reports_take_a_twentieth_of_the_way_down_and_no_more_of_the_way_up_than_sound() {
        assert_eq!(asked(None, 5), 20);
        assert_eq!(asked(Some(2e6), 5), 53, "not for each packet");
        assert_eq!(asked(Some(2e6), 85), 20, "over a long round trip each tells of many");
        assert_eq!(asked(Some(300e3), 5), 27);
        assert_eq!(asked(Some(30e3), 5), 10, "one must know, on the narrowest as well");
    }

    #[test]
    fn who_never_answered_is_not_asked_for_ever_and_who_did_is() {
        let mut asking = Asking::default();
        assert!(!asking.is_possible(), "nothing came of it yet");
        asking.note_covered(0);
        (0..UNANSWERED_MAX).for_each(|n| {
            assert!(asking.is_possible(), "asked {n} times");
            asking.note_asked(n.into(), n.into());
        });
        assert!(!asking.is_possible());
        asking.note_covered(8);
        (0..10 * UNANSWERED_MAX).for_each(|n| asking.note_asked(n.into(), n.into()));
        assert!(asking.is_possible(), "its way is dead");
    }

    #[test]
    fn the_first_that_no_report_covers_is_waited_for() {
        let mut asking = Asking::default();
        asking.note_on();
        [(100, 7), (200, 9), (300, 12)].into_iter().for_each(|(at, number)| asking.note_asked(at, number));
        assert_eq!((asking.waits_since(), asking.is_answering()), (Some(100), false));
        assert_eq!(asking.note_covered(7), None, "it was something else");
        assert_eq!((asking.waits_since(), asking.is_answering()), (Some(100), false));
        assert_eq!(asking.note_covered(8), Some(100));
        assert_eq!((asking.waits_since(), asking.is_answering()), (Some(200), true));
        assert_eq!(asking.note_covered(13), Some(300));
        assert_eq!((asking.waits_since(), asking.waits()), (None, false));
        asking.note_off();
        assert!(!asking.is_answering(), "it is told plain numbers again");
    }

    #[test]
    fn where_answers_get_lost_the_next_one_is_waited_for_as_well() {
        let mut asking = Asking::default();
        for n in 0..20 {
            asking.note_asked(n, n);
            if n % 5 != 0 {
                asking.note_covered(n + 1);
            }
        }
        [(100, 100), (200, 101)].into_iter().for_each(|(at, number)| asking.note_asked(at, number));
        assert_eq!((asking.waits_since(), asking.waits()), (Some(200), true));
    }
}
