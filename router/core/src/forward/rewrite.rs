//! One outgoing RTP stream: continuous sequence numbers and timestamps, whatever source feeds it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::SourceId;

/// Where outgoing sequence numbers start: below 65536, since a receiver starts with rollover counter 0 (RFC 3711 section
/// 3.3.1), and the same for everybody, so that it tells nothing of the source.
const FIRST_SEQUENCE_NUMBER: u64 = 1000;

/// Most left-out packets that late ones are still renumbered around. At the bound, packets older than the oldest are
/// dropped as too late. Higher costs a longer search per packet, lower gives up on reordering across padding.
const MAX_SKIPPED: usize = 32;

/// Longest pause that is bridged in media time when the source changes; a longer one counts as this long.
const MAX_BRIDGED: Duration = Duration::from_secs(60);

/// A packet's place in the outgoing stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sequence_number: u64,
    pub(crate) timestamp: u32,
}

/// Maps the numbers of changing sources to one continuous stream.
#[derive(Debug, Default)]
pub(crate) struct Rewriter {
    current: Option<Mapping>,
    /// Highest sequence number and latest timestamp given out, and when; survive a change of source.
    last: Option<(Place, Instant)>,
}

#[derive(Debug)]
struct Mapping {
    source: SourceId,
    /// The source's first sequence number, and its place in the outgoing stream.
    in_base: u64,
    out_base: u64,
    /// The source's highest sequence number, forwarded or skipped.
    highest: u64,
    /// The source's sequence numbers after `in_base` that have no place in the outgoing stream, ascending.
    skipped: VecDeque<u64>,
    timestamp_shift: u32,
}

impl Rewriter {
    /// Gives a packet its place; `None` if it is older than what this source began with.
    pub(crate) fn place(
        &mut self,
        now: Instant,
        source: SourceId,
        sequence_number: u64,
        timestamp: u32,
        clock_rate: u64,
    ) -> Option<Place> {
        let last = self.last;
        if self.current.as_ref().is_none_or(|m| m.source != source) {
            self.current = Some(Mapping::after(last, now, source, sequence_number, timestamp, clock_rate));
        }
        let mapping = self.current.as_mut()?;
        let sequence_number = mapping.map(sequence_number)?;
        let place = Place { sequence_number, timestamp: timestamp.wrapping_add(mapping.timestamp_shift) };
        if last.is_none_or(|(last, _)| place.sequence_number > last.sequence_number) {
            self.last = Some((place, now));
        }
        Some(place)
    }

    /// A packet of the current source is to go inside those after it: it is left out as by [`Rewriter::skip`]. Says the number of the next packet, and
    /// the time that is its own. `None`, and nothing changes: it came too late for that, and has a place.
    pub(crate) fn carry(&mut self, source: SourceId, sequence_number: u64, timestamp: u32) -> Option<Place> {
        let mapping = self.current.as_mut().filter(|m| m.source == source)?;
        if !mapping.skip(sequence_number) {
            return None;
        }
        let sequence_number = mapping.out_of(sequence_number + 1)?;
        Some(Place { sequence_number, timestamp: timestamp.wrapping_add(mapping.timestamp_shift) })
    }

    /// What follows does not go on from what was before, even if it is of the same source.
    pub(crate) fn interrupt(&mut self) {
        self.current = None;
    }

    /// A packet of the current source is left out: the viewer sees no gap where it was.
    pub(crate) fn skip(&mut self, source: SourceId, sequence_number: u64) {
        if let Some(mapping) = self.current.as_mut().filter(|m| m.source == source) {
            mapping.skip(sequence_number);
        }
    }
}

impl Mapping {
    fn after(
        last: Option<(Place, Instant)>,
        now: Instant,
        source: SourceId,
        sequence_number: u64,
        timestamp: u32,
        clock_rate: u64,
    ) -> Self {
        let (out_base, out_timestamp) = match last {
            None => (FIRST_SEQUENCE_NUMBER, 0),
            Some((last, at)) => {
                let pause = now.saturating_duration_since(at).min(MAX_BRIDGED);
                let ticks = (pause.as_micros() as u64 * clock_rate / 1_000_000).max(1) as u32;
                (last.sequence_number + 1, last.timestamp.wrapping_add(ticks))
            }
        };
        Self {
            source,
            in_base: sequence_number,
            out_base,
            highest: sequence_number,
            skipped: VecDeque::new(),
            timestamp_shift: out_timestamp.wrapping_sub(timestamp),
        }
    }

    fn map(&mut self, sequence_number: u64) -> Option<u64> {
        let mapped = self.out_of(sequence_number)?;
        self.highest = self.highest.max(sequence_number);
        Some(mapped)
    }

    fn out_of(&self, sequence_number: u64) -> Option<u64> {
        let offset = sequence_number.checked_sub(self.in_base)?;
        let skipped_before = self.skipped.iter().take_while(|s| **s < sequence_number).count() as u64;
        Some(self.out_base + offset - skipped_before)
    }

    /// Only a packet newer than all before can be skipped: a later one already has its number. False for that one.
    fn skip(&mut self, sequence_number: u64) -> bool {
        if sequence_number <= self.highest {
            return false;
        }
        self.highest = sequence_number;
        self.skipped.push_back(sequence_number);
        if self.skipped.len() > MAX_SKIPPED
            && let Some(oldest) = self.skipped.pop_front()
        {
            self.out_base += oldest - self.in_base;
            self.in_base = oldest + 1;
        }
        true
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::demux::LegKey;

    const VIDEO: u64 = 90_000;

    fn source(ssrc: u32) -> SourceId {
        SourceId { leg: LegKey(0), ssrc }
    }

    #[test]
    fn a_new_source_continues_where_the_old_one_stopped() {
        let t0 = Instant::now();
        let mut rewriter = Rewriter::default();
        let first = rewriter.place(t0, source(1), 70_000, 123_456, VIDEO).unwrap();
        assert_eq!(first, Place { sequence_number: 1000, timestamp: 0 });
        let second = rewriter.place(t0, source(1), 70_001, 126_456, VIDEO).unwrap();
        assert_eq!(second, Place { sequence_number: 1001, timestamp: 3000 });
        let later = t0 + Duration::from_millis(100);
        let switched = rewriter.place(later, source(2), 5, 4_000_000_000, VIDEO).unwrap();
        assert_eq!(switched, Place { sequence_number: 1002, timestamp: 3000 + 9000 });
        assert_eq!(rewriter.place(later, source(2), 4, 3_999_999_999, VIDEO), None, "older than the first");
    }

    #[test]
    fn a_late_packet_gets_the_place_that_was_left_for_it() {
        let t0 = Instant::now();
        let mut rewriter = Rewriter::default();
        let mut place = |n| rewriter.place(t0, source(1), n, 0, VIDEO).map(|p| p.sequence_number);
        assert_eq!((place(10), place(12), place(11)), (Some(1000), Some(1002), Some(1001)));
    }

    #[test]
    fn what_goes_inside_the_packets_after_it_leaves_no_gap() {
        let t0 = Instant::now();
        let mut rewriter = Rewriter::default();
        assert_eq!(rewriter.carry(source(1), 10, 0), None, "its source has not begun");
        let place = |rewriter: &mut Rewriter, n: u64| {
            let place = rewriter.place(t0, source(1), n, n as u32 * 960, 48_000);
            place.map(|place| (place.sequence_number, place.timestamp))
        };
        let carry = |rewriter: &mut Rewriter, n: u64| {
            let place = rewriter.carry(source(1), n, n as u32 * 960);
            place.map(|place| (place.sequence_number, place.timestamp))
        };
        assert_eq!(place(&mut rewriter, 10), Some((1000, 0)));
        assert_eq!(carry(&mut rewriter, 11), Some((1001, 960)));
        assert_eq!(carry(&mut rewriter, 12), Some((1001, 1920)), "with the same packet");
        assert_eq!(place(&mut rewriter, 13), Some((1001, 2880)));
        assert_eq!(carry(&mut rewriter, 15), Some((1003, 4800)), "what is still missing keeps its place");
        assert_eq!(place(&mut rewriter, 16), Some((1003, 5760)));
        assert_eq!(carry(&mut rewriter, 14), None, "what came after it is sent");
        assert_eq!(place(&mut rewriter, 14), Some((1002, 3840)));
        assert_eq!(rewriter.carry(source(2), 17, 0), None, "another source is not forwarded");
        assert_eq!(place(&mut rewriter, 17), Some((1004, 6720)), "what was refused changed nothing");
    }

    proptest! {
        /// Model: number the packets that are not skipped one after the other, in the source's order.
        #[test]
        fn skipped_packets_leave_no_gap(skips in proptest::collection::vec(any::<bool>(), 1..200)) {
            let t0 = Instant::now();
            let mut rewriter = Rewriter::default();
            let mut expected = FIRST_SEQUENCE_NUMBER;
            prop_assert_eq!(rewriter.place(t0, source(1), 99, 0, VIDEO).unwrap().sequence_number, expected);
            for (i, skip) in skips.iter().enumerate() {
                let sequence_number = 100 + i as u64;
                if *skip {
                    rewriter.skip(source(1), sequence_number);
                } else {
                    expected += 1;
                    let place = rewriter.place(t0, source(1), sequence_number, 0, VIDEO).unwrap();
                    prop_assert_eq!(place.sequence_number, expected);
                }
            }
        }
    }
}
