//! One call: a Broadcast with an audience of two named parties.
//!
//! [`MOVES`] is the whole table of legal moves. Everything else here keeps the two seats, their legs and the numbered
//! plan for the router node in step with it.

use duocast_model::{
    AccountId, CallId, CallState, DeviceId, DirectConsent, EndReason, Exposure, Generation, LegId,
    MediaState, NodeId, Party, Route, RoutePlan, SessionId, UnixMillis,
};

use crate::direct::{Direct, DirectPhase, DirectView};
use crate::session::Person;
use crate::switchboard::CommandError;

/// Most legs of one call: the caller's, and one prepared for each of the callee's ringing devices. At the bound the newest
/// device prepares its leg after the answer instead.
const MAX_LEGS_PER_CALL: usize = 8;

/// A state without the reason it may carry: the rows of [`MOVES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Admitted, nobody reached.
    Created,
    /// A device of the callee rings.
    Ringing,
    /// Answered.
    Accepted,
    /// Media on both legs.
    Live,
    /// Over.
    Ended,
}

/// What moves a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// A device of the callee was reached.
    DeviceReached,
    /// A device of the callee answered.
    Answer,
    /// The callee declined.
    Decline,
    /// The caller gave up.
    Cancel,
    /// Policy no longer allows the call: the callee changed a setting, took a grant back or blocked the caller.
    Withdrawn,
    /// The callee is in another call.
    CalleeBusy,
    /// Nobody answered in time.
    RingTimeout,
    /// Both legs are connected.
    MediaUp,
    /// Media did not connect in time after the answer.
    MediaTimeout,
    /// A party hung up.
    HangUp,
    /// A party was away for too long.
    PartyLost,
    /// The node was lost and no other has room.
    NodeLost,
}

/// Every legal move, `(from, trigger, to)`; what is not here is refused. Nothing leaves `Ended`.
pub const MOVES: &[(Phase, Trigger, CallState)] = {
    use CallState as S;
    use EndReason as E;
    use Phase::*;
    use Trigger::*;
    &[
        (Created, DeviceReached, S::Ringing),
        (Created, Cancel, S::Ended(E::Cancelled)),
        (Created, Withdrawn, S::Ended(E::Declined)),
        (Created, CalleeBusy, S::Ended(E::Busy)),
        (Created, RingTimeout, S::Ended(E::TimedOut)),
        (Created, PartyLost, S::Ended(E::PartyLost)),
        (Created, NodeLost, S::Ended(E::NodeLost)),
        (Ringing, Answer, S::Accepted),
        (Ringing, Decline, S::Ended(E::Declined)),
        (Ringing, Withdrawn, S::Ended(E::Declined)),
        (Ringing, Cancel, S::Ended(E::Cancelled)),
        (Ringing, RingTimeout, S::Ended(E::TimedOut)),
        (Ringing, PartyLost, S::Ended(E::PartyLost)),
        (Ringing, NodeLost, S::Ended(E::NodeLost)),
        (Accepted, MediaUp, S::Live),
        (Accepted, HangUp, S::Ended(E::HungUp)),
        (Accepted, MediaTimeout, S::Ended(E::MediaFailed)),
        (Accepted, PartyLost, S::Ended(E::PartyLost)),
        (Accepted, NodeLost, S::Ended(E::NodeLost)),
        (Live, HangUp, S::Ended(E::HungUp)),
        (Live, PartyLost, S::Ended(E::PartyLost)),
        (Live, NodeLost, S::Ended(E::NodeLost)),
    ]
};

/// Where `trigger` leads from `state`; `None` if it is not a legal move.
pub fn next_state(state: CallState, trigger: Trigger) -> Option<CallState> {
    let phase = phase_of(state);
    MOVES.iter().find(|(from, by, _)| *from == phase && *by == trigger).map(|(_, _, to)| *to)
}

/// What a plan is numbered with after `present`. Counting from the clock keeps generations rising over a restart of control
/// without storing each one.
pub(crate) fn next_generation(present: Generation, now: UnixMillis) -> Generation {
    Generation(present.next().0.max(now.0))
}

/// The state without its reason.
pub const fn phase_of(state: CallState) -> Phase {
    match state {
        CallState::Created => Phase::Created,
        CallState::Ringing => Phase::Ringing,
        CallState::Accepted => Phase::Accepted,
        CallState::Live => Phase::Live,
        CallState::Ended(_) => Phase::Ended,
    }
}

/// A leg that the present plan has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// Its id.
    pub id: LegId,
    /// ICE and DTLS are up, as the node last said.
    pub connected: bool,
    /// Its client's way carries no picture at present.
    pub without_pictures: bool,
}

impl Leg {
    /// One that no node spoke of yet.
    pub(crate) fn new(id: LegId) -> Self {
        Self { id, connected: false, without_pictures: false }
    }
}

/// A device of the callee that rings, with the leg it may have prepared.
#[derive(Debug, Clone)]
pub(crate) struct RingingDevice {
    pub(crate) session: SessionId,
    pub(crate) leg: Option<Leg>,
    /// Changes that only this device is told.
    pub(crate) own_changes: u64,
}

impl RingingDevice {
    pub(crate) fn new(session: SessionId) -> Self {
        Self { session, leg: None, own_changes: 0 }
    }
}

/// Bits of a view's revision for changes that only its device is told; the call's own revision stands above them.
const OWN_CHANGES_BITS: u32 = 16;

/// One party's place in the call.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) account: AccountId,
    pub(crate) person: Person,
    /// The device that placed or answered; `None` for the callee until the answer.
    pub(crate) device: Option<DeviceId>,
    /// That device's present session; `None` after it expired or control restarted.
    pub(crate) session: Option<SessionId>,
    pub(crate) leg: Option<Leg>,
    pub(crate) media: MediaState,
    /// Changes, before the answer, that only this device was told.
    pub(crate) own_changes: u64,
    /// Since when an answered call misses this party's media.
    pub(crate) away_since: Option<UnixMillis>,
}

impl Seat {
    pub(crate) fn new(account: AccountId, person: Person, media: MediaState) -> Self {
        Self {
            account,
            person,
            device: None,
            session: None,
            leg: None,
            media,
            own_changes: 0,
            away_since: None,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.leg.as_ref().is_some_and(|leg| leg.connected)
    }
}

/// A call as one device of a party sees it. Holds no account id, no session, nothing of the other party's devices.
#[derive(Debug, Clone, PartialEq)]
pub struct CallView {
    /// Which call.
    pub id: CallId,
    /// Grows with every change.
    pub revision: u64,
    /// Where the call is, for this device (`AnsweredElsewhere` on devices that did not answer).
    pub state: CallState,
    /// Which party the viewer is.
    pub role: Party,
    /// The other party.
    pub peer: Person,
    /// Placed as a video call.
    pub video: bool,
    /// When it was placed.
    pub created_at: UnixMillis,
    /// When it was answered.
    pub accepted_at: Option<UnixMillis>,
    /// When media was first up on both legs.
    pub live_at: Option<UnixMillis>,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// What the viewer sends.
    pub own_media: MediaState,
    /// What the other party sends.
    pub peer_media: MediaState,
    /// The other party's leg is connected.
    pub peer_connected: bool,
    /// This device placed, answered or could answer the call.
    pub on_this_device: bool,
    /// This device has no leg and may (before accept) or must (after it) connect one.
    pub leg_wanted: bool,
    /// The way to this device carries no picture at present. Known to it alone.
    pub without_pictures: bool,
    /// The direct leg; `None` unless the call is live and on this device.
    pub direct: Option<DirectView>,
    /// What the other party learned of the viewer's addresses.
    pub own_exposure: Option<Exposure>,
    /// What the viewer learned of the other party's addresses.
    pub peer_exposure: Option<Exposure>,
}

/// A call as it is kept: enough to show it in the history and, if it was answered, to go on after a restart of control.
#[derive(Debug, Clone)]
pub struct CallRecord {
    /// Which call.
    pub id: CallId,
    /// Grows with every change.
    pub revision: u64,
    /// Where it is.
    pub state: CallState,
    /// Placed as a video call.
    pub video: bool,
    /// Caller and callee, as [`Party`] counts them.
    pub seats: [SeatRecord; 2],
    /// The node that carries it.
    pub node: NodeId,
    /// The start of the node's process that the legs belong to.
    pub boot: String,
    /// When it was placed.
    pub created_at: UnixMillis,
    /// When it was answered.
    pub accepted_at: Option<UnixMillis>,
    /// When media was first up on both legs.
    pub live_at: Option<UnixMillis>,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// What the other party learned of each one's addresses, as [`Party`] counts whose they are.
    pub exposure: [Option<Exposure>; 2],
}

/// One party in a [`CallRecord`].
#[derive(Debug, Clone)]
pub struct SeatRecord {
    /// Who.
    pub account: AccountId,
    /// As shown to the other.
    pub person: Person,
    /// On which device.
    pub device: Option<DeviceId>,
    /// With which leg.
    pub leg: Option<LegId>,
    /// Sending what.
    pub media: MediaState,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) revision: u64,
    pub(crate) state: CallState,
    pub(crate) video: bool,
    pub(crate) seats: [Seat; 2],
    pub(crate) ringing: Vec<RingingDevice>,
    pub(crate) node: NodeId,
    pub(crate) boot: String,
    pub(crate) generation: Generation,
    /// The caller's idempotency key; empty for a call that was restored.
    pub(crate) request: String,
    /// Legs that its node's count has for it.
    pub(crate) legs_counted: u32,
    pub(crate) created_at: UnixMillis,
    pub(crate) accepted_at: Option<UnixMillis>,
    pub(crate) live_at: Option<UnixMillis>,
    pub(crate) ended_at: Option<UnixMillis>,
    pub(crate) direct: Direct,
    /// What the other party learned of each one's addresses, as [`Party`] counts whose they are.
    pub(crate) exposure: [Option<Exposure>; 2],
}

impl Call {
    pub(crate) fn new(
        now: UnixMillis,
        id: CallId,
        seats: [Seat; 2],
        video: bool,
        node: NodeId,
        boot: String,
        request: String,
    ) -> Self {
        Self {
            id,
            revision: 1,
            state: CallState::Created,
            video,
            seats,
            ringing: Vec::new(),
            node,
            boot,
            generation: Generation::default(),
            request,
            legs_counted: 0,
            created_at: now,
            accepted_at: None,
            live_at: None,
            ended_at: None,
            // Private until policy says otherwise.
            direct: Direct::new([DirectConsent::Never; 2]),
            exposure: [None; 2],
        }
    }

    /// A kept call, to go on with after a restart. Its legs count as unconnected until their node says otherwise.
    pub(crate) fn restored(now: UnixMillis, kept: CallRecord) -> Self {
        let answered = !kept.state.is_before_accept();
        let seat = |s: SeatRecord| {
            let mut seat = Seat::new(s.account, s.person, s.media);
            seat.device = s.device;
            seat.leg = s.leg.map(Leg::new);
            seat.away_since = answered.then_some(now);
            seat
        };
        let [caller, callee] = kept.seats;
        let seats = [seat(caller), seat(callee)];
        let mut call =
            Self::new(kept.created_at, kept.id, seats, kept.video, kept.node, kept.boot, String::new());
        call.revision = kept.revision + 1;
        call.state = kept.state;
        call.accepted_at = kept.accepted_at;
        call.live_at = kept.live_at;
        call.ended_at = kept.ended_at;
        call.exposure = kept.exposure;
        call
    }

    pub(crate) fn seat(&self, party: Party) -> &Seat {
        &self.seats[party as usize]
    }

    pub(crate) fn seat_mut(&mut self, party: Party) -> &mut Seat {
        &mut self.seats[party as usize]
    }

    /// Which party this account is; `None` if it is neither, and then the call does not exist for it.
    pub(crate) fn party_of(&self, account: &AccountId) -> Option<Party> {
        Party::BOTH.into_iter().find(|p| self.seat(*p).account == *account)
    }

    /// Makes the move if the table has it. The caller of this function says what changed to the two parties.
    pub(crate) fn advance(&mut self, now: UnixMillis, trigger: Trigger) -> Option<CallState> {
        let next = next_state(self.state, trigger)?;
        self.state = next;
        self.revision += 1;
        match next {
            CallState::Accepted => self.accepted_at = Some(now),
            CallState::Live => self.live_at = Some(now),
            CallState::Ended(_) => {
                self.ended_at = Some(now);
                for seat in &mut self.seats {
                    seat.leg = None;
                    seat.away_since = None;
                }
            }
            CallState::Created | CallState::Ringing => {}
        }
        Some(next)
    }

    /// All legs that the plan has, with whose they are (`None`: a ringing device's).
    pub(crate) fn legs(&self) -> impl Iterator<Item = &Leg> {
        let seated = self.seats.iter().filter_map(|s| s.leg.as_ref());
        seated.chain(self.ringing.iter().filter_map(|d| d.leg.as_ref()))
    }

    /// The same, to change.
    pub(crate) fn leg_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        let seated = self.seats.iter_mut().filter_map(|s| s.leg.as_mut());
        seated.chain(self.ringing.iter_mut().filter_map(|d| d.leg.as_mut())).find(|leg| leg.id == id)
    }

    /// Where this device's leg is: its seat, or its place among the ringing ones.
    pub(crate) fn leg_of(
        &mut self,
        party: Party,
        session: SessionId,
    ) -> Result<&mut Option<Leg>, CommandError> {
        if let Some(at) = self.ringing.iter().position(|d| d.session == session) {
            return Ok(&mut self.ringing[at].leg);
        }
        let seat = self.seat_mut(party);
        match seat.session {
            Some(here) if here == session => Ok(&mut seat.leg),
            _ if party == Party::Callee && seat.device.is_some() => Err(CommandError::AnsweredElsewhere),
            _ => Err(CommandError::NotOnThisDevice),
        }
    }

    /// Notes a change that only one device is told.
    pub(crate) fn count_for(&mut self, party: Party, session: Option<SessionId>) {
        let ringing =
            self.ringing.iter_mut().find(|d| session == Some(d.session)).map(|d| &mut d.own_changes);
        let changes = ringing.unwrap_or(&mut self.seats[party as usize].own_changes);
        *changes = (*changes + 1).min((1 << OWN_CHANGES_BITS) - 1);
    }

    /// Whose leg this is: the party, and the session of its device if it has one now.
    pub(crate) fn owner_of(&self, id: LegId) -> Option<(Party, Option<SessionId>)> {
        let is_it = |leg: &Option<Leg>| leg.as_ref().is_some_and(|l| l.id == id);
        let seated = Party::BOTH.into_iter().find(|p| is_it(&self.seat(*p).leg));
        let ringing = || self.ringing.iter().find(|d| is_it(&d.leg));
        match seated {
            Some(party) => Some((party, self.seat(party).session)),
            None => ringing().map(|d| (Party::Callee, Some(d.session))),
        }
    }

    /// Takes a leg out, wherever it is.
    pub(crate) fn remove_leg(&mut self, id: LegId) {
        let seated = self.seats.iter_mut().map(|s| &mut s.leg);
        for leg in seated.chain(self.ringing.iter_mut().map(|d| &mut d.leg)) {
            if leg.as_ref().is_some_and(|l| l.id == id) {
                *leg = None;
            }
        }
    }

    /// True if a direct leg can be made: media is up through the router, and both devices can be told.
    pub(crate) fn is_ready_for_direct(&self) -> bool {
        self.state == CallState::Live && self.seats.iter().all(|s| s.is_connected() && s.session.is_some())
    }

    /// True if the plan has room for one more leg.
    pub(crate) fn has_room_for_leg(&self) -> bool {
        self.legs().count() < MAX_LEGS_PER_CALL
    }

    /// The next plan. Routes exist only once the call was answered, and only between the two seats: this is the one place
    /// where media is let through.
    pub(crate) fn next_plan(&mut self, now: UnixMillis) -> RoutePlan {
        self.generation = next_generation(self.generation, now);
        if self.state.is_ended() {
            return RoutePlan::teardown(self.id, self.generation);
        }
        let legs: Vec<LegId> = self.legs().map(|leg| leg.id).collect();
        let mut routes = Vec::new();
        if !self.state.is_before_accept()
            && let [Some(a), Some(b)] = [&self.seats[0].leg, &self.seats[1].leg]
        {
            routes = vec![Route { from: a.id, to: b.id }, Route { from: b.id, to: a.id }];
        }
        RoutePlan::new(self.id, self.generation, legs, routes)
            .expect("legs are unique (fresh ids), at most MAX_LEGS_PER_CALL (has_room_for_leg), routes join two of them")
    }

    /// What `party` sees; `session` is the device that looks (`None`: none in particular).
    pub(crate) fn view(&self, party: Party, session: Option<SessionId>) -> CallView {
        let (own, peer) = (self.seat(party), self.seat(party.other()));
        let ringing_here = self.ringing.iter().find(|d| session == Some(d.session));
        let seated_here = session.is_some() && own.session == session;
        let answered_elsewhere =
            session.is_some() && party == Party::Callee && !seated_here && own.device.is_some();
        let state = match self.state {
            CallState::Accepted | CallState::Live if answered_elsewhere => {
                CallState::Ended(EndReason::AnsweredElsewhere)
            }
            state => state,
        };
        let has_leg = match ringing_here {
            Some(device) => device.leg.is_some(),
            None => own.leg.is_some(),
        };
        let own_changes = match ringing_here {
            Some(device) => device.own_changes,
            None if seated_here => own.own_changes,
            None => 0,
        };
        let on_this_device = seated_here || ringing_here.is_some();
        CallView {
            id: self.id,
            revision: (self.revision << OWN_CHANGES_BITS) + own_changes,
            state,
            role: party,
            peer: peer.person.clone(),
            video: self.video,
            created_at: self.created_at,
            accepted_at: self.accepted_at,
            live_at: self.live_at,
            ended_at: self.ended_at,
            own_media: own.media,
            peer_media: peer.media,
            peer_connected: peer.is_connected(),
            on_this_device,
            leg_wanted: on_this_device && !self.state.is_ended() && !has_leg,
            without_pictures: state == CallState::Live
                && seated_here
                && self.direct.view(party).phase != DirectPhase::Active
                && own.leg.as_ref().is_some_and(|leg| leg.without_pictures),
            direct: (state == CallState::Live && seated_here).then(|| self.direct.view(party)),
            own_exposure: self.exposure[party as usize],
            peer_exposure: self.exposure[party.other() as usize],
        }
    }

    /// What is kept.
    pub(crate) fn record(&self) -> CallRecord {
        let seat = |s: &Seat| SeatRecord {
            account: s.account.clone(),
            person: s.person.clone(),
            device: s.device.clone(),
            leg: s.leg.as_ref().map(|leg| leg.id),
            media: s.media,
        };
        CallRecord {
            id: self.id,
            revision: self.revision,
            state: self.state,
            video: self.video,
            seats: [seat(&self.seats[0]), seat(&self.seats[1])],
            node: self.node.clone(),
            boot: self.boot.clone(),
            created_at: self.created_at,
            accepted_at: self.accepted_at,
            live_at: self.live_at,
            ended_at: self.ended_at,
            exposure: self.exposure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_each_move_once_and_nothing_leaves_ended() {
        for (i, (from, by, _)) in MOVES.iter().enumerate() {
            assert!(MOVES[i + 1..].iter().all(|(f, b, _)| (f, b) != (from, by)), "{from:?} {by:?} twice");
            assert_ne!(*from, Phase::Ended);
        }
    }

    #[test]
    fn a_call_is_answered_only_while_it_rings_and_live_only_after_an_answer() {
        for (from, by, to) in MOVES {
            if *to == CallState::Accepted {
                assert_eq!((*from, *by), (Phase::Ringing, Trigger::Answer));
            }
            if *to == CallState::Live {
                assert_eq!((*from, *by), (Phase::Accepted, Trigger::MediaUp));
            }
        }
    }
}
