//! What the policy is asked about.

use std::str::FromStr;

use duocast_model::{Audience, AudienceSet, DirectSetting, PrivacySettings, Strangers};

/// Which policy a server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Profile {
    /// Duocast's own.
    #[default]
    Default,
    /// X's, as reported in March 2024. For comparison and for tests.
    Reported2024,
}

impl Profile {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Default, Self::Reported2024];

    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Reported2024 => "reported-2024",
        }
    }

    /// The settings of an account that never chose any.
    pub const fn defaults(self) -> PrivacySettings {
        match self {
            Self::Default => PrivacySettings::DEFAULT,
            Self::Reported2024 => PrivacySettings {
                calling: true,
                audience: AudienceSet::of(&[Audience::Following]),
                strangers: Strangers::Deny,
                enhanced_call_privacy: false,
                direct: DirectSetting::Anyone,
                require_e2ee: false,
            },
        }
    }
}

/// No profile has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are two policy profiles: choose \"default\" or \"reported-2024\"")]
pub struct UnknownProfile;

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, UnknownProfile> {
        Self::ALL.into_iter().find(|profile| profile.name() == name).ok_or(UnknownProfile)
    }
}

/// What the platform knows of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Relation {
    /// The caller follows the callee.
    pub caller_follows: bool,
    /// The callee follows the caller.
    pub callee_follows: bool,
    /// The caller is in the callee's address book.
    pub in_address_book: bool,
    /// The caller has the platform's badge.
    pub caller_verified: bool,
    /// The caller sent the callee a direct message.
    pub dm_sent: bool,
    /// The callee accepted a direct message of the caller's.
    pub dm_accepted: bool,
}

impl Relation {
    /// They know nothing of each other.
    pub const NONE: Self = Self {
        caller_follows: false,
        callee_follows: false,
        in_address_book: false,
        caller_verified: false,
        dm_sent: false,
        dm_accepted: false,
    };

    /// They follow each other, and no more.
    pub const MUTUAL: Self = Self { caller_follows: true, callee_follows: true, ..Self::NONE };

    /// They follow each other.
    pub const fn is_mutual(self) -> bool {
        self.caller_follows && self.callee_follows
    }

    /// The caller belongs to this audience of the callee's.
    pub const fn is_in(self, audience: Audience) -> bool {
        match audience {
            Audience::Mutuals => self.is_mutual(),
            Audience::Following => self.callee_follows,
            Audience::AddressBook => self.in_address_book,
            Audience::Verified => self.caller_verified,
            Audience::DmAccepted => self.dm_accepted,
            Audience::Everyone => true,
        }
    }
}

/// What became of the caller's last call request to the callee. One that was accepted is a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RequestHistory {
    /// There is none.
    #[default]
    None,
    /// It waits for the callee's answer.
    Pending,
    /// The callee declined it.
    Declined,
}

/// Everything that an answer depends on. It names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// The caller's settings.
    pub caller: PrivacySettings,
    /// The callee's settings.
    pub callee: PrivacySettings,
    /// What the platform knows of the two.
    pub relation: Relation,
    /// The callee gave the caller permission, and it has not expired.
    pub grant: bool,
    /// The callee blocked the caller.
    pub blocked_by_callee: bool,
    /// The caller blocked the callee.
    pub blocked_by_caller: bool,
    /// The caller's last call request.
    pub request: RequestHistory,
    /// A call between the two can be end-to-end encrypted.
    pub e2ee_available: bool,
}

impl Situation {
    /// Two accounts with these settings that never had to do with each other.
    pub const fn strangers(caller: PrivacySettings, callee: PrivacySettings) -> Self {
        Self {
            caller,
            callee,
            relation: Relation::NONE,
            grant: false,
            blocked_by_callee: false,
            blocked_by_caller: false,
            request: RequestHistory::None,
            e2ee_available: false,
        }
    }

    /// As if the caller wanted to call: without what it chose for itself.
    pub(super) const fn without_callers_choices(&self) -> Self {
        let caller = PrivacySettings { calling: true, require_e2ee: false, ..self.caller };
        Self { caller, blocked_by_caller: false, ..*self }
    }
}
