//! What goes into a leg and what comes out of it.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;
use str0m::config::DtlsCert;
use str0m::format::Codec;

use super::super::Payload;

/// What a leg is made of.
#[derive(Clone)]
pub struct PeerConfig {
    /// Offer a video m-line, VP8 first.
    pub video: bool,
    /// Offer to receive only: nothing can be sent on this leg.
    pub only_receives: bool,
    /// The DTLS certificate; `None` makes a fresh one (about 50 µs). Legs that share one can be linked by an observer.
    pub certificate: Option<DtlsCert>,
    /// How often [`PeerEvent::Stats`] comes. `None`: never, which saves CPU at thousands of legs.
    pub stats_interval: Option<Duration>,
    /// Video packets kept for retransmission: 1.2 kB each.
    pub resend_packets: usize,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            video: false,
            only_receives: false,
            certificate: None,
            stats_interval: Some(Duration::from_secs(1)),
            resend_packets: 256,
        }
    }
}

/// Why a leg cannot be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The answer is no SDP, or does not fit the offer.
    #[error("the router's SDP answer cannot be used ({0}): make a new leg")]
    Answer(String),
    /// There was no offer to answer, or a newer one was made meanwhile.
    #[error("there is no offer waiting for an answer: make a new offer first")]
    NoOffer,
    /// The other party's description is no SDP, or does not fit this side's.
    #[error("the other side's description cannot be used: the call stays on the server")]
    Description,
    /// The local address cannot be an ICE candidate, for example because it is unspecified (0.0.0.0).
    #[error("the local address cannot be used for media: bind to a specific, routable address")]
    LocalAddress,
}

/// Where a leg's path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// No path yet.
    Connecting,
    /// ICE and DTLS are up: media may flow.
    Connected,
    /// The path was lost; an ICE restart may bring it back.
    Disconnected,
    /// The leg is over; only a new one helps.
    Closed,
}

/// One received RTP packet.
#[derive(Debug, Clone)]
pub struct ReceivedRtp {
    /// Sequence number, extended beyond 16 bits.
    pub sequence: u64,
    /// RTP time in the codec's clock.
    pub rtp_time: u32,
    /// Marker bit.
    pub marker: bool,
    /// What it carries.
    pub codec: Codec,
    /// The payload without header.
    pub payload: Payload,
    /// When its datagram was handed in.
    pub arrived: Instant,
}

/// What str0m counts on the wire.
#[derive(Debug, Clone, Copy, Default)]
pub struct WireStats {
    /// All bytes sent, handshakes included.
    pub bytes_out: u64,
    /// All bytes received.
    pub bytes_in: u64,
    /// Last measured round trip to the router.
    pub rtt: Option<Duration>,
    /// Share of our packets that the router missed, 0 to 1, over the last interval.
    pub loss_out: Option<f32>,
}

/// What happened on a leg.
#[derive(Debug)]
pub enum PeerEvent {
    /// The path changed its state.
    Connection(ConnectionState),
    /// Audio came.
    Audio(ReceivedRtp),
    /// Video came.
    Video(ReceivedRtp),
    /// The other side needs a key frame.
    KeyframeWanted,
    /// Periodic counters, see [`PeerConfig::stats_interval`].
    Stats(WireStats),
}

/// What a leg's datagrams travel over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A socket of the leg's own.
    Udp,
    /// A connection to the router, each datagram a frame (RFC 4571).
    Tcp,
    /// A connection over TLS to the API's port, and a relay from there to the router (TURN, RFC 8656).
    Tls,
}

/// A datagram to send.
pub struct Transmit {
    /// Over what.
    pub transport: Transport,
    /// From which of the leg's sockets.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// What.
    pub contents: Vec<u8>,
}

duocast_model::assert_unshown!(Transmit);
duocast_model::assert_not_impl!(Transmit: serde::Serialize);

impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transmit").field("len", &self.contents.len()).finish_non_exhaustive()
    }
}

/// What a leg has sent and received, and what it refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct PeerCounters {
    /// RTP packets given to the transport.
    pub packets_out: u64,
    /// Payload bytes in them.
    pub payload_bytes_out: u64,
    /// RTP packets received.
    pub packets_in: u64,
    /// Payload bytes in them.
    pub payload_bytes_in: u64,
    /// Packets offered for sending while the leg was not connected.
    pub unsent: u64,
    /// RTP packets of a payload type that was not agreed.
    pub unknown_kind: u64,
    /// Datagrams that are not ours or not understood.
    pub refused_datagrams: u64,
    /// Outputs dropped because nobody polled ([`MAX_POLLED`](super::MAX_POLLED)).
    pub overflowed: u64,
}
