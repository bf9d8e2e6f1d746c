//! A node's shards and their clients in virtual time, one millisecond after the other: what arrives in one is handled in one go, as a
//! busy worker does.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use duocast_model::{CallId, Generation, LegId, Route, RoutePlan};
use duocast_router_core::{
    Crossing, Datagram, Demand, IceSecret, Link, Path, Place, Shard, ShardConfig, Workers,
};
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::count::counted;

const ROUTER: ([u8; 4], u16) = ([198, 51, 100, 7], 4000);
/// What a client could be sent with use, in bits per second: more than it is sent, so that probes look for it.
const WANTED: u64 = 2_000_000;
/// How long a busy worker lets datagrams gather.
const TURN: Duration = Duration::from_millis(1);

const AUDIO: [u8; 120] = [7; 120];
const VIDEO: [u8; 1100] = [7; 1100];
/// 50 packets of audio and 30 frames of video a second, in milliseconds.
const AUDIO_EVERY: u64 = 20;
const FRAME_EVERY: u64 = 33;
const PACKETS_PER_FRAME: u64 = 4;

/// Who is in a call and who sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) calls: usize,
    /// Legs of each call that hear its first one. 1: a call of two, where both send; more: only the first sends.
    pub(crate) viewers: usize,
    /// Every leg's path is estimated.
    pub(crate) estimates: bool,
    /// Shards that the legs are spread over.
    pub(crate) workers: usize,
}

pub(crate) struct World {
    now: Instant,
    turn: u64,
    workers: Workers,
    shards: Vec<Shard>,
    pipe: Pipe,
    clients: Vec<Client>,
    /// What the clients sent since the last turn: who, and where in `sent_bytes`.
    sent: Vec<(usize, Range<usize>)>,
    sent_bytes: Vec<u8>,
    received: Vec<(usize, Range<usize>)>,
    received_bytes: Vec<u8>,
}

/// What crosses between shards: from where, to where, what, and where in `bytes`.
#[derive(Default)]
struct Pipe {
    sent: Vec<(usize, usize, Crossing, Range<usize>)>,
    bytes: Vec<u8>,
}

struct Client {
    call: CallId,
    leg: LegId,
    worker: usize,
    rtc: Rtc,
    address: SocketAddr,
    audio: Mid,
    video: Mid,
    sends: bool,
    sent: [u64; 2],
    wakes_at: Instant,
    is_connected: bool,
}

impl World {
    /// All legs are connected; nobody has sent media.
    pub(crate) fn connected(now: Instant, shape: Shape) -> Self {
        let legs_per_call = shape.viewers + 1;
        let config = ShardConfig {
            announced: vec![ROUTER.into()],
            announced_tcp: Vec::new(),
            max_legs: shape.calls * legs_per_call,
        };
        let workers = Workers(shape.workers);
        let shard = |worker| counted(|| Shard::at(Place { worker, of: workers }, config.clone()));
        let mut world = Self {
            now,
            turn: 0,
            workers,
            shards: (0..shape.workers).map(shard).collect(),
            pipe: Pipe { sent: Vec::with_capacity(1 << 12), bytes: Vec::with_capacity(1 << 20) },
            clients: Vec::new(),
            sent: Vec::new(),
            sent_bytes: Vec::new(),
            received: Vec::with_capacity(1 << 14),
            received_bytes: Vec::with_capacity(1 << 24),
        };
        for call in 0..shape.calls {
            world.add_call(call, legs_per_call);
        }
        let demand = shape.estimates.then_some(Demand { wanted: WANTED });
        for (call, leg) in world.clients.iter().map(|client| (client.call, client.leg)) {
            counted(|| world.shards[0].handle_demand(world.now, call, leg, demand));
        }
        while !world.clients.iter().all(|client| client.is_connected) {
            world.send_media(false);
            world.take_turn();
            world.deliver();
        }
        world
    }

    fn add_call(&mut self, call: usize, count: usize) {
        let legs: Vec<LegId> = (0..count).map(|n| LegId::from_u128((call * count + n + 1) as u128)).collect();
        let pairs = legs.iter().skip(1).flat_map(|viewer| [(legs[0], *viewer), (*viewer, legs[0])]);
        let is_pair = count == 2;
        let routes = pairs.filter(|(from, _)| is_pair || *from == legs[0]);
        let routes = routes.map(|(from, to)| Route { from, to }).collect();
        let call = CallId::from_u128(call as u128);
        let plan = RoutePlan::new(call, Generation(1), legs.clone(), routes).expect("a valid plan");
        let plan = if is_pair { plan } else { plan.with_audience() };
        for shard in &mut self.shards {
            assert!(counted(|| shard.handle_plan(self.now, &plan)).applied);
        }
        for leg in &legs {
            let worker = self.workers.of_leg(call, *leg, self.workers.spreads(&plan));
            self.add_client(call, *leg, worker, is_pair || *leg == legs[0]);
        }
    }

    fn add_client(&mut self, call: CallId, leg: LegId, worker: usize, sends: bool) {
        let n = self.clients.len() as u32;
        let address = SocketAddr::from((u32::to_be_bytes(0x0a00_0000 + n), 5000));
        let config =
            RtcConfig::new().clear_codecs().enable_opus(true, false).enable_vp8(true).set_rtp_mode(true);
        let mut rtc = config.build(self.now);
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a valid address"));
        let mut api = rtc.sdp_api();
        let audio = api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        let video = api.add_media(MediaKind::Video, Direction::SendRecv, None, None, None);
        let (offer, pending) = api.apply().expect("an offer");
        let mut secret = [0; 24];
        secret[..4].copy_from_slice(&n.to_be_bytes());
        let sdp = offer.to_sdp_string();
        let shard = &mut self.shards[worker];
        let answer = counted(|| shard.handle_offer(self.now, call, leg, &sdp, &IceSecret(secret)));
        let answer = SdpAnswer::from_sdp_string(&answer.expect("an answer")).expect("an SDP answer");
        rtc.sdp_api().accept_answer(pending, answer).expect("an accepted answer");
        self.clients.push(Client {
            call,
            leg,
            worker,
            rtc,
            address,
            audio,
            video,
            sends,
            sent: [0; 2],
            wakes_at: self.now,
            is_connected: false,
        });
    }

    /// The next millisecond of all clients, with media or without.
    pub(crate) fn send_media(&mut self, with_media: bool) {
        self.now += TURN;
        self.turn += 1;
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            let mut is_due = client.wakes_at <= self.now;
            if with_media && client.sends {
                // Parties are spread evenly by a step that shares no factor with either interval.
                let at = self.turn + index as u64 * 13;
                if at.is_multiple_of(AUDIO_EVERY) {
                    client.write(self.now, 0, 960);
                    is_due = true;
                }
                if at.is_multiple_of(FRAME_EVERY) {
                    (0..PACKETS_PER_FRAME).for_each(|_| client.write(self.now, 1, 750));
                    is_due = true;
                }
            }
            if is_due {
                self.drain(index);
            }
        }
    }

    fn drain(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.rtc.handle_input(Input::Timeout(self.now)).expect("a living client");
        loop {
            match client.rtc.poll_output().expect("a living client") {
                Output::Timeout(at) => break client.wakes_at = at,
                Output::Transmit(transmit) => {
                    let start = self.sent_bytes.len();
                    self.sent_bytes.extend_from_slice(&transmit.contents);
                    self.sent.push((index, start..self.sent_bytes.len()));
                }
                Output::Event(Event::Connected) => client.is_connected = true,
                Output::Event(_) => {}
            }
        }
    }

    /// What is measured: from received datagrams to datagrams ready to send.
    #[inline(never)]
    pub(crate) fn take_turn(&mut self) {
        counted(|| {
            let path = |remote| Path { link: Link::Udp(0), local: None, remote };
            for worker in 0..self.shards.len() {
                self.cross(worker);
                let of_worker = self.sent.iter().filter(|(from, _)| self.clients[*from].worker == worker);
                let batch = of_worker.map(|(from, range)| {
                    let contents = &self.sent_bytes[range.clone()];
                    Datagram { path: path(self.clients[*from].address), contents }
                });
                let batch: Vec<Datagram<'_>> = batch.collect();
                let shard = &mut self.shards[worker];
                if !batch.is_empty() {
                    shard.handle_packets(self.now, &batch);
                }
                if shard.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                    shard.handle_timeout(self.now);
                }
            }
            // What the first have sent goes to the others in the same turn, as it does where each has its core.
            (0..self.shards.len()).for_each(|worker| self.cross(worker));
            self.sent.clear();
            self.sent_bytes.clear();
            self.received.clear();
            self.received_bytes.clear();
            for shard in &mut self.shards {
                while let Some(transmit) = shard.poll_transmit() {
                    let IpAddr::V4(ip) = transmit.path.remote.ip() else { continue };
                    let start = self.received_bytes.len();
                    self.received_bytes.extend_from_slice(transmit.contents);
                    let index = (u32::from(ip) - 0x0a00_0000) as usize;
                    self.received.push((index, start..self.received_bytes.len()));
                }
                while shard.poll_event().is_some() {}
            }
        });
    }

    /// Collects what all shards have for others, and gives one of them what is for it.
    fn cross(&mut self, to: usize) {
        let Self { now, shards, pipe: Pipe { sent, bytes }, .. } = self;
        if shards.len() == 1 {
            return;
        }
        for (from, shard) in shards.iter_mut().enumerate() {
            while let Some(note) = shard.poll_note(to) {
                sent.push((from, to, note, 0..0));
            }
            while let Some(passing) = shard.poll_passing() {
                let start = bytes.len();
                bytes.extend_from_slice(passing.contents);
                sent.push((from, passing.to, passing.crossing, start..bytes.len()));
            }
        }
        for from in 0..shards.len() {
            let between = sent.iter().filter(|(of, at, ..)| (*of, *at) == (from, to));
            let batch = between.map(|(_, _, crossing, range)| (crossing, [&bytes[range.clone()], &[]]));
            shards[to].handle_crossings(*now, from, batch);
        }
        sent.retain(|(_, at, ..)| *at != to);
        if sent.is_empty() {
            bytes.clear();
        }
    }

    /// Gives the clients what the last turn sent; their answers leave with the next.
    pub(crate) fn deliver(&mut self) {
        for at in 0..self.received.len() {
            let (index, range) = self.received[at].clone();
            let client = &mut self.clients[index];
            let contents = self.received_bytes[range].try_into().expect("a valid datagram");
            let (source, destination) = (ROUTER.into(), client.address);
            let receive = Receive { proto: Protocol::Udp, source, destination, contents };
            client.rtc.handle_input(Input::Receive(self.now, receive)).expect("a living client");
            self.drain(index);
        }
    }

    /// Packets that were forwarded.
    pub(crate) fn forwarded(&self) -> u64 {
        let counters = self.shards.iter().map(Shard::counters);
        counters.map(|counters| counters.audio_forwarded + counters.video_forwarded).sum()
    }

    /// Packets of media that the clients sent.
    pub(crate) fn published(&self) -> u64 {
        self.clients.iter().map(|client| client.sent[0] + client.sent[1]).sum()
    }

    pub(crate) fn legs(&self) -> usize {
        self.shards.iter().map(Shard::leg_count).sum()
    }
}

impl Client {
    fn write(&mut self, now: Instant, kind: usize, step: u64) {
        self.sent[kind] += 1;
        let (mid, pt, payload) = [(self.audio, 111, &AUDIO[..]), (self.video, 96, &VIDEO[..])][kind];
        let frame = if kind == 1 { self.sent[1].div_ceil(PACKETS_PER_FRAME) * 4 } else { self.sent[0] };
        let write = RtpWrite::new(pt.into(), self.sent[kind].into(), (frame * step) as u32, now, payload);
        let mut api = self.rtc.direct_api();
        let track = api.stream_tx_by_mid(mid, None).expect("a track");
        track.write_rtp(write.nackable(kind == 1));
    }
}
