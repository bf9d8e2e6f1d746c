//! Calls that other shards of the node have legs of too: what is told them, and what they are sent.
//!
//! A publisher's shard knows which shards view it and what each of those knows of it. A viewer's shard has a stub in the publisher's
//! place: a slot without a client, from which forwarding goes on as from any leg, with its own layers, clock and key frames. Whoever comes
//! to know of a call first is heard by nobody; whoever comes second says so, and is answered. So nothing has to be kept for later, and
//! plans may come to either in any order.

use std::collections::BTreeSet;
use std::time::Instant;

use duocast_media::Packet;
use duocast_model::{CallId, LegId};
use str0m::media::Mid;

use super::Shard;
use crate::counters::DropReason;
use crate::crossing::{Content, Crossing, Head, Note, Passing, Queue};
use crate::demux::{LegKey, LegMap};
use crate::forward::{KeyframeAsk, Tracks};
use crate::leg::Leg;
use crate::place::{Place, Share};

/// See the module.
pub(super) struct Across {
    place: Place,
    /// Legs here that are viewed elsewhere.
    published: LegMap<Published>,
    /// Legs elsewhere that are viewed here.
    stubs: LegMap<Stub>,
    /// What is to be told, by worker. Each is there once, however often it changes before it is told.
    due: Vec<BTreeSet<Due>>,
    queue: Queue,
    /// The last version that was given to a publisher.
    version: u64,
}

struct Published {
    owner: (CallId, LegId),
    version: u64,
    /// The version that its present client began with.
    began: u64,
    audiences: Vec<Audience>,
}

struct Audience {
    worker: usize,
    /// Somebody there can be written to, as it said last.
    is_viewing: bool,
}

#[derive(Default)]
struct Stub {
    worker: usize,
    version: u64,
    began: u64,
    is_viewed: bool,
    /// What is to be asked for with the next note: a bit for each encoding.
    keyframes: Vec<(Mid, u8)>,
}

/// Something to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Ended(CallId),
    /// Of a leg here.
    Publishes(LegKey),
    /// Of a stub.
    Views(LegKey),
}

impl Across {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            published: LegMap::default(),
            stubs: LegMap::default(),
            due: vec![BTreeSet::new(); place.of.0],
            queue: Queue::default(),
            version: 0,
        }
    }

    /// Sends a packet of a leg here to where it is viewed.
    pub(super) fn pass(&mut self, key: LegKey, packet: &Packet, bytes: &[u8]) {
        let Some(published) = self.published.get(&key) else { return };
        let viewing = published.audiences.iter().filter(|audience| audience.is_viewing);
        self.queue.push(published.owner, packet, bytes, viewing.map(|audience| audience.worker));
    }

    /// Takes a request for a key frame, if it is of a leg elsewhere.
    pub(super) fn ask(&mut self, ask: &KeyframeAsk) -> bool {
        let Some(stub) = self.stubs.get_mut(&ask.leg) else { return false };
        let bit = 1_u8.checked_shl(ask.encoding.into()).unwrap_or(0);
        match stub.keyframes.iter_mut().find(|(mid, _)| *mid == ask.mid) {
            Some((_, encodings)) => *encodings |= bit,
            None => stub.keyframes.push((ask.mid, bit)),
        }
        let worker = stub.worker;
        self.tell(worker, Due::Views(ask.leg));
        true
    }

    /// All other shards are to end a call.
    pub(super) fn tell_ended(&mut self, call: CallId) {
        for worker in self.place.others() {
            self.tell(worker, Due::Ended(call));
        }
    }

    /// A leg that is viewed here, and is on that worker.
    pub(super) fn open_stub(&mut self, key: LegKey, worker: usize) {
        self.stubs.insert(key, Stub { worker, ..Stub::default() });
        self.tell(worker, Due::Views(key));
    }

    /// Another client is behind a leg.
    pub(super) fn restart(&mut self, key: LegKey) {
        let version = self.next_version();
        if let Some(published) = self.published.get_mut(&key) {
            published.began = version;
        }
    }

    /// A leg's tracks have changed.
    pub(super) fn changed(&mut self, key: LegKey) {
        let version = self.next_version();
        let Some(published) = self.published.get_mut(&key) else { return };
        published.version = version;
        let workers: Vec<usize> = published.audiences.iter().map(|audience| audience.worker).collect();
        workers.into_iter().for_each(|worker| self.tell(worker, Due::Publishes(key)));
    }

    /// A leg, or what stands for it, is gone.
    pub(super) fn forget(&mut self, key: LegKey) {
        if self.published.remove(&key).is_some() | self.stubs.remove(&key).is_some() {
            let is_of_it = |due: &Due| matches!(due, Due::Publishes(of) | Due::Views(of) if *of == key);
            self.due.iter_mut().for_each(|due| due.retain(|due| !is_of_it(due)));
        }
    }

    /// Where a leg is viewed now. Who was there knows the rest.
    fn set_audience(&mut self, key: LegKey, owner: (CallId, LegId), workers: &[usize]) {
        if workers.is_empty() {
            return self.forget(key);
        }
        let version = self.next_version();
        let new = || Published { owner, version, began: version, audiences: Vec::new() };
        let audiences = &mut self.published.entry(key).or_insert_with(new).audiences;
        let before = std::mem::take(audiences);
        for worker in workers {
            let is_viewing = before.iter().any(|had| had.worker == *worker && had.is_viewing);
            audiences.push(Audience { worker: *worker, is_viewing });
        }
        for worker in workers.iter().filter(|worker| before.iter().all(|had| had.worker != **worker)) {
            self.tell(*worker, Due::Publishes(key));
        }
    }

    fn is_viewed(&self, key: LegKey) -> bool {
        let published = self.published.get(&key);
        published.is_some_and(|published| published.audiences.iter().any(|audience| audience.is_viewing))
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn tell(&mut self, worker: usize, due: Due) {
        if let Some(of_worker) = self.due.get_mut(worker) {
            of_worker.insert(due);
        }
    }
}

impl Shard {
    /// The next note for the shard of worker `to`. To be asked for when there is room for it: it says what is true now.
    #[must_use]
    pub fn poll_note(&mut self, to: usize) -> Option<Crossing> {
        while let Some(due) = self.across.due.get_mut(to)?.pop_first() {
            if let Some(note) = self.note(due) {
                return Some(Crossing(Content::Note(note)));
            }
        }
        None
    }

    /// Whether a note for the shard of worker `to` waits.
    pub fn has_note(&self, to: usize) -> bool {
        self.across.due.get(to).is_some_and(|due| !due.is_empty())
    }

    /// The next packet for another shard: after each batch, once its notes are on their way, until there is none.
    #[must_use]
    pub fn poll_passing(&mut self) -> Option<Passing<'_>> {
        self.across.queue.pop()
    }

    /// Takes what the shard of worker `from` has sent, in its order, each with its contents in one or two parts.
    pub fn handle_crossings<'a>(
        &mut self,
        now: Instant,
        from: usize,
        batch: impl Iterator<Item = (&'a Crossing, [&'a [u8]; 2])>,
    ) {
        for (Crossing(content), contents) in batch {
            match content {
                Content::Packet(head) => self.take_packet(now, head, contents),
                Content::Note(note) => self.take_note(now, from, note),
            }
        }
        self.settle(now);
    }

    fn take_packet(&mut self, now: Instant, head: &Head, contents: [&[u8]; 2]) {
        let Some(key) = self.stub_of(head.call, head.leg) else {
            return self.counters.drop_packet(DropReason::NotRouted);
        };
        let packet = head.unpack(now, contents, &mut self.scratch.out.bytes);
        self.forward.handle_packet(key, &packet, &mut self.counters, &mut self.scratch.deliveries);
    }

    fn take_note(&mut self, now: Instant, from: usize, note: &Note) {
        match note {
            Note::Publishes { call, leg, version, began, tracks } => {
                let Some(key) = self.stub_of(*call, *leg) else { return };
                let Some(stub) = self.across.stubs.get_mut(&key) else { return };
                let (before, is_other_client) = (stub.version, stub.began != *began);
                (stub.version, stub.began) = (*version, *began);
                self.across.tell(from, Due::Views(key));
                if is_other_client {
                    self.forward.restart(key);
                }
                if before != *version {
                    let tracks = Tracks { publishes: tracks.clone(), views: Vec::new() };
                    self.forward.set_tracks(now, key, tracks);
                }
            }
            Note::Views { call, leg, version, is_viewed, keyframes } => {
                let Some(key) = self.key_of(*call, *leg) else { return };
                let Some(published) = self.across.published.get_mut(&key) else { return };
                let audience = published.audiences.iter_mut().find(|audience| audience.worker == from);
                let Some(audience) = audience else { return };
                let was_viewing = std::mem::replace(&mut audience.is_viewing, *is_viewed);
                let begins = *is_viewed && !was_viewing;
                if published.version != *version {
                    self.across.tell(from, Due::Publishes(key));
                }
                self.forward.set_viewed_elsewhere(key, self.across.is_viewed(key));
                for (mid, encodings) in keyframes {
                    for encoding in (0..8).filter(|encoding| encodings & (1 << encoding) != 0) {
                        let counters = &mut self.counters;
                        self.forward.handle_wish_from_elsewhere(now, key, (*mid, encoding), begins, counters);
                    }
                }
            }
            Note::Ended { call } => self.end_legs_of(now, *call),
        }
    }

    /// What is to be told, as it is now.
    fn note(&mut self, due: Due) -> Option<Note> {
        match due {
            Due::Ended(call) => Some(Note::Ended { call }),
            Due::Publishes(key) => {
                let published = self.across.published.get(&key)?;
                let (call, leg) = published.owner;
                let client = self.slots.get(key.0 as usize).and_then(|slot| slot.leg.as_ref());
                let tracks = client.map(Leg::tracks).unwrap_or_default().publishes;
                let Published { version, began, .. } = *published;
                Some(Note::Publishes { call, leg, version, began, tracks })
            }
            Due::Views(key) => {
                let (call, leg) = self.slot(key)?.owner?;
                let stub = self.across.stubs.get_mut(&key)?;
                let keyframes = std::mem::take(&mut stub.keyframes);
                Some(Note::Views { call, leg, version: stub.version, is_viewed: stub.is_viewed, keyframes })
            }
        }
    }

    /// A plan was carried out: who is viewed where is now this.
    pub(super) fn set_audiences(&mut self, call: CallId, share: &Share) {
        if !share.is_spread && self.across.published.is_empty() {
            return;
        }
        let Some(known) = self.calls.get(&call) else { return };
        let (legs, stubs) = (known.legs.clone(), known.stubs.clone());
        for (leg, key) in legs {
            let audiences = share.audiences.iter().filter(|(of, _)| *of == leg);
            let workers: Vec<usize> = audiences.map(|(_, worker)| *worker).collect();
            self.across.set_audience(key, (call, leg), &workers);
            self.forward.set_viewed_elsewhere(key, self.across.is_viewed(key));
        }
        stubs.into_iter().for_each(|(_, key)| self.review_stub(key));
    }

    /// The client can, or cannot, be written to.
    pub(super) fn set_live(&mut self, now: Instant, key: LegKey, live: bool) {
        self.forward.set_live(now, key, live);
        if !self.across.stubs.is_empty() {
            self.forward.heard_by(key).to_vec().into_iter().for_each(|publisher| self.review_stub(publisher));
        }
    }

    /// Tells a publisher's shard whether anybody here views it, if that is another word than the last.
    fn review_stub(&mut self, key: LegKey) {
        let is_viewed = self.forward.is_viewed(key);
        let Some(stub) = self.across.stubs.get_mut(&key) else { return };
        if std::mem::replace(&mut stub.is_viewed, is_viewed) != is_viewed {
            let worker = stub.worker;
            self.across.tell(worker, Due::Views(key));
        }
    }

    fn stub_of(&self, call: CallId, leg: LegId) -> Option<LegKey> {
        let stubs = &self.calls.get(&call)?.stubs;
        stubs.iter().find(|(id, _)| *id == leg).map(|(_, key)| *key)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
mod tests {
    use duocast_model::{Generation, Route, RoutePlan};

    use super::*;
    use crate::offer::IceSecret;
    use crate::place::Workers;
    use crate::shard::{Event, LegState, ShardConfig};

    const OFFER: &str = include_str!("../../tests/fixtures/chromium-offer.sdp");
    const CALL: CallId = CallId::from_u128(9);
    /// The publisher is on worker 0.
    const LEGS: [LegId; 3] = [LegId::from_u128(2), LegId::from_u128(3), LegId::from_u128(5)];

    fn shards() -> [Shard; 2] {
        [0, 1].map(|worker| {
            let announced = vec![([198, 51, 100, 7], 4000).into()];
            let config = ShardConfig { announced, announced_tcp: Vec::new(), max_legs: 8 };
            Shard::at(Place { worker, of: Workers(2) }, config)
        })
    }

    fn plan(generation: u64, legs: &[LegId]) -> RoutePlan {
        let routes = legs.iter().skip(1).map(|to| Route { from: LEGS[0], to: *to }).collect();
        let plan = RoutePlan::new(CALL, Generation(generation), legs.to_vec(), routes);
        plan.unwrap().with_audience()
    }

    /// Hands over what waits, until nothing does; how many notes that were.
    fn tell(now: Instant, shards: &mut [Shard; 2]) -> usize {
        let mut count = 0;
        for from in [0, 1, 0, 1, 0, 1] {
            while let Some(note) = shards[from].poll_note(1 - from) {
                count += 1;
                shards[1 - from].handle_crossings(now, from, std::iter::once((&note, [&[][..]; 2])));
            }
        }
        assert!(!shards[0].has_note(1) && !shards[1].has_note(0), "they do not talk for ever");
        count
    }

    fn connect(now: Instant, shard: &mut Shard, leg: LegId) {
        let secret = IceSecret([leg.as_u128() as u8; 24]);
        shard.handle_offer(now, CALL, leg, OFFER, &secret).unwrap();
    }

    #[test]
    fn a_stub_knows_the_publishers_tracks_and_goes_with_its_last_viewer() {
        let now = Instant::now();
        let mut shards = shards();
        shards.iter_mut().for_each(|shard| assert!(shard.handle_plan(now, &plan(1, &LEGS)).applied));
        connect(now, &mut shards[0], LEGS[0]);
        assert!(tell(now, &mut shards) <= 4);
        let stub = |shards: &[Shard; 2]| shards[1].across.stubs.values().map(|stub| stub.version).next();
        let version = |shards: &[Shard; 2]| shards[0].across.published.values().map(|one| one.version).next();
        assert!(version(&shards).is_some() && stub(&shards) == version(&shards));
        connect(now, &mut shards[0], LEGS[0]);
        tell(now, &mut shards);
        assert_eq!(stub(&shards), version(&shards), "it was told of the next offer");
        assert_eq!(shards[1].slots.len(), 3);
        for legs in [&LEGS[..2], &LEGS[..1], &LEGS[..], &[]] {
            let generation = shards[0].known_generation(CALL).unwrap().next().0;
            shards
                .iter_mut()
                .for_each(|shard| assert!(shard.handle_plan(now, &plan(generation, legs)).applied));
            tell(now, &mut shards);
            let is_viewed = legs.len() > 1;
            assert_eq!((stub(&shards).is_some(), version(&shards).is_some()), (is_viewed, is_viewed));
            assert_eq!(stub(&shards), version(&shards));
        }
        for shard in &shards {
            assert!(
                shard.calls.is_empty() && shard.across.published.is_empty() && shard.across.stubs.is_empty()
            );
            assert_eq!(shard.free.len(), shard.slots.len(), "every slot is free again");
        }
        assert_eq!(shards[1].slots.len(), 3, "and was used again");
    }

    #[test]
    fn a_call_that_control_does_not_name_leaves_nothing_behind() {
        let now = Instant::now();
        let mut shards = shards();
        shards.iter_mut().for_each(|shard| assert!(shard.handle_plan(now, &plan(1, &LEGS)).applied));
        for shard in &mut shards {
            shard.handle_synced(now, &Default::default());
            assert!(shard.across.published.is_empty() && shard.across.stubs.is_empty());
            assert!(!shard.has_note(0) && !shard.has_note(1));
        }
    }

    #[test]
    fn a_panic_ends_its_call_on_both_shards_and_no_other() {
        let now = Instant::now();
        let mut shards = shards();
        let other = (CallId::from_u128(10), LegId::from_u128(20));
        let plan_of_other = RoutePlan::new(other.0, Generation(1), vec![other.1], Vec::new()).unwrap();
        assert!(shards[0].handle_plan(now, &plan_of_other).applied);
        let secret = IceSecret([7; 24]);
        shards[0].handle_offer(now, other.0, other.1, OFFER, &secret).unwrap();
        shards.iter_mut().for_each(|shard| assert!(shard.handle_plan(now, &plan(1, &LEGS)).applied));
        connect(now, &mut shards[0], LEGS[0]);
        connect(now, &mut shards[1], LEGS[1]);
        tell(now, &mut shards);
        let key = shards[1].key_of(CALL, LEGS[1]).unwrap();
        shards[1].visit(now, key, |_, _| panic!("a defect, provoked by the test"));
        shards[1].settle(now);
        tell(now, &mut shards);
        assert_eq!(shards.each_ref().map(Shard::leg_count), [1, 0]);
        for (shard, leg) in shards.iter_mut().zip(LEGS) {
            let closed = Event::LegChanged { call: CALL, leg, state: LegState::Closed };
            assert_eq!(std::iter::from_fn(|| shard.poll_event()).collect::<Vec<_>>(), [closed]);
        }
        assert!(shards[0].leg_counters(other.0, other.1).is_some());
        connect(now, &mut shards[0], LEGS[0]);
    }
}
