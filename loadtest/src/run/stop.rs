//! The one moment at which all scripts stop, and why.

use std::sync::OnceLock;

use tokio_util::sync::CancellationToken;

/// Why everybody stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// The planned end.
    Planned,
    /// Ctrl-C.
    Interrupted,
    /// Nothing comes from the server any more.
    ServerLost,
}

/// Tells all calls to stop, and why.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    token: CancellationToken,
    reason: OnceLock<StopReason>,
}

impl Stop {
    /// The first reason counts.
    pub(crate) fn now(&self, reason: StopReason) {
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    /// Waits for the stop.
    pub(crate) async fn stopped(&self) -> StopReason {
        self.token.cancelled().await;
        self.reason.get().copied().unwrap_or(StopReason::Planned)
    }

    pub(crate) fn reason(&self) -> Option<StopReason> {
        self.reason.get().copied()
    }
}
