//! A leg's conditions: between the leg and its socket, both ways.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net::{self, Injected, Path, Pipe};
use crate::peer::{Leg, Moment, Timings};

/// The conditions that a leg is to have.
#[derive(Debug, Clone)]
pub(crate) struct NetworkConfig {
    pub(crate) path: Arc<Path>,
    pub(crate) seed: u64,
}

/// What a leg's conditions did, by their own count.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NetworkReport {
    pub(crate) up: Injected,
    pub(crate) down: Injected,
    pub(crate) address_changes: u32,
}

/// The two directions of a leg's path.
pub(super) struct Network {
    up: Pipe<(SocketAddr, Vec<u8>)>,
    /// Source, time of arrival in microseconds since 1970, datagram.
    down: Pipe<(SocketAddr, u64, Vec<u8>)>,
    change_at: Option<Instant>,
    change_every: Duration,
    changes_left: u32,
    changes_done: u32,
}

impl Network {
    pub(super) fn new(config: &NetworkConfig, now: Instant, steady_from: Option<Instant>) -> Self {
        let NetworkConfig { path, seed } = config;
        let changes = path.address_changes;
        let counts_from = steady_from.map(|from| from.max(now));
        Self {
            up: Pipe::new(path.up.clone(), net::seed(*seed, 0), steady_from),
            down: Pipe::new(path.down.clone(), net::seed(*seed, 1), steady_from),
            change_at: changes.zip(counts_from).map(|(changes, from)| from + changes.at),
            change_every: changes.map_or(Duration::ZERO, |changes| changes.every),
            changes_left: changes.map_or(0, |changes| changes.count),
            changes_done: 0,
        }
    }

    /// A datagram that the leg sends.
    pub(super) fn depart(&mut self, now: Instant, destination: SocketAddr, datagram: Vec<u8>) {
        self.up.push(now, datagram.len(), is_media(&datagram), (destination, datagram));
    }

    /// One for the socket whose time has come.
    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<(SocketAddr, Vec<u8>)> {
        self.up.pop(now).map(|(_, datagram)| datagram)
    }

    /// What is still under way to the socket, at the leg's end.
    pub(super) fn flush_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.up.flush()
    }

    /// A datagram that the socket received.
    pub(super) fn arrive(&mut self, now: Instant, arrived: u64, source: SocketAddr, datagram: &[u8]) {
        self.down.push(now, datagram.len(), is_media(datagram), (source, arrived, datagram.to_vec()));
    }

    /// Gives the leg what has come through. Its time of arrival is the socket's and the time that it was held.
    pub(super) fn deliver(&mut self, at: Moment, leg: &mut Leg, timings: &mut Timings) {
        while let Some((held, (source, arrived, datagram))) = self.down.pop(at.now) {
            let held = u64::try_from(held.as_micros()).unwrap_or(u64::MAX);
            leg.handle_datagram(at, arrived.saturating_add(held), source, &datagram, timings);
        }
    }

    /// True when the leg is to have a new address now.
    pub(super) fn takes_new_address(&mut self, now: Instant) -> bool {
        let Some(due) = self.change_at.filter(|due| *due <= now && self.changes_left > 0) else {
            return false;
        };
        self.changes_left -= 1;
        self.changes_done += 1;
        self.change_at = (self.changes_left > 0).then(|| due + self.change_every);
        true
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [self.up.poll_timeout(), self.down.poll_timeout(), self.change_at].into_iter().flatten().min()
    }

    pub(super) fn report(&self) -> NetworkReport {
        NetworkReport {
            up: self.up.injected(),
            down: self.down.injected(),
            address_changes: self.changes_done,
        }
    }
}

/// SRTP, and not its control packets, STUN or DTLS (RFC 7983 section 7, RFC 5761 section 4).
fn is_media(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, kind, ..] if !(192..=223).contains(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{AddressChanges, Conditions};

    fn network(path: Path, steady_from: Instant) -> Network {
        Network::new(&NetworkConfig { path: Arc::new(path), seed: 1 }, steady_from, Some(steady_from))
    }

    fn server() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 4000))
    }

    #[test]
    fn only_media_is_counted_and_everything_is_treated_alike() {
        let start = Instant::now();
        let lossy = Conditions { loss: 1.0, ..Conditions::default() };
        let mut network = network(Path { up: lossy, ..Path::default() }, start);
        let audio = vec![0x80, 111, 0, 1];
        let video_with_marker = vec![0x90, 0x80 | 96, 0, 1];
        let control = vec![0x80, 200, 0, 1];
        let stun = vec![0, 1, 0, 0];
        for datagram in [audio, video_with_marker, control, stun] {
            network.depart(start, server(), datagram);
        }
        assert!(network.poll_transmit(start).is_none());
        assert_eq!(network.report().up, Injected { packets: 2, lost: 2, ..Injected::default() });
    }

    #[test]
    fn what_is_delayed_wakes_the_lane_when_it_is_due() {
        let start = Instant::now();
        let delay = Duration::from_millis(80);
        let slow = Conditions { delay, ..Conditions::default() };
        let mut network = network(Path { up: slow.clone(), down: slow, ..Path::default() }, start);
        assert_eq!(network.poll_timeout(), None);
        network.depart(start, server(), vec![0x80, 111]);
        network.arrive(start + Duration::from_millis(1), 5, server(), &[0x80, 111]);
        assert_eq!(network.poll_timeout(), Some(start + delay));
        assert!(network.poll_transmit(start + Duration::from_millis(79)).is_none());
        assert!(network.poll_transmit(start + delay).is_some());
        assert_eq!(network.poll_timeout(), Some(start + delay + Duration::from_millis(1)));
    }

    #[test]
    fn addresses_change_as_often_and_when_they_are_to() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let changes = AddressChanges { at: second, every: 3 * second, count: 2 };
        let mut network = network(Path { address_changes: Some(changes), ..Path::default() }, start);
        let changed: Vec<u32> =
            (0..20).filter(|at| network.takes_new_address(start + second * *at)).collect();
        assert_eq!(changed, [1, 4]);
        assert_eq!((network.report().address_changes, network.poll_timeout()), (2, None));
    }

    #[test]
    fn who_comes_late_changes_its_address_as_long_after_its_coming() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let address_changes = Some(AddressChanges { at: second, every: 3 * second, count: 2 });
        let config = NetworkConfig { path: Arc::new(Path { address_changes, ..Path::default() }), seed: 1 };
        let mut late = Network::new(&config, start + 10 * second, Some(start));
        let changed: Vec<u32> = (0..30).filter(|at| late.takes_new_address(start + second * *at)).collect();
        assert_eq!(changed, [11, 14]);
    }
}
