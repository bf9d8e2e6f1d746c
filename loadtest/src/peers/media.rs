//! What every party sends, whatever the server: made once and shared, with a mark of its own in each packet.

use std::time::Duration;

use duocast_client::media::{AUDIO_CLOCK_HZ, SyntheticVideo, SyntheticVideoConfig, VideoFrame, mark};

/// Time between audio packets: 50 a second.
pub(super) const AUDIO_EVERY: Duration = Duration::from_millis(20);

/// Payload bytes of an audio packet.
pub(super) const AUDIO_BYTES: usize = 120;

/// Payload bytes of a video packet.
pub(super) const VIDEO_BYTES: usize = 1100;

/// Video frames a second, four packets each: 120 packets a second.
pub(super) const FRAMES_PER_SECOND: u32 = 30;

/// Packets that leave a party together.
pub(super) const PACKETS_PER_FRAME: usize = 4;

/// Packets a second of each party.
pub(super) const PACKETS_PER_SECOND: u32 =
    FRAMES_PER_SECOND * PACKETS_PER_FRAME as u32 + (1000 / AUDIO_EVERY.as_millis() as u32);

/// A key frame a second, no larger than other frames: who starts to watch waits no longer than the warm-up, and nobody
/// needs to be asked for one.
const KEYFRAME_EVERY: usize = FRAMES_PER_SECOND as usize;

/// Opus with code 0 (one frame) in its first byte, which [`mark::stamp_opus`] can mark.
const OPUS_TOC: u8 = 0x78;

/// Bytes that marking adds to an Opus packet: code and length of its padding, and the mark in it.
const OPUS_MARK_BYTES: usize = 2 + mark::MARK_BYTES;

/// What is sent, and so received, of video.
pub(super) fn video_config() -> SyntheticVideoConfig {
    SyntheticVideoConfig {
        frames_per_second: FRAMES_PER_SECOND,
        packets_per_frame: PACKETS_PER_FRAME,
        packet_bytes: VIDEO_BYTES,
        keyframe_bytes: PACKETS_PER_FRAME * (VIDEO_BYTES - 4),
        ..SyntheticVideoConfig::default()
    }
}

/// Templates without marks.
pub(super) struct Media {
    audio: Vec<u8>,
    video: Vec<VideoFrame>,
}

impl Media {
    /// Enough video for this long; it begins anew after that.
    pub(super) fn for_time(time: Duration) -> Self {
        let noise = |i: usize| (i as u8).wrapping_mul(197) ^ 0x5a;
        let audio = std::iter::once(OPUS_TOC).chain((2..=AUDIO_BYTES - OPUS_MARK_BYTES).map(noise)).collect();
        let frames = time.as_secs_f64() * f64::from(FRAMES_PER_SECOND);
        let mut source = SyntheticVideo::new(video_config());
        let frame = |i: usize| {
            if i.is_multiple_of(KEYFRAME_EVERY) {
                source.request_keyframe();
            }
            source.next_frame(None)
        };
        Self { audio, video: (0..frames.ceil() as usize).map(frame).collect() }
    }

    /// Makes `payload` an audio packet with this mark; its RTP time.
    pub(super) fn write_audio(&self, number: u64, mark: u64, payload: &mut Vec<u8>) -> u32 {
        payload.clear();
        mark::append_stamped_opus(&self.audio, mark, payload);
        let samples = u64::from(AUDIO_CLOCK_HZ) / 1000 * AUDIO_EVERY.as_millis() as u64;
        // RTP time wraps by design (RFC 3550 section 5.1).
        number.wrapping_mul(samples) as u32
    }

    /// A video frame; [`write_video`] makes its packets.
    pub(super) fn frame(&self, number: u64) -> &VideoFrame {
        &self.video[number as usize % self.video.len()]
    }
}

/// Makes `payload` this packet of a frame, with a mark.
pub(super) fn write_video(template: &[u8], mark: u64, payload: &mut Vec<u8>) {
    payload.clear();
    payload.extend_from_slice(&template[..template.len().saturating_sub(mark::MARK_BYTES)]);
    payload.extend_from_slice(&mark::bytes(mark));
}

/// When the parties' audio and video begin within their intervals (shares of them, 0 to 1): spread evenly, whatever their
/// number, by multiples of the golden ratio.
pub(super) fn phases(party: usize) -> (f64, f64) {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let audio = (party as f64 * GOLDEN).fract();
    (audio, (audio + 0.5).fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_have_the_promised_sizes_and_their_marks() {
        let media = Media::for_time(Duration::from_secs(2));
        let mut payload = b"of the packet before".to_vec();
        assert_eq!(media.write_audio(3, 77, &mut payload), 2880);
        assert_eq!((payload.len(), mark::read(&payload)), (AUDIO_BYTES, Some(77)));
        for number in 0..61 {
            let frame = media.frame(number);
            assert_eq!(frame.is_keyframe, number % 30 == 0, "frame {number}");
            assert_eq!(frame.packets.len(), PACKETS_PER_FRAME, "frame {number}");
            for (packet, mark) in frame.packets.iter().zip(100..) {
                write_video(&packet.payload, mark, &mut payload);
                assert_eq!(
                    (payload.len(), mark::read(&payload)),
                    (VIDEO_BYTES, Some(mark)),
                    "frame {number}"
                );
                assert!(payload.starts_with(&packet.payload[..VIDEO_BYTES - mark::MARK_BYTES]));
            }
        }
        assert_eq!(PACKETS_PER_SECOND, 170);
    }

    #[test]
    fn parties_are_spread_over_the_interval() {
        let mut begins: Vec<f64> = (0..100).map(|party| phases(party).0).collect();
        begins.sort_by(f64::total_cmp);
        let gaps: Vec<f64> = begins.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| (0.002..0.03).contains(gap)), "{gaps:?}");
    }
}
