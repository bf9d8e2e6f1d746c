//! How much does not arrive (draft-ietf-rmcat-gcc-02 section 6).

/// Least packets and time, in microseconds, that a fraction is reckoned over. Higher notices late, lower takes two packets
/// for a tenth.
const MIN_PACKETS: u32 = 30;
const MIN_TIME: u64 = 300_000;

/// Loss above which less is sent.
pub(super) const HIGH: f64 = 0.1;
/// Loss above which no more is sent.
pub(super) const SOME: f64 = 0.02;
/// Loss above which only what arrives counts: no radio is that bad, a queue overflows.
pub(super) const HEAVY: f64 = 0.3;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Loss {
    expected: u32,
    lost: u32,
    began: Option<u64>,
    fraction: f64,
}

impl Loss {
    /// A report covers a packet for the first time.
    pub(super) fn count(&mut self, is_lost: bool) {
        self.expected = self.expected.saturating_add(1);
        self.lost = self.lost.saturating_add(is_lost.into());
    }

    /// One that was counted as lost was only late.
    pub(super) fn found(&mut self) {
        self.lost = self.lost.saturating_sub(1);
    }

    /// The smoothed fraction, or the last one if that is less, if there is something new to say of it. `now` in microseconds.
    pub(super) fn judge(&mut self, now: u64) -> Option<f64> {
        let began = *self.began.get_or_insert(now);
        if self.expected < MIN_PACKETS || now.saturating_sub(began) < MIN_TIME {
            return None;
        }
        let fraction = f64::from(self.lost) / f64::from(self.expected);
        *self = Self { began: Some(now), fraction: (self.fraction + fraction) / 2.0, ..Self::default() };
        Some(self.fraction.min(fraction))
    }

    /// The smoothed fraction.
    pub(super) fn fraction(&self) -> f64 {
        self.fraction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_takes_time_and_packets() {
        let mut loss = Loss::default();
        assert_eq!(loss.judge(0), None);
        (0..100).for_each(|n| loss.count(n % 5 == 0));
        assert_eq!(loss.judge(MIN_TIME - 1), None);
        (0..10).for_each(|_| loss.found());
        assert_eq!(loss.judge(MIN_TIME), Some(0.05), "half of a tenth");
        (0..MIN_PACKETS - 1).for_each(|_| loss.count(true));
        assert_eq!(loss.judge(3 * MIN_TIME), None);
        loss.count(true);
        assert_eq!(loss.judge(3 * MIN_TIME), Some(0.525));
    }
}
