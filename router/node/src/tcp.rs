//! One worker's TCP connections, for clients whose network lets no UDP through: ICE-TCP (RFC 6544), the node passive.
//!
//! The listeners have the port of the worker's UDP sockets, so that a connection comes to the worker that has its leg. A
//! stranger's connection is closed unless its first frame proves a leg's client: until then it costs one socket and less than
//! one frame of memory. All of it waits in one epoll descriptor that is part of the worker's own wait.

mod connection;
mod crowd;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use duocast_router_core::{Datagram, Link, Path, Transmit};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::sys::{Epoll, Ready};
use connection::{Broken, Connection};
use crowd::Crowd;

/// Connections that wait in the kernel to be accepted; at the bound it answers nobody new, and they try again.
const BACKLOG: i32 = 512;

/// Most connections accepted in one turn. Higher delays media while many connect, lower delays those who connect.
const MAX_ACCEPTS_PER_TURN: usize = 32;

/// Most connections of a worker that have not proven themselves. At the bound the oldest is closed: an honest one proves
/// itself within a round trip. Higher lets strangers hold more sockets, lower cuts off slow networks under a flood.
const MAX_UNPROVEN: usize = 256;

/// A connection on which nothing was proven for this long after it was opened is closed.
const PROVE_WITHIN: Duration = Duration::from_secs(5);

/// A connection whose leg is gone, or has forgotten it, is closed after this long. Its client checks every 5 s, which proves
/// it anew. Higher holds sockets for longer, lower cuts off clients with many paths.
const FORGOTTEN_FOR: Duration = Duration::from_secs(12);

/// A connection on which nothing comes for this long is closed: its client checks every 5 s. Higher holds sockets of clients
/// that are gone for longer, lower cuts off those who drive through a tunnel.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// A connection on which nothing could be written for this long is closed.
const STUCK_FOR: Duration = Duration::from_secs(15);

/// Nobody is accepted for this long after the system had no descriptor left for one.
const REST: Duration = Duration::from_secs(1);

/// What the kernel may hold for a slow reader. Higher is heard as delay when a path gets slow, lower limits the rate on long
/// paths: 128 KiB are 5 Mbit/s at a round trip of 200 ms.
const KERNEL_SEND_BYTES: usize = 128 * 1024;

/// Numbers from here on are listeners in the epoll descriptor; connections count from 0 and never come near.
const FIRST_LISTENER: u64 = 1 << 63;

/// Why a connection was closed by the node, or by whom else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Closed {
    /// By the client or the network.
    Left,
    /// What came first proved no leg, or nothing came.
    Unproven,
    /// Its leg is over.
    Over,
    /// Nothing came, or nothing could be written, for too long.
    Idle,
}

impl Closed {
    pub(crate) const ALL: [Self; 4] = [Self::Left, Self::Unproven, Self::Over, Self::Idle];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Unproven => "unproven",
            Self::Over => "over",
            Self::Idle => "idle",
        }
    }
}

/// Totals since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TcpCounters {
    pub(crate) accepted: u64,
    /// Not kept, because there were as many as there may be, or the system had no room.
    pub(crate) refused: u64,
    /// In the order of [`Closed::ALL`].
    pub(crate) closed: [u64; Closed::ALL.len()],
    /// Datagrams dropped because their client reads too slowly, or is gone.
    pub(crate) dropped: u64,
}

/// The listeners of one worker, bound.
pub(crate) struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// Listens on each address of the worker's UDP sockets. With `any_port`, another port is taken where that one is not free.
    pub(crate) fn bind(udp: &[SocketAddr], any_port: bool) -> Result<Self, (SocketAddr, io::Error)> {
        let bind = |address: &SocketAddr| match listen(*address) {
            Err(_) if any_port => listen(SocketAddr::new(address.ip(), 0)),
            result => result,
        };
        let bound = udp.iter().map(|address| bind(address).map_err(|error| (*address, error)));
        Ok(Self(bound.collect::<Result<_, _>>()?))
    }

    pub(crate) fn local_addrs(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A node that starts again must not wait for its old connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The listeners and connections of one worker.
///
/// In one turn: [`Tcp::fill`], the datagrams to the shard, [`Tcp::judge`]; then [`Tcp::queue`] for each datagram of the shard
/// to a client, and [`Tcp::flush`]. Once a second [`Tcp::sweep`].
pub(crate) struct Tcp {
    epoll: Epoll,
    listeners: Vec<TcpListener>,
    /// When to accept again, after the system had no room.
    rests_until: Option<Instant>,
    connections: HashMap<u64, Connection>,
    max_connections: usize,
    next_number: u64,
    /// In order of age.
    unproven: BTreeSet<u64>,
    crowd: Crowd,
    /// What came in this turn, and where each frame is.
    bytes: Vec<u8>,
    frames: Vec<(Path, Range<usize>)>,
    dirty: Vec<u64>,
    gone: Vec<Path>,
    counters: TcpCounters,
}

impl Tcp {
    pub(crate) fn new(listeners: Listeners, max_connections: usize) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        for (number, listener) in (FIRST_LISTENER..).zip(&listeners.0) {
            epoll.add(listener.as_fd(), number)?;
        }
        Ok(Self {
            epoll,
            listeners: listeners.0,
            rests_until: None,
            connections: HashMap::new(),
            max_connections,
            next_number: 0,
            unproven: BTreeSet::new(),
            crowd: Crowd::default(),
            bytes: Vec::new(),
            frames: Vec::new(),
            dirty: Vec::new(),
            gone: Vec::new(),
            counters: TcpCounters::default(),
        })
    }

    /// Can be read when there is something to do.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    pub(crate) fn counters(&self) -> TcpCounters {
        self.counters
    }

    /// Open connections.
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Accepts and reads, once from each connection that has something; what is left comes with the next turn.
    pub(crate) fn fill(&mut self, now: Instant) {
        for Ready { number, can_write } in self.epoll.ready() {
            if number >= FIRST_LISTENER {
                self.accept(now, (number - FIRST_LISTENER) as usize);
                continue;
            }
            let Some(connection) = self.connections.get_mut(&number) else { continue };
            let mut result = connection.read(now, &mut self.bytes, &mut self.frames);
            if can_write && result.is_ok() {
                result = connection.write(now);
                if connection.waiting() == 0 {
                    self.epoll.set_writing(connection.as_fd(), number, false);
                }
            }
            if let Err(broken) = result {
                self.close(number, reason(broken));
            }
        }
    }

    /// What came in, one by one.
    pub(crate) fn datagrams(&self) -> Vec<Datagram<'_>> {
        let datagram = |(path, range): &(Path, Range<usize>)| Datagram {
            path: *path,
            contents: self.bytes.get(range.clone()).unwrap_or_default(),
        };
        self.frames.iter().map(datagram).collect()
    }

    /// Keeps the new connections whose first frames proved a leg's client, and closes the others.
    pub(crate) fn judge(&mut self, now: Instant, is_proven: impl Fn(&Path) -> bool) {
        let frames = std::mem::take(&mut self.frames);
        for (path, _) in &frames {
            let Link::Tcp(number) = path.link else { continue };
            match self.connections.get_mut(&number) {
                Some(connection) if connection.is_proven => {}
                Some(connection) if is_proven(path) => {
                    (connection.is_proven, connection.vouched_at) = (true, now);
                    self.unproven.remove(&number);
                    self.crowd.prove(path.remote.ip());
                }
                Some(_) => self.close(number, Closed::Unproven),
                // Closed since, and the shard may just have come to know it.
                None => self.gone.push(*path),
            }
        }
        self.frames = frames;
        self.frames.clear();
        self.bytes.clear();
    }

    /// Takes a datagram for a client. It is dropped, and counted, when the client reads too slowly.
    pub(crate) fn queue(&mut self, transmit: &Transmit<'_>) {
        let Link::Tcp(number) = transmit.path.link else { return };
        let connection = self.connections.get_mut(&number);
        let Some(connection) = connection.filter(|connection| connection.path == transmit.path) else {
            self.counters.dropped += 1;
            return;
        };
        if !connection.queue(transmit.contents) {
            self.counters.dropped += 1;
        } else if !std::mem::replace(&mut connection.is_dirty, true) {
            self.dirty.push(number);
        }
    }

    /// Writes what was queued, as far as the kernel takes it.
    pub(crate) fn flush(&mut self, now: Instant) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for number in dirty.drain(..) {
            let Some(connection) = self.connections.get_mut(&number) else { continue };
            connection.is_dirty = false;
            // A stuck one waits until the kernel says that it has room.
            if connection.stuck_since.is_some() {
                continue;
            }
            if let Err(broken) = connection.write(now) {
                self.close(number, reason(broken));
            } else if connection.stuck_since.is_some() {
                self.epoll.set_writing(connection.as_fd(), number, true);
            }
        }
        self.dirty = dirty;
    }

    /// Closes what has been silent, stuck or forgotten for too long.
    pub(crate) fn sweep(&mut self, now: Instant, is_proven: impl Fn(&Path) -> bool) {
        if self.rests_until.is_some_and(|until| until <= now) {
            self.rests_until = None;
            self.listen(true);
        }
        let since = |then: Instant| now.saturating_duration_since(then);
        let mut over = Vec::new();
        for (number, connection) in &mut self.connections {
            if connection.is_proven && is_proven(&connection.path) {
                connection.vouched_at = now;
            }
            let unvouched = since(connection.vouched_at);
            let is_stuck = connection.stuck_since.is_some_and(|then| since(then) >= STUCK_FOR);
            if !connection.is_proven && unvouched >= PROVE_WITHIN {
                over.push((*number, Closed::Unproven));
            } else if connection.is_proven && unvouched >= FORGOTTEN_FOR {
                over.push((*number, Closed::Over));
            } else if is_stuck || since(connection.heard_at) >= IDLE_FOR {
                over.push((*number, Closed::Idle));
            }
        }
        for (number, reason) in over {
            self.close(number, reason);
        }
    }

    /// The next connection that is gone and that the shard may still know.
    pub(crate) fn poll_gone(&mut self) -> Option<Path> {
        self.gone.pop()
    }

    fn accept(&mut self, now: Instant, listener: usize) {
        for _ in 0..MAX_ACCEPTS_PER_TURN {
            let Some(listener) = self.listeners.get(listener) else { return };
            match listener.accept() {
                Ok((stream, remote)) => {
                    if self.admit(now, stream, remote).is_err() {
                        self.counters.refused += 1;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => {
                    // No descriptor or memory is left. The connection still waits: without a rest this would be a busy loop.
                    self.counters.refused += 1;
                    self.rests_until = Some(now + REST);
                    return self.listen(false);
                }
            }
        }
    }

    fn listen(&self, on: bool) {
        for (number, listener) in (FIRST_LISTENER..).zip(&self.listeners) {
            self.epoll.set_reading(listener.as_fd(), number, on);
        }
    }

    /// Errors: it was not kept.
    fn admit(&mut self, now: Instant, stream: TcpStream, remote: SocketAddr) -> io::Result<()> {
        if self.connections.len() >= self.max_connections || !self.crowd.admit(remote.ip()) {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let number = self.next_number;
        let prepared = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).and_then(|()| {
            SockRef::from(&stream).set_send_buffer_size(KERNEL_SEND_BYTES)?;
            self.epoll.add(stream.as_fd(), number)
        });
        if let Err(error) = prepared {
            self.crowd.leave(remote.ip(), false);
            return Err(error);
        }
        self.next_number += 1;
        self.counters.accepted += 1;
        let path = Path { link: Link::Tcp(number), local: None, remote };
        self.connections.insert(number, Connection::new(now, stream, path));
        self.unproven.insert(number);
        if self.unproven.len() > MAX_UNPROVEN
            && let Some(oldest) = self.unproven.first().copied()
        {
            self.close(oldest, Closed::Unproven);
        }
        Ok(())
    }

    /// The descriptor leaves the epoll by being closed.
    fn close(&mut self, number: u64, reason: Closed) {
        let Some(connection) = self.connections.remove(&number) else { return };
        self.unproven.remove(&number);
        self.crowd.leave(connection.path.remote.ip(), connection.is_proven);
        self.counters.closed[reason as usize] += 1;
        if connection.is_proven {
            self.gone.push(connection.path);
        }
    }
}

fn reason(broken: Broken) -> Closed {
    match broken {
        Broken::Left => Closed::Left,
        Broken::NoFrames => Closed::Unproven,
    }
}

#[cfg(test)]
mod tests;
