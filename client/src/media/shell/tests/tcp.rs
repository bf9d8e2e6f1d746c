//! A network that lets no UDP through, and one that does again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use duocast_model::{Frames, frame_header};
use str0m::net::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::AbortHandle;

use super::*;

const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// An echo router with UDP and TCP on one port.
pub(super) struct BothRouter {
    pub(super) offers: mpsc::Sender<(String, oneshot::Sender<String>)>,
    pub(super) address: SocketAddr,
    is_udp_open: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
    /// Closes all connections.
    hang_up: mpsc::Sender<()>,
}

struct Line {
    write: OwnedWriteHalf,
    reading: AbortHandle,
}

impl BothRouter {
    async fn start(is_udp_open: bool, cancel: CancellationToken) -> Self {
        Self::start_with(LOCALHOST, true, is_udp_open, cancel).await
    }

    /// One that has no TCP, and UDP for this client only while that is open.
    pub(super) async fn without_tcp(client: IpAddr, is_udp_open: bool, cancel: CancellationToken) -> Self {
        Self::start_with(client, false, is_udp_open, cancel).await
    }

    async fn start_with(client: IpAddr, has_tcp: bool, is_udp_open: bool, cancel: CancellationToken) -> Self {
        let (listener, udp) = loop {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            // The same port may be somebody's over UDP: then another one.
            if let Ok(udp) = UdpSocket::bind(listener.local_addr().unwrap()).await {
                break (listener, udp);
            }
        };
        let (offers, offered) = mpsc::channel(4);
        let (hang_up, hung_up) = mpsc::channel(1);
        let is_udp_open = Arc::new(AtomicBool::new(is_udp_open));
        let connections = Arc::default();
        let address = udp.local_addr().unwrap();
        let router = EchoRouter::new(Instant::now(), address);
        let router = if has_tcp { router.with_tcp() } else { router };
        let is_open = Arc::clone(&is_udp_open);
        let takes_udp = move |from: IpAddr| from != client || is_open.load(Ordering::Relaxed);
        let body = run(router, listener, udp, offered, hung_up, takes_udp, Arc::clone(&connections));
        tokio::spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = body => {}
            }
        });
        Self { offers, address, is_udp_open, connections, hang_up }
    }

    pub(super) fn open_udp(&self) {
        self.is_udp_open.store(true, Ordering::Relaxed);
    }

    async fn install(&self, task: &LegTask) {
        let (peer, offer) = offer();
        let sdp = answer(&self.offers, offer).await;
        command(task, |done| LegCommand::Install { peer, answer: plain(sdp), done }).await.unwrap();
    }

    async fn restart(&self, task: &LegTask) {
        let offer = command(task, |offer| LegCommand::OfferRestart { offer }).await.unwrap();
        let sdp = answer(&self.offers, offer).await;
        command(task, |done| LegCommand::AnswerRestart { answer: plain(sdp), done }).await.unwrap();
    }
}

async fn run(
    mut router: EchoRouter,
    listener: TcpListener,
    udp: UdpSocket,
    mut offers: mpsc::Receiver<(String, oneshot::Sender<String>)>,
    mut hung_up: mpsc::Receiver<()>,
    takes_udp: impl Fn(IpAddr) -> bool,
    connections: Arc<AtomicUsize>,
) {
    let mut lines: BTreeMap<SocketAddr, Line> = BTreeMap::new();
    let (frames_tx, mut frames) = mpsc::channel::<(SocketAddr, Vec<u8>)>(1000);
    let mut buffer = vec![0; 2048];
    loop {
        while let Some(t) = router.poll_transmit() {
            if t.transport == Transport::Udp {
                udp.send_to(&t.contents, t.destination).await.unwrap();
            } else if let Some(line) = lines.get_mut(&t.destination) {
                let framed = [&frame_header(&t.contents).unwrap()[..], &t.contents].concat();
                // The client may have left.
                let _ = line.write.write_all(&framed).await;
            }
        }
        tokio::select! {
            Some((offer, answer)) = offers.recv() => {
                answer.send(router.answer(Instant::now(), &offer)).unwrap();
            }
            Ok((length, source)) = udp.recv_from(&mut buffer) => {
                if takes_udp(source.ip()) {
                    router.handle_datagram(Instant::now(), source, &buffer[..length]);
                }
            }
            Ok((stream, source)) = listener.accept() => {
                connections.fetch_add(1, Ordering::Relaxed);
                let (mut read, write) = stream.into_split();
                let frames = frames_tx.clone();
                let reading = tokio::spawn(async move {
                    let mut received = Vec::new();
                    while read.read_buf(&mut received).await.is_ok_and(|count| count > 0) {
                        let mut there = Frames::new(&received, 1500);
                        while let Some(frame) = there.next_frame().unwrap() {
                            frames.send((source, frame.to_vec())).await.unwrap();
                        }
                        received = there.rest().to_vec();
                    }
                });
                lines.insert(source, Line { write, reading: reading.abort_handle() });
            }
            Some((source, frame)) = frames.recv() => {
                router.handle(Instant::now(), Protocol::Tcp, source, &frame);
            }
            Some(()) = hung_up.recv() => {
                for line in std::mem::take(&mut lines).into_values() {
                    line.reading.abort();
                }
            }
            () = sleep_until(router.poll_timeout().into()) => router.handle_timeout(Instant::now()),
        }
    }
}

async fn talking(cancel: &CancellationToken) -> LegTask {
    talking_in(LOOPBACK, cancel).await
}

#[tokio::test]
async fn with_udp_blocked_a_leg_comes_up_over_tcp_and_goes_back_at_a_restart() {
    let cancel = CancellationToken::new();
    let router = BothRouter::start(false, cancel.clone()).await;
    let mut task = talking(&cancel).await;
    router.install(&task).await;
    connected(&mut task).await;
    let heard = stats_until(&mut task, |s| s.audio_packets_in > 25 && s.video_frames_in > 25).await;
    assert_eq!(heard.transport, Some(Transport::Tcp));

    router.open_udp();
    router.restart(&task).await;
    let heard = stats_until(&mut task, |s| s.transport == Some(Transport::Udp)).await;
    stats_until(&mut task, |s| s.audio_packets_in > heard.audio_packets_in + 25).await;
    assert_eq!(router.connections.load(Ordering::Relaxed), 1, "the restart needed no new one");
    cancel.cancel();
}

#[tokio::test]
async fn where_udp_works_no_connection_is_opened() {
    let cancel = CancellationToken::new();
    let router = BothRouter::start(true, cancel.clone()).await;
    let mut task = talking(&cancel).await;
    router.install(&task).await;
    let heard = stats_until(&mut task, |s| s.played_ms > 1000.0 && s.audio_packets_in > 40).await;
    assert_eq!(heard.transport, Some(Transport::Udp));
    assert_eq!(router.connections.load(Ordering::Relaxed), 0);
    cancel.cancel();
}

#[tokio::test]
async fn a_lost_connection_is_told_at_once_and_a_restart_opens_another() {
    let cancel = CancellationToken::new();
    let router = BothRouter::start(false, cancel.clone()).await;
    let mut task = talking(&cancel).await;
    router.install(&task).await;
    let heard = stats_until(&mut task, |s| s.audio_packets_in > 10).await;
    router.hang_up.send(()).await.unwrap();
    loop {
        let event = timeout(PATIENCE, task.events.recv()).await.unwrap().unwrap();
        if event == EngineEvent::Connection(ConnectionState::Disconnected) {
            break;
        }
    }
    router.restart(&task).await;
    let heard = stats_until(&mut task, |s| s.audio_packets_in > heard.audio_packets_in + 25).await;
    assert_eq!(heard.transport, Some(Transport::Tcp));
    assert_eq!(router.connections.load(Ordering::Relaxed), 2);
    cancel.cancel();
}
