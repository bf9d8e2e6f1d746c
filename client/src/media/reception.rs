//! What comes on one path: whether the other party is heard and seen there.

use std::time::{Duration, Instant};

use super::ReceivedRtp;
use super::frames::Frames;

/// So many audio packets in [`FRESH_FOR`] count as being heard. Higher is surer of a new path, lower switches sooner.
const PACKETS: usize = 3;

/// See [`PACKETS`]. Two lost packets in a row fit in.
const FRESH_FOR: Duration = Duration::from_millis(140);

/// A picture is seen while frames come at least this often.
const SEEN_FOR: Duration = Duration::from_millis(500);

/// A path on which nothing came for this long had fallen silent. Higher takes a return for what was under way, lower takes
/// losses for a silence.
const PAUSE: Duration = Duration::from_millis(300);

/// What one path brings.
#[derive(Debug, Default)]
pub(crate) struct Reception {
    audio: [Option<Instant>; PACKETS],
    /// When the first and the last packet since the last [`PAUSE`] came.
    span: Option<(Instant, Instant)>,
    pub(crate) frames: Frames,
}

impl Reception {
    /// Takes an audio packet.
    pub(crate) fn handle_audio(&mut self, packet: &ReceivedRtp) {
        self.audio.rotate_left(1);
        self.audio[PACKETS - 1] = Some(packet.arrived);
        self.note(packet.arrived);
    }

    /// Takes a video packet, besides what [`Reception::frames`] makes of it.
    pub(crate) fn handle_video(&mut self, packet: &ReceivedRtp) {
        self.note(packet.arrived);
    }

    fn note(&mut self, now: Instant) {
        let since = self.comes_since(now).unwrap_or(now);
        self.span = Some((since, now));
    }

    /// Since when packets have come without a pause.
    pub(crate) fn comes_since(&self, now: Instant) -> Option<Instant> {
        self.span.filter(|(_, last)| now.saturating_duration_since(*last) <= PAUSE).map(|(since, _)| since)
    }

    /// Audio comes, and more than a stray packet.
    pub(crate) fn is_heard(&self, now: Instant) -> bool {
        self.audio[0].is_some_and(|at| now.saturating_duration_since(at) <= FRESH_FOR)
    }

    /// Frames come that can be shown.
    pub(crate) fn is_seen(&self, now: Instant) -> bool {
        let last = self.frames.last_frame_at();
        self.frames.is_decodable() && last.is_some_and(|at| now.saturating_duration_since(at) <= SEEN_FOR)
    }

    /// When the last audio packet came.
    pub(crate) fn audio_at(&self) -> Option<Instant> {
        self.audio[PACKETS - 1]
    }
}
