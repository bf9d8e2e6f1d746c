//! What somebody sends who means harm and has proven nothing. Pure.

use rand::Rng;

use crate::peers::router::LegFacts;
use crate::peers::rtp::{HEADER_BYTES, Header};
use crate::peers::stun;

/// Bytes of noise behind what looks like media.
const NOISE_BYTES: usize = 120;

/// Ways to be a nuisance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Junk {
    /// Bytes that are nothing.
    Noise,
    /// "At which address do you see me?"
    BareStun,
    /// A check for a leg that is there, without integrity.
    UnsignedCheck,
    /// The same, signed with a password that is made up.
    MissignedCheck,
    /// A check for a leg that is not there.
    ForeignCheck,
    /// RTP of a source that is in a call.
    KnownSource,
    /// RTP of none.
    UnknownSource,
    /// The first word of DTLS.
    ClientHello,
}

impl Junk {
    pub(super) const ALL: [Self; 8] = [
        Self::Noise,
        Self::BareStun,
        Self::UnsignedCheck,
        Self::MissignedCheck,
        Self::ForeignCheck,
        Self::KnownSource,
        Self::UnknownSource,
        Self::ClientHello,
    ];

    /// A datagram of this kind against a leg.
    pub(super) fn datagram(self, leg: &LegFacts, rng: &mut impl Rng) -> Vec<u8> {
        let id = rng.random();
        let of_leg = format!("{}:abcd", leg.user);
        match self {
            Self::Noise => {
                let mut bytes = vec![0; rng.random_range(1..1400)];
                rng.fill(&mut bytes[..]);
                bytes
            }
            Self::BareStun => stun::binding(id, None, None),
            Self::UnsignedCheck => stun::binding(id, Some(&of_leg), None),
            Self::MissignedCheck => stun::binding(id, Some(&of_leg), Some(&rng.random())),
            Self::ForeignCheck => stun::binding(id, Some("AAAAAAAA:abcd"), Some(&rng.random())),
            Self::KnownSource => media(leg.ssrc, rng),
            Self::UnknownSource => media(rng.random(), rng),
            Self::ClientHello => client_hello(rng.random()),
        }
    }
}

fn media(ssrc: u32, rng: &mut impl Rng) -> Vec<u8> {
    let header = Header { is_audio: true, marker: false, sequence: rng.random(), time: rng.random(), ssrc };
    let mut bytes = [&header.bytes()[..], &[0; NOISE_BYTES]].concat();
    rng.fill(&mut bytes[HEADER_BYTES..]);
    bytes
}

/// DTLS 1.2 as WebRTC clients begin it (RFC 6347 section 4.2.1): ECDSA, P-256, SRTP.
fn client_hello(random: [u8; 32]) -> Vec<u8> {
    const EXTENSIONS: &[u8] = &[
        0, 10, 0, 4, 0, 2, 0, 23, // groups: P-256
        0, 11, 0, 2, 1, 0, // uncompressed points
        0, 13, 0, 4, 0, 2, 4, 3, // ECDSA with SHA-256
        0, 14, 0, 5, 0, 2, 0, 7, 0, // SRTP: AES-128-GCM
        0, 23, 0, 0, // extended master secret
    ];
    let mut hello = vec![0xfe, 0xfd];
    hello.extend(random);
    // No session, no cookie; one cipher suite, no compression.
    hello.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
    hello.extend((EXTENSIONS.len() as u16).to_be_bytes());
    hello.extend(EXTENSIONS);
    let [_, l0, l1, l2] = (hello.len() as u32).to_be_bytes();
    let handshake = [&[1, l0, l1, l2, 0, 0, 0, 0, 0, l0, l1, l2][..], &hello].concat();
    let length = (handshake.len() as u16).to_be_bytes();
    [&[22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0][..], &length, &handshake].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_looks_like_what_it_pretends_to_be() {
        let leg = LegFacts { router: "127.0.0.1:9".parse().unwrap(), user: "USER".into(), ssrc: 7 };
        let mut rng = rand::rng();
        for junk in Junk::ALL {
            let bytes = junk.datagram(&leg, &mut rng);
            let is_right = match junk {
                Junk::Noise => !bytes.is_empty(),
                Junk::BareStun => bytes.len() == 20 && bytes[..2] == [0, 1],
                Junk::UnsignedCheck => {
                    bytes[4..8] == [0x21, 0x12, 0xa4, 0x42] && bytes[24..].starts_with(b"USER:")
                }
                Junk::MissignedCheck => {
                    bytes[24..].starts_with(b"USER:") && bytes[bytes.len() - 24..][1] == 8
                }
                Junk::ForeignCheck => bytes[24..].starts_with(b"AAAAAAAA:"),
                Junk::KnownSource => Header::parse(&bytes).unwrap().0.ssrc == 7,
                Junk::UnknownSource => Header::parse(&bytes).unwrap().0.is_audio,
                Junk::ClientHello => bytes[0] == 22 && bytes[13] == 1 && bytes.len() == 25 + 44 + 35,
            };
            assert!(is_right, "{junk:?}: {bytes:?}");
        }
    }
}
