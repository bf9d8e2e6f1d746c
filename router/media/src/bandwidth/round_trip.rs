//! How long a packet and its report take where no queue stands.

/// The shortest round trip counts for this long, in microseconds, and half of it after that.
const COUNTS_FOR: u64 = 10_000_000;

/// The shortest of a while.
#[derive(Debug, Default)]
pub(super) struct RoundTrip {
    shortest: Option<u64>,
    before: Option<u64>,
    began: u64,
}

impl RoundTrip {
    pub(super) fn measure(&mut self, now: u64, time: u64) {
        if now.saturating_sub(self.began) >= COUNTS_FOR {
            (self.before, self.shortest, self.began) = (self.shortest, None, now);
        }
        self.shortest = Some(self.shortest.map_or(time, |shortest| shortest.min(time)));
    }

    /// In microseconds; 0 if it was not measured.
    pub(super) fn shortest(&self) -> u64 {
        [self.shortest, self.before].into_iter().flatten().min().unwrap_or_default()
    }
}
