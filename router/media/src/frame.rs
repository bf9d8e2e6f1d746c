//! What a packet of video says of its frame, whatever the codec: what forwarding decides by, and what it renumbers.

use crate::descriptor::{self, Structure};
use crate::{h264, vp8, vp9};

/// Video codecs, as far as their payloads are read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Codec {
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// RFC 6184.
    H264,
    /// AV1 RTP specification: by its dependency descriptor alone.
    Av1,
    /// Sound, or what is not read.
    #[default]
    Other,
}

impl From<str0m::format::Codec> for Codec {
    fn from(codec: str0m::format::Codec) -> Self {
        match codec {
            str0m::format::Codec::Vp8 => Self::Vp8,
            str0m::format::Codec::Vp9 => Self::Vp9,
            str0m::format::Codec::H264 => Self::H264,
            str0m::format::Codec::Av1 => Self::Av1,
            _ => Self::Other,
        }
    }
}

/// The frame that a packet is part of: one layer's share of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frame {
    /// The packet is the frame's first.
    pub is_start: bool,
    /// The packet is the frame's last.
    pub is_end: bool,
    /// A decoder can begin here: said by the first packet of a key frame's lowest layer.
    pub is_key: bool,
    /// Its spatial layer; 0 is the lowest.
    pub spatial: u8,
    /// Its temporal layer; 0 is the lowest.
    pub temporal: u8,
    /// Who had only lower temporal layers of its spatial layer can go on with this one.
    pub can_enter: bool,
    /// The picture's number in the payload.
    pub picture_id: Option<PictureId>,
    /// The running number of the lowest temporal layer (TL0PICIDX).
    pub base: Option<Base>,
    /// The frame's number in its dependency descriptor.
    pub number: Option<u16>,
}

/// A picture's number in the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureId {
    /// Where it is in the payload.
    pub at: u8,
    /// 7 or 15 bits.
    pub value: u16,
    /// 15 bits; else 7.
    pub is_wide: bool,
}

impl PictureId {
    /// Reads the one at this place, as VP8 and VP9 have it alike (RFC 7741 section 4.2, RFC 9628 section 4.2), with where what follows it
    /// begins; `None` if the payload ends before its time.
    pub fn read(payload: &[u8], at: usize) -> Option<(Self, usize)> {
        const WIDE: u8 = 0x80;
        let high = *payload.get(at)?;
        let is_wide = high & WIDE != 0;
        let value = match is_wide {
            true => u16::from_be_bytes([high & !WIDE, *payload.get(at + 1)?]),
            false => high.into(),
        };
        Some((Self { at: at as u8, value, is_wide }, at + 1 + usize::from(is_wide)))
    }
}

/// The TL0PICIDX in the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// Where it is in the payload.
    pub at: u8,
    /// The number.
    pub value: u8,
}

impl Frame {
    /// Reads what payload and dependency descriptor say. What the descriptor says counts: payloads may be encrypted by the client.
    /// `structure` is that of the source's last key frame, and is replaced where a packet brings another.
    pub fn read(
        codec: Codec,
        payload: &[u8],
        descriptor: Option<&[u8]>,
        marker: bool,
        structure: &mut Option<Box<Structure>>,
    ) -> Self {
        let of_payload = match codec {
            Codec::Vp8 => vp8::read(payload, marker),
            Codec::Vp9 => vp9::read(payload),
            Codec::H264 => Some(h264::read(payload, marker)),
            Codec::Av1 | Codec::Other => None,
        };
        let frame = of_payload.unwrap_or(Self { is_end: marker, ..Self::default() });
        let Some(read) = descriptor.and_then(|bytes| descriptor::read(bytes, structure)) else {
            return frame;
        };
        Self {
            is_start: read.is_start,
            is_end: read.is_end,
            is_key: read.is_key,
            spatial: read.spatial,
            temporal: read.temporal,
            can_enter: read.can_enter,
            number: Some(read.number),
            ..frame
        }
    }
}

/// Other numbers than the publisher's: those of one viewer's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Renumbered {
    /// In the payload.
    pub picture_id: Option<PictureId>,
    /// In the payload.
    pub base: Option<Base>,
    /// In the dependency descriptor.
    pub number: Option<u16>,
}

impl Renumbered {
    /// Puts the numbers into a copy of the payload. What is not there is left alone.
    pub fn apply_to_payload(&self, payload: &mut [u8]) {
        if let Some(PictureId { at, value, is_wide }) = self.picture_id
            && let Some([high, rest @ ..]) = payload.get_mut(usize::from(at)..)
        {
            if let (true, Some(low)) = (is_wide, rest.first_mut()) {
                let [upper, lower] = value.to_be_bytes();
                (*high, *low) = (0x80 | upper, lower);
            } else {
                *high = value as u8 & 0x7f;
            }
        }
        if let Some(Base { at, value }) = self.base
            && let Some(byte) = payload.get_mut(usize::from(at))
        {
            *byte = value;
        }
    }

    /// Puts the number into a copy of the dependency descriptor.
    pub fn apply_to_descriptor(&self, descriptor: &mut [u8]) {
        if let (Some(number), Some(place)) = (self.number, descriptor.get_mut(1..3)) {
            place.copy_from_slice(&number.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_put_where_they_were_read() {
        let mut payload = [0x90, 0xe0, 0x80 | 0x12, 0x34, 9, 0x60, 0x01, 7, 7];
        let frame = Frame::read(Codec::Vp8, &payload, None, false, &mut None);
        let read = frame.picture_id.unwrap();
        assert_eq!((read.value, frame.base.unwrap().value), (0x1234, 9));
        let to = Renumbered {
            picture_id: Some(PictureId { value: 0x7fff, ..read }),
            base: frame.base.map(|base| Base { value: 77, ..base }),
            number: Some(0xabcd),
        };
        to.apply_to_payload(&mut payload);
        let again = Frame::read(Codec::Vp8, &payload, None, false, &mut None);
        assert_eq!((again.picture_id.unwrap().value, again.base.unwrap().value), (0x7fff, 77));
        assert_eq!((again.temporal, again.is_start, again.is_key), (1, true, false), "the rest is as it was");
        let mut descriptor = [1, 2, 3, 4];
        to.apply_to_descriptor(&mut descriptor);
        assert_eq!(descriptor, [1, 0xab, 0xcd, 4]);
        to.apply_to_payload(&mut payload[..3]);
        to.apply_to_descriptor(&mut descriptor[..2]);
    }

    #[test]
    fn a_descriptor_counts_more_than_a_payload_that_may_be_encrypted() {
        let mut structure = None;
        let sealed = Frame::read(Codec::Vp8, &[0x10, 0, 1, 2], Some(&[0xc0, 0, 7]), true, &mut structure);
        assert!(sealed.is_key, "without a structure only the payload says something");
        assert_eq!(sealed.number, None);
    }
}
