//! What clients may take, and the gate that counts their connections.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bounds on what clients may take of a server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections of all doors together. At the bound a new connection is refused (QUIC) or closed (TCP). One idle
    /// signalling client costs about 80 KiB.
    pub connections: usize,
    /// Open connections from one network address (IPv4) or /64 (IPv6), so that one machine cannot take all of
    /// `connections`. Loopback is exempt: proxies and load tests live there. Lower cuts off large shared addresses.
    pub connections_per_address: usize,
    /// TLS and QUIC handshakes in progress. At the bound a new connection is refused or closed; from half of it on, QUIC
    /// clients first have to prove their address with a retry (RFC 9000 section 8.1.2).
    pub handshakes: usize,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// Calls running at once on one connection; a client that opens more waits (flow control), it gets no error.
    pub streams_per_connection: u32,
    /// A connection on which nothing at all arrives for this long is closed. Clients send keep-alives at less than half.
    pub idle_timeout: Duration,
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
            handshake_timeout: Duration::from_secs(10),
            streams_per_connection: 128,
            idle_timeout: Duration::from_secs(60),
            header_timeout: Duration::from_secs(10),
            header_bytes: 16 * 1024,
            stream_window_bytes: 128 * 1024,
            connection_window_bytes: 512 * 1024,
        }
    }
}

/// Counts connections. A lock is taken when one comes or goes, never for a request or packet.
#[derive(Clone)]
pub(super) struct Gate(Arc<GateState>);

struct GateState {
    connections: usize,
    connections_per_address: usize,
    handshakes: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    open: usize,
    shaking: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Gate {
    pub(super) fn new(limits: &Limits) -> Self {
        Self(Arc::new(GateState {
            connections: limits.connections,
            connections_per_address: limits.connections_per_address,
            handshakes: limits.handshakes,
            counts: Mutex::default(),
        }))
    }

    /// Connections that are open, handshakes included.
    pub(super) fn open(&self) -> usize {
        self.counts().open
    }

    /// True when so many handshakes are in progress that an unproven address should be asked to prove itself.
    pub(super) fn crowded(&self) -> bool {
        self.counts().shaking * 2 >= self.0.handshakes
    }

    /// Lets a connection in, or not.
    pub(super) fn enter(&self, from: IpAddr) -> Option<Entry> {
        let address = counted_as(from);
        let mut counts = self.counts();
        if counts.open >= self.0.connections || counts.shaking >= self.0.handshakes {
            return None;
        }
        if let Some(address) = address {
            let count = counts.by_address.entry(address).or_default();
            if *count >= self.0.connections_per_address {
                return None;
            }
            *count += 1;
        }
        counts.open += 1;
        counts.shaking += 1;
        Some(Entry { gate: self.clone(), address, shaking: true })
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        // Every update is a single step, so a panic elsewhere cannot have left it half done.
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection that was let in; counted until it is dropped.
pub(super) struct Entry {
    gate: Gate,
    address: Option<IpAddr>,
    shaking: bool,
}

impl Entry {
    /// The handshake is done.
    pub(super) fn established(&mut self) {
        if std::mem::take(&mut self.shaking) {
            self.gate.counts().shaking -= 1;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.established();
        let mut counts = self.gate.counts();
        counts.open -= 1;
        if let Some(address) = self.address
            && let Some(count) = counts.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&address);
            }
        }
    }
}

/// The address or prefix that a connection counts for; none for loopback.
fn counted_as(from: IpAddr) -> Option<IpAddr> {
    match from.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V4(address) => Some(IpAddr::V4(address)),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Some(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
        }
    }
}

#[cfg(test)]
mod tests {
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
        let _one = gate.enter(address("192.0.2.1")).unwrap();
        let two = gate.enter(address("::ffff:192.0.2.1")).unwrap();
        assert!(gate.enter(address("192.0.2.1")).is_none());
        assert!(gate.enter(address("192.0.2.2")).is_some());
        drop(two);
        assert!(gate.enter(address("192.0.2.1")).is_some());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let gate = gate(100, 1, 100);
        let _one = gate.enter(address("2001:db8:0:1::1")).unwrap();
        assert!(gate.enter(address("2001:db8:0:1:ffff::2")).is_none());
        assert!(gate.enter(address("2001:db8:0:2::1")).is_some());
    }

    #[test]
    fn loopback_counts_for_the_total_only() {
        let gate = gate(2, 1, 100);
        let _one = gate.enter(address("127.0.0.1")).unwrap();
        let _two = gate.enter(address("::1")).unwrap();
        assert!(gate.enter(address("127.0.0.1")).is_none());
        assert_eq!(gate.open(), 2);
    }

    #[test]
    fn handshakes_have_a_bound_of_their_own() {
        let gate = gate(100, 100, 2);
        let mut one = gate.enter(address("192.0.2.1")).unwrap();
        assert!(gate.crowded());
        let _two = gate.enter(address("192.0.2.1")).unwrap();
        assert!(gate.enter(address("192.0.2.1")).is_none());
        one.established();
        assert!(gate.enter(address("192.0.2.1")).is_some());
        drop(one);
        assert_eq!(gate.open(), 1);
    }
}
