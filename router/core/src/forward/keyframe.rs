//! Keyframe requests: many viewers' merged into one, and never more often than a publisher can bear.

use std::time::{Duration, Instant};

/// Least time between two requests to one track. A keyframe is ten times a normal frame: more often starves the link it is
/// meant to heal; less often leaves a viewer frozen for longer.
pub(crate) const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);

/// Paces the requests to one track.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    asked_at: Option<Instant>,
    waiting: bool,
}

/// What becomes of a wish for a keyframe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Ask the publisher now.
    Ask,
    /// Ask at this moment: [`Pacer::due`].
    Wait(Instant),
    /// One already waits, or was sent this very moment.
    Merged,
}

impl Pacer {
    pub(crate) fn wish(&mut self, now: Instant) -> Wish {
        let free_at = self.asked_at.map(|at| at + KEYFRAME_INTERVAL).filter(|at| *at > now);
        match free_at {
            _ if self.waiting || self.asked_at == Some(now) => Wish::Merged,
            Some(at) => {
                self.waiting = true;
                Wish::Wait(at)
            }
            None => {
                self.asked_at = Some(now);
                Wish::Ask
            }
        }
    }

    /// The moment that [`Wish::Wait`] named has come: true if the publisher is to be asked.
    pub(crate) fn due(&mut self, now: Instant) -> bool {
        if std::mem::take(&mut self.waiting) {
            self.asked_at = Some(now);
            return true;
        }
        false
    }
}
