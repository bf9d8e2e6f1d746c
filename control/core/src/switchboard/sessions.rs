//! Devices come, break off, come back and go.

use duocast_model::{AccountId, CallId, DeviceId, Party, SessionId, UnixMillis};

use super::{Effect, Reason, StreamEnd, Switchboard};
use crate::broadcast::{BroadcastEnd, BroadcastView};
use crate::call::{CallView, RingingDevice, Trigger};
use crate::session::{Event, Person, Sequenced, Session, StreamId};

/// A device opens its stream.
#[derive(Debug)]
pub struct Subscribe {
    /// Whose device, from the token.
    pub account: AccountId,
    /// Which device.
    pub device: DeviceId,
    /// The session to go on with and the last event processed; `None` for a new one.
    pub resume: Option<(SessionId, u64)>,
    /// A fresh id, used if a new session is made.
    pub fresh: SessionId,
}

/// What the new stream starts with.
#[derive(Debug)]
pub struct Subscribed {
    /// The session.
    pub session: SessionId,
    /// This stream of it.
    pub stream: StreamId,
    /// True: `missed` follows what the client has. False: `calls` is all there is.
    pub resumed: bool,
    /// The calls that this device follows.
    pub calls: Vec<CallView>,
    /// The broadcast that it is in.
    pub broadcast: Option<BroadcastView>,
    /// Events after the client's last one.
    pub missed: Vec<Sequenced>,
    /// The number that counting goes on from: the client's `last_seq`, or 0.
    pub seq: u64,
}

/// Why a stream is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// All of the account's sessions are in use.
    #[error("this account is signed in on too many devices: sign out on one of them")]
    TooManySessions,
    /// The process is full.
    #[error("this server is full: try again in a minute")]
    Full,
}

impl Switchboard {
    /// A device opens (or reopens) its stream.
    pub fn handle_subscribe(
        &mut self,
        now: UnixMillis,
        ask: Subscribe,
    ) -> Result<Subscribed, SubscribeError> {
        match self.resume(now, &ask) {
            Some(resumed) => Ok(resumed),
            None => self.open(now, ask),
        }
    }

    /// The device's stream broke or was cancelled. A stale stream changes nothing.
    pub fn handle_stream_closed(&mut self, now: UnixMillis, id: SessionId, stream: StreamId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.stream == Some(stream) {
            session.stream = None;
            session.broken_at = Some(now);
            self.set_timer(now.plus(self.limits.resume), Reason::ResumeTimeout(id));
        }
    }

    /// Tells all devices of `watcher` that a contact came or went.
    pub fn handle_contact(&mut self, now: UnixMillis, watcher: &AccountId, person: &Person, online: bool) {
        for session in self.sessions_of.get(watcher).cloned().unwrap_or_default() {
            self.tell(now, session, Event::Contact { person: person.clone(), online });
        }
    }

    /// True if a device of this account can be reached, or may be again in a moment.
    pub fn is_online(&self, account: &AccountId) -> bool {
        self.sessions_of.contains_key(account)
    }

    /// True if the session is this account's.
    pub(super) fn owns(&self, account: &AccountId, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|s| s.account == *account)
    }

    fn next_stream(&mut self) -> StreamId {
        self.next_stream += 1;
        StreamId(self.next_stream)
    }

    fn resume(&mut self, now: UnixMillis, ask: &Subscribe) -> Option<Subscribed> {
        let (id, last_seq) = ask.resume?;
        let session = self.sessions.get(&id)?;
        if session.account != ask.account || session.device != ask.device {
            return None;
        }
        let missed = session.since(last_seq)?;
        let stream = self.next_stream();
        let session = self.sessions.get_mut(&id)?;
        session.broken_at = None;
        if let Some(old) = session.stream.replace(stream) {
            self.effects.push_back(Effect::CloseStream {
                session: id,
                stream: old,
                why: StreamEnd::TakenOver,
            });
        }
        let calls = self.followed_by(&ask.account, id);
        if let Some(call) = self.engaged.get(&ask.account).copied() {
            self.reach(now, call, id);
        }
        let broadcast = self.broadcast_of(id);
        Some(Subscribed { session: id, stream, resumed: true, calls, broadcast, missed, seq: last_seq })
    }

    fn open(&mut self, now: UnixMillis, ask: Subscribe) -> Result<Subscribed, SubscribeError> {
        let mine = self.sessions_of.get(&ask.account).cloned().unwrap_or_default();
        let same_device = mine.iter().copied().find(|id| self.sessions[id].device == ask.device);
        if same_device.is_none() {
            if mine.len() >= self.limits.sessions_per_account_max {
                let broken = mine.iter().copied().filter(|id| self.sessions[id].broken_at.is_some());
                let oldest = broken.min_by_key(|id| self.sessions[id].broken_at);
                let victim = oldest.ok_or(SubscribeError::TooManySessions)?;
                self.drop_session(now, victim, StreamEnd::Evicted);
            }
            if self.sessions.len() >= self.limits.sessions_max {
                return Err(SubscribeError::Full);
            }
        }

        let stream = self.next_stream();
        let id = ask.fresh;
        let was_online = self.is_online(&ask.account);
        self.sessions.insert(id, Session::new(ask.account.clone(), ask.device.clone(), stream));
        self.sessions_of.entry(ask.account.clone()).or_default().push(id);
        if let Some(old) = same_device {
            self.move_broadcast(now, old, id);
            self.drop_session(now, old, StreamEnd::TakenOver);
        }
        if !was_online {
            self.effects.push_back(Effect::Presence { account: ask.account.clone(), online: true });
        }
        if let Some(call) = self.engaged.get(&ask.account).copied() {
            self.join(now, call, id, &ask);
        }
        let calls = self.followed_by(&ask.account, id);
        let broadcast = self.broadcast_of(id);
        // What `join` told this session is in the snapshot already; the stream starts after it.
        let seq = self.sessions[&id].last_seq();
        self.effects.retain(|e| !matches!(e, Effect::Deliver { stream: s, .. } if *s == stream));
        Ok(Subscribed { session: id, stream, resumed: false, calls, broadcast, missed: Vec::new(), seq })
    }

    /// A new session takes its place in the account's present call: the seat of its device, or a ringing one.
    fn join(&mut self, now: UnixMillis, id: CallId, session: SessionId, ask: &Subscribe) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(party) = call.party_of(&ask.account) else { return };
        let before_accept = call.state.is_before_accept();
        let seat = call.seat_mut(party);
        if seat.device.as_ref() == Some(&ask.device) {
            seat.session = Some(session);
            self.direct_device_gone(now, id);
            self.settle_direct(now, id, false);
        } else if party == Party::Callee && before_accept {
            call.ringing.push(RingingDevice::new(session));
            self.reach(now, id, session);
        }
    }

    /// A device that should ring has an open stream: the call rings, if it does not yet.
    fn reach(&mut self, now: UnixMillis, id: CallId, session: SessionId) {
        let rings = |c: &crate::call::Call| c.ringing.iter().any(|d| d.session == session);
        if self.calls.get(&id).is_some_and(rings) {
            self.advance_and_tell(now, id, Trigger::DeviceReached);
        }
    }

    fn followed_by(&self, account: &AccountId, session: SessionId) -> Vec<CallView> {
        let call = self.engaged.get(account).and_then(|id| self.calls.get(id));
        let view = call.and_then(|c| Some(c.view(c.party_of(account)?, Some(session))));
        view.into_iter().filter(|v| v.on_this_device).collect()
    }

    pub(super) fn expire_session(&mut self, now: UnixMillis, id: SessionId) {
        let expired = |broken: UnixMillis| now.since(broken) >= self.limits.resume;
        if self.sessions.get(&id).and_then(|s| s.broken_at).is_some_and(expired) {
            self.drop_session(now, id, StreamEnd::Evicted);
        }
    }

    /// Takes a session out of everything. A caller whose call still rings gives it up; an answered call goes on, its media
    /// does not need the session.
    fn drop_session(&mut self, now: UnixMillis, id: SessionId, why: StreamEnd) {
        self.leave_broadcast_of(now, id, BroadcastEnd::Away);
        let Some(session) = self.sessions.remove(&id) else { return };
        let account = session.account;
        if let Some(stream) = session.stream {
            self.effects.push_back(Effect::CloseStream { session: id, stream, why });
        }
        if let Some(mine) = self.sessions_of.get_mut(&account) {
            mine.retain(|s| *s != id);
            if mine.is_empty() {
                self.sessions_of.remove(&account);
                self.effects.push_back(Effect::Presence { account: account.clone(), online: false });
            }
        }
        let Some(call_id) = self.engaged.get(&account).copied() else { return };
        let Some(call) = self.calls.get_mut(&call_id) else { return };
        let had_leg = call.ringing.iter().any(|d| d.session == id && d.leg.is_some());
        call.ringing.retain(|d| d.session != id);
        let mut caller_left = false;
        for party in Party::BOTH {
            let seat = call.seat_mut(party);
            if seat.session == Some(id) {
                seat.session = None;
                caller_left |= party == Party::Caller && why != StreamEnd::TakenOver;
            }
        }
        if had_leg {
            self.replan(now, call_id);
        }
        if caller_left && self.calls[&call_id].state.is_before_accept() {
            self.advance_and_tell(now, call_id, Trigger::PartyLost);
        }
    }
}
