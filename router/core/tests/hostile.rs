//! What somebody who means harm may send: every case has its answer, none a panic.

mod world;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use duocast_router_core::{DropReason, LegState, MAX_MEDIA_LINES, MAX_SDP_BYTES, OfferError};
use str0m::ice::StunMessage;
use world::{Audio, Rng, Video, World, call, leg, standard_client};

fn valid_offer() -> String {
    let mut world = World::new(1);
    world.add_client(standard_client());
    world.plan(&[0], &[]);
    world.offer(0, &[Audio, Video]).unwrap();
    world.clients[0].offer.clone()
}

fn without(offer: &str, prefix: &str) -> String {
    offer.lines().filter(|l| !l.starts_with(prefix)).map(|l| format!("{l}\r\n")).collect()
}

fn answer_to(offer: &str) -> Result<String, OfferError> {
    let mut world = World::new(2);
    world.add_client(standard_client());
    world.plan(&[0], &[]);
    let secret = Rng(3).secret();
    let answer = world.shard.handle_offer(world.now, call(), leg(0), offer, &secret);
    let legs = usize::from(answer.is_ok());
    assert_eq!(world.shard.leg_count(), legs, "a refused offer leaves no leg");
    answer
}

#[test]
fn each_broken_offer_is_refused_with_its_reason() {
    let good = valid_offer();
    assert!(answer_to(&good).is_ok());
    let audio = good.split("m=").nth(1).unwrap();
    let many_lines: String = (0..MAX_MEDIA_LINES)
        .map(|i| format!("m={}", audio.replace("a=mid:", &format!("a=mid:x{i}"))))
        .collect();
    let ssrcs: String = (0..1000).map(|n| format!("a=ssrc:{n} cname:x\r\n")).collect();
    let cases = [
        ("nothing", String::new(), OfferError::Invalid),
        ("no SDP", "hello".into(), OfferError::Invalid),
        ("JSON", r#"{"type":"offer","sdp":"v=0"}"#.into(), OfferError::Invalid),
        ("not ASCII", good.replace("a=mid:", "a=mid:\u{fffd}"), OfferError::Invalid),
        ("no m-line", good.split("m=").next().unwrap().into(), OfferError::Invalid),
        ("a huge one", format!("{good}a=x:{}\r\n", "y".repeat(MAX_SDP_BYTES)), OfferError::TooLarge),
        ("thousands of lines", format!("{good}{}", "a=x\r\n".repeat(5000)), OfferError::TooLarge),
        ("too many m-lines", format!("{good}{many_lines}"), OfferError::TooManyMedia),
        ("a thousand sources", format!("{good}{ssrcs}"), OfferError::Invalid),
        ("no ufrag", without(&good, "a=ice-ufrag"), OfferError::NoIce),
        ("no password", without(&good, "a=ice-pwd"), OfferError::NoIce),
        ("a short password", replace_value(&good, "a=ice-pwd:", "short"), OfferError::NoIce),
        ("no fingerprint", without(&good, "a=fingerprint"), OfferError::NoFingerprint),
        ("a broken fingerprint", replace_value(&good, "a=fingerprint:", "sha-256 zz"), OfferError::Invalid),
        ("a SHA-1 fingerprint", good.replace("sha-256", "sha-1"), OfferError::NoFingerprint),
        ("media in the clear", good.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), OfferError::NotDtlsSrtp),
        ("keys in the SDP", sdes(&good), OfferError::NotDtlsSrtp),
        ("one line in the clear", good.replacen("UDP/TLS/RTP/SAVPF", "RTP/AVP", 1), OfferError::NotDtlsSrtp),
        ("a line without a protocol", good.replace(" UDP/TLS/RTP/SAVPF", ""), OfferError::NotDtlsSrtp),
        ("a passive client", good.replace("a=setup:actpass", "a=setup:passive"), OfferError::Invalid),
        ("an ICE-lite client", good.replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n"), OfferError::Invalid),
        ("the same mid twice", equal_mids(&good), OfferError::Invalid),
        ("no common codec", foreign_codecs(&good), OfferError::NoCommonCodec),
        ("an unknown medium", good.replace("m=audio", "m=image"), OfferError::Invalid),
    ];
    for (what, offer, expected) in cases {
        assert_eq!(answer_to(&offer).map(drop), Err(expected), "{what}");
    }
}

fn replace_value(sdp: &str, prefix: &str, value: &str) -> String {
    let line =
        |l: &str| if l.starts_with(prefix) { format!("{prefix}{value}\r\n") } else { format!("{l}\r\n") };
    sdp.lines().map(line).collect()
}

/// As clients of the time before DTLS-SRTP offered (RFC 4568).
fn sdes(sdp: &str) -> String {
    let key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4\r\na=mid:";
    without(sdp, "a=fingerprint").replace("UDP/TLS/RTP/SAVPF", "RTP/SAVP").replace("a=mid:", key)
}

fn foreign_codecs(sdp: &str) -> String {
    sdp.replace("opus/48000/2", "speex/8000")
        .replace("VP8/90000", "H263/90000")
        .replace("H264/90000", "H261/90000")
}

fn equal_mids(sdp: &str) -> String {
    replace_value(sdp, "a=mid:", "same")
}

#[test]
fn an_offer_for_a_leg_without_a_plan_is_refused() {
    let mut world = World::new(4);
    let secret = Rng(5).secret();
    let answer = world.shard.handle_offer(world.now, call(), leg(0), &valid_offer(), &secret);
    assert_eq!(answer, Err(OfferError::LegUnknown));
}

#[test]
fn candidates_in_an_offer_are_never_contacted() {
    let victim: SocketAddr = "192.0.2.99:53".parse().unwrap();
    let mut world = World::new(6);
    world.add_client(standard_client());
    world.plan(&[0], &[]);
    let candidate = format!("a=candidate:1 1 udp 2130706431 {} {} typ host\r\n", victim.ip(), victim.port());
    world.extra_offer_line = candidate;
    world.offer(0, &[Audio]).unwrap();
    assert!(!world.clients[0].answer.contains("192.0.2.99"));
    world.run_until("it connects", |w| w.clients[0].connected);
    world.talk(50);
    assert!(!world.destinations.is_empty());
    assert!(world.destinations.iter().all(|to| *to == world.clients[0].address));
}

#[test]
fn a_track_without_a_common_codec_is_rejected_alone() {
    let offer = valid_offer().replace("VP8/90000", "H263/90000").replace("H264/90000", "H261/90000");
    let answer = answer_to(&offer).unwrap();
    assert!(answer.contains("m=audio 9 ") && answer.contains("m=video 0 "), "{answer}");
}

#[test]
fn who_can_be_asked_for_reports_is_answered_so_under_its_own_number() {
    let request = "http://www.webrtc.org/experiments/rtp-hdrext/transport-wide-cc-02";
    let offer = include_str!("fixtures/chromium-offer.sdp");
    assert!(!answer_to(offer).unwrap().contains(request), "who does not offer it is not");
    let numbers = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n";
    assert!(offer.contains(numbers));
    let offer = offer.replace("a=extmap:14 urn:ietf:params:rtp-hdrext:toffset\r\n", "");
    let offer = offer.replace(numbers, &format!("{numbers}a=extmap:14 {request}\r\n"));
    let answer = answer_to(&offer).unwrap();
    assert_eq!(
        answer.matches(&format!("a=extmap:14 {request}\r\n")).count(),
        2,
        "sound and picture: {answer}"
    );
}

#[test]
fn an_answer_takes_several_encodings_only_if_packets_can_name_theirs() {
    let offer = valid_offer() + "a=rid:h send\r\na=rid:l send\r\na=simulcast:send h;l\r\n";
    assert!(answer_to(&offer).unwrap().contains("a=simulcast:recv h;l\r\n"));
    let nameless = offer.lines().filter(|line| !line.ends_with("sdes:rtp-stream-id"));
    let answer = answer_to(&nameless.map(|line| format!("{line}\r\n")).collect::<String>()).unwrap();
    assert!(!answer.contains("a=simulcast") && !answer.contains("a=rid"), "{answer}");
}

#[test]
fn a_browser_gets_every_codec_and_extension_that_may_pass_and_no_other() {
    let answer = answer_to(include_str!("fixtures/chromium-offer.sdp")).unwrap();
    for codec in ["opus/48000/2", "red/48000/2", "VP8/90000", "rtx/90000"] {
        assert!(answer.contains(codec), "{codec} is missing: {answer}");
    }
    for passes in [
        "ssrc-audio-level",
        "transport-wide-cc",
        "dependency-descriptor",
        "playout-delay",
        "sdes:mid",
        "rtp-stream-id",
    ] {
        assert!(answer.contains(passes), "{passes} is missing: {answer}");
    }
    for stays in ["simulcast:send", "video-layers", "video-timing", "toffset", "192.0.2.10"] {
        assert!(!answer.contains(stays), "{stays} is answered: {answer}");
    }
    assert!(answer.contains("m=audio 9 UDP/TLS/RTP/SAVPF 111 63"), "plain sound comes first: {answer}");
    assert!(answer.contains("a=setup:passive") && answer.contains("a=ice-lite"));
}

#[test]
fn mangled_offers_never_panic() {
    let good = valid_offer();
    for seed in 0..400 {
        let mut rng = Rng(seed);
        let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
        for _ in 0..1 + rng.next() % 6 {
            let at = (rng.next() % lines.len() as u64) as usize;
            match rng.next() % 5 {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, lines[(rng.next() % lines.len() as u64) as usize].clone()),
                2 => lines[at] = lines[at].replace(|c: char| c.is_ascii_digit(), "9"),
                3 => lines[at].truncate((rng.next() % 12) as usize),
                _ => lines[at].push_str(" 4294967296"),
            }
            if lines.is_empty() {
                break;
            }
        }
        let offer = lines.join("\r\n") + "\r\n";
        if let Err(error) = answer_to(&offer) {
            assert_ne!(error, OfferError::Internal, "seed {seed}");
        }
    }
}

#[test]
fn hundreds_of_payload_types_do_not_exhaust_the_engine() {
    let mut offer = valid_offer();
    let types: String =
        (0..128).map(|pt| format!("a=rtpmap:{pt} VP8/90000\r\na=fmtp:{pt} x=1\r\n")).collect();
    offer.push_str(&types);
    let _ = answer_to(&offer);
}

#[test]
fn junk_datagrams_never_panic_and_reach_nobody() {
    for seed in 0..20 {
        let mut world = World::two_talking(seed);
        world.record_uplink = true;
        world.talk(3);
        let seen = world.uplink.clone();
        let mut rng = Rng(seed);
        let before = world.clients[1].received.len();
        for _ in 0..300 {
            let mut junk = seen[(rng.next() % seen.len() as u64) as usize].clone();
            for _ in 0..1 + rng.next() % 8 {
                let at = (rng.next() % junk.len() as u64) as usize;
                match rng.next() % 3 {
                    0 => junk[at] = rng.next() as u8,
                    1 => junk.truncate(at.max(1)),
                    _ => junk.extend((0..rng.next() % 64).map(|n| n as u8)),
                }
            }
            let from = match rng.next() % 3 {
                0 => world.clients[0].address,
                1 => world.clients[1].address,
                _ => SocketAddr::from(([192, 0, 2, 1], rng.next() as u16)),
            };
            world.inject(from, &junk);
        }
        assert_eq!(world.shard.counters().panics, 0, "seed {seed}");
        assert!(
            world.destinations.iter().all(|to| world.clients.iter().any(|c| c.address == *to)),
            "seed {seed}"
        );
        world.talk(10);
        assert!(world.clients[1].received.len() >= before + 15, "seed {seed}: the call goes on");
    }
}

#[test]
fn a_check_for_an_unknown_user_is_counted_and_not_answered() {
    let mut world = World::two_talking(30);
    world.talk(2);
    let stun = world.uplink_of_kind_stun();
    world.plan(&[], &[]);
    let before = world.destinations.len();
    let at = world.shard.counters().dropped_for(DropReason::UnknownUser);
    world.inject("192.0.2.5:5".parse().unwrap(), &stun);
    assert_eq!(world.shard.counters().dropped_for(DropReason::UnknownUser), at + 1);
    assert_eq!(world.destinations.len(), before);
}

#[test]
fn a_full_shard_refuses_further_legs() {
    let mut world = World::with_max_legs(31, 1);
    world.add_client(standard_client());
    world.add_client(standard_client());
    world.plan(&[0, 1], &[]);
    world.offer(0, &[Audio]).unwrap();
    let refusal = world.offer(1, &[Audio]).unwrap_err();
    assert_eq!(refusal, OfferError::NodeFull);
    assert!(!refusal.to_string().contains("another"), "a leg has no other node to go to: {refusal}");
}

/// How long it takes, in real time, until the leg has answered a check from each of these ports.
#[expect(clippy::disallowed_methods, reason = "the cost of a check is what is asked")]
fn answer_checks(world: &mut World, check: &[u8], ports: std::ops::Range<u16>) -> Duration {
    world.destinations.clear();
    // From several networks: one alone is looked at only so often.
    let sources = || ports.clone().map(|port| SocketAddr::from(([192, 0, (port >> 9) as u8, 44], port)));
    let began = Instant::now();
    for source in sources() {
        world.inject(source, check);
    }
    let took = began.elapsed();
    assert!(sources().eq(world.destinations.iter().copied()), "each is answered where it came from");
    took
}

#[test]
fn checks_from_thousands_of_ports_cost_no_more_than_the_first() {
    let mut world = World::two_talking(40);
    world.talk(2);
    let check = world.uplink_of_kind_stun();
    let first = answer_checks(&mut world, &check, 1..501);
    answer_checks(&mut world, &check, 501..8000);
    // The fastest of four: something else may hold the machine up, but hardly four times.
    let last =
        (0..4).map(|n| answer_checks(&mut world, &check, 8000 + n * 500..8500 + n * 500)).min().unwrap();
    assert!(last < first * 3, "500 checks took {first:?} at first and {last:?} at last");
    world.talk(5);
    assert!(world.clients[1].heard(Audio).len() >= 6, "the call goes on");
}

#[test]
fn an_answered_check_names_the_address_it_came_from() {
    let mut world = World::two_talking(41);
    world.talk(2);
    let check = world.uplink_of_kind_stun();
    for source in ["192.0.2.44:1", "192.0.2.45:65535", "[2001:db8::7]:9"] {
        let source: SocketAddr = source.parse().unwrap();
        world.inject(source, &check);
        let (to, answer) = world.last_answer.clone().unwrap();
        let parsed = StunMessage::parse(&answer).unwrap();
        assert_eq!((to, parsed.mapped_address()), (source, Some(source)));
        assert_eq!(parsed.trans_id(), StunMessage::parse(&check).unwrap().trans_id());
        let password = world.clients[1].answer.lines().find_map(|l| l.strip_prefix("a=ice-pwd:")).unwrap();
        let hmac = str0m::crypto::from_feature_flags().sha1_hmac_provider;
        assert!(parsed.verify(password.as_bytes(), |key, parts| hmac.sha1_hmac(key, parts)));
    }
}

fn rtp_of(ssrc: u32, seq: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 111];
    packet.extend(seq.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend([7; 60]);
    packet
}

#[test]
fn a_leg_brings_in_a_bounded_number_of_sources() {
    let mut world = World::two_talking(42);
    world.talk(2);
    let from = world.clients[0].address;
    for ssrc in 0..1000 {
        world.inject(from, &rtp_of(0x7000_0000 + ssrc, 1));
    }
    let dropped = |world: &World, reason| world.shard.counters().dropped_for(reason);
    assert_eq!(dropped(&world, DropReason::NotAuthenticated), 1000, "what is forged takes no room");
    assert_eq!(dropped(&world, DropReason::TooManySources), 0);
    for ssrc in 0..300 {
        world.change_source(0, Audio, 0x7100_0000 + ssrc);
        world.send(0, Audio, b"of another source");
        world.run_for(Duration::from_millis(20));
    }
    let too_many = dropped(&world, DropReason::TooManySources);
    assert!((40..=100).contains(&too_many), "media and reports of further ones: {too_many}");
    world.send(0, Video, b"goes on");
    world.run_for(Duration::from_millis(50));
    assert!(world.clients[1].heard(Video).iter().any(|payload| payload == "goes on"));
}

#[test]
fn media_does_not_go_where_nothing_authenticates_any_more() {
    let mut world = World::two_talking(43);
    world.talk(10);
    world.mute(1);
    world.cut_off = Some(1);
    let (from, ssrc) = (world.clients[1].address, world.clients[1].sending_ssrc(Audio));
    let forge = |world: &mut World, rounds: u16| {
        for seq in 0..rounds {
            world.inject(from, &rtp_of(ssrc, seq));
            world.inject(from, &[0x81, 200, 0, 6, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
            world.inject(from, &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0]);
            world.talk(1);
        }
    };
    forge(&mut world, 700);
    assert!(world.events.contains(&(leg(1), LegState::Stalled)), "junk does not count as the client");
    world.destinations.clear();
    forge(&mut world, 100);
    assert!(!world.destinations.contains(&from), "nothing goes there");

    world.cut_off = None;
    world.talk(400);
    let heard = world.clients[1].heard(Audio).len();
    world.talk(20);
    assert!(world.clients[1].heard(Audio).len() >= heard + 18, "media goes on once the client is back");
}

/// A STUN Binding request without a user name, as clients send it before a direct leg.
const BARE: [u8; 20] = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2];

#[test]
fn where_am_i_is_answered_only_to_the_ip_addresses_of_legs() {
    let mut world = World::two_talking(44);
    world.talk(2);
    let known = world.clients[0].address.ip();
    world.destinations.clear();
    for stranger in ["198.51.100.99:4000", "[2001:db8::99]:4000"] {
        world.inject(stranger.parse().unwrap(), &BARE);
    }
    assert!(world.destinations.is_empty(), "a stranger, spoofed or not, gets nothing");
    assert_eq!(world.shard.counters().dropped_for(DropReason::BareStranger), 2);

    for port in [1, 40_000] {
        let asks = SocketAddr::new(known, port);
        world.inject(asks, &BARE);
        let (to, answer) = world.last_answer.clone().unwrap();
        let mapped = u16::from_be_bytes([answer[26] ^ BARE[4], answer[27] ^ BARE[5]]);
        assert_eq!((to, mapped), (asks, port), "the answer says where it went");
        assert!(answer.len() < 64, "no lever for floods: {} bytes", answer.len());
    }
    world.destinations.clear();
    for cut in 0..BARE.len() {
        world.inject(SocketAddr::new(known, 1), &BARE[..cut]);
    }
    let mut broken = BARE;
    broken[3] = 4;
    world.inject(SocketAddr::new(known, 1), &broken);
    broken = BARE;
    broken[4] = 0;
    world.inject(SocketAddr::new(known, 1), &broken);
    assert!(world.destinations.is_empty(), "what is broken gets nothing");

    for port in 0..1000 {
        world.inject(SocketAddr::new(known, port), &BARE);
    }
    let answered = world.destinations.len();
    assert!((40..=60).contains(&answered), "{answered} of 1000 at once");
    let counters = *world.shard.counters();
    assert_eq!(counters.dropped_for(DropReason::BareTooMany), 1000 - answered as u64);
    assert_eq!(counters.bare_answered, answered as u64 + 2);

    world.plan(&[], &[]);
    world.run_for(Duration::from_secs(2));
    world.destinations.clear();
    world.inject(SocketAddr::new(known, 1), &BARE);
    assert!(world.destinations.is_empty(), "the call is over, and so is the answering");
    assert_eq!(world.shard.counters().panics, 0);
}

#[test]
fn a_network_that_floods_is_looked_at_only_so_often_and_calls_go_on() {
    let mut world = World::two_talking(45);
    world.talk(10);
    let ssrc = world.clients[1].sending_ssrc(Audio);
    let (began, heard) = (world.now, world.clients[0].heard(Audio).len());
    let mut sent = 0;
    while world.now - began < Duration::from_millis(1900) {
        for host in 0..250 {
            let from = SocketAddr::from(([198, 18, 5, host], 4000));
            world.inject(from, &rtp_of(ssrc, sent as u16));
            sent += 1;
        }
        world.talk(1);
    }
    let dropped = |reason| world.shard.counters().dropped_for(reason);
    let (looked_at, left) = (dropped(DropReason::NotAuthenticated), dropped(DropReason::PrefixTooMany));
    assert!(
        looked_at <= 3 * 2_000 && looked_at + left == sent,
        "{looked_at} looked at, {left} left of {sent}"
    );
    assert!(world.clients[0].heard(Audio).len() >= heard + 90, "those who talk are heard");
}
