//! Keeps one call's legs in the shape that the planners want.

mod direct;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use duocast_model::{CallId, MediaState};
use duocast_wire::v1;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::direct::DirectPlanner;
use super::leg::{LegAction, LegPlanner};
use crate::client::SessionLink;
use crate::error::CallError;
use crate::media::shell::{self, Answer, LegCommand, LegError, LegTask, RelayAccess};
use crate::media::{EngineEvent, Health};
use crate::session::{CallInfo, DirectSignal};

use direct::Done;

/// Longest time without a turn, when nothing is due.
const IDLE_TURN: Duration = Duration::from_secs(60);

/// Why a leg could not be connected.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Signal(#[from] CallError),
    #[error(transparent)]
    Leg(#[from] LegError),
    #[error("the media task is gone")]
    Gone,
}

/// What a call's driver is told besides the call's state.
pub(crate) enum DriverCommand {
    /// This party says yes or no to a direct leg.
    Consent(bool),
    /// The other party's step towards one.
    Signal(DirectSignal),
}

type Connecting = Pin<Box<dyn Future<Output = Result<String, ConnectError>> + Send>>;

/// The task of one call: watches its state and its path, and asks the server for legs.
pub(super) struct Driver {
    id: CallId,
    session: SessionLink,
    info: watch::Receiver<CallInfo>,
    media: mpsc::Sender<LegCommand>,
    events: mpsc::Receiver<EngineEvent>,
    health: watch::Receiver<Health>,
    commands: mpsc::Receiver<DriverCommand>,
    network_changed: Arc<Notify>,
    planner: LegPlanner,
    direct: DirectPlanner,
    /// What is under way for the direct leg.
    doing: JoinSet<Done>,
    peer_media: Option<MediaState>,
    is_open: bool,
}

impl Driver {
    pub(super) fn new(
        id: CallId,
        session: SessionLink,
        info: watch::Receiver<CallInfo>,
        task: LegTask,
        commands: mpsc::Receiver<DriverCommand>,
        network_changed: Arc<Notify>,
    ) -> Self {
        let planner = LegPlanner::new(Instant::now());
        let LegTask { commands: media, events, health, .. } = task;
        Self {
            id,
            session,
            info,
            media,
            events,
            health,
            commands,
            network_changed,
            planner,
            direct: DirectPlanner::default(),
            doing: JoinSet::new(),
            peer_media: None,
            is_open: false,
        }
    }

    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut connecting: Option<Connecting> = None;
        self.on_call().await;
        loop {
            if let Some(action) = self.planner.poll_action(Instant::now()) {
                connecting = Some(self.connect(action));
            }
            self.act_direct().await;
            let due = [self.planner.poll_timeout(), self.direct.poll_timeout()].into_iter().flatten().min();
            let due = due.unwrap_or_else(|| Instant::now() + IDLE_TURN);
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = self.info.changed() => match changed {
                    Ok(()) => self.on_call().await,
                    Err(_) => return,
                },
                Some(event) = self.events.recv() => self.on_event(event),
                result = finished(connecting.as_mut()) => {
                    connecting = None;
                    self.on_connect(result);
                }
                Some(command) = self.commands.recv() => self.on_command(command).await,
                Ok(()) = self.health.changed() => {
                    let health = *self.health.borrow_and_update();
                    self.direct.handle_health(Instant::now(), health);
                }
                Some(Ok(done)) = self.doing.join_next() => self.on_done(done).await,
                () = self.network_changed.notified() => {
                    self.planner.handle_network_change(Instant::now());
                    self.direct.handle_network_change();
                }
                () = sleep_until(due.into()) => {
                    self.planner.handle_timeout(Instant::now());
                    self.direct.handle_timeout(Instant::now());
                }
            }
        }
    }

    async fn on_call(&mut self) {
        let info = self.info.borrow_and_update().clone();
        self.planner.handle_call(Instant::now(), &info);
        if info.carries_media() && !self.is_open {
            self.is_open = true;
            // A media task that is gone has been cancelled, and so is this one.
            let _ = self.media.send(LegCommand::Open).await;
        }
        if self.peer_media.replace(info.peer_media) != Some(info.peer_media) {
            let _ = self.media.send(LegCommand::PeerMedia(info.peer_media)).await;
        }
        self.direct.handle_call(Instant::now(), &info);
    }

    fn on_event(&mut self, event: EngineEvent) {
        match event {
            EngineEvent::Connection(state) => {
                tracing::debug!(call = %self.id, ?state, "media path");
                self.planner.handle_connection(Instant::now(), state);
            }
            // A restart tries UDP first.
            EngineEvent::UdpAgain => self.planner.handle_network_change(Instant::now()),
            EngineEvent::FirstAudio => {}
        }
    }

    fn on_connect(&mut self, result: Result<String, ConnectError>) {
        match result {
            Ok(leg_id) => self.planner.handle_answered(Instant::now(), leg_id),
            Err(error) => {
                tracing::info!(call = %self.id, %error, "the leg could not be connected");
                self.planner.handle_failed(Instant::now(), crate::jitter());
            }
        }
    }

    fn connect(&self, action: LegAction) -> Connecting {
        let (id, session, media) = (self.id, self.session.clone(), self.media.clone());
        Box::pin(async move {
            match action {
                LegAction::New => {
                    let (peer, offer) = shell::offer();
                    let connected = session.connect_leg(id, "", offer).await?;
                    let (leg_id, answer) = answered(&session, connected);
                    let (done, result) = oneshot::channel();
                    ask(&media, LegCommand::Install { peer, answer, done }, result).await??;
                    Ok(leg_id)
                }
                LegAction::Restart(leg_id) => {
                    let (offer, result) = oneshot::channel();
                    let offer = ask(&media, LegCommand::OfferRestart { offer }, result).await??;
                    let connected = session.connect_leg(id, &leg_id, offer).await?;
                    let (leg_id, answer) = answered(&session, connected);
                    let (done, result) = oneshot::channel();
                    ask(&media, LegCommand::AnswerRestart { answer, done }, result).await??;
                    Ok(leg_id)
                }
            }
        })
    }
}

/// The leg's id, and what its media task needs of the answer.
fn answered(session: &SessionLink, connected: v1::ConnectLegResponse) -> (String, Answer) {
    let relay = connected.relay.map(|v1::Relay { username, password }| RelayAccess {
        channel: session.signaller.channel().clone(),
        username,
        password,
    });
    (connected.leg_id, Answer { sdp: connected.sdp_answer, relay })
}

async fn ask<T>(
    media: &mpsc::Sender<LegCommand>,
    command: LegCommand,
    answer: oneshot::Receiver<T>,
) -> Result<T, ConnectError> {
    media.send(command).await.map_err(|_| ConnectError::Gone)?;
    answer.await.map_err(|_| ConnectError::Gone)
}

async fn finished(connecting: Option<&mut Connecting>) -> Result<String, ConnectError> {
    match connecting {
        Some(connecting) => connecting.await,
        None => std::future::pending().await,
    }
}
