//! One client's relay, without sockets or a clock: bytes of the client in, datagrams for the router's media ports out, and back.
//!
//! TURN itself is turn-server-proto, with one server for each connection: what one client does cannot touch another's, and
//! all of it goes when the connection does. It is told that the client came over UDP, since cutting and padding the stream
//! is done here (`frames`), and only what `request` lets through: it would keep permissions and channels without bound.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use duocast_model::{AUDIO_MAX_BYTES, LegId, NotTurn, is_turn_channel};
use turn_server_proto::api::{SocketAllocateError, TurnServerApi as _, TurnServerPollRet};
use turn_server_proto::server::TurnServer;
use turn_server_proto::stun;
use turn_server_proto::stun::agent::Transmit;
use turn_server_proto::stun::types::TransportType;
use turn_server_proto::stun::types::attribute::Username;
use turn_server_proto::stun::types::message::Message;
use turn_server_proto::types::AddressFamily;
use turn_server_proto::types::transmit::TransmitBuild;

use crate::credential::{Grant, Secret};
use crate::frames;
use crate::request;

/// The realm of the long-term credentials: one for all, since the credential says everything.
const REALM: &str = "duocast";

/// The client and the server, to TURN and to the client: nothing in either knows a real one. 192.0.0.8 is set aside for an address
/// that means nothing (RFC 7600).
pub(crate) const CLIENT: SocketAddr = dummy(50_001);
pub(crate) const SERVER: SocketAddr = dummy(50_002);

const fn dummy(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8)), port)
}

/// A connection without an allocation is closed after this long. Higher lets strangers hold connections for longer, lower
/// cuts off clients on very slow paths.
const ALLOCATE_WITHIN: Duration = Duration::from_secs(10);

/// Most messages before there is an allocation: a client needs two or three. Higher lets strangers have more answers, lower cuts off
/// clients that ask twice.
const MAX_BEFORE_ALLOCATION: u32 = 16;

/// An allocation whose routers are silent for this long is closed: the leg is over. A living one has checks every few seconds. Higher
/// keeps what nobody uses, lower takes a network that stood still for the end of a call.
const SILENT_MAX: Duration = Duration::from_secs(60);

/// How long the last answer has to reach a client that ended its allocation.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes that wait for a client that reads too slowly: at 2.5 Mbit/s half a second. Beyond it media is dropped, as a full UDP path
/// would; video already beyond half of it. Higher delays media that nobody wants any more, lower drops bursts.
const MAX_WAITING: usize = 128 * 1024;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn of(address: &SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// A datagram for a router's media port.
pub(crate) struct ToNode {
    pub(crate) node: SocketAddr,
    pub(crate) contents: Vec<u8>,
}

/// What a relay did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Datagrams from the client to a router.
    pub(crate) to_node: u64,
    /// Datagrams from a router to the client.
    pub(crate) to_client: u64,
    /// Datagrams that were meant for somewhere else than the credential says.
    pub(crate) astray: u64,
    /// Datagrams that a slow client had no room for.
    pub(crate) dropped: u64,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nobody we know.
    Stranger,
    /// Authenticated; its socket is being bound.
    Binding,
    Open,
    /// The allocation ended, by the client's word or by its lifetime. There is no other on this connection.
    Over,
}

/// One connection's relay.
pub(crate) struct Relay {
    turn: TurnServer,
    secret: Secret,
    /// What the first user name of this connection that could be ours says. Nothing is done for it before TURN has seen the password.
    grant: Option<Grant>,
    phase: Phase,
    began: Instant,
    /// When the connection is to be closed, as things stand.
    ends_at: Instant,
    turn_wakes_at: Instant,
    messages_before_allocation: u32,
    from_client: BytesMut,
    to_client: BytesMut,
    to_nodes: VecDeque<ToNode>,
    /// The family that the client asked for, and the router that its socket is to lead to.
    asked: Option<(Family, SocketAddr)>,
    wants_socket: bool,
    /// The socket's address as routers see it: the client is told, and takes what it is told in their answers for the same.
    relayed: Option<SocketAddr>,
    counters: Counters,
}

impl Relay {
    pub(crate) fn new(now: Instant, secret: Secret) -> Self {
        Self {
            turn: TurnServer::new(TransportType::Udp, SERVER, REALM.into()),
            secret,
            grant: None,
            phase: Phase::Stranger,
            began: now,
            ends_at: now + ALLOCATE_WITHIN,
            turn_wakes_at: now + ALLOCATE_WITHIN,
            messages_before_allocation: 0,
            from_client: BytesMut::new(),
            to_client: BytesMut::new(),
            to_nodes: VecDeque::new(),
            asked: None,
            wants_socket: false,
            relayed: None,
            counters: Counters::default(),
        }
    }

    /// Takes bytes of the client. After an error the connection is of no more use.
    pub(crate) fn handle_client(
        &mut self,
        now: Instant,
        wall_clock: SystemTime,
        bytes: &[u8],
    ) -> Result<(), NotTurn> {
        self.from_client.extend_from_slice(bytes);
        while let Some(message) = frames::take(&mut self.from_client)? {
            if !self.admits(wall_clock, &message)? {
                continue;
            }
            let received = Transmit::new(&message[..], TransportType::Udp, CLIENT, SERVER);
            let moment = self.moment(now);
            let answer = self.turn.recv(received, moment).map(TransmitBuild::build);
            self.pass_on(answer);
            if !message.first().copied().is_some_and(is_turn_channel) {
                self.poll(now);
            }
        }
        Ok(())
    }

    /// Takes a datagram that came to the relayed port.
    pub(crate) fn handle_node(&mut self, now: Instant, from: SocketAddr, contents: &[u8]) {
        let Some(relayed) = self.relayed.filter(|_| self.is_open() && self.nodes().contains(&from)) else {
            self.counters.astray += 1;
            return;
        };
        self.ends_at = now + SILENT_MAX;
        let is_video = contents.len() > AUDIO_MAX_BYTES;
        let room = if is_video { MAX_WAITING / 2 } else { MAX_WAITING };
        if self.to_client.len() + contents.len() > room {
            self.counters.dropped += 1;
            return;
        }
        let received = Transmit::new(contents, TransportType::Udp, from, relayed);
        let moment = self.moment(now);
        let passed = self.turn.recv(received, moment).map(TransmitBuild::build);
        self.pass_on(passed);
    }

    /// The socket of [`Relay::poll_socket`]: its address as that router sees it, or that there is none.
    pub(crate) fn handle_socket(&mut self, now: Instant, relayed: Option<SocketAddr>) {
        let Some((family, _)) = self.asked.take() else { return };
        self.relayed = relayed;
        if relayed.is_some() {
            self.phase = Phase::Open;
            self.ends_at = now + SILENT_MAX;
        } else {
            self.phase = Phase::Stranger;
        }
        self.allocated(now, family, relayed.ok_or(SocketAllocateError::InsufficientCapacity));
        self.poll(now);
    }

    /// Does what is due. True when the connection is to be closed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        self.poll(now);
        now >= self.ends_at
    }

    /// The leg that the connection is for, and a router that a socket is to be bound for.
    pub(crate) fn poll_socket(&mut self) -> Option<(LegId, SocketAddr)> {
        let (_, node) = self.asked.filter(|_| std::mem::take(&mut self.wants_socket))?;
        Some((self.grant.as_ref()?.leg, node))
    }

    /// The next datagram for a router.
    pub(crate) fn poll_transmit(&mut self) -> Option<ToNode> {
        self.to_nodes.pop_front()
    }

    /// When [`Relay::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Instant {
        self.turn_wakes_at.min(self.ends_at)
    }

    /// Whether the client has shown a credential and has its socket.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// What is to be written to the client; take from its front what was written.
    pub(crate) fn output(&mut self) -> &mut BytesMut {
        &mut self.to_client
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether TURN is to see a message. Lets it know the user, if the name could be one of ours.
    fn admits(&mut self, wall_clock: SystemTime, message: &[u8]) -> Result<bool, NotTurn> {
        let is_open = self.is_open();
        if !is_open {
            self.messages_before_allocation += 1;
            if self.messages_before_allocation > MAX_BEFORE_ALLOCATION {
                return Err(NotTurn);
            }
        }
        if message.first().copied().is_some_and(is_turn_channel) {
            return if is_open { Ok(true) } else { Err(NotTurn) };
        }
        let message = Message::from_bytes(message).map_err(|_| NotTurn)?;
        self.meet(wall_clock, &message);
        if !request::stays_within(&message, self.nodes()) {
            self.counters.astray += 1;
            return Ok(false);
        }
        Ok(request::is_served(&message))
    }

    /// A second name on one connection is nobody's.
    fn meet(&mut self, wall_clock: SystemTime, message: &Message<'_>) {
        if self.grant.is_some() {
            return;
        }
        let Ok(username) = message.attribute::<Username>() else { return };
        let Some(grant) = self.secret.look_up(wall_clock, username.username()) else { return };
        self.turn.add_user(username.username().to_owned(), grant.password.clone());
        self.grant = Some(grant);
    }

    fn nodes(&self) -> &[SocketAddr] {
        self.grant.as_ref().map_or(&[], |grant| &grant.nodes)
    }

    /// A router that an allocation of this family may lead to. Browsers name no family, which means IPv4 (RFC 8656 section 7.2): where
    /// the routers have none, that is taken for what there is.
    fn node_for(&self, family: Family) -> Option<SocketAddr> {
        let of_family = self.nodes().iter().find(|node| Family::of(node) == family);
        let any = if family == Family::V4 { self.nodes().first() } else { None };
        of_family.or(any).copied()
    }

    fn poll(&mut self, now: Instant) {
        let moment = self.moment(now);
        loop {
            match self.turn.poll(moment) {
                TurnServerPollRet::WaitUntil(at) => {
                    self.turn_wakes_at = at.to_std(self.began);
                    break;
                }
                TurnServerPollRet::AllocateSocket { allocation_transport, family, .. } => {
                    let family = if family == AddressFamily::IPV4 { Family::V4 } else { Family::V6 };
                    // One for each connection, so that whether it is there is all that there is to know.
                    let is_first =
                        self.phase == Phase::Stranger && allocation_transport == TransportType::Udp;
                    if let Some(node) = self.node_for(family).filter(|_| is_first) {
                        self.phase = Phase::Binding;
                        (self.asked, self.wants_socket) = (Some((family, node)), true);
                        continue;
                    }
                    self.allocated(now, family, Err(SocketAllocateError::AddressFamilyNotSupported));
                }
                TurnServerPollRet::SocketClose { .. } => {
                    self.phase = Phase::Over;
                    self.ends_at = now + LINGER;
                }
                // Of TCP to peers, which `request` lets nobody ask for.
                TurnServerPollRet::TcpConnect { .. } | TurnServerPollRet::TcpClose { .. } => {}
            }
        }
        while let Some(transmit) = self.turn.poll_transmit(moment) {
            self.pass_on(Some(transmit));
        }
    }

    fn allocated(&mut self, now: Instant, family: Family, socket: Result<SocketAddr, SocketAllocateError>) {
        let family = if family == Family::V4 { AddressFamily::IPV4 } else { AddressFamily::IPV6 };
        let (udp, moment) = (TransportType::Udp, self.moment(now));
        self.turn.allocated_socket(udp, SERVER, CLIENT, udp, family, socket, moment);
    }

    /// TURN's clock begins with the connection.
    fn moment(&self, now: Instant) -> stun::Instant {
        let nanos = now.saturating_duration_since(self.began).as_nanos();
        stun::Instant::from_nanos(nanos.try_into().unwrap_or(i64::MAX))
    }

    /// To the client, or to a router that the credential names.
    fn pass_on(&mut self, transmit: Option<Transmit<Vec<u8>>>) {
        let Some(transmit) = transmit else { return };
        if transmit.to == CLIENT {
            if self.to_client.len() + transmit.data.len() > MAX_WAITING {
                self.counters.dropped += 1;
                return;
            }
            self.counters.to_client += 1;
            frames::put(&mut self.to_client, &transmit.data);
        } else if self.nodes().contains(&transmit.to) {
            self.counters.to_node += 1;
            self.to_nodes.push_back(ToNode { node: transmit.to, contents: transmit.data });
        } else {
            self.counters.astray += 1;
        }
    }
}

#[cfg(test)]
mod tests;
