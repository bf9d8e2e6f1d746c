//! The sockets of a thread with many legs. On this machine's loopback many legs share one, each with an address of its own: 127.0.0.0/8 is all
//! ours, so the server sees as many clients, and one system call takes what came for all of them. Elsewhere a leg has its own socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::AsFd;
use std::time::Duration;

use duocast_client::media::SyntheticVideoConfig;
use duocast_udp::{Batch, MAX_MESSAGES, Message};
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockRef, Type};

use super::socket::{Buffers, Socket};

/// Asked of the kernel for a socket that legs share. The more it gives, the more of them share one.
const SHARED_BUFFER_BYTES: usize = 8 << 20;

/// What a packet takes of the kernel's buffer, of sound or of a picture, with the kernel's own structures: as many as a buffer took, divided.
const AUDIO_PACKET_BYTES: usize = 1280;
const VIDEO_PACKET_BYTES: usize = 2304;

/// Most bytes of datagrams that leave as one run (UDP's own limit, less headers), and most of them: the kernel takes no more.
const RUN_BYTES_MAX: usize = 65_000;
const RUN_DATAGRAMS_MAX: usize = 64;

/// Packets of sound a second.
const AUDIO_PACKETS: usize = 50;

/// Most legs of one socket. Higher asks longer what one of them dropped, lower has more system calls.
const LEGS_MAX: usize = 1000;

/// Legs in each 256 addresses: those that end with 0, 1 and 255 stay free.
const LEGS_PER_NETWORK: usize = 250;

/// How a thread's sockets are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PortsConfig {
    /// How long the thread may stand still and lose nothing. Higher has fewer legs share a socket.
    pub(crate) stands_still: Duration,
    /// Datagrams of one size that a leg sends to one address in a row leave as one (UDP GSO), which a server that takes runs receives as
    /// one, as from a network card that joins what comes at once.
    pub(crate) joins: bool,
}

/// The sockets of one thread.
pub(crate) struct Ports {
    config: PortsConfig,
    ports: Vec<Option<Port>>,
    free: Vec<usize>,
    /// Those with something to send.
    unsent: Vec<usize>,
    batch: Batch,
}

/// Where a leg is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Which of the thread's sockets.
    pub(super) port: usize,
    /// The address that it sends from.
    pub(crate) local: SocketAddr,
    /// What the kernel's buffer must hold for it; 0 for one that does not share.
    bytes: usize,
}

struct Port {
    socket: Socket,
    /// The leg behind each address: the first one's behind any, if they do not share.
    legs: Vec<Option<usize>>,
    is_shared: bool,
    /// What the kernel's buffer must hold for them, and holds.
    taken_bytes: usize,
    bytes: usize,
    /// What is to be sent, and what it says.
    waiting: Vec<Run>,
    contents: Vec<u8>,
}

impl Port {
    fn leg_at(&self, local: Option<IpAddr>) -> Option<usize> {
        let host = if self.is_shared { local.and_then(host_of) } else { Some(0) };
        *self.legs.get(host?)?
    }
}

/// A datagram, or several back to back.
struct Run {
    destination: SocketAddr,
    source: IpAddr,
    /// The size of each; the last may be shorter.
    size: usize,
    count: usize,
    /// Where they are.
    contents: Range<usize>,
}

impl Run {
    fn takes(&self, destination: SocketAddr, source: IpAddr, len: usize) -> bool {
        let is_whole = self.contents.len() == self.size * self.count;
        let has_room = self.count < RUN_DATAGRAMS_MAX && self.contents.len() + len <= RUN_BYTES_MAX;
        self.destination == destination && self.source == source && len <= self.size && is_whole && has_room
    }

    fn message<'a>(&self, contents: &'a [u8], segment: Option<usize>) -> Message<'a> {
        let segment = segment.and_then(|size| u16::try_from(size).ok());
        Message { destination: self.destination, source: Some(self.source), contents, segment }
    }
}

impl Ports {
    pub(crate) fn new(config: PortsConfig) -> Self {
        Self { config, ports: Vec::new(), free: Vec::new(), unsent: Vec::new(), batch: Batch::new() }
    }

    /// A place for the leg of this key, which reaches its server from `local`: on this machine's loopback one that others share, if it can be;
    /// elsewhere one of its own there. `video`: what comes for it besides sound.
    pub(crate) fn place(
        &mut self,
        registry: &Registry,
        key: usize,
        local: SocketAddr,
        video: Option<SyntheticVideoConfig>,
    ) -> io::Result<Place> {
        if local.ip() == Ipv4Addr::LOCALHOST
            && let Ok(place) = self.share(registry, key, video)
        {
            return Ok(place);
        }
        self.own(registry, key, Socket::new(UdpSocket::bind(local)?)?)
    }

    fn share(
        &mut self,
        registry: &Registry,
        key: usize,
        video: Option<SyntheticVideoConfig>,
    ) -> io::Result<Place> {
        let needs = needs(self.config.stands_still, video);
        let has_place = |port: &Port| port.legs.len() < LEGS_MAX || port.legs.iter().any(Option::is_none);
        let has_room =
            |port: &Port| port.is_shared && port.taken_bytes + needs <= port.bytes && has_place(port);
        let found = self.ports.iter().position(|port| port.as_ref().is_some_and(has_room));
        let at = match found {
            Some(at) => at,
            None => self.add(registry, shared()?, true)?,
        };
        self.enter(at, key, needs)
    }

    /// A place of its own for the leg of this key.
    pub(crate) fn own(&mut self, registry: &Registry, key: usize, socket: Socket) -> io::Result<Place> {
        let at = self.add(registry, socket, false)?;
        self.enter(at, key, 0)
    }

    /// Another place of its own, in the place of the one it has. What is on its way to that one is lost.
    pub(super) fn change(&mut self, registry: &Registry, key: usize, place: Place) -> io::Result<Place> {
        let socket = Socket::new(UdpSocket::bind(SocketAddr::new(place.local.ip(), 0))?)?;
        let next = self.own(registry, key, socket)?;
        self.leave(registry, place);
        Ok(next)
    }

    /// A socket alone at a leg's shared address, for what must be settled before there is a leg: as long as it is open, what comes for the
    /// address comes there.
    pub(crate) fn lend(&self, place: Place) -> io::Result<UdpSocket> {
        let Some(Some(port)) = self.ports.get(place.port) else { return Err(io::ErrorKind::NotFound.into()) };
        let shared = SockRef::from(&port.socket);
        let alone = socket2::Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        alone.set_reuse_address(true)?;
        // Only now, so that nobody else can take the port.
        shared.set_reuse_address(true)?;
        let bound = alone.bind(&place.local.into());
        shared.set_reuse_address(false)?;
        bound.map(|()| alone.into())
    }

    /// The leg is gone. What it sent and was not flushed is lost.
    pub(super) fn leave(&mut self, registry: &Registry, place: Place) {
        let Some(Some(port)) = self.ports.get_mut(place.port) else { return };
        if port.is_shared {
            port.taken_bytes -= place.bytes;
            if let Some(leg) = host_of(place.local.ip()).and_then(|host| port.legs.get_mut(host)) {
                *leg = None;
            }
            if port.legs.iter().any(Option::is_some) {
                return;
            }
        }
        if let Err(error) = registry.deregister(port.socket.source()) {
            tracing::debug!(%error, "a socket was not registered");
        }
        self.ports[place.port] = None;
        self.free.push(place.port);
    }

    /// Hands out what has come to a socket: leg, time of arrival in microseconds since 1970, source, datagram. True if there is more.
    pub(crate) fn receive(
        &self,
        at: usize,
        buffers: &mut Buffers,
        mut take: impl FnMut(usize, u64, SocketAddr, &[u8]),
    ) -> bool {
        let Some(Some(port)) = self.ports.get(at) else { return false };
        port.socket.receive(buffers, |arrived, source, local, datagram| {
            // Of a leg that is gone, or of nobody.
            let Some(key) = port.leg_at(local) else { return };
            take(key, arrived, source, datagram);
        })
    }

    /// Puts into `buffers` what one system call takes from a socket. True if there may be more.
    pub(crate) fn fill(&self, at: usize, buffers: &mut Buffers) -> bool {
        self.ports.get(at).and_then(Option::as_ref).is_some_and(|port| port.socket.fill(buffers))
    }

    /// The leg that something was sent to which came to this socket.
    pub(crate) fn leg_at(&self, at: usize, local: Option<IpAddr>) -> Option<usize> {
        self.ports.get(at)?.as_ref()?.leg_at(local)
    }

    /// Takes a datagram of a leg. Leaves with others, at the latest with [`Ports::flush`]. Gives how many the kernel did not take.
    pub(crate) fn send(&mut self, place: Place, destination: SocketAddr, datagram: &[u8]) -> u64 {
        let Some(Some(port)) = self.ports.get_mut(place.port) else { return 1 };
        if !port.is_shared {
            return u64::from(!port.socket.send(destination, datagram));
        }
        let (source, start) = (place.local.ip(), port.contents.len());
        port.contents.extend_from_slice(datagram);
        let contents = start..port.contents.len();
        let run = port.waiting.last_mut().filter(|_| self.config.joins);
        if let Some(run) = run.filter(|run| run.takes(destination, source, datagram.len())) {
            run.count += 1;
            run.contents.end = contents.end;
            return 0;
        }
        if port.waiting.is_empty() {
            self.unsent.push(place.port);
        }
        port.waiting.push(Run { destination, source, size: datagram.len(), count: 1, contents });
        if port.waiting.len() < MAX_MESSAGES { 0 } else { self.flush() }
    }

    /// Sends what waits. Gives how many datagrams the kernel did not take.
    pub(crate) fn flush(&mut self) -> u64 {
        let mut refused = 0;
        while let Some(at) = self.unsent.pop() {
            refused += self.flush_one(at);
        }
        refused
    }

    /// The local ports of all of them.
    pub(crate) fn numbers(&self) -> Vec<u16> {
        self.ports.iter().flatten().map(|port| port.socket.local().port()).collect()
    }

    fn flush_one(&mut self, at: usize) -> u64 {
        let Self { ports, batch, .. } = self;
        let Some(Some(port)) = ports.get_mut(at) else { return 0 };
        let mut refused = 0;
        let mut rest = &port.waiting[..];
        while let Some(first) = rest.first() {
            let messages = rest.iter().map(|run| {
                run.message(&port.contents[run.contents.clone()], (run.count > 1).then_some(run.size))
            });
            let sent = batch.send(port.socket.as_fd(), messages).unwrap_or(0);
            if sent == 0 {
                // It took none: the first is in the way of the others.
                refused += send_apart(batch, &port.socket, first, &port.contents[first.contents.clone()]);
            }
            rest = &rest[sent.max(1)..];
        }
        port.waiting.clear();
        port.contents.clear();
        refused
    }

    fn add(&mut self, registry: &Registry, mut socket: Socket, is_shared: bool) -> io::Result<usize> {
        let at = self.free.last().copied().unwrap_or(self.ports.len());
        registry.register(socket.source(), Token(at), Interest::READABLE)?;
        let bytes = SockRef::from(&socket.as_fd()).recv_buffer_size()?;
        let (waiting, contents) = (Vec::new(), Vec::new());
        let port = Port { socket, legs: Vec::new(), is_shared, taken_bytes: 0, bytes, waiting, contents };
        match self.free.pop() {
            Some(at) => self.ports[at] = Some(port),
            None => self.ports.push(Some(port)),
        }
        Ok(at)
    }

    fn enter(&mut self, at: usize, key: usize, needs: usize) -> io::Result<Place> {
        let Some(Some(port)) = self.ports.get_mut(at) else { return Err(io::ErrorKind::NotFound.into()) };
        let host = port.legs.iter().position(Option::is_none).unwrap_or(port.legs.len());
        if host == port.legs.len() {
            port.legs.push(None);
        }
        port.legs[host] = Some(key);
        port.taken_bytes += needs;
        let mut local = port.socket.local();
        if port.is_shared {
            local.set_ip(address_of(host).into());
        }
        Ok(Place { port: at, local, bytes: needs })
    }
}

/// Sends one by one what the kernel did not take as a run; how many it does not take at all.
fn send_apart(batch: &mut Batch, socket: &Socket, run: &Run, contents: &[u8]) -> u64 {
    let alone = contents.chunks(run.size.max(1)).filter(|_| run.count > 1);
    let sent = alone.filter(|one| {
        batch.send(socket.as_fd(), std::iter::once(run.message(one, None))).is_ok_and(|sent| sent == 1)
    });
    (run.count - sent.count()) as u64
}

/// A socket for every address of the loopback.
fn shared() -> io::Result<Socket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let options = SockRef::from(&socket);
    // A system that allows less gives less, and fewer legs share it.
    let _ = options.set_recv_buffer_size(SHARED_BUFFER_BYTES);
    // Nobody else is to be heard. What came all the same would authenticate nowhere.
    let _ = options.bind_device(Some(b"lo"));
    Socket::new(socket)
}

/// What the kernel's buffer must hold for a leg: what comes while the thread stands still, and a key frame.
fn needs(stands_still: Duration, video: Option<SyntheticVideoConfig>) -> usize {
    let while_still = |packets: usize| packets * stands_still.as_millis() as usize / 1000;
    let video = video.map_or(0, |video| {
        let packets = while_still(video.frames_per_second as usize * video.packets_per_frame);
        packets + video.keyframe_bytes.div_ceil(video.packet_bytes.max(1))
    });
    while_still(AUDIO_PACKETS) * AUDIO_PACKET_BYTES + video * VIDEO_PACKET_BYTES
}

/// The address of the leg that is the `host`th of its socket.
fn address_of(host: usize) -> Ipv4Addr {
    // Fewer than [`LEGS_MAX`].
    Ipv4Addr::new(127, 0, (host / LEGS_PER_NETWORK) as u8, (host % LEGS_PER_NETWORK + 2) as u8)
}

fn host_of(address: IpAddr) -> Option<usize> {
    let IpAddr::V4(address) = address else { return None };
    let [127, 0, network, host] = address.octets() else { return None };
    let host = usize::from(host).checked_sub(2).filter(|host| *host < LEGS_PER_NETWORK)?;
    Some(usize::from(network) * LEGS_PER_NETWORK + host)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        poll: mio::Poll,
        ports: Ports,
        router: UdpSocket,
    }

    impl World {
        fn new(joins: bool) -> Self {
            let router = UdpSocket::bind("127.0.0.1:0").unwrap();
            router.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let config = PortsConfig { stands_still: Duration::from_millis(500), joins };
            Self { poll: mio::Poll::new().unwrap(), ports: Ports::new(config), router }
        }

        fn share(&mut self, key: usize) -> Place {
            self.ports.share(self.poll.registry(), key, None).unwrap()
        }

        fn own(&mut self, key: usize) -> Place {
            let socket = Socket::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
            self.ports.own(self.poll.registry(), key, socket).unwrap()
        }

        fn send(&mut self, place: Place, said: &[u8]) {
            let router = self.router.local_addr().unwrap();
            assert_eq!(self.ports.send(place, router, said), 0);
            assert_eq!(self.ports.flush(), 0);
        }

        fn heard(&self) -> (Vec<u8>, SocketAddr) {
            let mut bytes = [0; 2000];
            let (len, source) = self.router.recv_from(&mut bytes).unwrap();
            (bytes[..len].to_vec(), source)
        }

        /// What came to all sockets: the leg, and what it said.
        fn received(&mut self, count: usize) -> Vec<(usize, Vec<u8>)> {
            let (mut events, mut buffers) = (mio::Events::with_capacity(16), Buffers::new());
            let mut received = Vec::new();
            while received.len() < count {
                self.poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
                assert!(!events.is_empty(), "{received:?} and nothing more");
                for event in &events {
                    self.ports.receive(event.token().0, &mut buffers, |key, _, _, said| {
                        received.push((key, said.to_vec()));
                    });
                }
            }
            received.sort();
            received
        }
    }

    #[test]
    fn legs_that_share_a_socket_are_each_answered() {
        let mut world = World::new(false);
        let places: Vec<Place> = (0..600).map(|key| world.share(key)).collect();
        let used: std::collections::HashSet<usize> = places.iter().map(|place| place.port).collect();
        assert!(used.len() < 100, "{} sockets for 600 legs", used.len());
        for (key, place) in places.iter().enumerate().step_by(7) {
            world.send(*place, &key.to_be_bytes());
            let (said, source) = world.heard();
            assert_eq!((said, source), (key.to_be_bytes().to_vec(), place.local));
            world.router.send_to(format!("for {key}").as_bytes(), source).unwrap();
        }
        let expected: Vec<_> =
            (0..600).step_by(7).map(|key| (key, format!("for {key}").into_bytes())).collect();
        assert_eq!(world.received(expected.len()), expected);
    }

    #[test]
    fn who_is_gone_hears_nothing_and_leaves_its_place_to_another() {
        let mut world = World::new(false);
        let (first, second) = (world.share(1), world.share(2));
        world.ports.leave(world.poll.registry(), first);
        world.router.send_to(b"late", first.local).unwrap();
        world.router.send_to(b"there", second.local).unwrap();
        assert_eq!(world.received(1), [(2, b"there".to_vec())]);
        let third = world.share(3);
        assert_eq!(third.local, first.local);
        world.router.send_to(b"new", third.local).unwrap();
        assert_eq!(world.received(1), [(3, b"new".to_vec())]);
        for place in [second, third] {
            world.ports.leave(world.poll.registry(), place);
        }
        assert!(world.ports.numbers().is_empty(), "nobody needs the socket");
    }

    #[test]
    fn a_leg_with_a_socket_of_its_own_may_change_it() {
        let mut world = World::new(false);
        let before = world.own(4);
        let after = world.ports.change(world.poll.registry(), 4, before).unwrap();
        assert!(before.local.ip() == after.local.ip() && before.local.port() != after.local.port());
        world.send(after, b"moved");
        assert_eq!(world.heard(), (b"moved".to_vec(), after.local));
        world.router.send_to(b"welcome", after.local).unwrap();
        assert_eq!(world.received(1), [(4, b"welcome".to_vec())]);
        assert_eq!(world.ports.numbers().len(), 1);
    }

    #[test]
    fn runs_of_a_leg_arrive_one_by_one_with_what_others_sent() {
        let mut world = World::new(true);
        let router = world.router.local_addr().unwrap();
        let places = [1, 2].map(|key| world.share(key));
        let mut expected = Vec::new();
        // A shorter one ends a run, and a longer one begins another; so does another leg.
        for (round, (leg, len)) in
            [(0, 900), (0, 900), (0, 900), (0, 40), (0, 900), (1, 900), (1, 900), (0, 1000)]
                .into_iter()
                .enumerate()
        {
            let said = vec![round as u8; len];
            assert_eq!(world.ports.send(places[leg], router, &said), 0);
            expected.push((said, places[leg].local));
        }
        let waiting = &world.ports.ports[places[0].port].as_ref().unwrap().waiting;
        assert_eq!(waiting.iter().map(|run| run.count).collect::<Vec<_>>(), [4, 1, 2, 1]);
        assert_eq!(world.ports.flush(), 0);
        let heard: Vec<_> = expected.iter().map(|_| world.heard()).collect();
        assert_eq!(heard, expected);
    }

    #[test]
    fn of_a_run_that_the_kernel_does_not_take_each_is_counted() {
        let mut world = World::new(true);
        let place = world.share(1);
        // Nobody has port 0.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        for _ in 0..3 {
            assert_eq!(world.ports.send(place, nowhere, &[1; 500]), 0);
        }
        let router = world.router.local_addr().unwrap();
        assert_eq!(world.ports.send(place, router, b"there"), 0);
        assert_eq!(world.ports.flush(), 3);
        assert_eq!(world.heard().0, b"there");
    }

    #[test]
    fn who_settles_something_first_has_the_address_alone_for_that_time() {
        let mut world = World::new(false);
        let place = world.share(1);
        let other = world.share(2);
        let alone = world.ports.lend(place).unwrap();
        alone.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        alone.send_to(b"may I?", world.router.local_addr().unwrap()).unwrap();
        assert_eq!(world.heard(), (b"may I?".to_vec(), place.local));
        world.router.send_to(b"you may", place.local).unwrap();
        world.router.send_to(b"for another", other.local).unwrap();
        let mut bytes = [0; 20];
        let len = alone.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..len], b"you may");
        assert_eq!(world.received(1), [(2, b"for another".to_vec())]);
        drop(alone);
        world.router.send_to(b"media", place.local).unwrap();
        assert_eq!(world.received(1), [(1, b"media".to_vec())]);
    }

    #[test]
    fn one_that_the_kernel_refuses_is_counted_and_keeps_nobody_back() {
        let mut world = World::new(false);
        let place = world.share(5);
        let router = world.router.local_addr().unwrap();
        for said in [&b"one"[..], &[0; 70_000], b"three"] {
            assert_eq!(world.ports.send(place, router, said), 0);
        }
        assert_eq!(world.ports.flush(), 1);
        assert_eq!([world.heard().0, world.heard().0], [b"one".to_vec(), b"three".to_vec()]);
    }

    #[test]
    fn every_leg_of_a_socket_has_an_address_of_its_own() {
        for host in 0..LEGS_MAX {
            let address = address_of(host);
            assert!(address.is_loopback() && address != Ipv4Addr::LOCALHOST);
            assert_eq!(host_of(address.into()), Some(host));
        }
        for stranger in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 254), Ipv4Addr::new(10, 0, 0, 3)] {
            assert_eq!(host_of(stranger.into()), None, "{stranger}");
        }
    }
}
