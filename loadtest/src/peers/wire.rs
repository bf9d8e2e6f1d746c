//! One socket's worth of a party: how media becomes datagrams for a server, and datagrams media again. Pure.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use duocast_client::media::{
    ConnectionState, Payload, Peer as Leg, PeerEvent, ReceivedRtp, VideoFrame, mark,
};

use super::rtp::Header;
use crate::peer::{Moment, Session, SessionEvent};

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
    fn send_audio(&mut self, now: Instant, rtp_time: u32, payload: Payload);
    fn send_video(&mut self, now: Instant, frame: &VideoFrame);
    fn handle_datagram(&mut self, at: Moment, source: SocketAddr, datagram: &[u8]);
    fn handle_timeout(&mut self, now: Instant);
    /// When [`Wire::handle_timeout`] is due, if ever.
    fn poll_timeout(&self) -> Option<Instant>;
    /// The next datagram, and to whom.
    fn poll_transmit(&mut self) -> Option<(SocketAddr, Cow<'_, [u8]>)>;
    fn poll_heard(&mut self) -> Option<Heard>;
}

/// A wire that wraps RTP packets, each in a datagram of its own.
pub(super) trait Framing: Send {
    /// The datagram for an RTP packet; `None` if it cannot be made.
    fn wrap(&mut self, header: &Header, payload: &[u8]) -> Option<Vec<u8>>;
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
    scratch: Vec<u8>,
    transmits: VecDeque<Vec<u8>>,
    heard: VecDeque<Heard>,
}

impl<F: Framing> Framed<F> {
    pub(super) fn new(framing: F, server: SocketAddr, ssrc: u32) -> Self {
        Self {
            framing,
            server,
            ssrc,
            sequences: [0; 2],
            scratch: Vec::new(),
            transmits: VecDeque::new(),
            heard: VecDeque::new(),
        }
    }

    fn send(&mut self, is_audio: bool, marker: bool, time: u32, payload: &[u8]) {
        let kind = usize::from(!is_audio);
        let sequence = self.sequences[kind];
        self.sequences[kind] = sequence.wrapping_add(1);
        let ssrc = self.ssrc + u32::from(!is_audio);
        let header = Header { is_audio, marker, sequence, time, ssrc };
        if let Some(contents) = self.framing.wrap(&header, payload) {
            self.transmits.push_back(contents);
        }
    }
}

impl<F: Framing> Wire for Framed<F> {
    fn is_connected(&self) -> bool {
        true
    }

    fn send_audio(&mut self, _now: Instant, rtp_time: u32, payload: Payload) {
        self.send(true, false, rtp_time, &payload);
    }

    fn send_video(&mut self, _now: Instant, frame: &VideoFrame) {
        for packet in &frame.packets {
            self.send(false, packet.marker, frame.rtp_time, &packet.payload);
        }
    }

    fn handle_datagram(&mut self, _at: Moment, source: SocketAddr, datagram: &[u8]) {
        if source != self.server {
            return;
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(datagram);
        if let Some((header, payload)) = self.framing.unwrap(&mut self.scratch) {
            // Runs are too short for sequence numbers to wrap (`DURATION_MAX`).
            let sequence = header.sequence.into();
            self.heard.push_back(Heard { is_audio: header.is_audio, sequence, mark: mark::read(payload) });
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn poll_transmit(&mut self) -> Option<(SocketAddr, Cow<'_, [u8]>)> {
        self.transmits.pop_front().map(|datagram| (self.server, Cow::Owned(datagram)))
    }

    fn poll_heard(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }
}

/// WebRTC with our own router, as cheap as the load generator has it.
impl Wire for Session {
    fn is_connected(&self) -> bool {
        self.is_connected()
    }

    fn send_audio(&mut self, now: Instant, rtp_time: u32, payload: Payload) {
        self.send_audio(now, rtp_time, &payload, rtp_time == 0);
    }

    fn send_video(&mut self, now: Instant, frame: &VideoFrame) {
        for packet in &frame.packets {
            self.send_video(now, frame.rtp_time, &packet.payload, packet.marker);
        }
    }

    fn handle_datagram(&mut self, at: Moment, source: SocketAddr, datagram: &[u8]) {
        self.handle_datagram(at.now, at.now, source, datagram);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.poll_timeout())
    }

    fn poll_transmit(&mut self) -> Option<(SocketAddr, Cow<'_, [u8]>)> {
        self.poll_transmit().map(|(router, datagram)| (router, Cow::Borrowed(datagram)))
    }

    fn poll_heard(&mut self) -> Option<Heard> {
        loop {
            let (is_audio, packet) = match self.poll_event()? {
                SessionEvent::Audio(packet) => (true, packet),
                SessionEvent::Video(packet) => (false, packet),
                // Key frames come every second anyway.
                SessionEvent::KeyframeWanted | SessionEvent::State(_) => continue,
            };
            let mark = mark::read(self.payload(&packet));
            return Some(Heard { is_audio, sequence: packet.sequence, mark });
        }
    }
}

/// WebRTC with others, by the SDK's leg (str0m).
pub(super) struct WebRtc {
    leg: Leg,
    heard: VecDeque<Heard>,
}

impl WebRtc {
    /// Around a leg whose descriptions are exchanged.
    pub(super) fn new(leg: Leg) -> Self {
        Self { leg, heard: VecDeque::new() }
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

    fn send_audio(&mut self, now: Instant, rtp_time: u32, payload: Payload) {
        self.leg.send_audio(now, rtp_time, payload, rtp_time == 0);
        self.take_events();
    }

    fn send_video(&mut self, now: Instant, frame: &VideoFrame) {
        self.leg.send_video(now, frame.rtp_time, &frame.packets);
        self.take_events();
    }

    fn handle_datagram(&mut self, at: Moment, source: SocketAddr, datagram: &[u8]) {
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

    fn poll_transmit(&mut self) -> Option<(SocketAddr, Cow<'_, [u8]>)> {
        self.leg.poll_transmit().map(|transmit| (transmit.destination, Cow::Owned(transmit.contents)))
    }

    fn poll_heard(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }
}
