//! Stories of one relay in virtual time, told by a TURN client of the same library family.

use std::time::UNIX_EPOCH;

use turn_client_proto::api::{TurnClientApi as _, TurnConfig, TurnEvent, TurnRecvRet};
use turn_client_proto::stun::auth::Feature;
use turn_client_proto::types::TurnCredentials;
use turn_client_proto::udp::TurnClientUdp;
use turn_server_proto::stun::types::message::{BINDING, MessageWriteVec, Method};
use turn_server_proto::stun::types::prelude::*;
use turn_server_proto::types::attribute::{Data, XorPeerAddress};
use turn_server_proto::types::message::{
    ALLOCATE, CHANNEL_BIND, CONNECT, CONNECTION_BIND, CREATE_PERMISSION, SEND,
};

use super::*;
use crate::credential::Credential;

/// When the credential is issued.
const NOON: SystemTime = UNIX_EPOCH;
const UDP: TransportType = TransportType::Udp;

fn node() -> SocketAddr {
    "192.0.2.30:40000".parse().unwrap()
}

fn relayed() -> SocketAddr {
    "192.0.2.30:55555".parse().unwrap()
}

fn relayed6() -> SocketAddr {
    "[2001:db8:30::30]:55555".parse().unwrap()
}

const LEG: LegId = LegId::from_u128(5);

fn credential() -> Credential {
    secret().issue(NOON, LEG, &[node()]).unwrap()
}

fn secret() -> Secret {
    Secret::new([7; 32])
}

/// A client and its relay, joined by a stream that is cut anywhere.
struct Story {
    now: Instant,
    client: TurnClientUdp,
    relay: Relay,
    /// What came to the router's ports.
    at_node: Vec<Vec<u8>>,
    /// What came to the client from a router.
    at_client: Vec<Vec<u8>>,
    events: Vec<TurnEvent>,
    sockets: usize,
    is_closed: bool,
}

impl Story {
    fn new(Credential { username, password }: &Credential) -> Self {
        let mut config = TurnConfig::new(TurnCredentials::new(username, password));
        config.set_anonymous_username(Feature::Disabled);
        let now = Instant::now();
        Self {
            now,
            client: TurnClientUdp::allocate(CLIENT, SERVER, config),
            relay: Relay::new(now, secret()),
            at_node: Vec::new(),
            at_client: Vec::new(),
            events: Vec::new(),
            sockets: 0,
            is_closed: false,
        }
    }

    fn with_allocation() -> Self {
        let mut story = Self::new(&credential());
        story.go_on();
        let is_allocated =
            matches!(story.events[..], [TurnEvent::AllocationCreated(UDP, at)] if at == relayed());
        assert!(is_allocated && story.relay.is_open(), "{:?}", story.events);
        story.events.clear();
        story
    }

    fn moment(&self) -> stun::Instant {
        self.relay.moment(self.now)
    }

    /// A second, which is many turns of the client: it sends one request in 50 ms.
    fn go_on(&mut self) {
        for _ in 0..100 {
            self.now += Duration::from_millis(10);
            let _ = self.client.poll(self.moment());
            let mut stream = BytesMut::new();
            while let Some(transmit) = self.client.poll_transmit(self.moment()) {
                frames::put(&mut stream, &transmit.data);
            }
            self.tells_relay(&stream);
            self.hears_relay();
        }
        self.events.extend(std::iter::from_fn(|| self.client.poll_event()));
    }

    fn tells_relay(&mut self, stream: &[u8]) {
        for part in stream.chunks(7) {
            self.is_closed |= self.relay.handle_client(self.now, NOON, part).is_err();
            while let Some(wanted) = self.relay.poll_socket() {
                assert_eq!(wanted.0, LEG);
                self.sockets += 1;
                let relayed = if wanted.1 == node() { relayed() } else { relayed6() };
                self.relay.handle_socket(self.now, Some(relayed));
            }
        }
        self.at_node
            .extend(std::iter::from_fn(|| self.relay.poll_transmit()).map(|datagram| datagram.contents));
    }

    fn hears_relay(&mut self) {
        let moment = self.moment();
        while let Some(message) = frames::take(self.relay.output()).unwrap() {
            let message = Transmit::new(&message[..], UDP, SERVER, CLIENT);
            if let TurnRecvRet::PeerData(data) = self.client.recv(message, moment) {
                self.at_client.push(data.data().to_vec());
            }
        }
    }

    /// A request without a password, as somebody may write it who has only the connection.
    fn requests(&mut self, method: Method, peers: &[SocketAddr]) {
        let mut message = Message::builder_request(method, MessageWriteVec::new());
        for peer in peers {
            let peer = XorPeerAddress::new(*peer, message.transaction_id());
            message.add_attribute(&peer).unwrap();
        }
        self.tells_relay(&message.finish());
    }

    /// A send indication by hand: the client of the library asks for permission first.
    fn indicates(&mut self, to: SocketAddr, contents: &[u8]) {
        let mut message = Message::builder_indication(SEND, MessageWriteVec::new());
        let to = XorPeerAddress::new(to, message.transaction_id());
        message.add_attribute(&to).unwrap();
        message.add_attribute(&Data::new(contents)).unwrap();
        self.tells_relay(&message.finish());
    }

    fn sends(&mut self, to: SocketAddr, contents: &[u8]) {
        let moment = self.moment();
        let transmit = self.client.send_to(UDP, to, contents, moment).unwrap().unwrap().build();
        let mut stream = BytesMut::new();
        frames::put(&mut stream, &transmit.data);
        self.tells_relay(&stream);
        self.go_on();
    }
}

#[test]
fn media_goes_to_the_router_and_back() {
    let mut story = Story::with_allocation();
    story.client.create_permission(UDP, node().ip(), story.moment()).unwrap();
    story.go_on();
    story.sends(node(), b"a check");
    story.relay.handle_node(story.now, node(), b"an answer");
    story.go_on();
    story.client.bind_channel(UDP, node(), story.moment()).unwrap();
    story.go_on();
    story.sends(node(), b"media");
    story.relay.handle_node(story.now, node(), b"other media");
    story.go_on();
    assert_eq!(story.at_node, [&b"a check"[..], b"media"]);
    assert_eq!(story.at_client, [&b"an answer"[..], b"other media"]);
    assert_eq!((story.relay.counters().to_node, story.relay.counters().astray), (2, 0));
}

#[test]
fn a_browser_that_names_no_family_gets_the_one_that_its_router_has() {
    let node6: SocketAddr = "[2001:db8:30::30]:40000".parse().unwrap();
    for (nodes, expected) in [(vec![node6], relayed6()), (vec![node6, node()], relayed())] {
        let mut story = Story::new(&secret().issue(NOON, LEG, &nodes).unwrap());
        story.go_on();
        // The library's own client refuses a family that it did not ask for; browsers take it (tests/net).
        assert_eq!((story.sockets, story.relay.relayed), (1, Some(expected)));
    }
}

#[test]
fn nothing_goes_anywhere_else_and_nothing_comes_from_there() {
    let mut story = Story::with_allocation();
    // The same machine's other ports are as far away as another's.
    story.client.create_permission(UDP, node().ip(), story.moment()).unwrap();
    story.go_on();
    for elsewhere in ["192.0.2.30:22", "198.51.100.9:40000", "127.0.0.1:8080", "10.0.0.1:40000"] {
        let elsewhere: SocketAddr = elsewhere.parse().unwrap();
        let before = story.relay.counters().astray;
        let _ = story.client.create_permission(UDP, elsewhere.ip(), story.moment());
        let _ = story.client.bind_channel(UDP, elsewhere, story.moment());
        story.go_on();
        story.indicates(elsewhere, b"let me in");
        story.relay.handle_node(story.now, elsewhere, b"an answer");
        story.go_on();
        assert!(story.relay.counters().astray >= before + 2, "{elsewhere}");
    }
    assert_eq!((story.at_node.len(), story.at_client.len()), (0, 0));
}

#[test]
fn a_client_cannot_make_turn_keep_permissions_and_channels_without_bound() {
    let mut story = Story::with_allocation();
    for n in 0..1000_u16 {
        let elsewhere = SocketAddr::new(Ipv4Addr::from(0x0a00_0000 + u32::from(n)).into(), 40_000);
        story.requests(CREATE_PERMISSION, &[elsewhere]);
        story.requests(CHANNEL_BIND, &[SocketAddr::new(node().ip(), n)]);
        // One good address does not carry others with it.
        story.requests(CREATE_PERMISSION, &[node(), elsewhere]);
    }
    assert_eq!(story.relay.counters().astray, 3000, "TURN sees none of them");
}

#[test]
fn nothing_of_tcp_to_peers_is_served() {
    let mut story = Story::with_allocation();
    for method in [CONNECT, CONNECTION_BIND] {
        story.requests(method, &[node()]);
    }
    assert!(story.relay.output().is_empty() && !story.is_closed);
}

#[test]
fn a_stranger_gets_no_socket_and_is_shown_out() {
    let good = credential();
    let wrong_password = Credential { password: "guessed".into(), ..good.clone() };
    let elsewhere = Credential { username: good.username.replace("40000", "22"), ..good.clone() };
    let others_leg = Credential { username: good.username.replace("05,", "06,"), ..good.clone() };
    let forged = Secret::new([8; 32]).issue(NOON, LEG, &[node()]).unwrap();
    for credential in [wrong_password, elsewhere, others_leg, forged] {
        let mut story = Story::new(&credential);
        story.go_on();
        assert_eq!(story.sockets, 0);
        assert!(!story.relay.handle_timeout(story.now));
        assert!(story.relay.poll_timeout() <= story.now + ALLOCATE_WITHIN);
        assert!(story.relay.handle_timeout(story.relay.poll_timeout()));
    }
}

#[test]
fn a_stranger_is_not_listened_to_for_long() {
    let mut story = Story::new(&credential());
    for asked in 0..=MAX_BEFORE_ALLOCATION {
        assert!(!story.is_closed, "after {asked}");
        story.requests(BINDING, &[]);
    }
    assert!(story.is_closed);
    let mut story = Story::new(&credential());
    story.tells_relay(b"\x40\x01\x00\x04data");
    assert!(story.is_closed, "channels come after an allocation");
}

#[test]
fn a_connection_has_one_socket_whatever_it_asks_for() {
    let mut story = Story::with_allocation();
    for _ in 0..10 {
        story.requests(ALLOCATE, &[]);
    }
    // Another client, with the same credential, that asks for its own on the same connection.
    story.client = Story::new(&credential()).client;
    story.go_on();
    assert_eq!(story.sockets, 1);
}

#[test]
fn a_relay_ends_with_its_leg() {
    let mut story = Story::with_allocation();
    assert!(!story.relay.handle_timeout(story.now + ALLOCATE_WITHIN));
    story.now += SILENT_MAX / 2;
    story.relay.handle_node(story.now, node(), b"a check");
    assert!(!story.relay.handle_timeout(story.now + SILENT_MAX - Duration::from_millis(1)));
    assert!(story.relay.handle_timeout(story.now + SILENT_MAX));
}

#[test]
fn a_client_that_ends_its_allocation_is_let_go_after_the_answer() {
    let mut story = Story::with_allocation();
    story.client.delete(story.moment()).unwrap();
    story.go_on();
    assert!(!story.relay.is_open());
    assert!(story.relay.handle_timeout(story.now + LINGER));
}

#[test]
fn an_allocation_that_nobody_refreshes_ends() {
    let mut story = Story::with_allocation();
    // An hour is the most that a client is given, whatever it asks for.
    let end = story.now + Duration::from_secs(3601);
    story.relay.handle_node(end, node(), b"a router that never stops");
    story.relay.handle_timeout(end);
    assert!(!story.relay.is_open());
    assert!(story.relay.handle_timeout(end + LINGER));
}

#[test]
fn a_client_that_does_not_read_holds_a_bounded_number_of_bytes() {
    let mut story = Story::with_allocation();
    story.client.create_permission(UDP, node().ip(), story.moment()).unwrap();
    story.go_on();
    for _ in 0..1000 {
        story.relay.handle_node(story.now, node(), &[1; 1100]);
    }
    assert!(story.relay.output().len() <= MAX_WAITING / 2);
    assert!(story.relay.counters().dropped > 800);
    let dropped = story.relay.counters().dropped;
    story.relay.handle_node(story.now, node(), &[2; 150]);
    assert_eq!(story.relay.counters().dropped, dropped, "sound has room where pictures have none");
    for _ in 0..1000 {
        story.relay.handle_node(story.now, node(), &[2; 150]);
    }
    assert!(story.relay.output().len() <= MAX_WAITING);
}
