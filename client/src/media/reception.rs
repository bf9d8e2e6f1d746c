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

/// A packet so many behind the newest one, or fewer, is a repetition. Higher takes a stream that started over for repetitions,
/// lower takes a late repetition for a return.
const BEHIND_MAX: u64 = 4096;

/// What one path brings.
#[derive(Debug, Default)]
pub(crate) struct Reception {
    audio: [Option<Instant>; PACKETS],
    /// When the first and the last packet since the last [`PAUSE`] came, repetitions left out: they come long after the other party
    /// sent anything new here.
    span: Option<(Instant, Instant)>,
    /// The newest packet of sound, and of video, by sequence number.
    newest: [Option<u64>; 2],
    pub(crate) frames: Frames,
}

impl Reception {
    /// Takes an audio packet.
    pub(crate) fn handle_audio(&mut self, packet: &ReceivedRtp) {
        self.audio.rotate_left(1);
        self.audio[PACKETS - 1] = Some(packet.arrived);
        self.note(0, packet);
    }

    /// Takes a video packet, besides what [`Reception::frames`] makes of it.
    pub(crate) fn handle_video(&mut self, packet: &ReceivedRtp) {
        self.note(1, packet);
    }

    fn note(&mut self, kind: usize, packet: &ReceivedRtp) {
        let newest = &mut self.newest[kind];
        let behind = newest.and_then(|newest| newest.checked_sub(packet.sequence));
        if behind.is_some_and(|behind| behind <= BEHIND_MAX) {
            return;
        }
        *newest = Some(packet.sequence);
        let now = packet.arrived;
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

#[cfg(test)]
mod tests {
    use str0m::format::Codec;

    use super::*;

    fn packet(began: Instant, ms: u64, sequence: u64) -> ReceivedRtp {
        ReceivedRtp {
            sequence,
            rtp_time: 0,
            marker: false,
            codec: Codec::Vp8,
            payload: [0; 4].as_slice().into(),
            arrived: began + Duration::from_millis(ms),
        }
    }

    /// Of the last picture before a path rested a packet is missing, and its repetition gets lost as well.
    #[test]
    fn a_repetition_that_comes_late_is_no_return_and_a_new_packet_is() {
        let began = Instant::now();
        let mut reception = Reception::default();
        let since = |reception: &Reception, ms| reception.comes_since(began + Duration::from_millis(ms));
        for n in [0, 1, 3] {
            reception.handle_video(&packet(began, n * 10, 100 + n));
        }
        assert_eq!(since(&reception, 30), Some(began));
        reception.handle_video(&packet(began, 400, 102));
        assert_eq!(since(&reception, 400), None, "only a repetition came");
        reception.handle_audio(&packet(began, 500, 7));
        assert_eq!(since(&reception, 510), Some(began + Duration::from_millis(500)));
        reception.handle_video(&packet(began, 900, 104));
        assert_eq!(since(&reception, 900), Some(began + Duration::from_millis(900)));
    }

    #[test]
    fn a_stream_that_starts_over_is_no_repetition() {
        let began = Instant::now();
        let mut reception = Reception::default();
        reception.handle_video(&packet(began, 0, 60_000));
        reception.handle_video(&packet(began, 400, 10));
        assert!(reception.comes_since(began + Duration::from_millis(410)).is_some());
    }
}
