//! What of a client's SDP may reach the other client for a direct leg: a list of what is allowed, everything else stays
//! here. Candidates are taken out and given apart, once both sides have given theirs.

use std::net::IpAddr;

use super::Sealed;

/// Longest description taken, in bytes.
const DESCRIPTION_MAX: usize = 64 * 1024;

/// Most lines of a description.
const LINES_MAX: usize = 1_000;

/// Most candidates of a party that are looked at; more are ignored. A host has a handful of addresses.
const CANDIDATES_MAX: usize = 32;

/// Most candidates that are passed on. Each makes the other client send packets there: more would let one party point the
/// other at strangers (RFC 8445 section 19.5.1).
pub(super) const PASSED_MAX: usize = 8;

/// Attributes that a direct leg needs (RFC 8829, RFC 8843, RFC 8839, RFC 8842). All others, `rtcp` and `candidate` above all,
/// may hold an address.
const ALLOWED: &[&str] = &[
    "group",
    "extmap-allow-mixed",
    "extmap",
    "msid-semantic",
    "msid",
    "mid",
    "rtcp-mux",
    "rtcp-mux-only",
    "rtcp-rsize",
    "sendrecv",
    "sendonly",
    "recvonly",
    "inactive",
    "rtpmap",
    "fmtp",
    "rtcp-fb",
    "ssrc",
    "ssrc-group",
    "rid",
    "simulcast",
    "ice-ufrag",
    "ice-pwd",
    "ice-options",
    "fingerprint",
    "setup",
    "tls-id",
    "ptime",
    "maxptime",
    "bundle-only",
    "sctp-port",
    "max-message-size",
];

/// Why a description is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// Too large.
    #[error("the SDP is too large: at most 64 KiB and 1,000 lines")]
    TooLarge,
    /// Not SDP.
    #[error("this is no SDP: send the description as your WebRTC stack made it (RFC 8866)")]
    Malformed,
    /// No ICE credentials.
    #[error("the SDP has no a=ice-ufrag and a=ice-pwd: a direct leg needs ICE (RFC 8839)")]
    NoIce,
    /// No certificate fingerprint.
    #[error("the SDP has no a=fingerprint: a direct leg needs DTLS-SRTP (RFC 8842)")]
    NoFingerprint,
}

impl DescriptionError {
    /// Stable code for the wire.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "SDP_TOO_LARGE",
            Self::Malformed => "SDP_INVALID",
            Self::NoIce => "SDP_NO_ICE",
            Self::NoFingerprint => "SDP_NO_FINGERPRINT",
        }
    }
}

/// A party's description, taken apart.
#[derive(Debug)]
pub(super) struct Description {
    /// What the other party gets. Holds no address.
    pub(super) sdp: Sealed,
    /// Where this party could be reached.
    pub(super) candidates: Candidates,
}

/// A party's candidates. There is no way to print them.
#[derive(Default)]
pub(super) struct Candidates(Vec<Candidate>);

duocast_model::assert_unshown!(Description, Candidates, Crossing);
duocast_model::assert_not_impl!(Candidate: std::fmt::Debug, std::fmt::Display, Into<String>);
duocast_model::assert_not_impl!(Place: std::fmt::Debug, std::fmt::Display, Into<String>);

impl std::fmt::Debug for Candidates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Candidates({})", self.0.len())
    }
}

#[derive(Clone, PartialEq, Eq)]
struct Candidate {
    place: Place,
    port: u16,
    reflexive: bool,
}

#[derive(Clone, PartialEq, Eq)]
enum Place {
    Address(IpAddr),
    /// A name that only the own network can resolve (draft-ietf-mmusic-mdns-ice-candidates).
    Mdns(String),
}

impl Candidate {
    /// Both are local and in one subnet, as far as that can be seen; a name says nothing, and gives nothing away either.
    fn is_neighbour_of(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (Place::Address(a), Place::Address(b)) => {
                is_local(*a) && is_local(*b) && subnet(*a) == subnet(*b)
            }
            (Place::Mdns(_), Place::Address(b)) => is_local(*b),
            (Place::Address(a), Place::Mdns(_)) => is_local(*a),
            (Place::Mdns(_), Place::Mdns(_)) => true,
        }
    }

    fn is_public(&self) -> bool {
        matches!(self.place, Place::Address(address) if !is_local(address))
    }
}

/// What of both parties' candidates crosses.
#[derive(Debug)]
pub(super) struct Crossing {
    /// Of each party, in the order of `Party`, for the other one.
    pub(super) passed: [Vec<Sealed>; 2],
    /// A public address of one of them crosses. Whoever checks a public address shows its own.
    pub(super) public: bool,
    /// An address of a local network crosses.
    pub(super) local_network: bool,
}

impl Crossing {
    /// Which candidates each party needs to reach the other: reflexive and public ones always. One of a local network only if there
    /// are no others, and the other party has one in the same network: loopback beside loopback brings nothing else along.
    ///
    /// Two clients behind one NAT share a reflexive address, but one that says so may lie to learn the other's local addresses: they
    /// reach each other through the NAT, or stay on the router.
    pub(super) fn of(mine: [&Candidates; 2]) -> Self {
        let is_reachable = mine.iter().any(|of| of.0.iter().any(|c| c.reflexive || c.is_public()));
        let needed = [(mine[0], mine[1]), (mine[1], mine[0])].map(|(own, other)| -> Vec<&Candidate> {
            let is_needed = |c: &&Candidate| {
                c.is_public() || (!is_reachable && other.0.iter().any(|o| c.is_neighbour_of(o)))
            };
            own.0.iter().filter(is_needed).take(PASSED_MAX).collect()
        });
        Self {
            public: needed.iter().flatten().any(|c| c.is_public()),
            local_network: needed.iter().flatten().any(|c| !c.is_public()),
            passed: needed.map(|of| of.iter().enumerate().map(|(at, c)| c.line(at)).collect()),
        }
    }

    /// Nothing crosses: there is no path to try.
    pub(super) fn is_empty(&self) -> bool {
        self.passed.iter().all(Vec::is_empty)
    }
}

impl Candidate {
    /// RFC 8839 section 5.1. `a=candidate` values of the form that we write or read; `None` for what a direct leg has no use for:
    /// TCP, relays, RTCP components, addresses that are none.
    fn parse(value: &str) -> Option<Self> {
        let mut fields = value.split_ascii_whitespace();
        let (_foundation, component, transport) = (fields.next()?, fields.next()?, fields.next()?);
        let _priority: u32 = fields.next()?.parse().ok()?;
        let (place, port) = (fields.next()?, fields.next()?.parse().ok()?);
        if component != "1" || !transport.eq_ignore_ascii_case("udp") || fields.next()? != "typ" {
            return None;
        }
        let reflexive = match fields.next()? {
            "host" => false,
            "srflx" => true,
            _ => return None,
        };
        let place = match place.parse::<IpAddr>() {
            Ok(address) if is_usable(address.to_canonical()) => Place::Address(address.to_canonical()),
            Ok(_) => return None,
            Err(_) => Place::Mdns(mdns_name(place)?),
        };
        (port != 0).then_some(Self { place, port, reflexive })
    }

    /// Written anew: foundation, priority and related address of the original are made from addresses of the client.
    fn line(&self, at: usize) -> Sealed {
        let preference: u32 = if self.reflexive { 100 } else { 126 };
        let priority = (preference << 24) | ((u32::from(u16::MAX) - at as u32) << 8) | 255;
        let (place, any) = match &self.place {
            Place::Address(address) => {
                (address.to_string(), if address.is_ipv6() { "::" } else { "0.0.0.0" })
            }
            Place::Mdns(name) => (name.clone(), "0.0.0.0"),
        };
        let (kind, related) = match self.reflexive {
            true => ("srflx", format!(" raddr {any} rport 0")),
            false => ("host", String::new()),
        };
        Sealed::new(&format!(
            "candidate:{} 1 udp {priority} {place} {} typ {kind}{related}",
            at + 1,
            self.port
        ))
    }
}

impl Description {
    pub(super) fn parse(sdp: &str) -> Result<Self, DescriptionError> {
        if sdp.len() > DESCRIPTION_MAX || sdp.lines().count() > LINES_MAX {
            return Err(DescriptionError::TooLarge);
        }
        if !sdp.starts_with("v=0") {
            return Err(DescriptionError::Malformed);
        }
        let mut kept = String::with_capacity(sdp.len());
        let mut candidates = Candidates::default();
        let (mut ice, mut fingerprint, mut media) = ([false; 2], false, false);
        for line in sdp.lines().filter(|line| !line.is_empty()) {
            let (kind, value) = line.split_once('=').ok_or(DescriptionError::Malformed)?;
            let line = match kind {
                "v" => "v=0".to_owned(),
                "o" => "o=- 1 1 IN IP4 0.0.0.0".to_owned(),
                "s" => "s=-".to_owned(),
                "t" => "t=0 0".to_owned(),
                "c" => "c=IN IP4 0.0.0.0".to_owned(),
                "m" => {
                    media = true;
                    without_port(value)?
                }
                "b" => line.to_owned(),
                "a" => {
                    let (name, of) = value.split_once(':').unwrap_or((value, ""));
                    ice[0] |= name == "ice-ufrag";
                    ice[1] |= name == "ice-pwd";
                    fingerprint |= name == "fingerprint";
                    if name == "candidate" && candidates.0.len() < CANDIDATES_MAX {
                        let new = Candidate::parse(of).filter(|c| !candidates.0.contains(c));
                        candidates.0.extend(new);
                    }
                    match attribute(name, of) {
                        Some(line) => line,
                        None => continue,
                    }
                }
                _ => continue,
            };
            kept.push_str(&line);
            kept.push_str("\r\n");
        }
        match (media, ice, fingerprint) {
            (false, ..) => Err(DescriptionError::Malformed),
            (_, [true, true], true) => Ok(Self { sdp: Sealed::new(&kept), candidates }),
            (_, [true, true], false) => Err(DescriptionError::NoFingerprint),
            _ => Err(DescriptionError::NoIce),
        }
    }
}

fn attribute(name: &str, value: &str) -> Option<String> {
    if !ALLOWED.contains(&name) {
        return None;
    }
    // The one free text that stacks are known to put a host's name into (RFC 7022 section 4.1).
    if name == "ssrc" && value.contains(" cname:") {
        let ssrc = value.split(' ').next()?;
        return Some(format!("a=ssrc:{ssrc} cname:direct"));
    }
    Some(if value.is_empty() { format!("a={name}") } else { format!("a={name}:{value}") })
}

/// The m-line with the discard port in place of the client's; a refused one (port 0) stays refused.
fn without_port(value: &str) -> Result<String, DescriptionError> {
    let mut fields = value.splitn(3, ' ');
    let (Some(kind), Some(port), Some(rest)) = (fields.next(), fields.next(), fields.next()) else {
        return Err(DescriptionError::Malformed);
    };
    Ok(format!("m={kind} {} {rest}", if port == "0" { 0 } else { 9 }))
}

fn mdns_name(name: &str) -> Option<String> {
    let label = name.strip_suffix(".local")?;
    let is_uuid = label.len() == 36 && label.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    is_uuid.then(|| name.to_owned())
}

/// False for what is no address of a host: unspecified, multicast, broadcast; and for IPv6 link-local, which means nothing without
/// its interface.
fn is_usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()),
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local()),
    }
}

/// True for addresses that mean something inside one network only (RFC 1918, 3927, 4193, 6598, loopback).
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let carrier_nat = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || carrier_nat
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    }
}

/// What a home or office network has: 24 bits of IPv4, 64 of IPv6.
fn subnet(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4) >> 8),
        IpAddr::V6(v6) => u128::from(v6) >> 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdp(lines: &[&str]) -> String {
        let head = [
            "v=0",
            "o=alice 77 2 IN IP4 10.1.0.2",
            "s=alice's phone",
            "c=IN IP4 203.0.113.10",
            "t=0 0",
            "a=group:BUNDLE 0",
            "a=ice-options:trickle",
            "m=audio 54321 UDP/TLS/RTP/SAVPF 111",
            "c=IN IP6 2001:db8::7",
            "a=rtcp:54322 IN IP4 203.0.113.10",
            "a=mid:0",
            "a=sendrecv",
            "a=rtpmap:111 opus/48000/2",
            "a=ice-ufrag:abcd",
            "a=ice-pwd:0123456789abcdef012345",
            "a=fingerprint:sha-256 AA:BB",
            "a=setup:actpass",
            "a=ssrc:1234 cname:alice@10.1.0.2",
        ];
        let mut all: Vec<&str> = head.to_vec();
        all.extend(lines);
        all.join("\r\n") + "\r\n"
    }

    fn parse(lines: &[&str]) -> Description {
        Description::parse(&sdp(lines)).unwrap()
    }

    const HOST: &str =
        "a=candidate:1467250027 1 udp 2122260223 10.1.0.2 46243 typ host generation 0 network-id 1";
    const REFLEXIVE: &str =
        "a=candidate:842163049 1 udp 1686052607 203.0.113.10 46243 typ srflx raddr 10.1.0.2 rport 46243";

    fn lines(crossing: &Crossing, of: usize) -> Vec<String> {
        crossing.passed[of].iter().map(|line| line.expose().to_owned()).collect()
    }

    #[test]
    fn nothing_that_holds_an_address_is_left_in_a_description() {
        let found = parse(&[
            HOST,
            REFLEXIVE,
            "a=end-of-candidates",
            "a=remote-candidates:1 10.9.9.9 5",
            "i=10.1.0.2",
        ]);
        let kept = found.sdp.expose();
        for secret in ["10.1.0.2", "203.0.113.10", "2001:db8", "54321", "54322", "46243", "alice", "10.9.9.9"]
        {
            assert!(!kept.contains(secret), "{secret} in {kept}");
        }
        for needed in
            ["m=audio 9 UDP/TLS/RTP/SAVPF 111", "a=ice-ufrag:abcd", "a=fingerprint:sha-256 AA:BB", "a=mid:0"]
        {
            assert!(kept.contains(needed), "{needed} not in {kept}");
        }
        assert!(!format!("{found:?}").contains("203.0.113.10"), "it cannot be printed either");
    }

    #[test]
    fn behind_different_nats_only_what_the_server_saw_crosses() {
        let alice = parse(&[HOST, REFLEXIVE]);
        let bob = parse(&[
            "a=candidate:1 1 udp 2122260223 192.168.7.7 999 typ host",
            "a=candidate:2 1 udp 1686052607 198.51.100.20 999 typ srflx raddr 192.168.7.7 rport 999",
            "a=candidate:3 1 tcp 1518280447 192.168.7.7 9 typ host tcptype active",
            "a=candidate:4 2 udp 1 198.51.100.20 1000 typ srflx raddr 0.0.0.0 rport 0",
            "a=candidate:5 1 udp 1 198.51.100.99 1000 typ relay raddr 0.0.0.0 rport 0",
        ]);
        let crossing = Crossing::of([&alice.candidates, &bob.candidates]);
        assert_eq!(
            lines(&crossing, 0),
            ["candidate:1 1 udp 1694498815 203.0.113.10 46243 typ srflx raddr 0.0.0.0 rport 0"]
        );
        assert_eq!(
            lines(&crossing, 1),
            ["candidate:1 1 udp 1694498815 198.51.100.20 999 typ srflx raddr 0.0.0.0 rport 0"]
        );
        assert!(crossing.public && !crossing.local_network);
    }

    #[test]
    fn who_claims_to_be_behind_ones_nat_learns_nothing_of_what_is_behind_it() {
        let alice = parse(&[HOST, REFLEXIVE]);
        let liar = parse(&[
            "a=candidate:1 1 udp 2122260223 10.1.0.3 999 typ host",
            "a=candidate:2 1 udp 1686052607 203.0.113.10 777 typ srflx raddr 10.1.0.3 rport 999",
        ]);
        let crossing = Crossing::of([&alice.candidates, &liar.candidates]);
        assert!(
            lines(&crossing, 0).iter().all(|line| line.contains(" 203.0.113.10 ")),
            "the public one only"
        );
        assert!(crossing.public && !crossing.local_network);
    }

    #[test]
    fn with_the_server_on_their_network_there_are_only_local_addresses() {
        let mdns = "a=candidate:1 1 udp 2113937151 b3b3ff5f-9bb1-4f3b-8f4b-9c5a4d6b7e8f.local 4000 typ host";
        let (alice, bob) = (parse(&[HOST]), parse(&[mdns]));
        let crossing = Crossing::of([&alice.candidates, &bob.candidates]);
        assert_eq!((crossing.passed[0].len(), crossing.passed[1].len()), (1, 1));
        assert!(!crossing.public && crossing.local_network);
    }

    #[test]
    fn where_the_server_could_not_be_asked_the_addresses_of_two_homes_stay_there() {
        let alice = parse(&[HOST]);
        let bob = parse(&["a=candidate:1 1 udp 2122260223 10.2.0.3 999 typ host"]);
        assert!(Crossing::of([&alice.candidates, &bob.candidates]).is_empty());
        let neighbour = parse(&["a=candidate:1 1 udp 2122260223 10.1.0.3 999 typ host"]);
        let crossing = Crossing::of([&alice.candidates, &neighbour.candidates]);
        assert_eq!((crossing.passed[0].len(), crossing.passed[1].len()), (1, 1));
    }

    #[test]
    fn two_machines_have_loopback_in_common_and_nothing_else() {
        let loopback =
            ["a=candidate:1 1 udp 1 127.0.0.1 50 typ host", "a=candidate:2 1 udp 1 ::1 50 typ host"];
        let alice = parse(&[loopback[0], loopback[1], HOST]);
        let bob = parse(&[loopback[0], loopback[1], "a=candidate:3 1 udp 1 10.2.0.3 999 typ host"]);
        let crossing = Crossing::of([&alice.candidates, &bob.candidates]);
        for of in [0, 1] {
            assert!(
                lines(&crossing, of).iter().all(|line| !line.contains(" 10.")),
                "{:?}",
                lines(&crossing, of)
            );
            assert_eq!(lines(&crossing, of).len(), 2, "on one machine it is enough");
        }
    }

    #[test]
    fn where_one_has_a_public_address_no_local_one_crosses() {
        let alice = parse(&["a=candidate:1 1 udp 1 2001:db8:1::2 4000 typ host", HOST]);
        let liar = parse(&["a=candidate:1 1 udp 2122260223 10.1.0.3 999 typ host"]);
        let crossing = Crossing::of([&alice.candidates, &liar.candidates]);
        assert_eq!(lines(&crossing, 0), ["candidate:1 1 udp 2130706431 2001:db8:1::2 4000 typ host"]);
        assert!(crossing.passed[1].is_empty() && !crossing.local_network);
    }

    #[test]
    fn a_public_host_address_crosses_in_both_families() {
        let alice = parse(&[
            "a=candidate:1 1 udp 1 2001:db8:1::2 4000 typ host",
            "a=candidate:2 1 udp 1 fe80::1 4000 typ host",
        ]);
        let bob = parse(&[HOST, REFLEXIVE, "a=candidate:2 1 udp 1 ::ffff:198.51.100.9 5 typ host"]);
        let crossing = Crossing::of([&alice.candidates, &bob.candidates]);
        assert_eq!(lines(&crossing, 0), ["candidate:1 1 udp 2130706431 2001:db8:1::2 4000 typ host"]);
        assert!(lines(&crossing, 1).iter().all(|line| !line.contains("10.1.0.2")));
        assert!(lines(&crossing, 1).iter().any(|line| line.contains(" 198.51.100.9 5 typ host")));
    }

    #[test]
    fn one_party_cannot_point_the_other_at_many_strangers() {
        let many: Vec<String> =
            (1..200).map(|n| format!("a=candidate:{n} 1 udp 1 198.51.100.{n} 53 typ host")).collect();
        let alice = parse(&many.iter().map(String::as_str).collect::<Vec<_>>());
        let none = Candidates::default();
        let crossing = Crossing::of([&alice.candidates, &none]);
        assert_eq!(crossing.passed[0].len(), PASSED_MAX);
    }

    #[test]
    fn a_hostile_description_is_a_typed_error() {
        let refused = |sdp: &str| Description::parse(sdp).map(|_| ()).unwrap_err();
        assert_eq!(refused(""), DescriptionError::Malformed);
        assert_eq!(refused("v=0\r\nnonsense\r\n"), DescriptionError::Malformed);
        assert_eq!(refused("v=0\r\nm=audio\r\n"), DescriptionError::Malformed);
        assert_eq!(refused(&format!("v=0\r\n{}", "a=x\r\n".repeat(1_000))), DescriptionError::TooLarge);
        assert_eq!(refused(&format!("v=0\r\na={}", "x".repeat(65_536))), DescriptionError::TooLarge);
        assert_eq!(refused(&sdp(&[]).replace("a=ice-pwd", "a=x")), DescriptionError::NoIce);
        assert_eq!(refused(&sdp(&[]).replace("a=fingerprint", "a=x")), DescriptionError::NoFingerprint);
        for odd in [
            "a=candidate:",
            "a=candidate:1 1 udp x 1.2.3.4 5 typ host",
            "a=candidate:1 1 udp 1 0.0.0.0 5 typ host",
            "a=candidate:1 1 udp 1 1.2.3.4 99999 typ host",
            "a=candidate:1 1 udp 1 evil.example.com 5 typ host",
            "a=candidate:1 1 udp 1 1.2.3.4 0 typ host",
            "a=candidate:1 1 udp 1 239.1.1.1 5 typ host",
        ] {
            assert!(parse(&[odd]).candidates.0.is_empty(), "{odd}");
        }
    }
}
