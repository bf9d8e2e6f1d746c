//! What was told survives `kill -9`.

use std::time::Duration;

use duocast_wire::v1;
use duocast_wire::v1::node_service_client::NodeServiceClient;
use duocast_wire::v1::{CallState, EndReason};

use crate::support::World;
use crate::support::node::Node;

#[tokio::test]
async fn a_killed_server_remembers_accounts_history_and_the_call_that_went_on() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let mut alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    let missed = alice.place("bob", "r1").await.unwrap();
    bob.call_is(CallState::Ringing).await;
    bob.decline(&missed).await.unwrap();
    bob.end().await;
    let call = alice.place("bob", "r2").await.unwrap();
    bob.call_is(CallState::Ringing).await;
    alice.connect(&call).await.unwrap();
    bob.connect(&call).await.unwrap();
    bob.accept(&call).await.unwrap();
    alice.call_is(CallState::Live).await;

    let dir = world.killed();
    let world = World::open(dir.path(), |_| {}).await;
    assert_eq!(world.counts().await.answered, 1, "the call is back");

    // The node links again with the same process: its legs are still there, and it says so.
    let api = NodeServiceClient::new(world.wire.clone());
    let mut node = Node::link(api, &world.control.mint_node_token(), "n1", "boot-1").await;
    let seen = node.until("the plan", |seen| seen.plans.contains_key(&call.call_id)).await;
    assert_eq!(seen.synced, Some(vec![call.call_id.clone()]));
    let plan = &seen.plans[&call.call_id];
    assert_eq!((plan.legs.len(), plan.routes.len()), (2, 2), "media goes on as it was");
    for leg in &plan.legs {
        node.leg(&call, &leg.leg_id, v1::LegState::Connected).await;
    }

    // The devices come back with their old sessions and get the call as a snapshot.
    alice.who = world.person("alice");
    bob.who = world.person("bob");
    alice.subscribe().await.unwrap();
    assert!(!alice.started.resumed);
    assert_eq!(alice.started.calls[0].call_id, call.call_id);
    assert!(alice.started.calls[0].on_this_device);
    bob.subscribe().await.unwrap();
    alice.hang_up(&call).await.unwrap();
    assert_eq!(bob.end().await, EndReason::HungUp);

    let history = bob.who.calls(0, "").await.unwrap();
    let mut history: Vec<_> = history.calls.iter().map(|c| (c.call_id.clone(), c.end_reason())).collect();
    let mut expected = vec![(call.call_id, EndReason::HungUp), (missed.call_id, EndReason::Declined)];
    // Both may have been placed in the same millisecond; the order has a story of its own.
    history.sort();
    expected.sort();
    assert_eq!(history, expected);
}

#[tokio::test]
async fn a_call_whose_parties_do_not_come_back_ends_with_a_reason() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    let call = alice.place("bob", "r1").await.unwrap();
    bob.call_is(CallState::Ringing).await;
    alice.connect(&call).await.unwrap();
    bob.connect(&call).await.unwrap();
    bob.accept(&call).await.unwrap();
    bob.call_is(CallState::Live).await;

    let dir = world.killed();
    let world = World::open(dir.path(), |config| {
        config.limits.away = Duration::from_millis(50);
        config.limits.node_grace = Duration::from_secs(60);
    })
    .await;
    world.counts_become("the call ended", |counts| counts.calls == 0).await;
    let ended = world.person("alice").get(&call.call_id).await.unwrap();
    assert_eq!((ended.state(), ended.end_reason()), (CallState::Ended, EndReason::PartyLost));
}

#[tokio::test]
async fn history_is_paged_newest_first_without_gap_or_repeat() {
    let world = World::new().await;
    world.friends(&["alice", "bob", "carol"]).await;
    let _node = world.node("n1").await;
    let alice = world.device("alice", "laptop").await;
    let bob = world.device("bob", "phone").await;
    let mut placed = Vec::new();
    for n in 0..7 {
        let (from, to) = if n % 2 == 0 { (&alice, "bob") } else { (&bob, "alice") };
        let call = from.place(to, &format!("r{n}")).await.unwrap();
        from.hang_up(&call).await.unwrap();
        placed.push((call.created_at.unwrap().seconds, call.created_at.unwrap().nanos, call.call_id));
    }
    placed.sort();
    placed.reverse();
    for person in ["alice", "bob"] {
        let (person, mut token, mut listed) = (world.person(person), String::new(), Vec::new());
        loop {
            let page = person.calls(3, &token).await.unwrap();
            assert!(page.calls.len() <= 3);
            listed.extend(page.calls.into_iter().map(|call| call.call_id));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let expected: Vec<_> = placed.iter().map(|(_, _, id)| id.clone()).collect();
        assert_eq!(listed, expected);
    }
    assert_eq!(world.person("carol").calls(0, "").await.unwrap().calls.len(), 0);
}

#[tokio::test]
async fn a_database_from_the_future_is_refused_plainly() {
    let world = World::new().await;
    let dir = world.killed();
    let database = rusqlite::Connection::open(dir.path().join("duocast.db")).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    let config = duocast_control::ControlConfig::new(dir.path());
    let error = duocast_control::Control::open(config).await.err().expect("it must not open");
    assert!(error.to_string().contains("newer version of duocast"), "{error}");
}

#[tokio::test]
async fn hanging_up_a_call_that_is_long_over_answers_with_its_final_state() {
    let world = World::with(|config| config.limits.retention = Duration::from_millis(1)).await;
    world.friends(&["alice", "bob", "carol"]).await;
    let _node = world.node("n1").await;
    let alice = world.device("alice", "laptop").await;
    let _bob = world.device("bob", "phone").await;
    let carol = world.device("carol", "phone").await;
    let call = alice.place("bob", "r1").await.unwrap();
    alice.hang_up(&call).await.unwrap();
    crate::support::eventually("the call is forgotten", async || {
        // Accepting asks the switchboard only.
        let status = alice.accept(&call).await.unwrap_err();
        (status.code() == tonic::Code::NotFound).then_some(())
    })
    .await;
    let ended = alice.hang_up(&call).await.unwrap();
    assert_eq!((ended.state(), ended.end_reason()), (CallState::Ended, EndReason::Cancelled));
    crate::support::assert_fails(carol.hang_up(&call).await, tonic::Code::NotFound, "CALL_UNKNOWN");
}

#[tokio::test]
async fn a_leg_that_was_replaced_in_mid_call_is_the_one_that_comes_back() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let mut alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    let call = alice.place("bob", "r1").await.unwrap();
    bob.call_is(CallState::Ringing).await;
    alice.connect(&call).await.unwrap();
    bob.connect(&call).await.unwrap();
    bob.accept(&call).await.unwrap();
    alice.call_is(CallState::Live).await;
    let reloaded = alice.connect(&call).await.unwrap().leg_id;

    let dir = world.killed();
    let world = World::open(dir.path(), |_| {}).await;
    let node = world.node("n1").await;
    let plan = node.seen.borrow().plans[&call.call_id].clone();
    assert!(plan.legs.iter().any(|leg| leg.leg_id == reloaded), "{plan:?}");
}

#[tokio::test]
async fn a_database_that_fails_for_a_while_ends_no_call_and_forgets_none() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let mut alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    let operator = rusqlite::Connection::open(world.dir.join("duocast.db")).unwrap();
    operator.execute_batch("ALTER TABLE calls RENAME TO hidden").unwrap();

    let call = alice.place("bob", "r1").await.unwrap();
    bob.call_is(CallState::Ringing).await;
    bob.accept(&call).await.unwrap();
    alice.call_is(CallState::Accepted).await;

    operator.execute_batch("ALTER TABLE hidden RENAME TO calls").unwrap();
    crate::support::eventually("the call is written", async || {
        let found = operator.query_row("SELECT state FROM calls", [], |row| row.get::<_, String>(0));
        found.ok().filter(|state| state == "accepted")
    })
    .await;
    alice.hang_up(&call).await.unwrap();
    assert_eq!(bob.end().await, EndReason::HungUp);
}
