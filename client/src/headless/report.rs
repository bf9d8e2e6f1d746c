//! What a headless call leaves behind.

use std::path::PathBuf;

use serde::Serialize;

use crate::stats::CallStats;

/// The whole call, for `--json`. Times are in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Which call.
    pub call_id: String,
    /// `caller` or `callee`.
    pub role: &'static str,
    /// `h3` or `h2`.
    pub door: &'static str,
    /// It was accepted.
    pub answered: bool,
    /// Why it ended, see [`EndReason::name`](duocast_model::EndReason::name).
    pub ended: &'static str,
    /// From the start, connected, to accept.
    pub ring_ms: Option<f64>,
    /// From accept to the end.
    pub duration_ms: Option<f64>,
    /// Length of the recording.
    pub recorded_ms: Option<f64>,
    /// The recording.
    pub record: Option<PathBuf>,
    /// The media in numbers.
    pub stats: CallStats,
}
