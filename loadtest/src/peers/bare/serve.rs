//! The server: one thread, one socket; receive, open, seal, send.

use std::io::{self, BufRead as _, IoSliceMut, Write as _};
use std::net::{SocketAddr, UdpSocket};

use mio::{Events, Interest, Poll, Token};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use super::seal::{Sealer, Way};
use super::{LEGS_MAX, leg_of, other_leg};
use crate::peers::rtp::Header;

/// Room for what one receive slot may hold: the kernel joins up to 64 datagrams of a sender.
const SLOT_BYTES: usize = 1 << 16;

/// Most bytes of a run that leaves in one system call (UDP's own limit, less headers).
const RUN_BYTES_MAX: usize = 65_000;

/// Kernel buffer of the socket, if the system allows as much; the same as the router's.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

struct Leg {
    /// Where its last authentic packet came from.
    address: Option<SocketAddr>,
    opener: Sealer,
    sealer: Sealer,
}

/// Datagrams of one size to one address that wait to leave together.
struct Run {
    to: Option<SocketAddr>,
    segment: usize,
    bytes: Vec<u8>,
}

struct Server {
    socket: UdpSocket,
    state: UdpSocketState,
    legs: Vec<Leg>,
    segments_max: usize,
    run: Run,
}

/// Serves until standard input, whose first line is the secret, closes. Writes its address to standard output.
pub(crate) fn serve(legs: u32, coalesces: bool) -> io::Result<()> {
    let mut secret = String::new();
    io::stdin().lock().read_line(&mut secret)?;
    let server = Server::bind(secret.trim().as_bytes(), legs, coalesces)?;
    // Who started it has gone when this ends.
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
    writeln!(io::stdout(), "{}", server.socket.local_addr()?)?;
    server.run()
}

impl Server {
    fn bind(secret: &[u8], legs: u32, coalesces: bool) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
        // A system that allows less gives less.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        let socket = UdpSocket::from(socket);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let segments_max = if coalesces { state.max_gso_segments() } else { 1 };
        let leg = |n: u32| Leg {
            address: None,
            opener: Sealer::new(secret, n, Way::ToServer),
            sealer: Sealer::new(secret, n, Way::FromServer),
        };
        let legs = (0..legs.min(LEGS_MAX)).map(leg).collect();
        let run = Run { to: None, segment: 0, bytes: Vec::with_capacity(RUN_BYTES_MAX) };
        Ok(Self { socket, state, legs, segments_max, run })
    }

    fn run(mut self) -> io::Result<()> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(8);
        let mut waker = mio::net::UdpSocket::from_std(self.socket.try_clone()?);
        poll.registry().register(&mut waker, Token(0), Interest::READABLE)?;
        let mut bytes = vec![0; BATCH_SIZE * SLOT_BYTES];
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        loop {
            if let Err(error) = poll.poll(&mut events, None)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
            while let Some(count) = self.receive(&mut bytes, &mut metas) {
                for (slot, meta) in bytes.chunks_exact_mut(SLOT_BYTES).zip(&metas).take(count) {
                    for packet in slot[..meta.len].chunks_mut(meta.stride.max(1)) {
                        self.forward(meta.addr, packet);
                    }
                }
                self.flush();
            }
        }
    }

    /// `None` when nothing is left.
    fn receive(&self, bytes: &mut [u8], metas: &mut [RecvMeta; BATCH_SIZE]) -> Option<usize> {
        let mut slots = bytes.chunks_exact_mut(SLOT_BYTES);
        let mut slots: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(slots.next().unwrap_or_default()));
        match self.state.recv(UdpSockRef::from(&self.socket), &mut slots, metas) {
            Ok(count) => Some(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            // An ICMP error that a datagram of ours earned.
            Err(_) => Some(0),
        }
    }

    fn forward(&mut self, source: SocketAddr, packet: &mut [u8]) {
        let Some(number) = Header::parse(packet).map(|(header, _)| leg_of(header.ssrc)) else { return };
        let other = other_leg(number) as usize;
        let Some(leg) = self.legs.get_mut(number as usize) else { return };
        if leg.opener.open(packet).is_none() {
            return;
        }
        leg.address = Some(source);
        let Some(target) = self.legs.get(other) else { return };
        let (Some(to), Some(())) = (target.address, target.sealer.seal(packet)) else { return };
        self.send(to, packet);
    }

    fn send(&mut self, to: SocketAddr, packet: &[u8]) {
        if self.segments_max == 1 {
            // A full socket buffer drops, as any router does.
            let _ = self.socket.send_to(packet, to);
            return;
        }
        let run = &self.run;
        let fits = run.to == Some(to)
            && run.segment == packet.len()
            && run.bytes.len() / run.segment < self.segments_max
            && run.bytes.len() + packet.len() <= RUN_BYTES_MAX;
        if !fits {
            self.flush();
            self.run.to = Some(to);
            self.run.segment = packet.len();
        }
        self.run.bytes.extend_from_slice(packet);
    }

    fn flush(&mut self) {
        let Some(destination) = self.run.to.take() else { return };
        let contents = &self.run.bytes;
        let segment_size = (contents.len() > self.run.segment).then_some(self.run.segment);
        let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
        // A full socket buffer drops, as any router does.
        let _ = self.state.try_send(UdpSockRef::from(&self.socket), &transmit);
        self.run.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::seal::TAG_BYTES;
    use super::*;

    struct Party {
        socket: UdpSocket,
        leg: u32,
        sealer: Sealer,
        opener: Sealer,
    }

    impl Party {
        fn new(leg: u32) -> Self {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let sealer = Sealer::new(b"secret", leg, Way::ToServer);
            Self { socket, leg, sealer, opener: Sealer::new(b"secret", leg, Way::FromServer) }
        }

        fn packet(&self, sequence: u16, text: &str) -> Vec<u8> {
            let header = Header { is_audio: true, marker: false, sequence, time: 0, ssrc: self.leg << 1 };
            let mut packet = [&header.bytes()[..], text.as_bytes(), &[0; TAG_BYTES]].concat();
            self.sealer.seal(&mut packet).unwrap();
            packet
        }

        fn hear(&self) -> String {
            let mut bytes = [0; 500];
            let length = self.socket.recv(&mut bytes).unwrap();
            String::from_utf8(self.opener.open(&mut bytes[..length]).unwrap().to_vec()).unwrap()
        }
    }

    #[test]
    fn parties_hear_each_other_and_nobody_else_with_and_without_joined_packets() {
        for coalesces in [false, true] {
            let server = Server::bind(b"secret", 4, coalesces).unwrap();
            let address = server.socket.local_addr().unwrap();
            std::thread::spawn(|| server.run());
            let [alice, bob, stranger] = [0, 1, 9].map(Party::new);
            let send = |party: &Party, packet: &[u8]| party.socket.send_to(packet, address).unwrap();
            // Where Bob is, is learned from his first packet; Alice's place must be known before she can be told.
            send(&alice, &alice.packet(1, "lost: nobody is there yet"));
            send(&bob, &bob.packet(1, "hello"));
            assert_eq!(alice.hear(), "hello");
            let mut forged = alice.packet(2, "forged");
            forged[20] ^= 1;
            send(&stranger, &forged);
            send(&stranger, &stranger.packet(3, "no such leg"));
            send(&stranger, b"junk");
            for (sequence, text) in [(4, "one"), (5, "two"), (6, "six"), (7, "longer")] {
                send(&alice, &alice.packet(sequence, text));
            }
            assert_eq!([bob.hear(), bob.hear(), bob.hear(), bob.hear()], ["one", "two", "six", "longer"]);
        }
    }
}
