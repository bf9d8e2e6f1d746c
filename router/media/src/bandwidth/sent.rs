//! What was sent under which transport-wide number, until reports have told of it.

use crate::prefetch::prefetch;
use crate::window::extend;

/// Packets that are remembered: 1.4 s at 16 Mbit/s, several seconds of a call. Higher costs 8 bytes each, lower forgets them
/// before a late report tells of them. A power of two.
pub(super) const KEPT_PACKETS: usize = 2048;

/// The packets of one leg, over all tracks. Numbers are extended beyond their 16 bits.
#[derive(Debug)]
pub(super) struct SentPackets {
    /// At the number modulo [`KEPT_PACKETS`].
    packets: Box<[Slot]>,
    /// The first number ever, the first one that no report covered, and the next one.
    first: u64,
    unreported: u64,
    next: u64,
    bytes_in_flight: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Microseconds, as far as they fit: entries live for seconds.
    sent_at: u32,
    bytes: u16,
    probe: u8,
    has_arrived: bool,
}

/// A packet that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Microseconds.
    pub(super) sent_at: u64,
    pub(super) bytes: u64,
    /// The probe that it is part of; 0: none.
    pub(super) probe: u8,
    /// An earlier report said that it had not.
    pub(super) was_missed: bool,
}

impl SentPackets {
    /// See [`prefetch`]: where the next packet is noted.
    pub(super) fn prefetch(&self) {
        if let Some(slot) = self.packets.get((self.next % KEPT_PACKETS as u64) as usize) {
            prefetch(slot);
        }
    }

    /// `next`: the first number to use.
    pub(super) fn new(next: u16) -> Self {
        // Not from 0, so that numbers before the first have a place as well.
        let next = 1 << 16 | u64::from(next);
        let packets = vec![Slot::default(); KEPT_PACKETS].into();
        Self { packets, first: next, unreported: next, next, bytes_in_flight: 0 }
    }

    /// The number of the next packet.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Packets with numbers before the next that reports may speak of.
    pub(super) fn remembered(&self) -> u64 {
        (self.next - self.first).min(KEPT_PACKETS as u64)
    }

    /// Bytes that no report has covered yet.
    pub(super) fn bytes_in_flight(&self) -> u64 {
        self.bytes_in_flight
    }

    /// The packet with the next number was sent at `now`, in microseconds.
    pub(super) fn add(&mut self, now: u64, bytes: usize, probe: u8) {
        let oldest = self.next.saturating_sub(KEPT_PACKETS as u64);
        if self.unreported <= oldest && oldest >= self.first {
            self.cover(oldest + 1);
        }
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        self.packets[place(self.next)] = Slot { sent_at: now as u32, bytes, probe, has_arrived: false };
        self.bytes_in_flight += u64::from(bytes);
        self.next += 1;
    }

    /// A packet with the next number was sent of which nothing needs to be known, nor of those before it.
    pub(super) fn skip(&mut self) {
        self.next += 1;
        (self.first, self.unreported, self.bytes_in_flight) = (self.next, self.next, 0);
    }

    /// The number that 16 bits mean, if a packet with it is remembered.
    pub(super) fn find(&self, number: u16) -> Option<u64> {
        extend(Some(self.next), number).filter(|number| self.is_kept(*number))
    }

    /// Reports have told of all numbers below this.
    pub(super) fn reported(&self) -> u64 {
        self.unreported
    }

    /// When the first packet was sent that no report covered, in microseconds; `None`: all are.
    pub(super) fn waits_since(&self, now: u64) -> Option<u64> {
        let slot = (self.unreported < self.next).then(|| self.packets[place(self.unreported)])?;
        Some(now.saturating_sub((now as u32).wrapping_sub(slot.sent_at).into()))
    }

    /// Whether no report told of this number before.
    pub(super) fn is_unreported(&self, number: u64) -> bool {
        number >= self.unreported
    }

    /// A report says that this packet arrived; `None` if it is not remembered or one said so before.
    pub(super) fn arrive(&mut self, now: u64, number: u64) -> Option<Arrived> {
        if !self.is_kept(number) {
            return None;
        }
        let was_missed = !self.is_unreported(number);
        let slot = &mut self.packets[place(number)];
        if std::mem::replace(&mut slot.has_arrived, true) {
            return None;
        }
        let age = (now as u32).wrapping_sub(slot.sent_at);
        let sent_at = now.saturating_sub(age.into());
        Some(Arrived { sent_at, bytes: slot.bytes.into(), probe: slot.probe, was_missed })
    }

    /// Reports cover all numbers below `end`, or will not come any more.
    pub(super) fn cover(&mut self, end: u64) {
        for number in self.unreported..end.min(self.next) {
            let bytes = u64::from(self.packets[place(number)].bytes);
            self.bytes_in_flight = self.bytes_in_flight.saturating_sub(bytes);
        }
        self.unreported = self.unreported.max(end.min(self.next));
    }

    fn is_kept(&self, number: u64) -> bool {
        (self.first..self.next).contains(&number) && self.next - number <= KEPT_PACKETS as u64
    }
}

fn place(number: u64) -> usize {
    (number % KEPT_PACKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_known_across_the_wrap_until_they_are_too_old_and_arrive_once() {
        let mut sent = SentPackets::new(65_000);
        assert_eq!(sent.find(64_999), None, "never sent");
        (0..3000).for_each(|n| sent.add(5_000_000_000 + n, 100, 0));
        let last = sent.next() - 1;
        assert_eq!((last as u16, sent.find(last as u16)), (2463, Some(last)));
        assert_eq!(sent.find(2464), None, "not sent yet");
        assert_eq!(sent.find((last - 2047) as u16), Some(last - 2047));
        assert_eq!(sent.find((last - 2048) as u16), None, "forgotten");
        let now = 5_000_100_000;
        let arrived = Arrived { sent_at: 5_000_002_999, bytes: 100, probe: 0, was_missed: false };
        assert_eq!(sent.arrive(now, last), Some(arrived));
        assert_eq!(sent.arrive(now, last), None);
        assert_eq!(sent.arrive(now, last + 1), None);
    }

    #[test]
    fn what_no_report_covered_is_in_flight_as_long_as_it_is_remembered() {
        let mut sent = SentPackets::new(1);
        (0..10).for_each(|_| sent.add(0, 100, 0));
        let first = sent.find(1).unwrap();
        sent.cover(first + 4);
        assert_eq!(sent.bytes_in_flight(), 600);
        sent.cover(first + 2);
        assert_eq!(sent.bytes_in_flight(), 600, "an older report");
        assert!(sent.arrive(0, first).unwrap().was_missed);
        (0..10_000).for_each(|_| sent.add(0, 10, 0));
        assert_eq!(sent.bytes_in_flight(), 10 * KEPT_PACKETS as u64);
        sent.cover(u64::MAX);
        assert_eq!(sent.bytes_in_flight(), 0);
    }
}
