//! One socket's worth of a party: how media becomes datagrams for a server, and datagrams media again. Pure.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use duocast_client::media::{
    ConnectionState, Peer as Leg, PeerEvent, ReceivedRtp, Transmit, VideoPacket, mark,
};
use duocast_media::Outbox;

use super::media::AUDIO_EVERY;
use super::rtp::Header;
use crate::peer::{Moment, Session, SessionEvent, SessionRoom};

/// Reports of a party that talks go with its packets of sound. After this it talks no more, and they go alone.
const REPORT_PATIENCE: Duration = AUDIO_EVERY.saturating_mul(2);

/// A packet of the other party.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) is_audio: bool,
    pub(super) sequence: u64,
    pub(super) mark: Option<u64>,
}

/// How a party speaks to its server through one socket.
///
/// After each call [`Wire::poll_transmit`] and [`Wire::poll_heard`] until both are empty.
pub(super) trait Wire: Send {
    /// Media can pass.
    fn is_connected(&self) -> bool;
    fn send_audio(&mut self, now: Instant, rtp_time: u32, payload: &[u8]);
    /// A packet of a frame, of which the last has the marker.
    fn send_video(&mut self, now: Instant, rtp_time: u32, payload: &[u8], marker: bool);
    /// `arrived` is the kernel's time, in microseconds since 1970.
    fn handle_datagram(&mut self, at: Moment, arrived: u64, source: SocketAddr, datagram: &[u8]);
    fn handle_timeout(&mut self, now: Instant);
    /// When [`Wire::handle_timeout`] is due, if ever.
    fn poll_timeout(&self) -> Option<Instant>;
    /// The next datagram, and to whom.
    fn poll_transmit(&mut self) -> Option<(SocketAddr, &[u8])>;
    fn poll_heard(&mut self) -> Option<Heard>;
    /// Works in this room from now on, and leaves its own there: only when it has nothing to give out.
    fn swap_room(&mut self, _room: &mut Room) {}
    /// Has the memory fetched that the next packet needs, but for this itself.
    fn prefetch(&self) {}
    /// The same, of what that points to.
    fn prefetch_further(&self) {}
}

/// Where the parties of a thread put what they send and hear, one after the other: of a thousand rooms none would be in the fast caches.
#[derive(Default)]
pub(super) struct Room {
    session: SessionRoom,
    framed: FramedRoom,
}

/// A wire that wraps RTP packets, each in a datagram of its own.
pub(super) trait Framing: Send {
    /// Appends the datagram for an RTP packet. False if it cannot be made; what was appended then does not count.
    fn wrap(&mut self, header: &Header, payload: &[u8], datagram: &mut Vec<u8>) -> bool;
    /// Header and payload of a datagram; `None` if it is not the other party's media.
    fn unwrap<'a>(&mut self, datagram: &'a mut [u8]) -> Option<(Header, &'a [u8])>;
}

/// RTP of our own, framed as a server wants it.
pub(super) struct Framed<F> {
    framing: F,
    server: SocketAddr,
    /// SSRC of audio; video has the next one.
    ssrc: u32,
    sequences: [u16; 2],
    room: FramedRoom,
}

#[derive(Default)]
struct FramedRoom {
    scratch: Vec<u8>,
    outbox: Outbox<SocketAddr>,
    heard: VecDeque<Heard>,
}

impl<F: Framing> Framed<F> {
    pub(super) fn new(framing: F, server: SocketAddr, ssrc: u32) -> Self {
        Self { framing, server, ssrc, sequences: [0; 2], room: FramedRoom::default() }
    }

    fn send(&mut self, is_audio: bool, marker: bool, time: u32, payload: &[u8]) {
        let kind = usize::from(!is_audio);
        let sequence = self.sequences[kind];
        self.sequences[kind] = sequence.wrapping_add(1);
        let ssrc = self.ssrc + u32::from(!is_audio);
        let header = Header { is_audio, marker, sequence, time, ssrc };
        let Self { framing, room, server, .. } = self;
        room.outbox.write(*server, |datagram| framing.wrap(&header, payload, datagram));
    }
}

impl<F: Framing> Wire for Framed<F> {
    fn is_connected(&self) -> bool {
        true
    }

    fn send_audio(&mut self, _now: Instant, rtp_time: u32, payload: &[u8]) {
        self.send(true, false, rtp_time, payload);
    }

    fn send_video(&mut self, _now: Instant, rtp_time: u32, payload: &[u8], marker: bool) {
        self.send(false, marker, rtp_time, payload);
    }

    fn handle_datagram(&mut self, _at: Moment, _arrived: u64, source: SocketAddr, datagram: &[u8]) {
        if source != self.server {
            return;
        }
        let FramedRoom { scratch, heard, .. } = &mut self.room;
        scratch.clear();
        scratch.extend_from_slice(datagram);
        if let Some((header, payload)) = self.framing.unwrap(scratch) {
            // Runs are too short for sequence numbers to wrap (`DURATION_MAX`).
            let sequence = header.sequence.into();
            heard.push_back(Heard { is_audio: header.is_audio, sequence, mark: mark::read(payload) });
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn poll_transmit(&mut self) -> Option<(SocketAddr, &[u8])> {
        self.room.outbox.pop()
    }

    fn poll_heard(&mut self) -> Option<Heard> {
        self.room.heard.pop_front()
    }

    fn swap_room(&mut self, room: &mut Room) {
        std::mem::swap(&mut self.room, &mut room.framed);
    }
}

/// WebRTC with our own router, as cheap as the load generator has it.
pub(super) struct Routed {
    session: Session,
    /// Its last packet of sound.
    spoke_at: Option<Instant>,
}

impl Routed {
    /// Around a session that has its answer.
    pub(super) fn new(session: Session) -> Self {
        Self { session, spoke_at: None }
    }
}

impl Wire for Routed {
    fn is_connected(&self) -> bool {
        self.session.is_connected()
    }

    fn send_audio(&mut self, now: Instant, rtp_time: u32, payload: &[u8]) {
        self.session.send_audio(now, rtp_time, payload, rtp_time == 0);
        self.session.handle_timeout(now);
        self.spoke_at = Some(now);
    }

    fn send_video(&mut self, now: Instant, rtp_time: u32, payload: &[u8], marker: bool) {
        self.session.send_video(now, rtp_time, payload, marker);
    }

    fn handle_datagram(&mut self, at: Moment, arrived: u64, source: SocketAddr, datagram: &[u8]) {
        self.session.handle_datagram(at.now, at.instant_of(arrived), source, datagram);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.session.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let due = self.session.poll_timeout();
        let Some(spoke_at) = self.spoke_at else { return Some(due) };
        let patient = due.max(spoke_at + REPORT_PATIENCE);
        Some(self.session.hurries_at().map_or(patient, |at| at.min(patient)))
    }

    fn poll_transmit(&mut self) -> Option<(SocketAddr, &[u8])> {
        self.session.poll_transmit()
    }

    fn poll_heard(&mut self) -> Option<Heard> {
        loop {
            let (is_audio, packet) = match self.session.poll_event()? {
                SessionEvent::Audio(packet) => (true, packet),
                SessionEvent::Video(packet) => (false, packet),
                // Key frames come every second anyway.
                SessionEvent::KeyframeWanted | SessionEvent::State(_) => continue,
            };
            let mark = mark::read(self.session.payload(&packet));
            return Some(Heard { is_audio, sequence: packet.sequence, mark });
        }
    }

    fn swap_room(&mut self, room: &mut Room) {
        self.session.swap_room(&mut room.session);
    }

    fn prefetch(&self) {
        self.session.prefetch();
    }

    fn prefetch_further(&self) {
        self.session.prefetch_further();
    }
}

/// WebRTC with others, by the SDK's leg (str0m).
pub(super) struct WebRtc {
    leg: Leg,
    /// The packets of a frame that is not whole yet.
    frame: Vec<VideoPacket>,
    /// What is being sent.
    transmit: Option<Transmit>,
    heard: VecDeque<Heard>,
}

impl WebRtc {
    /// Around a leg whose descriptions are exchanged.
    pub(super) fn new(leg: Leg) -> Self {
        Self { leg, frame: Vec::new(), transmit: None, heard: VecDeque::new() }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.leg.poll_event() {
            match event {
                PeerEvent::Audio(packet) => self.heard.push_back(heard(true, &packet)),
                PeerEvent::Video(packet) => self.heard.push_back(heard(false, &packet)),
                // Key frames come every second anyway.
                PeerEvent::KeyframeWanted | PeerEvent::Connection(_) | PeerEvent::Stats(_) => {}
            }
        }
    }
}

fn heard(is_audio: bool, packet: &ReceivedRtp) -> Heard {
    Heard { is_audio, sequence: packet.sequence, mark: mark::read(&packet.payload) }
}

impl Wire for WebRtc {
    fn is_connected(&self) -> bool {
        self.leg.state() == ConnectionState::Connected
    }

    fn send_audio(&mut self, now: Instant, rtp_time: u32, payload: &[u8]) {
        self.leg.send_audio(now, rtp_time, payload.into(), rtp_time == 0);
        self.take_events();
    }

    fn send_video(&mut self, now: Instant, rtp_time: u32, payload: &[u8], marker: bool) {
        self.frame.push(VideoPacket { payload: payload.into(), marker });
        // A leg lets its time pass with each call, which costs more than a packet.
        if marker {
            self.leg.send_video(now, rtp_time, &self.frame);
            self.frame.clear();
            self.take_events();
        }
    }

    fn handle_datagram(&mut self, at: Moment, _arrived: u64, source: SocketAddr, datagram: &[u8]) {
        self.leg.handle_datagram(at.now, source, datagram);
        self.take_events();
    }

    fn handle_timeout(&mut self, now: Instant) {
        // Sending lets the leg's time pass as well, and then it is not due any more.
        if self.leg.poll_timeout() <= now {
            self.leg.handle_timeout(now);
            self.take_events();
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.leg.poll_timeout())
    }

    fn poll_transmit(&mut self) -> Option<(SocketAddr, &[u8])> {
        self.transmit = self.leg.poll_transmit();
        self.transmit.as_ref().map(|transmit| (transmit.destination, &transmit.contents[..]))
    }

    fn poll_heard(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }
}
