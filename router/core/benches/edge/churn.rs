//! Calls that come and go in one shard, in virtual time: offer, connect, a little media, and one of five ways to end.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use duocast_model::{CallId, Generation, LegId, Route, RoutePlan};
use duocast_router_core::{Datagram, IceSecret, Link, Path, Shard, ShardConfig};
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::count::{counted, so_far};

const ROUTER: ([u8; 4], u16) = ([198, 51, 100, 7], 4000);
const TURN: Duration = Duration::from_millis(1);

/// Packets of each kind that both sides send.
const PACKETS: u64 = 5;

/// From one packet of audio to the next.
const PACKET_TIME: Duration = Duration::from_millis(20);

/// Calls whose clients vanish are ended this much later, when the shard has taken their legs for stalled.
const GONE_FOR: Duration = Duration::from_secs(10);

/// A shard, and how many calls it has had.
pub(crate) struct Churn {
    now: Instant,
    shard: Shard,
    calls: u64,
}

struct Client {
    rtc: Rtc,
    address: SocketAddr,
    mids: [Mid; 2],
    is_connected: bool,
    heard: u64,
    /// What it answers at once leaves with its next turn.
    unsent: Vec<Vec<u8>>,
}

/// The shard, empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest {
    /// Bytes that it holds.
    pub(crate) live_bytes: i64,
    /// Legs and calls that it knows.
    pub(crate) known: usize,
}

impl Churn {
    pub(crate) fn new(now: Instant) -> Self {
        let config = ShardConfig { announced: vec![ROUTER.into()], announced_tcp: Vec::new(), max_legs: 16 };
        Self { now, shard: counted(|| Shard::new(config)), calls: 0 }
    }

    /// What is left between two calls.
    pub(crate) fn rest(&self) -> Rest {
        let known = self.shard.leg_count() + self.shard.call_count();
        Rest { live_bytes: so_far().live_bytes, known }
    }

    /// A whole call of two: two sessions. Panics if it does not connect or carries nothing.
    pub(crate) fn run_call(&mut self) {
        let n = self.calls;
        self.calls += 1;
        let call = CallId::from_u128(n.into());
        let legs = [2 * n, 2 * n + 1].map(|leg| LegId::from_u128(leg.into()));
        let routes = vec![Route { from: legs[0], to: legs[1] }, Route { from: legs[1], to: legs[0] }];
        let plan = RoutePlan::new(call, Generation(1), legs.to_vec(), routes).expect("a valid plan");
        assert!(counted(|| self.shard.handle_plan(self.now, &plan)).applied);
        let mut clients = [0, 1].map(|side| self.join(n, call, legs[side], side as u64));
        for _ in 0..1000 {
            if clients.iter().all(|client| client.is_connected) {
                break;
            }
            self.turn(&mut clients);
        }
        for packet in 1..=PACKETS {
            clients.iter_mut().for_each(|client| client.send(self.now, packet));
            (0..2).for_each(|_| self.turn(&mut clients));
            self.now += PACKET_TIME - 2 * TURN;
        }
        for client in &clients {
            assert!(client.is_connected && client.heard >= 2 * (PACKETS - 1), "call {n}: {}", client.heard);
        }
        self.end(n, call, clients);
        while counted(|| self.shard.poll_transmit().is_some()) {}
        while counted(|| self.shard.poll_event().is_some()) {}
    }

    fn end(&mut self, n: u64, call: CallId, mut clients: [Client; 2]) {
        match n % 10 {
            // Both hang up first.
            0 | 5 => {
                clients.iter_mut().for_each(|client| client.rtc.close().expect("a living client"));
                (0..5).for_each(|_| self.turn(&mut clients));
            }
            // Both vanish.
            1 => self.pass(GONE_FOR),
            // Another instance of a client takes its leg over, and never connects.
            2 | 6 => drop(self.join(n, call, LegId::from_u128((2 * n).into()), 2)),
            // Control has forgotten the call.
            3 | 7 => return counted(|| self.shard.handle_synced(self.now, &HashSet::new())),
            // The plan says so, in the middle of everything.
            _ => {}
        }
        let over = RoutePlan::teardown(call, Generation(2));
        assert!(counted(|| self.shard.handle_plan(self.now, &over)).applied);
    }

    fn join(&mut self, n: u64, call: CallId, leg: LegId, side: u64) -> Client {
        let bytes = ((3 * n + side) as u32).to_be_bytes();
        let address = SocketAddr::from(([10, bytes[1], bytes[2], bytes[3]], 5000));
        let config = RtcConfig::new().clear_codecs().enable_opus(true, false).enable_vp8(true);
        let mut rtc = config.set_rtp_mode(true).build(self.now);
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a valid address"));
        let mut api = rtc.sdp_api();
        let mids = [MediaKind::Audio, MediaKind::Video]
            .map(|kind| api.add_media(kind, Direction::SendRecv, None, None, None));
        let (offer, pending) = api.apply().expect("an offer");
        let sdp = offer.to_sdp_string();
        let mut secret = [0; 24];
        secret[..8].copy_from_slice(&(3 * n + side).to_le_bytes());
        let answer = counted(|| self.shard.handle_offer(self.now, call, leg, &sdp, &IceSecret(secret)));
        let answer = answer.expect("an answer");
        let parsed = SdpAnswer::from_sdp_string(&answer).expect("an SDP answer");
        // What the shard allocated is given back where it is counted.
        counted(|| drop(answer));
        rtc.sdp_api().accept_answer(pending, parsed).expect("an accepted answer");
        Client { rtc, address, mids, is_connected: false, heard: 0, unsent: Vec::new() }
    }

    /// A millisecond: what the clients send arrives, and what the shard sends.
    fn turn(&mut self, clients: &mut [Client; 2]) {
        self.now += TURN;
        let sent: Vec<(SocketAddr, Vec<u8>)> = clients
            .iter_mut()
            .flat_map(|client| {
                let address = client.address;
                client.drain(self.now).into_iter().map(move |bytes| (address, bytes))
            })
            .collect();
        let mut received = Vec::with_capacity(64);
        counted(|| {
            let path = |remote| Path { link: Link::Udp(0), local: None, remote };
            let batch: Vec<Datagram<'_>> =
                sent.iter().map(|(from, contents)| Datagram { path: path(*from), contents }).collect();
            self.shard.handle_packets(self.now, &batch);
            if self.shard.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                self.shard.handle_timeout(self.now);
            }
            while self.shard.poll_event().is_some() {}
        });
        while let Some(transmit) = counted(|| self.shard.poll_transmit()) {
            received.push((transmit.path.remote, transmit.contents.to_vec()));
        }
        for (to, bytes) in received {
            if let Some(client) = clients.iter_mut().find(|client| client.address == to) {
                client.receive(self.now, &bytes);
            }
        }
    }

    /// Time in which nobody sends anything.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some((at, _)) = self.shard.poll_timeout().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at) + TURN;
            counted(|| {
                self.shard.handle_timeout(self.now);
                while self.shard.poll_transmit().is_some() {}
            });
        }
        self.now = self.now.max(until);
    }
}

impl Client {
    fn send(&mut self, now: Instant, packet: u64) {
        for (mid, pt, size) in [(self.mids[0], 111, 120), (self.mids[1], 96, 1100)] {
            let write = RtpWrite::new(pt.into(), packet.into(), packet as u32 * 960, now, vec![7; size]);
            let mut api = self.rtc.direct_api();
            api.stream_tx_by_mid(mid, None).expect("a track").write_rtp(write.nackable(size > 120));
        }
    }

    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        let contents = bytes.try_into().expect("a valid datagram");
        let receive =
            Receive { proto: Protocol::Udp, source: ROUTER.into(), destination: self.address, contents };
        self.rtc.handle_input(Input::Receive(now, receive)).expect("a living client");
        self.unsent = self.drain(now);
    }

    fn drain(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut sent = std::mem::take(&mut self.unsent);
        self.rtc.handle_input(Input::Timeout(now)).expect("a living client");
        loop {
            match self.rtc.poll_output().expect("a living client") {
                Output::Timeout(_) => return sent,
                Output::Transmit(transmit) => sent.push(transmit.contents.to_vec()),
                Output::Event(Event::Connected) => self.is_connected = true,
                Output::Event(Event::RtpPacket(_)) => self.heard += 1,
                Output::Event(_) => {}
            }
        }
    }
}
