//! A call and a contact as this device sees them: wire messages become these values once, here.

use std::fmt;

use duocast_model::{
    CallId, CallState, EndReason, Exposure, Handle, InvalidId, MediaState, Party, UnixMillis,
};
use duocast_wire::v1;

use super::broadcast::BroadcastInfo;
use super::direct::{DirectInfo, exposure};

/// Why a wire call cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCall {
    /// A malformed id or handle.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// A field is missing or has a value this client does not know.
    #[error("the field `{0}` is missing or unknown to this client: update it")]
    Field(&'static str),
}

/// A person as others may see them. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    /// The name to call.
    pub handle: Handle,
    /// The name to show; the handle if there is none.
    pub display_name: String,
}

duocast_model::assert_unshown!(Person);
duocast_model::assert_not_impl!(Person: serde::Serialize);

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Person(…)")
    }
}

/// Somebody this account can see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Who.
    pub person: Person,
    /// At least one of their devices is connected.
    pub online: bool,
}

/// The whole call as this device sees it, at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallInfo {
    /// Which call.
    pub id: CallId,
    /// Grows with every change.
    pub revision: u64,
    /// Where it is.
    pub state: CallState,
    /// Whether this account placed it or is called.
    pub role: Party,
    /// The other party.
    pub peer: Person,
    /// Placed as a video call.
    pub video: bool,
    /// When it was answered, by the server's clock.
    pub accepted_at: Option<UnixMillis>,
    /// What this party says it sends.
    pub own_media: MediaState,
    /// What the other party says it sends.
    pub peer_media: MediaState,
    /// False while the other party is away and may still come back.
    pub peer_connected: bool,
    /// True on the device that placed or answered the call.
    pub on_this_device: bool,
    /// True when this device must connect its media (again).
    pub leg_wanted: bool,
    /// The way to this device carries no picture at present: what it would see is left out so that what it hears goes on.
    pub without_pictures: bool,
    /// The direct leg, while the call is live.
    pub direct: Option<DirectInfo>,
    /// What the other party learned of this one's addresses; `None`: nothing.
    pub own_exposure: Option<Exposure>,
    /// What this party learned of the other one's.
    pub peer_exposure: Option<Exposure>,
    /// It is a broadcast; `None`: a call of two.
    pub broadcast: Option<BroadcastInfo>,
}

impl CallInfo {
    /// True while this device rings for it.
    pub fn is_incoming(&self) -> bool {
        self.role == Party::Callee && self.state.is_before_accept()
    }

    /// True once media may be sent and played on this device.
    pub fn carries_media(&self) -> bool {
        self.on_this_device && matches!(self.state, CallState::Accepted | CallState::Live)
    }
}

impl TryFrom<v1::Person> for Person {
    type Error = InvalidCall;

    fn try_from(wire: v1::Person) -> Result<Self, InvalidCall> {
        let handle = Handle::new(&wire.handle)?;
        let named = !wire.display_name.is_empty();
        let display_name = if named { wire.display_name } else { wire.handle };
        Ok(Self { handle, display_name })
    }
}

impl TryFrom<v1::Contact> for Contact {
    type Error = InvalidCall;

    fn try_from(wire: v1::Contact) -> Result<Self, InvalidCall> {
        let online = wire.presence() == v1::Presence::Online;
        let person = wire.person.ok_or(InvalidCall::Field("person"))?.try_into()?;
        Ok(Self { person, online })
    }
}

impl TryFrom<v1::Call> for CallInfo {
    type Error = InvalidCall;

    fn try_from(wire: v1::Call) -> Result<Self, InvalidCall> {
        let state = state(wire.state(), wire.end_reason())?;
        let role = match wire.role() {
            v1::Role::Caller => Party::Caller,
            v1::Role::Callee => Party::Callee,
            v1::Role::Unspecified => return Err(InvalidCall::Field("role")),
        };
        Ok(Self {
            id: wire.call_id.parse()?,
            revision: wire.revision,
            state,
            role,
            peer: wire.peer.ok_or(InvalidCall::Field("peer"))?.try_into()?,
            video: wire.video,
            accepted_at: wire.accepted_at.as_ref().map(millis),
            own_media: wire.own_media.unwrap_or_default().into(),
            peer_media: wire.peer_media.unwrap_or_default().into(),
            peer_connected: wire.peer_connected,
            on_this_device: wire.on_this_device,
            leg_wanted: wire.leg_wanted,
            without_pictures: wire.without_pictures,
            direct: wire.direct.map(DirectInfo::try_from).transpose()?,
            own_exposure: wire.own_exposure.as_ref().map(exposure),
            peer_exposure: wire.peer_exposure.as_ref().map(exposure),
            broadcast: None,
        })
    }
}

fn state(state: v1::CallState, reason: v1::EndReason) -> Result<CallState, InvalidCall> {
    Ok(match state {
        v1::CallState::Created => CallState::Created,
        v1::CallState::Ringing => CallState::Ringing,
        v1::CallState::Accepted => CallState::Accepted,
        v1::CallState::Live => CallState::Live,
        v1::CallState::Ended => CallState::Ended(end_reason(reason)?),
        v1::CallState::Unspecified => return Err(InvalidCall::Field("state")),
    })
}

fn end_reason(reason: v1::EndReason) -> Result<EndReason, InvalidCall> {
    Ok(match reason {
        v1::EndReason::HungUp => EndReason::HungUp,
        v1::EndReason::Declined => EndReason::Declined,
        v1::EndReason::TimedOut => EndReason::TimedOut,
        v1::EndReason::Busy => EndReason::Busy,
        v1::EndReason::Cancelled => EndReason::Cancelled,
        v1::EndReason::AnsweredElsewhere => EndReason::AnsweredElsewhere,
        v1::EndReason::PartyLost => EndReason::PartyLost,
        v1::EndReason::MediaFailed => EndReason::MediaFailed,
        v1::EndReason::NodeLost => EndReason::NodeLost,
        v1::EndReason::Unspecified => return Err(InvalidCall::Field("end_reason")),
    })
}

pub(crate) fn millis(at: &prost_types::Timestamp) -> UnixMillis {
    let seconds = u64::try_from(at.seconds).unwrap_or(0);
    let sub = u64::try_from(at.nanos / 1_000_000).unwrap_or(0);
    UnixMillis(seconds.saturating_mul(1000).saturating_add(sub))
}
