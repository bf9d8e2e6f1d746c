//! Sign in, see who is there, call and be called.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use duocast_model::{CallId, DeviceId, Handle, MediaState, PrivacySettings};
use duocast_transport::Door;
use duocast_transport::client::{Channel, ChannelConfig, ConnectError as ChannelError, DoorChoice, Roots};
use duocast_wire::v1;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::call::{Call, CallSettings, Media};
use crate::error::CallError;
use crate::media::shell::Network;
use crate::privacy::CallRequest;
use crate::received::Received;
use crate::session::{CallInfo, Connection, Contact, DirectSignal, InvalidCall, Person};
use crate::signal::{InvalidToken, Signaller, Token};

mod audience;
mod privacy;
mod task;

pub use audience::ViewingToken;

/// Events that may wait for an application; at the bound it gets [`ClientEvent::Missed`] and reads [`Client::calls`].
const EVENTS_MAX: usize = 256;

/// Commands that may wait for the session task; the sender waits at the bound.
const COMMANDS_MAX: usize = 64;

/// Ended calls whose handle is still given out, for answers that were overtaken by events.
const ENDED_MAX: usize = 64;

/// Who signs in where.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `https://host:port`.
    pub url: String,
    /// Which certificates are trusted.
    pub roots: Roots,
    /// Which doors are tried.
    pub door: DoorChoice,
    /// Who signs in.
    pub token: Token,
    /// This installation; keep it. A fresh random one by default.
    pub device_id: DeviceId,
    /// How long [`Client::connect`] may take, sign-in included.
    pub connect_timeout: Duration,
    /// Sent media carries its send time ([`media::mark`](crate::media::mark)), for measurements on one machine.
    pub latency_marks: bool,
    /// The application makes its own [`Peer`](crate::media::Peer)s and connects them with [`Call::connect_leg`]; calls have
    /// no media task then.
    pub manual_media: bool,
    /// The local address that media is sent from; without, the one that leads to the router. Media over TLS goes as the API does.
    pub bind: Option<IpAddr>,
    /// Is shown everything that the server sends.
    pub received: Option<Received>,
}

impl ClientConfig {
    /// The defaults: system roots, QUIC first.
    pub fn new(url: impl Into<String>, token: Token) -> Self {
        let device_id = DeviceId::new(&uuid::Uuid::new_v4().to_string()).expect("a UUID is a device id");
        Self {
            url: url.into(),
            roots: Roots::System,
            door: DoorChoice::Auto,
            token,
            device_id,
            connect_timeout: Duration::from_secs(15),
            latency_marks: false,
            manual_media: false,
            bind: None,
            received: None,
        }
    }
}

/// Why a client could not be connected.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No connection to the server.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The token was refused.
    #[error("the server refused the token ({}): get a new one", reason.as_deref().unwrap_or("no reason given"))]
    SignedOut {
        /// Stable code such as `TOKEN_EXPIRED`, if the server gave one.
        reason: Option<String>,
    },
    /// The server gives this device no session; its sentence says what to do.
    #[error("{sentence}")]
    Refused {
        /// Stable code such as `TOO_MANY_SESSIONS`.
        reason: String,
        /// For people.
        sentence: String,
    },
    /// Connected, but the session did not start in time.
    #[error("the server accepted the connection but started no session; it may be overloaded, try again")]
    TimedOut,
}

/// What an application hears.
#[derive(Debug, Clone)]
pub enum ClientEvent {
    /// Somebody calls: this device rings.
    Incoming(Call),
    /// A call changed.
    CallUpdated(Call, CallInfo),
    /// A contact came or went.
    ContactUpdated(Contact),
    /// Somebody asks for permission to call, or answered when this account asked.
    CallRequestUpdated(CallRequest),
    /// The account's settings are these now, changed on whichever device.
    SettingsUpdated(PrivacySettings),
    /// The other party's step towards a direct leg. Only with [`ClientConfig::manual_media`].
    Direct(Call, DirectSignal),
    /// The conversation with the server changed.
    Connection(Connection),
    /// The application was too slow for so many events; [`Client::calls`] tells what is.
    Missed(u64),
}

/// A stream of [`ClientEvent`]s.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<ClientEvent>);

impl Events {
    /// The next event; `None` once the client is closed.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(ClientEvent::Missed(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// A signed-in device. Clones are the same client. When the last one is dropped its stream, its calls' media and its tasks
/// end; calls that were not hung up end at the server after its grace period. [`Client::close`] hangs up first.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    link: SessionLink,
    token: Token,
    events: broadcast::Sender<ClientEvent>,
    first_events: Mutex<Option<Events>>,
    calls: watch::Receiver<Vec<Call>>,
    cancel: CancellationToken,
    _stop: DropGuard,
}

impl Client {
    /// Connects and signs in. Gives the client once its session has started.
    pub async fn connect(config: ClientConfig) -> Result<Self, ConnectError> {
        let channel_config = ChannelConfig {
            connect_timeout: config.connect_timeout,
            ..ChannelConfig::new(config.url.clone(), config.roots.clone()).with_door(config.door)
        };
        let channel = Channel::connect(channel_config).await?;
        Self::over(channel, config).await
    }

    /// Signs in over a channel that is there already: many accounts may share one. `url`, `roots` and `door` of the
    /// configuration tell where it leads.
    pub async fn over(channel: Channel, config: ClientConfig) -> Result<Self, ConnectError> {
        let settings = CallSettings {
            network: Network {
                server_is_loopback: crate::media::shell::is_loopback(&config.url),
                local: config.bind,
            },
            latency_marks: config.latency_marks,
            manual_media: config.manual_media,
        };
        let signaller = Signaller::new(channel, config.token.clone(), config.received);
        let cancel = CancellationToken::new();
        let stop = cancel.clone().drop_guard();
        let (command_tx, command_rx) = mpsc::channel(COMMANDS_MAX);
        let (events, first) = broadcast::channel(EVENTS_MAX);
        let (calls_tx, calls) = watch::channel(Vec::new());
        let (connection_tx, mut connection) = watch::channel(Connection::Connecting);
        let id = Arc::new(RwLock::new(String::new()));
        let link = SessionLink { signaller, id, commands: command_tx };
        let session = task::SessionTask::new(
            config.device_id,
            link.clone(),
            settings,
            task::Outputs { events: events.clone(), calls: calls_tx, connection: connection_tx },
            cancel.clone(),
        );
        tokio::spawn(session.run(command_rx));
        let started = connection.wait_for(|state| match state {
            Connection::Online
            | Connection::SignedOut { .. }
            | Connection::Refused { .. }
            | Connection::TakenOver => true,
            Connection::Connecting | Connection::Reconnecting { .. } => false,
        });
        let state = tokio::time::timeout(config.connect_timeout, started).await;
        let state = state.map_err(|_| ConnectError::TimedOut)?.map_err(|_| ConnectError::TimedOut)?.clone();
        match state {
            Connection::SignedOut { reason } => return Err(ConnectError::SignedOut { reason }),
            Connection::Refused { reason, sentence } => {
                return Err(ConnectError::Refused { reason, sentence });
            }
            _ => {}
        }
        let first_events = Mutex::new(Some(Events(first)));
        let token = config.token;
        Ok(Self(Arc::new(Inner { link, token, events, first_events, calls, cancel, _stop: stop })))
    }

    /// The events, in order and bounded. The first stream has everything since sign-in, later ones what comes from now on.
    pub fn events(&self) -> Events {
        let first = self.0.first_events.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        first.unwrap_or_else(|| Events(self.0.events.subscribe()))
    }

    /// The calls that are not over.
    pub fn calls(&self) -> Vec<Call> {
        self.0.calls.borrow().clone()
    }

    /// The door the connection uses, HTTP/3 or HTTP/2.
    pub fn door(&self) -> Door {
        self.0.link.signaller.channel().door()
    }

    /// The RPCs underneath.
    pub fn signaller(&self) -> &Signaller {
        &self.0.link.signaller
    }

    /// The present session, which commands of [`Client::signaller`] name.
    pub fn session_id(&self) -> String {
        self.0.link.id()
    }

    /// Calls somebody. Gives the call when it exists; its leg is prepared while it rings, and `media` flows from the moment
    /// it is accepted.
    pub async fn place(&self, callee: &Handle, media: Media) -> Result<Call, CallError> {
        let has_video = media.has_video();
        let request = v1::PlaceCallRequest {
            session_id: self.0.link.id(),
            request_id: uuid::Uuid::new_v4().to_string(),
            callee_handle: callee.as_str().to_owned(),
            video: has_video,
        };
        let answer = self.0.link.signaller.place_call(request).await?;
        let call = self.0.link.merge(answer.call).await?;
        // A call that is over already (busy) has nothing to attach to: its state tells.
        match call.attach(media).await {
            Ok(()) | Err(CallError::Over) => {}
            Err(error) => return Err(error),
        }
        if !call.info().state.is_ended() {
            call.try_announce(MediaState { audio: true, video: has_video }).await;
        }
        Ok(call)
    }

    /// Whom this account can see.
    pub async fn contacts(&self) -> Result<Vec<Contact>, CallError> {
        let answer = self.0.link.signaller.list_contacts(v1::ListContactsRequest {}).await?;
        let read: Result<Vec<Contact>, _> = answer.contacts.into_iter().map(Contact::try_from).collect();
        read.map_err(|error| CallError::Unreadable(error.to_string()))
    }

    /// Who this token says it is.
    pub async fn profile(&self) -> Result<Person, CallError> {
        let answer = self.0.link.signaller.get_profile(v1::GetProfileRequest {}).await?;
        let person = answer.person.ok_or_else(|| CallError::Unreadable("no person".to_owned()))?;
        Person::try_from(person).map_err(|error| CallError::Unreadable(error.to_string()))
    }

    /// Sets a new token, before the old one expires or after it was refused.
    pub async fn set_token(&self, jwt: &str) -> Result<(), InvalidToken> {
        self.0.token.set(jwt)?;
        self.0.link.tell(SessionCommand::NewToken).await;
        Ok(())
    }

    /// The machine changed networks: moves the QUIC connection to a new socket, and restarts the legs' ICE.
    pub async fn rebind(&self) {
        if let Err(error) = self.0.link.signaller.channel().rebind() {
            tracing::debug!(%error, "the connection was not moved");
        }
        self.0.link.tell(SessionCommand::NetworkChanged).await;
        self.calls().iter().for_each(Call::network_changed);
    }

    /// Hangs up every call of this device and closes the client.
    pub async fn close(&self) {
        for call in self.calls().iter().filter(|call| call.info().on_this_device) {
            if let Err(error) = call.hang_up().await {
                tracing::debug!(%error, "a call could not be hung up");
            }
        }
        self.0.cancel.cancel();
    }
}

/// The way to the session: commands out, call states in.
#[derive(Clone)]
pub(crate) struct SessionLink {
    pub(crate) signaller: Signaller,
    id: Arc<RwLock<String>>,
    commands: mpsc::Sender<SessionCommand>,
}

pub(crate) enum SessionCommand {
    /// A call from the answer to a command; gives its handle.
    Merge(Box<CallInfo>, oneshot::Sender<Call>),
    /// A call that was looked up: `None` if the server does not know it.
    Found(CallId, Option<Box<CallInfo>>),
    NewToken,
    NetworkChanged,
}

impl SessionLink {
    /// The present session id.
    pub(crate) fn id(&self) -> String {
        self.id.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Takes in a call from an answer and gives its handle.
    pub(crate) async fn merge(&self, call: Option<v1::Call>) -> Result<Call, CallError> {
        let call = call.ok_or_else(|| CallError::Unreadable("no call".to_owned()))?;
        self.merge_info(CallInfo::try_from(call)).await
    }

    /// The same for a broadcast.
    pub(crate) async fn merge_broadcast(&self, broadcast: Option<v1::Broadcast>) -> Result<Call, CallError> {
        let broadcast = broadcast.ok_or_else(|| CallError::Unreadable("no broadcast".to_owned()))?;
        self.merge_info(CallInfo::try_from(broadcast)).await
    }

    async fn merge_info(&self, info: Result<CallInfo, InvalidCall>) -> Result<Call, CallError> {
        let info = info.map_err(|error| CallError::Unreadable(error.to_string()))?;
        let (reply, call) = oneshot::channel();
        self.tell(SessionCommand::Merge(Box::new(info), reply)).await;
        call.await.map_err(|_| CallError::Closed)
    }

    pub(crate) async fn connect_leg(
        &self,
        call: CallId,
        leg_id: &str,
        sdp_offer: String,
    ) -> Result<v1::ConnectLegResponse, CallError> {
        let request = v1::ConnectLegRequest {
            session_id: self.id(),
            call_id: call.to_string(),
            leg_id: leg_id.to_owned(),
            sdp_offer,
        };
        self.signaller.connect_leg(request).await
    }

    pub(crate) async fn send_direct(
        &self,
        call: CallId,
        attempt: u32,
        step: v1::send_direct_request::Step,
    ) -> Result<(), CallError> {
        let (session_id, call_id) = (self.id(), call.to_string());
        let request = v1::SendDirectRequest { session_id, call_id, attempt, step: Some(step) };
        self.signaller.send_direct(request).await.map(drop)
    }

    async fn tell(&self, command: SessionCommand) {
        // A session task that is gone answers nothing; whoever waits sees that.
        let _ = self.commands.send(command).await;
    }

    fn set_id(&self, id: &str) {
        let mut held = self.id.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        if *held != id {
            id.clone_into(&mut held);
        }
    }
}

impl std::fmt::Debug for SessionLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionLink").finish_non_exhaustive()
    }
}

/// Handles of the calls there are, and of some that are over.
#[derive(Default)]
struct Registry {
    calls: HashMap<CallId, Call>,
    ended: VecDeque<Call>,
}

impl Registry {
    fn get(&self, id: CallId) -> Option<Call> {
        self.calls.get(&id).or_else(|| self.ended.iter().find(|call| call.id() == id)).cloned()
    }

    fn end(&mut self, id: CallId) {
        if let Some(call) = self.calls.remove(&id) {
            self.ended.push_back(call);
            if self.ended.len() > ENDED_MAX {
                self.ended.pop_front();
            }
        }
    }

    fn all(&self) -> Vec<Call> {
        self.calls.values().cloned().collect()
    }
}
