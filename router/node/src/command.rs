//! What the link tells a worker, and what a worker tells the link.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use duocast_model::{CallId, LegId, RoutePlan};
use duocast_router_core::{Event, IceSecret, OfferError, PlanOutcome};
use tokio::sync::{mpsc, oneshot};

use crate::sys::Wake;

/// Commands that may wait for one worker. At the bound the link waits, and with it control. Higher lets a stalled worker
/// collect stale orders, lower makes one busy worker slow the others' orders.
pub(crate) const MAX_QUEUED_COMMANDS: usize = 1024;

/// Reports that may wait for the link. At the bound a worker keeps the last state of each leg for later.
pub(crate) const MAX_QUEUED_REPORTS: usize = 1024;

/// An order for one worker. An answer that nobody waits for any more is dropped.
pub(crate) enum Command {
    Plan { plan: RoutePlan, answer: oneshot::Sender<PlanOutcome> },
    Offer { offer: Offer, answer: oneshot::Sender<Result<String, OfferError>> },
    Synced { wanted: Arc<HashSet<CallId>> },
    LinkUp,
}

/// A client's offer for a leg.
pub(crate) struct Offer {
    pub(crate) call: CallId,
    pub(crate) leg: LegId,
    pub(crate) sdp: String,
    pub(crate) secret: IceSecret,
}

/// What a worker tells the link.
pub(crate) type Report = Event;

/// How busy a worker is; written by it once a second.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub(crate) legs: AtomicU32,
    pub(crate) calls: AtomicU32,
    /// Thousandths of one core.
    pub(crate) core_permille: AtomicU32,
    /// The worker is to end.
    pub(crate) stop: AtomicBool,
}

/// The link's end of one worker.
#[derive(Clone)]
pub(crate) struct WorkerHandle {
    commands: mpsc::Sender<Command>,
    wake: Arc<Wake>,
    load: Arc<Load>,
}

/// The worker is gone.
#[derive(Debug)]
pub(crate) struct WorkerGone;

impl WorkerHandle {
    pub(crate) fn new(commands: mpsc::Sender<Command>, wake: Arc<Wake>) -> Self {
        Self { commands, wake, load: Arc::default() }
    }

    pub(crate) fn load(&self) -> Arc<Load> {
        Arc::clone(&self.load)
    }

    /// Queues a command; waits while the queue is full.
    pub(crate) async fn send(&self, command: Command) -> Result<(), WorkerGone> {
        self.commands.send(command).await.map_err(|_| WorkerGone)?;
        self.wake.wake();
        Ok(())
    }

    /// Ends the worker after its present turn.
    pub(crate) fn stop(&self) {
        self.load.stop.store(true, Ordering::Release);
        self.wake.wake();
    }
}
