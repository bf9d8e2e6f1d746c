//! The policy's answers: each has a reason with a stable code, and words for each of the two.

use duocast_model::{Audience, AudienceSet};

/// The three answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// A call rings.
    Allow,
    /// A call request can be sent; nothing rings.
    Request,
    /// Neither.
    Deny,
}

impl Outcome {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Request => "request",
            Self::Deny => "deny",
        }
    }
}

/// An answer with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// A call rings.
    Allow(AllowReason),
    /// A call request can be sent; nothing rings.
    Request(RequestReason),
    /// Neither.
    Deny(DenyReason),
}

/// A code with its sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Words {
    /// Stable, `UPPER_SNAKE_CASE`.
    pub code: &'static str,
    /// What it means, and what to do.
    pub sentence: &'static str,
}

/// An answer in the words of one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Told {
    /// Which answer.
    pub outcome: Outcome,
    /// Why.
    pub words: Words,
}

/// Why a call rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AllowReason {
    /// The callee gave the caller permission.
    Grant,
    /// `reported-2024`: the callee accepted a direct message of the caller's.
    AcceptedDm,
    /// The caller belongs to an audience of the callee's; the first that fits.
    Audience(Audience),
}

/// Why a call request is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestReason {
    /// The caller is outside the callee's audience and may ask.
    Fresh,
    /// The caller asked; the callee has not answered.
    Pending,
    /// The callee said no. The caller hears what it hears while a request waits, and nothing more reaches the callee.
    Declined,
}

/// Why there is no way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// Caller and callee are one account.
    Oneself,
    /// The caller has not switched calling on.
    CallerOff,
    /// The caller blocked the callee.
    BlockedByCaller,
    /// The caller wants only end-to-end encrypted calls, and this one could not be.
    CallerRequiresE2ee,
    /// The callee blocked the caller.
    BlockedByCallee,
    /// The callee has not switched calling on.
    CalleeOff,
    /// The caller is outside this audience, and the callee turns strangers away.
    OutsideAudience(AudienceSet),
    /// The callee wants only end-to-end encrypted calls, and this one could not be.
    CalleeRequiresE2ee,
}

const fn words(code: &'static str, sentence: &'static str) -> Words {
    Words { code, sentence }
}

/// What a caller hears of every callee who cannot, or does not want to, be reached.
const NOT_REACHABLE: Words = words("CALLEE_NOT_REACHABLE", "this person cannot be reached by calls");

/// What a caller hears if saying more would tell what is in the callee's address book or settings.
const CALLEE_ALLOWS: Words = words("CALLEE_ALLOWS", "this person's settings let you call them");

impl AllowReason {
    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Grant => "GRANT",
            Self::AcceptedDm => "DM_GRANT",
            Self::Audience(Audience::Mutuals) => "MUTUALS",
            Self::Audience(Audience::Following) => "FOLLOWING",
            Self::Audience(Audience::AddressBook) => "ADDRESS_BOOK",
            Self::Audience(Audience::Verified) => "VERIFIED",
            Self::Audience(Audience::DmAccepted) => "DM_ACCEPTED",
            Self::Audience(Audience::Everyone) => "EVERYONE",
        }
    }

    /// The reason, for somebody who sees both sides.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Grant => "the callee gave the caller permission to call",
            Self::AcceptedDm => {
                "the callee accepted a direct message of the caller's, which counts as permission"
            }
            Self::Audience(Audience::Mutuals) => {
                "the two follow each other, and the callee lets mutual contacts call"
            }
            Self::Audience(Audience::Following) => "the callee follows the caller, and lets such people call",
            Self::Audience(Audience::AddressBook) => {
                "the caller is in the callee's address book, whom the callee lets call"
            }
            Self::Audience(Audience::Verified) => {
                "the caller is verified, and the callee lets verified accounts call"
            }
            Self::Audience(Audience::DmAccepted) => {
                "the callee accepted a direct message of the caller's, and lets such people call"
            }
            Self::Audience(Audience::Everyone) => "the callee lets everyone call",
        }
    }

    /// What the caller may hear: nothing of the callee's address book, and of the settings only what concerns a fact that
    /// the caller knows anyway.
    pub const fn heard(self) -> Words {
        match self {
            Self::Grant => words("GRANT", "this person gave you permission to call"),
            Self::AcceptedDm => words("DM_GRANT", "this person accepted a direct message of yours"),
            Self::Audience(Audience::Mutuals) => words("MUTUALS", "you follow each other"),
            Self::Audience(Audience::Following) => words("FOLLOWING", "this person follows you"),
            Self::Audience(Audience::DmAccepted) => {
                words("DM_ACCEPTED", "this person accepted a direct message of yours")
            }
            Self::Audience(Audience::AddressBook | Audience::Verified | Audience::Everyone) => CALLEE_ALLOWS,
        }
    }

    const fn to_callee(self) -> &'static str {
        match self {
            Self::Grant => "you gave them permission to call: revoke it to end that",
            Self::AcceptedDm => "you accepted a direct message of theirs, which lets them call you",
            Self::Audience(Audience::Mutuals) => "you follow each other, and you let mutual contacts call",
            Self::Audience(Audience::Following) => "you follow them, and you let people whom you follow call",
            Self::Audience(Audience::AddressBook) => {
                "they are in your address book, and you let people in it call"
            }
            Self::Audience(Audience::Verified) => "they are verified, and you let verified accounts call",
            Self::Audience(Audience::DmAccepted) => {
                "you accepted a direct message of theirs, and you let such people call"
            }
            Self::Audience(Audience::Everyone) => "you let everyone call",
        }
    }
}

impl RequestReason {
    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Fresh => "REQUEST_NEEDED",
            Self::Pending => "REQUEST_PENDING",
            Self::Declined => "REQUEST_DECLINED",
        }
    }

    /// The reason, for somebody who sees both sides.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Fresh => "the caller is outside the callee's audience, and may send a call request",
            Self::Pending => "the caller's call request waits for the callee's answer",
            Self::Declined => {
                "the callee declined the caller's call request: no other one reaches the callee"
            }
        }
    }

    /// What the caller may hear: a declined request looks like one that waits.
    pub const fn heard(self) -> Words {
        match self {
            Self::Fresh => words(
                "REQUEST_NEEDED",
                "this person's own settings do not let you ring them: send a call request",
            ),
            Self::Pending | Self::Declined => words(
                "REQUEST_PENDING",
                "you sent this person a call request: you can call once they accept it",
            ),
        }
    }

    const fn to_callee(self) -> &'static str {
        match self {
            Self::Fresh => "they cannot ring you; they can send you a call request",
            Self::Pending => "they cannot ring you; their call request waits for your answer",
            Self::Declined => "you declined their call request: they cannot ring you or ask again",
        }
    }
}

/// Every outcome with every code that an answer of the policy has for it: the labels of a counter.
pub fn codes() -> impl Iterator<Item = (Outcome, &'static str)> {
    let allows = [AllowReason::Grant, AllowReason::AcceptedDm].into_iter();
    let allows = allows.chain(Audience::ALL.map(AllowReason::Audience)).map(AllowReason::code);
    let requests = [RequestReason::Fresh, RequestReason::Pending, RequestReason::Declined];
    let denies = [
        DenyReason::Oneself,
        DenyReason::CallerOff,
        DenyReason::BlockedByCaller,
        DenyReason::CallerRequiresE2ee,
        DenyReason::BlockedByCallee,
        DenyReason::CalleeOff,
        DenyReason::CalleeRequiresE2ee,
    ];
    // Nobody, each alone, and one union, for they all have one code.
    let single = Audience::ALL.into_iter().map(|one| AudienceSet::from_iter([one]));
    let outside = [AudienceSet::NONE, AudienceSet::from_iter(Audience::ALL)].into_iter().chain(single);
    let denies = denies.into_iter().chain(outside.map(DenyReason::OutsideAudience)).map(DenyReason::code);
    allows
        .map(|code| (Outcome::Allow, code))
        .chain(requests.map(RequestReason::code).map(|code| (Outcome::Request, code)))
        .chain(denies.map(|code| (Outcome::Deny, code)))
}

impl DenyReason {
    /// Stable code. For [`Self::OutsideAudience`] one for each single audience, and one for their unions.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Oneself => "CALLEE_IS_SELF",
            Self::CallerOff => "CALLER_NOT_ENABLED",
            Self::BlockedByCaller => "BLOCKED_BY_CALLER",
            Self::CallerRequiresE2ee => "CALLER_REQUIRES_E2EE",
            Self::BlockedByCallee => "BLOCKED_BY_CALLEE",
            Self::CalleeOff => "CALLEE_NOT_ENABLED",
            Self::OutsideAudience(audience) => outside(audience),
            Self::CalleeRequiresE2ee => "CALLEE_REQUIRES_E2EE",
        }
    }

    /// The reason, for somebody who sees both sides.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Oneself => "caller and callee are one account",
            Self::CallerOff => "calling is off for the caller",
            Self::BlockedByCaller => "the caller blocked the callee",
            Self::CallerRequiresE2ee => {
                "the caller wants only end-to-end encrypted calls, and this one could not be"
            }
            Self::BlockedByCallee => "the callee blocked the caller",
            Self::CalleeOff => "calling is off for the callee",
            Self::OutsideAudience(_) => {
                "the caller is outside the callee's audience, and strangers are turned away"
            }
            Self::CalleeRequiresE2ee => {
                "the callee wants only end-to-end encrypted calls, and this one could not be"
            }
        }
    }

    /// What the caller may hear: blocked, off and turned away are all alike.
    pub const fn heard(self) -> Words {
        match self {
            Self::Oneself => words("CALLEE_IS_SELF", "you cannot call yourself: choose somebody else"),
            Self::CallerOff => words(
                "CALLER_NOT_ENABLED",
                "calling is off for your account: switch it on in your settings first",
            ),
            Self::BlockedByCaller => {
                words("BLOCKED_BY_CALLER", "you blocked this person: unblock them first")
            }
            Self::CallerRequiresE2ee => words(
                "CALLER_REQUIRES_E2EE",
                "you want only end-to-end encrypted calls, and this one could not be: change your settings to call",
            ),
            Self::BlockedByCallee | Self::CalleeOff | Self::OutsideAudience(_) => NOT_REACHABLE,
            Self::CalleeRequiresE2ee => words(
                "CALLEE_REQUIRES_E2EE",
                "this person takes only end-to-end encrypted calls: update your app to one that can make them",
            ),
        }
    }

    const fn to_callee(self) -> &'static str {
        match self {
            Self::Oneself => "this is you",
            // The caller's own choices, which the callee is not told.
            Self::CallerOff | Self::BlockedByCaller | Self::CallerRequiresE2ee => {
                "they cannot call you at present"
            }
            Self::BlockedByCallee => "you blocked them",
            Self::CalleeOff => "calling is off for you: nobody can call you",
            Self::OutsideAudience(_) => {
                "they are not among the people whom you let call, and you turn others away"
            }
            Self::CalleeRequiresE2ee => "you take only end-to-end encrypted calls, and theirs could not be",
        }
    }
}

const fn outside(audience: AudienceSet) -> &'static str {
    const SINGLE: [(Audience, &str); 6] = [
        (Audience::Mutuals, "AUDIENCE_MUTUALS"),
        (Audience::Following, "AUDIENCE_FOLLOWING"),
        (Audience::AddressBook, "AUDIENCE_ADDRESS_BOOK"),
        (Audience::Verified, "AUDIENCE_VERIFIED"),
        (Audience::DmAccepted, "AUDIENCE_DM_ACCEPTED"),
        (Audience::Everyone, "AUDIENCE_EVERYONE"),
    ];
    if audience.bits() == 0 {
        return "AUDIENCE_NOBODY";
    }
    let mut i = 0;
    while i < SINGLE.len() {
        if AudienceSet::of(&[SINGLE[i].0]).bits() == audience.bits() {
            return SINGLE[i].1;
        }
        i += 1;
    }
    "OUTSIDE_AUDIENCE"
}

impl Verdict {
    /// Which of the three.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Allow(_) => Outcome::Allow,
            Self::Request(_) => Outcome::Request,
            Self::Deny(_) => Outcome::Deny,
        }
    }

    /// Stable code of the reason. For counters and operators; a caller hears [`Verdict::to_caller`].
    pub const fn code(self) -> &'static str {
        match self {
            Self::Allow(reason) => reason.code(),
            Self::Request(reason) => reason.code(),
            Self::Deny(reason) => reason.code(),
        }
    }

    /// The reason, for somebody who sees both sides.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Allow(reason) => reason.sentence(),
            Self::Request(reason) => reason.sentence(),
            Self::Deny(reason) => reason.sentence(),
        }
    }

    /// What the caller may hear.
    pub const fn to_caller(self) -> Told {
        let words = match self {
            Self::Allow(reason) => reason.heard(),
            Self::Request(reason) => reason.heard(),
            Self::Deny(reason) => reason.heard(),
        };
        Told { outcome: self.outcome(), words }
    }

    /// What the callee may hear of an answer that left the caller's choices out.
    pub(super) const fn to_callee(self) -> Told {
        let sentence = match self {
            Self::Allow(reason) => reason.to_callee(),
            Self::Request(reason) => reason.to_callee(),
            Self::Deny(reason) => reason.to_callee(),
        };
        Told { outcome: self.outcome(), words: words(self.code(), sentence) }
    }
}
