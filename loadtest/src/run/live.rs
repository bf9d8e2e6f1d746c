//! Numbers of a run that change while it goes on.

use std::sync::atomic::{AtomicI64, AtomicU64};

/// For progress, and for noticing a server that is gone.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// Clients whose event stream is open.
    pub(crate) online: AtomicI64,
    /// Calls in which both sides hear each other.
    pub(crate) up: AtomicI64,
    /// Viewers who hear their broadcast.
    pub(crate) viewers: AtomicI64,
    /// Of the calls, the ones whose media this program carries itself, so that it sees every packet of them.
    pub(crate) on_lanes: AtomicI64,
    /// Calls that came up at any time.
    pub(crate) came_up: AtomicU64,
    /// Calls that failed.
    pub(crate) failed: AtomicU64,
    /// Calls that are over.
    pub(crate) over: AtomicU64,
}
