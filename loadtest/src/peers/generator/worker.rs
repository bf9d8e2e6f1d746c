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
use crate::lane::port::{Ports, PortsConfig};
use crate::lane::socket::{BATCH, Buffers, ROUNDS_MAX, Run};
use crate::peer::{Moment, Wheel};
use crate::peers::media::{Media, PACKETS_PER_FRAME, video_config, write_video};
use crate::peers::wire::Room;
use crate::run::socket_drops;

/// Least time from one turn's beginning to the next one's, and so the longest that a packet waits for others on purpose; what the kernel's timer
/// and a turn's own work add is in [`Report::lag`] with it. Higher has fewer turns and larger batches, which cost less here; lower has packets
/// closer to their own moments. At 100 microseconds a thousand parties (80,000 audio packets and frames a second) send eight of these in a turn.
pub(super) const TURN: Duration = Duration::from_micros(100);

/// What is due leaves after so many parties, and with the turn's end. Higher lets the first wait for the last where a turn comes late, lower has more
/// system calls.
const FLUSHED_AFTER: usize = 32;

/// A party begins so much after the one before it: its memory grows with its first packets, which takes longer than to send them. Higher fills more
/// of the warm-up with beginning, lower begins with parties that are late.
const BEGINS_AFTER: Duration = Duration::from_millis(1);

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
    sent_at: Instant,
    wheel: Wheel,
    ports: Ports,
    /// Sockets that have something.
    ready: Vec<usize>,
    /// What this turn sends, and whose time has come.
    turn: Vec<Due>,
    due: Vec<usize>,
    /// The packet that is being sent.
    payload: Vec<u8>,
    room: Room,
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
            sent_at: Instant::now(),
            wheel: Wheel::new(Instant::now()),
            ports: Ports::new(PORTS),
            ready: Vec::new(),
            turn: Vec::new(),
            due: Vec::new(),
            payload: Vec::new(),
            room: Room::default(),
            tally: Tally::default(),
            cpu: WindowCpu::default(),
        }
    }

    pub(super) fn run(mut self) -> Report {
        let (mut events, mut buffers) = (Events::with_capacity(EVENTS_MAX), Buffers::new());
        while !self.is_over.load(Ordering::Relaxed) {
            let began = Instant::now();
            self.take_commands();
            self.keep_time(began);
            self.pass_time(began);
            self.flush();
            self.look(&mut events);
            self.receive(&mut buffers);
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
                // What it has to send already is in a room of its own.
                self.settle(key, clock::moment());
            }
            Command::Begin(window) => {
                self.tally.window = Some(window);
                let has_media = |seat: &Option<Seat>| seat.as_ref().is_some_and(|seat| seat.sends);
                let senders: Vec<usize> =
                    (0..self.seats.len()).filter(|key| has_media(&self.seats[*key])).collect();
                let mut at = Instant::now();
                for (party, key) in senders.into_iter().enumerate() {
                    self.schedule.begin(at, key, party);
                    at += BEGINS_AFTER;
                }
            }
            Command::Count(window) => self.tally.window = Some(window),
            Command::Stop => self.schedule.stop(),
        }
    }

    fn receive(&mut self, buffers: &mut Buffers) {
        for port in std::mem::take(&mut self.ready) {
            let mut has_more = true;
            for _ in 0..ROUNDS_MAX {
                has_more = self.ports.fill(port, buffers);
                self.take_runs(port, buffers);
                // What came together takes a while: what is due does not wait for the end of it.
                self.keep_time(Instant::now());
                if !has_more {
                    break;
                }
            }
            if has_more {
                self.ready.push(port);
            }
        }
    }

    fn take_runs(&mut self, port: usize, buffers: &Buffers) {
        let runs: [Option<Run<'_>>; BATCH] = buffers.runs();
        let key = |at: usize| self.ports.leg_at(port, runs.get(at)?.as_ref()?.local());
        let keys: [Option<usize>; BATCH] = std::array::from_fn(key);
        let at = clock::moment();
        for (index, run) in runs.iter().enumerate() {
            // Of a party that is gone, or of nobody.
            let (Some(run), Some(key)) = (run, keys[index]) else { continue };
            self.prefetch(|ahead| *keys.get(index + ahead)?);
            self.visit(key, at, |seat, tally| {
                let arrived = run.arrived();
                run.datagrams().for_each(|datagram| seat.take(at, arrived, run.source(), datagram, tally));
            });
        }
    }

    fn pass_time(&mut self, now: Instant) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(now, &mut due);
        for key in due.drain(..) {
            let at = clock::moment();
            self.visit(key, at, |seat, _| seat.wire.handle_timeout(at.now));
        }
        self.due = due;
    }

    /// Sends what is due, if it is time.
    fn keep_time(&mut self, now: Instant) {
        if now >= self.sent_at + TURN {
            self.sent_at = now;
            self.send_due(now);
            self.flush();
        }
    }

    fn send_due(&mut self, now: Instant) {
        let (media, mut payload) = (Arc::clone(&self.media), std::mem::take(&mut self.payload));
        let mut turn = std::mem::take(&mut self.turn);
        self.schedule.take_due(now, &mut turn);
        for (index, due) in turn.iter().enumerate() {
            self.prefetch(|ahead| turn.get(index + ahead).map(|due| due.key));
            let at = clock::moment();
            if self.is_in_time(due, at) {
                self.visit(due.key, at, |seat, tally| send(*due, at, &media, seat, tally, &mut payload));
            }
            if index % FLUSHED_AFTER == FLUSHED_AFTER - 1 {
                self.flush();
            }
        }
        turn.clear();
        (self.turn, self.payload) = (turn, payload);
    }

    fn is_in_time(&mut self, due: &Due, at: Moment) -> bool {
        let late = at.now.saturating_duration_since(due.at);
        if self.tally.has(at.unix_micros) {
            self.tally.report.lag.add(late);
        }
        if late > LATE_MAX {
            self.tally.report.skipped += if due.is_audio { 1 } else { PACKETS_PER_FRAME as u64 };
        }
        late <= LATE_MAX
    }

    /// Has the memory of the parties fetched that are visited next, each one's a step further. `key`: of the so-manieth from here.
    fn prefetch(&self, key: impl Fn(usize) -> Option<usize>) {
        let seat = |ahead: usize| self.seats.get(key(ahead)?);
        if let Some(Some(seat)) = seat(1) {
            seat.wire.prefetch_further();
        }
        if let Some(Some(seat)) = seat(2) {
            seat.wire.prefetch();
        }
        if let Some(Some(seat)) = seat(3) {
            seat.prefetch();
        }
        if let Some(seat) = seat(4) {
            prefetch(seat);
        }
    }

    /// Has something happen to a party.
    fn visit(&mut self, key: usize, at: Moment, happens: impl FnOnce(&mut Seat, &mut Tally)) {
        let Some(Some(seat)) = self.seats.get_mut(key) else { return };
        seat.wire.swap_room(&mut self.room);
        happens(seat, &mut self.tally);
        self.settle(key, at);
        if let Some(Some(seat)) = self.seats.get_mut(key) {
            seat.wire.swap_room(&mut self.room);
        }
    }

    /// Has what a party sends leave at the turn's end, and sets its next deadline.
    fn settle(&mut self, key: usize, at: Moment) {
        let Self { seats, tally, ports, wheel, schedule, .. } = self;
        let Some(Some(seat)) = seats.get_mut(key) else { return };
        while let Some((destination, datagram)) = seat.wire.poll_transmit() {
            tally.report.unsent += ports.send(seat.place, destination, datagram);
        }
        let has_joined = seat.settle(at, tally) && seat.sends && tally.window.is_some();
        if let Some(at) = seat.wire.poll_timeout() {
            wheel.schedule(key, at);
        }
        if has_joined {
            schedule.begin(Instant::now(), key, key);
        }
    }

    fn flush(&mut self) {
        self.tally.report.unsent += self.ports.flush();
    }
}

fn send(due: Due, at: Moment, media: &Media, seat: &mut Seat, tally: &mut Tally, payload: &mut Vec<u8>) {
    if due.is_audio {
        let rtp_time = media.write_audio(due.number, seat.next_mark(at, tally), payload);
        seat.wire.send_audio(at.now, rtp_time, payload);
        return;
    }
    let frame = media.frame(due.number);
    for packet in &frame.packets {
        write_video(&packet.payload, seat.next_mark(at, tally), payload);
        seat.wire.send_video(at.now, frame.rtp_time, payload, packet.marker);
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
