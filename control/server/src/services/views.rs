//! The switchboard's views as messages.

use duocast_control_core::broadcast::{BroadcastEnd, BroadcastView};
use duocast_control_core::call::CallView;
use duocast_control_core::direct::{DirectEnd, DirectPhase, DirectSignal, DirectView};
use duocast_control_core::session::{CallRequest, CallRequestState, Event, Person, Sequenced};
use duocast_model::UnixMillis;
use duocast_wire::convert::{call_state, timestamp};
use duocast_wire::v1;

pub(super) fn person(person: &Person) -> v1::Person {
    v1::Person {
        handle: person.handle.as_str().to_owned(),
        display_name: person.display_name.as_ref().to_owned(),
    }
}

pub(super) fn contact(who: &Person, online: bool) -> v1::Contact {
    let presence = if online { v1::Presence::Online } else { v1::Presence::Offline };
    v1::Contact { person: Some(person(who)), presence: presence.into() }
}

pub(super) fn call(view: &CallView) -> v1::Call {
    let (state, end_reason) = call_state(view.state);
    v1::Call {
        call_id: view.id.to_string(),
        revision: view.revision,
        state: state.into(),
        end_reason: end_reason.into(),
        role: v1::Role::from(view.role).into(),
        peer: Some(person(&view.peer)),
        video: view.video,
        created_at: Some(timestamp(view.created_at)),
        accepted_at: view.accepted_at.map(timestamp),
        live_at: view.live_at.map(timestamp),
        ended_at: view.ended_at.map(timestamp),
        own_media: Some(view.own_media.into()),
        peer_media: Some(view.peer_media.into()),
        peer_connected: view.peer_connected,
        on_this_device: view.on_this_device,
        leg_wanted: view.leg_wanted,
        without_pictures: view.without_pictures,
        direct: view.direct.map(direct),
        own_exposure: view.own_exposure.map(Into::into),
        peer_exposure: view.peer_exposure.map(Into::into),
    }
}

pub(super) fn broadcast(view: &BroadcastView) -> v1::Broadcast {
    let end = match view.ended {
        None => v1::BroadcastEnd::None,
        Some(BroadcastEnd::Stopped) => v1::BroadcastEnd::Stopped,
        Some(BroadcastEnd::Left) => v1::BroadcastEnd::Left,
        Some(BroadcastEnd::Away) => v1::BroadcastEnd::Away,
        Some(BroadcastEnd::HostLost) => v1::BroadcastEnd::HostLost,
        Some(BroadcastEnd::NodeLost) => v1::BroadcastEnd::NodeLost,
    };
    v1::Broadcast {
        broadcast_id: view.id.to_string(),
        revision: view.revision,
        end: end.into(),
        is_host: view.is_host,
        host: Some(person(&view.host)),
        video: view.video,
        started_at: Some(timestamp(view.started_at)),
        host_connected: view.host_connected,
        viewers: view.viewers,
        leg_wanted: view.leg_wanted,
    }
}

fn direct(view: DirectView) -> v1::DirectState {
    let phase = match view.phase {
        DirectPhase::Routed => v1::DirectPhase::Routed,
        DirectPhase::Negotiating => v1::DirectPhase::Negotiating,
        DirectPhase::Connecting => v1::DirectPhase::Connecting,
        DirectPhase::Active => v1::DirectPhase::Active,
    };
    let last_end = match view.last_end {
        None => v1::DirectEnd::None,
        Some(DirectEnd::Withdrawn) => v1::DirectEnd::Withdrawn,
        Some(DirectEnd::Failed) => v1::DirectEnd::Failed,
    };
    v1::DirectState {
        phase: phase.into(),
        attempt: view.attempt,
        offerer: view.offerer,
        own_consent: v1::DirectConsent::from(view.own_consent).into(),
        peer_consent: v1::DirectConsent::from(view.peer_consent).into(),
        last_end: last_end.into(),
    }
}

fn direct_signal(signal: &DirectSignal) -> v1::direct_signal::Kind {
    use v1::direct_signal::Kind;
    match signal {
        DirectSignal::Offer(sdp) => Kind::Offer(sdp.expose().to_owned()),
        DirectSignal::Answer(sdp) => Kind::Answer(sdp.expose().to_owned()),
        DirectSignal::Candidates(all) => Kind::Candidates(v1::DirectCandidates {
            candidates: all.iter().map(|one| one.expose().to_owned()).collect(),
        }),
    }
}

pub(super) fn call_request(request: &CallRequest) -> v1::CallRequest {
    let state = match request.state {
        CallRequestState::Sent => v1::CallRequestState::Sent,
        CallRequestState::Accepted => v1::CallRequestState::Accepted,
        CallRequestState::Closed => v1::CallRequestState::Closed,
    };
    v1::CallRequest {
        person: Some(person(&request.person)),
        incoming: request.incoming,
        state: state.into(),
        created_at: Some(timestamp(request.created_at)),
    }
}

pub(super) fn call_response(view: &CallView) -> v1::CallResponse {
    v1::CallResponse { call: Some(call(view)) }
}

pub(super) fn event(sequenced: &Sequenced) -> v1::Event {
    use v1::event::Kind;
    let kind = match &sequenced.event {
        Event::Call(view) => Kind::CallUpdated(v1::CallUpdated { call: Some(call(view)) }),
        Event::Broadcast(view) => {
            Kind::BroadcastUpdated(v1::BroadcastUpdated { broadcast: Some(broadcast(view)) })
        }
        Event::Contact { person, online } => {
            Kind::ContactUpdated(v1::ContactUpdated { contact: Some(contact(person, *online)) })
        }
        Event::Direct { call, attempt, signal } => Kind::DirectSignal(v1::DirectSignal {
            call_id: call.to_string(),
            attempt: *attempt,
            kind: Some(direct_signal(signal)),
        }),
        Event::CallRequest(request) => {
            Kind::CallRequestUpdated(v1::CallRequestUpdated { request: Some(call_request(request)) })
        }
        Event::Settings(settings) => {
            Kind::SettingsUpdated(v1::SettingsUpdated { settings: Some((*settings).into()) })
        }
    };
    stamped(sequenced.seq, sequenced.at, kind)
}

pub(super) fn stamped(seq: u64, at: UnixMillis, kind: v1::event::Kind) -> v1::Event {
    v1::Event { seq, at: Some(timestamp(at)), kind: Some(kind) }
}
