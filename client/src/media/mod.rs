//! Media legs: the pure [`Peer`] (ICE, DTLS, SRTP through str0m in RTP mode), what it sends, and the socket around it.
//!
//! - [`Peer`]: no socket, no clock, no task. Thousands fit in one process.
//! - [`Payload`]: one encoded frame or packet, shared by as many legs as send it.
//! - [`SyntheticVideo`]: well-formed VP8 RTP without an encoder.
//! - [`mark`]: send times inside media, for one-way latency on one clock.
//! - [`candidates`], [`choose_target`], [`local_address_towards`]: which local address a leg binds.

use std::sync::Arc;

mod check;
mod course;
mod engine;
mod frames;
pub(crate) mod gather;
pub mod mark;
mod order;
mod peer;
mod reception;
mod relay;
mod route;
pub(crate) mod shell;
mod switches;
mod synthetic_video;
#[cfg(test)]
pub(crate) mod testing;
mod units;

#[cfg(any(test, duocast_fuzz))]
pub(crate) use frames::fuzz as fuzz_picture;
#[cfg(any(test, duocast_fuzz))]
pub(crate) use gather::fuzz as fuzz_mapped;
#[cfg(any(test, duocast_fuzz))]
pub(crate) use relay::fuzz as fuzz_relayed;

pub use course::Path;
pub(crate) use course::{Course, Health, SendOn};
#[cfg(test)]
pub(crate) use engine::Engine;
pub(crate) use engine::EngineEvent;
pub use peer::{
    ConnectionState, LocalCandidate, MAX_POLLED, Peer, PeerConfig, PeerCounters, PeerError, PeerEvent,
    ReceivedRtp, Transmit, Transport, WireStats, rtc_config,
};
pub use route::{
    MAX_CANDIDATES, RouteError, candidates, choose_target, choose_target_from, local_address_towards,
    tcp_candidates,
};
pub use switches::SwitchStats;
pub use synthetic_video::{FrameShape, SyntheticVideo, SyntheticVideoConfig, VideoFrame, VideoPacket};
pub(crate) use units::Marker;
pub use units::Units;

/// One RTP payload. Cloning copies a pointer, so one encoded frame serves any number of legs.
pub type Payload = Arc<[u8]>;

/// RTP clock of Opus (RFC 7587 section 4.1).
pub const AUDIO_CLOCK_HZ: u32 = 48_000;

/// RTP clock of video (RFC 7741 section 4.1 and the other payload formats alike).
pub const VIDEO_CLOCK_HZ: u32 = 90_000;
