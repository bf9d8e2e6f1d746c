//! One leg's end of the media path, without a socket, a clock or a task.

mod direct;
mod types;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive, TcpType};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Event, IceConnectionState, IceCreds, Input, Output, Rtc, RtcConfig};

use super::check::{self, Check};
use super::{Payload, VideoPacket};

pub use direct::LocalCandidate;
pub use types::{
    ConnectionState, PeerConfig, PeerCounters, PeerError, PeerEvent, ReceivedRtp, Transmit, Transport,
    WireStats,
};

/// Most outputs of one kind (datagrams, events) kept until they are polled; at the bound the newest is dropped and
/// counted. Higher lets a slow caller lag behind for longer, lower costs less memory per leg.
pub const MAX_POLLED: usize = 2048;

/// A check a second, so that a quiet path to a router is known to be alive or dead within seconds.
const ROUTER_CHECKED_EVERY: Duration = Duration::from_secs(1);

/// What is too short to be seen by anybody, and still earlier.
const EARLIER: Duration = Duration::from_nanos(1);

/// One end of a media path: to an ICE-lite router, or ([`Peer::offer_direct`], [`Peer::answer_direct`]) to the other party.
///
/// Order of calls: [`Peer::offer`] → send the SDP, get the answer → [`Peer::accept_answer`] → then for ever:
/// `handle_datagram` for what the socket gives, `handle_timeout` at `poll_timeout`, `send_*` for media; after each of
/// them `poll_transmit` and `poll_event` until both are empty. Time given in must not go backwards.
pub struct Peer {
    rtc: Rtc,
    pending: Option<SdpPendingOffer>,
    audio: Outgoing,
    video: Option<Outgoing>,
    resend_packets: usize,
    local: Option<SocketAddr>,
    /// The address of the relay that the leg may use.
    relayed: Option<SocketAddr>,
    /// The other end, as its answer has it.
    router: Option<IceCreds>,
    codecs: [Option<Codec>; 128],
    state: ConnectionState,
    transport: Option<Transport>,
    timeout: Instant,
    /// Up to when the engine's time has passed.
    passed: Option<Instant>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<PeerEvent>,
    counters: PeerCounters,
}

/// An m-line we send on.
struct Outgoing {
    mid: Mid,
    payload_type: Option<Pt>,
    next_sequence: u64,
}

impl Outgoing {
    /// Sequence numbers start at 1: str0m needs the first below 65536 so that both ends agree on the rollover counter.
    fn new(mid: Mid) -> Self {
        Self { mid, payload_type: None, next_sequence: 1 }
    }
}

impl Peer {
    /// Makes a leg and its SDP offer: sendrecv Opus audio, and sendrecv video if asked for; recvonly both if nothing is to be
    /// sent. The offer names no candidate: the router is ICE-lite and learns the address from authenticated checks.
    pub fn offer(now: Instant, config: PeerConfig) -> (Self, String) {
        let rtc = build(now, &config, ROUTER_CHECKED_EVERY);
        let (peer, offer) = Self::offer_on(now, rtc, &config);
        (peer, without_candidates(&offer))
    }

    fn offer_on(now: Instant, mut rtc: Rtc, config: &PeerConfig) -> (Self, String) {
        let mut api = rtc.sdp_api();
        let direction = if config.only_receives { Direction::RecvOnly } else { Direction::SendRecv };
        let audio = api.add_media(MediaKind::Audio, direction, None, None, None);
        let video = config.video.then(|| api.add_media(MediaKind::Video, direction, None, None, None));
        let (offer, pending) = api.apply().expect("added media always needs an offer");
        let mut peer = Self::new(now, rtc, Outgoing::new(audio), video.map(Outgoing::new), config);
        peer.pending = Some(pending);
        (peer, offer.to_sdp_string())
    }

    fn new(now: Instant, rtc: Rtc, audio: Outgoing, video: Option<Outgoing>, config: &PeerConfig) -> Self {
        Self {
            rtc,
            pending: None,
            audio,
            video,
            resend_packets: config.resend_packets,
            local: None,
            relayed: None,
            router: None,
            codecs: [None; 128],
            state: ConnectionState::Connecting,
            transport: None,
            timeout: now,
            passed: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            counters: PeerCounters::default(),
        }
    }

    /// Takes the router's answer and starts connecting from `local`, the address the leg's socket is bound to.
    ///
    /// Errors: [`PeerError`]; after [`PeerError::Answer`] the leg is useless.
    pub fn accept_answer(&mut self, now: Instant, answer: &str, local: SocketAddr) -> Result<(), PeerError> {
        let pending = self.pending.take().ok_or(PeerError::NoOffer)?;
        let candidate = Candidate::host(local, "udp").map_err(|_| PeerError::LocalAddress)?;
        self.router = check::credentials(answer);
        let answer =
            SdpAnswer::from_sdp_string(answer).map_err(|error| PeerError::Answer(error.to_string()))?;
        self.rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .map_err(|error| PeerError::Answer(error.to_string()))?;
        self.rtc.add_local_candidate(candidate);
        self.local = Some(local);
        self.transport = None;
        // After a restart the path is a new one: Connected is told again when it is there.
        if self.state != ConnectionState::Closed {
            self.state = ConnectionState::Connecting;
        }
        self.learn_payload_types();
        self.step(now);
        Ok(())
    }

    /// Offers an ICE restart of this leg, for a lost path or a new local address; take its answer with
    /// [`Peer::accept_answer`]. DTLS, SRTP and the streams go on.
    pub fn restart_ice(&mut self) -> String {
        let mut api = self.rtc.sdp_api();
        api.ice_restart(false);
        let (offer, pending) = api.apply().expect("an ICE restart always needs an offer");
        self.pending = Some(pending);
        without_candidates(&offer.to_sdp_string())
    }

    /// Takes a datagram from the leg's socket. What is not this leg's, or makes no sense, is counted and dropped.
    pub fn handle_datagram(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) {
        match self.local {
            Some(local) => self.handle_datagram_on(now, local, source, datagram),
            None => self.counters.refused_datagrams += 1,
        }
    }

    /// The same for a leg with several sockets: `local` is the address of the one that the datagram came in on.
    pub fn handle_datagram_on(
        &mut self,
        now: Instant,
        local: SocketAddr,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        self.receive(now, Protocol::Udp, local, source, datagram);
    }

    /// Takes a frame from the leg's TCP connection: `local` and `source` are the connection's two ends.
    pub fn handle_frame(&mut self, now: Instant, local: SocketAddr, source: SocketAddr, frame: &[u8]) {
        self.receive(now, Protocol::Tcp, local, source, frame);
    }

    /// There is a TCP connection to one of the router's addresses, and this is its end here: checks go out on it as well.
    ///
    /// Errors: [`PeerError::LocalAddress`].
    pub fn add_connection(&mut self, now: Instant, local: SocketAddr) -> Result<(), PeerError> {
        let candidate = Candidate::builder().tcp().host(local).tcptype(TcpType::Active).build();
        self.rtc.add_local_candidate(candidate.map_err(|_| PeerError::LocalAddress)?);
        self.step(now);
        Ok(())
    }

    /// There is a relay that leads to the router, and this is its address there: checks go out by it as well. What comes by
    /// it is for [`Peer::handle_datagram_on`], with this address as `local`.
    ///
    /// Errors: [`PeerError::LocalAddress`].
    pub fn add_relay(&mut self, now: Instant, relayed: SocketAddr) -> Result<(), PeerError> {
        let candidate = Candidate::relayed(relayed, relayed, "udp").map_err(|_| PeerError::LocalAddress)?;
        self.rtc.add_local_candidate(candidate);
        self.relayed = Some(relayed);
        self.step(now);
        Ok(())
    }

    /// A check to ask the router by over a way that the leg does not use; `None` before there is an answer.
    pub(crate) fn check(&mut self) -> Option<Check> {
        let local = self.rtc.direct_api().local_ice_credentials();
        Check::new(&local, self.router.as_ref()?)
    }

    fn receive(
        &mut self,
        now: Instant,
        protocol: Protocol,
        local: SocketAddr,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        let Ok(receive) = Receive::new(protocol, source, local, datagram) else {
            self.counters.refused_datagrams += 1;
            return;
        };
        // To let time pass is most of what str0m does with a packet, and once for each moment is enough: it does not for what came earlier.
        let arrived = if self.passed == Some(now) { now - EARLIER } else { now };
        let input = Input::Receive(arrived, receive);
        // str0m itself does not look at the source of an input: this check keeps strangers' packets out.
        if !self.rtc.accepts(&input) {
            self.counters.refused_datagrams += 1;
            return;
        }
        match self.rtc.handle_input(input) {
            Ok(()) => self.passed = Some(now),
            Err(_) => self.counters.refused_datagrams += 1,
        }
        self.drain();
    }

    /// Lets time pass. Call it at [`Peer::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.step(now);
    }

    /// When [`Peer::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Instant {
        self.timeout
    }

    /// The next datagram to send.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing that happened.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// Sends one Opus packet. `rtp_time` counts samples at 48 kHz; `marker` starts a talk spurt. Dropped and counted
    /// while the leg is not connected.
    pub fn send_audio(&mut self, now: Instant, rtp_time: u32, payload: Payload, marker: bool) {
        let Some(payload_type) = self.audio.payload_type.filter(|_| self.is_connected()) else {
            self.counters.unsent += 1;
            return;
        };
        let sequence = self.audio.next_sequence;
        let length = payload.len();
        let mid = self.audio.mid;
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(mid, None) else {
            self.counters.unsent += 1;
            return;
        };
        let write = RtpWrite::new(payload_type, sequence.into(), rtp_time, now, payload);
        stream.write_rtp(write.marker(marker));
        self.audio.next_sequence += 1;
        self.count_sent(length);
        self.step(now);
    }

    /// Sends the packets of one VP8 frame; `rtp_time` counts at 90 kHz. Dropped and counted while the leg is not
    /// connected or has no video.
    pub fn send_video(&mut self, now: Instant, rtp_time: u32, packets: &[VideoPacket]) {
        let ready = self.is_connected();
        let line = self.video.as_ref().filter(|_| ready);
        let Some((mid, payload_type, first)) =
            line.and_then(|v| v.payload_type.map(|pt| (v.mid, pt, v.next_sequence)))
        else {
            self.counters.unsent += packets.len() as u64;
            return;
        };
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(mid, None) else {
            self.counters.unsent += packets.len() as u64;
            return;
        };
        for (sequence, packet) in (first..).zip(packets) {
            let write = RtpWrite::new(payload_type, sequence.into(), rtp_time, now, packet.payload.clone());
            stream.write_rtp(write.marker(packet.marker).nackable(true));
        }
        if let Some(video) = &mut self.video {
            video.next_sequence += packets.len() as u64;
        }
        packets.iter().for_each(|packet| self.count_sent(packet.payload.len()));
        self.step(now);
    }

    /// Asks the other party for a key frame (PLI, RFC 4585 section 6.3.1).
    pub fn request_keyframe(&mut self, now: Instant) {
        if let Some(mid) = self.video.as_ref().map(|video| video.mid) {
            if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(mid, None) {
                stream.request_keyframe(KeyframeRequestKind::Pli);
            }
            self.step(now);
        }
    }

    /// Ends the leg: tells the router by DTLS close_notify. Drain `poll_transmit` afterwards.
    pub fn close(&mut self, now: Instant) {
        // A leg that never connected has nobody to tell.
        let _ = self.rtc.close();
        self.step(now);
        self.set_state(ConnectionState::Closed);
    }

    /// Where the path is.
    pub fn state(&self) -> ConnectionState {
        self.state
    }

    /// True while media can be sent.
    pub fn is_connected(&self) -> bool {
        self.state == ConnectionState::Connected
    }

    /// What the leg's datagrams, checks aside, went over last; `None` if there were none since the last answer.
    pub fn transport(&self) -> Option<Transport> {
        self.transport
    }

    /// What was sent, received and refused so far.
    pub fn counters(&self) -> PeerCounters {
        self.counters
    }

    fn count_sent(&mut self, length: usize) {
        self.counters.packets_out += 1;
        self.counters.payload_bytes_out += length as u64;
    }

    fn learn_payload_types(&mut self) {
        self.codecs = [None; 128];
        for params in self.rtc.codec_config().params() {
            if let Some(slot) = self.codecs.get_mut(usize::from(*params.pt())) {
                *slot = Some(params.spec().codec);
            }
        }
        self.audio.payload_type = self.agreed(self.audio.mid, Codec::Opus);
        let video = self.video.as_ref().map(|v| v.mid);
        let vp8 = video.and_then(|mid| self.agreed(mid, Codec::Vp8));
        if let Some(video) = &mut self.video {
            video.payload_type = vp8;
        }
        let mut api = self.rtc.direct_api();
        if let Some(stream) = video.and_then(|mid| api.stream_tx_by_mid(mid, None)) {
            stream.set_rtx_cache(self.resend_packets, Duration::from_secs(1), None);
        }
    }

    /// The payload type under which the answer lets us send `codec` on `mid`.
    fn agreed(&self, mid: Mid, codec: Codec) -> Option<Pt> {
        let media = self.rtc.media(mid).filter(|media| media.direction().is_sending())?;
        let params = self.rtc.codec_config().find(|p| p.spec().codec == codec)?;
        media.remote_pts().contains(&params.pt()).then(|| params.pt())
    }

    fn step(&mut self, now: Instant) {
        // An error here ends the leg; `drain` sees that and reports it.
        let _ = self.rtc.handle_input(Input::Timeout(now));
        self.passed = Some(now);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.timeout = at;
                    break;
                }
                Ok(Output::Transmit(t)) => {
                    let (source, destination) = (t.source, t.destination);
                    let transport = match t.proto {
                        Protocol::Udp if self.relayed == Some(source) => Transport::Tls,
                        Protocol::Udp => Transport::Udp,
                        _ => Transport::Tcp,
                    };
                    // Checks go everywhere; they begin with 0 or 1 (RFC 7983).
                    if t.contents.first().is_some_and(|first| *first > 3) {
                        self.transport = Some(transport);
                    }
                    let contents = t.contents.into();
                    let transmit = Transmit { transport, source, destination, contents };
                    push_bounded(&mut self.transmits, transmit, &mut self.counters);
                }
                Ok(Output::Event(event)) => self.on_event(event),
                Err(error) => {
                    tracing::debug!(%error, "media leg failed");
                    self.rtc.disconnect();
                    break;
                }
            }
        }
        if !self.rtc.is_alive() {
            self.set_state(ConnectionState::Closed);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected => self.set_state(ConnectionState::Connected),
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.set_state(ConnectionState::Disconnected);
            }
            Event::IceConnectionStateChange(
                IceConnectionState::Connected | IceConnectionState::Completed,
            ) if self.rtc.is_connected() => self.set_state(ConnectionState::Connected),
            Event::RtpPacket(packet) => self.on_rtp(packet),
            Event::KeyframeRequest(_) => self.push(PeerEvent::KeyframeWanted),
            Event::Closed => self.set_state(ConnectionState::Closed),
            Event::PeerStats(stats) => {
                let path = stats.selected_candidate_pair.and_then(|pair| pair.current_round_trip_time);
                let wire = WireStats {
                    bytes_out: stats.peer_bytes_tx,
                    bytes_in: stats.peer_bytes_rx,
                    rtt: stats.rtt.or(path),
                    loss_out: stats.egress_loss_fraction,
                };
                self.push(PeerEvent::Stats(wire));
            }
            _ => {}
        }
    }

    fn on_rtp(&mut self, packet: RtpPacket) {
        if packet.payload.is_empty() {
            return; // padding that probes for bandwidth
        }
        let codec = self.codecs.get(usize::from(*packet.header.payload_type)).copied().flatten();
        let Some(codec) = codec.filter(|codec| codec.is_audio() || codec.is_video()) else {
            self.counters.unknown_kind += 1;
            return;
        };
        self.counters.packets_in += 1;
        self.counters.payload_bytes_in += packet.payload.len() as u64;
        let received = ReceivedRtp {
            sequence: *packet.seq_no,
            rtp_time: packet.header.timestamp,
            marker: packet.header.marker,
            codec,
            payload: packet.payload,
            arrived: packet.timestamp,
        };
        self.push(if codec.is_audio() { PeerEvent::Audio(received) } else { PeerEvent::Video(received) });
    }

    fn set_state(&mut self, state: ConnectionState) {
        if self.state != state && self.state != ConnectionState::Closed {
            self.state = state;
            self.push(PeerEvent::Connection(state));
        }
    }

    fn push(&mut self, event: PeerEvent) {
        push_bounded(&mut self.events, event, &mut self.counters);
    }
}

/// An engine for one leg; `check_max`: the longest time between two checks of a quiet path.
fn build(now: Instant, config: &PeerConfig, check_max: Duration) -> Rtc {
    let mut rtc_config = rtc_config().set_stats_interval(config.stats_interval);
    if let Some(certificate) = &config.certificate {
        rtc_config = rtc_config.set_dtls_cert(certificate.clone());
    }
    rtc_config.set_max_stun_rto(check_max);
    rtc_config.build(now)
}

/// What every leg to a router offers, for those who drive str0m by themselves: Opus, VP8 first of the video codecs, and connectivity
/// checks as a router one hop of ICE away wants them. No statistics.
pub fn rtc_config() -> RtcConfig {
    let mut config = RtcConfig::new()
        .set_rtp_mode(true)
        .clear_codecs()
        .enable_opus(true, false)
        .enable_vp8(true)
        .enable_vp9(true)
        .enable_h264(true)
        .enable_av1(true)
        .set_stats_interval(None);
    // Two lost connectivity checks cost 150 ms instead of 750 ms; the router is one hop of ICE away.
    config.set_initial_stun_rto(Duration::from_millis(50));
    config.set_max_stun_rto(ROUTER_CHECKED_EVERY);
    config
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, counters: &mut PeerCounters) {
    if queue.len() < MAX_POLLED {
        queue.push_back(item);
    } else {
        counters.overflowed += 1;
    }
}

/// The offer without `a=candidate` lines: what the router does not need it does not get.
fn without_candidates(sdp: &str) -> String {
    let kept = |line: &&str| !line.starts_with("a=candidate:") && !line.starts_with("a=end-of-candidates");
    sdp.split_inclusive('\n').filter(kept).collect()
}

#[cfg(test)]
mod tests;
