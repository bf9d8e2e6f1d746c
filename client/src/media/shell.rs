//! The socket and the task around an [`Engine`].

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::engine::{Engine, EngineEvent};
use super::{
    Peer, PeerConfig, PeerError, RouteError, candidates, choose_target, local_address_towards, mark,
};
use crate::audio::AudioError;
use crate::call::Media;
use crate::stats::CallStats;

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
    Install { peer: Box<Peer>, answer: String, done: oneshot::Sender<Result<(), LegError>> },
    /// Offer an ICE restart of the present leg.
    OfferRestart { offer: oneshot::Sender<Result<String, LegError>> },
    /// The router's answer to it.
    AnswerRestart { answer: String, done: oneshot::Sender<Result<(), LegError>> },
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
}

/// The media task of one call.
pub(crate) struct LegTask {
    pub(crate) commands: mpsc::Sender<LegCommand>,
    pub(crate) events: mpsc::Receiver<EngineEvent>,
    pub(crate) stats: watch::Receiver<CallStats>,
}

/// Starts the media task of a call; it runs until `cancel`, tells the router that the leg is over, and publishes final
/// statistics.
pub(crate) fn spawn(server_is_loopback: bool, marks: bool, cancel: CancellationToken) -> LegTask {
    let (command_tx, command_rx) = mpsc::channel(COMMANDS_MAX);
    let (event_tx, event_rx) = mpsc::channel(EVENTS_MAX);
    let (stats_tx, stats_rx) = watch::channel(CallStats::default());
    let engine = Engine::new(Instant::now(), marks, mark::now_unix_micros);
    let shell = Shell { engine, socket: None, server_is_loopback, events: event_tx, stats: stats_tx };
    tokio::spawn(shell.run(command_rx, cancel));
    LegTask { commands: command_tx, events: event_rx, stats: stats_rx }
}

/// Makes a leg and its offer.
pub(crate) fn offer() -> (Box<Peer>, String) {
    let config = PeerConfig { video: true, ..PeerConfig::default() };
    let (peer, offer) = Peer::offer(Instant::now(), config);
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
    server_is_loopback: bool,
    events: mpsc::Sender<EngineEvent>,
    stats: watch::Sender<CallStats>,
}

impl Shell {
    async fn run(mut self, mut commands: mpsc::Receiver<LegCommand>, cancel: CancellationToken) {
        let mut publish = interval(STATS_INTERVAL);
        publish.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
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
                _ = publish.tick() => self.publish(),
            }
        }
        self.engine.close(Instant::now());
        self.flush().await;
        self.publish();
    }

    async fn on_command(&mut self, command: LegCommand) {
        let now = Instant::now();
        // Whoever asked may be gone; then nobody needs the answer.
        match command {
            LegCommand::Install { peer, answer, done } => {
                let _ = done.send(self.install(*peer, &answer).await);
            }
            LegCommand::OfferRestart { offer } => {
                let made = self.engine.peer().map(Peer::restart_ice).ok_or(LegError::NoLeg);
                let _ = offer.send(made);
            }
            LegCommand::AnswerRestart { answer, done } => {
                let _ = done.send(self.answer_restart(&answer));
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
        }
    }

    async fn install(&mut self, mut peer: Peer, answer: &str) -> Result<(), LegError> {
        let socket = self.bind(answer)?;
        peer.accept_answer(Instant::now(), answer, socket.local_addr()?)?;
        self.engine.close(Instant::now());
        self.flush().await;
        self.socket = Some(socket);
        self.engine.handle_leg(Instant::now(), peer);
        Ok(())
    }

    fn answer_restart(&mut self, answer: &str) -> Result<(), LegError> {
        let socket = self.bind(answer)?;
        let local = socket.local_addr()?;
        let peer = self.engine.peer().ok_or(LegError::NoLeg)?;
        peer.accept_answer(Instant::now(), answer, local)?;
        self.socket = Some(socket);
        self.engine.handle_restarted(Instant::now());
        Ok(())
    }

    /// A socket on the address that routes to the router.
    fn bind(&self, answer: &str) -> Result<UdpSocket, LegError> {
        let candidates = candidates(answer);
        let target = choose_target(&candidates, self.server_is_loopback).ok_or(RouteError::NoCandidate)?;
        let local = local_address_towards(target).map_err(RouteError::Unreachable)?;
        let socket = std::net::UdpSocket::bind(local)?;
        socket.set_nonblocking(true)?;
        Ok(UdpSocket::from_std(socket)?)
    }

    fn receive(&mut self, buffer: &mut [u8]) {
        let Some(socket) = &self.socket else { return };
        for _ in 0..DATAGRAMS_PER_TURN {
            match socket.try_recv_from(buffer) {
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
        while let Some(transmit) = self.engine.poll_transmit() {
            if let Some(socket) = &self.socket {
                send(socket, &transmit.contents, transmit.destination).await;
            }
        }
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
