//! Where a relay may lead: the router's addresses in its answer.

use std::net::{IpAddr, SocketAddr};

/// The UDP addresses of an answer's candidates (RFC 8839 section 5.1), each once.
pub(super) fn udp_candidates(sdp_answer: &str) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for candidate in sdp_answer.lines().filter_map(|line| line.trim_end().strip_prefix("a=candidate:")) {
        let mut fields = candidate.split(' ').skip(2);
        let (transport, _priority, address, port) =
            (fields.next(), fields.next(), fields.next(), fields.next());
        if !transport.is_some_and(|transport| transport.eq_ignore_ascii_case("udp")) {
            continue;
        }
        let ip = address.and_then(|address| address.parse::<IpAddr>().ok());
        let port = port.and_then(|port| port.parse::<u16>().ok());
        if let Some(address) = ip.zip(port).map(SocketAddr::from).filter(|address| !found.contains(address)) {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_leads_to_each_udp_address_of_the_answer_once() {
        let answer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
            a=candidate:1 1 udp 2130706175 192.0.2.30 40000 typ host\r\n\
            a=candidate:2 1 UDP 2130706175 2001:db8:30::30 40000 typ host\r\n\
            a=candidate:3 1 tcp 1694498559 192.0.2.30 40000 typ host tcptype passive\r\n\
            a=candidate:4 1 udp 1 printer.local 40000 typ host\r\n\
            a=candidate:5 1 udp\r\na=candidate:\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 96\r\n\
            a=candidate:1 1 udp 2130706175 192.0.2.30 40000 typ host\r\n";
        let expected =
            ["192.0.2.30:40000", "[2001:db8:30::30]:40000"].map(|a| a.parse::<SocketAddr>().unwrap());
        assert_eq!(udp_candidates(answer), expected);
    }
}
