//! Redundant audio (RFC 2198): a packet that carries the one before it as well, so that a single loss is not heard.
//!
//! A client that finds its way here lossy sends such packets by itself. Where the way to a viewer is, the router makes them.

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
const OFFSET_MAX: u32 = (1 << 14) - 1;

const MORE_BLOCKS: u8 = 0x80;
const EARLIER_HEAD_BYTES: usize = 4;

/// Where the newest block of a packet is; `None` if it is none.
pub(crate) fn primary(payload: &[u8]) -> Option<Range<usize>> {
    let (mut at, mut earlier) = (0, 0);
    loop {
        let first = *payload.get(at)?;
        if first & MORE_BLOCKS == 0 {
            break;
        }
        let head = payload.get(at..)?.first_chunk::<EARLIER_HEAD_BYTES>()?;
        earlier += usize::from(u16::from_be_bytes([head[2], head[3]])) & EARLIER_BYTES_MAX;
        at += EARLIER_HEAD_BYTES;
    }
    let start = at + 1 + earlier;
    (start <= payload.len()).then_some(start..payload.len())
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
        assert_eq!(&packet[primary(&packet).unwrap()], b"now");
        assert_eq!(&packet[5..11], b"before");
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
            if let Some(found) = primary(&payload) {
                prop_assert!(!found.is_empty() || found.start == payload.len());
                prop_assert_eq!(found.end, payload.len());
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
            prop_assert_eq!(&packet[primary(&packet).unwrap()], &now[..]);
        }
    }
}
