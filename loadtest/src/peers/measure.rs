//! Measures one server after the other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::bare::BareLoop;
use super::coturn::{self, Coturn};
use super::figures::{Comparison, Figures, Measured, Outcome};
use super::generator::{Generator, Window};
use super::janus::{self, Janus};
use super::machine::{self, CoreTime, Machine};
use super::media::Media;
use super::process::{self, Cost};
use super::router::{self, Router};
use super::{Options, Peer, PeersError, Setup, Which};
use crate::lane::clock;
use crate::run::say;

/// From the first packet to the steady phase: all parties have begun, and keep as many packets for repair as they ever will. A shorter one has the
/// generator's memory grow while it is measured.
const WARM_UP: Duration = Duration::from_secs(4);

/// From the stop to the count: what is on its way arrives meanwhile.
const DRAIN: Duration = Duration::from_millis(500);

/// A server that has just become ready is left alone for this long before its memory is read.
const SETTLE: Duration = Duration::from_millis(500);

/// Progress is told each time that so many more calls are up.
const SAID_EVERY: usize = 25;

/// How long one call may take to come up.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(15);

/// Measures all that were asked for. `Err` if nothing can be measured; a server that cannot be is an outcome of its own.
pub(crate) async fn compare(options: Options) -> Result<Comparison, PeersError> {
    tokio::select! {
        comparison = compare_all(options) => comparison,
        _ = tokio::signal::ctrl_c() => Err(PeersError::Interrupted),
    }
}

async fn compare_all(options: Options) -> Result<Comparison, PeersError> {
    let cores = machine::allowed_cores().unwrap_or_default();
    let [generator_core, server_core] = *cores.get(..2).unwrap_or_default() else {
        return Err(PeersError::Cores(cores.len()));
    };
    // Before it is bound to one core, and sees no other.
    let machine = Machine::here();
    machine::pin_self(generator_core)?;
    let media = Arc::new(Media::for_time(WARM_UP + options.load.duration + Duration::from_secs(1)));
    let Options { load, peers, duocast, realtime } = options;
    let setup = Setup { load, server_core, duocast, realtime };
    let cores = Cores { generator: generator_core, server: server_core };
    let mut outcomes = Vec::new();
    for which in peers {
        say(&format!("{}: {} calls, {} s", which.name(), setup.load.calls, setup.load.duration.as_secs()));
        let measured = measure(which, &setup, cores, &media).await;
        if let Err(error) = &measured {
            say(&format!("{}: {error}", which.name()));
        }
        let result = measured.map(|measured| Figures::of(&measured, setup.load)).map_err(|e| e.to_string());
        outcomes.push(Outcome { name: which.name(), result });
    }
    Ok(Comparison { machine, load, generator_core, server_core, realtime, outcomes })
}

impl Which {
    /// How reports call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Duocast => router::NAME,
            Self::Coturn => coturn::PACKAGE,
            Self::Janus => janus::NAME,
            Self::Bare => "bare loop",
            Self::BareGso => "bare loop, GSO",
        }
    }
}

#[derive(Clone, Copy)]
struct Cores {
    generator: usize,
    server: usize,
}

async fn measure(
    which: Which,
    setup: &Setup,
    cores: Cores,
    media: &Arc<Media>,
) -> Result<Measured, PeersError> {
    let installed = |program: &str, package| {
        process::is_installed(program).then_some(()).ok_or(PeersError::NotInstalled(package))
    };
    match which {
        Which::Duocast => run(Router::start(setup).await?, setup, cores, media).await,
        Which::Janus => {
            installed(janus::PROGRAM, janus::PACKAGE)?;
            run(Janus::start(setup).await?, setup, cores, media).await
        }
        Which::Coturn => {
            installed(coturn::PROGRAM, coturn::PACKAGE)?;
            run(Coturn::start(setup).await?, setup, cores, media).await
        }
        Which::Bare => run(BareLoop::start(setup, false).await?, setup, cores, media).await,
        Which::BareGso => run(BareLoop::start(setup, true).await?, setup, cores, media).await,
    }
}

/// Waits until an end is connected; [`CONNECT_MAX`] bounds it.
pub(super) async fn wait_connected(connected: oneshot::Receiver<()>) -> Result<(), PeersError> {
    connected.await.map_err(|_| PeersError::GeneratorGone)
}

/// All calls up, warm-up, steady phase.
async fn run(
    mut peer: impl Peer,
    setup: &Setup,
    cores: Cores,
    media: &Arc<Media>,
) -> Result<Measured, PeersError> {
    tokio::time::sleep(SETTLE).await;
    let idle = peer.cost()?;
    let generator = Generator::start(Arc::clone(media))?;
    let link = generator.link().clone();
    for call in 0..setup.load.calls {
        if call > 0 && call % SAID_EVERY == 0 {
            say(&format!("{call} of {} calls are up", setup.load.calls));
        }
        let connected = tokio::time::timeout(CONNECT_MAX, peer.connect(call, &link)).await;
        connected.map_err(|_| PeersError::Slow { call: call + 1 })??;
    }
    let now = clock::moment();
    let (from, until) = (now.now + WARM_UP, now.now + WARM_UP + setup.load.duration);
    let micros = |later: Duration| now.unix_micros + later.as_micros() as u64;
    link.begin(Window { from: micros(WARM_UP), until: micros(WARM_UP + setup.load.duration) });

    tokio::time::sleep_until(from.into()).await;
    let residence = peer.residence().await;
    let before = Sample::take(&peer, cores)?;
    tokio::time::sleep_until(until.into()).await;
    let after = Sample::take(&peer, cores)?;
    let residence = peer.residence().await.zip(residence).map(|(after, before)| after.since(&before));
    link.stop();
    tokio::time::sleep(DRAIN).await;
    let report = generator.finish();
    let busy = |before: Option<CoreTime>, after: Option<CoreTime>| after?.since(before?);
    Ok(Measured {
        seconds: (after.at - before.at).as_secs_f64(),
        server_cpu_seconds: after.cost.cpu_seconds - before.cost.cpu_seconds,
        memory_growth_bytes: after.cost.resident_bytes - idle.resident_bytes,
        load_average: after.load_average,
        server_core: busy(before.server, after.server),
        generator_core: busy(before.generator, after.generator),
        residence,
        report,
    })
}

/// What is read at both ends of the steady phase.
struct Sample {
    at: std::time::Instant,
    cost: Cost,
    load_average: Option<f64>,
    server: Option<CoreTime>,
    generator: Option<CoreTime>,
}

impl Sample {
    fn take(peer: &impl Peer, cores: Cores) -> Result<Self, PeersError> {
        Ok(Self {
            at: std::time::Instant::now(),
            cost: peer.cost()?,
            load_average: machine::load_average(),
            server: CoreTime::of(cores.server),
            generator: CoreTime::of(cores.generator),
        })
    }
}
