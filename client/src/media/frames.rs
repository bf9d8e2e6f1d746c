//! Which frames of a received video stream a decoder could show, without a decoder.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use str0m::format::Codec;

use super::{ReceivedRtp, mark};

/// Packets held while one before them is missing. At the bound the gap is given up. Higher waits longer on fast streams.
const HELD_MAX: usize = 512;

/// How long a missing packet is waited for, so that a repetition may come. Higher repairs more on long round trips, lower
/// asks for a key frame sooner.
const REPAIR_MAX: Duration = Duration::from_millis(300);

/// At most one key frame is asked for in this time. Higher leaves the picture frozen if the request or the frame is lost,
/// lower asks for frames that are on their way.
const ASK_INTERVAL: Duration = Duration::from_millis(250);

/// A frame that can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) rtp_time: u32,
    /// When it was sent, if its last packet carries a [`mark`].
    pub(crate) sent: Option<u64>,
}

/// What a packet means for its frame.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// It is the last packet of this frame.
    ends: Option<Shown>,
    starts_key_frame: bool,
    picture: Option<u16>,
}

/// Frames of one stream. Feed packets as they come.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    held: BTreeMap<u64, Piece>,
    /// The next packet of a stream that can be decoded; `None` until there is a key frame.
    next: Option<u64>,
    picture: Option<u16>,
    missing_since: Option<Instant>,
    last_frame_at: Option<Instant>,
    asked_at: Option<Instant>,
    heard_at: Option<Instant>,
}

impl Frames {
    /// Takes a packet; the frames that can be shown because of it go to `shown`.
    pub(crate) fn handle_packet(&mut self, packet: &ReceivedRtp, shown: &mut Vec<Shown>) {
        let now = packet.arrived;
        self.heard_at = Some(now);
        if self.next.is_some_and(|next| packet.sequence < next) {
            return;
        }
        self.held.insert(packet.sequence, piece(packet));
        self.advance(now, shown);
        let waited =
            self.missing_since.is_some_and(|since| now.saturating_duration_since(since) >= REPAIR_MAX);
        if waited || self.held.len() > HELD_MAX {
            self.lose();
            self.advance(now, shown);
        }
    }

    /// The next frame can be shown when it comes.
    pub(crate) fn is_decodable(&self) -> bool {
        self.next.is_some()
    }

    /// When the last frame that can be shown was complete.
    pub(crate) fn last_frame_at(&self) -> Option<Instant> {
        self.last_frame_at
    }

    /// When the last packet came.
    pub(crate) fn heard_at(&self) -> Option<Instant> {
        self.heard_at
    }

    /// True, once in a while, when packets come and only a key frame helps.
    pub(crate) fn must_ask(&mut self, now: Instant) -> bool {
        let comes = self.heard_at.is_some_and(|at| now.saturating_duration_since(at) < ASK_INTERVAL);
        let is_due = self.asked_at.is_none_or(|at| now.saturating_duration_since(at) >= ASK_INTERVAL);
        let must = self.next.is_none() && comes && is_due;
        if must {
            self.asked_at = Some(now);
        }
        must
    }

    fn advance(&mut self, now: Instant, shown: &mut Vec<Shown>) {
        let before = shown.len();
        if self.next.is_none() {
            self.find_key_frame();
        }
        while let Some(next) = self.next {
            let Some(piece) = self.held.remove(&next) else { break };
            let follows = match (self.picture, piece.picture) {
                (Some(last), Some(this)) => this == last || this == (last + 1) & 0x7fff,
                _ => true,
            };
            if !follows && !piece.starts_key_frame {
                // The sender left frames out here: this way was not used for a while.
                self.lose();
                self.find_key_frame();
                continue;
            }
            self.picture = piece.picture.or(self.picture);
            self.next = Some(next + 1);
            if let Some(frame) = piece.ends {
                shown.push(frame);
                self.last_frame_at = Some(now);
            }
        }
        let is_missing = self.next.is_some() && !self.held.is_empty();
        self.missing_since = if is_missing {
            self.missing_since.filter(|_| shown.len() == before).or(Some(now))
        } else {
            None
        };
    }

    fn lose(&mut self) {
        self.next = None;
        self.picture = None;
        self.missing_since = None;
    }

    fn find_key_frame(&mut self) {
        let key = self.held.iter().rev().find(|(_, piece)| piece.starts_key_frame).map(|(n, _)| *n);
        match key {
            Some(key) => {
                self.held = self.held.split_off(&key);
                self.next = Some(key);
            }
            // What came before a key frame that is still to come is of no use, but for its last moment of reordering.
            None => {
                while self.held.len() > HELD_MAX / 4 {
                    self.held.pop_first();
                }
            }
        }
    }
}

/// Reads VP8's payload descriptor (RFC 7741 section 4.2). Of other codecs every frame counts as one that can be decoded.
fn piece(packet: &ReceivedRtp) -> Piece {
    let ends = packet.marker.then(|| Shown { rtp_time: packet.rtp_time, sent: mark::read(&packet.payload) });
    if packet.codec != Codec::Vp8 {
        return Piece { ends, starts_key_frame: true, picture: None };
    }
    let (picture, body, starts) = descriptor(&packet.payload).unwrap_or((None, &[], false));
    let starts_key_frame = starts && body.first().is_some_and(|tag| tag & 1 == 0);
    Piece { ends, starts_key_frame, picture }
}

/// Picture id, what follows the descriptor, and whether a frame starts here.
fn descriptor(payload: &[u8]) -> Option<(Option<u16>, &[u8], bool)> {
    let (&first, mut rest) = payload.split_first()?;
    let starts = first & 0x10 != 0 && first & 0x07 == 0;
    if first & 0x80 == 0 {
        return Some((None, rest, starts));
    }
    let (&extension, after) = rest.split_first()?;
    rest = after;
    let mut picture = None;
    if extension & 0x80 != 0 {
        let (&high, after) = rest.split_first()?;
        rest = after;
        if high & 0x80 != 0 {
            let (&low, after) = rest.split_first()?;
            rest = after;
            picture = Some(u16::from_be_bytes([high & 0x7f, low]));
        }
    }
    let more = usize::from(extension & 0x40 != 0) + usize::from(extension & 0x30 != 0);
    Some((picture, rest.get(more..)?, starts))
}

/// Fuzzed: payloads of video, as the other party sends them; the first byte of each piece of eight says which come late.
#[cfg(any(test, duocast_fuzz))]
pub(crate) fn fuzz(input: &[u8]) {
    let start = Instant::now();
    let (mut frames, mut shown) = (Frames::default(), Vec::new());
    for (n, piece) in input.chunks(8).enumerate() {
        let Some((&order, payload)) = piece.split_first() else { return };
        let _ = descriptor(payload);
        let _ = super::mark::read(payload);
        let arrived = start + Duration::from_millis(n as u64 * u64::from(order >> 4));
        let packet = ReceivedRtp {
            sequence: (n as u64).wrapping_add(u64::from(order & 7)),
            rtp_time: n as u32,
            marker: order & 8 != 0,
            codec: Codec::Vp8,
            payload: payload.into(),
            arrived,
        };
        frames.handle_packet(&packet, &mut shown);
        assert!(frames.held.len() <= HELD_MAX + 1);
        frames.must_ask(arrived);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{SyntheticVideo, SyntheticVideoConfig};

    struct Line {
        source: SyntheticVideo,
        sequence: u64,
        now: Instant,
        frames: Frames,
    }

    impl Line {
        fn new() -> Self {
            let source = SyntheticVideo::new(SyntheticVideoConfig::default());
            Self { source, sequence: 0, now: Instant::now(), frames: Frames::default() }
        }

        /// Makes a frame; its packets, without those whose index is in `lost`, arrive.
        fn frame(&mut self, lost: &[usize]) -> u64 {
            self.now += Duration::from_millis(33);
            let frame = self.source.next_frame(None);
            let mut shown = 0;
            for (n, packet) in frame.packets.iter().enumerate() {
                self.sequence += 1;
                if !lost.contains(&n) {
                    shown += self.arrives(self.sequence, frame.rtp_time, packet);
                }
            }
            shown
        }

        fn arrives(&mut self, sequence: u64, rtp_time: u32, packet: &crate::media::VideoPacket) -> u64 {
            let packet = ReceivedRtp {
                sequence,
                rtp_time,
                marker: packet.marker,
                codec: Codec::Vp8,
                payload: packet.payload.clone(),
                arrived: self.now,
            };
            let mut shown = Vec::new();
            self.frames.handle_packet(&packet, &mut shown);
            shown.len() as u64
        }
    }

    #[test]
    fn whole_frames_are_shown_from_the_first_key_frame_on() {
        let mut line = Line::new();
        assert_eq!(line.frame(&[0]), 0, "a key frame without its start");
        assert!(!line.frames.is_decodable() && line.frames.must_ask(line.now));
        assert!(!line.frames.must_ask(line.now), "once in a while");
        assert_eq!(line.frame(&[]), 0);
        line.source.request_keyframe();
        assert_eq!((line.frame(&[]), line.frame(&[])), (1, 1));
        assert!(line.frames.is_decodable());
    }

    #[test]
    fn a_packet_that_comes_late_completes_what_waited_for_it() {
        let mut line = Line::new();
        line.frame(&[]);
        let first = line.sequence;
        line.now += Duration::from_millis(33);
        let frame = line.source.next_frame(None);
        for n in [0, 2, 3, 1] {
            let shown = line.arrives(first + 1 + n as u64, frame.rtp_time, &frame.packets[n]);
            assert_eq!(shown, u64::from(n == 1));
        }
        line.sequence += 4;
        assert_eq!(line.frame(&[]), 1);
    }

    #[test]
    fn a_lost_packet_freezes_the_picture_until_the_next_key_frame() {
        let mut line = Line::new();
        line.frame(&[]);
        let shown: u64 = std::iter::once(line.frame(&[1])).chain((0..12).map(|_| line.frame(&[]))).sum();
        assert_eq!(shown, 0);
        assert!(line.frames.must_ask(line.now));
        line.source.request_keyframe();
        assert_eq!((line.frame(&[]), line.frame(&[])), (1, 1));
    }

    #[test]
    fn a_way_that_was_not_used_for_a_while_needs_a_key_frame() {
        let mut line = Line::new();
        line.frame(&[]);
        let _elsewhere = (0..5).map(|_| line.source.next_frame(None)).count();
        assert_eq!(line.frame(&[]), 0);
        assert!(!line.frames.is_decodable());
        line.source.request_keyframe();
        assert_eq!(line.frame(&[]), 1);
    }

    #[test]
    fn nonsense_is_no_key_frame_and_no_panic() {
        for payload in [&[][..], &[0x80], &[0x80, 0x80], &[0x80, 0x80, 0x80], &[0x90, 0xf0, 0x80, 1], &[0x10]]
        {
            assert!(descriptor(payload).is_none_or(|(_, body, _)| body.is_empty()), "{payload:?}");
        }
    }
}
