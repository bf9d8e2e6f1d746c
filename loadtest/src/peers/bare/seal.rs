//! SRTP with AES-128-GCM as RFC 7714 has it, without extensions, roll-over and replay protection: the least that a router
//! which decrypts and encrypts must do.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;

use crate::peers::rtp::{HEADER_BYTES, Header};

/// Bytes that sealing adds.
pub(super) const TAG_BYTES: usize = 16;

/// Which way packets of a leg go. Both ways have keys of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ToServer,
    FromServer,
}

/// Key and salt of one leg's one way.
pub(super) struct Sealer {
    key: LessSafeKey,
    salt: [u8; 12],
}

impl Sealer {
    /// Derives them from a secret that both ends of the leg know.
    pub(super) fn new(secret: &[u8], leg: u32, way: Way) -> Self {
        let mut name = leg.to_be_bytes().to_vec();
        name.push(way as u8);
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &name);
        let bytes: &[u8; 32] = derived.as_ref().try_into().expect("SHA-256 has 32 bytes");
        let key = UnboundKey::new(&AES_128_GCM, &bytes[..16]).expect("an AES-128 key has 16 bytes");
        let salt = bytes[16..28].try_into().expect("16 to 28 are 12 bytes");
        Self { key: LessSafeKey::new(key), salt }
    }

    /// Seals header and payload in place; the last [`TAG_BYTES`] of `packet` are room for the tag. `None` if there is no header, or no room.
    pub(super) fn seal(&self, packet: &mut [u8]) -> Option<()> {
        let nonce = self.nonce(packet)?;
        let end = packet.len().checked_sub(TAG_BYTES).filter(|end| *end >= HEADER_BYTES)?;
        let (body, room) = packet.split_at_mut(end);
        let (header, payload) = body.split_at_mut(HEADER_BYTES);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(header), payload).ok()?;
        room.copy_from_slice(tag.as_ref());
        Some(())
    }

    /// Opens a packet in place and gives its payload; `None` if it is not authentic.
    pub(super) fn open<'a>(&self, packet: &'a mut [u8]) -> Option<&'a [u8]> {
        let nonce = self.nonce(packet)?;
        let (header, sealed) = packet.split_at_mut(HEADER_BYTES);
        self.key.open_in_place(nonce, Aad::from(header), sealed).ok().map(|payload| &*payload)
    }

    /// RFC 7714 section 8.1, with a roll-over counter of 0.
    fn nonce(&self, packet: &[u8]) -> Option<Nonce> {
        let (header, _) = Header::parse(packet)?;
        let mut nonce = self.salt;
        let counter =
            header.ssrc.to_be_bytes().into_iter().chain([0; 4]).chain(header.sequence.to_be_bytes());
        nonce[2..].iter_mut().zip(counter).for_each(|(byte, with)| *byte ^= with);
        Some(Nonce::assume_unique_for_key(nonce))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16) -> Vec<u8> {
        let header = Header { is_audio: true, marker: false, sequence, time: 5, ssrc: 6 };
        [&header.bytes()[..], b"hello", &[0; TAG_BYTES]].concat()
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_alone() {
        let sealer = Sealer::new(b"secret", 1, Way::ToServer);
        let mut sealed = packet(9);
        sealer.seal(&mut sealed).unwrap();
        assert_eq!(sealed.len(), HEADER_BYTES + 5 + TAG_BYTES);
        assert_eq!(sealer.open(&mut sealed.clone()), Some(&b"hello"[..]));
        for other in [
            Sealer::new(b"secret", 1, Way::FromServer),
            Sealer::new(b"secret", 2, Way::ToServer),
            Sealer::new(b"other", 1, Way::ToServer),
        ] {
            assert_eq!(other.open(&mut sealed.clone()), None);
        }
        assert_eq!(sealer.seal(&mut packet(9)[..HEADER_BYTES + TAG_BYTES - 1]), None, "no room for the tag");
    }

    #[test]
    fn no_changed_bit_gets_through() {
        let sealer = Sealer::new(b"secret", 1, Way::ToServer);
        let mut sealed = packet(9);
        sealer.seal(&mut sealed).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(sealer.open(&mut changed), None, "bit {bit}");
        }
        for cut in 0..sealed.len() {
            assert_eq!(sealer.open(&mut sealed[..cut].to_vec()), None, "{cut} bytes");
        }
    }
}
