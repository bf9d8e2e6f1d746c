use super::*;
use crate::media::testing::EchoRouter;
use crate::media::{SyntheticVideo, SyntheticVideoConfig};

const ONE_WAY: Duration = Duration::from_millis(5);

/// A leg and a router that sends everything back, 5 ms apart, on virtual time.
struct World {
    peer: Peer,
    router: EchoRouter,
    client_address: SocketAddr,
    router_address: SocketAddr,
    now: Instant,
    /// Datagrams on the way: when, to the router or not, what.
    flying: VecDeque<(Instant, bool, Vec<u8>)>,
    events: Vec<PeerEvent>,
    is_cut: bool,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let client_address = "192.0.2.1:4000".parse().unwrap();
        let router_address = "192.0.2.2:3478".parse().unwrap();
        let (mut peer, offer) = Peer::offer(now, PeerConfig { video: true, ..PeerConfig::default() });
        let mut router = EchoRouter::new(now, router_address);
        let answer = router.answer(now, &offer);
        peer.accept_answer(now, &answer, client_address).unwrap();
        let (flying, events) = (VecDeque::new(), Vec::new());
        Self { peer, router, client_address, router_address, now, flying, events, is_cut: false }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    fn step(&mut self) {
        while let Some(t) = self.peer.poll_transmit() {
            assert_eq!(t.destination, self.router_address, "media goes to the router only");
            self.flying.push_back((self.now + ONE_WAY, true, t.contents));
        }
        while let Some(t) = self.router.poll_transmit() {
            self.flying.push_back((self.now + ONE_WAY, false, t.contents));
        }
        self.events.extend(std::iter::from_fn(|| self.peer.poll_event()));
        self.now += Duration::from_millis(1);
        let now = self.now;
        while self.flying.front().is_some_and(|(at, ..)| *at <= now) {
            let (_, to_router, contents) = self.flying.pop_front().unwrap();
            match (self.is_cut, to_router) {
                (true, _) => {}
                (false, true) => self.router.handle_datagram(now, self.client_address, &contents),
                (false, false) => self.peer.handle_datagram(now, self.router_address, &contents),
            }
        }
        if self.peer.poll_timeout() <= now {
            self.peer.handle_timeout(now);
        }
        if self.router.poll_timeout() <= now {
            self.router.handle_timeout(now);
        }
    }

    fn run_until_connected(&mut self) -> Duration {
        let start = self.now;
        while !self.peer.is_connected() {
            assert!(self.now - start < Duration::from_secs(5), "no connection");
            self.step();
        }
        self.now - start
    }

    fn heard(&mut self) -> (Vec<ReceivedRtp>, Vec<ReceivedRtp>, usize) {
        let (mut audio, mut video, mut wanted) = (Vec::new(), Vec::new(), 0);
        for event in self.events.drain(..) {
            match event {
                PeerEvent::Audio(packet) => audio.push(packet),
                PeerEvent::Video(packet) => video.push(packet),
                PeerEvent::KeyframeWanted => wanted += 1,
                PeerEvent::Connection(_) | PeerEvent::Stats(_) => {}
            }
        }
        (audio, video, wanted)
    }
}

#[test]
fn a_leg_connects_to_an_ice_lite_router_within_a_few_round_trips() {
    let mut world = World::new();
    let took = world.run_until_connected();
    assert!(took < Duration::from_millis(150), "{took:?}");
}

#[test]
fn audio_and_video_go_out_and_come_back_unchanged() {
    let mut world = World::new();
    world.run_until_connected();
    let opus: Payload = Payload::from(vec![0b0100_1000, 1, 2, 3]);
    let mut source = SyntheticVideo::new(SyntheticVideoConfig::default());
    let mut sent_packets = 0;
    for n in 0..25 {
        world.peer.send_audio(world.now, n * 960, opus.clone(), n == 0);
        let frame = source.next_frame(None);
        world.peer.send_video(world.now, frame.rtp_time, &frame.packets);
        sent_packets += frame.packets.len();
        world.run(Duration::from_millis(20));
    }
    world.run(Duration::from_millis(50));
    let (audio, video, _) = world.heard();
    assert_eq!(audio.len(), 25);
    assert!(audio.iter().all(|p| p.payload == opus && p.codec == Codec::Opus));
    assert_eq!(
        audio.iter().map(|p| p.rtp_time).collect::<Vec<_>>(),
        (0..25).map(|n| n * 960).collect::<Vec<_>>()
    );
    assert_eq!(video.len(), sent_packets);
    assert_eq!(video.iter().filter(|p| p.marker).count(), 25);
    assert!(video.iter().all(|p| p.codec == Codec::Vp8));
    assert_eq!(world.peer.counters().packets_out, 25 + sent_packets as u64);
}

#[test]
fn a_pli_from_the_router_asks_for_a_key_frame() {
    let mut world = World::new();
    world.run_until_connected();
    let mut source = SyntheticVideo::new(SyntheticVideoConfig::default());
    let frame = source.next_frame(None);
    world.peer.send_video(world.now, frame.rtp_time, &frame.packets);
    world.run(Duration::from_millis(50));
    world.heard();
    world.router.want_keyframe(world.now);
    world.run(Duration::from_millis(50));
    assert_eq!(world.heard().2, 1);
}

#[test]
fn nothing_is_sent_before_the_leg_is_connected() {
    let mut world = World::new();
    world.peer.send_audio(world.now, 0, Payload::from(vec![1]), true);
    assert_eq!(world.peer.counters().unsent, 1);
    assert_eq!(world.peer.counters().packets_out, 0);
}

#[test]
fn a_cut_path_is_noticed_and_an_ice_restart_from_another_address_brings_it_back() {
    let mut world = World::new();
    world.run_until_connected();
    world.is_cut = true;
    world.run(Duration::from_secs(20));
    assert_eq!(world.peer.state(), ConnectionState::Disconnected);

    world.is_cut = false;
    world.client_address = "192.0.2.77:4001".parse().unwrap();
    let offer = world.peer.restart_ice();
    let answer = world.router.answer(world.now, &offer);
    world.peer.accept_answer(world.now, &answer, world.client_address).unwrap();
    world.run_until_connected();
    world.heard();
    for n in 0..10 {
        world.peer.send_audio(world.now, n * 960, Payload::from(vec![0b0100_1000, 1]), n == 0);
        world.run(Duration::from_millis(20));
    }
    world.run(Duration::from_millis(50));
    assert_eq!(world.heard().0.len(), 10);
}

#[test]
fn datagrams_of_strangers_and_garbage_are_counted_and_change_nothing() {
    let mut world = World::new();
    world.run_until_connected();
    let stranger = "198.51.100.9:9".parse().unwrap();
    let mut seed = 1u64;
    for n in 0..2000 {
        let length = n % 60;
        let garbage: Vec<u8> = (0..length)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 56) as u8
            })
            .collect();
        world.peer.handle_datagram(world.now, stranger, &garbage);
        world.peer.handle_datagram(world.now, world.router_address, &garbage);
    }
    assert!(world.peer.counters().refused_datagrams >= 2000);
    assert!(world.peer.is_connected());
    assert_eq!(world.peer.counters().packets_in, 0);
}

/// A Binding request (RFC 8489), bare or as an ICE check of this user with a password that is guessed.
fn stun(user: Option<&str>) -> Vec<u8> {
    let mut body = Vec::new();
    let mut attribute = |kind: u16, value: &[u8]| {
        body.extend(kind.to_be_bytes());
        body.extend((value.len() as u16).to_be_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    };
    if let Some(user) = user {
        attribute(0x0006, user.as_bytes());
        attribute(0x0024, &1u32.to_be_bytes());
        attribute(0x802a, &[7; 8]);
        attribute(0x0025, &[]);
        attribute(0x0008, &[7; 20]);
    }
    let mut out = vec![0, 1];
    out.extend((body.len() as u16).to_be_bytes());
    out.extend([0x21, 0x12, 0xa4, 0x42]);
    out.extend([7; 12]);
    out.extend(body);
    out
}

#[test]
fn who_guesses_an_address_and_sends_stun_there_gets_no_answer() {
    let mut world = World::new();
    world.run_until_connected();
    let stranger = "198.51.100.9:9".parse().unwrap();
    let own = world.peer.rtc.direct_api().local_ice_credentials().ufrag;
    for user in [None, Some(format!("{own}:guess")), Some(format!("guess:{own}")), Some("guess:guess".into())]
    {
        let before = world.peer.counters().refused_datagrams;
        world.peer.handle_datagram(world.now, stranger, &stun(user.as_deref()));
        assert_eq!(world.peer.counters().refused_datagrams, before + 1, "{user:?}");
        // Where a datagram of the peer goes, each step says.
        world.run(Duration::from_millis(600));
    }
    assert!(world.peer.is_connected());
}

#[test]
fn an_answer_that_is_none_is_an_error_that_says_what_to_do() {
    let now = Instant::now();
    let local = "192.0.2.1:4000".parse().unwrap();
    let (mut peer, _) = Peer::offer(now, PeerConfig::default());
    let error = peer.accept_answer(now, "nonsense", local).unwrap_err();
    assert!(error.to_string().contains("make a new leg"), "{error}");
    assert!(matches!(peer.accept_answer(now, "nonsense", local), Err(PeerError::NoOffer)));
}

#[test]
fn closing_tells_the_router_and_the_leg_stays_closed() {
    let mut world = World::new();
    world.run_until_connected();
    world.peer.close(world.now);
    assert!(world.peer.poll_transmit().is_some());
    world.run(Duration::from_millis(100));
    assert_eq!(world.peer.state(), ConnectionState::Closed);
    assert!(!world.peer.is_connected());
}

#[test]
fn a_check_from_another_socket_is_answered_by_the_router_and_moves_nothing() {
    let mut world = World::new();
    assert!(Peer::offer(world.now, PeerConfig::default()).0.check().is_none(), "nobody to ask yet");
    world.run_until_connected();
    world.run(Duration::from_millis(100));
    let elsewhere: SocketAddr = "192.0.2.7:4000".parse().unwrap();
    let (check, other) = (world.peer.check().unwrap(), world.peer.check().unwrap());
    world.router.handle_datagram(world.now, elsewhere, check.bytes());
    let answer = std::iter::from_fn(|| world.router.poll_transmit()).find(|t| t.destination == elsewhere);
    let answer = answer.expect("an answer");
    assert!(check.is_answered_by(&answer.contents) && !other.is_answered_by(&answer.contents));
    for at in 0..answer.contents.len() {
        let mut forged = answer.contents.clone();
        forged[at] ^= 1;
        // The fingerprint is a checksum, and the integrity before it says all there is to say.
        assert!(at >= forged.len() - 8 || !check.is_answered_by(&forged), "byte {at}");
        assert!(!check.is_answered_by(&answer.contents[..at]), "{at} bytes");
    }
    world.peer.send_audio(world.now, 0, Payload::from(vec![0b0100_1000, 1]), true);
    world.run(Duration::from_millis(50));
    assert_eq!(world.heard().0.len(), 1, "media comes back where it did");
}
