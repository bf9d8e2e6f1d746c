//! The addresses that clients are told.

use std::net::{IpAddr, SocketAddr};

use crate::sys;

/// Most addresses of one worker in an answer. Clients check each: higher costs them time and tells more of this machine,
/// lower may leave out the one that works.
const MAX_ANNOUNCED: usize = 16;

/// What one worker announces: the configured addresses, else those it listens on, else all of this machine with loopback
/// last. Each with the port of the socket of its family; an address whose family has no socket is left out.
pub(crate) fn announced(configured: &[IpAddr], sockets: &[SocketAddr]) -> Vec<SocketAddr> {
    if sockets.is_empty() {
        return Vec::new();
    }
    let ips = if !configured.is_empty() {
        configured.to_vec()
    } else if sockets.iter().all(|socket| !socket.ip().is_unspecified()) {
        sockets.iter().map(SocketAddr::ip).collect()
    } else {
        let mut ips = sys::interface_addresses();
        ips.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
        ips
    };
    let mut announced: Vec<SocketAddr> = Vec::new();
    for ip in ips.into_iter().filter(is_reachable) {
        let Some(port) = port_for(ip, sockets) else { continue };
        let address = SocketAddr::new(ip, port);
        if !announced.contains(&address) && announced.len() < MAX_ANNOUNCED {
            announced.push(address);
        }
    }
    announced
}

fn port_for(ip: IpAddr, sockets: &[SocketAddr]) -> Option<u16> {
    sockets.iter().find(|socket| socket.is_ipv4() == ip.is_ipv4()).map(SocketAddr::port)
}

/// Link-local addresses mean nothing without a zone, which SDP cannot carry.
fn is_reachable(ip: &IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !ip.is_unspecified() && !ip.is_multicast() && !link_local
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn configured_addresses_get_the_port_of_their_family() {
        let sockets = ["0.0.0.0:4000".parse().unwrap(), "[::]:5000".parse().unwrap()];
        let configured = [ip("198.51.100.1"), ip("2001:db8::1"), ip("fe80::1"), ip("198.51.100.1")];
        let expected: Vec<SocketAddr> =
            vec!["198.51.100.1:4000".parse().unwrap(), "[2001:db8::1]:5000".parse().unwrap()];
        assert_eq!(announced(&configured, &sockets), expected);
        assert_eq!(announced(&[ip("2001:db8::1")], &sockets[..1]), []);
    }

    #[test]
    fn without_configuration_this_machine_is_announced_loopback_last() {
        let announced = announced(&[], &["0.0.0.0:4000".parse().unwrap()]);
        assert_eq!(announced.last().unwrap().to_string(), "127.0.0.1:4000");
        assert!(announced.iter().all(SocketAddr::is_ipv4));
    }

    #[test]
    fn a_chosen_listening_address_is_the_one_announced() {
        let socket = "127.0.0.1:4000".parse().unwrap();
        assert_eq!(announced(&[], &[socket]), [socket]);
    }
}
