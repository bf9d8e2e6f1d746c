//! A client on a real socket: plain str0m on a thread, sending audio and video all the time.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use duocast_model::{Frames, frame_header};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive, TcpType};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

/// A packet of each kind every so often.
const PACE: Duration = Duration::from_millis(20);

/// What a peer sends once it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sends {
    /// A short packet of each kind, 50 times a second.
    Chatter,
    /// 50 packets of 120 B of audio and 30 frames of four packets of 1100 B a second.
    Show,
    Nothing,
}

/// What a peer has seen so far.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub connected: bool,
    pub closed: bool,
    pub audio: usize,
    pub video: usize,
    /// Packets that the peer itself sent.
    pub sent: u64,
    /// Longest time without media, since the first.
    pub longest_gap: Duration,
    /// Payloads of one packet of each kind.
    pub last_audio: Vec<u8>,
    last_at: Option<Instant>,
}

/// A peer that made an offer.
pub struct Offered {
    pub sdp: String,
    rtc: Rtc,
    pending: SdpPendingOffer,
    wire: Wire,
    address: SocketAddr,
    mids: [Mid; 2],
}

/// What a peer's datagrams go over.
enum Wire {
    Udp(UdpSocket),
    /// The connection, and what came that is not taken yet.
    Tcp(TcpStream, Vec<u8>),
}

impl Wire {
    fn send(&mut self, datagram: &[u8], to: SocketAddr) {
        // A node that stopped is no fault of the peer's.
        match self {
            Self::Udp(socket) => drop(socket.send_to(datagram, to)),
            Self::Tcp(stream, _) => {
                let framed = [&frame_header(datagram).unwrap()[..], datagram].concat();
                let _ = stream.write_all(&framed);
            }
        }
    }

    fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> Option<(Vec<u8>, SocketAddr)> {
        match self {
            Self::Udp(socket) => {
                socket.set_read_timeout(Some(wait)).unwrap();
                let (length, source) = socket.recv_from(buffer).ok()?;
                Some((buffer[..length].to_vec(), source))
            }
            Self::Tcp(stream, received) => {
                let source = stream.peer_addr().ok()?;
                if Frames::new(received, 1500).next_frame().unwrap().is_none() {
                    stream.set_read_timeout(Some(wait)).unwrap();
                    let count = stream.read(buffer).ok()?;
                    received.extend_from_slice(&buffer[..count]);
                }
                let mut frames = Frames::new(received, 1500);
                let frame = frames.next_frame().unwrap()?.to_vec();
                *received = frames.rest().to_vec();
                Some((frame, source))
            }
        }
    }

    fn protocol(&self) -> Protocol {
        match self {
            Self::Udp(_) => Protocol::Udp,
            Self::Tcp(..) => Protocol::Tcp,
        }
    }
}

/// A peer with an answer; runs until it is dropped.
pub struct Peer {
    pub answer: String,
    seen: Arc<Mutex<Seen>>,
    rebind: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Offered {
    pub fn new(ip: IpAddr) -> Self {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        Self::on(Wire::Udp(socket), address, Candidate::host(address, "udp").unwrap())
    }

    /// One that has a connection to `router`, and no UDP at all.
    pub fn over_tcp(router: SocketAddr) -> Self {
        let stream = TcpStream::connect(router).unwrap();
        stream.set_nodelay(true).unwrap();
        let address = stream.local_addr().unwrap();
        let candidate = Candidate::builder().tcp().host(address).tcptype(TcpType::Active).build();
        Self::on(Wire::Tcp(stream, Vec::new()), address, candidate.unwrap())
    }

    fn on(wire: Wire, address: SocketAddr, candidate: Candidate) -> Self {
        let config = RtcConfig::new().clear_codecs().enable_opus(true, false).enable_vp8(true);
        let mut rtc = config.set_rtp_mode(true).build(Instant::now());
        rtc.add_local_candidate(candidate);
        let mut api = rtc.sdp_api();
        let mids = [MediaKind::Audio, MediaKind::Video]
            .map(|kind| api.add_media(kind, Direction::SendRecv, None, None, None));
        let (offer, pending) = api.apply().unwrap();
        Self { sdp: offer.to_sdp_string(), rtc, pending, wire, address, mids }
    }

    pub fn answered(self, answer: &str) -> Peer {
        self.answered_as(Sends::Chatter, answer)
    }

    pub fn answered_as(self, sends: Sends, answer: &str) -> Peer {
        let Self { mut rtc, pending, wire, address, mids, .. } = self;
        let parsed = SdpAnswer::from_sdp_string(answer).unwrap();
        rtc.sdp_api().accept_answer(pending, parsed).unwrap();
        let (seen, rebind, stop) =
            (Arc::default(), Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let body = Body {
            rtc,
            wire,
            address,
            mids,
            sends,
            ticks: 0,
            sent: [0; 2],
            send_at: Instant::now(),
            seen: Arc::clone(&seen),
            rebind: Arc::clone(&rebind),
            stop: Arc::clone(&stop),
        };
        let thread = Some(std::thread::spawn(move || body.run()));
        Peer { answer: answer.into(), seen, rebind, stop, thread }
    }
}

impl Peer {
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Forgets what was counted, so that a later look shows what happened since.
    pub fn forget(&self) {
        let mut seen = self.seen.lock().unwrap();
        *seen = Seen { connected: seen.connected, last_at: seen.last_at, ..Seen::default() };
    }

    /// As if a NAT gave the peer another address: it goes on from a new socket and knows nothing of it.
    pub fn rebind(&self) {
        self.rebind.store(true, Ordering::Release);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Body {
    rtc: Rtc,
    wire: Wire,
    /// What the peer believes its address to be.
    address: SocketAddr,
    mids: [Mid; 2],
    sends: Sends,
    /// Times that something was sent.
    ticks: u64,
    /// Packets of audio and video.
    sent: [u64; 2],
    send_at: Instant,
    seen: Arc<Mutex<Seen>>,
    rebind: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Body {
    fn run(mut self) {
        let mut buffer = [0; 2000];
        while !self.stop.load(Ordering::Acquire) {
            if self.rebind.swap(false, Ordering::AcqRel) {
                self.wire = Wire::Udp(UdpSocket::bind((self.address.ip(), 0)).unwrap());
            }
            let Some(wakes_at) = self.drain() else { return };
            let now = Instant::now();
            if now >= self.send_at && self.rtc.is_connected() {
                self.send_at = now + PACE;
                self.send_media(now);
                continue;
            }
            let until = wakes_at.min(self.send_at.max(now)).saturating_duration_since(now);
            let wait = until.clamp(Duration::from_millis(1), Duration::from_millis(10));
            let proto = self.wire.protocol();
            if let Some((datagram, source)) = self.wire.receive(&mut buffer, wait) {
                let contents = datagram.as_slice().try_into().unwrap();
                let receive = Receive { proto, source, destination: self.address, contents };
                self.rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
            } else {
                self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
            }
        }
    }

    fn send_media(&mut self, now: Instant) {
        self.ticks += 1;
        match self.sends {
            Sends::Nothing => {}
            Sends::Chatter => {
                let payload = format!("packet {}", self.ticks).into_bytes();
                self.send_packet(now, 0, &payload);
                self.send_packet(now, 1, &payload);
            }
            Sends::Show => {
                self.send_packet(now, 0, &[7; 120]);
                // Three of five ticks are 30 a second.
                if self.ticks % 5 < 3 {
                    (0..4).for_each(|_| self.send_packet(now, 1, &[7; 1100]));
                }
            }
        }
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
    }

    fn send_packet(&mut self, now: Instant, kind: usize, payload: &[u8]) {
        self.sent[kind] += 1;
        self.seen.lock().unwrap().sent += 1;
        let (pt, rate) = [(111, 960), (96, 1800)][kind];
        let time = self.ticks as u32 * rate;
        let write = RtpWrite::new(pt.into(), self.sent[kind].into(), time, now, payload.to_vec());
        let mut api = self.rtc.direct_api();
        api.stream_tx_by_mid(self.mids[kind], None).unwrap().write_rtp(write.nackable(kind == 1));
    }

    /// When the peer wants to be woken; `None` once it is over.
    fn drain(&mut self) -> Option<Instant> {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) => return self.rtc.is_alive().then_some(at),
                Output::Transmit(t) => self.wire.send(&t.contents, t.destination),
                Output::Event(event) => self.note(event),
            }
        }
    }

    fn note(&self, event: Event) {
        let mut seen = self.seen.lock().unwrap();
        match event {
            Event::Connected => seen.connected = true,
            Event::Closed => seen.closed = true,
            Event::RtpPacket(packet) => {
                let now = Instant::now();
                if let Some(last) = seen.last_at.replace(now) {
                    seen.longest_gap = seen.longest_gap.max(now - last);
                }
                if *packet.header.payload_type == 111 {
                    seen.audio += 1;
                    seen.last_audio = packet.payload.to_vec();
                } else {
                    seen.video += 1;
                }
            }
            _ => {}
        }
    }
}
