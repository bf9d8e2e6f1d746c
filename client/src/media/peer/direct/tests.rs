use std::collections::VecDeque;

use super::*;
use crate::media::{ConnectionState, PeerEvent, SyntheticVideo, SyntheticVideoConfig};

const ONE_WAY: Duration = Duration::from_millis(20);

/// The two parties of a direct leg, 20 ms apart, on virtual time.
struct World {
    peers: Vec<Peer>,
    addresses: [SocketAddr; 2],
    now: Instant,
    /// Datagrams on the way: when, to whom, what.
    flying: VecDeque<(Instant, usize, Vec<u8>)>,
    heard: [Vec<PeerEvent>; 2],
}

fn config() -> PeerConfig {
    PeerConfig { video: true, ..PeerConfig::default() }
}

fn at(address: SocketAddr) -> LocalCandidate {
    LocalCandidate { base: address, mapped: None }
}

/// What control does with a description: its candidates go another way.
fn apart(sdp: &str) -> (String, Vec<String>) {
    let is_candidate = |line: &&str| line.starts_with("a=candidate:");
    let candidates = sdp.lines().filter(is_candidate).map(|line| line[2..].to_owned()).collect();
    (super::super::without_candidates(sdp), candidates)
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let addresses = ["192.0.2.1:4000", "198.51.100.2:5000"].map(|a| a.parse().unwrap());
        let (mut alice, offer) = Peer::offer_direct(now, config(), &[at(addresses[0])]).unwrap();
        let (offer, of_alice) = apart(&offer);
        let (mut bob, answer) = Peer::answer_direct(now, config(), &offer, &[at(addresses[1])]).unwrap();
        let (answer, of_bob) = apart(&answer);
        assert!(answer.contains("a=setup:active"), "{answer}");
        alice.accept_direct_answer(now, &answer).unwrap();
        assert_eq!(alice.add_remote_candidates(now, &of_bob), 1);
        assert_eq!(bob.add_remote_candidates(now, &of_alice), 1);
        let heard = [Vec::new(), Vec::new()];
        Self { peers: vec![alice, bob], addresses, now, flying: VecDeque::new(), heard }
    }

    fn step(&mut self) {
        for (n, peer) in self.peers.iter_mut().enumerate() {
            while let Some(t) = peer.poll_transmit() {
                assert_eq!((t.source, t.destination), (self.addresses[n], self.addresses[1 - n]));
                self.flying.push_back((self.now + ONE_WAY, 1 - n, t.contents));
            }
            self.heard[n].extend(std::iter::from_fn(|| peer.poll_event()));
        }
        self.now += Duration::from_millis(1);
        let now = self.now;
        while self.flying.front().is_some_and(|(due, ..)| *due <= now) {
            let (_, to, contents) = self.flying.pop_front().unwrap();
            self.peers[to].handle_datagram_on(now, self.addresses[to], self.addresses[1 - to], &contents);
        }
        for peer in &mut self.peers {
            if peer.poll_timeout() <= now {
                peer.handle_timeout(now);
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }
}

#[test]
fn two_clients_connect_and_hear_and_see_each_other() {
    let mut world = World::new();
    world.run(Duration::from_secs(1));
    assert!(world.peers.iter().all(Peer::is_connected));
    let opus = crate::media::Payload::from(vec![0b0100_1000, 1, 2, 3]);
    let mut source = SyntheticVideo::new(SyntheticVideoConfig::default());
    for n in 0..10 {
        let frame = source.next_frame(None);
        for peer in &mut world.peers {
            peer.send_audio(world.now, n * 960, opus.clone(), n == 0);
            peer.send_video(world.now, frame.rtp_time, &frame.packets);
        }
        world.run(Duration::from_millis(20));
    }
    world.run(Duration::from_millis(100));
    for heard in &world.heard {
        let audio = heard.iter().filter(|e| matches!(e, PeerEvent::Audio(p) if p.payload == opus));
        let frames = heard.iter().filter(|e| matches!(e, PeerEvent::Video(p) if p.marker));
        assert_eq!((audio.count(), frames.count()), (10, 10));
    }
}

#[test]
fn a_quiet_path_is_checked_several_times_a_second() {
    let mut world = World::new();
    world.run(Duration::from_secs(5));
    let mut longest = Duration::ZERO;
    let mut last = world.now;
    for _ in 0..5000 {
        world.step();
        if world
            .flying
            .iter()
            .any(|(due, to, _)| *to == 0 && *due == world.now + ONE_WAY - Duration::from_millis(1))
        {
            longest = longest.max(world.now - last);
            last = world.now;
        }
    }
    assert!(longest < Duration::from_millis(600), "{longest:?} without a packet");
}

#[test]
fn closing_ends_the_other_side_too() {
    let mut world = World::new();
    world.run(Duration::from_secs(1));
    world.peers[0].close(world.now);
    world.run(Duration::from_millis(100));
    assert_eq!(world.peers[1].state(), ConnectionState::Closed);
}

#[test]
fn an_offer_names_where_the_world_sees_this_device_and_each_leg_has_its_own_certificate() {
    let now = Instant::now();
    let base = "10.0.0.5:4000".parse().unwrap();
    let candidate = LocalCandidate { base, mapped: Some("203.0.113.9:61000".parse().unwrap()) };
    let offers = [0; 2].map(|_| Peer::offer_direct(now, config(), &[candidate]).unwrap().1);
    let has = |what: &str| offers[0].lines().any(|l| l.starts_with("a=candidate:") && l.contains(what));
    assert!(has(" 10.0.0.5 4000 typ host") && has(" 203.0.113.9 61000 typ srflx"), "{}", offers[0]);
    for private in ["a=fingerprint:", "a=ice-ufrag:", "a=msid:", "a=ssrc:"] {
        let of = |n: usize| offers[n].lines().find(|l| l.starts_with(private)).map(str::to_owned);
        assert_ne!(of(0), of(1), "{private}");
    }
    assert_eq!(format!("{candidate:?}"), "LocalCandidate { mapped: true, .. }");
}

#[test]
fn what_the_other_side_makes_up_is_an_error_and_no_panic() {
    let now = Instant::now();
    let here = at("192.0.2.1:4000".parse().unwrap());
    let (mut peer, offer) = Peer::offer_direct(now, config(), &[here]).unwrap();
    let many: String = (0..128).map(|pt| format!("a=rtpmap:{pt} VP8/90000\r\na=fmtp:{pt} x=1\r\n")).collect();
    for bad in [String::new(), "v=0\r\n".to_owned(), offer.replace("m=", "x="), format!("{offer}{many}")] {
        let _ = Peer::answer_direct(now, config(), &bad, &[here]);
    }
    assert!(matches!(Peer::answer_direct(now, config(), "hello", &[here]), Err(PeerError::Description)));
    assert!(matches!(peer.accept_direct_answer(now, "hello"), Err(PeerError::Description)));
    let junk = ["candidate:", "candidate:1 1 udp 1 not-an-ip 9 typ host", "x"].map(str::to_owned);
    assert_eq!(peer.add_remote_candidates(now, &junk), 0);
    let nowhere = at("0.0.0.0:4000".parse().unwrap());
    assert!(matches!(Peer::offer_direct(now, config(), &[nowhere]), Err(PeerError::LocalAddress)));
}

#[test]
fn an_address_is_not_in_what_is_printed() {
    let (base, mapped) = ("10.1.0.2:4711".parse().unwrap(), "203.0.113.77:4712".parse().unwrap());
    let candidate = LocalCandidate { base, mapped: Some(mapped) };
    let contents = base.to_string().into_bytes();
    let transport = crate::media::Transport::Udp;
    let transmit = crate::media::Transmit { transport, source: base, destination: mapped, contents };
    let shown = format!("{candidate:?} {transmit:?}");
    for secret in ["10.1.0.2", "203.0.113.77", "471", "49, 48"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
