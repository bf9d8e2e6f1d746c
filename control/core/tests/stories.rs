//! What happens in a call, told on virtual time.

mod support;

use std::time::Duration;

use duocast_control_core::Limits;
use duocast_control_core::switchboard::{CommandError, LegReport, PlaceError, SubscribeError};
use duocast_model::CallState::{Accepted, Created, Ended, Live, Ringing};
use duocast_model::{CallId, EndReason, LegId};
use support::World;

fn alice_and_bob() -> World {
    let mut world = World::new();
    world.online("alice").unwrap();
    world.online("bob/phone").unwrap();
    world.online("bob/tablet").unwrap();
    world
}

fn ringing() -> (World, CallId) {
    let mut world = alice_and_bob();
    let call = world.place("alice", "bob").unwrap().id;
    (world, call)
}

fn live() -> (World, CallId) {
    let (mut world, call) = ringing();
    world.leg_up("alice", call);
    world.leg_up("bob/phone", call);
    world.accept("bob/phone", call).unwrap();
    assert_eq!(seen(&world, "alice", call), Live);
    (world, call)
}

fn seen(world: &World, device: &str, call: CallId) -> duocast_model::CallState {
    world.devices[device].calls[&call].state
}

#[test]
fn a_call_rings_everywhere_is_answered_once_and_media_flows_at_the_answer() {
    let (mut world, call) = ringing();
    assert_eq!(seen(&world, "alice", call), Ringing);
    assert_eq!(seen(&world, "bob/tablet", call), Ringing);

    let a = world.leg_up("alice", call);
    let b = world.leg_up("bob/phone", call);
    world.leg_up("bob/tablet", call);
    assert_eq!(world.plan(call).unwrap().legs().len(), 3);
    assert!(world.plan(call).unwrap().routes().is_empty(), "nothing is let through while it rings");

    world.accept("bob/phone", call).unwrap();
    let plan = world.plan(call).unwrap();
    assert_eq!(plan.legs(), [a.leg, b.leg], "the tablet's leg is gone");
    assert_eq!(plan.routes().len(), 2);
    assert_eq!(seen(&world, "alice", call), Live, "both legs were prepared");
    assert_eq!(seen(&world, "bob/tablet", call), Ended(EndReason::AnsweredElsewhere));

    assert_eq!(world.accept("bob/phone", call).unwrap().state, Live, "a repeated answer is the same answer");
    assert_eq!(world.accept("bob/tablet", call), Err(CommandError::AnsweredElsewhere));
    assert_eq!(world.accept("alice", call), Err(CommandError::NotTheCallee));

    world.hang_up("bob/phone", call).unwrap();
    assert_eq!(seen(&world, "alice", call), Ended(EndReason::HungUp));
    assert!(world.plan(call).unwrap().is_teardown());
    assert_eq!(
        world.hang_up("alice", call).unwrap().state,
        Ended(EndReason::HungUp),
        "hanging up twice is fine"
    );
    assert_eq!(
        seen(&world, "bob/tablet", call),
        Ended(EndReason::AnsweredElsewhere),
        "and the tablet hears no more"
    );
}

#[test]
fn a_call_ends_in_every_way_that_it_can() {
    let (mut world, call) = ringing();
    world.decline("bob/tablet", call).unwrap();
    assert_eq!(seen(&world, "alice", call), Ended(EndReason::Declined));
    assert_eq!(seen(&world, "bob/phone", call), Ended(EndReason::Declined));
    assert_eq!(world.accept("bob/phone", call), Err(CommandError::CallEnded(EndReason::Declined)));

    let (mut world, call) = ringing();
    world.hang_up("alice", call).unwrap();
    assert_eq!(seen(&world, "bob/phone", call), Ended(EndReason::Cancelled));

    let (mut world, call) = ringing();
    world.wait_s(44);
    assert_eq!(seen(&world, "bob/phone", call), Ringing);
    world.wait_s(1);
    assert_eq!(seen(&world, "bob/phone", call), Ended(EndReason::TimedOut));

    let (mut world, call) = ringing();
    world.accept("bob/phone", call).unwrap();
    assert_eq!(seen(&world, "alice", call), Accepted);
    world.wait_s(30);
    assert_eq!(seen(&world, "alice", call), Ended(EndReason::MediaFailed));
}

#[test]
fn a_device_that_prepares_its_leg_while_it_rings_is_told_so_and_nobody_else_is() {
    let (mut world, call) = ringing();
    assert!(world.devices["bob/phone"].calls[&call].leg_wanted);
    let heard: Vec<u64> = ["alice", "bob/tablet"].map(|d| world.devices[d].last_seq).to_vec();
    let order = world.leg_up("bob/phone", call);
    assert!(!world.devices["bob/phone"].calls[&call].leg_wanted);
    world.report(&order, call, LegReport::Closed);
    assert!(world.devices["bob/phone"].calls[&call].leg_wanted);
    assert_eq!(["alice", "bob/tablet"].map(|d| world.devices[d].last_seq).to_vec(), heard);
}

#[test]
fn a_third_person_hears_busy_and_the_call_is_not_disturbed() {
    let (mut world, call) = live();
    world.online("carol").unwrap();
    let busy = world.place("carol", "bob").unwrap();
    assert_eq!(busy.state, Ended(EndReason::Busy));
    assert_eq!(seen(&world, "alice", call), Live);
    assert!(!world.devices["bob/phone"].calls.contains_key(&busy.id), "bob's devices hear nothing of it");
    assert_eq!(world.place("alice", "carol"), Err(PlaceError::AlreadyInCall));
}

#[test]
fn two_people_who_call_each_other_at_once_are_told_to_pick_up() {
    let (mut world, _) = ringing();
    assert_eq!(world.place("bob/phone", "alice"), Err(PlaceError::PeerIsCalling));
}

#[test]
fn placing_twice_with_one_key_is_one_call() {
    let mut world = alice_and_bob();
    let first = world.place_as("alice", "bob", "key").unwrap();
    let second = world.place_as("alice", "bob", "key").unwrap();
    assert_eq!(first.id, second.id);
    assert_eq!(world.board.counts().calls, 1);
    assert_eq!(world.place_as("alice", "bob", ""), Err(PlaceError::RequestIdInvalid));
    assert_eq!(world.place_as("alice", "bob", &"x".repeat(65)), Err(PlaceError::RequestIdInvalid));
}

#[test]
fn a_callee_who_is_away_for_a_moment_is_rung_when_back_and_one_who_is_offline_is_not_waited_for() {
    let mut world = World::new();
    world.online("alice").unwrap();
    assert_eq!(world.place("alice", "bob"), Err(PlaceError::CalleeOffline));
    world.online("bob").unwrap();
    world.offline("bob");
    let call = world.place("alice", "bob").unwrap();
    assert_eq!(call.state, Created);
    assert_eq!(
        world.accept("bob", call.id),
        Err(CommandError::NotRinging),
        "nothing answers before it rings"
    );
    world.wait_s(3);
    world.online("bob").unwrap();
    assert_eq!(seen(&world, "bob", call.id), Ringing);
    assert_eq!(seen(&world, "alice", call.id), Ringing);
}

#[test]
fn a_device_that_comes_online_while_it_rings_rings_too() {
    let (mut world, call) = ringing();
    world.online("bob/laptop").unwrap();
    assert_eq!(seen(&world, "bob/laptop", call), Ringing);
    world.leg_up("bob/laptop", call);
    world.accept("bob/laptop", call).unwrap();
    assert_eq!(seen(&world, "bob/phone", call), Ended(EndReason::AnsweredElsewhere));
}

#[test]
fn somebody_elses_call_does_not_exist() {
    let (mut world, call) = live();
    world.online("mallory").unwrap();
    let never = CallId::from_u128(999_999);
    for id in [call, never] {
        assert_eq!(world.accept("mallory", id), Err(CommandError::CallUnknown));
        assert_eq!(world.decline("mallory", id), Err(CommandError::CallUnknown));
        assert_eq!(world.hang_up("mallory", id), Err(CommandError::CallUnknown));
        assert_eq!(world.connect_leg("mallory", id, None), Err(CommandError::CallUnknown));
        assert_eq!(world.board.call(&support::account("mallory"), id), None);
    }
    assert_eq!(seen(&world, "alice", call), Live);
}

#[test]
fn who_gets_no_picture_for_want_of_room_is_told_and_nobody_else_is() {
    let (mut world, call) = live();
    let leg = world.plan(call).unwrap().legs()[1];
    let order = duocast_control_core::switchboard::LegOrder { node: support::node("n1"), leg };
    let of = |world: &World, device: &str| world.devices[device].calls[&call].clone();
    let before = of(&world, "alice");
    for (report, is_without) in [
        (LegReport::WithoutPictures, true),
        (LegReport::Connected, false),
        (LegReport::WithoutPictures, true),
        (LegReport::Stalled, false),
    ] {
        let seen = of(&world, "bob/phone").revision;
        world.report(&order, call, report);
        let bobs = of(&world, "bob/phone");
        assert_eq!(bobs.without_pictures, is_without, "{report:?}");
        assert!(bobs.revision > seen, "it is news");
        if report != LegReport::Stalled {
            assert_eq!(of(&world, "alice"), before, "not even a number says so to the other party");
        }
    }
    assert_eq!(seen(&world, "alice", call), Live);
}

#[test]
fn a_party_that_loses_its_media_may_come_back_within_thirty_seconds() {
    let (mut world, call) = live();
    let leg = world.plan(call).unwrap().legs()[1];
    let order = duocast_control_core::switchboard::LegOrder { node: support::node("n1"), leg };
    world.report(&order, call, LegReport::Stalled);
    assert!(!world.devices["alice"].calls[&call].peer_connected);
    world.wait_s(29);
    world.report(&order, call, LegReport::Connected);
    assert!(world.devices["alice"].calls[&call].peer_connected);
    world.wait_s(60);
    assert_eq!(seen(&world, "alice", call), Live);

    world.report(&order, call, LegReport::Closed);
    assert!(world.devices["bob/phone"].calls[&call].leg_wanted, "bob's client is asked for a new leg");
    world.wait_s(30);
    assert_eq!(seen(&world, "alice", call), Ended(EndReason::PartyLost));
}

#[test]
fn a_reload_in_mid_call_takes_the_seat_again_with_a_new_leg() {
    let (mut world, call) = live();
    world.forget("bob/phone");
    world.wait_s(2);
    world.online("bob/phone").unwrap();
    let view = &world.devices["bob/phone"].calls[&call];
    assert!(view.on_this_device && view.state == Live);
    let order = world.leg_up("bob/phone", call);
    assert!(world.plan(call).unwrap().legs().contains(&order.leg));
    assert_eq!(world.plan(call).unwrap().legs().len(), 2, "the old leg is gone");
    assert_eq!(world.plan(call).unwrap().routes().len(), 2);
    assert!(world.devices["alice"].calls[&call].peer_connected);
}

#[test]
fn a_call_goes_on_without_any_signalling_as_long_as_media_flows() {
    let (mut world, call) = live();
    world.offline("alice");
    world.offline("bob/phone");
    world.wait_s(600);
    assert_eq!(world.board.call(&support::account("alice"), call).unwrap().state, Live);
    world.online("alice").unwrap();
    assert_eq!(seen(&world, "alice", call), Live);
    world.hang_up("alice", call).unwrap();
}

#[test]
fn a_caller_who_vanishes_while_it_rings_stops_the_ringing() {
    let (mut world, call) = ringing();
    world.forget("alice");
    world.wait_s(30);
    assert_eq!(seen(&world, "bob/phone", call), Ended(EndReason::PartyLost));
}

#[test]
fn an_ice_restart_keeps_the_leg_and_a_foreign_leg_is_refused() {
    let (mut world, call) = live();
    let [a, b] = world.plan(call).unwrap().legs() else { panic!("two legs") };
    let (a, b) = (*a, *b);
    let before = world.plan(call).unwrap().generation();
    assert_eq!(world.connect_leg("alice", call, Some(a)).unwrap().leg, a);
    assert_eq!(world.plan(call).unwrap().generation(), before, "nothing to plan");
    assert_eq!(world.connect_leg("alice", call, Some(b)), Err(CommandError::LegUnknown));
    assert_eq!(world.connect_leg("bob/tablet", call, None), Err(CommandError::AnsweredElsewhere));
}

#[test]
fn control_restarts_and_the_call_goes_on_with_its_legs_if_the_node_kept_them() {
    let (world, call) = live();
    let kept = world.records[&call].clone();
    for (boot, legs_survive) in [("boot-1", true), ("boot-2", false)] {
        let mut after = World::without_node(Limits::default());
        after.now = world.now.plus(Duration::from_secs(2));
        after.records.insert(call, kept.clone());
        after.board.handle_restore(after.now, kept.clone());
        after.node_up("n1", boot);
        after.online("alice").unwrap();
        after.online("bob/phone").unwrap();
        assert_eq!(seen(&after, "alice", call), Live);
        assert_eq!(after.devices["alice"].calls[&call].leg_wanted, !legs_survive);
        assert_eq!(after.plan(call).unwrap().routes().len(), if legs_survive { 2 } else { 0 });
        if legs_survive {
            for leg in after.plan(call).unwrap().legs().to_vec() {
                let order = duocast_control_core::switchboard::LegOrder { node: support::node("n1"), leg };
                after.report(&order, call, LegReport::Connected);
            }
        } else {
            after.leg_up("alice", call);
            after.leg_up("bob/phone", call);
        }
        after.wait_s(120);
        assert_eq!(seen(&after, "bob/phone", call), Live);
    }
}

#[test]
fn a_muted_microphone_stays_muted_over_a_restart_of_control() {
    let (mut world, call) = live();
    let muted = duocast_model::MediaState { audio: false, video: false };
    let session = world.session("alice");
    world.board.handle_media(world.now, &support::account("alice"), session, call, muted).unwrap();
    world.settle();
    let mut after = World::without_node(Limits::default());
    after.board.handle_restore(after.now, world.records[&call].clone());
    assert_eq!(after.board.call(&support::account("bob"), call).unwrap().peer_media, muted);
}

#[test]
fn control_restarts_and_those_who_do_not_come_back_end_the_call_with_a_reason() {
    let (world, call) = live();
    let mut after = World::without_node(Limits::default());
    after.board.handle_restore(after.now, world.records[&call].clone());
    after.node_up("n1", "boot-2");
    after.online("alice").unwrap();
    after.leg_up("alice", call);
    after.wait_s(30);
    assert_eq!(seen(&after, "alice", call), Ended(EndReason::PartyLost));
}

#[test]
fn a_lost_node_moves_its_calls_and_without_another_they_end() {
    let (mut world, call) = live();
    world.node_up("n2", "other");
    world.node_down("n1");
    world.wait_s(14);
    assert!(!world.devices["alice"].calls[&call].leg_wanted, "media goes on without the link");
    world.wait_s(1);
    assert!(world.devices["alice"].calls[&call].leg_wanted);
    assert_eq!(world.leg_up("alice", call).node, support::node("n2"));
    world.leg_up("bob/phone", call);
    assert!(world.devices["alice"].calls[&call].peer_connected);

    world.node_down("n2");
    world.wait_s(15);
    assert_eq!(seen(&world, "alice", call), Ended(EndReason::NodeLost));
    assert_eq!(world.place("alice", "bob"), Err(PlaceError::NoCapacity));
}

#[test]
fn who_asks_for_a_leg_while_the_node_is_away_gets_one_on_another_at_once() {
    let (mut world, call) = live();
    world.node_up("n2", "other");
    let old = world.plan(call).unwrap().legs().to_vec();
    world.node_down("n1");
    assert!(!world.devices["bob/phone"].calls[&call].leg_wanted, "media may go on");
    assert_eq!(world.leg_up("alice", call).node, support::node("n2"));
    assert!(world.devices["bob/phone"].calls[&call].leg_wanted, "the other one follows");
    world.leg_up("bob/phone", call);
    world.node_up("n1", "boot-1");
    let now = world.plan(call).expect("of the other node alone").legs().to_vec();
    assert!(now.len() == 2 && old.iter().all(|leg| !now.contains(leg)), "{old:?} {now:?}");
    world.wait_s(60);
    assert_eq!(seen(&world, "alice", call), Live);
    assert_eq!(world.leg_up("alice", call).node, support::node("n2"), "it stays there");
}

#[test]
fn an_ice_restart_on_a_node_that_is_away_finds_its_leg_gone() {
    let (mut world, call) = live();
    let leg = world.leg_up("alice", call).leg;
    world.node_down("n1");
    let alone = world.connect_leg("alice", call, Some(leg)).unwrap();
    assert_eq!(alone.node, support::node("n1"), "there is no other node: it is waited for");
    world.node_up("n2", "other");
    assert_eq!(world.connect_leg("alice", call, Some(leg)), Err(CommandError::LegUnknown));
    assert_eq!(world.leg_up("alice", call).node, support::node("n2"));
}

#[test]
fn who_may_not_have_a_leg_moves_no_call() {
    let (mut world, call) = live();
    world.node_up("n2", "other");
    let stranger = LegId::from_u128(77);
    world.node_down("n1");
    assert_eq!(world.connect_leg("bob/tablet", call, None), Err(CommandError::AnsweredElsewhere));
    assert_eq!(world.connect_leg("alice", call, Some(stranger)), Err(CommandError::LegUnknown));
    for device in ["alice", "bob/phone"] {
        assert!(!world.devices[device].calls[&call].leg_wanted, "media may go on");
    }
    world.node_up("n1", "boot-1");
    assert_eq!(world.leg_up("alice", call).node, support::node("n1"), "nothing has moved");
}

#[test]
fn a_node_that_has_not_come_back_since_control_restarted_is_waited_for() {
    let (world, call) = live();
    let mut after = World::without_node(Limits::default());
    after.board.handle_restore(after.now, world.records[&call].clone());
    after.node_up("n2", "other");
    after.online("alice").unwrap();
    let order = after.connect_leg("alice", call, None).unwrap();
    assert_eq!(order.node, support::node("n1"));
}

#[test]
fn a_node_that_stops_as_planned_hands_its_calls_over_at_once() {
    let (mut world, call) = live();
    world.node_up("n2", "other");
    world.node_leaving("n1");
    assert!(world.devices["alice"].calls[&call].leg_wanted, "without waiting for the grace");
    assert_eq!(world.leg_up("alice", call).node, support::node("n2"));
    world.leg_up("bob/phone", call);
    world.wait_s(60);
    assert_eq!(seen(&world, "alice", call), Live);
}

#[test]
fn the_only_node_may_be_restarted_as_planned_within_the_grace() {
    let (mut world, call) = live();
    world.online("carol").unwrap();
    world.online("dave").unwrap();
    world.node_leaving("n1");
    assert_eq!(world.place("carol", "dave"), Err(PlaceError::NoCapacity), "it gets no new calls");
    world.wait_s(5);
    assert_eq!(seen(&world, "alice", call), Live);
    world.node_up("n1", "boot-2");
    assert_eq!(world.leg_up("alice", call).node, support::node("n1"));
    world.leg_up("bob/phone", call);
    world.wait_s(60);
    assert_eq!(seen(&world, "alice", call), Live);

    world.node_leaving("n1");
    world.wait_s(15);
    assert_eq!(seen(&world, "alice", call), Ended(EndReason::NodeLost), "nobody came");
}

#[test]
fn a_link_that_blinks_changes_nothing() {
    let (mut world, call) = live();
    let legs = world.plan(call).unwrap().legs().to_vec();
    world.node_down("n1");
    world.wait_s(5);
    world.node_up("n1", "boot-1");
    world.wait_s(60);
    assert_eq!(world.plan(call).unwrap().legs(), legs);
    assert_eq!(seen(&world, "alice", call), Live);
}

#[test]
fn a_link_that_blinks_twice_is_not_a_lost_node() {
    let (mut world, call) = live();
    world.node_down("n1");
    world.wait_s(1);
    world.node_up("n1", "boot-1");
    world.wait_s(13);
    world.node_down("n1");
    world.wait_s(2);
    world.node_up("n1", "boot-1");
    world.wait_s(60);
    assert_eq!(seen(&world, "alice", call), Live);
}

#[test]
fn control_comes_back_with_an_earlier_clock_and_its_plans_are_taken_all_the_same() {
    let (world, call) = live();
    let node_has = world.plan(call).unwrap().generation();
    let mut after = World::without_node(Limits::default());
    after.now = duocast_model::UnixMillis(world.now.0 - 900_000);
    after.records.insert(call, world.records[&call].clone());
    after.board.handle_restore(after.now, world.records[&call].clone());
    after.node_up("n1", "boot-1");
    assert!(after.plan(call).unwrap().generation() < node_has);
    after.board.handle_plan_refused(after.now, &support::node("n1"), call, node_has);
    after.settle();
    assert!(after.plan(call).unwrap().generation() > node_has);
    after.online("alice").unwrap();
    after.hang_up("alice", call).unwrap();
    assert!(after.plan(call).unwrap().is_teardown());
}

#[test]
fn a_late_decline_on_one_device_does_not_end_what_another_answered() {
    let (mut world, call) = live();
    assert_eq!(world.hang_up("bob/tablet", call), Err(CommandError::AnsweredElsewhere));
    assert_eq!(seen(&world, "alice", call), Live);
    world.forget("bob/phone");
    world.wait_s(31);
    world.online("bob/tablet").unwrap();
    world.hang_up("bob/tablet", call).unwrap();
    assert_eq!(
        seen(&world, "alice", call),
        Ended(EndReason::HungUp),
        "its device is gone for good: any other may"
    );
}

#[test]
fn a_caller_cannot_count_the_callees_devices() {
    let revision = |world: &World, call| world.board.call(&support::account("alice"), call).unwrap().revision;
    let (mut world, call) = ringing();
    let before = revision(&world, call);
    world.leg_up("bob/phone", call);
    world.leg_up("bob/tablet", call);
    assert_eq!(revision(&world, call), before);
}

#[test]
fn a_second_stream_of_a_session_takes_over() {
    let mut world = alice_and_bob();
    let first = world.devices["alice"].stream;
    world.online("alice").unwrap();
    assert_ne!(world.devices["alice"].stream, first);
    assert_eq!(world.board.counts().streams, 3);
    let session = world.session("alice");
    world.board.handle_stream_closed(world.now, session, first.unwrap());
    assert_eq!(world.board.counts().streams, 3, "the end of a stale stream changes nothing");
}

#[test]
fn sessions_have_a_bound_and_the_longest_broken_one_gives_way() {
    let mut world = World::new();
    for n in 0..8 {
        world.online(&format!("bob/{n}")).unwrap();
    }
    assert_eq!(world.online("bob/8"), Err(SubscribeError::TooManySessions));
    world.offline("bob/3");
    world.wait_s(1);
    world.offline("bob/5");
    world.online("bob/8").unwrap();
    assert_eq!(world.board.counts().sessions, 8);
    world.online("bob/5").unwrap();
    assert_eq!(world.board.counts().sessions, 8, "the fifth was still there");
}

#[test]
fn when_all_is_over_nothing_is_left() {
    let (mut world, call) = live();
    world.hang_up("alice", call).unwrap();
    for device in ["alice", "bob/phone", "bob/tablet"] {
        world.offline(device);
    }
    world.wait_s(120);
    assert_eq!(
        world.board.counts(),
        duocast_control_core::switchboard::Counts { nodes: 1, ..Default::default() }
    );
    assert_eq!(world.board.poll_timeout(), None);
    assert_eq!(world.board.call(&support::account("alice"), call), None);
}
