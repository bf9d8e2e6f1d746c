//! Who may call whom, and what became known of whom: the nouns of
//! [`Client`](crate::Client)'s privacy methods.

use std::fmt;

pub use duocast_model::{Audience, AudienceSet, DirectSetting, PrivacySettings, Strangers};
use duocast_model::{DirectConsent, UnixMillis};
use duocast_wire::{convert, v1};

use crate::session::{InvalidCall, Person, consent, millis};

/// Most people that one list gives; a longer one is cut off here. Higher costs memory, lower hides people.
pub const PEOPLE_MAX: usize = 10_000;

/// The account's settings, and what they were if it had decided nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsInfo {
    /// As they are.
    pub settings: PrivacySettings,
    /// As this server's profile has them at first.
    pub defaults: PrivacySettings,
    /// The account has answered the first question: calling on or off.
    pub decided: bool,
    /// `default` or `reported-2024`.
    pub policy_profile: String,
}

/// A change of settings; what is `None` stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// Calls and can be called.
    pub calling: Option<bool>,
    /// Who may call without asking.
    pub audience: Option<AudienceSet>,
    /// What happens to others.
    pub strangers: Option<Strangers>,
    /// Every call is routed, whatever `direct` says.
    pub enhanced_call_privacy: Option<bool>,
    /// When media may go directly.
    pub direct: Option<DirectSetting>,
    /// Only end-to-end encrypted calls.
    pub require_e2ee: Option<bool>,
}

/// What a change would do.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingsPreview {
    /// The settings after it.
    pub settings: PrivacySettings,
    /// For whom the answer changes; at most 100.
    pub changes: Vec<PreviewedPerson>,
    /// For how many in all.
    pub changed: u32,
    /// How many known people could call this account before.
    pub callers_before: u32,
    /// And after.
    pub callers_after: u32,
}

/// For whom, and how, a change of settings changes the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct PreviewedPerson {
    /// Who.
    pub person: Person,
    /// Could they call this account before?
    pub before: CallDecision,
    /// And after?
    pub after: CallDecision,
}

/// What a call would come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It rings.
    Allow,
    /// A call request can be sent.
    Request,
    /// Neither.
    Deny,
}

/// May one person call another, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallDecision {
    /// What a call would come to.
    pub outcome: Outcome,
    /// Stable code.
    pub reason: String,
    /// For people.
    pub sentence: String,
    /// What this account's own settings say of a direct leg with the other one.
    pub own_direct: Option<DirectConsent>,
}

/// May this account call them, and may they call it?
#[derive(Debug, Clone, PartialEq)]
pub struct CanCall {
    /// The other one.
    pub person: Person,
    /// May this account call them?
    pub outgoing: CallDecision,
    /// May they call this account?
    pub incoming: CallDecision,
}

/// How a call request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallRequestState {
    /// It waits, or was declined: its sender cannot tell.
    Sent,
    /// Its sender may call.
    Accepted,
    /// It is gone.
    Closed,
}

/// Somebody asks for permission to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRequest {
    /// The other one.
    pub person: Person,
    /// This account is asked; false: it asks.
    pub incoming: bool,
    /// How it stands.
    pub state: CallRequestState,
    /// When it was sent.
    pub created_at: UnixMillis,
}

/// An answer to a call request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestAnswer {
    /// They may call for so many days, 1 to 365; `None`: the server's 30.
    Accept {
        /// How long.
        days: Option<u32>,
    },
    /// They are not told.
    Decline,
    /// The same, and they are blocked.
    Block,
}

/// A permission to call that this account gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who may call.
    pub person: Person,
    /// Since when.
    pub created_at: UnixMillis,
    /// Until when.
    pub expires_at: UnixMillis,
    /// Made by accepting a call request.
    pub from_request: bool,
}

/// Somebody whom this account blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Who.
    pub person: Person,
    /// Since when.
    pub since: UnixMillis,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "a call rings",
            Self::Request => "a call request can be sent",
            Self::Deny => "no call is possible",
        })
    }
}

impl From<SettingsChange> for v1::SettingsChange {
    fn from(change: SettingsChange) -> Self {
        let names = |set: AudienceSet| set.iter().map(|a| v1::Audience::from(a).into()).collect();
        Self {
            calling: change.calling,
            audience: change.audience.map(|set| v1::AudienceChange { audience: names(set) }),
            strangers: change.strangers.map(|s| v1::Strangers::from(s).into()),
            enhanced_call_privacy: change.enhanced_call_privacy,
            direct: change.direct.map(|d| v1::DirectSetting::from(d).into()),
            require_e2ee: change.require_e2ee,
        }
    }
}

/// Settings from the wire. An audience that this client does not know is an error: showing fewer would mislead.
pub(crate) fn settings(wire: &v1::Settings) -> Result<PrivacySettings, InvalidCall> {
    let audience = |a: &i32| convert::audience(*a).ok_or(InvalidCall::Field("settings.audience"));
    Ok(PrivacySettings {
        calling: wire.calling,
        audience: wire.audience.iter().map(audience).collect::<Result<_, _>>()?,
        strangers: convert::strangers(wire.strangers).ok_or(InvalidCall::Field("settings.strangers"))?,
        enhanced_call_privacy: wire.enhanced_call_privacy,
        direct: convert::direct_setting(wire.direct).ok_or(InvalidCall::Field("settings.direct"))?,
        require_e2ee: wire.require_e2ee,
    })
}

pub(crate) fn person(wire: Option<v1::Person>) -> Result<Person, InvalidCall> {
    wire.ok_or(InvalidCall::Field("person"))?.try_into()
}

fn time(wire: Option<prost_types::Timestamp>) -> UnixMillis {
    wire.as_ref().map_or(UnixMillis(0), millis)
}

impl TryFrom<v1::Decision> for CallDecision {
    type Error = InvalidCall;

    fn try_from(wire: v1::Decision) -> Result<Self, InvalidCall> {
        let outcome = match wire.outcome() {
            v1::Outcome::Allow => Outcome::Allow,
            v1::Outcome::Request => Outcome::Request,
            v1::Outcome::Deny => Outcome::Deny,
            v1::Outcome::Unspecified => return Err(InvalidCall::Field("decision.outcome")),
        };
        let own_direct = consent(wire.own_direct()).ok();
        Ok(Self { outcome, reason: wire.reason, sentence: wire.sentence, own_direct })
    }
}

pub(crate) fn decision(wire: Option<v1::Decision>) -> Result<CallDecision, InvalidCall> {
    wire.ok_or(InvalidCall::Field("decision"))?.try_into()
}

impl TryFrom<v1::CallRequest> for CallRequest {
    type Error = InvalidCall;

    fn try_from(wire: v1::CallRequest) -> Result<Self, InvalidCall> {
        let state = match wire.state() {
            v1::CallRequestState::Sent => CallRequestState::Sent,
            v1::CallRequestState::Accepted => CallRequestState::Accepted,
            v1::CallRequestState::Closed => CallRequestState::Closed,
            v1::CallRequestState::Unspecified => return Err(InvalidCall::Field("request.state")),
        };
        let incoming = wire.incoming;
        let created_at = time(wire.created_at);
        Ok(Self { person: person(wire.person)?, incoming, state, created_at })
    }
}

impl TryFrom<v1::Grant> for Grant {
    type Error = InvalidCall;

    fn try_from(wire: v1::Grant) -> Result<Self, InvalidCall> {
        Ok(Self {
            person: person(wire.person)?,
            created_at: time(wire.created_at),
            expires_at: time(wire.expires_at),
            from_request: wire.from_request,
        })
    }
}

impl TryFrom<v1::Blocked> for Blocked {
    type Error = InvalidCall;

    fn try_from(wire: v1::Blocked) -> Result<Self, InvalidCall> {
        Ok(Self { person: person(wire.person)?, since: time(wire.since) })
    }
}

impl TryFrom<v1::PreviewedPerson> for PreviewedPerson {
    type Error = InvalidCall;

    fn try_from(wire: v1::PreviewedPerson) -> Result<Self, InvalidCall> {
        Ok(Self {
            person: person(wire.person)?,
            before: decision(wire.before)?,
            after: decision(wire.after)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_read_back_as_they_were_written() {
        let all = PrivacySettings {
            calling: true,
            audience: AudienceSet::of(&[Audience::Mutuals, Audience::DmAccepted]),
            strangers: Strangers::Deny,
            enhanced_call_privacy: false,
            direct: DirectSetting::Ask,
            require_e2ee: true,
        };
        for written in [all, PrivacySettings::DEFAULT] {
            assert_eq!(settings(&v1::Settings::from(written)), Ok(written));
        }
        let unknown = v1::Settings { audience: vec![99], ..v1::Settings::from(all) };
        assert_eq!(settings(&unknown), Err(InvalidCall::Field("settings.audience")));
    }

    #[test]
    fn a_change_says_only_what_it_changes() {
        let change = SettingsChange { direct: Some(DirectSetting::Never), ..SettingsChange::default() };
        let wire = v1::SettingsChange::from(change);
        assert_eq!(wire.direct, Some(v1::DirectSetting::Never.into()));
        assert_eq!(v1::SettingsChange { direct: None, ..wire }, v1::SettingsChange::default());
        let nobody = SettingsChange { audience: Some(AudienceSet::NONE), ..SettingsChange::default() };
        let said = v1::SettingsChange::from(nobody).audience.map(|change| change.audience);
        assert_eq!(said, Some(vec![]), "nobody is not the same as no change");
    }
}
