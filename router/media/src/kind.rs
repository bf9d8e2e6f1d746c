//! What shares a socket with media.

/// What a datagram is, by its first bytes (RFC 9443 section 2, RFC 5761 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of ICE.
    Stun,
    /// The handshake.
    Dtls,
    /// SRTP, once there are keys.
    Rtp,
    /// SRTCP, once there are keys.
    Rtcp,
}

impl Kind {
    /// `None`: none of them, or too short.
    pub fn of(contents: &[u8]) -> Option<Self> {
        match *contents {
            [0 | 1, ..] if contents.len() >= 20 => Some(Self::Stun),
            [20..=63, ..] => Some(Self::Dtls),
            [128..=191, second, ..] if (64..96).contains(&(second & 0x7f)) && contents.len() >= 8 => {
                Some(Self::Rtcp)
            }
            [128..=191, ..] if contents.len() >= 12 => Some(Self::Rtp),
            _ => None,
        }
    }
}
