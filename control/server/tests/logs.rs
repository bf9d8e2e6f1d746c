//! Nothing that could identify a person reaches a log, at any level.

mod support;

use std::time::Duration;

use duocast_control::auth::dev_account_id;
use duocast_wire::v1::{CallState, LegState};
use support::World;
use support::node::Habit;
use support::privacy::{audience, calling, message};
use tempfile::NamedTempFile;

#[tokio::test]
async fn a_whole_story_at_trace_level_names_nobody() {
    let log = NamedTempFile::new().unwrap();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.reopen().unwrap());
    subscriber.init();

    let world = World::with(|config| config.tuning.offer_timeout = Duration::from_millis(50)).await;
    let (people, devices) = (["zoe_the_caller", "yan_the_callee"], ["zoes-laptop", "yans-phone"]);
    world.friends(&people).await;
    let node = world.node("n1").await;
    let mut zoe = world.device(people[0], devices[0]).await;
    let mut yan = world.device(people[1], devices[1]).await;
    let offer = "v=0\r\nc=IN IP4 203.0.113.77\r\na=candidate:1 1 udp 1 198.51.100.9 4711 typ host";
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
    let tokens = [zoe.who.token.clone(), yan.who.token.clone(), world.platform_token()];
    drop((zoe, yan));
    world.stop().await;

    let text = std::fs::read_to_string(log.path()).unwrap();
    assert!(text.contains("node linked"), "the log was captured:\n{text}");
    let accounts = people.map(|handle| dev_account_id(handle).expose().to_owned());
    let secrets = people.iter().chain(&devices).copied().chain(accounts.iter().map(String::as_str));
    let secrets = secrets.chain(["203.0.113.77", "198.51.100.9", "candidate", "v=0"]);
    let secrets = secrets.chain(["zoes-keyed-hash", "wil_the_unknown"]);
    let parts = tokens.iter().flat_map(|token| token.split('.').skip(1));
    for secret in secrets.chain(parts) {
        assert!(!text.contains(secret), "the log has {secret:?}");
    }
}
