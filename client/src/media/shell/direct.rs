//! The direct leg's sockets, and what the driver of a call asks of it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use super::{DATAGRAMS_PER_TURN, LegCommand, Shell};
use crate::media::engine::Engine;
use crate::media::gather::Way;
use crate::media::local_address_towards;

/// How long a closed leg's sockets stay bound. The other party may not know yet and sends on; a port that is free answers with an
/// ICMP error, which is a packet to its address. Higher keeps two ports for longer, lower answers one who hears of it late.
const REST: Duration = Duration::from_secs(10);

/// At most one for each family.
#[derive(Default)]
pub(super) struct DirectSockets(Vec<(SocketAddr, UdpSocket)>);

impl DirectSockets {
    fn of(sockets: Vec<UdpSocket>) -> Self {
        let named = |socket: UdpSocket| Some((socket.local_addr().ok()?, socket));
        Self(sockets.into_iter().filter_map(named).collect())
    }

    /// The socket bound to `local`.
    pub(super) fn at(&self, local: SocketAddr) -> Option<&UdpSocket> {
        self.0.iter().find(|(address, _)| *address == local).map(|(_, socket)| socket)
    }

    /// Waits until one of them has a datagram; for ever without any.
    pub(super) async fn readable(&self) {
        // An error is found again, and handled, by the read.
        match &self.0[..] {
            [] => std::future::pending().await,
            [(_, only)] => drop(only.readable().await),
            [(_, first), (_, second), ..] => tokio::select! {
                _ = first.readable() => {}
                _ = second.readable() => {}
            },
        }
    }

    /// Reads and sends nothing any more, and gives the ports back in a while.
    fn rest(self) {
        tokio::spawn(async move {
            tokio::time::sleep(REST).await;
            drop(self);
        });
    }

    pub(super) fn receive(&self, engine: &mut Engine, buffer: &mut [u8]) {
        for (local, socket) in &self.0 {
            for _ in 0..DATAGRAMS_PER_TURN {
                match socket.try_recv_from(buffer) {
                    Ok((length, source)) => {
                        engine.handle_direct_datagram(Instant::now(), *local, source, &buffer[..length]);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // An ICMP error of an earlier send: the other party may not be there yet, or not any more.
                    Err(_) => {}
                }
            }
        }
    }
}

impl Shell {
    pub(super) async fn on_direct_command(&mut self, now: Instant, command: LegCommand) {
        match command {
            LegCommand::PeerMedia(media) => self.engine.handle_peer_media(media),
            // Whoever asked may be gone; then nobody needs the answer.
            LegCommand::DirectWays { ways } => drop(ways.send(self.ways())),
            LegCommand::DirectInstall { attempt, peer, sockets } => {
                self.direct = DirectSockets::of(sockets);
                self.engine.handle_direct_leg(now, attempt, *peer);
            }
            LegCommand::DirectAnswer { attempt, answer, done } => {
                let result = self.engine.handle_direct_answer(now, attempt, &answer);
                let _ = done.send(result.map_err(Into::into));
            }
            LegCommand::DirectCandidates { attempt, candidates } => {
                self.engine.handle_direct_candidates(now, attempt, &candidates);
            }
            LegCommand::Course(course) => self.engine.handle_course(now, course),
            LegCommand::AskKeyframe(path) => self.engine.request_keyframe(now, path),
            LegCommand::DirectHush { attempt } => self.engine.hush_direct(now, attempt),
            LegCommand::DirectClose { attempt } => self.close_direct(attempt).await,
            LegCommand::DirectBreak => {
                self.direct = DirectSockets::default();
                self.engine.handle_direct_broken();
            }
            // The routed leg's, handled before.
            _ => {}
        }
    }

    /// Says goodbye and lets go of the sockets: after this nothing can go to the other party's address.
    pub(super) async fn close_direct(&mut self, attempt: u32) {
        let is_there = self.engine.close_direct(Instant::now(), attempt);
        self.flush().await;
        if is_there {
            std::mem::take(&mut self.direct).rest();
            self.engine.forget_direct();
        }
    }

    /// The address of the routed leg, which the router sees and can tell; and one of the other family, if this machine has
    /// a route to the router there.
    fn ways(&self) -> Vec<Way> {
        let socket = self.socket.as_ref().and_then(|socket| socket.local_addr().ok());
        let Some((own, router)) = socket.zip(self.targets.first().copied()) else { return Vec::new() };
        let is_other = |to: &&SocketAddr| {
            to.is_ipv4() != own.is_ipv4() && to.ip().is_loopback() == own.ip().is_loopback()
        };
        let is_free = self.network.local.is_none();
        let other = self.targets.iter().filter(|_| is_free).find(is_other);
        let other: Option<IpAddr> = other.and_then(|to| local_address_towards(*to).ok()).map(|a| a.ip());
        let first = Way { local: own.ip(), ask: Some(router) };
        std::iter::once(first).chain(other.map(|local| Way { local, ask: None })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other party hears late that the leg is closed, and sends on.
    #[tokio::test]
    async fn a_closed_leg_answers_nothing_not_even_by_an_icmp_error() {
        let bind = || UdpSocket::bind("127.0.0.1:0");
        let (own, other) = (bind().await.unwrap(), bind().await.unwrap());
        other.connect(own.local_addr().unwrap()).await.unwrap();
        DirectSockets::of(vec![own]).rest();
        for _ in 0..3 {
            tokio::task::yield_now().await;
            // An ICMP error of a datagram comes with the next one.
            other.send(b"media").await.expect("nothing came back");
        }
    }
}
