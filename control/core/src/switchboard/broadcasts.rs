//! Broadcasts start, are viewed, lose and regain legs, and end.

use std::collections::BTreeMap;
use std::time::Duration;

use duocast_model::{AccountId, CallId, Generation, LegId, NodeId, SessionId, UnixMillis};

use super::calls::REQUEST_ID_MAX;
use super::{CommandError, LegOrder, LegReport, Reason, Switchboard};
use crate::broadcast::{Broadcast, BroadcastEnd, BroadcastView, MAX_VIEWERS, Member, ViewingToken};
use crate::budget::BudgetSpent;
use crate::call::Leg;
use crate::placement;
use crate::policy::{BroadcastPass, ViewingPass};
use crate::session::{Event, Person};

/// How often a host is told how many view, at most. Higher shows an older number, lower fills the host's event log when many
/// come at once.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// A broadcast to be started.
pub struct StartBroadcast {
    /// The host's session, which publishes.
    pub session: SessionId,
    /// The client's idempotency key, 1 to 64 bytes: a repeat answers as the first did.
    pub request: String,
    /// Policy's pass.
    pub pass: BroadcastPass,
    /// How the host appears to viewers.
    pub host: Person,
    /// A fresh id.
    pub fresh: CallId,
    /// A fresh token.
    pub token: ViewingToken,
    /// With video.
    pub video: bool,
}

/// Why a broadcast is not started, viewed or commanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BroadcastError {
    /// The session is not the account's, or is gone.
    #[error("this session is not known: subscribe again, then repeat the command")]
    SessionUnknown,
    /// The key is empty or too long.
    #[error("request_id must have 1 to 64 bytes: send a fresh UUID for each attempt")]
    RequestIdInvalid,
    /// The account broadcasts already.
    #[error("you broadcast already: stop that first")]
    AlreadyBroadcasting,
    /// There is none that this device is in.
    #[error("there is no such broadcast: it may be over; ask its host for a new link")]
    Unknown,
    /// Only the host can do this.
    #[error("only its host can stop a broadcast: leave it instead")]
    NotTheHost,
    /// As many view as may.
    #[error("as many people as may view this broadcast already: try again when somebody has left")]
    Full,
    /// No node has room, or the process is full.
    #[error("no router has room for this broadcast right now: try again in a few seconds")]
    NoCapacity,
    /// Too often in a short time.
    #[error("too often in a short time: wait {} s, then try again", .0.retry_after.as_secs() + 1)]
    Budget(BudgetSpent),
}

/// All broadcasts, found by what they are asked for by.
#[derive(Default)]
pub(super) struct Broadcasts {
    pub(super) by_id: BTreeMap<CallId, Broadcast>,
    by_token: BTreeMap<ViewingToken, CallId>,
    by_host: BTreeMap<AccountId, CallId>,
    /// The one broadcast that a session is in.
    by_session: BTreeMap<SessionId, CallId>,
}

impl std::fmt::Debug for Broadcasts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Broadcasts({})", self.by_id.len())
    }
}

impl Switchboard {
    /// Starts a broadcast: nobody views it yet, and its host is to connect a leg. Gives the token for its viewers.
    pub fn handle_start_broadcast(
        &mut self,
        now: UnixMillis,
        ask: StartBroadcast,
    ) -> Result<(BroadcastView, ViewingToken), BroadcastError> {
        let (host, session) = (ask.pass.host().clone(), ask.session);
        if !self.owns(&host, session) {
            return Err(BroadcastError::SessionUnknown);
        }
        if ask.request.is_empty() || ask.request.len() > REQUEST_ID_MAX {
            return Err(BroadcastError::RequestIdInvalid);
        }
        if let Some(present) = self.broadcasts.by_host.get(&host).and_then(|id| self.broadcasts.by_id.get(id))
        {
            let is_repeat = present.request == ask.request && present.host_session == session;
            return match is_repeat {
                true => Ok((present.view(session, None), present.token)),
                false => Err(BroadcastError::AlreadyBroadcasting),
            };
        }
        if self.calls.len() + self.broadcasts.by_id.len() >= self.limits.calls_max {
            return Err(BroadcastError::NoCapacity);
        }
        let node = placement::choose(&self.nodes).ok_or(BroadcastError::NoCapacity)?;
        self.budgets.broadcasts.spend(now, host.clone()).map_err(BroadcastError::Budget)?;
        self.leave_broadcast_of(now, session, BroadcastEnd::Left);
        let (id, token) = (ask.fresh, ask.token);
        let broadcast = Broadcast {
            id,
            revision: 1,
            host_session: session,
            host: Member::new(now, host.clone()),
            person: ask.host,
            token,
            video: ask.video,
            viewers: BTreeMap::new(),
            boot: self.boots.get(&node).cloned().unwrap_or_default(),
            node,
            generation: Generation::default(),
            request: ask.request,
            legs_counted: 0,
            started_at: now,
            is_over: false,
            is_count_due: false,
        };
        let view = broadcast.view(session, None);
        self.broadcasts.by_id.insert(id, broadcast);
        self.broadcasts.by_token.insert(token, id);
        self.broadcasts.by_host.insert(host, id);
        self.broadcasts.by_session.insert(session, id);
        self.set_timer(now.plus(self.limits.away), Reason::BroadcastAway(id, session));
        self.count_legs(id);
        Ok((view, token))
    }

    /// Whose broadcast has this token. Showing one costs, right or wrong, so that nobody can try many.
    pub fn handle_token(
        &mut self,
        now: UnixMillis,
        viewer: &AccountId,
        token: &ViewingToken,
    ) -> Result<Option<(CallId, AccountId)>, BudgetSpent> {
        self.budgets.watches.spend(now, viewer.clone())?;
        let found = self.broadcasts.by_token.get(token).and_then(|id| self.broadcasts.by_id.get(id));
        Ok(found.map(|broadcast| (broadcast.id, broadcast.host.account.clone())))
    }

    /// Lets a device view; it is to connect a leg. It leaves the broadcast that it viewed before.
    pub fn handle_watch(
        &mut self,
        now: UnixMillis,
        pass: &ViewingPass,
        session: SessionId,
    ) -> Result<BroadcastView, BroadcastError> {
        let (viewer, id) = (pass.viewer(), pass.broadcast());
        if !self.owns(viewer, session) {
            return Err(BroadcastError::SessionUnknown);
        }
        let broadcast = self.broadcasts.by_id.get(&id).ok_or(BroadcastError::Unknown)?;
        if broadcast.member(session).is_some() {
            return Ok(broadcast.view(session, None));
        }
        if broadcast.viewers.len() >= MAX_VIEWERS {
            return Err(BroadcastError::Full);
        }
        let node = self.nodes.get(&broadcast.node);
        if node.is_some_and(|node| node.legs_planned >= node.leg_capacity && node.is_linked()) {
            return Err(BroadcastError::NoCapacity);
        }
        self.leave_broadcast_of(now, session, BroadcastEnd::Left);
        let broadcast = self.broadcasts.by_id.get_mut(&id).ok_or(BroadcastError::Unknown)?;
        broadcast.viewers.insert(session, Member::new(now, viewer.clone()));
        broadcast.revision += 1;
        let view = broadcast.view(session, None);
        self.broadcasts.by_session.insert(session, id);
        self.set_timer(now.plus(self.limits.away), Reason::BroadcastAway(id, session));
        Ok(view)
    }

    /// A device views no longer; its host's stops it. A repeat finds nothing and changes nothing.
    pub fn handle_leave_broadcast(
        &mut self,
        now: UnixMillis,
        account: &AccountId,
        session: SessionId,
        id: CallId,
    ) -> Result<(), BroadcastError> {
        let is_host = self.is_host(account, session, id)?;
        let end = if is_host { BroadcastEnd::Stopped } else { BroadcastEnd::Left };
        self.leave_broadcast_of(now, session, end);
        Ok(())
    }

    /// The host ends its broadcast for everybody: the token is worth nothing any more.
    pub fn handle_stop_broadcast(
        &mut self,
        now: UnixMillis,
        account: &AccountId,
        session: SessionId,
        id: CallId,
    ) -> Result<(), BroadcastError> {
        if !self.is_host(account, session, id)? {
            return Err(BroadcastError::NotTheHost);
        }
        self.end_broadcast(now, id, BroadcastEnd::Stopped);
        Ok(())
    }

    /// `host` blocked `viewer`: its devices view no longer, and hear that the broadcast is over.
    pub fn handle_viewer_blocked(&mut self, now: UnixMillis, host: &AccountId, viewer: &AccountId) {
        let hosted = self.broadcasts.by_host.get(host).and_then(|id| self.broadcasts.by_id.get(id));
        let viewers = hosted.into_iter().flat_map(|broadcast| &broadcast.viewers);
        let blocked: Vec<SessionId> =
            viewers.filter(|(_, member)| member.account == *viewer).map(|(session, _)| *session).collect();
        for session in blocked {
            self.leave_broadcast_of(now, session, BroadcastEnd::Stopped);
        }
    }

    fn is_host(&self, account: &AccountId, session: SessionId, id: CallId) -> Result<bool, BroadcastError> {
        if !self.owns(account, session) {
            return Err(BroadcastError::SessionUnknown);
        }
        let broadcast = self.broadcasts.by_id.get(&id).ok_or(BroadcastError::Unknown)?;
        broadcast.member(session).ok_or(BroadcastError::Unknown)?;
        Ok(broadcast.host_session == session)
    }

    /// As for a call: its present leg to a device that names it, else a fresh one.
    pub(super) fn connect_broadcast_leg(
        &mut self,
        now: UnixMillis,
        account: &AccountId,
        session: SessionId,
        id: CallId,
        present: Option<LegId>,
        fresh: LegId,
    ) -> Result<LegOrder, CommandError> {
        if !self.owns(account, session) {
            return Err(CommandError::SessionUnknown);
        }
        let leg_of = |board: &Self| {
            let member = board.broadcasts.by_id.get(&id).and_then(|broadcast| broadcast.member(session));
            member.map(|member| member.leg.as_ref().map(|leg| leg.id)).ok_or(CommandError::CallUnknown)
        };
        let before = leg_of(self)?;
        self.budgets.legs.spend(now, account.clone())?;
        if present.is_some() && present != before {
            return Err(CommandError::LegUnknown);
        }
        self.leave_absent_node(now, id);
        let mine = leg_of(self)?;
        let broadcast = self.broadcasts.by_id.get_mut(&id).ok_or(CommandError::CallUnknown)?;
        let node = broadcast.node.clone();
        match (present, mine) {
            (Some(named), Some(leg)) if named == leg => return Ok(LegOrder { node, leg }),
            (Some(_), _) => return Err(CommandError::LegUnknown),
            (None, _) => {}
        }
        self.set_broadcast_leg(now, id, session, Some(Leg::new(fresh)));
        self.replan(now, id);
        Ok(LegOrder { node, leg: fresh })
    }

    /// A node says how a leg of a broadcast is.
    pub(super) fn broadcast_leg_report(
        &mut self,
        now: UnixMillis,
        node: &NodeId,
        id: CallId,
        leg: LegId,
        report: LegReport,
    ) {
        let Some(broadcast) = self.broadcasts.by_id.get(&id).filter(|b| b.node == *node) else { return };
        let Some(session) = broadcast.owner_of(leg) else { return };
        // Broadcasts do not tell what a viewer's way carries.
        let connected = report.is_connected();
        let left = (report != LegReport::Closed).then_some(Leg { connected, ..Leg::new(leg) });
        if broadcast.member(session).is_some_and(|member| member.leg == left) {
            return;
        }
        self.set_broadcast_leg(now, id, session, left);
        if report == LegReport::Closed {
            self.replan(now, id);
        }
    }

    /// Notes a member's leg. It is told to whom it concerns: a viewer's to the viewer, the host's to all.
    fn set_broadcast_leg(&mut self, now: UnixMillis, id: CallId, session: SessionId, leg: Option<Leg>) {
        let Some(broadcast) = self.broadcasts.by_id.get_mut(&id) else { return };
        let is_host = broadcast.host_session == session;
        let Some(member) = broadcast.member_mut(session) else { return };
        let was_connected = member.is_connected();
        member.set_leg(now, leg);
        let (is_away, has_turned) = (member.away_since.is_some(), member.is_connected() != was_connected);
        broadcast.revision += 1;
        if is_away {
            self.set_timer(now.plus(self.limits.away), Reason::BroadcastAway(id, session));
        }
        match (is_host, has_turned) {
            (true, true) => self.tell_broadcast(now, id),
            (true, false) => self.tell_member(now, id, session, None),
            (false, _) => {
                self.tell_member(now, id, session, None);
                self.count_later(now, id);
            }
        }
    }

    /// Tells the host before long how many view.
    fn count_later(&mut self, now: UnixMillis, id: CallId) {
        let Some(broadcast) = self.broadcasts.by_id.get_mut(&id) else { return };
        if !std::mem::replace(&mut broadcast.is_count_due, true) {
            self.set_timer(now.plus(COUNT_EVERY), Reason::BroadcastCount(id));
        }
    }

    pub(super) fn tell_count(&mut self, now: UnixMillis, id: CallId) {
        let Some(broadcast) = self.broadcasts.by_id.get_mut(&id) else { return };
        broadcast.is_count_due = false;
        let host = broadcast.host_session;
        self.tell_member(now, id, host, None);
    }

    /// A member's time is over, if its media is still missing.
    pub(super) fn broadcast_away(&mut self, now: UnixMillis, id: CallId, session: SessionId) {
        let away = self.limits.away;
        let member = self.broadcasts.by_id.get(&id).and_then(|broadcast| broadcast.member(session));
        if member.and_then(|member| member.away_since).is_some_and(|since| now.since(since) >= away) {
            self.leave_broadcast_of(now, session, BroadcastEnd::Away);
        }
    }

    /// Takes a session out of the broadcast that it is in; without its host a broadcast is over.
    pub(super) fn leave_broadcast_of(&mut self, now: UnixMillis, session: SessionId, why: BroadcastEnd) {
        let Some(id) = self.broadcasts.by_session.get(&session).copied() else { return };
        let Some(broadcast) = self.broadcasts.by_id.get_mut(&id) else { return };
        if broadcast.host_session == session {
            let why = if why == BroadcastEnd::Stopped { why } else { BroadcastEnd::HostLost };
            return self.end_broadcast(now, id, why);
        }
        broadcast.revision += 1;
        self.tell_member(now, id, session, Some(why));
        self.broadcasts.by_session.remove(&session);
        let Some(broadcast) = self.broadcasts.by_id.get_mut(&id) else { return };
        let left = broadcast.viewers.remove(&session);
        if left.is_some_and(|viewer| viewer.leg.is_some()) {
            self.replan(now, id);
            self.count_later(now, id);
        }
    }

    /// A device's new session takes the place of its old one.
    pub(super) fn move_broadcast(&mut self, now: UnixMillis, from: SessionId, to: SessionId) {
        let Some(id) = self.broadcasts.by_session.remove(&from) else { return };
        let Some(broadcast) = self.broadcasts.by_id.get_mut(&id) else { return };
        if broadcast.host_session == from {
            broadcast.host_session = to;
        } else if let Some(viewer) = broadcast.viewers.remove(&from) {
            broadcast.viewers.insert(to, viewer);
        }
        broadcast.revision += 1;
        self.broadcasts.by_session.insert(to, id);
        // Those that are set are for the old session.
        self.set_timer(now.plus(self.limits.away), Reason::BroadcastAway(id, to));
    }

    /// The broadcast that a session is in, as it sees it.
    pub(super) fn broadcast_of(&self, session: SessionId) -> Option<BroadcastView> {
        let id = self.broadcasts.by_session.get(&session)?;
        self.broadcasts.by_id.get(id).map(|broadcast| broadcast.view(session, None))
    }

    /// It is over for everybody, and nothing of it is kept.
    pub(super) fn end_broadcast(&mut self, now: UnixMillis, id: CallId, why: BroadcastEnd) {
        let Some(broadcast) = self.broadcasts.by_id.get_mut(&id) else { return };
        broadcast.is_over = true;
        broadcast.revision += 1;
        let members: Vec<SessionId> = broadcast.members().map(|(session, _)| session).collect();
        for session in members {
            self.tell_member(now, id, session, Some(why));
            self.broadcasts.by_session.remove(&session);
        }
        self.replan(now, id);
        if let Some(over) = self.broadcasts.by_id.remove(&id) {
            self.broadcasts.by_token.remove(&over.token);
            self.broadcasts.by_host.remove(&over.host.account);
        }
    }

    /// All legs are gone with their node; the broadcast goes on with fresh ones on `node`.
    pub(super) fn move_broadcast_to(&mut self, now: UnixMillis, id: CallId, node: NodeId) {
        let boot = self.boots.get(&node).cloned().unwrap_or_default();
        let Some(broadcast) = self.broadcasts.by_id.get_mut(&id) else { return };
        (broadcast.node, broadcast.boot, broadcast.legs_counted) = (node, boot, 0);
        broadcast.revision += 1;
        let sessions: Vec<SessionId> = broadcast.members().map(|(session, _)| session).collect();
        for session in &sessions {
            if let Some(member) = broadcast.member_mut(*session) {
                member.set_leg(now, None);
            }
        }
        for session in sessions {
            self.set_timer(now.plus(self.limits.away), Reason::BroadcastAway(id, session));
        }
        self.count_legs(id);
        self.tell_broadcast(now, id);
    }

    fn tell_broadcast(&mut self, now: UnixMillis, id: CallId) {
        let Some(broadcast) = self.broadcasts.by_id.get(&id) else { return };
        let members: Vec<SessionId> = broadcast.members().map(|(session, _)| session).collect();
        for session in members {
            self.tell_member(now, id, session, None);
        }
    }

    fn tell_member(&mut self, now: UnixMillis, id: CallId, session: SessionId, ended: Option<BroadcastEnd>) {
        let Some(broadcast) = self.broadcasts.by_id.get(&id) else { return };
        let view = broadcast.view(session, ended);
        self.tell(now, session, Event::Broadcast(Box::new(view)));
    }
}
