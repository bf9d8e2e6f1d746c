//! Keeps clients' addresses out of str0m's ICE agent.
//!
//! The agent keeps a candidate and a pair for every source that it is told, and looks through all of them on each check: one
//! client with many ports could make its checks cost milliseconds. So it is told one source for all, and its answers get the
//! true one before they leave.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use str0m::crypto::from_feature_flags;
use str0m::ice::StunMessage;
use str0m::net::DatagramSend;

/// Room for an answer; one with an IPv6 address takes less than 100 bytes.
const MAX_ANSWER_BYTES: usize = 256;

/// The source that str0m is told for whatever comes in at `destination`: of the same family, and nobody's (RFC 5737, RFC 3849).
pub(crate) fn stand_in(destination: SocketAddr) -> SocketAddr {
    match destination {
        SocketAddr::V4(_) => (Ipv4Addr::new(192, 0, 2, 1), 9).into(),
        SocketAddr::V6(_) => (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into(),
    }
}

/// str0m's answer to a check, with the address that the check came from as XOR-MAPPED-ADDRESS (RFC 8489 section 14.2).
/// An answer without one, such as a role conflict, stays as it is. `None` if it is no STUN.
pub(crate) fn answer_to(source: SocketAddr, answer: DatagramSend, password: &str) -> Option<DatagramSend> {
    let parsed = StunMessage::parse(&answer).ok()?;
    if !parsed.is_successful_binding_response() {
        return Some(answer);
    }
    let hmac = from_feature_flags().sha1_hmac_provider;
    let mut bytes = vec![0; MAX_ANSWER_BYTES];
    let len = StunMessage::binding_reply(parsed.trans_id(), source)
        .to_bytes(Some(password.as_bytes()), &mut bytes, |key, parts| hmac.sha1_hmac(key, parts))
        .ok()?;
    bytes.truncate(len);
    Some(bytes.into())
}
