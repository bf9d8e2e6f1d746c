//! One connectivity check of a leg (RFC 8445 section 7.2.2) that nominates nothing: it asks the router over a way that the leg
//! does not use. The router answers it from wherever it comes; a bare request it would not, where the leg came by a relay.

use str0m::IceCreds;
use str0m::crypto::from_feature_flags;
use str0m::ice::{StunMessage, TransId};

/// Room for a check: its user name has at most 513 bytes (RFC 8489 section 14.3), and all else less than 100.
const BYTES_MAX: usize = 640;

/// The priority that it claims. Nothing is chosen by it, since no router pairs what a check claims.
const PRIORITY: u32 = 1;

/// A check that was made, and what its answer must be.
pub(crate) struct Check {
    bytes: Vec<u8>,
    password: String,
}

impl Check {
    /// A check between these two ends; `None` if their names are longer than names may be.
    pub(super) fn new(local: &IceCreds, router: &IceCreds) -> Option<Self> {
        let username = format!("{}:{}", router.ufrag, local.ufrag);
        let message =
            StunMessage::binding_request(&username, TransId::new(), true, rand::random(), PRIORITY, false);
        let mut bytes = vec![0; BYTES_MAX];
        let hmac = from_feature_flags().sha1_hmac_provider;
        let sign = |key: &[u8], parts: &[&[u8]]| hmac.sha1_hmac(key, parts);
        let length = message.to_bytes(Some(router.pass.as_bytes()), &mut bytes, sign).ok()?;
        bytes.truncate(length);
        Some(Self { bytes, password: router.pass.clone() })
    }

    /// What to send.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether this is the router's answer.
    pub(crate) fn is_answered_by(&self, datagram: &[u8]) -> bool {
        let is_answer = datagram.starts_with(&[1, 1]) && datagram.get(4..20) == self.bytes.get(4..20);
        if !is_answer {
            return false;
        }
        let hmac = from_feature_flags().sha1_hmac_provider;
        let sign = |key: &[u8], parts: &[&[u8]]| hmac.sha1_hmac(key, parts);
        StunMessage::parse(datagram).is_ok_and(|answer| answer.verify(self.password.as_bytes(), sign))
    }
}

/// The ICE credentials of an SDP answer (RFC 8839 section 5.4): of its first m-line, since all are one BUNDLE group.
pub(super) fn credentials(answer: &str) -> Option<IceCreds> {
    let value = |name| answer.lines().find_map(|line| line.trim_end().strip_prefix(name)).map(str::to_owned);
    Some(IceCreds { ufrag: value("a=ice-ufrag:")?, pass: value("a=ice-pwd:")? })
}
