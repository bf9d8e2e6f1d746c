//! A shard and str0m clients on virtual time: no socket, no clock but the world's.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part of the world")]

pub mod audience;
pub mod layers;
pub mod pair;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use duocast_model::{CallId, Generation, LegId, Route, RoutePlan};
use duocast_router_core::{
    Datagram, Event, IceSecret, LegState, Link, OfferError, Path, PlanOutcome, Shard, ShardConfig, Workers,
};
use str0m::bwe::BweKind;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format::PayloadParams;
use str0m::media::{Direction, KeyframeRequest, KeyframeRequestKind, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive, TcpType};
use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues, RtpPacket, RtpWrite, SeqNo};
use str0m::{Candidate, Input, Output, Rtc, RtcConfig};

/// Where the shard says that it is.
pub const ROUTER: ([u8; 4], u16) = ([198, 51, 100, 7], 4000);

/// One-way delay of the network.
const DELAY: Duration = Duration::from_millis(5);

/// A small generator, so that one seed is one run.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub fn secret(&mut self) -> IceSecret {
        let mut secret = [0; 24];
        secret.chunks_exact_mut(8).for_each(|c| c.copy_from_slice(&self.next().to_be_bytes()));
        IceSecret(secret)
    }
}

/// A client that is not ours: plain str0m in RTP mode with full ICE.
pub struct Client {
    pub rtc: Rtc,
    pub address: SocketAddr,
    /// The address that the outside sees, once a NAT has rebound it.
    pub mapped: SocketAddr,
    /// Its TCP connection to the shard: number, and the address at the client's end.
    pub connection: Option<(u64, SocketAddr)>,
    /// Its network lets no UDP through.
    pub is_udp_blocked: bool,
    pub received: Vec<RtpPacket>,
    pub received_at: Vec<Instant>,
    pub keyframe_requests: Vec<(Instant, KeyframeRequest)>,
    /// What it was told to send at most (REMB), in bits per second.
    pub limit: Option<u64>,
    /// All datagrams that the client got, as they were on the wire.
    pub wire_in: Vec<Vec<u8>>,
    /// RTCP and RTP of both directions in plain text.
    pub raw: Vec<str0m::rtp::RawPacket>,
    pub connected: bool,
    pub closed: bool,
    /// The worker that answered it.
    pub worker: usize,
    pub is_mute: bool,
    /// Sent with each video packet.
    pub descriptor: Option<Vec<u8>>,
    /// Sent with each packet.
    pub said: ExtensionValues,
    pub offer: String,
    pub answer: String,
    pub mids: BTreeMap<MediaKindKey, Mid>,
    pub next_seq: BTreeMap<MediaKindKey, u64>,
    pub first_time: u32,
    pending: Option<SdpPendingOffer>,
    unsent: Vec<(Vec<u8>, SocketAddr, Protocol)>,
    wakes_at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MediaKindKey {
    Audio,
    Video,
}

pub use MediaKindKey::{Audio, Video};

/// A link with a queue in front of it.
pub struct Bottleneck {
    pub client: usize,
    pub bits_per_second: u64,
    /// What would wait for longer is lost.
    pub queue: Duration,
    free_at: Instant,
}

pub struct World {
    pub now: Instant,
    pub shard: Shard,
    /// The node's other shard, if it has one.
    pub pair: Option<pair::Pair>,
    pub clients: Vec<Client>,
    pub events: Vec<(LegId, LegState)>,
    pub rng: Rng,
    /// Percent of the media datagrams from the shard to clients that are lost.
    pub loss_down: u64,
    /// Percent of the media datagrams to the shard that are lost.
    pub loss_up: u64,
    /// All datagrams from clients to the shard, if wanted.
    pub record_uplink: bool,
    pub uplink: Vec<Vec<u8>>,
    /// The last STUN check that a client sent.
    last_check: Vec<u8>,
    /// The way from the shard to a client, if it is narrow.
    pub bottleneck: Option<Bottleneck>,
    /// This client's datagrams are lost, both ways.
    pub cut_off: Option<usize>,
    /// Nothing reaches this client; what it sends comes through.
    pub deaf: Option<usize>,
    /// Added to every offer, as a hostile client might.
    pub extra_offer_line: String,
    /// Where the shard sent something.
    pub destinations: Vec<SocketAddr>,
    /// The last STUN answer of the shard, and where it went.
    pub last_answer: Option<(SocketAddr, Vec<u8>)>,
    to_shard: Vec<(Instant, usize, Path, Vec<u8>)>,
    to_clients: Vec<(Instant, usize, Protocol, Vec<u8>)>,
    generation: u64,
}

pub fn call() -> CallId {
    CallId::from_u128(77)
}

pub fn leg(client: usize) -> LegId {
    LegId::from_u128(client as u128 + 1)
}

pub fn standard_client() -> RtcConfig {
    let mut config = RtcConfig::new().clear_codecs().enable_opus(true, false).enable_vp8(true);
    config.codec_config().add_h264(102.into(), Some(103.into()), true, 0x42_e01f);
    config
}

/// A dependency descriptor as this client sees it.
#[derive(Debug, Clone)]
pub struct Descriptor(pub Vec<u8>);

#[derive(Debug)]
struct DescriptorSerializer;

impl ExtensionSerializer for DescriptorSerializer {
    fn write_to(&self, buf: &mut [u8], values: &ExtensionValues) -> usize {
        let bytes = values.user_values.get().map_or(&[][..], |Descriptor(bytes)| bytes);
        buf[..bytes.len()].copy_from_slice(bytes);
        bytes.len()
    }

    fn parse_value(&self, buf: &[u8], values: &mut ExtensionValues) -> bool {
        values.user_values.set(Descriptor(buf.to_vec()));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        values.user_values.get().is_some_and(|Descriptor(bytes)| bytes.len() > 16)
    }
}

/// The client knows dependency descriptors, under another id than the router.
pub fn with_descriptors(config: RtcConfig) -> RtcConfig {
    let uri = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
    config.set_extension(12, Extension::with_serializer(uri, DescriptorSerializer))
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self::with_max_legs(seed, 100)
    }

    #[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
    pub fn with_max_legs(seed: u64, max_legs: usize) -> Self {
        let config =
            ShardConfig { announced: vec![ROUTER.into()], announced_tcp: vec![ROUTER.into()], max_legs };
        Self {
            now: Instant::now(),
            shard: Shard::new(config),
            pair: None,
            clients: Vec::new(),
            events: Vec::new(),
            rng: Rng(seed),
            loss_down: 0,
            loss_up: 0,
            record_uplink: false,
            uplink: Vec::new(),
            last_check: Vec::new(),
            bottleneck: None,
            cut_off: None,
            deaf: None,
            extra_offer_line: String::new(),
            destinations: Vec::new(),
            last_answer: None,
            to_shard: Vec::new(),
            to_clients: Vec::new(),
            generation: 0,
        }
    }

    /// Two clients with audio and video whose legs are connected; nobody hears anybody yet.
    pub fn two_connected(seed: u64) -> Self {
        let mut world = Self::new(seed);
        let (a, b) = (world.add_client(standard_client()), world.add_client(standard_client()));
        world.plan(&[a, b], &[]);
        world.offer(a, &[Audio, Video]).unwrap();
        world.offer(b, &[Audio, Video]).unwrap();
        world.run_until("both connect", |w| w.clients.iter().all(|c| c.connected) && w.events.len() == 2);
        world
    }

    /// The same, and both hear each other.
    pub fn two_talking(seed: u64) -> Self {
        let mut world = Self::two_connected(seed);
        assert!(world.plan(&[0, 1], &[(0, 1), (1, 0)]).applied);
        world
    }

    pub fn add_client(&mut self, config: RtcConfig) -> usize {
        let n = self.clients.len();
        let address = SocketAddr::from(([203, 0, 113, 10 + n as u8], 5000));
        let mut rtc = config.set_rtp_mode(true).enable_raw_packets(true).build(self.now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        self.clients.push(Client {
            rtc,
            address,
            mapped: address,
            connection: None,
            is_udp_blocked: false,
            received: Vec::new(),
            received_at: Vec::new(),
            keyframe_requests: Vec::new(),
            limit: None,
            wire_in: Vec::new(),
            raw: Vec::new(),
            connected: false,
            closed: false,
            worker: 0,
            is_mute: false,
            descriptor: None,
            said: ExtensionValues::default(),
            offer: String::new(),
            answer: String::new(),
            mids: BTreeMap::new(),
            next_seq: BTreeMap::new(),
            first_time: 0x1000_0000_u32.wrapping_mul(n as u32 + 1),
            pending: None,
            unsent: Vec::new(),
            wakes_at: self.now,
        });
        n
    }

    pub fn plan(&mut self, legs: &[usize], routes: &[(usize, usize)]) -> PlanOutcome {
        self.generation += 1;
        self.plan_numbered(self.generation, legs, routes)
    }

    pub fn plan_numbered(
        &mut self,
        generation: u64,
        legs: &[usize],
        routes: &[(usize, usize)],
    ) -> PlanOutcome {
        let legs = legs.iter().map(|n| leg(*n)).collect();
        let routes = routes.iter().map(|(from, to)| Route { from: leg(*from), to: leg(*to) }).collect();
        let plan = RoutePlan::new(call(), Generation(generation), legs, routes).unwrap();
        let (now, plan) = (self.now, if self.pair.is_some() { plan.with_audience() } else { plan });
        let outcomes = self.shards().map(|shard| shard.handle_plan(now, &plan));
        let outcome = outcomes.reduce(PlanOutcome::and).unwrap();
        self.flush();
        outcome
    }

    /// The client makes an offer; the shard's answer goes back to it.
    pub fn offer(&mut self, n: usize, kinds: &[MediaKindKey]) -> Result<(), OfferError> {
        self.offer_for(n, leg(n), kinds)
    }

    pub fn offer_for(&mut self, n: usize, leg: LegId, kinds: &[MediaKindKey]) -> Result<(), OfferError> {
        let client = &mut self.clients[n];
        let mut api = client.rtc.sdp_api();
        for kind in kinds {
            let media = match kind {
                Audio => MediaKind::Audio,
                Video => MediaKind::Video,
            };
            let (stream, track) = (format!("stream-of-{n}"), format!("track-of-{n}-{kind:?}"));
            let mid = api.add_media(media, Direction::SendRecv, Some(stream), Some(track), None);
            client.mids.insert(*kind, mid);
        }
        if kinds.is_empty() {
            api.ice_restart(true);
        }
        let (offer, pending) = api.apply().unwrap();
        self.exchange(n, leg, offer, pending)
    }

    pub fn restart_ice(&mut self, n: usize) -> Result<(), OfferError> {
        let mut api = self.clients[n].rtc.sdp_api();
        api.ice_restart(true);
        let (offer, pending) = api.apply().unwrap();
        self.exchange(n, leg(n), offer, pending)
    }

    /// The client sends, receives or does both on the m-line of this kind.
    pub fn set_direction(&mut self, n: usize, kind: MediaKindKey, direction: Direction) {
        let client = &mut self.clients[n];
        let mut api = client.rtc.sdp_api();
        api.set_direction(client.mids[&kind], direction);
        let (offer, pending) = api.apply().unwrap();
        self.exchange(n, leg(n), offer, pending).unwrap();
    }

    /// The client goes on with another SSRC, as one does that replaces a track.
    pub fn change_source(&mut self, n: usize, kind: MediaKindKey, ssrc: u32) {
        let client = &mut self.clients[n];
        let mid = client.mids[&kind];
        client.rtc.direct_api().reset_stream_tx(mid, None, ssrc.into(), None).expect("a sending track");
        client.next_seq.insert(kind, 100);
    }

    fn exchange(
        &mut self,
        n: usize,
        leg: LegId,
        offer: SdpOffer,
        pending: SdpPendingOffer,
    ) -> Result<(), OfferError> {
        let client = &mut self.clients[n];
        client.offer = offer.to_sdp_string() + &self.extra_offer_line;
        client.pending = Some(pending);
        let secret = self.rng.secret();
        let workers = Workers(self.shards().count());
        let worker = workers.of_leg(call(), leg, workers.0 > 1);
        let (now, offer) = (self.now, self.clients[n].offer.clone());
        let answer = self.shard_at(worker).handle_offer(now, call(), leg, &offer, &secret)?;
        self.clients[n].worker = worker;
        let client = &mut self.clients[n];
        let parsed = SdpAnswer::from_sdp_string(&answer).unwrap();
        client.answer = answer;
        client.rtc.sdp_api().accept_answer(client.pending.take().unwrap(), parsed).unwrap();
        client.wakes_at = self.now;
        self.flush();
        Ok(())
    }

    /// The client sends one packet of this kind; its payload names the client and the number.
    pub fn send(&mut self, n: usize, kind: MediaKindKey, payload: &[u8]) {
        let pt = self.clients[n].payload_type(kind).expect("a negotiated codec").pt();
        self.send_as(n, kind, pt, payload);
    }

    /// The same under another payload type.
    pub fn send_as(&mut self, n: usize, kind: MediaKindKey, pt: Pt, payload: &[u8]) {
        let client = &mut self.clients[n];
        let mid = client.mids[&kind];
        // Close to the wrap, so that every story has a source whose rollover counter is not 0.
        let seq = client.next_seq.entry(kind).or_insert(65_530);
        *seq += 1;
        let (seq, is_video) = (*seq, kind == Video);
        let rate = if is_video { 3000 } else { 960 };
        let time = client.first_time.wrapping_add((seq as u32).wrapping_mul(rate));
        let mut values = ExtensionValues {
            audio_level: (!is_video).then_some(-20),
            voice_activity: (!is_video).then_some(true),
            ..client.said.clone()
        };
        if let Some(descriptor) = client.descriptor.clone().filter(|_| is_video) {
            values.user_values.set(Descriptor(descriptor));
        }
        let write = RtpWrite::new(pt, SeqNo::from(seq), time, self.now, payload.to_vec())
            .marker(true)
            .nackable(is_video)
            .ext_vals(values);
        let mut api = client.rtc.direct_api();
        api.stream_tx_by_mid(mid, None).expect("a sending track").write_rtp(write);
        client.wakes_at = self.now;
    }

    /// Both kinds from both clients, one packet each every 20 ms of virtual time.
    pub fn talk(&mut self, rounds: usize) {
        for round in 0..rounds {
            for n in 0..self.clients.len() {
                for kind in [Audio, Video] {
                    if self.clients[n].mids.contains_key(&kind) && !self.clients[n].is_mute {
                        self.send(n, kind, format!("{kind:?} {round} of {n}").as_bytes());
                    }
                }
            }
            self.run_for(Duration::from_millis(20));
        }
    }

    pub fn ask_keyframe(&mut self, n: usize) {
        let client = &mut self.clients[n];
        let mid = client.mids[&Video];
        let mut api = client.rtc.direct_api();
        let stream = api.stream_rx_by_mid(mid, None).expect("a received track");
        stream.request_keyframe(KeyframeRequestKind::Pli);
        client.wakes_at = self.now;
    }

    /// The client sends nothing more of its own accord.
    pub fn mute(&mut self, n: usize) {
        self.clients[n].is_mute = true;
    }

    /// The client hangs up: DTLS close_notify.
    pub fn close(&mut self, n: usize) {
        self.clients[n].rtc.close().unwrap();
        self.clients[n].wakes_at = self.now;
        self.mute(n);
    }

    /// A STUN check as a client sent it.
    pub fn uplink_of_kind_stun(&self) -> Vec<u8> {
        self.last_check.clone()
    }

    /// A datagram from anywhere, as it is.
    pub fn inject(&mut self, from: SocketAddr, contents: &[u8]) {
        self.inject_on(path_of(Link::Udp(0), from), contents);
    }

    /// The same, over any link.
    pub fn inject_on(&mut self, path: Path, contents: &[u8]) {
        self.shard.handle_packets(self.now, &[Datagram { path, contents }]);
        self.flush();
    }

    pub fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let give_up = self.now + Duration::from_secs(30);
        while !done(self) {
            assert!(self.now < give_up, "in 30 s of virtual time it did not happen that {what}");
            self.step(Duration::from_millis(1));
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step(Duration::from_millis(1));
        }
    }

    fn step(&mut self, by: Duration) {
        self.now += by;
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.to_shard).into_iter().partition(|(at, ..)| *at <= self.now);
        self.to_shard = later;
        self.cross();
        let now = self.now;
        for (worker, shard) in self.shards().enumerate() {
            let of_worker = due.iter().filter(|(_, of, ..)| *of == worker);
            let batch: Vec<Datagram<'_>> =
                of_worker.map(|(_, _, path, bytes)| Datagram { path: *path, contents: bytes }).collect();
            if !batch.is_empty() {
                shard.handle_packets(now, &batch);
            }
            if shard.poll_timeout().is_some_and(|(at, _)| at <= now) {
                shard.handle_timeout(now);
            }
        }
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.to_clients).into_iter().partition(|(at, ..)| *at <= self.now);
        self.to_clients = later;
        for (_, n, proto, bytes) in
            due.into_iter().filter(|(_, n, ..)| self.cut_off != Some(*n) && self.deaf != Some(*n))
        {
            self.clients[n].receive(self.now, proto, bytes);
        }
        for n in 0..self.clients.len() {
            if self.clients[n].wakes_at <= self.now {
                self.clients[n].rtc.handle_input(Input::Timeout(self.now)).unwrap();
            }
            for (bytes, to, proto) in self.clients[n].drain(self.now) {
                assert_eq!(to, ROUTER.into(), "the router is the client's only peer");
                if self.record_uplink {
                    self.uplink.push(bytes.clone());
                }
                if bytes[0] < 2 {
                    self.last_check = bytes.clone();
                }
                let lost = is_media(&bytes) && self.rng.chance(self.loss_up);
                let path = self.clients[n].path(proto).filter(|_| !lost && self.cut_off != Some(n));
                let worker = self.clients[n].worker;
                self.to_shard.extend(path.map(|path| (self.now + DELAY, worker, path, bytes)));
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        self.collect_crossings();
        let other = self.pair.as_mut().map(|pair| &mut pair.shard);
        for shard in [Some(&mut self.shard), other].into_iter().flatten() {
            shard.drain_transmits(|bytes, datagrams| {
                for (path, at) in datagrams {
                    let contents = &bytes[at.clone()];
                    self.destinations.push(path.remote);
                    if contents[0] < 2 {
                        self.last_answer = Some((path.remote, contents.to_vec()));
                    }
                    let proto = match path.link {
                        Link::Udp(_) => Protocol::Udp,
                        Link::Tcp(_) => Protocol::Tcp,
                    };
                    let client = self.clients.iter().position(|c| c.path(proto) == Some(*path));
                    if is_media(contents) && self.rng.chance(self.loss_down) {
                        continue;
                    }
                    let Some(n) = client else { continue };
                    let narrow = self.bottleneck.as_mut().filter(|bottleneck| bottleneck.client == n);
                    let waits = narrow.map_or(Some(Duration::ZERO), |b| b.pass(self.now, contents.len()));
                    if let Some(waits) = waits {
                        self.to_clients.push((self.now + waits + DELAY, n, proto, contents.to_vec()));
                    }
                }
            });
            while let Some(event) = shard.poll_event() {
                let Event::LegChanged { leg, state, .. } = event;
                self.events.push((leg, state));
            }
        }
    }
}

impl Bottleneck {
    pub fn new(now: Instant, client: usize, bits_per_second: u64, queue: Duration) -> Self {
        Self { client, bits_per_second, queue, free_at: now }
    }

    /// How long a datagram takes to get through; `None`: it is lost.
    fn pass(&mut self, now: Instant, bytes: usize) -> Option<Duration> {
        let takes = Duration::from_micros(bytes as u64 * 8_000_000 / self.bits_per_second);
        let through_at = self.free_at.max(now) + takes;
        let waits = through_at - now;
        (waits <= self.queue).then(|| {
            self.free_at = through_at;
            waits
        })
    }
}

pub fn path_of(link: Link, remote: SocketAddr) -> Path {
    Path { link, local: None, remote }
}

/// RTP, not RTCP, STUN or DTLS.
pub fn is_media(bytes: &[u8]) -> bool {
    bytes.len() > 12 && (128..192).contains(&bytes[0]) && !(64..96).contains(&(bytes[1] & 0x7f))
}

impl Client {
    pub fn payload_type(&self, kind: MediaKindKey) -> Option<PayloadParams> {
        let media = self.rtc.media(self.mids[&kind])?;
        let params = self.rtc.codec_config().params();
        params.iter().find(|p| media.remote_pts().contains(&p.pt())).copied()
    }

    pub fn sending_ssrc(&mut self, kind: MediaKindKey) -> u32 {
        let mid = self.mids[&kind];
        let mut api = self.rtc.direct_api();
        *api.stream_tx_by_mid(mid, None).expect("a sending track").ssrc()
    }

    /// Payloads received on tracks of this kind, in order of arrival.
    pub fn heard(&self, kind: MediaKindKey) -> Vec<String> {
        let of_kind = |p: &&RtpPacket| {
            let codec = self.rtc.codec_config().params().iter().find(|c| c.pt() == p.header.payload_type);
            codec.is_some_and(|c| c.spec().codec.is_video() == (kind == Video))
        };
        let payload = |p: &RtpPacket| String::from_utf8_lossy(&p.payload).into_owned();
        self.received.iter().filter(of_kind).map(payload).collect()
    }

    /// How its datagrams reach the shard now, if they do.
    pub fn path(&self, proto: Protocol) -> Option<Path> {
        match (proto, self.connection) {
            (Protocol::Udp, _) => (!self.is_udp_blocked).then(|| path_of(Link::Udp(0), self.mapped)),
            (_, Some((number, address))) => Some(path_of(Link::Tcp(number), address)),
            (_, None) => None,
        }
    }

    /// Opens a TCP connection to the shard.
    pub fn connect(&mut self, number: u64) {
        let address = SocketAddr::new(self.address.ip(), 6000 + number as u16);
        let candidate = Candidate::builder().tcp().host(address).tcptype(TcpType::Active).build().unwrap();
        self.rtc.add_local_candidate(candidate);
        self.connection = Some((number, address));
    }

    fn receive(&mut self, now: Instant, proto: Protocol, bytes: Vec<u8>) {
        let contents = bytes.as_slice().try_into().expect("the router sends only what can be parsed");
        let of_connection = self.connection.filter(|_| proto == Protocol::Tcp).map(|(_, address)| address);
        let destination = of_connection.unwrap_or(self.address);
        let receive = Receive { proto, source: ROUTER.into(), destination, contents };
        self.rtc.handle_input(Input::Receive(now, receive)).unwrap();
        self.wire_in.push(bytes);
        self.wakes_at = now;
        // What the client wants to send meanwhile goes out at its next turn.
        self.unsent = self.drain(now);
    }

    fn drain(&mut self, now: Instant) -> Vec<(Vec<u8>, SocketAddr, Protocol)> {
        let mut sent = std::mem::take(&mut self.unsent);
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) => {
                    self.wakes_at = at;
                    return sent;
                }
                Output::Transmit(t) => sent.push((t.contents.to_vec(), t.destination, t.proto)),
                Output::Event(event) => self.handle_event(now, event),
            }
        }
    }

    fn handle_event(&mut self, now: Instant, event: str0m::Event) {
        match event {
            str0m::Event::Connected => self.connected = true,
            str0m::Event::Closed => self.closed = true,
            str0m::Event::RtpPacket(packet) => {
                self.received.push(packet);
                self.received_at.push(now);
            }
            str0m::Event::KeyframeRequest(request) => self.keyframe_requests.push((now, request)),
            str0m::Event::RawPacket(raw) => self.raw.push(*raw),
            str0m::Event::EgressBitrateEstimate(BweKind::Remb { estimate, .. }) => {
                self.limit = Some(estimate.as_u64());
            }
            _ => {}
        }
    }
}
