//! A router for tests: ICE-lite, one leg, and every RTP packet comes back on it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use str0m::change::SdpOffer;
use str0m::media::{KeyframeRequestKind, Mid};
use str0m::net::{Protocol, Receive, TcpType};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use super::{Transmit, Transport};

/// The secret of the relays in tests.
pub(crate) const RELAY_SECRET: [u8; 32] = [7; 32];

/// A user name and password for them that lead to `router`, which may be on this machine: a server issues none such.
pub(crate) fn relay_credential(router: SocketAddr) -> (String, String) {
    let until = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 60;
    let username = format!("{until},{:032x},{router}", 5);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &RELAY_SECRET), username.as_bytes());
    let password = base64::engine::general_purpose::STANDARD_NO_PAD.encode(tag);
    (username, password)
}

pub(crate) struct EchoRouter {
    rtc: Rtc,
    local: SocketAddr,
    /// Next sequence number of each m-line that was heard.
    lines: BTreeMap<Mid, u64>,
    timeout: Instant,
    transmits: VecDeque<Transmit>,
    pub(crate) received: u64,
}

impl EchoRouter {
    pub(crate) fn new(now: Instant, local: SocketAddr) -> Self {
        let mut rtc = RtcConfig::new().set_rtp_mode(true).set_ice_lite(true).build(now);
        rtc.add_local_candidate(Candidate::host(local, "udp").unwrap());
        let (lines, transmits) = (BTreeMap::new(), VecDeque::new());
        Self { rtc, local, lines, timeout: now, transmits, received: 0 }
    }

    /// It listens on TCP as well, at the same address.
    pub(crate) fn with_tcp(mut self) -> Self {
        let passive = Candidate::builder().tcp().host(self.local).tcptype(TcpType::Passive).build();
        self.rtc.add_local_candidate(passive.unwrap());
        self
    }

    pub(crate) fn answer(&mut self, now: Instant, offer: &str) -> String {
        assert!(!offer.contains("a=candidate"), "an offer names no address");
        let offer = SdpOffer::from_sdp_string(offer).unwrap();
        let answer = self.rtc.sdp_api().accept_offer(offer).unwrap();
        self.handle_timeout(now);
        answer.to_sdp_string()
    }

    pub(crate) fn handle_datagram(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) {
        self.handle(now, Protocol::Udp, source, datagram);
    }

    pub(crate) fn handle(&mut self, now: Instant, over: Protocol, source: SocketAddr, datagram: &[u8]) {
        let receive = Receive::new(over, source, self.local, datagram).unwrap();
        // What is left over of an earlier leg is none of ours.
        let input = Input::Receive(now, receive);
        if self.rtc.accepts(&input) {
            self.rtc.handle_input(input).unwrap();
        }
        self.drain(now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.drain(now);
    }

    pub(crate) fn poll_timeout(&self) -> Instant {
        self.timeout
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// Sends a PLI for everything that was heard.
    pub(crate) fn want_keyframe(&mut self, now: Instant) {
        for mid in self.lines.keys() {
            let mut api = self.rtc.direct_api();
            if let Some(stream) = api.stream_rx_by_mid(*mid, None) {
                stream.request_keyframe(KeyframeRequestKind::Pli);
            }
        }
        self.handle_timeout(now);
    }

    fn drain(&mut self, now: Instant) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) => {
                    self.timeout = at;
                    return;
                }
                Output::Transmit(t) => {
                    let contents = t.contents.into();
                    let transport = if t.proto == Protocol::Udp { Transport::Udp } else { Transport::Tcp };
                    let (source, destination) = (t.source, t.destination);
                    self.transmits.push_back(Transmit { transport, source, destination, contents });
                }
                Output::Event(Event::RtpPacket(packet)) => self.echo(now, packet),
                Output::Event(_) => {}
            }
        }
    }

    fn echo(&mut self, now: Instant, packet: RtpPacket) {
        self.received += 1;
        let mut api = self.rtc.direct_api();
        let Some(mid) = api.stream_rx(&packet.header.ssrc).map(|stream| stream.mid()) else { return };
        let sequence = self.lines.entry(mid).or_insert(1);
        let Some(stream) = api.stream_tx_by_mid(mid, None) else { return };
        let header = packet.header;
        let write =
            RtpWrite::new(header.payload_type, (*sequence).into(), header.timestamp, now, packet.payload);
        stream.write_rtp(write.marker(header.marker));
        *sequence += 1;
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
    }
}
