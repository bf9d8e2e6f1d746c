//! Whether somebody who is blocked could tell, from what is answered or from how long the answer takes.

use std::time::Instant;

use duocast_transport::client::DoorChoice;
use duocast_wire::v1;
use http::{Request, Version};
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use tower::ServiceExt as _;

use crate::doors::behind;
use crate::support::device::Device;
use crate::support::privacy::calling;
use crate::support::{World, in_time};

/// Every byte of an answer but the time of day.
async fn raw(world: &World, who: &Device, method: &str, kind: &str, message: &impl Message) -> String {
    let message = message.encode_to_vec();
    let framed = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    let request = Request::post(format!("/duocast.v1.{method}"))
        .version(Version::HTTP_2)
        .header("content-type", kind)
        .header("te", "trailers")
        .header("authorization", format!("Bearer {}", who.who.token))
        .body(tonic::body::Body::new(Full::from(framed)))
        .unwrap();
    let (head, body) = in_time(world.wire.clone().oneshot(request)).await.unwrap().into_parts();
    let body = in_time(body.collect()).await.unwrap();
    let fields = |fields: &http::HeaderMap| -> Vec<String> {
        fields
            .iter()
            .filter(|(name, _)| *name != "date")
            .map(|(name, value)| format!("{name}: {value:?}"))
            .collect()
    };
    let trailers = body.trailers().map(fields);
    format!("{} {:?} {trailers:?} {:?}", head.status, fields(&head.headers), body.to_bytes())
}

/// What a caller gets for trying everything that depends on the other's choices.
async fn looks(world: &World, alice: &Device, kind: &str) -> Vec<String> {
    let place = v1::PlaceCallRequest {
        session_id: alice.session.clone(),
        request_id: format!("look-{}", kind.len()),
        callee_handle: "bob".into(),
        ..Default::default()
    };
    vec![
        raw(world, alice, "CallService/PlaceCall", kind, &place).await,
        raw(world, alice, "PrivacyService/CanCall", kind, &v1::CanCallRequest { handle: "bob".into() }).await,
        raw(
            world,
            alice,
            "PrivacyService/SendCallRequest",
            kind,
            &v1::SendCallRequestRequest { handle: "bob".into() },
        )
        .await,
    ]
}

#[tokio::test]
async fn a_block_is_answered_like_calling_off_to_the_byte_through_every_door() {
    for door in [DoorChoice::H3, DoorChoice::H2] {
        let (world, stop, serving) = behind(door).await;
        let node = world.node("n1").await;
        world.friends(&["alice", "bob"]).await;
        let alice = world.device("alice", "laptop").await;
        let bob = world.person("bob");
        for kind in ["application/grpc", "application/grpc-web+proto"] {
            bob.set(calling(false)).await;
            let off = looks(&world, &alice, kind).await;
            bob.set(calling(true)).await;
            bob.block("alice").await.unwrap();
            let blocked = looks(&world, &alice, kind).await;
            assert_eq!(off, blocked, "{door:?} {kind}");
            bob.unblock("alice").await.unwrap();
            let open = looks(&world, &alice, kind).await;
            for (closed, open) in blocked.iter().zip(&open) {
                assert_ne!(closed, open, "{door:?} {kind}: this compares something");
            }
        }
        world.shutdown.cancel();
        stop.cancel();
        drop((alice, bob, node));
        in_time(serving).await.unwrap();
        world.stop().await;
    }
}

/// So many answers of each kind are timed.
const TIMED: usize = 1000;

/// How well somebody who sees one answer of each kind could tell which is which: 0.5 is guessing, 1.0 is always.
const TELLS_MAX: f64 = 0.6;

fn tells(one: &[f64], other: &[f64]) -> f64 {
    let wins = |a: &f64| {
        other
            .iter()
            .map(|b| {
                if a > b {
                    1.0
                } else if a == b {
                    0.5
                } else {
                    0.0
                }
            })
            .sum::<f64>()
    };
    let share = one.iter().map(wins).sum::<f64>() / (one.len() * other.len()) as f64;
    share.max(1.0 - share)
}

#[test]
fn the_measure_knows_a_difference_when_it_sees_one() {
    let quick: Vec<f64> = (0..100).map(f64::from).collect();
    let slow: Vec<f64> = quick.iter().map(|ms| ms + 50.0).collect();
    assert!(tells(&quick, &slow) > 0.8 && (tells(&quick, &quick) - 0.5).abs() < 0.01);
}

#[tokio::test]
#[ignore = "measures in real time and wants a quiet machine: make quality"]
#[allow(clippy::print_stdout)]
async fn a_block_takes_as_long_as_calling_off() {
    let world = World::new().await;
    let _node = world.node("n1").await;
    world.friends(&["alice", "bob", "carol"]).await;
    world.person("bob").block("alice").await.unwrap();
    world.person("carol").set(calling(false)).await;
    let alice = world.device("alice", "laptop").await;
    for what in ["place", "can_call", "ask"] {
        let mut took = [Vec::new(), Vec::new()];
        for n in 0..TIMED {
            // Neither comes always first.
            for whose in [n % 2, 1 - n % 2] {
                let handle = ["bob", "carol"][whose];
                let began = Instant::now();
                match what {
                    "place" => drop(alice.place(handle, "r").await.unwrap_err()),
                    "can_call" => drop(alice.who.can_call(handle).await.unwrap()),
                    _ => drop(alice.who.ask(handle).await.unwrap_err()),
                }
                took[whose].push(began.elapsed().as_secs_f64() * 1e6);
            }
        }
        let told = tells(&took[0], &took[1]);
        took.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
        let [blocked, off] = took.map(|times| times[TIMED / 2]);
        println!(
            "{what}: blocked {blocked:.0} us, off {off:.0} us at p50; one pair is told apart in {:.1} %",
            told * 100.0
        );
        assert!(
            told <= TELLS_MAX,
            "{what}: the time of an answer tells a block from calling off in {told:.2} of cases"
        );
    }
}
