//! Redundant audio (RFC 2198): a packet that carries the one before it as well, so that a single loss is not heard.
//!
//! A client that finds its way here lossy sends such packets by itself. Where the way to a viewer is, the router makes them. What becomes of
//! the earlier blocks of those that come: `recovery`.

use std::ops::Range;

/// From this share of lost packets on (of 256) redundancy is added: 2 %. Higher leaves gaps to in-band FEC and concealment, lower
/// doubles the sound's rate for nothing that is heard.
const LOSSY_FROM: u8 = 5;

/// A report below this share (of 256) counts as a good one: 1 %.
const CLEAN_BELOW: u8 = 3;

/// Good reports in a row after which redundancy ends. Browsers report on sound every five seconds. Higher pays for longer, lower
/// comes and goes where loss does.
const CLEAN_REPORTS: u8 = 4;

/// What the head of an earlier block can say: its length, and how much older it is.
const EARLIER_BYTES_MAX: usize = (1 << 10) - 1;
pub(crate) const OFFSET_MAX: u32 = (1 << 14) - 1;

/// Earlier blocks of a packet that are looked at, the newest. Browsers send one or two. Higher is more work for one datagram, lower leaves longer
/// losses unrepaired that a client took care of.
pub(crate) const MAX_EARLIER: usize = 3;

const MORE_BLOCKS: u8 = 0x80;
const EARLIER_HEAD_BYTES: usize = 4;

/// A packet's blocks; where they are counts from the beginning of the batch's bytes.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// What was said now.
    pub(crate) primary: Range<usize>,
    /// What was said before it: one packet before, two packets before and so on.
    pub(crate) earlier: [Option<Earlier>; MAX_EARLIER],
}

/// A block that was sent before.
#[derive(Debug, Clone)]
pub(crate) struct Earlier {
    pub(crate) payload_type: u8,
    /// How much older it is, in ticks.
    pub(crate) offset: u32,
    pub(crate) at: Range<usize>,
}

/// Reads redundant audio. `None`: it is none.
pub(crate) fn read(bytes: &[u8], payload: Range<usize>) -> Option<Blocks> {
    let of_packet = bytes.get(payload.clone())?;
    let mut heads: [Option<(u8, u32, usize)>; MAX_EARLIER] = [None; MAX_EARLIER];
    let (mut at, mut earlier_bytes) = (0, 0);
    loop {
        let first = *of_packet.get(at)?;
        if first & MORE_BLOCKS == 0 {
            break;
        }
        let head = u32::from_be_bytes(*of_packet.get(at..)?.first_chunk::<EARLIER_HEAD_BYTES>()?);
        let len = head as usize & EARLIER_BYTES_MAX;
        heads.rotate_right(1);
        heads[0] = Some((first & !MORE_BLOCKS, head >> 10 & OFFSET_MAX, len));
        earlier_bytes += len;
        at += EARLIER_HEAD_BYTES;
    }
    let mut end = payload.start + at + 1 + earlier_bytes;
    let primary = (end <= payload.end).then_some(end..payload.end)?;
    let earlier = heads.map(|head| {
        let (payload_type, offset, len) = head?;
        end -= len;
        Some(Earlier { payload_type, offset, at: end..end + len })
    });
    Some(Blocks { primary, earlier })
}

/// What one viewer is sent of a track, while it loses some of it.
#[derive(Debug, Default)]
pub(crate) struct Redundancy {
    is_on: bool,
    clean_reports: u8,
    /// Number and time of the last packet; its payload is in `bytes`.
    last: Option<(u64, u32)>,
    bytes: Vec<u8>,
}

impl Redundancy {
    /// The viewer lost so many of 256 packets since its last report.
    pub(crate) fn note_loss(&mut self, lost: u8) {
        self.clean_reports = if lost < CLEAN_BELOW { self.clean_reports.saturating_add(1) } else { 0 };
        self.is_on = lost >= LOSSY_FROM || (self.is_on && self.clean_reports < CLEAN_REPORTS);
        if !self.is_on {
            self.last = None;
        }
    }

    /// There is an earlier packet to be sent with this one.
    pub(crate) fn is_due(&self, number: u64, timestamp: u32) -> bool {
        self.last.is_some_and(|(last, at)| last + 1 == number && timestamp.wrapping_sub(at) <= OFFSET_MAX)
    }

    /// Appends all that goes before the payload of a packet for which it is due.
    pub(crate) fn append(&self, timestamp: u32, payload_type: u8, out: &mut Vec<u8>) {
        let offset = timestamp.wrapping_sub(self.last.map_or(timestamp, |(_, at)| at)) & OFFSET_MAX;
        let len = (self.bytes.len() & EARLIER_BYTES_MAX) as u32;
        let [_, a, b, c] = (offset << 10 | len).to_be_bytes();
        out.extend_from_slice(&[MORE_BLOCKS | payload_type, a, b, c, payload_type]);
        out.extend_from_slice(&self.bytes);
    }

    /// Remembers a packet that was sent.
    pub(crate) fn keep(&mut self, number: u64, timestamp: u32, payload: &[u8]) {
        if !self.is_on || self.last.is_some_and(|(last, _)| last >= number) {
            return;
        }
        self.bytes.clear();
        self.last = (payload.len() <= EARLIER_BYTES_MAX).then_some((number, timestamp));
        if self.last.is_some() {
            self.bytes.extend_from_slice(payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPUS: u8 = 111;

    fn all(packet: &[u8]) -> Blocks {
        read(packet, 0..packet.len()).unwrap()
    }

    fn lossy() -> Redundancy {
        let mut redundancy = Redundancy::default();
        redundancy.note_loss(LOSSY_FROM);
        redundancy
    }

    #[test]
    fn a_packet_carries_the_one_before_and_what_is_new_is_found_in_it() {
        let mut redundancy = lossy();
        assert!(!redundancy.is_due(1, 960), "nothing was sent yet");
        redundancy.keep(1, 960, b"before");
        assert!(redundancy.is_due(2, 1920) && !redundancy.is_due(3, 2880), "only of the packet just before");
        assert!(!redundancy.is_due(2, 960 + OFFSET_MAX + 1), "after a long silence there is no saying it");
        let mut packet = Vec::new();
        redundancy.append(1920, OPUS, &mut packet);
        packet.extend_from_slice(b"now");
        // RFC 2198 section 3: F and payload type, 14 bits of time, 10 bits of length; then payload type alone.
        let head = [0x80 | OPUS, (960 >> 6) as u8, ((960 & 0x3f) << 2) as u8, 6, OPUS];
        assert_eq!(packet[..5], head);
        let Blocks { primary, earlier: [Some(before), None, None] } = all(&packet) else {
            panic!("two blocks")
        };
        assert_eq!((&packet[primary], &packet[before.at]), (&b"now"[..], &b"before"[..]));
        assert_eq!((before.payload_type, before.offset), (OPUS, 960));
    }

    #[test]
    fn of_many_blocks_the_newest_count() {
        let mut packet = b"in front".to_vec();
        for (age, len) in [(5_u32, 4_u32), (4, 0), (3, 2), (2, 1), (1, 3)] {
            packet.extend((u32::from(MORE_BLOCKS | OPUS) << 24 | (age * 960) << 10 | len).to_be_bytes());
        }
        packet.push(OPUS);
        packet.extend(b"5555332111now");
        let Blocks { primary, earlier } = read(&packet, 8..packet.len()).unwrap();
        assert_eq!(&packet[primary], b"now");
        let earlier = earlier.map(|block| block.map(|block| (block.offset / 960, &packet[block.at])));
        assert_eq!(earlier, [Some((1, &b"111"[..])), Some((2, b"2")), Some((3, b"33"))]);
        assert!(read(&packet, 8..packet.len() - 4).is_none(), "what its heads say is not there");
        assert!(read(&packet, 8..20).is_none() && read(&packet, 0..1000).is_none());
    }

    #[test]
    fn it_is_added_while_packets_get_lost_and_not_for_long_after() {
        let mut redundancy = Redundancy::default();
        let is_added = |redundancy: &mut Redundancy, lost| {
            redundancy.note_loss(lost);
            redundancy.keep(1, 0, b"x");
            redundancy.is_due(2, 960)
        };
        assert!(!is_added(&mut redundancy, LOSSY_FROM - 1));
        assert!(is_added(&mut redundancy, LOSSY_FROM));
        assert!((1..CLEAN_REPORTS).all(|_| is_added(&mut redundancy, 0)));
        assert!(is_added(&mut redundancy, CLEAN_BELOW), "neither clean nor lossy: it begins anew");
        assert!((1..CLEAN_REPORTS).all(|_| is_added(&mut redundancy, 0)));
        assert!(!is_added(&mut redundancy, 0));
    }

    proptest! {
        #[test]
        fn no_payload_panics_and_what_is_found_is_in_it(payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(Blocks { primary, earlier }) = read(&payload, 0..payload.len()) {
                prop_assert_eq!(primary.end, payload.len());
                let mut end = primary.start;
                for block in earlier.into_iter().flatten() {
                    prop_assert_eq!(block.at.end, end);
                    end = block.at.start;
                }
                prop_assert!(end > 0, "heads are in front of all blocks");
            }
        }

        #[test]
        fn whatever_is_carried_is_found_again(
            before in proptest::collection::vec(any::<u8>(), 0..=EARLIER_BYTES_MAX),
            now in proptest::collection::vec(any::<u8>(), 0..64),
            step in 0..=OFFSET_MAX,
        ) {
            let mut redundancy = lossy();
            redundancy.keep(9, 0, &before);
            prop_assert!(redundancy.is_due(10, step));
            let mut packet = Vec::new();
            redundancy.append(step, OPUS, &mut packet);
            packet.extend_from_slice(&now);
            let Blocks { primary, earlier } = all(&packet);
            prop_assert_eq!(&packet[primary], &now[..]);
            prop_assert_eq!(&packet[earlier[0].as_ref().unwrap().at.clone()], &before[..]);
        }
    }
}
