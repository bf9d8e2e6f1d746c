//! How much one client's path carries: Google Congestion Control (draft-ietf-rmcat-gcc-02) from transport-wide reports
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01), with probes for what is not sent yet.
//!
//! `sent` remembers what was sent; a report says when it arrived. From that, `groups` and `trend` tell whether a queue grows,
//! `throughput` how much arrives, `loss` how much does not; `rate` draws the conclusion, and `probe` looks for more. `queue` and `pace`
//! say when a packet of a picture may go, so that sound does not wait behind it; `ask` when a report is asked for. Exists only while
//! somebody has a use for the answer: see [`Demand`].

mod ask;
mod groups;
mod loss;
mod pace;
mod probe;
mod queue;
mod rate;
mod round_trip;
mod sent;
mod throughput;
mod trend;

use std::time::{Duration, Instant};

use rtcp_types::{Twcc, TwccPacketStatus};

use self::ask::Asking;
use self::groups::Groups;
use self::loss::Loss;
use self::pace::Pace;
use self::probe::Probes;
use self::queue::{Finding, News, Queue};
use self::rate::{MIN_RATE, Rate};
use self::round_trip::RoundTrip;
use self::sent::{Arrived, SentPackets};
use self::throughput::Throughput;
use self::trend::{Trend, Usage};
use crate::extensions::AskingNumber;

/// Units of a report's times, in microseconds.
const TICK: i64 = 250;
const REFERENCE_TICK: i64 = 64_000;

/// A report whose time is this far from where ours says it should be, in microseconds, is on another clock.
const MAX_CLOCK_CHANGE: i64 = 3_000_000;

/// If nothing is heard of what was sent for this long, in microseconds, the rate is halved, and again. Higher feeds a dead path
/// for longer, lower takes a pause of reports for one.
const SILENT_AFTER: u64 = 1_000_000;

/// If nothing was done for this long, in microseconds, while something was on its way, this machine stood still: a leg is visited every
/// [`SILENT_AFTER`] then. Higher takes pauses of ours for queues, lower takes a slow worker for one.
const STOOD_STILL: u64 = 1_500_000;

/// A queue that grew is emptied within this time, in seconds: as long, that much less is sent. Higher keeps sound late for
/// longer, lower stops video for it.
const DRAIN_WITHIN: f64 = 0.5;

/// Pictures that wait here for so long, in microseconds, since a queue stands, are more than the path carries. Higher lets them be late, lower
/// takes a pause of the path for a narrow one.
const HELD_UP_AFTER: u64 = 100_000;

/// Most packets that one report is asked for: it must fit into a datagram. Higher may never be answered, lower leaves out what a long silence left.
const ASKED_FOR_MAX: u64 = 512;
/// And so many before those, which may have come late. Higher costs bytes, lower takes what was overtaken for lost.
const OVERTAKEN: u64 = 8;
/// After a pause of this length, in microseconds, what was sent before it is of no interest: its times of arrival are too far from those that come
/// next to be in one report. Higher takes a pause for a jump of the client's clock, lower forgets what a slow path still brings.
const PAUSE: u64 = 1_000_000;

/// What is in flight without a queue, beyond a round trip: until the next report, in seconds, and a few packets, in bytes.
const REPORTED_EVERY: f64 = 0.1;
const USUAL_IN_FLIGHT: f64 = 4000.0;

/// No probe begins for this long after a queue grew, in microseconds.
const CALM_AFTER: u64 = 1_000_000;

/// What a receiver's own estimate (REMB) says holds for this long, in microseconds.
const LIMIT_HOLDS: u64 = 10_000_000;

/// A change of the estimate worth telling.
const TOLD_UP: f64 = 1.05;
const TOLD_DOWN: f64 = 0.97;

/// How much a client's path is thought to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Of RTP datagrams, without what IP and UDP add.
    pub bits_per_second: u64,
    /// The path was seen to carry no more. Else it carries this at least: nothing more was tried.
    pub is_bound: bool,
}

/// What an estimate is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// What could be sent to the other end with use, in bits per second. As long as the estimate is below it, and no queue grows,
    /// probes look for room up to a little more than this. 0: nothing is estimated, and packets have transport-wide numbers all the
    /// same, for what the other end makes of them.
    pub wanted: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Bandwidth {
    began: Instant,
    demand: Demand,
    sent: SentPackets,
    asking: Asking,
    clock: Option<ReceiverClock>,
    groups: Groups,
    trend: Trend,
    throughput: Throughput,
    loss: Loss,
    rate: Rate,
    probes: Probes,
    round_trip: RoundTrip,
    queue: Queue,
    pace: Pace,
    /// Since when the first packet waits that [`Bandwidth::lets_pass`] did not.
    held_since: Option<u64>,
    /// Numbers below this were sent before the last collapse: that they are lost says nothing of what comes after it.
    collapsed_at: u64,
    /// There was one that [`Bandwidth::take_collapse`] did not tell of.
    is_collapse_new: bool,
    /// The receiver's own estimate, and until when it holds.
    limit: Option<(f64, u64)>,
    /// Since when reports are waited for.
    waits_since: u64,
    /// When anything was sent last.
    sent_at: u64,
    /// When anything was done last, and when time went on after it stood still.
    seen_at: u64,
    went_on_at: u64,
    overused_at: Option<u64>,
    /// The queue that grew is not empty yet.
    is_draining: bool,
    /// What it held at the last report.
    queued: f64,
    /// The path was seen to carry no more: a queue grew, packets got lost, or nothing was heard. A probe that was answered late, or what
    /// was sent so far, says nothing of that.
    is_bounded: bool,
    told: (f64, bool),
}

/// The receiver's time in reports.
#[derive(Debug, Clone, Copy)]
struct ReceiverClock {
    /// In [`REFERENCE_TICK`], extended beyond its 24 bits.
    reference: i64,
    came_at: u64,
}

impl Bandwidth {
    /// See [`prefetch`]: where the next packet is noted.
    pub(crate) fn prefetch(&self) {
        self.sent.prefetch();
    }

    /// `number`: the first transport-wide number to use.
    pub(crate) fn new(now: Instant, number: u16, demand: Demand) -> Self {
        Self {
            began: now,
            demand,
            sent: SentPackets::new(number),
            asking: Asking::default(),
            clock: None,
            groups: Groups::default(),
            trend: Trend::default(),
            throughput: Throughput::default(),
            loss: Loss::default(),
            rate: Rate::default(),
            probes: Probes::new(0),
            round_trip: RoundTrip::default(),
            queue: Queue::default(),
            pace: Pace::default(),
            held_since: None,
            collapsed_at: 0,
            is_collapse_new: false,
            limit: None,
            waits_since: 0,
            sent_at: 0,
            seen_at: 0,
            went_on_at: 0,
            overused_at: None,
            is_draining: false,
            queued: 0.0,
            is_bounded: false,
            told: (0.0, false),
        }
    }

    pub(crate) fn set_demand(&mut self, demand: Demand) {
        self.demand = demand;
    }

    /// The transport-wide number of the next packet.
    pub(crate) fn next_number(&self) -> u16 {
        self.sent.next() as u16
    }

    /// The same for a client that can be asked for reports, and whether it is asked now; `None`: it never answered.
    pub(crate) fn next_asking(&self, now: Instant) -> Option<AskingNumber> {
        let number = || AskingNumber::new(self.next_number(), self.asked_for(self.micros(now)));
        self.asking.is_possible().then(number)
    }

    /// The next packet goes under a number that can ask; `asks`: it does.
    pub(crate) fn note_asking(&mut self, now: Instant, asks: bool) {
        self.asking.note_on();
        if !asks {
            return;
        }
        let now = self.micros(now);
        if !self.is_waiting() {
            self.waits_since = now;
        }
        if self.is_after_pause(now) {
            self.sent.cover(self.sent.next());
        }
        self.asking.note_asked(now, self.sent.next());
    }

    /// The next packet goes under a plain number.
    pub(crate) fn note_plain(&mut self) {
        self.asking.note_off();
    }

    /// The packet with [that number](Bandwidth::next_number) was sent.
    pub(crate) fn note_sent(&mut self, now: Instant, bytes: usize) {
        if self.demand.wanted == 0 {
            self.asking.forget();
            return self.sent.skip();
        }
        let now = self.micros(now);
        self.note_time(now);
        self.sent_at = now;
        if !self.asking.is_answering() && self.sent.bytes_in_flight() == 0 {
            self.waits_since = now;
        }
        if let Some(pace) = self.pace_of(now) {
            self.pace.add(now, bytes, pace);
        }
        let probe = self.probes.id();
        if probe != 0 {
            self.probes.send(now, self.sent.next(), bytes);
        }
        self.sent.add(now, bytes, probe);
    }

    /// A report on what arrived. Believed as far as it speaks of packets that were sent lately.
    pub(crate) fn take_report(&mut self, now: Instant, report: &Twcc<'_>) {
        let now = self.micros(now);
        self.note_time(now);
        let Some(base) = self.sent.find(report.base_sequence_number()) else { return };
        let mut arrived_at = self.receiver_time(now, report.reference_time());
        // What could be read counts.
        let statuses = || report.packets().map_while(Result::ok).map(|(_, status)| status);
        let end = (base + statuses().count() as u64).min(self.sent.next());
        // What an answer misses just before its end may have been overtaken: the next one tells.
        let open = end.saturating_sub(if self.asking.is_answering() { OVERTAKEN } else { 0 });
        let mut unsure_from = None;
        let mut last_sent_at = None;
        let mut news = News::default();
        for (number, status) in (base..end).zip(statuses()) {
            if number >= open && status == TwccPacketStatus::NotReceived {
                unsure_from.get_or_insert(number);
            }
            if self.sent.is_unreported(number) && unsure_from.is_none() {
                let is_lost = status == TwccPacketStatus::NotReceived;
                (news.expected, news.lost) = (news.expected + 1, news.lost + u32::from(is_lost));
                if number >= self.collapsed_at {
                    self.loss.count(is_lost);
                }
            }
            if let TwccPacketStatus::Received { delta } = status {
                arrived_at += i64::from(delta) * TICK;
                if let Some(arrived) = self.take_arrival(now, number, arrived_at) {
                    last_sent_at = last_sent_at.max(Some(arrived.sent_at));
                    news.bytes += arrived.bytes;
                    news.last = news.last.max(Some(arrived_at));
                }
            }
        }
        self.sent.cover(unsure_from.unwrap_or(end));
        let asked_at = self.asking.note_covered(end);
        self.waits_since = now;
        if let Some(sent_at) = last_sent_at {
            self.round_trip.measure(now, now.saturating_sub(sent_at));
        }
        // How late an answer is, or what it does not tell of.
        let since = asked_at.map(|at| at.max(self.went_on_at)).or_else(|| self.first_waits_since(now));
        let late = since.map_or(0, |at| now.saturating_sub(at + self.round_trip.shortest()));
        let bits = self.rate.bits().unwrap_or_default();
        let finding = self.queue.take_report(now, late, news, bits).filter(|_| bits > 0.0);
        self.conclude(now, finding);
    }

    /// The next packet asks for a report on so many packets, itself the last of them: all that none told of.
    fn asked_for(&self, now: u64) -> Option<u16> {
        let unreported = self.sent.next() - self.sent.reported() + OVERTAKEN;
        let before = if self.is_after_pause(now) { 0 } else { unreported };
        let before = before.min(self.sent.remembered()).min(ASKED_FOR_MAX - 1);
        let is_due = self.demand.wanted > 0 && self.asking.is_due(now, self.rate.bits(), before);
        is_due.then_some(before as u16 + 1)
    }

    /// A report is to come, asked for or not.
    fn is_waiting(&self) -> bool {
        if self.asking.is_answering() { self.asking.waits() } else { self.sent.bytes_in_flight() > 0 }
    }

    /// What was sent before is too old to be in one report with the next packet: nobody told of what came after the last packet that asked.
    fn is_after_pause(&self, now: u64) -> bool {
        self.asking.is_answering() && now.saturating_sub(self.sent_at) >= PAUSE
    }

    /// The receiver's own estimate (REMB).
    pub(crate) fn take_limit(&mut self, now: Instant, bits_per_second: u64) {
        let now = self.micros(now);
        self.limit = Some((bits_per_second as f64, now + LIMIT_HOLDS));
    }

    /// A packet of a picture may go now, and does not make sound wait.
    pub(crate) fn lets_pass(&self, now: Instant) -> bool {
        let at = self.micros(now);
        self.rate.bits().is_none()
            || !self.is_queued(at) && self.pace_free_at(at) <= at
            || !self.queue.stands() && self.asks_at() <= at
    }

    /// When [`Bandwidth::lets_pass`] is true again; `None`: not before a report came.
    pub(crate) fn passes_at(&self, now: Instant) -> Option<Instant> {
        let now = self.micros(now);
        let at = match (self.is_queued(now), self.queue.stands()) {
            (false, _) => self.pace_free_at(now),
            (true, false) => self.asks_at(),
            (true, true) => return None,
        };
        Some(self.began + Duration::from_micros(at))
    }

    /// No queue stands on the way, as far as is known.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        self.rate.bits().is_none() || !self.is_queued(self.micros(now))
    }

    /// Since when the first packet waits that may not pass.
    pub(crate) fn note_held(&mut self, since: Option<Instant>) {
        self.held_since = since.map(|since| self.micros(since));
    }

    /// True once after the path has collapsed: what was sent of pictures lately is not worth repeating.
    pub(crate) fn take_collapse(&mut self) -> bool {
        std::mem::take(&mut self.is_collapse_new)
    }

    /// `None` until something is known.
    pub(crate) fn estimate(&self, now: Instant) -> Option<Estimate> {
        let bits = self.bits(self.micros(now))?;
        Some(Estimate { bits_per_second: bits as u64, is_bound: self.is_bounded })
    }

    /// The estimate, if it has changed so much since this was last asked that it matters.
    pub(crate) fn new_estimate(&mut self, now: Instant) -> Option<Estimate> {
        let bits = self.bits(self.micros(now))?;
        let (told, was_bounded) = self.told;
        if (told * TOLD_DOWN..=told * TOLD_UP).contains(&bits) && was_bounded == self.is_bounded {
            return None;
        }
        self.told = (bits, self.is_bounded);
        Some(Estimate { bits_per_second: bits as u64, is_bound: self.is_bounded })
    }

    /// When [`Bandwidth::wants_padding`] has something to do.
    pub(crate) fn wakes_at(&self, now: Instant) -> Option<Instant> {
        self.rate.bits()?;
        let now = self.micros(now);
        // What may not begin yet is looked at again when a report comes.
        let probes = self.probes.wakes_at(self.may_probe(now), self.round_trip.shortest());
        let silent = self.is_waiting().then_some(self.waits_since + SILENT_AFTER);
        let at = [probes, silent].into_iter().flatten().min()?;
        Some(self.began + Duration::from_micros(at))
    }

    /// Does what is due; true if a packet of padding is to be sent, and then asked again.
    pub(crate) fn wants_padding(&mut self, now: Instant) -> bool {
        let now = self.micros(now);
        self.note_time(now);
        let Some(bits) = self.rate.bits() else { return false };
        if self.probes.id() != 0 && self.is_queued(now) {
            self.probes.give_up(now);
        }
        if self.is_waiting() && now >= self.waits_since + SILENT_AFTER {
            self.waits_since = now;
            self.rate.halve();
            self.is_bounded = true;
            self.probes.give_up(now);
        }
        self.judge_probe(now);
        if self.may_probe(now) {
            self.probes.begin(now, bits, self.demand.wanted as f64);
        }
        self.probes.wants_padding(now)
    }

    /// Padding cannot be sent.
    pub(crate) fn give_up_probe(&mut self, now: Instant) {
        let now = self.micros(now);
        self.probes.give_up(now);
    }

    /// What it was, if it is news that this packet arrived.
    fn take_arrival(&mut self, now: u64, number: u64, at: i64) -> Option<Arrived> {
        let arrived = self.sent.arrive(now, number)?;
        if arrived.was_missed && number >= self.collapsed_at {
            self.loss.found();
        }
        self.throughput.add(at, arrived.bytes);
        if arrived.probe == 0 {
            if let Some(change) = self.groups.add(arrived.sent_at.cast_signed(), at) {
                self.trend.add(change);
            }
        } else {
            // The queue that a probe makes is its own doing.
            self.groups.forget();
            self.probes.arrive(arrived.probe, at, arrived.bytes);
        }
        Some(arrived)
    }

    /// Draws the conclusions from a report.
    fn conclude(&mut self, now: u64, finding: Option<Finding>) {
        match finding {
            Some(Finding::Collapse(carries)) => self.collapse(now, carries),
            Some(Finding::Carries(carries)) => self.rate.settle(now, carries),
            Some(Finding::NotOurs) => self.round_trip = RoundTrip::default(),
            None => {}
        }
        // Until the queue is gone, the little that is sent says nothing of the path.
        if self.queue.has_collapsed() {
            self.queued = self.queued_bytes();
            return self.judge_probe(now);
        }
        self.follow(now);
        self.judge_probe(now);
        // All that is wanted goes through.
        self.is_bounded &= self.rate.bits().is_some_and(|bits| bits < self.demand.wanted as f64);
    }

    /// The path carries far less than what is sent: this.
    fn collapse(&mut self, now: u64, carries: f64) {
        // What came of the queue before may have lowered it further.
        self.rate.settle(now, self.rate.bits().map_or(carries, |bits| bits.min(carries)));
        (self.is_bounded, self.is_draining) = (true, false);
        self.overused_at = Some(now);
        self.probes.give_up(now);
        self.probes.wait_until(now + CALM_AFTER);
        (self.loss, self.trend) = (Loss::default(), Trend::default());
        self.groups.forget();
        self.collapsed_at = self.sent.next();
        self.is_collapse_new = true;
    }

    /// Moves the rate by what the report says of delay and loss.
    fn follow(&mut self, now: u64) {
        let (usage, round_trip) = (self.trend.usage(), self.round_trip.shortest());
        let queued = self.queued_bytes();
        let before = std::mem::replace(&mut self.queued, queued);
        // What arrives while a queue is being emptied is little because little is sent: that is no reason to send even less.
        let is_emptying = self.is_draining && self.queued <= before;
        let is_held_up = self.held_since.is_some_and(|since| now >= since + HELD_UP_AFTER);
        let usage = match usage {
            _ if is_held_up && self.queue.stands() => Usage::Over,
            Usage::Over if is_emptying => Usage::Under,
            usage => usage,
        };
        let arriving = self.throughput.arriving();
        let is_lowered = self.rate.update(now, usage, self.loss.fraction(), arriving, round_trip);
        self.is_bounded |= is_lowered && self.queued > 0.0;
        if usage == Usage::Over {
            self.overused_at = Some(now);
            self.probes.wait_until(now + CALM_AFTER);
            self.is_draining |= is_lowered;
        } else if self.queued == 0.0 {
            self.is_draining = false;
        }
        if let Some(fraction) = self.loss.judge(now) {
            let is_lowered = self.rate.lose(now, fraction, arriving, round_trip);
            self.is_bounded |= is_lowered;
            self.is_draining |= is_lowered && self.queued > 0.0;
        }
    }

    fn judge_probe(&mut self, now: u64) {
        let result = self.probes.result(now, self.sent.reported(), self.round_trip.shortest());
        if let Some(shown) = result.flatten() {
            self.rate.prove(shown);
        }
    }

    fn may_probe(&self, now: u64) -> bool {
        let is_wanted = self.rate.bits().is_some_and(|bits| bits < self.demand.wanted as f64);
        let is_calm = self.overused_at.is_none_or(|at| now >= at + CALM_AFTER);
        let is_limited = self.limit_at(now) <= self.rate.bits().unwrap_or_default();
        let is_queued = self.is_draining || self.queue.stands() || self.trend.usage() == Usage::Over;
        is_wanted && is_calm && !is_queued && !is_limited && self.loss.fraction() <= loss::HIGH
    }

    fn bits(&self, now: u64) -> Option<f64> {
        let bits = self.rate.bits()?;
        let drained = if self.is_draining { bits - self.queued_bytes() * 8.0 / DRAIN_WITHIN } else { bits };
        Some(drained.min(self.limit_at(now)).max(MIN_RATE))
    }

    /// A queue stands on the way, as far as is known.
    fn is_queued(&self, now: u64) -> bool {
        self.queue.is_standing(now, self.report_due_at(now))
    }

    /// When a report is to come if no queue stands; `None`: none is waited for.
    fn report_due_at(&self, now: u64) -> Option<u64> {
        let round_trip = self.round_trip.shortest();
        if self.asking.is_answering() {
            return self.asking.waits_since().map(|at| at.max(self.went_on_at) + round_trip);
        }
        self.first_waits_since(now).map(|at| at + round_trip + self.queue.every())
    }

    /// Since when the first packet is on its way that no report covered. How long this machine stood still does not count: what was sent before
    /// counts from then on.
    fn first_waits_since(&self, now: u64) -> Option<u64> {
        self.sent.waits_since(now).map(|at| at.max(self.went_on_at))
    }

    /// Something is done at `now`.
    fn note_time(&mut self, now: u64) {
        let before = std::mem::replace(&mut self.seen_at, now);
        if self.is_waiting() && now.saturating_sub(before) >= STOOD_STILL {
            (self.went_on_at, self.waits_since) = (now, now);
            self.queue.forget();
            self.probes.give_up(now);
        }
    }

    /// Bytes per second that pictures may go at, as far as something is known.
    fn pace_of(&self, now: u64) -> Option<f64> {
        // Where a queue is being emptied, fewer layers do that: those that are chosen go.
        Some(pace::of(self.rate.bits()?.min(self.limit_at(now)), self.is_bounded))
    }

    fn pace_free_at(&self, now: u64) -> u64 {
        self.pace_of(now).map_or(now, |pace| self.pace.free_at(now, pace, self.probes.id() != 0))
    }

    /// If nothing at all was sent until then, sound neither, and no report came either, one packet of a picture goes: else none would ever come.
    fn asks_at(&self) -> u64 {
        self.sent_at + self.queue.silence(self.round_trip.shortest())
    }

    fn limit_at(&self, now: u64) -> f64 {
        self.limit.filter(|(_, until)| now < *until).map_or(f64::MAX, |(limit, _)| limit)
    }

    /// What is in flight beyond what a path without a queue holds.
    fn queued_bytes(&self) -> f64 {
        let arriving = self.throughput.arriving().map_or(0.0, |arriving| arriving.least);
        let time = self.round_trip.shortest() as f64 / 1e6 + REPORTED_EVERY;
        (self.sent.bytes_in_flight() as f64 - arriving / 8.0 * time - USUAL_IN_FLIGHT).max(0.0)
    }

    /// A report's reference time in microseconds. If the receiver's clock has jumped, all that depends on it begins anew.
    fn receiver_time(&mut self, now: u64, reference: u32) -> i64 {
        let reference = match self.clock {
            None => i64::from(reference),
            Some(clock) => {
                let ahead = (reference.wrapping_sub(clock.reference as u32) << 8).cast_signed() >> 8;
                let ahead = i64::from(ahead);
                let passed = now.saturating_sub(clock.came_at).cast_signed();
                if (ahead * REFERENCE_TICK - passed).abs() < MAX_CLOCK_CHANGE {
                    clock.reference + ahead
                } else {
                    self.groups.forget();
                    self.throughput.forget();
                    self.queue.forget();
                    i64::from(reference)
                }
            }
        };
        self.clock = Some(ReceiverClock { reference, came_at: now });
        reference * REFERENCE_TICK
    }

    fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_micros() as u64
    }
}

#[cfg(test)]
mod tests;
