//! The two steps of stopping: please end, and end now.

use tokio_util::sync::{CancellationToken, DropGuard};

/// Told to every connection.
#[derive(Clone)]
pub(super) struct Drain {
    begun: CancellationToken,
    now: CancellationToken,
}

impl Drain {
    /// `begun` starts the drain. Dropping the guard that is returned ends everything at once.
    pub(super) fn new(begun: CancellationToken) -> (Self, DropGuard) {
        let now = CancellationToken::new();
        (Self { begun, now: now.clone() }, now.drop_guard())
    }

    /// Ends everything that is still there.
    pub(super) fn kill(&self) {
        self.now.cancel();
    }

    /// True once the drain began.
    pub(super) fn is_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Completes when the drain begins.
    pub(super) async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Completes when everything is to end.
    pub(super) async fn now(&self) {
        self.now.cancelled().await;
    }
}
