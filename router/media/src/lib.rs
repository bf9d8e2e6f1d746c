//! The media of one leg, once its handshake is over: what a datagram of SRTP says, and what is sent in answer and besides. No sockets,
//! no clock.
//!
//! [`build`] makes a str0m session whose [`Keys`] come out of a [`KeyTap`]; a [`MediaPlane`] takes them and has all media from then on.
//! The router's legs are made so, and the load generator's, which must cost less than what it measures.
//!
//! Per datagram: [`Kind::of`], then [`MediaPlane::receive`] or [`MediaPlane::receive_rtcp`]; [`MediaPlane::write`] for each packet to
//! send; [`MediaPlane::finish`] at [`MediaPlane::wakes_at`]. What is to be sent is in the [`Outbox`] of a [`Sink`].

mod arrivals;
mod bandwidth;
mod descriptor;
mod extensions;
mod feedback;
mod frame;
#[cfg(any(test, duocast_fuzz))]
pub mod fuzz;
mod h264;
mod history;
mod keys;
mod kind;
mod missing;
mod ntp;
mod outbox;
mod plane;
mod prefetch;
mod receive;
mod reception;
mod recovery;
mod red;
mod rtp;
mod send;
mod srtp;
mod vp8;
mod vp9;
mod window;

pub use bandwidth::{Demand, Estimate};
pub use extensions::{DEPENDENCY_DESCRIPTOR_URI, ExtensionIds, Extensions, REPORT_REQUEST_URI};
pub use frame::{Base, Codec, Frame, PictureId, Renumbered};
pub use keys::{KeyTap, Keys, build};
pub use kind::Kind;
pub use ntp::to_duration as ntp_duration;
pub use outbox::Outbox;
pub use plane::{Announced, MediaConfig, MediaPlane, Refused, Side, Sink, TrackConfig};
pub use prefetch::{prefetch, prefetch_room};
pub use receive::{Packet, Payload, Received};
pub use reception::SenderReport;
pub use red::CARRIED_BYTES_MAX;
pub use send::Write;
