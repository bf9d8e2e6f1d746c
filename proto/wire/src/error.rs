//! How a failure looks on the wire: gRPC status, a sentence, and a `google.rpc.ErrorInfo` with a stable reason.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Domain of every `google.rpc.ErrorInfo` of this API.
pub const DOMAIN: &str = "duocast.dev";

/// Makes a status with its machine-readable reason (UPPER_SNAKE_CASE) and a sentence that says what to do.
pub fn status(code: Code, reason: &str, sentence: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, sentence.into(), details)
}

/// The same for somebody who is to come back later, with a `google.rpc.RetryInfo`.
pub fn retry(code: Code, reason: &str, sentence: impl Into<String>, after: Duration) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    details.set_retry_info(Some(after));
    Status::with_error_details(code, sentence.into(), details)
}

/// The reason of a status made by [`status`], or `None` for one made by a library or a proxy.
pub fn reason(status: &Status) -> Option<String> {
    let info = status.get_details_error_info()?;
    (info.domain == DOMAIN).then_some(info.reason)
}
