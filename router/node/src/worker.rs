//! One worker: a thread, its sockets, its shard.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use duocast_router_core::{Shard, Transmit, Transport};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use crate::command::{Command, Load, Report};
use crate::metrics::Published;
use crate::pace::Pace;
use crate::residence::Residence;
use crate::rings::Rings;
use crate::shed::Shed;
use crate::sys::Wake;
use crate::tcp::Tcp;
use crate::udp::{self, Inbox, Outbox, Sockets};

/// How often a worker publishes what it counted. Higher makes graphs coarser, lower costs system calls.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

/// Most orders of control carried out in one turn; the others wait for the next, which follows within a millisecond. An offer costs about
/// a third of one, and several when its memory is new. Higher delays media while many calls start, lower delays their answers.
const MAX_COMMANDS_PER_TURN: usize = 1;

/// Of a turn's datagrams by UDP, so many are handled before what came of them is sent: those that came first need not wait for the last, a millisecond and
/// more after a burst. Higher saves system calls, lower latency where turns are long.
const LEAVE_TOGETHER: usize = 64;

/// Longest sleep, so that numbers are published when nothing happens.
const MAX_SLEEP: Duration = PUBLISH_EVERY;

pub(crate) struct Worker {
    shard: Shard,
    sockets: Sockets,
    tcp: Option<Tcp>,
    wake: Arc<Wake>,
    rings: Rings,
    commands: mpsc::Receiver<Command>,
    reports: mpsc::Sender<Report>,
    load: Arc<Load>,
    outbox: Outbox,
    shed: Shed,
    residence: Residence,
    published: Published,
    publish_at: Instant,
}

impl Worker {
    pub(crate) fn new(
        index: usize,
        shard: Shard,
        (sockets, tcp): (Sockets, Option<Tcp>),
        wake: Arc<Wake>,
        rings: Rings,
        (commands, reports, load): (mpsc::Receiver<Command>, mpsc::Sender<Report>, Arc<Load>),
    ) -> Self {
        Self {
            shard,
            sockets,
            tcp,
            wake,
            rings,
            commands,
            reports,
            load,
            outbox: Outbox::new(),
            shed: Shed::default(),
            residence: Residence::default(),
            published: Published::new(index),
            // Not at once: the share of a core over the first instant, start-up included, would say that the node is full.
            publish_at: Instant::now() + PUBLISH_EVERY,
        }
    }

    /// The packet loop: everything that this node does to media happens here, in this order. Ends when told to stop.
    pub(crate) fn run(mut self) {
        let mut inbox = Inbox::new();
        let mut pace = Pace::new(Instant::now());
        while !self.load.stop.load(Ordering::Acquire) {
            let other = self.tcp.as_ref().map(Tcp::as_fd);
            let tcp_is_ready = self.sockets.wait(other, &self.wake, Some(self.time_to_sleep()));
            self.rings.awake();
            inbox.fill(&self.sockets);
            let now = Instant::now();
            self.take_commands(now);
            let crossed = self.rings.take(now, &mut self.shard);
            let mut datagrams = inbox.datagrams();
            let received = datagrams.len();
            self.shed.lighten(now, inbox.is_full(), &mut datagrams);
            for together in datagrams.chunks(LEAVE_TOGETHER) {
                self.shard.handle_packets(now, together);
                // Other workers begin on what is theirs while this one sends.
                self.rings.give(&mut self.shard);
                self.send(now);
                self.residence.add(udp::unix_time(), inbox.receipts(together));
            }
            let over_tcp = if tcp_is_ready { self.take_tcp(now) } else { 0 };
            if self.shard.poll_timeout().is_some_and(|(at, _)| at <= now) {
                self.shard.handle_timeout(now);
            }
            self.rings.give(&mut self.shard);
            self.send(now);
            self.report();
            self.publish(now);
            let pause = pace.after_turn(now, Instant::now(), received + over_tcp + crossed);
            // With full slots more waits already: gathering would only let the kernel's buffer run over.
            if !inbox.is_full() && !self.rings.has_more() {
                thread::sleep(pause);
            }
        }
        self.say_goodbye();
    }

    fn time_to_sleep(&self) -> Duration {
        let now = Instant::now();
        let deadline = self.shard.poll_timeout().map_or(self.publish_at, |(at, _)| at.min(self.publish_at));
        self.rings.sleep(deadline.saturating_duration_since(now).min(MAX_SLEEP))
    }

    fn take_commands(&mut self, now: Instant) {
        for _ in 0..MAX_COMMANDS_PER_TURN {
            match self.commands.try_recv() {
                Ok(command) => self.carry_out(now, command),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => return self.load.stop.store(true, Ordering::Release),
            }
        }
        self.wake.wake();
    }

    fn carry_out(&mut self, now: Instant, command: Command) {
        // Whoever asked may have gone with an earlier link; the order stands all the same.
        match command {
            Command::Plan { plan, answer } => {
                let _ = answer.send(self.shard.handle_plan(now, &plan));
            }
            Command::Offer { offer, answer } => {
                let (call, leg) = (offer.call, offer.leg);
                let _ = answer.send(self.shard.handle_offer(now, call, leg, &offer.sdp, &offer.secret));
            }
            Command::Synced { wanted } => self.shard.handle_synced(now, &wanted),
            Command::LinkUp => self.shard.handle_link_up(),
        }
    }

    /// Gives the shard what came over TCP; how many datagrams that was.
    fn take_tcp(&mut self, now: Instant) -> usize {
        let Some(tcp) = &mut self.tcp else { return 0 };
        tcp.fill(now);
        let datagrams = tcp.datagrams();
        let count = datagrams.len();
        if count > 0 {
            self.shard.handle_packets(now, &datagrams);
        }
        drop(datagrams);
        tcp.judge(now, |path| self.shard.is_proven(path));
        count
    }

    fn send(&mut self, now: Instant) {
        let Self { shard, sockets, outbox, tcp, .. } = self;
        shard.drain_transmits(|bytes, datagrams| {
            for (path, at) in datagrams {
                match (path.transport(), &mut *tcp) {
                    (Transport::Udp, _) => outbox.send(sockets, bytes, path, at.clone()),
                    (Transport::Tcp, Some(tcp)) => {
                        tcp.queue(&Transmit { path: *path, contents: &bytes[at.clone()] });
                    }
                    (Transport::Tcp, None) => {}
                }
            }
            outbox.flush(sockets, bytes);
        });
        if let Some(tcp) = &mut self.tcp {
            tcp.flush(now);
            while let Some(path) = tcp.poll_gone() {
                self.shard.handle_closed(&path);
            }
        }
    }

    /// Tells the link as much as it has room for; the shard keeps the rest.
    fn report(&mut self) {
        while let Ok(room) = self.reports.try_reserve() {
            let Some(event) = self.shard.poll_event() else { break };
            room.send(event);
        }
    }

    fn publish(&mut self, now: Instant) {
        if now >= self.publish_at {
            self.publish_at = now + PUBLISH_EVERY;
            if let Some(tcp) = &mut self.tcp {
                tcp.sweep(now, |path| self.shard.is_proven(path));
            }
            self.published.publish(now, &self.shard, self.outbox.failures(), &self.load);
            self.published.publish_tcp(self.tcp.as_ref());
            self.published.publish_shed(&self.shed);
            self.published.publish_residence(&self.residence);
            self.published.publish_rings(self.rings.counters());
        }
    }

    fn say_goodbye(&mut self) {
        let now = Instant::now();
        self.shard.handle_synced(now, &HashSet::new());
        self.send(now);
    }
}
