//! The same call through real sockets.

use std::time::Duration;

use axum::body::Body;
use duocast_transport::client::{Channel, ChannelConfig, DoorChoice, Roots};
use duocast_transport::identity::Identity;
use duocast_transport::server::{Server, ServerConfig, loopback};
use duocast_wire::v1::{CallState, EndReason};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use crate::support::{World, failure, framed, in_time, unreadable};

#[tokio::test]
async fn a_call_over_http3() {
    a_call_through(DoorChoice::H3).await;
}

#[tokio::test]
async fn a_call_over_http2() {
    a_call_through(DoorChoice::H2).await;
}

#[tokio::test]
async fn a_message_that_cannot_be_taken_is_refused_alike_on_every_door() {
    for door in [DoorChoice::H3, DoorChoice::H2] {
        let (world, stop, serving) = behind(door).await;
        for encoding in ["application/grpc", "application/grpc-web+proto"] {
            let token = world.token("alice");
            let send = async |body: Vec<u8>| {
                let status = world.post("/duocast.v1.CallService/GetProfile", encoding, Some(&token), body);
                let status = status.await;
                (failure(&status), status.message().to_owned())
            };
            let large = framed(&vec![0; duocast_wire::MAX_MESSAGE_BYTES + 1]);
            let (refused, sentence) = send(large).await;
            assert_eq!(refused, (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".into()), "{door:?} {encoding}");
            assert!(sentence.contains("at most 262144 bytes"), "{sentence}");
            let cut_short = vec![0, 0, 0, 0, 9, 1];
            for body in unreadable().into_iter().chain([Vec::new(), cut_short]) {
                let (refused, _) = send(body.clone()).await;
                let expected = (Code::InvalidArgument, "MESSAGE_INVALID".into());
                assert_eq!(refused, expected, "{door:?} {encoding} {body:?}");
            }
            let served = world.person("alice").profile().await.unwrap();
            assert_eq!(served.person.unwrap().handle, "alice", "the next request is served");
        }
        world.shutdown.cancel();
        stop.cancel();
        in_time(serving).await.unwrap();
        world.stop().await;
    }
}

/// A world whose services are reached through a door, what stops the door, and its task.
pub(crate) async fn behind(door: DoorChoice) -> (World, CancellationToken, JoinHandle<()>) {
    let mut world = World::new().await;
    let identity = Identity::load_or_create_self_signed(&world.dir, &["localhost".into()]).unwrap();
    let roots = Roots::Pem(identity.cert_pem().to_owned());
    let config = ServerConfig {
        listen: loopback(0),
        plain: Vec::new(),
        identity,
        limits: Default::default(),
        reset_secret: None,
        drain_timeout: Duration::from_secs(10),
    };
    let server = Server::bind(config).await.unwrap();
    let url = format!("https://localhost:{}", server.listen_addrs()[0].port());
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(world.control.app(), stop.clone()));
    let channel = in_time(Channel::connect(ChannelConfig::new(url, roots).with_door(door))).await.unwrap();
    let wire = channel.map_response(|response| response.map(Body::new));
    world.wire = BoxCloneSyncService::new(wire);
    (world, stop, serving)
}

async fn a_call_through(door: DoorChoice) {
    let (world, stop, serving) = behind(door).await;
    world.friends(&["alice", "bob"]).await;
    let mut node = world.node("n1").await;
    let mut alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    let call = alice.place("bob", "r1").await.unwrap();
    bob.call_is(CallState::Ringing).await;
    alice.connect(&call).await.unwrap();
    bob.connect(&call).await.unwrap();
    bob.accept(&call).await.unwrap();
    alice.call_is(CallState::Live).await;
    alice.hang_up(&call).await.unwrap();
    assert_eq!(bob.end().await, EndReason::HungUp);

    bob.cut();
    world.counts_become("the server sees an idle stream cancelled", |counts| counts.streams == 1).await;
    bob.subscribe().await.unwrap();
    assert!(bob.started.resumed);

    world.shutdown.cancel();
    stop.cancel();
    alice.stream_end().await;
    node.until("the link ended", |seen| seen.end.is_some()).await;
    drop((alice, bob, node));
    in_time(serving).await.unwrap();
    world.stop().await;
}
