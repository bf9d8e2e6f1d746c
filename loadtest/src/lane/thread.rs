//! The thread of a lane.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Registry, Token};
use tokio::sync::{mpsc, watch};

use super::network::Network;
use super::socket::{Buffers, Socket};
use super::{Command, Gauges, LaneReport, LegError, LegState, NewLeg, clock};
use crate::over_time::OverTime;
use crate::peer::{Leg, LegEvent, Moment, Timings, Totals, Wheel};

/// The token of the lane's waker; legs have their keys.
pub(super) const WAKE: Token = Token(usize::MAX);

/// Events taken by one system call; more wait for the next.
const EVENTS_MAX: usize = 1024;

/// Longest sleep.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// A lane with more legs than [`FEW_LEGS`] waits for its sockets this long at least, so that it is woken once for many packets: when one came
/// the kernel tells. Higher sends later than planned, lower spends the lane's time on being woken.
const GATHER: Duration = Duration::from_millis(1);

/// See [`GATHER`]: as many as are woken a few hundred times a second at most.
const FEW_LEGS: usize = 16;

/// How often the gauges are brought up to date.
const GAUGES_EVERY: Duration = Duration::from_millis(200);

pub(super) struct Worker {
    poll: Poll,
    inbox: mpsc::Receiver<Command>,
    gauges: Arc<Gauges>,
    seats: Vec<Option<Seat>>,
    free: Vec<usize>,
    wheel: Wheel,
    buffers: Buffers,
    ready: Vec<usize>,
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
    socket: Socket,
    network: Option<Box<Network>>,
    state: watch::Sender<LegState>,
    /// The lane waits for the socket. Else it reads it when the leg is due, and the kernel need not tell.
    is_waited_for: bool,
}

impl Seat {
    /// Takes what has come. True if there is more.
    fn receive(&mut self, at: Moment, buffers: &mut Buffers, timings: &mut Timings) -> bool {
        let Self { leg, socket, network, .. } = self;
        let has_more = socket.receive(buffers, |arrived, source, datagram| match network {
            None => leg.handle_datagram(at, arrived, source, datagram, timings),
            Some(network) => network.arrive(at.now, arrived, source, datagram),
        });
        if let Some(network) = network {
            network.deliver(at, leg, timings);
        }
        has_more
    }

    /// Waits for the socket, or not, as the leg is now. What is there already is told at once.
    fn wait_as_needed(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let waits = self.network.is_some() || !self.leg.reads_when_due();
        match (self.is_waited_for, waits) {
            (false, true) => registry.register(self.socket.source(), token, Interest::READABLE)?,
            (true, false) => registry.deregister(self.socket.source())?,
            _ => {}
        }
        self.is_waited_for = waits;
        Ok(())
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
            buffers: Buffers::new(),
            ready: Vec::new(),
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
            self.publish();
        }
        self.report.steady_cpu = self.steady_cpu.used();
        self.report
    }

    fn sleep(&mut self, events: &mut Events) {
        if self.seats.len() - self.free.len() > FEW_LEGS {
            std::thread::sleep(GATHER.saturating_sub(self.polled_at.elapsed()));
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
        for key in std::mem::take(&mut self.ready) {
            let Some(seat) = self.seats.get_mut(key).and_then(Option::as_mut) else { continue };
            if seat.receive(clock::moment(), &mut self.buffers, &mut self.report.timings) {
                self.ready.push(key);
            }
            self.after(key);
        }
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
        for key in due.drain(..) {
            if let Some(seat) = self.seats.get_mut(key).and_then(Option::as_mut) {
                let at = clock::moment();
                if !seat.is_waited_for
                    && seat.leg.is_time_to_read()
                    && seat.receive(at, &mut self.buffers, &mut self.report.timings)
                {
                    self.ready.push(key);
                }
                if let Some(network) = &mut seat.network {
                    network.deliver(at, &mut seat.leg, &mut self.report.timings);
                    if network.takes_new_address(at.now)
                        && let Err(error) = seat.socket.change(self.poll.registry(), Token(key))
                    {
                        tracing::warn!(%error, "a leg keeps its address");
                    }
                }
                seat.leg.handle_timeout(at, &mut self.report.timings);
                self.after(key);
            }
        }
        self.due = due;
    }

    /// Sends what the leg has to send, tells what happened and sets its next deadline.
    fn after(&mut self, key: usize) {
        let Some(seat) = self.seats.get_mut(key).and_then(Option::as_mut) else { return };
        let mut network_due = None;
        match &mut seat.network {
            None => {
                while let Some((destination, datagram)) = seat.leg.poll_transmit() {
                    let is_sent = seat.socket.send(destination, datagram);
                    self.report.unsent += u64::from(!is_sent);
                }
            }
            Some(network) => {
                let now = Instant::now();
                while let Some((destination, datagram)) = seat.leg.poll_transmit() {
                    network.depart(now, destination, datagram.to_vec());
                }
                while let Some((destination, datagram)) = network.poll_transmit(now) {
                    self.report.unsent += u64::from(!seat.socket.send(destination, &datagram));
                }
                network_due = network.poll_timeout();
            }
        }
        while let Some(event) = seat.leg.poll_event() {
            seat.state.send_modify(|state| note(state, event));
        }
        if let Err(error) = seat.wait_as_needed(self.poll.registry(), Token(key)) {
            tracing::warn!(%error, "a socket is waited for as it was");
        }
        let due = seat.leg.poll_timeout();
        self.wheel.schedule(key, network_due.map_or(due, |at| at.min(due)));
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
                if let Some(seat) = self.seats.get_mut(key).and_then(Option::as_mut) {
                    seat.leg.handle_stop();
                }
                self.after(key);
                // Nobody waits for it when the run was broken off.
                let _ = stopped.send(());
            }
            Command::Close { key, report } => {
                if let Some(seat) = self.seats.get_mut(key).and_then(Option::as_mut) {
                    seat.leg.handle_close(clock::moment());
                }
                self.after(key);
                if let Some(mut seat) = self.remove(key) {
                    let network = seat.network.as_mut().map(|network| {
                        while let Some((destination, datagram)) = network.flush_transmit() {
                            self.report.unsent += u64::from(!seat.socket.send(destination, &datagram));
                        }
                        network.report()
                    });
                    // Nobody waits for it when the run was broken off.
                    let _ = report.send((seat.leg.into_report(), network));
                }
            }
            Command::Steady { from, until } => {
                self.report.timings.steady = Some((from, until));
                self.steady_cpu.phase = Some((from, until));
            }
            Command::LocalPorts { ports } => {
                let local = self.seats.iter().flatten().map(|seat| seat.socket.local().port()).collect();
                // Nobody waits for it when the run was broken off.
                let _ = ports.send(local);
            }
        }
    }

    fn add(&mut self, new: NewLeg, state: watch::Sender<LegState>) -> Result<(usize, u16), LegError> {
        let mut socket = Socket::towards(&new.answer, new.server_is_loopback)?;
        let mut leg = Leg::new(*new.session, new.config);
        leg.handle_answer(clock::moment(), &new.answer, socket.local())?;
        let port = socket.local().port();
        let key = self.free.pop().unwrap_or(self.seats.len());
        self.poll.registry().register(socket.source(), Token(key), Interest::READABLE)?;
        let steady_from = self.report.timings.steady.map(|(from, _)| from);
        let network = new.network.map(|config| Box::new(Network::new(&config, Instant::now(), steady_from)));
        let seat = Some(Seat { leg, socket, network, state, is_waited_for: true });
        if key == self.seats.len() {
            self.seats.push(seat);
        } else {
            self.seats[key] = seat;
        }
        self.after(key);
        Ok((key, port))
    }

    fn remove(&mut self, key: usize) -> Option<Seat> {
        let mut seat = self.seats.get_mut(key)?.take()?;
        if seat.is_waited_for
            && let Err(error) = self.poll.registry().deregister(seat.socket.source())
        {
            tracing::debug!(%error, "a socket was not registered");
        }
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
