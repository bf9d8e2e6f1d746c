//! The RFCs' own vectors, then both directions of every profile against each other.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn keys_are_derived_as_in_rfc_3711_appendix_b_3_and_rfc_6188_section_7() {
    let (key, salt) = (hex("E1F97A0D3E018BE0D64FA32C06DE4139"), hex("0EC675AD498AFEEBB6960B3AABE6"));
    let derived = |label, len| derive(&key, &salt, label, len).unwrap();
    assert_eq!(derived(0, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(derived(1, 20), hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    assert_eq!(derived(2, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));

    let key = hex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6");
    let salt = hex("3b04803de51ee7c96423ab5b78d2");
    let derived = |label, len| derive(&key, &salt, label, len).unwrap();
    assert_eq!(derived(0, 32), hex("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4"));
    assert_eq!(derived(1, 20), hex("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"));
    assert_eq!(derived(2, 14), hex("fa31791685ca444a9e07c6c64e93"));
}

/// RFC 7714 gives session keys.
fn rfc_7714(algorithm: &'static aws_lc_rs::aead::Algorithm, key_bytes: u8) -> Context {
    let key: Vec<u8> = (0..key_bytes).collect();
    let salt: [u8; GCM_SALT_BYTES] = *b"Quid pro quo";
    let cipher = || Cipher::Gcm { key: LessSafeKey::new(UnboundKey::new(algorithm, &key).unwrap()), salt };
    Context { rtp: cipher(), rtcp: cipher() }
}

#[test]
fn an_rtp_packet_is_sealed_and_opened_as_in_rfc_7714_section_16() {
    let plain =
        hex("8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070
         61727465 73207472 6573");
    let of_128 =
        hex("8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a
         51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce");
    let of_256 =
        hex("8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02
         76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13");
    for (context, sealed) in [(rfc_7714(&AES_128_GCM, 16), of_128), (rfc_7714(&AES_256_GCM, 32), of_256)] {
        let (ssrc, index) = (0x5501_a0b2, 0xf17b);
        let mut bytes = vec![1, 2, 3];
        bytes.extend(&plain);
        assert!(context.seal_rtp(&mut bytes, 3, 12, ssrc, index));
        assert_eq!(bytes[3..], sealed);
        let mut out = vec![9];
        assert!(context.open_rtp(&sealed, 12, ssrc, index, &mut out));
        assert_eq!(out[1..], plain[12..]);
        assert!(!context.open_rtp(&sealed, 12, ssrc, index + 0x1_0000, &mut out), "another ROC");
    }
}

#[test]
fn an_rtcp_packet_is_sealed_and_opened_as_in_rfc_7714_section_17() {
    let plain =
        hex("81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef
         deadbeef deadbeef deadbeef");
    let sealed =
        hex("81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda
         4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4");
    let context = rfc_7714(&AES_128_GCM, 16);
    let mut bytes = plain.clone();
    assert!(context.seal_rtcp(&mut bytes, 0, 0x5d4));
    assert_eq!(bytes, sealed);
    let mut out = vec![7; 99];
    assert_eq!(context.open_rtcp(&sealed, &mut out), Some(0x5d4));
    assert_eq!(out, plain);
}

/// Material as DTLS exports it, and the client's view of it: the same with the halves changed.
fn pair(profile: SrtpProfile) -> (Contexts, Contexts) {
    let (key_bytes, salt_bytes) = match profile {
        SrtpProfile::AES128_CM_SHA1_80 => (16, 14),
        SrtpProfile::AEAD_AES_128_GCM => (16, 12),
        _ => (32, 12),
    };
    let part = |n: u8, len: usize| vec![n; len];
    let of = |first, second| {
        let parts = [
            part(first, key_bytes),
            part(second, key_bytes),
            part(first + 10, salt_bytes),
            part(second + 10, salt_bytes),
        ];
        Contexts::new(&Keys { profile, material: parts.concat() }, Side::Server).unwrap()
    };
    (of(1, 2), of(2, 1))
}

const PROFILES: [SrtpProfile; 3] =
    [SrtpProfile::AES128_CM_SHA1_80, SrtpProfile::AEAD_AES_128_GCM, SrtpProfile::AEAD_AES_256_GCM];

#[test]
fn what_one_side_seals_the_other_opens_and_nobody_changes_it_unseen() {
    for profile in PROFILES {
        let (server, client) = pair(profile);
        let mut packet = vec![0x80, 96, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 7];
        packet.extend([42; 33]);
        let index = 0x2_ffff;
        assert!(server.outbound.seal_rtp(&mut packet, 0, 12, 7, index));
        let mut out = Vec::new();
        assert!(client.inbound.open_rtp(&packet, 12, 7, index, &mut out));
        assert_eq!(out, [42; 33]);
        assert!(!client.outbound.open_rtp(&packet, 12, 7, index, &mut out), "the other direction's key");
        for at in 0..packet.len() {
            packet[at] ^= 1;
            assert!(!client.inbound.open_rtp(&packet, 12, 7, index, &mut out), "byte {at}");
            packet[at] ^= 1;
        }
        assert_eq!(out.len(), 33, "failures leave nothing");

        let mut report = vec![0x80, 201, 0, 1, 0, 0, 0, 7, 1, 2, 3, 4];
        assert!(server.outbound.seal_rtcp(&mut report, 0, 5));
        assert_eq!(client.inbound.open_rtcp(&report, &mut out), Some(5));
        assert_eq!(out, [0x80, 201, 0, 1, 0, 0, 0, 7, 1, 2, 3, 4]);
        for at in 0..report.len() {
            report[at] ^= 1;
            assert_eq!(client.inbound.open_rtcp(&report, &mut out), None, "byte {at}");
            report[at] ^= 1;
        }
    }
}

#[test]
fn what_is_too_short_does_not_open() {
    for profile in PROFILES {
        let (server, _) = pair(profile);
        for len in 0..48 {
            let packet = vec![0x80; len];
            assert!(!server.inbound.open_rtp(&packet, 12, 1, 1, &mut Vec::new()));
            assert_eq!(server.inbound.open_rtcp(&packet, &mut Vec::new()), None);
        }
    }
    assert!(Contexts::new(&Keys { profile: PROFILES[1], material: vec![0; 55] }, Side::Server).is_none());
}
