//! `hostile` on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{FAILED, FINE, Output, print, program, runtime};
use crate::{peers, run};

#[derive(Debug, Args)]
#[command(
    after_help = "The server runs on the second core that this process may use; everything else on the first.\n\
    Exit status: 0 all held; 1 strangers got something, media was lost, or calls did not connect; 2 nothing was run."
)]
pub(super) struct HostileArgs {
    /// Two-party calls that run all the time.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=peers::CALLS_MAX))]
    calls: u64,
    /// Calls that connect while junk comes in.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=peers::CALLS_MAX))]
    joining: u64,
    /// Packets of junk a second.
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    junk: u64,
    /// How long is measured without junk, and with it, from 1s to 1m.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = siege_time)]
    duration: Duration,
    /// The longest gap of audio that is allowed. Unset: it is told, not judged.
    #[arg(long, value_name = "TIME", value_parser = any_time)]
    gap_max: Option<Duration>,
    /// The program of ours. Unset: the one beside this program.
    #[arg(long, value_name = "PATH")]
    duocast: Option<PathBuf>,
    /// Write what was found as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Floods the server and tells what became of its calls.
pub(super) fn besiege(args: HostileArgs) -> Result<u8, String> {
    let count = |n: u64| usize::try_from(n).unwrap_or(1);
    let options = peers::SiegeOptions {
        calls: count(args.calls),
        joining: count(args.joining),
        junk_per_second: args.junk,
        duration: args.duration,
        duocast: program(args.duocast)?,
        gap_max: args.gap_max,
    };
    // Before the run: a report that cannot be kept is known now.
    let json = Output::create(args.json)?;
    let siege = runtime()?.block_on(peers::besiege(options)).map_err(|e| e.to_string())?;
    if let Some(output) = json {
        output.write_json(&siege.json())?;
    }
    print(&siege.table())?;
    Ok(if siege.holds() { FINE } else { FAILED })
}

fn any_time(text: &str) -> Result<Duration, String> {
    run::parse_time(text).ok_or_else(|| "allowed is a time such as 200ms".into())
}

fn siege_time(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_secs(1)..=Duration::from_secs(60);
    any_time(text)
        .ok()
        .filter(|time| allowed.contains(time))
        .ok_or_else(|| "allowed is a time from 1s to 1m".into())
}
