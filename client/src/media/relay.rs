//! The routed leg over TLS, without a socket or a clock: bytes of the connection in, datagrams of the leg's router out, and back.
//!
//! TURN itself (RFC 8656) is turn-client-proto. Its server is the API's own port, its one peer the router. It is told that the
//! connection is UDP, since cutting and padding the stream is done here, and that it sends each request once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use duocast_model::{NotTurn, TurnFrame, is_turn_channel, turn_padding};
use turn_client_proto::api::{Transmit, TurnClientApi as _, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet};
use turn_client_proto::prelude::DelayedTransmitBuild as _;
use turn_client_proto::stun;
use turn_client_proto::stun::auth::Feature;
use turn_client_proto::types::{AddressFamily, TransportType, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;

/// This end and the server, to TURN: neither has to know a real address. 192.0.0.8 is set aside for one that means nothing (RFC 7600).
const CLIENT: SocketAddr = dummy(50_001);
const SERVER: SocketAddr = dummy(50_002);

const fn dummy(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8)), port)
}

const UDP: TransportType = TransportType::Udp;

/// Longest time for the answer to a request; without one the relay is over. TLS repeats what gets lost. Higher keeps a server that
/// hangs, lower gives up on slow paths.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Bytes that may wait for the network; at the bound datagrams are dropped. Higher is heard as delay, lower drops keyframes.
const QUEUE_BYTES_MAX: usize = 64 * 1024;

/// Most of what TURN asks for in one turn, each a request or an event: it never gets near. At the bound the rest waits a [`GRAIN`].
const STEPS_MAX: usize = 16;

/// TURN is not asked again sooner than this, whatever it says. Higher delays its requests, of which an allocation takes three.
const GRAIN: Duration = Duration::from_millis(5);

/// TURN is asked again after this at the latest: of a request that got no answer it tells only when asked once more.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// One allocation, with a channel to the router. After each `handle_*` write what [`Relay::output`] has; call
/// [`Relay::handle_timeout`] at [`Relay::poll_timeout`].
pub(crate) struct Relay {
    turn: TurnClientUdp,
    router: SocketAddr,
    began: Instant,
    wakes_at: Instant,
    output: Vec<u8>,
    relayed: Option<SocketAddr>,
    /// The relayed address, from when the channel is there until somebody asked.
    opened: Option<SocketAddr>,
    is_over: bool,
}

duocast_model::assert_not_impl!(Relay: std::fmt::Debug, std::fmt::Display);

impl Relay {
    /// Asks for an allocation that leads to `router`, with the user name and password that came with the router's answer.
    pub(crate) fn new(now: Instant, username: &str, password: &str, router: SocketAddr) -> Self {
        let mut config = TurnConfig::new(TurnCredentials::new(username, password));
        // The server looks the name up; it knows no hash of it.
        config.set_anonymous_username(Feature::Disabled);
        config.set_request_retransmits(ANSWER_MAX, ANSWER_MAX, 1, ANSWER_MAX);
        if router.is_ipv6() {
            config.set_address_family(AddressFamily::IPV6);
        }
        let mut relay = Self {
            turn: TurnClientUdp::allocate(CLIENT, SERVER, config),
            router,
            began: now,
            wakes_at: now,
            output: Vec::new(),
            relayed: None,
            opened: None,
            is_over: false,
        };
        relay.drive(now);
        relay
    }

    /// Takes the whole messages from the front of what was received, and gives the router's datagrams to `each`. What is left is
    /// shorter than one message.
    ///
    /// Errors: [`NotTurn`]; the connection is of no more use.
    pub(crate) fn handle_received(
        &mut self,
        now: Instant,
        received: &mut Vec<u8>,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), NotTurn> {
        let mut at = 0;
        while let Some(frame) = TurnFrame::first(&received[at..])? {
            self.handle_message(now, &received[at..at + frame.length], &mut each);
            at += frame.padded;
        }
        received.drain(..at);
        Ok(())
    }

    fn handle_message(&mut self, now: Instant, message: &[u8], each: &mut impl FnMut(&[u8])) {
        let is_channel = message.first().copied().is_some_and(is_turn_channel);
        if !is_channel && is_request(message) {
            return;
        }
        let moment = self.moment(now);
        let taken = self.turn.recv(Transmit::new(message, UDP, SERVER, CLIENT), moment);
        if let TurnRecvRet::PeerData(data) = taken
            && data.peer == self.router
        {
            each(data.data());
        }
        if !is_channel {
            self.drive(now);
        }
    }

    /// Lets time pass: allocation, permission and channel are refreshed by themselves.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.drive(now);
    }

    /// Queues a datagram for the router; drops it if too much waits, or before the relay is open.
    pub(crate) fn send(&mut self, now: Instant, datagram: &[u8]) {
        let moment = self.moment(now);
        let Ok(Some(built)) = self.turn.send_to(UDP, self.router, datagram, moment) else { return };
        let (at, length) = (self.output.len(), built.data.len());
        if at + length <= QUEUE_BYTES_MAX {
            self.output.resize(at + length + turn_padding(length), 0);
            built.write_into(&mut self.output[at..at + length]);
        }
    }

    /// The address that the router sees, once, when the relay leads to it.
    #[must_use]
    pub(crate) fn poll_opened(&mut self) -> Option<SocketAddr> {
        self.opened.take()
    }

    /// When [`Relay::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Instant {
        self.wakes_at
    }

    /// What is to be written; tell by [`Relay::handle_written`] how much of it was.
    pub(crate) fn output(&self) -> &[u8] {
        &self.output
    }

    /// So many bytes of the output are written.
    pub(crate) fn handle_written(&mut self, count: usize) {
        self.output.drain(..count.min(self.output.len()));
    }

    /// Refused, or ended: the connection is of no more use.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    fn drive(&mut self, now: Instant) {
        let moment = self.moment(now);
        for _ in 0..STEPS_MAX {
            let polled = self.turn.poll(moment);
            let mut is_quiet = true;
            while let Some(request) = self.turn.poll_transmit(moment) {
                is_quiet = false;
                self.output.extend_from_slice(&request.data);
            }
            while let Some(event) = self.turn.poll_event() {
                is_quiet = false;
                self.handle_event(moment, &event);
            }
            match polled {
                TurnPollRet::WaitUntil(at) if is_quiet => {
                    self.wakes_at = at.to_std(self.began).clamp(now + GRAIN, now + IDLE_MAX);
                    return;
                }
                TurnPollRet::WaitUntil(_) => {}
                // No allocation is left, or something of TCP to peers, which nobody asked for.
                _ => {
                    self.is_over = true;
                    self.wakes_at = now + ANSWER_MAX;
                    return;
                }
            }
        }
        self.wakes_at = now + GRAIN;
    }

    fn handle_event(&mut self, moment: stun::Instant, event: &TurnEvent) {
        match event {
            TurnEvent::AllocationCreated(_, relayed) => {
                self.relayed = Some(*relayed);
                // Brings the permission with it.
                self.is_over |= self.turn.bind_channel(UDP, self.router, moment).is_err();
            }
            TurnEvent::ChannelCreated(..) => self.opened = self.relayed,
            TurnEvent::AllocationCreateFailed(_)
            | TurnEvent::PermissionCreateFailed(..)
            | TurnEvent::ChannelCreateFailed(..) => self.is_over = true,
            TurnEvent::PermissionCreated(..)
            | TurnEvent::TcpConnected(_)
            | TurnEvent::TcpConnectFailed(_) => {}
        }
    }

    /// TURN's clock begins with the connection.
    fn moment(&self, now: Instant) -> stun::Instant {
        let nanos = now.saturating_duration_since(self.began).as_nanos();
        stun::Instant::from_nanos(nanos.try_into().unwrap_or(i64::MAX))
    }
}

/// A STUN request (RFC 8489 section 5): a relay of ours answers and indicates, and asks nothing.
fn is_request(message: &[u8]) -> bool {
    matches!(message, [high, low, ..] if high & 0x01 == 0 && low & 0x10 == 0)
}

/// Fuzzed: what comes on the connection. The first byte says in which parts the rest does.
#[cfg(any(test, duocast_fuzz))]
pub(crate) fn fuzz(input: &[u8]) {
    let Some((&part, stream)) = input.split_first() else { return };
    let mut now = Instant::now();
    let mut relay = Relay::new(now, "user", "password", ([192, 0, 2, 30], 40_000).into());
    let mut received = Vec::new();
    for bytes in stream.chunks(usize::from(part).max(1)) {
        now += GRAIN;
        received.extend_from_slice(bytes);
        let taken = relay.handle_received(now, &mut received, |_| panic!("a datagram through no channel"));
        if taken.is_err() {
            break;
        }
        assert!(received.len() <= duocast_model::TURN_FRAME_MAX, "more than a message waits");
        relay.handle_timeout(now);
        assert!(relay.poll_timeout() > now && relay.output().len() <= QUEUE_BYTES_MAX);
    }
    assert!(relay.poll_opened().is_none(), "nobody without the password opens a relay");
}

#[cfg(test)]
mod tests;
