//! How fast pictures go out: what they bring at once is spread, so that sound never waits behind more than a few packets of them.

/// How many times the estimate pictures may go at, where the path was seen to carry no more, and elsewhere. Higher puts the bursts of key
/// frames into the path's queue, lower delays pictures here.
const FACTOR: (f64, f64) = (1.25, 1.5);

/// Pictures go no slower than this, in bytes per second: what is chosen of them is to get through beside the sound. Higher puts them in front of
/// it, lower leaves them behind.
const LEAST: f64 = 25e3;
/// And no slower than this where the path was not seen to carry no more: an estimate may be low since little was sent so far.
const LEAST_UNBOUNDED: f64 = 125e3;

/// What may go at once, in bytes, and how much of a second's share. Higher puts more in front of the sound, lower wakes the leg more often.
const BURST: f64 = 2400.0;
const BURST_TIME: f64 = 0.01;
/// While a probe looks for more, what would be padding may be pictures: as much of a second's share.
const PROBE_TIME: f64 = 0.05;
/// What was sent ahead of its time is forgotten beyond this much of a second's share. Higher holds pictures up for longer after a burst of sound
/// and padding, lower lets the next one begin before it is over.
const AHEAD_MAX: f64 = 0.2;

/// See the module. Times in microseconds.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Bytes that were sent ahead of their time, at that moment.
    ahead: f64,
    at: u64,
}

/// Bytes per second that pictures may go at.
pub(super) fn of(bits: f64, is_bounded: bool) -> f64 {
    let (factor, least) = if is_bounded { (FACTOR.0, LEAST) } else { (FACTOR.1, LEAST_UNBOUNDED) };
    (bits / 8.0 * factor).max(least)
}

impl Pace {
    /// So many bytes were sent, of sound, pictures or repetitions.
    pub(super) fn add(&mut self, now: u64, bytes: usize, pace: f64) {
        self.ahead = (self.ahead(now, pace) + bytes as f64).min((pace * AHEAD_MAX).max(BURST));
        self.at = now;
    }

    /// When the next packet of a picture may go.
    pub(super) fn free_at(&self, now: u64, pace: f64, is_probe: bool) -> u64 {
        let time = if is_probe { PROBE_TIME } else { BURST_TIME };
        let beyond = self.ahead(now, pace) - BURST.max(pace * time);
        if beyond <= 0.0 { now } else { now + (beyond / pace * 1e6).ceil() as u64 }
    }

    fn ahead(&self, now: u64, pace: f64) -> f64 {
        (self.ahead - pace * now.saturating_sub(self.at) as f64 / 1e6).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_spread_at_the_pace_and_what_is_within_it_never_waits() {
        let (mut pace, bytes_per_second, mut now) = (Pace::default(), of(800e3, true), 1_000_000);
        let began = now;
        for _ in 0..20 {
            now = now.max(pace.free_at(now, bytes_per_second, false));
            pace.add(now, 1250, bytes_per_second);
        }
        // 25 kB at 125 kB a second, but for what may go at once.
        assert!((150_000..200_000).contains(&(now - began)), "{}", now - began);
        now += 1_000_000;
        for _ in 0..50 {
            assert_eq!(pace.free_at(now, bytes_per_second, false), now);
            pace.add(now, 1250, bytes_per_second);
            now += 10_000;
        }
    }
}
