//! What one publisher is for many viewers, told on virtual time.

mod world;

use std::time::Duration;

use duocast_router_core::LegState;
use world::{Audio, Video, World, leg, standard_client};

const VIEWERS: usize = 20;

/// Client 0 publishes, all others view; everybody is connected.
fn on_air(seed: u64) -> World {
    let mut world = World::new(seed);
    world.add_audience(VIEWERS);
    (0..=VIEWERS).for_each(|n| world.offer(n, &[Audio, Video]).unwrap());
    world.run_until("all connect", |w| w.events.len() == VIEWERS + 1);
    world
}

fn expected(rounds: usize) -> Vec<String> {
    (0..rounds).map(|round| format!("Video {round} of 0")).collect()
}

#[test]
fn everybody_hears_the_publisher_and_nobody_else() {
    let mut world = on_air(1);
    world.talk(30);
    (1..=VIEWERS).for_each(|viewer| world.send(viewer, Audio, b"a heckler"));
    world.run_for(Duration::from_millis(50));
    assert!(world.clients[0].received.is_empty());
    for viewer in &world.clients[1..] {
        assert_eq!(viewer.heard(Video), expected(30));
        assert_eq!(viewer.heard(Audio).len(), 30);
    }
}

#[test]
fn viewers_who_ask_at_once_cost_the_publisher_one_key_frame() {
    let mut world = on_air(2);
    world.talk(60);
    let before = world.clients[0].keyframe_requests.len();
    (1..=VIEWERS).for_each(|viewer| world.ask_keyframe(viewer));
    world.talk(60);
    assert_eq!(world.clients[0].keyframe_requests.len() - before, 1);
    assert!(world.shard.counters().keyframes_merged >= VIEWERS as u64 - 1);
}

#[test]
fn who_joins_costs_one_key_frame_and_the_others_miss_nothing() {
    let mut world = on_air(3);
    world.talk(60);
    let before = world.clients[0].keyframe_requests.len();
    let newcomer = world.add_client(standard_client());
    world.mute(newcomer);
    world.plan_audience(newcomer);
    world.offer(newcomer, &[Audio, Video]).unwrap();
    world.talk(60);
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.clients[0].keyframe_requests.len() - before, 1);
    assert!(world.clients[newcomer].heard(Video).len() > 50);
    let all: Vec<_> = expected(60).into_iter().chain(expected(60)).collect();
    for viewer in &world.clients[1..newcomer] {
        assert_eq!(viewer.heard(Video), all);
    }
}

#[test]
fn who_leaves_is_sent_nothing_more_and_costs_the_others_nothing() {
    let mut world = on_air(4);
    world.talk(60);
    let before = world.clients[0].keyframe_requests.len();
    world.plan_audience(VIEWERS - 1);
    world.close(VIEWERS - 2);
    world.talk(30);
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.events.last(), Some(&(leg(VIEWERS - 2), LegState::Closed)));
    assert!(world.clients[VIEWERS].heard(Video).len() < 62);
    assert_eq!(world.clients[0].keyframe_requests.len(), before);
    let all: Vec<_> = expected(60).into_iter().chain(expected(30)).collect();
    for viewer in &world.clients[1..VIEWERS - 2] {
        assert_eq!(viewer.heard(Video), all);
    }
}
