//! The command line.

mod hostile;
mod reports;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::{Args, Parser, Subcommand, ValueEnum};
use duocast_client::{ChannelConfig, DoorChoice, Roots};

use self::reports::{Output, ReportArgs, Reports};
use crate::{capacity, peers, run};

/// Everything went as it should.
const FINE: u8 = 0;
/// Calls failed, or an assertion does not hold.
const FAILED: u8 = 1;
/// Nothing was run: the command line, the scenario or the target cannot be used.
const USAGE: u8 = 2;

/// Most media threads. Each carries thousands of legs; more than cores only adds switching.
const LANES_MAX: u64 = 64;

/// How far ahead a common start may be: further is a mistake, such as milliseconds for seconds.
const START_MAX: Duration = Duration::from_secs(24 * 3600);

/// Real calls in numbers, through the real control plane and router.
#[derive(Debug, Parser)]
#[command(name = "duocast-loadtest", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts the calls of a scenario, shows how they are doing and reports at the end.
    Run(Box<RunArgs>),
    /// Joins the reports of one run's generators, `run --part I/N --json FILE` on several machines, into one.
    Join(JoinArgs),
    /// Finds how many calls the server carries: runs a scenario with more and more of them, until a bound breaks.
    Capacity(Box<CapacityArgs>),
    /// Compares two reports of `run --json`: what changed, and what got worse.
    Compare(CompareArgs),
    /// Measures our server and others, one core each, under the same two-party calls: CPU, memory, added latency.
    ComparePeers(PeersArgs),
    /// Floods our server with junk while calls run and connect: are they heard, and what do strangers get?
    Hostile(hostile::HostileArgs),
    /// The server of compare-peers' bare loop.
    #[command(hide = true)]
    BareLoop {
        /// Parties.
        #[arg(long)]
        legs: u32,
        /// Packets of one size to one address leave together.
        #[arg(long)]
        coalesce: bool,
    },
    /// Lists the scenarios in a folder, with a line on each.
    Scenarios {
        /// The folder.
        #[arg(default_value = "loadtest/scenarios")]
        folder: PathBuf,
    },
    /// Lists the keys of a scenario and of the JSON report, as the tables in docs/loadtest.md.
    Keys,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 fine; 1 calls failed or an assertion does not hold; 2 nothing was run.\n\
    Ctrl-C ends the run in order, with a report of what there is; a second one at once."
)]
struct RunArgs {
    /// The scenario, such as loadtest/scenarios/two-party.toml.
    scenario: PathBuf,
    /// Calls, in the place of the scenario's.
    #[arg(long, value_name = "N")]
    calls: Option<String>,
    /// Viewers of each broadcast, in the place of the scenario's.
    #[arg(long, value_name = "N")]
    viewers: Option<String>,
    /// How long all calls stay up, such as 20s or 5m, in the place of the scenario's.
    #[arg(long, value_name = "TIME")]
    duration: Option<String>,
    /// The seed, in the place of the scenario's.
    #[arg(long, value_name = "N")]
    seed: Option<String>,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    generators: GeneratorArgs,
    /// A bound on a key of the report, such as 'join_p99_ms<500'. May be repeated.
    #[arg(long = "assert", value_name = "KEY<VALUE")]
    assertions: Vec<run::Assertion>,
    #[command(flatten)]
    reports: ReportArgs,
    /// Write what was said and what the scored receivers heard of it, as 16 kHz WAV files.
    #[arg(long, value_name = "DIR")]
    recordings: Option<PathBuf>,
}

/// One generator or several.
#[derive(Debug, Args)]
struct GeneratorArgs {
    /// Processes that share the calls, on this machine; their reports are joined into one.
    #[arg(long, value_name = "N", conflicts_with_all = ["part", "start_at"])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(run::PARTS_MAX)))]
    generators: Option<u32>,
    /// Take one share of the calls, such as 2/3; others, perhaps on other machines, take the rest. See `join`.
    #[arg(long, value_name = "I/N")]
    part: Option<run::Part>,
    /// When to start, in seconds since 1970, such as $(date -d '+1 min' +%s): the same for all parts.
    #[arg(long, value_name = "SECONDS", value_parser = start_at)]
    start_at: Option<SystemTime>,
    /// Stop in order when standard input ends.
    #[arg(long, hide = true)]
    while_stdin_open: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 fine; 1 calls failed or an assertion does not hold; 2 nothing was joined."
)]
struct JoinArgs {
    /// Reports of `run --part I/N --json FILE`, one of each part.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// A bound on a key of the joined report, such as 'join_p99_ms<500'. May be repeated.
    #[arg(long = "assert", value_name = "KEY<VALUE")]
    assertions: Vec<run::Assertion>,
    #[command(flatten)]
    reports: ReportArgs,
}

/// The server, and how it is reached.
#[derive(Debug, Args)]
struct TargetArgs {
    /// The control plane.
    #[arg(long, value_name = "URL", default_value = "https://localhost:4433")]
    target: String,
    /// Which transport clients use.
    #[arg(long, value_enum, default_value_t = Door::Auto)]
    door: Door,
    /// The server's data directory: its development key and certificate are taken from there. Unset: the server's default.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// PEM file with the certificate to trust. Unset: the data directory's, else the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The development issuer's key, with which accounts and tokens are made. Unset: the data directory's.
    #[arg(long, value_name = "FILE", conflicts_with = "tokens")]
    dev_key: Option<PathBuf>,
    /// Use these accounts: lines of `HANDLE TOKEN`, two for each call, mutual contacts with calling enabled; host and viewers for
    /// each broadcast.
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// The server's Prometheus page.
    #[arg(long, value_name = "URL", default_value = "http://localhost:8080/metrics")]
    metrics_url: String,
    /// The server's process on this machine, for its memory.
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Media threads of the generator.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=LANES_MAX))]
    lanes: u64,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Doubles the calls until a bound breaks, halves the distance, and asks three times at the knee. What broke once is \
    asked again before it counts.\n\
    Exit status: 0 the knee is known; 1 it is not (interrupted, server lost, or nothing holds); 2 nothing was run.\n\
    Ctrl-C ends the search in order, with a report of what there is; a second one at once."
)]
struct CapacityArgs {
    /// The scenario, such as loadtest/scenarios/voice.toml. Its number of calls does not matter.
    scenario: PathBuf,
    /// What must hold, such as 'loss_percent<0.5'. May be repeated. Unset: nothing fails, less than 0.5 % is lost, audio's p99
    /// is below 100 ms, and first audio's p95 below 1 s.
    #[arg(long = "bound", value_name = "KEY<VALUE")]
    bounds: Vec<run::Assertion>,
    /// Calls of the first run.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    start: u64,
    /// Calls of the largest run.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    max: u64,
    /// How close the knee is to be known, in percent of it.
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, value_parser = percent)]
    precision: f64,
    /// How long all calls of a run stay up, such as 10s, in the place of the scenario's.
    #[arg(long, value_name = "TIME", default_value = "10s")]
    duration: String,
    /// The seed, in the place of the scenario's.
    #[arg(long, value_name = "N")]
    seed: Option<String>,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    reports: ReportArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 no asserted figure got worse by more than the tolerance; 1 one did; 2 nothing was compared."
)]
struct CompareArgs {
    /// The report to compare with.
    a: PathBuf,
    /// The report that should not be worse.
    b: PathBuf,
    /// A key that must not get worse, such as loss_percent or groups.far.received_p50_ms. May be repeated. Unset: calls_up,
    /// calls_failed, loss_percent, accept_to_first_audio_p95_ms, one_way_audio_p99_ms and router_cpu_us_per_packet.
    #[arg(long = "assert", value_name = "KEY")]
    assertions: Vec<String>,
    /// How much worse a figure may be, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0, value_parser = percent)]
    tolerance: f64,
    /// Show the figures that are the same as well.
    #[arg(long)]
    all: bool,
    /// Write the comparison as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Servers run one after the other, on the second core that this process may use; everything else on the first.\n\
    Exit status: 0 all were measured and delivered 99 %; 1 not all; 2 nothing was run."
)]
struct PeersArgs {
    /// Two-party calls.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=peers::CALLS_MAX))]
    calls: u64,
    /// How long each server is measured with all calls up, from 1s to 4m.
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = steady_time)]
    duration: Duration,
    /// Only these servers, in this order.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = peers::Which::value_variants().to_vec())]
    peers: Vec<peers::Which>,
    /// The program of ours to measure. Unset: the one beside this program.
    #[arg(long, value_name = "PATH")]
    duocast: Option<PathBuf>,
    /// Run its media worker before everything else on its core, as `duocast up --realtime`; takes the right to.
    #[arg(long)]
    realtime: bool,
    /// Write the figures as JSON, and a plot beside it as SVG.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Door {
    /// QUIC, and TCP where that does not get through.
    Auto,
    /// HTTP/3 over QUIC.
    H3,
    /// HTTP/2 over TLS.
    H2,
}

/// Does what was asked for. `Err` is a sentence about what cannot be used.
pub(crate) fn execute(cli: Cli) -> Result<ExitCode, String> {
    match cli.command {
        Command::Run(args) => run_scenario(*args),
        Command::Join(args) => join_reports(args),
        Command::Capacity(args) => find_capacity(*args),
        Command::Compare(args) => compare_reports(args),
        Command::ComparePeers(args) => compare_peers(args),
        Command::Hostile(args) => hostile::besiege(args),
        Command::BareLoop { legs, coalesce } => peers::serve_bare_loop(legs, coalesce)
            .map(|()| FINE)
            .map_err(|error| format!("the bare loop cannot go on: {error}")),
        Command::Scenarios { folder } => list_scenarios(&folder),
        Command::Keys => print(&run::keys_markdown()),
    }
    .map(ExitCode::from)
}

/// Tells what cannot be used.
pub(crate) fn refuse(sentence: &str) -> ExitCode {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(anstream::stderr(), "duocast-loadtest: {sentence}");
    ExitCode::from(USAGE)
}

fn run_scenario(args: RunArgs) -> Result<u8, String> {
    let overrides = run::Overrides {
        calls: args.calls.clone(),
        viewers: args.viewers.clone(),
        duration: args.duration.clone(),
        seed: args.seed.clone(),
    };
    let scenario = run::Scenario::load(&args.scenario, &overrides).map_err(|e| e.to_string())?;
    let alike = args.of_each();
    let RunArgs { target: server, generators, assertions, reports, recordings, .. } = args;
    let target = target(server)?;
    let reports = Reports::create(reports)?;
    let summary = until_interrupted(async |stop| {
        if let Some(count) = generators.generators {
            let fleet = run::Fleet { scenario, generators: count, args: alike };
            return run::run_fleet(fleet, stop).await.map_err(|e| e.to_string());
        }
        if generators.while_stdin_open {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || stop_with_stdin(&stop));
        }
        let GeneratorArgs { part, start_at, .. } = generators;
        let options = run::Options { scenario, target, part, start_at, recordings };
        run::run(options, stop).await.map_err(|e| e.to_string())
    })??;
    report(&summary, &assertions, reports)
}

fn join_reports(args: JoinArgs) -> Result<u8, String> {
    let JoinArgs { files, assertions, reports } = args;
    let mut parts = Vec::new();
    for path in &files {
        let name = path.display().to_string();
        let part = run::read_joinable(&name, &read_report(path)?).map_err(|e| e.to_string())?;
        parts.push((name, part));
    }
    let joined = run::join(parts).map_err(|e| e.to_string())?;
    report(&joined, &assertions, Reports::create(reports)?)
}

/// Writes and shows the figures of a run.
fn report(summary: &run::Summary, assertions: &[run::Assertion], reports: Reports) -> Result<u8, String> {
    let broken: Vec<String> = assertions.iter().filter_map(|a| a.check(summary).err()).collect();
    reports.write(|| run::json(summary), || run::html(summary, &broken))?;
    print(&run::table(summary, &broken))?;
    Ok(if summary.calls_failed > 0 || !broken.is_empty() { FAILED } else { FINE })
}

/// Stops in order when who started this program is gone, or closes its input to say so.
fn stop_with_stdin(stop: &run::Stop) {
    // An input that cannot be read has ended.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    stop.now(run::StopReason::Interrupted);
}

impl RunArgs {
    /// What each of several generators is told, as it was told this one.
    fn of_each(&self) -> Vec<OsString> {
        let Self {
            scenario,
            calls,
            viewers,
            duration,
            seed,
            target,
            recordings,
            generators: _,
            assertions: _,
            reports: _,
        } = self;
        let TargetArgs { target: url, door, data_dir, ca, dev_key, tokens, metrics_url, server_pid, lanes } =
            target;
        let door = door.to_possible_value().map(|value| value.get_name().to_owned());
        let texts = [
            ("--calls", calls.clone()),
            ("--viewers", viewers.clone()),
            ("--duration", duration.clone()),
            ("--seed", seed.clone()),
            ("--target", Some(url.clone())),
            ("--door", door),
            ("--metrics-url", Some(metrics_url.clone())),
            ("--server-pid", server_pid.map(|pid| pid.to_string())),
            ("--lanes", Some(lanes.to_string())),
        ];
        let paths = [
            ("--data-dir", data_dir),
            ("--ca", ca),
            ("--dev-key", dev_key),
            ("--tokens", tokens),
            // Each names its files by the calls of the whole run.
            ("--recordings", recordings),
        ];
        let texts = texts.into_iter().map(|(flag, value)| (flag, value.map(OsString::from)));
        let paths = paths.into_iter().map(|(flag, path)| (flag, path.clone().map(OsString::from)));
        let mut args = vec![OsString::from("run"), scenario.clone().into_os_string()];
        for (flag, value) in texts.chain(paths) {
            // One word: a value may begin with a dash.
            args.extend(value.map(|value| {
                let mut word = OsString::from(format!("{flag}="));
                word.push(value);
                word
            }));
        }
        args
    }
}

/// Seconds since 1970.
fn start_at(text: &str) -> Result<SystemTime, String> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let at = seconds.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(seconds));
    let soon = SystemTime::now() + START_MAX;
    at.filter(|at| *at < soon).ok_or_else(|| {
        "allowed are seconds since 1970, at most a day ahead, such as $(date -d '+1 min' +%s)".into()
    })
}

fn find_capacity(args: CapacityArgs) -> Result<u8, String> {
    let overrides =
        run::Overrides { duration: Some(args.duration), seed: args.seed, ..run::Overrides::default() };
    let scenario = run::Scenario::load(&args.scenario, &overrides).map_err(|e| e.to_string())?;
    let bounds = match args.bounds.is_empty() {
        true => capacity::bounds(&scenario)
            .iter()
            .map(|bound| bound.parse())
            .collect::<Result<Vec<run::Assertion>, String>>()?,
        false => args.bounds,
    };
    let options = capacity::Options {
        scenario,
        target: target(args.target)?,
        start: usize::try_from(args.start).unwrap_or(1),
        max: usize::try_from(args.max).unwrap_or(1),
        precision_percent: args.precision,
        bounds,
    };
    let reports = Reports::create(args.reports)?;
    let found =
        until_interrupted(async |stop| capacity::find(options, stop).await)?.map_err(|e| e.to_string())?;
    reports.write(|| found.json(), || found.html())?;
    print(&found.table())?;
    Ok(if found.is_complete() { FINE } else { FAILED })
}

fn compare_reports(args: CompareArgs) -> Result<u8, String> {
    let [a, b] = [&args.a, &args.b].map(|path| read_report(path));
    let names = [&args.a, &args.b].map(|path| path.display().to_string());
    let comparison = run::Comparison::of(names, [&a?, &b?], args.tolerance, &args.assertions)?;
    if let Some(json) = Output::create(args.json)? {
        json.write_json(&comparison.json())?;
    }
    print(&comparison.table(args.all))?;
    Ok(if comparison.holds() { FINE } else { FAILED })
}

fn read_report(path: &Path) -> Result<serde_json::Value, String> {
    let wrong = |error: &dyn std::fmt::Display| {
        format!("{}: cannot be read ({error}): give a file written by run --json", path.display())
    };
    let file = std::fs::File::open(path).map_err(|e| wrong(&e))?;
    serde_json::from_reader(std::io::BufReader::new(file)).map_err(|e| wrong(&e))
}

/// A percentage of 0 to 100.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "allowed is a number from 0 to 100".into())
}

fn compare_peers(args: PeersArgs) -> Result<u8, String> {
    let duocast = program(args.duocast)?;
    let options = peers::Options {
        load: peers::Load { calls: usize::try_from(args.calls).unwrap_or(1), duration: args.duration },
        peers: args.peers,
        duocast,
        realtime: args.realtime,
    };
    let plot = args.json.as_ref().map(|path| path.with_extension("svg"));
    let reports = Reports { json: Output::create(args.json)?, page: Output::create(plot)? };
    let comparison = runtime()?.block_on(peers::compare(options)).map_err(|e| e.to_string())?;
    reports.write(|| comparison.json(), || peers::svg(&comparison))?;
    print(&peers::table(&comparison))?;
    Ok(if comparison.is_sound() { FINE } else { FAILED })
}

/// The program of ours that is measured.
fn program(named: Option<PathBuf>) -> Result<PathBuf, String> {
    let beside =
        || std::env::current_exe().map(|own| own.with_file_name("duocast")).map_err(|e| e.to_string());
    named.map_or_else(beside, Ok)
}

/// A time such as `20s`, as scenarios have them.
fn steady_time(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_secs(1)..=peers::DURATION_MAX;
    let time = run::parse_time(text).filter(|time| allowed.contains(time));
    time.ok_or_else(|| "allowed is a time from 1s to 4m".into())
}

/// The server that the command line names.
fn target(args: TargetArgs) -> Result<run::Target, String> {
    let data_dir = args.data_dir.unwrap_or_else(default_data_dir);
    let roots = roots(args.ca.as_deref(), &data_dir)?;
    let door = match args.door {
        Door::Auto => DoorChoice::Auto,
        Door::H3 => DoorChoice::H3,
        Door::H2 => DoorChoice::H2,
    };
    let accounts = match (args.tokens, args.dev_key) {
        (Some(file), _) => run::Source::Tokens(file),
        (None, Some(file)) => run::Source::DevKey(file),
        (None, None) => run::Source::DevKey(data_dir.join(run::DEV_KEY_FILE)),
    };
    Ok(run::Target {
        server: ChannelConfig::new(args.target, roots).with_door(door),
        accounts,
        watch: run::Watch::new(&args.metrics_url, args.server_pid).map_err(|e| e.to_string())?,
        lanes: usize::try_from(args.lanes).unwrap_or(1),
    })
}

/// Does it, and tells it when Ctrl-C is pressed.
fn until_interrupted<T>(work: impl AsyncFnOnce(Arc<run::Stop>) -> T) -> Result<T, String> {
    Ok(runtime()?.block_on(async {
        let stop = Arc::new(run::Stop::default());
        let interrupts = tokio::spawn(watch_interrupts(Arc::clone(&stop)));
        let done = work(stop).await;
        interrupts.abort();
        done
    }))
}

/// One worker for signalling beside the main task; media has threads of its own.
fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|e| format!("no runtime: {e}"))
}

async fn watch_interrupts(stop: Arc<run::Stop>) {
    // Without a handler the default one ends the process, which is what a failure here leaves.
    if tokio::signal::ctrl_c().await.is_ok() {
        stop.now(run::StopReason::Interrupted);
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    }
}

fn roots(ca: Option<&Path>, data_dir: &Path) -> Result<Roots, String> {
    let own = data_dir.join(run::CERT_FILE);
    let file = match ca {
        Some(file) => file,
        None if own.is_file() => &own,
        None => return Ok(Roots::System),
    };
    let pem = std::fs::read_to_string(file);
    pem.map(Roots::Pem).map_err(|e| {
        format!("{}: cannot be read ({e}): name the server's certificate with --ca", file.display())
    })
}

/// Where a server that was told nothing else keeps its keys.
fn default_data_dir() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")));
    base.unwrap_or_default().join("duocast")
}

fn list_scenarios(folder: &Path) -> Result<u8, String> {
    let unreadable = |e: std::io::Error| {
        format!("{}: cannot be read ({e}): name the folder of scenarios", folder.display())
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    let lines = paths.iter().map(|path| {
        let line = match run::Scenario::load(path, &run::Overrides::default()) {
            Ok(scenario) => scenario.description,
            Err(error) => format!("cannot be used: {error}"),
        };
        format!("{:<40} {line}\n", path.display())
    });
    print(&lines.collect::<String>())
}

fn print(text: &str) -> Result<u8, String> {
    // A reader such as `head` that has seen enough is no failure.
    let _ = write!(anstream::stdout(), "{text}");
    Ok(FINE)
}
