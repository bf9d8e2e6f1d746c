//! Log lines: on standard error, coloured on a terminal, or JSON. Whatever level is asked for, none tells an address.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, registry};

use crate::config::{Log, LogFormat};

/// Our own crates: what they log is checked by tests, so every level may be asked for.
const OURS: &str = "duocast";

/// Most that any other library says. Below it quinn prints clients' addresses (a stateless reset at `debug`, each packet at
/// `trace`), `is` their candidates, h2 and hyper whole header sections.
const LIBRARIES: LevelFilter = LevelFilter::WARN;

/// Libraries that print an address, or a piece of an SDP, with a warning, or that a client can have warn at each of its packets.
const OUTSPOKEN: [&str; 5] = ["quinn_udp", "str0m", "is", "turn_client_proto", "turn_server_proto"];

/// Starts logging for the rest of the process. `log.level` was checked with the configuration.
pub fn init(log: &Log) {
    // A second call, as in tests that start several servers, keeps the first.
    let is_terminal = std::io::stderr().is_terminal();
    let _ = subscriber(log, std::io::stderr, is_terminal).try_init();
}

fn subscriber<W>(log: &Log, writer: W, ansi: bool) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let wanted = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.with_ansi(ansi).with_target(false).boxed(),
    };
    registry().with(wanted).with(filter_fn(may_speak)).with(lines)
}

/// False for what could tell an address.
fn may_speak(what: &Metadata<'_>) -> bool {
    let library = what.target().split("::").next().unwrap_or_default();
    let most = if library == OURS || library.strip_prefix(OURS).is_some_and(|rest| rest.starts_with('_')) {
        LevelFilter::TRACE
    } else if OUTSPOKEN.contains(&library) {
        LevelFilter::ERROR
    } else {
        LIBRARIES
    };
    *what.level() <= most
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is logged by these targets at these levels.
    fn logged(level: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = Log { level: level.into(), format: LogFormat::Text };
        let subscriber = subscriber(&log, file.reopen().unwrap(), false);
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!(target: "duocast_router_core::demux", "ours-trace");
            tracing::info!(target: "duocast", "ours-info");
            tracing::warn!(target: "duocastle", "theirs-warn");
            tracing::info!(target: "duocastle", "theirs-info");
            tracing::debug!(target: "quinn_proto::endpoint", "quinn-debug");
            tracing::info!(target: "str0m::session", "str0m-info");
            tracing::warn!(target: "quinn_udp", "udp-warn");
            tracing::warn!(target: "is::agent", "is-warn");
            tracing::error!(target: "is::agent", "is-error");
            tracing::warn!(target: "issuer", "issuer-warn");
            let _span = tracing::trace_span!(target: "quinn_proto", "packet", from = "somebody").entered();
            tracing::info!(target: "duocast", "inside");
        });
        std::fs::read_to_string(file.path()).unwrap()
    }

    #[test]
    fn libraries_say_no_more_than_they_may_whatever_is_asked_for() {
        let shown = ["ours-trace", "ours-info", "theirs-warn", "is-error", "issuer-warn", "inside"];
        let hidden =
            ["theirs-info", "quinn-debug", "str0m-info", "udp-warn", "is-warn", "packet", "somebody"];
        for level in ["trace", "info,quinn_proto=trace,str0m=trace,is=trace,quinn_udp=trace,duocast=trace"] {
            let text = logged(level);
            for word in shown {
                assert!(text.contains(word) || level != "trace", "{level}: {word} is missing in\n{text}");
            }
            for word in hidden {
                assert!(!text.contains(word), "{level}: {word} is in\n{text}");
            }
        }
    }

    #[test]
    fn less_than_they_may_can_be_asked_for() {
        let text = logged("error");
        assert!(
            text.contains("is-error") && !text.contains("theirs-warn") && !text.contains("ours"),
            "{text}"
        );
    }
}
