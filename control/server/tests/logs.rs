//! Nothing that could identify a person reaches a log, at any level.

mod support;

use std::time::Duration;

use duocast_control::auth::dev_account_id;
use duocast_wire::v1;
use duocast_wire::v1::send_direct_request::Step;
use duocast_wire::v1::{CallState, LegState};
use metrics_exporter_prometheus::PrometheusBuilder;
use prost::Message as _;
use support::World;
use support::device::Device;
use support::node::Habit;
use support::privacy::{audience, calling, direct, message};
use tempfile::NamedTempFile;

/// The parties' port, which Linux gives to no socket by itself.
const PORT: &str = "61347";

/// Whether a text has this number as such. Digits of it in a longer number, such as a time in nanoseconds, are chance.
fn has_number(text: &str, number: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '.')).any(|word| word.trim_matches('.') == number)
}

#[test]
fn a_number_is_found_as_such_and_not_within_another() {
    for with in ["192.0.2.1:61347", "port=61347.", "1 198.51.100.9 61347 typ host", "61347"] {
        assert!(has_number(with, PORT), "{with}");
    }
    for without in ["0.0061347", "2026-11-23T18:00:00.061347Z", "sum 0.61347", "161347", "61347a"] {
        assert!(!has_number(without, PORT), "{without}");
    }
}

#[tokio::test]
async fn a_whole_story_at_trace_level_names_nobody() {
    let log = NamedTempFile::new().unwrap();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.reopen().unwrap());
    subscriber.init();

    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    // The whole control plane runs on this test's thread, but for the database.
    let _recording = metrics::set_default_local_recorder(&recorder);
    duocast_control::metrics::describe();

    let world = World::with(|config| config.tuning.offer_timeout = Duration::from_millis(50)).await;
    let (people, devices) = (["zoe_the_caller", "yan_the_callee"], ["zoes-laptop", "yans-phone"]);
    world.friends(&people).await;
    let node = world.node("n1").await;
    let mut zoe = world.device(people[0], devices[0]).await;
    let mut yan = world.device(people[1], devices[1]).await;
    let offer = "v=0\r\nc=IN IP4 203.0.113.77\r\na=candidate:1 1 udp 1 198.51.100.9 61347 typ host";
    let call = zoe.place(people[1], "r1").await.unwrap();
    yan.call_is(CallState::Ringing).await;
    node.habit.send_replace(Habit::Refuse("SDP_INVALID"));
    zoe.who.connect(&zoe.session, &call.call_id, "", offer).await.unwrap_err();
    node.habit.send_replace(Habit::Ignore);
    zoe.who.connect(&zoe.session, &call.call_id, "", offer).await.unwrap_err();
    node.habit.send_replace(Habit::Answer);
    let leg = zoe.who.connect(&zoe.session, &call.call_id, "", offer).await.unwrap();
    yan.who.connect(&yan.session, &call.call_id, "", offer).await.unwrap();
    yan.accept(&call).await.unwrap();
    zoe.call_is(CallState::Live).await;
    let ledger = direct_leg(&world, &mut zoe, &mut yan, &call).await;
    node.leg(&call, &leg.leg_id, LegState::Stalled).await;
    yan.call("zoe is away", |c| !c.peer_connected).await;
    zoe.cut();
    zoe.subscribe().await.unwrap();
    zoe.place(people[1], "r2").await.unwrap_err();
    zoe.hang_up(&call).await.unwrap();
    yan.end().await;
    // The same of everything that is about who may call whom.
    let (zoes, yans) = (world.person(people[0]), world.person(people[1]));
    zoes.set(calling(true)).await;
    zoes.preview(calling(false)).await;
    zoes.can_call(people[1]).await.unwrap();
    zoes.callable(0, "").await.unwrap();
    yans.callers(0, "").await.unwrap();
    yans.grant(people[0], 1).await.unwrap();
    yans.grants(0, "").await.unwrap();
    yans.revoke(people[0]).await.unwrap();
    yans.set(audience(&[])).await;
    zoes.ask(people[1]).await.unwrap();
    yans.requests().await;
    yans.answer(people[0], true, false).await.unwrap();
    yans.block(people[0]).await.unwrap();
    zoes.ask(people[1]).await.unwrap_err();
    yans.blocked(0, "").await.unwrap();
    yans.unblock(people[0]).await.unwrap();
    world.messages(vec![message(people[0], people[1], true, true)]).await.unwrap();
    world
        .address_book(people[1], true, vec![b"zoes-keyed-hash-of-32-bytes-here".to_vec()], vec![])
        .await
        .unwrap();
    world.address_book("wil_the_unknown", true, vec![], vec![]).await.unwrap_err();
    let mut stranger = world.person(people[0]);
    stranger.token.push('x');
    stranger.profile().await.unwrap_err();
    node.cut().await;
    let metrics = handle.render();
    assert!(metrics.contains("method=\"SendDirect\",code=\"OK\"} 4"), "the steps were counted:\n{metrics}");
    let tokens = [zoe.who.token.clone(), yan.who.token.clone(), world.platform_token()];
    drop((zoe, yan));
    world.stop().await;

    let text = std::fs::read_to_string(log.path()).unwrap();
    assert!(text.contains("node linked"), "the log was captured:\n{text}");
    let accounts = people.map(|handle| dev_account_id(handle).expose().to_owned());
    let secrets = people.iter().chain(&devices).copied().chain(accounts.iter().map(String::as_str));
    let addresses = ["203.0.113.77", "198.51.100.9", "candidate", "v=0"].into_iter();
    let addresses = addresses.chain(["192.0.2.21", "198.51.100.22", "10.31.0.5", "10.32.0.6", "ufrag-of"]);
    let secrets = secrets.chain(["zoes-keyed-hash", "wil_the_unknown"]);
    let parts = tokens.iter().flat_map(|token| token.split('.').skip(1));
    for secret in secrets.chain(addresses.clone()).chain(parts) {
        assert!(!text.contains(secret), "the log has {secret:?}");
        assert!(!metrics.contains(secret), "the metrics have {secret:?}");
    }
    assert!(!has_number(&text, PORT), "the log has the port");
    assert!(!has_number(&metrics, PORT), "the metrics have the port");
    for secret in addresses {
        assert!(!String::from_utf8_lossy(&ledger).contains(secret), "the ledger has {secret:?}");
    }
    assert!(!has_number(&String::from_utf8_lossy(&ledger), PORT), "the ledger has the port");
    for ip in [[192, 0, 2, 21], [198, 51, 100, 22], [10, 31, 0, 5], [10, 32, 0, 6]] {
        assert!(!ledger.windows(4).any(|bytes| bytes == ip), "the ledger has the bytes of {ip:?}");
    }
}

fn description(who: &str, place: &str, home: &str) -> String {
    format!(
        "v=0\r\no=- 1 2 IN IP4 {home}\r\ns=-\r\nt=0 0\r\nm=audio 61347 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 {place}\r\n\
         a=mid:0\r\na=ice-ufrag:ufrag-of-{who}\r\na=ice-pwd:pppppppppppppppppppppp\r\na=fingerprint:sha-256 AA\r\n\
         a=candidate:1 1 udp 1 {home} 61347 typ host\r\na=candidate:2 1 udp 1 {place} 61347 typ srflx raddr {home} rport 61347\r\n"
    )
}

/// Both agree to a direct leg and use it; one step is refused, and one of them goes private. Gives what the two may read of it
/// in the ledger afterwards.
async fn direct_leg(world: &World, zoe: &mut Device, yan: &mut Device, call: &v1::Call) -> Vec<u8> {
    let is = |phase: v1::DirectPhase| move |call: &v1::Call| call.direct.is_some_and(|d| d.phase() == phase);
    for who in [&zoe.who, &yan.who] {
        who.set(direct(v1::DirectSetting::Ask)).await;
    }
    zoe.say_direct(call, true).await.unwrap();
    yan.say_direct(call, true).await.unwrap();
    let attempt = zoe.call("both said yes", is(v1::DirectPhase::Negotiating)).await.direct.unwrap().attempt;
    let offer = description("zoe", "192.0.2.21", "10.31.0.5");
    let answer = description("yan", "198.51.100.22", "10.32.0.6");
    zoe.direct_step(call, attempt, Step::Answer(offer.clone())).await.unwrap_err();
    zoe.direct_step(call, attempt, Step::Offer(offer)).await.unwrap();
    yan.direct_step(call, attempt, Step::Answer(answer)).await.unwrap();
    for device in [&*zoe, &*yan] {
        device.direct_step(call, attempt, Step::Decoding(v1::DirectDecoding {})).await.unwrap();
    }
    yan.call("media is direct", is(v1::DirectPhase::Active)).await;
    let crossed: Vec<u8> = yan.told.iter().flat_map(|event| event.encode_to_vec()).collect();
    assert!(String::from_utf8_lossy(&crossed).contains("192.0.2.21"), "an address did cross");
    yan.say_direct(call, false).await.unwrap();
    yan.call("private again", is(v1::DirectPhase::Routed)).await;
    let mut ledger = Vec::new();
    for handle in ["zoe_the_caller", "yan_the_callee"] {
        let seen = world.person(handle).get(&call.call_id).await.unwrap();
        assert!(seen.own_exposure.is_some() && seen.peer_exposure.is_some(), "the ledger knows");
        ledger.extend(seen.encode_to_vec());
    }
    ledger
}
