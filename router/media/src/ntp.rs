//! One leg's clock as it is told to its client: NTP time (RFC 3550 section 4) that begins with the leg.
//!
//! Only differences on it mean anything, so it need not be the machine's: that would tell all clients of a node apart from
//! those of another.

use std::time::{Duration, Instant};

/// What the clock shows when a leg begins, in seconds: any time that clients take for real.
const BEGINS_AT: u64 = 0xe000_0000;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NtpClock {
    began: Instant,
}

impl NtpClock {
    pub(crate) fn new(began: Instant) -> Self {
        Self { began }
    }

    /// 32.32 fixed point seconds.
    pub(crate) fn at(&self, now: Instant) -> u64 {
        (BEGINS_AT << 32).wrapping_add(from_duration(now.saturating_duration_since(self.began)))
    }

    /// The middle 32 bits, in which round trips are measured.
    pub(crate) fn middle_at(&self, now: Instant) -> u32 {
        middle(self.at(now))
    }

    /// 6.18 fixed point seconds, for the abs-send-time extension.
    pub(crate) fn send_time_at(&self, now: Instant) -> [u8; 3] {
        let [.., a, b, c] = ((self.at(now) >> 14) as u32).to_be_bytes();
        [a, b, c]
    }
}

/// The middle 32 bits of an NTP time.
pub(crate) fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// 32.32 fixed point seconds.
fn from_duration(time: Duration) -> u64 {
    (time.as_secs() << 32) | ((u64::from(time.subsec_nanos()) << 32) / 1_000_000_000)
}

/// A difference of two 32.32 times.
pub fn to_duration(ntp: u64) -> Duration {
    let nanos = ((ntp & 0xffff_ffff) * 1_000_000_000) >> 32;
    Duration::new(ntp >> 32, nanos as u32)
}

/// 16.16 fixed point seconds, as far as they reach.
pub(crate) fn short(time: Duration) -> u32 {
    u32::try_from(from_duration(time) >> 16).unwrap_or(u32::MAX)
}

/// The time that 16.16 fixed point seconds are.
pub(crate) fn from_short(short: u32) -> Duration {
    to_duration(u64::from(short) << 16)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
mod tests {
    use super::*;

    #[test]
    fn time_is_told_in_every_form() {
        let began = Instant::now();
        let clock = NtpClock::new(began);
        let later = began + Duration::from_millis(62_500);
        assert_eq!(clock.at(later) - clock.at(began), 62 << 32 | 1 << 31);
        assert_eq!(clock.middle_at(later), 62 << 16 | 1 << 15);
        let send_time = u32::from_be_bytes([
            0,
            clock.send_time_at(later)[0],
            clock.send_time_at(later)[1],
            clock.send_time_at(later)[2],
        ]);
        assert_eq!(send_time, (62 << 18 | 1 << 17) & 0xff_ffff);
        assert_eq!(short(Duration::from_millis(1500)), 3 << 15);
        assert_eq!(from_short(3 << 15), Duration::from_millis(1500));
        assert_eq!(short(Duration::from_secs(1 << 20)), u32::MAX);
        assert_eq!(clock.at(began), BEGINS_AT << 32);
    }
}
