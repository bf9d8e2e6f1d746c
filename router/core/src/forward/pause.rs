//! Whether a viewer gets any picture, where its path hardly carries one: told to it only if that lasts, and not to and fro.

use std::time::{Duration, Instant};

/// A viewer is told that it gets no picture once that lasted for so long. Higher leaves it with a picture that stands still and no word, lower says
/// so of what is over before it is read.
const TOLD_AFTER: Duration = Duration::from_millis(1500);

/// Who was told gets no picture for so long at least. Higher leaves out pictures that there is room for, lower brings them back for a
/// moment.
const AT_LEAST: Duration = Duration::from_secs(4);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pause {
    /// Since when there is no room for any picture.
    since: Option<Instant>,
    is_told: bool,
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Judged {
    /// Nothing is sent of pictures, whatever there is room for.
    pub(super) is_paused: bool,
    /// To be told: they have ended, or come again.
    pub(super) news: Option<bool>,
}

impl Pause {
    /// `is_without`: pictures are published, and there is room for none.
    pub(super) fn judge(&mut self, now: Instant, is_without: bool) -> Judged {
        if !is_without && !self.is_told {
            self.since = None;
            return Judged { is_paused: false, news: None };
        }
        let lasts = now.saturating_duration_since(*self.since.get_or_insert(now));
        if !is_without && lasts >= AT_LEAST {
            *self = Self::default();
            return Judged { is_paused: false, news: Some(false) };
        }
        let is_news = !self.is_told && lasts >= TOLD_AFTER;
        self.is_told |= is_news;
        Judged { is_paused: self.is_told, news: is_news.then_some(true) }
    }

    /// Another client is there; true if that is news.
    pub(super) fn end(&mut self) -> bool {
        std::mem::take(self).is_told
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
mod tests {
    use super::*;

    /// Looked at every 250 ms; when, in milliseconds, it was told what.
    fn told(is_without: impl Fn(u64) -> bool) -> Vec<(u64, bool)> {
        let (mut pause, began, mut told) = (Pause::default(), Instant::now(), Vec::new());
        for millis in (0..20_000).step_by(250) {
            let judged = pause.judge(began + Duration::from_millis(millis), is_without(millis));
            told.extend(judged.news.map(|news| (millis, news)));
            assert_eq!(judged.is_paused, told.last().is_some_and(|(_, is_paused)| *is_paused));
        }
        told
    }

    #[test]
    fn what_lasts_is_told_and_what_is_over_at_once_is_not() {
        assert_eq!(told(|at| (1000..6000).contains(&at)), [(2500, true), (6000, false)]);
        assert_eq!(told(|at| (1000..2000).contains(&at)), []);
        assert_eq!(told(|at| at % 1000 < 500), [], "to and fro");
    }

    #[test]
    fn it_is_not_told_to_and_fro() {
        let told = told(|at| at % 3000 < 2000);
        assert!(told.len() <= 8, "{told:?}");
        let times = told.windows(2).filter(|two| two[0].1).map(|two| two[1].0 - two[0].0);
        assert!(times.clone().all(|time| time >= 2500), "{told:?}");
    }
}
