//! What crosses between workers: for each pair and direction a bounded ring that one thread writes and one reads, without a lock.
//!
//! A ring is two: crossings of one size each, and the contents of packets, back to back. What finds no room is lost, pictures first; notes
//! stay with their shard until there is room. A worker that sleeps is woken once for all that a turn gave it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::{Duration, Instant};

use duocast_model::AUDIO_MAX_BYTES;
use duocast_router_core::{Crossing, Passing, Shard};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::shed::Shed;
use crate::sys::Wake;

/// Packets and notes that may wait in all rings to one worker; each ring has its share, within [`SHARE`]. Higher takes a worker that is late
/// for longer without a loss and costs 256 bytes each and [`BYTES_EACH`], 16 MiB for each worker if all are ever full; lower loses
/// packets of a worker that had to wait for its core.
const MAX_WAITING: usize = 16_384;

/// The least and the most that may wait in one ring. 2,048 packets are a second of four large pictures, or twenty
/// milliseconds of two hundred.
const SHARE: (usize, usize) = (64, 2048);

/// Room for contents for each that may wait. Higher costs memory that sound never uses, lower loses pictures before the ring is full.
const BYTES_EACH: usize = 768;

/// This part of a ring is kept for sound and notes. Higher loses pictures earlier, lower lets them take the sound's room.
const KEPT_FOR_SOUND: usize = 8;

/// Most that is taken out of one ring in one turn; what else waits comes with the next, which follows at once. Each packet is for many viewers.
/// Higher makes turns longer, in which all that comes over UDP waits; lower visits viewers more often for the same.
const MAX_TAKEN: usize = 256;

/// When notes that found no room are tried again. Higher leaves a viewer without a picture for longer, lower wakes for nothing.
const TRIED_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// One worker's ends of all its rings.
#[derive(Default)]
pub(crate) struct Rings {
    /// By worker; `None` for itself.
    outgoing: Vec<Option<Outgoing>>,
    /// With the worker that writes.
    incoming: Vec<(usize, Incoming)>,
    sleeper: Option<Arc<Sleeper>>,
    counters: RingCounters,
    /// Whether this worker keeps up with what the others send.
    shed: Shed,
    /// Notes have found no room.
    has_more_notes: bool,
}

/// Totals of what one worker gave to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RingCounters {
    /// Packets that crossed.
    pub(crate) passed: u64,
    /// Packets that were lost because a ring was full.
    pub(crate) lost: u64,
    /// Packets of video from others that were dropped because this worker could not keep up.
    pub(crate) shed: u64,
}

/// A worker as those see it who write to it.
struct Sleeper {
    wake: Arc<Wake>,
    /// It sleeps, or is about to.
    is_asleep: AtomicBool,
}

struct Parcel {
    crossing: Crossing,
    /// Bytes of contents that belong to it.
    len: usize,
}

/// What the reader is shown: the contents are in one part or two.
type Crossed<'a> = (&'a Crossing, [&'a [u8]; 2]);

/// What was taken out of a ring: all, and of that what was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Read {
    taken: usize,
    shed: u64,
}

struct Outgoing {
    parcels: Producer<Parcel>,
    contents: Producer<u8>,
    to: Arc<Sleeper>,
    /// Something was written since its reader was last woken.
    is_news: bool,
}

struct Incoming {
    parcels: Consumer<Parcel>,
    contents: Consumer<u8>,
}

impl Rings {
    /// The rings among workers that sleep on these.
    pub(crate) fn mesh(wakes: &[Arc<Wake>]) -> Vec<Self> {
        let sleeper =
            |wake: &Arc<Wake>| Sleeper { wake: Arc::clone(wake), is_asleep: AtomicBool::new(false) };
        let sleepers: Vec<_> = wakes.iter().map(|wake| Arc::new(sleeper(wake))).collect();
        let mut all: Vec<Self> = sleepers.iter().map(|own| Self::of(Arc::clone(own))).collect();
        let share = (MAX_WAITING / sleepers.len().max(2).saturating_sub(1)).clamp(SHARE.0, SHARE.1);
        for from in 0..all.len() {
            for (to, sleeper) in sleepers.iter().enumerate() {
                if from == to {
                    all[from].outgoing.push(None);
                } else {
                    let (outgoing, incoming) = ring(share, Arc::clone(sleeper));
                    all[from].outgoing.push(Some(outgoing));
                    all[to].incoming.push((from, incoming));
                }
            }
        }
        all
    }

    fn of(sleeper: Arc<Sleeper>) -> Self {
        Self { sleeper: Some(sleeper), ..Self::default() }
    }

    /// Gives the shard what the others have sent; how much that was. Where more has waited for too long, video gives way.
    pub(crate) fn take(&mut self, now: Instant, shard: &mut Shard) -> usize {
        let is_behind = self.shed.is_behind(now, self.has_more());
        let mut taken = 0;
        for (from, incoming) in &mut self.incoming {
            let read = incoming.read(is_behind, |batch| shard.handle_crossings(now, *from, batch));
            taken += read.taken;
            self.counters.shed += read.shed;
        }
        taken
    }

    /// More waits than one turn takes.
    pub(crate) fn has_more(&self) -> bool {
        self.incoming.iter().any(|(_, incoming)| incoming.parcels.slots() > MAX_TAKEN)
    }

    /// Gives the others what the shard has for them: notes first, since packets rely on them.
    pub(crate) fn give(&mut self, shard: &mut Shard) {
        self.has_more_notes = false;
        for (worker, outgoing) in self.outgoing.iter_mut().enumerate() {
            let Some(outgoing) = outgoing else { continue };
            while shard.has_note(worker) {
                if outgoing.room() == 0 {
                    self.has_more_notes = true;
                    break;
                }
                let Some(note) = shard.poll_note(worker) else { break };
                outgoing.write(note, &[]);
            }
        }
        while let Some(passing) = shard.poll_passing() {
            let outgoing = self.outgoing.get_mut(passing.to).and_then(Option::as_mut);
            match outgoing.is_some_and(|outgoing| outgoing.pass(passing)) {
                true => self.counters.passed += 1,
                false => self.counters.lost += 1,
            }
        }
        self.outgoing.iter_mut().flatten().for_each(Outgoing::wake);
    }

    /// How long the worker may sleep that wants to sleep for so long. From now until [`Rings::awake`] it is woken for what comes.
    pub(crate) fn sleep(&self, wanted: Duration) -> Duration {
        let Some(own) = self.sleeper.as_ref().filter(|_| !self.incoming.is_empty()) else { return wanted };
        own.is_asleep.store(true, Ordering::Relaxed);
        // With the one in `Outgoing::wake`: either what was written is seen here, or that somebody sleeps is seen there.
        fence(Ordering::SeqCst);
        match self.incoming.iter().any(|(_, incoming)| !incoming.parcels.is_empty()) {
            true => Duration::ZERO,
            false if self.has_more_notes => wanted.min(TRIED_AGAIN_AFTER),
            false => wanted,
        }
    }

    /// The worker looks by itself from now on.
    pub(crate) fn awake(&self) {
        if let Some(own) = &self.sleeper {
            own.is_asleep.store(false, Ordering::Relaxed);
        }
    }

    pub(crate) fn counters(&self) -> RingCounters {
        self.counters
    }
}

fn ring(share: usize, to: Arc<Sleeper>) -> (Outgoing, Incoming) {
    let (parcels, parcels_out) = RingBuffer::new(share);
    let (contents, contents_out) = RingBuffer::new(share * BYTES_EACH);
    let outgoing = Outgoing { parcels, contents, to, is_news: false };
    (outgoing, Incoming { parcels: parcels_out, contents: contents_out })
}

impl Outgoing {
    /// How many more may wait. The reader's end is looked at only where what is known of it does not suffice.
    fn room(&self) -> usize {
        let kept = self.parcels.buffer().capacity() / KEPT_FOR_SOUND;
        match self.parcels.cached_slots() {
            known if known > kept => known,
            _ => self.parcels.slots(),
        }
    }

    fn room_for_contents(&self, wanted: usize) -> usize {
        match self.contents.cached_slots() {
            known if known >= wanted => known,
            _ => self.contents.slots(),
        }
    }

    /// Sends a packet; false if there is no room for it.
    fn pass(&mut self, passing: Passing<'_>) -> bool {
        let kept = |ring: usize| if passing.is_video() { ring / KEPT_FOR_SOUND } else { 0 };
        let kept_of_contents = kept(self.contents.buffer().capacity());
        let bytes = passing.contents.len() + kept_of_contents;
        if self.room() <= kept(self.parcels.buffer().capacity()) || self.room_for_contents(bytes) < bytes {
            return false;
        }
        self.write(passing.crossing, passing.contents)
    }

    fn write(&mut self, crossing: Crossing, contents: &[u8]) -> bool {
        // Contents first: who finds the parcel finds them.
        let is_written = self.contents.push_entire_slice(contents).is_ok()
            && self.parcels.push(Parcel { crossing, len: contents.len() }).is_ok();
        self.is_news |= is_written;
        is_written
    }

    /// Wakes the reader, if there is something for it and it sleeps.
    fn wake(&mut self) {
        if !std::mem::take(&mut self.is_news) {
            return;
        }
        fence(Ordering::SeqCst);
        // Once: whoever says first that it is awake wakes it.
        if self.to.is_asleep.load(Ordering::Relaxed) && self.to.is_asleep.swap(false, Ordering::Relaxed) {
            self.to.wake.wake();
        }
    }
}

impl Incoming {
    /// Shows what is there, without the video if the worker `is_behind`, and makes room.
    fn read(
        &mut self,
        is_behind: bool,
        take: impl for<'a> FnOnce(&mut dyn Iterator<Item = Crossed<'a>>),
    ) -> Read {
        let count = self.parcels.slots().min(MAX_TAKEN);
        // What was there a moment ago is there still: nobody else reads.
        let Ok(parcels) = self.parcels.read_chunk(count) else { return Read::default() };
        if count == 0 {
            return Read::default();
        }
        let (first, second) = parcels.as_slices();
        let bytes = first.iter().chain(second).map(|parcel| parcel.len).sum();
        let Ok(contents) = self.contents.read_chunk(bytes) else { return Read::default() };
        let (head, tail) = contents.as_slices();
        let mut at = 0;
        let batch = first.iter().chain(second).map(|parcel| {
            let (start, end) = (at, at + parcel.len);
            at = end;
            let second = start.saturating_sub(head.len())..end.saturating_sub(head.len());
            let first = start.min(head.len())..end.min(head.len());
            (&parcel.crossing, [&head[first], &tail[second]])
        });
        let mut shed = 0;
        let is_kept = |(_, [first, second]): &Crossed<'_>| {
            let is_shed = is_behind && first.len() + second.len() > AUDIO_MAX_BYTES;
            shed += u64::from(is_shed);
            !is_shed
        };
        take(&mut batch.filter(is_kept));
        contents.commit_all();
        parcels.commit_all();
        Read { taken: count, shed }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use duocast_model::{CallId, Generation, LegId, Route, RoutePlan};
    use duocast_router_core::{Place, ShardConfig, Workers};

    use super::*;
    use crate::sys;

    /// A note such as shards have for each other; what it says does not matter here.
    fn note() -> Crossing {
        let announced = vec![([127, 0, 0, 1], 4000).into()];
        let config = ShardConfig { announced, announced_tcp: Vec::new(), max_legs: 1 };
        let mut shard = Shard::at(Place { worker: 0, of: Workers(2) }, config);
        let (from, to) = (LegId::from_u128(2), LegId::from_u128(3));
        let plan =
            RoutePlan::new(CallId::from_u128(1), Generation(1), vec![from, to], vec![Route { from, to }]);
        assert!(shard.handle_plan(Instant::now(), &plan.unwrap().with_audience()).applied);
        shard.poll_note(1).unwrap()
    }

    fn pair() -> (Rings, Rings, Arc<Wake>) {
        let wakes = [0, 1].map(|_| Arc::new(Wake::new().unwrap()));
        let mut all = Rings::mesh(&wakes);
        let (second, first) = (all.pop().unwrap(), all.pop().unwrap());
        let [_, wake] = wakes;
        (first, second, wake)
    }

    fn pass(from: &mut Rings, crossing: &Crossing, contents: &[u8]) -> bool {
        let passing = Passing { to: 1, crossing: crossing.clone(), contents };
        from.outgoing[1].as_mut().unwrap().pass(passing)
    }

    fn read(to: &mut Rings) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let read = to.incoming[0].1.read(false, |batch| {
                all.extend(batch.map(|(_, contents)| contents.concat()));
            });
            if read.taken == 0 {
                return all;
            }
        }
    }

    #[test]
    fn pictures_leave_room_for_sound_and_nothing_is_mixed_up_where_it_is_full() {
        let (mut from, mut to, _) = pair();
        let note = note();
        for turn in 0..20_u8 {
            let (picture, sound) = ([turn; 1000], [turn + 100; 100]);
            let pictures = (0..10_000).take_while(|_| pass(&mut from, &note, &picture)).count();
            assert!((SHARE.1 / 4..SHARE.1).contains(&pictures), "{pictures}");
            assert!(!pass(&mut from, &note, &picture), "it stays full");
            let sounds = (0..10_000).take_while(|_| pass(&mut from, &note, &sound)).count();
            assert!(sounds >= SHARE.1 / KEPT_FOR_SOUND, "{sounds}");
            let there = read(&mut to);
            assert_eq!(there.len(), pictures + sounds);
            assert!(there[..pictures].iter().all(|contents| *contents == picture));
            assert!(there[pictures..].iter().all(|contents| *contents == sound));
            assert!(read(&mut to).is_empty());
        }
    }

    #[test]
    fn a_worker_that_stays_behind_drops_pictures_and_no_sound() {
        let (mut from, mut to, _) = pair();
        let (note, began) = (note(), Instant::now());
        let announced = vec![([127, 0, 0, 1], 4000).into()];
        let config = ShardConfig { announced, announced_tcp: Vec::new(), max_legs: 1 };
        let mut shard = Shard::at(Place { worker: 1, of: Workers(2) }, config);
        for _ in 0..500 {
            assert!(pass(&mut from, &note, &[1; 1000]) && pass(&mut from, &note, &[2; 100]));
        }
        let mut take = |ms| (to.take(began + Duration::from_millis(ms), &mut shard), to.counters().shed);
        assert_eq!((take(0), take(40), take(60)), ((256, 0), (256, 0), (256, 128)));
        assert_eq!((take(70), take(80)), ((232, 128), (0, 128)), "it has caught up");
    }

    #[test]
    fn a_reader_that_sleeps_is_woken_for_all_that_is_written_and_gets_it_in_order() {
        const COUNT: u32 = 20_000;
        let (mut from, mut to, wake) = pair();
        let writer = thread::spawn(move || {
            let note = note();
            let mut lost = 0;
            for number in 0..COUNT {
                let contents = number.to_be_bytes().repeat(1 + number as usize % 300);
                lost += u32::from(!pass(&mut from, &note, &contents));
                if number % 7 == 0 {
                    from.outgoing[1].as_mut().unwrap().wake();
                }
                if number % 97 == 0 {
                    thread::sleep(Duration::from_micros(50));
                }
            }
            while !pass(&mut from, &note, b"end") {
                thread::yield_now();
            }
            from.outgoing[1].as_mut().unwrap().wake();
            lost
        });
        let (mut seen, mut is_over, mut before) = (0, false, None);
        while !is_over {
            let long = Duration::from_secs(20);
            let began = Instant::now();
            sys::wait(std::iter::empty(), None, &wake, Some(to.sleep(long)));
            assert!(began.elapsed() < long / 2, "it was not woken");
            to.awake();
            for contents in read(&mut to) {
                is_over = contents == b"end";
                if !is_over {
                    let number = u32::from_be_bytes(contents[..4].try_into().unwrap());
                    assert_eq!(contents, number.to_be_bytes().repeat(1 + number as usize % 300));
                    assert!(before.replace(number).is_none_or(|before| before < number));
                    seen += 1;
                }
            }
        }
        assert_eq!(seen + writer.join().unwrap(), COUNT);
    }

    #[test]
    fn one_worker_has_no_ring_and_many_have_small_ones() {
        let wake = Arc::new(Wake::new().unwrap());
        let alone = Rings::mesh(&[Arc::clone(&wake)]).pop().unwrap();
        assert!(alone.incoming.is_empty() && alone.outgoing.iter().all(Option::is_none));
        assert_eq!(alone.sleep(Duration::from_secs(1)), Duration::from_secs(1));
        let many = Rings::mesh(&vec![wake; 33]);
        for rings in &many {
            assert_eq!(rings.incoming.len(), 32);
            let share = |ring: &Outgoing| ring.parcels.buffer().capacity();
            assert!(rings.outgoing.iter().flatten().all(|ring| share(ring) == MAX_WAITING / 32));
        }
        assert!(size_of::<Parcel>() <= 256, "{}", size_of::<Parcel>());
    }
}
