//! When each packet of a client arrived, by its transport-wide number: feedback for its bandwidth estimation
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rtcp_types::{Twcc, TwccBuilder, TwccPacketStatus};

use crate::window::extend;

/// Time between two reports that have much to say, and between others: the bounds that browsers set themselves, 100 ms being what they
/// begin with. Higher makes the client's estimate slow, lower costs packets: at ten a second one for every five of sound.
const REPORT_EVERY: Duration = Duration::from_millis(100);
const REPORT_AT_LATEST: Duration = Duration::from_millis(250);

/// How many packets are much: sound alone is 13 in [`REPORT_AT_LATEST`], with a picture of a hundred packets a second it is more in
/// [`REPORT_EVERY`].
const MANY: u32 = 15;

/// Longest span of numbers that is kept. Beyond it the client has skipped numbers or was silent: the span begins anew. 2,048
/// are 1.5 s at 16 Mbit/s.
const MAX_SPAN: usize = 2048;

/// Numbers that stay known after they were reported, so that one which comes late is reported among its neighbours.
const KEPT: usize = 64;

/// Longest report; it must fit in one datagram on any path.
const MAX_REPORT_BYTES: usize = 1000;

/// The unit of times in a report.
const TICK: Duration = Duration::from_micros(250);
/// The unit of a report's reference time, in ticks.
const REFERENCE_TICKS: u64 = 256;
const NOT_YET: u64 = 0;

/// See the module.
#[derive(Debug)]
pub(crate) struct Arrivals {
    began: Instant,
    /// Number of the first entry.
    first: u64,
    /// Ticks since `began`, from 1; 0: did not arrive.
    ticks: VecDeque<u64>,
    /// Lowest number that is to be reported.
    report_from: Option<u64>,
    reported_at: Option<Instant>,
    /// Packets that came since.
    unreported: u32,
    reports: u8,
}

impl Arrivals {
    pub(crate) fn new(began: Instant) -> Self {
        Self {
            began,
            first: 0,
            ticks: VecDeque::new(),
            report_from: None,
            reported_at: None,
            unreported: 0,
            reports: 0,
        }
    }

    /// The packet with this number arrived.
    pub(crate) fn note(&mut self, now: Instant, number: u16) {
        let highest = (!self.ticks.is_empty()).then(|| self.first + self.ticks.len() as u64 - 1);
        // Not from 0, so that one from before the first has a number as well.
        let number = extend(highest.or(Some(1 << 16 | u64::from(number))), number).unwrap_or_default();
        let is_far = highest.is_some_and(|highest| number > highest + MAX_SPAN as u64);
        if highest.is_none() || is_far {
            self.ticks.clear();
            self.report_from = None;
            self.first = number;
        }
        if number < self.first {
            let before = (self.first - number) as usize;
            if before + self.ticks.len() > MAX_SPAN {
                return;
            }
            (0..before).for_each(|_| self.ticks.push_front(NOT_YET));
            self.first = number;
        }
        let at = (number - self.first) as usize;
        if at >= self.ticks.len() {
            self.ticks.resize(at + 1, NOT_YET);
        }
        let since = now.saturating_duration_since(self.began).as_micros() / TICK.as_micros();
        if self.ticks[at] == NOT_YET {
            self.ticks[at] = since as u64 + 1;
            self.unreported = self.unreported.saturating_add(1);
            self.report_from = Some(self.report_from.map_or(number, |from| from.min(number)));
        }
        self.forget_down_to(MAX_SPAN);
    }

    /// When a report is due.
    pub(crate) fn due_at(&self, now: Instant) -> Option<Instant> {
        self.report_from?;
        let every = if self.unreported < MANY { REPORT_AT_LATEST } else { REPORT_EVERY };
        Some(self.reported_at.map_or(now, |at| at + every))
    }

    /// The next report, if it is time; more than one if there is much to say.
    pub(crate) fn report(&mut self, now: Instant) -> Option<TwccBuilder> {
        let from = self.report_from?;
        let statuses_from = (from - self.first) as usize;
        let reference =
            self.ticks.iter().skip(statuses_from).find(|tick| **tick != NOT_YET)? / REFERENCE_TICKS;
        let mut before = reference * REFERENCE_TICKS;
        let mut statuses = Vec::with_capacity(self.ticks.len() - statuses_from);
        for tick in self.ticks.iter().skip(statuses_from) {
            if *tick == NOT_YET {
                statuses.push(TwccPacketStatus::NotReceived);
                continue;
            }
            // A pause that is too long for one report is bridged by the next one's reference time.
            let Ok(delta) = i16::try_from(tick.cast_signed() - before.cast_signed()) else { break };
            statuses.push(TwccPacketStatus::Received { delta });
            before = *tick;
        }
        let reference = (reference & 0xff_ffff) as u32;
        let report = Twcc::builder(from as u16, reference, self.reports, &statuses, Some(MAX_REPORT_BYTES));
        let said = report.packet_status_count().max(1);
        self.reports = self.reports.wrapping_add(1);
        self.reported_at = Some(now);
        self.unreported = 0;
        let next = statuses_from + said;
        let unsaid = self.ticks.iter().skip(next).position(|tick| *tick != NOT_YET);
        self.report_from = unsaid.map(|_| self.first + next as u64);
        if self.report_from.is_none() {
            self.forget_down_to(KEPT);
        }
        Some(report)
    }

    fn forget_down_to(&mut self, kept: usize) {
        let excess = self.ticks.len().saturating_sub(kept);
        if excess > 0 {
            self.ticks.drain(..excess);
            self.first += excess as u64;
            self.report_from = self.report_from.map(|from| from.max(self.first));
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
mod tests {
    use rtcp_types::RtcpPacketWriter;
    use rtcp_types::{FciParser, TwccPacketStatus::*};

    use super::*;

    /// Base, reference time, and what is said of each number.
    fn read(report: &TwccBuilder) -> (u16, u32, Vec<(u16, Option<i16>)>) {
        let mut bytes = vec![0; report.calculate_size().unwrap()];
        report.write_into_unchecked(&mut bytes);
        let parsed = Twcc::parse(&bytes).unwrap();
        let packets = parsed.packets().map(|packet| match packet.unwrap() {
            (number, Received { delta }) => (number, Some(delta)),
            (number, NotReceived) => (number, None),
        });
        (parsed.base_sequence_number(), parsed.reference_time(), packets.collect())
    }

    #[test]
    fn every_packet_is_reported_once_with_its_distance_to_the_one_before() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let mut arrivals = Arrivals::new(t0);
        assert_eq!(arrivals.due_at(t0), None);
        arrivals.note(at(70), 65_534);
        arrivals.note(at(72), 65_535);
        arrivals.note(at(80), 1);
        assert_eq!(arrivals.due_at(at(80)), Some(at(80)));
        let report = read(&arrivals.report(at(80)).unwrap());
        let first = 1 + 280 - 256;
        let expected = vec![(65_534, Some(first)), (65_535, Some(8)), (0, None), (1, Some(32))];
        assert_eq!(report, (65_534, 1, expected));
        assert!(arrivals.report(at(80)).is_none());
        arrivals.note(at(90), 2);
        assert_eq!(arrivals.due_at(at(90)), Some(at(330)));
        let (base, _, said) = read(&arrivals.report(at(180)).unwrap());
        assert_eq!((base, said.len()), (2, 1));
    }

    #[test]
    fn sound_alone_is_reported_four_times_a_second_and_with_a_picture_ten_times() {
        for (packets_per_second, expected) in [(50, 41), (160, 101)] {
            let t0 = Instant::now();
            let (mut arrivals, mut reports) = (Arrivals::new(t0), 0);
            for ms in 0..10_000 {
                let now = t0 + Duration::from_millis(ms);
                let sent = ms * packets_per_second / 1000;
                (sent..(ms + 1) * packets_per_second / 1000).for_each(|n| arrivals.note(now, n as u16));
                if arrivals.due_at(now).is_some_and(|at| at <= now) {
                    reports += std::iter::from_fn(|| arrivals.report(now)).count();
                }
            }
            assert!(reports.abs_diff(expected) <= 1, "{reports} at {packets_per_second}");
        }
    }

    #[test]
    fn one_that_comes_late_is_reported_among_its_neighbours() {
        let t0 = Instant::now();
        let mut arrivals = Arrivals::new(t0);
        [5, 6, 8, 9].into_iter().for_each(|n| arrivals.note(t0, n));
        let (_, _, said) = read(&arrivals.report(t0).unwrap());
        assert_eq!(said[2], (7, None));
        arrivals.note(t0 + Duration::from_millis(10), 7);
        let (base, _, said) = read(&arrivals.report(t0).unwrap());
        assert_eq!((base, said), (7, vec![(7, Some(41)), (8, Some(-40)), (9, Some(0))]));
    }

    #[test]
    fn whatever_numbers_come_the_span_is_bounded_and_reports_come_to_an_end() {
        let t0 = Instant::now();
        let mut arrivals = Arrivals::new(t0);
        let mut seed = 7_u64;
        for n in 0..20_000_u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = if n % 3 == 0 { (seed >> 40) as u16 } else { n as u16 };
            let now = t0 + Duration::from_millis(n * (seed >> 60));
            arrivals.note(now, number);
            assert!(arrivals.ticks.len() <= MAX_SPAN);
            if n % 50 == 0 {
                let mut reports = 0;
                while let Some(report) = arrivals.report(now) {
                    assert!(report.calculate_size().unwrap() <= MAX_REPORT_BYTES + 4);
                    reports += 1;
                    assert!(reports <= MAX_SPAN);
                }
            }
        }
    }
}
