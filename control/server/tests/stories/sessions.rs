//! Streams break, come back, are taken over, fall behind, end.

use std::collections::BTreeSet;
use std::time::Duration;

use duocast_control_core::budget::Rate;
use duocast_wire::v1::event::Kind;
use duocast_wire::v1::{CallState, EndReason};
use proptest::prelude::*;
use tonic::Code;

use crate::support::device::Device;
use crate::support::{World, assert_fails, eventually, failure, in_time};

#[tokio::test]
async fn a_device_that_comes_back_misses_nothing() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    bob.cut();
    world.counts_become("the break was noticed", |counts| counts.streams == 1).await;

    let call = alice.place("bob", "r1").await.unwrap();
    bob.subscribe().await.unwrap();
    assert!(bob.started.resumed);
    bob.call_is(CallState::Ringing).await;
    alice.hang_up(&call).await.unwrap();
    assert_eq!(bob.end().await, EndReason::Cancelled);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The callee's stream breaks after any events, any number of times, while calls come and go.
    #[test]
    fn wherever_the_stream_breaks_the_events_are_the_same(cuts in prop::collection::btree_set(1u64..24, 0..8)) {
        tokio::runtime::Runtime::new().unwrap().block_on(breaks_at(cuts));
    }
}

async fn breaks_at(cuts: BTreeSet<u64>) {
    let often = Rate::new(100, Duration::from_secs(60));
    let world = World::with(|config| config.limits.rates.rings_of_pair = often).await;
    world.friends(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let mut alice = world.device("alice", "laptop").await;
    let mut shaky = world.device("bob", "shaky").await;
    let mut steady = world.device("bob", "steady").await;
    for round in 0..6 {
        let call = alice.place("bob", &format!("r{round}")).await.unwrap();
        steady.call_is(CallState::Ringing).await;
        alice.hang_up(&call).await.unwrap();
        steady.end().await;
        alice.end().await;
        let expected = calls_told(&steady).len();
        while calls_told(&shaky).len() < expected {
            shaky.next().await.unwrap().unwrap();
            if cuts.contains(&shaky.seq) {
                shaky.cut();
                shaky.subscribe().await.unwrap();
                assert!(shaky.started.resumed);
            }
        }
    }
    assert_eq!(calls_told(&shaky), calls_told(&steady));
}

fn calls_told(device: &Device) -> Vec<(String, u64, i32)> {
    let mut told = Vec::new();
    for event in &device.told {
        if let Some(Kind::CallUpdated(updated)) = &event.kind {
            let call = updated.call.as_ref().unwrap();
            told.push((call.call_id.clone(), call.revision, call.state));
        }
    }
    told
}

#[tokio::test]
async fn a_newer_stream_takes_the_session_over() {
    let world = World::new().await;
    let mut tab = world.device("alice", "laptop").await;
    let mut same_device = Device::open(tab.who.clone(), "laptop").await;
    let ended = failure(&tab.stream_end().await);
    assert_eq!(ended, (Code::Aborted, "SESSION_TAKEN_OVER".into()), "a new session of the same device");

    let mut resumed = Device::open(tab.who.clone(), "other").await;
    resumed.cut();
    (resumed.name, resumed.session, resumed.seq) =
        ("laptop".into(), same_device.session.clone(), same_device.seq);
    resumed.subscribe().await.unwrap();
    assert!(resumed.started.resumed);
    let ended = failure(&same_device.stream_end().await);
    assert_eq!(ended, (Code::Aborted, "SESSION_TAKEN_OVER".into()), "the same session, twice");
}

#[tokio::test]
async fn a_session_that_is_gone_starts_over_with_a_snapshot() {
    let world = World::with(|config| config.limits.resume = Duration::from_millis(20)).await;
    let mut alice = world.device("alice", "laptop").await;
    let before = alice.session.clone();
    alice.cut();
    world.counts_become("the session is dropped", |counts| counts.sessions == 0).await;
    alice.subscribe().await.unwrap();
    assert!(!alice.started.resumed);
    assert_ne!(alice.session, before);
    assert_eq!(alice.started.resume_window_ms, 20);
}

#[tokio::test]
async fn nobody_resumes_somebody_elses_session() {
    let world = World::new().await;
    let alice = world.device("alice", "laptop").await;
    let mut mallory = world.device("mallory", "laptop").await;
    mallory.cut();
    mallory.session = alice.session.clone();
    mallory.subscribe().await.unwrap();
    assert!(!mallory.started.resumed);
    assert_ne!(mallory.session, alice.session);
}

#[tokio::test]
async fn a_silent_stream_gets_heartbeats() {
    let world = World::with(|config| config.tuning.heartbeat = Duration::from_millis(10)).await;
    let mut alice = world.device("alice", "laptop").await;
    for _ in 0..3 {
        let event = alice.next().await.unwrap().unwrap();
        assert!(matches!(event.kind, Some(Kind::Heartbeat(_))));
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_resumes_without_a_gap() {
    let world = World::with(|config| config.tuning.stream_queue = 4).await;
    world.friends(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let mut alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    for round in 0..4 {
        let call = alice.place("bob", &format!("r{round}")).await.unwrap();
        alice.hang_up(&call).await.unwrap();
        alice.end().await;
    }
    let ended = failure(&bob.stream_end().await);
    assert_eq!(ended, (Code::ResourceExhausted, "SLOW_CONSUMER".into()));
    let mut ends = 0;
    while ends < 4 {
        bob.subscribe().await.unwrap();
        assert!(bob.started.resumed);
        ends = bob.told.iter().filter(|event| is_end(event)).count();
        while ends < 4 && bob.next().await.is_ok() {
            ends = bob.told.iter().filter(|event| is_end(event)).count();
        }
    }
}

fn is_end(event: &duocast_wire::v1::Event) -> bool {
    matches!(&event.kind, Some(Kind::CallUpdated(u)) if u.call.as_ref().unwrap().state() == CallState::Ended)
}

#[tokio::test]
async fn sessions_and_streams_do_not_leak() {
    let world = World::with(|config| config.limits.resume = Duration::from_millis(20)).await;
    world.friends(&["alice", "bob"]).await;
    let before = world.counts().await;
    let mut devices = Vec::new();
    for n in 0..6 {
        devices.push(world.device("alice", &format!("d{n}")).await);
        devices.push(world.device("bob", &format!("d{n}")).await);
    }
    // A subscription that is given up before it is answered.
    let bob = world.person("bob");
    for n in 0..20 {
        let ask = duocast_wire::v1::SubscribeRequest { device_id: format!("g{n}"), ..Default::default() };
        let mut api = bob.api.clone();
        let opening = api.subscribe(bob.request(ask));
        let _ = tokio::time::timeout(Duration::from_micros(50 * n), opening).await;
    }
    assert!(world.counts().await.sessions >= 12);
    drop(devices);
    world.counts_become("all is as before", |counts| *counts == before).await;
}

#[tokio::test]
async fn an_account_has_so_many_sessions_and_no_more() {
    let world = World::with(|config| config.limits.sessions_per_account_max = 2).await;
    let mut one = world.device("alice", "one").await;
    let _two = world.device("alice", "two").await;
    let mut three = world.device("alice", "two").await;
    three.cut();
    (three.name, three.session) = ("three".into(), String::new());
    world.counts_become("one broken stream", |counts| counts.streams == 1).await;
    three.subscribe().await.expect("the one whose stream is broken gives way");
    one.cut();
    one.name = "four".into();
    one.session = String::new();
    world.counts_become("one broken stream again", |counts| counts.streams == 1).await;
    one.subscribe().await.unwrap();
    let (mut five, name) = (world.person("alice"), "five");
    five.token = world.token("alice");
    let ask = duocast_wire::v1::SubscribeRequest { device_id: name.into(), ..Default::default() };
    let refused = in_time(five.api.clone().subscribe(five.request(ask))).await.map(|_| ());
    assert_fails(refused, Code::ResourceExhausted, "TOO_MANY_SESSIONS");
}

#[tokio::test]
async fn a_server_that_stops_says_so_and_ends_every_stream() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let mut node = world.node("n1").await;
    let mut alice = world.device("alice", "laptop").await;
    let person = world.person("bob");
    let control = world.control.clone();
    world.shutdown.cancel();
    loop {
        let event = alice.next().await.unwrap().unwrap();
        if let Some(Kind::Draining(draining)) = event.kind {
            assert!(draining.retry_after_ms > 0);
            break;
        }
    }
    assert_eq!(failure(&alice.next().await.unwrap_err()), (Code::Unavailable, "DRAINING".into()));
    let seen = node.until("the link ended", |seen| seen.end.is_some()).await;
    assert_eq!(seen.end, Some(Err((Code::Unavailable, "DRAINING".into()))));
    eventually("new calls are refused", async || {
        person.profile().await.err().filter(|status| status.code() == Code::Unavailable)
    })
    .await;
    drop(alice);
    world.stop().await;
    assert_eq!(control.counts().await, None, "the exchange has stopped");
}
