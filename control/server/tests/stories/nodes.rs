//! Router nodes link, answer, refuse, fall silent and come back.

use std::time::Duration;

use duocast_wire::v1;
use duocast_wire::v1::node_service_client::NodeServiceClient;
use duocast_wire::v1::{CallState, LegState};
use tonic::Code;
use v1::node_to_control::Kind as Says;

use crate::support::device::Device;
use crate::support::node::{Habit, Node};
use crate::support::{PATIENCE, World, assert_fails, failure, in_time, with_token};

/// Alice and Bob talk.
async fn live(world: &World) -> (Device, Device, v1::Call) {
    world.friends(&["alice", "bob"]).await;
    let mut alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    let call = world.live_call(&mut alice, &mut bob, "bob").await;
    (alice, bob, call)
}

#[tokio::test]
async fn a_device_whose_way_carries_no_picture_is_told() {
    let world = World::new().await;
    let mut node = world.node("n1").await;
    let (_alice, mut bob, call) = live(&world).await;
    let seen = node.until("the plan", |seen| seen.plans.contains_key(&call.call_id)).await;
    let leg = seen.plans[&call.call_id].legs[1].leg_id.clone();
    node.leg_without_pictures(&call, &leg).await;
    bob.call("pictures are left out", |c| c.without_pictures).await;
    node.leg(&call, &leg, LegState::Connected).await;
    bob.call("and come again", |c| !c.without_pictures).await;
}

#[tokio::test]
async fn a_refused_offer_is_answered_with_the_nodes_reason() {
    let world = World::new().await;
    let node = world.node("n1").await;
    let (alice, _bob, call) = world.ringing().await;
    for (reason, code) in [
        ("SDP_INVALID", Code::InvalidArgument),
        ("SDP_NO_ICE", Code::InvalidArgument),
        ("NODE_FULL", Code::ResourceExhausted),
        ("LEG_UNKNOWN", Code::NotFound),
        ("INTERNAL", Code::Internal),
        ("no reason at all", Code::Internal),
    ] {
        node.habit.send_replace(Habit::Refuse(reason));
        let expected = if reason.contains(' ') { "INTERNAL" } else { reason };
        assert_fails(alice.connect(&call).await, code, expected);
        let view = alice.who.get(&call.call_id).await.unwrap();
        assert_eq!(view.state(), CallState::Ringing, "the call goes on");
    }
    node.habit.send_replace(Habit::Answer);
    alice.connect(&call).await.expect("a refused leg is gone, another one may be connected");
}

#[tokio::test]
async fn a_refused_ice_restart_leaves_the_leg_as_it_is() {
    let world = World::new().await;
    let mut node = world.node("n1").await;
    let (alice, _bob, call) = world.ringing().await;
    let leg = alice.connect(&call).await.unwrap().leg_id;
    let restart = || alice.who.connect(&alice.session, &call.call_id, &leg, "v=0 again");
    assert_eq!(restart().await.unwrap().leg_id, leg);

    node.habit.send_replace(Habit::Refuse("SDP_INVALID"));
    assert_fails(restart().await, Code::InvalidArgument, "SDP_INVALID");
    node.habit.send_replace(Habit::Answer);
    assert_eq!(restart().await.unwrap().leg_id, leg, "still there");

    node.habit.send_replace(Habit::Refuse("LEG_UNKNOWN"));
    assert_fails(restart().await, Code::NotFound, "LEG_UNKNOWN");
    node.until("the plan without the leg", |seen| seen.plans[&call.call_id].legs.is_empty()).await;
    assert_fails(restart().await, Code::NotFound, "LEG_UNKNOWN");
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_not_waited_for_long() {
    let world = World::with(|config| config.tuning.offer_timeout = Duration::from_millis(30)).await;
    let mut node = world.node("n1").await;
    let (alice, _bob, call) = world.ringing().await;
    node.habit.send_replace(Habit::Ignore);
    assert_fails(alice.connect(&call).await, Code::Unavailable, "NODE_SLOW");
    node.until("the leg is given up", |seen| seen.offers == 1 && seen.plans[&call.call_id].legs.is_empty())
        .await;
    node.habit.send_replace(Habit::Answer);
    alice.connect(&call).await.unwrap();
}

#[tokio::test]
async fn an_offer_whose_leg_is_replaced_or_whose_call_ends_is_aborted() {
    let world = World::new().await;
    let mut node = world.node("n1").await;
    let (alice, _bob, call) = world.ringing().await;
    node.habit.send_replace(Habit::Ignore);
    let first = tokio::spawn({
        let (who, session, id) = (alice.who.clone(), alice.session.clone(), call.call_id.clone());
        async move { who.connect(&session, &id, "", "v=0 one").await }
    });
    node.until("the first offer", |seen| seen.offers == 1).await;
    let second = tokio::spawn({
        let (who, session, id) = (alice.who.clone(), alice.session.clone(), call.call_id.clone());
        async move { who.connect(&session, &id, "", "v=0 two").await }
    });
    assert_fails(in_time(first).await.unwrap(), Code::Aborted, "LEG_CHANGED");
    node.until("the second offer", |seen| seen.offers == 2).await;
    alice.hang_up(&call).await.unwrap();
    assert_fails(in_time(second).await.unwrap(), Code::Aborted, "LEG_CHANGED");
}

#[tokio::test]
async fn a_link_that_breaks_and_returns_keeps_the_call() {
    let world = World::new().await;
    let node = world.node("n1").await;
    let (alice, mut bob, call) = live(&world).await;

    node.cut().await;
    world.counts_become("the loss was noticed", |counts| counts.nodes == 0).await;
    assert_eq!(alice.who.get(&call.call_id).await.unwrap().state(), CallState::Live, "media goes on");
    let away = alice.who.connect(&alice.session, &call.call_id, "", "v=0 offer").await;
    assert_fails(away, Code::Unavailable, "NODE_AWAY");

    let mut node = world.node("n1").await;
    let seen = node.until("synced", |seen| seen.synced.is_some()).await;
    assert_eq!(seen.synced, Some(vec![call.call_id.clone()]));
    alice.connect(&call).await.unwrap();
    bob.call("alice is back", |c| c.peer_connected).await;
}

#[tokio::test]
async fn a_restarted_node_lost_its_legs_and_the_devices_connect_anew() {
    let world = World::new().await;
    let node = world.node("n1").await;
    let (mut alice, mut bob, call) = live(&world).await;
    node.cut().await;
    let api = NodeServiceClient::new(world.wire.clone());
    let _node = Node::link(api, &world.control.mint_node_token(), "n1", "boot-2").await;
    for device in [&mut alice, &mut bob] {
        device.call("a leg is wanted", |c| c.leg_wanted).await;
        device.connect(&call).await.unwrap();
    }
    alice.call("bob is back", |c| c.peer_connected).await;
}

#[tokio::test]
async fn a_node_that_stays_away_loses_its_calls_to_another_one() {
    let world = World::with(|config| config.limits.node_grace = Duration::from_millis(30)).await;
    let first = world.node("n1").await;
    let (_alice, mut bob, call) = live(&world).await;
    let mut second = world.node("n2").await;
    first.cut().await;
    bob.call("a leg is wanted", |c| c.leg_wanted).await;
    bob.connect(&call).await.unwrap();
    second.until("the call moved", |seen| seen.plans.contains_key(&call.call_id)).await;
}

#[tokio::test]
async fn a_node_that_stops_as_planned_hands_its_calls_over_and_is_told_when_it_may_go() {
    let world = World::with(|config| config.limits.node_grace = PATIENCE).await;
    let mut first = world.node("n1").await;
    let (alice, mut bob, call) = live(&world).await;
    let mut second = world.node("n2").await;
    first.says(Says::Goodbye(v1::Goodbye {})).await;
    let seen = first.until("the end", |seen| seen.end.is_some()).await;
    assert_eq!(seen.end, Some(Ok(())), "it may go, and nothing is wrong");
    bob.call("a leg is wanted", |c| c.leg_wanted).await;
    bob.connect(&call).await.unwrap();
    alice.connect(&call).await.unwrap();
    second.until("the call moved", |seen| seen.plans.contains_key(&call.call_id)).await;
    bob.call("alice is back", |c| c.peer_connected).await;
    assert_eq!(world.counts().await.nodes, 1);
}

#[tokio::test]
async fn a_second_link_of_a_node_takes_over() {
    let world = World::new().await;
    let mut older = world.node("n1").await;
    let newer = world.node("n1").await;
    let seen = older.until("the end", |seen| seen.end.is_some()).await;
    assert_eq!(seen.end, Some(Err((Code::Aborted, "LINK_TAKEN_OVER".into()))));
    // The older one's end is noticed later and changes nothing.
    older.cut().await;
    let (alice, _bob, call) = world.ringing().await;
    alice.connect(&call).await.expect("the newer link serves");
    assert_eq!(world.counts().await.nodes, 1);
    drop(newer);
}

#[tokio::test]
async fn a_node_must_introduce_itself() {
    let world = World::new().await;
    let api = NodeServiceClient::new(world.wire.clone());
    let token = world.control.mint_node_token();
    let hello = |node_id: &str, boot_id: &str| {
        Says::Hello(v1::Hello { node_id: node_id.into(), boot_id: boot_id.into(), ..Default::default() })
    };
    for (first, reason) in [
        (Says::Stats(v1::NodeStats::default()), "HELLO_EXPECTED"),
        (hello("", "b"), "NODE_ID_INVALID"),
        (hello("has space", "b"), "NODE_ID_INVALID"),
        (hello("n1", ""), "BOOT_ID_INVALID"),
        (hello("n1", &"b".repeat(65)), "BOOT_ID_INVALID"),
    ] {
        let mut node = Node::start(api.clone(), &token, first).await;
        let seen = node.until("the end", |seen| seen.end.is_some()).await;
        assert_eq!(seen.end, Some(Err((Code::InvalidArgument, reason.into()))));
    }
    assert_eq!(world.counts().await.nodes, 0);
}

#[tokio::test]
async fn only_a_nodes_token_links_and_it_does_nothing_else() {
    let world = World::new().await;
    let mut api = NodeServiceClient::new(world.wire.clone());
    for token in [world.token("alice"), world.platform_token()] {
        let status =
            in_time(api.link(with_token(tokio_stream::empty(), &token))).await.map(|_| ()).unwrap_err();
        assert_eq!(failure(&status), (Code::PermissionDenied, "SCOPE_MISSING".into()));
    }
    let mut person = world.person("alice");
    person.token = world.control.mint_node_token();
    assert_fails(person.profile().await, Code::PermissionDenied, "SCOPE_MISSING");
    person.token = world.platform_token();
    assert_fails(person.profile().await, Code::PermissionDenied, "SCOPE_MISSING");
}

#[tokio::test]
async fn nonsense_from_a_node_is_dropped_and_the_link_goes_on() {
    let world = World::new().await;
    let node = world.node("n1").await;
    let (alice, mut bob, call) = world.ringing().await;
    let changed = |call_id: &str, leg_id: &str, state: i32| {
        let (call_id, leg_id, without_pictures) = (call_id.into(), leg_id.into(), true);
        Says::LegChanged(v1::LegChanged { call_id, leg_id, state, without_pictures })
    };
    let unknown = "0".repeat(32);
    for nonsense in [
        changed("nonsense", "nonsense", 1),
        changed(&call.call_id, &unknown, 77),
        changed(&unknown, &unknown, LegState::Connected.into()),
        Says::LegAnswer(v1::LegAnswer { request_id: 99, result: None }),
        Says::Stats(v1::NodeStats { load: f32::NAN, ..Default::default() }),
        Says::PlanResult(v1::PlanResult { call_id: "x".into(), ..Default::default() }),
        Says::PlanResult(v1::PlanResult { call_id: call.call_id.clone(), generation: 9, applied: false }),
        Says::Hello(v1::Hello::default()),
    ] {
        node.says(nonsense).await;
    }
    node.say.send(v1::NodeToControl { kind: None }).await.unwrap();
    node.says(Says::Stats(v1::NodeStats { load: 0.1, ..Default::default() })).await;
    alice.connect(&call).await.unwrap();
    bob.accept(&call).await.unwrap();
    bob.call_is(CallState::Accepted).await;
}

/// Refused for lack of room, with a moment to come back at.
#[track_caller]
fn assert_no_room<T: std::fmt::Debug>(result: Result<T, tonic::Status>, reason: &str) {
    let status = result.expect_err("there is no room");
    assert_eq!(failure(&status), (Code::ResourceExhausted, reason.to_owned()));
    let after = duocast_wire::error::retry_after(&status);
    assert!(after.is_some_and(|after| !after.is_zero()), "it says when to come back: {status:?}");
}

#[tokio::test]
async fn a_node_at_its_limit_gets_no_new_calls_and_keeps_those_it_has() {
    let world = World::new().await;
    let node = world.node("n1").await;
    let (alice, mut bob, call) = live(&world).await;
    world.friends(&["carol", "dave"]).await;
    let carol = world.device("carol", "laptop").await;
    let _dave = world.device("dave", "phone").await;

    let loaded = |load| Says::Stats(v1::NodeStats { load, ..Default::default() });
    node.says(loaded(0.99)).await;
    // What a node says is not answered: the first refusal tells that it was heard.
    let mut attempt = 0;
    let refused = crate::support::eventually("new calls are refused", async || {
        attempt += 1;
        let placed = carol.place("dave", &format!("r{attempt}")).await;
        if let Ok(call) = &placed {
            carol.hang_up(call).await.unwrap();
        }
        placed.err()
    })
    .await;
    assert_no_room(Err::<(), _>(refused), "NO_CAPACITY");
    assert_eq!(alice.who.get(&call.call_id).await.unwrap().state(), CallState::Live, "that one goes on");
    alice.connect(&call).await.expect("and may connect anew");
    bob.call("alice is back", |c| c.peer_connected).await;

    node.habit.send_replace(Habit::Refuse("NODE_FULL"));
    assert_no_room(alice.connect(&call).await, "NODE_FULL");
    node.habit.send_replace(Habit::Answer);
    node.says(loaded(0.5)).await;
    crate::support::eventually("there is room again", async || {
        attempt += 1;
        carol.place("dave", &format!("r{attempt}")).await.ok()
    })
    .await;
}
