mod relay;
mod tcp;

use std::sync::mpsc as std_mpsc;

use tokio::time::timeout;

use super::*;
use crate::audio::{AudioSink, Discard, Tone};
use crate::media::testing::EchoRouter;
use crate::media::{ConnectionState, SyntheticVideoConfig};

/// Long enough for any machine; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(20);

const LOOPBACK: Network = Network { server_is_loopback: true, local: None };

struct Heard(std_mpsc::Sender<Vec<i16>>);

impl AudioSink for Heard {
    fn write(&mut self, frame: &[i16]) {
        // The test may have heard enough.
        let _ = self.0.send(frame.to_vec());
    }
}

/// An echo router on a loopback socket; gives the way to have offers answered.
async fn router(cancel: CancellationToken) -> mpsc::Sender<(String, oneshot::Sender<String>)> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (tx, mut offers) = mpsc::channel::<(String, oneshot::Sender<String>)>(4);
    let mut router = EchoRouter::new(Instant::now(), socket.local_addr().unwrap());
    tokio::spawn(async move {
        let mut buffer = vec![0; 2048];
        loop {
            while let Some(t) = router.poll_transmit() {
                socket.send_to(&t.contents, t.destination).await.unwrap();
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                Some((offer, answer)) = offers.recv() => {
                    answer.send(router.answer(Instant::now(), &offer)).unwrap();
                }
                Ok((length, source)) = socket.recv_from(&mut buffer) => {
                    router.handle_datagram(Instant::now(), source, &buffer[..length]);
                }
                () = sleep_until(router.poll_timeout().into()) => router.handle_timeout(Instant::now()),
            }
        }
    });
    tx
}

async fn answer(router: &mpsc::Sender<(String, oneshot::Sender<String>)>, offer: String) -> String {
    let (tx, rx) = oneshot::channel();
    router.send((offer, tx)).await.unwrap();
    rx.await.unwrap()
}

/// An answer that offers no relay.
fn plain(sdp: impl Into<String>) -> Answer {
    Answer { sdp: sdp.into(), relay: None }
}

async fn command<T>(task: &LegTask, make: impl FnOnce(oneshot::Sender<T>) -> LegCommand) -> T {
    let (tx, rx) = oneshot::channel();
    task.commands.send(make(tx)).await.ok().unwrap();
    timeout(PATIENCE, rx).await.unwrap().unwrap()
}

/// A call that talks as soon as it has a leg.
async fn talking_in(network: Network, cancel: &CancellationToken) -> LegTask {
    let task = spawn(network, false, cancel.clone());
    let media = Media::audio(Tone::new(440.0), Discard);
    let media = media.with_synthetic_video(SyntheticVideoConfig::default());
    command(&task, |done| LegCommand::Attach { media, done }).await.unwrap();
    task.commands.send(LegCommand::Open).await.ok().unwrap();
    task
}

async fn connected(task: &mut LegTask) {
    loop {
        let event = timeout(PATIENCE, task.events.recv()).await.unwrap().unwrap();
        if event == EngineEvent::Connection(ConnectionState::Connected) {
            return;
        }
    }
}

async fn stats_until(task: &mut LegTask, is_reached: impl FnMut(&CallStats) -> bool) -> CallStats {
    timeout(PATIENCE, task.stats.wait_for(is_reached)).await.unwrap().unwrap().clone()
}

#[tokio::test]
async fn a_leg_over_real_sockets_is_silent_until_it_opens_and_then_heard() {
    let cancel = CancellationToken::new();
    let router = router(cancel.clone()).await;
    let mut task = spawn(LOOPBACK, true, cancel.clone());
    let (heard_tx, heard) = std_mpsc::channel();
    let media = Media::audio(Tone::new(440.0), Heard(heard_tx));
    let media = media.with_synthetic_video(SyntheticVideoConfig::default());
    command(&task, |done| LegCommand::Attach { media, done }).await.unwrap();

    let (peer, offer) = offer();
    let answer_sdp = answer(&router, offer).await;
    command(&task, |done| LegCommand::Install { peer, answer: plain(answer_sdp), done }).await.unwrap();
    connected(&mut task).await;
    let before = stats_until(&mut task, |stats| stats.connected).await;
    assert_eq!((before.packets_out, before.packets_in), (0, 0), "prepared, and carries nothing");
    assert_eq!(heard.try_iter().count(), 0);

    task.commands.send(LegCommand::AcceptPressed(Instant::now())).await.ok().unwrap();
    task.commands.send(LegCommand::Open).await.ok().unwrap();
    let stats = stats_until(&mut task, |s| s.audio_packets_in > 25 && s.video_frames_in > 25).await;
    assert!(stats.accept_to_first_audio_ms.unwrap() < 1000.0, "{stats:?}");
    assert!(stats.one_way_latency.unwrap().count > 25);
    assert!(heard.try_iter().any(|frame| frame.iter().any(|s| s.abs() > 4000)), "the tone is heard");

    task.commands.send(LegCommand::Mute(true)).await.ok().unwrap();
    task.commands.send(LegCommand::Video(false)).await.ok().unwrap();
    // What was sent before the mute may still be on the way.
    let muted = stats_until(&mut task, |s| s.played_ms > stats.played_ms + 600.0).await;
    let later = stats_until(&mut task, |s| s.played_ms > muted.played_ms + 400.0).await;
    assert_eq!(later.audio_packets_in, muted.audio_packets_in);
    cancel.cancel();
}

#[tokio::test]
async fn a_restarted_and_a_replaced_leg_go_on_with_the_same_call() {
    let cancel = CancellationToken::new();
    let first_router = router(cancel.clone()).await;
    let mut task = spawn(LOOPBACK, false, cancel.clone());
    let media = Media::audio(Tone::new(440.0), Discard);
    command(&task, |done| LegCommand::Attach { media, done }).await.unwrap();
    task.commands.send(LegCommand::Open).await.ok().unwrap();
    let (peer, offer) = offer();
    let sdp = answer(&first_router, offer).await;
    command(&task, |done| LegCommand::Install { peer, answer: plain(sdp), done }).await.unwrap();
    let heard = stats_until(&mut task, |s| s.audio_packets_in > 10).await;
    connected(&mut task).await;

    let offer = command(&task, |offer| LegCommand::OfferRestart { offer }).await.unwrap();
    let sdp = answer(&first_router, offer).await;
    command(&task, |done| LegCommand::AnswerRestart { answer: plain(sdp), done }).await.unwrap();
    connected(&mut task).await;
    let heard = stats_until(&mut task, |s| s.audio_packets_in > heard.audio_packets_in + 10).await;
    assert_eq!(heard.leg_reconnects, 1);

    let second_router = router(cancel.clone()).await;
    let (peer, offer) = super::offer();
    let sdp = answer(&second_router, offer).await;
    command(&task, |done| LegCommand::Install { peer, answer: plain(sdp), done }).await.unwrap();
    let heard = stats_until(&mut task, |s| s.audio_packets_in > heard.audio_packets_in + 10).await;
    assert_eq!(heard.leg_reconnects, 2);
    cancel.cancel();
}

#[tokio::test]
async fn a_useless_answer_is_refused_and_the_task_lives_on() {
    let cancel = CancellationToken::new();
    let task = spawn(LOOPBACK, false, cancel.clone());
    let (peer, _) = offer();
    let install = |done| LegCommand::Install { peer, answer: plain("v=0\r\n"), done };
    let error = command(&task, install).await.unwrap_err();
    assert!(matches!(error, LegError::Route(RouteError::NoCandidate)), "{error}");
    let restart = command(&task, |offer| LegCommand::OfferRestart { offer }).await;
    assert!(matches!(restart, Err(LegError::NoLeg)));
    cancel.cancel();
}

#[test]
fn loopback_servers_are_recognised_by_their_url() {
    for url in ["https://127.0.0.1:8443", "https://localhost:1", "https://[::1]:8443", "https://a.localhost"]
    {
        assert!(is_loopback(url), "{url}");
    }
    for url in ["https://calls.example.org", "https://10.0.0.1", "nonsense", "https://localhost.example.org"]
    {
        assert!(!is_loopback(url), "{url}");
    }
}
