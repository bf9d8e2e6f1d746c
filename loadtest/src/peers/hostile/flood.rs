//! The thread that floods: many addresses of the loopback network, one pace, and what they get back.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::Rng as _;

use super::junk::Junk;
use crate::peers::router::LegFacts;

/// Addresses that junk comes from, each with a port of its own.
const SOURCES: u32 = 200;

/// Datagrams that are made in advance, and sent again and again.
const STOCK: usize = 4096;

/// The least time between two bursts.
const TICK: Duration = Duration::from_millis(1);

/// What is later than this is left out, and the pace is lower than was asked for.
const LATE_MAX: Duration = Duration::from_millis(20);

/// How long answers are waited for after the last junk.
const ANSWERS: Duration = Duration::from_millis(300);

/// What was sent and what came back.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct FloodReport {
    pub(super) seconds: f64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Everything that came to an address of the flood.
    pub(super) answers: u64,
    pub(super) answer_bytes: u64,
}

/// A running flood. Dropping it ends it.
pub(super) struct Flood {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<FloodReport>>,
}

impl Flood {
    /// Begins to send so many packets a second against these legs. There must be one.
    pub(super) fn start(legs: &[LegFacts], packets_per_second: u64) -> io::Result<Self> {
        let sockets = (0..SOURCES).map(source).collect::<io::Result<Vec<_>>>()?;
        let mut rng = rand::rng();
        let stock = (0..STOCK).map(|n| {
            let leg = &legs[rng.random_range(0..legs.len())];
            (leg.router, Junk::ALL[n % Junk::ALL.len()].datagram(leg, &mut rng))
        });
        let stock: Vec<_> = stock.collect();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let body = move || run(&sockets, &stock, packets_per_second, &over);
        let thread = std::thread::Builder::new().name("flood".into()).spawn(body)?;
        Ok(Self { is_over, thread: Some(thread) })
    }

    /// Ends it. Blocks until the last answers are in.
    pub(super) fn finish(mut self) -> FloodReport {
        self.is_over.store(true, Ordering::Relaxed);
        let report = self.thread.take().map(JoinHandle::join).unwrap_or_else(|| Ok(FloodReport::default()));
        report.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// 127.66.0.1 and so on: all of 127/8 is this machine, and nobody else in a test uses these.
fn source(n: u32) -> io::Result<UdpSocket> {
    let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 66, 0, 1)) + n);
    let socket = UdpSocket::bind((IpAddr::V4(ip), 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn run(
    sockets: &[UdpSocket],
    stock: &[(SocketAddr, Vec<u8>)],
    packets_per_second: u64,
    is_over: &AtomicBool,
) -> FloodReport {
    let mut report = FloodReport::default();
    let began = Instant::now();
    let interval = Duration::from_secs(1).div_f64(packets_per_second.max(1) as f64);
    let mut due = began;
    // A stride without a common factor: every source sends every kind.
    let (mut which, mut from) = (0, 0);
    while !is_over.load(Ordering::Relaxed) {
        let now = Instant::now();
        due = due.max(now.checked_sub(LATE_MAX).unwrap_or(due));
        while due <= now {
            due += interval;
            let (to, datagram) = &stock[which % stock.len()];
            which += 1;
            from = (from + 37) % sockets.len();
            if sockets[from].send_to(datagram, *to).is_ok() {
                report.packets += 1;
                report.bytes += datagram.len() as u64;
            }
        }
        take_answers(&sockets[from], &mut report);
        std::thread::sleep(TICK);
    }
    report.seconds = began.elapsed().as_secs_f64();
    std::thread::sleep(ANSWERS);
    sockets.iter().for_each(|socket| take_answers(socket, &mut report));
    report
}

fn take_answers(socket: &UdpSocket, report: &mut FloodReport) {
    let mut buffer = [0; 2048];
    while let Ok((length, _)) = socket.recv_from(&mut buffer) {
        report.answers += 1;
        report.answer_bytes += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_sent_and_answered_is_counted() {
        let router = UdpSocket::bind("127.0.0.1:0").unwrap();
        let leg = LegFacts { router: router.local_addr().unwrap(), user: "u".into(), ssrc: 1 };
        let flood = Flood::start(&[leg], 2_000).unwrap();
        let mut buffer = [0; 2048];
        let mut answered = 0;
        for _ in 0..50 {
            let (length, from) = router.recv_from(&mut buffer).unwrap();
            assert!(from.ip().is_loopback() && from.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST));
            router.send_to(&buffer[..length], from).unwrap();
            answered += length as u64;
        }
        let report = flood.finish();
        assert_eq!((report.answers, report.answer_bytes), (50, answered));
        assert!(report.packets >= 50 && report.bytes >= answered);
    }
}
