//! The other end of every server: one thread that sends all parties' media at its due time and takes in what comes.
//!
//! It sends each packet at its own moment instead of on a common tick, so that servers meet packets as a hundred
//! independent clients would send them. Between two moments it sleeps; what arrives meanwhile bears the kernel's time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use tokio::sync::oneshot;

use super::PeersError;
use super::media::{AUDIO_EVERY, FRAMES_PER_SECOND, Media, PACKETS_PER_FRAME, phases};
use super::wire::{Heard, Wire};
use crate::histogram::Histogram;
use crate::lane::clock;
use crate::lane::socket::{Buffers, Socket};
use crate::peer::{Reception, SentBook, Wheel};
use crate::run::socket_drops;

/// A sender that is later than this leaves out what it missed.
const LATE_MAX: Duration = Duration::from_millis(200);

/// Longest sleep: commands and first packets wait no longer.
const SLEEP_MAX: Duration = Duration::from_millis(1);

/// Shorter times between two audio packets are as they should be ([`AUDIO_EVERY`]).
pub(super) const GAP_MIN: Duration = Duration::from_millis(21);

/// Most gaps that are kept; at the bound later ones are not told. A minute of bad audio of a hundred parties has fewer.
const GAPS_MAX: usize = 100_000;

/// Events taken by one system call; more wait for the next.
const EVENTS_MAX: usize = 1024;

/// One socket's end of a party.
pub(super) struct End {
    pub(super) wire: Box<dyn Wire>,
    pub(super) socket: Socket,
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
    Add { end: End, added: oneshot::Sender<io::Result<()>>, connected: oneshot::Sender<()> },
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
    /// How late packets were sent, in the window.
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
    /// Puts an end on the thread; it starts to connect. What comes back waits until it is connected.
    pub(super) async fn add(&self, end: End) -> Result<oneshot::Receiver<()>, PeersError> {
        let (added, answer) = oneshot::channel();
        let (connected, waiting) = oneshot::channel();
        self.send(Command::Add { end, added, connected });
        answer.await.map_err(|_| PeersError::GeneratorGone)??;
        Ok(waiting)
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

struct Seat {
    end: End,
    audio: Reception,
    video: Reception,
    marks: SentBook,
    connected: Option<oneshot::Sender<()>>,
    audio_heard_at: Option<u64>,
}

/// Something to send: when, who, audio or video, and the how-manieth.
type Due = Reverse<(Instant, usize, bool, u64)>;

struct Worker {
    poll: Poll,
    inbox: mpsc::Receiver<Command>,
    is_over: Arc<AtomicBool>,
    media: Arc<Media>,
    seats: Vec<Seat>,
    due: BinaryHeap<Due>,
    wheel: Wheel,
    buffers: Buffers,
    ready: Vec<usize>,
    window: Option<Window>,
    cpu_at_start: Option<Duration>,
    has_cpu: bool,
    report: Report,
}

impl Worker {
    fn new(poll: Poll, inbox: mpsc::Receiver<Command>, is_over: Arc<AtomicBool>, media: Arc<Media>) -> Self {
        Self {
            poll,
            inbox,
            is_over,
            media,
            seats: Vec::new(),
            due: BinaryHeap::new(),
            wheel: Wheel::new(Instant::now()),
            buffers: Buffers::new(),
            ready: Vec::new(),
            window: None,
            cpu_at_start: None,
            has_cpu: false,
            report: Report::default(),
        }
    }

    fn run(mut self) -> Report {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.is_over.load(Ordering::Relaxed) {
            self.wait(&mut events);
            self.ready.extend(events.iter().map(|event| event.token().0));
            while let Ok(command) = self.inbox.try_recv() {
                self.obey(command);
            }
            self.receive();
            self.pass_time();
            self.send_due();
            self.watch_cpu();
        }
        let ports: HashSet<u16> = self.seats.iter().map(|seat| seat.end.socket.local().port()).collect();
        self.report.drops = socket_drops(&ports).unwrap_or(0);
        self.report
    }

    /// Sleeps to the microsecond where it matters: the poll itself knows milliseconds only.
    fn wait(&mut self, events: &mut Events) {
        if self.ready.is_empty() {
            let sending = self.due.peek().map(|Reverse((at, ..))| *at);
            let next = [sending, self.wheel.next()].into_iter().flatten().min();
            let now = Instant::now();
            let sleep = next.map_or(SLEEP_MAX, |at| at.saturating_duration_since(now)).min(SLEEP_MAX);
            if !sleep.is_zero() {
                std::thread::sleep(sleep);
            }
        }
        if let Err(error) = self.poll.poll(events, Some(Duration::ZERO)) {
            // EINTR is the only one that happens; `events` is empty then.
            tracing::debug!(%error, "waiting for sockets was interrupted");
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Add { mut end, added, connected } => {
                let key = self.seats.len();
                let registry = self.poll.registry();
                let registered = registry.register(end.socket.source(), Token(key), Interest::READABLE);
                let is_added = registered.is_ok();
                // Who asked may have given up meanwhile.
                let _ = added.send(registered);
                if is_added {
                    self.seats.push(Seat {
                        end,
                        audio: Reception::default(),
                        video: Reception::default(),
                        marks: SentBook::default(),
                        connected: Some(connected),
                        audio_heard_at: None,
                    });
                    self.after(key, clock::moment().unix_micros);
                }
            }
            Command::Begin(window) => {
                self.window = Some(window);
                let senders = self.seats.iter().enumerate().filter(|(_, seat)| seat.end.sends);
                let senders: Vec<usize> = senders.map(|(key, _)| key).collect();
                for (party, key) in senders.into_iter().enumerate() {
                    self.begin_sending(key, party);
                }
            }
            Command::Count(window) => self.window = Some(window),
            Command::Stop => self.due.clear(),
        }
    }

    fn begin_sending(&mut self, key: usize, party: usize) {
        let start = Instant::now();
        let (audio, video) = phases(party);
        self.due.push(Reverse((start + AUDIO_EVERY.mul_f64(audio), key, true, 0)));
        self.due.push(Reverse((start + frame_interval().mul_f64(video), key, false, 0)));
    }

    fn receive(&mut self) {
        for key in std::mem::take(&mut self.ready) {
            let at = clock::moment();
            let seat = &mut self.seats[key];
            let (window, report) = (self.window, &mut self.report);
            let Seat { end: End { wire, socket, .. }, audio, video, audio_heard_at, .. } = seat;
            let has_more = socket.receive(&mut self.buffers, |arrived, source, _, datagram| {
                wire.handle_datagram(at, source, datagram);
                while let Some(heard) = wire.poll_heard() {
                    let reception = if heard.is_audio { &mut *audio } else { &mut *video };
                    note(report, window, reception, heard, arrived);
                    if heard.is_audio {
                        note_gap(report, audio_heard_at, arrived);
                    }
                }
            });
            if has_more {
                self.ready.push(key);
            }
            self.after(key, at.unix_micros);
        }
    }

    fn pass_time(&mut self) {
        let at = clock::moment();
        let mut due = Vec::new();
        self.wheel.advance(at.now, &mut due);
        for key in due {
            self.seats[key].end.wire.handle_timeout(at.now);
            self.after(key, at.unix_micros);
        }
    }

    fn send_due(&mut self) {
        while let Some(Reverse((due, key, is_audio, number))) = self.due.peek().copied() {
            let at = clock::moment();
            if due > at.now {
                return;
            }
            self.due.pop();
            let interval = if is_audio { AUDIO_EVERY } else { frame_interval() };
            self.due.push(Reverse((due + interval, key, is_audio, number + 1)));
            let late = at.now - due;
            if self.window.is_some_and(|window| window.has(at.unix_micros)) {
                self.report.lag.add(late);
            }
            if late > LATE_MAX {
                self.report.skipped += if is_audio { 1 } else { PACKETS_PER_FRAME as u64 };
                continue;
            }
            let Seat { end, marks, .. } = &mut self.seats[key];
            let (window, sent) = (self.window, &mut self.report.sent);
            let mut next_mark = || {
                let mark = marks.next_mark(at.unix_micros);
                *sent += u64::from(window.is_some_and(|window| window.has(mark)));
                mark
            };
            if is_audio {
                let (rtp_time, payload) = self.media.audio(number, next_mark());
                end.wire.send_audio(at.now, rtp_time, payload);
            } else {
                let frame = self.media.video(number, next_mark);
                end.wire.send_video(at.now, &frame);
            }
            self.after(key, at.unix_micros);
        }
    }

    fn after(&mut self, key: usize, now_unix_micros: u64) {
        let Seat { end, audio, video, connected, .. } = &mut self.seats[key];
        let mut has_joined = false;
        while let Some((destination, datagram)) = end.wire.poll_transmit() {
            let is_sent = end.socket.send(destination, &datagram);
            self.report.unsent += u64::from(!is_sent);
        }
        while let Some(heard) = end.wire.poll_heard() {
            let reception = if heard.is_audio { &mut *audio } else { &mut *video };
            note(&mut self.report, self.window, reception, heard, now_unix_micros);
        }
        if end.wire.is_connected()
            && let Some(connected) = connected.take()
        {
            // Who waited for it may have given up.
            let _ = connected.send(());
            has_joined = end.sends && self.window.is_some();
        }
        if let Some(at) = end.wire.poll_timeout() {
            self.wheel.schedule(key, at);
        }
        if has_joined {
            self.begin_sending(key, key);
        }
    }

    fn watch_cpu(&mut self) {
        let Some(window) = self.window.filter(|_| !self.has_cpu) else { return };
        let now = clock::moment().unix_micros;
        match self.cpu_at_start {
            None if now >= window.from => self.cpu_at_start = Some(clock::thread_cpu()),
            Some(start) if now >= window.until => {
                self.report.cpu = clock::thread_cpu().saturating_sub(start);
                self.has_cpu = true;
            }
            _ => {}
        }
    }
}

fn frame_interval() -> Duration {
    Duration::from_secs(1) / FRAMES_PER_SECOND
}

fn note_gap(report: &mut Report, heard_at: &mut Option<u64>, arrived: u64) {
    let since = heard_at.map_or(0, |before| arrived.saturating_sub(before));
    *heard_at = (*heard_at).max(Some(arrived));
    if since > GAP_MIN.as_micros() as u64 && report.gaps.len() < GAPS_MAX {
        report.gaps.push(Gap { ended_at: arrived, micros: since });
    }
}

fn note(report: &mut Report, window: Option<Window>, reception: &mut Reception, heard: Heard, arrived: u64) {
    let Some(latency) = reception.handle_packet(heard.sequence, heard.mark, arrived) else { return };
    let has = |micros| window.is_some_and(|window| window.has(micros));
    report.forwarded += u64::from(has(arrived));
    if heard.mark.is_some_and(has) {
        report.delivered += 1;
        report.latency.add_micros(latency);
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::peers::turn::Channel;
    use crate::peers::wire::Framed;

    #[tokio::test]
    async fn two_ends_that_face_each_other_hear_all_that_is_sent_in_the_window() {
        let generator = Generator::start(Arc::new(Media::for_time(Duration::from_secs(3)))).unwrap();
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let addresses = sockets.each_ref().map(|socket| socket.local_addr().unwrap());
        for (party, socket) in sockets.into_iter().enumerate() {
            let wire = Framed::new(Channel, addresses[1 - party], 2 * party as u32);
            let end = End { wire: Box::new(wire), socket: Socket::new(socket).unwrap(), sends: true };
            generator.link().add(end).await.unwrap().await.expect("framed wires are connected at once");
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
}
