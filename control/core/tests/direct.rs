//! Direct legs: who must agree, what crosses, and how every way out leads back to the router. Virtual time.

mod support;

use duocast_control_core::direct::{
    ATTEMPT_TIMEOUT, DirectEnd, DirectError, DirectPhase, DirectSignal, DirectStep, DirectView, Sealed,
};
use duocast_control_core::switchboard::{CommandError, LegReport, Recheck};
use duocast_model::DirectConsent::{Given, Never, NotGiven};
use duocast_model::{CallId, CallState, DirectSetting, EndReason, Party, PrivacySettings};
use support::World;

const ASK: PrivacySettings =
    PrivacySettings { enhanced_call_privacy: false, direct: DirectSetting::Ask, ..PrivacySettings::DEFAULT };

/// A description as a client makes it, with the candidates given.
fn sdp(candidates: &[&str]) -> Sealed {
    let mut text = String::from(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n\
         a=mid:0\r\na=ice-ufrag:uuuu\r\na=ice-pwd:pppppppppppppppppppppp\r\na=fingerprint:sha-256 AA\r\n",
    );
    for candidate in candidates {
        text.push_str(&format!("a=candidate:1 1 udp 1 {candidate}\r\n"));
    }
    Sealed::new(&text)
}

fn alices() -> Sealed {
    sdp(&["10.1.0.2 4000 typ host", "203.0.113.10 4000 typ srflx raddr 10.1.0.2 rport 4000"])
}

fn bobs() -> Sealed {
    sdp(&["10.2.0.2 5000 typ host", "198.51.100.20 5000 typ srflx raddr 10.2.0.2 rport 5000"])
}

fn live_with(settings: PrivacySettings) -> (World, CallId) {
    let mut world = World::new();
    world.settings = settings;
    world.online("alice").unwrap();
    world.online("bob").unwrap();
    let call = world.place("alice", "bob").unwrap().id;
    world.leg_up("alice", call);
    world.leg_up("bob", call);
    world.accept("bob", call).unwrap();
    (world, call)
}

fn direct(world: &World, device: &str, call: CallId) -> DirectView {
    world.devices[device].calls[&call].direct.expect("the call is live on this device")
}

fn phase(world: &World, call: CallId) -> DirectPhase {
    let (a, b) = (direct(world, "alice", call), direct(world, "bob", call));
    assert_eq!((a.phase, a.attempt), (b.phase, b.attempt), "both see the same");
    a.phase
}

/// Everything that a device was ever sent about the other's place.
fn crossed(world: &World, device: &str) -> String {
    let text = |signal: &DirectSignal| match signal {
        DirectSignal::Offer(sdp) | DirectSignal::Answer(sdp) => sdp.expose().to_owned(),
        DirectSignal::Candidates(all) => all.iter().map(|c| format!("{}\n", c.expose())).collect(),
    };
    world.devices[device].signals.iter().map(|(_, _, signal)| text(signal)).collect()
}

/// From both consents to media on the direct leg.
fn go_direct(world: &mut World, call: CallId) {
    let attempt = direct(world, "alice", call).attempt;
    world.direct_step("alice", call, attempt, &DirectStep::Offer(alices())).unwrap();
    world.direct_step("bob", call, attempt, &DirectStep::Answer(bobs())).unwrap();
    world.direct_step("alice", call, attempt, &DirectStep::Decoding).unwrap();
    world.direct_step("bob", call, attempt, &DirectStep::Decoding).unwrap();
    assert_eq!(phase(world, call), DirectPhase::Active);
}

#[test]
fn by_default_a_yes_is_refused_and_nothing_can_be_sent() {
    let (mut world, call) = live_with(PrivacySettings::DEFAULT);
    assert_eq!(direct(&world, "alice", call).own_consent, Never);
    assert_eq!(direct(&world, "alice", call).peer_consent, NotGiven, "the other's setting is not shown");
    assert_eq!(world.say_direct("alice", call, true), Err(CommandError::Direct(DirectError::NotAllowed)));
    for step in
        [DirectStep::Offer(alices()), DirectStep::Answer(alices()), DirectStep::Decoding, DirectStep::Failed]
    {
        for attempt in [0, 1] {
            let answer = world.direct_step("alice", call, attempt, &step);
            assert_eq!(answer, Err(CommandError::Direct(DirectError::Stale)));
        }
    }
    assert!(world.devices["bob"].signals.is_empty());
    assert_eq!(world.records[&call].exposure, [None, None]);
}

#[test]
fn it_takes_both_and_addresses_cross_only_when_both_gave_theirs() {
    let (mut world, call) = live_with(ASK);
    world.say_direct("alice", call, true).unwrap();
    assert_eq!(direct(&world, "bob", call).peer_consent, Given, "bob is asked");
    assert_eq!(phase(&world, call), DirectPhase::Routed);
    let offer = DirectStep::Offer(alices());
    assert_eq!(world.direct_step("alice", call, 0, &offer), Err(CommandError::Direct(DirectError::Stale)));

    world.say_direct("bob", call, true).unwrap();
    assert_eq!(phase(&world, call), DirectPhase::Negotiating);
    assert!(direct(&world, "alice", call).offerer && !direct(&world, "bob", call).offerer);

    world.direct_step("alice", call, 1, &offer).unwrap();
    assert!(!crossed(&world, "bob").contains("203.0.113.10"), "an offer alone tells bob nothing");
    assert_eq!(world.records[&call].exposure, [None, None]);

    world.direct_step("bob", call, 1, &DirectStep::Answer(bobs())).unwrap();
    assert!(crossed(&world, "bob").contains("203.0.113.10"));
    assert!(crossed(&world, "alice").contains("198.51.100.20"));
    for device in ["alice", "bob"] {
        assert!(
            !crossed(&world, device).contains("10.1.0.2") && !crossed(&world, device).contains("10.2.0.2")
        );
        let view = &world.devices[device].calls[&call];
        let (own, peer) = (view.own_exposure.unwrap(), view.peer_exposure.unwrap());
        assert!(own.public && !own.local_network && peer.public && own.since == world.now);
    }
    world.direct_step("alice", call, 1, &DirectStep::Decoding).unwrap();
    assert_eq!(phase(&world, call), DirectPhase::Connecting, "bob does not hear her there yet");
    world.direct_step("bob", call, 1, &DirectStep::Decoding).unwrap();
    assert_eq!(phase(&world, call), DirectPhase::Active);
    assert_eq!(world.plan(call).unwrap().routes().len(), 2, "the router's legs stay ready");
}

#[test]
fn a_standing_yes_of_both_needs_no_question_but_only_once_the_call_is_live() {
    let anyone = PrivacySettings { direct: DirectSetting::Anyone, ..ASK };
    let mut world = World::new();
    world.settings = anyone;
    world.online("alice").unwrap();
    world.online("bob").unwrap();
    let call = world.place("alice", "bob").unwrap().id;
    world.leg_up("alice", call);
    let early = world.direct_step("alice", call, 1, &DirectStep::Offer(alices()));
    assert_eq!(early, Err(CommandError::Direct(DirectError::NotLive)));
    assert_eq!(world.devices["alice"].calls[&call].direct, None, "while it rings there is nothing to see");
    world.accept("bob", call).unwrap();
    let early = world.direct_step("alice", call, 1, &DirectStep::Offer(alices()));
    assert_eq!(early, Err(CommandError::Direct(DirectError::NotLive)), "answered, but no media yet");
    world.leg_up("bob", call);
    assert_eq!(phase(&world, call), DirectPhase::Negotiating);
    go_direct(&mut world, call);
}

#[test]
fn going_private_takes_effect_at_once_and_the_other_one_is_told() {
    let (mut world, call) = live_with(PrivacySettings { direct: DirectSetting::Anyone, ..ASK });
    go_direct(&mut world, call);
    world.say_direct("bob", call, false).unwrap();
    assert_eq!(phase(&world, call), DirectPhase::Routed);
    assert_eq!(direct(&world, "alice", call).last_end, Some(DirectEnd::Withdrawn));
    assert_eq!(direct(&world, "alice", call).peer_consent, NotGiven);
    let late = world.direct_step("alice", call, 1, &DirectStep::Decoding);
    assert_eq!(late, Err(CommandError::Direct(DirectError::Stale)));
    world.wait_s(60);
    assert_eq!(phase(&world, call), DirectPhase::Routed, "nothing starts by itself against a no");
    assert!(
        world.devices["alice"].calls[&call].peer_exposure.is_some(),
        "what was learned stays in the ledger"
    );

    let since = world.records[&call].exposure[0].unwrap().since;
    world.say_direct("bob", call, true).unwrap();
    go_direct(&mut world, call);
    assert_eq!(direct(&world, "alice", call).attempt, 2);
    assert_eq!(world.records[&call].exposure[0].unwrap().since, since, "known since the first time");
}

#[test]
fn a_setting_switched_in_mid_call_takes_effect_at_once() {
    let (mut world, call) = live_with(PrivacySettings { direct: DirectSetting::Anyone, ..ASK });
    go_direct(&mut world, call);
    let by = Some(Party::Callee);
    world.recheck(call, Recheck { by, allowed: true, blocked: false, standing: [Given, Never] });
    assert_eq!(phase(&world, call), DirectPhase::Routed);
    assert_eq!(direct(&world, "bob", call).own_consent, Never);
    assert_eq!(direct(&world, "alice", call).peer_consent, NotGiven);
    assert_eq!(world.say_direct("bob", call, true), Err(CommandError::Direct(DirectError::NotAllowed)));
}

#[test]
fn a_call_that_is_no_longer_allowed_stops_ringing_and_a_block_ends_a_call() {
    for (by, end) in [(Party::Callee, EndReason::Declined), (Party::Caller, EndReason::Cancelled)] {
        let mut world = World::new();
        world.online("alice").unwrap();
        world.online("bob").unwrap();
        let call = world.place("alice", "bob").unwrap().id;
        let recheck = Recheck { by: Some(by), allowed: true, blocked: false, standing: [Never; 2] };
        world.recheck(call, recheck);
        assert_eq!(world.devices["bob"].calls[&call].state, CallState::Ringing, "still allowed");
        world.recheck(call, Recheck { allowed: false, ..recheck });
        for device in ["alice", "bob"] {
            assert_eq!(world.devices[device].calls[&call].state, CallState::Ended(end));
        }
    }
    let (mut world, call) = live_with(ASK);
    let recheck =
        Recheck { by: Some(Party::Callee), allowed: false, blocked: false, standing: [NotGiven; 2] };
    world.recheck(call, recheck);
    assert_eq!(world.devices["alice"].calls[&call].state, CallState::Live, "who talks goes on talking");
    world.recheck(call, Recheck { blocked: true, ..recheck });
    assert_eq!(world.devices["alice"].calls[&call].state, CallState::Ended(EndReason::HungUp));
}

#[test]
fn an_attempt_that_fails_at_any_step_leaves_the_call_on_the_router() {
    let steps = [
        ("alice", DirectStep::Offer(alices())),
        ("bob", DirectStep::Answer(bobs())),
        ("alice", DirectStep::Decoding),
        ("bob", DirectStep::Decoding),
    ];
    for done in 0..=steps.len() {
        for reporter in [Some("alice"), Some("bob"), None] {
            let (mut world, call) = live_with(PrivacySettings { direct: DirectSetting::Anyone, ..ASK });
            for (device, step) in &steps[..done] {
                world.direct_step(device, call, 1, step).unwrap();
            }
            match reporter {
                Some(device) => world.direct_step(device, call, 1, &DirectStep::Failed).unwrap(),
                None => world.wait(ATTEMPT_TIMEOUT),
            }
            let came_up = reporter.is_none() && done == steps.len();
            let expected = if came_up { DirectPhase::Active } else { DirectPhase::Routed };
            assert_eq!(phase(&world, call), expected, "{done} steps, failed by {reporter:?}");
            assert_eq!(world.devices["alice"].calls[&call].state, CallState::Live);
            if !came_up {
                world.wait_s(100);
                assert_eq!(direct(&world, "bob", call).attempt, 1, "nobody is asked again and again");
                world.say_direct("bob", call, true).unwrap();
                go_direct(&mut world, call);
            }
        }
    }
}

#[test]
fn where_neither_can_be_reached_nothing_crosses() {
    let (mut world, call) = live_with(PrivacySettings { direct: DirectSetting::Anyone, ..ASK });
    world.direct_step("alice", call, 1, &DirectStep::Offer(sdp(&[]))).unwrap();
    world.direct_step("bob", call, 1, &DirectStep::Answer(sdp(&[]))).unwrap();
    assert_eq!(direct(&world, "bob", call).last_end, Some(DirectEnd::Failed));
    assert_eq!(world.records[&call].exposure, [None, None]);
}

#[test]
fn steps_out_of_turn_change_nothing() {
    let (mut world, call) = live_with(PrivacySettings { direct: DirectSetting::Anyone, ..ASK });
    let stale = Err(CommandError::Direct(DirectError::Stale));
    assert_eq!(world.direct_step("bob", call, 1, &DirectStep::Offer(bobs())), stale, "bob is the answerer");
    assert_eq!(world.direct_step("bob", call, 1, &DirectStep::Answer(bobs())), stale, "there is no offer");
    assert_eq!(world.direct_step("bob", call, 1, &DirectStep::Decoding), stale, "there is nothing to decode");
    assert_eq!(world.direct_step("alice", call, 2, &DirectStep::Offer(alices())), stale);
    assert_eq!(world.direct_step("alice", call, 0, &DirectStep::Offer(alices())), stale);
    let bad = world.direct_step("alice", call, 1, &DirectStep::Offer(Sealed::new("nonsense")));
    assert!(matches!(bad, Err(CommandError::Direct(DirectError::Description(_)))));
    world.direct_step("alice", call, 1, &DirectStep::Offer(alices())).expect("a bad offer used nothing up");
    assert_eq!(world.direct_step("alice", call, 1, &DirectStep::Offer(alices())), stale, "one offer");
    world.direct_step("bob", call, 1, &DirectStep::Answer(bobs())).unwrap();
    assert_eq!(world.direct_step("bob", call, 1, &DirectStep::Answer(bobs())), stale, "one answer");
    world.direct_step("bob", call, 1, &DirectStep::Decoding).unwrap();
    assert_eq!(world.direct_step("bob", call, 1, &DirectStep::Decoding), stale, "said twice counts once");
    assert_eq!(phase(&world, call), DirectPhase::Connecting);
    assert_eq!(world.devices["bob"].signals.len(), 2, "the offer and the candidates, once each");
}

#[test]
fn another_device_of_the_party_and_a_stranger_cannot_take_part() {
    let (mut world, call) = live_with(ASK);
    world.online("bob/tablet").unwrap();
    world.online("mallory").unwrap();
    world.say_direct("alice", call, true).unwrap();
    assert_eq!(world.say_direct("mallory", call, true), Err(CommandError::CallUnknown));
    assert_eq!(world.say_direct("bob/tablet", call, true), Err(CommandError::NotOnThisDevice));
    assert_eq!(phase(&world, call), DirectPhase::Routed, "alice exposes herself to nobody");
    let stolen = world.session("bob");
    for thief in ["alice", "mallory"] {
        let thief = support::account(thief);
        world.board.handle_set_direct(world.now, &thief, stolen, call, true).unwrap_err();
        let step = DirectStep::Answer(bobs());
        world.board.handle_send_direct(world.now, &thief, stolen, call, 1, &step).unwrap_err();
        world.settle();
    }
    assert_eq!(direct(&world, "bob", call).own_consent, NotGiven, "nobody says yes in his name");
}

#[test]
fn a_yes_said_again_and_again_is_not_the_others() {
    let (mut world, call) = live_with(ASK);
    for _ in 0..5 {
        world.say_direct("alice", call, true).unwrap();
    }
    assert_eq!(direct(&world, "bob", call).own_consent, NotGiven);
    assert_eq!(phase(&world, call), DirectPhase::Routed);
    for attempt in 0..3 {
        for step in [DirectStep::Offer(alices()), DirectStep::Answer(alices()), DirectStep::Decoding] {
            let answer = world.direct_step("alice", call, attempt, &step);
            assert_eq!(answer, Err(CommandError::Direct(DirectError::Stale)));
        }
    }
    world.say_direct("bob", call, false).unwrap();
    world.say_direct("alice", call, true).unwrap();
    assert_eq!(phase(&world, call), DirectPhase::Routed, "after a no as well");
    assert!(world.devices["bob"].signals.is_empty());
}

#[test]
fn a_yes_of_an_earlier_call_is_worth_nothing_in_the_next() {
    let (mut world, first) = live_with(ASK);
    world.say_direct("alice", first, true).unwrap();
    world.say_direct("bob", first, true).unwrap();
    go_direct(&mut world, first);
    world.hang_up("bob", first).unwrap();
    let call = world.place("alice", "bob").unwrap().id;
    for device in ["alice", "bob"] {
        world.say_direct(device, first, true).unwrap_err();
        world.leg_up(device, call);
    }
    world.accept("bob", call).unwrap();
    let before = ["alice", "bob"].map(|device| world.devices[device].signals.len());
    for device in ["alice", "bob"] {
        assert_eq!(direct(&world, device, call).own_consent, NotGiven);
    }
    world.say_direct("alice", call, true).unwrap();
    world.say_direct("bob", first, true).unwrap_err();
    for replayed in [first, call] {
        world.direct_step("alice", replayed, 1, &DirectStep::Offer(alices())).unwrap_err();
        world.direct_step("bob", replayed, 1, &DirectStep::Answer(bobs())).unwrap_err();
    }
    assert_eq!(phase(&world, call), DirectPhase::Routed);
    assert_eq!(["alice", "bob"].map(|device| world.devices[device].signals.len()), before);
    assert_eq!(world.records[&call].exposure, [None, None]);
}

#[test]
fn what_crosses_and_whom_it_concerns_cannot_be_printed() {
    let (offer, candidates) = (alices(), vec![Sealed::new("candidate:1 1 udp 1 203.0.113.10 4000 typ host")]);
    let steps = [DirectStep::Offer(offer.clone()), DirectStep::Answer(offer.clone())];
    let signals = [DirectSignal::Offer(offer), DirectSignal::Candidates(candidates)];
    let shown =
        format!("{steps:?} {signals:?} {:?} {:?}", support::person("alice"), support::account("alice"));
    for secret in ["203.0.113.10", "10.1.0.2", "4000", "uuuu", "candidate:", "alice"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn a_reload_starts_over_and_the_old_attempt_is_dead() {
    let (mut world, call) = live_with(PrivacySettings { direct: DirectSetting::Anyone, ..ASK });
    go_direct(&mut world, call);
    world.forget("bob");
    world.online("bob").unwrap();
    let attempt = direct(&world, "bob", call).attempt;
    assert_eq!(
        (phase(&world, call), attempt),
        (DirectPhase::Negotiating, 2),
        "a new attempt with the new page"
    );
    let old = world.direct_step("alice", call, 1, &DirectStep::Decoding);
    assert_eq!(old, Err(CommandError::Direct(DirectError::Stale)));
}

#[test]
fn a_direct_call_outlives_a_stall_of_a_routed_leg() {
    let (mut world, call) = live_with(PrivacySettings { direct: DirectSetting::Anyone, ..ASK });
    let order = world.leg_up("alice", call);
    go_direct(&mut world, call);
    world.report(&order, call, LegReport::Stalled);
    assert_eq!(phase(&world, call), DirectPhase::Active);
    world.report(&order, call, LegReport::Connected);
    assert_eq!(phase(&world, call), DirectPhase::Active);
}

#[test]
fn after_a_restart_of_control_a_call_is_private_until_policy_was_asked_again() {
    let (mut world, call) = live_with(PrivacySettings { direct: DirectSetting::Anyone, ..ASK });
    go_direct(&mut world, call);
    let kept = world.records[&call].clone();
    let mut again = World::new();
    again.board.handle_restore(again.now, kept);
    again.online("alice").unwrap();
    again.online("bob").unwrap();
    assert_eq!(phase(&again, call), DirectPhase::Routed);
    assert_eq!(direct(&again, "alice", call).own_consent, Never);
    assert!(again.devices["alice"].calls[&call].own_exposure.is_some(), "the ledger is kept");
}

/// Whatever the two do, in whatever order: what crosses was agreed to by both at that moment, and no more than one step for each.
#[test]
fn random_histories_never_let_anything_cross_without_both() {
    let seeds = match std::env::var("DUOCAST_SEED") {
        Ok(seed) => vec![seed.parse().expect("DUOCAST_SEED is a number")],
        Err(_) => (1..=2_000).collect::<Vec<u64>>(),
    };
    let mut introduced = 0;
    for seed in seeds {
        introduced += history(seed);
    }
    assert!(introduced > 100, "the histories reach the interesting place ({introduced})");
}

fn history(seed: u64) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let (mut world, call) = live_with(ASK);
    let (mut standing, mut said, mut introduced) = ([NotGiven; 2], [None; 2], 0);
    for _ in 0..120 {
        let who = random(2) as usize;
        let device = ["alice", "bob"][who];
        let before = world.devices.values().map(|d| d.signals.len()).sum::<usize>();
        // Mostly the present attempt; the next one and older ones as well.
        let attempt =
            (direct(&world, device, call).attempt + 1).saturating_sub([0, 1, 1, 1, 1, 2][random(6) as usize]);
        match random(9) {
            0 | 1 => {
                let yes = random(4) > 0;
                let answer = world.say_direct(device, call, yes);
                if answer.is_ok() {
                    said[who] = Some(yes);
                } else {
                    assert!(
                        yes && standing[who] == Never || matches!(answer, Err(CommandError::Budget(_))),
                        "seed {seed}"
                    );
                }
            }
            2 => {
                standing[who] = [Never, NotGiven, Given][random(3) as usize];
                let by = Some(Party::BOTH[who]);
                world.recheck(call, Recheck { by, allowed: true, blocked: false, standing });
            }
            3 | 4 => {
                let _ = world.direct_step(device, call, attempt, &DirectStep::Offer(alices()));
            }
            5 | 6 => {
                let _ = world.direct_step(device, call, attempt, &DirectStep::Answer(bobs()));
            }
            7 => {
                let _ = world.direct_step(device, call, attempt, &DirectStep::Decoding);
            }
            _ => {
                if random(3) == 0 {
                    let _ = world.direct_step(device, call, attempt, &DirectStep::Failed);
                }
                world.wait_s(random(5));
            }
        }
        let agreed = (0..2).all(|at| match (standing[at], said[at]) {
            (Never, _) => false,
            (_, Some(word)) => word,
            (setting, None) => setting == Given,
        });
        let after = world.devices.values().map(|d| d.signals.len()).sum::<usize>();
        assert!(after == before || agreed, "seed {seed}: something crossed without both");
        assert!(agreed || phase(&world, call) == DirectPhase::Routed, "seed {seed}: direct without both");
        introduced += usize::from(after - before == 3);
        if world.records[&call].exposure == [None, None] {
            for device in ["alice", "bob"] {
                let text = crossed(&world, device);
                assert!(
                    !text.contains("203.0.113.10") && !text.contains("198.51.100.20"),
                    "seed {seed}: not in the ledger"
                );
            }
        }
    }
    introduced
}
