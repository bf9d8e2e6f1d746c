//! A stranger's way in: call requests, and the grants that they lead to.

use std::time::Duration;

use duocast_control_core::budget::Rate;
use duocast_wire::v1::{CallRequestState, CallState, EndReason, Outcome, Strangers};
use tonic::Code;

use crate::support::privacy::{calling, handles, strangers};
use crate::support::{World, account, assert_fails, failure, follow};

use CallRequestState::{Accepted, Closed, Sent};

#[tokio::test]
async fn a_stranger_asks_is_let_in_calls_and_is_shut_out_again() {
    let world = World::new().await;
    world.people(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let mut alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    let mut tablet = world.device("bob", "tablet").await;

    assert_fails(alice.place("bob", "r1").await, Code::PermissionDenied, "REQUEST_NEEDED");
    assert_eq!(alice.who.may_call("bob").await, (Outcome::Request, "REQUEST_NEEDED".into()));
    let sent = alice.who.ask("bob").await.unwrap();
    assert_eq!((sent.incoming, sent.state()), (false, Sent));
    for device in [&mut bob, &mut tablet] {
        assert_eq!(device.request_told().await, ("alice".into(), true, Sent), "nothing rings; it is told");
    }
    assert_eq!(alice.request_told().await, ("bob".into(), false, Sent));
    assert_eq!(alice.who.ask("bob").await.unwrap(), sent, "asking again changes nothing");
    assert_eq!(alice.who.may_call("bob").await, (Outcome::Request, "REQUEST_PENDING".into()));
    assert_eq!(bob.who.requests().await, [vec![("alice".into(), Sent)], vec![]]);
    assert_eq!(world.counts().await.calls, 0);

    let grant = bob.who.answer("alice", true, false).await.unwrap().unwrap();
    let lasts = grant.expires_at.unwrap().seconds - grant.created_at.unwrap().seconds;
    assert!(grant.from_request);
    assert_eq!(lasts, 30 * 24 * 3600);
    for device in [&mut bob, &mut tablet] {
        assert_eq!(device.request_told().await, ("alice".into(), true, Closed));
    }
    assert_eq!(alice.request_told().await, ("bob".into(), false, Accepted));
    assert_eq!(bob.requests_told(), 2, "the repeat reached nobody");
    assert_eq!(alice.who.requests().await, [vec![], vec![("bob".into(), Accepted)]]);
    assert_eq!(bob.who.may_call("alice").await.0, Outcome::Request, "a grant is for one direction");
    assert_fails(alice.who.ask("bob").await, Code::FailedPrecondition, "ALREADY_ALLOWED");

    let call = alice.place("bob", "r2").await.unwrap();
    bob.call_is(CallState::Ringing).await;
    bob.accept(&call).await.unwrap();
    alice.call_is(CallState::Accepted).await;
    alice.hang_up(&call).await.unwrap();
    bob.end().await;
    alice.place("bob", "r3").await.unwrap();
    bob.call_is(CallState::Ringing).await;
    bob.who.revoke("alice").await.unwrap();
    assert_eq!(bob.end().await, EndReason::Declined, "what rings by a grant that is taken back stops");
    assert_fails(alice.place("bob", "r4").await, Code::PermissionDenied, "REQUEST_NEEDED");
    assert_eq!(alice.who.requests().await, [vec![], vec![]], "it may be asked for anew");
    alice.who.ask("bob").await.unwrap();
}

#[tokio::test]
async fn a_request_that_was_declined_looks_to_its_sender_like_one_that_waits() {
    let world = World::new().await;
    world.people(&["alice", "bob", "carol"]).await;
    let mut alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    let first = alice.who.ask("bob").await.unwrap();
    alice.who.ask("carol").await.unwrap();
    bob.request_told().await;
    assert_eq!(bob.who.answer("alice", false, false).await.unwrap(), None);
    assert_eq!(bob.request_told().await, ("alice".into(), true, Closed));
    assert_eq!(bob.who.requests().await, [vec![], vec![]]);

    assert_eq!(alice.who.requests().await[1].len(), 2);
    assert!(alice.who.requests().await[1].iter().all(|(_, state)| *state == Sent));
    assert_eq!(alice.who.may_call("bob").await, alice.who.may_call("carol").await);
    assert_eq!(alice.who.ask("bob").await.unwrap(), first);
    bob.who.answer("alice", false, false).await.unwrap();
    // Nothing more reaches either: what was to come would be before this.
    alice.who.set(strangers(Strangers::Deny)).await;
    alice.settings_told().await;
    bob.who.set(strangers(Strangers::Deny)).await;
    bob.settings_told().await;
    assert_eq!((alice.requests_told(), bob.requests_told()), (2, 2));
    assert_fails(bob.who.answer("alice", true, false).await, Code::NotFound, "REQUEST_UNKNOWN");
}

#[tokio::test]
async fn a_grant_by_hand_answers_a_request_and_outlasts_a_decline() {
    let world = World::new().await;
    world.people(&["alice", "bob"]).await;
    let mut alice = world.device("alice", "laptop").await;
    let bob = world.person("bob");
    alice.who.ask("bob").await.unwrap();
    bob.answer("alice", false, false).await.unwrap();
    let grant = bob.grant("alice", 365).await.unwrap();
    assert!(!grant.from_request);
    assert_eq!(alice.request_told().await, ("bob".into(), false, Sent));
    assert_eq!(alice.request_told().await, ("bob".into(), false, Accepted));
    assert_eq!(alice.who.may_call("bob").await, (Outcome::Allow, "GRANT".into()));
    assert_eq!(handles(bob.grants(0, "").await.unwrap().grants.iter().map(|g| &g.person)), ["alice"]);
}

#[tokio::test]
async fn declining_can_block_and_a_block_takes_requests_away() {
    let world = World::new().await;
    world.people(&["alice", "bob", "carol"]).await;
    let bob = world.person("bob");
    let mut phone = world.device("bob", "phone").await;
    for handle in ["alice", "carol"] {
        world.person(handle).ask("bob").await.unwrap();
        phone.request_told().await;
    }
    assert_fails(bob.answer("alice", true, true).await, Code::InvalidArgument, "ANSWER_INVALID");
    bob.answer("alice", false, true).await.unwrap();
    assert_eq!(phone.request_told().await, ("alice".into(), true, Closed));
    bob.block("carol").await.unwrap();
    assert_eq!(phone.request_told().await, ("carol".into(), true, Closed));
    assert_eq!(bob.requests().await, [vec![], vec![]]);
    assert_eq!(bob.blocked(0, "").await.unwrap().blocks.len(), 2);
    for handle in ["alice", "carol"] {
        let person = world.person(handle);
        assert_eq!(person.requests().await, [vec![], vec![("bob".into(), Sent)]], "to them it waits");
        assert_eq!(person.may_call("bob").await, (Outcome::Deny, "CALLEE_NOT_REACHABLE".into()));
    }
}

#[tokio::test]
async fn who_blocked_somebody_hears_nothing_of_their_yes() {
    let world = World::new().await;
    world.people(&["alice", "bob"]).await;
    let mut alice = world.device("alice", "laptop").await;
    alice.who.ask("bob").await.unwrap();
    alice.request_told().await;
    alice.who.block("bob").await.unwrap();
    let bob = world.person("bob");
    assert_eq!(bob.requests().await[0].len(), 1, "that the request vanished would tell");
    bob.answer("alice", true, false).await.unwrap();
    alice.who.set(strangers(Strangers::Deny)).await;
    alice.settings_told().await;
    assert_eq!(alice.requests_told(), 1);
    assert_eq!(alice.who.requests().await, [vec![], vec![]]);
}

#[tokio::test]
async fn requests_go_only_where_policy_lets_them() {
    let world = World::new().await;
    world.people(&["alice", "bob"]).await;
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    bob.set(strangers(Strangers::Deny)).await;
    assert_fails(alice.ask("bob").await, Code::PermissionDenied, "CALLEE_NOT_REACHABLE");
    bob.set(strangers(Strangers::Request)).await;
    alice.set(calling(false)).await;
    assert_fails(alice.ask("bob").await, Code::PermissionDenied, "CALLER_NOT_ENABLED");
    alice.set(calling(true)).await;
    assert_fails(alice.ask("alice").await, Code::InvalidArgument, "CALLEE_IS_SELF");
    assert_fails(alice.ask("nobody").await, Code::NotFound, "CALLEE_UNKNOWN");
    assert_fails(bob.answer("alice", true, false).await, Code::NotFound, "REQUEST_UNKNOWN");
    world.follow(vec![follow("alice", "bob", true), follow("bob", "alice", true)]).await.unwrap();
    assert_fails(alice.ask("bob").await, Code::FailedPrecondition, "ALREADY_ALLOWED");
    assert_eq!(bob.requests().await, [vec![], vec![]]);
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_go_on() {
    let once = Rate::new(2, Duration::from_secs(3600));
    let world = World::with(|config| config.limits.rates.requests = once).await;
    world.people(&["alice", "bob", "carol", "dave"]).await;
    let alice = world.person("alice");
    alice.ask("bob").await.unwrap();
    for _ in 0..3 {
        alice.ask("bob").await.unwrap();
    }
    alice.ask("carol").await.unwrap();
    let spent = alice.ask("dave").await.unwrap_err();
    assert_eq!(failure(&spent), (Code::ResourceExhausted, "REQUEST_BUDGET".into()));
    let kept = String::from_utf8_lossy(spent.details()).contains("google.rpc.RetryInfo");
    assert!(kept, "it says when: {spent:?}");
    assert_eq!(world.person("dave").requests().await, [vec![], vec![]], "nothing was kept");
}

#[tokio::test]
async fn requests_have_bounds_that_tell_nothing_of_answers() {
    let often = Rate::new(1_000, Duration::from_millis(1));
    let world = World::with(|config| config.limits.rates.requests = often).await;
    let crowd: Vec<String> = (0..102).map(|n| format!("p{n:03}")).collect();
    let mut accounts: Vec<_> = crowd.iter().map(|name| account(name)).collect();
    accounts.extend(["alice", "bob"].map(account));
    world.upsert(accounts).await.unwrap();
    let alice = world.person("alice");

    for name in &crowd[..100] {
        alice.ask(name).await.unwrap();
        world.person(name).answer("alice", false, false).await.unwrap();
    }
    assert_fails(alice.ask(&crowd[100]).await, Code::ResourceExhausted, "REQUESTS_FULL");
    assert_eq!(alice.requests().await[1].len(), 100);
    assert_eq!(alice.ask(&crowd[0]).await.unwrap().state(), Sent, "those that are there stay");

    for name in &crowd[..100] {
        world.person(name).ask("bob").await.unwrap();
    }
    let late = world.person(&crowd[100]);
    assert_fails(late.ask("bob").await, Code::ResourceExhausted, "REQUESTS_FULL");
    let bob = world.person("bob");
    assert_eq!(bob.requests().await[0].len(), 100);
    bob.answer(&crowd[7], false, false).await.unwrap();
    late.ask("bob").await.unwrap();
}

#[tokio::test]
async fn grants_have_a_bound() {
    let world = World::new().await;
    world.people(&["alice", "bob"]).await;
    let accounts = (0..1_000).map(|n| account(&format!("p{n:03}"))).collect();
    world.upsert(accounts).await.unwrap();
    let operator = rusqlite::Connection::open(world.dir.join("duocast.db")).unwrap();
    operator.busy_timeout(Duration::from_secs(5)).unwrap();
    let filled = operator
        .execute(
            "INSERT INTO grants SELECT a.account_id, p.account_id, 1, 9000000000000, 0
             FROM accounts a, accounts p WHERE a.handle = 'alice' AND p.handle LIKE 'p%'",
            [],
        )
        .unwrap();
    assert_eq!(filled, 1_000);
    let alice = world.person("alice");
    assert_fails(alice.grant("bob", 1).await, Code::ResourceExhausted, "GRANTS_FULL");
    alice.grant("p000", 1).await.expect("a present one can be renewed");
    alice.revoke("p001").await.unwrap();
    alice.grant("bob", 1).await.unwrap();
}
