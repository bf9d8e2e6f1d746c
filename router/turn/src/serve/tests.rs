//! A relay over real sockets, spoken to by a TURN client that cuts the stream itself. It does not pad what it sends on a channel
//! (RFC 8656 section 12.5), so that all here is of whole words.

use std::time::Duration;

use duocast_model::LegId;
use tokio::io::DuplexStream;
use tokio::time::timeout;
use turn_client_proto::api::{TurnClientApi as _, TurnConfig, TurnEvent, TurnRecvRet};
use turn_client_proto::stun::agent::Transmit;
use turn_client_proto::stun::auth::Feature;
use turn_client_proto::stun::types::TransportType;
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::TurnCredentials;

use super::*;
use crate::relay::{CLIENT, SERVER};

const UDP: TransportType = TransportType::Udp;

/// Far more than any of it takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Client {
    turn: TurnClientTcp,
    stream: DuplexStream,
    began: Instant,
}

impl Client {
    /// A connection to these relays, with a credential for a leg whose router is here.
    fn new(relays: &Relays, secret: &Secret, leg: u128, node: SocketAddr) -> Self {
        // Not as it is issued: no credential of a server leads to this machine.
        let credential = secret.sign(SystemTime::now(), LegId::from_u128(leg), &[node]);
        let mut config = TurnConfig::new(TurnCredentials::new(&credential.username, &credential.password));
        config.set_anonymous_username(Feature::Disabled);
        let (stream, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(relays.clone().serve(theirs));
        Self { turn: TurnClientTcp::allocate(CLIENT, SERVER, config), stream, began: Instant::now() }
    }

    fn now(&self) -> turn_client_proto::stun::Instant {
        turn_client_proto::stun::Instant::from_nanos(self.began.elapsed().as_nanos() as i64)
    }

    /// Speaks with the relay until `done` says what it waited for.
    async fn until<T>(&mut self, mut done: impl FnMut(Option<TurnEvent>, Option<Vec<u8>>) -> Option<T>) -> T {
        let speak = async {
            loop {
                let _ = self.turn.poll(self.now());
                while let Some(transmit) = self.turn.poll_transmit(self.now()) {
                    self.stream.write_all(&transmit.data).await.unwrap();
                }
                let mut bytes = vec![0; 4096];
                let read = timeout(Duration::from_millis(20), self.stream.read(&mut bytes)).await;
                if let Ok(read) = read {
                    bytes.truncate(read.unwrap());
                    assert!(!bytes.is_empty(), "the relay hung up");
                    let now = self.now();
                    let came = self.turn.recv(Transmit::new(bytes, TransportType::Tcp, SERVER, CLIENT), now);
                    let mut data = Vec::new();
                    if let TurnRecvRet::PeerData(one) = came {
                        data.push(one.data().to_vec());
                    }
                    data.extend(
                        std::iter::from_fn(|| self.turn.poll_recv(now)).map(|one| one.data().to_vec()),
                    );
                    if let Some(found) = data.into_iter().find_map(|one| done(None, Some(one))) {
                        return found;
                    }
                }
                while let Some(event) = self.turn.poll_event() {
                    if let Some(found) = done(Some(event), None) {
                        return found;
                    }
                }
            }
        };
        timeout(PATIENCE, speak).await.expect("the relay answers")
    }

    /// The relayed address, or that there is none.
    async fn allocates(&mut self) -> Option<SocketAddr> {
        self.until(|event, _| match event? {
            TurnEvent::AllocationCreated(_, relayed) => Some(Some(relayed)),
            TurnEvent::AllocationCreateFailed(_) => Some(None),
            _ => None,
        })
        .await
    }

    async fn binds(&mut self, node: SocketAddr) {
        let now = self.now();
        self.turn.bind_channel(UDP, node, now).unwrap();
        self.until(|event, _| matches!(event?, TurnEvent::ChannelCreated(..)).then_some(())).await;
    }

    async fn sends(&mut self, node: SocketAddr, contents: &[u8]) {
        let transmit = self.turn.send_to(UDP, node, contents, self.now()).unwrap().unwrap().build();
        self.stream.write_all(&transmit.data).await.unwrap();
    }
}

fn relays() -> (Relays, Secret) {
    let secret = Secret::new([7; 32]);
    (Relays::new(secret.clone()), secret)
}

async fn a_node() -> (UdpSocket, SocketAddr) {
    let node = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = node.local_addr().unwrap();
    (node, address)
}

#[tokio::test]
async fn a_client_without_udp_reaches_its_router_and_is_reached() {
    let ((relays, secret), (node, address)) = (relays(), a_node().await);
    let mut client = Client::new(&relays, &secret, 1, address);
    let relayed = client.allocates().await;
    client.binds(address).await;
    client.sends(address, b"media up").await;
    let mut bytes = [0; 100];
    let (length, from) = timeout(PATIENCE, node.recv_from(&mut bytes)).await.unwrap().unwrap();
    assert_eq!((&bytes[..length], Some(from)), (&b"media up"[..], relayed), "where the client was told");
    node.send_to(b"other media!", from).await.unwrap();
    let came = client.until(|_, data| data).await;
    assert_eq!(came, b"other media!");
}

#[tokio::test]
async fn what_others_send_to_the_relayed_port_does_not_reach_the_client() {
    let ((relays, secret), (node, address)) = (relays(), a_node().await);
    let mut client = Client::new(&relays, &secret, 1, address);
    client.allocates().await.unwrap();
    client.binds(address).await;
    client.sends(address, b"media up").await;
    let (_, from) = timeout(PATIENCE, node.recv_from(&mut [0; 100])).await.unwrap().unwrap();
    let (stranger, _) = a_node().await;
    stranger.send_to(b"junk", from).await.unwrap();
    node.send_to(b"media up", from).await.unwrap();
    assert_eq!(client.until(|_, data| data).await, b"media up");
}

#[tokio::test]
async fn a_leg_has_so_many_and_no_more_until_one_goes() {
    let ((relays, secret), (_node, address)) = (relays(), a_node().await);
    let mut clients = Vec::new();
    loop {
        let mut client = Client::new(&relays, &secret, 1, address);
        if client.allocates().await.is_none() {
            break;
        }
        clients.push(client);
    }
    assert!((2..20).contains(&clients.len()), "{}", clients.len());
    let mut other = Client::new(&relays, &secret, 2, address);
    assert!(other.allocates().await.is_some(), "another leg is not concerned");
    clients.pop();
    let again = async { while Client::new(&relays, &secret, 1, address).allocates().await.is_none() {} };
    timeout(PATIENCE, again).await.expect("a seat is free again");
}
