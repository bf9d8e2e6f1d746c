//! Two SDK clients call each other through a real server: control over QUIC or TCP, media through the router.
#![allow(clippy::print_stdout)]

mod common;

use std::time::Duration;

use common::{PATIENCE, Server, handle};
use duocast_client::audio::{AudioSink, Discard, Tone};
use duocast_client::headless::{self, Action, Options, Progress};
use duocast_client::media::SyntheticVideoConfig;
use duocast_client::{
    Call, CallState, CallStats, Client, ClientEvent, ConnectError, DoorChoice, EndReason, Events, Media,
    MediaState, NextStep,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

struct Heard(mpsc::UnboundedSender<i16>);

impl AudioSink for Heard {
    fn write(&mut self, frame: &[i16]) {
        // The test may have heard enough.
        let _ = self.0.send(frame.iter().map(|s| s.saturating_abs()).max().unwrap_or(0));
    }
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

#[tokio::test]
async fn one_device_too_many_is_told_why() {
    let server = Server::start().await;
    let mut devices = Vec::new();
    for _ in 0..8 {
        devices.push(server.client("alice", DoorChoice::H2).await);
    }
    let refused = Client::connect(server.config("alice")).await.unwrap_err();
    assert!(
        matches!(&refused, ConnectError::Refused { reason, .. } if reason == "TOO_MANY_SESSIONS"),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("sign out on one of them"), "{refused}");
    drop(devices);
}

async fn state(call: &Call, wanted: CallState) {
    let mut updates = call.updates();
    let reach = async {
        loop {
            let info = updates.next().await.expect("the call goes on");
            if info.state == wanted {
                return;
            }
        }
    };
    let reached = timeout(PATIENCE, reach).await;
    assert!(reached.is_ok(), "{wanted:?} is not reached: {:?} {:?}", call.info(), call.stats());
}

async fn stats(call: &Call, is_reached: impl FnMut(&CallStats) -> bool) -> CallStats {
    let mut watch = call.watch_stats();
    let reached = timeout(PATIENCE, watch.wait_for(is_reached)).await.map(|r| r.map(|s| s.clone()));
    match reached {
        Ok(Ok(stats)) => stats,
        _ => panic!("not reached: {:?} {:?}", call.info(), call.stats()),
    }
}

struct Pair {
    alice: Client,
    bob: Client,
    bob_events: Events,
}

async fn pair(server: &Server, door: DoorChoice) -> Pair {
    let (alice, bob) = (server.client("alice", door).await, server.client("bob", door).await);
    let bob_events = bob.events();
    Pair { alice, bob, bob_events }
}

/// A call that is answered, with a tone from each side.
async fn talk(pair: &mut Pair) -> (Call, Call, mpsc::UnboundedReceiver<i16>) {
    let (heard_tx, heard) = mpsc::unbounded_channel();
    let tone = || Tone::new(440.0);
    let placed = pair.alice.place(&handle("bob"), Media::audio(tone(), Heard(heard_tx))).await.unwrap();
    let rung = incoming(&mut pair.bob_events).await;
    stats(&placed, |s| s.connected).await;
    stats(&rung, |s| s.connected).await;
    rung.accept(Media::audio(tone(), Discard)).await.unwrap();
    (placed, rung, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_talk_over_quic_and_over_tcp() {
    let server = Server::start().await;
    for door in [DoorChoice::H3, DoorChoice::H2] {
        let mut pair = pair(&server, door).await;
        let (placed, rung, mut heard) = talk(&mut pair).await;
        state(&placed, CallState::Live).await;
        state(&rung, CallState::Live).await;
        for call in [&placed, &rung] {
            let stats = stats(call, |s| s.audio_packets_in > 50).await;
            assert_eq!(stats.audio_packets_lost, 0, "{stats:?}");
            assert!(stats.accept_to_first_audio_ms.is_some());
        }
        let loud = async { while heard.recv().await.is_some_and(|peak| peak < 4000) {} };
        timeout(PATIENCE, loud).await.expect("the tone is heard");

        rung.hang_up().await.unwrap();
        assert_eq!(timeout(PATIENCE, placed.ended()).await.unwrap(), EndReason::HungUp);
        assert_eq!(timeout(PATIENCE, rung.ended()).await.unwrap(), EndReason::HungUp);
        assert!(pair.alice.calls().is_empty());
        drop(pair.bob);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_router_refuses_new_calls_and_loses_nothing_of_the_one_it_has() {
    let server = Server::with(|config| config.media.leg_capacity = 2).await;
    let mut pair = pair(&server, DoorChoice::H2).await;
    let (placed, rung, _heard) = talk(&mut pair).await;
    state(&placed, CallState::Live).await;
    let (carol, _dave) =
        (server.client("carol", DoorChoice::H2).await, server.client("dave", DoorChoice::H2).await);
    for _ in 0..20 {
        let refused = carol.place(&handle("dave"), Media::audio(Tone::new(440.0), Discard)).await;
        let refused = refused.map(drop).unwrap_err();
        assert_eq!(refused.reason(), Some("NO_CAPACITY"));
        assert_eq!(refused.next_step(), NextStep::TryLater);
    }
    let before = stats(&placed, |s| s.audio_packets_in > 0).await.audio_packets_in;
    for call in [&placed, &rung] {
        let stats = stats(call, |s| s.audio_packets_in > before + 50).await;
        assert_eq!((stats.audio_packets_lost, stats.leg_reconnects), (0, 0), "{stats:?}");
    }
    placed.hang_up().await.unwrap();
    assert_eq!(timeout(PATIENCE, rung.ended()).await.unwrap(), EndReason::HungUp);
    carol.place(&handle("dave"), Media::audio(Tone::new(440.0), Discard)).await.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_media_flows_before_the_call_is_accepted() {
    let server = Server::start().await;
    let mut pair = pair(&server, DoorChoice::Auto).await;
    let placed = pair.alice.place(&handle("bob"), Media::audio(Tone::new(440.0), Discard)).await.unwrap();
    let rung = incoming(&mut pair.bob_events).await;
    assert_eq!(rung.peer().handle, handle("alice"));
    stats(&placed, |s| s.connected).await;
    let ringing = stats(&rung, |s| s.connected).await;
    assert_eq!((ringing.packets_in, placed.stats().packets_out), (0, 0));
    rung.decline().await.unwrap();
    assert_eq!(timeout(PATIENCE, placed.ended()).await.unwrap(), EndReason::Declined);
    assert_eq!(placed.stats().packets_out, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_reaches_the_other_party_and_stops_the_sound() {
    let server = Server::start().await;
    let mut pair = pair(&server, DoorChoice::Auto).await;
    let (placed, rung, _heard) = talk(&mut pair).await;
    stats(&rung, |s| s.audio_packets_in > 10).await;
    placed.set_muted(true).await.unwrap();
    let mut updates = rung.updates();
    let muted = async { while updates.next().await.is_some_and(|info| info.peer_media.audio) {} };
    timeout(PATIENCE, muted).await.unwrap();
    assert_eq!(rung.info().peer_media, MediaState { audio: false, video: false });
    let at = stats(&rung, |s| s.connected).await;
    let settled = stats(&rung, |s| s.played_ms > at.played_ms + 600.0).await;
    let later = stats(&rung, |s| s.played_ms > settled.played_ms + 400.0).await;
    assert_eq!(later.audio_packets_in, settled.audio_packets_in);
    placed.set_muted(false).await.unwrap();
    stats(&rung, |s| s.audio_packets_in > later.audio_packets_in + 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn video_flows_and_starts_with_a_key_frame_for_the_viewer() {
    let server = Server::start().await;
    let mut pair = pair(&server, DoorChoice::Auto).await;
    let media = || Media::none().with_synthetic_video(SyntheticVideoConfig::default());
    let placed = pair.alice.place(&handle("bob"), media()).await.unwrap();
    let rung = incoming(&mut pair.bob_events).await;
    assert!(rung.info().video);
    rung.accept(media()).await.unwrap();
    for call in [&placed, &rung] {
        let stats = stats(call, |s| s.video_frames_in > 60).await;
        assert!(stats.video_packets_in > 200, "{stats:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_change_keeps_the_call_and_its_sound() {
    let server = Server::start().await;
    let mut pair = pair(&server, DoorChoice::H3).await;
    let (placed, rung, _heard) = talk(&mut pair).await;
    stats(&rung, |s| s.audio_packets_in > 10).await;
    pair.alice.rebind().await;
    let moved = stats(&placed, |s| s.leg_reconnects == 1 && s.connected).await;
    stats(&placed, |s| s.audio_packets_in > moved.audio_packets_in + 25).await;
    let before = rung.stats().audio_packets_in;
    stats(&rung, |s| s.audio_packets_in > before + 25).await;
    assert!(!rung.info().state.is_ended());
    rung.hang_up().await.unwrap();
    timeout(PATIENCE, placed.ended()).await.expect("events still come after the move");
}

/// How many calls the promise about the first sound is measured over.
const MEASURED_CALLS: usize = 20;

/// The promise: 95 of 100 calls on loopback, legs prepared, are heard this soon after Accept.
const FIRST_AUDIO_P95_MS: f64 = 150.0;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_sound_is_heard_soon_after_accept() {
    let server = Server::start().await;
    let mut pair = pair(&server, DoorChoice::H3).await;
    let mut waits = Vec::new();
    for _ in 0..MEASURED_CALLS {
        let (placed, rung, _heard) = talk(&mut pair).await;
        for call in [&placed, &rung] {
            waits
                .extend(stats(call, |s| s.accept_to_first_audio_ms.is_some()).await.accept_to_first_audio_ms);
        }
        rung.hang_up().await.unwrap();
        timeout(PATIENCE, placed.ended()).await.unwrap();
    }
    waits.sort_by(f64::total_cmp);
    let p95 = waits[waits.len() * 95 / 100];
    println!("accept to first audio: p50 {:.1} ms, p95 {p95:.1} ms", waits[waits.len() / 2]);
    assert!(p95 <= FIRST_AUDIO_P95_MS, "{waits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_come_with_their_reason_and_a_sentence() {
    let server = Server::start().await;
    let pair = pair(&server, DoorChoice::Auto).await;
    for (callee, reason) in [("alice", "CALLEE_IS_SELF"), ("nobody", "CALLEE_UNKNOWN")] {
        let error = pair.alice.place(&handle(callee), Media::none()).await.unwrap_err();
        assert_eq!(error.reason(), Some(reason), "{error}");
        assert!(error.to_string().len() > 10, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_client_ends_its_stream_and_its_media() {
    let server = Server::start().await;
    let mut pair = pair(&server, DoorChoice::Auto).await;
    let (placed, rung, _heard) = talk(&mut pair).await;
    stats(&rung, |s| s.audio_packets_in > 10).await;
    let mut media = placed.watch_stats();
    drop(pair.alice);
    let closed = async { while media.changed().await.is_ok() {} };
    timeout(PATIENCE, closed).await.expect("the media task ends with its client");
    let mut updates = rung.updates();
    let away = async { while updates.next().await.is_some_and(|info| info.peer_connected) {} };
    timeout(PATIENCE, away).await.expect("the other party sees that it is away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_headless_call_plays_a_file_and_records_the_other() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let tone = dir.path().join("tone.wav");
    write_tone(&tone);
    let heard = dir.path().join("heard.wav");

    let mut answering = Options::new(server.config("bob"), Action::Answer { from: Some(handle("alice")) });
    answering.record = Some(heard.clone());
    let (waiting_tx, mut waiting) = mpsc::unbounded_channel();
    let callee = tokio::spawn(headless::run(answering, move |progress| {
        if matches!(progress, Progress::Waiting) {
            waiting_tx.send(()).unwrap();
        }
    }));
    timeout(PATIENCE, waiting.recv()).await.unwrap().unwrap();

    let mut placing = Options::new(server.config("alice"), Action::Place(handle("bob")));
    placing.audio_in = Some(tone);
    placing.audio_repeats = true;
    placing.duration = Some(Duration::from_secs(3));
    let mut told = Vec::new();
    let placed = headless::run(placing, |progress| told.push(format!("{progress:?}"))).await.unwrap();
    let answered = timeout(PATIENCE, callee).await.unwrap().unwrap().unwrap();

    assert!(placed.answered && answered.answered);
    assert_eq!((placed.ended, answered.ended), ("hung_up", "hung_up"));
    assert!(told.iter().any(|line| line == "Live"), "{told:?}");
    assert!(answered.recorded_ms.unwrap() > 2500.0, "{answered:?}");
    let samples: Vec<i16> =
        hound::WavReader::open(&heard).unwrap().samples::<i16>().map(Result::unwrap).collect();
    let second = &samples[48_000..96_000];
    let power: f64 = second.iter().map(|s| f64::from(*s).powi(2)).sum();
    let loudness = (power / second.len() as f64).sqrt();
    assert!((5000.0..6600.0).contains(&loudness), "{loudness}, of a tone of 5792");
}

/// One second of 440 Hz at 44.1 kHz: a whole number of periods, so that it repeats without a click.
fn write_tone(path: &std::path::Path) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 44_100,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    for n in 0..44_100 {
        let phase = f64::from(n) * 440.0 / 44_100.0 * std::f64::consts::TAU;
        writer.write_sample((phase.sin() * 8192.0) as i16).unwrap();
    }
    writer.finalize().unwrap();
}
