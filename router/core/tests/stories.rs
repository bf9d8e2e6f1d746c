//! What a call is like for the two who have it, told on virtual time.

mod world;

use std::time::Duration;

use duocast_router_core::{DropReason, LegState};
use world::{Audio, ROUTER, Video, World, leg};

#[test]
fn while_it_rings_both_connect_and_nothing_is_heard() {
    let mut world = World::two_connected(1);
    assert_eq!(world.events, [(leg(0), LegState::Connected), (leg(1), LegState::Connected)]);
    world.talk(20);
    for client in &world.clients {
        assert!(client.received.is_empty());
    }
    assert_eq!(world.shard.counters().dropped_for(DropReason::NotRouted), 80);
}

#[test]
fn after_the_answer_both_hear_each_other_in_order() {
    let mut world = World::two_connected(2);
    world.talk(5);
    assert!(world.plan(&[0, 1], &[(0, 1), (1, 0)]).applied);
    world.talk(50);
    world.run_for(Duration::from_millis(100));
    for (n, other) in [(0, 1), (1, 0)] {
        for kind in [Audio, Video] {
            let expected: Vec<_> = (0..50).map(|round| format!("{kind:?} {round} of {other}")).collect();
            assert_eq!(world.clients[n].heard(kind), expected);
        }
    }
    assert_eq!(world.shard.counters().audio_forwarded, 100);
    assert_eq!(world.shard.counters().video_forwarded, 100);
    assert!(world.destinations.iter().all(|to| world.clients.iter().any(|c| c.address == *to)));
    let _ = ROUTER;
}
