//! The payload descriptor of VP9 (RFC 9628 section 4.2), as far as it is looked at.

use crate::frame::{Base, Frame, PictureId};

const HAS_PICTURE_ID: u8 = 0x80;
const PREDICTED: u8 = 0x40;
const HAS_LAYERS: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const START: u8 = 0x08;
const END: u8 = 0x04;

/// What a payload says; `None` if it ends before its time.
pub(crate) fn read(payload: &[u8]) -> Option<Frame> {
    let first = *payload.first()?;
    let mut frame = Frame { is_start: first & START != 0, is_end: first & END != 0, ..Frame::default() };
    let mut at = 1;
    if first & HAS_PICTURE_ID != 0 {
        let (picture_id, next) = PictureId::read(payload, at)?;
        (frame.picture_id, at) = (Some(picture_id), next);
    }
    if first & HAS_LAYERS != 0 {
        let layers = *payload.get(at)?;
        at += 1;
        (frame.temporal, frame.spatial) = (layers >> 5, layers >> 1 & 0x07);
        if first & FLEXIBLE == 0 {
            frame.base = Some(Base { at: at as u8, value: *payload.get(at)? });
        }
    }
    frame.is_key = frame.is_start && frame.spatial == 0 && first & PREDICTED == 0;
    // Its switching points speak of the pictures that follow: without a dependency descriptor only key pictures are taken for one.
    frame.can_enter = frame.is_key;
    Some(frame)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layers_and_numbers_are_found() {
        let key = read(&[0xaa, 0x81, 0x02, 0x00, 7, 0xff]).unwrap();
        assert_eq!(key.picture_id, Some(PictureId { at: 1, value: 0x102, is_wide: true }));
        assert_eq!((key.spatial, key.temporal, key.base), (0, 0, Some(Base { at: 4, value: 7 })));
        assert!(key.is_start && !key.is_end && key.is_key);
        let upper = read(&[0xec, 0x05, 0x40 | 0x04 | 0x01, 8]).unwrap();
        assert_eq!((upper.spatial, upper.temporal, upper.is_key), (2, 2, false));
        assert_eq!(upper.picture_id, Some(PictureId { at: 1, value: 5, is_wide: false }));
        let flexible = read(&[0xb8, 0x05, 0x02, 0x99]).unwrap();
        assert_eq!((flexible.spatial, flexible.base), (1, None), "there is no such number in flexible mode");
        assert!(!flexible.is_key, "an upper layer's frame begins no picture");
    }

    proptest! {
        #[test]
        fn no_payload_panics_and_what_is_found_is_in_it(payload in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Some(frame) = read(&payload) {
                let ends = frame.picture_id.map(|id| usize::from(id.at) + 1 + usize::from(id.is_wide));
                prop_assert!(ends.is_none_or(|end| end <= payload.len()));
                prop_assert!(frame.base.is_none_or(|base| usize::from(base.at) < payload.len()));
            }
        }
    }
}
