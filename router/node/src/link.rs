//! The link to control: one bidirectional stream, kept up for ever. It carries orders and answers, and decides nothing.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use duocast_model::{CallId, Generation, InvalidId, LegId, NodeId, RoutePlan};
use duocast_router_core::{Event, IceSecret, LegState, OfferError, PlanOutcome};
use duocast_transport::client::{Channel, ChannelConfig};
use duocast_wire::v1;
use duocast_wire::v1::node_service_client::NodeServiceClient;
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use rand::Rng as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use v1::control_to_node::Kind as ToNode;
use v1::node_to_control::Kind as ToControl;

use crate::RouterConfig;
use crate::command::{Command, Offer, Report, WorkerGone, WorkerHandle};
use crate::metrics;
use crate::spread::Spread;
use crate::token::{TokenError, TokenSource};

/// First pause after a failed attempt; each further one is twice as long, up to [`MAX_PAUSE`]. Half of it is random, so that
/// nodes do not come back all at once.
const MIN_PAUSE: Duration = Duration::from_millis(200);

/// Longest pause. Higher spares a control plane that is down, lower comes back sooner: media goes on meanwhile, but no new
/// call finds this node.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Messages that may wait for the network. At the bound the link waits, at most [`SEND_PATIENCE`].
const MAX_UNSENT: usize = 64;

/// A link that takes nothing for this long is given up.
const SEND_PATIENCE: Duration = Duration::from_secs(10);

/// How long control may take to say Welcome.
const WELCOME_PATIENCE: Duration = Duration::from_secs(10);

/// How long control may take to move this node's calls when it stops as planned. Higher makes a stop wait for a control that
/// hangs, lower leaves calls that are moved only after the grace of a lost link.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(2);

/// Answers of workers that may be awaited at once. At the bound the next order waits for one of them.
const MAX_PENDING: usize = 1024;

/// Bounds for the interval that control asks statistics in.
const STATS_INTERVAL: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));

pub(crate) struct Link {
    node_id: NodeId,
    boot_id: String,
    leg_capacity: u32,
    control: ChannelConfig,
    token: TokenSource,
    workers: Vec<WorkerHandle>,
    spread: Spread,
    reports: mpsc::Receiver<Report>,
    is_up: watch::Sender<bool>,
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("cannot connect: {0}")]
    Connect(#[from] duocast_transport::client::ConnectError),
    #[error("control refused or ended the link: {0}")]
    Refused(Box<tonic::Status>),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("control closed the link")]
    Closed,
    #[error("control did not answer in time")]
    Silent,
    #[error("a worker is gone")]
    Worker,
}

impl LinkError {
    /// Trying again does not help before somebody gives this node another token.
    fn needs_another_token(&self) -> bool {
        let refused = |status: &tonic::Status| {
            matches!(status.code(), tonic::Code::Unauthenticated | tonic::Code::PermissionDenied)
        };
        match self {
            Self::Token(_) => true,
            Self::Refused(status) => refused(status),
            Self::Connect(_) | Self::Closed | Self::Silent | Self::Worker => false,
        }
    }
}

impl From<tonic::Status> for LinkError {
    fn from(status: tonic::Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl From<WorkerGone> for LinkError {
    fn from(_: WorkerGone) -> Self {
        Self::Worker
    }
}

/// The node stops as planned.
struct Left;

type Answer = Pin<Box<dyn Future<Output = Option<ToControl>> + Send>>;

/// One life of the link.
struct Session<'a> {
    link: &'a mut Link,
    unsent: mpsc::Sender<v1::NodeToControl>,
    answers: FuturesUnordered<Answer>,
    /// Calls that control named before its Synced; `None` after it.
    named: Option<HashSet<CallId>>,
}

impl Link {
    pub(crate) fn new(
        config: &RouterConfig,
        workers: Vec<WorkerHandle>,
        reports: mpsc::Receiver<Report>,
        is_up: watch::Sender<bool>,
    ) -> Self {
        Self {
            node_id: config.node_id.clone(),
            boot_id: uuid::Uuid::new_v4().simple().to_string(),
            leg_capacity: config.leg_capacity,
            control: config.control.clone(),
            token: config.token.clone(),
            spread: Spread::over(workers.len()),
            workers,
            reports,
            is_up,
        }
    }

    fn set_up(&self, up: bool) {
        self.is_up.send_replace(up);
        metrics::link_is_up(up);
    }

    /// Keeps the link up until `leaving`: then control is told, so that it moves the calls, and this returns when it has or
    /// takes too long.
    pub(crate) async fn run(mut self, leaving: CancellationToken) {
        let mut pause = MIN_PAUSE;
        loop {
            metrics::link_attempt();
            let mut welcomed = false;
            let ended = self.live(&mut welcomed, &leaving).await;
            self.set_up(false);
            if welcomed {
                pause = MIN_PAUSE;
            }
            match ended {
                Ok(Left) => return,
                // A token that ran out too: the next attempt tells whether there is another one.
                Err(error) if welcomed => tracing::warn!(%error, "lost control; media goes on"),
                Err(error) if error.needs_another_token() => {
                    metrics::link_token_refused();
                    tracing::error!(
                        %error,
                        "control does not take this node's token, so it gets no calls: have the platform's issuer make one \
                         with scope \"node\" and replace the file that link.token names; it is read at each attempt"
                    );
                }
                Err(error) => tracing::info!(%error, "no link to control yet"),
            }
            let jittered = pause.mul_f64(rand::rng().random_range(0.5..=1.0));
            tokio::select! {
                () = leaving.cancelled() => return,
                () = tokio::time::sleep(jittered) => {}
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn live(&mut self, welcomed: &mut bool, leaving: &CancellationToken) -> Result<Left, LinkError> {
        let (mut session, mut orders, welcome) = tokio::select! {
            () = leaving.cancelled() => return Ok(Left),
            opened = self.open() => opened?,
        };
        *welcomed = true;
        session.link.set_up(true);
        tracing::info!(control_version = welcome.version, "linked to control");
        session.tell_all_states().await?;

        let asked = Duration::from_millis(welcome.stats_interval_ms.into());
        let mut stats = tokio::time::interval(asked.clamp(STATS_INTERVAL.0, STATS_INTERVAL.1));
        stats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = leaving.cancelled() => {
                    session.say_goodbye(&mut orders).await;
                    return Ok(Left);
                }
                order = orders.message(), if session.answers.len() < MAX_PENDING => {
                    let order = order?.ok_or(LinkError::Closed)?;
                    session.take(order).await?;
                }
                Some(answer) = session.answers.next() => {
                    if let Some(answer) = answer {
                        session.send(answer).await?;
                    }
                }
                report = session.link.reports.recv() => {
                    session.send(leg_changed(report.ok_or(LinkError::Worker)?)).await?;
                }
                _ = stats.tick() => session.send(ToControl::Stats(session.stats())).await?,
            }
        }
    }

    /// Connects and says hello.
    async fn open(
        &mut self,
    ) -> Result<(Session<'_>, tonic::Streaming<v1::ControlToNode>, v1::Welcome), LinkError> {
        let bearer = self.token.bearer().await?;
        let channel = Channel::connect(self.control.clone()).await?;
        let (unsent, queue) = mpsc::channel(MAX_UNSENT);
        let hello = v1::Hello {
            node_id: self.node_id.to_string(),
            boot_id: self.boot_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            leg_capacity: self.leg_capacity,
        };
        let mut session =
            Session { link: self, unsent, answers: FuturesUnordered::new(), named: Some(HashSet::new()) };
        session.send(ToControl::Hello(hello)).await?;
        let mut request = tonic::Request::new(ReceiverStream::new(queue));
        request.metadata_mut().insert("authorization", bearer);
        let mut orders = NodeServiceClient::new(channel).link(request).await?.into_inner();

        let first = tokio::time::timeout(WELCOME_PATIENCE, orders.message()).await;
        let first = first.map_err(|_| LinkError::Silent)??.and_then(|message| message.kind);
        let Some(ToNode::Welcome(welcome)) = first else { return Err(LinkError::Closed) };
        Ok((session, orders, welcome))
    }
}

impl Session<'_> {
    async fn send(&mut self, kind: ToControl) -> Result<(), LinkError> {
        let message = v1::NodeToControl { kind: Some(kind) };
        match self.unsent.send_timeout(message, SEND_PATIENCE).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(LinkError::Silent),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(LinkError::Closed),
        }
    }

    /// Tells control that this process stops, and waits until it ends the stream: the calls are moved by then.
    async fn say_goodbye(&mut self, orders: &mut tonic::Streaming<v1::ControlToNode>) {
        let farewell = async {
            self.send(ToControl::Goodbye(v1::Goodbye {})).await?;
            while orders.message().await?.is_some() {}
            Ok::<(), LinkError>(())
        };
        match tokio::time::timeout(GOODBYE_PATIENCE, farewell).await {
            Ok(Ok(())) => tracing::info!("control knows that this node stops, and moved its calls"),
            Ok(Err(error)) => tracing::warn!(%error, "control may not know that this node stops"),
            Err(_) => tracing::warn!("control did not take the goodbye in time; it moves the calls later"),
        }
    }

    /// What waited for the old link is out of date: every leg's present state is told instead.
    async fn tell_all_states(&mut self) -> Result<(), LinkError> {
        while self.link.reports.try_recv().is_ok() {}
        for worker in &self.link.workers {
            worker.send(Command::LinkUp).await?;
        }
        Ok(())
    }

    async fn take(&mut self, order: v1::ControlToNode) -> Result<(), LinkError> {
        match order.kind {
            Some(ToNode::Plan(plan)) => self.take_plan(plan).await,
            Some(ToNode::LegOffer(offer)) => self.take_offer(offer).await,
            Some(ToNode::Synced(_)) => self.take_synced().await,
            Some(ToNode::Welcome(_)) | None => Ok(()),
        }
    }

    async fn take_plan(&mut self, wire: v1::RoutePlan) -> Result<(), LinkError> {
        let plan = match RoutePlan::try_from(wire) {
            Ok(plan) => plan,
            Err(error) => {
                tracing::error!(%error, "control sent a plan that is none; it is ignored");
                return Ok(());
            }
        };
        let call = plan.call();
        if let Some(named) = &mut self.named {
            named.insert(call);
        }
        let refused = PlanOutcome { generation: Generation::default(), applied: false };
        let Some((plan, of)) = self.link.spread.workers_of(plan) else {
            return self.send(plan_result(call, refused)).await;
        };
        let mut outcomes = Vec::new();
        for worker in &self.link.workers[of] {
            let (answer, answered) = oneshot::channel();
            worker.send(Command::Plan { plan: plan.clone(), answer }).await?;
            outcomes.push(answered);
        }
        self.answers.push(Box::pin(async move {
            let outcomes = try_join_all(outcomes).await.ok()?;
            Some(plan_result(call, outcomes.into_iter().reduce(PlanOutcome::and)?))
        }));
        Ok(())
    }

    async fn take_offer(&mut self, wire: v1::LegOffer) -> Result<(), LinkError> {
        let request_id = wire.request_id;
        let ids = (wire.call_id.parse(), wire.leg_id.parse());
        let (Ok(call), Ok(leg)): (Result<CallId, InvalidId>, Result<LegId, InvalidId>) = ids else {
            return self.send(leg_answer(request_id, Err(OfferError::LegUnknown))).await;
        };
        let offer = Offer { call, leg, sdp: wire.sdp_offer, secret: IceSecret(rand::rng().random()) };
        let (answer, answered) = oneshot::channel();
        let worker = self.link.spread.worker_of(call, leg);
        self.link.workers[worker].send(Command::Offer { offer, answer }).await?;
        self.answers.push(Box::pin(async move { Some(leg_answer(request_id, answered.await.ok()?)) }));
        Ok(())
    }

    async fn take_synced(&mut self) -> Result<(), LinkError> {
        let Some(named) = self.named.take() else { return Ok(()) };
        self.link.spread.keep(&named);
        let wanted = Arc::new(named);
        for worker in &self.link.workers {
            worker.send(Command::Synced { wanted: Arc::clone(&wanted) }).await?;
        }
        Ok(())
    }

    fn stats(&self) -> v1::NodeStats {
        let mut stats = v1::NodeStats::default();
        for load in self.link.workers.iter().map(WorkerHandle::load) {
            stats.legs += load.legs.load(Ordering::Relaxed);
            stats.calls += load.calls.load(Ordering::Relaxed);
            stats.load = stats.load.max(load.core_permille.load(Ordering::Relaxed) as f32 / 1000.0);
        }
        stats
    }
}

fn plan_result(call: CallId, outcome: PlanOutcome) -> ToControl {
    ToControl::PlanResult(v1::PlanResult {
        call_id: call.to_string(),
        generation: outcome.generation.0,
        applied: outcome.applied,
    })
}

fn leg_answer(request_id: u64, result: Result<String, OfferError>) -> ToControl {
    let result = match result {
        Ok(sdp) => v1::leg_answer::Result::SdpAnswer(sdp),
        Err(error) => v1::leg_answer::Result::Refused(v1::LegRefused {
            reason: error.reason().to_owned(),
            message: error.to_string(),
        }),
    };
    ToControl::LegAnswer(v1::LegAnswer { request_id, result: Some(result) })
}

fn leg_changed(event: Event) -> ToControl {
    let Event::LegChanged { call, leg, state } = event;
    let without_pictures = state == LegState::WithoutPictures;
    let state = match state {
        LegState::Connected | LegState::WithoutPictures => v1::LegState::Connected,
        LegState::Stalled => v1::LegState::Stalled,
        LegState::Closed => v1::LegState::Closed,
    };
    ToControl::LegChanged(v1::LegChanged {
        call_id: call.to_string(),
        leg_id: leg.to_string(),
        state: state.into(),
        without_pictures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_gets_no_pictures_is_connected_to_a_control_plane_that_knows_nothing_of_that() {
        let told = |state| {
            let (call, leg) = (CallId::from_u128(1), LegId::from_u128(2));
            match leg_changed(Event::LegChanged { call, leg, state }) {
                ToControl::LegChanged(changed) => (changed.state(), changed.without_pictures),
                _ => panic!("another message"),
            }
        };
        assert_eq!(told(LegState::WithoutPictures), (v1::LegState::Connected, true));
        assert_eq!(told(LegState::Connected), (v1::LegState::Connected, false));
        assert_eq!(told(LegState::Stalled), (v1::LegState::Stalled, false));
        assert_eq!(told(LegState::Closed), (v1::LegState::Closed, false));
    }
}
