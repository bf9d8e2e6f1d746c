//! The media plane's decisions: demux, legs, forwarding. No sockets, no clock.
//!
//! One [`Shard`] is the data plane of one worker thread. A batch of datagrams takes this way through it:
//!
//! 1. `demux` says whose a datagram is: a known source address, else the ICE user name of a STUN check. A `bare` STUN
//!    request is nobody's: it is answered here, to addresses that a leg has proven.
//! 2. `leg` takes it: connectivity checks and DTLS go to its str0m `Rtc`, media to its media plane (duocast-media), which authenticates
//!    and decrypts it.
//! 3. `forward` says who gets it and as what: payload type, sequence number, timestamp.
//! 4. The viewer's `leg` has its media plane encrypt it.
//!
//! `forward` knows no `leg`, `leg` knows no `forward`; `shard` joins them. Calling order: `handle_*` with a `now` that never
//! goes back, then [`Shard::drain_transmits`], or [`Shard::poll_transmit`] until `None`, and [`Shard::poll_event`] until `None`, then sleep until
//! [`Shard::poll_timeout`] or the next input.
//!
//! The legs of a call are on one shard, but those of an audience on all of a node's (`place`). What a publisher sends crosses to the
//! others, decrypted and parsed: [`Shard::poll_passing`] there, [`Shard::handle_crossings`] here; [`Shard::poll_note`] says what either
//! side must know of the other (`crossing`, `shard/across`).

mod bare;
mod check;
mod codecs;
mod counters;
mod crossing;
mod demux;
mod forward;
#[cfg(any(test, duocast_fuzz))]
pub mod fuzz;
mod leg;
mod offer;
mod place;
mod prefixes;
mod shard;
mod timers;
mod wire;

pub use counters::{Counters, DropReason, LegCounters};
pub use crossing::{Crossing, Passing};
pub use duocast_media::{Demand, Estimate};
pub use offer::{IceSecret, MAX_MEDIA_LINES, MAX_SDP_BYTES, OfferError};
pub use place::{Place, Workers};
pub use shard::{Event, LegState, PlanOutcome, Reason, Shard, ShardConfig, TransportCounts};
pub use wire::{Datagram, Link, MAX_DATAGRAM_BYTES, Path, Transmit, Transport};
