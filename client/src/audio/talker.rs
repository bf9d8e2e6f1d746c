//! From a source to Opus packets, one every 20 ms.

use std::time::{Duration, Instant};

use super::{AudioSource, Channels, FRAME, FRAME_SAMPLES};
use crate::media::{Payload, mark};

/// Bits a second and channel: transparent for wide-band speech, good for music. Higher costs the listener's downlink.
const BITRATE_PER_CHANNEL: i32 = 40_000;

/// Loss that the encoder prepares for before the first report, in percent: at 0 it would write no in-band FEC at all.
const EXPECTED_LOSS_PERCENT: i32 = 5;

/// Largest Opus packet of one frame (RFC 6716 section 3.2.1).
const PACKET_BYTES_MAX: usize = 1275;

/// A talker that is later than this leaves the missed time out instead of sending it in a burst.
const LATE_MAX: Duration = Duration::from_millis(200);

/// Why audio cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("the Opus codec could not be set up: {0}; check that enough memory is free")]
pub struct AudioError(#[from] opus::Error);

/// One encoded frame.
#[derive(Debug, Clone)]
pub struct OpusPacket {
    /// RTP time at 48 kHz.
    pub rtp_time: u32,
    /// The packet.
    pub payload: Payload,
    /// First of a talk spurt (RFC 7587 section 4.2).
    pub marker: bool,
}

/// Encodes a source on an absolute 20 ms schedule. Call [`Talker::poll_packet`] at [`Talker::poll_timeout`], until it
/// gives `None`.
pub struct Talker {
    source: Box<dyn AudioSource>,
    encoder: opus::Encoder,
    frame: Vec<i16>,
    next_at: Option<Instant>,
    rtp_time: u32,
    is_muted: bool,
    begins_spurt: bool,
}

impl Talker {
    /// Starts sending now.
    pub fn new(now: Instant, source: Box<dyn AudioSource>) -> Result<Self, AudioError> {
        let channels = source.channels();
        let mut encoder = opus::Encoder::new(super::SAMPLE_RATE, channels.opus(), opus::Application::Voip)?;
        encoder.set_bitrate(opus::Bitrate::Bits(BITRATE_PER_CHANNEL * channels.count() as i32))?;
        encoder.set_inband_fec(true)?;
        encoder.set_packet_loss_perc(EXPECTED_LOSS_PERCENT)?;
        let frame = vec![0; channels.frame_len()];
        let next_at = Some(now);
        Ok(Self { source, encoder, frame, next_at, rtp_time: 0, is_muted: false, begins_spurt: true })
    }

    /// Stops or resumes sending. While muted the source runs on unheard, as a microphone does.
    pub fn set_muted(&mut self, muted: bool) {
        self.begins_spurt |= self.is_muted && !muted;
        self.is_muted = muted;
    }

    /// Tells the encoder what share of packets is lost (0 to 1), so that it writes as much FEC as that needs.
    pub fn set_loss(&mut self, share: f32) {
        let percent = ((share.clamp(0.0, 1.0) * 100.0).ceil() as i32).max(EXPECTED_LOSS_PERCENT);
        // The encoder takes any percentage from 0 to 100.
        let _ = self.encoder.set_packet_loss_perc(percent);
    }

    /// When the next frame is due; `None` once the source has ended.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_at
    }

    /// The next packet that is due by `now`.
    #[must_use]
    pub fn poll_packet(&mut self, now: Instant) -> Option<OpusPacket> {
        while let Some(due) = self.next_at.filter(|due| *due <= now) {
            if now - due > LATE_MAX {
                self.leave_out(now - due);
                continue;
            }
            self.next_at = self.source.read(&mut self.frame).then_some(due + FRAME);
            let rtp_time = self.rtp_time;
            self.rtp_time = self.rtp_time.wrapping_add(FRAME_SAMPLES as u32);
            if self.next_at.is_none() || self.is_muted {
                continue;
            }
            match self.encoder.encode_vec(&self.frame, PACKET_BYTES_MAX) {
                Ok(packet) => {
                    let marker = std::mem::take(&mut self.begins_spurt);
                    return Some(OpusPacket { rtp_time, payload: packet.into(), marker });
                }
                Err(error) => tracing::warn!(%error, "a frame could not be encoded"),
            }
        }
        None
    }

    /// The same packet with a latency mark of this moment.
    pub fn marked(packet: OpusPacket, sent_unix_micros: u64) -> OpusPacket {
        OpusPacket { payload: mark::stamp_opus(&packet.payload, sent_unix_micros), ..packet }
    }

    /// The layout of the source.
    pub fn channels(&self) -> Channels {
        self.source.channels()
    }

    fn leave_out(&mut self, late: Duration) {
        let frames = u32::try_from(late.as_millis() / FRAME.as_millis()).unwrap_or(u32::MAX);
        self.rtp_time = self.rtp_time.wrapping_add(frames.wrapping_mul(FRAME_SAMPLES as u32));
        self.next_at = self.next_at.map(|due| due + FRAME * frames);
        self.begins_spurt = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::Tone;

    fn drain(talker: &mut Talker, now: Instant) -> Vec<OpusPacket> {
        std::iter::from_fn(|| talker.poll_packet(now)).collect()
    }

    #[test]
    fn a_second_of_sound_becomes_fifty_packets_on_schedule() {
        let start = Instant::now();
        let mut talker = Talker::new(start, Box::new(Tone::new(440.0))).unwrap();
        let mut times = Vec::new();
        for _ in 0..50 {
            let now = talker.poll_timeout().unwrap();
            times.extend(drain(&mut talker, now).iter().map(|p| p.rtp_time));
        }
        assert_eq!(times, (0..50).map(|n| n * 960).collect::<Vec<u32>>());
        assert_eq!(talker.poll_timeout(), Some(start + Duration::from_secs(1)));
    }

    #[test]
    fn muting_sends_nothing_keeps_time_and_marks_the_next_spurt() {
        let start = Instant::now();
        let mut talker = Talker::new(start, Box::new(Tone::new(440.0))).unwrap();
        let first = drain(&mut talker, start);
        assert!(first[0].marker);
        talker.set_muted(true);
        assert!(drain(&mut talker, start + FRAME * 2).is_empty());
        talker.set_muted(false);
        let after = drain(&mut talker, start + FRAME * 3);
        assert_eq!((after[0].rtp_time, after[0].marker), (3 * 960, true));
    }

    #[test]
    fn a_talker_that_was_held_up_does_not_send_a_burst() {
        let start = Instant::now();
        let mut talker = Talker::new(start, Box::new(Tone::new(440.0))).unwrap();
        let packets = drain(&mut talker, start + Duration::from_secs(3));
        assert_eq!(packets.len(), 1);
        assert_eq!(packets[0].rtp_time, 150 * 960);
    }

    #[test]
    fn a_source_that_ends_stops_the_talker() {
        let start = Instant::now();
        let mut talker = Talker::new(start, Box::new(crate::audio::Silence)).unwrap();
        assert!(drain(&mut talker, start).is_empty());
        assert_eq!(talker.poll_timeout(), None);
    }
}
