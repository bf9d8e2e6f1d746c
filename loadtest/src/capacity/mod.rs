//! `capacity`: how many calls a server carries before a stated bound breaks.
//!
//! - [`search`]: which load to try next. [`confidence`]: how sure the result is. [`report`]: the knee as JSON, table and page. Pure.

mod confidence;
mod report;
mod search;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::run::{self, Assertion, RunError, Scenario, Stop, StopReason, Target, say};
use confidence::Estimate;
use search::{Limit, Search, Verdict};

/// The bounds where none are asked for: nothing fails, and what people would hear as a fault stays away.
pub(crate) fn bounds(scenario: &Scenario) -> [&'static str; 4] {
    let first_audio = match scenario.broadcast {
        Some(_) => "watch_to_first_audio_p95_ms<1000",
        None => "accept_to_first_audio_p95_ms<1000",
    };
    ["calls_failed=0", "loss_percent<0.5", "one_way_audio_p99_ms<100", first_audio]
}

/// Between two runs: the server ends the sessions of the one before.
const PAUSE: Duration = Duration::from_secs(1);

/// What the command line asks for.
pub(crate) struct Options {
    pub(crate) scenario: Scenario,
    pub(crate) target: Target,
    /// Calls of the first run, and of the largest.
    pub(crate) start: usize,
    pub(crate) max: usize,
    pub(crate) precision_percent: f64,
    pub(crate) bounds: Vec<Assertion>,
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
struct Step {
    calls: usize,
    verdict: Verdict,
    /// Sentences on the bounds that did not hold.
    broken: Vec<String>,
    /// The run's report, without what it showed over time.
    report: Value,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Capacity {
    scenario: String,
    description: String,
    seed: u64,
    bounds: Vec<Assertion>,
    precision_percent: f64,
    steps: Vec<Step>,
    search: Search,
    /// Why it ended before the knee was known.
    ended_early: Option<String>,
}

/// Tries loads until the knee is known, or to `stop`. Fails only if the first run cannot start.
pub(crate) async fn find(options: Options, stop: Arc<Stop>) -> Result<Capacity, RunError> {
    let Options { scenario, bounds, start, max, precision_percent, .. } = &options;
    let mut found = Capacity {
        scenario: scenario.name.clone(),
        description: scenario.description.clone(),
        seed: scenario.seed,
        bounds: bounds.clone(),
        precision_percent: *precision_percent,
        steps: Vec::new(),
        search: Search::new(*start, *max, precision_percent / 100.0),
        ended_early: None,
    };
    while let Some(calls) = found.search.next() {
        if !found.steps.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
        if stop.reason().is_some() {
            found.ended_early = Some("interrupted".into());
            break;
        }
        say(&format!("run {}: {calls} calls", found.steps.len() + 1));
        let summary = match run_once(&options, calls, &stop).await {
            Ok(summary) => summary,
            Err(error) if found.steps.is_empty() => return Err(error),
            Err(error) => {
                found.ended_early = Some(format!("a run with {calls} calls could not start: {error}"));
                break;
            }
        };
        if summary.ended == "interrupted" {
            found.ended_early = Some("interrupted".into());
            break;
        }
        let broken: Vec<String> = bounds.iter().filter_map(|bound| bound.check(&summary).err()).collect();
        let is_lost = summary.ended == "server_lost";
        let verdict = match (is_lost, broken.is_empty(), summary.generator.is_bottleneck) {
            (false, true, _) => Verdict::Holds,
            (false, false, true) => Verdict::Unseen,
            (true, ..) | (false, false, false) => Verdict::Breaks,
        };
        match broken.first() {
            None => say(&format!("  {calls} calls hold")),
            Some(first) => say(&format!("  {calls} calls do not: {first}")),
        }
        found.search.tell(calls, verdict);
        found.steps.push(Step { calls, verdict, broken, report: short(run::json(&summary)) });
        if is_lost {
            found.ended_early = Some(format!("the server was lost with {calls} calls"));
            break;
        }
    }
    Ok(found)
}

async fn run_once(options: &Options, calls: usize, stop: &Arc<Stop>) -> Result<run::Summary, RunError> {
    let step = Arc::new(Stop::default());
    let (outer, inner) = (Arc::clone(stop), Arc::clone(&step));
    let forward = tokio::spawn(async move {
        outer.stopped().await;
        inner.now(StopReason::Interrupted);
    });
    let options = run::Options {
        scenario: Scenario { calls, ..options.scenario.clone() },
        target: options.target.clone(),
        part: None,
        start_at: None,
        recordings: None,
    };
    let summary = run::run(options, step).await;
    forward.abort();
    summary
}

/// A report without its long lists.
fn short(mut report: Value) -> Value {
    if let Some(keys) = report.as_object_mut() {
        keys.retain(|key, _| !key.ends_with("_over_time") && key != "mergeable");
    }
    report
}

impl Capacity {
    /// The knee is known, or that there is none below the largest load.
    pub(crate) fn is_complete(&self) -> bool {
        self.ended_early.is_none() && self.search.limit() != Limit::Nothing
    }

    /// Calls for each core that the router's workers used, in the runs at the knee that held.
    fn calls_per_router_core(&self) -> Option<Estimate> {
        let knee = self.search.holds()?;
        let runs = self.steps.iter().filter(|step| step.calls == knee && step.verdict == Verdict::Holds);
        let cores = runs.filter_map(|step| step.report["router_cpu_cores"].as_f64());
        let per_core: Vec<f64> =
            cores.filter(|cores| *cores > 0.0).map(|cores| knee as f64 / cores).collect();
        Estimate::of(&per_core)
    }
}
