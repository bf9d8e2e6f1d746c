//! Where this device can be reached for a direct leg: its own addresses, and how the world sees them.
//!
//! The world is the router: a bare STUN Binding request (RFC 8489) to its media address comes back with the address it
//! came from. It answers because this device's routed leg has authenticated from the same IP address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::LocalCandidate;

/// Longest time that gathering may take. Higher waits for worse networks, lower starts the direct leg sooner without a
/// mapped address.
const GATHER_MAX: Duration = Duration::from_secs(2);

/// Wait before the request is sent again; doubles each time.
const FIRST_RETRY: Duration = Duration::from_millis(100);

const HEADER_BYTES: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// One of this device's addresses.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) local: IpAddr,
    /// Whom to ask how it looks from outside.
    pub(crate) ask: Option<SocketAddr>,
}

/// A direct leg's sockets, and what the other party may be told of them.
pub(crate) struct Gathered {
    pub(crate) sockets: Vec<UdpSocket>,
    pub(crate) candidates: Vec<LocalCandidate>,
}

duocast_model::assert_not_impl!(Way: std::fmt::Debug, std::fmt::Display, serde::Serialize);
duocast_model::assert_not_impl!(Gathered: std::fmt::Debug, std::fmt::Display, serde::Serialize);

/// Binds a socket on each way and asks how it looks from outside. Errors: none could be bound.
pub(crate) async fn gather(ways: &[Way]) -> io::Result<Gathered> {
    let mut gathered = Gathered { sockets: Vec::new(), candidates: Vec::new() };
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for way in ways {
        let bound = async {
            let socket = UdpSocket::bind((way.local, 0)).await?;
            let base = socket.local_addr()?;
            io::Result::Ok((socket, base))
        };
        let (socket, base) = match bound.await {
            Ok(bound) => bound,
            Err(error) => {
                failure = error;
                continue;
            }
        };
        let mapped = match way.ask {
            Some(server) => timeout(GATHER_MAX, ask(&socket, server)).await.ok().flatten(),
            None => None,
        };
        gathered.sockets.push(socket);
        gathered.candidates.push(LocalCandidate { base, mapped });
    }
    if gathered.sockets.is_empty() { Err(failure) } else { Ok(gathered) }
}

/// Asks until there is an answer; `None` if the socket fails.
async fn ask(socket: &UdpSocket, server: SocketAddr) -> Option<SocketAddr> {
    let transaction: [u8; 12] = rand::random();
    let mut request = [0; HEADER_BYTES];
    request[1] = 1;
    request[4..8].copy_from_slice(&MAGIC_COOKIE);
    request[8..].copy_from_slice(&transaction);
    let mut buffer = [0; 256];
    let mut wait = FIRST_RETRY;
    loop {
        socket.send_to(&request, server).await.ok()?;
        let answer = async {
            loop {
                let (length, source) = socket.recv_from(&mut buffer).await.ok()?;
                let mapped = mapped_address(&buffer[..length], &transaction);
                if let Some(mapped) = mapped.filter(|_| source == server) {
                    return Some(mapped);
                }
            }
        };
        if let Ok(answer) = timeout(wait, answer).await {
            return answer;
        }
        wait *= 2;
    }
}

/// The XOR-MAPPED-ADDRESS of a success response to this transaction (RFC 8489 section 14.2).
fn mapped_address(response: &[u8], transaction: &[u8; 12]) -> Option<SocketAddr> {
    let (header, body) = response.split_first_chunk::<HEADER_BYTES>()?;
    if header[..2] != [1, 1] || header[4..8] != MAGIC_COOKIE || header[8..] != *transaction {
        return None;
    }
    let mut rest = body.get(..usize::from(u16::from_be_bytes([header[2], header[3]])))?;
    while let Some((head, after)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = after.get(..length)?;
        if u16::from_be_bytes([head[0], head[1]]) == XOR_MAPPED_ADDRESS {
            return unmasked(value, header[4..].try_into().ok()?);
        }
        rest = after.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn unmasked(value: &[u8], mask: [u8; 16]) -> Option<SocketAddr> {
    let (&[_, family, high, low], ip) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([high ^ mask[0], low ^ mask[1]]);
    let mut bytes = [0; 16];
    for (byte, (value, mask)) in bytes.iter_mut().zip(ip.iter().zip(mask)) {
        *byte = value ^ mask;
    }
    let ip: IpAddr = match (family, ip.len()) {
        (1, 4) => Ipv4Addr::from(*bytes.first_chunk::<4>()?).into(),
        (2, 16) => Ipv6Addr::from(bytes).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Fuzzed: what answers the question which address one has.
#[cfg(any(test, duocast_fuzz))]
pub(crate) fn fuzz(input: &[u8]) {
    let transaction = input.get(8..20).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; 12]);
    let _ = mapped_address(input, &transaction);
    let other = transaction.map(|byte| !byte);
    assert_eq!(mapped_address(input, &other), None, "an answer to another question is none");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(request: &[u8], mapped: SocketAddr) -> Vec<u8> {
        let (family, ip) = match mapped.ip() {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (2, ip.octets().to_vec()),
        };
        let value = [&mapped.port().to_be_bytes()[..], &ip].concat();
        let mask = [&request[4..6], &request[4..]].concat();
        let masked = value.iter().zip(mask).map(|(byte, mask)| byte ^ mask);
        let length = ip.len() as u8 + 4;
        let mut out = vec![1, 1, 0, length + 12];
        out.extend(&request[4..20]);
        out.extend([0x80, 0x22, 0, 3, b'a', b'b', b'c', 0]);
        out.extend([0, 0x20, 0, length, 0, family]);
        out.extend(masked);
        out
    }

    /// RFC 5769 sections 2.2 and 2.3.
    #[test]
    fn addresses_are_read_as_the_standard_has_them() {
        let mask =
            [0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
        let v4 = [0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        assert_eq!(unmasked(&v4, mask), "192.0.2.1:32853".parse().ok());
        let v6 = [
            0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe,
            0xd2, 0xb9, 0xd9,
        ];
        assert_eq!(unmasked(&v6, mask), "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().ok());
        assert_eq!(unmasked(&v6[..12], mask), None);
    }

    async fn server(lose: usize, mapped: &'static str) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 256];
            for n in 0.. {
                let (length, source) = socket.recv_from(&mut buffer).await.unwrap();
                assert_eq!(length, HEADER_BYTES, "nothing but the question");
                if n >= lose {
                    let answer = answer(&buffer[..length], mapped.parse().unwrap());
                    socket.send_to(b"noise", source).await.unwrap();
                    socket.send_to(&answer, source).await.unwrap();
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn the_answer_is_read_in_both_families_and_a_lost_question_is_asked_again() {
        for (lose, mapped) in [(0, "203.0.113.7:61000"), (2, "[2001:db8::7]:61000")] {
            let ask = Some(server(lose, mapped).await);
            let way = Way { local: Ipv4Addr::LOCALHOST.into(), ask };
            let gathered = gather(&[way]).await.unwrap();
            assert_eq!(gathered.candidates[0].mapped, Some(mapped.parse().unwrap()));
            assert_eq!(gathered.candidates[0].base, gathered.sockets[0].local_addr().unwrap());
        }
    }

    #[tokio::test]
    async fn silence_costs_two_seconds_and_leaves_the_own_address() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let way = Way { local: Ipv4Addr::LOCALHOST.into(), ask: Some(silent.local_addr().unwrap()) };
        let began = tokio::time::Instant::now();
        let gathered = gather(&[way]).await.unwrap();
        assert!(began.elapsed() < GATHER_MAX + Duration::from_millis(500));
        assert_eq!(gathered.candidates[0].mapped, None);
    }

    #[tokio::test]
    async fn an_address_that_this_machine_has_not_is_left_out() {
        let foreign = Way { local: Ipv4Addr::new(192, 0, 2, 1).into(), ask: None };
        let own = Way { local: Ipv4Addr::LOCALHOST.into(), ask: None };
        assert!(gather(&[foreign]).await.is_err());
        assert_eq!(gather(&[foreign, own]).await.unwrap().sockets.len(), 1);
    }

    #[test]
    fn nonsense_is_no_address() {
        let good =
            answer(&[&[0, 1, 0, 0][..], &MAGIC_COOKIE, &[3; 12]].concat(), "192.0.2.1:5".parse().unwrap());
        assert!(mapped_address(&good, &[3; 12]).is_some());
        assert_eq!(mapped_address(&good, &[4; 12]), None, "another transaction");
        for cut in 0..good.len() {
            let _ = mapped_address(&good[..cut], &[3; 12]);
        }
        assert_eq!(mapped_address(&good[..30], &[3; 12]), None);
    }
}
