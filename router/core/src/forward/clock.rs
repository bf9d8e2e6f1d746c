//! When a packet was captured, on this machine's clock, so that a viewer's sender reports keep lips and voice together.

use std::time::{Duration, Instant};

use duocast_media::{SenderReport, ntp_duration};

/// A capture time further than this from the arrival is not believed, and the mapping starts anew. Higher believes broken
/// clocks, lower gives up on long buffers in a publisher.
const MAX_DISTANCE: Duration = Duration::from_secs(10);

/// Maps one publisher's NTP clock to ours; one for all its tracks, or they would drift apart. The publisher's own clock does
/// not pass: only differences on it do.
#[derive(Debug, Default)]
pub(crate) struct PublisherClock {
    /// A moment on its clock (32.32), and on ours.
    anchor: Option<(u64, Instant)>,
}

impl PublisherClock {
    /// When this time on the publisher's clock (32.32) is, which it says of a packet that arrived now; `None` if that is not to be believed.
    pub(crate) fn moment(&mut self, arrival: Instant, ntp: u64) -> Option<Instant> {
        let anchor = *self.anchor.get_or_insert((ntp, arrival));
        moment(anchor, ntp).filter(|at| (*at).max(arrival) - (*at).min(arrival) <= MAX_DISTANCE)
    }

    /// When the packet with this RTP timestamp was captured; its arrival, as long as no sender report came.
    pub(crate) fn captured(
        &mut self,
        arrival: Instant,
        timestamp: u32,
        clock_rate: u64,
        report: Option<&SenderReport>,
    ) -> Instant {
        let Some(report) = report else { return arrival };
        let anchor = *self.anchor.get_or_insert((report.ntp, arrival));
        let captured = captured_at(anchor, timestamp, clock_rate, report);
        let distance = captured.map(|at| at.max(arrival) - at.min(arrival));
        match (captured, distance) {
            (Some(captured), Some(distance)) if distance <= MAX_DISTANCE => captured,
            _ => {
                self.anchor = Some((report.ntp, arrival));
                arrival
            }
        }
    }
}

fn captured_at(
    anchor: (u64, Instant),
    timestamp: u32,
    clock_rate: u64,
    report: &SenderReport,
) -> Option<Instant> {
    let ticks = timestamp.wrapping_sub(report.timestamp).cast_signed();
    let since_report = Duration::from_micros(u64::from(ticks.unsigned_abs()) * 1_000_000 / clock_rate.max(1));
    let reported_at = moment(anchor, report.ntp)?;
    if ticks < 0 { reported_at.checked_sub(since_report) } else { reported_at.checked_add(since_report) }
}

fn moment((ntp, at): (u64, Instant), when: u64) -> Option<Instant> {
    let since = when.wrapping_sub(ntp).cast_signed();
    let away = ntp_duration(since.unsigned_abs());
    if since < 0 { at.checked_sub(away) } else { at.checked_add(away) }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
mod tests {
    use super::*;

    fn report(ntp_s: u64, timestamp: u32) -> SenderReport {
        SenderReport { ntp: ntp_s << 32, timestamp }
    }

    #[test]
    fn two_tracks_captured_together_stay_together_however_their_packets_arrive() {
        let t0 = Instant::now();
        let ms = |n| t0 + Duration::from_millis(n);
        let mut clock = PublisherClock::default();
        assert_eq!(clock.captured(ms(3), 77, 48_000, None), ms(3), "no report yet: arrival");
        let audio = clock.captured(ms(10), 48_000, 48_000, Some(&report(1000, 48_000)));
        let video = clock.captured(ms(90), 900_000, 90_000, Some(&report(1000, 900_000)));
        assert_eq!((audio, video), (ms(10), ms(10)));
        let a_second_on = clock.captured(ms(1200), 990_000, 90_000, Some(&report(1000, 900_000)));
        assert_eq!(a_second_on, ms(1010));
    }

    #[test]
    fn a_capture_time_is_on_the_clock_of_the_reports_and_an_absurd_one_is_none() {
        let t0 = Instant::now();
        let ms = |n| t0 + Duration::from_millis(n);
        let mut clock = PublisherClock::default();
        assert_eq!(clock.captured(ms(10), 48_000, 48_000, Some(&report(1000, 48_000))), ms(10));
        assert_eq!(clock.moment(ms(1200), 1001 << 32), Some(ms(1010)));
        assert_eq!(clock.moment(ms(3000), 1001 << 32 | 1 << 31), Some(ms(1510)));
        for hostile in [0, u64::MAX, 1012 << 32, 1 << 63] {
            assert_eq!(clock.moment(ms(500), hostile), None);
        }
        let mut clock = PublisherClock::default();
        assert_eq!(clock.moment(ms(20), 7 << 32), Some(ms(20)), "before any report, when it arrived");
        assert_eq!(clock.captured(ms(60), 0, 90_000, Some(&report(7, 0))), ms(20), "and reports agree");
    }

    #[test]
    fn an_absurd_report_counts_as_arrival() {
        let t0 = Instant::now();
        let mut clock = PublisherClock::default();
        clock.captured(t0, 0, 90_000, Some(&report(1000, 0)));
        for hostile in [report(0, 0), report(0x7000_0000, 0), report(1000, u32::MAX / 2)] {
            assert_eq!(clock.captured(t0, 0, 90_000, Some(&hostile)), t0);
        }
    }
}
