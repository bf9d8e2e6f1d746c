//! A leg's UDP socket: batched receive with the kernel's own time of arrival.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use duocast_client::media::{RouteError, candidates, choose_target, local_address_towards, mark};
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};

use super::LegError;

/// Datagrams taken by one system call. Two frames of 1 Mbit/s video fit; more would cost memory on each call.
const BATCH: usize = 8;

/// Bytes for each of them: a coalesced run of datagrams (GRO) is at most this large.
const BUFFER_BYTES: usize = 64 * 1024;

/// Calls for one readiness event. A socket that is still not empty then waits for its turn behind the others.
const ROUNDS_MAX: usize = 16;

pub(crate) struct Socket {
    socket: mio::net::UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

/// Buffers that all sockets of a lane share.
pub(crate) struct Buffers {
    bytes: Vec<u8>,
    metas: [RecvMeta; BATCH],
}

impl Buffers {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; BATCH * BUFFER_BYTES], metas: [RecvMeta::default(); BATCH] }
    }
}

impl Socket {
    /// Binds the address from which the router of this SDP answer is reached.
    pub(crate) fn towards(answer: &str, server_is_loopback: bool) -> Result<Self, LegError> {
        let target = choose_target(&candidates(answer), server_is_loopback).ok_or(RouteError::NoCandidate)?;
        let local = local_address_towards(target).map_err(RouteError::Unreachable)?;
        Ok(Self::new(std::net::UdpSocket::bind(local)?)?)
    }

    /// Around a socket that is bound.
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let local = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: mio::net::UdpSocket::from_std(socket), state, local })
    }

    /// Binds another port of the same address, in the place of the one it has. What is on its way to that one is lost.
    pub(super) fn change(&mut self, registry: &mio::Registry, token: mio::Token) -> io::Result<()> {
        let mut next = Self::new(std::net::UdpSocket::bind(SocketAddr::new(self.local.ip(), 0))?)?;
        registry.register(next.source(), token, mio::Interest::READABLE)?;
        registry.deregister(&mut self.socket)?;
        *self = next;
        Ok(())
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn source(&mut self) -> &mut mio::net::UdpSocket {
        &mut self.socket
    }

    /// False if the kernel did not take it.
    pub(crate) fn send(&self, destination: SocketAddr, datagram: &[u8]) -> bool {
        self.socket.send_to(datagram, destination).is_ok()
    }

    /// Hands out what has come: time of arrival in microseconds since 1970, source, datagram. True if there is more.
    pub(crate) fn receive(
        &self,
        buffers: &mut Buffers,
        mut take: impl FnMut(u64, SocketAddr, &[u8]),
    ) -> bool {
        for _ in 0..ROUNDS_MAX {
            let mut slices = buffers.bytes.chunks_exact_mut(BUFFER_BYTES).map(IoSliceMut::new);
            let mut slices: [IoSliceMut<'_>; BATCH] =
                std::array::from_fn(|_| slices.next().expect("as many buffers as the batch has places"));
            let received = self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut buffers.metas);
            let count = match received {
                Ok(count) => count,
                // An ICMP error that a datagram of ours earned: the next call goes on.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => continue,
                Err(_) => return false,
            };
            for (slice, meta) in slices.iter().zip(&buffers.metas).take(count) {
                let arrived =
                    meta.timestamp.and_then(|since_1970| u64::try_from(since_1970.as_micros()).ok());
                let arrived = arrived.unwrap_or_else(mark::now_unix_micros);
                for datagram in slice[..meta.len].chunks(meta.stride.max(1)) {
                    take(arrived, meta.addr, datagram);
                }
            }
            if count < BATCH {
                return false;
            }
        }
        true
    }
}
