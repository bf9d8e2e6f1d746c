//! A whole node on real sockets: its link to control on real doors, peers that are plain str0m.

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, UdpSocket};
use std::time::Duration;

use common::{Control, Node, TOKEN, TestCall, connect_two, eventually, log, peer};
use duocast_router::TokenSource;
use duocast_wire::v1;
use v1::control_to_node::Kind as ToNode;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test(flavor = "multi_thread")]
async fn two_peers_connect_while_it_rings_and_talk_when_the_plan_says_so() {
    let mut control = Control::start().await;
    let node = Node::start(&control, 1, vec![LOOPBACK]);
    let mut link = control.link().await;
    assert_eq!((link.hello.node_id.as_str(), link.hello.leg_capacity), ("node-1", 64));
    link.send(ToNode::Synced(v1::Synced {})).await;

    let call = TestCall::new(1);
    let [a, b] = connect_two(&mut link, call).await;
    link.stats_until(|stats| (stats.legs, stats.calls) == (2, 1)).await;
    assert_eq!((a.seen().audio, b.seen().audio), (0, 0), "nothing is forwarded while it rings");

    assert!(link.plan(&call.talking(2)).await.applied);
    for peer in [&a, &b] {
        eventually("media flows", || peer.seen().audio > 25 && peer.seen().video > 25).await;
        assert!(String::from_utf8(peer.seen().last_audio).unwrap().starts_with("packet "));
    }
    let stale = link.plan(&call.ringing(2)).await;
    assert_eq!((stale.applied, stale.generation), (false, 2));

    assert!(link.plan(&call.over(3)).await.applied);
    for peer in [&a, &b] {
        eventually("the peer is told goodbye", || peer.seen().closed).await;
    }
    link.stats_until(|stats| (stats.legs, stats.calls) == (0, 0)).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn media_goes_on_while_control_is_away_and_control_is_told_anew() {
    let mut control = Control::start().await;
    let node = Node::start(&control, 2, vec![LOOPBACK]);
    let mut link = control.link().await;
    let boot = link.hello.boot_id.clone();
    let (kept, dropped) = (TestCall::new(10), TestCall::new(11));
    let [a, b] = connect_two(&mut link, kept).await;
    let [c, _d] = connect_two(&mut link, dropped).await;
    assert!(link.plan(&kept.talking(2)).await.applied);
    eventually("media flows", || a.seen().audio > 5 && b.seen().audio > 5).await;

    drop(link);
    let mut link = control.link().await;
    assert_eq!(link.hello.boot_id, boot, "the same process");
    for leg in kept.legs.into_iter().chain(dropped.legs) {
        link.leg_is(leg, v1::LegState::Connected).await;
    }
    let same = link.plan(&kept.talking(2)).await;
    assert_eq!((same.applied, same.generation), (false, 2));
    link.send(ToNode::Synced(v1::Synced {})).await;
    eventually("the call that was not named ends", || c.seen().closed).await;
    let heard = a.seen().audio;
    eventually("media still flows", || a.seen().audio > heard + 10).await;
    assert!(a.seen().longest_gap < Duration::from_secs(5), "{:?}", a.seen().longest_gap);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn media_follows_a_peer_to_its_new_address() {
    let mut control = Control::start().await;
    let node = Node::start(&control, 1, vec![LOOPBACK]);
    let mut link = control.link().await;
    let call = TestCall::new(20);
    let [a, b] = connect_two(&mut link, call).await;
    link.plan(&call.talking(2)).await;
    eventually("media flows", || a.seen().audio > 10 && b.seen().audio > 10).await;
    b.forget();
    b.rebind();
    eventually("media flows to the new address", || b.seen().audio > 25).await;
    let gap = b.seen().longest_gap;
    assert!(gap < Duration::from_secs(2), "str0m alone would take 13 s, it took {gap:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_offer_says_why_and_what_to_do() {
    let mut control = Control::start().await;
    let node = Node::start(&control, 1, vec![LOOPBACK]);
    let mut link = control.link().await;
    let call = TestCall::new(30);
    let unknown = link.offer(call.id, call.legs[0], "v=0").await.unwrap_err();
    assert_eq!(unknown.reason, "LEG_UNKNOWN");
    link.plan(&call.ringing(1)).await;
    let invalid = link.offer(call.id, call.legs[0], "not an offer").await.unwrap_err();
    assert_eq!(invalid.reason, "SDP_INVALID");
    assert!(!invalid.message.contains("not an offer") && !invalid.message.is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_says_goodbye_to_everybody() {
    let mut control = Control::start().await;
    let node = Node::start(&control, 2, vec![LOOPBACK]);
    let mut link = control.link().await;
    let [a, b] = connect_two(&mut link, TestCall::new(40)).await;
    node.stop().await;
    for peer in [&a, &b] {
        eventually("the peer is told goodbye", || peer.seen().closed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_as_planned_tells_control_and_serves_until_control_has_moved_its_calls() {
    let mut control = Control::start().await;
    let node = Node::start(&control, 1, vec![LOOPBACK]);
    let mut link = control.link().await;
    let call = TestCall::new(60);
    let [a, b] = connect_two(&mut link, call).await;
    link.plan(&call.talking(2)).await;
    eventually("media flows", || a.seen().audio > 5).await;
    node.leave();
    link.goodbye(|| {
        assert!(!node.has_stopped(), "it waits for control");
        assert!(!a.seen().closed && !b.seen().closed);
    })
    .await;
    node.stop().await;
    for peer in [&a, &b] {
        eventually("the peer is told goodbye", || peer.seen().closed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_token_was_replaced_comes_back_by_itself_and_says_meanwhile_what_to_do() {
    let log = log::capture();
    let mut control = Control::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a-token-that-expired").unwrap();
    let token = TokenSource::File(file.path().to_owned());
    let node = Node::start_with_token(&control, 1, vec![LOOPBACK], token);
    let told = |word: &str| log().iter().any(|line| line.contains("ERROR") && line.contains(word));
    eventually("the refusal is an error that names the setting", || told("link.token")).await;
    assert!(control.no_link_waits());
    std::fs::remove_file(file.path()).unwrap();
    eventually("a file that is gone is named", || told(file.path().to_str().unwrap())).await;
    std::fs::write(file.path(), format!("{TOKEN}\n")).unwrap();
    control.link().await;
    assert!(!log().iter().any(|line| line.contains("a-token-that-expired") || line.contains(TOKEN)));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_both_families_are_bound_and_loopback_is_announced_last() {
    let mut control = Control::start().await;
    let node = Node::start(&control, 1, Vec::new());
    let has_v6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    assert_eq!(node.addresses.iter().any(|a| a.ip() == IpAddr::V6(Ipv6Addr::LOCALHOST)), has_v6);
    assert!(node.addresses.iter().any(|a| a.ip() == LOOPBACK));
    assert!(node.addresses.last().unwrap().ip().is_loopback());
    let mut link = control.link().await;
    let call = TestCall::new(50);
    link.plan(&call.ringing(1)).await;
    let families = [Some(LOOPBACK), has_v6.then_some(IpAddr::V6(Ipv6Addr::LOCALHOST))];
    for (ip, leg) in families.into_iter().flatten().zip(call.legs) {
        let offered = peer::Offered::new(ip);
        let answer = link.offer(call.id, leg, &offered.sdp).await.unwrap();
        let peer = offered.answered(&answer);
        eventually("the peer connects", || peer.seen().connected).await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_udp_talks_over_tcp_with_one_that_has_it() {
    let mut control = Control::start().await;
    let node = Node::start(&control, 2, vec![LOOPBACK]);
    let mut link = control.link().await;
    // Two calls, so that both workers' listeners are used.
    for n in [60, 61] {
        let call = TestCall::new(n);
        assert!(link.plan(&call.talking(1)).await.applied);
        let at_work = (call.id.as_u128() % 2) as usize;
        let without_udp = peer::Offered::over_tcp(node.tcp_addresses[at_work]);
        let with_udp = peer::Offered::new(LOOPBACK);
        let answers = [
            link.offer(call.id, call.legs[0], &without_udp.sdp).await.unwrap(),
            link.offer(call.id, call.legs[1], &with_udp.sdp).await.unwrap(),
        ];
        assert!(
            answers[0].contains(&format!(" {} typ host tcptype passive", node.tcp_addresses[at_work].port()))
        );
        let peers = [without_udp.answered(&answers[0]), with_udp.answered(&answers[1])];
        for peer in &peers {
            eventually("media flows", || peer.seen().audio > 25 && peer.seen().video > 25).await;
        }
        assert!(link.plan(&call.over(2)).await.applied);
        eventually("both are told goodbye", || peers.iter().all(|peer| peer.seen().closed)).await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_on_tcp_are_sent_away_and_a_call_does_not_notice() {
    let mut control = Control::start().await;
    let node = Node::start(&control, 1, vec![LOOPBACK]);
    let mut link = control.link().await;
    let call = TestCall::new(70);
    let [a, b] = connect_two(&mut link, call).await;
    link.plan(&call.talking(2)).await;
    eventually("media flows", || a.seen().audio > 5 && b.seen().audio > 5).await;

    let first_words: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0, 3, 1, 2, 3],
        &[0xff; 5000],
        &[0, 20, 0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    ];
    for words in first_words {
        let mut stranger = TcpStream::connect(node.tcp_addresses[0]).unwrap();
        stranger.write_all(words).unwrap();
        stranger.set_read_timeout(Some(common::PATIENCE)).unwrap();
        let answer = tokio::task::spawn_blocking(move || stranger.read(&mut [0; 100])).await.unwrap();
        let is_closed = match &answer {
            Ok(count) => *count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        assert!(is_closed, "{words:?}: {answer:?}");
    }
    let heard = a.seen().audio;
    eventually("media still flows", || a.seen().audio > heard + 10).await;
    node.stop().await;
}
