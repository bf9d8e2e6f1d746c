//! A lane: one thread that carries the media of many legs, with one `epoll` and one timer wheel for all of them.

pub(crate) mod clock;
mod mailbox;
mod network;
pub(crate) mod port;
pub(crate) mod socket;
mod thread;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::Waker;
use tokio::sync::{mpsc, oneshot, watch};

use crate::histogram::Histogram;
use crate::over_time::OverTime;
use crate::peer::{LegConfig, LegReport, Session, Timings};
pub(crate) use network::{NetworkConfig, NetworkReport};

/// Commands that wait for a lane. Each leg sends four in its life, and a lane takes them at least every half second: who
/// finds it full waits.
const COMMANDS_MAX: usize = 1024;

/// What is known of a leg at any time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LegState {
    pub(crate) connected_at: Option<Instant>,
    pub(crate) first_audio_at: Option<Instant>,
    pub(crate) first_video_at: Option<Instant>,
    pub(crate) is_closed: bool,
}

/// Why a leg cannot be put on a lane, or got no further there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LegError {
    #[error("the router's answer cannot be used: {0}")]
    Answer(#[from] duocast_client::media::PeerError),
    #[error(transparent)]
    Route(#[from] duocast_client::media::RouteError),
    #[error("no socket for a leg: {0}; raise the limit of open files (ulimit -n)")]
    Socket(#[from] io::Error),
    #[error("the lane has stopped")]
    LaneGone,
}

/// A leg that has its router's answer.
pub(crate) struct NewLeg {
    pub(crate) session: Box<Session>,
    pub(crate) answer: String,
    pub(crate) config: LegConfig,
    /// The API's server is on this machine: its router is reached the same way.
    pub(crate) server_is_loopback: bool,
    /// `None`: as the machine's own network is.
    pub(crate) network: Option<NetworkConfig>,
}

enum Command {
    Add { leg: NewLeg, state: watch::Sender<LegState>, key: oneshot::Sender<Result<(usize, u16), LegError>> },
    Open { key: usize },
    Stop { key: usize, stopped: oneshot::Sender<()> },
    Close { key: usize, report: oneshot::Sender<(LegReport, Option<NetworkReport>)> },
    Steady { from: Instant, until: Instant },
    LocalPorts { ports: oneshot::Sender<Vec<u16>> },
}

/// Numbers of a running lane, for live progress.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    sent: AtomicU64,
    received: AtomicU64,
    is_over: AtomicBool,
}

impl Gauges {
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// What a lane has done at its end.
#[derive(Debug, Default)]
pub(crate) struct LaneReport {
    pub(crate) timings: Timings,
    /// How much later than planned due legs were served, in the steady phase.
    pub(crate) lag: Histogram,
    /// CPU time of the lane's thread in the steady phase.
    pub(crate) steady_cpu: Duration,
    /// Datagrams that the kernel did not take.
    pub(crate) unsent: u64,
}

/// A running lane. It ends with [`Lane::finish`].
pub(crate) struct Lane {
    link: LaneLink,
    thread: JoinHandle<LaneReport>,
}

/// The way to a lane, for those who put legs on it.
#[derive(Clone)]
pub(crate) struct LaneLink {
    commands: mpsc::Sender<Command>,
    waker: Arc<Waker>,
    gauges: Arc<Gauges>,
}

impl Lane {
    /// Starts the thread. `over_time` is empty, and says which windows to keep.
    pub(crate) fn start(index: usize, over_time: OverTime) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let poll = mio::Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), thread::WAKE)?);
        let gauges = Arc::new(Gauges::default());
        let worker = thread::Worker::new(poll, inbox, Arc::clone(&gauges), over_time);
        let thread = std::thread::Builder::new().name(format!("lane-{index}")).spawn(move || worker.run())?;
        Ok(Self { link: LaneLink { commands, waker, gauges }, thread })
    }

    pub(crate) fn link(&self) -> LaneLink {
        self.link.clone()
    }

    /// Ends the lane with all its legs. Blocks for a moment.
    pub(crate) fn finish(self) -> LaneReport {
        self.link.gauges.is_over.store(true, Ordering::Relaxed);
        // It may fail only when the thread has ended already.
        let _ = self.link.waker.wake();
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl LaneLink {
    /// Puts a leg on the lane; it starts to connect.
    pub(crate) async fn add(&self, leg: NewLeg) -> Result<LegLink, LegError> {
        let (state, changes) = watch::channel(LegState::default());
        let (key, added) = oneshot::channel();
        self.send(Command::Add { leg, state, key }).await;
        let (key, local_port) = added.await.map_err(|_| LegError::LaneGone)??;
        Ok(LegLink { lane: self.clone(), key, local_port, is_closed: false, state: changes })
    }

    /// Tells the lane what counts as the steady phase.
    pub(crate) async fn set_steady(&self, from: Instant, until: Instant) {
        self.send(Command::Steady { from, until }).await;
    }

    /// The local ports of its legs.
    pub(crate) async fn local_ports(&self) -> Vec<u16> {
        let (ports, answer) = oneshot::channel();
        self.send(Command::LocalPorts { ports }).await;
        answer.await.unwrap_or_default()
    }

    pub(crate) fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    async fn send(&self, command: Command) {
        // A lane that is gone drops what answers come through, and that is how its callers learn of it.
        let _ = self.commands.send(command).await;
        let _ = self.waker.wake();
    }
}

/// A leg on its lane. Dropping it ends the leg as well, if the lane has room for the command.
pub(crate) struct LegLink {
    lane: LaneLink,
    key: usize,
    /// Of its first socket.
    pub(crate) local_port: u16,
    is_closed: bool,
    pub(crate) state: watch::Receiver<LegState>,
}

impl LegLink {
    /// The call is accepted.
    pub(crate) async fn open(&self) {
        self.lane.send(Command::Open { key: self.key }).await;
    }

    /// Has sent its last packet when this comes back, however late the lane is.
    pub(crate) async fn stop(&self) {
        let (stopped, done) = oneshot::channel();
        self.lane.send(Command::Stop { key: self.key, stopped }).await;
        // A lane that is gone sends nothing either.
        let _ = done.await;
    }

    /// Ends the leg. Gives what it measured, and what its conditions did.
    pub(crate) async fn close(mut self) -> (LegReport, Option<NetworkReport>) {
        self.is_closed = true;
        let (report, answer) = oneshot::channel();
        self.lane.send(Command::Close { key: self.key, report }).await;
        answer.await.unwrap_or_default()
    }
}

impl Drop for LegLink {
    fn drop(&mut self) {
        if !self.is_closed {
            let (report, _) = oneshot::channel();
            // A full lane is at its end anyway.
            let _ = self.lane.commands.try_send(Command::Close { key: self.key, report });
        }
    }
}

#[cfg(test)]
mod tests;
