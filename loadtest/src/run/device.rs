//! One client's conversation with the control plane: the SDK's session core around this program's own calls.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use duocast_client::session::{Connection, Effect, Jitter, News, Session, StreamEnd};
use duocast_client::{CallInfo, ChannelConfig, ViewingToken};
use duocast_model::CallId;
use duocast_transport::client::Channel;
use duocast_wire::v1;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryFutureExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use super::accounts::Account;
use super::api::Api;
use super::failure::{Failure, Stage};
use super::live::Live;

/// How long signing in may take: connecting and the first event.
const JOIN_MAX: Duration = Duration::from_secs(15);

/// Notices that wait for the session: a call has five answers to commands.
const NOTICES_MAX: usize = 16;

/// What a client knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeviceState {
    pub(crate) session_id: String,
    pub(crate) online_at: Option<Instant>,
    pub(crate) is_online: bool,
    /// The one call, or broadcast, that it is in.
    pub(crate) call: Option<CallInfo>,
    /// When it learned that it is being called.
    pub(crate) rang_at: Option<Instant>,
    /// How often the event stream broke by itself.
    pub(crate) breaks: u64,
    /// How often the scenario took the server away.
    pub(crate) losses: u64,
    /// What came of them.
    pub(crate) rejoins: Vec<Rejoin>,
    last_end: Option<Failure>,
    is_refused: bool,
}

/// A client that lost the server is signed in again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rejoin {
    /// From the moment at which there was a way to the server again.
    pub(crate) took: Duration,
    /// Its session was still there.
    pub(crate) is_resumed: bool,
}

/// What a client's task is told.
enum Notice {
    /// A call, from the answer to a command.
    Learned(Box<CallInfo>),
    /// There is no way to the server before this moment.
    Lost(Instant),
}

impl DeviceState {
    /// The call is over.
    pub(crate) fn has_ended(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.state.is_ended())
    }
}

/// A signed-in client. Dropping it ends its session's stream.
pub(crate) struct Device {
    api: Api,
    pub(crate) state: watch::Receiver<DeviceState>,
    notices: mpsc::Sender<Notice>,
    task: JoinHandle<()>,
    live: Arc<Live>,
}

impl Drop for Device {
    fn drop(&mut self) {
        self.task.abort();
        if self.state.borrow().is_online {
            self.live.online.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Device {
    /// Connects and subscribes. Gives the time that both took together.
    pub(crate) async fn join(
        config: ChannelConfig,
        account: &Account,
        live: Arc<Live>,
    ) -> Result<(Self, Duration), Failure> {
        let started = Instant::now();
        let joined = async {
            let channel = Channel::connect(config.clone()).await.map_err(|error| {
                tracing::debug!(%error, "a client cannot connect");
                Failure::own(Stage::Join, Code::Unavailable, "NOT_CONNECTED")
            })?;
            let mut device = Self::start(config, Api::new(channel, account.bearer.clone()), live);
            let state = device.state.wait_for(|state| state.is_online || state.is_refused).await;
            let state =
                state.map_err(|_| Failure::own(Stage::Join, Code::Internal, "CLIENT_TASK_ENDED"))?.clone();
            match state.online_at {
                Some(at) => Ok((device, at - started)),
                None => Err(state.last_end.unwrap_or_else(too_slow)),
            }
        };
        tokio::time::timeout(JOIN_MAX, joined).await.unwrap_or_else(|_| Err(too_slow()))
    }

    fn start(server: ChannelConfig, api: Api, live: Arc<Live>) -> Self {
        let (state, changes) = watch::channel(DeviceState::default());
        let (notices, inbox) = mpsc::channel(NOTICES_MAX);
        let device_id = format!("load-{:016x}", rand::random::<u64>());
        let session = Session::new(Instant::now(), device_id);
        let shell = Shell {
            server,
            api: api.clone(),
            session,
            state,
            inbox,
            stream: None,
            lost_until: None,
            live: Arc::clone(&live),
        };
        Self { api, state: changes, notices, task: tokio::spawn(shell.run()), live }
    }

    /// Takes in the answer to a command, as the SDK does.
    async fn learn<T>(&self, call: Option<T>)
    where
        CallInfo: TryFrom<T>,
    {
        if let Some(call) = call.and_then(|call| CallInfo::try_from(call).ok()) {
            // The task ends only with this value.
            let _ = self.notices.send(Notice::Learned(Box::new(call))).await;
        }
    }

    /// Takes the connection away, as a lost network does, and with it the way to a new one until this moment. The session
    /// then does what the SDK's does.
    pub(crate) async fn lose_until(&self, until: Instant) {
        // The task ends only with this value.
        let _ = self.notices.send(Notice::Lost(until)).await;
    }

    /// Calls somebody. Gives the call's id.
    pub(crate) async fn place(&self, callee: &Account, video: bool) -> Result<String, Status> {
        let request = v1::PlaceCallRequest {
            session_id: self.session_id(),
            request_id: format!("{:032x}", rand::random::<u128>()),
            callee_handle: callee.handle.clone(),
            video,
        };
        let answer = self.api.place_call(request).await?;
        let id = answer.call.as_ref().map(|call| call.call_id.clone()).unwrap_or_default();
        self.learn(answer.call).await;
        Ok(id)
    }

    /// Prepares a leg. Gives the SDP answer.
    pub(crate) async fn connect_leg(&self, call_id: &str, sdp_offer: String) -> Result<String, Status> {
        let request = v1::ConnectLegRequest {
            session_id: self.session_id(),
            call_id: call_id.into(),
            leg_id: String::new(),
            sdp_offer,
        };
        Ok(self.api.connect_leg(request).await?.sdp_answer)
    }

    pub(crate) async fn accept(&self, call_id: &str) -> Result<(), Status> {
        let answer = self.api.accept_call(self.command(call_id)).await?;
        self.learn(answer.call).await;
        Ok(())
    }

    pub(crate) async fn decline(&self, call_id: &str) -> Result<(), Status> {
        let answer = self.api.decline_call(self.command(call_id)).await?;
        self.learn(answer.call).await;
        Ok(())
    }

    pub(crate) async fn hang_up(&self, call_id: &str) -> Result<(), Status> {
        let answer = self.api.hang_up(self.command(call_id)).await?;
        self.learn(answer.call).await;
        Ok(())
    }

    /// Publishes. Gives the broadcast's id, and what lets others view it.
    pub(crate) async fn start_broadcast(&self, video: bool) -> Result<(String, ViewingToken), Status> {
        let request = v1::StartBroadcastRequest {
            session_id: self.session_id(),
            request_id: format!("{:032x}", rand::random::<u128>()),
            video,
        };
        let answer = self.api.start_broadcast(request).await?;
        Ok((self.learn_broadcast(answer.broadcast).await, ViewingToken::new(answer.viewing_token)))
    }

    /// Views. Gives the broadcast's id.
    pub(crate) async fn watch_broadcast(&self, token: &ViewingToken) -> Result<String, Status> {
        let request = v1::WatchBroadcastRequest {
            session_id: self.session_id(),
            viewing_token: token.expose().to_owned(),
        };
        let answer = self.api.watch_broadcast(request).await?;
        Ok(self.learn_broadcast(answer.broadcast).await)
    }

    /// Views no longer.
    pub(crate) async fn leave_broadcast(&self, id: &str) -> Result<(), Status> {
        let request =
            v1::LeaveBroadcastRequest { session_id: self.session_id(), broadcast_id: id.to_owned() };
        self.api.leave_broadcast(request).await.map(drop)
    }

    /// Ends what it publishes, for everybody.
    pub(crate) async fn stop_broadcast(&self, id: &str) -> Result<(), Status> {
        let request = v1::StopBroadcastRequest { session_id: self.session_id(), broadcast_id: id.to_owned() };
        self.api.stop_broadcast(request).await.map(drop)
    }

    /// Gives its id.
    async fn learn_broadcast(&self, broadcast: Option<v1::Broadcast>) -> String {
        let id = broadcast.as_ref().map(|broadcast| broadcast.broadcast_id.clone()).unwrap_or_default();
        self.learn(broadcast).await;
        id
    }

    fn command(&self, call_id: &str) -> v1::CallCommand {
        v1::CallCommand { session_id: self.session_id(), call_id: call_id.into() }
    }

    fn session_id(&self) -> String {
        self.state.borrow().session_id.clone()
    }

    /// Waits until the client knows what `is_known` looks for.
    pub(crate) async fn wait(
        &self,
        within: Duration,
        stage: Stage,
        reason: &str,
        is_known: impl FnMut(&DeviceState) -> bool,
    ) -> Result<DeviceState, Failure> {
        let mut state = self.state.clone();
        match tokio::time::timeout(within, state.wait_for(is_known)).await {
            Ok(Ok(state)) => Ok(state.clone()),
            _ => Err(Failure::own(stage, Code::DeadlineExceeded, reason)),
        }
    }
}

fn too_slow() -> Failure {
    Failure::own(Stage::Join, Code::DeadlineExceeded, "NOT_ONLINE")
}

struct Shell {
    server: ChannelConfig,
    api: Api,
    session: Session,
    state: watch::Sender<DeviceState>,
    inbox: mpsc::Receiver<Notice>,
    stream: Option<BoxStream<'static, Result<v1::Event, Status>>>,
    /// It lost the server and is not back yet; until then there is no way.
    lost_until: Option<Instant>,
    live: Arc<Live>,
}

impl Shell {
    async fn run(mut self) {
        self.session.handle_timeout(Instant::now(), jitter());
        loop {
            while let Some(effect) = self.session.poll_effect() {
                self.carry_out(effect).await;
            }
            let deadline = self.session.poll_timeout().map(|(at, _)| at);
            tokio::select! {
                event = next(&mut self.stream) => self.on_event(event),
                notice = self.inbox.recv() => match notice {
                    Some(Notice::Learned(call)) => self.session.handle_call(*call),
                    Some(Notice::Lost(until)) => self.on_lost(until),
                    None => return,
                },
                () = until(deadline) => self.session.handle_timeout(Instant::now(), jitter()),
            }
        }
    }

    fn on_event(&mut self, event: Option<Result<v1::Event, Status>>) {
        let now = Instant::now();
        let end = match event {
            Some(Ok(event)) => return self.session.handle_event(now, event, jitter()),
            Some(Err(status)) => {
                let failure = Failure::of(Stage::Join, &status);
                self.state.send_modify(|state| state.last_end = Some(failure));
                StreamEnd::of(&status)
            }
            None => StreamEnd::Broken,
        };
        self.stream = None;
        self.session.handle_stream_end(now, end, jitter());
    }

    fn on_lost(&mut self, until: Instant) {
        self.api.lose();
        self.stream = None;
        self.lost_until = Some(until);
        self.state.send_modify(|state| state.losses += 1);
        self.session.handle_stream_end(Instant::now(), StreamEnd::Broken, jitter());
    }

    /// Subscribes; over a new connection if the old one was taken away, and in vain while there is no way.
    fn open(&self, request: v1::SubscribeRequest) -> BoxStream<'static, Result<v1::Event, Status>> {
        let Some(until) = self.lost_until else { return self.api.subscribe(request) };
        let (api, server) = (self.api.clone(), self.server.clone());
        let opened = async move {
            if Instant::now() < until {
                return Err(Status::unavailable("the network is unreachable"));
            }
            let channel = Channel::connect(server).await;
            api.find(channel.map_err(|error| Status::unavailable(error.to_string()))?);
            Ok(api.subscribe(request))
        };
        Box::pin(opened.try_flatten_stream())
    }

    async fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::OpenStream(request) => self.stream = Some(self.open(request)),
            Effect::CloseStream => self.stream = None,
            Effect::LookUp(id) => self.look_up(id).await,
            Effect::Tell(News::Connection(connection)) => self.note_connection(&connection),
            Effect::Tell(News::Call(call)) => self.note_call(*call),
            Effect::Tell(News::Contact(_) | News::Direct(..) | News::CallRequest(_) | News::Settings(_)) => {}
        }
    }

    async fn look_up(&mut self, id: CallId) {
        let found = self.api.get_call(v1::GetCallRequest { call_id: id.to_string() }).await;
        match found.map(|answer| answer.call.and_then(|call| CallInfo::try_from(call).ok())) {
            Ok(Some(call)) => self.session.handle_call(call),
            _ => self.session.handle_call_gone(id),
        }
    }

    fn note_connection(&mut self, connection: &Connection) {
        let session_id = self.session.session_id().to_owned();
        let is_online = *connection == Connection::Online;
        let is_lost = self.lost_until.is_some();
        let found = self.lost_until.take_if(|_| is_online);
        self.state.send_modify(|state| {
            let was_online = state.is_online;
            state.is_online = is_online;
            if let Some(since) = found {
                let is_resumed = state.session_id == session_id;
                state.rejoins.push(Rejoin { took: since.elapsed(), is_resumed });
            }
            match (was_online, state.is_online) {
                (false, true) => {
                    self.live.online.fetch_add(1, Ordering::Relaxed);
                    state.online_at.get_or_insert_with(Instant::now);
                }
                (true, false) => {
                    self.live.online.fetch_sub(1, Ordering::Relaxed);
                    state.breaks += u64::from(!is_lost);
                }
                _ => {}
            }
            state.is_refused = matches!(connection, Connection::SignedOut { .. } | Connection::TakenOver);
            state.session_id = session_id;
        });
    }

    fn note_call(&self, call: CallInfo) {
        self.state.send_modify(|state| {
            if call.is_incoming() {
                state.rang_at.get_or_insert_with(Instant::now);
            }
            state.call = Some(call);
        });
    }
}

async fn next(
    stream: &mut Option<BoxStream<'static, Result<v1::Event, Status>>>,
) -> Option<Result<v1::Event, Status>> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn jitter() -> Jitter {
    Jitter::new(rand::random())
}
