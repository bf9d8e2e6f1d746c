//! Whose is a datagram? By known source address; else a STUN check by its user name, or media by its SSRC.
//!
//! This is the security boundary: an address gets in here only after a packet from it authenticated.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use duocast_media::Kind;
use str0m::ice::StunMessage;

use crate::counters::DropReason;
use crate::prefixes::Prefixes;
use crate::wire::{Datagram, MAX_DATAGRAM_BYTES, Source, rtp_ssrc};

/// Index of a leg in its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LegKey(pub(crate) u32);

/// Something for each leg. What clients choose (addresses, SSRCs, user names) is no key here: it needs a keyed hash.
pub(crate) type LegMap<T> = HashMap<LegKey, T, BuildHasherDefault<IndexHasher>>;

/// Keys are small numbers of our own: spreading them is all there is to do.
#[derive(Debug, Default)]
pub(crate) struct IndexHasher(u64);

impl Hasher for IndexHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Most addresses that lead to one leg; at the bound the oldest is forgotten and must authenticate again. A client has a
/// handful of candidate pairs over UDP, and as many TCP connections. Higher costs memory under address flooding by a client,
/// lower makes it forget live paths.
const MAX_ADDRESSES_PER_LEG: usize = 16;

/// Most SSRCs that lead to one leg; at the bound a newer one cannot lead there, so that a client whose address changes
/// waits for its next STUN check.
const MAX_SSRCS_PER_LEG: usize = 16;

/// Most bare STUN requests that one IP address gets answered in [`BARE_WINDOW`]; further ones get nothing. One client asks a
/// handful of times per direct leg. Higher lets a spoofer send more answers to a client, lower makes the clients behind one
/// NAT wait for each other.
const MAX_BARE_ANSWERS: u32 = 50;

/// See [`MAX_BARE_ANSWERS`].
const BARE_WINDOW: Duration = Duration::from_secs(1);

/// How far a datagram may be believed before it authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its address authenticated before.
    Known,
    /// New address; it must prove itself by STUN integrity or SRTP authentication.
    Unproven,
}

/// What a STUN check says of itself; meaningful only once it authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Classified {
    pub(crate) leg: LegKey,
    pub(crate) kind: Kind,
    pub(crate) standing: Standing,
    /// A STUN check that says "use this path" (RFC 8445 section 7.1.2).
    pub(crate) nominates: bool,
}

/// Whose clients are where. There is no way to print it.
#[derive(Default)]
pub(crate) struct Demux {
    by_address: HashMap<Source, LegKey>,
    by_user: HashMap<String, LegKey>,
    /// `None`: two legs' clients chose the same one, it leads nowhere.
    by_ssrc: HashMap<u32, Option<LegKey>>,
    /// Of each address in `by_address`, without its port.
    by_ip: HashMap<IpAddr, Neighbour>,
    legs: LegMap<Names>,
    prefixes: Prefixes,
}

duocast_model::assert_not_impl!(Demux: std::fmt::Debug, std::fmt::Display);

/// Everything that leads to one leg, oldest first.
#[derive(Debug, Default)]
struct Names {
    user: Option<String>,
    addresses: Vec<Source>,
    ssrcs: Vec<u32>,
}

/// An IP address from which a leg authenticated.
#[derive(Debug, Default)]
struct Neighbour {
    /// How many entries of `by_address` it has.
    addresses: usize,
    window: Option<Instant>,
    answered: u32,
}

impl Demux {
    /// Says which leg should look at a datagram. Errors: why none should.
    pub(crate) fn classify(&self, datagram: &Datagram<'_>) -> Result<Classified, DropReason> {
        let contents = datagram.contents;
        if contents.len() > MAX_DATAGRAM_BYTES {
            return Err(DropReason::Oversized);
        }
        let kind = Kind::of(contents).ok_or(DropReason::Malformed)?;
        if kind == Kind::Stun {
            return self.classify_stun(contents);
        }
        if let Some(&leg) = self.by_address.get(&datagram.path.source()) {
            return Ok(Classified { leg, kind, standing: Standing::Known, nominates: false });
        }
        let by_ssrc = (kind == Kind::Rtp).then(|| rtp_ssrc(contents)).flatten();
        let leg = by_ssrc.and_then(|ssrc| self.by_ssrc.get(&ssrc).copied().flatten());
        let leg = leg.ok_or(DropReason::UnknownSource)?;
        Ok(Classified { leg, kind, standing: Standing::Unproven, nominates: false })
    }

    /// A check names its leg itself and proves it by its integrity, so its address does not count: a client may use one
    /// socket for a new leg.
    fn classify_stun(&self, contents: &[u8]) -> Result<Classified, DropReason> {
        let parsed = catch_unwind(AssertUnwindSafe(|| {
            let message = StunMessage::parse(contents).ok()?;
            let (local, _) = message.is_binding_request().then(|| message.split_username()).flatten()?;
            Some((self.by_user.get(local).copied(), message.use_candidate()))
        }));
        let (leg, nominates) = parsed.ok().flatten().ok_or(DropReason::Malformed)?;
        let leg = leg.ok_or(DropReason::UnknownUser)?;
        Ok(Classified { leg, kind: Kind::Stun, standing: Standing::Unproven, nominates })
    }

    /// The leg's ICE user name is now this; an earlier one leads nowhere any more.
    pub(crate) fn set_user(&mut self, leg: LegKey, user: &str) {
        let names = self.legs.entry(leg).or_default();
        if let Some(old) = names.user.replace(user.to_owned()) {
            self.by_user.remove(&old);
        }
        self.by_user.insert(user.to_owned(), leg);
    }

    /// A packet of this leg from this address authenticated.
    pub(crate) fn learn_address(&mut self, leg: LegKey, address: Source) {
        match self.by_address.insert(address, leg) {
            Some(before) if before == leg => return,
            Some(before) => {
                if let Some(names) = self.legs.get_mut(&before) {
                    names.addresses.retain(|a| *a != address);
                }
            }
            None => self.by_ip.entry(address.ip()).or_default().addresses += 1,
        }
        let names = self.legs.entry(leg).or_default();
        let is_full = names.addresses.len() == MAX_ADDRESSES_PER_LEG;
        let oldest = is_full.then(|| names.addresses.remove(0));
        names.addresses.push(address);
        if let Some(oldest) = oldest {
            self.forget_address(oldest);
        }
    }

    /// The leg that last proved this source.
    pub(crate) fn leg_at(&self, source: Source) -> Option<LegKey> {
        self.by_address.get(&source).copied()
    }

    /// Nothing comes from this source any more.
    pub(crate) fn forget_source(&mut self, source: Source) {
        let Some(leg) = self.leg_at(source) else { return };
        if let Some(names) = self.legs.get_mut(&leg) {
            names.addresses.retain(|known| *known != source);
        }
        self.forget_address(source);
    }

    fn forget_address(&mut self, address: Source) {
        self.by_address.remove(&address);
        if let Some(neighbour) = self.by_ip.get_mut(&address.ip()) {
            neighbour.addresses -= 1;
            if neighbour.addresses == 0 {
                self.by_ip.remove(&address.ip());
            }
        }
    }

    /// Counts a bare STUN request from this IP address. Errors: why it gets no answer.
    pub(crate) fn admit_bare(&mut self, now: Instant, ip: IpAddr) -> Result<(), DropReason> {
        let neighbour = self.by_ip.get_mut(&ip).ok_or(DropReason::BareStranger)?;
        let is_over =
            neighbour.window.is_none_or(|began| now.saturating_duration_since(began) >= BARE_WINDOW);
        if is_over {
            (neighbour.window, neighbour.answered) = (Some(now), 0);
        }
        if neighbour.answered == MAX_BARE_ANSWERS {
            return Err(DropReason::BareTooMany);
        }
        neighbour.answered += 1;
        Ok(())
    }

    /// Counts a datagram for a leg that came from an address of which nothing is proven. Errors: why it is not looked at.
    pub(crate) fn admit_unproven(&mut self, now: Instant, source: Source) -> Result<(), DropReason> {
        let is_known = self.by_address.contains_key(&source);
        if is_known || self.prefixes.admit(now, source.ip()) {
            Ok(())
        } else {
            Err(DropReason::PrefixTooMany)
        }
    }

    /// A packet of this leg with this SSRC authenticated.
    pub(crate) fn learn_ssrc(&mut self, leg: LegKey, ssrc: u32) {
        let names = self.legs.entry(leg).or_default();
        if names.ssrcs.contains(&ssrc) || names.ssrcs.len() == MAX_SSRCS_PER_LEG {
            return;
        }
        names.ssrcs.push(ssrc);
        self.by_ssrc.entry(ssrc).and_modify(|owner| *owner = None).or_insert(Some(leg));
    }

    /// The leg is gone, and so is all that led to it.
    pub(crate) fn forget(&mut self, leg: LegKey) {
        let Some(names) = self.legs.remove(&leg) else { return };
        if let Some(user) = names.user {
            self.by_user.remove(&user);
        }
        for address in names.addresses {
            self.forget_address(address);
        }
        for ssrc in names.ssrcs {
            self.by_ssrc.remove(&ssrc);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::wire::{Link, Path};

    fn remote(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn address(port: u16) -> Source {
        Source::Udp(remote(port))
    }

    fn rtp(ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 111, 0, 1, 0, 0, 0, 0];
        packet.extend(ssrc.to_be_bytes());
        packet
    }

    fn classify(demux: &Demux, port: u16, contents: &[u8]) -> Result<(LegKey, Standing), DropReason> {
        let path = Path { link: Link::Udp(0), local: None, remote: remote(port) };
        demux.classify(&Datagram { path, contents }).map(|c| (c.leg, c.standing))
    }

    #[test]
    fn an_address_leads_to_the_leg_that_last_proved_it() {
        let (a, b) = (LegKey(1), LegKey(2));
        let mut demux = Demux::default();
        assert_eq!(classify(&demux, 9, &rtp(5)), Err(DropReason::UnknownSource));
        demux.learn_address(a, address(9));
        assert_eq!(classify(&demux, 9, &rtp(5)), Ok((a, Standing::Known)));
        demux.learn_address(b, address(9));
        demux.forget(a);
        assert_eq!(classify(&demux, 9, &rtp(5)), Ok((b, Standing::Known)));
        demux.forget(b);
        assert_eq!(classify(&demux, 9, &rtp(5)), Err(DropReason::UnknownSource));
    }

    #[test]
    fn an_ssrc_leads_from_a_new_address_to_its_leg_unless_two_legs_have_it() {
        let (a, b) = (LegKey(1), LegKey(2));
        let mut demux = Demux::default();
        demux.learn_ssrc(a, 5);
        assert_eq!(classify(&demux, 10, &rtp(5)), Ok((a, Standing::Unproven)));
        demux.learn_ssrc(b, 5);
        assert_eq!(classify(&demux, 10, &rtp(5)), Err(DropReason::UnknownSource));
    }

    #[test]
    fn a_leg_remembers_a_bounded_number_of_addresses() {
        let mut demux = Demux::default();
        for port in 0..100 {
            demux.learn_address(LegKey(1), address(port));
        }
        assert_eq!(demux.by_address.len(), MAX_ADDRESSES_PER_LEG);
        assert_eq!(classify(&demux, 99, &rtp(5)), Ok((LegKey(1), Standing::Known)));
        assert_eq!(classify(&demux, 0, &rtp(5)), Err(DropReason::UnknownSource));
    }

    #[test]
    fn the_same_address_over_tcp_is_another_source_and_goes_with_its_connection() {
        let path = |link| Path { link, local: None, remote: remote(9) };
        let [udp, first, second] = [Link::Udp(0), Link::Tcp(1), Link::Tcp(2)].map(path);
        let of = |demux: &Demux, path| {
            let packet = rtp(5);
            demux.classify(&Datagram { path, contents: &packet }).map(|c| c.leg)
        };
        let mut demux = Demux::default();
        demux.learn_address(LegKey(1), first.source());
        assert_eq!(of(&demux, first), Ok(LegKey(1)));
        assert_eq!([of(&demux, udp), of(&demux, second)], [Err(DropReason::UnknownSource); 2]);
        assert_eq!(demux.admit_bare(Instant::now(), remote(1).ip()), Ok(()), "its IP address is proven");
        demux.forget_source(first.source());
        demux.forget_source(first.source());
        assert_eq!(of(&demux, first), Err(DropReason::UnknownSource));
        assert!(demux.by_ip.is_empty() && demux.legs[&LegKey(1)].addresses.is_empty());
    }

    #[test]
    fn only_the_ip_addresses_of_legs_may_ask_where_they_are_and_not_too_often() {
        let now = Instant::now();
        let ip = remote(1).ip();
        let mut demux = Demux::default();
        assert_eq!(demux.admit_bare(now, ip), Err(DropReason::BareStranger));
        for port in 0..100 {
            demux.learn_address(LegKey(port.into()), address(port / 2));
        }
        let answered = (0..200).filter(|_| demux.admit_bare(now, ip).is_ok()).count();
        assert_eq!(answered, MAX_BARE_ANSWERS as usize);
        assert_eq!(demux.admit_bare(now, ip), Err(DropReason::BareTooMany));
        assert_eq!(demux.admit_bare(now + BARE_WINDOW, ip), Ok(()));
        for leg in 0..99 {
            demux.forget(LegKey(leg));
        }
        assert_eq!(demux.admit_bare(now + BARE_WINDOW, ip), Ok(()), "one leg is left");
        demux.forget(LegKey(99));
        assert_eq!(demux.admit_bare(now + BARE_WINDOW, ip), Err(DropReason::BareStranger));
        assert!(demux.by_ip.is_empty());
    }

    #[test]
    fn what_is_no_packet_of_ours_is_dropped_with_its_reason() {
        let demux = Demux::default();
        assert_eq!(classify(&demux, 1, &[]), Err(DropReason::Malformed));
        assert_eq!(classify(&demux, 1, &[0x16]), Err(DropReason::UnknownSource));
        assert_eq!(classify(&demux, 1, &[0; 20]), Err(DropReason::Malformed));
        assert_eq!(classify(&demux, 1, &[0x80; 1501]), Err(DropReason::Oversized));
    }
}
