//! `hostile`: what a flood of junk does to our server's calls, through real sockets.
//!
//! - [`junk`]: what is sent, pure. [`flood`]: the thread that sends it. [`report`]: what is told and judged, pure.

mod flood;
mod junk;
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flood::{Flood, FloodReport};
use report::Phase;
pub(crate) use report::Siege;

use super::generator::{GAP_MIN, Gap, Generator, Report, Window};
use super::machine::{self, Machine};
use super::measure::CONNECT_MAX;
use super::media::Media;
use super::router::Router;
use super::{Load, Peer as _, PeersError, Setup};
use crate::lane::clock;
use crate::run::{labelled, say};

const DROPPED: &str = "duocast_router_packets_dropped_total";
const RECEIVED: &str = "duocast_router_packets_received_total";

/// From a change (media begins, junk begins) to the phase that is measured.
const SETTLE: Duration = Duration::from_secs(2);

/// From the stop to the count: what is on its way arrives meanwhile.
const DRAIN: Duration = Duration::from_millis(500);

/// What the command line asks for.
#[derive(Debug, Clone)]
pub(crate) struct SiegeOptions {
    /// Two-party calls that run before the flood.
    pub(crate) calls: usize,
    /// Calls that connect during the flood.
    pub(crate) joining: usize,
    /// Packets of junk a second.
    pub(crate) junk_per_second: u64,
    /// The time without junk, and the time with it.
    pub(crate) duration: Duration,
    /// The `duocast` program.
    pub(crate) duocast: PathBuf,
    /// Longest gap of audio that is allowed; `None`: it is told, not judged.
    pub(crate) gap_max: Option<Duration>,
}

/// Runs it all. `Err` if nothing can be measured; a call that does not connect during the flood is a result.
pub(crate) async fn besiege(options: SiegeOptions) -> Result<Siege, PeersError> {
    tokio::select! {
        siege = run(options) => siege,
        _ = tokio::signal::ctrl_c() => Err(PeersError::Interrupted),
    }
}

async fn run(options: SiegeOptions) -> Result<Siege, PeersError> {
    let cores = machine::allowed_cores().unwrap_or_default();
    let [generator_core, server_core] = *cores.get(..2).unwrap_or_default() else {
        return Err(PeersError::Cores(cores.len()));
    };
    let machine = Machine::here();
    machine::pin_self(generator_core)?;
    let duration = options.duration + 2 * SETTLE + options.duration;
    let load = Load { calls: options.calls + options.joining, duration };
    let setup = Setup { load, server_core, duocast: options.duocast, realtime: false };
    let mut router = Router::start(&setup).await?;
    let generator = Generator::start(Arc::new(Media::for_time(duration)))?;
    let link = generator.link().clone();
    for call in 0..options.calls {
        let connected = tokio::time::timeout(CONNECT_MAX, router.connect(call, &link)).await;
        connected.map_err(|_| PeersError::Slow { call: call + 1 })??;
    }
    say(&format!("{} calls are up", options.calls));
    let first = window_from_now(options.duration);
    link.begin(first);
    tokio::time::sleep(SETTLE).await;
    let quiet = Measure::begin(&router).await?.end(&router, options.duration).await?;

    let flood = Flood::start(router.facts(), options.junk_per_second)?;
    say(&format!("{} packets of junk a second", options.junk_per_second));
    let mut joined = 0;
    for call in options.calls..load.calls {
        let connected = tokio::time::timeout(CONNECT_MAX, router.connect(call, &link)).await;
        joined += usize::from(matches!(connected, Ok(Ok(()))));
    }
    let second = window_from_now(options.duration);
    link.count(second);
    tokio::time::sleep(SETTLE).await;
    let before = router.metrics().await?;
    let flooded = Measure::begin(&router).await?.end(&router, options.duration).await?;
    let after = router.metrics().await?;
    let load_average = machine::load_average();
    let flood = tokio::task::spawn_blocking(|| flood.finish());
    let flood: FloodReport = flood.await.map_err(|_| PeersError::GeneratorGone)?;
    link.stop();
    tokio::time::sleep(DRAIN).await;
    let report = generator.finish();

    let mut siege = Siege::new(machine, flood);
    siege.load_average = load_average;
    (siege.calls, siege.joined, siege.joining) = (options.calls, joined, options.joining);
    siege.quiet = Phase { longest_audio_gap_ms: longest(&report, first), ..quiet };
    siege.flooded = Phase { longest_audio_gap_ms: longest(&report, second), ..flooded };
    (siege.packets_sent, siege.packets_delivered) = (report.sent, report.delivered.min(report.sent));
    siege.dropped = difference(&labelled(&after, DROPPED, "reason"), &labelled(&before, DROPPED, "reason"));
    Ok(siege.judge(options.gap_max))
}

/// The next phase: it settles first.
fn window_from_now(duration: Duration) -> Window {
    let from = clock::moment().unix_micros + SETTLE.as_micros() as u64;
    Window { from, until: from + duration.as_micros() as u64 }
}

/// At least [`GAP_MIN`]: shorter ones are not told apart.
fn longest(report: &Report, window: Window) -> f64 {
    let gaps = report.gaps.iter().filter(|gap| window.has(gap.ended_at));
    gaps.map(Gap::millis).fold(GAP_MIN.as_secs_f64() * 1000.0, f64::max)
}

fn difference(after: &BTreeMap<String, f64>, before: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let since = |(name, value): (&String, &f64)| {
        (name.clone(), value - before.get(name).copied().unwrap_or_default())
    };
    after.iter().map(since).collect()
}

/// The server over a phase.
struct Measure {
    at: Instant,
    cpu_seconds: f64,
    received: f64,
}

impl Measure {
    async fn begin(router: &Router) -> Result<Self, PeersError> {
        let received = labelled(&router.metrics().await?, RECEIVED, "").values().sum();
        Ok(Self { at: Instant::now(), cpu_seconds: router.cost()?.cpu_seconds, received })
    }

    async fn end(self, router: &Router, duration: Duration) -> Result<Phase, PeersError> {
        tokio::time::sleep_until((self.at + duration).into()).await;
        let now = Self::begin(router).await?;
        let seconds = (now.at - self.at).as_secs_f64();
        Ok(Phase {
            seconds,
            server_core_percent: (now.cpu_seconds - self.cpu_seconds) / seconds * 100.0,
            longest_audio_gap_ms: 0.0,
            packets_received: now.received - self.received,
        })
    }
}
