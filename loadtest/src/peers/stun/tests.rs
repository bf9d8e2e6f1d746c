use super::*;

/// RFC 5769 section 2.4: a request with long-term credentials, whose key is MD5("マトリックス:example.org:TheMatrIX").
const SAMPLE: &str = "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b900000015\
    001c662f2f3439396b3935346436 4f4c33346f4c39465354767936347341 0014000b6578616d706c652e6f726700 \
    00080014f67024656dd64a3e02b8e0712e85c9a28ca89666";
const SAMPLE_KEY: [u8; 16] =
    [0xe8, 0xca, 0x7a, 0xd5, 0x9d, 0x5e, 0xb0, 0x51, 0x8e, 0x31, 0x29, 0x11, 0xd2, 0xda, 0xb2, 0xa9];

/// What a method gets added in an error response.
const ERROR_BIT: u16 = 0x0110;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| Some(c.to_digit(16)? as u8)).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn credential() -> Credential {
    Credential { user: "load".into(), realm: "peers".into(), key: [7; 16] }
}

#[test]
fn a_nonce_is_found_in_a_refusal() {
    let refusal = Builder::new(ALLOCATE | ERROR_BIT, [1; 12])
        .attribute(ERROR_CODE, &[0, 0, 4, 1, b'n', b'o'])
        .attribute(NONCE, b"seventy-seven")
        .0;
    let response = parse(&refusal).unwrap();
    assert_eq!((response.kind, response.id, response.error), (0x0113, [1; 12], Some(401)));
    assert_eq!(response.nonce.as_deref(), Some(&b"seventy-seven"[..]));
}

#[test]
fn relayed_addresses_of_both_families_are_read() {
    for text in ["192.0.2.7:49152", "[2001:db8::9]:50000"] {
        let address: SocketAddr = text.parse().unwrap();
        let id = *b"abcdefghijkl";
        let message = Builder::new(ALLOCATE | SUCCESS_BIT, id)
            .attribute(XOR_RELAYED_ADDRESS, &xor_address(address, id))
            .0;
        assert_eq!(parse(&message).unwrap().relayed, Some(address));
    }
    // RFC 5769 section 2.2: 192.0.2.1:32853 as XOR-MAPPED-ADDRESS.
    let id: TransactionId = hex("b7e7a701bc34d686fa87dfae").try_into().unwrap();
    assert_eq!(xor_address("192.0.2.1:32853".parse().unwrap(), id), hex("0001a147e112a643"));
}

#[test]
fn the_length_covers_all_attributes_and_integrity_is_the_last() {
    let message = channel_bind([2; 12], 0x4000, "127.0.0.1:50000".parse().unwrap(), &credential(), b"abc");
    let length = usize::from(u16::from_be_bytes([message[2], message[3]]));
    assert_eq!(length, message.len() - HEADER_BYTES);
    let tail = &message[message.len() - INTEGRITY_BYTES..];
    assert_eq!(&tail[..4], &[0, 8, 0, 20]);
    assert!(parse(&message).is_some(), "all attributes are whole");
}

#[test]
fn what_is_cut_short_or_foreign_is_no_response() {
    let whole = allocate([3; 12], &credential(), b"nonce");
    for cut in 0..whole.len() {
        assert_eq!(parse(&whole[..cut]), None, "{cut} bytes");
    }
    let mut foreign = whole.clone();
    foreign[4] ^= 1;
    assert_eq!(parse(&foreign), None, "another magic cookie");
    let mut lying = allocate_unsigned([3; 12]);
    lying[HEADER_BYTES + 3] = 200;
    assert_eq!(parse(&lying), None, "an attribute longer than its message");
}

#[test]
fn channel_data_is_what_its_header_says() {
    let mut datagram = channel_header(0x4001, 5).to_vec();
    datagram.extend_from_slice(b"hello and padding");
    assert_eq!(channel_data(&datagram), Some((0x4001, &b"hello"[..])));
    assert_eq!(channel_data(&datagram[..8]), None);
    assert_eq!(channel_data(&[0x80, 111, 0, 0, 0]), None, "RTP is no channel data");
}

#[test]
fn integrity_is_the_hmac_that_the_standard_gives_as_a_sample() {
    let sample = hex(SAMPLE);
    let unsigned = Builder(sample[..sample.len() - INTEGRITY_BYTES].to_vec());
    assert_eq!(unsigned.with_integrity(&SAMPLE_KEY), sample);
}
