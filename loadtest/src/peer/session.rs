//! A synthetic client's end of a media path: str0m for the offer, ICE and the handshake, the router's kind of media plane for all that
//! follows. A packet visits no session of str0m, so that a client costs less than what it measures.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use duocast_client::media::{AUDIO_CLOCK_HZ, PeerCounters, PeerError, VIDEO_CLOCK_HZ, rtc_config};
use duocast_media::{
    Demand, Extensions, KeyTap, Kind, MediaConfig, MediaPlane, Outbox, Packet, Renumbered, Side, Sink,
    TrackConfig, Write, prefetch_room,
};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc};

/// Most events kept until they are polled: each call makes a few. At the bound the newest is dropped and counted.
const MAX_EVENTS: usize = 64;

/// What a session is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionConfig {
    /// Offer a video m-line, VP8 first.
    pub(crate) video: bool,
    /// Offer to receive only.
    pub(crate) only_receives: bool,
}

/// One end of a media path to a router that is ICE-lite and the DTLS server.
///
/// Order of calls: [`Session::offer`], [`Session::accept_answer`], then `handle_*` for what comes and at
/// [`Session::poll_timeout`], and `send_*`; after each of them [`Session::poll_transmit`] and [`Session::poll_event`] until both
/// are empty. Time given in must not go backwards.
pub(crate) struct Session {
    /// Out of the way: what every packet touches is small.
    rtc: Box<Rtc>,
    keys: Option<KeyTap>,
    pending: Option<SdpPendingOffer>,
    media: MediaPlane,
    audio: Line,
    video: Option<Line>,
    local: Option<SocketAddr>,
    /// Where the handshake went, and media goes.
    router: Option<SocketAddr>,
    state: SessionState,
    /// The handshake is over.
    has_keys: bool,
    rtc_wakes_at: Instant,
    /// Of the last call.
    now: Instant,
    outbox: Outbox<SocketAddr>,
    events: VecDeque<SessionEvent>,
    /// What the last datagram said.
    heard: Vec<u8>,
    report: Vec<u8>,
    keyframe_requests: Vec<Mid>,
    counters: PeerCounters,
}

/// Where a session puts what it sends and what a datagram says.
#[derive(Default)]
pub(crate) struct SessionRoom {
    outbox: Outbox<SocketAddr>,
    heard: Vec<u8>,
}

/// An m-line.
struct Line {
    mid: Mid,
    /// What the answer lets us send.
    payload_type: Option<u8>,
    next_sequence: u64,
}

impl Line {
    fn new(mid: Mid) -> Self {
        Self { mid, payload_type: None, next_sequence: 1 }
    }
}

/// Where the path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionState {
    /// No path yet, or it was lost and may come back.
    Waiting,
    /// Media may flow.
    Connected,
    /// Only a new session helps.
    Closed,
}

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum SessionEvent {
    State(SessionState),
    Audio(Heard),
    Video(Heard),
    /// The other side needs a key frame.
    KeyframeWanted,
}

/// A packet of the other party; [`Session::payload`] has what it says, up to the next datagram.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// Extended beyond 16 bits.
    pub(crate) sequence: u64,
    pub(crate) rtp_time: u32,
    pub(crate) marker: bool,
    pub(crate) arrived: Instant,
    payload: Range<usize>,
}

impl Session {
    /// Makes a session and its SDP offer, which names no candidate: the router learns the address from authenticated checks.
    pub(crate) fn offer(now: Instant, config: SessionConfig) -> (Self, String) {
        let (mut rtc, keys) = duocast_media::build(rtc_config(), now);
        let mut api = rtc.sdp_api();
        let direction = if config.only_receives { Direction::RecvOnly } else { Direction::SendRecv };
        let audio = api.add_media(MediaKind::Audio, direction, None, None, None);
        let video = config.video.then(|| api.add_media(MediaKind::Video, direction, None, None, None));
        let (offer, pending) = api.apply().expect("added media always needs an offer");
        let own_ssrc = *rtc.direct_api().new_ssrc();
        let session = Self {
            rtc: Box::new(rtc),
            keys,
            pending: Some(pending),
            media: MediaPlane::new(now, own_ssrc),
            audio: Line::new(audio),
            video: video.map(Line::new),
            local: None,
            router: None,
            state: SessionState::Waiting,
            has_keys: false,
            rtc_wakes_at: now,
            now,
            outbox: Outbox::default(),
            events: VecDeque::new(),
            heard: Vec::new(),
            report: Vec::new(),
            keyframe_requests: Vec::new(),
            counters: PeerCounters::default(),
        };
        (session, offer.to_sdp_string())
    }

    /// Takes the router's answer and starts connecting from `local`, the address the socket is bound to.
    ///
    /// Errors: [`PeerError`]; after [`PeerError::Answer`] the session is useless.
    pub(crate) fn accept_answer(
        &mut self,
        now: Instant,
        answer: &str,
        local: SocketAddr,
    ) -> Result<(), PeerError> {
        let unusable = |error: String| PeerError::Answer(error);
        let pending = self.pending.take().ok_or(PeerError::NoOffer)?;
        let candidate = Candidate::host(local, "udp").map_err(|_| PeerError::LocalAddress)?;
        let wants_arrivals = answer.contains("transport-cc");
        let answer = SdpAnswer::from_sdp_string(answer).map_err(|error| unusable(error.to_string()))?;
        let accepted = self.rtc.sdp_api().accept_answer(pending, answer);
        accepted.map_err(|error| unusable(error.to_string()))?;
        self.rtc.add_local_candidate(candidate);
        self.local = Some(local);
        self.audio.payload_type = self.agreed(self.audio.mid, Codec::Opus);
        if let Some(mid) = self.video.as_ref().map(|line| line.mid) {
            let agreed = self.agreed(mid, Codec::Vp8);
            self.video.as_mut().expect("it is there").payload_type = agreed;
        }
        let mids: Vec<Mid> = std::iter::once(&self.audio).chain(&self.video).map(|line| line.mid).collect();
        let tracks = mids.into_iter().filter_map(|mid| self.take_track(mid)).collect();
        self.media.configure(now, MediaConfig { tracks, announced: Vec::new(), wants_arrivals });
        if wants_arrivals {
            // As browsers do, it numbers what it sends, and is told what arrives.
            self.media.set_demand(now, Some(Demand { wanted: 0 }));
        }
        self.let_time_pass(now);
        Ok(())
    }

    /// Has the memory fetched that the next packet needs, but for this itself.
    pub(crate) fn prefetch(&self) {
        self.media.prefetch();
        self.outbox.prefetch();
        prefetch_room(&self.heard);
    }

    /// The same, of what that points to.
    pub(crate) fn prefetch_further(&self) {
        self.media.prefetch_further();
    }

    /// Works in this room from now on and leaves its own there. Both must be empty: only where [`Session::poll_transmit`] and
    /// [`Session::poll_event`] are. Sessions of a thread that share one room so have it in the fast caches, which hold none of a thousand.
    pub(crate) fn swap_room(&mut self, room: &mut SessionRoom) {
        std::mem::swap(&mut self.outbox, &mut room.outbox);
        std::mem::swap(&mut self.heard, &mut room.heard);
    }

    /// Takes a datagram that came to the socket at `arrived`. What makes no sense is counted and dropped.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        arrived: Instant,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        self.now = now;
        let is_taken = match Kind::of(datagram) {
            Some(Kind::Rtp) => self.take_media(arrived, datagram),
            Some(Kind::Rtcp) => self.take_report(arrived, datagram),
            Some(Kind::Stun | Kind::Dtls) => self.show_str0m(now, source, datagram),
            None => false,
        };
        self.counters.refused_datagrams += u64::from(!is_taken);
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if self.rtc_wakes_at <= now {
            self.let_time_pass(now);
        }
        self.media.finish(now, &mut Sink { queue: &mut self.outbox, path: self.router });
    }

    /// When [`Session::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Instant {
        self.media.wakes_at(self.now).map_or(self.rtc_wakes_at, |at| at.min(self.rtc_wakes_at))
    }

    /// The same for who calls [`Session::handle_timeout`] every few milliseconds anyway: what cannot wait for that.
    pub(crate) fn hurries_at(&self) -> Option<Instant> {
        self.media.hurries_at(self.now)
    }

    /// The next datagram to send, and to whom.
    #[must_use]
    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, &[u8])> {
        self.outbox.pop()
    }

    /// The next thing that happened.
    #[must_use]
    pub(crate) fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// What a packet says. Empty for one that is not of the last datagram.
    pub(crate) fn payload(&self, heard: &Heard) -> &[u8] {
        self.heard.get(heard.payload.clone()).unwrap_or_default()
    }

    /// Sends one Opus packet. `rtp_time` counts samples at 48 kHz; `marker` starts a talk spurt. Dropped and counted while there
    /// is no path.
    pub(crate) fn send_audio(&mut self, now: Instant, rtp_time: u32, payload: &[u8], marker: bool) {
        self.now = now;
        let is_connected = self.is_connected();
        let Self { audio, media, outbox, router, counters, .. } = self;
        let sink = &mut Sink { queue: outbox, path: router.filter(|_| is_connected) };
        send(media, audio, (now, AUDIO_CLOCK_HZ), (rtp_time, payload, marker), sink, counters);
    }

    /// Sends a packet of a VP8 frame; `rtp_time` counts at 90 kHz, `marker` ends the frame. Dropped and counted while there is no path or
    /// no video.
    pub(crate) fn send_video(&mut self, now: Instant, rtp_time: u32, payload: &[u8], marker: bool) {
        self.now = now;
        let is_connected = self.is_connected();
        let Self { video, media, outbox, router, counters, .. } = self;
        let Some(line) = video else {
            counters.unsent += 1;
            return;
        };
        let sink = &mut Sink { queue: outbox, path: router.filter(|_| is_connected) };
        send(media, line, (now, VIDEO_CLOCK_HZ), (rtp_time, payload, marker), sink, counters);
    }

    /// Asks the other party for a key frame (PLI, RFC 4585 section 6.3.1), if something came of it yet.
    pub(crate) fn request_keyframe(&mut self) {
        if let Some(line) = &self.video {
            let sink = &mut Sink { queue: &mut self.outbox, path: self.router };
            self.media.request_keyframe(line.mid, 0, sink);
        }
    }

    /// Ends the session: RTCP BYE, then DTLS close_notify. Drain [`Session::poll_transmit`] afterwards.
    pub(crate) fn close(&mut self, now: Instant) {
        self.media.close(now, &mut Sink { queue: &mut self.outbox, path: self.router });
        // Who never connected has nobody to tell.
        let _ = self.rtc.close();
        self.drain();
        self.set_state(SessionState::Closed);
    }

    /// Whether media can be sent.
    pub(crate) fn is_connected(&self) -> bool {
        self.state == SessionState::Connected
    }

    /// What was sent, received and refused so far.
    pub(crate) fn counters(&self) -> PeerCounters {
        self.counters
    }

    /// The payload type under which the answer lets us send `codec` on `mid`.
    fn agreed(&self, mid: Mid, codec: Codec) -> Option<u8> {
        let media = self.rtc.media(mid).filter(|media| media.direction().is_sending())?;
        let params = self.rtc.codec_config().find(|p| p.spec().codec == codec)?;
        media.remote_pts().contains(&params.pt()).then(|| *params.pt())
    }

    /// What the media plane must know of an m-line. Its streams are taken out of str0m, which then has nothing to report or to wake
    /// for.
    fn take_track(&mut self, mid: Mid) -> Option<TrackConfig> {
        let mut api = self.rtc.direct_api();
        let sends = api.stream_tx_by_mid(mid, None).map(|stream| (stream.ssrc(), stream.rtx()));
        if let Some((ssrc, _)) = sends {
            api.remove_stream_tx(ssrc);
        }
        while let Some(ssrc) = api.stream_rx_by_mid(mid, None).map(|stream| stream.ssrc()) {
            api.remove_stream_rx(ssrc);
        }
        TrackConfig::negotiated(&self.rtc, mid, Vec::new(), sends, false)
    }

    fn take_media(&mut self, arrived: Instant, datagram: &[u8]) -> bool {
        self.heard.clear();
        let Ok(received) = self.media.receive(arrived, datagram, &mut self.heard) else { return false };
        // A probe for bandwidth, or what is there already.
        let Some(packet) = received.and_then(|received| received.packet) else { return true };
        if packet.payload.is_empty() {
            return true;
        }
        self.counters.packets_in += 1;
        self.counters.payload_bytes_in += packet.payload.len() as u64;
        let is_audio = packet.mid == self.audio.mid;
        let heard = Heard::new(packet, arrived);
        self.push(if is_audio { SessionEvent::Audio(heard) } else { SessionEvent::Video(heard) });
        true
    }

    fn take_report(&mut self, arrived: Instant, datagram: &[u8]) -> bool {
        let Self { media, report, keyframe_requests, outbox, router, .. } = self;
        let sink = &mut Sink { queue: outbox, path: *router };
        let taken = media.receive_rtcp(arrived, datagram, report, keyframe_requests, sink);
        for _ in 0..std::mem::take(&mut self.keyframe_requests).len() {
            self.push(SessionEvent::KeyframeWanted);
        }
        taken.is_ok()
    }

    fn show_str0m(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) -> bool {
        let Some(local) = self.local else { return false };
        let Ok(receive) = Receive::new(Protocol::Udp, source, local, datagram) else { return false };
        let input = Input::Receive(now, receive);
        // str0m itself does not look at the source of an input: this check keeps strangers' packets out.
        let is_taken = self.rtc.accepts(&input) && self.rtc.handle_input(input).is_ok();
        self.drain();
        is_taken
    }

    fn let_time_pass(&mut self, now: Instant) {
        // An error here ends the session; `drain` sees that and reports it.
        let _ = self.rtc.handle_input(Input::Timeout(now));
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.rtc_wakes_at = at;
                    break;
                }
                Ok(Output::Transmit(transmit)) => {
                    if Kind::of(&transmit.contents) == Some(Kind::Dtls) {
                        self.router = Some(transmit.destination);
                    }
                    self.outbox.push(transmit.destination, &transmit.contents);
                }
                Ok(Output::Event(event)) => self.on_event(&event),
                Err(error) => {
                    tracing::debug!(%error, "a session failed");
                    self.rtc.disconnect();
                    break;
                }
            }
        }
        if !self.rtc.is_alive() {
            self.set_state(SessionState::Closed);
        }
    }

    fn on_event(&mut self, event: &Event) {
        match event {
            // Now, not earlier: str0m has compared the router's certificate with the answer.
            Event::Connected => {
                let keys = self.keys.as_ref().and_then(KeyTap::take);
                self.has_keys = keys.is_some_and(|keys| self.media.start(&keys, Side::Client));
                let state = if self.has_keys { SessionState::Connected } else { SessionState::Closed };
                self.set_state(state);
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) if self.has_keys => {
                self.set_state(SessionState::Waiting);
            }
            Event::IceConnectionStateChange(
                IceConnectionState::Connected | IceConnectionState::Completed,
            ) if self.has_keys => self.set_state(SessionState::Connected),
            _ => {}
        }
    }

    fn set_state(&mut self, state: SessionState) {
        if self.state != state && self.state != SessionState::Closed {
            self.state = state;
            self.push(SessionEvent::State(state));
        }
    }

    fn push(&mut self, event: SessionEvent) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        } else {
            self.counters.overflowed += 1;
        }
    }
}

impl Heard {
    fn new(packet: Packet, arrived: Instant) -> Self {
        let Packet { sequence_number, timestamp, marker, payload, .. } = packet;
        Self { sequence: sequence_number, rtp_time: timestamp, marker, arrived, payload }
    }
}

fn send(
    media: &mut MediaPlane,
    line: &mut Line,
    (now, clock_rate): (Instant, u32),
    (timestamp, payload, marker): (u32, &[u8], bool),
    sink: &mut Sink<'_, SocketAddr>,
    counters: &mut PeerCounters,
) {
    let is_sent = line.payload_type.is_some_and(|payload_type| {
        let write = Write {
            payload_type,
            marker,
            sequence_number: line.next_sequence,
            timestamp,
            captured: now,
            clock_rate,
            extensions: Extensions::default(),
            capture_time: None,
            descriptor: 0..0,
            payload: 0..payload.len(),
            is_repaired: clock_rate == VIDEO_CLOCK_HZ,
            begins: false,
            redundant: None,
            is_carried: false,
            renumbered: Renumbered::default(),
        };
        media.write(now, line.mid, &write, payload, sink)
    });
    if is_sent {
        line.next_sequence += 1;
        counters.packets_out += 1;
        counters.payload_bytes_out += payload.len() as u64;
    } else {
        counters.unsent += 1;
    }
}
