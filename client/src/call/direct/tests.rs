mod steps;
mod switching;
mod world;

use super::*;
use world::*;

const LEAVING: [DirectAction; 1] = [DirectAction::Course(BOTH_HEARD)];
const CLOSED: [DirectAction; 2] = [DirectAction::Course(ROUTED), DirectAction::Close(1)];
const HUSHED: [DirectAction; 2] = [DirectAction::Course(HEARD), DirectAction::Hush(1)];

#[test]
fn the_offerer_goes_through_all_steps_and_then_sends_directly_only() {
    let mut world = World::active();
    assert_eq!(world.course(), DIRECT);
    assert_eq!(world.planner.poll_timeout(), None, "an active leg stays as long as it lives");
    world.wait(Duration::from_secs(3600));
    assert_eq!(world.did(), []);
}

#[test]
fn the_answerer_answers_once_and_makes_no_offer() {
    let mut world = World::new(false);
    world.tells(DirectPhase::Negotiating, 1);
    assert_eq!(world.did(), []);
    world.signal(1, offer());
    world.signal(1, offer());
    world.signal(1, answer());
    assert_eq!(world.did(), [DirectAction::Answer(1, "offer".into())]);
    world.signal(1, candidates());
    world.signal(1, candidates());
    assert_eq!(world.did(), [DirectAction::TakeCandidates(1, vec!["candidate:1".into()])]);
}

#[test]
fn without_both_yes_nothing_is_offered_or_answered() {
    use DirectConsent::{Given, Never, NotGiven};
    for consents in [[NotGiven, Given], [Given, NotGiven], [Never, Given], [NotGiven, NotGiven]] {
        let mut world = World::new(true);
        world.consents(consents);
        world.tells(DirectPhase::Negotiating, 1);
        world.view.offerer = false;
        world.tells(DirectPhase::Negotiating, 1);
        world.signal(1, offer());
        world.signal(1, candidates());
        assert_eq!(world.did(), [], "{consents:?}");
    }
    let mut world = World::new(false);
    world.consents(BOTH_YES);
    world.signal(1, offer());
    assert_eq!(world.did(), [], "an offer that the server's state knows nothing of");
}

#[test]
fn a_no_holds_though_the_server_has_not_heard_it_and_a_yes_ends_it() {
    let mut world = World::new(true);
    world.says(false);
    world.tells(DirectPhase::Negotiating, 1);
    assert_eq!(world.did(), []);
    world.tells(DirectPhase::Routed, 1);
    world.says(true);
    world.tells(DirectPhase::Negotiating, 2);
    assert_eq!(world.did(), [DirectAction::Offer(2)]);
}

#[test]
fn going_private_sends_on_the_server_at_once_and_closes_when_the_other_is_heard_there() {
    let mut world = World::active();
    world.says(false);
    assert_eq!(world.did(), LEAVING);
    world.wait(Duration::from_millis(80));
    assert_eq!(world.did(), []);
    world.path(|h| h.routed_decodes = true);
    assert_eq!(world.did(), CLOSED);
}

#[test]
fn going_private_sends_nothing_after_225_ms_whatever_the_other_side_does() {
    let mut world = World::active();
    world.says(false);
    // The server has not heard of it, the other party goes on as before.
    world.tells(DirectPhase::Active, 1);
    world.path(|h| h.decodes = true);
    assert_eq!(world.did(), LEAVING);
    assert_eq!(world.wait_due(), PRIVATE_MAX);
    assert_eq!(world.did(), HUSHED, "and it is still heard");
    assert_eq!(world.wait_due(), BACK_MAX - PRIVATE_MAX);
    assert_eq!(world.did(), CLOSED);
    world.tells(DirectPhase::Active, 1);
    world.signal(1, offer());
    world.signal(1, candidates());
    world.path(|h| h.decodes = true);
    assert_eq!((world.did(), world.course()), (vec![], ROUTED), "and it stays so");
}

#[test]
fn a_change_of_the_own_settings_is_going_private() {
    let mut world = World::active();
    world.consents([DirectConsent::Never, DirectConsent::Given]);
    world.told();
    assert_eq!(world.did(), LEAVING);
    assert_eq!(world.wait_due(), PRIVATE_MAX);
    assert_eq!(world.did(), HUSHED);
    world.path(|h| h.routed_decodes = true);
    assert_eq!(world.did(), CLOSED);
}

#[test]
fn when_the_other_side_ends_it_the_leg_stays_until_that_one_closes_it_or_half_a_second() {
    for closes in [true, false] {
        let mut world = World::active();
        world.tells(DirectPhase::Routed, 1);
        assert_eq!(world.did(), LEAVING);
        world.wait(Duration::from_millis(120));
        world.path(|h| h.routed_decodes = true);
        assert_eq!(world.did(), [], "the other one may not hear this one on the routed leg yet");
        match closes {
            true => world.path(|h| h.is_dead = true),
            false => assert_eq!(world.wait_due(), BACK_MAX - Duration::from_millis(120)),
        }
        assert_eq!(world.did(), CLOSED);
    }
}

/// The server's news of it is late, or lost.
#[test]
fn the_other_partys_return_to_the_routed_leg_is_answered_before_the_server_tells() {
    let mut world = World::active();
    world.wait(Duration::from_secs(10));
    let comes = |world: &mut World| {
        let now = world.now;
        world.path(|h| h.routed_since = Some(now));
    };
    comes(&mut world);
    assert_eq!(world.did(), LEAVING, "on both legs, as when leaving");
    world.wait(Duration::from_millis(150));
    world.tells(DirectPhase::Routed, 1);
    assert_eq!((world.did(), world.wait_due()), (vec![], BACK_MAX));
    assert_eq!(world.did(), CLOSED);

    let mut world = World::active();
    world.wait(Duration::from_secs(10));
    comes(&mut world);
    assert_eq!((world.did(), world.wait_due()), (LEAVING.to_vec(), RETURN_MAX));
    assert_eq!(world.did(), [DirectAction::Course(DIRECT)], "it was about nothing");
    assert_eq!(world.planner.poll_timeout(), None);
    world.path(|h| h.routed_since = None);
    comes(&mut world);
    assert_eq!(world.did(), LEAVING, "every time");
}

#[test]
fn media_that_was_on_the_routed_leg_all_along_is_no_return() {
    let mut world = World::connected(1);
    let now = world.now;
    world.path(|h| h.routed_since = Some(now));
    world.wait(Duration::from_millis(500));
    world.becomes_active(1);
    world.wait(Duration::from_millis(500));
    world.path(|h| h.routed_decodes = true);
    world.path(|h| h.routed_since = None);
    assert_eq!((world.did(), world.course()), (vec![], DIRECT));
}

#[test]
fn going_private_while_leaving_falls_silent_as_soon_as_otherwise() {
    let mut world = World::active();
    world.tells(DirectPhase::Routed, 1);
    world.wait(Duration::from_millis(100));
    world.says(false);
    assert_eq!(world.wait_due(), PRIVATE_MAX);
    assert_eq!(world.did()[1..], HUSHED);
}

#[test]
fn a_leg_that_dies_is_left_at_once_and_the_server_is_told() {
    let mut world = World::active();
    world.path(|h| (h.is_dead, h.is_connected) = (true, false));
    let expected = [
        DirectAction::Course(ROUTED),
        DirectAction::Close(1),
        DirectAction::AskKeyframe(Path::Routed),
        DirectAction::TellFailed(1),
    ];
    assert_eq!(world.did(), expected);
    world.tells(DirectPhase::Active, 1);
    world.tells(DirectPhase::Routed, 1);
    assert_eq!(world.did(), [], "that is no news");
    world.negotiates(2);
    assert_eq!(world.course(), ROUTED);
}

#[test]
fn an_attempt_may_fail_at_each_step_and_the_next_one_works() {
    type Step = (&'static str, fn(&mut World));
    let steps: [Step; 6] = [
        ("no socket, or the offer is refused", |w| {
            w.tells(DirectPhase::Negotiating, 1);
            w.planner.handle_failed(1);
            w.settle();
        }),
        ("no answer", |w| {
            w.tells(DirectPhase::Negotiating, 1);
            assert_eq!(w.wait_due(), ATTEMPT_MAX);
        }),
        ("no path", |w| {
            *w = World::negotiated(1);
            assert_eq!(w.wait_due(), ATTEMPT_MAX);
        }),
        ("the leg dies as it connects", |w| {
            *w = World::negotiated(1);
            w.path(|h| h.is_dead = true);
        }),
        ("connected, and the other is never heard", |w| {
            *w = World::connected(1);
            assert_eq!(w.wait_due(), ATTEMPT_MAX);
        }),
        ("heard, and the other side never says that it hears", |w| {
            *w = World::connected(1);
            w.path(|h| h.decodes = true);
            assert_eq!(w.course(), BOTH_HEARD, "the server's way stays in use");
            assert_eq!(w.wait_due(), ATTEMPT_MAX);
        }),
    ];
    for (what, step) in steps {
        let mut world = World::new(true);
        step(&mut world);
        let did = world.did();
        assert_eq!(did.last(), Some(&DirectAction::TellFailed(1)), "{what}: {did:?}");
        assert!(did.contains(&DirectAction::Close(1)), "{what}: {did:?}");
        assert!(world.is_closed() && world.course() == ROUTED, "{what}");
        world.tells(DirectPhase::Routed, 1);
        world.negotiates(2);
        world.path(|h| h.is_connected = true);
        world.did();
        world.becomes_active(2);
    }
}

#[test]
fn the_server_giving_up_ends_an_attempt_at_each_step() {
    for connect in [false, true] {
        let mut world = if connect { World::connected(1) } else { World::negotiated(1) };
        world.tells(DirectPhase::Routed, 1);
        if connect {
            assert_eq!(world.did(), [], "both ways go on for a while");
            assert_eq!(world.wait_due(), BACK_MAX);
        }
        assert_eq!(world.did().last(), Some(&DirectAction::Close(1)));
        assert_eq!(world.course(), ROUTED);
    }
}

#[test]
fn late_doubled_and_stale_steps_of_another_attempt_change_nothing() {
    let mut world = World::connected(3);
    for attempt in [0, 1, 2, 4, u32::MAX] {
        world.signal(attempt, offer());
        world.signal(attempt, answer());
        world.signal(attempt, candidates());
    }
    world.signal(3, answer());
    world.signal(3, candidates());
    world.planner.handle_failed(2);
    let now = world.now;
    world.planner.handle_health(now, Health { attempt: 2, is_dead: true, ..Health::default() });
    world.settle();
    assert_eq!((world.did(), world.course()), (vec![], BOTH));
}

#[test]
fn a_new_attempt_that_was_not_seen_to_begin_ends_the_present_one() {
    let mut world = World::active();
    world.tells(DirectPhase::Negotiating, 2);
    assert_eq!(world.did(), LEAVING);
    world.wait_due();
    assert_eq!(world.did()[..2], CLOSED);
    assert!(world.planner.is_trying(2));

    let mut world = World::active();
    world.view.offerer = false;
    world.tells(DirectPhase::Negotiating, 2);
    world.signal(2, offer());
    assert_eq!(world.did(), LEAVING, "one after the other");
    world.wait_due();
    assert_eq!(world.did().last(), Some(&DirectAction::Answer(2, "offer".into())));
}

#[test]
fn a_server_that_started_over_brings_media_back_and_may_count_from_one_again() {
    let mut world = World::active();
    world.tells(DirectPhase::Routed, 0);
    assert_eq!(world.did(), LEAVING);
    assert_eq!(world.wait_due(), BACK_MAX);
    assert_eq!(world.did(), CLOSED);
    world.negotiates(1);

    let mut world = World::connected(5);
    world.becomes_active(5);
    world.tells(DirectPhase::Negotiating, 1);
    world.told();
    world.wait_due();
    assert_eq!(world.did().last(), Some(&DirectAction::Offer(1)));
}

#[test]
fn a_call_without_a_direct_state_is_routed() {
    let mut world = World::active();
    let call = CallInfo { direct: None, ..world.call() };
    world.planner.handle_call(world.now, &call);
    world.settle();
    assert_eq!(world.did(), LEAVING);
}

#[test]
fn a_leg_of_another_life_of_this_device_is_reported_once() {
    let mut world = World::new(true);
    world.tells(DirectPhase::Active, 4);
    world.told();
    assert_eq!(world.did(), [DirectAction::TellFailed(4)]);
    world.tells(DirectPhase::Negotiating, 5);
    assert_eq!(world.did(), [DirectAction::Offer(5)]);
}

#[test]
fn a_restart_of_the_routed_leg_leaves_the_direct_one_alone() {
    let mut world = World::active();
    world.path(|h| h.routed_decodes = false);
    let call = CallInfo { leg_wanted: true, ..world.call() };
    world.planner.handle_call(world.now, &call);
    world.settle();
    assert_eq!((world.did(), world.course()), (vec![], DIRECT));
    world.says(false);
    assert_eq!(world.wait_due(), PRIVATE_MAX, "private all the same");
}

#[test]
fn another_network_ends_the_direct_leg_at_once() {
    let mut world = World::active();
    world.planner.handle_network_change();
    world.settle();
    assert_eq!(world.did().last(), Some(&DirectAction::TellFailed(1)));
    assert_eq!(world.course(), ROUTED);
}

#[test]
fn a_hundred_switches_each_way_end_where_they_began() {
    let mut world = World::new(true);
    for attempt in 1..=100 {
        world.says(true);
        world.negotiates(attempt);
        world.path(|h| h.is_connected = true);
        world.did();
        world.becomes_active(attempt);
        world.says(false);
        world.path(|h| h.routed_decodes = true);
        world.tells(DirectPhase::Routed, attempt);
        assert!(world.is_closed() && world.course() == ROUTED);
        world.did();
    }
}

#[test]
fn whatever_happens_in_whatever_order_media_never_goes_where_it_must_not() {
    for seed in 0..2000u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut world = World::new(seed % 2 == 0);
        let mut refused_at: Option<Instant> = None;
        for _ in 0..60 {
            match next(8) {
                0 => {
                    use DirectPhase::{Active, Connecting, Negotiating, Routed};
                    let phase = [Routed, Negotiating, Connecting, Active][next(4) as usize];
                    let attempt = world.view.attempt + next(2) as u32;
                    world.tells(phase, attempt.max(1));
                }
                1 => world.signal(next(4) as u32, offer()),
                2 => world.signal(world.view.attempt, answer()),
                3 => {
                    let attempt = world.planner.attempt.as_ref().map_or(0, |a| a.number);
                    let bits = next(16);
                    let is = |n: u64| bits & (1 << n) != 0;
                    let (is_connected, is_dead) = (is(0), is(1) && is(2));
                    let (decodes, routed_decodes) = (is(2), is(3));
                    let routed_since = routed_decodes.then_some(world.now);
                    let health =
                        Health { attempt, is_connected, is_dead, decodes, routed_decodes, routed_since };
                    world.path(|h| *h = health);
                }
                4 => {
                    let yes = next(2) == 0;
                    world.says(yes);
                    refused_at = (!yes).then_some(refused_at.unwrap_or(world.now));
                }
                5 => world.wait(Duration::from_millis(next(150))),
                6 if world.planner.poll_timeout().is_some() => drop(world.wait_due()),
                _ => world.planner.handle_failed(next(4) as u32),
            }
            world.settle();
            let course = world.course();
            assert!(!world.is_closed() || course == ROUTED, "seed {seed}");
            let is_active =
                world.planner.attempt.as_ref().is_some_and(|a| a.active_since.is_some() && a.is_connected);
            assert!(course.send != SendOn::Direct || is_active || !world.health.is_connected, "seed {seed}");
            if let Some(at) = refused_at {
                assert!(course.send != SendOn::Direct, "seed {seed}");
                let is_hushed = world.hushed == world.planner.attempt.as_ref().map(|a| a.number);
                assert!(
                    world.is_closed() || is_hushed || world.now < at + PRIVATE_MAX,
                    "seed {seed}: private too late"
                );
            }
        }
    }
}

#[test]
fn what_the_other_party_sent_is_not_in_what_is_printed() {
    let line = || "candidate:1 1 udp 1 203.0.113.77 4711 typ host".to_owned();
    let steps = [DirectStep::Offer(line()), DirectStep::Answer(line()), DirectStep::Candidates(vec![line()])];
    let signals = steps.map(|step| DirectSignal { attempt: 1, step });
    let actions = [
        DirectAction::Answer(1, line()),
        DirectAction::TakeAnswer(1, line()),
        DirectAction::TakeCandidates(1, vec![line()]),
    ];
    let mut world = World::new(false);
    world.signal(1, DirectStep::Offer(line()));
    let shown = format!("{signals:?} {actions:?} {:?} {:?}", world.planner, world.call().peer);
    for secret in ["203.0.113.77", "4711", "candidate:", "bob", "Bob"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
