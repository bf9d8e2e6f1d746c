//! The other end of every server: one thread that sends all parties' media at its due time and takes in what comes.
//!
//! It sends each packet at its own moment instead of on a common tick, so that servers meet packets as a hundred
//! independent clients would send them. Between two moments it sleeps, for [`TURN`](worker::TURN) at least: what is due by then leaves together,
//! and what arrives meanwhile bears the kernel's time.
//!
//! - [`Schedule`](schedule::Schedule): who sends what when, pure. [`Seat`](seat::Seat): a party, and what it counts. [`Worker`]: the thread.

mod schedule;
mod seat;
mod worker;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::Poll;
use tokio::sync::oneshot;
use worker::Worker;

use super::PeersError;
use super::media::Media;
use super::wire::Wire;
use crate::histogram::Histogram;
use crate::lane::port::Place;

/// Shorter times between two audio packets are as they should be ([`AUDIO_EVERY`](super::media::AUDIO_EVERY)).
pub(super) const GAP_MIN: Duration = Duration::from_millis(21);

/// An address that is kept for an end.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    key: usize,
    place: Place,
}

impl Spot {
    /// Where the end sends from.
    pub(super) fn local(&self) -> SocketAddr {
        self.place.local
    }
}

/// A party's end towards a server; it may have two.
pub(super) struct End {
    pub(super) wire: Box<dyn Wire>,
    pub(super) spot: Spot,
    /// Sends media once it begins; others only receive.
    pub(super) sends: bool,
}

/// What counts: packets with marks from one microsecond since 1970 on, until before another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) from: u64,
    pub(super) until: u64,
}

impl Window {
    pub(super) fn has(&self, micros: u64) -> bool {
        (self.from..self.until).contains(&micros)
    }
}

enum Command {
    Reserve { local: SocketAddr, reserved: oneshot::Sender<io::Result<Spot>> },
    Lend { spot: Spot, lent: oneshot::Sender<io::Result<UdpSocket>> },
    Add { end: End, connected: oneshot::Sender<()> },
    Begin(Window),
    Count(Window),
    Stop,
}

/// A time in which a party heard no audio.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap {
    /// In microseconds since 1970.
    pub(super) ended_at: u64,
    micros: u64,
}

impl Gap {
    pub(super) fn millis(&self) -> f64 {
        self.micros as f64 / 1000.0
    }
}

/// What became of the media.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Packets sent in the window.
    pub(super) sent: u64,
    /// Of these, different ones that arrived, whenever they did.
    pub(super) delivered: u64,
    /// Packets that arrived in the window: what the server's CPU time of the window was spent on.
    pub(super) forwarded: u64,
    /// From the mark to the kernel's receipt, of packets sent in the window.
    pub(super) latency: Histogram,
    /// How late packets were sent, in the window: what they waited for others and for the thread.
    pub(super) lag: Histogram,
    /// CPU time of the thread in the window.
    pub(super) cpu: Duration,
    /// Packets left out because it was too late for them.
    pub(super) skipped: u64,
    /// Datagrams that the kernel did not take.
    pub(super) unsent: u64,
    /// Datagrams that its own sockets dropped.
    pub(super) drops: u64,
    /// Times without audio that were longer than usual, in order of their end.
    pub(super) gaps: Vec<Gap>,
}

/// The running thread. Dropping it ends it.
pub(super) struct Generator {
    link: Link,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Report>>,
}

/// The way to the thread.
#[derive(Clone)]
pub(super) struct Link(mpsc::Sender<Command>);

impl Generator {
    pub(super) fn start(media: Arc<Media>) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let worker = Worker::new(Poll::new()?, inbox, Arc::clone(&is_over), media);
        let thread = std::thread::Builder::new().name("generator".into()).spawn(|| worker.run())?;
        Ok(Self { link: Link(commands), is_over, thread: Some(thread) })
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Ends the thread. Blocks for a moment.
    pub(super) fn finish(mut self) -> Report {
        self.is_over.store(true, Ordering::Relaxed);
        let report = self.thread.take().map(JoinHandle::join).unwrap_or_else(|| Ok(Report::default()));
        report.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Link {
    /// Keeps an address for an end that reaches its server from `local` (port 0: any): on the loopback it is an address of its own of a socket that
    /// others share. It is kept until the thread ends.
    pub(super) async fn reserve(&self, local: SocketAddr) -> Result<Spot, PeersError> {
        let (reserved, answer) = oneshot::channel();
        self.send(Command::Reserve { local, reserved });
        Ok(answer.await.map_err(|_| PeersError::GeneratorGone)??)
    }

    /// A socket alone at an address that is kept, for what must be settled with the server before the end is added. Close it before that.
    pub(super) async fn lend(&self, spot: &Spot) -> Result<UdpSocket, PeersError> {
        let (lent, answer) = oneshot::channel();
        self.send(Command::Lend { spot: *spot, lent });
        Ok(answer.await.map_err(|_| PeersError::GeneratorGone)??)
    }

    /// Puts an end on the thread; it starts to connect. What comes back waits until it is connected.
    pub(super) fn add(&self, end: End) -> oneshot::Receiver<()> {
        let (connected, waiting) = oneshot::channel();
        self.send(Command::Add { end, connected });
        waiting
    }

    /// Everybody begins to send.
    pub(super) fn begin(&self, window: Window) {
        self.send(Command::Begin(window));
    }

    /// From now on this is what counts as well.
    pub(super) fn count(&self, window: Window) {
        self.send(Command::Count(window));
    }

    /// Everybody stops sending.
    pub(super) fn stop(&self) {
        self.send(Command::Stop);
    }

    fn send(&self, command: Command) {
        // A thread that is gone is noticed by its report, or by the answer that does not come.
        let _ = self.0.send(command);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::UdpSocket;

    use super::*;
    use crate::lane::clock;
    use crate::peers::turn::Channel;
    use crate::peers::wire::Framed;

    const LOOPBACK: &str = "127.0.0.1:0";

    #[tokio::test]
    async fn two_ends_that_face_each_other_hear_all_that_is_sent_in_the_window() {
        let generator = Generator::start(Arc::new(Media::for_time(Duration::from_secs(3)))).unwrap();
        let link = generator.link();
        let mut spots = Vec::new();
        for _ in 0..2 {
            spots.push(link.reserve(LOOPBACK.parse().unwrap()).await.unwrap());
        }
        for party in 0..2 {
            let wire = Framed::new(Channel, spots[1 - party].local(), 2 * party as u32);
            let end = End { wire: Box::new(wire), spot: spots[party], sends: true };
            link.add(end).await.expect("framed wires are connected at once");
        }
        let now = clock::moment().unix_micros;
        generator.link().begin(Window { from: now + 300_000, until: now + 800_000 });
        tokio::time::sleep(Duration::from_millis(1000)).await;
        generator.link().stop();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let report = generator.finish();
        assert!(report.sent > 100, "{} packets", report.sent);
        assert_eq!((report.delivered, report.unsent, report.drops), (report.sent, 0, 0));
        assert!(report.latency.max_ms().is_some() && report.lag.max_ms().is_some());
    }

    #[tokio::test]
    async fn a_server_sees_each_party_at_an_address_of_its_own_and_whole_frames_of_packets_at_once() {
        let generator = Generator::start(Arc::new(Media::for_time(Duration::from_secs(1)))).unwrap();
        let server = UdpSocket::bind(LOOPBACK).unwrap();
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for party in 0..20 {
            let spot = generator.link().reserve(LOOPBACK.parse().unwrap()).await.unwrap();
            let wire = Framed::new(Channel, server.local_addr().unwrap(), 2 * party);
            generator.link().add(End { wire: Box::new(wire), spot, sends: true });
        }
        let now = clock::moment().unix_micros;
        generator.link().begin(Window { from: now, until: now + 10_000_000 });
        let mut sources = HashSet::new();
        let mut bytes = [0; 2000];
        for _ in 0..400 {
            let (len, source) = server.recv_from(&mut bytes).unwrap();
            assert!(len > 100 && len < 1300, "no run comes as one: {len} bytes");
            sources.insert(source);
        }
        assert_eq!(sources.len(), 20);
    }
}
