//! A bare STUN Binding request (RFC 8489 section 2): "at which address do you see me?" Clients ask it before a direct leg.
//!
//! Who may ask is the demux's business. A request that names a user is an ICE check, and none of this module's.

use std::net::{IpAddr, SocketAddr};

/// Longest request that is looked at: the header, SOFTWARE and FINGERPRINT fit. Higher parses more of what strangers send.
const MAX_REQUEST_BYTES: usize = 128;

const HEADER_BYTES: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FINGERPRINT: u16 = 0x8028;
/// Types below this must be understood (RFC 8489 section 14).
const OPTIONAL_FROM: u16 = 0x8000;
const FINGERPRINT_BYTES: usize = 8;
/// FINGERPRINT is the CRC-32 of what precedes it, XORed with this (RFC 8489 section 14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// A request as far as its answer needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    transaction: [u8; 12],
    has_fingerprint: bool,
}

/// Reads a request. `None`: something else, such as an ICE check, or not well-formed.
pub(crate) fn parse(contents: &[u8]) -> Option<Request> {
    let header = contents.first_chunk::<HEADER_BYTES>()?;
    if header[..2] != BINDING_REQUEST || header[4..8] != MAGIC_COOKIE || contents.len() > MAX_REQUEST_BYTES {
        return None;
    }
    let body = &contents[HEADER_BYTES..];
    if usize::from(u16::from_be_bytes([header[2], header[3]])) != body.len() || !body.len().is_multiple_of(4)
    {
        return None;
    }
    let transaction = header[8..].try_into().ok()?;
    let mut rest = body;
    while let Some((head, after)) = rest.split_first_chunk::<4>() {
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if kind == FINGERPRINT {
            let at = contents.len() - rest.len();
            let is_right = after == (crc32(&contents[..at]) ^ FINGERPRINT_XOR).to_be_bytes();
            return is_right.then_some(Request { transaction, has_fingerprint: true });
        }
        // Credentials, and whatever else must be understood, make it no bare request.
        if kind < OPTIONAL_FROM {
            return None;
        }
        rest = after.get(length.next_multiple_of(4)..)?;
    }
    Some(Request { transaction, has_fingerprint: false })
}

/// The answer: `source` as XOR-MAPPED-ADDRESS, with a FINGERPRINT if the request had one.
pub(crate) fn answer(request: &Request, source: SocketAddr) -> Vec<u8> {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE);
    mask[4..].copy_from_slice(&request.transaction);
    let (family, ip) = match source.ip() {
        IpAddr::V4(ip) => (1, &ip.octets()[..]),
        IpAddr::V6(ip) => (2, &ip.octets()[..]),
    };
    let fingerprint = if request.has_fingerprint { FINGERPRINT_BYTES } else { 0 };
    let length = 8 + ip.len() + fingerprint;

    let mut out = Vec::with_capacity(HEADER_BYTES + length);
    out.extend_from_slice(&BINDING_SUCCESS);
    out.extend_from_slice(&(length as u16).to_be_bytes());
    out.extend_from_slice(&mask);
    out.extend_from_slice(&XOR_MAPPED_ADDRESS.to_be_bytes());
    out.extend_from_slice(&(4 + ip.len() as u16).to_be_bytes());
    out.extend_from_slice(&[0, family]);
    out.extend(source.port().to_be_bytes().iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    out.extend(ip.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    if request.has_fingerprint {
        let crc = crc32(&out) ^ FINGERPRINT_XOR;
        out.extend_from_slice(&FINGERPRINT.to_be_bytes());
        out.extend_from_slice(&4u16.to_be_bytes());
        out.extend_from_slice(&crc.to_be_bytes());
    }
    out
}

/// CRC-32 as of ISO 3309, bit by bit: for messages of at most [`MAX_REQUEST_BYTES`].
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &[u8]) -> Vec<u8> {
        let mut out = vec![0, 1];
        out.extend((body.len() as u16).to_be_bytes());
        out.extend(MAGIC_COOKIE);
        out.extend([7; 12]);
        out.extend(body);
        out
    }

    fn with_fingerprint() -> Vec<u8> {
        let mut out = request(&[0; FINGERPRINT_BYTES]);
        let crc = crc32(&out[..HEADER_BYTES]) ^ FINGERPRINT_XOR;
        out[20..24].copy_from_slice(&[0x80, 0x28, 0, 4]);
        out[24..].copy_from_slice(&crc.to_be_bytes());
        out
    }

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    /// The addresses and transaction of RFC 5769 sections 2.2 and 2.3, and their XOR-MAPPED-ADDRESS there.
    #[test]
    fn an_answer_holds_the_address_as_the_standard_has_it() {
        let transaction = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
        let v4 = [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        let v6 = [
            0, 0x20, 0, 20, 0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25,
            0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
        ];
        let cases = [("192.0.2.1:32853", &v4[..]), ("[2001:db8:1234:5678:11:2233:4455:6677]:32853", &v6[..])];
        let mut asked = request(&[]);
        asked[8..].copy_from_slice(&transaction);
        for (source, attribute) in cases {
            let answer = answer(&parse(&asked).unwrap(), source.parse().unwrap());
            assert_eq!(answer[..2], BINDING_SUCCESS);
            assert_eq!(usize::from(answer[3]), attribute.len());
            assert_eq!(answer[4..20], asked[4..]);
            assert_eq!(&answer[20..], attribute);
        }
    }

    #[test]
    fn a_fingerprint_is_answered_with_one_and_a_wrong_one_is_not_answered() {
        let asked = with_fingerprint();
        let answer = answer(&parse(&asked).unwrap(), "192.0.2.7:40000".parse().unwrap());
        let (head, crc) = answer.split_at(answer.len() - 4);
        let expected = crc32(&head[..head.len() - 4]) ^ FINGERPRINT_XOR;
        assert_eq!(crc, expected.to_be_bytes());
        let mut wrong = asked.clone();
        wrong[27] ^= 1;
        assert_eq!(parse(&wrong), None);
    }

    #[test]
    fn what_is_no_bare_request_is_none() {
        assert!(parse(&request(&[0x80, 0x22, 0, 3, b'a', b'b', b'c', 0])).is_some(), "SOFTWARE is fine");
        let cases: [(&str, Vec<u8>); 9] = [
            ("empty", vec![]),
            ("half a header", request(&[])[..19].to_vec()),
            ("a response", [&[1, 1][..], &request(&[])[2..]].concat()),
            ("no cookie", [&request(&[])[..4], &[0; 16]].concat()),
            ("a wrong length", [&request(&[])[..], &[0; 4]].concat()),
            ("a user name", request(&[0, 6, 0, 4, b'a', b':', b'b', b'c'])),
            ("an attribute past the end", request(&[0x80, 0x22, 0, 9, 0, 0, 0, 0])),
            ("something after the fingerprint", request(&[0x80, 0x28, 0, 4, 0, 0, 0, 0, 0x80, 0x22, 0, 0])),
            ("a long one", request(&[0x80, 0x22, 0, 120].into_iter().chain([0; 120]).collect::<Vec<_>>())),
        ];
        for (what, contents) in cases {
            assert_eq!(parse(&contents), None, "{what}");
        }
    }
}
