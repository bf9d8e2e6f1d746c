//! How many connections there are, and of whom.

use std::collections::HashMap;
use std::net::IpAddr;

/// Most connections of one source. Behind a company's NAT many people share an address; each has one or two. Higher lets one
/// source take more of the node, lower refuses people who share an address.
const MAX_PER_SOURCE: u32 = 256;

/// Most of them that have not proven themselves: an honest one does so within a round trip. Higher lets a stranger hold
/// more, lower refuses people who share an address and call at the same moment.
const MAX_UNPROVEN_PER_SOURCE: u32 = 16;

/// Who connections are counted for: an IPv4 address, or the /64 of an IPv6 address, within which one host may choose freely.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Source(IpAddr);

duocast_model::assert_not_impl!(Crowd: std::fmt::Debug, std::fmt::Display);
duocast_model::assert_not_impl!(Source: std::fmt::Debug, std::fmt::Display);

impl Source {
    fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self(ip),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Self(IpAddr::from([a, b, c, d, 0, 0, 0, 0]))
            }
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Count {
    all: u32,
    unproven: u32,
}

/// The counts of one worker.
#[derive(Default)]
pub(super) struct Crowd(HashMap<Source, Count>);

impl Crowd {
    /// Counts a new connection, unless its source has as many as it may.
    pub(super) fn admit(&mut self, ip: IpAddr) -> bool {
        let count = self.0.entry(Source::of(ip)).or_default();
        if count.all >= MAX_PER_SOURCE || count.unproven >= MAX_UNPROVEN_PER_SOURCE {
            return false;
        }
        count.all += 1;
        count.unproven += 1;
        true
    }

    /// One of this source's has proven itself.
    pub(super) fn prove(&mut self, ip: IpAddr) {
        if let Some(count) = self.0.get_mut(&Source::of(ip)) {
            count.unproven = count.unproven.saturating_sub(1);
        }
    }

    /// One of this source's is closed.
    pub(super) fn leave(&mut self, ip: IpAddr, was_proven: bool) {
        let source = Source::of(ip);
        let Some(count) = self.0.get_mut(&source) else { return };
        count.all = count.all.saturating_sub(1);
        count.unproven = count.unproven.saturating_sub(u32::from(!was_proven));
        if count.all == 0 {
            self.0.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(crowd: &mut Crowd, ip: &str, tries: usize) -> u32 {
        (0..tries).map(|_| u32::from(crowd.admit(ip.parse().unwrap()))).sum()
    }

    #[test]
    fn a_source_has_few_unproven_and_more_proven_connections() {
        let mut crowd = Crowd::default();
        let ip = "198.51.100.1".parse().unwrap();
        assert_eq!(admitted(&mut crowd, "198.51.100.1", 100), MAX_UNPROVEN_PER_SOURCE);
        assert_eq!(admitted(&mut crowd, "198.51.100.2", 1), 1, "another source has its own");
        for _ in 0..MAX_PER_SOURCE {
            crowd.prove(ip);
            crowd.admit(ip);
        }
        (0..100).for_each(|_| crowd.prove(ip));
        assert!(!crowd.admit(ip), "all it may have are there");
        crowd.leave(ip, true);
        assert!(crowd.admit(ip));
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_source() {
        let mut crowd = Crowd::default();
        let of_one_network = (0..100).filter(|n| admitted(&mut crowd, &format!("2001:db8::{n}"), 1) == 1);
        assert_eq!(of_one_network.count(), MAX_UNPROVEN_PER_SOURCE as usize);
        assert_eq!(admitted(&mut crowd, "2001:db8:0:1::1", 1), 1);
    }

    #[test]
    fn nothing_is_kept_of_those_who_left() {
        let mut crowd = Crowd::default();
        let ip = "198.51.100.1".parse().unwrap();
        assert!(crowd.admit(ip) && crowd.admit(ip));
        crowd.prove(ip);
        crowd.leave(ip, true);
        crowd.leave(ip, false);
        assert!(crowd.0.is_empty());
    }
}
