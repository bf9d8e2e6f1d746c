//! Strangers, slow readers and clients that vanish, on real sockets of loopback.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use duocast_model::Frames;
use duocast_router_core::MAX_DATAGRAM_BYTES;

use super::*;

/// No step takes nearly as long; reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

struct Node {
    tcp: Tcp,
    address: SocketAddr,
    /// What the shard would say of every path.
    knows: bool,
    received: Vec<Vec<u8>>,
}

impl Node {
    fn new() -> Self {
        let listeners = Listeners::bind(&["127.0.0.1:0".parse().unwrap()], false).unwrap();
        let address = listeners.local_addrs()[0];
        Self { tcp: Tcp::new(listeners, 40).unwrap(), address, knows: true, received: Vec::new() }
    }

    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    /// A client that has proven itself, and its path.
    fn proven_client(&mut self) -> (TcpStream, Path) {
        let mut client = self.client();
        let before = self.received.len();
        client.write_all(&framed(b"check")).unwrap();
        self.until("the check is there", |node| node.received.len() > before);
        let connections = self.tcp.connections.values();
        let path = connections.max_by_key(|connection| connection.vouched_at).unwrap().path;
        (client, path)
    }

    fn turn(&mut self) {
        let now = Instant::now();
        self.tcp.fill(now);
        self.received.extend(self.tcp.datagrams().iter().map(|d| d.contents.to_vec()));
        self.tcp.judge(now, |_| self.knows);
        self.tcp.flush(now);
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let give_up = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < give_up, "it did not happen that {what}");
            self.turn();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn send(&mut self, path: Path, contents: Vec<u8>) {
        self.tcp.queue(&Transmit { path, contents: &contents });
    }

    fn sweep_after(&mut self, time: Duration) {
        self.tcp.sweep(Instant::now() + time, |_| self.knows);
    }

    fn closed(&self, reason: Closed) -> u64 {
        self.tcp.counters().closed[reason as usize]
    }
}

fn framed(datagram: &[u8]) -> Vec<u8> {
    [&(datagram.len() as u16).to_be_bytes()[..], datagram].concat()
}

/// The node has closed this connection.
fn is_closed(client: &mut TcpStream) -> bool {
    matches!(client.read(&mut [0; 100]), Ok(0) | Err(_))
}

#[test]
fn datagrams_pass_in_both_directions_however_they_are_cut() {
    let mut node = Node::new();
    let (mut client, path) = node.proven_client();
    let sent: Vec<Vec<u8>> = (1..60).map(|n| vec![n as u8; 25 * n]).collect();
    for piece in sent.iter().flat_map(|d| framed(d)).collect::<Vec<_>>().chunks(701) {
        client.write_all(piece).unwrap();
        node.turn();
    }
    node.until("all are there", |node| node.received.len() == 1 + sent.len());
    assert_eq!(node.received[1..], sent);

    sent[..20].iter().for_each(|datagram| node.send(path, datagram.clone()));
    node.turn();
    let expected: Vec<u8> = sent[..20].iter().flat_map(|d| framed(d)).collect();
    let mut got = vec![0; expected.len()];
    client.read_exact(&mut got).unwrap();
    assert_eq!(got, expected);
    assert_eq!(node.tcp.counters().dropped, 0);
}

#[test]
fn one_whose_first_frame_proves_nothing_is_sent_away() {
    let mut node = Node::new();
    node.knows = false;
    let mut client = node.client();
    client.write_all(&framed(b"no check of any leg")).unwrap();
    node.until("it is closed", |node| node.closed(Closed::Unproven) == 1);
    assert!(is_closed(&mut client));
    assert_eq!((node.tcp.len(), node.tcp.poll_gone().is_none()), (0, true));
}

#[test]
fn one_who_speaks_another_protocol_is_sent_away() {
    let mut node = Node::new();
    let mut client = node.client();
    client.write_all(b"GET / HTTP/1.1\r\nhost: media\r\n\r\n").unwrap();
    node.until("it is closed", |node| node.closed(Closed::Unproven) == 1);
    assert!(is_closed(&mut client) && node.received.is_empty());
}

#[test]
fn one_who_says_nothing_or_half_a_frame_is_sent_away_after_five_seconds() {
    let mut node = Node::new();
    let mut clients = [node.client(), node.client()];
    clients[1].write_all(&[0, 20, 0, 1]).unwrap();
    node.until("both are there", |node| node.tcp.len() == 2);
    node.sweep_after(PROVE_WITHIN / 2);
    assert_eq!(node.tcp.len(), 2);
    node.sweep_after(PROVE_WITHIN);
    assert_eq!((node.tcp.len(), node.closed(Closed::Unproven)), (0, 2));
    assert!(clients.iter_mut().all(is_closed));
}

#[test]
fn a_slow_reader_loses_datagrams_and_holds_up_nobody() {
    let mut node = Node::new();
    let (mut slow, slow_path) = node.proven_client();
    let (mut other, other_path) = node.proven_client();
    let began = Instant::now();
    while node.tcp.counters().dropped < 100 {
        assert!(began.elapsed() < PATIENCE, "the queue has no bound");
        node.send(slow_path, vec![1; 1200]);
        node.turn();
    }
    let Link::Tcp(number) = slow_path.link else { unreachable!("it came over TCP") };
    assert!(node.tcp.connections[&number].waiting() <= 64 * 1024);
    let dropped = node.tcp.counters().dropped;
    node.send(slow_path, vec![2; 100]);
    assert_eq!(node.tcp.counters().dropped, dropped, "audio has room when video has none");

    node.send(other_path, b"still here".to_vec());
    node.turn();
    let mut got = [0; 12];
    other.read_exact(&mut got).unwrap();
    assert_eq!(&got[2..], b"still here");

    // What was not dropped arrives whole, frame by frame.
    let (mut bytes, mut buffer) = (Vec::new(), [0; 65_536]);
    while !bytes.ends_with(&[2; 100]) {
        node.turn();
        let count = slow.read(&mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..count]);
    }
    let mut frames = Frames::new(&bytes, MAX_DATAGRAM_BYTES);
    while let Some(frame) = frames.next_frame().unwrap() {
        assert!(frame == [1; 1200] || frame == [2; 100]);
    }
    assert!(frames.rest().is_empty());
    node.turn();
    node.send(slow_path, b"and again".to_vec());
    node.turn();
    slow.read_exact(&mut got[..11]).unwrap();
    assert_eq!(&got[2..11], b"and again");
}

#[test]
fn one_who_reads_nothing_is_given_up() {
    let mut node = Node::new();
    let (_client, path) = node.proven_client();
    while node.tcp.counters().dropped == 0 {
        node.send(path, vec![1; 1200]);
        node.turn();
    }
    node.sweep_after(STUCK_FOR);
    assert_eq!(node.closed(Closed::Idle), 1);
    assert_eq!(node.tcp.poll_gone(), Some(path), "the shard is told");
}

#[test]
fn one_who_vanished_without_a_word_is_given_up() {
    let mut node = Node::new();
    let (_client, path) = node.proven_client();
    node.sweep_after(IDLE_FOR / 2);
    assert_eq!(node.tcp.len(), 1);
    node.sweep_after(IDLE_FOR);
    assert_eq!((node.closed(Closed::Idle), node.tcp.poll_gone()), (1, Some(path)));
}

#[test]
fn one_who_closes_its_end_is_forgotten_at_once() {
    let mut node = Node::new();
    let (client, path) = node.proven_client();
    client.shutdown(Shutdown::Write).unwrap();
    node.until("it is closed", |node| node.closed(Closed::Left) == 1);
    assert_eq!(node.tcp.poll_gone(), Some(path));
    node.send(path, b"too late".to_vec());
    assert_eq!(node.tcp.counters().dropped, 1);
}

#[test]
fn a_connection_whose_leg_is_over_is_closed_soon() {
    let mut node = Node::new();
    let (mut client, _) = node.proven_client();
    node.knows = false;
    client.write_all(&framed(b"still talking")).unwrap();
    node.until("it is heard", |node| node.received.len() == 2);
    assert_eq!(node.tcp.len(), 1, "it may prove itself anew");
    node.sweep_after(FORGOTTEN_FOR);
    assert_eq!(node.closed(Closed::Over), 1);
    assert!(is_closed(&mut client));
}

#[test]
fn one_source_cannot_have_all_connections() {
    let mut node = Node::new();
    let mut clients: Vec<TcpStream> = (0..30).map(|_| node.client()).collect();
    node.until("all were looked at", |node| {
        let counters = node.tcp.counters();
        counters.accepted + counters.refused == 30
    });
    assert_eq!((node.tcp.len(), node.tcp.counters().refused), (16, 14));
    assert!(clients[16..].iter_mut().all(is_closed));
    clients[0].write_all(&framed(b"check")).unwrap();
    node.until("the first proves itself", |node| node.received.len() == 1);
    let _more = node.client();
    node.until("there is room again", |node| node.tcp.len() == 17);
}

#[test]
fn there_are_never_more_connections_than_there_may_be() {
    let mut node = Node::new();
    let _kept: Vec<_> = (0..40).map(|_| node.proven_client()).collect();
    let mut late = node.client();
    node.until("it was looked at", |node| node.tcp.counters().refused == 1);
    assert!(is_closed(&mut late));
    assert_eq!(node.tcp.len(), 40);
}

#[test]
fn a_worker_without_descriptors_rests_and_accepts_again() {
    let mut node = Node::new();
    node.tcp.rests_until = Some(Instant::now() + REST);
    node.tcp.listen(false);
    let _client = node.client();
    (0..20).for_each(|_| node.turn());
    assert_eq!(node.tcp.len(), 0);
    assert_eq!(node.tcp.epoll.ready().count(), 0, "no busy loop meanwhile");
    node.sweep_after(REST);
    node.until("it is accepted", |node| node.tcp.len() == 1);
}

#[test]
fn the_port_of_udp_is_taken_or_said_to_be_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let Err((wanted, error)) = Listeners::bind(&[address], false) else { panic!("two on one port") };
    assert_eq!((wanted, error.kind()), (address, io::ErrorKind::AddrInUse));
    let other = Listeners::bind(&[address], true).unwrap_or_else(|error| panic!("{error:?}"));
    assert_ne!(other.local_addrs()[0].port(), address.port());
}
