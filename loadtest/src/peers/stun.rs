//! The few STUN and TURN messages that a relayed party needs (RFC 8489, RFC 8656). Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::hmac;

const MAGIC: u32 = 0x2112_a442;
const HEADER_BYTES: usize = 20;
/// MESSAGE-INTEGRITY with its own header (RFC 8489 section 14.5).
const INTEGRITY_BYTES: usize = 4 + 20;

/// What a method gets added in a success response.
pub(super) const SUCCESS_BIT: u16 = 0x0100;

/// Methods as request types.
pub(super) const BINDING: u16 = 0x0001;
pub(super) const ALLOCATE: u16 = 0x0003;
pub(super) const CHANNEL_BIND: u16 = 0x0009;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const CHANNEL_NUMBER: u16 = 0x000c;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const XOR_RELAYED_ADDRESS: u16 = 0x0016;
/// Every check has one (RFC 8445 section 16.1).
const PRIORITY: u16 = 0x0024;
const REQUESTED_TRANSPORT: u16 = 0x0019;

/// IANA's number of UDP, for REQUESTED-TRANSPORT.
const UDP: u8 = 17;

/// Identifies a request and its response.
pub(super) type TransactionId = [u8; 12];

/// The long-term credential (RFC 8489 section 9.2): `key` stands for the hash of user, realm and password.
#[derive(Clone)]
pub(super) struct Credential {
    pub(super) user: String,
    pub(super) realm: String,
    pub(super) key: [u8; 16],
}

/// Builds a request attribute by attribute.
struct Builder(Vec<u8>);

impl Builder {
    fn new(kind: u16, id: TransactionId) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&MAGIC.to_be_bytes());
        bytes.extend_from_slice(&id);
        Self(bytes)
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend_from_slice(&kind.to_be_bytes());
        self.0.extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self.set_length(0);
        self
    }

    /// The header's length, which counts `more` bytes that are still to come.
    fn set_length(&mut self, more: usize) {
        let length = (self.0.len() - HEADER_BYTES + more) as u16;
        self.0[2..4].copy_from_slice(&length.to_be_bytes());
    }

    /// User, realm, nonce and MESSAGE-INTEGRITY over all that was written.
    fn signed(self, credential: &Credential, nonce: &[u8]) -> Vec<u8> {
        self.attribute(USERNAME, credential.user.as_bytes())
            .attribute(REALM, credential.realm.as_bytes())
            .attribute(NONCE, nonce)
            .with_integrity(&credential.key)
    }

    fn with_integrity(mut self, key: &[u8; 16]) -> Vec<u8> {
        self.set_length(INTEGRITY_BYTES);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        let tag = hmac::sign(&key, &self.0);
        self.attribute(MESSAGE_INTEGRITY, tag.as_ref()).0
    }
}

/// Asks for a relay without credentials: the refusal brings the nonce.
pub(super) fn allocate_unsigned(id: TransactionId) -> Vec<u8> {
    Builder::new(ALLOCATE, id).attribute(REQUESTED_TRANSPORT, &[UDP, 0, 0, 0]).0
}

/// Asks for a relay.
pub(super) fn allocate(id: TransactionId, credential: &Credential, nonce: &[u8]) -> Vec<u8> {
    Builder::new(ALLOCATE, id).attribute(REQUESTED_TRANSPORT, &[UDP, 0, 0, 0]).signed(credential, nonce)
}

/// Binds a channel to a peer, which also permits it to send (RFC 8656 section 12).
pub(super) fn channel_bind(
    id: TransactionId,
    channel: u16,
    peer: SocketAddr,
    credential: &Credential,
    nonce: &[u8],
) -> Vec<u8> {
    let [high, low] = channel.to_be_bytes();
    Builder::new(CHANNEL_BIND, id)
        .attribute(CHANNEL_NUMBER, &[high, low, 0, 0])
        .attribute(XOR_PEER_ADDRESS, &xor_address(peer, id))
        .signed(credential, nonce)
}

/// A Binding request as ICE sends it, or as somebody who does not know the password.
pub(super) fn binding(id: TransactionId, user: Option<&str>, key: Option<&[u8; 16]>) -> Vec<u8> {
    let mut builder = Builder::new(BINDING, id);
    if let Some(user) = user {
        builder = builder.attribute(USERNAME, user.as_bytes()).attribute(PRIORITY, &[0x6e, 0, 0, 0xff]);
    }
    match key {
        Some(key) => builder.with_integrity(key),
        None => builder.0,
    }
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    /// The request's method with the class of the answer.
    pub(super) kind: u16,
    pub(super) id: TransactionId,
    pub(super) error: Option<u16>,
    pub(super) nonce: Option<Vec<u8>>,
    pub(super) relayed: Option<SocketAddr>,
}

/// Reads a response; `None` for what is none.
pub(super) fn parse(datagram: &[u8]) -> Option<Response> {
    let (header, mut rest) = datagram.split_first_chunk::<HEADER_BYTES>()?;
    let [k0, k1, l0, l1, m0, m1, m2, m3, id @ ..] = *header;
    let kind = u16::from_be_bytes([k0, k1]);
    let is_stun = u32::from_be_bytes([m0, m1, m2, m3]) == MAGIC && kind >> 14 == 0;
    if !is_stun || usize::from(u16::from_be_bytes([l0, l1])) != rest.len() {
        return None;
    }
    let mut response = Response { kind, id, error: None, nonce: None, relayed: None };
    while let Some((head, after)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = after.get(..length)?;
        rest = after.get(length.next_multiple_of(4)..)?;
        match u16::from_be_bytes([head[0], head[1]]) {
            ERROR_CODE => {
                let [_, _, class, number, ..] = *value else { return None };
                response.error = Some(u16::from(class & 7) * 100 + u16::from(number));
            }
            NONCE => response.nonce = Some(value.to_vec()),
            XOR_RELAYED_ADDRESS => response.relayed = Some(address_of(value, id)?),
            _ => {}
        }
    }
    Some(response)
}

/// Number and data of a ChannelData message (RFC 8656 section 12.4).
pub(super) fn channel_data(datagram: &[u8]) -> Option<(u16, &[u8])> {
    let (head, rest) = datagram.split_first_chunk::<4>()?;
    let number = u16::from_be_bytes([head[0], head[1]]);
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    (number >> 14 == 0b01).then_some(())?;
    Some((number, rest.get(..length)?))
}

/// The four bytes before the data of a ChannelData message.
pub(super) fn channel_header(channel: u16, length: u16) -> [u8; 4] {
    let ([c0, c1], [l0, l1]) = (channel.to_be_bytes(), length.to_be_bytes());
    [c0, c1, l0, l1]
}

/// XOR-PEER-ADDRESS and the like (RFC 8489 section 14.2).
fn xor_address(address: SocketAddr, id: TransactionId) -> Vec<u8> {
    let port = address.port() ^ (MAGIC >> 16) as u16;
    let mask = mask(id);
    let mut bytes = vec![0, if address.is_ipv4() { 1 } else { 2 }];
    bytes.extend_from_slice(&port.to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => bytes.extend(ip.octets().iter().zip(mask).map(|(byte, mask)| byte ^ mask)),
        IpAddr::V6(ip) => bytes.extend(ip.octets().iter().zip(mask).map(|(byte, mask)| byte ^ mask)),
    }
    bytes
}

fn address_of(value: &[u8], id: TransactionId) -> Option<SocketAddr> {
    let (head, address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([head[2], head[3]]) ^ (MAGIC >> 16) as u16;
    let plain: Vec<u8> = address.iter().zip(mask(id)).map(|(byte, mask)| byte ^ mask).collect();
    let ip = match (head[1], address.len()) {
        (1, 4) => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(plain).ok()?)),
        (2, 16) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(plain).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn mask(id: TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC.to_be_bytes());
    mask[4..].copy_from_slice(&id);
    mask
}

#[cfg(test)]
mod tests;
