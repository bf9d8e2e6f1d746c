//! One worker's data plane: its legs, calls and routes.

mod across;
mod orders;
mod types;

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use duocast_media::prefetch;
use duocast_model::{CallId, Generation, LegId};

use crate::bare;
use crate::counters::{Counters, DropReason, LegCounters};
use crate::demux::{Classified, Demux, LegKey, Standing};
use crate::forward::{Delivery, Forward, Limited, Wanted};
use crate::leg::{Leg, LegOutput, Progress};
use crate::place::Place;
use crate::timers::Timers;
use crate::wire::{Datagram, Link, Path, Transmit, Transport};

use self::across::Across;
pub use types::{Event, LegState, PlanOutcome, Reason, ShardConfig, TransportCounts};

/// Most calls that a shard knows. At the bound a plan of a new call is refused. Higher costs memory for calls without
/// media, lower refuses calls that ring.
const MAX_CALLS: usize = 16_384;

/// Ended calls whose last generation is remembered, so that a late plan cannot bring one back. At the bound the oldest is
/// forgotten. Higher costs 32 bytes each, lower lets older plans through.
const MAX_ENDED_CALLS: usize = 4096;

/// Keyframe requests are passed on at most this often within one batch; what is left waits for the next.
const MAX_ROUNDS: usize = 3;

/// See the [crate] documentation for the calling order.
pub struct Shard {
    config: ShardConfig,
    place: Place,
    calls: HashMap<CallId, Call>,
    ended: VecDeque<(CallId, Generation)>,
    slots: Vec<Slot>,
    free: Vec<LegKey>,
    demux: Demux,
    forward: Forward,
    across: Across,
    timers: Timers,
    counters: Counters,
    changed: VecDeque<LegKey>,
    scratch: Scratch,
}

#[derive(Default)]
struct Call {
    generation: Generation,
    legs: Vec<(LegId, LegKey)>,
    /// Legs on other shards that legs here view.
    stubs: Vec<(LegId, LegKey)>,
    /// Other shards have legs of it too.
    is_spread: bool,
}

/// A leg that a plan names; with a client once an offer was answered.
#[derive(Default)]
struct Slot {
    owner: Option<(CallId, LegId)>,
    leg: Option<Leg>,
    /// It had a client, which left or was lost.
    is_ended: bool,
    /// What the leg was when it was last drained.
    seen: Option<Progress>,
    /// What control was told last.
    told: Option<LegState>,
    /// Its path carries no picture.
    is_without_pictures: bool,
    /// In [`Shard::changed`].
    is_changed: bool,
    /// In [`Scratch::touched`].
    is_touched: bool,
}

/// Buffers that live from batch to batch.
#[derive(Default)]
struct Scratch {
    arrived: Vec<(Classified, usize)>,
    deliveries: Vec<Delivery>,
    /// Whose each of `deliveries` is, and which.
    order: Vec<(LegKey, usize)>,
    touched: Vec<LegKey>,
    out: LegOutput,
    keyframe_requests: Vec<(LegKey, str0m::media::Mid)>,
}

duocast_model::assert_not_impl!(Shard: std::fmt::Debug, std::fmt::Display);

impl Shard {
    /// An empty shard, the only one of its node.
    pub fn new(config: ShardConfig) -> Self {
        Self::at(Place::ALONE, config)
    }

    /// An empty shard, one of several.
    pub fn at(place: Place, config: ShardConfig) -> Self {
        Self {
            config,
            place,
            calls: HashMap::new(),
            ended: VecDeque::new(),
            slots: Vec::new(),
            free: Vec::new(),
            demux: Demux::default(),
            forward: Forward::default(),
            across: Across::new(place),
            timers: Timers::default(),
            counters: Counters::default(),
            changed: VecDeque::new(),
            scratch: Scratch::default(),
        }
    }

    /// Totals since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Legs that have a client.
    pub fn leg_count(&self) -> usize {
        self.slots.iter().filter(|s| s.leg.is_some()).count()
    }

    /// The same, by what their media goes over.
    pub fn transport_counts(&self) -> TransportCounts {
        let mut counts = TransportCounts::default();
        for leg in self.slots.iter().filter_map(|slot| slot.leg.as_ref()) {
            match leg.transport() {
                Some(Transport::Udp) => counts.udp += 1,
                Some(Transport::Tcp) => counts.tcp += 1,
                None => counts.none += 1,
            }
        }
        counts
    }

    /// Whether something from this path authenticated for a leg that still has its client.
    pub fn is_proven(&self, path: &Path) -> bool {
        self.demux.leg_at(path.source()).is_some()
    }

    /// Calls that have a plan. One that is spread counts on one shard alone.
    pub fn call_count(&self) -> usize {
        self.calls.iter().filter(|(id, call)| !call.is_spread || self.place.counts(**id)).count()
    }

    /// Totals of one leg; `None` if it has no client.
    pub fn leg_counters(&self, call: CallId, leg: LegId) -> Option<LegCounters> {
        let key = self.key_of(call, leg)?;
        self.slot(key)?.leg.as_ref().map(Leg::counters)
    }

    // ---- handle_*: batches of datagrams -------------------------------------------------------------------------

    /// Takes a batch of datagrams that came in by `now`. Each is believed only as far as it authenticates.
    pub fn handle_packets(&mut self, now: Instant, batch: &[Datagram<'_>]) {
        let mut arrived = std::mem::take(&mut self.scratch.arrived);
        for (index, datagram) in batch.iter().enumerate() {
            self.counters.packets_received += 1;
            self.counters.bytes_received += datagram.contents.len() as u64;
            // Over TCP nobody needs to ask: the kernel knows the addresses of a connection.
            let is_udp = datagram.path.transport() == Transport::Udp;
            if let Some(request) = bare::parse(datagram.contents).filter(|_| is_udp) {
                self.answer_bare(now, datagram.path, &request);
                continue;
            }
            match self.classify(now, datagram) {
                Ok(classified) => arrived.push((classified, index)),
                Err(reason) => self.counters.drop_packet(reason),
            }
        }
        // In the order of arrival within a leg; unstable, since a stable sort allocates.
        arrived.sort_unstable_by_key(|(classified, index)| (classified.leg, *index));
        let mut visited = 0;
        for of_one_leg in arrived.chunk_by(|a, b| a.0.leg == b.0.leg) {
            let Some(first) = of_one_leg.first() else { continue };
            visited += of_one_leg.len();
            self.prefetch(&arrived[visited..], |(classified, _)| classified.leg);
            self.visit(now, first.0.leg, |leg, out| {
                leg.begin(now);
                for (classified, index) in of_one_leg {
                    leg.receive(now, &batch[*index], *classified, out);
                }
            });
            self.touch(first.0.leg);
        }
        arrived.clear();
        self.scratch.arrived = arrived;
        self.settle(now);
    }

    fn classify(&mut self, now: Instant, datagram: &Datagram<'_>) -> Result<Classified, DropReason> {
        let classified = self.demux.classify(datagram)?;
        if classified.standing == Standing::Unproven {
            self.demux.admit_unproven(now, datagram.path.source())?;
        }
        Ok(classified)
    }

    fn answer_bare(&mut self, now: Instant, path: Path, request: &bare::Request) {
        match self.demux.admit_bare(now, path.remote.ip()) {
            Ok(()) => {
                self.counters.bare_answered += 1;
                self.scratch.out.transmits.push(path, &bare::answer(request, path.remote));
            }
            Err(reason) => self.counters.drop_packet(reason),
        }
    }

    /// A TCP connection is closed: nothing is sent there any more.
    pub fn handle_closed(&mut self, path: &Path) {
        let Link::Tcp(connection) = path.link else { return };
        let Some(key) = self.demux.leg_at(path.source()) else { return };
        self.demux.forget_source(path.source());
        if let Some(leg) = self.slots.get_mut(key.0 as usize).and_then(|slot| slot.leg.as_mut()) {
            leg.forget_connection(connection);
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(key) = self.timers.pop_due(now) {
            self.touch(LegKey(key));
        }
        self.forward.handle_timeout(now);
        self.settle(now);
    }

    // ---- poll_*: what the shell must do -------------------------------------------------------------------------

    /// The next datagram to send.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        let (path, contents) = self.scratch.out.transmits.pop()?;
        self.counters.packets_sent += 1;
        self.counters.bytes_sent += contents.len() as u64;
        Some(Transmit { path, contents })
    }

    /// The same of all datagrams at once, back to back in one buffer, with where each goes and is: for a shell that sends many by one call.
    pub fn drain_transmits(&mut self, send: impl FnOnce(&[u8], &[(Path, Range<usize>)])) {
        let counters = &mut self.counters;
        self.scratch.out.transmits.drain(|bytes, datagrams| {
            counters.packets_sent += datagrams.len() as u64;
            counters.bytes_sent += datagrams.iter().map(|(_, at)| at.len() as u64).sum::<u64>();
            send(bytes, datagrams);
        });
    }

    /// The next thing to tell control. May be left for later: a leg waits with its last state only.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        while let Some(key) = self.changed.pop_front() {
            let Some(slot) = self.slots.get_mut(key.0 as usize) else { continue };
            slot.is_changed = false;
            let Some((call, leg)) = slot.owner else { continue };
            if let Some(state) = slot.state().filter(|state| slot.told != Some(*state)) {
                slot.told = Some(state);
                return Some(Event::LegChanged { call, leg, state });
            }
        }
        None
    }

    /// When [`Shard::handle_timeout`] is due, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let leg = self.timers.next().map(|(at, _)| (at, Reason::Leg));
        let keyframe = self.forward.poll_timeout().map(|at| (at, Reason::Keyframe));
        [leg, keyframe].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    // ---- one batch, in the order things happen ------------------------------------------------------------------

    /// Runs `drive` on a leg. A panic in it ends the leg's call and is counted; nothing else is touched.
    fn visit(&mut self, now: Instant, key: LegKey, drive: impl FnOnce(&mut Leg, &mut LegOutput)) {
        let Some(leg) = self.slots.get_mut(key.0 as usize).and_then(|slot| slot.leg.as_mut()) else { return };
        let out = &mut self.scratch.out;
        let before = leg.counters().moves;
        let driven = catch_unwind(AssertUnwindSafe(|| drive(leg, out)));
        self.counters.legs_moved += leg.counters().moves - before;
        if driven.is_err() {
            self.counters.panics += 1;
            self.end_call_of(now, key);
        } else {
            self.take(now, key);
        }
        self.scratch.out.clear();
    }

    /// Has the memory of the legs fetched that are next, each one's a step further.
    fn prefetch<T>(&self, next: &[T], key: impl Fn(&T) -> LegKey) {
        let slot = |ahead: usize| self.slots.get(key(next.get(ahead)?).0 as usize);
        if let Some(leg) = slot(0).and_then(|slot| slot.leg.as_ref()) {
            leg.prefetch_further();
        }
        if let Some(leg) = slot(1).and_then(|slot| slot.leg.as_ref()) {
            leg.prefetch();
        }
        if let Some(slot) = slot(2) {
            prefetch(slot);
        }
    }

    /// Sorts what a leg gave out: to the demux, to its viewers.
    fn take(&mut self, now: Instant, key: LegKey) {
        let Scratch { out, deliveries, keyframe_requests, .. } = &mut self.scratch;
        for address in out.proven_addresses.drain(..) {
            self.demux.learn_address(key, address);
        }
        for ssrc in out.proven_ssrcs.drain(..) {
            self.demux.learn_ssrc(key, ssrc);
        }
        for reason in out.dropped.drain(..) {
            self.counters.drop_packet(reason);
        }
        for packet in out.media.drain(..) {
            self.counters.audio_recovered += u64::from(packet.is_recovered);
            self.across.pass(key, &packet, &out.bytes);
            self.forward.handle_packet(key, &packet, &mut self.counters, deliveries);
        }
        keyframe_requests.extend(out.keyframe_requests.drain(..).map(|mid| (key, mid)));
        if let Some(estimate) = out.estimate {
            self.counters.estimates_changed += 1;
            self.forward.set_estimate(now, key, estimate);
        }
        for mid in out.given_up.drain(..) {
            self.counters.pictures_given_up += 1;
            self.forward.begin_anew(key, mid);
            keyframe_requests.push((key, mid));
        }
    }

    /// Writes what is to be forwarded, asks for keyframes, and drains every leg that was touched.
    fn settle(&mut self, now: Instant) {
        self.write_deliveries(now);
        for _ in 0..MAX_ROUNDS {
            self.pass_keyframe_requests(now);
            self.pass_demands(now);
            self.note_pauses();
            let mut touched = std::mem::take(&mut self.scratch.touched);
            if touched.is_empty() {
                break;
            }
            for key in touched.drain(..) {
                if let Some(slot) = self.slots.get_mut(key.0 as usize) {
                    slot.is_touched = false;
                }
                self.finish(now, key);
            }
            // Nobody was touched meanwhile: what `finish` found waits in `scratch.keyframe_requests`.
            self.scratch.touched = touched;
        }
    }

    /// Viewer by viewer: a leg's state is fetched into the cache once per batch.
    fn write_deliveries(&mut self, now: Instant) {
        let deliveries = std::mem::take(&mut self.scratch.deliveries);
        let mut order = std::mem::take(&mut self.scratch.order);
        order.extend(deliveries.iter().enumerate().map(|(index, delivery)| (delivery.to, index)));
        order.sort_unstable();
        let mut visited = 0;
        for of_one_viewer in order.chunk_by(|a, b| a.0 == b.0) {
            let Some(&(viewer, _)) = of_one_viewer.first() else { continue };
            visited += of_one_viewer.len();
            self.prefetch(&order[visited..], |(viewer, _)| *viewer);
            self.visit(now, viewer, |leg, out| {
                for (_, index) in of_one_viewer {
                    let Delivery { mid, write, .. } = &deliveries[*index];
                    leg.write(now, *mid, write, out);
                }
            });
            self.touch(viewer);
        }
        order.clear();
        self.scratch.order = order;
        self.scratch.deliveries = deliveries;
        self.scratch.deliveries.clear();
        self.scratch.out.bytes.clear();
    }

    fn pass_keyframe_requests(&mut self, now: Instant) {
        for (viewer, mid) in std::mem::take(&mut self.scratch.keyframe_requests) {
            self.forward.handle_keyframe_request(now, viewer, mid, &mut self.counters);
        }
        while let Some(ask) = self.forward.poll_keyframe() {
            if self.across.ask(&ask) {
                continue;
            }
            let mut asked = false;
            self.visit(now, ask.leg, |leg, out| asked = leg.request_keyframe(ask.mid, ask.encoding, out));
            self.counters.keyframes_requested += u64::from(asked);
            self.touch(ask.leg);
        }
    }

    fn note_pauses(&mut self) {
        while let Some((key, is_without)) = self.forward.poll_pause() {
            if let Some(slot) = self.slots.get_mut(key.0 as usize) {
                slot.is_without_pictures = is_without;
            }
            self.mark_changed(key);
        }
    }

    fn pass_demands(&mut self, now: Instant) {
        while let Some(Wanted { leg: key, demand }) = self.forward.poll_wanted() {
            self.visit(now, key, |leg, _| leg.set_demand(now, demand));
            self.touch(key);
        }
        while let Some(Limited { leg: key, limit }) = self.forward.poll_limited() {
            self.visit(now, key, |leg, _| leg.set_limit(limit));
            self.touch(key);
        }
    }

    /// Drains a leg and notes what it has become.
    fn finish(&mut self, now: Instant, key: LegKey) {
        self.visit(now, key, |leg, out| leg.finish(now, out));
        let Some(slot) = self.slots.get_mut(key.0 as usize) else { return };
        let Some(leg) = &slot.leg else { return };
        let progress = leg.progress();
        self.timers.set(key.0, leg.wakes_at());
        if slot.seen == Some(progress) {
            return;
        }
        slot.seen = Some(progress);
        match progress {
            Progress::Connecting => {}
            Progress::Connected | Progress::Stalled => self.set_live(now, key, true),
            Progress::Closed => self.end_leg(now, key),
        }
        self.mark_changed(key);
    }

    // ---- bookkeeping --------------------------------------------------------------------------------------------

    fn slot(&self, key: LegKey) -> Option<&Slot> {
        self.slots.get(key.0 as usize)
    }

    fn key_of(&self, call: CallId, leg: LegId) -> Option<LegKey> {
        let legs = &self.calls.get(&call)?.legs;
        legs.iter().find(|(id, _)| *id == leg).map(|(_, key)| *key)
    }

    fn touch(&mut self, key: LegKey) {
        if let Some(slot) = self.slots.get_mut(key.0 as usize)
            && !std::mem::replace(&mut slot.is_touched, true)
        {
            self.scratch.touched.push(key);
        }
    }

    fn mark_changed(&mut self, key: LegKey) {
        if let Some(slot) = self.slots.get_mut(key.0 as usize)
            && slot.state() != slot.told
            && !std::mem::replace(&mut slot.is_changed, true)
        {
            self.changed.push_back(key);
        }
    }

    fn take_slot(&mut self, call: CallId, leg: LegId) -> LegKey {
        let key = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            LegKey((self.slots.len() - 1) as u32)
        });
        if let Some(slot) = self.slots.get_mut(key.0 as usize) {
            // These two say what queues still hold, whoever lives here.
            let (is_changed, is_touched) = (slot.is_changed, slot.is_touched);
            *slot = Slot { owner: Some((call, leg)), is_changed, is_touched, ..Slot::default() };
        }
        key
    }

    fn free_slot(&mut self, now: Instant, key: LegKey) {
        self.visit(now, key, |leg, out| leg.close(now, out));
        self.demux.forget(key);
        self.forward.remove(now, key);
        self.across.forget(key);
        self.timers.set(key.0, None);
        if let Some(slot) = self.slots.get_mut(key.0 as usize) {
            slot.owner = None;
            slot.leg = None;
            slot.is_ended = false;
            self.free.push(key);
        }
    }

    /// The leg is dead; it stays in its plan, and a new offer revives it.
    fn end_leg(&mut self, now: Instant, key: LegKey) {
        self.demux.forget(key);
        self.set_live(now, key, false);
        self.timers.set(key.0, None);
        if let Some(slot) = self.slots.get_mut(key.0 as usize) {
            slot.leg = None;
            slot.is_without_pictures = false;
            slot.is_ended = true;
        }
        self.mark_changed(key);
    }

    /// Ends a leg's call, on all shards that have legs of it.
    fn end_call_of(&mut self, now: Instant, key: LegKey) {
        let Some((call, _)) = self.slot(key).and_then(|slot| slot.owner) else { return };
        if self.calls.get(&call).is_some_and(|call| call.is_spread) {
            self.across.tell_ended(call);
        }
        self.end_legs_of(now, call);
    }

    fn end_legs_of(&mut self, now: Instant, call: CallId) {
        let legs = self.calls.get(&call).map(|call| call.legs.clone());
        for (_, key) in legs.unwrap_or_default() {
            if self.slot(key).is_some_and(|slot| slot.leg.is_some()) {
                self.end_leg(now, key);
            }
        }
    }

    fn known_generation(&self, call: CallId) -> Option<Generation> {
        let present = self.calls.get(&call).map(|call| call.generation);
        present.or_else(|| {
            self.ended.iter().find(|(ended, _)| *ended == call).map(|(_, generation)| *generation)
        })
    }

    fn remember_ended(&mut self, call: CallId, generation: Generation) {
        self.ended.retain(|(ended, _)| *ended != call);
        if self.ended.len() == MAX_ENDED_CALLS {
            self.ended.pop_front();
        }
        self.ended.push_back((call, generation));
    }
}

impl Slot {
    /// What control is to know of it; `None` as long as there is nothing to tell.
    fn state(&self) -> Option<LegState> {
        let Some(leg) = &self.leg else { return self.is_ended.then_some(LegState::Closed) };
        match leg.progress() {
            Progress::Connecting => None,
            Progress::Connected if self.is_without_pictures => Some(LegState::WithoutPictures),
            Progress::Connected => Some(LegState::Connected),
            Progress::Stalled => Some(LegState::Stalled),
            Progress::Closed => Some(LegState::Closed),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
mod tests {
    use duocast_model::RoutePlan;

    use super::*;
    use crate::offer::IceSecret;

    const OFFER: &str = include_str!("../tests/fixtures/chromium-offer.sdp");

    /// A call with two legs that have a client each.
    fn open(shard: &mut Shard, now: Instant, n: u128) -> (CallId, [LegId; 2]) {
        let (call, legs) = (CallId::from_u128(n), [2 * n, 2 * n + 1].map(LegId::from_u128));
        let plan = RoutePlan::new(call, Generation(1), legs.to_vec(), Vec::new()).unwrap();
        assert!(shard.handle_plan(now, &plan).applied);
        for leg in legs {
            let secret = IceSecret([leg.as_u128() as u8; 24]);
            shard.handle_offer(now, call, leg, OFFER, &secret).unwrap();
        }
        (call, legs)
    }

    #[test]
    fn a_panic_ends_one_call_and_no_other() {
        let now = Instant::now();
        let config = ShardConfig {
            announced: vec![([198, 51, 100, 7], 4000).into()],
            announced_tcp: Vec::new(),
            max_legs: 8,
        };
        let mut shard = Shard::new(config);
        let (broken, broken_legs) = open(&mut shard, now, 1);
        let (other, other_legs) = open(&mut shard, now, 2);
        let key = shard.key_of(broken, broken_legs[0]).unwrap();
        shard.visit(now, key, |_, _| panic!("a defect, provoked by the test"));
        shard.settle(now);
        assert_eq!((shard.counters().panics, shard.leg_count(), shard.call_count()), (1, 2, 2));
        let mut told = std::iter::from_fn(|| shard.poll_event()).collect::<Vec<_>>();
        told.sort_by_key(|Event::LegChanged { leg, .. }| *leg);
        let closed = |leg| Event::LegChanged { call: broken, leg, state: LegState::Closed };
        assert_eq!(told, broken_legs.map(closed));
        assert!(shard.leg_counters(other, other_legs[0]).is_some());
        let again = shard.handle_offer(now, broken, broken_legs[0], OFFER, &IceSecret([9; 24]));
        assert!(again.is_ok(), "a new offer revives the leg");
    }
}
