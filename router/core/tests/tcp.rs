//! What a call is like for one whose network lets no UDP through, told on virtual time.

mod world;

use std::net::SocketAddr;
use std::time::Duration;

use duocast_router_core::{DropReason, Link, TransportCounts};
use world::{Audio, Video, World, path_of, standard_client};

const STRANGER: ([u8; 4], u16) = ([203, 0, 113, 200], 7000);

/// Two clients; the first one's UDP is blocked, and it has a TCP connection.
fn one_blocked(seed: u64) -> World {
    let mut world = World::new(seed);
    let (a, b) = (world.add_client(standard_client()), world.add_client(standard_client()));
    world.plan(&[a, b], &[(a, b), (b, a)]);
    world.clients[a].is_udp_blocked = true;
    world.clients[a].connect(1);
    world.offer(a, &[Audio, Video]).unwrap();
    world.offer(b, &[Audio, Video]).unwrap();
    world.run_until("both connect", |w| w.clients.iter().all(|c| c.connected) && w.events.len() == 2);
    world
}

fn counts(world: &World) -> (usize, usize, usize) {
    let TransportCounts { udp, tcp, none } = world.shard.transport_counts();
    (udp, tcp, none)
}

/// Forgets what was heard, then lets both talk: how much audio each heard.
fn heard_in_a_while(world: &mut World) -> [usize; 2] {
    world.clients.iter_mut().for_each(|client| client.received.clear());
    world.talk(20);
    world.run_for(Duration::from_millis(100));
    [world.clients[0].heard(Audio).len(), world.clients[1].heard(Audio).len()]
}

#[test]
fn an_answer_names_tcp_after_udp_with_lower_priority() {
    let world = World::two_connected(1);
    let candidates: Vec<Vec<&str>> = world.clients[0]
        .answer
        .lines()
        .collect::<Vec<_>>()
        .into_iter()
        .filter_map(|line| Some(line.strip_prefix("a=candidate:")?.split(' ').collect()))
        .collect();
    let of = |transport: &str| {
        let priorities =
            candidates.iter().filter(|c| c[2] == transport).map(|c| c[3].parse::<u32>().unwrap());
        priorities.collect::<Vec<_>>()
    };
    assert!(of("tcp").iter().max() < of("udp").iter().min() && !of("tcp").is_empty());
    assert!(candidates.iter().filter(|c| c[2] == "tcp").all(|c| c[8..].starts_with(&["tcptype", "passive"])));
}

#[test]
fn with_udp_blocked_the_call_is_had_over_tcp() {
    let mut world = one_blocked(2);
    assert_eq!(counts(&world), (1, 1, 0));
    assert_eq!(heard_in_a_while(&mut world), [20, 20]);
}

#[test]
fn with_udp_free_again_media_goes_back_to_it_at_an_ice_restart() {
    let mut world = one_blocked(3);
    world.clients[0].is_udp_blocked = false;
    world.restart_ice(0).unwrap();
    world.talk(100);
    assert_eq!(counts(&world), (2, 0, 0));
    assert_eq!(heard_in_a_while(&mut world), [20, 20]);
    assert_eq!(counts(&world), (2, 0, 0), "checks over TCP go on and move nothing");
}

/// Two who talk over UDP and have a connection each as well.
fn two_with_connections(seed: u64) -> World {
    let mut world = World::new(seed);
    for n in 0..2 {
        world.add_client(standard_client());
        world.clients[n].connect(n as u64);
    }
    world.plan(&[0, 1], &[(0, 1), (1, 0)]);
    world.offer(0, &[Audio, Video]).unwrap();
    world.offer(1, &[Audio, Video]).unwrap();
    world.run_until("both connect", |w| w.clients.iter().all(|c| c.connected));
    world.talk(50);
    world
}

#[test]
fn a_client_that_nominates_both_stays_on_udp_while_it_works() {
    let mut world = two_with_connections(4);
    let moves = world.shard.counters().legs_moved;
    world.talk(500);
    assert_eq!(counts(&world), (2, 0, 0));
    assert_eq!(world.shard.counters().legs_moved, moves);
}

#[test]
fn with_udp_lost_in_the_call_media_goes_on_over_a_connection_that_is_there() {
    let mut world = two_with_connections(5);
    world.clients[0].is_udp_blocked = true;
    world.run_until("media moves", |w| counts(w) == (1, 1, 0));
}

#[test]
fn a_closed_connection_is_sent_nothing_more() {
    let mut world = one_blocked(6);
    let (number, address) = world.clients[0].connection.take().unwrap();
    let path = path_of(Link::Tcp(number), address);
    assert!(world.shard.is_proven(&path));
    world.shard.handle_closed(&path);
    assert!(!world.shard.is_proven(&path));
    assert_eq!(counts(&world), (1, 0, 1));
    world.destinations.clear();
    world.talk(20);
    assert!(!world.destinations.contains(&address));

    world.clients[0].is_udp_blocked = false;
    world.restart_ice(0).unwrap();
    world.run_until("it is back", |w| counts(w) == (2, 0, 0));
}

#[test]
fn a_leg_that_is_gone_leaves_no_connection_proven() {
    let mut world = one_blocked(7);
    let (number, address) = world.clients[0].connection.unwrap();
    world.plan(&[], &[]);
    assert!(!world.shard.is_proven(&path_of(Link::Tcp(number), address)));
}

#[test]
fn a_stranger_gets_no_answer_over_tcp_and_proves_nothing() {
    let mut world = one_blocked(8);
    let check = world.uplink_of_kind_stun();
    let mut forged = check.clone();
    forged[12] ^= 1;
    let mut bare = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    bare.extend([7; 12]);
    world.run_for(Duration::from_secs(1));
    world.destinations.clear();
    let of_a_client = SocketAddr::new(world.clients[0].address.ip(), 9999);
    for (number, remote) in [(50, STRANGER.into()), (51, of_a_client)] {
        let path = path_of(Link::Tcp(number), remote);
        for contents in
            [&forged[..], &bare, &[0x16, 0xfe, 0xfd, 0, 0], &[0x80; 40], b"GET / HTTP/1.1\r\n\r\n"]
        {
            world.inject_on(path, contents);
            assert!(!world.shard.is_proven(&path));
        }
        assert!(!world.destinations.contains(&remote));
    }
    assert_eq!(world.shard.counters().bare_answered, 0);
    assert!(world.shard.counters().dropped_for(DropReason::NotAuthenticated) >= 2);
}

#[test]
fn an_answer_over_tcp_is_no_longer_than_its_check() {
    let mut world = one_blocked(9);
    let check = world.uplink_of_kind_stun();
    let path = path_of(Link::Tcp(60), STRANGER.into());
    world.inject_on(path, &check);
    let (to, answer) = world.last_answer.clone().unwrap();
    assert_eq!(to, STRANGER.into());
    assert!(answer.len() <= check.len(), "{} bytes for {}", answer.len(), check.len());
}
