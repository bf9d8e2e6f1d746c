//! Datagrams on a byte stream: two bytes of length, then the datagram (RFC 4571 section 2), as ICE-TCP has them
//! (RFC 6544 section 10.1).

/// Longer packets of media are video: audio of one packet a frame stays below. Where one has to give way it is these. Higher
/// takes small pictures for sound, lower takes sound of high rates for pictures.
pub const AUDIO_MAX_BYTES: usize = 400;

/// Bytes in front of each frame.
pub const FRAME_HEADER_BYTES: usize = 2;

/// A frame is longer than its reader allows: the stream is none of ours, or has lost its place. It cannot be read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameTooLong;

impl std::fmt::Display for FrameTooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a frame is longer than any datagram here; close the connection")
    }
}

impl std::error::Error for FrameTooLong {}

/// Cuts received bytes into the frames that are there. Empty frames say nothing and are passed over.
#[derive(Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
    max: usize,
}

impl<'a> Frames<'a> {
    /// Reads `received`; a frame may have `max` bytes.
    pub fn new(received: &'a [u8], max: usize) -> Self {
        Self { rest: received, max }
    }

    /// The next frame; `None`: not all of it is there.
    ///
    /// Errors: [`FrameTooLong`] as soon as its length says so, whatever of it is there.
    pub fn next_frame(&mut self) -> Result<Option<&'a [u8]>, FrameTooLong> {
        while let Some((header, after)) = self.rest.split_first_chunk::<FRAME_HEADER_BYTES>() {
            let length = usize::from(u16::from_be_bytes(*header));
            if length > self.max {
                return Err(FrameTooLong);
            }
            let Some((frame, rest)) = after.split_at_checked(length) else { break };
            self.rest = rest;
            if !frame.is_empty() {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// What follows the last frame, to be kept until more is there. After [`Frames::next_frame`] said `None` it is shorter
    /// than the longest frame with its header.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// What goes in front of a datagram. `None`: it is empty, or longer than a frame can be.
pub fn frame_header(datagram: &[u8]) -> Option<[u8; FRAME_HEADER_BYTES]> {
    let length = u16::try_from(datagram.len()).ok().filter(|length| *length > 0)?;
    Some(length.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1500;

    fn stream_of(datagrams: &[Vec<u8>]) -> Vec<u8> {
        let framed = |d: &Vec<u8>| [&frame_header(d).expect("not empty")[..], d].concat();
        datagrams.iter().flat_map(framed).collect()
    }

    /// Reads as a socket's owner does: keeps what is not complete, and looks again when more is there.
    fn read(pieces: &[&[u8]]) -> Result<(Vec<Vec<u8>>, usize), FrameTooLong> {
        let (mut kept, mut frames) = (Vec::new(), Vec::new());
        for piece in pieces {
            kept.extend_from_slice(piece);
            let mut there = Frames::new(&kept, MAX);
            while let Some(frame) = there.next_frame()? {
                frames.push(frame.to_vec());
            }
            kept = there.rest().to_vec();
            assert!(kept.len() < MAX + FRAME_HEADER_BYTES);
        }
        Ok((frames, kept.len()))
    }

    fn first(received: &[u8]) -> Result<Option<&[u8]>, FrameTooLong> {
        Frames::new(received, MAX).next_frame()
    }

    #[test]
    fn a_frame_is_cut_off_only_when_all_of_it_is_there() {
        let stream = [0, 3, b'a', b'b', b'c', 0];
        for there in 0..5 {
            assert_eq!(first(&stream[..there]), Ok(None), "{there} bytes");
        }
        let mut frames = Frames::new(&stream, MAX);
        assert_eq!(frames.next_frame(), Ok(Some(&b"abc"[..])));
        assert_eq!(frames.next_frame(), Ok(None));
        assert_eq!(frames.rest(), [0]);
    }

    #[test]
    fn a_long_frame_is_refused_by_its_length_alone() {
        assert_eq!(first(&[5, 220]), Ok(None), "1500 bytes may come");
        assert_eq!(first(&[5, 221]), Err(FrameTooLong));
        assert_eq!(first(b"GET / HTTP/1.1\r\n"), Err(FrameTooLong));
        assert_eq!(first(&[0, 0, 0xff]), Ok(None), "half a length says nothing yet");
    }

    #[test]
    fn empty_frames_are_passed_over_and_never_made() {
        assert_eq!(first(&[0, 0, 0, 0, 0, 1, 7]), Ok(Some(&[7][..])));
        assert_eq!(read(&[&[0; 100_001]]), Ok((Vec::new(), 1)), "they do not pile up");
        assert_eq!(frame_header(&[]), None);
        assert_eq!(frame_header(&vec![0; 65_535]), Some([255, 255]));
        assert_eq!(frame_header(&vec![0; 65_536]), None);
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_the_same_datagrams_come_out(
            datagrams in vec(vec(any::<u8>(), 1..200), 0..20),
            cuts in vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let stream = stream_of(&datagrams);
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|w| &stream[w[0]..w[1]]).collect();
            prop_assert_eq!(read(&pieces), Ok((datagrams, 0)));
        }

        #[test]
        fn no_bytes_make_it_panic_or_hold_more_than_one_frame(pieces in vec(vec(any::<u8>(), 0..3000), 0..8)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            if let Ok((frames, _)) = read(&pieces) {
                let told: usize = frames.iter().map(|frame| frame.len() + FRAME_HEADER_BYTES).sum();
                prop_assert!(told <= pieces.iter().map(|piece| piece.len()).sum());
                prop_assert!(frames.iter().all(|frame| (1..=MAX).contains(&frame.len())));
            }
        }
    }
}
