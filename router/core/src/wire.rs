//! What crosses the border to the shell: datagrams in, datagrams out, and where they travel.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use duocast_media::Kind;
use duocast_model::AUDIO_MAX_BYTES;

/// Longest datagram that is looked at. Media packets stay below the path MTU (RFC 8831 assumes 1200 bytes, Ethernet gives
/// 1500). Higher lets a publisher send what no viewer's path can carry, lower drops DTLS flights of clients with large
/// certificates.
pub const MAX_DATAGRAM_BYTES: usize = 1500;

/// What a client's media travels over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram, one packet.
    Udp,
    /// For clients whose network lets no UDP through (RFC 6544).
    Tcp,
}

/// What a [`Path`] uses of the shell's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// Index of the UDP socket.
    Udp(u8),
    /// Number of the TCP connection. The shell gives each a number of its own and never the same again.
    Tcp(u64),
}

/// One way to a client: which of the shell's sockets, which of our addresses, which remote address.
///
/// The remote address is a client's: `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// Socket or connection.
    pub link: Link,
    /// Our address that the client sent to, if the shell knows it; answers leave from it.
    pub local: Option<IpAddr>,
    /// The client's address.
    pub remote: SocketAddr,
}

impl Path {
    /// What it travels over.
    pub fn transport(&self) -> Transport {
        match self.link {
            Link::Udp(_) => Transport::Udp,
            Link::Tcp(_) => Transport::Tcp,
        }
    }

    /// Where its datagrams come from.
    pub(crate) fn source(&self) -> Source {
        match self.link {
            Link::Udp(_) => Source::Udp(self.remote),
            Link::Tcp(connection) => Source::Tcp(connection, self.remote.ip()),
        }
    }
}

/// What waits for the shell.
pub(crate) type Transmits = duocast_media::Outbox<Path>;

duocast_model::assert_unshown!(Path, Source, Datagram<'static>, Transmit<'static>);

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({:?})", self.link)
    }
}

/// What the demux knows a client by. The same address over UDP and TCP is two sources, and each connection is its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Udp(SocketAddr),
    Tcp(u64, IpAddr),
}

impl Source {
    pub(crate) fn ip(&self) -> IpAddr {
        match self {
            Self::Udp(address) => address.ip(),
            Self::Tcp(_, ip) => *ip,
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source(…)")
    }
}

/// A received datagram.
#[derive(Clone, Copy)]
pub struct Datagram<'a> {
    /// How it came.
    pub path: Path,
    /// Its bytes; not trusted in any way.
    pub contents: &'a [u8],
}

impl Datagram<'_> {
    /// Whether it is an RTP packet. DTLS, STUN and RTCP are never taken for one.
    pub fn is_media(&self) -> bool {
        Kind::of(self.contents) == Some(Kind::Rtp)
    }

    /// Whether it is a long RTP packet.
    pub fn is_video(&self) -> bool {
        self.contents.len() > AUDIO_MAX_BYTES && self.is_media()
    }
}

impl fmt::Debug for Datagram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagram").field("path", &self.path).field("len", &self.contents.len()).finish()
    }
}

/// A datagram to send.
#[derive(Clone, Copy)]
pub struct Transmit<'a> {
    /// How it goes.
    pub path: Path,
    /// Its bytes.
    pub contents: &'a [u8],
}

impl fmt::Debug for Transmit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transmit").field("path", &self.path).field("len", &self.contents.len()).finish()
    }
}

/// The SSRC of an RTP packet; `None` if it is too short to have one.
pub(crate) fn rtp_ssrc(contents: &[u8]) -> Option<u32> {
    let bytes = contents.get(8..12)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_address_is_not_in_what_is_printed() {
        let remote: SocketAddr = "203.0.113.77:4711".parse().unwrap();
        for link in [Link::Udp(0), Link::Tcp(1)] {
            let path = Path { link, local: Some("192.0.2.30".parse().unwrap()), remote };
            let contents = remote.to_string().into_bytes();
            let datagram = Datagram { path, contents: &contents };
            let transmit = Transmit { path, contents: &contents };
            let shown = format!("{path:?} {:?} {datagram:?} {transmit:?}", path.source());
            for secret in ["203.0.113.77", "4711", "192.0.2.30", "50, 48, 51"] {
                assert!(!shown.contains(secret), "{secret} in {shown}");
            }
        }
    }
}
