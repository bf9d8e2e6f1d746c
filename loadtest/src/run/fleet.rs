//! `run --generators N`: this program N times, each with a share of the calls, started together and joined into one report.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;

use super::join::{self, JoinError};
use super::plan::{CallPlan, Part, plan};
use super::progress::say;
use super::scenario::Scenario;
use super::stats::Summary;
use super::stop::{Stop, StopReason};

/// From the start of the processes to that of the run: speech is encoded and accounts are made by then.
const LEAD: Duration = Duration::from_secs(3);

/// The same for each client, for its account.
const LEAD_OF_CLIENT: Duration = Duration::from_millis(4);

/// How long a process may take to its report after it was told to stop. Its own waits add up to less.
const END_MAX: Duration = Duration::from_secs(90);

/// How often a process is asked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a process says before the sentence for which it did nothing.
const REFUSAL: &str = "duocast-loadtest: ";

/// The exit status of a process that did nothing.
const NOTHING_RUN: i32 = 2;

/// Several processes and their shares.
pub(crate) struct Fleet {
    pub(crate) scenario: Scenario,
    pub(crate) generators: u32,
    /// The arguments of each, its share, start and report aside.
    pub(crate) args: Vec<OsString>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetError {
    /// What a generator said: all of them would.
    #[error("{0}")]
    Refused(String),
    #[error("a generator cannot be started: {0}")]
    Start(std::io::Error),
    #[error("no temporary folder: {0}; name one that can be written with TMPDIR")]
    Folder(std::io::Error),
    #[error("no generator left a report: {0}")]
    None(String),
    #[error(transparent)]
    Join(#[from] JoinError),
}

/// How one of them ended.
struct Ended {
    part: Part,
    status: String,
    /// It did nothing, and this is why.
    refusal: Option<String>,
}

/// Runs them to their end, or to `stop`, and joins their reports.
pub(crate) async fn run(fleet: Fleet, stop: Arc<Stop>) -> Result<Summary, FleetError> {
    let Fleet { scenario, generators, args } = fleet;
    let folder = tempfile::tempdir().map_err(FleetError::Folder)?;
    let whole = plan(&scenario);
    let clients: usize = whole.calls.iter().map(CallPlan::clients).sum();
    let lead = LEAD + LEAD_OF_CLIENT * u32::try_from(clients).unwrap_or(u32::MAX);
    let start_at = SystemTime::now() + lead;
    say(&format!("{generators} generators, which start together in {:.0} s", lead.as_secs_f64()));
    let parts = || (1..=generators).map(move |number| Part { number, of: generators });
    let path = |part: Part| folder.path().join(format!("{}.json", part.number));
    let mut running = JoinSet::new();
    for part in parts() {
        let child = spawn(&args, part, start_at, &path(part)).map_err(FleetError::Start)?;
        running.spawn(watch(child, part, Arc::clone(&stop)));
    }
    let mut ended = Vec::new();
    while let Some(one) = running.join_next().await {
        let Ok(one) = one else { continue };
        if one.refusal.is_some() {
            // What one cannot use the others cannot either.
            stop.now(StopReason::Interrupted);
        }
        ended.push(one);
    }
    if let Some(refusal) = ended.iter().find_map(|one| one.refusal.clone()) {
        return Err(FleetError::Refused(refusal));
    }
    let mut reports = Vec::new();
    let mut lost = Vec::new();
    for part in parts() {
        let file = std::fs::File::open(path(part)).ok();
        let json = file.and_then(|file| serde_json::from_reader(BufReader::new(file)).ok());
        let summary = json.and_then(|json: serde_json::Value| join::read("", &json).ok());
        match summary {
            Some(summary) => reports.push((format!("generator {part}"), summary)),
            None => lost.push(part),
        }
    }
    let status = |part: Part| {
        let one = ended.iter().find(|one| one.part == part);
        one.map_or_else(|| "it was not watched".into(), |one| one.status.clone())
    };
    if reports.is_empty() {
        return Err(FleetError::None(lost.first().map_or_else(String::new, |part| status(*part))));
    }
    let mut joined = join::join(reports)?;
    for part in lost {
        let mut share = whole.clone();
        share.keep(part);
        let calls = share.calls.len();
        let viewers = scenario.broadcast.map_or(0, |broadcast| broadcast.viewers * calls);
        joined.note_lost(part, calls as u64, viewers as u64, &status(part));
    }
    Ok(joined)
}

/// A process of the fleet. Dropping it ends it.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which leaves nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(
    args: &[OsString],
    part: Part,
    start_at: SystemTime,
    report: &std::path::Path,
) -> std::io::Result<Process> {
    let since_1970 = start_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args);
    command.args(["--part", &part.to_string(), "--start-at", &format!("{:.3}", since_1970.as_secs_f64())]);
    command.arg("--json").arg(report).arg("--while-stdin-open");
    // A group of its own: Ctrl-C reaches this process alone, which then tells them.
    command.process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().map(Process)
}

/// Passes on what it says, tells it to stop, and waits for its end.
async fn watch(mut process: Process, part: Part, stop: Arc<Stop>) -> Ended {
    let stdin = process.0.stdin.take();
    let lines = process.0.stderr.take().map(|stderr| tokio::task::spawn_blocking(move || tell(stderr, part)));
    tokio::select! {
        _ = end_of(&mut process) => {}
        _ = stop.stopped() => {}
    }
    // It stops when nobody holds its input any more.
    drop(stdin);
    let status = tokio::time::timeout(END_MAX, end_of(&mut process)).await;
    drop(process);
    let last = match lines {
        Some(lines) => lines.await.unwrap_or_default(),
        None => String::new(),
    };
    let status = match status {
        Ok(status) => status,
        Err(_) => Err(std::io::Error::other("it did not end, and was killed")),
    };
    let code = status.as_ref().ok().and_then(ExitStatus::code);
    let refusal = last.strip_prefix(REFUSAL).filter(|_| code == Some(NOTHING_RUN)).map(str::to_owned);
    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    if refusal.is_none() && code.is_none_or(|code| code >= NOTHING_RUN) {
        say(&format!("generator {part} ended without a report: {status}"));
    }
    Ended { part, status, refusal }
}

async fn end_of(process: &mut Process) -> std::io::Result<ExitStatus> {
    loop {
        if let Some(status) = process.0.try_wait()? {
            return Ok(status);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Passes its lines on. Gives the last one.
fn tell(stderr: ChildStderr, part: Part) -> String {
    let mut last = String::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if !line.starts_with(REFUSAL) {
            say(&format!("{part}: {line}"));
        }
        last = line;
    }
    last
}
