//! The exchange: the one task that owns the [`Switchboard`], and the way to ask it.
//!
//! Commands come in through one bounded queue and are taken in batches. What a batch decides is written to the store in one
//! transaction, and only then told to anybody: what was told survives `kill -9`.

mod links;
mod outlet;
mod presence;
mod task;

use std::time::Duration;

use duocast_control_core::session::{Sequenced, StreamId};
use duocast_control_core::switchboard::{
    CommandError, Counts, LegReport, NodeUp, Subscribe, SubscribeError, Subscribed,
};
use duocast_control_core::{Limits, Switchboard};
use duocast_model::{AccountId, CallId, Generation, LegId, NodeId, RoutePlan, SessionId, UnixMillis};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::store::{Store, StoreError, Watch};

pub(crate) use links::{LegAnswer, LegConnected, LegFailure, LinkEnd, LinkId, LinkInlet};
pub(crate) use outlet::{Inlet, Next};

/// Commands that wait for the exchange. At the bound callers wait, up to [`COMMAND_WAIT`].
const COMMAND_QUEUE: usize = 4096;

/// How long a command may wait for a place in the queue before it answers UNAVAILABLE. Longer piles up clients that gave
/// up long ago.
const COMMAND_WAIT: Duration = Duration::from_secs(2);

/// Times and bounds of the exchange's own. The defaults are for production; tests shorten them.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// Silence on a device's stream after which it gets a heartbeat. Shorter notices dead connections sooner and wakes
    /// phones more often.
    pub heartbeat: Duration,
    /// How long a node may take to answer an offer.
    pub offer_timeout: Duration,
    /// Events that wait for one device's stream. At the bound its client is too slow: the stream ends with
    /// RESOURCE_EXHAUSTED, and the client resumes from its session's log.
    pub stream_queue: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { heartbeat: Duration::from_secs(15), offer_timeout: Duration::from_secs(5), stream_queue: 64 }
    }
}

/// Why the exchange did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("the server is stopping: subscribe elsewhere, or here in a few seconds")]
    Stopped,
    #[error("the server is overloaded: try again in a few seconds")]
    Overloaded,
    #[error("the server failed on this command: report it with the time it happened")]
    Failed,
}

/// Why control ends a device's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StreamClose {
    #[error("a newer stream of this device took over: close this one")]
    TakenOver,
    #[error(
        "this session was given up for another device of the account: subscribe anew if it is still in use"
    )]
    Evicted,
    #[error("events came faster than they were read: subscribe again with this session_id and the last seq")]
    SlowConsumer,
}

/// Somebody who is no longer reading.
#[derive(Debug)]
pub(crate) enum Gone {
    Stream(SessionId, StreamId),
    Link(NodeId, LinkId),
}

/// A device's stream of events.
pub(crate) type EventInlet = Inlet<Sequenced, StreamClose, Gone>;

/// A stream that was opened: how it starts, and what follows.
pub(crate) struct Opened {
    pub(crate) subscribed: Subscribed,
    pub(crate) events: EventInlet,
}

/// A link that was opened: the plans that the node must have, and what follows.
pub(crate) struct LinkOpened {
    pub(crate) id: LinkId,
    pub(crate) plans: Vec<RoutePlan>,
    pub(crate) messages: LinkInlet,
}

/// An offer of a device.
pub(crate) struct ConnectLeg {
    pub(crate) account: AccountId,
    pub(crate) session: SessionId,
    pub(crate) call: CallId,
    pub(crate) present: Option<LegId>,
    pub(crate) fresh: LegId,
    pub(crate) sdp_offer: String,
}

/// Why a device's leg is not connected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Leg(#[from] LegFailure),
}

/// What a node says on its link.
#[derive(Debug)]
pub(crate) enum NodeSaid {
    LegAnswer { request_id: u64, answer: Result<String, LegFailure> },
    LegReport { call: CallId, leg: LegId, report: LegReport },
    Load(f32),
    PlanRefused { call: CallId, node_has: Generation },
    Goodbye,
}

/// Runs after everything that must be told first was told.
type Reply = Box<dyn FnOnce() + Send>;

/// Runs on the switchboard and makes the reply.
type Question = Box<dyn FnOnce(&mut Switchboard, UnixMillis) -> Reply + Send>;

enum Command {
    /// Anything that only the switchboard is needed for.
    Ask(Question),
    Subscribe(Subscribe, oneshot::Sender<Result<Opened, SubscribeError>>),
    ConnectLeg(ConnectLeg, oneshot::Sender<LegAnswer>),
    LinkUp(NodeUp, oneshot::Sender<LinkOpened>),
    NodeSaid(NodeId, LinkId, NodeSaid),
    /// What some may know of the presence of others changed.
    Changed(Vec<Watch>),
}

/// The way to the exchange. Cheap to clone; the task ends with the last clone.
#[derive(Clone)]
pub(crate) struct Exchange {
    commands: mpsc::Sender<Command>,
    notices: mpsc::UnboundedSender<Gone>,
    stop: CancellationToken,
}

impl Exchange {
    /// Takes up the calls that the store has open and starts the task. It ends after `stop` is cancelled, with everything
    /// written that was decided.
    pub(crate) async fn start(
        store: Store,
        limits: Limits,
        tuning: Tuning,
        stop: CancellationToken,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
        let (notices, noticed) = mpsc::unbounded_channel();
        let inputs = task::Inputs { commands: queue, noticed, stop: stop.clone() };
        let task = task::Task::restore(store, limits, tuning, inputs, notices.clone()).await?;
        let running = tokio::spawn(task.run());
        Ok((Self { commands, notices, stop }, running))
    }

    /// Asks the switchboard; the answer comes when all that it caused was written.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Switchboard, UnixMillis) -> T + Send + 'static,
    ) -> Result<T, ExchangeError> {
        let (answer, answered) = oneshot::channel();
        let question = move |board: &mut Switchboard, now: UnixMillis| -> Reply {
            let value = question(board, now);
            Box::new(move || drop(answer.send(value)))
        };
        self.send(Command::Ask(Box::new(question))).await?;
        self.answer(answered).await
    }

    /// Opens or resumes a device's stream.
    pub(crate) async fn subscribe(
        &self,
        ask: Subscribe,
    ) -> Result<Result<Opened, SubscribeError>, ExchangeError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Subscribe(ask, answer)).await?;
        self.answer(answered).await
    }

    /// Connects a device's leg: through the switchboard to the node and back.
    pub(crate) async fn connect_leg(&self, ask: ConnectLeg) -> Result<LegAnswer, ExchangeError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::ConnectLeg(ask, answer)).await?;
        self.answer(answered).await
    }

    /// A node linked; an older link of the same node ends.
    pub(crate) async fn link_up(&self, up: NodeUp) -> Result<LinkOpened, ExchangeError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::LinkUp(up, answer)).await?;
        self.answer(answered).await
    }

    /// A node said something. Waits for a place in the queue: a node that says too much is read more slowly.
    pub(crate) async fn node_said(
        &self,
        node: NodeId,
        link: LinkId,
        said: NodeSaid,
    ) -> Result<(), ExchangeError> {
        self.commands.send(Command::NodeSaid(node, link, said)).await.map_err(|_| ExchangeError::Stopped)
    }

    /// A node will say nothing more on this link.
    pub(crate) fn link_gone(&self, node: NodeId, link: LinkId) {
        let _ = self.notices.send(Gone::Link(node, link));
    }

    /// What some may know of the presence of others changed: tell them.
    pub(crate) async fn changed(&self, watches: Vec<Watch>) -> Result<(), ExchangeError> {
        self.send(Command::Changed(watches)).await
    }

    /// How many of what there are.
    pub(crate) async fn counts(&self) -> Result<Counts, ExchangeError> {
        self.ask(|board, _| board.counts()).await
    }

    async fn send(&self, command: Command) -> Result<(), ExchangeError> {
        match tokio::time::timeout(COMMAND_WAIT, self.commands.send(command)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ExchangeError::Stopped),
            Err(_) => Err(ExchangeError::Overloaded),
        }
    }

    /// An answer that never comes: the command panicked, or the exchange stopped before it.
    async fn answer<T>(&self, answered: oneshot::Receiver<T>) -> Result<T, ExchangeError> {
        let unanswered =
            || if self.stop.is_cancelled() { ExchangeError::Stopped } else { ExchangeError::Failed };
        answered.await.map_err(|_| unanswered())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_that_panics_fails_alone() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Store::open(&dir.path().join("test.db"), Default::default()).await.unwrap();
        let stop = CancellationToken::new();
        let (exchange, task) =
            Exchange::start(store, Limits::default(), Tuning::default(), stop.clone()).await.unwrap();
        let failed = exchange.ask(|_, _| -> () { panic!("a bug, for this test") }).await;
        assert_eq!(failed, Err(ExchangeError::Failed));
        assert_eq!(exchange.counts().await, Ok(Counts::default()), "the next command is served");
        stop.cancel();
        task.await.unwrap();
        assert_eq!(exchange.counts().await, Err(ExchangeError::Stopped));
    }
}
