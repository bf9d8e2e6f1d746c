//! What clients may take, and the gate that counts their connections.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The default of [`Limits::unused_timeout`].
pub const UNUSED_TIMEOUT: Duration = Duration::from_secs(300);

/// Bounds on what clients may take of a server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections of all doors together. At the bound a new connection is refused (QUIC) or closed (TCP). One idle
    /// signalling client costs about 80 KiB.
    pub connections: usize,
    /// Open connections from one network address (IPv4) or /48 (IPv6: what one site is given,
    /// RFC 6177), so that one machine cannot take all of
    /// `connections`. Loopback is exempt: proxies and load tests live there. Lower cuts off large shared addresses.
    pub connections_per_address: usize,
    /// Handshakes in progress on TCP, and as many on QUIC. At the bound a new connection is refused or closed; from half of
    /// it on, QUIC clients first have to prove their address with a retry (RFC 9000 section 8.1.2).
    pub handshakes: usize,
    /// Those of them from one network address or /48, so that one machine that begins and never ends cannot shut out all
    /// others. Bounded and proven in the same way; loopback is exempt. Higher lets larger shared addresses return at once
    /// after a restart, lower needs more addresses to take all of `handshakes`.
    pub handshakes_per_address: usize,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// Calls running at once on one connection; a client that opens more waits (flow control), it gets no error.
    pub streams_per_connection: u32,
    /// A connection on which nothing at all arrives for this long is closed. Clients send keep-alives at less than half.
    pub idle_timeout: Duration,
    /// A connection on which no call ran for this long is closed (GOAWAY first), however often it is kept alive; before its
    /// first call, `idle_timeout` is enough. An open stream is a running call. Without this, connections that do nothing take
    /// `connections` for ever. Higher spares clients that call now and then a handshake, lower frees their places sooner.
    pub unused_timeout: Duration,
    /// How long a client may take to send the header section of a request once it began.
    pub header_timeout: Duration,
    /// Most bytes of a request's header section.
    pub header_bytes: u32,
    /// Bytes of one request body that are buffered before the sender has to wait.
    pub stream_window_bytes: u32,
    /// Bytes of all request bodies of one connection that are buffered before the sender has to wait.
    pub connection_window_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_address: 1_024,
            handshakes: 512,
            handshakes_per_address: 32,
            handshake_timeout: Duration::from_secs(10),
            streams_per_connection: 128,
            idle_timeout: Duration::from_secs(60),
            unused_timeout: UNUSED_TIMEOUT,
            header_timeout: Duration::from_secs(10),
            header_bytes: 16 * 1024,
            stream_window_bytes: 128 * 1024,
            connection_window_bytes: 512 * 1024,
        }
    }
}

/// What a connection runs on. Handshakes are counted for each, so that a crowd at one leaves the other open.
#[derive(Debug, Clone, Copy)]
pub(super) enum Transport {
    Tcp,
    Quic,
}

/// Counts connections. A lock is taken when one comes or goes, never for a request or packet.
#[derive(Clone)]
pub(super) struct Gate(Arc<GateState>);

struct GateState {
    open: Bound,
    shaking: Bound,
    counts: Mutex<Counts>,
}

struct Bound {
    total: usize,
    per_address: usize,
}

#[derive(Default)]
struct Counts {
    open: Tally,
    shaking_tcp: Tally,
    shaking_quic: Tally,
}

impl Counts {
    fn shaking(&mut self, transport: Transport) -> &mut Tally {
        match transport {
            Transport::Tcp => &mut self.shaking_tcp,
            Transport::Quic => &mut self.shaking_quic,
        }
    }
}

/// A count in all, and for each address that is not zero.
#[derive(Default)]
struct Tally {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Tally {
    fn of(&self, address: Option<IpAddr>) -> usize {
        address.and_then(|address| self.by_address.get(&address)).copied().unwrap_or(0)
    }

    fn has_room(&self, bound: &Bound, address: Option<IpAddr>) -> bool {
        self.total < bound.total && self.of(address) < bound.per_address
    }

    fn is_half_full(&self, bound: &Bound, address: Option<IpAddr>) -> bool {
        self.total * 2 >= bound.total || self.of(address) * 2 >= bound.per_address
    }

    fn add(&mut self, address: Option<IpAddr>) {
        self.total += 1;
        if let Some(address) = address {
            *self.by_address.entry(address).or_default() += 1;
        }
    }

    fn remove(&mut self, address: Option<IpAddr>) {
        self.total -= 1;
        if let Some(address) = address
            && let Entry::Occupied(mut count) = self.by_address.entry(address)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl Gate {
    pub(super) fn new(limits: &Limits) -> Self {
        Self(Arc::new(GateState {
            open: Bound { total: limits.connections, per_address: limits.connections_per_address },
            shaking: Bound { total: limits.handshakes, per_address: limits.handshakes_per_address },
            counts: Mutex::default(),
        }))
    }

    /// Connections that are open, handshakes included.
    pub(super) fn open(&self) -> usize {
        self.counts().open.total
    }

    /// True when so many QUIC handshakes are in progress, in all or from this address, that it should be asked to prove
    /// itself. What is forged thus never takes more than half of anybody's share.
    pub(super) fn wants_proof(&self, from: IpAddr) -> bool {
        self.counts().shaking_quic.is_half_full(&self.0.shaking, counted_as(from))
    }

    /// Lets a connection in, or not.
    pub(super) fn enter(&self, transport: Transport, from: IpAddr) -> Option<Admission> {
        let address = counted_as(from);
        let mut counts = self.counts();
        if !counts.open.has_room(&self.0.open, address)
            || !counts.shaking(transport).has_room(&self.0.shaking, address)
        {
            return None;
        }
        counts.open.add(address);
        counts.shaking(transport).add(address);
        Some(Admission { gate: self.clone(), address, shaking: Some(transport) })
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        // Every update is a single step, so a panic elsewhere cannot have left it half done.
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection that was let in; counted until it is dropped.
pub(super) struct Admission {
    gate: Gate,
    address: Option<IpAddr>,
    shaking: Option<Transport>,
}

impl Admission {
    /// The handshake is done.
    pub(super) fn established(&mut self) {
        if let Some(transport) = self.shaking.take() {
            self.gate.counts().shaking(transport).remove(self.address);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.established();
        self.gate.counts().open.remove(self.address);
    }
}

/// The address or prefix that a connection counts for; none for loopback.
fn counted_as(from: IpAddr) -> Option<IpAddr> {
    match from.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V4(address) => Some(IpAddr::V4(address)),
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            Some(IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Transport::{Quic, Tcp};
    use super::*;

    fn gate(connections: usize, connections_per_address: usize, handshakes: usize) -> Gate {
        Gate::new(&Limits { connections, connections_per_address, handshakes, ..Limits::default() })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_cannot_take_every_connection() {
        let gate = gate(100, 2, 100);
        let _one = gate.enter(Tcp, address("192.0.2.1")).unwrap();
        let two = gate.enter(Tcp, address("::ffff:192.0.2.1")).unwrap();
        assert!(gate.enter(Tcp, address("192.0.2.1")).is_none());
        assert!(gate.enter(Tcp, address("192.0.2.2")).is_some());
        drop(two);
        assert!(gate.enter(Tcp, address("192.0.2.1")).is_some());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let gate = gate(100, 1, 100);
        let _one = gate.enter(Tcp, address("2001:db8:1:1::1")).unwrap();
        assert!(gate.enter(Tcp, address("2001:db8:1:ffff::2")).is_none());
        assert!(gate.enter(Tcp, address("2001:db8:2:1::1")).is_some());
    }

    #[test]
    fn loopback_counts_for_the_total_only() {
        let gate = gate(2, 1, 100);
        let _one = gate.enter(Tcp, address("127.0.0.1")).unwrap();
        let _two = gate.enter(Tcp, address("::1")).unwrap();
        assert!(gate.enter(Tcp, address("127.0.0.1")).is_none());
        assert_eq!(gate.open(), 2);
    }

    #[test]
    fn handshakes_have_a_bound_of_their_own() {
        let gate = gate(100, 100, 2);
        let mut one = gate.enter(Quic, address("192.0.2.1")).unwrap();
        assert!(gate.wants_proof(address("192.0.2.2")));
        let _two = gate.enter(Quic, address("192.0.2.1")).unwrap();
        assert!(gate.enter(Quic, address("192.0.2.1")).is_none());
        one.established();
        assert!(gate.enter(Quic, address("192.0.2.1")).is_some());
        drop(one);
        assert_eq!(gate.open(), 1);
    }

    #[test]
    fn one_address_that_ends_no_handshake_shuts_out_nobody_else() {
        let gate = Gate::new(&Limits::default());
        let share = Limits::default().handshakes_per_address;
        let begun: Vec<_> = std::iter::repeat_with(|| gate.enter(Tcp, address("192.0.2.1")))
            .map_while(|entry| entry)
            .collect();
        assert_eq!(begun.len(), share);
        for other in ["192.0.2.2", "2001:db8::1", "127.0.0.1"] {
            assert!(gate.enter(Tcp, address(other)).is_some(), "{other}");
        }
        assert!(gate.enter(Quic, address("192.0.2.1")).is_some(), "QUIC is counted apart");
        drop(begun);
        assert!(gate.enter(Tcp, address("192.0.2.1")).is_some());
        assert!(gate.counts().shaking_tcp.by_address.is_empty() && gate.counts().open.by_address.is_empty());
    }

    #[test]
    fn an_address_proves_itself_before_its_own_share_is_taken_in_its_name() {
        let gate = Gate::new(&Limits { handshakes_per_address: 2, ..Limits::default() });
        let _forged = gate.enter(Quic, address("192.0.2.1")).unwrap();
        assert!(gate.wants_proof(address("192.0.2.1")));
        assert!(!gate.wants_proof(address("192.0.2.2")));
    }

    #[test]
    fn loopback_has_no_share_of_its_own() {
        let gate = Gate::new(&Limits { handshakes_per_address: 1, ..Limits::default() });
        let _one = gate.enter(Tcp, address("127.0.0.1")).unwrap();
        assert!(gate.enter(Tcp, address("127.0.0.1")).is_some());
    }
}
