//! One broadcast: one person publishes, and whoever has its token views.
//!
//! Like a call it has numbered plans for one node, legs that come and go, and times after which somebody is lost. Unlike a call
//! nobody is rung, and media never leaves the router: nobody learns anybody's address.

use std::collections::BTreeMap;

use duocast_model::{AccountId, CallId, Generation, LegId, NodeId, Route, RoutePlan, SessionId, UnixMillis};

use crate::call::{Leg, next_generation};
use crate::session::Person;

/// Most people who view one broadcast; one more is refused. Its router encrypts for each of them: higher may be more than its
/// cores can do, lower ends audiences sooner. With the host's leg it must fit a plan.
pub const MAX_VIEWERS: usize = 200;

const _: () = assert!(MAX_VIEWERS < duocast_model::MAX_LEGS_PER_PLAN);

/// Lets whoever shows it view. 256 random bits, good until the broadcast ends. There is no way to print it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ViewingToken(pub [u8; 32]);

duocast_model::assert_not_impl!(ViewingToken: std::fmt::Debug, std::fmt::Display);

/// Why a broadcast is over, for whoever is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BroadcastEnd {
    /// The host ended it, or let this account view no longer.
    Stopped,
    /// This device left.
    Left,
    /// This device sent no sign of its media for too long.
    Away,
    /// The host was away for too long.
    HostLost,
    /// The node was lost and no other has room.
    NodeLost,
}

/// A broadcast as one device in it sees it. Holds no account id, and of the audience a number at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BroadcastView {
    /// Which broadcast. Its legs are connected by this id, as a call's are.
    pub id: CallId,
    /// Grows with every change.
    pub revision: u64,
    /// Set once it is over for this device.
    pub ended: Option<BroadcastEnd>,
    /// This device publishes; else it views.
    pub is_host: bool,
    /// Who publishes.
    pub host: Person,
    /// Started with video.
    pub video: bool,
    /// When it was started.
    pub started_at: UnixMillis,
    /// The host's leg is connected.
    pub host_connected: bool,
    /// How many view, for the host alone: those whose legs are connected.
    pub viewers: Option<u32>,
    /// This device has no leg and must connect one.
    pub leg_wanted: bool,
}

/// A device in a broadcast.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) account: AccountId,
    pub(crate) leg: Option<Leg>,
    /// Since when its media is missing.
    pub(crate) away_since: Option<UnixMillis>,
}

impl Member {
    pub(crate) fn new(now: UnixMillis, account: AccountId) -> Self {
        Self { account, leg: None, away_since: Some(now) }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.leg.as_ref().is_some_and(|leg| leg.connected)
    }

    /// Takes up a leg, or its loss.
    pub(crate) fn set_leg(&mut self, now: UnixMillis, leg: Option<Leg>) {
        self.leg = leg;
        self.away_since = if self.is_connected() { None } else { self.away_since.or(Some(now)) };
    }
}

/// One broadcast.
pub(crate) struct Broadcast {
    pub(crate) id: CallId,
    pub(crate) revision: u64,
    pub(crate) host_session: SessionId,
    pub(crate) host: Member,
    pub(crate) person: Person,
    pub(crate) token: ViewingToken,
    pub(crate) video: bool,
    pub(crate) viewers: BTreeMap<SessionId, Member>,
    pub(crate) node: NodeId,
    pub(crate) boot: String,
    pub(crate) generation: Generation,
    /// The host's idempotency key.
    pub(crate) request: String,
    /// Legs that its node's count has for it.
    pub(crate) legs_counted: u32,
    pub(crate) started_at: UnixMillis,
    pub(crate) is_over: bool,
    /// The host is told how many view once this long has passed.
    pub(crate) is_count_due: bool,
}

duocast_model::assert_not_impl!(Broadcast: std::fmt::Debug, std::fmt::Display);

impl Broadcast {
    pub(crate) fn member_mut(&mut self, session: SessionId) -> Option<&mut Member> {
        if session == self.host_session { Some(&mut self.host) } else { self.viewers.get_mut(&session) }
    }

    pub(crate) fn member(&self, session: SessionId) -> Option<&Member> {
        if session == self.host_session { Some(&self.host) } else { self.viewers.get(&session) }
    }

    /// Whose leg this is.
    pub(crate) fn owner_of(&self, leg: LegId) -> Option<SessionId> {
        self.members().find(|(_, m)| m.leg.as_ref().is_some_and(|l| l.id == leg)).map(|(session, _)| session)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (SessionId, &Member)> {
        let viewers = self.viewers.iter().map(|(session, viewer)| (*session, viewer));
        std::iter::once((self.host_session, &self.host)).chain(viewers)
    }

    pub(crate) fn legs(&self) -> impl Iterator<Item = LegId> {
        self.members().filter_map(|(_, member)| member.leg.as_ref()).map(|leg| leg.id)
    }

    /// The next plan: what the host publishes goes to each viewer, and nothing else goes anywhere.
    pub(crate) fn next_plan(&mut self, now: UnixMillis) -> RoutePlan {
        self.generation = next_generation(self.generation, now);
        if self.is_over {
            return RoutePlan::teardown(self.id, self.generation).with_audience();
        }
        let legs: Vec<LegId> = self.legs().collect();
        let host = self.host.leg.as_ref().map(|leg| leg.id);
        let routes =
            legs.iter().filter_map(|to| Some(Route { from: host.filter(|from| from != to)?, to: *to }));
        let routes = routes.collect();
        let plan = RoutePlan::new(self.id, self.generation, legs, routes).expect(
            "legs are unique (fresh ids), at most MAX_VIEWERS and the host's, routes join two of them",
        );
        plan.with_audience()
    }

    pub(crate) fn view(&self, session: SessionId, ended: Option<BroadcastEnd>) -> BroadcastView {
        let is_host = session == self.host_session;
        let connected = self.viewers.values().filter(|viewer| viewer.is_connected());
        BroadcastView {
            id: self.id,
            revision: self.revision,
            ended,
            is_host,
            host: self.person.clone(),
            video: self.video,
            started_at: self.started_at,
            host_connected: self.host.is_connected(),
            viewers: is_host.then(|| connected.count() as u32),
            leg_wanted: ended.is_none() && self.member(session).is_some_and(|member| member.leg.is_none()),
        }
    }
}
