//! The payload descriptor of VP8 (RFC 7741 section 4.2).

use crate::frame::{Base, Frame, PictureId};

const EXTENDED: u8 = 0x80;
const PARTITION_START: u8 = 0x10;
const PARTITION: u8 = 0x07;
const HAS_PICTURE_ID: u8 = 0x80;
const HAS_BASE: u8 = 0x40;
const HAS_LAYER: u8 = 0x20;
const HAS_KEY_INDEX: u8 = 0x10;
const LAYER_SYNC: u8 = 0x20;
/// In the first byte of a frame (RFC 7741 section 4.3).
const INTERFRAME: u8 = 0x01;

/// What a payload says; `None` if it ends before its time. `marker`: it is its picture's last.
pub(crate) fn read(payload: &[u8], marker: bool) -> Option<Frame> {
    let first = *payload.first()?;
    let is_start = first & PARTITION_START != 0 && first & PARTITION == 0;
    let mut frame = Frame { is_start, is_end: marker, ..Frame::default() };
    let mut at = 1;
    if first & EXTENDED != 0 {
        let has = *payload.get(at)?;
        at += 1;
        if has & HAS_PICTURE_ID != 0 {
            let (picture_id, next) = PictureId::read(payload, at)?;
            (frame.picture_id, at) = (Some(picture_id), next);
        }
        if has & HAS_BASE != 0 {
            frame.base = Some(Base { at: at as u8, value: *payload.get(at)? });
            at += 1;
        }
        if has & (HAS_LAYER | HAS_KEY_INDEX) != 0 {
            let layer = *payload.get(at)?;
            at += 1;
            if has & HAS_LAYER != 0 {
                frame.temporal = layer >> 6;
                frame.can_enter = layer & LAYER_SYNC != 0;
            }
        }
    }
    frame.is_key = is_start && *payload.get(at)? & INTERFRAME == 0;
    Some(frame)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_frame_begins_with_the_first_packet_of_its_first_partition() {
        let bare = read(&[0x10, 0x00, 1, 2], false).unwrap();
        assert_eq!(bare, Frame { is_start: true, is_key: true, ..Frame::default() });
        assert!(!read(&[0x10, 0x01], false).unwrap().is_key, "an interframe");
        assert!(!read(&[0x00, 0x00], false).unwrap().is_key, "not its first packet");
        assert!(!read(&[0x11, 0x00], true).unwrap().is_start, "the second partition");
    }

    #[test]
    fn numbers_and_layers_are_found_whatever_else_is_there() {
        let all = read(&[0x90, 0xf0, 0x80 | 0x7f, 0xfe, 200, 0xa5, 0x00], true).unwrap();
        assert_eq!(all.picture_id, Some(PictureId { at: 2, value: 0x7ffe, is_wide: true }));
        assert_eq!((all.base, all.temporal, all.can_enter), (Some(Base { at: 4, value: 200 }), 2, true));
        assert!(all.is_key && all.is_end);
        let short = read(&[0x80, 0x80, 0x45, 0x01], false).unwrap();
        assert_eq!(short.picture_id, Some(PictureId { at: 2, value: 0x45, is_wide: false }));
        let key_index = read(&[0x90, 0x10, 0xff, 0x00], false).unwrap();
        assert_eq!((key_index.temporal, key_index.is_key), (0, true), "a key index is no layer");
    }

    proptest! {
        #[test]
        fn no_payload_panics_and_what_is_found_is_in_it(payload in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Some(frame) = read(&payload, false) {
                let ends = frame.picture_id.map(|id| usize::from(id.at) + 1 + usize::from(id.is_wide));
                prop_assert!(ends.is_none_or(|end| end <= payload.len()));
                prop_assert!(frame.base.is_none_or(|base| usize::from(base.at) < payload.len()));
            }
        }
    }
}
