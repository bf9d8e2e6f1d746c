//! How much work the strangers of one network may cause. Pure.
//!
//! A datagram from an address that has not authenticated, and that names a leg of ours, costs a visit to the leg and a MAC to find out
//! whether it lies. Whoever can send from many addresses mostly has them from one prefix: it gets a budget, and others go on.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Datagrams of unproven addresses of one prefix that are looked at in [`WINDOW`]; further ones are dropped. A client that connects
/// sends about ten before it is known, so a hundred a second may begin behind one NAT. Higher lets a prefix take more of a core
/// (about 4 µs each), lower makes those behind one NAT wait for each other, and somebody who forges their addresses keep them out.
const UNPROVEN_MAX: u32 = 2_000;

/// See [`UNPROVEN_MAX`].
const WINDOW: Duration = Duration::from_secs(1);

/// What one network hands out to one customer or site, in bits.
const PREFIX_V4: u32 = 24;
const PREFIX_V6: u32 = 56;

/// Prefixes share this many budgets by a keyed hash, which a stranger cannot foretell. Higher costs memory (16 bytes each), lower makes more
/// of the innocent share one with somebody who floods.
const BUDGETS: usize = 4096;

/// The budgets of all prefixes. There is no way to print what address spent which.
pub(crate) struct Prefixes {
    hasher: RandomState,
    began: Option<Instant>,
    budgets: Box<[Budget]>,
}

duocast_model::assert_not_impl!(Prefixes: std::fmt::Debug, std::fmt::Display);

#[derive(Clone, Copy, Default)]
struct Budget {
    /// Number of the window, counted from the first datagram.
    window: u64,
    spent: u32,
}

impl Default for Prefixes {
    fn default() -> Self {
        let budgets = vec![Budget::default(); BUDGETS].into_boxed_slice();
        Self { hasher: RandomState::new(), began: None, budgets }
    }
}

impl Prefixes {
    /// Counts a datagram from an unproven address. False: its prefix has spent what it may.
    pub(crate) fn admit(&mut self, now: Instant, ip: IpAddr) -> bool {
        let began = *self.began.get_or_insert(now);
        let window = now.saturating_duration_since(began).as_secs() / WINDOW.as_secs();
        let at = self.hasher.hash_one(prefix(ip)) as usize % BUDGETS;
        let Some(budget) = self.budgets.get_mut(at) else { return false };
        if budget.window != window {
            *budget = Budget { window, spent: 0 };
        }
        let is_admitted = budget.spent < UNPROVEN_MAX;
        budget.spent += u32::from(is_admitted);
        is_admitted
    }
}

/// The network that an address belongs to. An IPv4 address in an IPv6 one (RFC 4291 section 2.5.5.2) counts as what it is.
fn prefix(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << (32 - PREFIX_V4))).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (128 - PREFIX_V6))).into(),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_that_floods_spends_its_own_budget_and_nobody_elses() {
        let now = Instant::now();
        let mut prefixes = Prefixes::default();
        let flood = (0..50_000_u32).filter(|n| prefixes.admit(now, ip(&format!("203.0.113.{}", n % 256))));
        assert_eq!(flood.count(), UNPROVEN_MAX as usize);
        // One other network may share the budget by chance (1 in 4,096), ten may not.
        let others = (0..10).filter(|n| prefixes.admit(now, ip(&format!("198.51.{n}.7")))).count();
        assert!(others >= 9, "{others} of 10 networks were let in");
        assert!(!prefixes.admit(now + WINDOW - Duration::from_millis(1), ip("203.0.113.9")));
        assert!(prefixes.admit(now + WINDOW, ip("203.0.113.9")), "a new second");
    }

    #[test]
    fn an_address_belongs_to_what_one_site_gets() {
        assert_eq!(prefix(ip("203.0.113.200")), ip("203.0.113.0"));
        assert_eq!(prefix(ip("::ffff:203.0.113.200")), ip("203.0.113.0"));
        assert_eq!(prefix(ip("2001:db8:1:2ff:3::4")), ip("2001:db8:1:200::"));
    }
}
