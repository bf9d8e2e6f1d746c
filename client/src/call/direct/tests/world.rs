//! A planner, a server and time to play with.

use duocast_model::{CallId, CallState, MediaState, Party};

use super::super::*;
use crate::session::Person;

pub(super) const BOTH_YES: [DirectConsent; 2] = [DirectConsent::Given; 2];
pub(super) const ROUTED: Course = Course { send: SendOn::Routed, play: Path::Routed };
pub(super) const BOTH: Course = Course { send: SendOn::Both, play: Path::Routed };
pub(super) const BOTH_HEARD: Course = Course { send: SendOn::Both, play: Path::Direct };
pub(super) const HEARD: Course = Course { send: SendOn::Routed, play: Path::Direct };
pub(super) const DIRECT: Course = Course { send: SendOn::Direct, play: Path::Direct };

/// A live call with this direct state.
pub(super) fn call_with(direct: DirectInfo) -> CallInfo {
    CallInfo {
        id: CallId::from_u128(1),
        revision: 1,
        state: CallState::Live,
        role: Party::Caller,
        peer: Person { handle: "bob".parse().unwrap(), display_name: "Bob".into() },
        video: false,
        accepted_at: None,
        own_media: MediaState::default(),
        peer_media: MediaState::default(),
        peer_connected: true,
        on_this_device: true,
        leg_wanted: false,
        without_pictures: false,
        direct: Some(direct),
        own_exposure: None,
        peer_exposure: None,
        broadcast: None,
    }
}

/// A planner, the server's view of the call, and time that stands still unless it is moved.
pub(super) struct World {
    pub(super) planner: DirectPlanner,
    pub(super) now: Instant,
    pub(super) view: DirectInfo,
    pub(super) health: Health,
    pub(super) did: Vec<DirectAction>,
    /// The attempt on which nothing is sent any more.
    pub(super) hushed: Option<u32>,
}

impl World {
    pub(super) fn new(offerer: bool) -> Self {
        let view = DirectInfo {
            phase: DirectPhase::Routed,
            attempt: 0,
            offerer,
            own_consent: DirectConsent::Given,
            peer_consent: DirectConsent::Given,
            last_end: None,
        };
        let (now, health, did) = (Instant::now(), Health::default(), Vec::new());
        Self { planner: DirectPlanner::default(), now, view, health, did, hushed: None }
    }

    pub(super) fn settle(&mut self) {
        let from = self.did.len();
        self.did.extend(std::iter::from_fn(|| self.planner.poll_action()));
        let hushed = |action: &DirectAction| match action {
            DirectAction::Hush(attempt) => Some(*attempt),
            _ => None,
        };
        self.hushed = self.did[from..].iter().filter_map(hushed).next_back().or(self.hushed);
    }

    /// What was done since the last look.
    pub(super) fn did(&mut self) -> Vec<DirectAction> {
        std::mem::take(&mut self.did)
    }

    pub(super) fn call(&self) -> CallInfo {
        call_with(self.view)
    }

    /// The server tells that the call is so now.
    pub(super) fn tells(&mut self, phase: DirectPhase, attempt: u32) {
        (self.view.phase, self.view.attempt) = (phase, attempt);
        self.told();
    }

    pub(super) fn told(&mut self) {
        self.planner.handle_call(self.now, &self.call());
        self.settle();
    }

    pub(super) fn consents(&mut self, [own, peer]: [DirectConsent; 2]) {
        (self.view.own_consent, self.view.peer_consent) = (own, peer);
    }

    pub(super) fn signal(&mut self, attempt: u32, step: DirectStep) {
        self.planner.handle_signal(self.now, DirectSignal { attempt, step });
        self.settle();
    }

    pub(super) fn says(&mut self, yes: bool) {
        self.planner.handle_consent(self.now, yes);
        self.settle();
    }

    pub(super) fn path(&mut self, change: impl FnOnce(&mut Health)) {
        change(&mut self.health);
        self.planner.handle_health(self.now, self.health);
        self.settle();
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
        self.planner.handle_timeout(self.now);
        self.settle();
    }

    /// Waits until something is due; how long that was.
    pub(super) fn wait_due(&mut self) -> Duration {
        let due = self.planner.poll_timeout().expect("something is due");
        let wait = due - self.now;
        self.wait(wait);
        wait
    }

    pub(super) fn negotiated(attempt: u32) -> Self {
        let mut world = Self::new(true);
        world.negotiates(attempt);
        world
    }

    pub(super) fn negotiates(&mut self, attempt: u32) {
        self.tells(DirectPhase::Negotiating, attempt);
        assert_eq!(self.did(), [DirectAction::Offer(attempt)]);
        self.signal(attempt, answer());
        self.signal(attempt, candidates());
        self.tells(DirectPhase::Connecting, attempt);
        assert_eq!(self.did().len(), 2);
        self.health = Health { attempt, routed_decodes: true, ..Health::default() };
    }

    pub(super) fn connected(attempt: u32) -> Self {
        let mut world = Self::negotiated(attempt);
        world.path(|h| h.is_connected = true);
        assert_eq!(world.did(), [DirectAction::AskKeyframe(Path::Direct), DirectAction::Course(BOTH)]);
        world
    }

    pub(super) fn active() -> Self {
        let mut world = Self::connected(1);
        world.becomes_active(1);
        world
    }

    pub(super) fn becomes_active(&mut self, attempt: u32) {
        self.path(|h| h.decodes = true);
        assert_eq!(self.did(), [DirectAction::TellDecoding(attempt), DirectAction::Course(BOTH_HEARD)]);
        self.tells(DirectPhase::Active, attempt);
        assert_eq!(self.did(), [DirectAction::Course(DIRECT)]);
        self.path(|h| h.routed_decodes = false);
    }

    pub(super) fn course(&self) -> Course {
        self.planner.course
    }

    pub(super) fn is_closed(&self) -> bool {
        self.planner.attempt.is_none()
    }
}

pub(super) fn offer() -> DirectStep {
    DirectStep::Offer("offer".into())
}

pub(super) fn answer() -> DirectStep {
    DirectStep::Answer("answer".into())
}

pub(super) fn candidates() -> DirectStep {
    DirectStep::Candidates(vec!["candidate:1".into()])
}
