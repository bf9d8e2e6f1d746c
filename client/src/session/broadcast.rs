//! A broadcast as this device sees it: a call whose other party is whoever publishes, or the audience.

use duocast_model::{CallState, EndReason, MediaState, Party};
use duocast_wire::v1;

use super::call::{CallInfo, InvalidCall, millis};

/// What a [`CallInfo`] says of a broadcast besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BroadcastInfo {
    /// This device publishes; else it views.
    pub is_host: bool,
    /// How many view now, for the host.
    pub viewers: Option<u32>,
}

impl TryFrom<v1::Broadcast> for CallInfo {
    type Error = InvalidCall;

    /// The host is the peer, for the host as well. A broadcast that is on is live; one that was stopped or left was hung up.
    fn try_from(wire: v1::Broadcast) -> Result<Self, InvalidCall> {
        use v1::BroadcastEnd as End;
        let state = match wire.end() {
            End::None => CallState::Live,
            End::Stopped | End::Left => CallState::Ended(EndReason::HungUp),
            End::Away | End::HostLost => CallState::Ended(EndReason::PartyLost),
            End::NodeLost => CallState::Ended(EndReason::NodeLost),
            End::Unspecified => return Err(InvalidCall::Field("end")),
        };
        let published = MediaState { audio: true, video: wire.video };
        let (own_media, peer_media) = match wire.is_host {
            true => (published, MediaState::default()),
            false => (MediaState::default(), published),
        };
        Ok(Self {
            id: wire.broadcast_id.parse()?,
            revision: wire.revision,
            state,
            role: if wire.is_host { Party::Caller } else { Party::Callee },
            peer: wire.host.ok_or(InvalidCall::Field("host"))?.try_into()?,
            video: wire.video,
            accepted_at: wire.started_at.as_ref().map(millis),
            own_media,
            peer_media,
            peer_connected: wire.host_connected,
            on_this_device: true,
            leg_wanted: wire.leg_wanted,
            without_pictures: false,
            direct: None,
            own_exposure: None,
            peer_exposure: None,
            broadcast: Some(BroadcastInfo { is_host: wire.is_host, viewers: wire.viewers }),
        })
    }
}
