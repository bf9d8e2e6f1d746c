//! Puts packets back into order and time: what to play when a frame is due.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::{FRAME, FRAME_SAMPLES};
use crate::media::Payload;

/// Most packets held (one second of 20 ms frames); at the bound the oldest is dropped. Higher survives longer bursts,
/// lower bounds the delay.
const PACKETS_MAX: usize = 50;

/// Longest delay aimed at, in frames. Higher conceals less on bad networks, lower keeps conversation quick.
const TARGET_MAX: usize = 10;

/// Arrivals over which jitter is judged: two seconds of 20 ms frames.
const HISTORY: usize = 100;

/// Pulls over which the buffer must have been too full before a frame is dropped: half a second.
const PATIENCE: u32 = 25;

/// How long the first packet of a stream waits for its followers. It is the slack against the smallest jitter.
const START_DELAY: Duration = Duration::from_millis(10);

/// Frames concealed before an empty buffer gives silence: Opus has faded out by then.
const CONCEAL_MAX: u32 = 5;

/// A jump in sequence numbers beyond this is a new beginning, not loss.
const JUMP: u64 = 100;

/// Late packets in a row that mean that the numbering started over.
const LATE_MAX: u32 = 25;

/// What to play next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Playout {
    /// Decode this.
    Packet(Payload),
    /// Decode both into the time of one: the buffer is fuller than the network needs.
    CatchUp(Payload, Payload),
    /// The packet is lost, but this later one may hold a copy in its FEC.
    Recover(Payload),
    /// Nothing is there: let the decoder conceal one frame.
    Conceal,
    /// Nothing is expected: play silence.
    Silence,
}

/// What happened to packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JitterCounters {
    /// Packets taken in.
    pub received: u64,
    /// Packets that came after their time, or twice.
    pub late: u64,
    /// Packets that were not there when due.
    pub lost: u64,
    /// Of those, how many the next packet's FEC stood in for.
    pub recovered: u64,
    /// Frames concealed: lost ones without FEC, and waits for packets that came too late.
    pub concealed_frames: u64,
    /// Frames dropped to come back to the delay aimed at.
    pub dropped_frames: u64,
    /// Interarrival jitter in samples at 48 kHz (RFC 3550 section 6.4.1).
    pub jitter_samples: u32,
    /// Delay aimed at, in frames.
    pub target_frames: u32,
}

struct Held {
    rtp_time: u32,
    payload: Payload,
}

/// A bounded, adaptive buffer of one stream. [`JitterBuffer::handle_packet`] as packets come, [`JitterBuffer::pull`] once
/// for every frame that is to be played.
#[derive(Default)]
pub struct JitterBuffer {
    held: BTreeMap<u64, Held>,
    next: Option<u64>,
    /// RTP time that follows the last packet played.
    next_time: u32,
    first_arrival: Option<Instant>,
    late_in_a_row: u32,
    empty_pulls: u32,
    arrivals: Arrivals,
    lowest_level: usize,
    pulls: u32,
    counters: JitterCounters,
}

impl JitterBuffer {
    /// Takes a packet: extended sequence number, RTP time at 48 kHz.
    pub fn handle_packet(&mut self, arrived: Instant, sequence: u64, rtp_time: u32, payload: Payload) {
        self.counters.received += 1;
        if self.next.is_some_and(|next| sequence < next) || self.held.contains_key(&sequence) {
            self.counters.late += 1;
            self.late_in_a_row += 1;
            if self.late_in_a_row < LATE_MAX {
                return;
            }
            self.start_over();
        }
        self.late_in_a_row = 0;
        self.first_arrival.get_or_insert(arrived);
        self.arrivals.add(arrived, rtp_time);
        self.counters.jitter_samples = self.arrivals.jitter_samples();
        self.held.insert(sequence, Held { rtp_time, payload });
        if self.held.len() > PACKETS_MAX {
            self.held.pop_first();
            self.counters.dropped_frames += 1;
        }
    }

    /// What to play in the frame that begins now.
    pub fn pull(&mut self, now: Instant) -> Playout {
        let Some((&head, _)) = self.held.first_key_value() else { return self.pull_empty() };
        let Some(next) = self.next else { return self.pull_first(now, head) };
        if head > next && head - next <= JUMP && self.held.len() < PACKETS_MAX {
            return self.pull_lost(next, head);
        }
        if self.is_too_full() && self.held.contains_key(&(head + 1)) {
            self.counters.dropped_frames += 1;
            let first = self.take(head);
            return Playout::CatchUp(first, self.take(head + 1));
        }
        Playout::Packet(self.take(head))
    }

    /// What happened so far.
    pub fn counters(&self) -> JitterCounters {
        JitterCounters { target_frames: self.target() as u32, ..self.counters }
    }

    fn pull_first(&mut self, now: Instant, head: u64) -> Playout {
        let waited =
            self.first_arrival.is_none_or(|first| now.saturating_duration_since(first) >= START_DELAY);
        if waited || self.held.len() > 1 { Playout::Packet(self.take(head)) } else { Playout::Silence }
    }

    fn pull_empty(&mut self) -> Playout {
        if self.next.is_none() {
            return Playout::Silence;
        }
        self.empty_pulls = self.empty_pulls.saturating_add(1);
        if self.empty_pulls <= CONCEAL_MAX { Playout::Conceal } else { Playout::Silence }
    }

    fn pull_lost(&mut self, next: u64, head: u64) -> Playout {
        self.counters.lost += 1;
        self.next = Some(next + 1);
        self.next_time = self.next_time.wrapping_add(FRAME_SAMPLES as u32);
        if head == next + 1 {
            self.counters.recovered += 1;
            return Playout::Recover(self.held[&head].payload.clone());
        }
        self.counters.concealed_frames += 1;
        Playout::Conceal
    }

    fn take(&mut self, sequence: u64) -> Payload {
        let held = self.held.remove(&sequence).expect("callers take what they have just seen");
        let missing = self.next.map_or(0, |next| sequence.saturating_sub(next));
        self.settle_wait(held.rtp_time, missing);
        self.next = Some(sequence + 1);
        let samples = opus::packet::get_nb_samples(&held.payload, super::SAMPLE_RATE);
        self.next_time = held.rtp_time.wrapping_add(samples.unwrap_or(FRAME_SAMPLES) as u32);
        held.payload
    }

    /// Empty pulls were a wait for a packet that was late, or for `missing` ones that were sent and did not come, unless the
    /// sender's own clock says that it paused meanwhile.
    fn settle_wait(&mut self, rtp_time: u32, missing: u64) {
        let empty = std::mem::take(&mut self.empty_pulls);
        let paused_samples = (rtp_time.wrapping_sub(self.next_time) as i32).max(0);
        let sent = u32::try_from(missing).unwrap_or(u32::MAX);
        let paused = ((paused_samples / FRAME_SAMPLES as i32) as u32).saturating_sub(sent);
        self.counters.concealed_frames += u64::from(empty.saturating_sub(paused));
    }

    /// True once for every frame by which the buffer stayed fuller than its target through a while.
    fn is_too_full(&mut self) -> bool {
        let level = self.held.len();
        self.lowest_level = if self.pulls == 0 { level } else { self.lowest_level.min(level) };
        self.pulls += 1;
        if self.pulls < PATIENCE {
            return false;
        }
        self.pulls = 0;
        self.lowest_level > self.target() + 1
    }

    fn target(&self) -> usize {
        self.arrivals.spread().as_millis().div_ceil(FRAME.as_millis()).clamp(1, TARGET_MAX as u128) as usize
    }

    /// Forgets the stream, not the counters: the next packet is the first of another one.
    pub fn start_over(&mut self) {
        self.held.clear();
        self.next = None;
        self.first_arrival = None;
        self.arrivals = Arrivals::default();
        self.empty_pulls = 0;
    }
}

/// How unevenly packets come.
#[derive(Default)]
struct Arrivals {
    /// Arrival relative to RTP time, in microseconds, newest last.
    transits: VecDeque<i64>,
    base: Option<(Instant, u32)>,
    jitter: f64,
}

impl Arrivals {
    fn add(&mut self, arrived: Instant, rtp_time: u32) {
        let (base_at, base_time) = *self.base.get_or_insert((arrived, rtp_time));
        let real = arrived.saturating_duration_since(base_at).as_micros() as i64;
        let media = i64::from(rtp_time.wrapping_sub(base_time) as i32) * 1000 / 48;
        let transit = real - media;
        if let Some(last) = self.transits.back() {
            let change = (transit - last).unsigned_abs() as f64;
            self.jitter += (change - self.jitter) / 16.0;
        }
        self.transits.push_back(transit);
        if self.transits.len() > HISTORY {
            self.transits.pop_front();
        }
        // Keeps the differences above far from wrapping in calls of many hours.
        if real > 3_600_000_000 {
            *self = Self { jitter: self.jitter, ..Self::default() };
        }
    }

    /// Delay of the 95th percentile against the quickest recent packet.
    fn spread(&self) -> Duration {
        let Some(quickest) = self.transits.iter().min() else { return Duration::ZERO };
        let mut sorted: Vec<i64> = self.transits.iter().map(|t| t - quickest).collect();
        let at = sorted.len() * 95 / 100;
        let (_, late, _) = sorted.select_nth_unstable(at.min(self.transits.len() - 1));
        Duration::from_micros(late.unsigned_abs())
    }

    fn jitter_samples(&self) -> u32 {
        (self.jitter * 48.0 / 1000.0) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Payload number `n`: an Opus TOC for one 20 ms frame and the number.
    fn packet(n: u64) -> Payload {
        Payload::from(vec![0b0100_1000, n as u8])
    }

    struct Line {
        buffer: JitterBuffer,
        start: Instant,
    }

    impl Line {
        fn new() -> Self {
            Self { buffer: JitterBuffer::default(), start: Instant::now() }
        }

        fn arrives(&mut self, at_ms: u64, n: u64) {
            let at = self.start + Duration::from_millis(at_ms);
            self.buffer.handle_packet(at, n, n as u32 * 960, packet(n));
        }

        fn plays(&mut self, at_ms: u64) -> Playout {
            self.buffer.pull(self.start + Duration::from_millis(at_ms))
        }
    }

    #[test]
    fn packets_in_order_are_played_in_order_after_a_short_start() {
        let mut line = Line::new();
        assert_eq!(line.plays(0), Playout::Silence);
        line.arrives(1, 0);
        assert_eq!(line.plays(2), Playout::Silence, "the first packet waits 10 ms for its followers");
        assert_eq!(line.plays(22), Playout::Packet(packet(0)));
        for n in 1..200 {
            line.arrives(n * 20 + 1, n);
            assert_eq!(line.plays(n * 20 + 22), Playout::Packet(packet(n)));
        }
        let counters = line.buffer.counters();
        assert_eq!((counters.lost, counters.late, counters.concealed_frames), (0, 0, 0));
    }

    #[test]
    fn reordered_packets_are_sorted_and_a_repeat_is_dropped() {
        let mut line = Line::new();
        for n in [1, 0, 2, 2] {
            line.arrives(0, n);
        }
        let played: Vec<Playout> = (0..3).map(|n| line.plays(20 + n * 20)).collect();
        assert_eq!(played, [0, 1, 2].map(|n| Playout::Packet(packet(n))));
        assert_eq!(line.buffer.counters().late, 1);
    }

    #[test]
    fn a_single_loss_is_recovered_from_the_next_packet_and_a_double_loss_partly() {
        let mut line = Line::new();
        for n in [0, 2, 5] {
            line.arrives(0, n);
        }
        let played: Vec<Playout> = (1..7).map(|n| line.plays(n * 20)).collect();
        let expected = [
            Playout::Packet(packet(0)),
            Playout::Recover(packet(2)),
            Playout::Packet(packet(2)),
            Playout::Conceal,
            Playout::Recover(packet(5)),
            Playout::Packet(packet(5)),
        ];
        assert_eq!(played, expected);
        let counters = line.buffer.counters();
        assert_eq!((counters.lost, counters.recovered, counters.concealed_frames), (3, 2, 1));
    }

    #[test]
    fn a_late_burst_is_concealed_then_played_and_the_delay_shrinks_again() {
        let mut line = Line::new();
        for n in 0..10 {
            line.arrives(n * 20, n);
            line.plays(n * 20 + 15);
        }
        for n in 10..15 {
            assert_eq!(line.plays(n * 20 + 15), Playout::Conceal);
        }
        for n in 10..15 {
            line.arrives(300, n);
        }
        let mut dropped_at = None;
        for n in 15..400 {
            line.arrives(n * 20, n);
            let played = line.plays(n * 20 + 15);
            assert!(!matches!(played, Playout::Conceal | Playout::Silence), "at {n}");
            if matches!(played, Playout::CatchUp(..)) {
                dropped_at = Some(n);
            }
        }
        let counters = line.buffer.counters();
        assert_eq!((counters.lost, counters.concealed_frames), (0, 5));
        assert!(dropped_at.is_some(), "the delay comes back down");
        assert!(line.buffer.held.len() <= 2, "{}", line.buffer.held.len());
    }

    #[test]
    fn a_sender_that_pauses_is_not_counted_as_concealed() {
        let mut line = Line::new();
        line.arrives(0, 0);
        line.plays(20);
        let quiet: Vec<Playout> = (2..50).map(|n| line.plays(n * 20)).collect();
        assert_eq!(quiet[CONCEAL_MAX as usize], Playout::Silence);
        let at = line.start + Duration::from_millis(1000);
        line.buffer.handle_packet(at, 1, 50 * 960, packet(1));
        assert_eq!(line.plays(1000), Playout::Packet(packet(1)));
        assert_eq!(line.buffer.counters().concealed_frames, 0);
    }

    #[test]
    fn what_was_sent_through_three_seconds_of_darkness_counts_as_made_up() {
        let mut line = Line::new();
        line.arrives(0, 0);
        line.plays(20);
        for n in 2..152 {
            line.plays(n * 20);
        }
        line.arrives(151 * 20, 151);
        assert_eq!(line.plays(152 * 20), Playout::Packet(packet(151)));
        assert_eq!(line.buffer.counters().concealed_frames, 150);
    }

    #[test]
    fn the_buffer_is_bounded_and_a_restart_of_the_numbering_is_survived() {
        let mut line = Line::new();
        for n in 1000..2000 {
            line.arrives(0, n);
        }
        assert_eq!(line.buffer.held.len(), PACKETS_MAX);
        while matches!(line.plays(20), Playout::Packet(_) | Playout::CatchUp(..)) {}
        for n in 0..60 {
            line.arrives(2000 + n * 20, n);
        }
        assert!(matches!(line.plays(4000), Playout::Packet(_)));
    }

    #[test]
    fn jitter_raises_the_target_and_calm_lowers_it() {
        let mut line = Line::new();
        for n in 0..100 {
            line.arrives(n * 20 + if n % 3 == 0 { 70 } else { 0 }, n);
            line.plays(n * 20 + 15);
        }
        assert_eq!(line.buffer.counters().target_frames, 4);
        assert!(line.buffer.counters().jitter_samples > 960);
        for n in 100..300 {
            line.arrives(n * 20, n);
            line.plays(n * 20 + 15);
        }
        assert_eq!(line.buffer.counters().target_frames, 1);
    }
}
