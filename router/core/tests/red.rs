//! Redundant audio (RFC 2198): who sends it, who gets it, and what it is good for.

mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use duocast_router_core::DropReason;
use str0m::RtcConfig;
use str0m::media::Pt;
use world::{Audio, Client, World, standard_client};

fn red_client() -> RtcConfig {
    standard_client().enable_opus(true, true)
}

fn two_talking(clients: [RtcConfig; 2]) -> World {
    let mut world = World::new(5);
    let [a, b] = clients.map(|config| world.add_client(config));
    world.plan(&[a, b], &[(a, b), (b, a)]);
    world.offer(a, &[Audio]).unwrap();
    world.offer(b, &[Audio]).unwrap();
    world.run_until("both connect", |w| w.clients.iter().all(|c| c.connected) && w.events.len() == 2);
    world
}

fn red_of(client: &Client) -> Pt {
    client.payload_type(Audio).and_then(|params| params.red()).expect("redundant audio was agreed on")
}

/// All blocks of a packet, the newest last.
fn blocks(mut heads: &[u8]) -> Vec<Vec<u8>> {
    let mut lengths = Vec::new();
    while heads[0] & 0x80 != 0 {
        lengths.push(usize::from(u16::from_be_bytes([heads[2], heads[3]]) & 0x3ff));
        heads = &heads[4..];
    }
    let mut rest = &heads[1..];
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    for len in lengths {
        let (block, more) = rest.split_at(len);
        blocks.push(block.to_vec());
        rest = more;
    }
    blocks.push(rest.to_vec());
    blocks
}

/// What a decoder that knows redundant audio has of these rounds, whichever packet it came in.
fn heard(client: &Client, rounds: std::ops::Range<usize>, of: usize) -> usize {
    let red = client.payload_type(Audio).and_then(|params| params.red());
    let packets = client.received.iter();
    let sounds = packets.flat_map(|p| match Some(p.header.payload_type) == red {
        true => blocks(&p.payload),
        false => vec![p.payload.to_vec()],
    });
    let sounds: BTreeSet<Vec<u8>> = sounds.collect();
    rounds.filter(|round| sounds.contains(format!("Audio {round} of {of}").as_bytes())).count()
}

fn redundant(client: &Client) -> usize {
    let red = red_of(client);
    client.received.iter().filter(|p| p.header.payload_type == red).count()
}

#[test]
fn where_packets_to_a_viewer_get_lost_each_carries_the_one_before_as_well() {
    let mut world = two_talking([red_client(), red_client()]);
    world.talk(500);
    assert_eq!(redundant(&world.clients[1]), 0, "nothing is lost, nothing is sent twice");
    world.loss_down = 10;
    world.talk(1000);
    assert!(redundant(&world.clients[1]) > 300);
    world.clients.iter_mut().for_each(|client| client.received.clear());
    world.talk(2000);
    world.run_for(Duration::from_millis(50));
    for (n, other) in [(0, 1), (1, 0)] {
        let client = &world.clients[n];
        let (came, heard) = (client.received.len(), heard(client, 0..2000, other));
        assert!(came < 1900, "{came} of 2000 packets came");
        assert!(
            heard > 1960,
            "{heard} of 2000 are there to be heard: of 200 lost, one in ten is lost twice in a row"
        );
    }
}

#[test]
fn it_ends_once_nothing_is_lost_any_more() {
    let mut world = two_talking([red_client(), red_client()]);
    world.loss_down = 10;
    world.talk(1000);
    assert!(redundant(&world.clients[1]) > 0);
    world.loss_down = 0;
    world.talk(2000);
    world.clients[1].received.clear();
    world.talk(100);
    assert_eq!((redundant(&world.clients[1]), heard(&world.clients[1], 0..90, 0)), (0, 90));
}

#[test]
fn what_a_publisher_sends_redundant_passes_as_it_is_or_without_what_is_old() {
    for viewer in [red_client(), standard_client()] {
        let mut world = two_talking([red_client(), viewer]);
        let red = red_of(&world.clients[0]);
        for round in 0..50_u8 {
            let packet = [&[0x80 | 111, 0x0f, 0, 3, 111], &b"old"[..], &[b'n', round]].concat();
            world.send_as(0, Audio, red, &packet);
            world.run_for(Duration::from_millis(20));
        }
        let viewer = &world.clients[1];
        assert_eq!(viewer.received.len(), 50);
        let takes_red = viewer.payload_type(Audio).unwrap().red().is_some();
        for (round, packet) in viewer.received.iter().enumerate() {
            let newest = vec![b'n', round as u8];
            if takes_red {
                assert_eq!(blocks(&packet.payload), [b"old".to_vec(), newest]);
            } else {
                assert_eq!(packet.payload.to_vec(), newest);
            }
        }
    }
}

#[test]
fn a_broken_head_costs_its_own_packet_only() {
    let mut world = two_talking([red_client(), standard_client()]);
    let red = red_of(&world.clients[0]);
    for payload in [&[0xff][..], &[0x80, 0, 3, 0xff, 111], &[0xff; 40], &[111, 1, 2, 3]] {
        world.send_as(0, Audio, red, payload);
        world.run_for(Duration::from_millis(20));
    }
    assert_eq!(world.shard.counters().dropped_for(DropReason::Malformed), 3);
    let received = &world.clients[1].received;
    assert_eq!(received.iter().map(|p| p.payload.to_vec()).collect::<Vec<_>>(), [[1, 2, 3]]);
}
