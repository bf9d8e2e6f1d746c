//! The routed leg over TLS, by a relay on the API's port: opened when neither UDP nor TCP got an answer, left when one does.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use duocast_transport::client::{Channel, TlsStream};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::{sleep_until, timeout};

use super::tcp::{Later, finished};
use super::{IDLE_TURN, Shell};
use crate::media::check::Check;
use crate::media::relay::Relay;
use crate::media::{Peer, Transmit, Transport};

/// UDP and TCP are tried for this long. Higher costs those who have neither as much time, lower opens connections that slow
/// networks do not need; a leg over TLS takes some eight round trips from then on.
const HEAD_START: Duration = Duration::from_secs(1);

/// Longest time for the connection. Higher waits for slower paths, but a leg that is not connected by then is given up anyway.
const CONNECT_MAX: Duration = Duration::from_secs(4);

/// How often a leg on TLS asks over UDP whether that works again: one small datagram. Higher stays on TLS for longer, lower costs
/// more.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// The wait doubles each time that UDP answered and still could not carry the leg, up to this.
const CHECK_MAX: Duration = Duration::from_secs(600);

/// Most bytes read at once.
const READ_BYTES_MAX: usize = 16 * 1024;

/// How long the last words may take when the call is over.
const FINISH_MAX: Duration = Duration::from_millis(250);

/// How to get to the relay: what came with the router's answer, and whose port it is on.
#[derive(Clone)]
pub(crate) struct RelayAccess {
    pub(crate) channel: Channel,
    pub(crate) username: String,
    pub(crate) password: String,
}

duocast_model::assert_not_impl!(RelayAccess: std::fmt::Debug, std::fmt::Display);

/// What happened on the way.
pub(super) enum RelayEvent {
    Connected(Option<Box<TlsStream>>),
    /// Bytes came; false if the connection is lost.
    Received(bool),
    /// So many bytes left; `None` if the connection is lost.
    Written(Option<usize>),
    Due,
}

#[derive(Default)]
pub(super) struct RelayWay {
    /// How to get there, and to which of the router's addresses it is to lead.
    access: Option<(RelayAccess, SocketAddr)>,
    starts_at: Option<Instant>,
    connecting: Option<Later<Option<Box<TlsStream>>>>,
    open: Option<Open>,
    check_at: Option<Instant>,
    check_wait: Option<Duration>,
    /// What the router was asked last over UDP.
    asked: Option<Check>,
}

struct Open {
    relay: Relay,
    router: SocketAddr,
    /// The leg's address there, once it leads to the router.
    relayed: Option<SocketAddr>,
    from_relay: ReadHalf<Box<TlsStream>>,
    to_relay: WriteHalf<Box<TlsStream>>,
    received: Vec<u8>,
    /// TLS may keep the end of what it took.
    is_flushed: bool,
}

impl RelayWay {
    /// The leg has an answer: UDP and TCP get their head start. A connection that is there stays until there is a better way.
    pub(super) fn begin(&mut self, now: Instant, access: Option<RelayAccess>, routers: &[SocketAddr]) {
        // Those of a server are not on loopback. Control has IPv4 at least as often as IPv6.
        let router = routers.iter().min_by_key(|router| (router.ip().is_loopback(), router.is_ipv6()));
        self.access = access.zip(router.copied());
        self.starts_at = self.access.as_ref().map(|_| now + HEAD_START);
        (self.connecting, self.check_at, self.asked) = (None, None, None);
    }

    /// The next thing that happens; nothing is lost when this is dropped before.
    pub(super) async fn happens(&mut self) -> RelayEvent {
        let idle = Instant::now() + IDLE_TURN;
        let due = [self.starts_at, self.check_at].into_iter().flatten().min().unwrap_or(idle);
        let connected = finished(self.connecting.as_mut());
        let Some(open) = &mut self.open else {
            tokio::select! {
                stream = connected => {
                    self.connecting = None;
                    return RelayEvent::Connected(stream);
                }
                () = sleep_until(due.into()) => return RelayEvent::Due,
            }
        };
        let due = due.min(open.relay.poll_timeout());
        open.received.reserve(READ_BYTES_MAX);
        let output = open.relay.output();
        let must_write = !open.is_flushed || !output.is_empty();
        tokio::select! {
            stream = connected => {
                self.connecting = None;
                RelayEvent::Connected(stream)
            }
            read = open.from_relay.read_buf(&mut open.received) => {
                RelayEvent::Received(read.is_ok_and(|count| count > 0))
            }
            written = write(&mut open.to_relay, output), if must_write => RelayEvent::Written(written.ok()),
            () = sleep_until(due.into()) => RelayEvent::Due,
        }
    }

    /// Sends, or drops if the network is too slow.
    pub(super) fn send(&mut self, now: Instant, transmit: &Transmit) {
        let uses =
            |open: &&mut Open| open.relayed == Some(transmit.source) && open.router == transmit.destination;
        if let Some(open) = self.open.as_mut().filter(uses) {
            open.relay.send(now, &transmit.contents);
        }
    }

    /// What the leg uses now decides what is still needed.
    pub(super) fn review(&mut self, now: Instant, in_use: Option<Transport>) {
        match in_use {
            Some(Transport::Udp | Transport::Tcp) => {
                (self.starts_at, self.connecting, self.open) = (None, None, None);
                (self.check_at, self.check_wait, self.asked) = (None, None, None);
            }
            Some(Transport::Tls) if self.check_at.is_none() => {
                self.check_at = Some(now + self.check_wait.unwrap_or(CHECK_EVERY));
            }
            _ => {}
        }
    }

    /// True if this is the router's answer over UDP.
    pub(super) fn handle_answer(&mut self, datagram: &[u8]) -> bool {
        let is_answer = self.asked.take_if(|asked| asked.is_answered_by(datagram)).is_some();
        if is_answer {
            let wait = self.check_wait.unwrap_or(CHECK_EVERY);
            self.check_wait = Some((2 * wait).min(CHECK_MAX));
        }
        is_answer
    }

    /// Writes what is still to be said, if it can be at once.
    pub(super) async fn finish(&mut self) {
        let Some(open) = &mut self.open else { return };
        let last = async {
            open.to_relay.write_all(open.relay.output()).await?;
            open.to_relay.shutdown().await
        };
        // Whoever cannot be told learns it from the connection's end.
        let _ = timeout(FINISH_MAX, last).await;
    }

    fn connect(&mut self) {
        let Some((RelayAccess { channel, .. }, _)) = self.access.clone() else { return };
        self.connecting = Some(Box::pin(async move {
            match timeout(CONNECT_MAX, channel.guest()).await.ok()? {
                Ok(stream) => Some(Box::new(stream)),
                Err(error) => {
                    tracing::debug!(%error, "no connection to the relay");
                    None
                }
            }
        }));
    }
}

impl Shell {
    pub(super) fn on_relay(&mut self, event: RelayEvent) {
        let now = Instant::now();
        match event {
            RelayEvent::Due => self.on_relay_due(now),
            RelayEvent::Connected(Some(stream)) => self.on_relay_connected(now, stream),
            // UDP and TCP go on trying; in the end the planner makes a new leg.
            RelayEvent::Connected(None) => {}
            RelayEvent::Received(true) => self.on_relay_received(now),
            RelayEvent::Written(Some(count)) => {
                let Some(open) = &mut self.relay.open else { return };
                open.relay.handle_written(count);
                open.is_flushed = count == 0;
            }
            RelayEvent::Received(false) | RelayEvent::Written(None) => self.lose_relay(),
        }
    }

    fn on_relay_due(&mut self, now: Instant) {
        if self.relay.starts_at.take_if(|at| *at <= now).is_some() && !self.engine.is_connected() {
            self.relay.connect();
        }
        if self.relay.check_at.take_if(|at| *at <= now).is_some() {
            self.ask_over_udp();
        }
        if let Some(open) = self.relay.open.as_mut().filter(|open| open.relay.poll_timeout() <= now) {
            open.relay.handle_timeout(now);
            if open.relay.is_over() {
                self.lose_relay();
            }
        }
    }

    /// On the leg's own socket: media that follows the check arrives there as well.
    fn ask_over_udp(&mut self) {
        let Some((socket, router)) = self.socket.as_ref().zip(self.targets.first()) else { return };
        if let Some(check) = self.engine.peer().and_then(Peer::check) {
            // What the network does not take gets no answer either.
            let _ = socket.try_send_to(check.bytes(), *router);
            self.relay.asked = Some(check);
        }
    }

    fn on_relay_connected(&mut self, now: Instant, stream: Box<TlsStream>) {
        let Some((access, router)) = &self.relay.access else { return };
        if self.engine.is_connected() {
            return;
        }
        let relay = Relay::new(now, &access.username, &access.password, *router);
        let (from_relay, to_relay) = tokio::io::split(stream);
        let (received, is_flushed, relayed) = (Vec::new(), true, None);
        let router = *router;
        self.relay.open = Some(Open { relay, router, relayed, from_relay, to_relay, received, is_flushed });
    }

    fn on_relay_received(&mut self, now: Instant) {
        let (engine, Some(open)) = (&mut self.engine, &mut self.relay.open) else { return };
        let (relayed, router) = (open.relayed, open.router);
        let taken = open.relay.handle_received(now, &mut open.received, |datagram| {
            if let Some(relayed) = relayed {
                engine.handle_relayed(now, relayed, router, datagram);
            }
        });
        if let Some(relayed) = open.relay.poll_opened()
            && !engine.is_connected()
            && engine.handle_relay_opened(now, relayed)
        {
            open.relayed = Some(relayed);
        }
        if taken.is_err() || open.relay.is_over() {
            self.lose_relay();
        }
    }

    /// The connection is gone. If the leg used it, its path is lost.
    fn lose_relay(&mut self) {
        if self.relay.open.take().is_some() && self.engine.transport() == Some(Transport::Tls) {
            self.engine.handle_lost();
        }
    }
}

/// Writes what the stream takes, or, when there is nothing to write, has what it holds leave: 0. May be dropped at any time.
async fn write(stream: &mut (impl AsyncWrite + Unpin), output: &[u8]) -> io::Result<usize> {
    if output.is_empty() {
        return stream.flush().await.map(|()| 0);
    }
    match stream.write(output).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}
