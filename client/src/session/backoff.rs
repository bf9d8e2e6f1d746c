//! How long to wait before trying again.

use std::time::Duration;

/// Wait after the first break, before jitter.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// Longest wait, before jitter. Higher spares a server that is down for long, lower brings people back sooner.
pub const BACKOFF_MAX: Duration = Duration::from_secs(15);

/// A random number in `[0, 1)`, drawn by the shell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter(f64);

impl Jitter {
    /// Clamps to `[0, 1]`; what is no number counts as 0.
    pub fn new(unit: f64) -> Self {
        Self(if unit.is_finite() { unit.clamp(0.0, 1.0) } else { 0.0 })
    }

    /// The number.
    pub fn unit(self) -> f64 {
        self.0
    }
}

/// The wait after `breaks` earlier breaks in a row: doubling, between half and all of the doubled time.
pub fn backoff(breaks: u32, jitter: Jitter) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(2u32.saturating_pow(breaks)).min(BACKOFF_MAX);
    doubled.mul_f64(0.5 + 0.5 * jitter.unit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_are_spread() {
        assert_eq!(backoff(0, Jitter::new(1.0)), BACKOFF_FIRST);
        assert_eq!(backoff(0, Jitter::new(0.0)), BACKOFF_FIRST / 2);
        assert_eq!(backoff(3, Jitter::new(1.0)), BACKOFF_FIRST * 8);
        assert_eq!(backoff(u32::MAX, Jitter::new(1.0)), BACKOFF_MAX);
        assert_eq!(backoff(9, Jitter::new(f64::NAN)), BACKOFF_MAX / 2);
    }
}
