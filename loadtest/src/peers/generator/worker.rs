//! The thread.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use duocast_media::prefetch;
use mio::{Events, Poll};

use super::schedule::{Due, Schedule};
use super::seat::{Seat, Tally};
use super::{Command, Report, Spot, Window};
use crate::lane::clock;
use crate::lane::mailbox::Mailboxes;
use crate::lane::port::{Ports, PortsConfig};
use crate::lane::socket::Buffers;
use crate::peer::{Moment, Wheel};
use crate::peers::media::{Media, PACKETS_PER_FRAME, video_config, write_video};
use crate::run::socket_drops;

/// Least time from one turn's beginning to the next one's, and so the longest that a packet waits for others on purpose; what the kernel's timer
/// and a turn's own work add is in [`Report::lag`] with it. Higher has fewer turns and larger batches, which cost less here; lower has packets
/// closer to their own moments. At 100 microseconds a thousand parties (80,000 audio packets and frames a second) send eight of these in a turn.
pub(super) const TURN: Duration = Duration::from_micros(100);

/// A sender that is later than this leaves out what it missed.
const LATE_MAX: Duration = Duration::from_millis(200);

/// Longest sleep: commands and first packets wait no longer.
const SLEEP_MAX: Duration = Duration::from_millis(1);

/// Events taken by one system call; more wait for the next.
const EVENTS_MAX: usize = 1024;

/// The thread has a core of its own and shall not stand still: who does so for as long has its drops told. Longer would have fewer parties share
/// a socket, and fewer packets a system call. The packets of a frame leave as one run: to a server that takes no runs the kernel gives them one by
/// one all the same.
const PORTS: PortsConfig = PortsConfig { stands_still: Duration::from_millis(100), joins: true };

pub(super) struct Worker {
    poll: Poll,
    inbox: mpsc::Receiver<Command>,
    is_over: Arc<AtomicBool>,
    media: Arc<Media>,
    /// `None`: its place is kept, and nobody is there yet.
    seats: Vec<Option<Seat>>,
    schedule: Schedule,
    wheel: Wheel,
    ports: Ports,
    buffers: Buffers,
    mailboxes: Mailboxes,
    /// Sockets that have something.
    ready: Vec<usize>,
    /// Parties that took something.
    touched: Vec<usize>,
    /// What this turn sends, and whose time has come.
    turn: Vec<Due>,
    due: Vec<usize>,
    /// The packet that is being sent.
    payload: Vec<u8>,
    tally: Tally,
    cpu: WindowCpu,
}

impl Worker {
    pub(super) fn new(
        poll: Poll,
        inbox: mpsc::Receiver<Command>,
        is_over: Arc<AtomicBool>,
        media: Arc<Media>,
    ) -> Self {
        Self {
            poll,
            inbox,
            is_over,
            media,
            seats: Vec::new(),
            schedule: Schedule::default(),
            wheel: Wheel::new(Instant::now()),
            ports: Ports::new(PORTS),
            buffers: Buffers::new(),
            mailboxes: Mailboxes::default(),
            ready: Vec::new(),
            touched: Vec::new(),
            turn: Vec::new(),
            due: Vec::new(),
            payload: Vec::new(),
            tally: Tally::default(),
            cpu: WindowCpu::default(),
        }
    }

    pub(super) fn run(mut self) -> Report {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.is_over.load(Ordering::Relaxed) {
            let began = Instant::now();
            self.take_commands();
            self.send_due(began);
            self.pass_time(began);
            self.flush();
            self.look(&mut events);
            self.receive();
            self.flush();
            self.cpu.watch(self.tally.window);
            self.sleep(began);
        }
        let ports: HashSet<u16> = self.ports.numbers().into_iter().collect();
        let mut report = self.tally.report;
        report.drops = socket_drops(&ports).unwrap_or(0);
        report.cpu = self.cpu.used.unwrap_or_default();
        report
    }

    /// Until the next turn: to the microsecond where it matters, which the poll does not know.
    fn sleep(&self, began: Instant) {
        // Who has more to read already waits for nothing.
        if !self.ready.is_empty() {
            return;
        }
        let longest = began + SLEEP_MAX;
        let next =
            [self.schedule.next(), self.wheel.next()].into_iter().flatten().fold(longest, Instant::min);
        let rest = next.max(began + TURN).saturating_duration_since(Instant::now());
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
    }

    fn look(&mut self, events: &mut Events) {
        match self.poll.poll(events, Some(Duration::ZERO)) {
            Ok(()) => self.ready.extend(events.iter().map(|event| event.token().0)),
            // EINTR is the only one that happens.
            Err(error) => tracing::debug!(%error, "looking at sockets was interrupted"),
        }
    }

    fn take_commands(&mut self) {
        while let Ok(command) = self.inbox.try_recv() {
            self.obey(command);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            // Who asked for either may have given up meanwhile.
            Command::Reserve { local, reserved } => {
                let key = self.seats.len();
                let place = self.ports.place(self.poll.registry(), key, local, Some(video_config()));
                if place.is_ok() {
                    self.seats.push(None);
                }
                let _ = reserved.send(place.map(|place| Spot { key, place }));
            }
            Command::Lend { spot, lent } => {
                let _ = lent.send(self.ports.lend(spot.place));
            }
            Command::Add { end, connected } => {
                let key = end.spot.key;
                self.seats[key] = Some(Seat::new(end, connected));
                self.after(key, clock::moment());
            }
            Command::Begin(window) => {
                self.tally.window = Some(window);
                let has_media = |seat: &Option<Seat>| seat.as_ref().is_some_and(|seat| seat.sends);
                let senders: Vec<usize> =
                    (0..self.seats.len()).filter(|key| has_media(&self.seats[*key])).collect();
                for (party, key) in senders.into_iter().enumerate() {
                    self.begin_sending(key, party);
                }
            }
            Command::Count(window) => self.tally.window = Some(window),
            Command::Stop => {
                self.schedule.stop();
                // Nobody comes by any more to read what waits.
                let at = clock::moment();
                for key in 0..self.seats.len() {
                    let Some(seat) = &mut self.seats[key] else { continue };
                    seat.is_sending = false;
                    seat.read_mail(at, key, &mut self.mailboxes, &mut self.tally);
                    self.after(key, at);
                }
            }
        }
    }

    fn begin_sending(&mut self, key: usize, party: usize) {
        if let Some(Some(seat)) = self.seats.get_mut(key) {
            seat.is_sending = true;
            self.schedule.begin(Instant::now(), key, party);
        }
    }

    fn receive(&mut self) {
        for port in std::mem::take(&mut self.ready) {
            let at = clock::moment();
            let Self { ports, buffers, mailboxes, seats, touched, tally, .. } = self;
            let has_more = ports.receive(port, buffers, |key, arrived, source, datagram| {
                if mailboxes.put(key, arrived, source, datagram) {
                    return;
                }
                let Some(Some(seat)) = seats.get_mut(key) else { return };
                seat.receive(at, key, (arrived, source, datagram), mailboxes, tally);
                if touched.last() != Some(&key) {
                    touched.push(key);
                }
            });
            if has_more {
                self.ready.push(port);
            }
            let mut touched = std::mem::take(&mut self.touched);
            for key in touched.drain(..) {
                self.after(key, at);
            }
            self.touched = touched;
        }
    }

    fn pass_time(&mut self, now: Instant) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(now, &mut due);
        for key in due.drain(..) {
            let at = clock::moment();
            let Some(Some(seat)) = self.seats.get_mut(key) else { continue };
            seat.wire.handle_timeout(at.now);
            self.after(key, at);
        }
        self.due = due;
    }

    fn send_due(&mut self, now: Instant) {
        let mut turn = std::mem::take(&mut self.turn);
        self.schedule.take_due(now, &mut turn);
        for (index, due) in turn.iter().enumerate() {
            self.prefetch(&turn[index + 1..]);
            let at = clock::moment();
            if self.send(*due, at) {
                self.after(due.key, at);
            }
        }
        turn.clear();
        self.turn = turn;
    }

    /// False if it was too late for that.
    fn send(&mut self, due: Due, at: Moment) -> bool {
        let Self { seats, tally, mailboxes, media, payload, .. } = self;
        let late = at.now.saturating_duration_since(due.at);
        if tally.has(at.unix_micros) {
            tally.report.lag.add(late);
        }
        if late > LATE_MAX {
            tally.report.skipped += if due.is_audio { 1 } else { PACKETS_PER_FRAME as u64 };
            return false;
        }
        let Some(Some(seat)) = seats.get_mut(due.key) else { return false };
        seat.read_mail(at, due.key, mailboxes, tally);
        if due.is_audio {
            let rtp_time = media.write_audio(due.number, seat.next_mark(at, tally), payload);
            seat.wire.send_audio(at.now, rtp_time, payload);
        } else {
            let frame = media.frame(due.number);
            for packet in &frame.packets {
                write_video(&packet.payload, seat.next_mark(at, tally), payload);
                seat.wire.send_video(at.now, frame.rtp_time, payload, packet.marker);
            }
        }
        true
    }

    /// Has the memory of the parties fetched that are next, each one's a step further.
    fn prefetch(&self, next: &[Due]) {
        let seat = |ahead: usize| self.seats.get(next.get(ahead)?.key)?.as_ref();
        if let Some(seat) = seat(0) {
            seat.wire.prefetch_further();
        }
        if let Some(seat) = seat(1) {
            seat.wire.prefetch();
            self.mailboxes.prefetch(next[1].key);
        }
        if let Some(seat) = seat(2) {
            seat.prefetch();
        }
        if let Some(seat) = next.get(3).and_then(|due| self.seats.get(due.key)) {
            prefetch(seat);
        }
    }

    /// Has the party's packets leave at the turn's end, and sets its next deadline.
    fn after(&mut self, key: usize, at: Moment) {
        let Some(Some(seat)) = self.seats.get_mut(key) else { return };
        while let Some((destination, datagram)) = seat.wire.poll_transmit() {
            self.tally.report.unsent += self.ports.send(seat.place, destination, datagram);
        }
        let has_joined = seat.settle(at, &mut self.tally) && seat.sends && self.tally.window.is_some();
        self.mailboxes.set_open(key, seat.is_sending && seat.wire.reads_when_it_sends());
        if let Some(at) = seat.wire.poll_timeout() {
            self.wheel.schedule(key, at);
        }
        if has_joined {
            self.begin_sending(key, key);
        }
    }

    fn flush(&mut self) {
        self.tally.report.unsent += self.ports.flush();
    }
}

/// CPU time of this thread in the first window.
#[derive(Default)]
struct WindowCpu {
    at_start: Option<Duration>,
    used: Option<Duration>,
}

impl WindowCpu {
    fn watch(&mut self, window: Option<Window>) {
        let Some(window) = window.filter(|_| self.used.is_none()) else { return };
        let now = clock::moment().unix_micros;
        match self.at_start {
            None if now >= window.from => self.at_start = Some(clock::thread_cpu()),
            Some(start) if now >= window.until => {
                self.used = Some(clock::thread_cpu().saturating_sub(start));
            }
            _ => {}
        }
    }
}
