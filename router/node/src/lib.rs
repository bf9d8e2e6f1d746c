//! The media plane's shell: worker threads, batched UDP, TCP where there is no UDP, the link to control.
//!
//! [`Router::bind`] opens the sockets and starts one thread per worker, [`Router::run`] gives them their work and keeps the link. A call lives on one
//! worker, chosen by its id, an audience on all of them (`spread.rs`, `rings.rs`). The packet loop is `Worker::run` in `worker.rs`; all
//! decisions are in `duocast-router-core`.

mod addresses;
mod command;
mod link;
pub mod metrics;
mod pace;
mod residence;
mod rings;
mod shed;
mod spread;
mod sys;
mod tcp;
mod token;
mod udp;
mod worker;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use duocast_model::NodeId;
use duocast_router_core::{Place, Shard, ShardConfig, Workers};
use duocast_transport::client::ChannelConfig;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use crate::token::TokenSource;

use crate::command::{MAX_QUEUED_COMMANDS, MAX_QUEUED_REPORTS, WorkerHandle};
use crate::link::Link;
use crate::rings::Rings;
use crate::tcp::{Listeners, Tcp};
use crate::udp::Sockets;
use crate::worker::Worker;

/// Most workers; each is a thread with two sockets and 8 MiB of address space for receive buffers.
pub const MAX_WORKERS: usize = 256;

/// What a router node is.
#[derive(Clone)]
pub struct RouterConfig {
    /// Its name, unique among the nodes of one control plane.
    pub node_id: NodeId,
    /// Where control is.
    pub control: ChannelConfig,
    /// The bearer token of this node (claim `scope` = "node").
    pub token: TokenSource,
    /// Addresses to bind. Empty: `0.0.0.0`, and `[::]` where there is IPv6.
    pub listen: Vec<IpAddr>,
    /// Worker i binds this port plus i; 0 lets the kernel choose.
    pub port_base: u16,
    /// Media over TCP as well, for clients whose network lets no UDP through: on the same ports.
    pub media_tcp: bool,
    /// Addresses that clients are told. Empty: those of this machine, loopback last.
    pub announce: Vec<IpAddr>,
    /// Worker threads; 0 means one per core. With one for each core that this process may use, each is pinned to its own.
    pub workers: usize,
    /// Workers run before everything else on their cores, kernel threads among it (`SCHED_RR`): see [`BindError::Realtime`] for what that takes.
    pub realtime: bool,
    /// Legs that this node is willing to carry, spread over its workers.
    pub leg_capacity: u32,
}

impl std::fmt::Debug for RouterConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouterConfig")
            .field("node_id", &self.node_id)
            .field("port_base", &self.port_base)
            .field("workers", &self.workers)
            .field("leg_capacity", &self.leg_capacity)
            .finish_non_exhaustive()
    }
}

/// Why a router could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A socket could not be had.
    #[error("cannot bind UDP {address}: {source}; choose a free port and an address of this machine")]
    Socket {
        /// What was to be bound.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A TCP socket could not be had.
    #[error("cannot listen on TCP {address}: {source}; choose a free port, or switch media over TCP off")]
    Listener {
        /// What was to be bound.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Port base plus worker number is above 65535.
    #[error("the port base leaves no room for {0} workers; choose a lower one")]
    Ports(usize),
    /// More than [`MAX_WORKERS`].
    #[error("{0} workers are more than the {MAX_WORKERS} that a node can have; configure fewer")]
    TooManyWorkers(usize),
    /// No address that a client could reach.
    #[error("there is no address to announce; configure one")]
    NoAddress,
    /// The wake-up descriptor could not be made.
    #[error("cannot make an event descriptor: {0}; raise the limit of open files")]
    Wake(std::io::Error),
    /// A worker thread could not be started.
    #[error("cannot start a worker thread: {0}; raise the limit of threads")]
    Thread(std::io::Error),
    /// The configuration asks for [`RouterConfig::realtime`], the kernel refuses.
    #[error(
        "cannot run media workers in real time: {0}; allow it (systemd: LimitRTPRIO=1, else CAP_SYS_NICE), or configure realtime = false"
    )]
    Realtime(std::io::Error),
}

/// Why a router stopped.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// What a worker needs for TCP could not be had.
    #[error("cannot watch TCP connections: {0}; raise the limit of open files")]
    Tcp(std::io::Error),
    /// A worker ended by itself: a defect. Its calls are lost, so the process should restart.
    #[error("worker {0} died; restart the router and report its last log lines")]
    WorkerDied(usize),
}

/// A bound router node.
pub struct Router {
    config: RouterConfig,
    workers: Vec<Bound>,
    is_linked: watch::Sender<bool>,
}

struct Bound {
    sockets: Sockets,
    listeners: Option<Listeners>,
    announced: Vec<SocketAddr>,
    announced_tcp: Vec<SocketAddr>,
    wake: Arc<sys::Wake>,
    thread: WorkerThread,
}

impl Router {
    /// Opens the sockets of all workers, and starts their threads with the priority of this one: where signalling is to give way to media, its threads
    /// must be of a lower one. Nothing is received before [`Router::run`].
    pub fn bind(config: RouterConfig) -> Result<Self, BindError> {
        let count = match config.workers {
            0 => thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS),
            n if n > MAX_WORKERS => return Err(BindError::TooManyWorkers(n)),
            n => n,
        };
        let cores = sys::allowed_cores();
        // Fewer workers than cores: the kernel knows better than we which cores are free.
        let own_core = |i: usize| (cores.len() == count).then(|| cores[i]);
        let bind = |i| bind_worker(&config, i, count, own_core(i));
        let workers = (0..count).map(bind).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { config, workers, is_linked: watch::Sender::new(false) })
    }

    /// With another token to link with: for a control that has none before the sockets are open.
    pub fn with_token(mut self, token: TokenSource) -> Self {
        self.config.token = token;
        self
    }

    /// The addresses that clients are told, of all workers.
    pub fn media_addrs(&self) -> Vec<SocketAddr> {
        self.workers.iter().flat_map(|w| w.announced.iter().copied()).collect()
    }

    /// Those for media over TCP.
    pub fn media_tcp_addrs(&self) -> Vec<SocketAddr> {
        self.workers.iter().flat_map(|w| w.announced_tcp.iter().copied()).collect()
    }

    /// Whether control is linked, now and from then on.
    pub fn linked(&self) -> watch::Receiver<bool> {
        self.is_linked.subscribe()
    }

    /// Runs until `shutdown`: then control is told, so that it moves the calls; every leg is told goodbye and the threads end.
    /// Media goes on while control cannot be reached; the link is tried for ever.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RouterError> {
        metrics::describe();
        metrics::begin_at_zero();
        let (reports, from_workers) = mpsc::channel(MAX_QUEUED_REPORTS);
        let (died, mut deaths) = mpsc::channel(1);
        let max_legs = (self.config.leg_capacity as usize).div_ceil(self.workers.len());
        let max_connections = max_connections(max_legs, self.workers.len());
        let of = Workers(self.workers.len());
        let wakes: Vec<_> = self.workers.iter().map(|bound| Arc::clone(&bound.wake)).collect();
        let mut handles = Vec::new();
        let mut threads = Vec::new();
        for ((worker, bound), rings) in self.workers.into_iter().enumerate().zip(Rings::mesh(&wakes)) {
            let (commands, queue) = mpsc::channel(MAX_QUEUED_COMMANDS);
            let handle = WorkerHandle::new(commands, Arc::clone(&bound.wake));
            let Bound { sockets, listeners, announced, announced_tcp, wake, thread } = bound;
            let tcp = listeners.map(|listeners| Tcp::new(listeners, max_connections)).transpose();
            let tcp = tcp.map_err(RouterError::Tcp)?;
            let config = ShardConfig { announced, announced_tcp, max_legs };
            let shard = Shard::at(Place { worker, of }, config);
            let load = handle.load();
            let link = (queue, reports.clone(), load);
            let body = Worker::new(worker, shard, (sockets, tcp), wake, rings, link);
            let farewell = Farewell { index: worker, died: died.clone() };
            threads.push(thread.give(farewell, move || body.run()));
            handles.push(handle);
        }
        drop(died);
        let link = Link::new(&self.config, handles.clone(), from_workers, self.is_linked);
        let result = tokio::select! {
            () = link.run(shutdown) => Ok(()),
            index = deaths.recv() => Err(RouterError::WorkerDied(index.unwrap_or_default())),
        };
        for handle in &handles {
            handle.stop();
        }
        // The threads are in their last turn: joining them takes a moment, but must not hold up the runtime.
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().enumerate().find_map(|(i, t)| t.join().is_err().then_some(i))
        });
        match (result, joined.await) {
            (Ok(()), Ok(Some(index))) => Err(RouterError::WorkerDied(index)),
            (result, _) => result,
        }
    }
}

/// Tells when it is dropped that a worker ended, so that a panic tells too.
struct Farewell {
    index: usize,
    died: mpsc::Sender<usize>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        // Only the first to end is waited for.
        let _ = self.died.try_send(self.index);
    }
}

/// A worker's thread. It waits for its work; dropped before that, it ends.
struct WorkerThread {
    work: std::sync::mpsc::Sender<Box<dyn FnOnce() + Send>>,
    thread: thread::JoinHandle<()>,
}

impl WorkerThread {
    fn start(index: usize, core: Option<usize>, realtime: bool) -> Result<Self, BindError> {
        let (work, given) = std::sync::mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (scheduled, schedule) = std::sync::mpsc::channel();
        let thread = thread::Builder::new().name(format!("router-{index}")).spawn(move || {
            // A core that went away since is no reason not to run: the kernel then chooses one.
            let _ = core.map(sys::pin);
            let _ = scheduled.send(if realtime { sys::run_before_all_else() } else { Ok(()) });
            if let Ok(body) = given.recv() {
                body();
            }
        });
        let thread = thread.map_err(BindError::Thread)?;
        // It says so before anything else; were it gone, that would be told as a worker's death.
        schedule.recv().unwrap_or(Ok(())).map_err(BindError::Realtime)?;
        Ok(Self { work, thread })
    }

    /// However `body` ends, the farewell is said.
    fn give(self, farewell: Farewell, body: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
        let body = move || {
            let _farewell = farewell;
            body();
        };
        // It takes what comes first, and this does.
        let _ = self.work.send(Box::new(body));
        self.thread
    }
}

fn bind_worker(
    config: &RouterConfig,
    index: usize,
    count: usize,
    core: Option<usize>,
) -> Result<Bound, BindError> {
    let port = match config.port_base {
        0 => 0,
        base => u16::try_from(index).ok().and_then(|i| base.checked_add(i)).ok_or(BindError::Ports(count))?,
    };
    let sockets = if config.listen.is_empty() {
        let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        Sockets::bind(&any, port, true)
    } else {
        Sockets::bind(&config.listen, port, false)
    };
    let sockets = sockets.map_err(|(address, source)| BindError::Socket { address, source })?;
    let announced = addresses::announced(&config.announce, &sockets.local_addrs());
    if announced.is_empty() {
        return Err(BindError::NoAddress);
    }
    let listeners = config.media_tcp.then(|| Listeners::bind(&sockets.local_addrs(), config.port_base == 0));
    let listeners =
        listeners.transpose().map_err(|(address, source)| BindError::Listener { address, source })?;
    let of_listeners = listeners.as_ref().map(Listeners::local_addrs).unwrap_or_default();
    let announced_tcp = addresses::announced(&config.announce, &of_listeners);
    let wake = Arc::new(sys::Wake::new().map_err(BindError::Wake)?);
    let thread = WorkerThread::start(index, core, config.realtime)?;
    Ok(Bound { sockets, listeners, announced, announced_tcp, wake, thread })
}

/// Most TCP connections of one worker: two for each leg, since a client may try several ways at once; but no more than a
/// quarter of the descriptors that the process may have, so that control's doors stay open.
fn max_connections(max_legs: usize, workers: usize) -> usize {
    (2 * max_legs).min(sys::open_files_limit() / 4 / workers.max(1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_worker_that_panics_is_told_while_the_others_live() {
        let (died, mut deaths) = mpsc::channel(1);
        let of_another_worker = died.clone();
        let thread = WorkerThread::start(3, None, false).unwrap();
        let thread = thread.give(Farewell { index: 3, died }, || panic!("a defect outside any leg"));
        let index = tokio::time::timeout(Duration::from_secs(10), deaths.recv()).await;
        assert_eq!(index.expect("the death is told"), Some(3));
        assert!(thread.join().is_err());
        drop(of_another_worker);
    }

    /// Which cores a worker may use is seen from inside, as `taskset` would.
    #[test]
    fn a_worker_runs_on_the_core_that_it_is_given() {
        let core = *sys::allowed_cores().last().expect("this test runs on a core");
        let (died, _deaths) = mpsc::channel(1);
        let (seen, cores) = std::sync::mpsc::channel();
        let worker = WorkerThread::start(0, Some(core), false).unwrap();
        worker
            .give(Farewell { index: 0, died }, move || seen.send(sys::allowed_cores()).unwrap())
            .join()
            .unwrap();
        assert_eq!(cores.recv().unwrap(), [core]);
    }

    /// Whether a test may is the machine's choice; what it must not do is to run as if it were.
    #[test]
    fn a_worker_in_real_time_is_that_or_says_why_not() {
        let (died, _deaths) = mpsc::channel(1);
        let (seen, policy) = std::sync::mpsc::channel();
        let body = move || seen.send(std::fs::read_to_string("/proc/thread-self/stat").unwrap()).unwrap();
        match WorkerThread::start(0, None, true) {
            Ok(worker) => {
                worker.give(Farewell { index: 0, died }, body).join().unwrap();
                let stat = policy.recv().unwrap();
                let after_name = stat.rsplit(')').next().unwrap_or_default();
                // proc_pid_stat(5): the state is field 3, the real-time priority field 40, the policy field 41.
                let fields: Vec<&str> = after_name.split_whitespace().collect();
                assert_eq!(fields[37..=38], ["1", "2"], "priority 1 of SCHED_RR");
            }
            Err(error) => assert!(error.to_string().contains("LimitRTPRIO=1"), "{error}"),
        }
    }

    #[test]
    fn a_worker_that_is_given_no_work_ends() {
        let WorkerThread { work, thread } = WorkerThread::start(0, None, false).unwrap();
        drop(work);
        thread.join().unwrap();
    }
}
