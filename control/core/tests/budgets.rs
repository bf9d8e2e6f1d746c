//! How often somebody may ring, told on virtual time. What is refused reaches no device.

mod support;

use std::time::Duration;

use duocast_control_core::budget::BudgetSpent;
use duocast_control_core::switchboard::{CommandError, PlaceError};
use support::World;

fn world(people: &[&str]) -> World {
    let mut world = World::new();
    for person in people {
        world.online(person).unwrap();
    }
    world
}

/// Rings and gives up, until that is refused.
fn pester(world: &mut World, caller: &str, callee: &str) -> (usize, BudgetSpent) {
    for rung in 0.. {
        match world.place(caller, callee) {
            Ok(call) => world.hang_up(caller, call.id).unwrap(),
            Err(PlaceError::RingBudget(spent)) => return (rung, spent),
            Err(other) => panic!("{other}"),
        };
    }
    unreachable!("the loop ends by a budget");
}

#[test]
fn a_pest_is_stopped_before_the_device_wakes_and_told_how_long() {
    let mut world = world(&["alice", "bob", "carol"]);
    let (rung, spent) = pester(&mut world, "alice", "bob");
    assert_eq!(rung, 5);
    assert_eq!(spent.retry_after, Duration::from_secs(60));
    let before = world.devices["bob"].last_seq;
    assert!(world.place("alice", "bob").is_err());
    assert_eq!(world.devices["bob"].last_seq, before, "bob's device hears nothing of it");

    world.place("alice", "carol").expect("somebody else can still be called");
    world.wait_s(120);
    world.place("alice", "bob").expect("and bob again, after the wait");
}

#[test]
fn calls_that_are_answered_are_no_pest() {
    let mut world = world(&["alice", "bob"]);
    for _ in 0..15 {
        let call = world.place("alice", "bob").unwrap().id;
        world.accept("bob", call).unwrap();
        world.hang_up("bob", call).unwrap();
    }
}

#[test]
fn one_account_cannot_ring_many_people_in_a_row() {
    let names: Vec<String> = (0..30).map(|n| format!("p{n}")).collect();
    let mut people: Vec<&str> = names.iter().map(String::as_str).collect();
    people.push("robot");
    let mut world = world(&people);
    let mut rung = 0;
    for name in &names {
        let Ok(call) = world.place("robot", name) else { break };
        world.hang_up("robot", call.id).unwrap();
        rung += 1;
    }
    assert_eq!(rung, 20);
}

#[test]
fn a_crowd_cannot_keep_ringing_one_person() {
    let names: Vec<String> = (0..40).map(|n| format!("p{n}")).collect();
    let mut people: Vec<&str> = names.iter().map(String::as_str).collect();
    people.push("star");
    let mut world = world(&people);
    let mut rung = 0;
    for name in &names {
        let Ok(call) = world.place(name, "star") else { break };
        world.hang_up(name, call.id).unwrap();
        rung += 1;
    }
    assert_eq!(rung, 30);
}

#[test]
fn calls_to_a_busy_second_account_of_ones_own_are_bounded_too() {
    let mut world = world(&["alice", "alias", "friend"]);
    world.place("friend", "alias").unwrap();
    let mut ended_busy = 0;
    while world.place("alice", "alias").is_ok() {
        ended_busy += 1;
    }
    assert_eq!(ended_busy, 5, "each is kept for a while and written down");
}

#[test]
fn a_repeated_request_costs_nothing() {
    let mut world = world(&["alice", "bob"]);
    for _ in 0..50 {
        world.place_as("alice", "bob", "the same").unwrap();
    }
}

#[test]
fn connecting_legs_in_a_loop_is_stopped() {
    let mut world = world(&["alice", "bob"]);
    let call = world.place("alice", "bob").unwrap().id;
    let mut connected = 0;
    let refused = loop {
        match world.connect_leg("alice", call, None) {
            Ok(_) => connected += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(connected, 20);
    assert!(matches!(refused, CommandError::Budget(_)), "{refused}");
    world.wait_s(1);
    world.connect_leg("alice", call, None).expect("a real client comes through");
}
