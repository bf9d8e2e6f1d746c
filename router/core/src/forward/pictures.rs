//! The numbers of one viewer's pictures: they go on without a gap or a step back, whichever source and layers feed it.

use std::collections::VecDeque;

use duocast_media::{Base, Frame, PictureId, Renumbered};

/// Bits of a number that is written wide.
const WIDE: u16 = 0x7fff;

/// Most left-out pictures that late packets are still renumbered around.
const MAX_LEFT_OUT: usize = 16;

/// Continuous numbers for changing sources: picture ids and TL0PICIDX of VP8 and VP9, frame numbers of dependency descriptors.
#[derive(Debug, Default)]
pub(crate) struct Pictures {
    /// From the present source's numbers to the viewer's.
    shift: Option<Numbers>,
    /// The source's pictures that the viewer is not sent, in order: its own have no gap.
    left_out: VecDeque<u16>,
    /// The viewer's last.
    last: Option<Numbers>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Numbers {
    picture: u16,
    base: u8,
    frame: u16,
}

impl Pictures {
    /// What follows does not go on from what was before.
    pub(crate) fn interrupt(&mut self) {
        self.shift = None;
        self.left_out.clear();
    }

    /// The viewer's numbers for a packet that it is sent. Numbers of the first source stay as they are.
    pub(crate) fn place(&mut self, frame: &Frame) -> Renumbered {
        let own = Numbers {
            picture: frame.picture_id.map_or(0, |id| id.value),
            base: frame.base.map_or(0, |base| base.value),
            frame: frame.number.unwrap_or(0),
        };
        let last = self.last;
        let shift = *self.shift.get_or_insert_with(|| {
            last.map_or(Numbers::default(), |last| Numbers {
                picture: last.picture.wrapping_add(1).wrapping_sub(own.picture) & WIDE,
                base: last.base.wrapping_add(1).wrapping_sub(own.base),
                frame: last.frame.wrapping_add(1).wrapping_sub(own.frame),
            })
        });
        let skipped =
            self.left_out.iter().filter(|left_out| is_before(**left_out, own.picture)).count() as u16;
        let placed = Numbers {
            picture: own.picture.wrapping_add(shift.picture).wrapping_sub(skipped) & WIDE,
            base: own.base.wrapping_add(shift.base),
            frame: own.frame.wrapping_add(shift.frame),
        };
        let last = self.last.get_or_insert(placed);
        if frame.picture_id.is_some() && is_before(last.picture, placed.picture) {
            last.picture = placed.picture;
        }
        if frame.base.is_some() && placed.base.wrapping_sub(last.base).cast_signed() > 0 {
            last.base = placed.base;
        }
        if frame.number.is_some() && placed.frame.wrapping_sub(last.frame).cast_signed() > 0 {
            last.frame = placed.frame;
        }
        Renumbered {
            picture_id: frame.picture_id.map(|id| PictureId { value: placed.picture, ..id }),
            base: frame.base.map(|base| Base { value: placed.base, ..base }),
            number: frame.number.map(|_| placed.frame),
        }
    }

    /// A whole picture is left out: one whose lowest layer is.
    pub(crate) fn leave_out(&mut self, frame: &Frame) {
        let (Some(id), Some(shift)) = (frame.picture_id, &mut self.shift) else { return };
        let is_new = self.left_out.back().is_none_or(|last| is_before(*last, id.value));
        if !(frame.is_start && frame.spatial == 0 && is_new) {
            return;
        }
        self.left_out.push_back(id.value);
        if self.left_out.len() > MAX_LEFT_OUT {
            self.left_out.pop_front();
            shift.picture = shift.picture.wrapping_sub(1);
        }
    }
}

/// In the order of 15 bits that wrap.
fn is_before(one: u16, other: u16) -> bool {
    let ahead = other.wrapping_sub(one) & WIDE;
    ahead != 0 && ahead < 0x4000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(picture: u16, base: u8, number: u16) -> Frame {
        Frame {
            is_start: true,
            picture_id: Some(PictureId { at: 2, value: picture & WIDE, is_wide: true }),
            base: Some(Base { at: 4, value: base }),
            number: Some(number),
            ..Frame::default()
        }
    }

    fn placed(pictures: &mut Pictures, picture: u16, base: u8, number: u16) -> (u16, u8, u16) {
        let to = pictures.place(&frame(picture, base, number));
        (to.picture_id.unwrap().value, to.base.unwrap().value, to.number.unwrap())
    }

    #[test]
    fn a_new_source_goes_on_where_the_one_before_stopped() {
        let mut pictures = Pictures::default();
        assert_eq!(placed(&mut pictures, 0x7fff, 255, 65_535), (0x7fff, 255, 65_535));
        assert_eq!(placed(&mut pictures, 0, 0, 0), (0, 0, 0), "across the wrap");
        pictures.interrupt();
        assert_eq!(placed(&mut pictures, 500, 50, 5000), (1, 1, 1));
        assert_eq!(placed(&mut pictures, 501, 50, 5001), (2, 1, 2));
        assert_eq!(placed(&mut pictures, 500, 50, 5000), (1, 1, 1), "late");
        pictures.interrupt();
        assert_eq!(placed(&mut pictures, 9, 9, 9), (3, 2, 3));
    }

    proptest! {
        /// Model: number the pictures that are not left out one after the other.
        #[test]
        fn pictures_that_are_left_out_leave_no_gap(out in proptest::collection::vec(any::<bool>(), 1..200), first: u16) {
            let mut pictures = Pictures::default();
            let mut expected = placed(&mut pictures, first, 0, 0).0;
            for (n, left_out) in out.iter().enumerate() {
                let picture = first.wrapping_add(1 + n as u16);
                if *left_out {
                    pictures.leave_out(&frame(picture, 0, 0));
                } else {
                    expected = (expected + 1) & WIDE;
                    prop_assert_eq!(placed(&mut pictures, picture, 0, 0).0, expected);
                }
            }
        }
    }
}
