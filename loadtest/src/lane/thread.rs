//! The thread of a lane.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use duocast_media::prefetch;
use mio::{Events, Poll, Token};
use tokio::sync::{mpsc, watch};

use super::mailbox::Mailboxes;
use super::network::Network;
use super::port::{Place, Ports, PortsConfig};
use super::socket::{Buffers, Socket, local_towards};
use super::{Command, Gauges, LaneReport, LegError, LegState, NewLeg, clock};
use crate::over_time::OverTime;
use crate::peer::{Leg, LegEvent, Moment, Timings, Totals, Wheel};

/// The token of the lane's waker; sockets have their numbers.
pub(super) const WAKE: Token = Token(usize::MAX);

/// Events taken by one system call; more wait for the next.
const EVENTS_MAX: usize = 1024;

/// Longest sleep.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// How long a lane with so many legs waits for its sockets at least, so that it is woken once for many packets: when one came the kernel tells.
/// Longer sends later than planned, shorter spends the lane's time on being woken.
fn gathers(legs: usize) -> Duration {
    match legs {
        // As many as are woken a few hundred times a second at most.
        0..=16 => Duration::ZERO,
        17..=100 => Duration::from_millis(1),
        _ => Duration::from_millis(2),
    }
}

/// Legs that are served before what they send leaves. Higher has the first packet wait for the last while they are made, lower costs
/// system calls.
const SERVED_AT_ONCE: usize = 64;

/// A lane may have to wait for a core that other programs use as well. Its legs' packets leave one by one, as those of clients that are paced.
const PORTS: PortsConfig = PortsConfig { stands_still: Duration::from_millis(500), joins: false };

/// How often the gauges are brought up to date.
const GAUGES_EVERY: Duration = Duration::from_millis(200);

pub(super) struct Worker {
    poll: Poll,
    inbox: mpsc::Receiver<Command>,
    gauges: Arc<Gauges>,
    seats: Vec<Option<Seat>>,
    free: Vec<usize>,
    wheel: Wheel,
    ports: Ports,
    buffers: Buffers,
    mailboxes: Mailboxes,
    /// Sockets that have something.
    ready: Vec<usize>,
    /// Legs that took something.
    touched: Vec<usize>,
    due: Vec<usize>,
    gauges_at: Instant,
    /// When it was last looked which sockets have something.
    polled_at: Instant,
    /// Packets of legs that are gone.
    past: Totals,
    steady_cpu: SteadyCpu,
    report: LaneReport,
}

struct Seat {
    leg: Leg,
    place: Place,
    network: Option<Box<Network>>,
    state: watch::Sender<LegState>,
}

impl Seat {
    /// Takes what came just now, after what waited for it.
    fn receive(
        &mut self,
        at: Moment,
        key: usize,
        (arrived, source, datagram): (u64, SocketAddr, &[u8]),
        mailboxes: &mut Mailboxes,
        timings: &mut Timings,
    ) {
        self.read_mail(at, key, mailboxes, timings);
        match &mut self.network {
            None => self.leg.handle_datagram(at, arrived, source, datagram, timings),
            Some(network) => {
                network.arrive(at.now, arrived, source, datagram);
                network.deliver(at, &mut self.leg, timings);
            }
        }
    }

    /// Takes what waited for it.
    fn read_mail(&mut self, at: Moment, key: usize, mailboxes: &mut Mailboxes, timings: &mut Timings) {
        while let Some(letter) = mailboxes.take(key) {
            self.leg.handle_datagram(at, letter.arrived, letter.source, letter.datagram(), timings);
        }
    }
}

impl Worker {
    pub(super) fn new(
        poll: Poll,
        inbox: mpsc::Receiver<Command>,
        gauges: Arc<Gauges>,
        over_time: OverTime,
    ) -> Self {
        let now = Instant::now();
        Self {
            poll,
            inbox,
            gauges,
            seats: Vec::new(),
            free: Vec::new(),
            wheel: Wheel::new(now),
            ports: Ports::new(PORTS),
            buffers: Buffers::new(),
            mailboxes: Mailboxes::default(),
            ready: Vec::new(),
            touched: Vec::new(),
            due: Vec::new(),
            gauges_at: now,
            polled_at: now,
            past: Totals::default(),
            steady_cpu: SteadyCpu::default(),
            report: LaneReport {
                timings: Timings { over_time, ..Timings::default() },
                ..LaneReport::default()
            },
        }
    }

    /// Serves its legs until the lane is told to end.
    pub(super) fn run(mut self) -> LaneReport {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.gauges.is_over.load(Ordering::Relaxed) {
            self.sleep(&mut events);
            self.ready.extend(events.iter().map(|event| event.token().0).filter(|key| *key != WAKE.0));
            self.take_commands();
            self.receive_ready();
            self.serve_due();
            self.flush();
            self.publish();
        }
        self.report.steady_cpu = self.steady_cpu.used();
        self.report
    }

    fn sleep(&mut self, events: &mut Events) {
        // Who has more to read already waits for nothing.
        if self.ready.is_empty() {
            let gathers = gathers(self.seats.len() - self.free.len());
            std::thread::sleep(gathers.saturating_sub(self.polled_at.elapsed()));
        }
        let until = self.wheel.next().map_or(SLEEP_MAX, |at| at.saturating_duration_since(Instant::now()));
        let until = if self.ready.is_empty() { until.min(SLEEP_MAX) } else { Duration::ZERO };
        if let Err(error) = self.poll.poll(events, Some(until)) {
            // EINTR is the only one that happens; `events` is empty then.
            tracing::debug!(%error, "waiting for sockets was interrupted");
        }
        self.polled_at = Instant::now();
    }

    fn receive_ready(&mut self) {
        for port in std::mem::take(&mut self.ready) {
            let at = clock::moment();
            let Self { ports, buffers, mailboxes, seats, touched, report, .. } = self;
            let has_more = ports.receive(port, buffers, |key, arrived, source, datagram| {
                if mailboxes.put(key, arrived, source, datagram) {
                    return;
                }
                let Some(seat) = seats.get_mut(key).and_then(Option::as_mut) else { return };
                seat.receive(at, key, (arrived, source, datagram), mailboxes, &mut report.timings);
                if touched.last() != Some(&key) {
                    touched.push(key);
                }
            });
            if has_more {
                self.ready.push(port);
            }
            for key in std::mem::take(&mut self.touched) {
                self.after(key);
            }
        }
    }

    /// Has a leg take what waited for it.
    fn read_mail(&mut self, at: Moment, key: usize) {
        if let Some(seat) = self.seats.get_mut(key).and_then(Option::as_mut) {
            seat.read_mail(at, key, &mut self.mailboxes, &mut self.report.timings);
        }
    }

    fn flush(&mut self) {
        self.report.unsent += self.ports.flush();
    }

    fn serve_due(&mut self) {
        let now = Instant::now();
        let expected = self.wheel.next();
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(now, &mut due);
        if let Some(lag) = expected.filter(|_| !due.is_empty()).map(|at| now.saturating_duration_since(at))
            && self.report.timings.steady.is_some_and(|(from, until)| (from..until).contains(&now))
        {
            self.report.lag.add(lag);
        }
        for (index, &key) in due.iter().enumerate() {
            self.prefetch(&due[index + 1..]);
            if index % SERVED_AT_ONCE == SERVED_AT_ONCE - 1 {
                self.flush();
            }
            if let Some(seat) = self.seats.get_mut(key).and_then(Option::as_mut) {
                let at = clock::moment();
                seat.read_mail(at, key, &mut self.mailboxes, &mut self.report.timings);
                if let Some(network) = &mut seat.network {
                    network.deliver(at, &mut seat.leg, &mut self.report.timings);
                    if network.takes_new_address(at.now) {
                        match self.ports.change(self.poll.registry(), key, seat.place) {
                            Ok(place) => seat.place = place,
                            Err(error) => tracing::warn!(%error, "a leg keeps its address"),
                        }
                    }
                }
                seat.leg.handle_timeout(at, &mut self.report.timings);
                self.after(key);
            }
        }
        due.clear();
        self.due = due;
    }

    /// Has the memory of the legs fetched that are next, each one's a step further.
    fn prefetch(&self, next: &[usize]) {
        let seat = |ahead: usize| self.seats.get(*next.get(ahead)?);
        if let Some(Some(seat)) = seat(0) {
            seat.leg.prefetch_further();
        }
        if let Some(Some(seat)) = seat(1) {
            seat.leg.prefetch();
            self.mailboxes.prefetch(next[1]);
        }
        if let Some(seat) = seat(2) {
            prefetch(seat);
        }
    }

    /// Sends what the leg has to send, tells what happened and sets its next deadline.
    fn after(&mut self, key: usize) {
        let Some(seat) = self.seats.get_mut(key).and_then(Option::as_mut) else { return };
        let mut network_due = None;
        match &mut seat.network {
            None => {
                while let Some((destination, datagram)) = seat.leg.poll_transmit() {
                    self.report.unsent += self.ports.send(seat.place, destination, datagram);
                }
            }
            Some(network) => {
                let now = Instant::now();
                while let Some((destination, datagram)) = seat.leg.poll_transmit() {
                    network.depart(now, destination, datagram.to_vec());
                }
                while let Some((destination, datagram)) = network.poll_transmit(now) {
                    self.report.unsent += self.ports.send(seat.place, destination, &datagram);
                }
                network_due = network.poll_timeout();
            }
        }
        while let Some(event) = seat.leg.poll_event() {
            seat.state.send_modify(|state| note(state, event));
        }
        self.mailboxes.set_open(key, seat.network.is_none() && seat.leg.reads_when_due());
        let due = seat.leg.poll_timeout();
        self.wheel.schedule(key, network_due.map_or(due, |at| at.min(due)));
    }

    /// At a leg's end: what its conditions still hold leaves now.
    fn send_what_is_under_way(&mut self, key: usize) {
        let Some(Seat { network: Some(network), place, .. }) =
            self.seats.get_mut(key).and_then(Option::as_mut)
        else {
            return;
        };
        while let Some((destination, datagram)) = network.flush_transmit() {
            self.report.unsent += self.ports.send(*place, destination, &datagram);
        }
    }

    fn take_commands(&mut self) {
        while let Ok(command) = self.inbox.try_recv() {
            self.obey(command);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Add { leg, state, key } => {
                // Who asked may have given up meanwhile; the leg then ends when its answer is dropped.
                if let Err(Ok((unwanted, _))) = key.send(self.add(leg, state)) {
                    self.remove(unwanted);
                }
            }
            Command::Open { key } => {
                let at = clock::moment();
                if let Some(seat) = self.seats.get_mut(key).and_then(Option::as_mut)
                    && let Err(error) = seat.leg.handle_open(at)
                {
                    tracing::warn!(%error, "a leg cannot decode");
                }
                self.after(key);
            }
            Command::Stop { key, stopped } => {
                self.read_mail(clock::moment(), key);
                if let Some(seat) = self.seats.get_mut(key).and_then(Option::as_mut) {
                    seat.leg.handle_stop();
                }
                self.after(key);
                self.flush();
                // Nobody waits for it when the run was broken off.
                let _ = stopped.send(());
            }
            Command::Close { key, report } => {
                self.read_mail(clock::moment(), key);
                if let Some(seat) = self.seats.get_mut(key).and_then(Option::as_mut) {
                    seat.leg.handle_close(clock::moment());
                }
                self.after(key);
                self.send_what_is_under_way(key);
                if let Some(seat) = self.remove(key) {
                    let network = seat.network.map(|network| network.report());
                    // Nobody waits for it when the run was broken off.
                    let _ = report.send((seat.leg.into_report(), network));
                }
            }
            Command::Steady { from, until } => {
                self.report.timings.steady = Some((from, until));
                self.steady_cpu.phase = Some((from, until));
            }
            Command::LocalPorts { ports } => {
                // Nobody waits for it when the run was broken off.
                let _ = ports.send(self.ports.numbers());
            }
        }
    }

    fn add(&mut self, new: NewLeg, state: watch::Sender<LegState>) -> Result<(usize, u16), LegError> {
        let key = self.free.last().copied().unwrap_or(self.seats.len());
        let place = self.place(key, &new)?;
        let mut leg = Leg::new(*new.session, new.config);
        if let Err(error) = leg.handle_answer(clock::moment(), &new.answer, place.local) {
            self.ports.leave(self.poll.registry(), place);
            return Err(error.into());
        }
        let steady_from = self.report.timings.steady.map(|(from, _)| from);
        let network = new.network.map(|config| Box::new(Network::new(&config, Instant::now(), steady_from)));
        let seat = Some(Seat { leg, place, network, state });
        match self.free.pop() {
            Some(_) => self.seats[key] = seat,
            None => self.seats.push(seat),
        }
        self.after(key);
        Ok((key, place.local.port()))
    }

    /// Where a leg sends from. Who has conditions may change its address, and has a socket of its own for that.
    fn place(&mut self, key: usize, new: &NewLeg) -> Result<Place, LegError> {
        let local = local_towards(&new.answer, new.server_is_loopback)?;
        let registry = self.poll.registry();
        match new.network {
            None => Ok(self.ports.place(registry, key, local, new.config.video)?),
            Some(_) => Ok(self.ports.own(registry, key, Socket::new(UdpSocket::bind(local)?)?)?),
        }
    }

    fn remove(&mut self, key: usize) -> Option<Seat> {
        self.flush();
        let seat = self.seats.get_mut(key)?.take()?;
        self.ports.leave(self.poll.registry(), seat.place);
        self.mailboxes.set_open(key, false);
        while self.mailboxes.take(key).is_some() {}
        self.wheel.cancel(key);
        self.free.push(key);
        let totals = seat.leg.totals();
        self.past.sent += totals.sent;
        self.past.received += totals.received;
        Some(seat)
    }

    fn publish(&mut self) {
        let now = Instant::now();
        if now < self.gauges_at {
            return;
        }
        self.gauges_at = now + GAUGES_EVERY;
        let mut totals = self.past;
        for seat in self.seats.iter().flatten() {
            totals.sent += seat.leg.totals().sent;
            totals.received += seat.leg.totals().received;
        }
        self.gauges.sent.store(totals.sent, Ordering::Relaxed);
        self.gauges.received.store(totals.received, Ordering::Relaxed);
        self.steady_cpu.sample(now);
    }
}

fn note(state: &mut LegState, event: LegEvent) {
    match event {
        LegEvent::Connected(at) => {
            state.connected_at.get_or_insert(at);
        }
        LegEvent::FirstAudio(at) => {
            state.first_audio_at.get_or_insert(at);
        }
        LegEvent::FirstVideo(at) => {
            state.first_video_at.get_or_insert(at);
        }
        LegEvent::Closed => state.is_closed = true,
    }
}

/// CPU time between the first and the last sample of a phase.
#[derive(Default)]
struct SteadyCpu {
    phase: Option<(Instant, Instant)>,
    first: Option<Duration>,
    last: Duration,
}

impl SteadyCpu {
    fn sample(&mut self, now: Instant) {
        if self.phase.is_some_and(|(from, until)| (from..=until).contains(&now)) {
            self.last = clock::thread_cpu();
            self.first.get_or_insert(self.last);
        }
    }

    fn used(&self) -> Duration {
        self.last.saturating_sub(self.first.unwrap_or(self.last))
    }
}
