//! What a call is like for the two who have it, told on virtual time.

mod world;

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use duocast_model::Generation;
use duocast_router_core::{DropReason, LegState, OfferError};
use str0m::RtcConfig;
use str0m::media::{Direction, KeyframeRequestKind, MediaTime};
use str0m::rtp::{AbsCaptureTime, Extension, ExtensionValues, RawPacket};
use world::{Audio, Descriptor, Video, World, call, leg, standard_client, with_descriptors};

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
        let levels = world.clients[n].received.iter().filter_map(|p| p.header.ext_vals.audio_level);
        assert_eq!(levels.collect::<Vec<_>>(), [-20; 50], "the audio level passes");
    }
    assert_eq!(world.shard.counters().audio_forwarded, 100);
    assert_eq!(world.shard.counters().video_forwarded, 100);
}

#[test]
fn one_who_offers_audio_only_hears_audio_only() {
    let mut world = World::new(3);
    world.add_client(standard_client());
    world.add_client(standard_client());
    world.plan(&[0, 1], &[(0, 1), (1, 0)]);
    world.offer(0, &[Audio, Video]).unwrap();
    world.offer(1, &[Audio]).unwrap();
    world.run_until("both connect", |w| w.clients.iter().all(|c| c.connected) && w.events.len() == 2);
    world.talk(10);
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.clients[1].heard(Audio).len(), 10);
    assert_eq!(world.clients[1].received.len(), 10);
    assert_eq!(world.clients[0].heard(Audio).len(), 10);
    assert_eq!(world.shard.counters().dropped_for(DropReason::NoTrack), 10);
}

#[test]
fn two_without_a_common_video_codec_still_hear_each_other() {
    let only = |vp8: bool| {
        let config = str0m::RtcConfig::new().clear_codecs().enable_opus(true, false);
        if vp8 { config.enable_vp8(true) } else { config.enable_vp9(true) }
    };
    let mut world = World::new(4);
    world.add_client(only(true));
    world.add_client(only(false));
    world.plan(&[0, 1], &[(0, 1), (1, 0)]);
    world.offer(0, &[Audio, Video]).unwrap();
    world.offer(1, &[Audio, Video]).unwrap();
    world.run_until("both connect", |w| w.clients.iter().all(|c| c.connected) && w.events.len() == 2);
    world.talk(10);
    world.run_for(Duration::from_millis(50));
    for client in &world.clients {
        assert_eq!((client.heard(Audio).len(), client.heard(Video).len()), (10, 0));
    }
    assert_eq!(world.shard.counters().dropped_for(DropReason::NoCommonCodec), 20);
}

#[test]
fn lost_video_is_repaired_on_both_hops() {
    for seed in [5, 6, 7] {
        let mut world = World::two_talking(seed);
        (world.loss_up, world.loss_down) = (5, 5);
        world.talk(200);
        (world.loss_up, world.loss_down) = (0, 0);
        world.talk(20);
        world.run_for(Duration::from_secs(1));
        for (n, other) in [(0, 1), (1, 0)] {
            let mut heard = world.clients[n].heard(Video);
            heard.sort_unstable();
            heard.dedup();
            let rounds = (0..200).chain(0..20);
            let mut expected: Vec<_> = rounds.map(|round| format!("Video {round} of {other}")).collect();
            expected.sort_unstable();
            expected.dedup();
            let missing: Vec<_> = expected.iter().filter(|e| !heard.contains(e)).collect();
            assert!(missing.is_empty(), "seed {seed}: never arrived: {missing:?}");
        }
    }
}

/// With the same keys no number may be used for two packets.
#[test]
fn a_track_that_is_put_aside_and_taken_up_again_goes_on_with_its_numbers() {
    let mut world = World::two_talking(24);
    world.talk(5);
    world.set_direction(1, Video, Direction::SendOnly);
    world.talk(5);
    world.set_direction(1, Video, Direction::SendRecv);
    world.talk(10);
    world.run_for(Duration::from_millis(50));
    let viewer = &world.clients[1];
    let video = viewer.payload_type(Video).unwrap().pt();
    let of_video = viewer.received.iter().filter(|packet| packet.header.payload_type == video);
    let numbers: Vec<u64> = of_video.map(|packet| *packet.seq_no).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert!(numbers.len() >= 14, "{numbers:?}");
}

#[test]
fn a_client_that_replaces_a_track_is_heard_on() {
    let mut world = World::two_talking(25);
    world.talk(10);
    world.change_source(0, Audio, 77);
    world.talk(10);
    world.run_for(Duration::from_millis(50));
    let heard = world.clients[1].heard(Audio);
    let rounds = (0..10).chain(0..10);
    assert_eq!(heard, rounds.map(|round| format!("Audio {round} of 0")).collect::<Vec<_>>());
}

/// Nothing is written to the publisher, so that its leg is not drained on that occasion.
#[test]
fn a_loss_is_repaired_in_time_for_one_who_only_sends() {
    let mut world = World::two_talking(21);
    world.mute(1);
    world.talk(25);
    world.loss_up = 100;
    world.send(0, Video, b"lost on the way");
    world.run_for(Duration::from_millis(20));
    world.loss_up = 0;
    let lost_at = world.now;
    world.talk(10);
    let viewer = &world.clients[1];
    let repaired = viewer.received.iter().position(|packet| &*packet.payload == b"lost on the way");
    let repaired_after = viewer.received_at[repaired.expect("it is repaired")] - lost_at;
    assert!(repaired_after <= Duration::from_millis(100), "{repaired_after:?}");
}

#[test]
fn a_dependency_descriptor_passes_only_where_both_negotiated_it() {
    for viewer_knows_it in [true, false] {
        let mut world = World::new(22);
        let config = |knows| if knows { with_descriptors(standard_client()) } else { standard_client() };
        world.add_client(config(true));
        world.add_client(config(viewer_knows_it));
        world.plan(&[0, 1], &[(0, 1), (1, 0)]);
        world.offer(0, &[Audio, Video]).unwrap();
        world.offer(1, &[Audio, Video]).unwrap();
        world.run_until("both connect", |w| w.clients.iter().all(|c| c.connected) && w.events.len() == 2);
        for length in [3, 16, 17, 60] {
            world.clients[0].descriptor = Some((0..length).collect());
            world.talk(1);
        }
        world.run_for(Duration::from_millis(50));
        let viewer = &world.clients[1];
        let lengths: Vec<_> = viewer
            .received
            .iter()
            .filter_map(|p| p.header.ext_vals.user_values.get::<Descriptor>())
            .map(|d| d.0.len())
            .collect();
        assert_eq!(lengths, if viewer_knows_it { vec![3, 16, 17, 60] } else { vec![] });
        assert_eq!(viewer.heard(Video).len(), 4);
    }
}

/// The client knows both of these under numbers of its own.
fn with_times(ids: [u8; 2]) -> RtcConfig {
    let config = standard_client().set_extension(ids[0], Extension::PlayoutDelay);
    config.set_extension(ids[1], Extension::AbsoluteCaptureTime)
}

#[test]
fn when_to_play_and_when_it_was_captured_pass_only_where_both_negotiated_them() {
    let ms = |ms: u64| MediaTime::from_millis(ms);
    for viewer_knows_them in [true, false] {
        let mut world = World::new(25);
        world.add_client(with_times([7, 9]));
        world.add_client(if viewer_knows_them { with_times([12, 6]) } else { standard_client() });
        world.plan(&[0, 1], &[(0, 1), (1, 0)]);
        world.offer(0, &[Audio, Video]).unwrap();
        world.offer(1, &[Audio, Video]).unwrap();
        world.run_until("both connect", |w| w.clients.iter().all(|c| c.connected) && w.events.len() == 2);
        // The client's wall clock, as its sender reports have it.
        #[expect(clippy::disallowed_methods, reason = "str0m's reports tell the machine's time")]
        let clock = |world: &World| SystemTime::now() + (world.now - Instant::now());
        world.talk(150);
        world.clients[1].received.clear();
        let began = clock(&world);
        for (after, offset) in [(0, None), (0, Some(5)), (1000, None), (3_600_000, None)] {
            let capture_time = began + Duration::from_millis(after + 1000 * offset.unwrap_or(0));
            let clock_offset = offset.map(|seconds| (seconds as i64) << 32);
            world.clients[0].said = ExtensionValues {
                play_delay_min: Some(ms(20)),
                play_delay_max: Some(ms(250)),
                abs_capture_time: Some(AbsCaptureTime { capture_time, clock_offset }),
                ..ExtensionValues::default()
            };
            world.talk(1);
        }
        world.run_for(Duration::from_millis(50));
        let packets = &world.clients[1].received;
        let delays =
            packets.iter().map(|p| (p.header.ext_vals.play_delay_min, p.header.ext_vals.play_delay_max));
        let both = if viewer_knows_them { (Some(ms(20)), Some(ms(250))) } else { (None, None) };
        assert_eq!(delays.collect::<Vec<_>>(), vec![both; 8]);
        let captured = packets.iter().filter_map(|p| p.header.ext_vals.abs_capture_time);
        let captured: Vec<AbsCaptureTime> = captured.collect();
        if !viewer_knows_them {
            assert_eq!(captured, []);
            continue;
        }
        assert!(captured.iter().all(|captured| captured.clock_offset.is_none()));
        let times: Vec<SystemTime> = captured.iter().map(|captured| captured.capture_time).collect();
        // Sound and picture of one moment, twice, then of a second later; nobody believes an hour.
        let since = |time: &SystemTime| time.duration_since(times[0]).unwrap().as_micros();
        let apart: Vec<u128> = times.iter().map(since).collect();
        assert_eq!(apart.len(), 6);
        assert!(apart[..4].iter().all(|apart| *apart < 10), "{apart:?}");
        assert!(apart[4..].iter().all(|apart| apart.abs_diff(1_000_000) < 10), "{apart:?}");
        let away = began.duration_since(times[0]).unwrap();
        assert!(away > Duration::from_secs(365 * 86_400), "the publisher's own clock does not pass");
    }
}

#[test]
fn extensions_that_are_to_be_encrypted_are_not_answered_and_the_call_goes_on() {
    let mut world = World::new(26);
    for n in 0..2 {
        world.add_client(standard_client());
        world.extra_offer_line = [
            "a=extmap:9 urn:ietf:params:rtp-hdrext:encrypt http://www.webrtc.org/experiments/rtp-hdrext/corruption-detection\r\n",
            "a=extmap:8 urn:ietf:params:rtp-hdrext:encrypt urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n",
            "a=extmap:7 http://www.webrtc.org/experiments/rtp-hdrext/corruption-detection\r\n",
        ]
        .concat();
        world.plan(&(0..=n).collect::<Vec<_>>(), &[]);
        world.offer(n, &[Audio, Video]).unwrap();
        let answer = &world.clients[n].answer;
        assert!(answer.contains("abs-send-time") && !answer.contains("encrypt"), "{answer}");
        assert!(!answer.contains("corruption-detection"), "{answer}");
    }
    world.plan(&[0, 1], &[(0, 1), (1, 0)]);
    world.run_until("both connect", |w| w.clients.iter().all(|c| c.connected) && w.events.len() == 2);
    world.talk(5);
    world.run_for(Duration::from_millis(20));
    assert_eq!((world.clients[1].heard(Audio).len(), world.clients[1].heard(Video).len()), (5, 5));
}

#[test]
fn an_opened_route_asks_for_a_keyframe() {
    let mut world = World::two_connected(8);
    world.talk(5);
    assert!(world.clients[0].keyframe_requests.is_empty());
    world.plan(&[0, 1], &[(0, 1)]);
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.clients[0].keyframe_requests.len(), 1);
    assert!(world.clients[1].keyframe_requests.is_empty());
}

#[test]
fn a_flood_of_keyframe_requests_reaches_the_publisher_twice_a_second() {
    let mut world = World::two_talking(9);
    world.talk(5);
    let before = world.clients[0].keyframe_requests.len();
    let began = world.now;
    for _ in 0..100 {
        world.ask_keyframe(1);
        world.talk(1);
    }
    let requests = &world.clients[0].keyframe_requests[before..];
    assert!((3..=5).contains(&requests.len()), "{} in two seconds", requests.len());
    for pair in requests.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= Duration::from_millis(490));
    }
    assert!(requests.iter().all(|(_, r)| r.kind == KeyframeRequestKind::Pli));
    assert!(requests[0].0 - began < Duration::from_millis(600), "the first is not held up for long");
    assert!(world.shard.counters().keyframes_merged > 50);
}

#[test]
fn media_follows_a_client_whose_nat_rebound_within_milliseconds() {
    let mut world = World::two_talking(10);
    world.talk(10);
    let heard_before = world.clients[1].received.len();
    let rebound: SocketAddr = "203.0.113.200:61000".parse().unwrap();
    world.clients[1].mapped = rebound;
    let moved_at = world.now;
    world.talk(10);
    world.run_for(Duration::from_millis(50));
    let client = &world.clients[1];
    let first_after = client.received_at[heard_before..].iter().find(|at| **at > moved_at).unwrap();
    let gap = *first_after - moved_at;
    assert!(gap < Duration::from_millis(60), "silent for {gap:?}");
    assert!(world.clients[1].heard(Audio).len() >= 18);
    assert_eq!(world.clients[0].heard(Audio).len(), 20, "the other side notices nothing");
    assert_eq!(world.shard.counters().legs_moved, 1);
}

#[test]
fn media_of_a_stranger_moves_nothing() {
    let mut world = World::two_talking(11);
    world.talk(10);
    let ssrc = world.clients[0].sending_ssrc(Audio);
    let mut forged = vec![0x80, 111, 0x9c, 0x80, 0, 0, 0, 0];
    forged.extend(ssrc.to_be_bytes());
    forged.extend([7; 60]);
    let stranger: SocketAddr = "192.0.2.66:6666".parse().unwrap();
    for _ in 0..50 {
        world.inject(stranger, &forged);
        world.talk(1);
    }
    assert!(!world.destinations.contains(&stranger));
    assert_eq!(world.shard.counters().dropped_for(DropReason::NotAuthenticated), 50);
    assert_eq!(world.clients[1].heard(Audio).len(), 60);
}

#[test]
fn a_forged_check_from_a_stranger_moves_nothing() {
    let mut world = World::two_talking(23);
    world.talk(3);
    let stranger: SocketAddr = "192.0.2.66:6666".parse().unwrap();
    let mut forged = world.uplink_of_kind_stun();
    forged[12] ^= 1;
    for _ in 0..20 {
        world.inject(stranger, &forged);
        world.talk(2);
    }
    assert!(!world.destinations.contains(&stranger));
    assert_eq!(world.shard.counters().dropped_for(DropReason::NotAuthenticated), 20);
    assert_eq!(world.clients[1].heard(Audio).len(), 43);
}

#[test]
fn a_replayed_packet_from_elsewhere_moves_nothing() {
    let mut world = World::two_talking(12);
    world.record_uplink = true;
    world.talk(10);
    let stranger: SocketAddr = "192.0.2.66:6666".parse().unwrap();
    for packet in world.uplink.clone() {
        if world::is_media(&packet) {
            world.inject(stranger, &packet);
        }
    }
    world.talk(5);
    assert!(!world.destinations.contains(&stranger));
}

#[test]
fn an_ice_restart_keeps_media_running_on_the_same_leg() {
    let mut world = World::two_talking(13);
    world.talk(10);
    let (before, answer_before) = (world.clients[0].heard(Audio).len(), world.clients[0].answer.clone());
    world.restart_ice(0).unwrap();
    let ufrag = |sdp: &str| sdp.lines().find(|l| l.starts_with("a=ice-ufrag")).map(str::to_owned);
    assert_ne!(ufrag(&answer_before), ufrag(&world.clients[0].answer));
    world.talk(100);
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.clients[0].heard(Audio).len(), before + 100);
    world.clients[0].mapped = "203.0.113.77:7777".parse().unwrap();
    world.talk(20);
    world.run_for(Duration::from_millis(50));
    assert!(
        world.clients[0].heard(Audio).len() > before + 110,
        "the new credentials work from a new address"
    );
    assert_eq!(world.shard.leg_count(), 2);
}

#[test]
fn a_client_that_starts_anew_takes_its_leg_over() {
    let mut world = World::two_talking(14);
    world.talk(5);
    let reloaded = world.add_client(standard_client());
    world.offer_for(reloaded, leg(0), &[Audio, Video]).unwrap();
    world.run_until("the new one connects", |w| w.clients[reloaded].connected);
    world.mute(0);
    world.talk(10);
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.clients[reloaded].heard(Audio).len(), 10);
    assert_eq!(world.clients[1].heard(Audio).len(), 15);
    assert_eq!(world.shard.leg_count(), 2);
}

#[test]
fn a_plan_that_is_not_newer_is_refused_even_after_the_end() {
    let mut world = World::two_talking(15);
    let present = world.plan_numbered(7, &[0, 1], &[(0, 1), (1, 0)]);
    assert_eq!((present.applied, present.generation), (true, Generation(7)));
    for stale in [7, 6, 0] {
        let outcome = world.plan_numbered(stale, &[0, 1], &[]);
        assert_eq!((outcome.applied, outcome.generation), (false, Generation(7)));
    }
    world.talk(3);
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.clients[1].heard(Audio).len(), 3, "a stale plan changed nothing");
    assert!(world.plan_numbered(8, &[], &[]).applied);
    assert!(!world.plan_numbered(7, &[0, 1], &[(0, 1)]).applied, "a late plan brings no call back");
    assert_eq!((world.shard.leg_count(), world.shard.call_count()), (0, 0));
}

#[test]
fn the_end_of_a_call_says_goodbye_and_leaves_nothing() {
    let mut world = World::two_talking(16);
    world.talk(5);
    world.plan(&[], &[]);
    world.run_until("both are told", |w| w.clients.iter().all(|c| c.closed));
    assert_eq!((world.shard.leg_count(), world.shard.call_count()), (0, 0));
    assert_eq!(world.shard.poll_timeout().map(|(_, reason)| reason), None, "nothing is left to wake for");
    let stray = [0x80, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9, 9, 9, 9];
    world.inject(world.clients[0].address, &stray);
    assert_eq!(world.shard.counters().dropped_for(DropReason::UnknownSource), 1);
}

#[test]
fn a_leg_that_the_plan_no_longer_names_is_closed_and_the_other_stays() {
    let mut world = World::two_talking(17);
    world.talk(5);
    world.plan(&[0], &[]);
    world.run_until("the second is told", |w| w.clients[1].closed);
    world.mute(1);
    world.talk(5);
    assert!(!world.clients[0].closed);
    assert_eq!(world.shard.leg_count(), 1);
    assert_eq!(world.offer(1, &[]).unwrap_err(), OfferError::LegUnknown);
}

#[test]
fn control_that_comes_back_drops_the_calls_it_does_not_name() {
    let mut world = World::two_talking(18);
    world.shard.handle_synced(world.now, &[call()].into());
    assert_eq!(world.shard.call_count(), 1);
    world.shard.handle_link_up();
    world.events.clear();
    world.run_for(Duration::from_millis(5));
    assert_eq!(world.events, [(leg(0), LegState::Connected), (leg(1), LegState::Connected)]);
    world.shard.handle_synced(world.now, &[].into());
    assert_eq!((world.shard.leg_count(), world.shard.call_count()), (0, 0));
}

#[test]
fn a_silent_client_is_stalled_and_its_return_is_told() {
    let mut world = World::two_talking(19);
    world.talk(5);
    world.events.clear();
    world.cut_off = Some(0);
    world.run_until("it stalls", |w| w.events.contains(&(leg(0), LegState::Stalled)));
    assert_eq!(world.events, [(leg(0), LegState::Stalled)]);
    world.cut_off = None;
    world.run_until("it is back", |w| w.events.contains(&(leg(0), LegState::Connected)));
    world.talk(5);
    world.run_for(Duration::from_millis(50));
    assert!(world.clients[1].heard(Audio).len() >= 10);
}

#[test]
fn a_client_that_hangs_up_is_told_to_control_and_may_offer_again() {
    let mut world = World::two_talking(20);
    world.talk(5);
    world.events.clear();
    world.close(0);
    world.run_until("control hears of it", |w| !w.events.is_empty());
    assert_eq!(world.events, [(leg(0), LegState::Closed)]);
    assert_eq!(world.shard.leg_count(), 1);
    let again = world.add_client(standard_client());
    world.offer_for(again, leg(0), &[Audio]).unwrap();
    world.run_until("it connects", |w| w.clients[again].connected);
}

#[test]
fn nothing_of_one_party_reaches_the_other() {
    let mut world = World::two_talking(21);
    // Long enough for reports in both directions: after them str0m leaves the viewer's own MID out.
    world.talk(400);
    world.run_for(Duration::from_secs(6));
    world.talk(20);
    let (a, b) = (&world.clients[0], &world.clients[1]);
    let secrets = secrets_of(&a.offer, &a.answer);
    assert!(secrets.len() > 12, "{secrets:?}");
    for secret in &secrets {
        assert!(!b.answer.contains(secret.as_str()), "{secret} of A's is in B's answer");
        let inside = |bytes: &[u8]| bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
        assert!(!b.received.iter().any(|p| inside(&p.payload)), "{secret}");
        assert!(!b.wire_in.iter().any(|bytes| inside(bytes)), "{secret} is on B's wire");
        // A name of digits alone, which one in 240 of three letters is, may be part of any number.
        let is_number = secret.len() < 6 && secret.bytes().all(|byte| byte.is_ascii_digit());
        let is_said = || b.raw.iter().any(|raw| inside(format!("{raw:?}").as_bytes()));
        assert!(is_number || !is_said(), "{secret} is in B's RTP or RTCP");
    }
    let ssrcs: Vec<u32> = ssrcs_of(&a.offer).chain(ssrcs_of(&a.answer)).collect();
    assert!(ssrcs.len() >= 6);
    let addresses: [[u8; 4]; 1] = [[203, 0, 113, 10]];
    for plain in b.raw.iter().filter_map(received_rtp) {
        assert!(!ssrcs.contains(&plain.ssrc) && plain.csrc_count == 0);
    }
    for bytes in &b.wire_in {
        for ssrc in &ssrcs {
            let at = if world::is_media(bytes) { 8 } else { 4 };
            assert_ne!(bytes.get(at..at + 4), Some(&ssrc.to_be_bytes()[..]));
        }
        for address in &addresses {
            let xored: Vec<u8> =
                address.iter().zip([0x21, 0x12, 0xa4, 0x42]).map(|(a, cookie)| a ^ cookie).collect();
            assert!(!bytes.windows(4).any(|w| w == address || w == xored), "A's address is on B's wire");
        }
    }
    for packet in &b.received {
        let values = &packet.header.ext_vals;
        assert!(values.rid.is_none() && values.rid_repair.is_none() && values.abs_capture_time.is_none());
        assert!(values.mid.is_none_or(|mid| b.mids.values().any(|own| *own == mid)));
        assert!(packet.seq_no < 65_536.into(), "numbers start anew for each viewer");
    }
}

fn received_rtp(raw: &RawPacket) -> Option<&str0m::rtp::RtpHeader> {
    match raw {
        RawPacket::RtpRx(header, _) => Some(header),
        _ => None,
    }
}

/// Every value in an SDP that could name its owner.
fn secrets_of(offer: &str, answer: &str) -> Vec<String> {
    let mut secrets = Vec::new();
    for line in offer.lines().chain(answer.lines()) {
        for prefix in ["a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:sha-256 ", "a=mid:"] {
            secrets.extend(line.strip_prefix(prefix).filter(|v| v.len() > 1).map(str::to_owned));
        }
        if let Some(msid) = line.strip_prefix("a=msid:") {
            secrets.extend(msid.split(' ').map(str::to_owned));
        }
        if let Some((_, cname)) = line.split_once(" cname:") {
            secrets.push(cname.to_owned());
        }
    }
    secrets.sort_unstable();
    secrets.dedup();
    secrets
}

fn ssrcs_of(sdp: &str) -> impl Iterator<Item = u32> + '_ {
    sdp.lines().filter_map(|l| l.strip_prefix("a=ssrc:")?.split(' ').next()?.parse().ok())
}
