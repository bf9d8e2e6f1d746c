//! A UDP socket: batched receive with the kernel's own time of arrival.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use duocast_client::media::{RouteError, candidates, choose_target, local_address_towards, mark};
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};

use super::LegError;

/// Datagrams taken by one system call: as many as the library takes.
pub(crate) const BATCH: usize = quinn_udp::BATCH_SIZE;

/// Bytes for each of them: a coalesced run of datagrams (GRO) is at most 64 KiB large. A little more, so that the beginnings of all
/// of them do not compete for the same few lines of the processor's cache.
const BUFFER_BYTES: usize = 65 * 1024 + 64;

/// Calls for one readiness event. A socket that is still not empty then waits for its turn behind the others.
pub(crate) const ROUNDS_MAX: usize = 16;

pub(crate) struct Socket {
    socket: mio::net::UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

/// Buffers that all sockets of a lane share.
pub(crate) struct Buffers {
    bytes: Vec<u8>,
    metas: [RecvMeta; BATCH],
    filled: usize,
}

impl Buffers {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; BATCH * BUFFER_BYTES], metas: [RecvMeta::default(); BATCH], filled: 0 }
    }

    /// What came last: runs of datagrams, each from one source to one address.
    pub(crate) fn runs(&self) -> [Option<Run<'_>>; BATCH] {
        let mut bytes = self.bytes.chunks_exact(BUFFER_BYTES);
        std::array::from_fn(|at| {
            let (meta, bytes) = (&self.metas[at], bytes.next()?);
            (at < self.filled).then(|| Run { meta, bytes: &bytes[..meta.len] })
        })
    }
}

/// Datagrams that the kernel handed over as one.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    meta: &'a RecvMeta,
    bytes: &'a [u8],
}

impl<'a> Run<'a> {
    /// In microseconds since 1970.
    pub(crate) fn arrived(&self) -> u64 {
        let arrived = self.meta.timestamp.and_then(|since_1970| u64::try_from(since_1970.as_micros()).ok());
        arrived.unwrap_or_else(mark::now_unix_micros)
    }

    pub(crate) fn source(&self) -> SocketAddr {
        self.meta.addr
    }

    /// The address they were sent to.
    pub(crate) fn local(&self) -> Option<IpAddr> {
        self.meta.dst_ip
    }

    pub(crate) fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks(self.meta.stride.max(1))
    }
}

impl Socket {
    /// Around a socket that is bound.
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let local = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: mio::net::UdpSocket::from_std(socket), state, local })
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

    /// Hands out what has come: time of arrival in microseconds since 1970, source, the address it was sent to, datagram. True if there is more.
    pub(crate) fn receive(
        &self,
        buffers: &mut Buffers,
        mut take: impl FnMut(u64, SocketAddr, Option<IpAddr>, &[u8]),
    ) -> bool {
        for _ in 0..ROUNDS_MAX {
            let has_more = self.fill(buffers);
            for run in buffers.runs().into_iter().flatten() {
                let arrived = run.arrived();
                run.datagrams().for_each(|datagram| take(arrived, run.source(), run.local(), datagram));
            }
            if !has_more {
                return false;
            }
        }
        true
    }

    /// Puts into `buffers` what one system call takes. True if there may be more.
    pub(crate) fn fill(&self, buffers: &mut Buffers) -> bool {
        let mut slices = buffers.bytes.chunks_exact_mut(BUFFER_BYTES).map(IoSliceMut::new);
        let mut slices: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| slices.next().expect("as many buffers as the batch has places"));
        let received = self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut buffers.metas);
        buffers.filled = *received.as_ref().unwrap_or(&0);
        match received {
            Ok(count) => count == BATCH,
            // Else an ICMP error that a datagram of ours earned: the next call goes on.
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

/// The address from which the router of this SDP answer is reached, with port 0.
pub(crate) fn local_towards(answer: &str, server_is_loopback: bool) -> Result<SocketAddr, LegError> {
    let target = choose_target(&candidates(answer), server_is_loopback).ok_or(RouteError::NoCandidate)?;
    Ok(local_address_towards(target).map_err(RouteError::Unreachable)?)
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
