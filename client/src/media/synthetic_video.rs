//! Video without an encoder: RTP that routers and receivers take for VP8 (RFC 7741), of realistic sizes.

use super::{Payload, VIDEO_CLOCK_HZ, mark};

/// X bit: an extension octet follows (RFC 7741 section 4.2).
const EXTENDED: u8 = 0x80;
/// S bit: first packet of a partition.
const PARTITION_START: u8 = 0x10;
/// I bit of the extension octet: a PictureID follows.
const PICTURE_ID_PRESENT: u8 = 0x80;
/// M bit of the PictureID: it has 15 bits.
const PICTURE_ID_15_BITS: u16 = 0x8000;
const DESCRIPTOR_BYTES: usize = 4;
/// Frame tag, start code and size of a key frame (RFC 6386 section 9.1).
const KEYFRAME_HEADER_BYTES: usize = 10;

/// What packets are filled with: bytes that differ from packet to packet, as compressed data does, so that each begins elsewhere in it.
const FILLER: [u8; 2048] = {
    let mut filler = [0; 2048];
    let mut at = 0;
    while at < filler.len() {
        filler[at] = (at as u8).wrapping_mul(197);
        at += 1;
    }
    filler
};

/// The filler repeats itself after so many.
const FILLER_PERIOD: usize = 256;

/// Sizes and rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyntheticVideoConfig {
    /// Frames a second.
    pub frames_per_second: u32,
    /// Packets of each frame that is no key frame.
    pub packets_per_frame: usize,
    /// Payload bytes of each packet, descriptor included.
    pub packet_bytes: usize,
    /// Bytes of a key frame.
    pub keyframe_bytes: usize,
    /// Width in its header.
    pub width: u16,
    /// Height in its header.
    pub height: u16,
}

impl Default for SyntheticVideoConfig {
    /// 30 frames and 120 packets of 1100 bytes a second (1.06 Mbit/s), key frames of 30 kB.
    fn default() -> Self {
        Self {
            frames_per_second: 30,
            packets_per_frame: 4,
            packet_bytes: 1100,
            keyframe_bytes: 30_000,
            width: 640,
            height: 360,
        }
    }
}

/// One RTP payload of a frame.
#[derive(Debug, Clone)]
pub struct VideoPacket {
    /// Descriptor and payload.
    pub payload: Payload,
    /// Last packet of its frame.
    pub marker: bool,
}

/// One frame.
#[derive(Debug, Clone)]
pub struct VideoFrame {
    /// Its packets, in order.
    pub packets: Vec<VideoPacket>,
    /// RTP time at 90 kHz.
    pub rtp_time: u32,
    /// Can be decoded by itself.
    pub is_keyframe: bool,
}

/// A frame whose packets are written one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameShape {
    /// How many packets it has.
    pub packets: usize,
    /// RTP time at 90 kHz.
    pub rtp_time: u32,
    /// Can be decoded by itself.
    pub is_keyframe: bool,
    number: u64,
}

/// A source of frames. Legs may share its frames if all of them started at a key frame.
#[derive(Debug)]
pub struct SyntheticVideo {
    config: SyntheticVideoConfig,
    frames: u64,
    keyframe_due: bool,
}

impl SyntheticVideo {
    /// Starts at RTP time 0 with a key frame. Sizes too small to hold their headers are raised.
    pub fn new(config: SyntheticVideoConfig) -> Self {
        let smallest = DESCRIPTOR_BYTES + KEYFRAME_HEADER_BYTES + mark::MARK_BYTES;
        let config = SyntheticVideoConfig {
            frames_per_second: config.frames_per_second.max(1),
            packets_per_frame: config.packets_per_frame.max(1),
            packet_bytes: config.packet_bytes.max(smallest),
            ..config
        };
        Self { config, frames: 0, keyframe_due: true }
    }

    /// The next frame will be a key frame: the answer to a PLI.
    pub fn request_keyframe(&mut self) {
        self.keyframe_due = true;
    }

    /// Time between frames.
    pub fn interval(&self) -> std::time::Duration {
        std::time::Duration::from_secs(1) / self.config.frames_per_second
    }

    /// The next frame. With `sent_unix_micros` every packet ends in a [`mark`].
    pub fn next_frame(&mut self, sent_unix_micros: Option<u64>) -> VideoFrame {
        let shape = self.begin_frame();
        let packet = |index| {
            let mut payload = Vec::with_capacity(self.config.packet_bytes);
            self.append_packet(&shape, index, sent_unix_micros, &mut payload);
            VideoPacket { payload: payload.into(), marker: index + 1 == shape.packets }
        };
        let packets = (0..shape.packets).map(packet).collect();
        VideoFrame { packets, rtp_time: shape.rtp_time, is_keyframe: shape.is_keyframe }
    }

    /// The same for those who have a place for its packets: see [`SyntheticVideo::append_packet`].
    pub fn begin_frame(&mut self) -> FrameShape {
        let is_keyframe = std::mem::take(&mut self.keyframe_due);
        let body = self.config.packet_bytes - DESCRIPTOR_BYTES;
        let packets = if is_keyframe {
            self.config.keyframe_bytes.div_ceil(body).max(1)
        } else {
            self.config.packets_per_frame
        };
        let number = self.frames;
        let ticks = number * u64::from(VIDEO_CLOCK_HZ) / u64::from(self.config.frames_per_second);
        self.frames += 1;
        FrameShape { packets, rtp_time: ticks as u32, is_keyframe, number }
    }

    /// Appends the payload of one of a frame's packets, counted from 0.
    pub fn append_packet(
        &self,
        frame: &FrameShape,
        index: usize,
        sent_unix_micros: Option<u64>,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        let picture_id = (frame.number as u16 & 0x7fff) | PICTURE_ID_15_BITS;
        let is_first = index == 0;
        out.push(EXTENDED | if is_first { PARTITION_START } else { 0 });
        out.push(PICTURE_ID_PRESENT);
        out.extend_from_slice(&picture_id.to_be_bytes());
        if is_first {
            let frame_bytes = frame.packets * (self.config.packet_bytes - DESCRIPTOR_BYTES);
            out.extend_from_slice(&frame_tag(frame.is_keyframe, frame_bytes));
            if frame.is_keyframe {
                out.extend_from_slice(&[0x9d, 0x01, 0x2a]);
                out.extend_from_slice(&(self.config.width & 0x3fff).to_le_bytes());
                out.extend_from_slice(&(self.config.height & 0x3fff).to_le_bytes());
            }
        }
        let mark = sent_unix_micros.map(mark::bytes);
        let end = start + self.config.packet_bytes - mark.map_or(0, |mark| mark.len());
        let seed = frame.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize;
        while out.len() < end {
            let from = seed.wrapping_add(out.len() - start) % FILLER_PERIOD;
            let filler = &FILLER[from..];
            out.extend_from_slice(&filler[..filler.len().min(end - out.len())]);
        }
        out.extend(mark.into_iter().flatten());
    }
}

/// The 3-byte frame tag of RFC 6386 section 9.1: bit 0 is 0 for a key frame, then version 0, show_frame, and 19 bits of
/// first partition size.
fn frame_tag(is_keyframe: bool, frame_bytes: usize) -> [u8; 3] {
    let size = u32::try_from(frame_bytes.min(0x7_ffff)).expect("19 bits fit");
    let tag = u32::from(!is_keyframe) | (1 << 4) | (size << 5);
    let [a, b, c, _] = tag.to_le_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture_id(packet: &VideoPacket) -> u16 {
        u16::from_be_bytes([packet.payload[2], packet.payload[3]]) & 0x7fff
    }

    #[test]
    fn it_starts_with_a_key_frame_and_goes_on_at_a_megabit() {
        let mut video = SyntheticVideo::new(SyntheticVideoConfig::default());
        let key = video.next_frame(None);
        assert!(key.is_keyframe);
        let bytes: usize = key.packets.iter().map(|p| p.payload.len()).sum();
        assert!((30_000..32_000).contains(&bytes), "{bytes}");

        let second: usize = (0..30)
            .map(|_| video.next_frame(None))
            .map(|f| f.packets.iter().map(|p| p.payload.len()).sum::<usize>())
            .sum();
        assert_eq!(second * 8, 30 * 4 * 1100 * 8);
    }

    #[test]
    fn every_packet_reads_as_vp8() {
        let mut video = SyntheticVideo::new(SyntheticVideoConfig::default());
        for n in 0..3u16 {
            let frame = video.next_frame(Some(77));
            assert_eq!(frame.rtp_time, u32::from(n) * 3000);
            for (i, packet) in frame.packets.iter().enumerate() {
                let starts = packet.payload[0] & PARTITION_START != 0;
                assert_eq!(starts, i == 0, "S marks the first packet only");
                assert_eq!(picture_id(packet), n);
                assert_eq!(packet.marker, i + 1 == frame.packets.len());
                assert_eq!(mark::read(&packet.payload), Some(77));
            }
            assert_eq!(frame.packets[0].payload[4] & 1, u8::from(!frame.is_keyframe), "P bit");
        }
    }

    #[test]
    fn a_pli_is_answered_by_a_key_frame() {
        let mut video = SyntheticVideo::new(SyntheticVideoConfig::default());
        let kinds = |video: &mut SyntheticVideo| video.next_frame(None).is_keyframe;
        assert_eq!([kinds(&mut video), kinds(&mut video)], [true, false]);
        video.request_keyframe();
        assert_eq!([kinds(&mut video), kinds(&mut video)], [true, false]);
    }

    #[test]
    fn the_picture_id_wraps_at_15_bits() {
        let mut video =
            SyntheticVideo::new(SyntheticVideoConfig { packets_per_frame: 1, ..Default::default() });
        let last = (0..0x8001).map(|_| video.next_frame(None)).last().unwrap();
        assert_eq!(picture_id(&last.packets[0]), 0);
    }
}
