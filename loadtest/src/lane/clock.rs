//! The clocks of a lane.

use std::time::{Duration, Instant};

use duocast_client::media::mark;

use crate::peer::Moment;

/// Now, on both clocks.
pub(crate) fn moment() -> Moment {
    Moment { now: Instant::now(), unix_micros: mark::now_unix_micros() }
}

/// CPU time of the calling thread; zero where the kernel does not tell (`/proc/thread-self/schedstat`).
pub(crate) fn thread_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split_whitespace().next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}
