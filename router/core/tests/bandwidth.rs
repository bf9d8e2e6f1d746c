//! How much a viewer's path carries, from the reports of a client that is not ours.

mod world;

use std::time::Duration;

use duocast_model::{CallId, Generation, LegId, RoutePlan};
use duocast_router_core::{Demand, IceSecret, Shard, ShardConfig};
use str0m::rtp::RawPacket;
use world::{Audio, Bottleneck, ROUTER, Video, World, call, leg};

const VIEWER: usize = 1;
const FULL: Demand = Demand { wanted: 1_700_000 };
/// What layers would take, in bits per second.
const LAYERS: [u64; 4] = [1_600_000, 500_000, 150_000, 0];
const SOUND: u64 = 60_000;

fn estimate(world: &World) -> Option<u64> {
    world.shard.estimate(world.now, call(), leg(VIEWER)).map(|estimate| estimate.bits_per_second)
}

/// One sends sound, and as much video as the other's estimate lets through; true at each moment when it is all of it.
fn watch(world: &mut World, millis: usize) -> Vec<bool> {
    let mut is_full = Vec::new();
    for _ in 0..millis / 20 {
        let room = estimate(world).unwrap_or(SOUND + 150_000).saturating_sub(SOUND);
        let layer = LAYERS.into_iter().find(|layer| *layer <= room).unwrap_or_default();
        world.send(0, Audio, &[7; 120]);
        // Paced, as browsers do: a burst is a queue of its own.
        for _ in 0..4 {
            let bytes = (layer / 50 / 8 / 4) as usize;
            if bytes > 0 {
                world.send(0, Video, &vec![7; bytes]);
            }
            world.run_for(Duration::from_millis(5));
        }
        is_full.push(layer == LAYERS[0]);
    }
    is_full
}

fn heard(world: &World) -> usize {
    world.clients[VIEWER].heard(Audio).len()
}

#[test]
fn a_path_that_narrows_is_noticed_at_once_and_one_that_widens_within_eight_seconds() {
    let mut world = World::two_talking(71);
    let queue = Duration::from_millis(300);
    world.bottleneck = Some(Bottleneck::new(world.now, VIEWER, 2_000_000, queue));
    watch(&mut world, 1000);
    assert_eq!(estimate(&world), None, "nobody wants to know");
    let of_viewer = &world.clients[VIEWER].received;
    assert!(of_viewer.iter().all(|packet| packet.header.ext_vals.transport_cc.is_none()));

    world.shard.handle_demand(world.now, call(), leg(VIEWER), Some(FULL));
    watch(&mut world, 6000);
    assert!(watch(&mut world, 1000).iter().all(|is_full| *is_full), "{:?}", estimate(&world));

    let before = heard(&world);
    world.bottleneck.as_mut().unwrap().bits_per_second = 300_000;
    watch(&mut world, 1500);
    assert!(estimate(&world).is_some_and(|bits| bits < 300_000), "{:?}", estimate(&world));
    watch(&mut world, 8500);
    let missing = 500 - (heard(&world) - before);
    assert!(missing <= 10, "{missing} of 500 pieces of sound");

    world.bottleneck.as_mut().unwrap().bits_per_second = 2_000_000;
    watch(&mut world, 8000);
    assert!(watch(&mut world, 2000).iter().all(|is_full| *is_full), "{:?}", estimate(&world));
    assert!(world.shard.counters().estimates_changed > 5);

    let viewer = &world.clients[VIEWER];
    let has_padding = |raw: &&RawPacket| matches!(raw, RawPacket::RtpRx(header, _) if header.has_padding);
    assert!(viewer.raw.iter().any(|raw| has_padding(&raw)), "probes came");
    assert!(viewer.received.iter().all(|packet| !packet.payload.is_empty()), "and were no media");
    assert_eq!(world.shard.counters().panics, 0);

    world.shard.handle_demand(world.now, call(), leg(VIEWER), None);
    let seen = world.clients[VIEWER].received.len();
    watch(&mut world, 1000);
    assert_eq!(estimate(&world), None);
    let since = &world.clients[VIEWER].received[seen + 20..];
    assert!(since.iter().all(|packet| packet.header.ext_vals.transport_cc.is_none()), "and no cost");
}

/// The numbers go on: a client takes them for one sequence.
#[test]
fn an_estimate_that_is_wanted_again_goes_on_with_its_numbers() {
    let mut world = World::two_talking(72);
    for demand in [Some(FULL), None, Some(FULL)] {
        world.shard.handle_demand(world.now, call(), leg(VIEWER), demand);
        watch(&mut world, 1000);
    }
    assert!(estimate(&world).is_some());
    let numbers = world.clients[VIEWER].received.iter().filter_map(|p| p.header.ext_vals.transport_cc);
    let mut numbers: Vec<u16> = numbers.collect();
    let all = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), all, "none was used twice");
}

#[test]
fn browsers_are_told_that_their_reports_are_welcome_if_they_can_report() {
    const OFFER: &str = include_str!("fixtures/chromium-offer.sdp");
    let mut world = World::new(73);
    let config = ShardConfig { announced: vec![ROUTER.into()], announced_tcp: Vec::new(), max_legs: 2 };
    let mut shard = Shard::new(config);
    let (call, legs) = (CallId::from_u128(1), [LegId::from_u128(2), LegId::from_u128(3)]);
    let plan = RoutePlan::new(call, Generation(1), legs.to_vec(), Vec::new()).unwrap();
    assert!(shard.handle_plan(world.now, &plan).applied);
    let mut answer = |leg, offer: &str| {
        let secret: IceSecret = world.rng.secret();
        shard.handle_offer(world.now, call, leg, offer, &secret).unwrap()
    };
    let can = answer(legs[0], OFFER);
    for line in ["a=rtcp-fb:111 transport-cc", "a=rtcp-fb:96 transport-cc"] {
        assert!(can.contains(line), "{can}");
    }
    let extension = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
    assert_eq!(can.matches(extension).count(), 2, "sound and picture: {can}");
    let without = OFFER.lines().filter(|line| !line.contains("transport-"));
    let cannot = answer(legs[1], &without.map(|line| format!("{line}\r\n")).collect::<String>());
    assert!(!cannot.contains("transport-"), "{cannot}");
}
