use duocast_model::{CallId, CallState, EndReason, MediaState};

use super::*;
use crate::session::Person;

struct Story {
    planner: LegPlanner,
    now: Instant,
}

impl Story {
    fn new() -> Self {
        let now = Instant::now();
        Self { planner: LegPlanner::new(now), now }
    }

    fn call(&mut self, role: Party, state: CallState, leg_wanted: bool) {
        let call = CallInfo {
            id: CallId::from_u128(1),
            revision: 1,
            state,
            role,
            peer: Person { handle: "bob".parse().unwrap(), display_name: "Bob".into() },
            video: false,
            accepted_at: None,
            own_media: MediaState::default(),
            peer_media: MediaState::default(),
            peer_connected: true,
            on_this_device: role == Party::Caller || !state.is_before_accept(),
            leg_wanted,
            without_pictures: false,
            direct: None,
            own_exposure: None,
            peer_exposure: None,
            broadcast: None,
        };
        self.planner.handle_call(self.now, &call);
    }

    fn action(&mut self) -> Option<LegAction> {
        self.planner.poll_action(self.now)
    }

    fn path(&mut self, state: ConnectionState) {
        self.planner.handle_connection(self.now, state);
    }

    fn answered(&mut self) {
        self.planner.handle_answered(self.now, "leg-1".into());
    }

    /// Waits until something is due; how long that was.
    fn wait(&mut self) -> Duration {
        let due = self.planner.poll_timeout().expect("something is due");
        let waited = due.saturating_duration_since(self.now);
        self.now = self.now.max(due);
        self.planner.handle_timeout(self.now);
        waited
    }

    /// A caller's call with a connected leg.
    fn live() -> Self {
        let mut story = Self::new();
        story.call(Party::Caller, CallState::Created, true);
        assert_eq!(story.action(), Some(LegAction::New));
        story.answered();
        story.call(Party::Caller, CallState::Ringing, false);
        story.path(ConnectionState::Connected);
        story.call(Party::Caller, CallState::Live, false);
        assert_eq!(story.action(), None);
        story
    }
}

#[test]
fn both_sides_prepare_their_leg_while_it_rings() {
    for role in [Party::Caller, Party::Callee] {
        let mut story = Story::new();
        assert_eq!(story.action(), None, "nothing is known yet");
        story.call(role, CallState::Ringing, true);
        assert_eq!(story.action(), Some(LegAction::New));
        assert_eq!(story.action(), None, "one offer at a time");
    }
}

#[test]
fn a_device_that_lost_the_race_makes_no_leg() {
    let mut story = Story::new();
    story.call(Party::Callee, CallState::Ended(EndReason::AnsweredElsewhere), false);
    assert_eq!(story.action(), None);
    assert_eq!(story.planner.poll_timeout(), None);
}

#[test]
fn a_lost_path_is_restarted_and_replaced_if_that_does_not_help() {
    let mut story = Story::live();
    story.path(ConnectionState::Disconnected);
    assert_eq!(story.action(), Some(LegAction::Restart("leg-1".into())));
    story.answered();
    assert_eq!(story.wait(), CONNECT_MAX);
    assert_eq!(story.action(), Some(LegAction::New));
}

#[test]
fn a_refused_restart_leads_to_a_new_leg_after_a_wait() {
    let mut story = Story::live();
    story.path(ConnectionState::Disconnected);
    assert!(story.action().is_some());
    story.planner.handle_failed(story.now, Jitter::new(1.0));
    assert_eq!(story.action(), None);
    assert_eq!(story.wait(), backoff(0, Jitter::new(1.0)));
    assert_eq!(story.action(), Some(LegAction::New));
}

#[test]
fn a_closed_leg_is_replaced_at_once() {
    let mut story = Story::live();
    story.path(ConnectionState::Closed);
    assert_eq!(story.action(), Some(LegAction::New));
}

#[test]
fn the_server_asks_for_a_new_leg_when_its_node_is_lost() {
    let mut story = Story::live();
    story.call(Party::Caller, CallState::Live, true);
    assert_eq!(story.action(), Some(LegAction::New));
}

#[test]
fn an_old_wish_for_a_leg_does_not_replace_the_one_just_answered() {
    let mut story = Story::new();
    story.call(Party::Caller, CallState::Created, true);
    assert!(story.action().is_some());
    story.answered();
    story.call(Party::Caller, CallState::Ringing, true);
    assert_eq!(story.action(), None);
    story.path(ConnectionState::Connected);
    assert_eq!(story.wait(), SETTLE_MAX);
    assert_eq!(story.action(), Some(LegAction::New), "a wish that stays is meant");
}

#[test]
fn a_leg_refused_while_it_rang_is_asked_for_again_at_the_answer() {
    let mut story = Story::new();
    story.call(Party::Callee, CallState::Ringing, true);
    assert!(story.action().is_some());
    story.planner.handle_failed(story.now, Jitter::new(1.0));
    story.call(Party::Callee, CallState::Accepted, true);
    assert_eq!(story.action(), Some(LegAction::New));
}

#[test]
fn failures_wait_longer_each_time_until_a_leg_connects() {
    let mut story = Story::new();
    story.call(Party::Caller, CallState::Ringing, true);
    let mut waits = Vec::new();
    for _ in 0..3 {
        assert!(story.action().is_some());
        story.planner.handle_failed(story.now, Jitter::new(1.0));
        waits.push(story.wait());
    }
    assert_eq!(waits, [0, 1, 2].map(|n| backoff(n, Jitter::new(1.0))));
}

#[test]
fn a_network_change_restarts_the_path_at_once() {
    let mut story = Story::live();
    story.planner.handle_network_change(story.now);
    assert_eq!(story.action(), Some(LegAction::Restart("leg-1".into())));
}
