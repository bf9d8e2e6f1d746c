//! What a client is to send at most (REMB), and when that is told. Nobody says that it heard: it is told again with each report.

use std::time::{Duration, Instant};

/// Tells a client that what it was told before holds no more: clients forget a limit by no other means. More than any of them sends, in bits per
/// second.
const NO_LIMIT: u64 = 1 << 30;

/// Least time between two limits: a viewer's reports make them, and nobody else's encoder is to follow each of those. Higher fills a narrow way for
/// longer, lower costs packets.
const EVERY: Duration = Duration::from_millis(100);

/// Reports with which the end of a limit is told. Higher costs packets, lower may leave a client with it that lost all of these.
const RELEASES: u8 = 5;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Limit {
    /// In bits per second.
    bits: Option<u64>,
    tried_at: Option<Instant>,
    is_news: bool,
    /// Reports with which its end is still told.
    releases: u8,
}

impl Limit {
    pub(super) fn set(&mut self, bits: Option<u64>) {
        self.is_news |= self.bits != bits;
        if self.bits.is_some() && bits.is_none() {
            self.releases = RELEASES;
        }
        self.bits = bits;
    }

    /// When it is to be told; `None`: that was done.
    pub(super) fn due_at(&self, now: Instant) -> Option<Instant> {
        self.is_news.then(|| self.tried_at.map_or(now, |at| now.max(at + EVERY)))
    }

    /// What to tell now, in bits per second.
    pub(super) fn due(&self, now: Instant) -> Option<u64> {
        self.due_at(now).filter(|at| *at <= now).map(|_| self.bits.unwrap_or(NO_LIMIT))
    }

    /// It was tried to tell it. Without a path that is done again, after as long.
    pub(super) fn note_tried(&mut self, now: Instant, is_told: bool) {
        (self.tried_at, self.is_news) = (Some(now), !is_told);
    }

    /// A report goes.
    pub(super) fn repeat(&mut self) {
        self.is_news |= self.bits.is_some() || self.releases > 0;
        self.releases = self.releases.saturating_sub(1);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_at_once_and_with_each_report_and_its_end_with_a_few() {
        let (mut limit, mut now) = (Limit::default(), Instant::now());
        let told = |limit: &mut Limit, now| {
            let due = limit.due(now);
            if due.is_some() {
                limit.note_tried(now, true);
            }
            due
        };
        limit.repeat();
        assert_eq!(told(&mut limit, now), None, "who has none hears of none");
        limit.set(Some(300_000));
        assert_eq!([told(&mut limit, now), told(&mut limit, now)], [Some(300_000), None]);
        limit.set(Some(250_000));
        assert_eq!(told(&mut limit, now), None, "not that soon");
        now += EVERY;
        assert_eq!(told(&mut limit, now), Some(250_000));
        let mut with_reports = |limit: &mut Limit, count: u8| {
            let each = (0..count).map(|_| {
                now += Duration::from_secs(1);
                limit.repeat();
                told(limit, now)
            });
            each.collect::<Vec<_>>()
        };
        assert_eq!(with_reports(&mut limit, 9), [Some(250_000); 9]);
        limit.set(None);
        let ends = with_reports(&mut limit, RELEASES + 2);
        assert_eq!(ends.iter().flatten().collect::<Vec<_>>(), [&NO_LIMIT; RELEASES as usize]);
    }

    #[test]
    fn what_could_not_be_told_is_tried_again() {
        let (mut limit, now) = (Limit::default(), Instant::now());
        limit.set(Some(1));
        limit.note_tried(now, false);
        assert_eq!(limit.due_at(now), Some(now + EVERY));
    }
}
