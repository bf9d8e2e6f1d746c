//! Everything a call does with media on this device, without a socket or a clock: the legs, what is said and what is heard.

mod direct;

use std::time::{Duration, Instant};

use duocast_model::MediaState;

use crate::audio::{AudioError, Listener, Talker};
use crate::call::Media;
use crate::media::frames::Shown;
use crate::media::order::Order;
use crate::media::reception::Reception;
use crate::media::switches::{SoFar, Switches};
use crate::media::{
    ConnectionState, Course, Marker, Path, Peer, PeerEvent, ReceivedRtp, SyntheticVideo, Transmit, Transport,
    WireStats, mark,
};
use crate::stats::{CallStats, LatencyStats, millis};

use direct::DirectLeg;

/// A connected leg on which nothing arrives for this long is taken for lost: two answers to the checks that go out every
/// second are missing. Higher notices a dead path later, lower restarts over a hiccup.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(3);

/// A picture that stands still for this long, and for two of its usual intervals, gives way to the other path's, if that
/// brings frames that can be shown. Higher waits for the repair of a lost packet, lower goes to and fro while it is repaired.
const STILL_MIN: Duration = Duration::from_millis(70);

/// What the driver of a call learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineEvent {
    Connection(ConnectionState),
    /// The routed leg is on TCP or TLS, and the router can be reached over UDP again.
    UdpAgain,
    FirstAudio,
}

/// The media of one call. After each `handle_*` poll transmits and events until they are empty; call
/// [`Engine::handle_timeout`] at [`Engine::poll_timeout`].
pub(crate) struct Engine {
    peer: Option<Peer>,
    direct: Option<DirectLeg>,
    course: Course,
    /// What each path brings, [`Path::Routed`] first.
    reception: [Reception; 2],
    /// What the other party says it sends.
    peer_media: MediaState,
    /// Whose frames are shown: the path that is played, once it has a frame to show; the other one where that stands still.
    video_from: Path,
    /// No frame is shown twice, nor after a later one.
    order: Order,
    /// What a packet lets be shown, from packet to packet the same memory.
    shown: Vec<Shown>,
    shown_at: Option<Instant>,
    /// From one picture to the next, smoothed over some eight.
    usual_interval: Duration,
    switches: Switches,
    /// What to send and play, until the call is accepted and a leg is there.
    waiting: Option<Media>,
    is_open: bool,
    is_muted: bool,
    talker: Option<Talker>,
    listener: Option<Listener>,
    video: Option<VideoOut>,
    marks: bool,
    marker: Marker,
    wall_clock: fn() -> u64,
    heard_at: Instant,
    is_silent: bool,
    known_at: Instant,
    accepted_at: Option<Instant>,
    events: Vec<EngineEvent>,
    wire: WireStats,
    earlier_packets: (u64, u64),
    stats: CallStats,
}

struct VideoOut {
    source: SyntheticVideo,
    next_at: Instant,
    is_on: bool,
}

impl Engine {
    /// With `marks`, sent media carries latency marks. `wall_clock` gives microseconds since 1970, for marks only.
    pub(crate) fn new(now: Instant, marks: bool, wall_clock: fn() -> u64) -> Self {
        Self {
            peer: None,
            direct: None,
            course: Course::default(),
            reception: Default::default(),
            peer_media: MediaState::default(),
            video_from: Path::Routed,
            order: Order::default(),
            shown: Vec::new(),
            shown_at: None,
            usual_interval: Duration::ZERO,
            switches: Switches::default(),
            waiting: None,
            is_open: false,
            is_muted: false,
            talker: None,
            listener: None,
            video: None,
            marks,
            marker: Marker::default(),
            wall_clock,
            heard_at: now,
            is_silent: false,
            known_at: now,
            accepted_at: None,
            events: Vec::new(),
            wire: WireStats::default(),
            earlier_packets: (0, 0),
            stats: CallStats::default(),
        }
    }

    /// Puts a new leg in the place of the present one.
    pub(crate) fn handle_leg(&mut self, now: Instant, peer: Peer) {
        if let Some(old) = self.peer.replace(peer) {
            self.keep_counters(&old);
            self.stats.leg_reconnects += 1;
        }
        self.wire = WireStats::default();
        self.is_silent = false;
        if let Some(listener) = &mut self.listener {
            listener.start_over(Path::Routed);
        }
        self.reception[Path::Routed as usize] = Reception::default();
        self.order.start_over(Path::Routed);
        if let Some(video) = &mut self.video {
            video.source.request_keyframe();
        }
        self.heard_at = now;
        self.after(now);
    }

    /// The present leg goes on with a new path.
    pub(crate) fn handle_restarted(&mut self, now: Instant) {
        self.stats.leg_reconnects += 1;
        self.heard_at = now;
        self.after(now);
    }

    /// Sets what is sent and played once the call is open.
    pub(crate) fn handle_media(&mut self, now: Instant, media: Media) -> Result<(), AudioError> {
        self.waiting = Some(media);
        self.start_media(now)
    }

    /// The person pressed Accept.
    pub(crate) fn handle_accept_pressed(&mut self, at: Instant) {
        self.accepted_at.get_or_insert(at);
    }

    /// The call is accepted: media flows from now on.
    pub(crate) fn handle_open(&mut self, now: Instant) -> Result<(), AudioError> {
        self.accepted_at.get_or_insert(now);
        self.is_open = true;
        self.start_media(now)
    }

    pub(crate) fn handle_muted(&mut self, muted: bool) {
        self.is_muted = muted;
        if let Some(talker) = &mut self.talker {
            talker.set_muted(muted);
        }
    }

    pub(crate) fn handle_video(&mut self, now: Instant, on: bool) {
        if let Some(video) = &mut self.video {
            if on && !video.is_on {
                video.source.request_keyframe();
                video.next_at = now;
            }
            video.is_on = on;
        }
    }

    pub(crate) fn handle_datagram(&mut self, now: Instant, source: std::net::SocketAddr, datagram: &[u8]) {
        self.heard_at = now;
        if let Some(peer) = &mut self.peer {
            peer.handle_datagram(now, source, datagram);
        }
        self.after(now);
    }

    /// The same for a frame of the routed leg's TCP connection.
    pub(crate) fn handle_frame(
        &mut self,
        now: Instant,
        local: std::net::SocketAddr,
        source: std::net::SocketAddr,
        frame: &[u8],
    ) {
        self.heard_at = now;
        if let Some(peer) = &mut self.peer {
            peer.handle_frame(now, local, source, frame);
        }
        self.after(now);
    }

    /// The routed leg has a TCP connection; false if it cannot be used.
    pub(crate) fn handle_tcp_opened(&mut self, now: Instant, local: std::net::SocketAddr) -> bool {
        let added = self.peer.as_mut().is_some_and(|peer| peer.add_connection(now, local).is_ok());
        self.after(now);
        added
    }

    /// The routed leg has a relay, at this address; false if it cannot be used.
    pub(crate) fn handle_relay_opened(&mut self, now: Instant, relayed: std::net::SocketAddr) -> bool {
        let added = self.peer.as_mut().is_some_and(|peer| peer.add_relay(now, relayed).is_ok());
        self.after(now);
        added
    }

    /// The same as [`Engine::handle_datagram`] for what came by the relay.
    pub(crate) fn handle_relayed(
        &mut self,
        now: Instant,
        relayed: std::net::SocketAddr,
        source: std::net::SocketAddr,
        datagram: &[u8],
    ) {
        self.heard_at = now;
        if let Some(peer) = &mut self.peer {
            peer.handle_datagram_on(now, relayed, source, datagram);
        }
        self.after(now);
    }

    /// The connection that the routed leg used is gone: there is no need to wait for silence.
    pub(crate) fn handle_lost(&mut self) {
        if self.is_connected() && !std::mem::replace(&mut self.is_silent, true) {
            self.events.push(EngineEvent::Connection(ConnectionState::Disconnected));
        }
    }

    pub(crate) fn handle_udp_again(&mut self) {
        self.events.push(EngineEvent::UdpAgain);
    }

    /// The routed leg carries media, or could.
    pub(crate) fn is_connected(&self) -> bool {
        self.peer.as_ref().is_some_and(Peer::is_connected)
    }

    /// What the routed leg goes over; `None` while it is not connected.
    pub(crate) fn transport(&self) -> Option<Transport> {
        self.peer.as_ref().filter(|peer| peer.is_connected()).and_then(Peer::transport)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Some(peer) = self.peer.as_mut().filter(|peer| peer.poll_timeout() <= now) {
            peer.handle_timeout(now);
        }
        self.direct_timeout(now);
        self.after(now);
        self.send_audio(now);
        self.send_video(now);
        if let Some(listener) = self.listener.as_mut().filter(|l| l.poll_timeout() <= now) {
            listener.handle_timeout(now);
            self.note_first_audio();
        }
        self.switches.handle_timeout(now, self.so_far());
        self.watch_silence(now);
    }

    /// The present leg, for renegotiation.
    pub(crate) fn peer(&mut self) -> Option<&mut Peer> {
        self.peer.as_mut()
    }

    /// Ends the routed leg and says so to the router.
    pub(crate) fn close(&mut self, now: Instant) {
        if let Some(peer) = &mut self.peer {
            peer.close(now);
        }
    }

    /// The next datagram, and on which leg's socket it goes.
    #[must_use]
    pub(crate) fn poll_transmit(&mut self) -> Option<(Path, Transmit)> {
        let routed = self.peer.as_mut().and_then(Peer::poll_transmit).map(|t| (Path::Routed, t));
        routed.or_else(|| self.poll_direct_transmit().map(|t| (Path::Direct, t)))
    }

    pub(crate) fn take_events(&mut self) -> Vec<EngineEvent> {
        std::mem::take(&mut self.events)
    }

    /// The next moment at which something is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let peer = self.peer.as_ref();
        let silence =
            peer.filter(|p| p.is_connected() && !self.is_silent).map(|_| self.heard_at + SILENCE_MAX);
        let talker = self.talker.as_ref().and_then(Talker::poll_timeout);
        let video = self.video.as_ref().filter(|video| video.is_on).map(|video| video.next_at);
        let listener = self.listener.as_ref().map(Listener::poll_timeout);
        let direct = self.direct.as_ref().map(|direct| direct.peer.poll_timeout());
        [peer.map(Peer::poll_timeout), direct, silence, talker, video, listener].into_iter().flatten().min()
    }

    /// The call in numbers.
    pub(crate) fn stats(&self) -> CallStats {
        let mut stats = self.stats.clone();
        let counters = self.peer.as_ref().map(Peer::counters).unwrap_or_default();
        let direct = self.direct.as_ref().map(|direct| direct.peer.counters()).unwrap_or_default();
        stats.packets_out = self.earlier_packets.0 + counters.packets_out + direct.packets_out;
        stats.packets_in = self.earlier_packets.1 + counters.packets_in + direct.packets_in;
        stats.direct_packets_out += direct.packets_out;
        stats.direct_packets_in += direct.packets_in;
        stats.direct = self.course.play == Path::Direct;
        stats.switch_count = self.switches.count();
        stats.switches = self.switches.all();
        stats.bytes_out = self.wire.bytes_out;
        stats.bytes_in = self.wire.bytes_in;
        stats.rtt_ms = self.wire.rtt.map(millis);
        stats.loss_out = self.wire.loss_out.unwrap_or(0.0);
        stats.connected = self.is_connected();
        stats.transport = self.peer.as_ref().and_then(Peer::transport);
        if let Some(listener) = &self.listener {
            let heard = listener.stats();
            let frames = |count: u64| count as f64 * 20.0;
            stats.audio_packets_in = heard.jitter.received;
            stats.audio_packets_lost = heard.jitter.lost;
            stats.audio_packets_recovered = heard.jitter.recovered;
            stats.audio_packets_late = heard.jitter.late;
            stats.concealed_ms = frames(heard.jitter.concealed_frames);
            stats.jitter_ms = f64::from(heard.jitter.jitter_samples) / 48.0;
            stats.buffer_target_ms = frames(heard.jitter.target_frames.into());
            stats.played_ms = frames(heard.frames_played);
            stats.audio_units = heard.units;
        }
        stats
    }

    /// Playing starts when the call is open; sending as soon as there is a connected leg as well, so that a source that
    /// has a beginning is heard from it.
    fn start_media(&mut self, now: Instant) -> Result<(), AudioError> {
        if !self.is_open {
            return Ok(());
        }
        if let Some(sink) = self.waiting.as_mut().and_then(|media| media.sink.take()) {
            let mut listener = Listener::new(now, sink)?;
            listener.set_double(self.direct.is_some());
            self.listener = Some(listener);
        }
        if !self.peer.as_ref().is_some_and(Peer::is_connected) {
            return Ok(());
        }
        if let Some(media) = self.waiting.take() {
            let mut talker = Talker::new(now, media.source)?;
            talker.set_muted(self.is_muted);
            self.talker = Some(talker);
            self.video = media.video.map(|config| VideoOut {
                source: SyntheticVideo::new(config),
                next_at: now,
                is_on: true,
            });
        }
        if let (Some(at), None) = (self.accepted_at, self.stats.join_time_ms) {
            self.stats.join_time_ms = Some(millis(now - at));
        }
        self.send_audio(now);
        Ok(())
    }

    /// Each frame is encoded once, and goes on as many legs as the course says.
    fn send_audio(&mut self, now: Instant) {
        let Some(talker) = &mut self.talker else { return };
        while let Some(mut packet) = talker.poll_packet(now) {
            if self.marks {
                packet = Talker::marked(packet, self.marker.next((self.wall_clock)()));
            }
            self.stats.audio_packets_out += 1;
            for peer in sending(self.course, &mut self.peer, &mut self.direct) {
                peer.send_audio(now, packet.rtp_time, packet.payload.clone(), packet.marker);
            }
        }
    }

    fn send_video(&mut self, now: Instant) {
        let Some(video) = &mut self.video else { return };
        if !video.is_on || video.next_at > now {
            return;
        }
        // A frame that is more than one interval late starts a new schedule: no burst after a hold-up.
        let interval = video.source.interval();
        video.next_at =
            if now - video.next_at > interval { now + interval } else { video.next_at + interval };
        let frame = video.source.next_frame(self.marks.then(|| self.marker.next((self.wall_clock)())));
        for peer in sending(self.course, &mut self.peer, &mut self.direct) {
            peer.send_video(now, frame.rtp_time, &frame.packets);
        }
        self.stats.video_frames_out += 1;
    }

    /// Takes in what the legs had to tell.
    fn after(&mut self, now: Instant) {
        while let Some(event) = self.peer.as_mut().and_then(Peer::poll_event) {
            match event {
                PeerEvent::Connection(state) => self.on_connection(now, state),
                PeerEvent::Audio(packet) => self.on_audio(Path::Routed, packet),
                PeerEvent::Video(packet) => self.on_video(Path::Routed, &packet),
                PeerEvent::KeyframeWanted => self.on_keyframe_wanted(),
                PeerEvent::Stats(wire) => self.on_wire(wire),
            }
        }
        self.after_direct(now);
    }

    fn on_connection(&mut self, now: Instant, state: ConnectionState) {
        if state == ConnectionState::Connected {
            self.heard_at = now;
            self.is_silent = false;
            self.stats.leg_ready_ms.get_or_insert(millis(now - self.known_at));
            if let Err(error) = self.start_media(now) {
                tracing::warn!(%error, "audio cannot start");
            }
        }
        self.events.push(EngineEvent::Connection(state));
    }

    fn on_audio(&mut self, path: Path, packet: ReceivedRtp) {
        self.note_latency(&packet.payload);
        self.reception[path as usize].handle_audio(&packet);
        // Before the call is open there is no listener, and nothing is played.
        if let Some(listener) = self.listener.as_mut().filter(|_| packet.codec == str0m::format::Codec::Opus)
        {
            listener.handle_packet_on(path, packet);
        }
    }

    fn on_video(&mut self, path: Path, packet: &ReceivedRtp) {
        self.note_latency(&packet.payload);
        self.stats.video_packets_in += 1;
        let mut shown = std::mem::take(&mut self.shown);
        self.reception[path as usize].handle_video(packet);
        let frames = &mut self.reception[path as usize].frames;
        frames.handle_packet(packet, &mut shown);
        if frames.must_ask(packet.arrived) {
            self.request_keyframe(packet.arrived, path);
        }
        if self.direct.is_some() {
            self.order.handle_packet(path, packet);
        }
        let may_show = path == self.video_from || path == self.course.play || self.is_still(packet.arrived);
        shown.retain(|frame| may_show && self.order.shows(packet.arrived, path, frame.rtp_time));
        if !shown.is_empty() {
            self.video_from = path;
            self.stats.video_frames_in += shown.len() as u64;
            shown
                .iter()
                .filter_map(|frame| frame.sent)
                .for_each(|sent| self.stats.video_units.count_sent(sent));
            if let Some(before) = self.shown_at.replace(packet.arrived) {
                let gap = packet.arrived.saturating_duration_since(before);
                self.usual_interval = (self.usual_interval * 7 + gap) / 8;
                self.switches.handle_frame(packet.arrived, path, gap);
            }
        }
        shown.clear();
        self.shown = shown;
    }

    /// The picture that is shown has not moved for a while.
    fn is_still(&self, now: Instant) -> bool {
        let still = STILL_MIN.max(self.usual_interval * 2);
        self.shown_at.is_some_and(|at| now.saturating_duration_since(at) >= still)
    }

    fn on_keyframe_wanted(&mut self) {
        if let Some(video) = &mut self.video {
            video.source.request_keyframe();
            self.stats.keyframes_wanted += 1;
        }
    }

    fn on_wire(&mut self, wire: WireStats) {
        if let (Some(talker), Some(loss)) = (&mut self.talker, wire.loss_out) {
            talker.set_loss(loss);
        }
        self.wire = wire;
    }

    fn keep_counters(&mut self, old: &Peer) {
        let counters = old.counters();
        self.earlier_packets.0 += counters.packets_out;
        self.earlier_packets.1 += counters.packets_in;
    }

    fn note_latency(&mut self, payload: &[u8]) {
        if let Some(sent) = mark::read(payload) {
            let latency = Duration::from_micros((self.wall_clock)().saturating_sub(sent));
            self.stats.one_way_latency.get_or_insert_with(LatencyStats::default).add(latency);
        }
    }

    fn note_first_audio(&mut self) {
        let first = self.listener.as_ref().and_then(|listener| listener.stats().first_audio_at);
        if let (Some(first), Some(accepted), None) =
            (first, self.accepted_at, self.stats.accept_to_first_audio_ms)
        {
            self.stats.accept_to_first_audio_ms = Some(millis(first.saturating_duration_since(accepted)));
            self.events.push(EngineEvent::FirstAudio);
        }
    }

    fn so_far(&self) -> SoFar {
        let heard = self.listener.as_ref().map(Listener::stats).unwrap_or_default();
        SoFar { concealed: heard.jitter.concealed_frames, audio: heard.units, video: self.stats.video_units }
    }

    fn watch_silence(&mut self, now: Instant) {
        if self.is_connected()
            && !self.is_silent
            && now.saturating_duration_since(self.heard_at) >= SILENCE_MAX
        {
            self.is_silent = true;
            self.events.push(EngineEvent::Connection(ConnectionState::Disconnected));
        }
    }
}

/// The legs that frames go on now.
fn sending<'a>(
    course: Course,
    routed: &'a mut Option<Peer>,
    direct: &'a mut Option<DirectLeg>,
) -> impl Iterator<Item = &'a mut Peer> {
    let routed = routed.as_mut().filter(|_| course.send.includes(Path::Routed));
    let direct = direct.as_mut().filter(|_| course.send.includes(Path::Direct));
    routed.into_iter().chain(direct.map(|direct| &mut direct.peer))
}
