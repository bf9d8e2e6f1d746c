//! One publishes and ten view, through a real server: control over QUIC, media through the router.

mod common;

use common::{PATIENCE, Server};
use duocast_client::audio::{AudioSink, Discard, Tone};
use duocast_client::{Call, CallInfo, DoorChoice, EndReason, Media, ViewingToken};
use tokio::sync::mpsc;
use tokio::time::timeout;

struct Heard(mpsc::UnboundedSender<i16>);

impl AudioSink for Heard {
    fn write(&mut self, frame: &[i16]) {
        // The test may have heard enough.
        let _ = self.0.send(frame.iter().map(|s| s.saturating_abs()).max().unwrap_or(0));
    }
}

async fn info(call: &Call, is_so: impl Fn(&CallInfo) -> bool) {
    let mut updates = call.updates();
    let reach = async {
        loop {
            if is_so(&updates.next().await.expect("it goes on")) {
                return;
            }
        }
    };
    let reached = timeout(PATIENCE, reach).await;
    assert!(reached.is_ok(), "not reached: {:?} {:?}", call.info(), call.stats());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_people_hear_one_until_she_stops() {
    let server = Server::start().await;
    let alice = server.client("alice", DoorChoice::H3).await;
    let (show, token) = alice.start_broadcast(Media::audio(Tone::new(440.0), Discard)).await.unwrap();
    assert!(show.info().broadcast.is_some_and(|b| b.is_host));
    let mut audience = Vec::new();
    for n in 0..10 {
        let viewer = server.client(&format!("viewer_{n}"), DoorChoice::H3).await;
        let (heard_tx, heard) = mpsc::unbounded_channel();
        let view = viewer.watch_broadcast(&token, Heard(heard_tx)).await.unwrap();
        audience.push((viewer, view, heard));
    }
    for (_, view, heard) in &mut audience {
        let loud = async { while heard.recv().await.is_some_and(|peak| peak < 4000) {} };
        timeout(PATIENCE, loud).await.unwrap_or_else(|_| panic!("nothing heard: {:?}", view.stats()));
        assert_eq!(view.stats().audio_packets_out, 0, "who views sends nothing");
    }
    info(&show, |info| info.broadcast.is_some_and(|b| b.viewers == Some(10))).await;
    assert_eq!(show.stats().audio_packets_in, 0, "the host hears nobody");

    let (_, leaver, _) = &audience[3];
    leaver.hang_up().await.unwrap();
    assert_eq!(timeout(PATIENCE, leaver.ended()).await.unwrap(), EndReason::HungUp);
    info(&show, |info| info.broadcast.is_some_and(|b| b.viewers == Some(9))).await;

    show.hang_up().await.unwrap();
    for (_, view, _) in &audience {
        assert_eq!(timeout(PATIENCE, view.ended()).await.unwrap(), EndReason::HungUp);
    }
    let late = audience[0].0.watch_broadcast(&token, Discard).await.unwrap_err();
    assert!(late.to_string().contains("no such broadcast"), "{late}");
    assert!(!format!("{token:?}").contains(token.expose()));
    let wrong = ViewingToken::new("x");
    assert!(audience[0].0.watch_broadcast(&wrong, Discard).await.is_err());
}
