//! What `make fuzz` feeds: messages as they come, and the way from them into the model.

use duocast_model::RoutePlan;
use prost::Message;

use crate::{error, v1};

/// A target: its name, which is that of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of this crate.
pub const TARGETS: &[Target] = &[("messages", messages), ("failure", failure)];

/// The first byte says which message the rest is.
fn messages(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind % 8 {
        0 => again::<v1::NodeToControl>(bytes),
        1 => again::<v1::ControlToNode>(bytes),
        2 => again::<v1::Event>(bytes),
        3 => again::<v1::PlaceCallRequest>(bytes),
        4 => again::<v1::ConnectLegRequest>(bytes),
        5 => again::<v1::UpsertAccountsRequest>(bytes),
        6 => again::<v1::DirectSignal>(bytes),
        _ => plan(bytes),
    }
}

/// What can be read can be written, and is then the same.
fn again<M: Message + Default + PartialEq>(bytes: &[u8]) {
    let Ok(message) = M::decode(bytes) else { return };
    assert!(M::decode(message.encode_to_vec().as_slice()).is_ok_and(|same| same == message));
}

/// A plan that is taken says the same again.
fn plan(bytes: &[u8]) {
    let Ok(wire) = v1::RoutePlan::decode(bytes) else { return };
    let Ok(plan) = RoutePlan::try_from(wire) else { return };
    assert!(RoutePlan::try_from(v1::RoutePlan::from(&plan)).is_ok_and(|same| same == plan));
}

/// The details of a failure, as a client reads them from `grpc-status-details-bin`.
fn failure(bytes: &[u8]) {
    let details = tonic::Status::with_details(tonic::Code::Internal, "", bytes.to_vec().into());
    let _ = error::reason(&details);
}

#[cfg(test)]
#[path = "../../../fuzz/corpus.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prost::Message as _;

    use super::*;
    use crate::v1::{control_to_node, node_to_control};

    #[test]
    #[ignore = "writes the first inputs of the corpus"]
    fn seeds() {
        let id = |n: u8| format!("{n:032x}");
        let plan = v1::RoutePlan {
            call_id: id(1),
            generation: 7,
            legs: [id(2), id(3)].map(|leg_id| v1::LegPlan { leg_id }).into(),
            routes: vec![v1::Route { from_leg_id: id(2), to_leg_id: id(3) }],
            has_audience: true,
        };
        let offer =
            v1::LegOffer { request_id: 1, call_id: id(1), leg_id: id(2), sdp_offer: "v=0\r\n".into() };
        let hello =
            v1::Hello { node_id: "n".into(), boot_id: "b".into(), version: "1".into(), leg_capacity: 9 };
        let to_node = |kind| v1::ControlToNode { kind: Some(kind) }.encode_to_vec();
        let to_control = |kind| v1::NodeToControl { kind: Some(kind) }.encode_to_vec();
        let place = v1::PlaceCallRequest {
            session_id: id(4),
            request_id: "r".into(),
            callee_handle: "bob".into(),
            video: true,
        };
        let connect = v1::ConnectLegRequest { session_id: id(4), call_id: id(1), ..Default::default() };
        let account = v1::Account { account_id: "a".into(), handle: "alice".into(), ..Default::default() };
        let seeds = [
            (0, "hello", to_control(node_to_control::Kind::Hello(hello))),
            (1, "plan", to_node(control_to_node::Kind::Plan(plan.clone()))),
            (1, "offer", to_node(control_to_node::Kind::LegOffer(offer))),
            (2, "event", v1::Event { seq: 5, ..Default::default() }.encode_to_vec()),
            (3, "place", place.encode_to_vec()),
            (4, "connect", connect.encode_to_vec()),
            (5, "accounts", v1::UpsertAccountsRequest { accounts: vec![account] }.encode_to_vec()),
            (6, "direct", v1::DirectSignal { call_id: id(1), ..Default::default() }.encode_to_vec()),
            (7, "a-plan", plan.encode_to_vec()),
        ];
        for (kind, name, bytes) in seeds {
            std::fs::write(corpus::folder("messages").join(name), [&[kind][..], &bytes].concat()).unwrap();
        }
        let spent = error::retry(error::Reason::RingBudget, "wait", Duration::from_secs(3));
        std::fs::write(corpus::folder("failure").join("retry"), spent.details()).unwrap();
    }
}
