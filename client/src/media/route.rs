//! Which local address a leg binds, chosen from the candidates in the router's answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Most candidates of an answer that are looked at; the rest are ignored.
pub const MAX_CANDIDATES: usize = 16;

/// Why no local address was found.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The answer names no UDP candidate.
    #[error(
        "the router's answer names no UDP address: check that a router node is up and has a public address"
    )]
    NoCandidate,
    /// This machine has no route to any candidate.
    #[error("no network leads to the router: check this machine's network connection")]
    Unreachable(#[source] io::Error),
}

/// The UDP candidates of an SDP answer, in its order (RFC 8839 section 5.1). Lines that make no sense are skipped.
pub fn candidates(answer: &str) -> Vec<SocketAddr> {
    candidates_over("udp", answer).map(|(address, _)| address).take(MAX_CANDIDATES).collect()
}

/// The same for TCP: those to which a connection can be opened (RFC 6544 section 4.5).
pub fn tcp_candidates(answer: &str) -> Vec<SocketAddr> {
    let passive = |(_, rest): &(SocketAddr, &str)| rest.contains("tcptype passive");
    let found = candidates_over("tcp", answer).filter(passive);
    found.map(|(address, _)| address).take(MAX_CANDIDATES).collect()
}

/// Each address, with the whole line.
fn candidates_over<'a>(protocol: &'a str, answer: &'a str) -> impl Iterator<Item = (SocketAddr, &'a str)> {
    let parse = move |line: &'a str| {
        let mut words = line.trim_end().strip_prefix("a=candidate:")?.split(' ').filter(|w| !w.is_empty());
        let over = words.nth(2)?;
        let ip: IpAddr = words.nth(1)?.parse().ok()?;
        let port: u16 = words.next()?.parse().ok()?;
        let fits = over.eq_ignore_ascii_case(protocol) && port != 0;
        fits.then(|| (SocketAddr::new(ip, port), line))
    };
    answer.lines().filter_map(parse)
}

/// The candidate to route by: of the same kind (loopback or not) as the server that gave the answer, if there is one.
pub fn choose_target(candidates: &[SocketAddr], server_is_loopback: bool) -> Option<SocketAddr> {
    let same_kind = |a: &&SocketAddr| a.ip().is_loopback() == server_is_loopback;
    candidates.iter().find(same_kind).or(candidates.first()).copied()
}

/// The same for a machine that is to use the address `local`: of its family as well, if there is one.
pub fn choose_target_from(
    candidates: &[SocketAddr],
    server_is_loopback: bool,
    local: Option<IpAddr>,
) -> Option<SocketAddr> {
    let fits = |c: &&SocketAddr| local.is_none_or(|ip| ip.is_ipv4() == c.is_ipv4());
    let fitting: Vec<SocketAddr> = candidates.iter().filter(fits).copied().collect();
    choose_target(&fitting, server_is_loopback).or_else(|| choose_target(candidates, server_is_loopback))
}

/// The address this machine would send from to reach `target`, with port 0. No packet is sent.
pub fn local_address_towards(target: SocketAddr) -> io::Result<SocketAddr> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(target)?;
    let mut local = socket.local_addr()?;
    local.set_port(0);
    Ok(local)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
        a=candidate:1 1 udp 2130706175 198.51.100.7 3478 typ host\r\n\
        a=candidate:2 1 tcp 1671430143 198.51.100.7 3478 typ host tcptype passive\r\n\
        a=candidate:broken\r\n\
        a=candidate:3 1 UDP 2130706175 127.0.0.1 3478 typ host\r\n";

    #[test]
    fn udp_candidates_are_read_and_nonsense_is_skipped() {
        let found = candidates(ANSWER);
        assert_eq!(found, ["198.51.100.7:3478".parse().unwrap(), "127.0.0.1:3478".parse().unwrap()]);
    }

    #[test]
    fn only_passive_tcp_candidates_can_be_connected_to() {
        let active = ANSWER.replace("passive", "active");
        assert_eq!(tcp_candidates(ANSWER), ["198.51.100.7:3478".parse().unwrap()]);
        assert_eq!(tcp_candidates(&active), []);
    }

    #[test]
    fn a_loopback_server_is_reached_over_loopback_and_a_public_one_is_not() {
        let found = candidates(ANSWER);
        assert_eq!(choose_target(&found, true), Some("127.0.0.1:3478".parse().unwrap()));
        assert_eq!(choose_target(&found, false), Some("198.51.100.7:3478".parse().unwrap()));
        assert_eq!(choose_target(&[], false), None);
        assert_eq!(choose_target(&found[1..], false), Some(found[1]), "better than nothing");
    }

    #[test]
    fn a_given_local_address_chooses_the_family() {
        let both = ["198.51.100.7:3478", "[2001:db8::7]:3478"].map(|a| a.parse().unwrap());
        let chosen =
            |local: Option<&str>| choose_target_from(&both, false, local.map(|l| l.parse().unwrap()));
        assert_eq!(chosen(Some("2001:db8::1")), Some(both[1]));
        assert_eq!([chosen(Some("192.0.2.1")), chosen(None)], [Some(both[0]); 2]);
        assert_eq!(choose_target_from(&both[..1], false, "2001:db8::1".parse().ok()), Some(both[0]));
    }

    #[test]
    fn loopback_is_reached_from_loopback() {
        let local = local_address_towards("127.0.0.1:9".parse().unwrap()).unwrap();
        assert_eq!(local, "127.0.0.1:0".parse().unwrap());
    }
}
