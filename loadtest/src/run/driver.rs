//! Runs a scenario: accounts, lanes, calls, samples; then the figures.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use duocast_client::ChannelConfig;
use duocast_client::media::{SyntheticVideoConfig, mark};
use tokio::task::JoinSet;

use super::accounts::{self, Account, AccountsError, Wanted};
use super::audio_score;
use super::call::{self, Shared};
use super::failure::{Failure, Stage};
use super::generator;
use super::history::History;
use super::live::Live;
use super::outcome::CallOutcome;
use super::plan::{Part, Plan, plan};
use super::progress::{self, Progress, say};
use super::scenario::{Group, Scenario, Video};
use super::server::{Sample, Watch};
use super::stats::{self, Server, Summary, Surroundings};
use super::stop::{Stop, StopReason};
use crate::histogram::Histogram;
use crate::lane::{Lane, LaneLink};
use crate::net::Path;
use crate::over_time::{OverTime, window_width};
use crate::peer::{Speech, SpeechError};

/// Payload bytes of a video packet at most: they fit any path with room for headers.
const VIDEO_PACKET_BYTES: usize = 1100;

/// Calls that were up and then get no packet at all for this long have lost their server: audio flows all the time.
/// Higher waits longer for one that restarts, lower gives up on a hiccup.
const SERVER_SILENCE_MAX: Duration = Duration::from_secs(8);

/// From the stop to the end of the last call's script, besides what conditions hold. Its own waits add up to less.
const END_MAX: Duration = Duration::from_secs(25);

/// A generator that starts later than this after the common start says so.
const LATE_START_MAX: Duration = Duration::from_millis(250);

/// What the command line asks for.
pub(crate) struct Options {
    pub(crate) scenario: Scenario,
    pub(crate) target: Target,
    /// One share of the calls, if others take the rest.
    pub(crate) part: Option<Part>,
    /// When to start, so that several do together; `None`, or in the past: as soon as everything is there.
    pub(crate) start_at: Option<SystemTime>,
    /// Folder for what was recorded to be scored.
    pub(crate) recordings: Option<PathBuf>,
}

/// The server, and how this program meets it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) server: ChannelConfig,
    pub(crate) accounts: accounts::Source,
    pub(crate) watch: Watch,
    /// Media threads.
    pub(crate) lanes: usize,
}

/// Why a run cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    #[error(transparent)]
    Speech(#[from] SpeechError),
    #[error("a media thread cannot start: {0}")]
    Lane(#[from] std::io::Error),
}

/// Runs it to its end, or to `stop`.
pub(crate) async fn run(options: Options, stop: Arc<Stop>) -> Result<Summary, RunError> {
    let Options { scenario, target, part, start_at, recordings } = options;
    let Target { server, accounts, watch, lanes } = target;
    let mut plan = plan(&scenario);
    if let Some(part) = part {
        plan.keep(part);
    }
    let speech = Arc::new(Speech::encode(scenario.speech.as_deref())?);
    let wanted: Vec<Wanted> = plan.calls.iter().map(Wanted::of).collect();
    say(&format!(
        "{}, {} Opus packets encoded once; making accounts",
        in_words(&scenario, &plan),
        speech.len()
    ));
    let accounts = accounts::prepare(&accounts, &server, &wanted, plan.stop_at).await?;
    let (before, unseen) = watch.sample().await;

    let late = match start_at {
        Some(at) => wait_for(at, &stop).await,
        None => None,
    };
    let (start, start_unix_micros) = (Instant::now(), mark::now_unix_micros());
    let over_time = OverTime::new(start, window_width(plan.stop_at));
    let lanes: Vec<Lane> =
        (0..lanes).map(|index| Lane::start(index, over_time.clone())).collect::<Result<_, _>>()?;
    let shared = Arc::new(Shared {
        server_is_loopback: is_loopback(&server.url),
        server,
        start,
        steady_from: plan.steady_from,
        speech,
        video: scenario.video.map(video_config),
        drain: call::DRAIN + drain_of(&scenario.groups),
        groups: scenario.groups.clone(),
        speech_file: scenario.speech.clone(),
        reconnect: scenario.reconnect,
        switches: scenario.switches,
        seed: scenario.seed,
        stop,
        live: Arc::new(Live::default()),
    });
    let links: Vec<LaneLink> = lanes.iter().map(Lane::link).collect();
    let mut run = Run { plan, links, shared, watch, calls: JoinSet::new(), samples: Samples::default() };
    run.start_calls(accounts).await;
    run.watch_over(scenario.calls).await;
    let mut outcomes = run.collect().await;
    let ended = Instant::now();
    let reports = lanes.into_iter().map(Lane::finish).collect();

    let (audio_scores, problem) =
        audio_score::score(&mut outcomes, &run.shared.speech, start, recordings.as_deref());
    let around = run.samples.surroundings(start, before, unseen.map(|e| e.to_string()));
    let stop = run.shared.stop.reason().unwrap_or(StopReason::Planned);
    let mut around =
        Surroundings { part, stop, start_unix_micros, audio_scores, run: ended - start, ..around };
    around.notes.extend([run.plan.note.take(), late, problem].into_iter().flatten());
    Ok(stats::summarize(&scenario, &outcomes, reports, around))
}

/// What there is to run.
fn in_words(scenario: &Scenario, plan: &Plan) -> String {
    let calls = plan.calls.len();
    if let Some(broadcast) = scenario.broadcast {
        return format!("{} with {} each", counted(calls, "broadcast"), counted(broadcast.viewers, "viewer"));
    }
    match plan.calls.iter().filter(|call| call.is_ring()).count() {
        0 => counted(calls, "call"),
        rings => format!("{}, {rings} that nobody answers", counted(calls - rings, "call")),
    }
}

fn counted(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

/// Waits for a start that several have in common. Gives a sentence if it is past.
async fn wait_for(start_at: SystemTime, stop: &Stop) -> Option<String> {
    let Ok(wait) = start_at.duration_since(SystemTime::now()) else {
        let late = start_at.elapsed().unwrap_or_default();
        let late = (late > LATE_START_MAX).then_some(late)?;
        return Some(format!(
            "this generator was {:.1} s late for the common start: the others were ahead of it all the time",
            late.as_secs_f64()
        ));
    };
    tokio::select! {
        _ = stop.stopped() => {}
        () = tokio::time::sleep(wait) => {}
    }
    None
}

struct Run {
    plan: Plan,
    links: Vec<LaneLink>,
    shared: Arc<Shared>,
    watch: Watch,
    calls: JoinSet<CallOutcome>,
    samples: Samples,
}

/// What was read at the two ends of the steady phase.
#[derive(Default)]
struct Samples {
    from: Option<(Instant, Sample, Option<f64>)>,
    until: Option<(Instant, Sample, Option<f64>)>,
    calls_up_at_end: u64,
    lost_page: Option<String>,
    socket_drops: Option<u64>,
    task_lag: Histogram,
    history: History,
}

impl Run {
    async fn start_calls(&mut self, accounts: Vec<Vec<Account>>) {
        let start = self.shared.start;
        for link in &self.links {
            link.set_steady(start + self.plan.steady_from, start + self.plan.stop_at).await;
        }
        for (position, (plan, accounts)) in self.plan.calls.iter().cloned().zip(accounts).enumerate() {
            let shared = Arc::clone(&self.shared);
            let mut lanes = self.links.clone();
            let first = position % lanes.len();
            lanes.rotate_left(first);
            self.calls.spawn(async move { call::run(&shared, &plan, &lanes, &accounts).await });
        }
    }

    /// Until the planned end, or an earlier one: shows progress, takes samples, notices a server that is gone.
    async fn watch_over(&mut self, calls: usize) {
        let (probe, mut history) = (generator::LagProbe::start(), History::default());
        let Self { plan, shared, links, watch, samples, .. } = self;
        tokio::select! {
            _ = shared.stop.stopped() => {}
            () = history.follow(shared.start, plan.stop_at, watch, &shared.live) => {}
            () = show_and_guard(shared, links, calls, plan) => {}
            () = samples.take(shared.start, plan, watch, &shared.live) => shared.stop.now(StopReason::Planned),
        }
        self.samples.task_lag = probe.finish();
        self.samples.history = history;
        let now = Instant::now();
        for link in &self.links {
            link.set_steady(self.shared.start + self.plan.steady_from, now).await;
        }
        self.samples.finish(&self.watch, &self.shared.live).await;
        let mut ports = HashSet::new();
        for link in &self.links {
            ports.extend(link.local_ports().await);
        }
        self.samples.socket_drops = generator::socket_drops(&ports);
    }

    /// Waits for every call's end. One whose script does not come to it is broken off and counts as failed.
    async fn collect(&mut self) -> Vec<CallOutcome> {
        let mut outcomes = Vec::new();
        let all = async {
            while let Some(ended) = self.calls.join_next().await {
                outcomes.push(ended.unwrap_or_else(|error| {
                    tracing::error!(%error, "a call's script broke");
                    broken_off()
                }));
            }
        };
        if tokio::time::timeout(END_MAX + self.shared.drain, all).await.is_err() {
            let missing = self.calls.len();
            self.calls.abort_all();
            outcomes.extend((0..missing).map(|_| broken_off()));
        }
        outcomes
    }
}

fn broken_off() -> CallOutcome {
    let failure = Failure::own(Stage::HangUp, tonic::Code::DeadlineExceeded, "BROKEN_OFF");
    CallOutcome { failure: Some(failure), ..CallOutcome::default() }
}

/// Shows progress; comes back, and stops everybody, when nothing arrives any more.
async fn show_and_guard(shared: &Shared, links: &[LaneLink], calls: usize, plan: &Plan) {
    let mut progress = Progress::new(calls, shared.start, shared.start + plan.stop_at);
    let steady_from = shared.start + plan.steady_from;
    let mut heard = (Instant::now(), 0);
    loop {
        tokio::select! {
            _ = shared.stop.stopped() => break,
            () = tokio::time::sleep(progress::EVERY) => {}
        }
        let now = Instant::now();
        progress.update(now, &shared.live, links);
        let received: u64 = links.iter().map(|link| link.gauges().received()).sum();
        let has_calls = shared.live.on_lanes.load(Ordering::Relaxed) > 0;
        // What a scenario itself keeps away is no sign of the server.
        let outage = shared.reconnect.filter(|lost| lost.loses.media()).map(|lost| lost.on(Path::default()));
        let mut paths = shared.groups.iter().map(|group| &*group.path).chain(&outage);
        let is_black = paths.any(|path| path.is_black(steady_from, now));
        if received != heard.1 || !has_calls || is_black {
            heard = (now, received);
        } else if now - heard.0 > SERVER_SILENCE_MAX {
            shared.stop.now(StopReason::ServerLost);
            break;
        }
    }
    progress.finish();
}

impl Samples {
    /// Looks at both ends of the steady phase.
    async fn take(&mut self, start: Instant, plan: &Plan, watch: &Watch, live: &Live) {
        tokio::time::sleep_until((start + plan.steady_from).into()).await;
        let (sample, _) = watch.sample().await;
        self.from = Some((Instant::now(), sample, generator::cpu_seconds(None)));
        tokio::time::sleep_until((start + plan.stop_at).into()).await;
        self.finish(watch, live).await;
    }

    /// Looks for the last time: at the planned end of the steady phase, or where a stop cuts it off.
    async fn finish(&mut self, watch: &Watch, live: &Live) {
        if self.from.is_some() && self.until.is_none() {
            self.calls_up_at_end = u64::try_from(live.up.load(Ordering::Relaxed)).unwrap_or(0);
            let (at, cpu) = (Instant::now(), generator::cpu_seconds(None));
            let (sample, lost) = watch.sample().await;
            self.until = Some((at, sample, cpu));
            self.lost_page = lost.map(|error| error.to_string());
        }
    }

    fn surroundings(self, start: Instant, before: Sample, unseen: Option<String>) -> Surroundings {
        let mut notes = Vec::new();
        let (mut steady, mut server, mut cpu_seconds) = (Duration::ZERO, Server::default(), None);
        let mut steady_span = None;
        match (self.from, self.until) {
            (Some((from_at, from, from_cpu)), Some((until_at, until, until_cpu))) => {
                steady = until_at - from_at;
                steady_span = Some((from_at - start, until_at - start));
                server = Server::between(before, from, until);
                cpu_seconds = until_cpu.zip(from_cpu).map(|(until, from)| until - from);
            }
            _ => notes
                .push("the run ended before its steady phase did: what is measured there is missing".into()),
        }
        if let Some(why) = unseen.or(self.lost_page) {
            notes.push(format!("no figures of the server: {why}; name its page with --metrics-url"));
        } else if steady > Duration::ZERO && server.cpu_us_per_packet().is_none() {
            notes.push("the metrics page has no router figures: CPU per packet is not known".into());
        }
        if steady > Duration::ZERO && server.grown_bytes.is_none() {
            notes.push("the server's memory is not known: give its process id with --server-pid".into());
        }
        Surroundings {
            part: None,
            stop: StopReason::Planned,
            start_unix_micros: 0,
            audio_scores: Vec::new(),
            run: Duration::ZERO,
            steady,
            steady_span,
            history: self.history,
            server,
            calls_up_at_end: self.calls_up_at_end,
            generator_cpu_seconds: cpu_seconds,
            task_lag: self.task_lag,
            socket_drops: self.socket_drops,
            notes,
        }
    }
}

/// The SDK's synthetic video at this rate: as many packets a frame as it takes, all of the same size.
fn video_config(video: Video) -> SyntheticVideoConfig {
    let frame_bytes = video.bitrate_kbps as usize * 1000 / 8 / video.frames_per_second as usize;
    let packets = frame_bytes.div_ceil(VIDEO_PACKET_BYTES).max(1);
    SyntheticVideoConfig {
        frames_per_second: video.frames_per_second,
        packets_per_frame: packets,
        packet_bytes: frame_bytes / packets,
        keyframe_bytes: video.keyframe_bytes,
        ..SyntheticVideoConfig::default()
    }
}

/// Longest time that conditions hold a packet, from one client to another.
fn drain_of(groups: &[Group]) -> Duration {
    let up = groups.iter().map(|group| group.path.up.held_max()).max();
    let down = groups.iter().map(|group| group.path.down.held_max()).max();
    up.unwrap_or_default() + down.unwrap_or_default()
}

fn is_loopback(url: &str) -> bool {
    let uri: Option<http::Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
    let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || ip.is_some_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn video_has_the_asked_rate_in_packets_of_one_size() {
        for (bitrate_kbps, frames_per_second, packets, bytes) in
            [(1056, 30, 4, 1100), (300, 15, 3, 833), (50, 120, 1, 52), (2500, 30, 10, 1041)]
        {
            let config = video_config(Video { bitrate_kbps, frames_per_second, keyframe_bytes: 20_000 });
            assert_eq!((config.packets_per_frame, config.packet_bytes), (packets, bytes), "{bitrate_kbps}");
        }
    }

    #[test]
    fn a_server_on_this_machine_is_known_by_its_name() {
        for (url, expected) in [
            ("https://localhost:4433", true),
            ("https://127.0.0.1:4433", true),
            ("https://[::1]:4433", true),
            ("https://calls.example", false),
            ("https://192.0.2.7", false),
        ] {
            assert_eq!(is_loopback(url), expected, "{url}");
        }
    }
}
