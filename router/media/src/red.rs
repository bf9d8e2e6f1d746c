//! Redundant audio (RFC 2198): a packet that carries those before it as well, so that a loss is not heard.
//!
//! A client that finds its way here lossy sends such packets by itself. They end here: what was lost is taken out of them (`recovery`). Where the
//! way to a viewer is lossy, the router makes others; and everywhere, to bring what was taken out.

use std::ops::Range;

/// From this share of lost packets on (of 256) redundancy is added: 1.2 %, three in a browser's report. Each of a call's two hops has half of what a
/// direct way loses. Higher leaves gaps to in-band FEC and concealment (1 % made up cost 1.1 of PESQ-wb), lower sends sound three times for
/// nothing that is heard.
const LOSSY_FROM: u8 = 3;

/// A report below this share (of 256) counts as a good one: 0.8 %.
const CLEAN_BELOW: u8 = 2;

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

/// Earlier packets that one carries. With as many, a tenth lost at random leaves one packet in a thousand missing, and one in a hundred with
/// one. Higher costs another 30 kbit/s, and comes too late for most players; lower leaves losses in a row to be heard.
const CARRIED: usize = 2;

/// What that is, of sound of 30 kbit/s.
const ADDED_BITS: u64 = 64_000;

/// Most bytes of a redundant payload: what would make it longer is left out, the oldest first. The transports take a datagram of up to 400 bytes for
/// sound, and let pictures give way to it. Higher has sound taken for a picture, and in the end fragments; lower has it carry less.
const WRAPPED_BYTES_MAX: usize = 330;

/// Most bytes of lost sound that goes inside the packets after it: beside as much it fits. Higher is lost if the packets after it are as long, lower goes by
/// itself more often, too late for a player that holds little back.
pub const CARRIED_BYTES_MAX: usize = (WRAPPED_BYTES_MAX - EARLIER_HEAD_BYTES - 1) / 2;

/// What one viewer is sent of a track inside later packets: all of it while it loses some, and what was lost before it came here.
#[derive(Debug, Default)]
pub(crate) struct Redundancy {
    is_on: bool,
    clean_reports: u8,
    /// What was sent last or is yet to be, the oldest first. While it is off, only what was lost on the way here.
    earlier: [Kept; CARRIED],
}

/// A packet that was sent, or what goes only inside others.
#[derive(Debug, Default)]
struct Kept {
    /// Number and time; `None`: there is none. What goes only inside others has the number of the packet before it, and a time of its own.
    at: Option<(u64, u32)>,
    bytes: Vec<u8>,
}

impl Redundancy {
    /// The viewer lost so many of 256 packets since its last report.
    pub(crate) fn note_loss(&mut self, lost: u8) {
        self.clean_reports = if lost < CLEAN_BELOW { self.clean_reports.saturating_add(1) } else { 0 };
        let was_on = self.is_on;
        self.is_on = lost >= LOSSY_FROM || (was_on && self.clean_reports < CLEAN_REPORTS);
        // Not with every report while it is off: lost sound may wait for its second packet. Nor does that need it, since what is older than two packets is
        // not carried. For its first it waits here only if it crossed from another worker in an earlier batch than the packet that brought it.
        if was_on && !self.is_on {
            self.earlier.iter_mut().for_each(|kept| kept.at = None);
        }
    }

    /// There is an earlier packet to be sent with this one.
    pub(crate) fn is_due(&self, number: u64, timestamp: u32, payload_bytes: usize) -> bool {
        self.carried(number, timestamp, payload_bytes).next().is_some()
    }

    /// What is sent beyond what publishers send, in bits per second.
    pub(crate) fn added_bits(&self) -> u64 {
        // To a viewer that takes none nothing is kept.
        let is_added = self.is_on && self.earlier.iter().all(|kept| kept.at.is_some());
        if is_added { ADDED_BITS } else { 0 }
    }

    /// Appends all that goes before the payload of a packet for which it is due.
    pub(crate) fn append(
        &self,
        (number, timestamp, payload_bytes): (u64, u32, usize),
        payload_type: u8,
        out: &mut Vec<u8>,
    ) {
        for (offset, bytes) in self.carried(number, timestamp, payload_bytes) {
            let len = (bytes.len() & EARLIER_BYTES_MAX) as u32;
            let [_, a, b, c] = (offset << 10 | len).to_be_bytes();
            out.extend_from_slice(&[MORE_BLOCKS | payload_type, a, b, c]);
        }
        out.push(payload_type);
        let carried = self.carried(number, timestamp, payload_bytes);
        carried.for_each(|(_, bytes)| out.extend_from_slice(bytes));
    }

    /// What this packet carries of those just before it: how much older in ticks, and the payload; the oldest first. A receiver knows by the time alone which
    /// packet it was.
    fn carried(
        &self,
        number: u64,
        timestamp: u32,
        payload_bytes: usize,
    ) -> impl Iterator<Item = (u32, &[u8])> {
        let offset = move |kept: &Kept| {
            let (before, at) = kept.at?;
            let (distance, offset) = (number.checked_sub(before)?, timestamp.wrapping_sub(at));
            let is_just_before =
                (1..=CARRIED as u64).contains(&distance) && (1..=OFFSET_MAX).contains(&offset);
            is_just_before.then_some(offset)
        };
        let mut left = WRAPPED_BYTES_MAX.saturating_sub(payload_bytes + 1);
        let fits = |kept: &&Kept| {
            let takes = if offset(kept).is_some() { EARLIER_HEAD_BYTES + kept.bytes.len() } else { 0 };
            let fits = takes <= left;
            left = left.saturating_sub(takes);
            fits
        };
        let from = CARRIED - self.earlier.iter().rev().take_while(fits).count();
        let carried = self.earlier.get(from..).unwrap_or_default();
        carried.iter().filter_map(move |kept| Some((offset(kept)?, &kept.bytes[..])))
    }

    /// Remembers a packet that was sent. One that came late takes its place among them.
    pub(crate) fn keep(&mut self, number: u64, timestamp: u32, payload: &[u8]) {
        if self.is_on {
            self.insert((number, timestamp), payload);
        }
    }

    /// Remembers lost sound that is no packet to the viewer: it goes inside the next, which has this number, and the one after that, whether redundancy is on
    /// or off. Of three in a row, which browsers never have in one packet, the oldest stays lost.
    pub(crate) fn carry(&mut self, number: u64, timestamp: u32, payload: &[u8]) {
        self.insert((number.saturating_sub(1), timestamp), payload);
    }

    fn insert(&mut self, at: (u64, u32), payload: &[u8]) {
        let is_older = |kept: &Kept| kept.at.is_none_or(|before| is_before(before, at));
        let is_known = self.earlier.iter().any(|kept| kept.at == Some(at));
        let older = self.earlier.iter().take_while(|kept| is_older(kept)).count();
        if payload.len() > EARLIER_BYTES_MAX || is_known {
            return;
        }
        let older = self.earlier.get_mut(..older).unwrap_or_default();
        if let Some(oldest) = older.first_mut() {
            oldest.at = Some(at);
            oldest.bytes.clear();
            oldest.bytes.extend_from_slice(payload);
            older.rotate_left(1);
        }
    }
}

/// Of two numbers and times, the first is the older one. Times count between equal numbers only: those of long ago would seem to be in the future.
fn is_before((number, timestamp): (u64, u32), (other, other_timestamp): (u64, u32)) -> bool {
    let is_later = (1..=u32::MAX / 2).contains(&other_timestamp.wrapping_sub(timestamp));
    number < other || (number == other && is_later)
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

    /// What the packet of this number and time carries.
    fn packet(redundancy: &Redundancy, number: u64, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        redundancy.append((number, timestamp, payload.len()), OPUS, &mut packet);
        packet.extend_from_slice(payload);
        packet
    }

    #[test]
    fn a_packet_carries_the_two_before_and_all_is_found_in_it() {
        let mut redundancy = lossy();
        assert!(!redundancy.is_due(1, 960, 0), "nothing was sent yet");
        redundancy.keep(1, 960, b"first");
        assert!(
            redundancy.is_due(2, 1920, 0) && redundancy.is_due(3, 2880, 0),
            "of the two packets just before"
        );
        assert!(!redundancy.is_due(4, 3840, 0) && !redundancy.is_due(1, 960, 0));
        assert!(!redundancy.is_due(2, 960 + OFFSET_MAX + 1, 0), "after a long silence there is no saying it");
        let second = packet(&redundancy, 2, 1920, b"second");
        // RFC 2198 section 3: F and payload type, 14 bits of time, 10 bits of length; then payload type alone.
        let head = [0x80 | OPUS, (960 >> 6) as u8, ((960 & 0x3f) << 2) as u8, 5, OPUS];
        assert_eq!(second[..5], head);
        redundancy.keep(2, 1920, b"second");
        let third = packet(&redundancy, 3, 2880, b"third");
        let Blocks { primary, earlier: [Some(newer), Some(older), None] } = all(&third) else {
            panic!("three blocks")
        };
        assert_eq!(&third[primary], b"third");
        assert_eq!((newer.payload_type, newer.offset, &third[newer.at]), (OPUS, 960, &b"second"[..]));
        assert_eq!((older.offset, &third[older.at]), (1920, &b"first"[..]));
    }

    #[test]
    fn a_packet_that_comes_late_takes_its_place_and_one_too_late_has_none() {
        let mut redundancy = lossy();
        for (number, payload) in [(1, b"1"), (3, b"3"), (2, b"2"), (1, b"1"), (3, b"x")] {
            redundancy.keep(number, number as u32 * 960, payload);
        }
        let fourth = packet(&redundancy, 4, 3840, b"4");
        assert_eq!(fourth[fourth.len() - 3..], *b"234");
    }

    /// What the packet of this number says of those before it, the oldest first: how many packets of 20 ms older it is, and what it says. `round`: which one it was
    /// to the publisher.
    fn earlier(redundancy: &Redundancy, number: u64, round: u32) -> Vec<(u32, String)> {
        let packet = packet(redundancy, number, round * 960, b"now");
        let Blocks { primary, earlier } = all(&packet);
        assert_eq!(&packet[primary], b"now");
        let says =
            |block: Earlier| (block.offset / 960, String::from_utf8_lossy(&packet[block.at]).into_owned());
        earlier.into_iter().rev().flatten().map(says).collect()
    }

    #[test]
    fn without_redundancy_lost_sound_goes_inside_the_next_two_packets_and_no_other_does() {
        let mut redundancy = Redundancy::default();
        let says = |age: u32, what: &str| (age, what.to_owned());
        for (number, round) in [(10, 1_000_000), (500, 20)] {
            redundancy.keep(number - 1, (round - 1) * 960, b"sent");
            redundancy.carry(number, round * 960, b"lost");
            assert_eq!(earlier(&redundancy, number, round + 1), [says(1, "lost")]);
            redundancy.keep(number, (round + 1) * 960, b"sent");
            redundancy.note_loss(0);
            assert_eq!(
                earlier(&redundancy, number + 1, round + 2),
                [says(2, "lost")],
                "a report changes nothing"
            );
            redundancy.keep(number + 1, (round + 2) * 960, b"sent");
            assert!(!redundancy.is_due(number + 2, (round + 3) * 960, 3));
            assert_eq!(redundancy.added_bits(), 0);
        }
        redundancy.carry(900, 9 * 960, b"one");
        redundancy.carry(900, 10 * 960, b"two");
        assert_eq!(earlier(&redundancy, 900, 11), [says(2, "one"), says(1, "two")]);
        assert_eq!(earlier(&redundancy, 901, 12), [says(3, "one"), says(2, "two")]);
        assert!(!redundancy.is_due(902, 13 * 960, 3));
        assert_eq!(redundancy.added_bits(), 0);
    }

    #[test]
    fn with_redundancy_lost_sound_takes_its_place_among_what_was_sent() {
        let mut redundancy = lossy();
        let says = |age: u32, what: &str| (age, what.to_owned());
        redundancy.keep(8, 960, b"1");
        redundancy.keep(9, 2 * 960, b"2");
        redundancy.carry(10, 3 * 960, b"3");
        assert_eq!(earlier(&redundancy, 10, 4), [says(2, "2"), says(1, "3")]);
        redundancy.keep(10, 4 * 960, b"4");
        assert_eq!(earlier(&redundancy, 11, 5), [says(2, "3"), says(1, "4")]);
        // The number of one that comes late is that of which the lost one goes by; it is older.
        redundancy.carry(13, 7 * 960, b"7");
        redundancy.keep(12, 6 * 960, b"6");
        assert_eq!(earlier(&redundancy, 13, 8), [says(2, "6"), says(1, "7")]);
        // Near where times begin again.
        let wraps = u32::MAX - 959;
        redundancy.keep(20, wraps, b"before");
        redundancy.carry(21, 0, b"after");
        assert_eq!(earlier(&redundancy, 21, 1), [says(2, "before"), says(1, "after")]);
        (0..CLEAN_REPORTS).for_each(|_| redundancy.note_loss(0));
        assert!(!redundancy.is_due(21, 960, 3), "it is over");
    }

    #[test]
    fn lost_sound_of_the_longest_that_may_fits_beside_as_much() {
        let mut redundancy = Redundancy::default();
        redundancy.carry(2, 960, &[0; CARRIED_BYTES_MAX]);
        assert!(redundancy.is_due(2, 1920, CARRIED_BYTES_MAX));
    }

    #[test]
    fn it_stays_short_and_leaves_out_the_oldest_first() {
        for (bytes, carried) in [(60, 2), (105, 2), (120, 1), (160, 1), (170, 0), (400, 0)] {
            let mut redundancy = lossy();
            (1..3)
                .for_each(|number| redundancy.keep(number, number as u32 * 960, &vec![number as u8; bytes]));
            assert_eq!(redundancy.is_due(3, 2880, bytes), carried > 0, "{bytes}");
            if carried > 0 {
                let packet = packet(&redundancy, 3, 2880, &vec![3; bytes]);
                let found = all(&packet).earlier.iter().flatten().count();
                assert!(found == carried && packet.len() <= WRAPPED_BYTES_MAX, "{bytes}: {found}");
            }
        }
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
            redundancy.is_due(2, 960, 0)
        };
        let lost_of_250 = |packets: u32| (packets * 256 / 250) as u8;
        assert!(!is_added(&mut redundancy, lost_of_250(2)));
        assert!(is_added(&mut redundancy, lost_of_250(3)), "what a hop loses of 3 % in all");
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
            before in proptest::collection::vec(any::<u8>(), 0..200),
            now in proptest::collection::vec(any::<u8>(), 0..64),
            step in 0..=OFFSET_MAX,
        ) {
            let mut redundancy = lossy();
            redundancy.keep(9, 0, &before);
            prop_assert_eq!(redundancy.is_due(10, step, now.len()), step > 0);
            let packet = packet(&redundancy, 10, step.max(1), &now);
            let Blocks { primary, earlier } = all(&packet);
            prop_assert_eq!(&packet[primary], &now[..]);
            prop_assert_eq!(&packet[earlier[0].as_ref().unwrap().at.clone()], &before[..]);
        }
    }
}
