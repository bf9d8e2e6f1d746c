//! One clock for the switchboard and its timers.

use std::time::{Duration, SystemTime};

use duocast_model::UnixMillis;
use tokio::time::Instant;

/// Wall-clock time that never goes back, even if the system's clock is set: it starts from the system's clock and then
/// counts by the monotonic one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started_at: UnixMillis,
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started_at: SystemTime::now().into(), started: Instant::now() }
    }

    pub(crate) fn now(&self) -> UnixMillis {
        self.started_at.plus(self.started.elapsed())
    }

    /// The moment to wake up at; a millisecond late rather than early, since `now` rounds down.
    pub(crate) fn instant(&self, at: UnixMillis) -> Instant {
        self.started
            + at.since(self.started_at).min(Duration::from_secs(365 * 24 * 3600))
            + Duration::from_millis(1)
    }
}
