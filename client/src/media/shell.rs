//! The sockets and the task around an [`Engine`].

mod direct;
mod relay;
mod tcp;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use duocast_model::MediaState;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::engine::{Engine, EngineEvent};
use super::gather::Way;
use super::{
    Course, Health, Path, Peer, PeerConfig, PeerError, RouteError, Transport, candidates, choose_target_from,
    local_address_towards, mark, tcp_candidates,
};
use crate::audio::AudioError;
use crate::call::Media;
use crate::stats::CallStats;

use direct::DirectSockets;
use relay::RelayWay;
use tcp::TcpWay;

pub(crate) use relay::RelayAccess;

/// Commands that may wait for the media task; the sender waits at the bound.
const COMMANDS_MAX: usize = 16;

/// Events that may wait for the call's driver; at the bound the newest is dropped, and the next path change corrects it.
const EVENTS_MAX: usize = 64;

/// How often [`CallStats`] are published.
const STATS_INTERVAL: Duration = Duration::from_millis(250);

/// Datagrams taken in before the task looks at its commands and timers again.
const DATAGRAMS_PER_TURN: usize = 64;

/// Longest time without a turn, when nothing is due.
const IDLE_TURN: Duration = Duration::from_secs(1);

/// Larger than any datagram of a media path.
const DATAGRAM_BYTES_MAX: usize = 2048;

/// Why a leg cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LegError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("no UDP socket for media: {0}; check that a network is up")]
    Socket(#[from] io::Error),
    #[error("the call has no leg to restart")]
    NoLeg,
}

/// What the driver of a call asks of its media task.
pub(crate) enum LegCommand {
    /// A new leg, offered and answered.
    Install { peer: Box<Peer>, answer: Answer, done: oneshot::Sender<Result<(), LegError>> },
    /// Offer an ICE restart of the present leg.
    OfferRestart { offer: oneshot::Sender<Result<String, LegError>> },
    /// The router's answer to it.
    AnswerRestart { answer: Answer, done: oneshot::Sender<Result<(), LegError>> },
    /// What to send and play.
    Attach { media: Media, done: oneshot::Sender<Result<(), AudioError>> },
    /// Accept was pressed at this moment.
    AcceptPressed(Instant),
    /// The call is accepted.
    Open,
    /// Stop or resume sending audio.
    Mute(bool),
    /// Stop or resume sending video.
    Video(bool),
    /// What the other party says it sends.
    PeerMedia(MediaState),
    /// From which addresses a direct leg could be made.
    DirectWays { ways: oneshot::Sender<Vec<Way>> },
    /// A direct leg, offered or answered.
    DirectInstall { attempt: u32, peer: Box<Peer>, sockets: Vec<UdpSocket> },
    /// The other party's answer to it.
    DirectAnswer { attempt: u32, answer: String, done: oneshot::Sender<Result<(), LegError>> },
    /// The other party's candidates.
    DirectCandidates { attempt: u32, candidates: Vec<String> },
    /// Send and play so.
    Course(Course),
    /// Ask the other party for a key frame.
    AskKeyframe(Path),
    /// Send nothing on the direct leg any more.
    DirectHush { attempt: u32 },
    /// Close the direct leg; nothing goes to the other party's address after this.
    DirectClose { attempt: u32 },
    /// Drop the direct leg's sockets, as a lost network does. For tests.
    DirectBreak,
}

/// What the server answers to an offer.
pub(crate) struct Answer {
    /// The router's SDP.
    pub(crate) sdp: String,
    /// The way there where only TLS gets through.
    pub(crate) relay: Option<RelayAccess>,
}

/// The media task of one call.
pub(crate) struct LegTask {
    pub(crate) commands: mpsc::Sender<LegCommand>,
    pub(crate) events: mpsc::Receiver<EngineEvent>,
    pub(crate) stats: watch::Receiver<CallStats>,
    pub(crate) health: watch::Receiver<Health>,
}

/// How a call's media reaches the network.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Network {
    /// The server is on this machine: media goes over loopback too.
    pub(crate) server_is_loopback: bool,
    /// The local address to bind; without, the one that leads to the router.
    pub(crate) local: Option<IpAddr>,
}

/// Starts the media task of a call; it runs until `cancel`, tells the router that the leg is over, and publishes final
/// statistics.
pub(crate) fn spawn(network: Network, marks: bool, cancel: CancellationToken) -> LegTask {
    let (command_tx, command_rx) = mpsc::channel(COMMANDS_MAX);
    let (event_tx, event_rx) = mpsc::channel(EVENTS_MAX);
    let (stats_tx, stats_rx) = watch::channel(CallStats::default());
    let (health_tx, health) = watch::channel(Health::default());
    let engine = Engine::new(Instant::now(), marks, mark::now_unix_micros);
    let shell = Shell {
        engine,
        socket: None,
        targets: Vec::new(),
        tcp: TcpWay::default(),
        relay: RelayWay::default(),
        direct: DirectSockets::default(),
        network,
        events: event_tx,
        stats: stats_tx,
        health: health_tx,
    };
    tokio::spawn(shell.run(command_rx, cancel));
    LegTask { commands: command_tx, events: event_rx, stats: stats_rx, health }
}

/// What every leg of a call is made of.
pub(crate) fn leg_config() -> PeerConfig {
    PeerConfig { video: true, ..PeerConfig::default() }
}

/// Makes a leg and its offer.
pub(crate) fn offer() -> (Box<Peer>, String) {
    let (peer, offer) = Peer::offer(Instant::now(), leg_config());
    (Box::new(peer), offer)
}

/// True if `url` names this machine's loopback: then media goes over loopback too.
pub(crate) fn is_loopback(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_address = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    is_address || host == "localhost" || host.ends_with(".localhost")
}

struct Shell {
    engine: Engine,
    socket: Option<UdpSocket>,
    /// Where the router's answer says that it is, the chosen one first.
    targets: Vec<SocketAddr>,
    tcp: TcpWay,
    relay: RelayWay,
    direct: DirectSockets,
    network: Network,
    events: mpsc::Sender<EngineEvent>,
    stats: watch::Sender<CallStats>,
    health: watch::Sender<Health>,
}

impl Shell {
    async fn run(mut self, mut commands: mpsc::Receiver<LegCommand>, cancel: CancellationToken) {
        let mut publish = interval(STATS_INTERVAL);
        publish.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut frames = Vec::new();
        loop {
            self.flush().await;
            let due = self.engine.poll_timeout().unwrap_or_else(|| Instant::now() + IDLE_TURN);
            tokio::select! {
                () = cancel.cancelled() => break,
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command).await,
                    None => break,
                },
                () = sleep_until(due.into()) => self.engine.handle_timeout(Instant::now()),
                () = readable(self.socket.as_ref()) => self.receive(&mut buffer),
                event = self.tcp.happens() => self.on_tcp(event, &mut frames),
                event = self.relay.happens() => self.on_relay(event),
                () = self.direct.readable() => self.direct.receive(&mut self.engine, &mut buffer),
                _ = publish.tick() => self.publish(),
            }
        }
        self.engine.close(Instant::now());
        let attempt = self.engine.health(Instant::now()).attempt;
        self.close_direct(attempt).await;
        self.relay.finish().await;
        self.publish();
    }

    async fn on_command(&mut self, command: LegCommand) {
        let now = Instant::now();
        // Whoever asked may be gone; then nobody needs the answer.
        match command {
            LegCommand::Install { peer, answer, done } => {
                let _ = done.send(self.install(*peer, answer).await);
            }
            LegCommand::OfferRestart { offer } => {
                let made = self.engine.peer().map(Peer::restart_ice).ok_or(LegError::NoLeg);
                let _ = offer.send(made);
            }
            LegCommand::AnswerRestart { answer, done } => {
                let _ = done.send(self.answer_restart(answer));
            }
            LegCommand::Attach { media, done } => {
                let _ = done.send(self.engine.handle_media(now, media));
            }
            LegCommand::AcceptPressed(at) => self.engine.handle_accept_pressed(at),
            LegCommand::Open => {
                if let Err(error) = self.engine.handle_open(now) {
                    tracing::warn!(%error, "audio cannot start");
                }
            }
            LegCommand::Mute(muted) => self.engine.handle_muted(muted),
            LegCommand::Video(on) => self.engine.handle_video(now, on),
            command => self.on_direct_command(now, command).await,
        }
    }

    async fn install(&mut self, mut peer: Peer, answer: Answer) -> Result<(), LegError> {
        let (socket, targets) = self.bind(&answer.sdp)?;
        peer.accept_answer(Instant::now(), &answer.sdp, socket.local_addr()?)?;
        self.engine.close(Instant::now());
        self.flush().await;
        (self.tcp, self.relay) = (TcpWay::default(), RelayWay::default());
        self.begin_others(answer, &targets);
        (self.socket, self.targets) = (Some(socket), targets);
        self.engine.handle_leg(Instant::now(), peer);
        Ok(())
    }

    fn answer_restart(&mut self, answer: Answer) -> Result<(), LegError> {
        let (socket, targets) = self.bind(&answer.sdp)?;
        let local = socket.local_addr()?;
        let peer = self.engine.peer().ok_or(LegError::NoLeg)?;
        peer.accept_answer(Instant::now(), &answer.sdp, local)?;
        self.begin_others(answer, &targets);
        (self.socket, self.targets) = (Some(socket), targets);
        self.engine.handle_restarted(Instant::now());
        Ok(())
    }

    /// A socket on the address that routes to the router, and the router's addresses, the one it routes to first.
    fn bind(&self, answer: &str) -> Result<(UdpSocket, Vec<SocketAddr>), LegError> {
        let mut targets = candidates(answer);
        let Network { server_is_loopback, local } = self.network;
        let target =
            choose_target_from(&targets, server_is_loopback, local).ok_or(RouteError::NoCandidate)?;
        targets.sort_by_key(|candidate| *candidate != target);
        let local = match local.filter(|ip| ip.is_ipv4() == target.is_ipv4()) {
            Some(ip) => SocketAddr::new(ip, 0),
            None => local_address_towards(target).map_err(RouteError::Unreachable)?,
        };
        let socket = std::net::UdpSocket::bind(local)?;
        socket.set_nonblocking(true)?;
        Ok((UdpSocket::from_std(socket)?, targets))
    }

    /// Lets TCP be tried soon, at the address that UDP is tried at first, and then TLS.
    fn begin_others(&mut self, answer: Answer, udp: &[SocketAddr]) {
        let Some(chosen) = udp.first() else { return };
        let mut targets = tcp_candidates(&answer.sdp);
        targets.sort_by_key(|target| target.ip() != chosen.ip());
        self.tcp.begin(Instant::now(), targets, self.network.local, *chosen);
        self.relay.begin(Instant::now(), answer.relay, udp);
    }

    fn receive(&mut self, buffer: &mut [u8]) {
        let Some(socket) = &self.socket else { return };
        for _ in 0..DATAGRAMS_PER_TURN {
            match socket.try_recv_from(buffer) {
                Ok((length, _)) if self.relay.handle_answer(&buffer[..length]) => {
                    self.engine.handle_udp_again();
                }
                Ok((length, source)) => {
                    self.engine.handle_datagram(Instant::now(), source, &buffer[..length]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An ICMP error of an earlier send; what it means shows in the path's state.
                Err(_) => {}
            }
        }
    }

    async fn flush(&mut self) {
        while let Some((path, transmit)) = self.engine.poll_transmit() {
            let socket = match (transmit.transport, path) {
                (Transport::Tcp, _) => {
                    if !self.tcp.send(&transmit) {
                        self.lose_tcp();
                    }
                    continue;
                }
                (Transport::Tls, _) => {
                    self.relay.send(Instant::now(), &transmit);
                    continue;
                }
                (Transport::Udp, Path::Routed) => self.socket.as_ref(),
                (Transport::Udp, Path::Direct) => self.direct.at(transmit.source),
            };
            if let Some(socket) = socket {
                send(socket, &transmit.contents, transmit.destination).await;
            }
        }
        self.tcp.review(Instant::now(), self.engine.transport());
        self.relay.review(Instant::now(), self.engine.transport());
        let health = self.engine.health(Instant::now());
        self.health.send_if_modified(|known| std::mem::replace(known, health) != health);
        for event in self.engine.take_events() {
            if event == EngineEvent::FirstAudio {
                self.publish();
            }
            if self.events.try_send(event).is_err() {
                tracing::debug!("the call's driver is behind; a media event is dropped");
            }
        }
    }

    fn publish(&self) {
        self.stats.send_replace(self.engine.stats());
    }
}

async fn send(socket: &UdpSocket, contents: &[u8], destination: SocketAddr) {
    if let Err(error) = socket.send_to(contents, destination).await {
        // A lost network shows in the path's state; a datagram is nothing to stop for.
        tracing::trace!(kind = ?error.kind(), "a datagram was not sent");
    }
}

async fn readable(socket: Option<&UdpSocket>) {
    match socket {
        // An error is found again, and handled, by the read.
        Some(socket) => drop(socket.readable().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
