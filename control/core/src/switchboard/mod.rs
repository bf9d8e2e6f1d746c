//! All sessions, calls and nodes of one control process, as one state machine.
//!
//! Contract: one owner calls `handle_*` with the present time, then takes every [`Effect`] from
//! [`Switchboard::poll_effect`] (in order: records before the messages that speak of them), then sleeps until
//! [`Switchboard::poll_timeout`] and calls [`Switchboard::handle_timeout`]. `now` never goes back.

mod broadcasts;
mod calls;
mod direct;
mod nodes;
mod sessions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use duocast_model::{AccountId, CallId, CallState, NodeId, Party, RoutePlan, SessionId, UnixMillis};

use crate::budget::{Budget, BudgetSpent, Rate};
use crate::call::{Call, CallRecord, CallView, Phase, Trigger, phase_of};
use crate::placement::NodeView;
use crate::session::{Event, Sequenced, Session, StreamId};

use broadcasts::Broadcasts;
pub use broadcasts::{BroadcastError, StartBroadcast};
pub use calls::{CommandError, LegOrder, LegReport, PlaceCall, PlaceError};
pub use direct::Recheck;
pub use nodes::NodeUp;
pub use sessions::{Subscribe, SubscribeError, Subscribed};

/// Every bound and time of the switchboard.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a call rings. Longer keeps callers waiting, shorter misses people who walk to their phone.
    pub ring: Duration,
    /// How long a session outlives its stream.
    pub resume: Duration,
    /// How long an answered call waits for a party whose media is gone.
    pub away: Duration,
    /// How long after the answer media may take to connect.
    pub connect: Duration,
    /// How long a node's link may be down before its calls are moved; media goes on meanwhile.
    pub node_grace: Duration,
    /// How long an ended call still answers commands.
    pub retention: Duration,
    /// Sessions in all; one more is refused.
    pub sessions_max: usize,
    /// Sessions of one account; one more drops the longest broken one, or is refused if all are open.
    pub sessions_per_account_max: usize,
    /// Calls in memory, ended ones within `retention` included; one more is refused.
    pub calls_max: usize,
    /// How often what may be done.
    pub rates: Rates,
}

/// How often an account may do what costs others something. What goes beyond is refused before a device wakes.
#[derive(Debug, Clone)]
pub struct Rates {
    /// Calls placed by one account. Lower stops a robot sooner, higher suits a switchboard operator.
    pub rings_by_caller: Rate,
    /// Calls that reach one account, from whomever. Lower protects somebody whom a crowd calls, and lets the crowd keep friends out.
    pub rings_to_callee: Rate,
    /// Calls from one account to another that were not answered. Lower stops a pest sooner, higher lets through who tries again.
    pub rings_of_pair: Rate,
    /// Call requests sent by one account.
    pub requests: Rate,
    /// Legs connected or restarted by one account: each costs the node a handshake.
    pub legs: Rate,
    /// Broadcasts started by one account.
    pub broadcasts: Rate,
    /// Viewing tokens shown by one account, right or wrong.
    pub watches: Rate,
    /// Times that one account says yes to a direct leg: each may cost the other one an attempt.
    pub direct: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            rings_by_caller: Rate::new(20, Duration::from_secs(6)),
            rings_to_callee: Rate::new(30, Duration::from_secs(4)),
            rings_of_pair: Rate::new(5, Duration::from_secs(60)),
            requests: Rate::new(20, Duration::from_secs(3600)),
            legs: Rate::new(20, Duration::from_secs(1)),
            broadcasts: Rate::new(5, Duration::from_secs(60)),
            watches: Rate::new(20, Duration::from_secs(2)),
            direct: Rate::new(10, Duration::from_secs(2)),
        }
    }
}

/// The present budgets of all accounts.
#[derive(Debug)]
struct Budgets {
    rings_by_caller: Budget<AccountId>,
    rings_to_callee: Budget<AccountId>,
    rings_of_pair: Budget<(AccountId, AccountId)>,
    requests: Budget<AccountId>,
    legs: Budget<AccountId>,
    broadcasts: Budget<AccountId>,
    watches: Budget<AccountId>,
    direct: Budget<AccountId>,
}

impl Budgets {
    /// At most as many keys each as there may be sessions: those who are signed in, and a few who were.
    fn new(limits: &Limits) -> Self {
        let (rates, keys) = (&limits.rates, limits.sessions_max);
        Self {
            rings_by_caller: Budget::new(rates.rings_by_caller, keys),
            rings_to_callee: Budget::new(rates.rings_to_callee, keys),
            rings_of_pair: Budget::new(rates.rings_of_pair, keys),
            requests: Budget::new(rates.requests, keys),
            legs: Budget::new(rates.legs, keys),
            broadcasts: Budget::new(rates.broadcasts, keys),
            watches: Budget::new(rates.watches, keys),
            direct: Budget::new(rates.direct, keys),
        }
    }

    /// Takes one ring from all three, or from none.
    fn ring(&mut self, now: UnixMillis, caller: &AccountId, callee: &AccountId) -> Result<(), BudgetSpent> {
        let pair = (caller.clone(), callee.clone());
        self.rings_of_pair.check(now, &pair)?;
        self.rings_to_callee.check(now, callee)?;
        self.rings_by_caller.spend(now, caller.clone())?;
        self.rings_to_callee.spend(now, callee.clone())?;
        self.rings_of_pair.spend(now, pair)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ring: Duration::from_secs(45),
            resume: Duration::from_secs(30),
            away: Duration::from_secs(30),
            connect: Duration::from_secs(30),
            node_grace: Duration::from_secs(15),
            retention: Duration::from_secs(60),
            sessions_max: 100_000,
            sessions_per_account_max: 8,
            calls_max: 100_000,
            rates: Rates::default(),
        }
    }
}

/// What the shell must do.
#[derive(Debug)]
pub enum Effect {
    /// Keep this, before anything that comes after it is sent.
    Record(Box<CallRecord>),
    /// Send this on the session's open stream.
    Deliver {
        /// Whose.
        session: SessionId,
        /// Which of its streams; a stale one is skipped.
        stream: StreamId,
        /// What.
        event: Sequenced,
    },
    /// End this stream.
    CloseStream {
        /// Whose.
        session: SessionId,
        /// Which.
        stream: StreamId,
        /// Why.
        why: StreamEnd,
    },
    /// Send this to the node, if its link is up (if not, [`Switchboard::handle_node_up`] gives it again).
    SendPlan {
        /// To which node.
        node: NodeId,
        /// What.
        plan: RoutePlan,
    },
    /// An account can be reached, or no longer: tell those who may know.
    Presence {
        /// Who.
        account: AccountId,
        /// Can be reached.
        online: bool,
    },
}

/// Why control ends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// A newer stream of the same session, or a new session of the same device, is there.
    TakenOver,
    /// The account has too many sessions, and this was the one that gave way.
    Evicted,
}

/// What a deadline is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A call that nobody answers ends.
    RingTimeout(CallId),
    /// An answered call without media ends.
    ConnectTimeout(CallId),
    /// A party that did not come back is lost.
    AwayTimeout(CallId, Party),
    /// Who is in a broadcast and did not come back is lost.
    BroadcastAway(CallId, SessionId),
    /// A host is told how many view.
    BroadcastCount(CallId),
    /// A session whose stream did not come back is dropped.
    ResumeTimeout(SessionId),
    /// A node whose link did not come back is lost.
    NodeLost(NodeId),
    /// An attempt at a direct leg took too long.
    DirectTimeout(CallId, u32),
    /// An ended call is forgotten.
    Forget(CallId),
}

/// All sessions, calls and nodes. See the module for the contract.
#[derive(Debug)]
pub struct Switchboard {
    limits: Limits,
    budgets: Budgets,
    sessions: BTreeMap<SessionId, Session>,
    sessions_of: BTreeMap<AccountId, Vec<SessionId>>,
    calls: BTreeMap<CallId, Call>,
    broadcasts: Broadcasts,
    /// The one call that an account is in, rung for or dialling.
    engaged: BTreeMap<AccountId, CallId>,
    /// Idempotency keys of calls in memory.
    requests: BTreeMap<(AccountId, String), CallId>,
    nodes: BTreeMap<NodeId, NodeView>,
    boots: BTreeMap<NodeId, String>,
    timers: BTreeSet<(UnixMillis, Reason)>,
    effects: VecDeque<Effect>,
    next_stream: u64,
}

/// How many of what there are, for gauges and for tests that look for leaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Sessions, broken ones included.
    pub sessions: usize,
    /// Sessions with an open stream.
    pub streams: usize,
    /// Calls that have not ended.
    pub calls: usize,
    /// Answered calls that have not ended.
    pub answered: usize,
    /// Broadcasts.
    pub broadcasts: usize,
    /// Nodes whose link is up.
    pub nodes: usize,
}

impl Switchboard {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self {
            budgets: Budgets::new(&limits),
            limits,
            sessions: BTreeMap::new(),
            sessions_of: BTreeMap::new(),
            calls: BTreeMap::new(),
            broadcasts: Broadcasts::default(),
            engaged: BTreeMap::new(),
            requests: BTreeMap::new(),
            nodes: BTreeMap::new(),
            boots: BTreeMap::new(),
            timers: BTreeSet::new(),
            effects: VecDeque::new(),
            next_stream: 0,
        }
    }

    /// The bounds it was made with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The present counts. Walks all calls and sessions: for a scrape, not for every message.
    pub fn counts(&self) -> Counts {
        let open = self.calls.values().filter(|c| !c.state.is_ended());
        Counts {
            sessions: self.sessions.len(),
            streams: self.sessions.values().filter(|s| s.stream.is_some()).count(),
            calls: open.clone().count(),
            answered: open.filter(|c| !c.state.is_before_accept()).count(),
            broadcasts: self.broadcasts.by_id.len(),
            nodes: self.nodes.values().filter(|n| n.is_linked()).count(),
        }
    }

    /// The next thing to do; call until `None` after every `handle_*`.
    #[must_use]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The next deadline and what it is for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(UnixMillis, Reason)> {
        self.timers.first().cloned()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: UnixMillis) {
        while let Some((at, _)) = self.timers.first()
            && *at <= now
        {
            let (_, reason) = self.timers.pop_first().expect("first() was Some");
            self.fire(now, reason);
        }
    }

    /// A timer is never cancelled: it looks whether what it was set for still holds.
    fn fire(&mut self, now: UnixMillis, reason: Reason) {
        match reason {
            Reason::RingTimeout(call) => self.advance_and_tell(now, call, Trigger::RingTimeout),
            Reason::ConnectTimeout(call) => {
                let due = |c: &Call| c.accepted_at.is_some_and(|at| now.since(at) >= self.limits.connect);
                if self.calls.get(&call).is_some_and(due) {
                    self.advance_and_tell(now, call, Trigger::MediaTimeout);
                }
            }
            Reason::AwayTimeout(call, party) => {
                let away = self.calls.get(&call).and_then(|c| c.seat(party).away_since);
                if away.is_some_and(|since| now.since(since) >= self.limits.away) {
                    self.advance_and_tell(now, call, Trigger::PartyLost);
                }
            }
            Reason::BroadcastAway(broadcast, session) => self.broadcast_away(now, broadcast, session),
            Reason::BroadcastCount(broadcast) => self.tell_count(now, broadcast),
            Reason::DirectTimeout(call, attempt) => self.direct_timeout(now, call, attempt),
            Reason::ResumeTimeout(session) => self.expire_session(now, session),
            Reason::NodeLost(node) => self.lose_node(now, &node),
            Reason::Forget(call) => self.forget(call),
        }
    }

    fn set_timer(&mut self, at: UnixMillis, reason: Reason) {
        self.timers.insert((at, reason));
    }

    /// Appends to the session's log and, if its stream is open, sends.
    fn tell(&mut self, now: UnixMillis, id: SessionId, event: Event) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let event = session.append(now, event);
        if let Some(stream) = session.stream {
            self.effects.push_back(Effect::Deliver { session: id, stream, event });
        }
    }

    /// Tells every device that follows the call how it stands.
    fn tell_call(&mut self, now: UnixMillis, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let mut views: Vec<(SessionId, CallView)> = Vec::new();
        for party in Party::BOTH {
            views.extend(call.seat(party).session.map(|s| (s, call.view(party, Some(s)))));
        }
        views.extend(call.ringing.iter().map(|d| (d.session, call.view(Party::Callee, Some(d.session)))));
        for (session, view) in views {
            self.tell(now, session, Event::Call(Box::new(view)));
        }
    }

    /// Makes a legal move and everything that follows from it; does nothing if the table does not have the move.
    fn advance_and_tell(&mut self, now: UnixMillis, id: CallId, trigger: Trigger) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(next) = call.advance(now, trigger) else { return };
        self.record(id);
        self.tell_call(now, id);
        match next {
            CallState::Ended(_) => self.release(now, id),
            CallState::Live => self.settle_direct(now, id, false),
            CallState::Created | CallState::Ringing | CallState::Accepted => {}
        }
    }

    /// After the end: no leg, nobody engaged, nobody rung; forgotten in a while.
    fn release(&mut self, now: UnixMillis, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.ringing.clear();
        let accounts = [call.seats[0].account.clone(), call.seats[1].account.clone()];
        for account in accounts {
            if self.engaged.get(&account) == Some(&id) {
                self.engaged.remove(&account);
            }
        }
        self.replan(now, id);
        self.set_timer(now.plus(self.limits.retention), Reason::Forget(id));
    }

    fn forget(&mut self, id: CallId) {
        if self.calls.get(&id).is_some_and(|c| phase_of(c.state) == Phase::Ended) {
            let Some(call) = self.calls.remove(&id) else { return };
            self.requests.remove(&(call.seat(Party::Caller).account.clone(), call.request));
        }
    }

    fn record(&mut self, id: CallId) {
        if let Some(call) = self.calls.get(&id) {
            self.effects.push_back(Effect::Record(Box::new(call.record())));
        }
    }
}
