//! Nanoseconds per forwarded packet, in memory: `cargo bench -p duocast-router-core`.
//!
//! Clients encrypt ahead; what is timed is the shard from received datagram to datagram ready to send.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use duocast_model::{CallId, Generation, LegId, Route, RoutePlan};
use duocast_router_core::{Datagram, IceSecret, Link, Path, Shard, ShardConfig};
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

const ROUTER: ([u8; 4], u16) = ([198, 51, 100, 7], 4000);
const PAYLOAD: [u8; 1100] = [7; 1100];
/// Datagrams handled in one go: what a worker under load receives in a millisecond or two.
const BATCH: usize = 64;
/// Packets that each publisher sends in a round of 20 ms.
const PER_ROUND: usize = 4;

struct Client {
    rtc: Rtc,
    address: SocketAddr,
    mid: Mid,
    sent: u64,
    connected: bool,
}

struct Calls {
    now: Instant,
    shard: Shard,
    clients: Vec<Client>,
}

impl Calls {
    fn connected(calls: usize) -> Self {
        let now = Instant::now();
        let shard = Shard::new(ShardConfig {
            announced: vec![ROUTER.into()],
            announced_tcp: Vec::new(),
            max_legs: 2 * calls,
        });
        let mut all = Self { now, shard, clients: Vec::new() };
        for call in 0..calls as u128 {
            let legs = [0, 1].map(|n| LegId::from_u128(2 * call + n + 1));
            let routes = vec![Route { from: legs[0], to: legs[1] }];
            let call = CallId::from_u128(call);
            let plan = RoutePlan::new(call, Generation(1), legs.to_vec(), routes).expect("a valid plan");
            assert!(all.shard.handle_plan(now, &plan).applied);
            for leg in legs {
                all.add_client(call, leg);
            }
        }
        while !all.clients.iter().all(|client| client.connected) {
            all.now += Duration::from_millis(10);
            let sent = all.drain_clients();
            all.handle(&sent);
            all.answer_clients();
        }
        all
    }

    fn add_client(&mut self, call: CallId, leg: LegId) {
        let n = self.clients.len() as u32;
        let address = SocketAddr::from((u32::to_be_bytes(0x0a00_0000 + n), 5000));
        let config = RtcConfig::new().clear_codecs().enable_vp8(true).set_rtp_mode(true);
        let mut rtc = config.build(self.now);
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a valid address"));
        let mut api = rtc.sdp_api();
        let mid = api.add_media(MediaKind::Video, Direction::SendRecv, None, None, None);
        let (offer, pending) = api.apply().expect("an offer");
        let mut secret = [0; 24];
        secret[..4].copy_from_slice(&n.to_be_bytes());
        let sdp = offer.to_sdp_string();
        let answer =
            self.shard.handle_offer(self.now, call, leg, &sdp, &IceSecret(secret)).expect("an answer");
        let answer = SdpAnswer::from_sdp_string(&answer).expect("an SDP answer");
        rtc.sdp_api().accept_answer(pending, answer).expect("an accepted answer");
        self.clients.push(Client { rtc, address, mid, sent: 0, connected: false });
    }

    /// One round: every caller's packets, encrypted.
    fn publish(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        self.now += Duration::from_millis(20);
        for client in self.clients.iter_mut().step_by(2) {
            for _ in 0..PER_ROUND {
                client.sent += 1;
                let time = client.sent as u32 * 750;
                let write = RtpWrite::new(96.into(), client.sent.into(), time, self.now, PAYLOAD.as_slice());
                let mut api = client.rtc.direct_api();
                api.stream_tx_by_mid(client.mid, None).expect("a track").write_rtp(write.nackable(true));
            }
        }
        self.drain_clients()
    }

    fn drain_clients(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut sent = Vec::new();
        for client in &mut self.clients {
            client.rtc.handle_input(Input::Timeout(self.now)).expect("a living client");
            loop {
                match client.rtc.poll_output().expect("a living client") {
                    Output::Timeout(_) => break,
                    Output::Transmit(t) => sent.push((client.address, t.contents.to_vec())),
                    Output::Event(Event::Connected) => client.connected = true,
                    Output::Event(_) => {}
                }
            }
        }
        sent
    }

    fn handle(&mut self, sent: &[(SocketAddr, Vec<u8>)]) {
        for chunk in sent.chunks(BATCH) {
            let path = |remote| Path { link: Link::Udp(0), local: None, remote };
            let batch: Vec<Datagram<'_>> =
                chunk.iter().map(|(from, contents)| Datagram { path: path(*from), contents }).collect();
            self.shard.handle_packets(self.now, &batch);
        }
        self.shard.handle_timeout(self.now);
    }

    fn answer_clients(&mut self) {
        while let Some(transmit) = self.shard.poll_transmit() {
            let to = transmit.path.remote;
            let Some(client) = self.clients.iter_mut().find(|client| client.address == to) else { continue };
            let contents = (&transmit.contents[..]).try_into().expect("a valid datagram");
            let receive = Receive { proto: Protocol::Udp, source: ROUTER.into(), destination: to, contents };
            client.rtc.handle_input(Input::Receive(self.now, receive)).expect("a living client");
        }
    }
}

fn forward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward");
    for calls in [1, 50, 500] {
        let mut all = Calls::connected(calls);
        group.throughput(Throughput::Elements((calls * PER_ROUND) as u64));
        group.bench_function(BenchmarkId::from_parameter(calls), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                let before = all.shard.counters().video_forwarded;
                for _ in 0..rounds {
                    let sent = all.publish();
                    let began = Instant::now();
                    all.handle(&sent);
                    while let Some(transmit) = all.shard.poll_transmit() {
                        black_box(transmit);
                    }
                    spent += began.elapsed();
                }
                let forwarded = all.shard.counters().video_forwarded - before;
                assert_eq!(forwarded, rounds * (calls * PER_ROUND) as u64, "every packet was forwarded");
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
