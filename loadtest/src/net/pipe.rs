//! One direction of one client's path.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::losses::Losses;
use super::{Conditions, Rate};

/// IPv4 and UDP headers of a datagram, which a bottleneck carries as well.
const HEADER_BYTES: usize = 28;

/// What a bottleneck lets pass at once after a pause: two full packets.
const BUCKET_BYTES: usize = 3000;

/// Packets under way at most: ten seconds of 1 Mbit/s video and audio. Further ones are dropped as by a full queue.
const UNDER_WAY_MAX: usize = 4096;

/// What a pipe has done to packets of media, by its own count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Injected {
    /// Packets of media that came to it.
    pub(crate) packets: u64,
    /// Of those: lost at random or in a burst.
    pub(crate) lost: u64,
    /// Dropped because the bottleneck's queue was full.
    pub(crate) overflowed: u64,
    /// Lost in a blackout.
    pub(crate) blacked_out: u64,
    /// Sent on twice.
    pub(crate) duplicated: u64,
    /// How long those that got through were held, all together.
    pub(crate) held: Duration,
}

impl Injected {
    /// Packets that did not get through.
    pub(crate) fn dropped(&self) -> u64 {
        self.lost + self.overflowed + self.blacked_out
    }

    /// Share that did not get through; `None` of none.
    pub(crate) fn loss(&self) -> Option<f64> {
        (self.packets > 0).then(|| self.dropped() as f64 / self.packets as f64)
    }

    /// How long one that got through was held on average; `None` of none.
    pub(crate) fn mean_held(&self) -> Option<Duration> {
        let through = self.packets - self.dropped();
        (through > 0).then(|| self.held.div_f64(through as f64))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.lost += other.lost;
        self.overflowed += other.overflowed;
        self.blacked_out += other.blacked_out;
        self.duplicated += other.duplicated;
        self.held += other.held;
    }
}

/// Holds packets back, loses some and repeats others.
///
/// [`Pipe::push`] what comes, then [`Pipe::pop`] until it is empty, now and at [`Pipe::poll_timeout`].
pub(crate) struct Pipe<T> {
    conditions: Conditions,
    /// From when blackouts count.
    steady_from: Option<Instant>,
    rng: StdRng,
    losses: Losses,
    /// When the bottleneck's bucket will be full again.
    full_at: Option<Instant>,
    /// When the packet before is due, which those in order do not overtake.
    last_due: Option<Instant>,
    under_way: BinaryHeap<Held<T>>,
    serial: u64,
    injected: Injected,
}

struct Held<T> {
    due: Instant,
    serial: u64,
    held: Duration,
    packet: T,
}

impl<T: Clone> Pipe<T> {
    /// The same conditions and seed do the same to the same packets.
    pub(crate) fn new(conditions: Conditions, seed: u64, steady_from: Option<Instant>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let losses = Losses::new(conditions.loss, conditions.burst, &mut rng);
        Self {
            conditions,
            steady_from,
            rng,
            losses,
            full_at: None,
            last_due: None,
            under_way: BinaryHeap::new(),
            serial: 0,
            injected: Injected::default(),
        }
    }

    /// Takes a packet of `bytes` bytes. Those of media are counted.
    pub(crate) fn push(&mut self, now: Instant, bytes: usize, is_media: bool, packet: T) {
        let fate = self.fate(now, bytes);
        if is_media {
            self.count(fate);
        }
        let Fate::Passes { held, is_doubled } = fate else { return };
        if is_doubled {
            self.hold(now, held, packet.clone());
        }
        self.hold(now, held, packet);
    }

    /// A packet whose time has come, and how long it was to be held; the loss of time in waking up is not in that.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Duration, T)> {
        self.under_way.peek().filter(|next| next.due <= now)?;
        self.under_way.pop().map(|next| (next.held, next.packet))
    }

    /// A packet, whether its time has come or not.
    pub(crate) fn flush(&mut self) -> Option<T> {
        self.under_way.pop().map(|next| next.packet)
    }

    /// When [`Pipe::pop`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.peek().map(|next| next.due)
    }

    pub(crate) fn injected(&self) -> Injected {
        self.injected
    }

    fn fate(&mut self, now: Instant, bytes: usize) -> Fate {
        // Drawn first, so that a blackout does not change what happens to the packets after it.
        let is_lost = self.losses.takes(&mut self.rng);
        if self.is_black(now) {
            return Fate::BlackedOut;
        }
        if is_lost {
            return Fate::Lost;
        }
        if self.under_way.len() >= UNDER_WAY_MAX {
            return Fate::Overflowed;
        }
        let Some(departs) = self.departure(now, bytes) else { return Fate::Overflowed };
        let jitter = self.conditions.jitter;
        let jitter = if jitter.is_zero() { jitter } else { jitter.mul_f64(self.rng.random()) };
        let mut due = departs + self.conditions.delay + jitter;
        if !self.conditions.reorder {
            due = self.last_due.map_or(due, |last| due.max(last));
            self.last_due = Some(due);
        }
        let duplicate = self.conditions.duplicate;
        let is_doubled = duplicate > 0.0 && self.rng.random_bool(duplicate);
        Fate::Passes { held: due - now, is_doubled }
    }

    fn is_black(&self, now: Instant) -> bool {
        let Some(steady_from) = self.steady_from else { return false };
        self.conditions.blackouts.iter().any(|blackout| blackout.is_on(steady_from, now))
    }

    /// When a packet leaves the bottleneck; `None` if its queue is full.
    fn departure(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let Some(Rate { bits_per_second, queue }) = self.conditions.rate else { return Some(now) };
        let time = |bytes: usize| Duration::from_secs_f64(bytes as f64 * 8.0 / bits_per_second as f64);
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + time(bytes + HEADER_BYTES);
        let departs = full_at.checked_sub(time(BUCKET_BYTES)).map_or(now, |at| at.max(now));
        if departs - now > queue {
            return None;
        }
        self.full_at = Some(full_at);
        Some(departs)
    }

    fn count(&mut self, fate: Fate) {
        self.injected.packets += 1;
        match fate {
            Fate::Lost => self.injected.lost += 1,
            Fate::BlackedOut => self.injected.blacked_out += 1,
            Fate::Overflowed => self.injected.overflowed += 1,
            Fate::Passes { held, is_doubled } => {
                self.injected.held += held;
                self.injected.duplicated += u64::from(is_doubled);
            }
        }
    }

    fn hold(&mut self, now: Instant, held: Duration, packet: T) {
        self.serial += 1;
        self.under_way.push(Held { due: now + held, serial: self.serial, held, packet });
    }
}

#[derive(Clone, Copy)]
enum Fate {
    Lost,
    BlackedOut,
    Overflowed,
    Passes { held: Duration, is_doubled: bool },
}

// The heap gives the greatest: that is the earliest, and of those at one time the one that came first.
impl<T> Ord for Held<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.serial).cmp(&(self.due, self.serial))
    }
}

impl<T> PartialOrd for Held<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Held<T> {}
