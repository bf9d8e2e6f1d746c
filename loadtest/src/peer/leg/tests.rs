//! Two legs and the router's own core on virtual time: what is injected is what must be measured.

use std::collections::VecDeque;
use std::sync::OnceLock;

use duocast_model::{CallId, Generation, LegId, Route, RoutePlan};
use duocast_router_core::{Datagram, IceSecret, Link, Path, Shard, ShardConfig};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::super::SessionConfig;
use super::*;
use crate::score::Reference;

const TICK: Duration = Duration::from_millis(1);
const UNIX_START: u64 = 1_700_000_000_000_000;
const CALL: CallId = CallId::from_u128(7);
const LEGS: [LegId; 2] = [LegId::from_u128(1), LegId::from_u128(2)];

fn speech() -> Arc<Speech> {
    static SPEECH: OnceLock<Arc<Speech>> = OnceLock::new();
    Arc::clone(SPEECH.get_or_init(|| Arc::new(Speech::encode(None).unwrap())))
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The router at port 4000, the legs at ports 1000 and 1001, and every datagram on its way.
struct World {
    start: Instant,
    now: Instant,
    one_way: Duration,
    legs: Vec<Leg>,
    shard: Shard,
    /// When, to which port, from which one, what.
    flying: VecDeque<(Instant, u16, u16, Vec<u8>)>,
    timings: [Timings; 2],
    events: [Vec<LegEvent>; 2],
    /// Of the media packets to the second leg, every so manieth is lost.
    lose_every: Option<u64>,
    /// Or this share of them, at random.
    lose_share: Option<(f64, StdRng)>,
    media_to_second: u64,
    lost: u64,
}

impl World {
    fn new(one_way: Duration, configs: [&LegConfig; 2]) -> Self {
        let start = Instant::now();
        let mut shard = Shard::new(ShardConfig {
            announced: vec![address(4000)],
            announced_tcp: Vec::new(),
            max_legs: 10,
        });
        let ringing = RoutePlan::new(CALL, Generation(1), LEGS.to_vec(), vec![]).unwrap();
        assert!(shard.handle_plan(start, &ringing).applied);
        let mut legs = Vec::new();
        for (n, (id, config)) in LEGS.into_iter().zip(configs).enumerate() {
            let only_receives = config.direction == Direction::Receives;
            let session = SessionConfig { video: config.video.is_some(), only_receives };
            let (session, offer) = Session::offer(start, session);
            let mut leg = Leg::new(session, config.clone());
            let answer = shard.handle_offer(start, CALL, id, &offer, &IceSecret([n as u8 + 1; 24])).unwrap();
            let at = Moment { now: start, unix_micros: UNIX_START };
            leg.handle_answer(at, &answer, address(1000 + n as u16)).unwrap();
            legs.push(leg);
        }
        Self {
            start,
            now: start,
            one_way,
            legs,
            shard,
            flying: VecDeque::new(),
            timings: Default::default(),
            events: Default::default(),
            lose_every: None,
            lose_share: None,
            media_to_second: 0,
            lost: 0,
        }
    }

    fn at(&self) -> Moment {
        Moment { now: self.now, unix_micros: UNIX_START + (self.now - self.start).as_micros() as u64 }
    }

    fn accept(&mut self) {
        let routes = vec![Route { from: LEGS[0], to: LEGS[1] }, Route { from: LEGS[1], to: LEGS[0] }];
        let plan = RoutePlan::new(CALL, Generation(2), LEGS.to_vec(), routes).unwrap();
        assert!(self.shard.handle_plan(self.now, &plan).applied);
        let at = self.at();
        for timings in &mut self.timings {
            timings.steady = Some((self.now, self.now + Duration::from_secs(3600)));
        }
        self.legs.iter_mut().for_each(|leg| leg.handle_open(at).unwrap());
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            while self.flying.front().is_some_and(|(due, ..)| *due <= self.now) {
                let (_, to, from, bytes) = self.flying.pop_front().unwrap();
                self.deliver(to, from, &bytes);
            }
            let at = self.at();
            for (leg, timings) in self.legs.iter_mut().zip(&mut self.timings) {
                if leg.poll_timeout() <= at.now {
                    leg.handle_timeout(at, timings);
                }
            }
            if self.shard.poll_timeout().is_some_and(|(due, _)| due <= self.now) {
                self.shard.handle_timeout(self.now);
            }
            self.collect();
        }
    }

    fn deliver(&mut self, to: u16, from: u16, bytes: &[u8]) {
        let at = self.at();
        if to == 4000 {
            let path = Path { link: Link::Udp(0), local: None, remote: address(from) };
            self.shard.handle_packets(self.now, &[Datagram { path, contents: bytes }]);
        } else {
            let n = usize::from(to - 1000);
            self.legs[n].handle_datagram(at, at.unix_micros, address(from), bytes, &mut self.timings[n]);
        }
        self.collect();
    }

    fn collect(&mut self) {
        let due = self.now + self.one_way;
        for (n, leg) in self.legs.iter_mut().enumerate() {
            while let Some((_, datagram)) = leg.poll_transmit() {
                self.flying.push_back((due, 4000, 1000 + n as u16, datagram.to_vec()));
            }
            self.events[n].extend(std::iter::from_fn(|| leg.poll_event()));
        }
        while let Some(transmit) = self.shard.poll_transmit() {
            let (to, contents) = (transmit.path.remote.port(), transmit.contents.to_vec());
            if !(to == 1001 && self.is_lost(&contents)) {
                self.flying.push_back((due, to, 4000, contents));
            }
        }
    }

    fn is_lost(&mut self, bytes: &[u8]) -> bool {
        let is_rtp = matches!(bytes, [128..=191, second, ..] if !(64..96).contains(&(second & 0x7f)));
        if !is_rtp {
            return false;
        }
        self.media_to_second += 1;
        let is_lost = self.lose_every.is_some_and(|every| self.media_to_second.is_multiple_of(every))
            || self.lose_share.as_mut().is_some_and(|(share, random)| random.random_bool(*share));
        self.lost += u64::from(is_lost);
        is_lost
    }

    fn connected_and_accepted(one_way: Duration, config: &LegConfig) -> Self {
        Self::of_two(one_way, [config, config])
    }

    fn of_two(one_way: Duration, configs: [&LegConfig; 2]) -> Self {
        let mut world = Self::new(one_way, configs);
        world.run(Duration::from_millis(1500));
        for events in &world.events {
            assert!(matches!(events[..], [LegEvent::Connected(_)]), "{events:?}");
        }
        world.accept();
        world
    }

    fn reports(mut self) -> [LegReport; 2] {
        self.legs.iter_mut().for_each(Leg::handle_stop);
        self.run(Duration::from_millis(400));
        let mut reports = self.legs.into_iter().map(Leg::into_report);
        [reports.next().unwrap(), reports.next().unwrap()]
    }
}

fn voice(decodes: bool) -> LegConfig {
    LegConfig {
        speech: speech(),
        video: None,
        direction: Direction::Both,
        receivers_within: Duration::ZERO,
        decodes,
        records: false,
        groups: None,
    }
}

/// What `sender` sent from the first packet on that `receiver` got, and how many of those came.
fn audio(sender: &LegReport, receiver: &LegReport) -> (u64, u64) {
    (sender.audio_sent.packets_since(receiver.audio_in.first_mark.unwrap()), receiver.audio_in.packets)
}

#[test]
fn nothing_is_heard_before_the_call_is_accepted_and_everything_after_it() {
    let mut world = World::connected_and_accepted(Duration::from_millis(3), &voice(true));
    let accepted = world.now;
    world.run(Duration::from_secs(10));
    for events in &world.events {
        let first = events.iter().find_map(|event| match event {
            LegEvent::FirstAudio(at) => Some(*at - accepted),
            _ => None,
        });
        assert!(first.unwrap() <= Duration::from_millis(60), "{first:?}");
    }
    let [a, b] = world.reports();
    for (sender, receiver) in [(&a, &b), (&b, &a)] {
        assert_eq!(audio(sender, receiver), (501, 501));
        let heard = receiver.heard.unwrap();
        assert_eq!((heard.jitter.concealed_frames, heard.undecodable), (0, 0));
        assert!(heard.frames_played >= 500);
    }
}

#[test]
fn injected_loss_and_delay_are_what_is_measured() {
    let mut world = World::connected_and_accepted(Duration::from_millis(20), &voice(true));
    world.run(Duration::from_secs(1));
    world.lose_every = Some(50);
    world.run(Duration::from_secs(20));
    world.lose_every = None;
    let lost = world.lost;
    assert!((18..=21).contains(&lost), "{lost}");
    let latency = [0.5, 0.99].map(|share| world.timings[1].audio.ms_at(share).unwrap());
    assert!(latency.iter().all(|ms| (40.0..=42.0).contains(ms)), "{latency:?}");
    let [a, b] = world.reports();
    let (expected, received) = audio(&a, &b);
    assert_eq!(expected - received, lost);
    assert_eq!(b.audio_in.gaps(), lost);
    let (expected, received) = audio(&b, &a);
    assert_eq!(expected, received, "the other direction is as it was");
}

#[test]
fn video_shows_and_lost_video_is_resent() {
    let config = LegConfig { video: Some(SyntheticVideoConfig::default()), ..voice(true) };
    let mut world = World::connected_and_accepted(Duration::from_millis(5), &config);
    world.run(Duration::from_secs(1));
    world.lose_every = Some(40);
    world.run(Duration::from_secs(5));
    world.lose_every = None;
    world.run(Duration::from_secs(1));
    assert!(world.events.iter().all(|events| events.iter().any(|e| matches!(e, LegEvent::FirstVideo(_)))));
    let lost = world.lost;
    let [a, b] = world.reports();
    let expected = a.video_sent.packets_since(b.video_in.first_mark.unwrap());
    assert_eq!(expected, b.video_in.packets, "{lost} packets were lost, and those of video came again");
    assert!(b.whole_video_frames > 150, "{}", b.whole_video_frames);
}

#[test]
fn who_only_receives_hears_and_sees_all_of_who_only_sends() {
    let both = LegConfig { video: Some(SyntheticVideoConfig::default()), ..voice(true) };
    let host = LegConfig { direction: Direction::Sends, ..both.clone() };
    let viewer = LegConfig { direction: Direction::Receives, ..both };
    let mut world = World::of_two(Duration::from_millis(5), [&host, &viewer]);
    world.run(Duration::from_secs(3));
    let has = |events: &[LegEvent], audio: bool| {
        events.iter().any(|event| match event {
            LegEvent::FirstAudio(_) => audio,
            LegEvent::FirstVideo(_) => !audio,
            _ => false,
        })
    };
    assert!(has(&world.events[1], true) && has(&world.events[1], false), "{:?}", world.events[1]);
    assert!(!has(&world.events[0], true) && !has(&world.events[0], false), "{:?}", world.events[0]);
    assert!(world.legs[0].listener.is_none(), "who hears nobody does not listen");
    let [host, viewer] = world.reports();
    assert_eq!(audio(&host, &viewer).0, audio(&host, &viewer).1);
    assert_eq!(host.video_sent.packets_since(viewer.video_in.first_mark.unwrap()), viewer.video_in.packets);
    assert_eq!((viewer.audio_sent.packets(), viewer.video_sent.packets()), (0, 0));
    assert_eq!((viewer.counters.packets_out, host.counters.packets_in), (0, 0));
    assert!(host.heard.is_none() && viewer.heard.is_some());
}

#[test]
fn a_leg_outside_the_sample_decodes_its_beginning_only() {
    let mut world = World::connected_and_accepted(Duration::from_millis(3), &voice(false));
    world.run(Duration::from_secs(3));
    assert!(world.legs.iter().all(|leg| leg.listener.is_none()));
    assert!(world.events.iter().all(|events| events.iter().any(|e| matches!(e, LegEvent::FirstAudio(_)))));
    let [a, b] = world.reports();
    assert!(a.heard.is_none() && b.heard.is_none());
    assert_eq!(audio(&a, &b).0, audio(&a, &b).1, "loss is measured all the same");
}

#[test]
#[allow(clippy::print_stdout)]
fn the_audio_score_falls_with_every_more_of_loss() {
    let reference = Reference::new(speech().said()).unwrap();
    let score = |share: f64| {
        let config = LegConfig { records: true, ..voice(false) };
        let mut world = World::connected_and_accepted(Duration::from_millis(20), &config);
        world.lose_share = Some((share, StdRng::seed_from_u64(4)));
        world.run(Duration::from_secs(17));
        let [_, b] = world.reports();
        let passages = reference.passages(&b.recorded.unwrap().samples, 0);
        assert_eq!(passages.len(), 2, "twice 8 s of 17");
        passages.iter().map(|passage| passage.score).sum::<f64>() / 2.0
    };
    let scores = [0.0, 0.05, 0.1, 0.2].map(score);
    println!("figure: audio score without loss and with 5, 10 and 20 %: {scores:.2?}");
    assert!(scores[0] > 4.0 && scores.windows(2).all(|pair| pair[1] < pair[0] - 0.02), "{scores:?}");
}
