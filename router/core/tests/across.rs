//! One publisher for viewers on two shards of a node, told on virtual time.

mod world;

use std::time::Duration;

use duocast_model::{CallId, Generation, LegId, Route, RoutePlan};
use duocast_router_core::{DropReason, LegState};
use world::layers::{Camera, Picture};
use world::{Audio, Bottleneck, Video, World, call, leg, standard_client};

/// Client n has leg n + 1, so that the publisher (client 0) and the even ones are on worker 1, the odd ones on worker 0.
const VIEWERS: usize = 6;
const ELSEWHERE: [usize; 3] = [1, 3, 5];

const RIDS: [&str; 3] = ["q", "h", "f"];
const ENCODINGS: [(&str, u64); 3] = [("q", 150_000), ("h", 500_000), ("f", 1_200_000)];
/// Frames in a second.
const SECOND: usize = 25;

/// Client 0 publishes, the others view; nobody is connected yet.
fn announced(seed: u64, viewers: usize) -> World {
    let mut world = World::with_two_shards(seed);
    world.add_audience(viewers);
    world
}

fn all_connect(world: &mut World) {
    world.run_until("all connect", |w| w.clients.iter().all(|client| client.connected));
    world.run_for(Duration::from_millis(20));
}

fn on_air(seed: u64) -> World {
    let mut world = announced(seed, VIEWERS);
    (0..=VIEWERS).for_each(|n| world.offer(n, &[Audio, Video]).unwrap());
    all_connect(&mut world);
    world
}

/// Client 0 films in three sizes.
fn filmed(seed: u64, viewers: usize) -> (World, Camera) {
    let mut world = announced(seed, viewers);
    world.offer_simulcast(0, &RIDS).unwrap();
    (1..=viewers).for_each(|n| world.offer(n, &[Audio, Video]).unwrap());
    all_connect(&mut world);
    (world, Camera::new(&ENCODINGS))
}

fn expected(rounds: usize) -> Vec<String> {
    (0..rounds).map(|round| format!("Video {round} of 0")).collect()
}

fn last_of(world: &World, viewer: usize) -> Picture {
    *world.clients[viewer].decoded(0).last().expect("a picture")
}

#[test]
fn viewers_on_both_shards_see_and_hear_all_that_is_published() {
    let mut world = on_air(1);
    assert_eq!(world.shards().map(|shard| shard.leg_count()).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(world.shards().map(|shard| shard.call_count()).sum::<usize>(), 1, "it is one call");
    world.talk(30);
    (1..=VIEWERS).for_each(|viewer| world.send(viewer, Audio, b"a heckler"));
    world.run_for(Duration::from_millis(50));
    assert!(world.clients[0].received.is_empty());
    for viewer in &world.clients[1..] {
        assert_eq!(viewer.heard(Video), expected(30));
        assert_eq!(viewer.heard(Audio).len(), 30);
        let levels = viewer.received.iter().filter_map(|packet| packet.header.ext_vals.audio_level);
        assert_eq!(levels.collect::<Vec<_>>(), [-20; 30], "what passes within a shard passes across");
    }
    assert_eq!(world.pipe().packets, [0, 60], "once for all three of them, and nothing back");
    assert_eq!(world.shard.counters().audio_forwarded, 90);
    let dropped = world.shards().map(|shard| shard.counters().dropped_for(DropReason::NotRouted));
    assert_eq!(dropped.collect::<Vec<_>>(), [3, 3], "the hecklers");
}

#[test]
fn whose_viewers_are_all_elsewhere_is_seen_too() {
    let mut world = announced(2, 1);
    world.offer(0, &[Audio, Video]).unwrap();
    world.offer(1, &[Audio, Video]).unwrap();
    all_connect(&mut world);
    let asked = world.clients[0].keyframe_requests.len();
    world.talk(30);
    world.ask_keyframe(1);
    world.talk(30);
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.clients[1].heard(Video), [expected(30), expected(30)].concat());
    assert!(world.clients[0].keyframe_requests.len() > asked);
    let dropped = world.shards().map(|shard| shard.counters().dropped_for(DropReason::NotRouted));
    assert_eq!(dropped.sum::<u64>(), 0);
}

#[test]
fn viewers_who_ask_at_once_cost_the_publisher_one_key_frame_wherever_they_are() {
    let mut world = on_air(3);
    world.talk(60);
    let before = world.clients[0].keyframe_requests.len();
    let notes = world.pipe().notes[0];
    (1..=VIEWERS).for_each(|viewer| world.ask_keyframe(viewer));
    world.run_for(Duration::from_millis(300));
    assert_eq!(world.pipe().notes[0] - notes, 1, "one for all three");
    world.talk(60);
    assert_eq!(world.clients[0].keyframe_requests.len() - before, 1);
}

#[test]
fn who_joins_elsewhere_costs_one_key_frame_begins_with_it_and_the_others_miss_nothing() {
    let (mut world, mut camera) = filmed(4, 2);
    world.film(0, &mut camera, 2 * SECOND);
    let before = camera.keys.clone();
    let newcomer = world.add_client(standard_client());
    world.plan_audience(newcomer);
    world.offer(newcomer, &[Audio, Video]).unwrap();
    world.film(0, &mut camera, 2 * SECOND);
    assert_eq!(world.clients[newcomer].worker, 0);
    assert_eq!(camera.keys, [before[0], before[1], before[2] + 1]);
    let shown = world.clients[newcomer].decoded(0);
    assert!(shown[0].is_key && shown.len() > SECOND, "{}", shown.len());
    assert!(shown.iter().all(|picture| picture.encoding == 2));
    for viewer in [1, 2] {
        assert!(world.clients[viewer].decoded(0).len() > 4 * SECOND - 3, "the others miss nothing");
    }
}

#[test]
fn a_viewer_elsewhere_has_the_size_that_its_path_carries_and_goes_back_to_the_largest() {
    let (mut world, mut camera) = filmed(5, 3);
    world.film(0, &mut camera, 2 * SECOND);
    assert!((1..=3).all(|viewer| last_of(&world, viewer).encoding == 2));
    world.bottleneck = Some(Bottleneck::new(world.now, 1, 900_000, Duration::from_millis(300)));
    film(&mut world, &mut camera, 12);
    assert_eq!([1, 2, 3].map(|viewer| last_of(&world, viewer).encoding), [1, 2, 2]);
    world.bottleneck = None;
    film(&mut world, &mut camera, 20);
    assert_eq!([1, 2, 3].map(|viewer| last_of(&world, viewer).encoding), [2, 2, 2]);
    let shown = world.clients[3].decoded(0);
    let filmed = 2 * SECOND + 64 * (SECOND / 2);
    assert!(shown.len() > filmed - 3, "nothing of it costs the other one there: {} of {filmed}", shown.len());
}

/// A decoder of client 1 that had nothing to show asks for a key frame, as all do.
fn film(world: &mut World, camera: &mut Camera, seconds: usize) {
    for _ in 0..2 * seconds {
        let since = world.now;
        world.film(0, camera, SECOND / 2);
        if world.clients[1].decoded(0).iter().all(|picture| picture.at <= since) {
            world.ask_keyframe(1);
        }
    }
}

#[test]
fn what_is_lost_on_the_way_across_is_a_gap_there_and_the_next_key_frame_heals_it() {
    let (mut world, mut camera) = filmed(6, 2);
    world.film(0, &mut camera, SECOND);
    world.pipe().loss = 10;
    film(&mut world, &mut camera, 2);
    world.pipe().loss = 0;
    let (before, shown_before) = (camera.keys[2], world.clients[1].decoded(0).len());
    assert!(shown_before < 3 * SECOND - 5, "something was lost");
    world.ask_keyframe(1);
    world.film(0, &mut camera, 2 * SECOND);
    assert_eq!(camera.keys[2], before + 1);
    assert!(world.clients[1].decoded(0).len() > shown_before + 2 * SECOND - 10);
    assert!(world.clients[2].decoded(0).len() > 5 * SECOND - 5, "those beside the publisher miss nothing");
}

#[test]
fn a_publisher_who_comes_anew_is_seen_again_at_once_on_both_shards() {
    let (mut world, mut camera) = filmed(7, 2);
    world.film(0, &mut camera, 2 * SECOND);
    world.publisher_comes_anew(&RIDS);
    let (mut camera, began) = (Camera::new(&ENCODINGS), world.now);
    world.film(0, &mut camera, 2 * SECOND);
    for viewer in [1, 2] {
        let shown = world.clients[viewer].decoded(0);
        let first = shown.iter().find(|picture| picture.at > began).unwrap();
        assert!(first.at - began < Duration::from_millis(200), "{:?}", first.at - began);
        assert_eq!(shown.last().unwrap().encoding, 2);
    }
}

/// Nobody asks here: the viewer's shard knows by itself that what it has of the one before does not go on.
#[test]
fn a_publisher_who_comes_anew_is_asked_again_where_its_first_picture_is_lost_on_the_way_across() {
    let (mut world, mut camera) = filmed(18, 1);
    world.film(0, &mut camera, 2 * SECOND);
    world.publisher_comes_anew(&RIDS);
    let mut camera = Camera::new(&ENCODINGS);
    world.pipe().loss = 100;
    world.film(0, &mut camera, 5);
    let healed = world.now;
    world.pipe().loss = 0;
    world.film(0, &mut camera, 2 * SECOND);
    let shown = world.clients[1].decoded(0);
    let first = shown.iter().find(|picture| picture.at > healed).expect("a picture");
    assert!(first.at - healed < Duration::from_millis(700), "{:?}", first.at - healed);
    assert_eq!(shown.last().unwrap().encoding, 2);
}

#[test]
fn a_viewer_elsewhere_who_comes_anew_sees_again_and_its_numbers_are_its_own() {
    let mut world = on_air(8);
    world.talk(10);
    let again = world.add_client(standard_client());
    world.mute(again);
    world.offer_for(again, leg(1), &[Audio, Video]).unwrap();
    world.run_until("it connects", |w| w.clients[again].connected);
    world.run_for(Duration::from_millis(50));
    world.talk(20);
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.clients[again].heard(Video), expected(20));
    assert_eq!(world.clients[3].heard(Video), [expected(10), expected(20)].concat());
}

#[test]
fn a_picture_that_is_added_and_one_that_is_put_aside_are_so_on_both_shards() {
    let mut world = announced(9, 2);
    world.offer(0, &[Audio]).unwrap();
    (1..=2).for_each(|n| world.offer(n, &[Audio, Video]).unwrap());
    all_connect(&mut world);
    world.talk(10);
    world.offer(0, &[Video]).unwrap();
    world.run_for(Duration::from_millis(20));
    world.talk(10);
    world.run_for(Duration::from_millis(50));
    for viewer in [1, 2] {
        assert_eq!(world.clients[viewer].heard(Video), expected(10));
        assert_eq!(world.clients[viewer].heard(Audio).len(), 20, "no sound is lost for it");
    }
    world.set_direction(0, Video, str0m::media::Direction::Inactive);
    world.run_for(Duration::from_millis(20));
    world.send(0, Audio, b"sound alone");
    world.run_for(Duration::from_millis(50));
    for viewer in [1, 2] {
        assert_eq!(world.clients[viewer].heard(Audio).len(), 21);
    }
}

#[test]
fn once_the_last_viewer_elsewhere_has_left_nothing_crosses_and_the_others_go_on() {
    let mut world = on_air(10);
    assert_eq!(world.crossed_while_talking(10), 20);
    for viewer in ELSEWHERE {
        world.close(viewer);
        world.run_until("control hears of it", |w| w.events.contains(&(leg(viewer), LegState::Closed)));
    }
    world.run_for(Duration::from_millis(20));
    assert_eq!(world.crossed_while_talking(10), 0);
    assert_eq!(world.clients[2].heard(Video).len(), 20);
    // Its page is loaded anew.
    let again = world.add_client(standard_client());
    world.mute(again);
    world.offer_for(again, leg(3), &[Audio, Video]).unwrap();
    world.run_until("it connects", |w| w.clients[again].connected);
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.crossed_while_talking(10), 20);
    assert_eq!(world.clients[again].heard(Video).len(), 10);
    // And the plan names none of them any more.
    assert!(world.plan(&[0, 2, 4, 6], &[(0, 2), (0, 4), (0, 6)]).applied);
    assert_eq!(world.crossed_while_talking(10), 0);
    assert_eq!(world.shard.leg_count(), 0);
    assert_eq!(world.clients[2].heard(Video).len(), 40);
}

#[test]
fn when_it_ends_everybody_is_told_and_nothing_is_left_on_either_shard() {
    let mut world = on_air(11);
    world.talk(10);
    assert!(world.plan(&[], &[]).applied);
    world.run_until("all are told goodbye", |w| w.clients.iter().all(|client| client.closed));
    assert_eq!(world.crossed_while_talking(0), 0);
    for shard in world.shards() {
        assert_eq!((shard.leg_count(), shard.call_count(), shard.counters().panics), (0, 0, 0));
        assert!(!shard.has_note(0) && !shard.has_note(1));
    }
    let stale = world.plan_numbered(1, &[0, 1], &[(0, 1)]);
    assert!(!stale.applied && stale.generation == Generation(2));
}

#[test]
fn notes_that_have_to_wait_say_what_is_true_when_they_go() {
    let mut world = announced(12, VIEWERS);
    world.pipe().is_full = true;
    (0..=VIEWERS).for_each(|n| world.offer(n, &[Audio, Video]).unwrap());
    all_connect(&mut world);
    world.talk(10);
    // One comes and goes meanwhile, and those who stay ask for a picture again and again.
    world.close(5);
    for _ in 0..20 {
        world.ask_keyframe(2);
        world.talk(5);
    }
    assert!(ELSEWHERE.iter().all(|viewer| world.clients[*viewer].received.is_empty()));
    assert_eq!(
        world.shards().map(|shard| (shard.has_note(0), shard.has_note(1))).collect::<Vec<_>>(),
        [(false, true), (true, false)]
    );
    let notes: usize = world.pipe().notes.iter().sum();
    world.pipe().is_full = false;
    world.run_for(Duration::from_millis(20));
    assert!(world.pipe().notes.iter().sum::<usize>() - notes <= 5, "{:?}", world.pipe().notes);
    world.talk(20);
    world.run_for(Duration::from_millis(50));
    for viewer in [1, 3] {
        assert_eq!(world.clients[viewer].heard(Video), expected(20));
    }
    assert!(world.clients[5].received.is_empty());
}

#[test]
fn either_shard_may_hear_of_a_plan_first() {
    let all = [Audio, Video];
    for (seed, first, kinds) in [(13, 0, &all[..]), (14, 1, &all), (16, 0, &[Audio]), (17, 1, &[Audio])] {
        let mut world = World::with_two_shards(seed);
        for _ in 0..3 {
            let n = world.add_client(standard_client());
            if n > 0 {
                world.mute(n);
            }
        }
        let (legs, route) = ([leg(0), leg(1), leg(2)].to_vec(), |to| Route { from: leg(0), to });
        let plan = RoutePlan::new(call(), Generation(1), legs, vec![route(leg(1)), route(leg(2))]);
        let (now, plan) = (world.now, plan.unwrap().with_audience());
        for worker in [first, 1 - first] {
            assert!(world.shard_at(worker).handle_plan(now, &plan).applied);
            // Those whose worker has it connect before the other one hears of it.
            for n in (0..3).filter(|n| (n + 1) % 2 == worker) {
                world.offer(n, if n == 0 { kinds } else { &all }).unwrap();
            }
            world.run_for(Duration::from_secs(1));
        }
        all_connect(&mut world);
        world.talk(20);
        world.run_for(Duration::from_millis(50));
        for viewer in [1, 2] {
            let heard = [Audio, Video].map(|kind| world.clients[viewer].heard(kind).len());
            assert_eq!(heard, [20, if kinds.contains(&Video) { 20 } else { 0 }], "worker {first} first");
        }
    }
}

#[test]
fn a_call_of_two_stays_on_one_shard_and_nothing_crosses() {
    let mut world = World::with_two_shards(15);
    let call = CallId::from_u128(6);
    let legs = [LegId::from_u128(1), LegId::from_u128(2)];
    let routes = vec![Route { from: legs[0], to: legs[1] }, Route { from: legs[1], to: legs[0] }];
    let plan = RoutePlan::new(call, Generation(1), legs.to_vec(), routes).unwrap();
    let now = world.now;
    assert!(world.shard_at(0).handle_plan(now, &plan).applied);
    let secret = world.rng.secret();
    for (n, leg) in legs.into_iter().enumerate() {
        let client = world.add_client(standard_client());
        assert_eq!(client, n);
        let sdp = include_str!("fixtures/chromium-offer.sdp");
        assert!(world.shard_at(0).handle_offer(now, call, leg, sdp, &secret).is_ok());
    }
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.pipe().notes, [0, 0]);
    assert_eq!(world.shard_at(0).call_count(), 1);
}
