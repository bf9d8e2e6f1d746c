//! How each change between the two paths went.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Course, Path, SendOn, Units};
use crate::stats::millis;

/// Most changes that are kept; at the bound the oldest is forgotten, and still counted. Higher makes statistics larger.
const KEPT_MAX: usize = 256;

/// How long after a change what goes wrong counts as its doing.
const SETTLES_FOR: Duration = Duration::from_secs(1);

/// The same for the picture, from its first frame on the new path: long enough for what that frame needs to be whole. What
/// is lost later would have been lost anyway.
const PICTURE_SETTLES_FOR: Duration = Duration::from_millis(200);

/// One change between the two paths.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SwitchStats {
    /// `direct` or `routed`.
    pub to: &'static str,
    /// Sound that was made up, up to a second after the change.
    pub concealed_ms: f64,
    /// Longest time between two frames of video, from the change until shortly after the first frame on the new path; `None`
    /// without video.
    pub video_gap_ms: Option<f64>,
    /// Back to the server: how long after that began the last packet went to the other party's address.
    pub left_after_ms: Option<f64>,
    /// The other party's sound with [marks](crate::media::mark) that was played, from the change until it counts as settled.
    pub audio_units: Units,
    /// The same of its pictures.
    pub video_units: Units,
}

/// What a call came to so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SoFar {
    /// Frames of sound that were made up.
    pub(crate) concealed: u64,
    pub(crate) audio: Units,
    pub(crate) video: Units,
}

/// Collects [`SwitchStats`].
#[derive(Debug, Default)]
pub(crate) struct Switches {
    /// Where the last change led to.
    at: Path,
    count: u64,
    done: Vec<SwitchStats>,
    present: Option<Present>,
}

#[derive(Debug)]
struct Present {
    to: Path,
    began: Instant,
    changed: Instant,
    before: SoFar,
    so_far: SoFar,
    /// When the first frame came on the new path.
    seen_at: Option<Instant>,
    video_gap: Option<Duration>,
    left_after: Option<Duration>,
}

impl Switches {
    /// Media takes another course.
    pub(crate) fn handle_course(&mut self, now: Instant, before: Course, after: Course, so_far: SoFar) {
        let goes_direct = (before.play == Path::Routed && after.play == Path::Direct)
            || (before.send != SendOn::Direct && after.send == SendOn::Direct);
        let comes_back = (before.send == SendOn::Direct && after.send != SendOn::Direct)
            || (before.play == Path::Direct && after.play == Path::Routed);
        let to = match (goes_direct, comes_back) {
            (true, _) => Path::Direct,
            (_, true) => Path::Routed,
            _ => self.at,
        };
        // A further step of the same change, however late.
        if to == self.at {
            self.present.iter_mut().for_each(|present| present.changed = now);
            return;
        }
        self.at = to;
        self.finish();
        self.count += 1;
        self.present = Some(Present {
            to,
            began: now,
            changed: now,
            before: so_far,
            so_far,
            seen_at: None,
            video_gap: None,
            left_after: None,
        });
    }

    /// A frame of video that came on this path is shown, this long after the one before.
    pub(crate) fn handle_frame(&mut self, now: Instant, path: Path, gap: Duration) {
        let Some(present) = &mut self.present else { return };
        if path == present.to {
            present.seen_at.get_or_insert(now);
        }
        let has_settled =
            present.seen_at.is_some_and(|at| now.saturating_duration_since(at) > PICTURE_SETTLES_FOR);
        if !has_settled {
            present.video_gap = Some(present.video_gap.unwrap_or_default().max(gap));
        }
    }

    /// The direct leg is closed.
    pub(crate) fn handle_left(&mut self, now: Instant) {
        if let Some(present) = self.present.as_mut().filter(|p| p.to == Path::Routed) {
            present.left_after.get_or_insert(now.saturating_duration_since(present.began));
        }
    }

    /// Lets time pass.
    pub(crate) fn handle_timeout(&mut self, now: Instant, so_far: SoFar) {
        let Some(present) = &mut self.present else { return };
        present.so_far = so_far;
        if now.saturating_duration_since(present.changed) >= SETTLES_FOR {
            self.finish();
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Those that are over, and the present one as it is so far.
    pub(crate) fn all(&self) -> Vec<SwitchStats> {
        self.done.iter().copied().chain(self.present.as_ref().map(Present::stats)).collect()
    }

    fn finish(&mut self) {
        if let Some(present) = self.present.take() {
            if self.done.len() == KEPT_MAX {
                self.done.remove(0);
            }
            self.done.push(present.stats());
        }
    }
}

impl Present {
    fn stats(&self) -> SwitchStats {
        let (before, now) = (self.before, self.so_far);
        SwitchStats {
            to: if self.to == Path::Direct { "direct" } else { "routed" },
            concealed_ms: now.concealed.saturating_sub(before.concealed) as f64 * 20.0,
            video_gap_ms: self.video_gap.map(millis),
            left_after_ms: self.left_after.map(millis),
            audio_units: now.audio.since(before.audio),
            video_units: now.video.since(before.video),
        }
    }
}
