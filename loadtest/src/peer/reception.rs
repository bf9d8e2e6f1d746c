//! What came of what was sent: loss by the sender's own count, order by RTP sequence numbers, latency and jitter by marks.

use std::time::Duration;

use duocast_media::prefetch;

/// Sequence numbers in which a repeat is recognised. Higher tells later repeats from late packets.
const WINDOW: u64 = 1024;

/// First marks that a sender remembers, to find the packet that was delivered first. Media that takes longer than this to
/// start (ten seconds of video, twenty of audio) counts as lost from here on, unless receivers are expected for longer.
const MARKS_REMEMBERED: usize = 1200;

/// What one party sent of one kind of media.
#[derive(Debug, Clone, Default)]
pub(crate) struct SentBook {
    packets: u64,
    last_mark: u64,
    first_marks: Vec<u64>,
    /// Marks of this long after the first one are remembered in any case.
    remembers_micros: u64,
}

impl SentBook {
    /// Of a sender whose receivers begin within this time.
    pub(crate) fn new(receivers_within: Duration) -> Self {
        let remembers_micros = u64::try_from(receivers_within.as_micros()).unwrap_or(u64::MAX);
        Self { remembers_micros, ..Self::default() }
    }

    /// See [`prefetch`].
    pub(crate) fn prefetch(&self) {
        if let (Some(first), Some(last)) = (self.first_marks.first(), self.first_marks.last()) {
            prefetch(first);
            prefetch(last);
        }
    }

    /// The mark of the next packet: the time, moved by a microsecond where two packets share it, so that each is unique.
    pub(crate) fn next_mark(&mut self, unix_micros: u64) -> u64 {
        self.last_mark = unix_micros.max(self.last_mark + 1);
        self.packets += 1;
        let since_first = self.first_marks.first().map_or(0, |first| self.last_mark - first);
        if self.first_marks.len() < MARKS_REMEMBERED || since_first < self.remembers_micros {
            self.first_marks.push(self.last_mark);
        }
        self.last_mark
    }

    /// Packets sent.
    pub(crate) fn packets(&self) -> u64 {
        self.packets
    }

    /// Mark of the first packet.
    pub(crate) fn first_mark(&self) -> Option<u64> {
        self.first_marks.first().copied()
    }

    /// Packets sent from the one with this mark on: what its receiver could expect.
    pub(crate) fn packets_since(&self, first_delivered: u64) -> u64 {
        self.packets - self.first_marks.partition_point(|mark| *mark < first_delivered) as u64
    }
}

/// A time in which nothing came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gap {
    /// When the packet before it arrived, in microseconds since 1970.
    pub(crate) from: u64,
    pub(crate) micros: u64,
    /// Packets that are missing between the two at its ends.
    pub(crate) missing: u64,
}

/// What one party received of one kind of media.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reception {
    /// Different packets.
    pub(crate) packets: u64,
    /// Packets that came again.
    pub(crate) repeats: u64,
    /// Mark of the first packet.
    pub(crate) first_mark: Option<u64>,
    /// Interarrival jitter (RFC 3550 section 6.4.1) in microseconds, taken from the marks: it holds the path's variation
    /// and not the sender's.
    pub(crate) jitter_micros: f64,
    /// The longest time without a packet.
    pub(crate) longest_gap: Gap,
    last_arrival: Option<u64>,
    first_sequence: Option<u64>,
    highest: u64,
    seen: [u64; (WINDOW / 64) as usize],
    transit: Option<i64>,
}

impl Reception {
    /// Takes a packet. Gives its one-way latency in microseconds, if it is new and marked.
    pub(crate) fn handle_packet(
        &mut self,
        sequence: u64,
        mark: Option<u64>,
        arrived_unix_micros: u64,
    ) -> Option<u64> {
        let highest = self.highest;
        if !self.is_new(sequence) {
            self.repeats += 1;
            return None;
        }
        self.packets += 1;
        self.note_arrival(sequence, highest, arrived_unix_micros);
        let mark = mark?;
        self.first_mark.get_or_insert(mark);
        let transit = i64::try_from(arrived_unix_micros).ok()?.checked_sub(i64::try_from(mark).ok()?)?;
        if let Some(last) = self.transit.replace(transit) {
            self.jitter_micros += (transit.abs_diff(last) as f64 - self.jitter_micros) / 16.0;
        }
        // A clock that was set back between send and arrival gives no negative latency.
        Some(u64::try_from(transit).unwrap_or(0))
    }

    fn note_arrival(&mut self, sequence: u64, highest: u64, arrived: u64) {
        if let Some(from) = self.last_arrival {
            let micros = arrived.saturating_sub(from);
            if micros > self.longest_gap.micros {
                let missing = sequence.saturating_sub(highest + 1);
                self.longest_gap = Gap { from, micros, missing };
            }
        }
        self.last_arrival = Some(self.last_arrival.map_or(arrived, |last| last.max(arrived)));
    }

    /// Packets that are missing between the first and the highest sequence number.
    pub(crate) fn gaps(&self) -> u64 {
        self.first_sequence.map_or(0, |first| (self.highest - first + 1).saturating_sub(self.packets))
    }

    fn is_new(&mut self, sequence: u64) -> bool {
        let first = *self.first_sequence.get_or_insert(sequence);
        self.first_sequence = Some(first.min(sequence));
        if self.packets == 0 {
            self.highest = sequence;
        } else if sequence > self.highest {
            for skipped in (self.highest + 1..=sequence).take(WINDOW as usize) {
                self.set(skipped, false);
            }
            self.highest = sequence;
        } else if self.highest - sequence >= WINDOW || self.is_set(sequence) {
            return false;
        }
        self.set(sequence, true);
        true
    }

    fn is_set(&self, sequence: u64) -> bool {
        let bit = sequence % WINDOW;
        self.seen[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }

    fn set(&mut self, sequence: u64, on: bool) {
        let bit = sequence % WINDOW;
        let word = &mut self.seen[(bit / 64) as usize];
        *word = *word & !(1 << (bit % 64)) | u64::from(on) << (bit % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(book: &mut SentBook, count: u64) -> Vec<u64> {
        (0..count).map(|n| book.next_mark(1_000 + n * 20_000)).collect()
    }

    #[test]
    fn what_was_sent_before_the_first_delivery_is_not_expected() {
        let mut book = SentBook::default();
        let marks = send(&mut book, 100);
        assert_eq!(book.packets_since(marks[0]), 100);
        assert_eq!(book.packets_since(marks[7]), 93);
    }

    #[test]
    fn who_comes_late_could_expect_what_was_sent_from_then_on() {
        let within = |seconds| {
            let mut book = SentBook::new(Duration::from_secs(seconds));
            let marks = send(&mut book, 5_000);
            book.packets_since(marks[4_000])
        };
        assert_eq!(within(90), 1_000, "it came after 80 s");
        assert_eq!(within(0), 3_800, "nobody was to come so late");
    }

    #[test]
    fn packets_of_the_same_microsecond_have_different_marks() {
        let mut book = SentBook::default();
        let marks: Vec<u64> = (0..4).map(|_| book.next_mark(5_000)).collect();
        assert_eq!(marks, [5_000, 5_001, 5_002, 5_003]);
        assert_eq!(book.packets_since(5_002), 2);
    }

    #[test]
    fn a_stream_that_dies_is_lost_although_its_sequence_numbers_have_no_gap() {
        let mut book = SentBook::default();
        let marks = send(&mut book, 100);
        let mut reception = Reception::default();
        for (n, mark) in marks.iter().take(40).enumerate() {
            reception.handle_packet(n as u64, Some(*mark), mark + 500);
        }
        assert_eq!(reception.gaps(), 0);
        assert_eq!(book.packets_since(reception.first_mark.unwrap()) - reception.packets, 60);
    }

    #[test]
    fn reordered_packets_count_once_and_repeats_do_not() {
        let mut reception = Reception::default();
        for sequence in [10, 12, 11, 12, 15, 10] {
            reception.handle_packet(sequence, None, 0);
        }
        assert_eq!((reception.packets, reception.repeats, reception.gaps()), (4, 2, 2));
    }

    #[test]
    fn a_packet_from_before_the_first_is_new_and_one_from_far_before_is_not() {
        let mut reception = Reception::default();
        for sequence in [5000, 4999, 3000] {
            reception.handle_packet(sequence, None, 0);
        }
        assert_eq!((reception.packets, reception.repeats), (2, 1));
    }

    #[test]
    fn a_jump_ahead_forgets_the_old_window() {
        let mut reception = Reception::default();
        for sequence in (0..2000).chain(100_000..102_000) {
            reception.handle_packet(sequence, None, 0);
        }
        assert_eq!((reception.packets, reception.repeats), (4000, 0));
    }

    #[test]
    fn the_longest_gap_is_told_with_what_is_missing_in_it() {
        let mut reception = Reception::default();
        let arrivals = [(1, 20), (2, 40), (3, 1_040), (4, 1_041), (8, 1_500)];
        for (sequence, ms) in arrivals {
            reception.handle_packet(sequence, None, ms * 1_000);
        }
        assert_eq!(reception.longest_gap, Gap { from: 40_000, micros: 1_000_000, missing: 0 });
        reception.handle_packet(108, None, 3_500_000);
        assert_eq!(reception.longest_gap, Gap { from: 1_500_000, micros: 2_000_000, missing: 99 });
    }

    #[test]
    fn latency_is_arrival_minus_mark_and_jitter_is_its_variation() {
        let mut reception = Reception::default();
        assert_eq!(reception.handle_packet(1, Some(1_000), 1_400), Some(400));
        assert_eq!(reception.handle_packet(2, Some(21_000), 21_400), Some(400));
        assert_eq!(reception.jitter_micros, 0.0, "uneven sending is not jitter");
        assert_eq!(reception.handle_packet(3, Some(41_000), 42_200), Some(1_200));
        assert_eq!(reception.jitter_micros, 50.0);
        assert_eq!(reception.handle_packet(4, Some(90_000), 80_000), Some(0), "a clock that was set back");
        assert_eq!(reception.handle_packet(4, Some(90_000), 95_000), None, "a repeat has no latency");
    }
}
