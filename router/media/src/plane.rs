//! One leg's media: SRTP and SRTCP in both directions.
//!
//! str0m negotiates, checks connectivity and shakes hands; the [`Keys`] that come out of it are used here and nowhere
//! else. A batch of media visits nothing but this: `srtp` opens, `receive` sorts by SSRC and notes what is missing, `send`
//! writes and seals, `feedback` is what is said about it. All timers are one [deadline](MediaPlane::wakes_at).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use str0m::Rtc;
use str0m::media::{Mid, Pt};
use str0m::rtp::Ssrc;

use self::limit::Limit;
use crate::arrivals::Arrivals;
use crate::bandwidth::{Bandwidth, Demand, Estimate};
use crate::extensions::ExtensionIds;
use crate::feedback::{self, Said};
use crate::keys::Keys;
use crate::ntp::NtpClock;
use crate::outbox::Outbox;
use crate::prefetch::prefetch;
use crate::receive::{MAX_SSRCS, Packet, Payload, Received, Receiver, Refusal};
use crate::reception;
use crate::send::{self, HELD_FOR, Sender, Write};
use crate::srtp::Contexts;
use crate::window::Window;

/// A report follows the first packet of a track: before it the client cannot bring lips and voice together.
const FIRST_REPORT_AFTER: Duration = Duration::from_millis(50);

/// Most clients' times that wait to be given back; at the bound the oldest is forgotten. One per track is usual.
const MAX_TIMES: usize = 8;

/// Most packets repeated for one RTCP packet. Higher lets one datagram cause more, lower leaves holes after long losses.
pub(crate) const MAX_REPEATED: usize = 64;

/// One m-line, as offer and answer left it.
#[derive(Debug, Clone)]
pub struct TrackConfig {
    /// Its name.
    pub mid: Mid,
    /// The codecs that both sides have.
    pub payloads: Vec<Payload>,
    /// The names (RIDs) of its simulcast encodings, the smallest first; empty if it has one that goes without a name.
    pub encodings: Vec<String>,
    /// Its header extensions.
    pub ids: ExtensionIds,
    /// The SSRCs that the answer says, for media and repetitions, if we send.
    pub sends: Option<(u32, Option<u32>)>,
    /// In whose name it is sent (RFC 3550 section 6.5.1).
    pub cname: String,
}

impl TrackConfig {
    /// What offer and answer left of an m-line, as str0m has it; `None` if it has none of this name. `sends`: the SSRCs for media and
    /// repetitions, if we send. `repeats_sound`: the client sends lost sound again if it is asked.
    pub fn negotiated(
        rtc: &Rtc,
        mid: Mid,
        encodings: Vec<String>,
        sends: Option<(Ssrc, Option<Ssrc>)>,
        repeats_sound: bool,
    ) -> Option<Self> {
        let media = rtc.media(mid)?;
        let params = rtc.codec_config().params().iter();
        let payloads = params.filter(|p| media.remote_pts().contains(&p.pt())).flat_map(|p| {
            let payload = |payload_type: Pt, repair: Option<Pt>, is_redundant| Payload {
                payload_type: *payload_type,
                repair: repair.map(|pt| *pt),
                clock_rate: p.spec().clock_rate.get(),
                is_asked_for: repair.is_some() || (repeats_sound && p.spec().codec.is_audio()),
                is_redundant,
                codec: p.spec().codec.into(),
            };
            let redundant = p.red().map(|red| payload(red, None, true));
            std::iter::once(payload(p.pt(), p.resend(), false)).chain(redundant)
        });
        Some(Self {
            mid,
            payloads: payloads.collect(),
            encodings,
            ids: ExtensionIds::of(media.remote_extmap()),
            sends: sends.map(|(ssrc, repair)| (*ssrc, repair.map(|ssrc| *ssrc))),
            cname: media.cname().to_owned(),
        })
    }
}

/// An SSRC that the offer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Its m-line.
    pub mid: Mid,
    /// The SSRC.
    pub ssrc: u32,
    /// The SSRC whose packets it repeats.
    pub repairs: Option<u32>,
}

/// Why a datagram of media was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is not what it seems to be.
    Malformed,
    /// SRTP authentication failed, or there are no keys yet.
    NotAuthenticated,
    /// The leg has brought in as many SSRCs as it may.
    TooManySources,
}

/// What offer and answer say of media.
#[derive(Debug)]
pub struct MediaConfig {
    /// All m-lines.
    pub tracks: Vec<TrackConfig>,
    /// What the other end says it will send.
    pub announced: Vec<Announced>,
    /// The client wants to know when its packets arrive.
    pub wants_arrivals: bool,
}

/// Where a leg's datagrams go: its path, if it has one.
pub struct Sink<'a, P> {
    /// Where they wait for the shell.
    pub queue: &'a mut Outbox<P>,
    /// `None`: nothing can be sent.
    pub path: Option<P>,
}

impl<P: Copy> Sink<'_, P> {
    /// Queues what `write` appends, unless it says false.
    fn send(&mut self, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        self.path.is_some_and(|path| self.queue.write(path, write))
    }
}

/// Which end of the handshake a leg is: each writes with a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The DTLS client.
    Client,
    /// The DTLS server.
    Server,
}

/// One leg's media. Holds its keys: there is no way to print it.
pub struct MediaPlane {
    contexts: Option<Contexts>,
    clock: NtpClock,
    receiver: Receiver,
    sender: Sender,
    arrivals: Option<Arrivals>,
    /// What the client's path carries, while somebody wants to know.
    bandwidth: Option<Box<Bandwidth>>,
    /// The first transport-wide number that was never used, while nobody does.
    transport_number: u16,
    /// In whose name RTCP is sent if we send no media.
    own_ssrc: u32,
    /// What RTCP came in the name of each SSRC.
    reporters: Vec<(u32, Window)>,
    reports_sent: u32,
    report_at: Option<Instant>,
    /// Something was sent or received since the last report.
    is_active: bool,
    /// Clients' times to give back.
    times: Vec<Time>,
    round_trip: Option<Duration>,
    /// SSRCs and numbers of packets to repeat once the path carries them, at most [`MAX_REPEATED`].
    again: VecDeque<(u32, u16)>,
    /// M-lines on which what was sent does not go on.
    given_up: Vec<Mid>,
    limit: Limit,
    /// For the spreading of reports, so that legs that began together do not report together.
    spread: u32,
}

duocast_model::assert_not_impl!(MediaPlane: std::fmt::Debug, std::fmt::Display);

#[derive(Debug, Clone, Copy)]
struct Time {
    ssrc: u32,
    middle: u32,
    came_at: Instant,
}

impl MediaPlane {
    /// Has the memory fetched that the next packet needs, but for this itself: see [`prefetch`].
    pub fn prefetch(&self) {
        self.receiver.prefetch();
        self.sender.prefetch();
        if let Some(bandwidth) = &self.bandwidth {
            prefetch(&**bandwidth);
        }
        prefetch(&self.reporters[..]);
    }

    /// The same, of what that points to. It waits for what was not fetched yet.
    pub fn prefetch_further(&self) {
        self.receiver.prefetch_further();
        self.sender.prefetch_further();
        if let Some(bandwidth) = &self.bandwidth {
            bandwidth.prefetch();
        }
    }

    /// `own_ssrc`: a random one, which no track has.
    pub fn new(now: Instant, own_ssrc: u32) -> Self {
        Self {
            contexts: None,
            clock: NtpClock::new(now),
            receiver: Receiver::default(),
            sender: Sender::default(),
            arrivals: None,
            bandwidth: None,
            transport_number: 1,
            own_ssrc,
            reporters: Vec::new(),
            reports_sent: 0,
            report_at: None,
            is_active: false,
            times: Vec::new(),
            round_trip: None,
            again: VecDeque::new(),
            given_up: Vec::new(),
            limit: Limit::default(),
            spread: own_ssrc,
        }
    }

    /// What offer and answer say now.
    pub fn configure(&mut self, now: Instant, config: MediaConfig) {
        self.sender.set_tracks(&config.tracks);
        self.receiver.set_tracks(&config.tracks, config.announced);
        let arrivals = self.arrivals.take().or_else(|| Some(Arrivals::new(now)));
        self.arrivals = arrivals.filter(|_| config.wants_arrivals);
    }

    /// Takes the keys into use: the handshake is over and the client is who its offer said. False if they are unusable.
    #[must_use]
    pub fn start(&mut self, keys: &Keys, side: Side) -> bool {
        if self.contexts.is_none() {
            self.contexts = Contexts::new(keys, side);
        }
        self.contexts.is_some()
    }

    /// Takes an SRTP packet; what it holds is appended to `bytes`. `Ok(None)`: it was there before. Then
    /// [`MediaPlane::poll_recovered`] says what it brought besides.
    pub fn receive(
        &mut self,
        now: Instant,
        contents: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Result<Option<Received>, Refused> {
        let contexts = self.contexts.as_ref().ok_or(Refused::NotAuthenticated)?;
        let received = match self.receiver.receive(now, &contexts.inbound, contents, bytes) {
            Ok(received) => received,
            Err(Refusal::Repeated) => return Ok(None),
            Err(Refusal::Dropped(reason)) => return Err(reason),
        };
        if let (Some(number), Some(arrivals)) = (received.transport_number, &mut self.arrivals) {
            arrivals.note(now, number);
        }
        self.note_activity(now);
        Ok(Some(received))
    }

    /// The next packet of lost sound that the one just taken carries as well: all of them go before it, and none is left for the next.
    #[must_use]
    pub fn poll_recovered(&mut self) -> Option<Packet> {
        self.receiver.poll_recovered()
    }

    /// Takes an SRTCP packet: repeats what the client misses, and adds the tracks that need a key frame to
    /// `keyframe_requests`. `bytes` are overwritten. False: it came before.
    pub fn receive_rtcp(
        &mut self,
        now: Instant,
        contents: &[u8],
        bytes: &mut Vec<u8>,
        keyframe_requests: &mut Vec<Mid>,
        sink: &mut Sink<'_, impl Copy>,
    ) -> Result<bool, Refused> {
        let Some(contexts) = &self.contexts else { return Err(Refused::NotAuthenticated) };
        let index = contexts.inbound.open_rtcp(contents, bytes).ok_or(Refused::NotAuthenticated)?;
        let reporter = bytes.get(4..8).and_then(|ssrc| Some(u32::from_be_bytes(ssrc.try_into().ok()?)));
        let reporter = reporter.ok_or(Refused::Malformed)?;
        if !takes_report(&mut self.reporters, reporter, index)? {
            return Ok(false);
        }
        let Self { receiver, sender, bandwidth, again, times, round_trip, clock, .. } = self;
        let mut repeated = 0;
        feedback::read(bytes, |said| match said {
            Said::Report { ssrc, report } => receiver.set_report(now, ssrc, report),
            Said::Receives { ssrc, lost } => sender.acknowledge(ssrc, lost),
            Said::Misses { ssrc, number } if repeated < MAX_REPEATED => {
                let with = (&contexts.outbound, &*clock);
                let bandwidth = bandwidth.as_deref_mut();
                // Not into a queue that sound waits in.
                if !again.is_empty() || bandwidth.as_ref().is_some_and(|bandwidth| !bandwidth.lets_pass(now))
                {
                    if again.len() < MAX_REPEATED && !again.contains(&(ssrc, number)) {
                        again.push_back((ssrc, number));
                    }
                    return;
                }
                let is_sent = sink.send(|out| sender.repeat(now, with, ssrc, number, bandwidth, out));
                repeated += usize::from(is_sent);
            }
            Said::Misses { .. } => {}
            Said::NeedsKeyframe { ssrc } => {
                keyframe_requests
                    .extend(sender.wants_keyframe(ssrc).filter(|mid| !keyframe_requests.contains(mid)));
            }
            Said::Time { ssrc, middle } => {
                times.retain(|time| time.ssrc != ssrc);
                if times.len() == MAX_TIMES {
                    times.remove(0);
                }
                times.push(Time { ssrc, middle, came_at: now });
            }
            Said::Answer { sent, delay } => {
                let measured = reception::round_trip(clock.middle_at(now), sent, delay);
                *round_trip = measured.or(*round_trip);
            }
            Said::Arrivals(report) => {
                if let Some(bandwidth) = bandwidth {
                    bandwidth.take_report(now, &report);
                }
            }
            Said::Carries { bits_per_second } => {
                if let Some(bandwidth) = bandwidth {
                    bandwidth.take_limit(now, bits_per_second);
                }
            }
        });
        Ok(true)
    }

    /// Sends a packet on a viewed track, now, when the path carries it or inside the next; false if it cannot be. `bytes` are those of the batch.
    pub fn write(
        &mut self,
        now: Instant,
        mid: Mid,
        write: &Write,
        bytes: &[u8],
        sink: &mut Sink<'_, impl Copy>,
    ) -> bool {
        let Some(contexts) = &self.contexts else { return false };
        let (sender, with) = (&mut self.sender, (&contexts.outbound, &self.clock));
        let bandwidth = self.bandwidth.as_deref_mut();
        let (mut is_first, mut is_held) = (false, false);
        let is_sent = sink.send(|out| match sender.write(now, with, mid, (write, bytes), bandwidth, out) {
            Some(sent) => {
                (is_first, is_held) = (sent.is_first, sent.is_held);
                !sent.is_held
            }
            None => false,
        });
        let is_sent = is_sent || is_held;
        if is_sent {
            self.note_activity(now);
        }
        if is_first {
            let soon = now + FIRST_REPORT_AFTER;
            self.report_at = Some(self.report_at.map_or(soon, |at| at.min(soon)));
        }
        is_sent
    }

    /// Asks the client for a key frame of this encoding; false if nothing came of it yet.
    pub fn request_keyframe(&mut self, mid: Mid, encoding: u8, sink: &mut Sink<'_, impl Copy>) -> bool {
        let Some(source) = self.receiver.source_of(mid, encoding) else { return false };
        let own = self.spokesman();
        self.send_rtcp(sink, |out| feedback::write_keyframe_request(own, source, out))
    }

    /// What the client is to send at most, in bits per second; `None`: as much as its way carries. It is told by [`MediaPlane::finish`], and again with
    /// each report; its end with a few.
    pub fn set_limit(&mut self, limit: Option<u64>) {
        self.limit.set(limit);
    }

    /// What an estimate of the client's path is needed for; `None` if for nothing: then nothing is kept or sent for it.
    pub fn set_demand(&mut self, now: Instant, demand: Option<Demand>) {
        match (demand, &mut self.bandwidth) {
            (Some(demand), Some(bandwidth)) => bandwidth.set_demand(demand),
            (Some(demand), none) => {
                *none = Some(Box::new(Bandwidth::new(now, self.transport_number, demand)));
            }
            (None, Some(bandwidth)) => {
                self.again.clear();
                self.transport_number = bandwidth.next_number();
                self.bandwidth = None;
            }
            (None, None) => {}
        }
    }

    /// How much the client's path is thought to carry; `None` if nobody wants to know or nothing is known yet.
    pub fn estimate(&self, now: Instant) -> Option<Estimate> {
        Some(self.without_redundancy(self.bandwidth.as_ref()?.estimate(now)?))
    }

    /// The estimate, if it has changed so much since this was last asked that it matters.
    pub fn new_estimate(&mut self, now: Instant) -> Option<Estimate> {
        let estimate = self.bandwidth.as_mut()?.new_estimate(now)?;
        Some(self.without_redundancy(estimate))
    }

    /// What publishers can send, beside what is added to it here.
    fn without_redundancy(&self, estimate: Estimate) -> Estimate {
        let bits_per_second = estimate.bits_per_second.saturating_sub(self.sender.added_bits());
        Estimate { bits_per_second, ..estimate }
    }

    /// When [`MediaPlane::finish`] has something to do.
    pub fn wakes_at(&self, now: Instant) -> Option<Instant> {
        let arrivals = self.arrivals.as_ref().and_then(|arrivals| arrivals.due_at(now));
        [self.report_at, arrivals, self.hurries_at(now)].into_iter().flatten().min()
    }

    /// The same without reports, which do as well with the next packet: repairs, and what is held back.
    pub fn hurries_at(&self, now: Instant) -> Option<Instant> {
        let missing = self.receiver.missing_at(now, self.round_trip);
        let bandwidth = self.bandwidth.as_ref().and_then(|bandwidth| bandwidth.wakes_at(now));
        let held = self.bandwidth.as_ref().and_then(|bandwidth| {
            let until = self.sender.held_since().map(|since| since + HELD_FOR);
            let is_waiting = until.is_some() || !self.again.is_empty();
            let passes_at = bandwidth.passes_at(now).filter(|_| is_waiting);
            [until, passes_at].into_iter().flatten().min()
        });
        [missing, bandwidth, held, self.limit.due_at(now)].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn finish(&mut self, now: Instant, sink: &mut Sink<'_, impl Copy>) {
        if self.contexts.is_none() {
            return;
        }
        self.ask_for_missing(now, sink);
        self.tell_arrivals(now, sink);
        self.tell_limit(now, sink);
        self.release(now, sink);
        self.probe(now, sink);
        if self.report_at.is_some_and(|at| at <= now) {
            self.report_at = self.is_active.then(|| now + self.spread_interval());
            if std::mem::take(&mut self.is_active) {
                self.send_report(now, sink);
            }
        }
    }

    /// The next m-line on which what was sent does not go on: the client needs a key frame.
    pub fn poll_given_up(&mut self) -> Option<Mid> {
        self.given_up.pop()
    }

    /// Says that all that was sent ends.
    pub fn close(&mut self, now: Instant, sink: &mut Sink<'_, impl Copy>) {
        let sent = self.sender.tracks().iter().filter(|track| track.info(now).is_some());
        let ssrcs = |track: &send::SendTrack| {
            [Some(track.ssrc), track.repair_ssrc.filter(|_| track.has_repeated())].into_iter().flatten()
        };
        let ending: Vec<u32> = sent.flat_map(ssrcs).collect();
        if !ending.is_empty() {
            self.send_rtcp(sink, |out| feedback::write_goodbye(ending.into_iter(), out));
        }
        self.report_at = None;
    }

    /// Sends what waited for its turn.
    fn release(&mut self, now: Instant, sink: &mut Sink<'_, impl Copy>) {
        let Some(contexts) = &self.contexts else { return };
        let (sender, with) = (&mut self.sender, (&contexts.outbound, &self.clock));
        let Some(bandwidth) = &mut self.bandwidth else {
            while sender.held_since().is_some() && sink.send(|out| sender.release(now, with, None, out)) {}
            return sender.go_on(&mut self.given_up);
        };
        let (is_collapse, has_path) = (bandwidth.take_collapse(), sink.path.is_some());
        if is_collapse || (!has_path && sender.held_since().is_some()) {
            self.again.clear();
        }
        // Without a path nothing that waits would ever go, and its time would come again and again.
        sender.give_up(now, has_path);
        if is_collapse {
            sender.begin_anew(&mut self.given_up);
        } else if has_path && bandwidth.is_open(now) {
            sender.go_on(&mut self.given_up);
        }
        while bandwidth.lets_pass(now)
            && let Some((ssrc, number)) = self.again.pop_front()
        {
            sink.send(|out| sender.repeat(now, with, ssrc, number, Some(bandwidth), out));
        }
        while sender.held_since().is_some()
            && bandwidth.lets_pass(now)
            && sink.send(|out| sender.release(now, with, Some(bandwidth), out))
        {}
        bandwidth.note_held(sender.held_since());
    }

    fn probe(&mut self, now: Instant, sink: &mut Sink<'_, impl Copy>) {
        let (Some(bandwidth), Some(contexts)) = (&mut self.bandwidth, &self.contexts) else { return };
        let (sender, with) = (&mut self.sender, (&contexts.outbound, &self.clock));
        while bandwidth.wants_padding(now) {
            if !sink.send(|out| sender.pad(now, with, bandwidth, out)) {
                bandwidth.give_up_probe(now);
            }
        }
    }
}

/// Whether this RTCP packet is new. Errors: too many SSRCs report.
fn takes_report(reporters: &mut Vec<(u32, Window)>, reporter: u32, index: u32) -> Result<bool, Refused> {
    let known = reporters.iter().position(|(ssrc, _)| *ssrc == reporter);
    let at = match known {
        Some(at) => at,
        None if reporters.len() == MAX_SSRCS => return Err(Refused::TooManySources),
        None => {
            reporters.push((reporter, Window::default()));
            reporters.len() - 1
        }
    };
    Ok(reporters[at].1.take(index.into()))
}

mod limit;
mod reports;
#[cfg(test)]
mod tests;
