//! A direct leg: media between the two parties without the router, when both agreed to it.

mod description;
#[cfg(any(test, duocast_fuzz))]
pub mod fuzz;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use duocast_model::{DirectConsent, Exposure, Party, UnixMillis};

pub use description::DescriptionError;
use description::{Candidates, Crossing, Description};

/// How long an attempt may take from both consents to media that both decode. Longer keeps both paths busy, shorter gives up
/// where a path exists: gathering takes up to 2 s on each side, ICE a few round trips.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(12);

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

duocast_model::assert_unshown!(Sealed, DirectStep, DirectSignal, DirectNext);

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

/// A step that a device takes.
#[derive(Debug, Clone, PartialEq)]
pub enum DirectStep {
    /// The offerer's description, with its candidates.
    Offer(Sealed),
    /// The answerer's.
    Answer(Sealed),
    /// It decodes the other party on the direct leg.
    Decoding,
    /// The direct leg did not come up, or died.
    Failed,
}

/// Why a step or a yes is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DirectError {
    /// The party's own settings rule direct legs out.
    #[error("your settings keep every call on the server: change them first if you want a direct connection")]
    NotAllowed,
    /// Not in this state.
    #[error("this call has no media yet: a direct connection can be made once it is live")]
    NotLive,
    /// It belongs to no attempt, to an older one, or was taken already.
    #[error("this step does not belong to the present attempt: follow the call's direct state")]
    Stale,
    /// Not a usable description.
    #[error(transparent)]
    Description(#[from] DescriptionError),
}

/// The direct leg of one call. Media is the clients' business: this says when they may know of each other, and what.
#[derive(Debug)]
pub(crate) struct Direct {
    phase: DirectPhase,
    attempt: u32,
    /// What the settings of each party say.
    standing: [DirectConsent; 2],
    /// What each party said in this call, if it did.
    said: [Option<bool>; 2],
    /// No path was found: nothing is tried until somebody says yes again.
    held: bool,
    last_end: Option<DirectEnd>,
    /// The offerer's candidates, until the answerer gave its own.
    offered: Option<Candidates>,
    decoding: [bool; 2],
}

/// What an accepted step leads to.
#[derive(Debug)]
pub(crate) enum DirectNext {
    /// Nothing to tell.
    Nothing,
    /// The state changed.
    Changed,
    /// Pass the offer, without candidates, to the answerer.
    PassOffer(Sealed),
    /// Both described themselves: pass the answer to the offerer and each one's candidates to the other. From now on they know
    /// of each other what `public` and `local_network` say.
    Introduce { answer: Sealed, candidates: [Vec<Sealed>; 2], public: bool, local_network: bool },
}

/// Who makes the offer.
pub(crate) const OFFERER: Party = Party::Caller;

impl Direct {
    pub(crate) fn new(standing: [DirectConsent; 2]) -> Self {
        Self {
            phase: DirectPhase::Routed,
            attempt: 0,
            standing,
            said: [None; 2],
            held: false,
            last_end: None,
            offered: None,
            decoding: [false; 2],
        }
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// A party's settings, then its own word. A setting that rules direct legs out cannot be talked over.
    fn consent(&self, party: Party) -> DirectConsent {
        match (self.standing[party as usize], self.said[party as usize]) {
            (DirectConsent::Never, _) => DirectConsent::Never,
            (_, Some(true)) => DirectConsent::Given,
            (_, Some(false)) => DirectConsent::NotGiven,
            (standing, None) => standing,
        }
    }

    fn agreed(&self) -> bool {
        Party::BOTH.into_iter().all(|party| self.consent(party) == DirectConsent::Given)
    }

    /// A party says yes or no. Errors: [`DirectError::NotAllowed`] for a yes that its settings rule out.
    pub(crate) fn say(&mut self, party: Party, yes: bool) -> Result<bool, DirectError> {
        if yes && self.standing[party as usize] == DirectConsent::Never {
            return Err(DirectError::NotAllowed);
        }
        let before = (self.consent(party), self.held);
        self.said[party as usize] = Some(yes);
        if yes {
            self.held = false;
        }
        Ok(before != (self.consent(party), self.held))
    }

    /// The settings changed.
    pub(crate) fn set_standing(&mut self, standing: [DirectConsent; 2]) -> bool {
        let before = Party::BOTH.map(|party| self.consent(party));
        self.standing = standing;
        before != Party::BOTH.map(|party| self.consent(party))
    }

    /// Brings the phase in step with what was agreed. `ready`: the call is live, both legs are up, both devices are there.
    /// True if it changed.
    pub(crate) fn settle(&mut self, ready: bool) -> bool {
        if !self.agreed() {
            return self.end(DirectEnd::Withdrawn);
        }
        if self.phase != DirectPhase::Routed || self.held || !ready {
            return false;
        }
        self.phase = DirectPhase::Negotiating;
        self.attempt += 1;
        self.last_end = None;
        true
    }

    /// Ends the present attempt. True if there was one.
    fn end(&mut self, how: DirectEnd) -> bool {
        if self.phase == DirectPhase::Routed {
            return false;
        }
        self.phase = DirectPhase::Routed;
        self.last_end = Some(how);
        self.held = how == DirectEnd::Failed;
        self.offered = None;
        self.decoding = [false; 2];
        true
    }

    /// A device of the attempt is gone: a reload, another device. Not held: the new one may try.
    pub(crate) fn device_gone(&mut self) -> bool {
        let ended = self.end(DirectEnd::Failed);
        self.held &= !ended;
        ended
    }

    /// The attempt took too long.
    pub(crate) fn timed_out(&mut self, attempt: u32) -> bool {
        attempt == self.attempt && self.phase != DirectPhase::Active && self.end(DirectEnd::Failed)
    }

    /// A party's step. Errors leave everything as it was.
    pub(crate) fn step(
        &mut self,
        party: Party,
        attempt: u32,
        step: &DirectStep,
    ) -> Result<DirectNext, DirectError> {
        use DirectPhase::{Active, Connecting, Negotiating, Routed};
        if attempt != self.attempt || self.phase == Routed {
            return Err(DirectError::Stale);
        }
        match (step, self.phase) {
            (DirectStep::Offer(sdp), Negotiating) if party == OFFERER && self.offered.is_none() => {
                let description = Description::parse(sdp.expose())?;
                self.offered = Some(description.candidates);
                Ok(DirectNext::PassOffer(description.sdp))
            }
            (DirectStep::Answer(sdp), Negotiating) if party != OFFERER && self.offered.is_some() => {
                let description = Description::parse(sdp.expose())?;
                let offered = self.offered.take().unwrap_or_default();
                let crossing = Crossing::of([&offered, &description.candidates]);
                if crossing.is_empty() {
                    self.end(DirectEnd::Failed);
                    return Ok(DirectNext::Changed);
                }
                self.phase = Connecting;
                let Crossing { passed, public, local_network } = crossing;
                Ok(DirectNext::Introduce {
                    answer: description.sdp,
                    candidates: passed,
                    public,
                    local_network,
                })
            }
            (DirectStep::Decoding, Connecting) => {
                let new = !std::mem::replace(&mut self.decoding[party as usize], true);
                if self.decoding == [true; 2] {
                    self.phase = Active;
                    return Ok(DirectNext::Changed);
                }
                if new { Ok(DirectNext::Nothing) } else { Err(DirectError::Stale) }
            }
            (DirectStep::Failed, _) => {
                self.end(DirectEnd::Failed);
                Ok(DirectNext::Changed)
            }
            _ => Err(DirectError::Stale),
        }
    }

    /// As `party` may see it.
    pub(crate) fn view(&self, party: Party) -> DirectView {
        DirectView {
            phase: self.phase,
            attempt: self.attempt,
            offerer: party == OFFERER,
            own_consent: self.consent(party),
            peer_consent: self.consent(party.other()).max(DirectConsent::NotGiven),
            last_end: self.last_end,
        }
    }
}

/// What somebody knows after this introduction, from what was known before.
pub(crate) fn exposed(
    before: Option<Exposure>,
    now: UnixMillis,
    public: bool,
    local_network: bool,
) -> Exposure {
    let before = before.unwrap_or(Exposure { since: now, public: false, local_network: false });
    Exposure {
        since: before.since,
        public: before.public || public,
        local_network: before.local_network || local_network,
    }
}
