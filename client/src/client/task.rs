//! The session's shell: one stream, one timer, one queue of commands.

use std::pin::Pin;
use std::time::{Duration, Instant};

use duocast_model::{CallId, DeviceId};
use duocast_wire::v1;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{ClientEvent, Registry, SessionCommand, SessionLink};
use crate::call::{Call, CallSettings};
use crate::error::CallError;
use crate::session::{CallInfo, Connection, DirectSignal, Effect, News, Session, StreamEnd};

/// Longest time without a turn, when nothing is due.
const IDLE_TURN: Duration = Duration::from_secs(60);

/// Where the session's news goes.
pub(super) struct Outputs {
    pub(super) events: broadcast::Sender<ClientEvent>,
    pub(super) calls: watch::Sender<Vec<Call>>,
    pub(super) connection: watch::Sender<Connection>,
}

/// Carries out what [`Session`] decides.
pub(super) struct SessionTask {
    session: Session,
    link: SessionLink,
    settings: CallSettings,
    outputs: Outputs,
    stream: Stream,
    registry: Registry,
    cancel: CancellationToken,
}

impl SessionTask {
    pub(super) fn new(
        device_id: DeviceId,
        link: SessionLink,
        settings: CallSettings,
        outputs: Outputs,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            session: Session::new(Instant::now(), device_id.as_str().to_owned()),
            link,
            settings,
            outputs,
            stream: Stream::None,
            registry: Registry::default(),
            cancel,
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<SessionCommand>) {
        let cancel = self.cancel.clone();
        loop {
            self.carry_out();
            let due = self.session.poll_timeout().map_or_else(|| Instant::now() + IDLE_TURN, |(at, _)| at);
            tokio::select! {
                () = cancel.cancelled() => return,
                item = self.stream.next() => self.on_stream(item),
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                () = sleep_until(due.into()) => self.session.handle_timeout(Instant::now(), crate::jitter()),
            }
        }
    }

    fn on_stream(&mut self, item: Result<v1::Event, StreamEnd>) {
        match item {
            Ok(event) => self.session.handle_event(Instant::now(), event, crate::jitter()),
            Err(end) => {
                self.stream = Stream::None;
                self.session.handle_stream_end(Instant::now(), end, crate::jitter());
            }
        }
    }

    fn on_command(&mut self, command: SessionCommand) {
        match command {
            SessionCommand::Merge(info, reply) => {
                let (id, last) = (info.id, (*info).clone());
                self.session.handle_call(*info);
                self.carry_out();
                let call = self.registry.get(id).unwrap_or_else(|| self.start(last));
                // Whoever asked may be gone.
                let _ = reply.send(call);
            }
            SessionCommand::Found(_, Some(info)) => self.session.handle_call(*info),
            SessionCommand::Found(id, None) => self.session.handle_call_gone(id),
            SessionCommand::NewToken => self.session.handle_new_token(Instant::now()),
            SessionCommand::NetworkChanged => self.session.handle_network_change(Instant::now()),
        }
    }

    fn carry_out(&mut self) {
        self.link.set_id(self.session.session_id());
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::OpenStream(request) => self.stream = self.open(request),
                Effect::CloseStream => self.stream = Stream::None,
                Effect::LookUp(id) => self.look_up(id),
                Effect::Tell(News::Call(info)) => self.on_call(*info),
                Effect::Tell(News::Contact(contact)) => self.emit(ClientEvent::ContactUpdated(contact)),
                Effect::Tell(News::Direct(id, signal)) => self.on_direct(id, signal),
                Effect::Tell(News::CallRequest(request)) => {
                    self.emit(ClientEvent::CallRequestUpdated(request));
                }
                Effect::Tell(News::Settings(settings)) => self.emit(ClientEvent::SettingsUpdated(settings)),
                Effect::Tell(News::Connection(connection)) => {
                    self.outputs.connection.send_replace(connection.clone());
                    self.emit(ClientEvent::Connection(connection));
                }
            }
        }
    }

    fn open(&self, request: v1::SubscribeRequest) -> Stream {
        let signaller = self.link.signaller.clone();
        Stream::Opening(Box::pin(async move { signaller.subscribe(request).await }))
    }

    /// Asks what became of a call; if the server cannot be reached it counts as lost, as the snapshot says.
    fn look_up(&self, id: CallId) {
        let link = self.link.clone();
        let cancel = self.cancel.clone();
        let ask = async move {
            let request = v1::GetCallRequest { call_id: id.to_string() };
            let answer = link.signaller.get_call(request).await;
            let call = answer.ok().and_then(|answer| answer.call);
            let info = call.and_then(|call| CallInfo::try_from(call).ok()).map(Box::new);
            link.tell(SessionCommand::Found(id, info)).await;
        };
        tokio::spawn(async move { cancel.run_until_cancelled(ask).await });
    }

    fn on_call(&mut self, info: CallInfo) {
        let (id, is_ended) = (info.id, info.state.is_ended());
        let known = self.registry.get(id);
        let is_new = known.is_none();
        let call = known.unwrap_or_else(|| self.start(info.clone()));
        if is_ended {
            self.registry.end(id);
        }
        // Before the call itself tells: whoever waits for its end finds it gone from the list.
        self.outputs.calls.send_replace(self.registry.all());
        call.update(info.clone());
        if is_new && info.is_incoming() {
            self.emit(ClientEvent::Incoming(call.clone()));
        }
        self.emit(ClientEvent::CallUpdated(call, info));
    }

    fn on_direct(&mut self, id: CallId, signal: DirectSignal) {
        let Some(call) = self.registry.get(id) else { return };
        if self.settings.manual_media {
            self.emit(ClientEvent::Direct(call, signal));
        } else {
            call.signal(signal);
        }
    }

    fn start(&mut self, info: CallInfo) -> Call {
        let id = info.id;
        let cancel = self.cancel.child_token();
        if info.state.is_ended() {
            cancel.cancel();
        }
        let call = Call::start(info, self.link.clone(), &self.settings, cancel);
        self.registry.calls.insert(id, call.clone());
        call
    }

    fn emit(&self, event: ClientEvent) {
        // Nobody listening is fine.
        let _ = self.outputs.events.send(event);
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<Streaming<v1::Event>, Status>> + Send>>;

/// The present event stream.
enum Stream {
    None,
    Opening(Opening),
    Open(Box<Streaming<v1::Event>>),
}

impl Stream {
    /// The next event or the end. Cancel-safe; never ready without a stream.
    async fn next(&mut self) -> Result<v1::Event, StreamEnd> {
        if let Self::Opening(opening) = self {
            match opening.await {
                Ok(stream) => *self = Self::Open(Box::new(stream)),
                Err(status) => return Err(stream_end(&status)),
            }
        }
        let Self::Open(stream) = self else { return std::future::pending().await };
        match stream.message().await {
            Ok(Some(event)) => Ok(event),
            Ok(None) => Err(StreamEnd::Broken),
            Err(status) => Err(stream_end(&status)),
        }
    }
}

fn stream_end(status: &Status) -> StreamEnd {
    let error = CallError::from(status.clone());
    tracing::debug!(code = ?status.code(), %error, "the event stream ended");
    StreamEnd::of(status)
}
