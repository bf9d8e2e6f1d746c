//! One publisher and its viewers on a node with two workers, on real sockets: they are on both, and all see and hear.

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use common::peer::{Offered, Peer, Sends};
use common::{Control, Link, Node, eventually};
use duocast_model::{CallId, Generation, LegId, Route, RoutePlan};
use duocast_wire::v1;
use v1::control_to_node::Kind as ToNode;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const CALL: CallId = CallId::from_u128(80);
/// The publisher's, and what its viewers' begin after. Even ones are on worker 0.
const HOST: u128 = 100;
const VIEWERS: u128 = 6;

fn plan(generation: u64, viewers: u128) -> RoutePlan {
    let leg = |n| LegId::from_u128(HOST + n);
    let routes = (1..=viewers).map(|n| Route { from: leg(0), to: leg(n) }).collect();
    let legs = (0..=viewers).map(leg).collect();
    RoutePlan::new(CALL, Generation(generation), legs, routes).unwrap().with_audience()
}

async fn connect(link: &mut Link, leg: u128, sends: Sends) -> Peer {
    let (leg, offered) = (LegId::from_u128(leg), Offered::new(LOOPBACK));
    let answer = link.offer(CALL, leg, &offered.sdp).await.unwrap();
    let peer = offered.answered_as(sends, &answer);
    link.leg_is(leg, v1::LegState::Connected).await;
    peer
}

/// The publisher and its viewers, connected.
async fn on_air(link: &mut Link) -> (Peer, Vec<Peer>) {
    assert!(link.plan(&plan(1, VIEWERS)).await.applied);
    let host = connect(link, HOST, Sends::Chatter).await;
    let mut viewers = Vec::new();
    for n in 1..=VIEWERS {
        viewers.push(connect(link, HOST + n, Sends::Nothing).await);
    }
    (host, viewers)
}

/// From now on each of them sees and hears so much more.
async fn all_see_and_hear(viewers: &[Peer], packets: usize) {
    viewers.iter().for_each(Peer::forget);
    for viewer in viewers {
        eventually("sound and picture", || viewer.seen().audio > packets && viewer.seen().video > packets)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_on_both_workers_see_and_hear_the_publisher_until_it_is_over() {
    let mut control = Control::start().await;
    let node = Node::start(&control, 2, vec![LOOPBACK]);
    let mut link = control.link().await;
    link.send(ToNode::Synced(v1::Synced {})).await;
    let (host, mut viewers) = on_air(&mut link).await;
    let at_worker = |peer: &Peer, worker: usize| {
        peer.answer.contains(&format!(" {} typ host", node.addresses[worker].port()))
    };
    assert!(at_worker(&host, 0) && !at_worker(&host, 1));
    for (viewer, n) in viewers.iter().zip(1..) {
        assert_eq!([0, 1].map(|worker| at_worker(viewer, worker)), [n % 2 == 0, n % 2 == 1], "viewer {n}");
    }
    all_see_and_hear(&viewers, 50).await;
    assert!(viewers.iter().all(|viewer| viewer.seen().longest_gap < Duration::from_secs(2)));
    link.stats_until(|stats| (stats.legs, stats.calls) == (1 + VIEWERS as u32, 1)).await;

    assert!(link.plan(&plan(2, VIEWERS - 1)).await.applied);
    let out = viewers.pop().unwrap();
    eventually("who is out is told", || out.seen().closed).await;
    all_see_and_hear(&viewers, 10).await;
    let stale = link.plan(&plan(2, VIEWERS)).await;
    assert_eq!((stale.applied, stale.generation), (false, 2));

    assert!(link.plan(&RoutePlan::teardown(CALL, Generation(3)).with_audience()).await.applied);
    for peer in viewers.iter().chain([&host]) {
        eventually("everybody is told goodbye", || peer.seen().closed).await;
    }
    link.stats_until(|stats| (stats.legs, stats.calls) == (0, 0)).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_and_a_viewer_who_come_anew_and_a_link_that_breaks_cost_nobody_else_anything() {
    let mut control = Control::start().await;
    let node = Node::start(&control, 2, vec![LOOPBACK]);
    let mut link = control.link().await;
    link.send(ToNode::Synced(v1::Synced {})).await;
    let (host, mut viewers) = on_air(&mut link).await;
    all_see_and_hear(&viewers, 10).await;

    // Their pages are loaded anew: other clients behind the same legs.
    let again = connect(&mut link, HOST, Sends::Chatter).await;
    drop(host);
    viewers[0] = connect(&mut link, HOST + 1, Sends::Nothing).await;
    all_see_and_hear(&viewers, 25).await;

    drop(link);
    let mut link = control.link().await;
    let same = link.plan(&plan(1, VIEWERS)).await;
    assert_eq!((same.applied, same.generation), (false, 1));
    link.send(ToNode::Synced(v1::Synced {})).await;
    all_see_and_hear(&viewers, 25).await;
    viewers[2] = connect(&mut link, HOST + 3, Sends::Nothing).await;
    all_see_and_hear(&viewers, 25).await;
    again.rebind();
    all_see_and_hear(&viewers, 25).await;
    node.stop().await;
}
