//! The payload of H264 (RFC 6184), as far as telling key frames takes.

use crate::frame::Frame;

/// NAL unit types: a slice of a key frame, parameters, several units in one packet, one unit in several.
const KEY_SLICE: u8 = 5;
const PARAMETERS: u8 = 7;
const AGGREGATE: u8 = 24;
const FRAGMENT: u8 = 28;
/// Of a fragment: it is the unit's first.
const FIRST: u8 = 0x80;
const TYPE: u8 = 0x1f;

/// Most units of one packet that are looked at: parameters come first.
const MAX_UNITS: usize = 8;

/// What a payload says. `marker`: it is its picture's last. Where a picture begins is not said: a key frame begins with its
/// parameters, and of other pictures nobody asks.
pub(crate) fn read(payload: &[u8], marker: bool) -> Frame {
    let is_key = match payload {
        [first, rest @ ..] if first & TYPE == AGGREGATE => units(rest).take(MAX_UNITS).any(begins_key_frame),
        // Its first slice may come without parameters in front.
        [first, head, ..] if first & TYPE == FRAGMENT => head & FIRST != 0 && begins_key_frame(head & TYPE),
        [first, ..] => begins_key_frame(first & TYPE),
        [] => false,
    };
    Frame { is_start: is_key, is_end: marker, is_key, ..Frame::default() }
}

fn begins_key_frame(unit_type: u8) -> bool {
    unit_type == KEY_SLICE || unit_type == PARAMETERS
}

/// The types of the units of an aggregate, each of which follows its length.
fn units(mut bytes: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let (len, rest) = bytes.split_first_chunk::<2>()?;
        let (unit, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        bytes = rest;
        Some(unit.first()? & TYPE)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_frame_is_told_by_its_parameters_or_its_first_slice() {
        let is_key = |payload: &[u8]| read(payload, false).is_key;
        assert!(is_key(&[0x67, 1]) && is_key(&[0x65, 1]));
        assert!(!is_key(&[0x41, 1]), "a slice of another picture");
        assert!(is_key(&[0x78, 0, 1, 0x67, 0, 1, 0x68]), "parameters together");
        assert!(!is_key(&[0x78, 0, 1, 0x41, 0, 9, 0x67]), "a unit that is longer than the packet");
        assert!(is_key(&[0x7c, 0x85, 1]) && !is_key(&[0x7c, 0x05, 1]), "its first fragment alone");
        assert!(read(&[0x41], true).is_end);
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..40)) {
            read(&payload, true);
        }
    }
}
