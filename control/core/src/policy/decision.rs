//! From an answer to a pass: what may be created because of it.

use std::fmt;

use duocast_model::{AccountId, DirectConsent, DirectSetting, Party, PrivacySettings};

use super::rules::evaluate;
use super::situation::{Profile, Situation};
use super::verdict::{AllowReason, DenyReason, Outcome, RequestReason, Verdict};

/// Who wants to call whom, and all that the answer depends on. The shell reads it from the store.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Who wants to call.
    pub caller: AccountId,
    /// Who would be called.
    pub callee: AccountId,
    /// Everything else.
    pub situation: Situation,
}

/// The answer as a pass.
#[derive(Debug)]
pub enum Decision {
    /// A call may be created.
    Allow(Admission),
    /// A call request may be sent.
    Request(RequestPass),
    /// Neither.
    Deny(Denied),
}

impl Decision {
    /// Which of the three.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Allow(_) => Outcome::Allow,
            Self::Request(_) => Outcome::Request,
            Self::Deny(_) => Outcome::Deny,
        }
    }

    /// Stable code of the reason, for counters.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Allow(pass) => pass.reason.code(),
            Self::Request(pass) => pass.reason.code(),
            Self::Deny(denied) => denied.reason.code(),
        }
    }
}

/// Proof that policy allowed this caller to call this callee. Only [`decide`] makes one, and creating a call takes it.
///
/// ```compile_fail,E0451
/// # use duocast_control_core::policy::{Admission, AllowReason};
/// # use duocast_model::{AccountId, DirectConsent};
/// let (caller, callee) = (AccountId::new("mallory").unwrap(), AccountId::new("bob").unwrap());
/// let standing = [DirectConsent::Given; 2];
/// let forged = Admission { caller, callee, reason: AllowReason::Grant, standing };
/// ```
#[derive(Debug)]
pub struct Admission {
    caller: AccountId,
    callee: AccountId,
    reason: AllowReason,
    standing: [DirectConsent; 2],
}

impl Admission {
    /// Who calls.
    pub fn caller(&self) -> &AccountId {
        &self.caller
    }

    /// Who is called.
    pub fn callee(&self) -> &AccountId {
        &self.callee
    }

    /// Why it is allowed.
    pub const fn reason(&self) -> AllowReason {
        self.reason
    }

    /// What this party's settings say of a direct leg with the other one.
    pub const fn standing(&self, party: Party) -> DirectConsent {
        self.standing[party as usize]
    }

    /// How media may go when the call begins.
    pub const fn legs(&self) -> Legs {
        legs(self.standing[0], self.standing[1])
    }
}

/// Proof that policy lets this caller ask this callee for permission. Only [`decide`] makes one.
///
/// ```compile_fail,E0451
/// # use duocast_control_core::policy::{RequestPass, RequestReason};
/// # use duocast_model::AccountId;
/// let (caller, callee) = (AccountId::new("mallory").unwrap(), AccountId::new("bob").unwrap());
/// let forged = RequestPass { caller, callee, reason: RequestReason::Fresh };
/// ```
#[derive(Debug)]
pub struct RequestPass {
    caller: AccountId,
    callee: AccountId,
    reason: RequestReason,
}

impl RequestPass {
    /// Who asks.
    pub fn caller(&self) -> &AccountId {
        &self.caller
    }

    /// Who is asked.
    pub fn callee(&self) -> &AccountId {
        &self.callee
    }

    /// How the asking stands. Only a [`RequestReason::Fresh`] one reaches the callee.
    pub const fn reason(&self) -> RequestReason {
        self.reason
    }
}

/// Policy's no. As an error it reads as the caller may hear it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    reason: DenyReason,
}

impl Denied {
    pub(super) const fn for_reason(reason: DenyReason) -> Self {
        Self { reason }
    }

    /// The real reason: for counters, never for the caller.
    pub const fn reason(&self) -> DenyReason {
        self.reason
    }

    /// The code that the caller may hear.
    pub const fn code(&self) -> &'static str {
        self.reason.heard().code
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.heard().sentence)
    }
}

/// An error that is logged on its way to the caller says no more than the caller hears.
impl fmt::Debug for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Denied({})", self.code())
    }
}

impl std::error::Error for Denied {}

/// May this caller call this callee? The answer is a pass, made here and nowhere else.
pub fn decide(profile: Profile, facts: &Facts) -> Decision {
    if facts.caller == facts.callee {
        return Decision::Deny(Denied { reason: DenyReason::Oneself });
    }
    let (caller, callee) = (facts.caller.clone(), facts.callee.clone());
    match evaluate(profile, &facts.situation) {
        Verdict::Allow(reason) => {
            let (settings, mutual) = (&facts.situation, facts.situation.relation.is_mutual());
            let standing = [standing(&settings.caller, mutual), standing(&settings.callee, mutual)];
            Decision::Allow(Admission { caller, callee, reason, standing })
        }
        Verdict::Request(reason) => Decision::Request(RequestPass { caller, callee, reason }),
        Verdict::Deny(reason) => Decision::Deny(Denied { reason }),
    }
}

/// What an account's settings say of a direct leg with one other person.
pub const fn standing(own: &PrivacySettings, mutual: bool) -> DirectConsent {
    if own.enhanced_call_privacy {
        return DirectConsent::Never;
    }
    match own.direct {
        DirectSetting::Never => DirectConsent::Never,
        DirectSetting::Ask => DirectConsent::NotGiven,
        DirectSetting::Mutuals if mutual => DirectConsent::Given,
        DirectSetting::Mutuals => DirectConsent::Never,
        DirectSetting::Anyone => DirectConsent::Given,
    }
}

/// How media may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Legs {
    /// Through the router, for the whole call: one of the two rules a direct leg out.
    Routed,
    /// Through the router until whoever has not said yes does.
    OnYes,
    /// Directly, once the call is up: both said yes.
    Direct,
}

impl Legs {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::OnYes => "routed, direct after a yes in the call",
            Self::Direct => "direct allowed",
        }
    }
}

/// How media may go between two who say this of a direct leg. It takes both of them.
pub const fn legs(one: DirectConsent, other: DirectConsent) -> Legs {
    match (one, other) {
        (DirectConsent::Given, DirectConsent::Given) => Legs::Direct,
        (DirectConsent::Never, _) | (_, DirectConsent::Never) => Legs::Routed,
        _ => Legs::OnYes,
    }
}
