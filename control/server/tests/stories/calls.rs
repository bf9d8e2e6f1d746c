//! A call from ring to end.

use duocast_wire::v1::{CallState, EndReason, Presence};
use tonic::Code;

use crate::support::{World, assert_fails};

#[tokio::test]
async fn two_people_ring_accept_talk_and_hang_up() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let mut node = world.node("n1").await;
    let mut alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;

    let placed = alice.place("bob", "r1").await.unwrap();
    assert_eq!(placed.peer.as_ref().unwrap().display_name, "The bob");
    assert!(placed.on_this_device && placed.leg_wanted);
    let ringing = bob.call_is(CallState::Ringing).await;
    assert_eq!(ringing.peer.as_ref().unwrap().handle, "alice");
    assert!(ringing.on_this_device);
    alice.call_is(CallState::Ringing).await;

    // Both prepare their legs while it rings: the node has them, and routes nothing.
    let leg = alice.connect(&placed).await.unwrap();
    assert_eq!(leg.sdp_answer, "v=0 answer to v=0 offer");
    bob.connect(&ringing).await.unwrap();
    let seen = node.until("two legs", |seen| seen.plans[&placed.call_id].legs.len() == 2).await;
    assert_eq!(seen.plans[&placed.call_id].routes.len(), 0, "nothing is heard before the answer");

    let accepted = bob.accept(&ringing).await.unwrap();
    assert!(matches!(accepted.state(), CallState::Accepted | CallState::Live));
    alice.call_is(CallState::Live).await;
    bob.call("peer is connected", |c| c.state() == CallState::Live && c.peer_connected).await;
    let seen = node.until("routes", |seen| seen.plans[&placed.call_id].routes.len() == 2).await;
    assert_eq!(seen.offers_before_plan, 0);

    alice.media(&placed, false).await.unwrap();
    bob.call("alice is muted", |c| c.peer_media.is_some_and(|media| !media.audio)).await;

    let ended = bob.hang_up(&ringing).await.unwrap();
    assert_eq!((ended.state(), ended.end_reason()), (CallState::Ended, EndReason::HungUp));
    assert_eq!(alice.end().await, EndReason::HungUp);
    assert_eq!(bob.end().await, EndReason::HungUp);
    node.until("teardown", |seen| seen.plans[&placed.call_id].legs.is_empty()).await;

    let again = alice.hang_up(&placed).await.unwrap();
    assert_eq!(again.end_reason(), EndReason::HungUp, "hanging up twice answers with the final state");
    assert_eq!(world.counts().await.calls, 0);
}

#[tokio::test]
async fn all_devices_ring_and_the_first_to_answer_wins() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let alice = world.device("alice", "laptop").await;
    let mut phone = world.device("bob", "phone").await;
    let mut tablet = world.device("bob", "tablet").await;

    let call = alice.place("bob", "r1").await.unwrap();
    phone.call_is(CallState::Ringing).await;
    tablet.call_is(CallState::Ringing).await;
    tablet.accept(&call).await.unwrap();

    assert_eq!(phone.end().await, EndReason::AnsweredElsewhere);
    assert_fails(phone.accept(&call).await, Code::FailedPrecondition, "ANSWERED_ELSEWHERE");
    assert_fails(phone.connect(&call).await, Code::FailedPrecondition, "ANSWERED_ELSEWHERE");
    tablet.accept(&call).await.expect("answering twice on the same device answers as the first did");
    assert_fails(tablet.decline(&call).await, Code::FailedPrecondition, "ALREADY_ANSWERED");
}

#[tokio::test]
async fn a_declined_call_stops_every_device() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let mut alice = world.device("alice", "laptop").await;
    let mut phone = world.device("bob", "phone").await;
    let mut tablet = world.device("bob", "tablet").await;

    let call = alice.place("bob", "r1").await.unwrap();
    phone.call_is(CallState::Ringing).await;
    phone.decline(&call).await.unwrap();
    for device in [&mut alice, &mut phone, &mut tablet] {
        assert_eq!(device.end().await, EndReason::Declined);
    }
    phone.decline(&call).await.expect("declining twice is fine");
    assert_fails(tablet.accept(&call).await, Code::FailedPrecondition, "CALL_ENDED");
    assert_fails(alice.decline(&call).await, Code::FailedPrecondition, "NOT_THE_CALLEE");
}

#[tokio::test]
async fn a_busy_callee_is_not_disturbed() {
    let world = World::new().await;
    world.friends(&["alice", "bob", "carol"]).await;
    let _node = world.node("n1").await;
    let alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    let carol = world.device("carol", "phone").await;

    let call = alice.place("bob", "r1").await.unwrap();
    bob.call_is(CallState::Ringing).await;
    let busy = carol.place("bob", "r1").await.unwrap();
    assert_eq!((busy.state(), busy.end_reason()), (CallState::Ended, EndReason::Busy));
    assert_fails(bob.accept(&busy).await.map(|_| ()), Code::FailedPrecondition, "CALL_ENDED");
    bob.accept(&call).await.unwrap();
    assert_fails(bob.place("carol", "r2").await, Code::FailedPrecondition, "ALREADY_IN_CALL");
}

#[tokio::test]
async fn placing_again_with_the_same_request_id_answers_as_the_first_did() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let alice = world.device("alice", "laptop").await;
    let _bob = world.device("bob", "phone").await;

    let first = alice.place("bob", "r1").await.unwrap();
    let second = alice.place("bob", "r1").await.unwrap();
    assert_eq!(first.call_id, second.call_id);
    assert_fails(alice.place("bob", "r2").await, Code::FailedPrecondition, "ALREADY_IN_CALL");
    assert_eq!(world.counts().await.calls, 1);
}

#[tokio::test]
async fn a_call_that_nobody_answers_times_out() {
    let world = World::with(|config| config.limits.ring = std::time::Duration::from_millis(50)).await;
    world.friends(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let mut alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    alice.place("bob", "r1").await.unwrap();
    assert_eq!(alice.end().await, EndReason::TimedOut);
    assert_eq!(bob.end().await, EndReason::TimedOut);
}

#[tokio::test]
async fn another_accounts_call_does_not_exist() {
    let world = World::new().await;
    world.friends(&["alice", "bob", "mallory"]).await;
    let _node = world.node("n1").await;
    let alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    let mallory = world.device("mallory", "phone").await;
    let call = alice.place("bob", "r1").await.unwrap();
    bob.call_is(CallState::Ringing).await;

    let invented = duocast_wire::v1::Call { call_id: "0".repeat(32), ..call.clone() };
    let mut sentences = Vec::new();
    for call in [&call, &invented] {
        let failures = [
            mallory.accept(call).await.unwrap_err(),
            mallory.decline(call).await.unwrap_err(),
            mallory.hang_up(call).await.unwrap_err(),
            mallory.media(call, true).await.unwrap_err(),
            mallory.connect(call).await.unwrap_err(),
            mallory.who.get(&call.call_id).await.unwrap_err(),
        ];
        for status in &failures {
            assert_eq!(crate::support::failure(status), (Code::NotFound, "CALL_UNKNOWN".to_owned()));
        }
        sentences.push(failures.map(|status| status.message().to_owned()));
    }
    assert_eq!(sentences[0], sentences[1], "what exists and what does not look the same");
    assert_eq!(mallory.who.calls(0, "").await.unwrap().calls.len(), 0);

    // Somebody else's session is no session either.
    let stolen = mallory.who.place(&alice.session, "bob", "r1").await;
    assert_fails(stolen, Code::FailedPrecondition, "SESSION_UNKNOWN");
    let stolen = mallory.who.hang_up(&alice.session, &call.call_id).await;
    assert_fails(stolen, Code::FailedPrecondition, "SESSION_UNKNOWN");
    bob.accept(&call).await.expect("the call is untouched");
}

#[tokio::test]
async fn contacts_come_and_go() {
    let world = World::new().await;
    world.friends(&["alice", "bob", "carol"]).await;
    let mut alice = world.device("alice", "laptop").await;
    let bob = world.device("bob", "phone").await;
    assert_eq!(alice.contact().await, ("bob".into(), Presence::Online));

    let listed = alice.who.contacts().await;
    let listed: Vec<_> =
        listed.iter().map(|c| (c.person.as_ref().unwrap().handle.as_str(), c.presence())).collect();
    assert_eq!(listed, [("bob", Presence::Online), ("carol", Presence::Offline)]);

    // Who switches calling off looks offline at once, on every device of every contact.
    let off = crate::support::account("bob");
    world.upsert(vec![duocast_wire::v1::Account { calling_enabled: Some(false), ..off }]).await.unwrap();
    assert_eq!(alice.contact().await, ("bob".into(), Presence::Offline));
    assert_fails(alice.place("bob", "r1").await, Code::PermissionDenied, "CALLEE_NOT_REACHABLE");
    drop(bob);
}

#[tokio::test]
async fn strangers_and_those_who_never_opted_in_are_not_reached() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let mut bob = world.device("bob", "phone").await;
    let carol = world.device("carol", "phone").await;

    let profile = carol.who.profile().await.unwrap();
    assert_eq!(profile.person.unwrap().handle, "carol", "known since the first request");
    assert!(!profile.calling_enabled, "off until the account opts in");
    assert_fails(carol.place("bob", "r1").await, Code::PermissionDenied, "CALLER_NOT_ENABLED");
    world.upsert(vec![crate::support::account("carol")]).await.unwrap();
    assert_fails(carol.place("bob", "r1").await, Code::PermissionDenied, "REQUEST_NEEDED");
    world.follow(vec![crate::support::follow("carol", "bob", true)]).await.unwrap();
    assert_fails(carol.place("bob", "r1").await, Code::PermissionDenied, "REQUEST_NEEDED");
    assert_fails(carol.place("carol", "r1").await, Code::InvalidArgument, "CALLEE_IS_SELF");
    assert_fails(carol.place("nobody", "r1").await, Code::NotFound, "CALLEE_UNKNOWN");

    world.follow(vec![crate::support::follow("bob", "carol", true)]).await.unwrap();
    carol.place("bob", "r1").await.unwrap();
    bob.call_is(CallState::Ringing).await;
    let refused = bob.told.iter().filter(|event| event.seq < bob.seq).count();
    assert!(bob.told.len() - refused == 1, "only the allowed attempt reached the callee");
}

#[tokio::test]
async fn an_offline_callee_and_a_full_house_are_said_plainly() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let alice = world.device("alice", "laptop").await;
    assert_fails(alice.place("bob", "r1").await, Code::FailedPrecondition, "CALLEE_OFFLINE");
    let _bob = world.device("bob", "phone").await;
    assert_fails(alice.place("bob", "r1").await, Code::ResourceExhausted, "NO_CAPACITY");
    let _node = world.node("n1").await;
    alice.place("bob", "r1").await.unwrap();
}

#[tokio::test]
async fn many_calls_at_once_all_end_well() {
    const PAIRS: usize = 40;
    let world = World::new().await;
    let _node = world.node("n1").await;
    let handles: Vec<String> = (0..2 * PAIRS).map(|n| format!("p{n}")).collect();
    for pair in handles.chunks(2) {
        world.friends(&[&pair[0], &pair[1]]).await;
    }
    let mut calls = tokio::task::JoinSet::new();
    for pair in handles.chunks(2) {
        let mut caller = world.device(&pair[0], "laptop").await;
        let mut callee = world.device(&pair[1], "phone").await;
        let name = pair[1].clone();
        calls.spawn(async move {
            let call = caller.place(&name, "r1").await.unwrap();
            callee.call_is(CallState::Ringing).await;
            caller.connect(&call).await.unwrap();
            callee.connect(&call).await.unwrap();
            callee.accept(&call).await.unwrap();
            caller.call_is(CallState::Live).await;
            caller.hang_up(&call).await.unwrap();
            (callee.end().await, caller.end().await)
        });
    }
    let ends = crate::support::in_time(calls.join_all()).await;
    assert_eq!(ends, vec![(EndReason::HungUp, EndReason::HungUp); PAIRS]);
    assert_eq!(world.counts().await.calls, 0);
    for handle in handles {
        assert_eq!(world.person(&handle).calls(0, "").await.unwrap().calls.len(), 1);
    }
}
