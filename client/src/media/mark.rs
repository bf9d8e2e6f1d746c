//! Send times inside media, so that a receiver on the same clock can tell the one-way latency.
//!
//! A mark is the last 12 bytes of a payload: four fixed bytes and the sender's clock in microseconds since 1970,
//! big-endian. In an Opus packet the mark is padding (RFC 6716 section 3.2.5), which every decoder skips.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Payload;

const MAGIC: [u8; 4] = [0x64, 0x75, 0x6f, 0x7e];

/// Bytes of a mark at the end of a payload.
pub const MARK_BYTES: usize = 12;

/// The mark for this moment.
#[inline]
pub fn bytes(sent_unix_micros: u64) -> [u8; MARK_BYTES] {
    let mut mark = [0; MARK_BYTES];
    mark[..4].copy_from_slice(&MAGIC);
    mark[4..].copy_from_slice(&sent_unix_micros.to_be_bytes());
    mark
}

/// When a payload says it was sent, in microseconds since 1970; `None` if it carries no mark.
#[inline]
pub fn read(payload: &[u8]) -> Option<u64> {
    let tail = payload.get(payload.len().checked_sub(MARK_BYTES)?..)?;
    let (magic, micros) = tail.split_at(4);
    (magic == MAGIC).then(|| u64::from_be_bytes(micros.try_into().expect("split at 4 of 12 leaves 8")))
}

/// An Opus packet that decodes as `packet` does and carries a mark as its padding.
///
/// Takes packets of one frame (code 0), which is what a 20 ms encoder makes; others come back unmarked.
pub fn stamp_opus(packet: &[u8], sent_unix_micros: u64) -> Payload {
    let mut marked = Vec::with_capacity(packet.len() + 2 + MARK_BYTES);
    append_stamped_opus(packet, sent_unix_micros, &mut marked);
    marked.into()
}

/// Appends [such a packet](stamp_opus) to `out`.
pub fn append_stamped_opus(packet: &[u8], sent_unix_micros: u64, out: &mut Vec<u8>) {
    const ONE_FRAME: u8 = 0b00;
    const ARBITRARY_FRAMES: u8 = 0b11;
    const PADDED_ONE_FRAME: u8 = 0b0100_0001;
    let Some((&toc, frame)) = packet.split_first().filter(|(toc, _)| **toc & 0b11 == ONE_FRAME) else {
        return out.extend_from_slice(packet);
    };
    out.extend_from_slice(&[toc | ARBITRARY_FRAMES, PADDED_ONE_FRAME, MARK_BYTES as u8]);
    out.extend_from_slice(frame);
    out.extend_from_slice(&bytes(sent_unix_micros));
}

/// The clock that marks are written and read with.
pub fn now_unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamped_opus_packet_decodes_to_the_same_sound() {
        let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).unwrap();
        let tone: Vec<i16> = (0..960).map(|i| ((f64::from(i) * 0.06).sin() * 9000.0) as i16).collect();
        let plain = encoder.encode_vec(&tone, 1275).unwrap();
        let stamped = stamp_opus(&plain, 1_234_567);
        assert_eq!(read(&stamped), Some(1_234_567));
        assert_eq!(read(&plain), None);

        let decode = |packet: &[u8]| {
            let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono).unwrap();
            let mut out = vec![0; 960];
            assert_eq!(decoder.decode(packet, &mut out, false).unwrap(), 960);
            out
        };
        assert_eq!(decode(&stamped), decode(&plain));
    }

    #[test]
    fn a_short_or_foreign_payload_has_no_mark() {
        for payload in [&[][..], &[1, 2, 3], &[0; 40]] {
            assert_eq!(read(payload), None);
        }
        assert_eq!(&stamp_opus(&[0b01, 1, 2], 9)[..], [0b01, 1, 2], "two-frame packets stay as they are");
        assert_eq!(&stamp_opus(&[], 9)[..], [0u8; 0]);
    }
}
