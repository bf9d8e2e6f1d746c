//! The direct leg as this device sees it.

use std::fmt;

use duocast_model::{DirectConsent, Exposure, UnixMillis};
use duocast_wire::v1;

use super::call::InvalidCall;

/// Where media goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DirectPhase {
    /// Through the server: the other party does not see this one's IP address.
    Routed,
    /// Through the server, while the two parties exchange how to reach each other.
    Negotiating,
    /// On both ways, until each party hears the other directly.
    Connecting,
    /// Directly.
    Active,
}

/// Why the last direct leg ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DirectEnd {
    /// A party went private.
    Withdrawn,
    /// There was no path between the two, or it died.
    Failed,
}

/// The direct leg of a live call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectInfo {
    /// Where media goes.
    pub phase: DirectPhase,
    /// Counts attempts from 1; 0 before the first.
    pub attempt: u32,
    /// This device makes the offer.
    pub offerer: bool,
    /// What this party says to a direct leg.
    pub own_consent: DirectConsent,
    /// What the other one says; never shown as less than [`DirectConsent::NotGiven`].
    pub peer_consent: DirectConsent,
    /// How the last attempt ended.
    pub last_end: Option<DirectEnd>,
}

impl DirectInfo {
    /// The other party wants a direct leg and this one has not answered.
    pub fn is_asked(&self) -> bool {
        self.peer_consent == DirectConsent::Given && self.own_consent == DirectConsent::NotGiven
    }
}

/// A step of the other party towards a direct leg. Its `Debug` shows nothing: it may hold addresses.
#[derive(Clone, PartialEq, Eq)]
pub struct DirectSignal {
    /// Of which attempt.
    pub attempt: u32,
    /// What.
    pub step: DirectStep,
}

/// See [`DirectSignal`].
#[derive(Clone, PartialEq, Eq)]
pub enum DirectStep {
    /// Answer this.
    Offer(String),
    /// The answer to this device's offer.
    Answer(String),
    /// All of the other party's candidates.
    Candidates(Vec<String>),
}

duocast_model::assert_unshown!(DirectSignal);
duocast_model::assert_not_impl!(DirectSignal: serde::Serialize);
duocast_model::assert_not_impl!(DirectStep: fmt::Debug, fmt::Display, serde::Serialize);

impl fmt::Debug for DirectSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectSignal").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

impl TryFrom<v1::DirectState> for DirectInfo {
    type Error = InvalidCall;

    fn try_from(wire: v1::DirectState) -> Result<Self, InvalidCall> {
        Ok(Self {
            phase: match wire.phase() {
                v1::DirectPhase::Routed => DirectPhase::Routed,
                v1::DirectPhase::Negotiating => DirectPhase::Negotiating,
                v1::DirectPhase::Connecting => DirectPhase::Connecting,
                v1::DirectPhase::Active => DirectPhase::Active,
                v1::DirectPhase::Unspecified => return Err(InvalidCall::Field("direct.phase")),
            },
            attempt: wire.attempt,
            offerer: wire.offerer,
            own_consent: consent(wire.own_consent())?,
            peer_consent: consent(wire.peer_consent())?,
            last_end: match wire.last_end() {
                v1::DirectEnd::Withdrawn => Some(DirectEnd::Withdrawn),
                v1::DirectEnd::Failed => Some(DirectEnd::Failed),
                v1::DirectEnd::None | v1::DirectEnd::Unspecified => None,
            },
        })
    }
}

impl TryFrom<v1::DirectSignal> for DirectSignal {
    type Error = InvalidCall;

    fn try_from(wire: v1::DirectSignal) -> Result<Self, InvalidCall> {
        let step = match wire.kind.ok_or(InvalidCall::Field("direct_signal.kind"))? {
            v1::direct_signal::Kind::Offer(sdp) => DirectStep::Offer(sdp),
            v1::direct_signal::Kind::Answer(sdp) => DirectStep::Answer(sdp),
            v1::direct_signal::Kind::Candidates(list) => DirectStep::Candidates(list.candidates),
        };
        Ok(Self { attempt: wire.attempt, step })
    }
}

/// A consent from the wire.
pub(crate) fn consent(wire: v1::DirectConsent) -> Result<DirectConsent, InvalidCall> {
    match wire {
        v1::DirectConsent::Never => Ok(DirectConsent::Never),
        v1::DirectConsent::NotGiven => Ok(DirectConsent::NotGiven),
        v1::DirectConsent::Given => Ok(DirectConsent::Given),
        v1::DirectConsent::Unspecified => Err(InvalidCall::Field("consent")),
    }
}

/// An exposure from the wire; kinds that this client does not know count as public.
pub(super) fn exposure(wire: &v1::AddressExposure) -> Exposure {
    let local = |kind: v1::AddressKind| kind == v1::AddressKind::LocalNetwork;
    Exposure {
        since: wire.since.as_ref().map_or(UnixMillis(0), super::call::millis),
        public: wire.kinds().any(|kind| !local(kind)),
        local_network: wire.kinds().any(local),
    }
}
