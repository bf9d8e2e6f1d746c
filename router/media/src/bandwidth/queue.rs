//! The queue on the way, as reports show it: what they should tell of by now and do not is still in it. While one stands, pictures wait here
//! and not there, where sound would wait behind them; and what comes out of it meanwhile is what the path carries.

/// How much later than usual a report is if a queue stands: this, in microseconds, and so many times what is usual. Higher notices later,
/// lower holds pictures up for the jitter of a radio.
const MARGIN: f64 = 10e3;
const SPREADS: f64 = 3.0;
/// No report is taken for usual that is later than this, in microseconds.
const MAX_USUAL: f64 = 100e3;
/// How fast what is usual follows: its mean and its spread (RFC 6298), where reports come every [`REPORTED`] or less often; where they come more often,
/// each says as much less.
const FOLLOWS: (f64, f64) = (0.125, 0.25);
/// How often Chromium reports by itself where it has room, in microseconds.
const REPORTED: f64 = 50e3;

/// A queue of this length, in microseconds, in two reports or more over at least [`RECKONED_OVER`], or so much lost, of so many packets: more is sent by far than gets through. Higher loses
/// more sound before less is sent, lower takes a pause of the path for it.
const STANDS: u64 = 60_000;
const LOST: f64 = 0.4;
const LOST_OF: u32 = 6;
/// And what gets through is less than this part of the estimate when the queue was noticed: what came of it since may have lowered that.
const COLLAPSED: f64 = 0.75;
/// Least time over which that is reckoned, in microseconds.
const RECKONED_OVER: i64 = 30_000;

/// A queue that is not shorter by a fifth after this time without pictures, in microseconds, is not ours: then it is taken for usual. Higher leaves
/// viewers without pictures where others fill the path, lower gives up on queues that drain slowly.
const FRUITLESS_AFTER: u64 = 600_000;
const SHORTER: f64 = 0.8;
/// What is borne of such queues, at most, in microseconds, and what of it is left after each report.
const MAX_BORNE: f64 = 500e3;
const BORNE_FOR: f64 = 0.998;

/// Reports come this often until it is known, and what is believed of that, in microseconds.
const EVERY: f64 = 100e3;
const EVERY_BOUNDS: (f64, f64) = (20e3, 250e3);

/// See the module. Times in microseconds, those of arrival on the receiver's clock.
#[derive(Debug)]
pub(super) struct Queue {
    usual: f64,
    spread: f64,
    borne: f64,
    every: f64,
    reported_at: Option<u64>,
    standing: Option<Standing>,
    /// Packets of the last reports, and how many of them are lost, until they are [`LOST_OF`].
    expected: u32,
    lost: u32,
}

/// A queue that stands.
#[derive(Debug, Clone, Copy)]
struct Standing {
    /// The estimate when it was noticed, in bits per second.
    estimate: f64,
    /// When it was looked at whether it gets shorter, and how long it was.
    looked_at: u64,
    length: u64,
    /// Since when reports found it [`STANDS`] long, and whether that was more than a moment.
    long_since: Option<u64>,
    is_long: bool,
    /// The last arrival when it was noticed, and now, and what came between.
    first: i64,
    last: i64,
    bytes: u64,
    /// A report had mostly lost packets.
    has_lost: bool,
    has_collapsed: bool,
}

/// What is new in a report.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct News {
    /// The last arrival, and bytes that arrived.
    pub(super) last: Option<i64>,
    pub(super) bytes: u64,
    /// Packets that it tells of first, and how many of them are lost.
    pub(super) expected: u32,
    pub(super) lost: u32,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Finding {
    /// The path carries only this, in bits per second: far less than what is sent.
    Collapse(f64),
    /// After that, seen for longer.
    Carries(f64),
    /// The queue is others', or the way has become longer: what is known of the shortest round trip is out of date.
    NotOurs,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            usual: 0.0,
            spread: 0.0,
            borne: 0.0,
            every: EVERY,
            reported_at: None,
            standing: None,
            expected: 0,
            lost: 0,
        }
    }
}

impl Queue {
    /// A report came. `late`: how long ago, beyond a round trip, it was asked for or the first packet was sent that it does not tell of; `bits`: the estimate.
    pub(super) fn take_report(&mut self, now: u64, late: u64, news: News, bits: f64) -> Option<Finding> {
        if let Some(before) = self.reported_at.replace(now) {
            let every = (now.saturating_sub(before) as f64).clamp(EVERY_BOUNDS.0, EVERY_BOUNDS.1);
            self.every += FOLLOWS.0 * (every - self.every);
        }
        let weight = (self.every / REPORTED).min(1.0);
        let is_late = late as f64 > self.limit();
        if !is_late {
            let error = (late as f64).min(MAX_USUAL) - self.usual;
            self.usual += FOLLOWS.0 * weight * error;
            self.spread += FOLLOWS.1 * weight * (error.abs() - self.spread);
        }
        self.borne *= BORNE_FOR.powf(weight);
        // A short queue loses before it is long.
        let is_losing = self.is_losing(news);
        let is_full = is_late || is_losing;
        let Some(standing) = self.standing.as_mut().filter(|_| is_full) else {
            self.standing =
                news.last.filter(|_| is_full).map(|last| Standing::new(now, late, last, is_losing, bits));
            return None;
        };
        standing.add(now, late, news, is_losing);
        if standing.has_collapsed {
            return standing.delivered().map(Finding::Carries);
        }
        let least = standing.estimate.max(bits) * COLLAPSED;
        let delivered = standing.delivered().filter(|delivered| *delivered < least);
        if let Some(delivered) = delivered.filter(|_| standing.is_overflowing()) {
            standing.has_collapsed = true;
            return Some(Finding::Collapse(delivered));
        }
        if now.saturating_sub(standing.looked_at) < FRUITLESS_AFTER {
            return None;
        }
        if late as f64 > standing.length as f64 * SHORTER {
            self.borne = (late as f64).min(MAX_BORNE);
            self.standing = None;
            return Some(Finding::NotOurs);
        }
        (standing.looked_at, standing.length) = (now, late);
        None
    }

    /// Time has jumped, here or on the receiver's clock: what was seen of a queue before does not go on after it.
    pub(super) fn forget(&mut self) {
        (self.standing, self.reported_at) = (None, None);
    }

    /// Pictures are to wait. `due_at`: when a report is to come if no queue stands.
    pub(super) fn is_standing(&self, now: u64, due_at: Option<u64>) -> bool {
        self.standing.is_some() || due_at.is_some_and(|at| now.saturating_sub(at) as f64 > self.limit())
    }

    /// How often reports come.
    pub(super) fn every(&self) -> u64 {
        self.every as u64
    }

    /// A report on what was sent comes sooner than this if no queue stands.
    pub(super) fn silence(&self, round_trip: u64) -> u64 {
        round_trip + (self.every + self.limit()) as u64
    }

    /// The last report found one.
    pub(super) fn stands(&self) -> bool {
        self.standing.is_some()
    }

    /// It stands since far more was sent than gets through.
    pub(super) fn has_collapsed(&self) -> bool {
        self.standing.is_some_and(|standing| standing.has_collapsed)
    }

    /// Most of the last packets got lost.
    fn is_losing(&mut self, news: News) -> bool {
        (self.expected, self.lost) = (self.expected + news.expected, self.lost + news.lost);
        if self.expected < LOST_OF {
            return false;
        }
        let (expected, lost) = (std::mem::take(&mut self.expected), std::mem::take(&mut self.lost));
        f64::from(lost) >= LOST * f64::from(expected)
    }

    fn limit(&self) -> f64 {
        (self.usual + SPREADS * self.spread + MARGIN).max(self.borne)
    }
}

impl Standing {
    fn new(now: u64, late: u64, last: i64, is_losing: bool, estimate: f64) -> Self {
        Self {
            estimate,
            looked_at: now,
            length: late,
            long_since: (late >= STANDS).then_some(now),
            is_long: false,
            first: last,
            last,
            bytes: 0,
            has_lost: is_losing,
            has_collapsed: false,
        }
    }

    fn add(&mut self, now: u64, late: u64, news: News, is_losing: bool) {
        if late >= STANDS {
            let since = *self.long_since.get_or_insert(now);
            self.is_long |= now.saturating_sub(since).cast_signed() >= RECKONED_OVER;
        }
        self.last = news.last.map_or(self.last, |last| last.max(self.last));
        self.bytes += news.bytes;
        self.has_lost |= is_losing;
    }

    fn is_overflowing(&self) -> bool {
        self.is_long || self.has_lost
    }

    /// Bits per second that come out of the queue.
    fn delivered(&self) -> Option<f64> {
        let time = self.last - self.first;
        (time >= RECKONED_OVER).then(|| self.bytes as f64 * 8e6 / time as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1000;

    /// Reports every 50 ms, the n-th of them this late, each of 1900 bytes; what they lead to, and the queue at the end.
    fn after(reports: u64, late_ms: impl Fn(u64) -> u64) -> (Queue, Vec<(u64, Finding)>) {
        let (mut queue, mut found) = (Queue::default(), Vec::new());
        for n in 0..reports {
            let now = (n + 1) * 50 * MS;
            let news = News { last: Some(now.cast_signed()), bytes: 1900, expected: 2, lost: 0 };
            found.extend(queue.take_report(now, late_ms(n) * MS, news, 1.6e6).map(|finding| (n, finding)));
        }
        (queue, found)
    }

    #[test]
    fn a_queue_that_stands_holds_pictures_at_the_first_report_and_is_a_collapse_at_the_next() {
        let (queue, found) = after(101, |n| if n < 100 { n % 8 } else { 70 });
        assert!(queue.is_standing(0, None) && found.is_empty());
        let (queue, found) = after(104, |n| if n < 100 { n % 8 } else { 70 + 40 * (n - 100) });
        let Some((101, Finding::Collapse(carries))) = found.first() else { panic!("{found:?}") };
        assert!((carries - 304e3).abs() < 1.0 && queue.has_collapsed(), "{carries}");
        assert!(matches!(found[1..], [(102, Finding::Carries(_)), (103, Finding::Carries(_))]), "{found:?}");
        let (queue, _) = after(105, |n| if (100..104).contains(&n) { 70 + 40 * (n - 100) } else { n % 8 });
        assert!(!queue.is_standing(0, None));
    }

    #[test]
    fn it_is_a_collapse_as_well_if_the_estimate_was_lowered_meanwhile() {
        let (mut queue, mut found) = (Queue::default(), Vec::new());
        for (n, (late, bits)) in
            [(5, 1.6e6), (51, 1.6e6), (58, 1.6e6), (130, 350e3), (160, 350e3)].into_iter().enumerate()
        {
            let now = (n as u64 + 1) * 50 * MS;
            let news = News { last: Some(now.cast_signed()), bytes: 1900, expected: 2, lost: 0 };
            found.push(queue.take_report(now, late * MS, news, bits));
        }
        assert!(matches!(found[..], [None, None, None, None, Some(Finding::Collapse(_))]), "{found:?}");
    }

    #[test]
    fn the_jitter_of_a_radio_is_usual_after_a_while() {
        let late = |n: u64| n * 7_919 % 40;
        let (_, found) = after(2000, late);
        assert!(found.iter().all(|(_, finding)| *finding == Finding::NotOurs), "{found:?}");
        let (queue, mut standing) = (after(200, late).0, 0);
        let mut queue = queue;
        for n in 200..1200 {
            let now = (n + 1) * 50 * MS;
            queue.take_report(now, late(n) * MS, News::default(), 1.6e6);
            standing += u32::from(queue.is_standing(0, None));
        }
        assert!(standing < 20, "{standing} of 1000 reports");
    }

    #[test]
    fn a_queue_of_others_is_borne() {
        let (queue, found) = after(200, |n| if n < 100 { 5 } else { 50 });
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].1, Finding::NotOurs);
        assert!(!queue.is_standing(0, None));
    }

    #[test]
    fn after_a_jump_of_time_a_queue_is_looked_at_anew() {
        let grows = |n: u64| if n < 100 { n % 8 } else { 70 + 40 * (n - 100) };
        let (mut queue, _) = after(101, grows);
        assert!(queue.stands());
        queue.forget();
        assert!(!queue.is_standing(0, None));
        let now = 10_000 * MS;
        let news = News { last: Some(now.cast_signed()), bytes: 1900, expected: 2, lost: 0 };
        assert_eq!(queue.take_report(now, 200 * MS, news, 1.6e6), None, "nothing came out of it yet");
    }

    #[test]
    fn where_no_report_comes_pictures_wait_as_well() {
        let (queue, _) = after(100, |_| 5);
        let now = 10_000 * MS;
        assert!(!queue.is_standing(now, Some(now - 10 * MS)));
        assert!(queue.is_standing(now, Some(now - 50 * MS)));
    }
}
