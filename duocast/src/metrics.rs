//! One recorder for every crate's instruments, and the process's own figures (`process_*`).

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// How often the process's figures are read.
const PERIOD: Duration = Duration::from_secs(5);

/// Installs the recorder, once for the process; later calls give the same one. Needs a tokio runtime.
///
/// `None` if something else installed a recorder before, as an embedding program may.
pub fn install() -> Option<PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE.get_or_init(start).clone()
}

fn start() -> Option<PrometheusHandle> {
    let buckets = duocast_control::metrics::DURATION_BUCKETS;
    let seconds = Matcher::Suffix("_seconds".into());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, buckets).ok()?;
    let handle = builder.install_recorder().ok()?;
    duocast_control::metrics::describe();
    duocast_router::metrics::describe();
    duocast_turn::describe();
    let process = metrics_process::Collector::default();
    process.describe();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(PERIOD);
        loop {
            tick.tick().await;
            process.collect();
        }
    });
    Some(handle)
}
