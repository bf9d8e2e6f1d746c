//! Redundant audio (RFC 2198): who sends it, who gets it, and what it is good for.

mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use duocast_router_core::DropReason;
use str0m::RtcConfig;
use str0m::media::Pt;
use str0m::rtp::RawPacket;
use str0m::rtp::rtcp::{ReceptionReport, Rtcp};
use world::{Audio, Client, World, is_media, standard_client};

fn red_client() -> RtcConfig {
    standard_client().enable_opus(true, true)
}

fn two_talking(clients: [RtcConfig; 2]) -> World {
    two_talking_in(World::new(5), clients)
}

fn two_talking_in(mut world: World, clients: [RtcConfig; 2]) -> World {
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

/// All blocks of a packet, the newest last, and how much older each is.
fn blocks(mut heads: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut earlier = Vec::new();
    while heads[0] & 0x80 != 0 {
        let head = u32::from_be_bytes([heads[0], heads[1], heads[2], heads[3]]);
        earlier.push((head >> 10 & 0x3fff, head as usize & 0x3ff));
        heads = &heads[4..];
    }
    let mut rest = &heads[1..];
    let mut blocks: Vec<(u32, Vec<u8>)> = Vec::new();
    for (offset, len) in earlier {
        let (block, more) = rest.split_at(len);
        blocks.push((offset, block.to_vec()));
        rest = more;
    }
    blocks.push((0, rest.to_vec()));
    blocks
}

/// What a decoder that knows redundant audio has of each packet: sound, and its time.
fn sounds(client: &Client) -> impl Iterator<Item = Vec<(u32, Vec<u8>)>> {
    let red = client.payload_type(Audio).and_then(|params| params.red());
    client.received.iter().map(move |p| {
        let blocks = match Some(p.header.payload_type) == red {
            true => blocks(&p.payload),
            false => vec![(0, p.payload.to_vec())],
        };
        blocks.into_iter().map(|(offset, said)| (p.header.timestamp.wrapping_sub(offset), said)).collect()
    })
}

/// What it has of these rounds, whichever packet it came in.
fn heard(client: &Client, rounds: std::ops::Range<usize>, of: usize) -> usize {
    let sounds: BTreeSet<Vec<u8>> = sounds(client).flatten().map(|(_, said)| said).collect();
    rounds.filter(|round| sounds.contains(format!("Audio {round} of {of}").as_bytes())).count()
}

fn redundant(client: &Client) -> usize {
    let red = red_of(client);
    client.received.iter().filter(|p| p.header.payload_type == red).count()
}

#[test]
fn where_packets_to_a_viewer_get_lost_each_carries_the_two_before_as_well() {
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
            heard > 1990,
            "{heard} of 2000 are there to be heard: of 200 lost, one in a hundred is the first of three in a row"
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
fn what_a_publisher_sends_redundant_goes_plain_to_who_loses_nothing() {
    for viewer in [red_client(), standard_client()] {
        let mut world = two_talking([red_client(), viewer]);
        talk_redundant(&mut world, 0..50, 1);
        let viewer = &world.clients[1];
        let opus = viewer.payload_type(Audio).unwrap().pt();
        assert!(viewer.received.iter().all(|packet| packet.header.payload_type == opus));
        assert_eq!((viewer.received.len(), heard(viewer, 0..50, 0)), (50, 50));
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

/// What the first client says in a round, after what it said so many rounds before (RFC 2198).
fn redundant_packet(client: &Client, round: usize, ages: std::ops::RangeInclusive<usize>) -> Vec<u8> {
    let opus = *client.payload_type(Audio).expect("a negotiated codec").pt();
    let says = |round: usize| format!("Audio {round} of 0").into_bytes();
    // The oldest first.
    let before: Vec<usize> = ages.rev().filter_map(|age| round.checked_sub(age)).collect();
    let mut packet = Vec::new();
    for earlier in &before {
        let (offset, len) = ((round - earlier) as u32 * 960, says(*earlier).len() as u32);
        packet.extend((u32::from(0x80 | opus) << 24 | offset << 10 | len).to_be_bytes());
    }
    packet.push(opus);
    before.iter().for_each(|earlier| packet.extend(says(*earlier)));
    packet.extend(says(round));
    packet
}

/// The first client talks, and each packet carries so many before as well.
fn talk_redundant(world: &mut World, rounds: std::ops::Range<usize>, distance: usize) {
    let red = red_of(&world.clients[0]);
    for round in rounds {
        let packet = redundant_packet(&world.clients[0], round, 1..=distance);
        world.send_as(0, Audio, red, &packet);
        world.run_for(Duration::from_millis(20));
    }
}

/// Numbers go on, none comes twice, and times are those of what was said.
fn assert_in_order(client: &Client) {
    let numbers: Vec<u64> = client.received.iter().map(|p| *p.seq_no).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    let round = |said: &[u8]| -> u32 {
        String::from_utf8_lossy(said).split(' ').nth(1).and_then(|round| round.parse().ok()).unwrap()
    };
    let starts = sounds(client).flatten().map(|(time, said)| time.wrapping_sub(round(&said) * 960));
    assert_eq!(starts.collect::<BTreeSet<_>>().len(), 1);
}

/// Numbers between those that came and did not come themselves: what a receiver reports as lost.
fn gaps(client: &Client) -> u64 {
    let numbers: BTreeSet<u64> = client.received.iter().map(|p| *p.seq_no).collect();
    let (first, last) = (numbers.first().unwrap(), numbers.last().unwrap());
    last - first + 1 - numbers.len() as u64
}

/// Packets that the first client is told to have lost so far.
fn told_lost(client: &Client) -> i64 {
    let reports = client.raw.iter().rev();
    let mut blocks = reports.filter_map(|raw| match raw {
        RawPacket::RtcpRx(Rtcp::ReceiverReport(report)) => Some(report.reports.iter().copied().collect()),
        RawPacket::RtcpRx(Rtcp::SenderReport(report)) => Some(report.reports.iter().copied().collect()),
        _ => None,
    });
    let newest: Vec<ReceptionReport> = blocks.next().unwrap_or_default();
    newest.first().map_or(0, |block| i64::from(block.packets_lost))
}

/// The first client talks for 200 rounds, and loses so many of them on their way up at the 20th. Each packet carries as many before as well.
fn talk_and_lose(viewer: RtcConfig, lost: usize) -> World {
    let mut world = two_talking([red_client(), viewer]);
    talk_redundant(&mut world, 0..20, lost);
    world.loss_up = 100;
    talk_redundant(&mut world, 20..20 + lost, lost);
    world.loss_up = 0;
    talk_redundant(&mut world, 20 + lost..200, lost);
    assert_eq!(world.shard.counters().audio_recovered, lost as u64);
    world
}

#[test]
fn what_was_lost_on_the_way_here_goes_inside_the_next_packets_to_who_takes_it_so() {
    for lost in [1, 2] {
        let world = talk_and_lose(red_client(), lost);
        let viewer = &world.clients[1];
        assert_eq!((viewer.received.len(), heard(viewer, 0..200, 0)), (200 - lost, 200));
        assert_eq!(world.shard.counters().audio_forwarded, (200 - lost) as u64);
        assert_in_order(viewer);
        assert_eq!(gaps(viewer), 0, "to its reports nothing was lost");
        let says = |rounds: &[usize]| -> Vec<Vec<u8>> {
            rounds.iter().map(|round| format!("Audio {round} of 0").into_bytes()).collect()
        };
        let said: Vec<Vec<Vec<u8>>> =
            sounds(viewer).map(|packet| packet.into_iter().map(|(_, said)| said).collect()).collect();
        let lost_rounds: Vec<usize> = (20..20 + lost).collect();
        for (place, packet) in said.iter().enumerate() {
            let expected = match place {
                ..20 => says(&[place]),
                20 | 21 => says(&[&lost_rounds[..], &[place + lost]].concat()),
                _ => says(&[place + lost]),
            };
            assert_eq!(packet, &expected, "{place}");
        }
        assert_eq!(told_lost(&world.clients[0]), lost as i64, "to the one who talks it is lost");
    }
}

#[test]
fn what_was_lost_on_the_way_here_goes_by_itself_to_who_takes_no_redundant_sound() {
    for lost in [1, 2] {
        let world = talk_and_lose(standard_client(), lost);
        let viewer = &world.clients[1];
        assert_eq!((viewer.received.len(), heard(viewer, 0..200, 0)), (200, 200));
        assert_in_order(viewer);
        assert_eq!(gaps(viewer), 0);
        let made = &viewer.received[20..20 + lost];
        assert!(made.iter().all(|p| p.header.payload_type == viewer.payload_type(Audio).unwrap().pt()));
        assert_eq!(told_lost(&world.clients[0]), lost as i64, "to the one who talks it is lost");
    }
}

#[test]
fn an_original_that_comes_late_comes_to_nobody_twice() {
    let mut world = two_talking([red_client(), red_client()]);
    talk_redundant(&mut world, 0..20, 1);
    (world.loss_up, world.record_uplink) = (100, true);
    talk_redundant(&mut world, 20..21, 1);
    (world.loss_up, world.record_uplink) = (0, false);
    talk_redundant(&mut world, 21..22, 1);
    let late: Vec<Vec<u8>> = world.uplink.iter().filter(|bytes| is_media(bytes)).cloned().collect();
    let from = world.clients[0].address;
    late.iter().for_each(|datagram| world.inject(from, datagram));
    talk_redundant(&mut world, 22..200, 1);
    assert_eq!((late.len(), world.shard.counters().audio_recovered), (1, 1));
    assert_eq!((world.clients[1].received.len(), heard(&world.clients[1], 0..200, 0)), (199, 200));
    assert_in_order(&world.clients[1]);
    assert_eq!(gaps(&world.clients[1]), 0);
    assert_eq!(told_lost(&world.clients[0]), 0, "it was not lost after all");
}

/// Lost packets that the first client was asked to send again.
fn asked_for(client: &Client) -> usize {
    let asked = client.raw.iter().filter_map(|raw| match raw {
        RawPacket::RtcpRx(Rtcp::Nack(nack)) => Some(&nack.reports),
        _ => None,
    });
    // None of these tests loses two that are asked for.
    asked.flat_map(|reports| reports.iter().map(|entry| entry.pid)).collect::<BTreeSet<_>>().len()
}

#[test]
fn what_no_packet_brings_is_asked_for_and_stays_lost_to_the_one_who_talks() {
    for (is_offered, lost) in [(true, 1), (true, 2), (false, 2)] {
        let mut world = World::new(5);
        if is_offered {
            world.extra_offer_line = "a=rtcp-fb:111 nack\r\n".into();
        }
        let mut world = two_talking_in(world, [red_client(), red_client()]);
        talk_redundant(&mut world, 0..20, 1);
        (world.loss_up, world.record_uplink) = (100, true);
        talk_redundant(&mut world, 20..20 + lost, 1);
        (world.loss_up, world.record_uplink) = (0, false);
        talk_redundant(&mut world, 20 + lost..22 + lost, 1);
        // One is in the packet after it.
        let asked = if is_offered { lost - 1 } else { 0 };
        assert_eq!(asked_for(&world.clients[0]), asked);
        // Browsers send it as it was.
        let first: Vec<Vec<u8>> = world.uplink.iter().filter(|bytes| is_media(bytes)).cloned().collect();
        let from = world.clients[0].address;
        first.iter().take(asked).for_each(|datagram| world.inject(from, datagram));
        talk_redundant(&mut world, 22 + lost..200, 1);
        let viewer = &world.clients[1];
        let missing = lost - 1 - asked;
        // What one brings is no packet of its own.
        assert_eq!((viewer.received.len(), heard(viewer, 0..200, 0)), (199 - missing, 200 - missing));
        assert_eq!(gaps(viewer), missing as u64);
        assert_eq!(told_lost(&world.clients[0]), lost as i64);
    }
}

#[test]
fn after_a_silence_nothing_is_taken_for_what_it_is_not() {
    let mut world = two_talking([red_client(), red_client()]);
    talk_redundant(&mut world, 0..20, 1);
    world.loss_up = 100;
    talk_redundant(&mut world, 20..21, 1);
    world.loss_up = 0;
    // What it says it said before was earlier than the lost packet.
    let red = red_of(&world.clients[0]);
    let packet = redundant_packet(&world.clients[0], 21, 3..=3);
    world.send_as(0, Audio, red, &packet);
    world.run_for(Duration::from_millis(20));
    assert_eq!(world.shard.counters().audio_recovered, 0);
    assert_eq!(world.clients[1].received.len(), 21);
}

/// One packet in ten is lost on each of the two hops. A piece of sound is there to be heard if it came, by itself or in another packet.
#[test]
fn losses_on_both_hops_do_not_add_up() {
    const ROUNDS: usize = 5000;
    let mut world = two_talking([red_client(), red_client()]);
    (world.loss_up, world.loss_down) = (10, 10);
    talk_redundant(&mut world, 0..1000, 1);
    world.clients[1].received.clear();
    talk_redundant(&mut world, 1000..1000 + ROUNDS, 1);
    let viewer = &world.clients[1];
    assert_in_order(viewer);
    let rounds = 1001..1000 + ROUNDS - 3;
    let (came, missing) = (viewer.received.len(), rounds.len() - heard(viewer, rounds, 0));
    assert!(came < ROUNDS * 92 / 100, "{came} packets came");
    // 1 % that was lost here with the packet that had it as well; a tenth of that is the first of three in a row there.
    assert!((25..85).contains(&missing), "{missing} are missing");
    // What was taken out of later packets has no level: none of it is a packet of its own.
    assert!(viewer.received.iter().all(|p| p.header.ext_vals.audio_level.is_some()));
}
