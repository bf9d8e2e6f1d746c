//! What a receiver report says of one source (RFC 3550 section 6.4.1, appendix A.3 and A.8).

use std::time::{Duration, Instant};

use crate::ntp;

/// A publisher's word on when its timestamps are: what ties its tracks together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReport {
    /// 32.32 fixed point seconds on the publisher's clock.
    pub ntp: u64,
    /// The source's, at that time.
    pub timestamp: u32,
}

/// Counts of one source.
#[derive(Debug)]
pub(crate) struct Reception {
    first: u64,
    received: u64,
    expected_before: u64,
    received_before: u64,
    began: Instant,
    /// RTP timestamp of the last packet, and its transit time in timestamp units.
    last: Option<(u32, u32)>,
    /// Sixteen times the interarrival jitter in timestamp units.
    jitter: u32,
    report: Option<(SenderReport, Instant)>,
}

/// One report block, still without the source's SSRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) fraction_lost: u8,
    /// As its 24 bits say.
    pub(crate) cumulative_lost: u32,
    pub(crate) highest: u32,
    pub(crate) jitter: u32,
    pub(crate) last_report: u32,
    pub(crate) delay: u32,
}

impl Reception {
    /// Begins with the source's first packet, which still must be [counted](Reception::count).
    pub(crate) fn new(now: Instant, first: u64) -> Self {
        Self {
            first,
            received: 0,
            expected_before: 0,
            received_before: 0,
            began: now,
            last: None,
            jitter: 0,
            report: None,
        }
    }

    /// A packet came for the first time, by itself or as a repetition.
    pub(crate) fn count(&mut self, now: Instant, timestamp: u32, clock_rate: u32, is_repetition: bool) {
        self.received += 1;
        // Packets of one picture share a timestamp: only the first tells of jitter. A repetition tells of loss.
        if is_repetition || self.last.is_some_and(|(last, _)| last == timestamp) {
            return;
        }
        let arrival = now.saturating_duration_since(self.began).as_micros() as u64;
        let arrival = (arrival * u64::from(clock_rate) / 1_000_000) as u32;
        let transit = arrival.wrapping_sub(timestamp);
        if let Some((_, before)) = self.last {
            let change = transit.wrapping_sub(before).cast_signed().unsigned_abs().min(u32::MAX >> 6);
            self.jitter = self.jitter + change - ((self.jitter + 8) >> 4);
        }
        self.last = Some((timestamp, transit));
    }

    /// The source said when its timestamps are.
    pub(crate) fn set_report(&mut self, now: Instant, report: SenderReport) {
        self.report = Some((report, now));
    }

    pub(crate) fn report(&self) -> Option<SenderReport> {
        self.report.map(|(report, _)| report)
    }

    /// What to report at `now`, with `highest` the source's highest number. Loss counts from the last call.
    pub(crate) fn block(&mut self, now: Instant, highest: u64) -> Block {
        let expected = (highest + 1).saturating_sub(self.first);
        let lost = expected.cast_signed() - self.received.cast_signed();
        let expected_now = expected.saturating_sub(self.expected_before);
        let received_now = self.received.saturating_sub(self.received_before);
        (self.expected_before, self.received_before) = (expected, self.received);
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction = (lost_now << 8).checked_div(expected_now).unwrap_or(0);
        let since = |at: Instant| ntp::short(now.saturating_duration_since(at));
        Block {
            fraction_lost: fraction.min(255) as u8,
            cumulative_lost: lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff,
            highest: highest as u32,
            jitter: self.jitter >> 4,
            last_report: self.report.map_or(0, |(report, _)| ntp::middle(report.ntp)),
            delay: self.report.map_or(0, |(_, at)| since(at)),
        }
    }
}

/// The round trip that an answer to our own time says: `sent` came back after `delay`, both 16.16 (RFC 3611 section 4.5).
pub(crate) fn round_trip(now: u32, sent: u32, delay: u32) -> Option<Duration> {
    let took = now.wrapping_sub(sent).wrapping_sub(delay);
    let is_plausible = sent != 0 && took.cast_signed() >= 0;
    is_plausible.then(|| ntp::from_short(took))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
mod tests {
    use super::*;

    #[test]
    fn loss_is_counted_in_all_and_since_the_last_report() {
        let t0 = Instant::now();
        let mut reception = Reception::new(t0, 1000);
        (0..75).for_each(|n| reception.count(t0, n, 90_000, false));
        let block = reception.block(t0, 1099);
        assert_eq!((block.fraction_lost, block.cumulative_lost, block.highest), (64, 25, 1099));
        (0..125).for_each(|n| reception.count(t0, n, 90_000, true));
        let block = reception.block(t0, 1199);
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 0), "repaired since");
        reception.count(t0, 0, 90_000, true);
        assert_eq!(reception.block(t0, 1199).cumulative_lost, 0xff_ffff, "-1");
    }

    #[test]
    fn jitter_is_that_of_the_first_packet_of_each_picture() {
        let t0 = Instant::now();
        let mut reception = Reception::new(t0, 0);
        for n in 0..100_u32 {
            let late = if n % 2 == 0 { 0 } else { 4 };
            let at = t0 + Duration::from_millis(u64::from(20 * n + late));
            reception.count(at, n * 960, 48_000, false);
            reception.count(at + Duration::from_millis(15), n * 960, 48_000, false);
        }
        let jitter = reception.block(t0, 99).jitter;
        assert!((180..=192).contains(&jitter), "4 ms are 192 ticks: {jitter}");
    }

    #[test]
    fn the_last_sender_report_goes_back_with_its_age() {
        let t0 = Instant::now();
        let mut reception = Reception::new(t0, 0);
        assert_eq!((reception.block(t0, 0).last_report, reception.block(t0, 0).delay), (0, 0));
        reception.set_report(t0, SenderReport { ntp: 0x1122_3344_5566_7788, timestamp: 9 });
        let block = reception.block(t0 + Duration::from_millis(500), 0);
        assert_eq!((block.last_report, block.delay), (0x3344_5566, 0x8000));
    }

    #[test]
    fn a_round_trip_is_what_is_left_of_the_time_between() {
        assert_eq!(round_trip(0x3_0000, 0x1_0000, 0x1_8000), Some(Duration::from_millis(500)));
        assert_eq!(round_trip(5, 0xffff_0005, 0x8000), Some(Duration::from_millis(500)), "across the wrap");
        assert_eq!(round_trip(1, 5, 5), None);
        assert_eq!(round_trip(1, 0, 0), None, "it never got our time");
    }
}
