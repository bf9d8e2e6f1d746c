//! A network that lets nothing through but TLS to the API's port, and one that lets UDP through again.

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use duocast_transport::client::{Channel, ChannelConfig, DoorChoice, Roots};
use duocast_transport::identity::Identity;
use duocast_transport::server::{Duplex, Guest, Limits, Server, ServerConfig, loopback};
use duocast_turn::{Relays, Secret, is_turn};
use tokio::sync::Notify;

use super::tcp::BothRouter;
use super::*;
use crate::media::engine::SILENCE_MAX;
use crate::media::testing::{RELAY_SECRET, relay_credential};

/// The client is on an address of its own: the router takes nothing from there, and what the relay sends comes from another.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const NETWORK: Network = Network { server_is_loopback: true, local: Some(CLIENT) };

/// Longer than checks go on over UDP that get no answer.
const GIVEN_UP: Duration = Duration::from_secs(9);

/// The server's own relays, which count who comes and may hang up.
struct OverTls {
    relays: Relays,
    came: AtomicUsize,
    open: Arc<AtomicUsize>,
    hang_up: Arc<Notify>,
}

impl Guest for OverTls {
    fn knows(&self, first: u8) -> bool {
        is_turn(first)
    }

    fn serve(&self, stream: Box<dyn Duplex>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.came.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        let (serving, open, hang_up) =
            (self.relays.clone().serve(stream), self.open.clone(), self.hang_up.clone());
        Box::pin(async move {
            tokio::select! {
                () = serving => {}
                () = hang_up.notified() => {}
            }
            open.fetch_sub(1, Ordering::Relaxed);
        })
    }
}

/// The API's port, and a router that TCP does not reach.
struct Api {
    router: BothRouter,
    guest: Arc<OverTls>,
    channel: Channel,
    _dir: tempfile::TempDir,
}

impl Api {
    async fn start(is_udp_open: bool, cancel: &CancellationToken) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create_self_signed(dir.path(), &[]).unwrap();
        let roots = Roots::Pem(identity.cert_pem().to_owned());
        let server = Server::bind(ServerConfig {
            listen: loopback(0),
            plain: Vec::new(),
            identity,
            limits: Limits::default(),
            reset_secret: None,
            drain_timeout: Duration::ZERO,
        });
        let guest = Arc::new(OverTls {
            relays: Relays::new(Secret::new(RELAY_SECRET)),
            came: AtomicUsize::default(),
            open: Arc::default(),
            hang_up: Arc::default(),
        });
        let server = server.await.unwrap().with_guest(guest.clone());
        let url = format!("https://localhost:{}", server.listen_addrs()[0].port());
        tokio::spawn(server.serve(axum::Router::new(), cancel.clone()));
        let config = ChannelConfig::new(url, roots).with_door(DoorChoice::H2);
        let channel = Channel::connect(config).await.unwrap();
        let router = BothRouter::without_tcp(CLIENT, is_udp_open, cancel.clone()).await;
        Self { router, guest, channel, _dir: dir }
    }

    fn access(&self) -> RelayAccess {
        let (username, password) = relay_credential(self.router.address);
        RelayAccess { channel: self.channel.clone(), username, password }
    }

    async fn install(&self, task: &LegTask, relay: RelayAccess) {
        let (peer, offer) = offer();
        let sdp = answer(&self.router.offers, offer).await;
        let answer = Answer { sdp, relay: Some(relay) };
        command(task, |done| LegCommand::Install { peer, answer, done }).await.unwrap();
    }

    async fn restart(&self, task: &LegTask) {
        let offer = command(task, |offer| LegCommand::OfferRestart { offer }).await.unwrap();
        let sdp = answer(&self.router.offers, offer).await;
        let answer = Answer { sdp, relay: Some(self.access()) };
        command(task, |done| LegCommand::AnswerRestart { answer, done }).await.unwrap();
    }

    fn came(&self) -> usize {
        self.guest.came.load(Ordering::Relaxed)
    }

    async fn is_left(&self) {
        let left = async {
            while self.guest.open.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, left).await.expect("the connection goes with its use");
    }
}

async fn told(task: &mut LegTask, wanted: EngineEvent) {
    while timeout(PATIENCE, task.events.recv()).await.unwrap().unwrap() != wanted {}
}

/// A call that talks over TLS.
async fn on_tls(api: &Api, cancel: &CancellationToken) -> LegTask {
    let mut task = talking_in(NETWORK, cancel).await;
    api.install(&task, api.access()).await;
    connected(&mut task).await;
    let heard = stats_until(&mut task, |s| s.audio_packets_in > 25 && s.video_frames_in > 25).await;
    assert_eq!(heard.transport, Some(Transport::Tls));
    task
}

#[tokio::test]
async fn with_udp_and_tcp_blocked_a_leg_comes_up_over_tls_and_goes_back_at_a_restart() {
    let cancel = CancellationToken::new();
    let api = Api::start(false, &cancel).await;
    let mut task = on_tls(&api, &cancel).await;
    assert_eq!(api.came(), 1);

    tokio::time::sleep(GIVEN_UP).await;
    api.router.open_udp();
    told(&mut task, EngineEvent::UdpAgain).await;
    api.restart(&task).await;
    let heard = stats_until(&mut task, |s| s.transport == Some(Transport::Udp)).await;
    stats_until(&mut task, |s| s.audio_packets_in > heard.audio_packets_in + 25).await;
    api.is_left().await;
    assert_eq!(api.came(), 1, "the restart needed no new one");
    cancel.cancel();
}

#[tokio::test]
async fn udp_that_was_only_slow_is_taken_without_a_restart() {
    let cancel = CancellationToken::new();
    let api = Api::start(false, &cancel).await;
    let mut task = on_tls(&api, &cancel).await;
    api.router.open_udp();
    let heard = stats_until(&mut task, |s| s.transport == Some(Transport::Udp)).await;
    let heard = stats_until(&mut task, |s| s.audio_packets_in > heard.audio_packets_in + 25).await;
    assert_eq!((heard.audio_packets_lost, heard.leg_reconnects), (0, 0), "nobody notices");
    api.is_left().await;
    cancel.cancel();
}

#[tokio::test]
async fn where_udp_works_no_relay_is_asked_for() {
    let cancel = CancellationToken::new();
    let api = Api::start(true, &cancel).await;
    let mut task = talking_in(NETWORK, &cancel).await;
    api.install(&task, api.access()).await;
    let heard = stats_until(&mut task, |s| s.played_ms > 1500.0 && s.audio_packets_in > 60).await;
    assert_eq!(heard.transport, Some(Transport::Udp));
    assert_eq!(api.came(), 0);
    cancel.cancel();
}

#[tokio::test]
async fn a_lost_relay_is_told_at_once_and_a_restart_opens_another() {
    let cancel = CancellationToken::new();
    let api = Api::start(false, &cancel).await;
    let mut task = on_tls(&api, &cancel).await;
    let heard = task.stats.borrow().audio_packets_in;
    api.guest.hang_up.notify_waiters();
    let lost = told(&mut task, EngineEvent::Connection(ConnectionState::Disconnected));
    timeout(SILENCE_MAX / 2, lost).await.expect("sooner than by silence");
    api.restart(&task).await;
    let heard = stats_until(&mut task, |s| s.audio_packets_in > heard + 50).await;
    assert_eq!((heard.transport, api.came()), (Some(Transport::Tls), 2));
    cancel.cancel();
}

#[tokio::test]
async fn a_relay_that_refuses_does_no_harm() {
    let cancel = CancellationToken::new();
    let api = Api::start(false, &cancel).await;
    let mut task = talking_in(NETWORK, &cancel).await;
    let forged = RelayAccess { password: "guessed".to_owned(), ..api.access() };
    api.install(&task, forged).await;
    let refused = async {
        while api.came() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    api.is_left().await;
    api.router.open_udp();
    api.restart(&task).await;
    let heard = stats_until(&mut task, |s| s.audio_packets_in > 25).await;
    assert_eq!(heard.transport, Some(Transport::Udp));
    cancel.cancel();
}

#[tokio::test]
async fn the_end_of_a_call_ends_its_relay() {
    let cancel = CancellationToken::new();
    let api = Api::start(false, &cancel).await;
    let call = CancellationToken::new();
    let mut task = on_tls(&api, &call).await;
    call.cancel();
    while task.stats.changed().await.is_ok() {}
    api.is_left().await;
    cancel.cancel();
}
