//! What crosses from one shard of a node to another: packets of publishers who are viewed there, and notes of what each side is to
//! know. No address is in it, of anybody: a leg is named by its call and its id.
//!
//! A packet may get lost on the way, as on any network. A note is made when there is room for it, from what is true then, so that one
//! that waits grows no longer and never says what is over.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use duocast_media::Packet;
use duocast_model::{AUDIO_MAX_BYTES, CallId, LegId};
use str0m::media::Mid;

use crate::forward::Track;

/// Room that the buffer keeps when it is empty. Higher keeps what one burst took, lower asks the allocator for every batch.
const KEPT_BYTES: usize = 1 << 20;

/// Something for another shard; a packet's contents go beside it.
#[derive(Debug, Clone)]
pub struct Crossing(pub(crate) Content);

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Packet(Head),
    Note(Note),
}

/// A packet for another shard.
#[derive(Debug)]
pub struct Passing<'a> {
    /// That shard's worker.
    pub to: usize,
    /// What it is.
    pub crossing: Crossing,
    /// What it holds, decrypted.
    pub contents: &'a [u8],
}

impl Passing<'_> {
    /// Whether it is long, as those of pictures are.
    pub fn is_video(&self) -> bool {
        self.contents.len() > AUDIO_MAX_BYTES
    }
}

/// A publisher's packet.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) call: CallId,
    pub(crate) leg: LegId,
    /// What it says of places is of its contents.
    packet: Packet,
}

impl Head {
    /// The packet, with its contents at the end of `bytes`. It came no later than `now`.
    pub(crate) fn unpack(&self, now: Instant, contents: [&[u8]; 2], bytes: &mut Vec<u8>) -> Packet {
        let start = bytes.len();
        contents.into_iter().for_each(|part| bytes.extend_from_slice(part));
        let shift = |range: &Range<usize>| range.start + start..range.end + start;
        let packet = &self.packet;
        Packet {
            arrival: packet.arrival.min(now),
            payload: shift(&packet.payload),
            descriptor: shift(&packet.descriptor),
            primary: packet.primary.as_ref().map(shift),
            ..packet.clone()
        }
    }
}

/// What one shard tells another.
#[derive(Debug, Clone)]
pub(crate) enum Note {
    /// What a publisher sends.
    Publishes {
        call: CallId,
        leg: LegId,
        /// Which state of it this is, and the one that its present client began with.
        version: u64,
        began: u64,
        tracks: Vec<Track>,
    },
    /// What is wanted of a publisher.
    Views {
        call: CallId,
        leg: LegId,
        /// The last state that is known; 0 if none.
        version: u64,
        /// Somebody there can be written to.
        is_viewed: bool,
        /// Of which tracks a key frame is needed, with a bit for each encoding.
        keyframes: Vec<(Mid, u8)>,
    },
    /// A defect has ended the call.
    Ended { call: CallId },
}

/// Packets that wait for the shell, which takes them all after each batch: no more than a batch brings.
#[derive(Default)]
pub(crate) struct Queue {
    bytes: Vec<u8>,
    waiting: VecDeque<(usize, Head, Range<usize>)>,
}

impl Queue {
    /// Queues a packet, whose places are in `bytes`, for each of these workers.
    pub(crate) fn push(
        &mut self,
        (call, leg): (CallId, LegId),
        packet: &Packet,
        bytes: &[u8],
        to: impl Iterator<Item = usize>,
    ) {
        let start = self.bytes.len();
        let payload = packet.payload.len();
        let contents = payload + packet.descriptor.len();
        let within =
            |range: &Range<usize>| range.start - packet.payload.start..range.end - packet.payload.start;
        let moved = Packet {
            payload: 0..payload,
            descriptor: payload..contents,
            primary: packet.primary.as_ref().map(within),
            ..packet.clone()
        };
        let before = self.waiting.len();
        for worker in to {
            let head = Head { call, leg, packet: moved.clone() };
            self.waiting.push_back((worker, head, start..start + contents));
        }
        if self.waiting.len() > before {
            self.bytes.extend_from_slice(&bytes[packet.payload.clone()]);
            self.bytes.extend_from_slice(&bytes[packet.descriptor.clone()]);
        }
    }

    /// The next packet.
    pub(crate) fn pop(&mut self) -> Option<Passing<'_>> {
        let Some((to, head, range)) = self.waiting.pop_front() else {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
            return None;
        };
        Some(Passing { to, crossing: Crossing(Content::Packet(head)), contents: &self.bytes[range] })
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
mod tests {
    use std::time::Duration;

    use duocast_media::{Extensions, Frame};

    use super::*;

    #[test]
    fn a_packet_is_on_the_other_side_what_it_was_wherever_its_contents_lie() {
        let now = Instant::now();
        let batch = *b"..payload..primary..descriptor";
        let packet = Packet {
            mid: "a".into(),
            encoding: 2,
            ssrc: 3,
            payload_type: 4,
            marker: true,
            sequence_number: 5,
            timestamp: 6,
            arrival: now + Duration::from_millis(1),
            report: None,
            extensions: Extensions::default(),
            descriptor: 20..30,
            payload: 2..18,
            primary: Some(11..18),
            is_recovered: true,
            frame: Frame::default(),
        };
        let mut queue = Queue::default();
        let of = (CallId::from_u128(1), LegId::from_u128(2));
        queue.push(of, &packet, &batch, [7, 9].into_iter());
        queue.push(of, &packet, &batch, std::iter::empty());
        for worker in [7, 9] {
            let Passing { to, crossing, contents } = queue.pop().unwrap();
            let Content::Packet(head) = &crossing.0 else { panic!("a packet") };
            assert_eq!((to, head.call, head.leg), (worker, of.0, of.1));
            // A ring gives what lies across its end in two parts.
            let (first, second) = contents.split_at(5);
            let mut bytes = b"what was there".to_vec();
            let there = head.unpack(now, [first, second], &mut bytes);
            assert_eq!(&bytes[there.payload.clone()], b"payload..primary");
            assert_eq!(&bytes[there.primary.clone().unwrap()], b"primary");
            assert_eq!(&bytes[there.descriptor.clone()], b"descriptor");
            assert_eq!(bytes.len(), 14 + 26);
            assert_eq!(there.arrival, now, "its worker read the clock before ours did, or so it must seem");
            assert_eq!((there.encoding, there.ssrc, there.sequence_number, there.marker), (2, 3, 5, true));
            assert!(there.is_recovered);
        }
        assert!(queue.pop().is_none());
    }
}
