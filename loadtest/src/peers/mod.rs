//! `compare-peers`: what one core of a server costs under the same two-party calls, ours and others, in one run.
//!
//! - [`Peer`]: a server under test. [`router`], [`coturn`], [`janus`], [`bare`].
//! - [`generator`]: the one thread that sends and receives for all parties, through [`wire`]. [`media`]: what it sends.
//! - [`stun`], [`rtp`], [`wire`], [`figures`], [`table`], [`plot`]: pure.
//! - [`hostile`]: what a flood of junk does to the calls of our server.
//! - [`process`], [`machine`]: the server's process, and the machine that both run on.

mod bare;
mod coturn;
mod figures;
mod generator;
mod hostile;
mod janus;
mod machine;
mod measure;
mod media;
mod plot;
mod process;
mod router;
mod rtp;
mod stun;
mod table;
mod turn;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use bare::serve as serve_bare_loop;
pub(crate) use hostile::{SiegeOptions, besiege};
pub(crate) use measure::compare;
pub(crate) use plot::svg;
pub(crate) use table::table;

use process::Cost;

use crate::run::Residence;

/// Fuzzed: what another server sends.
#[cfg(any(test, duocast_fuzz))]
pub(crate) fn fuzz(input: &[u8]) {
    if let Some(response) = stun::parse(input) {
        assert!(response.nonce.is_none_or(|nonce| nonce.len() < input.len()));
    }
    let _ = stun::channel_data(input);
    if let Some((header, payload)) = rtp::Header::parse(input) {
        assert_eq!([&header.bytes(), payload].concat(), input);
    }
}

/// Longest steady phase: a TURN permission lasts five minutes (RFC 8656 section 9), and nothing refreshes it.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(240);

/// Most calls.
pub(crate) const CALLS_MAX: u64 = 2_000;

/// What every server gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Two-party calls.
    pub(crate) calls: usize,
    /// The steady phase.
    pub(crate) duration: Duration,
}

/// What the command line asks for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) load: Load,
    pub(crate) peers: Vec<Which>,
    /// The `duocast` program to measure.
    pub(crate) duocast: PathBuf,
    /// Its worker in real time.
    pub(crate) realtime: bool,
}

/// The servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Which {
    /// Our server, `duocast up` with one media worker
    Duocast,
    /// coturn relaying both sides, from Debian's package
    Coturn,
    /// Janus with its VideoRoom, from Debian's package
    Janus,
    /// Receive, open, seal, send: no ICE, DTLS or RTCP
    Bare,
    /// The same with packets to one address leaving together (GSO)
    BareGso,
}

/// Where a server is to run, and for what.
#[derive(Debug, Clone)]
struct Setup {
    load: Load,
    server_core: usize,
    duocast: PathBuf,
    realtime: bool,
}

/// A server under test, started and ready for calls. Dropping it ends it.
trait Peer {
    /// Sets a call up and puts its ends on the generator; comes back when media can pass both ways.
    async fn connect(&mut self, call: usize, generator: &generator::Link) -> Result<(), PeersError>;

    /// What its process has cost so far.
    fn cost(&self) -> Result<Cost, PeersError>;

    /// How long it says that media was in it so far. Others than ours do not say.
    async fn residence(&self) -> Option<Residence> {
        None
    }
}

/// Why a server could not be measured, or nothing at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeersError {
    #[error("not installed: apt-get install {0}")]
    NotInstalled(&'static str),
    #[error("{name} does not start: {why}")]
    Start { name: &'static str, why: String },
    #[error("{name} does not set up a call: {why}")]
    Call { name: &'static str, why: String },
    #[error("call {call} was not up after {} s", measure::CONNECT_MAX.as_secs())]
    Slow { call: usize },
    #[error("{0} ended while it was measured")]
    Died(&'static str),
    #[error("the generator's thread has ended")]
    GeneratorGone,
    #[error("no socket: {0}; raise the limit of open files (ulimit -n)")]
    Socket(#[from] std::io::Error),
    #[error("no temporary folder: {0}; name one that can be written with TMPDIR")]
    Folder(std::io::Error),
    #[error("two cores are needed, one for the server and one for the generator; this process may use {0}")]
    Cores(usize),
    #[error("the server's metrics cannot be read: {0}")]
    Metrics(#[from] crate::run::ScrapeError),
    #[error("this program cannot keep to core {core}: {why}")]
    Pin { core: usize, why: String },
    #[error("stopped by ctrl-C")]
    Interrupted,
}
