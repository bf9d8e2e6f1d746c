//! What a party asks for, and what a node says of its legs.

use duocast_model::{AccountId, CallId, EndReason, LegId, MediaState, NodeId, Party, SessionId, UnixMillis};

use super::{Reason, Switchboard};
use crate::budget::BudgetSpent;
use crate::call::{Call, CallView, Leg, RingingDevice, Seat, Trigger};
use crate::direct::DirectError;
use crate::placement::{self, LEGS_PER_CALL};
use crate::policy::Admission;
use crate::session::Person;

/// Longest idempotency key, in bytes.
pub(crate) const REQUEST_ID_MAX: usize = 64;

/// A call to be placed.
#[derive(Debug)]
pub struct PlaceCall {
    /// The caller's session, which the call is placed from.
    pub session: SessionId,
    /// The client's idempotency key, 1 to 64 bytes: a repeat answers as the first did.
    pub request: String,
    /// Policy's pass.
    pub admission: Admission,
    /// How the caller appears to the callee.
    pub caller: Person,
    /// How the callee appears to the caller.
    pub callee: Person,
    /// A fresh id.
    pub fresh: CallId,
    /// With video.
    pub video: bool,
}

/// Why a call is not placed. A busy callee is no error: that call ends at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The session is not the account's, or is gone.
    #[error("this session is not known: subscribe again, then place the call")]
    SessionUnknown,
    /// The key is empty or too long.
    #[error("request_id must have 1 to 64 bytes: send a fresh UUID for each attempt")]
    RequestIdInvalid,
    /// The caller is in a call already, rung for included.
    #[error("you are in a call already: end or decline it first")]
    AlreadyInCall,
    /// The callee is calling the caller right now.
    #[error("this person is calling you right now: accept their call instead")]
    PeerIsCalling,
    /// No device of the callee can be reached.
    #[error("this person is not online right now: try again later")]
    CalleeOffline,
    /// Too many calls in a short time, of the caller, to the callee, or between the two without an answer.
    #[error("too many calls in a short time: wait {} s, then try again", .0.retry_after.as_secs() + 1)]
    RingBudget(BudgetSpent),
    /// No node has room, or the process is full.
    #[error("no router has room for this call right now: try again in a few seconds")]
    NoCapacity,
}

/// Why a command on a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The session is not the account's, or is gone.
    #[error("this session is not known: subscribe again, then repeat the command")]
    SessionUnknown,
    /// There is no such call for this account.
    #[error("there is no such call: it may be long over, or never was yours")]
    CallUnknown,
    /// The call is over.
    #[error("this call has ended: place a new one")]
    CallEnded(EndReason),
    /// Only the callee can do this.
    #[error("only the person who is being called can do this")]
    NotTheCallee,
    /// Another device of the account answered.
    #[error("this call was answered on another of your devices")]
    AnsweredElsewhere,
    /// No device rings yet.
    #[error("this call does not ring on this device: wait for it to ring")]
    NotRinging,
    /// It was answered already.
    #[error("this call was answered already: hang up to end it")]
    AlreadyAnswered,
    /// The call is not on this device.
    #[error("this call is on another of your devices: use that one")]
    NotOnThisDevice,
    /// The named leg is not this device's present one.
    #[error("this leg is gone: connect a new one, without a leg_id")]
    LegUnknown,
    /// As many devices as may have prepared a leg.
    #[error("too many of your devices have prepared this call: accept it first, then connect")]
    TooManyLegs,
    /// Too often in a short time.
    #[error("too often in a short time: wait {} s, then try again", .0.retry_after.as_secs() + 1)]
    Budget(BudgetSpent),
    /// Not with a direct leg.
    #[error(transparent)]
    Direct(#[from] DirectError),
}

impl From<BudgetSpent> for CommandError {
    fn from(spent: BudgetSpent) -> Self {
        Self::Budget(spent)
    }
}

/// An offer for this leg goes to this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegOrder {
    /// Which node.
    pub node: NodeId,
    /// Which leg of the call.
    pub leg: LegId,
}

/// What a node says of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegReport {
    /// ICE and DTLS are up.
    Connected,
    /// The same, and its client's way carries no picture at present.
    WithoutPictures,
    /// Nothing comes from the client at present.
    Stalled,
    /// The leg is gone.
    Closed,
}

impl LegReport {
    /// Media can flow.
    pub(super) fn is_connected(self) -> bool {
        matches!(self, Self::Connected | Self::WithoutPictures)
    }
}

impl Switchboard {
    /// Places a call: it rings on every device of the callee, or ends busy at once.
    pub fn handle_place(&mut self, now: UnixMillis, ask: PlaceCall) -> Result<CallView, PlaceError> {
        let caller = ask.admission.caller().clone();
        let callee = ask.admission.callee().clone();
        if !self.owns(&caller, ask.session) {
            return Err(PlaceError::SessionUnknown);
        }
        if ask.request.is_empty() || ask.request.len() > REQUEST_ID_MAX {
            return Err(PlaceError::RequestIdInvalid);
        }
        let key = (caller.clone(), ask.request);
        if let Some(call) = self.requests.get(&key).and_then(|id| self.calls.get(id)) {
            return Ok(call.view(Party::Caller, Some(ask.session)));
        }
        if let Some(call) = self.engaged.get(&caller).and_then(|id| self.calls.get(id)) {
            let theirs = call.seat(Party::Caller).account == callee && call.state.is_before_accept();
            return Err(if theirs { PlaceError::PeerIsCalling } else { PlaceError::AlreadyInCall });
        }
        if !self.is_online(&callee) {
            return Err(PlaceError::CalleeOffline);
        }
        if self.calls.len() >= self.limits.calls_max {
            return Err(PlaceError::NoCapacity);
        }
        let node = placement::choose(&self.nodes).ok_or(PlaceError::NoCapacity)?;
        self.budgets.ring(now, &caller, &callee).map_err(PlaceError::RingBudget)?;

        let mut caller_seat =
            Seat::new(caller.clone(), ask.caller, MediaState { audio: true, video: ask.video });
        caller_seat.device = self.sessions.get(&ask.session).map(|s| s.device.clone());
        caller_seat.session = Some(ask.session);
        let callee_seat = Seat::new(callee.clone(), ask.callee, MediaState::default());
        let id = ask.fresh;
        let boot = self.boots.get(&node).cloned().unwrap_or_default();
        let seats = [caller_seat, callee_seat];
        let mut call = Call::new(now, id, seats, ask.video, node, boot, key.1.clone());
        call.direct.set_standing(Party::BOTH.map(|party| ask.admission.standing(party)));
        self.calls.insert(id, call);
        self.requests.insert(key, id);

        if self.engaged.contains_key(&callee) {
            self.advance_and_tell(now, id, Trigger::CalleeBusy);
        } else {
            self.engaged.insert(caller, id);
            self.engaged.insert(callee.clone(), id);
            self.set_timer(now.plus(self.limits.ring), Reason::RingTimeout(id));
            self.count_legs(id);
            self.record(id);
            self.ring(now, id, &callee);
        }
        Ok(self.calls[&id].view(Party::Caller, Some(ask.session)))
    }

    /// Answers on this device. A repeat by the device that answered is fine.
    pub fn handle_accept(
        &mut self,
        now: UnixMillis,
        account: &AccountId,
        session: SessionId,
        id: CallId,
    ) -> Result<CallView, CommandError> {
        let party = self.authorize(account, session, id)?;
        let call = self.calls.get_mut(&id).expect("authorize found it");
        match call.state {
            _ if party == Party::Caller => return Err(CommandError::NotTheCallee),
            duocast_model::CallState::Ended(reason) => return Err(CommandError::CallEnded(reason)),
            state if !state.is_before_accept() => {
                let here = call.seat(Party::Callee).session == Some(session);
                return if here {
                    Ok(call.view(party, Some(session)))
                } else {
                    Err(CommandError::AnsweredElsewhere)
                };
            }
            _ => {}
        }
        let rings = crate::call::next_state(call.state, Trigger::Answer).is_some();
        let Some(at) = call.ringing.iter().position(|d| rings && d.session == session) else {
            return Err(CommandError::NotRinging);
        };
        let answering = call.ringing.remove(at);
        let video = call.video;
        let seat = call.seat_mut(Party::Callee);
        seat.session = Some(session);
        seat.device = self.sessions.get(&session).map(|s| s.device.clone());
        seat.leg = answering.leg;
        seat.media = MediaState { audio: true, video };
        self.advance_and_tell(now, id, Trigger::Answer);
        if let Some(call) = self.calls.get_mut(&id) {
            call.ringing.clear();
            let pair = (call.seat(Party::Caller).account.clone(), account.clone());
            self.budgets.rings_of_pair.refund(now, &pair);
        }
        self.replan(now, id);
        self.set_timer(now.plus(self.limits.connect), Reason::ConnectTimeout(id));
        self.go_live_if_connected(now, id);
        Ok(self.calls[&id].view(party, Some(session)))
    }

    /// Declines for all of the callee's devices. A repeat on a call that ended so is fine.
    pub fn handle_decline(
        &mut self,
        now: UnixMillis,
        account: &AccountId,
        session: SessionId,
        id: CallId,
    ) -> Result<CallView, CommandError> {
        let party = self.authorize(account, session, id)?;
        let call = &self.calls[&id];
        match call.state {
            _ if party == Party::Caller => return Err(CommandError::NotTheCallee),
            duocast_model::CallState::Ended(EndReason::Declined) => {
                return Ok(call.view(party, Some(session)));
            }
            duocast_model::CallState::Ended(reason) => return Err(CommandError::CallEnded(reason)),
            state if !state.is_before_accept() => return Err(CommandError::AlreadyAnswered),
            _ => {}
        }
        if crate::call::next_state(call.state, Trigger::Decline).is_none() {
            return Err(CommandError::NotRinging);
        }
        self.advance_and_tell(now, id, Trigger::Decline);
        Ok(self.calls[&id].view(party, Some(session)))
    }

    /// Ends the call in the way that fits its state: cancel, decline or hang up. An ended call answers as it is.
    pub fn handle_hang_up(
        &mut self,
        now: UnixMillis,
        account: &AccountId,
        session: SessionId,
        id: CallId,
    ) -> Result<CallView, CommandError> {
        let party = self.authorize(account, session, id)?;
        let call = &self.calls[&id];
        // Another device must not end what this one just answered: its "decline" may cross the answer. Where the seat's
        // device is gone, any of the account's may hang up.
        let elsewhere = call.seat(party).session.is_some_and(|seated| seated != session);
        if elsewhere && !call.state.is_ended() {
            return match party {
                Party::Callee => Err(CommandError::AnsweredElsewhere),
                Party::Caller => Err(CommandError::NotOnThisDevice),
            };
        }
        match (call.state.is_before_accept(), party) {
            (true, Party::Callee) => return self.handle_decline(now, account, session, id),
            (true, Party::Caller) => self.advance_and_tell(now, id, Trigger::Cancel),
            (false, _) => self.advance_and_tell(now, id, Trigger::HangUp),
        }
        Ok(self.calls[&id].view(party, Some(session)))
    }

    /// Says what this party sends.
    pub fn handle_media(
        &mut self,
        now: UnixMillis,
        account: &AccountId,
        session: SessionId,
        id: CallId,
        media: MediaState,
    ) -> Result<CallView, CommandError> {
        let party = self.authorize(account, session, id)?;
        let call = self.calls.get_mut(&id).expect("authorize found it");
        if let duocast_model::CallState::Ended(reason) = call.state {
            return Err(CommandError::CallEnded(reason));
        }
        if call.seat(party).session != Some(session) {
            return Err(CommandError::NotOnThisDevice);
        }
        if call.seat(party).media != media {
            call.seat_mut(party).media = media;
            call.revision += 1;
            self.record(id);
            self.tell_call(now, id);
        }
        Ok(self.calls[&id].view(party, Some(session)))
    }

    /// Gives this device a leg: its present one if it names it (an ICE restart), else a fresh one in place of it.
    ///
    /// Who asks has no media now. If the call's node is away as well, nobody waits for it: the call moves to another one, if
    /// there is one with room.
    pub fn handle_connect_leg(
        &mut self,
        now: UnixMillis,
        account: &AccountId,
        session: SessionId,
        id: CallId,
        present: Option<LegId>,
        fresh: LegId,
    ) -> Result<LegOrder, CommandError> {
        if self.broadcasts.by_id.contains_key(&id) {
            return self.connect_broadcast_leg(now, account, session, id, present, fresh);
        }
        let party = self.authorize(account, session, id)?;
        if let duocast_model::CallState::Ended(reason) = self.calls[&id].state {
            return Err(CommandError::CallEnded(reason));
        }
        self.budgets.legs.spend(now, account.clone())?;
        // Moving costs both parties their legs: only a device of the call may ask for it, by no other leg than its own.
        let before = self.leg_here(id, party, session)?;
        if present.is_some() && present != before {
            return Err(CommandError::LegUnknown);
        }
        self.leave_absent_node(now, id);
        let mine = self.leg_here(id, party, session)?;
        let call = self.calls.get_mut(&id).ok_or(CommandError::CallUnknown)?;
        let node = call.node.clone();
        match (present, mine) {
            (Some(named), Some(leg)) if named == leg => return Ok(LegOrder { node, leg }),
            (Some(_), _) => return Err(CommandError::LegUnknown),
            (None, None) if !call.has_room_for_leg() => return Err(CommandError::TooManyLegs),
            (None, _) => {}
        }
        *call.leg_of(party, session)? = Some(Leg::new(fresh));
        self.leg_changed(now, id, party, Some(session));
        self.replan(now, id);
        Ok(LegOrder { node, leg: fresh })
    }

    /// The leg of this device in the call, if it has one. Errors: the call is not on this device.
    fn leg_here(
        &mut self,
        id: CallId,
        party: Party,
        session: SessionId,
    ) -> Result<Option<LegId>, CommandError> {
        let call = self.calls.get_mut(&id).ok_or(CommandError::CallUnknown)?;
        Ok(call.leg_of(party, session)?.as_ref().map(|leg| leg.id))
    }

    /// A node says how a leg is. Reports of legs that the plan no longer has, or from a node that does not carry the call,
    /// change nothing.
    pub fn handle_leg_report(
        &mut self,
        now: UnixMillis,
        node: &NodeId,
        id: CallId,
        leg: LegId,
        report: LegReport,
    ) {
        if self.broadcasts.by_id.contains_key(&id) {
            return self.broadcast_leg_report(now, node, id, leg, report);
        }
        let Some(call) = self.calls.get_mut(&id).filter(|c| c.node == *node) else { return };
        let Some((party, session)) = call.owner_of(leg) else { return };
        let Some(found) = call.leg_mut(leg) else { return };
        let (connected, without_pictures) = (report.is_connected(), report == LegReport::WithoutPictures);
        let changed = found.connected != connected;
        let has_own_news = found.without_pictures != without_pictures;
        (found.connected, found.without_pictures) = (connected, without_pictures);
        if report == LegReport::Closed {
            call.remove_leg(leg);
            self.replan(now, id);
        }
        if changed || report == LegReport::Closed {
            self.leg_changed(now, id, party, session);
        } else if has_own_news {
            self.tell_own(now, id, party, session);
        }
        self.go_live_if_connected(now, id);
    }

    /// The call as this account sees it, without a device; `None` if it is not in memory or not this account's.
    pub fn call(&self, account: &AccountId, id: CallId) -> Option<CallView> {
        let call = self.calls.get(&id)?;
        Some(call.view(call.party_of(account)?, None))
    }

    /// The party that this account is in the call; the call does not exist for anybody else.
    pub(super) fn authorize(
        &self,
        account: &AccountId,
        session: SessionId,
        id: CallId,
    ) -> Result<Party, CommandError> {
        if !self.owns(account, session) {
            return Err(CommandError::SessionUnknown);
        }
        self.calls.get(&id).and_then(|c| c.party_of(account)).ok_or(CommandError::CallUnknown)
    }

    fn ring(&mut self, now: UnixMillis, id: CallId, callee: &AccountId) {
        let devices = self.sessions_of.get(callee).cloned().unwrap_or_default();
        let reached = devices.iter().any(|s| self.sessions[s].stream.is_some());
        if let Some(call) = self.calls.get_mut(&id) {
            call.ringing = devices.iter().map(|s| RingingDevice::new(*s)).collect();
        }
        if reached {
            self.advance_and_tell(now, id, Trigger::DeviceReached);
        } else {
            self.tell_call(now, id);
        }
    }

    /// A leg changed. While it rings that is its device's business alone; once answered the other party sees it, and the call
    /// waits only so long.
    fn leg_changed(&mut self, now: UnixMillis, id: CallId, party: Party, session: Option<SessionId>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.state.is_ended() {
            return;
        }
        if call.state.is_before_accept() {
            // A shared number would tell the caller how many devices the callee has.
            return self.tell_own(now, id, party, session);
        }
        call.revision += 1;
        let seat = call.seat_mut(party);
        seat.away_since = if seat.is_connected() { None } else { seat.away_since.or(Some(now)) };
        if seat.away_since.is_some() {
            self.set_timer(now.plus(self.limits.away), Reason::AwayTimeout(id, party));
        }
        self.record(id);
        self.tell_call(now, id);
    }

    /// Tells a device what concerns it alone, and counts it for that device alone.
    fn tell_own(&mut self, now: UnixMillis, id: CallId, party: Party, session: Option<SessionId>) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.state.is_ended()) else { return };
        call.count_for(party, session);
        let view = session.map(|s| (s, call.view(party, session)));
        if let Some((session, view)) = view {
            self.tell(now, session, crate::session::Event::Call(Box::new(view)));
        }
    }

    fn go_live_if_connected(&mut self, now: UnixMillis, id: CallId) {
        let both = |c: &Call| c.seats.iter().all(Seat::is_connected);
        if self.calls.get(&id).is_some_and(both) {
            self.advance_and_tell(now, id, Trigger::MediaUp);
            // A live call whose leg came back may have waited with a direct one.
            self.settle_direct(now, id, false);
        }
    }

    /// Keeps the node's count in step. A call or broadcast counts as its legs, and as two while it has fewer: they are about to
    /// come.
    pub(super) fn count_legs(&mut self, id: CallId) {
        let (is_over, legs, counted, node) = if let Some(call) = self.calls.get_mut(&id) {
            (call.state.is_ended(), call.legs().count(), &mut call.legs_counted, &call.node)
        } else if let Some(broadcast) = self.broadcasts.by_id.get_mut(&id) {
            (broadcast.is_over, broadcast.legs().count(), &mut broadcast.legs_counted, &broadcast.node)
        } else {
            return;
        };
        let legs = if is_over { 0 } else { (legs as u32).max(LEGS_PER_CALL) };
        let before = std::mem::replace(counted, legs);
        if let Some(node) = self.nodes.get_mut(node) {
            node.legs_planned = node.legs_planned.saturating_sub(before) + legs;
        }
    }
}
