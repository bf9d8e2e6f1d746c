//! What a device does with its event stream: subscribe, resume, ignore repeats, replace by a snapshot, wait, give up.
//!
//! Pure: [`Session`] takes time, events and stream ends, and gives out [`Effect`]s and one deadline with its reason.
//! Randomness comes in as [`Jitter`], drawn by whoever calls.

mod backoff;
mod broadcast;
mod call;
mod direct;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use duocast_model::{CallId, CallState, EndReason, PrivacySettings};
use duocast_wire::error::Reason as Refusal;
use duocast_wire::v1;

use crate::privacy::CallRequest;

pub use backoff::{BACKOFF_FIRST, BACKOFF_MAX, Jitter, backoff};
pub use broadcast::BroadcastInfo;
pub(crate) use call::millis;
pub use call::{CallInfo, Contact, InvalidCall, Person};
pub(crate) use direct::consent;
pub use direct::{DirectEnd, DirectInfo, DirectPhase, DirectSignal, DirectStep};

/// Longest silence of a stream: two heartbeats of 15 s and some. Higher notices a dead path later, lower breaks streams
/// over a hiccup.
pub const SILENCE_MAX: Duration = Duration::from_secs(35);

/// Longest wait for the first event after Subscribe.
pub const OPENING_MAX: Duration = Duration::from_secs(10);

/// How long a stream must live before the next break counts as the first again: else a server that accepts and breaks at
/// once would be asked several times a second for ever.
pub const STABLE_AFTER: Duration = Duration::from_secs(5);

/// Most calls held at a time; further ones are ignored with a warning. A device of two-party calls has one or two.
pub const CALLS_MAX: usize = 256;

/// Ended calls that are remembered, so that an answer which was overtaken by an event cannot bring a call back.
pub const ENDED_REMEMBERED: usize = 256;

/// Where the conversation with the control plane is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// The first attempt is under way.
    Connecting,
    /// Events flow.
    Online,
    /// The stream broke; attempt number, from 1. Calls go on meanwhile.
    Reconnecting {
        /// Which attempt comes next.
        attempt: u32,
    },
    /// The token was refused: set a new one to go on.
    SignedOut {
        /// The server's reason code, such as `TOKEN_EXPIRED`, if it gave one.
        reason: Option<String>,
    },
    /// The server refuses a session, though it takes the token; it is tried again, ever more rarely.
    Refused {
        /// Stable code, such as `TOO_MANY_SESSIONS`.
        reason: String,
        /// For people: what to do.
        sentence: String,
    },
    /// Another client took this session over; this one stays silent.
    TakenOver,
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEnd {
    /// Network, server restart, deadline: trying again is right.
    Broken,
    /// The token was refused.
    Unauthenticated {
        /// Reason code of the refusal.
        reason: Option<String>,
    },
    /// The server gives no session, and says why: trying again helps only once something else has changed.
    Refused {
        /// Reason code of the refusal.
        reason: String,
        /// What to do.
        sentence: String,
    },
    /// SESSION_TAKEN_OVER.
    TakenOver,
}

impl StreamEnd {
    /// What a failed stream, or a failed attempt to open one, means.
    pub fn of(status: &tonic::Status) -> Self {
        use tonic::Code;
        let reason = duocast_wire::error::reason(status);
        let known = reason.as_deref().and_then(Refusal::from_str_name);
        match (status.code(), known, reason) {
            (Code::Unauthenticated, _, reason) => Self::Unauthenticated { reason },
            (_, Some(Refusal::SessionTakenOver), _) => Self::TakenOver,
            (_, Some(Refusal::SlowConsumer), _) => Self::Broken,
            (
                Code::ResourceExhausted
                | Code::InvalidArgument
                | Code::PermissionDenied
                | Code::FailedPrecondition
                | Code::NotFound,
                _,
                Some(reason),
            ) => Self::Refused { reason, sentence: status.message().to_owned() },
            _ => Self::Broken,
        }
    }
}

/// What the shell must do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Drop the present stream, if any, and send Subscribe.
    OpenStream(v1::SubscribeRequest),
    /// Drop the present stream.
    CloseStream,
    /// Ask GetCall: the call vanished while we were away. Answer with [`Session::handle_call`] or
    /// [`Session::handle_call_gone`].
    LookUp(CallId),
    /// Tell the application.
    Tell(News),
}

/// What the application learns.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// The connection changed.
    Connection(Connection),
    /// A call is new or changed.
    Call(Box<CallInfo>),
    /// A contact came or went.
    Contact(Contact),
    /// The other party's step towards a direct leg of this call.
    Direct(CallId, DirectSignal),
    /// A call request came, or one was answered.
    CallRequest(CallRequest),
    /// The account's settings are these now.
    Settings(PrivacySettings),
}

/// Why [`Session::poll_timeout`] is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Time to try again.
    Backoff,
    /// Subscribe was not answered.
    Opening,
    /// The stream has been silent for too long.
    Watchdog,
    /// The server is about to stop.
    Draining,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Waiting { until: Instant },
    Opening { until: Instant },
    Open { since: Instant, heard: Instant, leave_at: Option<Instant> },
    Stopped,
}

/// One device's conversation. Call a `handle_*`, then [`Session::poll_effect`] until it is empty, then wait until
/// [`Session::poll_timeout`].
#[derive(Debug)]
pub struct Session {
    device_id: String,
    session_id: String,
    last_seq: u64,
    attempts: u32,
    link: Link,
    connection: Connection,
    calls: BTreeMap<CallId, CallInfo>,
    ended: VecDeque<CallId>,
    effects: VecDeque<Effect>,
}

impl Session {
    /// A new session that wants to connect at once.
    pub fn new(now: Instant, device_id: String) -> Self {
        Self {
            device_id,
            session_id: String::new(),
            last_seq: 0,
            attempts: 0,
            link: Link::Waiting { until: now },
            connection: Connection::Connecting,
            calls: BTreeMap::new(),
            ended: VecDeque::new(),
            effects: VecDeque::new(),
        }
    }

    /// The session id to send with commands; empty before the first event.
    pub fn session_id(&self) -> &str {
        &self.session_id
    }

    /// Where the conversation is.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The calls held, ended ones excluded.
    pub fn calls(&self) -> impl Iterator<Item = &CallInfo> {
        self.calls.values()
    }

    /// Takes one event of the present stream.
    pub fn handle_event(&mut self, now: Instant, event: v1::Event, jitter: Jitter) {
        let is_first = matches!(self.link, Link::Opening { .. });
        match &mut self.link {
            Link::Opening { .. } => self.link = Link::Open { since: now, heard: now, leave_at: None },
            Link::Open { heard, .. } => *heard = now,
            Link::Waiting { .. } | Link::Stopped => return,
        }
        match event.kind {
            Some(v1::event::Kind::SessionStarted(started)) if is_first => {
                self.on_started(event.seq, started);
            }
            Some(v1::event::Kind::Draining(draining)) if !is_first => {
                self.on_draining(now, draining.retry_after_ms, jitter);
                self.last_seq = self.last_seq.max(event.seq);
            }
            Some(v1::event::Kind::Heartbeat(_)) if !is_first && event.seq <= self.last_seq => {}
            Some(kind) if !is_first && event.seq <= self.last_seq.saturating_add(1) => {
                if event.seq == self.last_seq + 1 {
                    self.last_seq = event.seq;
                    self.on_kind(kind);
                }
            }
            // A gap, or a stream that does not open with SessionStarted: resuming fetches what is missing.
            _ => self.on_broken(now, jitter),
        }
    }

    /// The present stream, or the attempt to open one, ended.
    pub fn handle_stream_end(&mut self, now: Instant, end: StreamEnd, jitter: Jitter) {
        if self.link == Link::Stopped {
            return;
        }
        match end {
            StreamEnd::Broken => self.on_broken(now, jitter),
            StreamEnd::Refused { reason, sentence } => {
                self.back_off(now, jitter);
                self.tell_connection(Connection::Refused { reason, sentence });
            }
            StreamEnd::Unauthenticated { reason } => self.stop(Connection::SignedOut { reason }),
            StreamEnd::TakenOver => self.stop(Connection::TakenOver),
        }
    }

    /// Takes a call from the answer to a command.
    pub fn handle_call(&mut self, call: CallInfo) {
        let is_known_or_newer = self.calls.get(&call.id).is_none_or(|held| held.revision < call.revision);
        if is_known_or_newer && !self.ended.contains(&call.id) {
            self.put(call);
        }
    }

    /// The server does not know this call any more.
    pub fn handle_call_gone(&mut self, id: CallId) {
        if let Some(mut call) = self.calls.get(&id).cloned() {
            call.state = CallState::Ended(EndReason::PartyLost);
            self.put(call);
        }
    }

    /// A new token was set.
    pub fn handle_new_token(&mut self, now: Instant) {
        if matches!(self.connection, Connection::SignedOut { .. }) {
            self.attempts = 0;
            self.link = Link::Waiting { until: now };
            self.tell_connection(Connection::Reconnecting { attempt: 1 });
        }
    }

    /// The machine changed networks: a pending wait ends now.
    pub fn handle_network_change(&mut self, now: Instant) {
        if let Link::Waiting { until } = &mut self.link {
            *until = now;
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant, jitter: Jitter) {
        match self.link {
            Link::Waiting { until } if until <= now => {
                self.link = Link::Opening { until: now + OPENING_MAX };
                self.effects.push_back(Effect::OpenStream(v1::SubscribeRequest {
                    device_id: self.device_id.clone(),
                    session_id: self.session_id.clone(),
                    last_seq: self.last_seq,
                }));
            }
            Link::Opening { until } if until <= now => self.on_broken(now, jitter),
            Link::Open { leave_at: Some(at), .. } if at <= now => {
                self.attempts = 0;
                self.link = Link::Waiting { until: now };
                self.effects.push_back(Effect::CloseStream);
                self.handle_timeout(now, jitter);
            }
            Link::Open { heard, .. } if heard + SILENCE_MAX <= now => self.on_broken(now, jitter),
            _ => {}
        }
    }

    /// When [`Session::handle_timeout`] is due, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        match self.link {
            Link::Waiting { until } => Some((until, Reason::Backoff)),
            Link::Opening { until } => Some((until, Reason::Opening)),
            Link::Open { heard, leave_at, .. } => {
                let watchdog = (heard + SILENCE_MAX, Reason::Watchdog);
                leave_at.map_or(Some(watchdog), |at| Some(watchdog.min_by_time((at, Reason::Draining))))
            }
            Link::Stopped => None,
        }
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn on_started(&mut self, seq: u64, started: v1::SessionStarted) {
        let resumed = started.resumed && started.session_id == self.session_id;
        self.session_id = started.session_id;
        self.tell_connection(Connection::Online);
        if resumed {
            return;
        }
        self.last_seq = seq;
        let broadcast = started.broadcast.into_iter().filter_map(readable);
        let present: Vec<CallInfo> =
            started.calls.into_iter().filter_map(readable).chain(broadcast).collect();
        let vanished = self.calls.keys().filter(|id| !present.iter().any(|c| c.id == **id));
        self.effects.extend(vanished.copied().map(Effect::LookUp));
        // A snapshot replaces: revisions of another server's memory mean nothing against it.
        for call in present {
            let unchanged = self.calls.get(&call.id) == Some(&call);
            if !unchanged && !self.ended.contains(&call.id) {
                self.put(call);
            }
        }
    }

    fn on_kind(&mut self, kind: v1::event::Kind) {
        match kind {
            v1::event::Kind::CallUpdated(v1::CallUpdated { call: Some(call) }) => {
                if let Some(call) = readable(call) {
                    self.handle_call(call);
                }
            }
            v1::event::Kind::BroadcastUpdated(v1::BroadcastUpdated { broadcast: Some(broadcast) }) => {
                if let Some(call) = readable(broadcast) {
                    self.handle_call(call);
                }
            }
            v1::event::Kind::ContactUpdated(v1::ContactUpdated { contact: Some(contact) }) => {
                if let Ok(contact) = Contact::try_from(contact) {
                    self.effects.push_back(Effect::Tell(News::Contact(contact)));
                }
            }
            v1::event::Kind::DirectSignal(signal) => {
                let id = signal.call_id.parse();
                if let (Ok(id), Ok(signal)) = (id, DirectSignal::try_from(signal)) {
                    self.effects.push_back(Effect::Tell(News::Direct(id, signal)));
                }
            }
            v1::event::Kind::CallRequestUpdated(v1::CallRequestUpdated { request: Some(request) }) => {
                if let Ok(request) = CallRequest::try_from(request) {
                    self.effects.push_back(Effect::Tell(News::CallRequest(request)));
                }
            }
            v1::event::Kind::SettingsUpdated(v1::SettingsUpdated { settings: Some(settings) }) => {
                if let Ok(settings) = crate::privacy::settings(&settings) {
                    self.effects.push_back(Effect::Tell(News::Settings(settings)));
                }
            }
            _ => {}
        }
    }

    /// Leaves between half and one and a half times the advised moment from now, so that a server's clients do not all
    /// come back at once.
    fn on_draining(&mut self, now: Instant, retry_after_ms: u32, jitter: Jitter) {
        let wait = Duration::from_millis(u64::from(retry_after_ms)).mul_f64(0.5 + jitter.unit());
        if let Link::Open { leave_at, .. } = &mut self.link {
            leave_at.get_or_insert(now + wait.min(SILENCE_MAX));
        }
    }

    fn on_broken(&mut self, now: Instant, jitter: Jitter) {
        self.back_off(now, jitter);
        self.tell_connection(Connection::Reconnecting { attempt: self.attempts });
    }

    fn back_off(&mut self, now: Instant, jitter: Jitter) {
        let was_stable = matches!(self.link, Link::Open { since, .. } if now - since >= STABLE_AFTER);
        if was_stable {
            self.attempts = 0;
        }
        self.link = Link::Waiting { until: now + backoff(self.attempts, jitter) };
        self.attempts = self.attempts.saturating_add(1);
        self.effects.push_back(Effect::CloseStream);
    }

    fn stop(&mut self, connection: Connection) {
        self.link = Link::Stopped;
        self.effects.push_back(Effect::CloseStream);
        self.tell_connection(connection);
    }

    fn put(&mut self, call: CallInfo) {
        if call.state.is_ended() {
            self.calls.remove(&call.id);
            self.ended.push_back(call.id);
            if self.ended.len() > ENDED_REMEMBERED {
                self.ended.pop_front();
            }
        } else if self.calls.len() >= CALLS_MAX && !self.calls.contains_key(&call.id) {
            tracing::warn!(call = %call.id, "more calls than a device can hold; this one is ignored");
            return;
        } else {
            self.calls.insert(call.id, call.clone());
        }
        self.effects.push_back(Effect::Tell(News::Call(Box::new(call))));
    }

    fn tell_connection(&mut self, connection: Connection) {
        if self.connection != connection {
            self.connection = connection.clone();
            self.effects.push_back(Effect::Tell(News::Connection(connection)));
        }
    }
}

trait MinByTime {
    fn min_by_time(self, other: Self) -> Self;
}

impl MinByTime for (Instant, Reason) {
    fn min_by_time(self, other: Self) -> Self {
        if other.0 < self.0 { other } else { self }
    }
}

fn readable<T>(call: T) -> Option<CallInfo>
where
    CallInfo: TryFrom<T, Error = InvalidCall>,
{
    CallInfo::try_from(call)
        .inspect_err(|error| tracing::warn!(%error, "the server sent a call that cannot be read"))
        .ok()
}

#[cfg(test)]
mod tests;
