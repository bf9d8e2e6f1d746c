//! One worker's sockets: many datagrams per system call, in and out.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use duocast_router_core::{Datagram, Link, Path};
use duocast_udp::{Batch, MAX_MESSAGES, Message};
use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use crate::sys::{self, Wake};

/// Most sockets of one worker.
pub(crate) const MAX_SOCKETS: usize = 8;

/// Kernel buffer of each socket, if the system allows as much: 4 MiB hold 50 ms at 500 Mbit/s. Higher hides a stalled worker
/// as latency, lower drops bursts.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// Room for what one receive slot may hold: the kernel joins up to 64 datagrams of a sender.
const SLOT_BYTES: usize = 1 << 16;

/// Receive slots of a worker. Higher makes larger batches possible; only slots in use take memory.
const SLOTS: usize = 128;

/// Longest run of datagrams that leaves in one system call; the kernel allows no more than 64.
const MAX_SEGMENTS: usize = 64;

/// Most bytes of such a run (UDP's own limit, less headers).
const MAX_RUN_BYTES: usize = 65_000;

struct Bound {
    socket: UdpSocket,
    state: UdpSocketState,
}

/// The sockets of one worker.
pub(crate) struct Sockets(Vec<Bound>);

impl Sockets {
    /// Binds each address. With `optional_v6`, an IPv6 address that the machine cannot have is left out. Port 0: the
    /// kernel's choice, the same for all where possible.
    pub(crate) fn bind(
        ips: &[IpAddr],
        port: u16,
        optional_v6: bool,
    ) -> Result<Self, (SocketAddr, io::Error)> {
        let mut bound: Vec<Bound> = Vec::new();
        for ip in ips.iter().take(MAX_SOCKETS) {
            let chosen = bound.first().and_then(|b| b.socket.local_addr().ok()).map(|a| a.port());
            let wanted = SocketAddr::new(*ip, if port == 0 { chosen.unwrap_or(0) } else { port });
            let result = match bind_one(wanted) {
                Err(_) if port == 0 && chosen.is_some() => bind_one(SocketAddr::new(*ip, 0)),
                result => result,
            };
            match result {
                Ok(one) => bound.push(one),
                Err(_) if optional_v6 && ip.is_ipv6() => {
                    tracing::info!("this machine has no IPv6; media uses IPv4 only");
                }
                Err(error) => return Err((wanted, error)),
            }
        }
        Ok(Self(bound))
    }

    pub(crate) fn local_addrs(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(|b| b.socket.local_addr().ok()).collect()
    }

    /// Sleeps until there is something to read here or at `other`, the worker is woken, or the time is over. True if `other`
    /// has something.
    pub(crate) fn wait(&self, other: Option<BorrowedFd<'_>>, wake: &Wake, timeout: Option<Duration>) -> bool {
        sys::wait(self.0.iter().map(|b| b.socket.as_fd()), other, wake, timeout)
    }
}

fn bind_one(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A system that allows less gives less; that is no reason not to start.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    let state = UdpSocketState::new((&socket).into())?;
    Ok(Bound { socket, state })
}

/// What came in since the last turn.
pub(crate) struct Inbox {
    bytes: Box<[u8]>,
    /// Slot by slot: socket and what the kernel says of the datagrams in it.
    received: Vec<(u8, RecvMeta)>,
    /// The socket that is read first in the next turn.
    first: usize,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        let mut bytes = vec![0; SLOTS * SLOT_BYTES].into_boxed_slice();
        // Most datagrams fill a fortieth of their slot.
        sys::use_small_pages(&mut bytes);
        Self { bytes, received: Vec::with_capacity(SLOTS), first: 0 }
    }

    /// Reads until nothing is left or all slots are full; what is left waits in the kernel for the next turn, which begins
    /// with another socket, so that a flood on one cannot silence the others.
    pub(crate) fn fill(&mut self, sockets: &Sockets) {
        self.received.clear();
        let count = sockets.0.len();
        let first = self.first % count.max(1);
        self.first = first + 1;
        for (index, bound) in sockets.0.iter().enumerate().cycle().skip(first).take(count) {
            while self.received.len() < SLOTS {
                let used = self.received.len() * SLOT_BYTES;
                let slots = quinn_udp::BATCH_SIZE.min(SLOTS - self.received.len());
                let mut meta = [RecvMeta::default(); quinn_udp::BATCH_SIZE];
                let mut free = self.bytes[used..].chunks_exact_mut(SLOT_BYTES);
                let mut buffers: [IoSliceMut<'_>; quinn_udp::BATCH_SIZE] =
                    std::array::from_fn(|_| IoSliceMut::new(free.next().unwrap_or_default()));
                let received = bound.state.recv((&bound.socket).into(), &mut buffers[..slots], &mut meta);
                // Nothing to read, or an ICMP error of an earlier send, which says nothing about the sockets.
                let Ok(count) = received else { break };
                self.received.extend(meta[..count].iter().map(|meta| (index as u8, *meta)));
                if count < slots {
                    break;
                }
            }
        }
    }

    /// All slots were taken: more may wait in the kernel.
    pub(crate) fn is_full(&self) -> bool {
        self.received.len() == SLOTS
    }

    /// The datagrams, one by one.
    pub(crate) fn datagrams(&self) -> Vec<Datagram<'_>> {
        let slots = self.received.iter().zip(self.bytes.chunks_exact(SLOT_BYTES));
        let mut datagrams = Vec::with_capacity(self.received.len());
        for ((socket, meta), bytes) in slots {
            let path = Path { link: Link::Udp(*socket), local: meta.dst_ip, remote: meta.addr };
            let filled = bytes.get(..meta.len).unwrap_or_default();
            let split = filled.chunks(meta.stride.max(1));
            datagrams.extend(split.map(|contents| Datagram { path, contents }));
        }
        datagrams
    }

    /// When the kernel received those of these datagrams of this inbox that are media, since the Unix epoch.
    pub(crate) fn receipts(&self, datagrams: &[Datagram<'_>]) -> impl Iterator<Item = Duration> {
        let media = datagrams.iter().filter(|datagram| datagram.is_media());
        media.filter_map(|datagram| {
            let at = datagram.contents.as_ptr().addr().checked_sub(self.bytes.as_ptr().addr())?;
            self.received.get(at / SLOT_BYTES)?.1.timestamp
        })
    }
}

/// The time now by the clock of [`Inbox::receipts`].
pub(crate) fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Joins datagrams of equal size to one destination to runs, and calls the kernel once for many runs. What they say stays where it is, in one buffer
/// that every call is given.
pub(crate) struct Outbox {
    runs: Vec<Run>,
    batch: Batch,
    failures: u64,
}

/// Datagrams to one address: their size (the last may be shorter), how many they are and where.
struct Run {
    path: Path,
    size: usize,
    count: usize,
    bytes: Range<usize>,
}

impl Run {
    fn segment(&self) -> Option<usize> {
        (self.count > 1).then_some(self.size)
    }
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self { runs: Vec::with_capacity(MAX_MESSAGES), batch: Batch::new(), failures: 0 }
    }

    /// Takes the datagram that is there in `bytes`; it leaves with those after it, at the latest with [`Outbox::flush`].
    pub(crate) fn send(&mut self, sockets: &Sockets, bytes: &[u8], path: &Path, at: Range<usize>) {
        let len = at.len();
        let joined = self.runs.last_mut().filter(|run| {
            let last_was_full = run.bytes.len() == run.size * run.count && run.bytes.end == at.start;
            let has_room =
                run.count < max_segments(sockets, &run.path) && run.bytes.len() + len <= MAX_RUN_BYTES;
            run.path == *path && len <= run.size && last_was_full && has_room
        });
        if let Some(run) = joined {
            run.count += 1;
            run.bytes.end = at.end;
            return;
        }
        if self.runs.len() == MAX_MESSAGES {
            self.flush(sockets, bytes);
        }
        self.runs.push(Run { path: *path, size: len, count: 1, bytes: at });
    }

    /// Datagrams that were dropped because the kernel did not take them.
    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    /// Sends what is left. A datagram that the kernel does not take is dropped and counted, as on any full link.
    pub(crate) fn flush(&mut self, sockets: &Sockets, bytes: &[u8]) {
        let Self { runs, batch, failures } = self;
        let mut rest = &runs[..];
        while let Some(first) = rest.first() {
            let Some(bound) = socket_of(sockets, &first.path) else {
                *failures += first.count as u64;
                rest = &rest[1..];
                continue;
            };
            let of_socket = rest.iter().take_while(|run| run.path.link == first.path.link);
            let messages = of_socket.map(|run| Message {
                destination: run.path.remote,
                source: run.path.local,
                contents: &bytes[run.bytes.clone()],
                segment: run.segment().and_then(|size| u16::try_from(size).ok()),
            });
            match batch.send(bound.socket.as_fd(), messages) {
                Ok(sent) if sent > 0 => rest = &rest[sent..],
                // The socket's buffer is full: what is left for it would be refused as well.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let link = first.path.link;
                    let (refused, others) =
                        rest.split_at(rest.iter().take_while(|run| run.path.link == link).count());
                    *failures += refused.iter().map(|run| run.count as u64).sum::<u64>();
                    rest = others;
                }
                _ => {
                    *failures += send_alone(bound, first, &bytes[first.bytes.clone()]);
                    rest = &rest[1..];
                }
            }
        }
        runs.clear();
    }
}

/// Sends a run that the kernel did not take with others; how many of its datagrams it does not take at all.
fn send_alone(bound: &Bound, run: &Run, bytes: &[u8]) -> u64 {
    // It also learns of a device without segmentation, which refuses a run as a whole: no more runs are made then.
    if send(bound, &run.path, bytes, run.segment()).is_ok() {
        return 0;
    }
    let alone = bytes.chunks(run.size.max(1)).filter(|_| run.count > 1);
    let sent = alone.filter(|one| send(bound, &run.path, one, None).is_ok()).count();
    (run.count - sent) as u64
}

fn socket_of<'a>(sockets: &'a Sockets, path: &Path) -> Option<&'a Bound> {
    match path.link {
        Link::Udp(socket) => sockets.0.get(usize::from(socket)),
        Link::Tcp(_) => None,
    }
}

fn max_segments(sockets: &Sockets, path: &Path) -> usize {
    socket_of(sockets, path).map_or(1, |b| b.state.max_gso_segments().min(MAX_SEGMENTS))
}

fn send(bound: &Bound, path: &Path, contents: &[u8], segment_size: Option<usize>) -> io::Result<()> {
    let transmit = quinn_udp::Transmit {
        destination: path.remote,
        ecn: None,
        contents,
        segment_size,
        src_ip: path.local,
    };
    bound.state.try_send((&bound.socket).into(), &transmit)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Instant;

    use super::*;

    fn receive(inbox: &mut Inbox, sockets: &Sockets, wake: &Wake, count: usize) -> Vec<Vec<u8>> {
        let give_up = Instant::now() + Duration::from_secs(10);
        let mut all = Vec::new();
        while all.len() < count && Instant::now() < give_up {
            sockets.wait(None, wake, Some(Duration::from_millis(100)));
            inbox.fill(sockets);
            all.extend(inbox.datagrams().iter().map(|d| d.contents.to_vec()));
        }
        all
    }

    /// Sockets to send from and to receive at, and the path between them.
    fn way() -> (Sockets, Sockets, Path) {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let bound = || Sockets::bind(&loopback, 0, false).unwrap_or_else(|e| panic!("{e:?}"));
        let (from, to) = (bound(), bound());
        let path = Path { link: Link::Udp(0), local: None, remote: to.local_addrs()[0] };
        (from, to, path)
    }

    #[test]
    fn runs_of_datagrams_arrive_one_by_one_and_in_order() {
        let wake = Wake::new().unwrap();
        let (from, to, path) = way();
        let sizes = [100, 100, 100, 40, 100, 1200, 1200, 1200, 1200, 7, 8];
        let sent: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(i, n)| vec![i as u8; *n]).collect();
        let mut outbox = Outbox::new();
        let bytes = sent.concat();
        let mut at = 0;
        for contents in &sent {
            outbox.send(&from, &bytes, &path, at..at + contents.len());
            at += contents.len();
        }
        outbox.flush(&from, &bytes);
        assert_eq!(outbox.failures(), 0);
        assert_eq!(receive(&mut Inbox::new(), &to, &wake, sent.len()), sent);
    }

    #[test]
    fn what_lies_between_two_datagrams_is_not_sent_and_more_runs_than_a_call_takes_keep_their_order() {
        let wake = Wake::new().unwrap();
        let (from, to, path) = way();
        let count = 3 * MAX_MESSAGES;
        // Before each there is one that goes elsewhere.
        let bytes: Vec<u8> = (0..count).flat_map(|n| [[0xff; 50], [n as u8; 50]]).flatten().collect();
        let mut outbox = Outbox::new();
        (0..count).for_each(|n| outbox.send(&from, &bytes, &path, 100 * n + 50..100 * (n + 1)));
        outbox.flush(&from, &bytes);
        let expected: Vec<Vec<u8>> = (0..count).map(|n| vec![n as u8; 50]).collect();
        assert_eq!((receive(&mut Inbox::new(), &to, &wake, count), outbox.failures()), (expected, 0));
    }

    #[test]
    fn a_flood_on_one_socket_does_not_silence_the_other() {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let sockets = Sockets::bind(&[loopback, loopback], 0, false);
        let sockets = sockets.unwrap_or_else(|e| panic!("{e:?}"));
        let addresses = sockets.local_addrs();
        let sender = UdpSocket::bind((loopback, 0)).unwrap();
        let flood = || (0..SLOTS * 2).for_each(|n| drop(sender.send_to(&vec![0; 1 + n], addresses[0])));
        let mut inbox = Inbox::new();
        for _ in 0..3 {
            sender.send_to(b"quiet", addresses[1]).unwrap();
            let mut is_heard = false;
            for _ in 0..2 {
                flood();
                inbox.fill(&sockets);
                is_heard |=
                    inbox.datagrams().iter().any(|d| d.path.link == Link::Udp(1) && d.contents == b"quiet");
            }
            assert!(is_heard, "every second turn begins with the other socket");
        }
    }

    #[test]
    fn the_kernel_says_when_it_received_media_and_nothing_else_is_asked_for() {
        let wake = Wake::new().unwrap();
        let (from, to, path) = way();
        let sender = &from.0[0].socket;
        let rtp = |n: u8| [&[0x80, 96, 0, n][..], &[0; 100]].concat();
        let (check, handshake) = ([0; 20], [22; 60]);
        let before = unix_time();
        for contents in [&rtp(1)[..], &check, &handshake, &rtp(2)] {
            sender.send_to(contents, path.remote).unwrap();
        }
        let sent = unix_time();
        std::thread::sleep(Duration::from_millis(20));
        to.wait(None, &wake, None);
        let mut inbox = Inbox::new();
        inbox.fill(&to);
        let datagrams = inbox.datagrams();
        assert_eq!(datagrams.len(), 4);
        let receipts: Vec<_> = inbox.receipts(&datagrams).collect();
        assert_eq!(receipts.len(), 2);
        // The kernel's clock is read at another place than ours.
        let slack = Duration::from_millis(5);
        let is_of_the_kernel = |at: &Duration| (before - slack..=sent + slack).contains(at);
        assert!(receipts.iter().all(is_of_the_kernel), "not the time at which they were read");
        assert_eq!(inbox.receipts(&datagrams[1..3]).count(), 0);
    }

    #[test]
    fn a_wake_ends_the_wait() {
        let wake = Wake::new().unwrap();
        let sockets = Sockets::bind(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], 0, false);
        let sockets = sockets.unwrap_or_else(|e| panic!("{e:?}"));
        wake.wake();
        sockets.wait(None, &wake, None);
    }
}
