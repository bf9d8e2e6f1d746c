//! What a network does to packets: loss, delay, jitter, duplicates, a bottleneck, a blackout, a change of address. Pure: time is
//! handed in, and everything random comes from one seed.
//!
//! - [`Pipe`]: one direction of one client's path. [`Path`]: both, as a scenario asks for them.
//! - [`losses`]: which packets are lost.

mod losses;
mod pipe;

use std::time::{Duration, Instant};

pub(crate) use losses::Burst;
pub(crate) use pipe::{Injected, Pipe};

/// What one direction of a path does, in this order: blackout, loss, bottleneck, delay and jitter, duplicates.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Conditions {
    /// Share of packets lost at random, each by itself.
    pub(crate) loss: f64,
    pub(crate) burst: Option<Burst>,
    pub(crate) delay: Duration,
    /// Each packet waits up to this much longer, at random, evenly spread.
    pub(crate) jitter: Duration,
    /// Packets may overtake each other; otherwise those behind a late one wait for it.
    pub(crate) reorder: bool,
    /// Share of packets that arrive twice.
    pub(crate) duplicate: f64,
    pub(crate) rate: Option<Rate>,
    pub(crate) blackouts: Vec<Blackout>,
}

/// A bottleneck: a token bucket with a queue before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Bits a second, IP and UDP headers included.
    pub(crate) bits_per_second: u64,
    /// A packet that would wait longer than this is dropped.
    pub(crate) queue: Duration,
}

/// Nothing passes. Counts from the begin of the steady phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blackout {
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
}

impl Blackout {
    /// Whether nothing passes now.
    pub(crate) fn is_on(&self, steady_from: Instant, now: Instant) -> bool {
        let from = steady_from + self.at;
        (from..from + self.lasts).contains(&now)
    }
}

/// New local ports, as after a change of network behind the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddressChanges {
    /// From the begin of the steady phase to the first; for who comes later, from then.
    pub(crate) at: Duration,
    pub(crate) every: Duration,
    pub(crate) count: u32,
}

/// A client's way to the server and back.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Path {
    pub(crate) up: Conditions,
    pub(crate) down: Conditions,
    pub(crate) address_changes: Option<AddressChanges>,
}

impl Path {
    /// Whether nothing passes now, in one direction at least.
    pub(crate) fn is_black(&self, steady_from: Instant, now: Instant) -> bool {
        let blackouts = [&self.up, &self.down].into_iter().flat_map(|way| &way.blackouts);
        blackouts.into_iter().any(|blackout| blackout.is_on(steady_from, now))
    }
}

impl Conditions {
    /// Longest time that a packet is held.
    pub(crate) fn held_max(&self) -> Duration {
        self.delay + self.jitter + self.rate.map_or(Duration::ZERO, |rate| rate.queue)
    }
}

/// The seed of one of many generators that a run's seed stands for (SplitMix64's finish, so that neighbours differ).
pub(crate) fn seed(run: u64, stream: u64) -> u64 {
    let mut mixed = run ^ stream.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests;
