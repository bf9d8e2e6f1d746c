use super::*;
use duocast_wire::v1::event::Kind;

const CALM: f64 = 0.5;

struct World {
    session: Session,
    start: Instant,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let start = Instant::now();
        Self { session: Session::new(start, "phone".into()), start, now: start }
    }

    /// Jumps to the next deadline.
    fn wait(&mut self) -> (Duration, Reason) {
        let (at, reason) = self.session.poll_timeout().expect("a deadline");
        let waited = at.saturating_duration_since(self.now);
        self.now = self.now.max(at);
        self.session.handle_timeout(self.now, Jitter::new(CALM));
        (waited, reason)
    }

    fn event(&mut self, seq: u64, kind: Kind) {
        let event = v1::Event { seq, at: None, kind: Some(kind) };
        self.session.handle_event(self.now, event, Jitter::new(CALM));
    }

    fn breaks(&mut self) {
        self.session.handle_stream_end(self.now, StreamEnd::Broken, Jitter::new(CALM));
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.session.poll_effect()).collect()
    }

    /// Connects with a new session and no calls.
    fn online() -> Self {
        let mut world = Self::new();
        world.wait();
        world.event(1, started(false, vec![]));
        world.effects();
        world
    }
}

fn started(resumed: bool, calls: Vec<v1::Call>) -> Kind {
    Kind::SessionStarted(v1::SessionStarted {
        session_id: "s1".into(),
        resumed,
        calls,
        resume_window_ms: 30_000,
        broadcast: None,
    })
}

fn call(id: u128, revision: u64, state: v1::CallState) -> v1::Call {
    v1::Call {
        call_id: CallId::from_u128(id).to_string(),
        revision,
        state: state.into(),
        end_reason: if state == v1::CallState::Ended { v1::EndReason::HungUp.into() } else { 0 },
        role: v1::Role::Callee.into(),
        peer: Some(v1::Person { handle: "bob".into(), display_name: "Bob".into() }),
        ..Default::default()
    }
}

fn updated(call: v1::Call) -> Kind {
    Kind::CallUpdated(v1::CallUpdated { call: Some(call) })
}

fn subscribe(session_id: &str, last_seq: u64) -> Effect {
    let (device_id, session_id) = ("phone".into(), session_id.into());
    Effect::OpenStream(v1::SubscribeRequest { device_id, session_id, last_seq })
}

fn told_calls(effects: &[Effect]) -> Vec<(u64, CallState)> {
    let told = |e: &Effect| match e {
        Effect::Tell(News::Call(call)) => Some((call.revision, call.state)),
        _ => None,
    };
    effects.iter().filter_map(told).collect()
}

#[test]
fn a_new_session_subscribes_at_once_and_is_online_with_the_first_event() {
    let mut world = World::new();
    assert_eq!(world.wait(), (Duration::ZERO, Reason::Backoff));
    assert_eq!(world.effects(), [subscribe("", 0)]);
    world.event(1, started(false, vec![call(7, 3, v1::CallState::Ringing)]));
    let effects = world.effects();
    assert_eq!(effects[0], Effect::Tell(News::Connection(Connection::Online)));
    assert_eq!(told_calls(&effects), [(3, CallState::Ringing)]);
}

#[test]
fn a_broken_stream_resumes_after_the_last_event_processed_and_repeats_are_ignored() {
    let mut world = World::online();
    world.event(2, updated(call(7, 1, v1::CallState::Ringing)));
    world.effects();
    world.breaks();
    let reconnecting = News::Connection(Connection::Reconnecting { attempt: 1 });
    assert_eq!(world.effects(), [Effect::CloseStream, Effect::Tell(reconnecting)]);
    let (waited, _) = world.wait();
    assert_eq!(waited, backoff(0, Jitter::new(CALM)));
    assert_eq!(world.effects(), [subscribe("s1", 2)]);

    world.event(2, started(true, vec![]));
    world.event(2, updated(call(7, 1, v1::CallState::Ringing)));
    world.event(3, updated(call(7, 2, v1::CallState::Accepted)));
    assert_eq!(told_calls(&world.effects()), [(2, CallState::Accepted)]);
}

#[test]
fn a_gap_makes_the_client_resume_instead_of_going_on() {
    let mut world = World::online();
    world.event(3, updated(call(7, 1, v1::CallState::Ringing)));
    assert_eq!(told_calls(&world.effects()), []);
    world.wait();
    assert_eq!(world.effects(), [subscribe("s1", 1)]);

    let mut world = World::online();
    world.event(5, Kind::Heartbeat(v1::Heartbeat {}));
    assert!(world.effects().contains(&Effect::CloseStream), "a heartbeat tells of an event we never had");
}

#[test]
fn an_older_revision_never_replaces_a_newer_one() {
    let mut world = World::online();
    world.session.handle_call(call(7, 5, v1::CallState::Accepted).try_into().unwrap());
    world.event(2, updated(call(7, 4, v1::CallState::Ringing)));
    assert_eq!(told_calls(&world.effects()), [(5, CallState::Accepted)]);
}

#[test]
fn an_ended_call_cannot_come_back_through_a_slow_answer() {
    let mut world = World::online();
    world.event(2, updated(call(7, 5, v1::CallState::Ended)));
    world.session.handle_call(call(7, 4, v1::CallState::Accepted).try_into().unwrap());
    assert_eq!(told_calls(&world.effects()), [(5, CallState::Ended(EndReason::HungUp))]);
    assert_eq!(world.session.calls().count(), 0);
}

#[test]
fn a_session_that_was_dropped_is_replaced_by_the_snapshot_and_vanished_calls_are_looked_up() {
    let mut world = World::online();
    world.event(2, updated(call(7, 9, v1::CallState::Live)));
    world.event(3, updated(call(8, 9, v1::CallState::Live)));
    world.breaks();
    world.wait();
    world.effects();
    world.event(1, started(false, vec![call(8, 1, v1::CallState::Accepted)]));
    let effects = world.effects();
    assert!(effects.contains(&Effect::LookUp(CallId::from_u128(7))));
    assert_eq!(told_calls(&effects), [(1, CallState::Accepted)], "the snapshot wins over any revision");

    world.session.handle_call_gone(CallId::from_u128(7));
    assert_eq!(told_calls(&world.effects()), [(9, CallState::Ended(EndReason::PartyLost))]);
    world.event(2, updated(call(8, 2, v1::CallState::Live)));
    assert_eq!(told_calls(&world.effects()), [(2, CallState::Live)], "numbers go on from the new session");
}

#[test]
fn a_silent_stream_is_given_up_after_35_seconds_and_heartbeats_keep_it() {
    let mut world = World::online();
    for _ in 0..4 {
        world.now += Duration::from_secs(15);
        world.event(1, Kind::Heartbeat(v1::Heartbeat {}));
    }
    assert_eq!(world.effects(), []);
    assert_eq!(world.wait(), (SILENCE_MAX, Reason::Watchdog));
    assert!(world.effects().contains(&Effect::CloseStream));
}

#[test]
fn a_subscribe_without_an_answer_is_tried_again() {
    let mut world = World::new();
    world.wait();
    world.effects();
    assert_eq!(world.wait(), (OPENING_MAX, Reason::Opening));
    assert!(world.effects().contains(&Effect::CloseStream));
    world.wait();
    assert_eq!(world.effects(), [subscribe("", 0)]);
}

#[test]
fn waits_grow_while_streams_break_at_once_and_start_over_after_a_stable_one() {
    let mut world = World::online();
    let mut waits = Vec::new();
    for _ in 0..3 {
        world.breaks();
        waits.push(world.wait().0);
        world.event(1, started(true, vec![]));
    }
    assert!(waits[0] < waits[1] && waits[1] < waits[2], "{waits:?}");
    world.now += STABLE_AFTER;
    world.breaks();
    assert_eq!(world.wait().0, waits[0]);
}

#[test]
fn a_draining_server_is_left_at_a_jittered_moment_and_events_still_count_until_then() {
    let mut world = World::online();
    world.event(2, Kind::Draining(v1::Draining { retry_after_ms: 2000 }));
    world.event(3, updated(call(7, 1, v1::CallState::Ringing)));
    assert_eq!(told_calls(&world.effects()), [(1, CallState::Ringing)]);
    assert_eq!(world.wait(), (Duration::from_secs(2), Reason::Draining));
    assert_eq!(world.effects(), [Effect::CloseStream, subscribe("s1", 3)]);
}

#[test]
fn a_refused_token_stops_everything_until_a_new_one_is_set() {
    let mut world = World::online();
    let reason = Some("TOKEN_EXPIRED".to_owned());
    let end = StreamEnd::Unauthenticated { reason: reason.clone() };
    world.session.handle_stream_end(world.now, end, Jitter::new(CALM));
    assert_eq!(world.session.poll_timeout(), None);
    assert_eq!(world.session.connection(), &Connection::SignedOut { reason });
    world.effects();
    world.session.handle_new_token(world.now);
    world.wait();
    assert!(world.effects().contains(&subscribe("s1", 1)));
}

#[test]
fn a_refused_session_says_why_and_is_tried_again_ever_more_rarely() {
    let mut world = World::online();
    world.breaks();
    world.effects();
    let sentence = "this account is signed in on too many devices: sign out on one of them";
    let refused = Connection::Refused { reason: "TOO_MANY_SESSIONS".into(), sentence: sentence.into() };
    let mut before = Duration::ZERO;
    for attempt in 0..4 {
        world.wait();
        world.effects();
        let status = duocast_wire::error::status(duocast_wire::error::Reason::TooManySessions, sentence);
        world.session.handle_stream_end(world.now, StreamEnd::of(&status), Jitter::new(CALM));
        assert_eq!(world.session.connection(), &refused);
        let told = world.effects().contains(&Effect::Tell(News::Connection(refused.clone())));
        assert_eq!(told, attempt == 0, "it is told once");
        let (due, reason) = world.session.poll_timeout().unwrap();
        assert!(reason == Reason::Backoff && due - world.now >= before, "{attempt}");
        before = due - world.now;
    }
    world.wait();
    world.event(1, started(false, vec![]));
    assert_eq!(world.session.connection(), &Connection::Online);
}

#[test]
fn how_a_stream_ended_is_read_from_its_status() {
    use duocast_wire::error::{Reason as Why, status};
    let end = |why| StreamEnd::of(&status(why, "a sentence"));
    assert_eq!(end(Why::SessionTakenOver), StreamEnd::TakenOver);
    assert!(matches!(end(Why::TokenExpired), StreamEnd::Unauthenticated { .. }));
    for why in [Why::TooManySessions, Why::ServerFull, Why::ScopeMissing, Why::DeviceIdInvalid] {
        assert!(matches!(end(why), StreamEnd::Refused { .. }), "{why:?}");
    }
    for why in [Why::SlowConsumer, Why::Draining, Why::Overloaded, Why::SessionEvicted, Why::Internal] {
        assert_eq!(end(why), StreamEnd::Broken, "{why:?}");
    }
    assert_eq!(StreamEnd::of(&tonic::Status::resource_exhausted("by a proxy")), StreamEnd::Broken);
}

#[test]
fn a_taken_over_session_stays_silent() {
    let mut world = World::online();
    world.session.handle_stream_end(world.now, StreamEnd::TakenOver, Jitter::new(CALM));
    world.breaks();
    assert_eq!(world.session.poll_timeout(), None);
    assert_eq!(world.session.connection(), &Connection::TakenOver);
}

#[test]
fn a_network_change_ends_a_wait() {
    let mut world = World::online();
    for _ in 0..6 {
        world.breaks();
        world.wait();
    }
    world.breaks();
    world.session.handle_network_change(world.now);
    assert_eq!(world.wait().0, Duration::ZERO);
    assert!(world.now > world.start);
}

#[test]
fn a_call_that_cannot_be_read_is_skipped_without_losing_the_place() {
    let mut world = World::online();
    world.event(2, updated(v1::Call { call_id: "nonsense".into(), ..Default::default() }));
    world.event(3, updated(call(7, 1, v1::CallState::Ringing)));
    assert_eq!(told_calls(&world.effects()), [(1, CallState::Ringing)]);
}

#[test]
fn direct_signals_requests_and_settings_are_told_and_nonsense_is_not() {
    let mut world = World::online();
    let id = CallId::from_u128(7);
    let signal = |call_id: String, kind| v1::DirectSignal { call_id, attempt: 3, kind };
    let offer = v1::direct_signal::Kind::Offer("sdp".into());
    world.event(2, Kind::DirectSignal(signal(id.to_string(), Some(offer.clone()))));
    world.event(3, Kind::DirectSignal(signal(id.to_string(), None)));
    world.event(4, Kind::DirectSignal(signal("nonsense".into(), Some(offer))));
    let settings = v1::Settings::from(PrivacySettings::DEFAULT);
    world.event(5, Kind::SettingsUpdated(v1::SettingsUpdated { settings: Some(settings.clone()) }));
    let unknown = v1::Settings { strangers: 99, ..settings };
    world.event(6, Kind::SettingsUpdated(v1::SettingsUpdated { settings: Some(unknown) }));
    let step = DirectStep::Offer("sdp".into());
    let expected = [
        Effect::Tell(News::Direct(id, DirectSignal { attempt: 3, step })),
        Effect::Tell(News::Settings(PrivacySettings::DEFAULT)),
    ];
    let told = world.effects();
    assert_eq!(told, expected);
    assert!(!format!("{told:?}").contains("sdp"), "a signal may hold addresses: {told:?}");
}
