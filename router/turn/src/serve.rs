//! One connection's shell: the TLS stream, a UDP socket, the clock.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Instant, SystemTime};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UdpSocket;

use crate::Secret;
use crate::metrics::{self, Open};
use crate::relay::{Counters, Relay};
use crate::seats::{Seat, Seats};

/// Bytes read from the client at once, before and after it has shown its credential. Higher serves a fast sender in fewer turns, lower
/// lets others have theirs sooner.
const READ_BYTES_STRANGER: usize = 1024;
const READ_BYTES: usize = 16 * 1024;

/// Largest datagram of a router.
const DATAGRAM_BYTES: usize = 2048;

/// Datagrams taken from the socket before the client has its turn again. Higher serves a fast router in fewer turns, lower lets what
/// the client sends wait less.
const MAX_BATCH: usize = 64;

/// The relays of one process. Clones share their bounds.
#[derive(Clone)]
pub struct Relays {
    secret: Secret,
    seats: Seats,
}

impl Relays {
    /// For those who show a credential of this secret.
    pub fn new(secret: Secret) -> Self {
        Self { secret, seats: Seats::default() }
    }

    /// Serves TURN on a connection whose TLS is done, until the client goes or has no allocation any more. Drop the future to end it
    /// at once.
    pub async fn serve<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite,
    {
        let _open = Open::connection();
        let mut shell = Shell {
            relay: Relay::new(Instant::now(), self.secret),
            seats: self.seats,
            relayed: None,
            counted: Counters::default(),
        };
        let (mut from_client, mut to_client) = tokio::io::split(stream);
        let mut bytes = BytesMut::new();
        // TLS may keep the end of what it took.
        let mut is_flushed = true;
        loop {
            bytes.reserve(if shell.relay.is_open() { READ_BYTES } else { READ_BYTES_STRANGER });
            let wakes_at = shell.relay.poll_timeout();
            let (relayed, output) = (shell.relayed.as_ref(), shell.relay.output());
            let must_write = !is_flushed || !output.is_empty();
            let done = tokio::select! {
                read = from_client.read_buf(&mut bytes) => match read {
                    Ok(1..) => {
                        let taken = shell.relay.handle_client(Instant::now(), SystemTime::now(), &bytes);
                        bytes.clear();
                        taken.is_err()
                    }
                    Ok(0) | Err(_) => true,
                },
                written = write(&mut to_client, output), if must_write => match written {
                    Ok(all) => { is_flushed = all; false }
                    Err(_) => true,
                },
                () = readable(relayed) => { shell.receive(); false }
                () = tokio::time::sleep_until(wakes_at.into()) => shell.relay.handle_timeout(Instant::now()),
            };
            shell.settle().await;
            if done {
                return;
            }
        }
    }
}

/// Writes what the stream takes, or, when that is all, has it leave: true. May be dropped at any time.
async fn write(stream: &mut (impl AsyncWrite + Unpin), output: &mut BytesMut) -> io::Result<bool> {
    if output.is_empty() {
        return stream.flush().await.map(|()| true);
    }
    match stream.write_buf(output).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(false),
    }
}

/// Never, without a socket.
async fn readable(relayed: Option<&Relayed>) {
    match relayed {
        // An error shows again when it is read.
        Some(relayed) => drop(relayed.socket.readable().await),
        None => std::future::pending().await,
    }
}

/// An allocation's socket, on a port of the system's choice.
struct Relayed {
    socket: UdpSocket,
    _seat: Seat,
}

struct Shell {
    relay: Relay,
    seats: Seats,
    relayed: Option<Relayed>,
    counted: Counters,
}

impl Shell {
    /// Takes what routers sent.
    fn receive(&mut self) {
        let Some(relayed) = &self.relayed else { return };
        let (now, mut datagram) = (Instant::now(), [0; DATAGRAM_BYTES]);
        for _ in 0..MAX_BATCH {
            let Ok((length, from)) = relayed.socket.try_recv_from(&mut datagram) else { return };
            self.relay.handle_node(now, from, &datagram[..length]);
        }
    }

    /// Binds what the relay asks for and sends what it has for routers.
    async fn settle(&mut self) {
        while let Some((leg, node)) = self.relay.poll_socket() {
            let bound = match self.seats.take(leg) {
                Some(seat) => bind(node).await.ok().map(|(socket, at)| (Relayed { socket, _seat: seat }, at)),
                None => None,
            };
            let (relayed, at) = bound.unzip();
            self.relayed = relayed;
            self.relay.handle_socket(Instant::now(), at);
        }
        while let Some(datagram) = self.relay.poll_transmit() {
            if let Some(relayed) = &self.relayed {
                // What the network does not take is lost, as on any path.
                let _ = relayed.socket.try_send_to(&datagram.contents, datagram.node);
            }
        }
        let now = self.relay.counters();
        metrics::count(&now, &self.counted);
        self.counted = now;
    }
}

/// A socket on a port of the system's choice, and its address as this router sees it. A browser whose router tells it another one takes
/// the relay for as good a way as its own UDP, and stays on it.
async fn bind(node: SocketAddr) -> io::Result<(UdpSocket, SocketAddr)> {
    let any: IpAddr = match node {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Sends nothing: the system says from where it would.
    let towards = UdpSocket::bind((any, 0)).await?;
    towards.connect(node).await?;
    let seen = SocketAddr::new(towards.local_addr()?.ip(), socket.local_addr()?.port());
    Ok((socket, seen))
}

#[cfg(test)]
mod tests;
