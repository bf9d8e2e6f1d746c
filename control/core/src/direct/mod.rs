//! A direct leg: media between the two parties without the router, when both agreed to it.

use std::fmt;
use std::sync::Arc;

use duocast_model::DirectConsent;

/// A text that may hold a client's addresses: a description or candidates for a direct leg, on its way from one party to
/// the other. It has no `Display` and a blind `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Arc<str>);

impl Sealed {
    /// Wraps.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text. For the message to the other party only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// Where media goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DirectPhase {
    /// Through the router.
    Routed,
    /// Through the router, while offer and answer are exchanged.
    Negotiating,
    /// On both, until each side decodes what comes directly.
    Connecting,
    /// On the direct leg.
    Active,
}

/// Why the last attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DirectEnd {
    /// A party went private.
    Withdrawn,
    /// There was no path, or it died.
    Failed,
}

/// The direct leg as one device sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectView {
    /// Where media goes.
    pub phase: DirectPhase,
    /// Counts from 1; 0 before the first.
    pub attempt: u32,
    /// This device makes the offer.
    pub offerer: bool,
    /// What the viewer says.
    pub own_consent: DirectConsent,
    /// What the other party says; never shown as less than [`DirectConsent::NotGiven`].
    pub peer_consent: DirectConsent,
    /// How the last attempt ended.
    pub last_end: Option<DirectEnd>,
}

/// The other party's step, as this device is told.
#[derive(Debug, Clone, PartialEq)]
pub enum DirectSignal {
    /// Answer this.
    Offer(Sealed),
    /// The answer to yours.
    Answer(Sealed),
    /// All of the other party's candidates.
    Candidates(Vec<Sealed>),
}
