//! What a shard is told and what it tells.

use std::net::SocketAddr;

use duocast_model::{CallId, Generation, LegId};

/// What a shard may do.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// The addresses that answers name: where this worker's sockets can be reached. At least one.
    pub announced: Vec<SocketAddr>,
    /// The addresses that answers name for media over TCP, after those for UDP. May be empty.
    pub announced_tcp: Vec<SocketAddr>,
    /// Most legs with a client. At the bound an offer is refused with [`NodeFull`](crate::OfferError::NodeFull). Each costs about 60 KiB
    /// idle and 220 KiB with video.
    pub max_legs: usize,
}

/// Legs with a client, by what their media goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransportCounts {
    /// Over UDP.
    pub udp: usize,
    /// Over TCP.
    pub tcp: usize,
    /// No path authenticated, or none for 13 s.
    pub none: usize,
}

/// What became of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanOutcome {
    /// The generation that the shard now has for this call.
    pub generation: Generation,
    /// False: the plan was not newer (or there was no room), and nothing changed.
    pub applied: bool,
}

impl PlanOutcome {
    /// What became of a plan that several shards were given: it is applied once all have it. Of those that refuse it the newest is named, which
    /// the next plan must come after.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self.applied, other.applied) {
            (true, true) => Self { generation: self.generation.min(other.generation), applied: true },
            (true, false) => other,
            (false, true) => self,
            (false, false) => Self { generation: self.generation.max(other.generation), applied: false },
        }
    }
}

/// A leg as control sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LegState {
    /// ICE and DTLS are up.
    Connected,
    /// The same, and for more than a second its client's path has not carried even the smallest of the pictures that it views: it gets none, and
    /// sound alone. Told of pictures in more than one size or layer; others are sent whatever the path carries.
    WithoutPictures,
    /// Nothing from the client authenticated for 7 s; it may come back.
    Stalled,
    /// The client closed it, or it failed.
    Closed,
}

/// What the shell must tell control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A leg's state is now this. States between two polls are not told.
    LegChanged {
        /// The leg's call.
        call: CallId,
        /// The leg.
        leg: LegId,
        /// Its state.
        state: LegState,
    },
}

/// What a shard wants to be woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A leg's own timers: DTLS, RTCP reports, NACK, transport feedback, or the check whether its client is still there.
    Leg,
    /// A keyframe request waited for its turn.
    Keyframe,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_shards_that_refuse_a_plan_the_newest_is_named() {
        let outcome = |generation, applied| PlanOutcome { generation: Generation(generation), applied };
        let (has_ten, has_nine, new) = (outcome(10, false), outcome(9, false), outcome(7, true));
        for refused in [has_ten.and(new), new.and(has_ten), has_nine.and(has_ten).and(new)] {
            assert_eq!((refused.generation, refused.applied), (Generation(10), false));
        }
        assert!(new.and(new).applied);
    }
}
