//! How a failure looks on the wire: gRPC status, a sentence, and a `google.rpc.ErrorInfo` with a stable reason.

use std::collections::HashMap;
use std::time::Duration;

use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

/// Domain of every `google.rpc.ErrorInfo` of this API.
pub const DOMAIN: &str = "duocast.dev";

/// Why a call fails: `ErrorReason` of error.proto, where each has its meaning and what a client does.
pub use crate::v1::ErrorReason as Reason;

include!(concat!(env!("OUT_DIR"), "/reasons.rs"));

/// Makes a status with its machine-readable reason, the gRPC code that belongs to it, and a sentence that says what to do.
pub fn status(reason: Reason, sentence: impl Into<String>) -> Status {
    Status::with_error_details(reason.code(), sentence.into(), details(reason))
}

/// The same for somebody who is to come back later, with a `google.rpc.RetryInfo`.
pub fn retry(reason: Reason, sentence: impl Into<String>, after: Duration) -> Status {
    let mut details = details(reason);
    details.set_retry_info(Some(after));
    Status::with_error_details(reason.code(), sentence.into(), details)
}

fn details(reason: Reason) -> ErrorDetails {
    ErrorDetails::with_error_info(reason.as_str_name(), DOMAIN, HashMap::new())
}

/// The reason of a status made by [`status`], or `None` for one made by a library or a proxy.
pub fn reason(status: &Status) -> Option<String> {
    let info = status.get_details_error_info()?;
    (info.domain == DOMAIN).then_some(info.reason)
}

/// When a status says to come back, if it does: one made by [`retry`].
pub fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}
