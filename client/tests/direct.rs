//! Calls between SDK clients that leave the server for a direct leg and come back: real control, real router, loopback.
#![allow(clippy::print_stdout)]

mod common;

use std::time::{Duration, Instant};

use common::{PATIENCE, Server, handle};
use duocast_client::audio::{AudioSink, Discard, Tone};
use duocast_client::media::SyntheticVideoConfig;
use duocast_client::privacy::{DirectSetting, SettingsChange};
use duocast_client::{
    Call, CallInfo, CallStats, Client, ClientConfig, ClientEvent, DirectConsent, DirectEnd, DirectPhase,
    DoorChoice, Events, Media,
};
use duocast_wire::v1;
use duocast_wire::v1::send_direct_request::Step;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Gives the loudest sample of each frame.
struct Heard(mpsc::UnboundedSender<i16>);

impl AudioSink for Heard {
    fn write(&mut self, frame: &[i16]) {
        // The test may have heard enough.
        let _ = self.0.send(frame.iter().map(|s| s.saturating_abs()).max().unwrap_or(0));
    }
}

async fn allow(client: &Client, direct: DirectSetting) {
    let change = SettingsChange {
        enhanced_call_privacy: Some(false),
        direct: Some(direct),
        ..SettingsChange::default()
    };
    client.update_settings(change).await.unwrap();
}

async fn info(call: &Call, what: &str, is_reached: impl Fn(&CallInfo) -> bool) -> CallInfo {
    let mut updates = call.updates();
    let reach = async {
        loop {
            let info = updates.next().await.expect("the call goes on");
            if is_reached(&info) {
                return info;
            }
        }
    };
    let reached = timeout(PATIENCE, reach).await;
    reached.unwrap_or_else(|_| panic!("{what}: not reached: {:?} {:?}", call.info(), call.stats()))
}

async fn stats(call: &Call, what: &str, is_reached: impl FnMut(&CallStats) -> bool) -> CallStats {
    let mut watch = call.watch_stats();
    let reached = timeout(PATIENCE, watch.wait_for(is_reached)).await.map(|r| r.map(|s| s.clone()));
    match reached {
        Ok(Ok(stats)) => stats,
        _ => panic!("{what}: not reached: {:?} {:?}", call.info(), call.stats()),
    }
}

async fn phase(call: &Call, phase: DirectPhase) -> CallInfo {
    info(call, &format!("{phase:?}"), |info| info.direct.is_some_and(|d| d.phase == phase)).await
}

struct Talk {
    server: Server,
    _alice: Client,
    _bob: Client,
    /// Alice's end of the call.
    placed: Call,
    /// Bob's.
    rung: Call,
    /// What Alice hears.
    heard: mpsc::UnboundedReceiver<i16>,
}

/// A live call with sound and pictures each way, in which each party may say yes to a direct leg.
async fn talk() -> Talk {
    let server = Server::start().await;
    let alice = server.client("alice", DoorChoice::H3).await;
    let bob = server.client("bob", DoorChoice::H3).await;
    for client in [&alice, &bob] {
        allow(client, DirectSetting::Ask).await;
    }
    let mut events = bob.events();
    let (heard_tx, heard) = mpsc::unbounded_channel();
    let video = SyntheticVideoConfig::default();
    let media = Media::audio(Tone::new(440.0), Heard(heard_tx)).with_synthetic_video(video);
    let placed = alice.place(&handle("bob"), media).await.unwrap();
    let rung = incoming(&mut events).await;
    let media = Media::audio(Tone::new(554.0), Discard).with_synthetic_video(video);
    rung.accept(media).await.unwrap();
    for call in [&placed, &rung] {
        phase(call, DirectPhase::Routed).await;
        stats(call, "both are heard and seen", |s| s.audio_packets_in > 25 && s.video_frames_in > 10).await;
    }
    Talk { server, _alice: alice, _bob: bob, placed, rung, heard }
}

async fn incoming(events: &mut Events) -> Call {
    let next = async {
        loop {
            if let ClientEvent::Incoming(call) = events.next().await.expect("the client is open") {
                return call;
            }
        }
    };
    timeout(PATIENCE, next).await.expect("it rings")
}

async fn go_direct(talk: &Talk) {
    talk.placed.set_direct(true).await.unwrap();
    talk.rung.set_direct(true).await.unwrap();
    for call in [&talk.placed, &talk.rung] {
        phase(call, DirectPhase::Active).await;
        stats(call, "direct", |s| s.direct).await;
    }
}

/// A packet of each kind comes directly, and nothing any more through the router.
async fn assert_direct(call: &Call) {
    let before = stats(call, "direct", |s| s.direct).await;
    let after = stats(call, "sound and pictures come directly", |s| {
        s.audio_packets_in > before.audio_packets_in + 50 && s.video_frames_in > before.video_frames_in + 30
    })
    .await;
    assert!(after.direct_packets_in > before.direct_packets_in + 100, "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_yes_bring_media_onto_a_direct_leg_and_both_are_told_what_is_visible() {
    let talk = talk().await;
    let before = talk.placed.info();
    assert_eq!((before.own_exposure, before.peer_exposure), (None, None));
    talk.placed.set_direct(true).await.unwrap();
    let asked = info(&talk.rung, "asked", |i| i.direct.is_some_and(|d| d.is_asked())).await;
    assert_eq!(asked.direct.unwrap().phase, DirectPhase::Routed);
    assert_eq!(talk.rung.stats().direct_packets_in, 0);
    go_direct(&talk).await;
    for call in [&talk.placed, &talk.rung] {
        assert_direct(call).await;
        let info = call.info();
        assert!(info.own_exposure.is_some() && info.peer_exposure.is_some(), "{info:?}");
    }
    let sent = talk.placed.stats();
    let later = stats(&talk.placed, "time", |s| s.played_ms > sent.played_ms + 1000.0).await;
    let routed =
        (later.packets_out - later.direct_packets_out) - (sent.packets_out - sent.direct_packets_out);
    assert_eq!(routed, 0, "the router gets no media any more");
    talk.placed.hang_up().await.unwrap();
    timeout(PATIENCE, talk.rung.ended()).await.unwrap();
}

/// Bob falls silent; the numbers of both once everything that he said has come.
async fn pause(talk: &Talk) -> [CallStats; 2] {
    talk.rung.set_muted(true).await.unwrap();
    let now = talk.placed.stats();
    stats(&talk.placed, "time", |s| s.played_ms > now.played_ms + 800.0).await;
    [talk.placed.stats(), talk.rung.stats()]
}

const SWITCHES: usize = 20;

/// The promises about one switch.
const CONCEALED_MS_MAX: f64 = 60.0;
const VIDEO_GAP_MS_MAX: f64 = 250.0;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures in real time and wants a quiet machine: make quality"]
async fn twenty_switches_each_way_lose_no_sound_and_double_none() {
    let mut talk = talk().await;
    let start = pause(&talk).await;
    talk.rung.set_muted(false).await.unwrap();
    stats(&talk.placed, "heard again", |s| s.audio_packets_in > start[0].audio_packets_in).await;
    while talk.heard.try_recv().is_ok() {}
    let began = Instant::now();
    for n in 0..SWITCHES {
        go_direct(&talk).await;
        let seen = talk.placed.stats();
        stats(&talk.placed, "half a second", |s| s.played_ms > seen.played_ms + 500.0).await;
        let leaver = if n % 2 == 0 { &talk.placed } else { &talk.rung };
        leaver.set_direct(false).await.unwrap();
        for call in [&talk.placed, &talk.rung] {
            phase(call, DirectPhase::Routed).await;
            stats(call, "routed", |s| !s.direct).await;
        }
        let seen = talk.placed.stats();
        stats(&talk.placed, "half a second", |s| s.played_ms > seen.played_ms + 500.0).await;
    }
    let mut frames = Vec::new();
    while let Ok(peak) = talk.heard.try_recv() {
        frames.push(peak);
    }
    let quiet = frames.iter().filter(|peak| **peak < 4000).count();
    let [end, end_of_bob] = pause(&talk).await;
    println!("{SWITCHES} switches each way in {:?}: {end:?}", began.elapsed());
    assert_eq!(end.switch_count, 2 * SWITCHES as u64);
    let received = end.audio_packets_in - start[0].audio_packets_in;
    let sent = end_of_bob.audio_packets_out - start[1].audio_packets_out;
    assert_eq!(received, sent, "each frame came, and none counted twice");
    assert_eq!(end.audio_packets_lost, start[0].audio_packets_lost);

    let mut concealed: Vec<f64> = end.switches.iter().map(|s| s.concealed_ms).collect();
    let mut gaps: Vec<f64> = end.switches.iter().filter_map(|s| s.video_gap_ms).collect();
    assert_eq!(gaps.len(), end.switches.len(), "pictures came all along");
    concealed.sort_by(f64::total_cmp);
    gaps.sort_by(f64::total_cmp);
    let p95 = |sorted: &[f64]| sorted[(sorted.len() * 95).div_ceil(100) - 1];
    println!("concealed p95 {} ms, video gap p95 {} ms", p95(&concealed), p95(&gaps));
    assert!(p95(&concealed) <= CONCEALED_MS_MAX, "{concealed:?}");
    assert!(p95(&gaps) <= VIDEO_GAP_MS_MAX, "{gaps:?}");
    assert!(quiet <= 2 * SWITCHES, "the tone goes on: {quiet} of {} frames are quiet", frames.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn going_private_needs_nobody() {
    let talk = talk().await;
    go_direct(&talk).await;
    assert_direct(&talk.placed).await;
    // Nobody hears of it but this device: its own server does not answer any more.
    talk.server.running.stop().await.unwrap();
    let _ = timeout(Duration::from_millis(50), talk.placed.set_direct(false)).await;
    let left =
        stats(&talk.placed, "it left", |s| s.switches.last().is_some_and(|s| s.left_after_ms.is_some()))
            .await;
    let after = left.switches.last().unwrap().left_after_ms.unwrap();
    assert!(after <= 300.0, "{after} ms until the last packet to the other party's address");
    sleep(Duration::from_millis(500)).await;
    assert_eq!(talk.placed.stats().direct_packets_out, left.direct_packets_out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_leg_that_dies_leaves_the_call_on_the_server() {
    let talk = talk().await;
    go_direct(&talk).await;
    assert_direct(&talk.placed).await;
    talk.rung.break_direct().await.unwrap();
    let broke = Instant::now();
    for call in [&talk.placed, &talk.rung] {
        let info = phase(call, DirectPhase::Routed).await;
        assert_eq!(info.direct.unwrap().last_end, Some(DirectEnd::Failed));
        let now = stats(call, "routed", |s| !s.direct).await;
        stats(call, "sound goes on", |s| s.audio_packets_in > now.audio_packets_in + 50).await;
        stats(call, "pictures go on", |s| s.video_frames_in > now.video_frames_in + 20).await;
    }
    println!("back on the server, and playing, {:?} after the leg died", broke.elapsed());
    let attempt = talk.placed.info().direct.unwrap().attempt;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(talk.placed.info().direct.unwrap().attempt, attempt, "nobody tries again by itself");
    go_direct(&talk).await;
    assert_direct(&talk.rung).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn muting_works_on_either_way_and_a_silent_call_can_change_ways() {
    let talk = talk().await;
    go_direct(&talk).await;
    talk.rung.set_muted(true).await.unwrap();
    talk.rung.set_video(false).await.unwrap();
    info(&talk.placed, "muted", |i| !i.peer_media.audio && !i.peer_media.video).await;
    let seen = talk.placed.stats();
    let quiet = stats(&talk.placed, "time", |s| s.played_ms > seen.played_ms + 600.0).await;
    let later = stats(&talk.placed, "time", |s| s.played_ms > quiet.played_ms + 1500.0).await;
    assert_eq!(later.audio_packets_in, quiet.audio_packets_in);
    assert!(later.direct, "a party that says nothing is not lost");
    talk.placed.set_direct(false).await.unwrap();
    phase(&talk.rung, DirectPhase::Routed).await;
    go_direct(&talk).await;
    talk.rung.set_muted(false).await.unwrap();
    stats(&talk.placed, "heard again", |s| s.audio_packets_in > later.audio_packets_in + 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_direct_legs_are_ruled_out_offers_and_yeses_get_nothing() {
    let server = Server::start().await;
    let alice = server.client("alice", DoorChoice::H3).await;
    // A client of its own making, which may send what it likes.
    let config = ClientConfig { manual_media: true, door: DoorChoice::H3, ..server.config("bob") };
    let bob = Client::connect(config).await.unwrap();
    allow(&bob, DirectSetting::Anyone).await;
    let mut events = bob.events();
    let placed = alice.place(&handle("bob"), Media::audio(Tone::new(440.0), Discard)).await.unwrap();
    let rung = incoming(&mut events).await;
    let command = v1::CallCommand { session_id: bob.session_id(), call_id: rung.id().to_string() };
    bob.signaller().accept_call(command).await.unwrap();
    let (mut peer, offer) = duocast_client::media::Peer::offer(Instant::now(), Default::default());
    rung.connect_leg(None, offer.clone()).await.unwrap();
    let _ = peer.poll_transmit();
    let refusal = placed.set_direct(true).await.unwrap_err();
    assert!(matches!(refusal.reason(), Some("DIRECT_NOT_ALLOWED" | "CALL_NOT_LIVE")), "{refusal}");
    for attempt in [0, 1, 2] {
        let steps = [
            Step::Offer(offer.clone()),
            Step::Answer(offer.clone()),
            Step::Decoding(v1::DirectDecoding {}),
            Step::Failed(v1::DirectFailed {}),
        ];
        for step in steps {
            let request = v1::SendDirectRequest {
                session_id: bob.session_id(),
                call_id: rung.id().to_string(),
                attempt,
                step: Some(step),
            };
            let refusal = bob.signaller().send_direct(request).await.unwrap_err();
            assert!(refusal.reason().is_some(), "{refusal}");
        }
    }
    sleep(Duration::from_millis(300)).await;
    drop(bob);
    while let Some(event) = events.next().await {
        assert!(!matches!(event, ClientEvent::Direct(..)), "{event:?}");
    }
    let info = placed.info();
    assert_eq!((info.own_exposure, info.peer_exposure), (None, None));
    if let Some(direct) = info.direct {
        assert_eq!((direct.phase, direct.own_consent), (DirectPhase::Routed, DirectConsent::Never));
    }
    assert_eq!(placed.stats().direct_packets_out, 0);
    drop(alice);
}
