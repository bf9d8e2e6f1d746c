//! How figures are written in the JSON report.

use serde_json::Value;

/// A number with three decimals; null if there is none.
pub(super) fn number(value: Option<f64>) -> Value {
    value.and_then(|value| serde_json::Number::from_f64((value * 1000.0).round() / 1000.0)).into()
}

/// A share as a percentage. Six decimals: a packet in ten million shows.
pub(super) fn percent(share: Option<f64>) -> Value {
    share.and_then(|share| serde_json::Number::from_f64((share * 1e8).round() / 1e6)).into()
}
