//! The routed leg over TCP (RFC 6544, this end active): opened when UDP gets no answer, left when it does.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::{Duration, Instant};

use duocast_model::{FRAME_HEADER_BYTES, FrameTooLong, Frames, frame_header};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep_until, timeout};

use super::{DATAGRAM_BYTES_MAX, IDLE_TURN, Shell};
use crate::media::gather::{Way, gather};
use crate::media::{Transmit, Transport};

/// UDP alone is tried for this long. Higher costs those without UDP as much time, lower opens connections that slow networks
/// do not need.
const UDP_HEAD_START: Duration = Duration::from_millis(500);

/// Longest time for one of the router's addresses to take the connection.
const CONNECT_MAX: Duration = Duration::from_millis(1500);

/// Most of the router's addresses that are tried.
const TARGETS_MAX: usize = 3;

/// How often a leg on TCP asks over UDP whether that works again: three small datagrams. Higher stays on TCP for longer, lower
/// costs more.
const PROBE_EVERY: Duration = Duration::from_secs(15);

/// The wait doubles each time that UDP answered and still could not carry the leg, up to this.
const PROBE_MAX: Duration = Duration::from_secs(600);

/// Bytes that may wait for the network; at the bound datagrams are dropped. Higher is heard as delay, lower drops keyframes.
const QUEUE_BYTES_MAX: usize = 64 * 1024;

/// Most bytes read at once.
const READ_BYTES_MAX: usize = 16 * 1024;

pub(super) type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What happened on the way.
pub(super) enum TcpEvent {
    Opened(Option<TcpStream>),
    Readable,
    Writable,
    Probed(bool),
    Due,
}

#[derive(Default)]
pub(super) struct TcpWay {
    targets: Vec<SocketAddr>,
    bind: Option<IpAddr>,
    /// Whom to ask over UDP.
    ask: Option<SocketAddr>,
    starts_at: Option<Instant>,
    opening: Option<Later<Option<TcpStream>>>,
    open: Option<Open>,
    probe_at: Option<Instant>,
    probe_wait: Option<Duration>,
    probing: Option<Later<bool>>,
}

struct Open {
    stream: TcpStream,
    local: SocketAddr,
    remote: SocketAddr,
    /// The first bytes of a frame that is not complete.
    partial: Vec<u8>,
    /// Frames to write, of which so many bytes are written.
    queue: Vec<u8>,
    written: usize,
}

/// The connection is no more.
struct Lost;

impl TcpWay {
    /// The leg has an answer: UDP gets its head start. A connection that is there stays until there is a better way.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        mut targets: Vec<SocketAddr>,
        bind: Option<IpAddr>,
        ask: SocketAddr,
    ) {
        targets.truncate(TARGETS_MAX);
        (self.targets, self.bind, self.ask) = (targets, bind, Some(ask));
        self.starts_at = Some(now + UDP_HEAD_START).filter(|_| !self.targets.is_empty());
        (self.opening, self.probing, self.probe_at) = (None, None, None);
    }

    /// The next thing that happens; nothing is lost when this is dropped before.
    pub(super) async fn happens(&mut self) -> TcpEvent {
        let due = [self.starts_at, self.probe_at].into_iter().flatten().min();
        let due = due.unwrap_or_else(|| Instant::now() + IDLE_TURN);
        let is_writing = self.open.as_ref().is_some_and(Open::is_writing);
        tokio::select! {
            stream = finished(self.opening.as_mut()) => {
                self.opening = None;
                TcpEvent::Opened(stream)
            }
            answered = finished(self.probing.as_mut()) => {
                self.probing = None;
                TcpEvent::Probed(answered)
            }
            () = readable(self.open.as_ref()) => TcpEvent::Readable,
            () = writable(self.open.as_ref()), if is_writing => TcpEvent::Writable,
            () = sleep_until(due.into()) => TcpEvent::Due,
        }
    }

    /// Sends, or drops if the network is too slow; false if the connection is lost.
    pub(super) fn send(&mut self, transmit: &Transmit) -> bool {
        let Some(open) = self.open.as_mut().filter(|open| open.local == transmit.source) else { return true };
        open.queue(&transmit.contents);
        open.write().is_ok()
    }

    /// What the leg uses now decides what is still needed.
    pub(super) fn review(&mut self, now: Instant, in_use: Option<Transport>) {
        match in_use {
            Some(Transport::Udp) => {
                (self.starts_at, self.opening, self.open) = (None, None, None);
                (self.probe_at, self.probe_wait, self.probing) = (None, None, None);
            }
            Some(Transport::Tcp) if self.probe_at.is_none() && self.probing.is_none() => {
                self.probe_at = Some(now + self.probe_wait.unwrap_or(PROBE_EVERY));
            }
            _ => {}
        }
    }

    fn start(&mut self) {
        let (targets, bind) = (self.targets.clone(), self.bind);
        self.opening = Some(Box::pin(async move {
            for target in targets {
                if let Ok(Ok(stream)) = timeout(CONNECT_MAX, connect(target, bind)).await {
                    return Some(stream);
                }
            }
            None
        }));
    }

    fn probe(&mut self) {
        let local = self.open.as_ref().map(|open| open.local.ip());
        if let Some((local, ask)) = local.zip(self.ask).filter(|(ip, ask)| ip.is_ipv4() == ask.is_ipv4()) {
            let way = Way { local, ask: Some(ask) };
            self.probing = Some(Box::pin(async move {
                let gathered = gather(&[way]).await;
                gathered.is_ok_and(|g| g.candidates.iter().any(|candidate| candidate.mapped.is_some()))
            }));
        }
    }
}

impl Shell {
    pub(super) fn on_tcp(&mut self, event: TcpEvent, buffer: &mut Vec<u8>) {
        let now = Instant::now();
        match event {
            TcpEvent::Due => self.on_tcp_due(now),
            TcpEvent::Opened(Some(stream)) => self.on_tcp_opened(now, stream),
            // No address took it. UDP goes on trying; in the end the planner makes a new leg.
            TcpEvent::Opened(None) => {}
            TcpEvent::Probed(answered) => {
                if answered {
                    let wait = self.tcp.probe_wait.unwrap_or(PROBE_EVERY);
                    self.tcp.probe_wait = Some((2 * wait).min(PROBE_MAX));
                    self.engine.handle_udp_again();
                }
            }
            TcpEvent::Readable => {
                let Some(open) = &mut self.tcp.open else { return };
                let (local, remote) = (open.local, open.remote);
                let read = open.read(buffer);
                let mut frames = Frames::new(buffer, DATAGRAM_BYTES_MAX);
                let is_stream_of_frames = loop {
                    match frames.next_frame() {
                        Ok(Some(frame)) => self.engine.handle_frame(now, local, remote, frame),
                        Ok(None) => break true,
                        Err(FrameTooLong) => break false,
                    }
                };
                if read.is_err() || !is_stream_of_frames {
                    self.lose_tcp();
                } else if let Some(open) = &mut self.tcp.open {
                    open.partial.extend_from_slice(frames.rest());
                }
            }
            TcpEvent::Writable => {
                if self.tcp.open.as_mut().is_some_and(|open| open.write().is_err()) {
                    self.lose_tcp();
                }
            }
        }
    }

    fn on_tcp_due(&mut self, now: Instant) {
        if self.tcp.starts_at.take_if(|at| *at <= now).is_some() && !self.engine.is_connected() {
            self.tcp.start();
        }
        if self.tcp.probe_at.take_if(|at| *at <= now).is_some() {
            self.tcp.probe();
        }
    }

    fn on_tcp_opened(&mut self, now: Instant, stream: TcpStream) {
        let ends = stream.set_nodelay(true).and_then(|()| Ok((stream.local_addr()?, stream.peer_addr()?)));
        let Ok((local, remote)) = ends else { return };
        if !self.engine.is_connected() && self.engine.handle_tcp_opened(now, local) {
            let (partial, queue) = (Vec::new(), Vec::new());
            self.tcp.open = Some(Open { stream, local, remote, partial, queue, written: 0 });
        }
    }

    /// The connection is gone. If the leg used it, its path is lost.
    pub(super) fn lose_tcp(&mut self) {
        if self.tcp.open.take().is_some() && self.engine.transport() == Some(Transport::Tcp) {
            self.engine.handle_lost();
        }
    }
}

impl Open {
    fn is_writing(&self) -> bool {
        self.written < self.queue.len()
    }

    fn queue(&mut self, datagram: &[u8]) {
        let waiting = self.queue.len() - self.written;
        let Some(header) = frame_header(datagram) else { return };
        if waiting + FRAME_HEADER_BYTES + datagram.len() <= QUEUE_BYTES_MAX {
            self.queue.extend_from_slice(&header);
            self.queue.extend_from_slice(datagram);
        }
    }

    fn write(&mut self) -> Result<(), Lost> {
        while self.is_writing() {
            match self.stream.try_write(&self.queue[self.written..]) {
                Ok(0) => return Err(Lost),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.queue.drain(..self.written);
                    self.written = 0;
                    return Ok(());
                }
                Err(_) => return Err(Lost),
            }
        }
        self.queue.clear();
        self.written = 0;
        Ok(())
    }

    /// Puts what is there into `buffer`, after what was left over.
    fn read(&mut self, buffer: &mut Vec<u8>) -> Result<(), Lost> {
        buffer.clear();
        buffer.append(&mut self.partial);
        let at = buffer.len();
        buffer.resize(at + READ_BYTES_MAX, 0);
        let read = self.stream.try_read(&mut buffer[at..]);
        buffer.truncate(at + read.as_ref().map_or(0, |count| *count));
        match read {
            Ok(0) => Err(Lost),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(Lost),
        }
    }
}

async fn connect(target: SocketAddr, bind: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(ip) = bind.filter(|ip| ip.is_ipv4() == target.is_ipv4()) {
        socket.bind(SocketAddr::new(ip, 0))?;
    }
    socket.connect(target).await
}

/// Never, if there is nothing to wait for.
pub(super) async fn finished<T>(later: Option<&mut Later<T>>) -> T {
    match later {
        Some(later) => later.await,
        None => std::future::pending().await,
    }
}

async fn readable(open: Option<&Open>) {
    match open {
        // An error is found again, and handled, by the read.
        Some(open) => drop(open.stream.readable().await),
        None => std::future::pending().await,
    }
}

async fn writable(open: Option<&Open>) {
    match open {
        Some(open) => drop(open.stream.writable().await),
        None => std::future::pending().await,
    }
}
