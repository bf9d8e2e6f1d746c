//! A party behind a TURN relay, for the length of a short run: an allocation, one channel, nothing refreshed.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::rtp::Header;
use super::stun::{self, Credential, Response, TransactionId};
use super::wire::Framing;

/// The one channel of each allocation (RFC 8656 section 12: 0x4000 to 0x4FFF).
const CHANNEL: u16 = 0x4000;

/// Stands for the tag of the parties' own SRTP, which a relay passes without looking: as many bytes as the others carry.
const TAG: [u8; 16] = [0xa5; 16];

/// How long a response may take.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// A request is sent again after this.
const RESEND_AFTER: Duration = Duration::from_millis(250);

/// Largest response that is read.
const RESPONSE_BYTES: usize = 2048;

/// Why there is no relay.
#[derive(Debug, thiserror::Error)]
pub(super) enum TurnError {
    #[error("no socket: {0}; raise the limit of open files (ulimit -n)")]
    Socket(#[from] io::Error),
    #[error("the relay does not answer")]
    Timeout,
    #[error("the relay refused with {0}")]
    Refused(u16),
    #[error("the relay's answer lacks {0}")]
    Incomplete(&'static str),
}

/// A relay that a party holds.
pub(super) struct Allocation {
    socket: UdpSocket,
    /// Where the other party sends to.
    pub(super) relayed: SocketAddr,
    server: SocketAddr,
    credential: Credential,
    nonce: Vec<u8>,
}

impl Allocation {
    /// For the address of this socket, which is needed up to the last request only. Asks twice: the first refusal brings the nonce (RFC 8489
    /// section 9.2.3).
    pub(super) fn new(
        socket: UdpSocket,
        server: SocketAddr,
        credential: &Credential,
    ) -> Result<Self, TurnError> {
        socket.set_read_timeout(Some(RESEND_AFTER))?;
        let id = rand::random();
        let refusal = ask(&socket, server, &stun::allocate_unsigned(id), id)?;
        let nonce = refusal.nonce.ok_or(TurnError::Incomplete("a nonce"))?;
        let id = rand::random();
        let granted = ask(&socket, server, &stun::allocate(id, credential, &nonce), id)?;
        succeeded(&granted, stun::ALLOCATE)?;
        let relayed = granted.relayed.ok_or(TurnError::Incomplete("the relayed address"))?;
        Ok(Self { socket, relayed, server, credential: credential.clone(), nonce })
    }

    /// Lets media of `peer` through, and sends ours there.
    pub(super) fn bind_channel(&self, peer: SocketAddr) -> Result<(), TurnError> {
        let id = rand::random();
        let request = stun::channel_bind(id, CHANNEL, peer, &self.credential, &self.nonce);
        succeeded(&ask(&self.socket, self.server, &request, id)?, stun::CHANNEL_BIND)
    }
}

fn succeeded(response: &Response, method: u16) -> Result<(), TurnError> {
    match response.error {
        _ if response.kind == method | stun::SUCCESS_BIT => Ok(()),
        Some(code) => Err(TurnError::Refused(code)),
        None => Err(TurnError::Incomplete("success and error")),
    }
}

/// Sends a request until its answer comes; others' answers are passed over.
fn ask(
    socket: &UdpSocket,
    server: SocketAddr,
    request: &[u8],
    id: TransactionId,
) -> Result<Response, TurnError> {
    let until = Instant::now() + ANSWER_MAX;
    let mut bytes = [0; RESPONSE_BYTES];
    while Instant::now() < until {
        socket.send_to(request, server)?;
        let resend_at = Instant::now() + RESEND_AFTER;
        while Instant::now() < resend_at {
            let Ok((length, source)) = socket.recv_from(&mut bytes) else { break };
            let response = stun::parse(&bytes[..length]).filter(|r| source == server && r.id == id);
            if let Some(response) = response {
                return Ok(response);
            }
        }
    }
    Err(TurnError::Timeout)
}

/// Media in ChannelData.
pub(super) struct Channel;

impl Framing for Channel {
    fn wrap(&mut self, header: &Header, payload: &[u8], datagram: &mut Vec<u8>) -> bool {
        let header = header.bytes();
        let Ok(length) = u16::try_from(header.len() + payload.len() + TAG.len()) else { return false };
        for part in [&stun::channel_header(CHANNEL, length), &header[..], payload, &TAG] {
            datagram.extend_from_slice(part);
        }
        true
    }

    fn unwrap<'a>(&mut self, datagram: &'a mut [u8]) -> Option<(Header, &'a [u8])> {
        let (number, data) = stun::channel_data(datagram)?;
        let (header, rest) = Header::parse(data)?;
        let payload = rest.get(..rest.len().checked_sub(TAG.len())?)?;
        (number == CHANNEL).then_some((header, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_comes_out_of_a_channel_as_it_went_in() {
        let header = Header { is_audio: true, marker: false, sequence: 7, time: 8, ssrc: 9 };
        let mut datagram = Vec::new();
        assert!(Channel.wrap(&header, b"speech", &mut datagram));
        assert_eq!(datagram.len(), 4 + 12 + 6 + 16);
        assert_eq!(Channel.unwrap(&mut datagram), Some((header, &b"speech"[..])));
        for cut in 0..datagram.len() {
            assert_eq!(Channel.unwrap(&mut datagram[..cut].to_vec()), None, "{cut} bytes");
        }
        assert!(!Channel.wrap(&header, &[0; 70_000], &mut datagram), "more than a datagram holds");
    }

    #[test]
    fn a_relay_that_refuses_or_is_silent_is_told_apart() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let credential = Credential { user: "u".into(), realm: "r".into(), key: [1; 16] };
        let relay = std::thread::spawn(move || {
            let mut request = [0; 500];
            let mut answer = |attributes: &[u8]| {
                let (_, from) = server.recv_from(&mut request).unwrap();
                let mut response = vec![0x01, 0x13, 0, attributes.len() as u8];
                response.extend_from_slice(&request[4..20]);
                response.extend_from_slice(attributes);
                server.send_to(&response, from).unwrap();
            };
            answer(&[0, 0x15, 0, 4, b'n', b'o', b'n', b'c']);
            // 486: allocation quota reached.
            answer(&[0, 9, 0, 4, 0, 0, 4, 86]);
            answer(&[]);
        });
        let allocate = || Allocation::new(UdpSocket::bind("127.0.0.1:0").unwrap(), address, &credential);
        let refused = allocate().err().unwrap();
        assert!(matches!(refused, TurnError::Refused(486)), "{refused}");
        let incomplete = allocate().err().unwrap();
        assert!(matches!(incomplete, TurnError::Incomplete("a nonce")), "{incomplete}");
        relay.join().unwrap();
        let silent = allocate().err().unwrap();
        assert!(matches!(silent, TurnError::Timeout | TurnError::Socket(_)), "{silent}");
    }
}
