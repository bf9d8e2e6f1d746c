//! One client's media path: a str0m `Rtc` in RTP mode, ICE-lite, DTLS 1.2 server. Authenticates, decrypts, encrypts.
//!
//! Per batch: [`Leg::begin`], [`Leg::receive`] for each datagram, [`Leg::write`] for each packet to the client, then
//! [`Leg::finish`], which drains str0m once. Visiting an `Rtc` is what costs, so it is visited as rarely as possible.

mod types;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::change::SdpOffer;
use str0m::media::{KeyframeRequestKind, MediaKind, Mid};
use str0m::net::{DatagramRecv, Protocol, Receive, TcpType};
use str0m::rtp::{RtpWrite, Ssrc};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig, RtcError};

use crate::check;
use crate::codecs;
use crate::counters::{DropReason, LegCounters};
use crate::demux::{Classified, Standing};
use crate::forward::{Track, Tracks};
use crate::offer::{CheckedOffer, IceSecret, Line, OfferError, replace_credentials};
use crate::wire::{Datagram, Kind, Link, Path, Transmit, Transport, rtp_ssrc};

pub(crate) use types::{LegOutput, Progress, Renegotiation};

/// A leg from whose client nothing authenticates for this long is stalled. One that only watches sends no media, but a
/// consent check every 4-6 s (RFC 7675 section 5.1); its RTCP is no proof, since str0m does not say whether it authenticated.
/// Higher tells control late that a party is gone, lower calls a quiet party gone.
pub(crate) const STALL_AFTER: Duration = Duration::from_secs(7);

/// Nothing but answers to checks goes to a path from which nothing authenticated for this long: the address may be somebody
/// else's by now. Two consent checks 6 s apart fit in, so that one lost check stops no media. Higher floods a stranger for
/// longer, lower stops media to a client that only watches on a lossy path.
const PATH_PROVEN_FOR: Duration = Duration::from_secs(13);

/// Most SSRCs that a leg may bring in, since str0m keeps state for each as long as the leg lives. At the bound packets of
/// further ones are dropped and counted; the client needs a new leg. Two or three per track are usual, and as many again
/// when a client replaces one. Higher costs memory and time under a flood, lower refuses clients that replace tracks often.
const MAX_SSRCS: usize = 256;

/// A check on another path moves media there only if the present path was silent for this long, unless the check nominates
/// the path. Higher leaves media on a dead path for longer, lower lets a client's spare paths pull media about.
const PATH_SILENT_AFTER: Duration = Duration::from_millis(500);

/// Sent video packets kept to answer NACKs: 128 are half a second at 2.5 Mbit/s. Higher costs 1.2 KiB each per track and
/// stalls while the cache grows, lower leaves holes on paths with a long round trip.
const REPAIR_PACKETS: usize = 128;

/// Sent packets older than this are not repeated: the viewer has given up on them.
const REPAIR_AGE: Duration = Duration::from_secs(1);

/// Repetitions stop while they are more than this share of all sent bytes. Higher feeds a congested path, lower stops
/// repair where loss is high.
const REPAIR_SHARE_MAX: f32 = 0.5;

/// Most streams whose m-line is remembered; at the bound the oldest is looked up anew. One per track is usual.
const MAX_SOURCES: usize = 16;

/// Most outputs taken from str0m in one go. It never gets near; at the bound the leg ends, rather than the worker hanging.
const MAX_OUTPUTS: usize = 100_000;

/// One client's media path. Knows the client's addresses: there is no way to print it.
pub(crate) struct Leg {
    rtc: Rtc,
    progress: Progress,
    /// Our addresses in the answer, by family: str0m must be told the one it announced.
    announced: Vec<SocketAddr>,
    fingerprint: String,
    lines: Vec<Line>,
    /// Streams that media came on, and the m-line of each.
    sources: Vec<(Ssrc, Mid)>,
    /// All SSRCs that str0m was shown, sorted.
    ssrcs: Vec<u32>,
    /// Where media goes: the path that last authenticated, unless that was [`PATH_PROVEN_FOR`] ago.
    path: Option<Path>,
    path_heard_at: Instant,
    heard_at: Instant,
    wakes_at: Option<Instant>,
    counters: LegCounters,
}

duocast_model::assert_not_impl!(Leg: std::fmt::Debug, std::fmt::Display);

impl Leg {
    /// Makes a leg and answers its first offer. `announced`: the addresses that the answer names, at least one;
    /// `announced_tcp`: those for media over TCP.
    pub(crate) fn accept(
        now: Instant,
        offer: &CheckedOffer,
        announced: &[SocketAddr],
        announced_tcp: &[SocketAddr],
        secret: &IceSecret,
    ) -> Result<(Self, String), OfferError> {
        let config = RtcConfig::new()
            .set_rtp_mode(true)
            .set_ice_lite(true)
            .set_local_ice_credentials(secret.credentials())
            .set_extension_map(codecs::extensions())
            .set_send_buffer_video(REPAIR_PACKETS);
        let mut rtc = codecs::enable_codecs(config).build(now);
        for address in announced {
            if let Ok(candidate) = Candidate::host(*address, "udp") {
                rtc.add_local_candidate(candidate);
            }
        }
        for address in announced_tcp {
            // For the answer only: str0m itself is told that everything came over UDP (see `check`).
            let candidate = Candidate::builder().tcp().host(*address).tcptype(TcpType::Passive).build();
            if let Ok(candidate) = candidate {
                rtc.add_local_candidate(candidate);
            }
        }
        let mut leg = Self {
            rtc,
            progress: Progress::Connecting,
            announced: announced.to_vec(),
            fingerprint: offer.fingerprint.clone(),
            lines: Vec::new(),
            sources: Vec::new(),
            ssrcs: Vec::new(),
            path: None,
            path_heard_at: now,
            heard_at: now,
            wakes_at: Some(now),
            counters: LegCounters::default(),
        };
        let answer = leg.negotiate(offer)?;
        Ok((leg, answer))
    }

    /// What another offer means for this leg.
    pub(crate) fn renegotiation(&self, offer: &CheckedOffer) -> Renegotiation {
        if self.fingerprint != offer.fingerprint || self.progress == Progress::Closed {
            return Renegotiation::Replace;
        }
        match offer.lines.get(..self.lines.len()) {
            Some(same) if same == self.lines => Renegotiation::Continue,
            _ => Renegotiation::Refuse,
        }
    }

    /// Answers another offer of the same client: more tracks, other directions, or an ICE restart.
    pub(crate) fn accept_again(
        &mut self,
        offer: &CheckedOffer,
        secret: &IceSecret,
    ) -> Result<String, OfferError> {
        let before = self.rtc.direct_api().local_ice_credentials();
        let answer = self.negotiate(offer)?;
        let after = self.rtc.direct_api().local_ice_credentials();
        if before == after {
            return Ok(answer);
        }
        let fresh = secret.credentials();
        let answer = replace_credentials(&answer, &after, &fresh);
        self.rtc.direct_api().set_local_ice_credentials(fresh);
        Ok(answer)
    }

    fn negotiate(&mut self, offer: &CheckedOffer) -> Result<String, OfferError> {
        let sdp = SdpOffer::from_sdp_string(&offer.sdp).map_err(|_| OfferError::Invalid)?;
        let answer = self.rtc.sdp_api().accept_offer(sdp).map_err(|_| OfferError::Invalid)?;
        self.lines.clone_from(&offer.lines);
        self.sources.clear();
        let tracks = self.media_lines();
        // str0m rejects a line without a common codec by itself; a leg needs one that has some.
        let has_codec = |mid| self.rtc.media(mid).is_some_and(|media| !media.remote_pts().is_empty());
        if !tracks.iter().any(|(mid, _)| has_codec(*mid)) {
            return Err(OfferError::NoCommonCodec);
        }
        for (mid, kind) in tracks {
            if kind.is_video()
                && let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, None)
            {
                stream.set_rtx_cache(REPAIR_PACKETS, REPAIR_AGE, Some(REPAIR_SHARE_MAX));
            }
        }
        Ok(answer.to_sdp_string())
    }

    /// The leg's ICE user name.
    pub(crate) fn user(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress
    }

    pub(crate) fn counters(&self) -> LegCounters {
        self.counters
    }

    /// When the leg wants [`Leg::finish`] without any input.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        self.wakes_at
    }

    /// What the client sends and can receive.
    pub(crate) fn tracks(&self) -> Tracks {
        let mut tracks = Tracks::default();
        for (mid, kind) in self.media_lines() {
            let Some(media) = self.rtc.media(mid) else { continue };
            let negotiated = |p: &&str0m::format::PayloadParams| media.remote_pts().contains(&p.pt());
            let codecs = self.rtc.codec_config().params().iter().filter(negotiated).copied().collect();
            let track = Track { mid, kind, codecs };
            if media.direction().is_receiving() {
                tracks.publishes.push(track.clone());
            }
            if media.direction().is_sending() {
                tracks.views.push(track);
            }
        }
        tracks
    }

    fn media_lines(&self) -> Vec<(Mid, MediaKind)> {
        self.lines.iter().filter_map(|l| Some((Mid::from(l.mid.as_str()), l.kind?))).collect()
    }

    /// Moves str0m's time on, once per batch.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.forget_silent_path(now);
        let result = self.rtc.handle_input(Input::Timeout(now));
        self.close_on(result);
    }

    /// Takes one datagram of the client.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        datagram: &Datagram<'_>,
        classified: Classified,
        out: &mut LegOutput,
    ) {
        let Classified { kind, standing, nominates, .. } = classified;
        if self.progress == Progress::Closed {
            return out.dropped.push(DropReason::LegClosed);
        }
        self.counters.packets_received += 1;
        self.counters.bytes_received += datagram.contents.len() as u64;
        if kind == Kind::Rtp && !self.admits(datagram.contents) {
            return out.dropped.push(DropReason::TooManySources);
        }
        let Ok(contents) = DatagramRecv::try_from(datagram.contents) else {
            return out.dropped.push(DropReason::Malformed);
        };
        let destination = self.announced_for(datagram.path.remote);
        let source = check::stand_in(destination);
        let receive = Receive { proto: Protocol::Udp, source, destination, contents };
        // A nanosecond early: str0m then leaves its timers, which `begin` just ran, alone.
        let at = now.checked_sub(Duration::from_nanos(1)).unwrap_or(now);
        if self.rtc.handle_input(Input::Receive(at, receive)).is_err() {
            out.dropped.push(DropReason::Malformed);
        }
        match kind {
            Kind::Rtp => self.take_media(now, &datagram.path, standing, out),
            Kind::Stun => self.take_check(now, &datagram.path, nominates, out),
            // Reports wait in str0m until `finish`.
            Kind::Rtcp => {}
            Kind::Dtls => {
                let result = self.drain(None, out).map(drop);
                self.close_on(result);
            }
        }
    }

    /// Whether str0m may see this RTP packet: it makes state for a new SSRC before it authenticates.
    fn admits(&mut self, contents: &[u8]) -> bool {
        let Some(ssrc) = rtp_ssrc(contents) else { return false };
        match self.ssrcs.binary_search(&ssrc) {
            Ok(_) => true,
            Err(_) if self.ssrcs.len() == MAX_SSRCS => false,
            Err(at) => {
                self.ssrcs.insert(at, ssrc);
                true
            }
        }
    }

    /// Takes the one packet that str0m holds, if it authenticated the datagram and it was new.
    fn take_media(&mut self, now: Instant, path: &Path, standing: Standing, out: &mut LegOutput) {
        let mut packet = None;
        for _ in 0..MAX_OUTPUTS {
            match self.rtc.poll_output() {
                Ok(Output::Event(Event::RtpPacket(p))) => {
                    packet = Some(p);
                    break;
                }
                Ok(Output::Event(event)) => self.handle_event(event, out),
                Ok(Output::Transmit(transmit)) => self.send(transmit, None, out),
                Ok(Output::Timeout(_)) => break,
                Err(error) => return self.close_on(Err(error)),
            }
        }
        let Some(packet) = packet else {
            // Repetitions and padding end here too: from a known address that is no fault.
            if standing == Standing::Unproven {
                out.dropped.push(DropReason::NotAuthenticated);
            }
            return;
        };
        self.counters.media_received += 1;
        self.move_to(now, path);
        if standing == Standing::Unproven {
            out.proven_addresses.push(path.source());
        }
        if let Some(mid) = self.mid_of(packet.header.ssrc, out) {
            out.media.push((mid, packet));
        }
    }

    fn mid_of(&mut self, ssrc: Ssrc, out: &mut LegOutput) -> Option<Mid> {
        if let Some((_, mid)) = self.sources.iter().find(|(known, _)| *known == ssrc) {
            return Some(*mid);
        }
        let mid = self.rtc.direct_api().stream_rx(&ssrc)?.mid();
        if self.sources.len() == MAX_SOURCES {
            self.sources.remove(0);
        }
        self.sources.push((ssrc, mid));
        out.proven_ssrcs.push(*ssrc);
        Some(mid)
    }

    /// str0m answers a check only if its integrity holds: the answer is the proof.
    fn take_check(&mut self, now: Instant, path: &Path, nominates: bool, out: &mut LegOutput) {
        let answered = match self.drain(Some(path), out) {
            Ok(answered) => answered,
            Err(error) => return self.close_on(Err(error)),
        };
        if !answered {
            return out.dropped.push(DropReason::NotAuthenticated);
        }
        out.proven_addresses.push(path.source());
        let silent = now.saturating_duration_since(self.path_heard_at) >= PATH_SILENT_AFTER;
        // Some clients nominate every pair that works: then UDP stays as long as it does.
        let is_worse = path.transport() == Transport::Tcp && self.transport() == Some(Transport::Udp);
        if silent || self.path.is_none() || (nominates && !is_worse) {
            self.move_to(now, path);
        } else {
            self.heard(now, path);
        }
    }

    /// A packet from this path authenticated: media goes there from now on.
    fn move_to(&mut self, now: Instant, path: &Path) {
        if self.path != Some(*path) {
            self.counters.moves += u64::from(self.path.is_some());
            self.path = Some(*path);
        }
        self.heard(now, path);
    }

    /// Something from this path authenticated.
    fn heard(&mut self, now: Instant, path: &Path) {
        self.heard_at = now;
        if self.path == Some(*path) {
            self.path_heard_at = now;
        }
        if self.progress == Progress::Stalled {
            self.progress = Progress::Connected;
        }
    }

    /// What media goes over; `None` while no path is proven.
    pub(crate) fn transport(&self) -> Option<Transport> {
        self.path.as_ref().map(Path::transport)
    }

    /// A connection is closed: whatever else authenticates next is the path.
    pub(crate) fn forget_connection(&mut self, connection: u64) {
        if self.path.is_some_and(|path| path.link == Link::Tcp(connection)) {
            self.path = None;
        }
    }

    fn forget_silent_path(&mut self, now: Instant) {
        if now.saturating_duration_since(self.path_heard_at) >= PATH_PROVEN_FOR {
            self.path = None;
        }
    }

    /// Gives the client a packet. `mid` is one of its viewed tracks.
    pub(crate) fn write(&mut self, mid: Mid, write: RtpWrite) {
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, None) {
            stream.write_rtp(write);
            self.counters.media_written += 1;
        }
    }

    /// Asks the client for a keyframe; false if nothing came on this m-line yet.
    pub(crate) fn request_keyframe(&mut self, mid: Mid) -> bool {
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_rx_by_mid(mid, None) else { return false };
        stream.request_keyframe(KeyframeRequestKind::Pli);
        true
    }

    /// Drains str0m: what it wants to send, and when it wants to be woken.
    pub(crate) fn finish(&mut self, now: Instant, out: &mut LegOutput) {
        if self.progress == Progress::Closed {
            self.wakes_at = None;
            return;
        }
        self.forget_silent_path(now);
        let result =
            self.rtc.handle_input(Input::Timeout(now)).and_then(|()| self.drain(None, out)).map(drop);
        self.close_on(result);
        if self.progress == Progress::Connected {
            let stalls_at = self.heard_at + STALL_AFTER;
            if now >= stalls_at {
                self.progress = Progress::Stalled;
            } else {
                self.wakes_at = Some(self.wakes_at.map_or(stalls_at, |at| at.min(stalls_at)));
            }
        }
    }

    /// Says goodbye: RTCP BYE and DTLS close_notify go out with the last drain.
    pub(crate) fn close(&mut self, out: &mut LegOutput) {
        if self.progress == Progress::Closed {
            return;
        }
        let _ = self.rtc.close().and_then(|()| self.drain(None, out));
        self.progress = Progress::Closed;
    }

    /// Polls until str0m is quiet. True if it answered a STUN check.
    fn drain(&mut self, check_from: Option<&Path>, out: &mut LegOutput) -> Result<bool, RtcError> {
        let mut answered = false;
        for _ in 0..MAX_OUTPUTS {
            match self.rtc.poll_output()? {
                Output::Timeout(at) => {
                    self.wakes_at = Some(at);
                    return Ok(answered);
                }
                Output::Transmit(transmit) => {
                    answered |= Kind::of(&transmit.contents) == Some(Kind::Stun);
                    self.send(transmit, check_from, out);
                }
                Output::Event(event) => self.handle_event(event, out),
            }
        }
        self.progress = Progress::Closed;
        Ok(answered)
    }

    /// An answer to a check goes back where the check came from; all else goes to the path that last authenticated. str0m's
    /// own choice is not taken: it knows no client's address.
    fn send(&mut self, transmit: str0m::net::Transmit, check_from: Option<&Path>, out: &mut LegOutput) {
        let is_check = Kind::of(&transmit.contents) == Some(Kind::Stun);
        let path = if is_check { check_from.copied() } else { self.path };
        let Some(path) = path else { return };
        let contents = if is_check {
            let password = self.rtc.direct_api().local_ice_credentials().pass;
            check::answer_to(path.remote, transmit.contents, &password)
        } else {
            Some(transmit.contents)
        };
        let Some(contents) = contents else { return };
        self.counters.packets_sent += 1;
        self.counters.bytes_sent += contents.len() as u64;
        out.transmits.push(Transmit { path, contents });
    }

    fn handle_event(&mut self, event: Event, out: &mut LegOutput) {
        match event {
            Event::Connected => self.progress = Progress::Connected,
            Event::Closed => self.progress = Progress::Closed,
            Event::KeyframeRequest(request) => out.keyframe_requests.push(request.mid),
            _ => {}
        }
    }

    fn close_on(&mut self, result: Result<(), RtcError>) {
        if result.is_err() || !self.rtc.is_alive() {
            self.progress = Progress::Closed;
        }
    }

    fn announced_for(&self, remote: SocketAddr) -> SocketAddr {
        let same_family = self.announced.iter().find(|a| a.is_ipv4() == remote.is_ipv4());
        same_family.or(self.announced.first()).copied().unwrap_or(remote)
    }
}
