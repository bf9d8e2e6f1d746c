//! The switchboard's views as messages.

use duocast_control_core::call::CallView;
use duocast_control_core::session::{Event, Person, Sequenced};
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
    }
}

pub(super) fn call_response(view: &CallView) -> v1::CallResponse {
    v1::CallResponse { call: Some(call(view)) }
}

pub(super) fn event(sequenced: &Sequenced) -> v1::Event {
    use v1::event::Kind;
    let kind = match &sequenced.event {
        Event::Call(view) => Kind::CallUpdated(v1::CallUpdated { call: Some(call(view)) }),
        Event::Contact { person, online } => {
            Kind::ContactUpdated(v1::ContactUpdated { contact: Some(contact(person, *online)) })
        }
    };
    stamped(sequenced.seq, sequenced.at, kind)
}

pub(super) fn stamped(seq: u64, at: UnixMillis, kind: v1::event::Kind) -> v1::Event {
    v1::Event { seq, at: Some(timestamp(at)), kind: Some(kind) }
}
