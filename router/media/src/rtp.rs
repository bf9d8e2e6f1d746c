//! RTP headers (RFC 3550 section 5.1) and their extensions (RFC 8285), read and written.

use std::ops::Range;

use crate::extensions::{AskingNumber, ExtensionIds, Extensions, OwnValues};

const FIXED_BYTES: usize = 12;
const ONE_BYTE_FORM: u16 = 0xbede;
const TWO_BYTE_FORM: u16 = 0x1000;
/// The low bits of the two-byte form's profile are the application's.
const TWO_BYTE_MASK: u16 = 0xfff0;
/// What the one-byte form can say: identifiers to 14, lengths from 1 to 16.
const ONE_BYTE_MAX_ID: u8 = 14;
const ONE_BYTE_MAX_LEN: usize = 16;

/// A header as it came; believed only once the packet authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) has_padding: bool,
    pub(crate) sequence_number: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    /// Bytes before the payload, extensions included.
    pub(crate) len: usize,
    pub(crate) extensions: RawExtensions<'a>,
}

/// The extensions of a header, unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawExtensions<'a> {
    form: u16,
    bytes: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads a header. `None`: not RTP, or it ends before its time.
    pub(crate) fn read(packet: &'a [u8]) -> Option<Self> {
        let fixed = packet.first_chunk::<FIXED_BYTES>()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let sources_end = FIXED_BYTES + 4 * usize::from(fixed[0] & 0x0f);
        let has_extensions = fixed[0] & 0x10 != 0;
        let (extensions, len) = if has_extensions {
            let head = packet.get(sources_end..)?.first_chunk::<4>()?;
            let start = sources_end + 4;
            let end = start + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
            let form = u16::from_be_bytes([head[0], head[1]]);
            (RawExtensions { form, bytes: packet.get(start..end)? }, end)
        } else {
            packet.get(..sources_end)?;
            (RawExtensions { form: 0, bytes: &[] }, sources_end)
        };
        Some(Self {
            payload_type: fixed[1] & 0x7f,
            marker: fixed[1] & 0x80 != 0,
            has_padding: fixed[0] & 0x20 != 0,
            sequence_number: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            len,
            extensions,
        })
    }
}

impl<'a> Iterator for RawExtensions<'a> {
    /// Identifier and value.
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let unpadded = self.bytes.iter().position(|byte| *byte != 0)?;
        let bytes = &self.bytes[unpadded..];
        let (id, len, rest) = match (self.form, bytes) {
            // 15 is reserved, and ends the reading (RFC 8285 section 4.2).
            (ONE_BYTE_FORM, [head, rest @ ..]) if head >> 4 <= ONE_BYTE_MAX_ID => {
                (head >> 4, usize::from(head & 0x0f) + 1, rest)
            }
            (form, [id, len, rest @ ..]) if form & TWO_BYTE_MASK == TWO_BYTE_FORM => {
                (*id, usize::from(*len), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(len)?;
        self.bytes = rest;
        Some((id, value))
    }
}

/// What is in front of an outgoing payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) sequence_number: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    /// Of the publisher's packet, as far as they may pass.
    pub(crate) extensions: &'a Extensions,
    /// The dependency descriptor that `extensions` speaks of.
    pub(crate) descriptor: &'a [u8],
    /// The track's own.
    pub(crate) own: OwnValues<'a>,
}

impl Outgoing<'_> {
    /// Appends the header to `out`: as many bytes as it says.
    pub(crate) fn write(&self, ids: &ExtensionIds, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.push(0x80);
        out.push(self.payload_type & 0x7f | u8::from(self.marker) << 7);
        out.extend_from_slice(&self.sequence_number.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        let two_bytes = self
            .values(ids)
            .any(|(id, value)| id > ONE_BYTE_MAX_ID || value.is_empty() || value.len() > ONE_BYTE_MAX_LEN);
        let head = out.len();
        out.extend_from_slice(&if two_bytes { TWO_BYTE_FORM } else { ONE_BYTE_FORM }.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        for (id, value) in self.values(ids) {
            if two_bytes {
                out.extend_from_slice(&[id, value.len() as u8]);
            } else {
                out.push(id << 4 | (value.len() - 1) as u8);
            }
            out.extend_from_slice(value);
        }
        let values = out.len() - head - 4;
        if values == 0 {
            out.truncate(head);
            return head - start;
        }
        out.resize(head + 4 + values.next_multiple_of(4), 0);
        let words = (values.div_ceil(4) as u16).to_be_bytes();
        out[head + 2..head + 4].copy_from_slice(&words);
        out[start] |= 0x10;
        out.len() - start
    }

    /// The extensions that were negotiated and have a value, at most 255 bytes long each.
    fn values(&self, ids: &ExtensionIds) -> impl Iterator<Item = (u8, &[u8])> {
        let passed = [
            (ids.audio_level, self.extensions.audio_level.as_ref().map(<[u8; 1]>::as_slice)),
            (ids.orientation, self.extensions.orientation.as_ref().map(<[u8; 1]>::as_slice)),
            (ids.playout_delay, self.extensions.playout_delay.as_ref().map(<[u8; 3]>::as_slice)),
            (ids.capture_time, self.extensions.capture_time.as_ref().map(<[u8; 8]>::as_slice)),
            (ids.descriptor, self.extensions.has_descriptor.then_some(self.descriptor)),
        ];
        let own = [
            (ids.mid, self.own.mid.map(str::as_bytes)),
            (ids.send_time, self.own.send_time.as_ref().map(<[u8; 3]>::as_slice)),
            (ids.transport_number, self.own.transport_number.as_ref().map(<[u8; 2]>::as_slice)),
            (ids.report_request, self.own.asking_number.as_ref().map(AskingNumber::as_bytes)),
        ];
        let all = passed.into_iter().chain(own);
        all.filter_map(|(id, value)| Some((id?.get(), value?))).filter(|(_, value)| value.len() <= 255)
    }
}

/// Adds padding to the packet that begins at `start` of `out`: `len` bytes, at least one, of which the last says how many.
pub(crate) fn append_padding(start: usize, len: u8, out: &mut Vec<u8>) {
    out[start] |= 0x20;
    out.resize(out.len() + usize::from(len), 0);
    out.pop();
    out.push(len);
}

/// The payload of a decrypted packet without its padding; `None` if the padding is longer than what it is part of.
pub(crate) fn unpadded(bytes: &[u8], payload: Range<usize>, has_padding: bool) -> Option<Range<usize>> {
    if !has_padding || payload.is_empty() {
        return Some(payload);
    }
    let padding = usize::from(*bytes.get(payload.end - 1)?);
    let end = payload.end.checked_sub(padding).filter(|end| *end >= payload.start)?;
    Some(payload.start..end)
}

#[cfg(test)]
mod tests {
    use super::super::fuzz::ids;
    use super::*;

    #[test]
    fn what_is_written_is_read_in_both_forms() {
        for len in [0, 3, 16, 17, 60, 255] {
            let descriptor: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let extensions = Extensions {
                audio_level: Some([0x94]),
                orientation: Some([2]),
                playout_delay: Some([1, 2, 3]),
                capture_time: Some([1, 2, 3, 4, 5, 6, 7, 8]),
                has_descriptor: true,
            };
            let own = OwnValues {
                mid: Some("video0"),
                send_time: Some([7, 8, 9]),
                transport_number: Some([5, 6]),
                asking_number: Some(AskingNumber::new(0x0708, (len > 3).then_some(300))),
            };
            let outgoing = Outgoing {
                payload_type: 96,
                marker: true,
                sequence_number: 65_535,
                timestamp: 0xdead_beef,
                ssrc: 7,
                extensions: &extensions,
                descriptor: &descriptor,
                own,
            };
            let mut packet = vec![1, 2, 3];
            let written = outgoing.write(&ids(), &mut packet);
            assert_eq!((written + 3, written % 4), (packet.len(), 0));
            packet.extend([9; 5]);
            let header = Header::read(&packet[3..]).unwrap();
            assert_eq!((header.payload_type, header.marker, header.sequence_number), (96, true, 65_535));
            assert_eq!((header.timestamp, header.ssrc, header.len), (0xdead_beef, 7, written));
            let read = header.extensions.collect::<Vec<_>>();
            let (seen, found) = Extensions::of_publisher(&ids(), header.extensions);
            assert_eq!((seen, found.descriptor), (extensions, Some(&descriptor[..])), "{read:?}");
            assert_eq!((found.mid, found.transport_number), (Some(&b"video0"[..]), Some(0x0506)));
            let asking = read.iter().find(|(id, _)| ids().report_request.is_some_and(|own| own.get() == *id));
            let (plain, asks) = (&[7, 8][..], &[7, 8, 0x81, 0x2c][..]);
            assert_eq!(
                asking.unwrap().1,
                if len > 3 { asks } else { plain },
                "the number, times, 300 packets"
            );
        }
    }

    #[test]
    fn without_values_there_is_no_extension_header() {
        let extensions = Extensions::default();
        let outgoing = Outgoing {
            payload_type: 0,
            marker: false,
            sequence_number: 1,
            timestamp: 2,
            ssrc: 3,
            extensions: &extensions,
            descriptor: &[],
            own: OwnValues::default(),
        };
        let mut packet = Vec::new();
        assert_eq!(outgoing.write(&ids(), &mut packet), 12);
        assert_eq!(packet, [0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
    }

    #[test]
    fn padding_longer_than_its_payload_is_refused() {
        let bytes = [1, 2, 3, 4, 2];
        assert_eq!(unpadded(&bytes, 1..5, true), Some(1..3));
        assert_eq!(unpadded(&bytes, 1..5, false), Some(1..5));
        assert_eq!(unpadded(&bytes, 4..5, true), None);
        assert_eq!(unpadded(&bytes, 3..3, true), Some(3..3));
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        let mut seed = 1_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as u8
        };
        for _ in 0..200_000 {
            let len = usize::from(random()) % 60;
            let mut packet: Vec<u8> = (0..len).map(|_| random()).collect();
            if let [first, ..] = &mut packet[..] {
                *first = *first & 0x3f | 0x80;
            }
            if packet.len() > 14 && random() < 128 {
                packet[12..14].copy_from_slice(&[0xbe, 0xde]);
            }
            if let Some(header) = Header::read(&packet) {
                assert!(header.len <= packet.len());
                Extensions::of_publisher(&ids(), header.extensions);
                let _ = unpadded(&packet, header.len..packet.len(), header.has_padding);
            }
        }
    }
}
