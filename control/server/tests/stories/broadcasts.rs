//! One publishes, many view.

use duocast_wire::v1;
use duocast_wire::v1::broadcast_service_client::BroadcastServiceClient;
use tonic::{Code, Status};
use v1::event::Kind;

use crate::support::device::Device;
use crate::support::{World, assert_fails, failure, in_time};

async fn start(world: &World, host: &Device) -> Result<(v1::Broadcast, String), Status> {
    let message =
        v1::StartBroadcastRequest { session_id: host.session.clone(), request_id: "r".into(), video: true };
    let mut api = BroadcastServiceClient::new(world.wire.clone());
    let started = in_time(api.start_broadcast(host.who.request(message))).await?.into_inner();
    Ok((started.broadcast.expect("a broadcast"), started.viewing_token))
}

async fn watch(world: &World, viewer: &Device, token: &str) -> Result<v1::Broadcast, Status> {
    let message =
        v1::WatchBroadcastRequest { session_id: viewer.session.clone(), viewing_token: token.into() };
    let mut api = BroadcastServiceClient::new(world.wire.clone());
    let watched = in_time(api.watch_broadcast(viewer.who.request(message))).await?;
    Ok(watched.into_inner().broadcast.expect("a broadcast"))
}

async fn stop(world: &World, device: &Device, id: &str) -> Result<(), Status> {
    let message = v1::StopBroadcastRequest { session_id: device.session.clone(), broadcast_id: id.into() };
    let mut api = BroadcastServiceClient::new(world.wire.clone());
    in_time(api.stop_broadcast(device.who.request(message))).await.map(drop)
}

async fn connect(device: &Device, broadcast: &v1::Broadcast) -> v1::ConnectLegResponse {
    device.who.connect(&device.session, &broadcast.broadcast_id, "", "v=0 offer").await.unwrap()
}

/// Reads until the broadcast is told to be so.
async fn told(device: &mut Device, is_so: impl Fn(&v1::Broadcast) -> bool) -> v1::Broadcast {
    loop {
        let event = device.next().await.unwrap().expect("the stream goes on");
        if let Some(Kind::BroadcastUpdated(v1::BroadcastUpdated { broadcast: Some(found) })) = event.kind
            && is_so(&found)
        {
            return found;
        }
    }
}

#[tokio::test]
async fn whoever_has_the_token_views_until_the_host_stops() {
    let world = World::new().await;
    world.friends(&["alice", "bob", "carol"]).await;
    let mut node = world.node("n1").await;
    let mut alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    let mut carol = world.device("carol", "phone").await;

    let (broadcast, token) = start(&world, &alice).await.unwrap();
    assert_eq!((broadcast.is_host, token.len()), (true, 43));
    assert!(broadcast.leg_wanted && broadcast.viewers == Some(0));
    connect(&alice, &broadcast).await;
    for viewer in [&mut bob, &mut carol] {
        let viewed = watch(&world, viewer, &token).await.unwrap();
        assert_eq!(viewed.host.as_ref().unwrap().handle, "alice");
        assert_eq!((viewed.is_host, viewed.viewers, viewed.leg_wanted), (false, None, true));
        connect(viewer, &viewed).await;
        told(viewer, |b| b.host_connected && !b.leg_wanted).await;
    }
    let id = broadcast.broadcast_id.clone();
    let seen =
        node.until("two routes", |seen| seen.plans.get(&id).is_some_and(|p| p.routes.len() == 2)).await;
    let from: Vec<_> = seen.plans[&id].routes.iter().map(|route| &route.from_leg_id).collect();
    assert_eq!(from[0], from[1], "both view the host, and the host views nobody");
    assert_eq!(seen.offers_before_plan, 0);
    told(&mut alice, |b| b.viewers == Some(2)).await;

    assert_fails(stop(&world, &bob, &id).await, Code::FailedPrecondition, "NOT_THE_HOST");
    stop(&world, &alice, &id).await.unwrap();
    for device in [&mut alice, &mut bob, &mut carol] {
        told(device, |b| b.end() == v1::BroadcastEnd::Stopped).await;
    }
    node.until("teardown", |seen| seen.plans[&id].legs.is_empty()).await;
    assert_fails(watch(&world, &bob, &token).await, Code::NotFound, "BROADCAST_UNKNOWN");
    assert_eq!(world.counts().await.broadcasts, 0);
}

#[tokio::test]
async fn a_blocked_account_cannot_tell_it_from_a_wrong_token() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let mut node = world.node("n1").await;
    let alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    let (broadcast, token) = start(&world, &alice).await.unwrap();
    let viewed = watch(&world, &bob, &token).await.unwrap();
    connect(&bob, &viewed).await;
    let id = broadcast.broadcast_id;
    node.until("bob's leg", |seen| seen.plans.get(&id).is_some_and(|plan| plan.legs.len() == 1)).await;

    alice.who.block("bob").await.unwrap();
    told(&mut bob, |b| b.end() == v1::BroadcastEnd::Stopped).await;
    node.until("no leg", |seen| seen.plans[&id].legs.is_empty()).await;
    let blocked = watch(&world, &bob, &token).await.unwrap_err();
    let wrong = watch(&world, &bob, &"A".repeat(43)).await.unwrap_err();
    let garbled = watch(&world, &bob, "no token").await.unwrap_err();
    assert_eq!(failure(&blocked), (Code::NotFound, "BROADCAST_UNKNOWN".to_owned()));
    for other in [wrong, garbled] {
        assert_eq!((blocked.code(), blocked.message()), (other.code(), other.message()));
        assert_eq!(blocked.details(), other.details());
    }
}

#[tokio::test]
async fn who_has_calling_off_does_not_broadcast() {
    let world = World::new().await;
    world.friends(&["alice"]).await;
    let dave = world.device("dave", "phone").await;
    assert_fails(start(&world, &dave).await, Code::PermissionDenied, "CALLER_NOT_ENABLED");
    let alice = world.device("alice", "phone").await;
    assert_fails(start(&world, &alice).await, Code::ResourceExhausted, "NO_CAPACITY");
}
