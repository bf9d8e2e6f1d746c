//! Which received video frames are whole, from VP8 payloads (RFC 7741).

/// Follows the packets of one VP8 stream.
#[derive(Debug, Default)]
pub(crate) struct VideoFrames {
    /// Sequence number that would continue the frame at hand, and whether it is a key frame.
    open: Option<(u64, bool)>,
    has_key: bool,
    /// Whole frames, from the first whole key frame on.
    pub(crate) whole: u64,
}

impl VideoFrames {
    /// Takes a packet. True when it completes a frame that can be shown: a whole key frame, or a whole frame after one.
    /// A frame whose packets come out of order counts as broken.
    pub(crate) fn handle_packet(&mut self, sequence: u64, marker: bool, payload: &[u8]) -> bool {
        if let Some(is_key) = frame_start(payload) {
            self.open = Some((sequence, is_key));
        }
        let Some((_, is_key)) = self.open.filter(|(next, _)| *next == sequence) else {
            self.open = None;
            return false;
        };
        self.open = (!marker).then_some((sequence + 1, is_key));
        if !marker {
            return false;
        }
        self.has_key |= is_key;
        self.whole += u64::from(self.has_key);
        self.has_key
    }

    /// True once a whole key frame came.
    pub(crate) fn is_showing(&self) -> bool {
        self.has_key
    }
}

/// For the first packet of a frame, whether it is a key frame; else `None`.
fn frame_start(payload: &[u8]) -> Option<bool> {
    let (&first, mut rest) = payload.split_first()?;
    let (starts_partition, partition) = (first & 0x10 != 0, first & 0x07);
    if first & 0x80 != 0 {
        let (&extension, after) = rest.split_first()?;
        rest = after;
        if extension & 0x80 != 0 {
            let is_long = rest.first()? & 0x80 != 0;
            rest = rest.get(if is_long { 2 } else { 1 }..)?;
        }
        // TL0PICIDX, then one octet for TID and KEYIDX together.
        rest = rest.get(usize::from(extension & 0x40 != 0)..)?;
        rest = rest.get(usize::from(extension & 0x30 != 0)..)?;
    }
    let is_key = rest.first()? & 0x01 == 0;
    (starts_partition && partition == 0).then_some(is_key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use duocast_client::media::{SyntheticVideo, SyntheticVideoConfig, VideoFrame};

    fn video() -> SyntheticVideo {
        SyntheticVideo::new(SyntheticVideoConfig::default())
    }

    fn feed(frames: &mut VideoFrames, sequence: &mut u64, frame: &VideoFrame, lost: Option<usize>) -> bool {
        let mut shown = false;
        for (i, packet) in frame.packets.iter().enumerate() {
            if lost != Some(i) {
                shown |= frames.handle_packet(*sequence, packet.marker, &packet.payload);
            }
            *sequence += 1;
        }
        shown
    }

    #[test]
    fn frames_show_from_the_first_whole_key_frame_on() {
        let (mut video, mut frames, mut sequence) = (video(), VideoFrames::default(), 1);
        assert!(
            !feed(&mut frames, &mut sequence, &video.next_frame(None), Some(5)),
            "a key frame with a hole"
        );
        assert!(
            !feed(&mut frames, &mut sequence, &video.next_frame(None), None),
            "a frame without its key frame"
        );
        video.request_keyframe();
        assert!(feed(&mut frames, &mut sequence, &video.next_frame(None), None));
        assert!(feed(&mut frames, &mut sequence, &video.next_frame(None), None));
        assert!(!feed(&mut frames, &mut sequence, &video.next_frame(None), Some(3)), "its end is missing");
        assert_eq!((frames.whole, frames.is_showing()), (2, true));
    }

    #[test]
    fn payloads_that_make_no_sense_are_no_frame() {
        let mut frames = VideoFrames::default();
        for payload in
            [&[][..], &[0x90], &[0x90, 0x80], &[0x90, 0x80, 0x80], &[0x90, 0xf0, 0x80, 0, 0], &[0x11, 0]]
        {
            assert!(!frames.handle_packet(1, true, payload), "{payload:?}");
        }
    }
}
