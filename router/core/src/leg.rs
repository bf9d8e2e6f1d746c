//! One client's media path: a str0m `Rtc` for SDP, ICE-lite and the DTLS handshake, and a [`MediaPlane`] for all media.
//!
//! Per batch: [`Leg::begin`], [`Leg::receive`] for each datagram, [`Leg::write`] for each packet to the client, then
//! [`Leg::finish`]. Visiting an `Rtc` is what costs: only connectivity checks, DTLS and its own deadline do.

mod negotiation;
mod types;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use duocast_media::{Demand, Estimate, KeyTap, Kind, MediaPlane, Side, Sink, Write};
use str0m::media::Mid;
use str0m::net::{DatagramRecv, Protocol, Receive, TcpType};
use str0m::rtp::Ssrc;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig, RtcError};

use crate::check;
use crate::codecs;
use crate::counters::{DropReason, LegCounters};
use crate::demux::{Classified, Standing};
use crate::offer::{CheckedOffer, IceSecret, Line, OfferError, Simulcast};
use crate::wire::Transmits;
use crate::wire::{Datagram, Link, Path, Transport};

pub(crate) use types::{LegOutput, Progress, Renegotiation};

/// A leg from whose client nothing authenticates for this long is stalled. One that only watches sends no media, but reports,
/// and a consent check every 4-6 s (RFC 7675 section 5.1). Higher tells control late that a party is gone, lower calls a quiet party gone.
pub(crate) const STALL_AFTER: Duration = Duration::from_secs(7);

/// Nothing but answers to checks goes to a path from which nothing authenticated for this long: the address may be somebody
/// else's by now. Two consent checks 6 s apart fit in, so that one lost check stops no media. Higher floods a stranger for
/// longer, lower stops media to a client that only watches on a lossy path.
const PATH_PROVEN_FOR: Duration = Duration::from_secs(13);

/// A check on another path moves media there only if the present path was silent for this long, unless the check nominates
/// the path. Higher leaves media on a dead path for longer, lower lets a client's spare paths pull media about.
const PATH_SILENT_AFTER: Duration = Duration::from_millis(500);

/// Most outputs taken from str0m in one go. It never gets near; at the bound the leg ends, rather than the worker hanging.
const MAX_OUTPUTS: usize = 100_000;

/// One client's media path. Knows the client's addresses: there is no way to print it.
pub(crate) struct Leg {
    /// Out of the way: what every packet touches is small.
    rtc: Box<Rtc>,
    /// Where the handshake's keys come out.
    keys: Option<KeyTap>,
    media: MediaPlane,
    progress: Progress,
    /// Our addresses in the answer, by family: str0m must be told the one it announced.
    announced: Vec<SocketAddr>,
    fingerprint: String,
    lines: Vec<Line>,
    /// The simulcast encodings that the client sends, by m-line.
    simulcast: Vec<Simulcast>,
    /// The SSRCs that the answers said: str0m forgets them between offers.
    sends: Vec<(Mid, Ssrc, Option<Ssrc>)>,
    /// Where media goes: the path that last authenticated, unless that was [`PATH_PROVEN_FOR`] ago.
    path: Option<Path>,
    path_heard_at: Instant,
    heard_at: Instant,
    /// When str0m wants to be visited.
    rtc_wakes_at: Option<Instant>,
    wakes_at: Option<Instant>,
    counters: LegCounters,
}

duocast_model::assert_not_impl!(Leg: std::fmt::Debug, std::fmt::Display);

impl Leg {
    /// Has the memory fetched that the next packet needs, but for this itself: see [`duocast_media::prefetch`].
    pub(crate) fn prefetch(&self) {
        self.media.prefetch();
    }

    /// The same, of what that points to.
    pub(crate) fn prefetch_further(&self) {
        self.media.prefetch_further();
    }

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
            .set_extension_map(codecs::extensions());
        let (mut rtc, keys) = duocast_media::build(codecs::enable_codecs(config), now);
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
        let own_ssrc = *rtc.direct_api().new_ssrc();
        let mut leg = Self {
            rtc: Box::new(rtc),
            keys,
            media: MediaPlane::new(now, own_ssrc),
            progress: Progress::Connecting,
            announced: announced.to_vec(),
            fingerprint: offer.fingerprint.clone(),
            lines: Vec::new(),
            simulcast: Vec::new(),
            sends: Vec::new(),
            path: None,
            path_heard_at: now,
            heard_at: now,
            rtc_wakes_at: Some(now),
            wakes_at: Some(now),
            counters: LegCounters::default(),
        };
        let answer = leg.negotiate(now, offer)?;
        Ok((leg, answer))
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

    /// A batch of datagrams begins.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.forget_silent_path(now);
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
        match kind {
            Kind::Rtp => self.take_media(now, datagram, standing, out),
            Kind::Rtcp => self.take_report(now, datagram, out),
            Kind::Stun | Kind::Dtls => {
                let is_taken = self.show_str0m(now, datagram);
                if !is_taken {
                    out.dropped.push(DropReason::Malformed);
                }
                match kind {
                    Kind::Stun => self.take_check(now, &datagram.path, nominates, out),
                    _ => {
                        let result = self.drain(None, out).map(drop);
                        self.close_on(result);
                    }
                }
            }
        }
    }

    fn show_str0m(&mut self, now: Instant, datagram: &Datagram<'_>) -> bool {
        let Ok(contents) = DatagramRecv::try_from(datagram.contents) else { return false };
        let destination = self.announced_for(datagram.path.remote);
        let source = check::stand_in(destination);
        let receive = Receive { proto: Protocol::Udp, source, destination, contents };
        self.rtc.handle_input(Input::Receive(now, receive)).is_ok()
    }

    fn take_media(&mut self, now: Instant, datagram: &Datagram<'_>, standing: Standing, out: &mut LegOutput) {
        let received = match self.media.receive(now, datagram.contents, &mut out.bytes) {
            Ok(Some(received)) => received,
            // A network may repeat: from a known address that is no fault.
            Ok(None) if standing == Standing::Known => return,
            Ok(None) => return out.dropped.push(DropReason::NotAuthenticated),
            Err(reason) => return out.dropped.push(reason.into()),
        };
        self.move_to(now, &datagram.path);
        if standing == Standing::Unproven {
            out.proven_addresses.push(datagram.path.source());
        }
        out.proven_ssrcs.extend(received.new_ssrc);
        // Before the packet that brought it: it is older.
        out.media.extend(std::iter::from_fn(|| self.media.poll_recovered()));
        if let Some(packet) = received.packet {
            self.counters.media_received += 1;
            out.media.push(packet);
        }
    }

    fn take_report(&mut self, now: Instant, datagram: &Datagram<'_>, out: &mut LegOutput) {
        let LegOutput { transmits, report, keyframe_requests, dropped, estimate, .. } = out;
        let taken = self.send_media(transmits, |media, sink| {
            media.receive_rtcp(now, datagram.contents, report, keyframe_requests, sink)
        });
        *estimate = self.media.new_estimate(now).or(*estimate);
        match taken {
            Ok(true) => self.heard(now, &datagram.path),
            Ok(false) => {}
            Err(reason) => dropped.push(reason.into()),
        }
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
    pub(crate) fn write(&mut self, now: Instant, mid: Mid, write: &Write, out: &mut LegOutput) {
        let LegOutput { transmits, bytes, .. } = out;
        let is_sent = self.send_media(transmits, |media, sink| media.write(now, mid, write, bytes, sink));
        self.counters.media_written += u64::from(is_sent && !write.is_carried);
    }

    /// Asks the client for a keyframe of this encoding; false if nothing came of it yet.
    pub(crate) fn request_keyframe(&mut self, mid: Mid, encoding: u8, out: &mut LegOutput) -> bool {
        self.send_media(&mut out.transmits, |media, sink| media.request_keyframe(mid, encoding, sink))
    }

    /// What the client is to send at most, in bits per second; `None`: what it likes. The leg must be [finished](Leg::finish) after that.
    pub(crate) fn set_limit(&mut self, limit: Option<u64>) {
        self.media.set_limit(limit);
    }

    /// What an estimate of the client's path is needed for; `None`: for nothing, and it costs nothing. The leg must be
    /// [finished](Leg::finish) after that.
    pub(crate) fn set_demand(&mut self, now: Instant, demand: Option<Demand>) {
        self.media.set_demand(now, demand);
    }

    /// How much the client's path is thought to carry, as far as somebody wants to know and it is known.
    pub(crate) fn estimate(&self, now: Instant) -> Option<Estimate> {
        self.media.estimate(now)
    }

    /// Does what is due: str0m's timers, feedback and reports. Says when it wants to be woken.
    pub(crate) fn finish(&mut self, now: Instant, out: &mut LegOutput) {
        if self.progress == Progress::Closed {
            self.wakes_at = None;
            return;
        }
        self.forget_silent_path(now);
        if self.rtc_wakes_at.is_some_and(|at| at <= now) {
            let result =
                self.rtc.handle_input(Input::Timeout(now)).and_then(|()| self.drain(None, out)).map(drop);
            self.close_on(result);
        }
        self.send_media(&mut out.transmits, |media, sink| media.finish(now, sink));
        out.given_up.extend(std::iter::from_fn(|| self.media.poll_given_up()));
        out.estimate = self.media.new_estimate(now);
        let mut stalls_at = None;
        if self.progress == Progress::Connected {
            stalls_at = Some(self.heard_at + STALL_AFTER);
            if stalls_at.is_some_and(|at| now >= at) {
                self.progress = Progress::Stalled;
                stalls_at = None;
            }
        }
        self.wakes_at = [self.rtc_wakes_at, self.media.wakes_at(now), stalls_at].into_iter().flatten().min();
    }

    /// Says goodbye: RTCP BYE, then DTLS close_notify.
    pub(crate) fn close(&mut self, now: Instant, out: &mut LegOutput) {
        if self.progress == Progress::Closed {
            return;
        }
        self.send_media(&mut out.transmits, |media, sink| media.close(now, sink));
        let _ = self.rtc.close().and_then(|()| self.drain(None, out));
        self.progress = Progress::Closed;
    }

    /// Lets the media plane send where media goes now, and counts what it sends.
    fn send_media<T>(
        &mut self,
        transmits: &mut Transmits,
        send: impl FnOnce(&mut MediaPlane, &mut Sink<'_, Path>) -> T,
    ) -> T {
        let (packets, bytes) = transmits.totals();
        let sent = send(&mut self.media, &mut Sink { queue: transmits, path: self.path });
        let (packets_after, bytes_after) = transmits.totals();
        self.counters.packets_sent += packets_after - packets;
        self.counters.bytes_sent += bytes_after - bytes;
        sent
    }

    /// Polls until str0m is quiet. True if it answered a STUN check.
    fn drain(&mut self, check_from: Option<&Path>, out: &mut LegOutput) -> Result<bool, RtcError> {
        let mut answered = false;
        for _ in 0..MAX_OUTPUTS {
            match self.rtc.poll_output()? {
                Output::Timeout(at) => {
                    self.rtc_wakes_at = Some(at);
                    return Ok(answered);
                }
                Output::Transmit(transmit) => {
                    answered |= Kind::of(&transmit.contents) == Some(Kind::Stun);
                    self.send(transmit, check_from, out);
                }
                Output::Event(event) => self.handle_event(&event),
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
        out.transmits.push(path, &contents);
    }

    fn handle_event(&mut self, event: &Event) {
        match event {
            // Now, not earlier: str0m has compared the client's certificate with the offer.
            Event::Connected => {
                let keys = self.keys.as_ref().and_then(KeyTap::take);
                let has_keys = keys.is_some_and(|keys| self.media.start(&keys, Side::Server));
                self.progress = if has_keys { Progress::Connected } else { Progress::Closed };
            }
            Event::Closed => self.progress = Progress::Closed,
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
