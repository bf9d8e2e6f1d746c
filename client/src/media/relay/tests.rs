//! Stories between a relay and the server's end of it, over a stream in memory. The client's clock is the story's own.

use duocast_turn::Relays;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::*;
use crate::media::testing::{RELAY_SECRET, relay_credential};

/// Far more than any of it takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Story {
    relay: Relay,
    now: Instant,
    stream: DuplexStream,
    received: Vec<u8>,
    router: UdpSocket,
    /// What came from the router.
    heard: Vec<Vec<u8>>,
    opened: Option<SocketAddr>,
}

impl Story {
    async fn new() -> Self {
        Self::with(|_, password| password).await
    }

    /// With another password than the right one.
    async fn with(change: impl FnOnce(&str, String) -> String) -> Self {
        let router = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = router.local_addr().unwrap();
        let (username, password) = relay_credential(address);
        let password = change(&username, password);
        let (stream, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(Relays::new(duocast_turn::Secret::new(RELAY_SECRET)).serve(theirs));
        let now = Instant::now();
        let relay = Relay::new(now, &username, &password, address);
        Self { relay, now, stream, received: Vec::new(), router, heard: Vec::new(), opened: None }
    }

    async fn opened() -> Self {
        let mut story = Self::new().await;
        story.until(|story| story.opened.is_some()).await;
        story
    }

    /// Goes on, a hundredth of a second at a time, until it is so.
    async fn until(&mut self, is_so: impl Fn(&Self) -> bool) {
        let go_on = async {
            while !is_so(self) {
                self.step(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, go_on).await.expect("it comes to that");
    }

    async fn step(&mut self, time: Duration) {
        self.now += time;
        self.relay.handle_timeout(self.now);
        let output = self.relay.output().to_vec();
        self.stream.write_all(&output).await.unwrap();
        self.relay.handle_written(output.len());
        // Read as it comes, in pieces that fit no message.
        let mut bytes = [0; 7];
        while let Ok(Ok(count @ 1..)) = timeout(Duration::from_millis(2), self.stream.read(&mut bytes)).await
        {
            self.received.extend_from_slice(&bytes[..count]);
            let heard = &mut self.heard;
            let each = |datagram: &[u8]| heard.push(datagram.to_vec());
            self.relay.handle_received(self.now, &mut self.received, each).unwrap();
        }
        self.opened = self.opened.or(self.relay.poll_opened());
    }

    /// What comes to the router, and from where.
    async fn at_router(&self) -> (Vec<u8>, SocketAddr) {
        let mut bytes = [0; 2048];
        let came = timeout(PATIENCE, self.router.recv_from(&mut bytes)).await;
        let (length, from) = came.expect("it comes").unwrap();
        (bytes[..length].to_vec(), from)
    }
}

#[tokio::test]
async fn datagrams_of_any_length_go_to_the_router_and_come_back() {
    let mut story = Story::opened().await;
    for length in [1, 2, 3, 4, 150, 1199, 1500] {
        let datagram = vec![length as u8; length];
        story.relay.send(story.now, &datagram);
        story.step(Duration::from_millis(10)).await;
        let (came, from) = story.at_router().await;
        assert_eq!((came.len(), Some(from)), (length, story.opened), "from where the leg says it is");
        story.router.send_to(&datagram, from).await.unwrap();
        story.until(|story| !story.heard.is_empty()).await;
        assert_eq!(story.heard, [datagram]);
        story.heard.clear();
    }
}

#[tokio::test]
async fn nothing_is_sent_before_it_is_open_and_nothing_is_heard_of_others() {
    let mut story = Story::new().await;
    let asked = story.relay.output().len();
    story.relay.send(story.now, b"too early");
    assert_eq!(story.relay.output().len(), asked);
    story.until(|story| story.opened.is_some()).await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    stranger.send_to(b"of somebody", story.opened.unwrap()).await.unwrap();
    story.router.send_to(b"of the router", story.opened.unwrap()).await.unwrap();
    story.until(|story| !story.heard.is_empty()).await;
    assert_eq!(story.heard, [b"of the router"]);
}

#[tokio::test]
async fn an_hour_later_it_still_leads_to_the_router() {
    let mut story = Story::opened().await;
    for _ in 0..60 {
        // In two steps: the second has the answers to what the first asked for.
        story.step(Duration::from_secs(59)).await;
        story.step(Duration::from_secs(1)).await;
        assert!(!story.relay.is_over());
    }
    story.relay.send(story.now, b"after an hour");
    assert_eq!(story.relay.output().first(), Some(&0x40), "on its channel");
    story.step(Duration::from_millis(10)).await;
    assert_eq!(story.at_router().await.0, b"after an hour");
}

#[tokio::test]
async fn a_wrong_password_opens_nothing_and_says_so() {
    let mut story = Story::with(|_, password| password.to_lowercase()).await;
    let began = story.now;
    story.until(|story| story.relay.is_over()).await;
    assert!(story.opened.is_none() && story.now <= began + ANSWER_MAX + 2 * IDLE_MAX);
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let now = Instant::now();
    let mut relay = Relay::new(now, "user", "password", "192.0.2.30:40000".parse().unwrap());
    let asked = relay.output().len();
    let mut time = now;
    while !relay.is_over() {
        assert!(time <= now + 2 * ANSWER_MAX, "{:?}", time - now);
        time = relay.poll_timeout().max(time + GRAIN);
        relay.handle_timeout(time);
    }
    assert_eq!(relay.output().len(), asked, "asked once: the stream repeats what gets lost");
}

#[tokio::test]
async fn a_network_that_takes_nothing_makes_a_bounded_number_of_bytes_wait() {
    let mut story = Story::opened().await;
    for _ in 0..1000 {
        story.relay.send(story.now, &[1; 1199]);
    }
    let waiting = story.relay.output().len();
    assert!((QUEUE_BYTES_MAX / 2..=QUEUE_BYTES_MAX).contains(&waiting), "{waiting}");
}

#[test]
fn what_is_not_turn_ends_it() {
    let now = Instant::now();
    let mut relay = Relay::new(now, "user", "password", "192.0.2.30:40000".parse().unwrap());
    let mut received = b"HTTP/1.1 400 Bad Request\r\n".to_vec();
    assert_eq!(relay.handle_received(now, &mut received, |_| {}), Err(NotTurn));
}

#[test]
#[ignore = "writes the first inputs of the corpus"]
fn seeds() {
    let channel = [&[4, 0x40, 0, 0, 5][..], b"media\0\0\0"].concat();
    let mut unauthorized = vec![7, 1, 0x13, 0, 28, 0x21, 0x12, 0xa4, 0x42];
    unauthorized.extend([9; 12]);
    unauthorized.extend([0, 9, 0, 4, 0, 0, 4, 1, 0, 0x14, 0, 4, b'r', b'e', b'a', b'l']);
    unauthorized.extend([0, 0x15, 0, 8, b'n', b'o', b'n', b'c', b'e', b'1', b'2', b'3']);
    let folder = crate::fuzz::corpus::folder("relayed");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("channel"), channel).unwrap();
    std::fs::write(folder.join("unauthorized"), unauthorized).unwrap();
}
