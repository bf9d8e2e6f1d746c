//! Real calls in numbers, through the real control plane and router: how many a server carries, and what people hear.
//!
//! - `run`: scenario, plan, script of a call, figures, report.
//! - `capacity`: runs a scenario with more and more calls, until a bound breaks.
//! - `peer`: one synthetic participant, pure.
//! - `net`: what a client's network does to its packets, pure.
//! - `over_time`: distributions by when they were seen, pure.
//! - `lane`: the threads that carry many participants' media.
//! - `score`: how received speech sounds beside what was said, pure.
//! - `plot`: charts as SVG, pure.
//! - `peers`: what one core of our server and of others costs under the same calls.

mod capacity;
mod cli;
#[cfg(any(test, duocast_fuzz))]
pub mod fuzz;
mod histogram;
mod lane;
mod net;
mod over_time;
mod peer;
mod peers;
mod plot;
mod run;
mod score;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

/// The program.
pub fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("DUOCAST_LOG").unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    cli::execute(cli::Cli::parse()).unwrap_or_else(|sentence| cli::refuse(&sentence))
}
