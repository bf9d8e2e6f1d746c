//! The few facts of the gRPC protocol that a transport must know.

use std::time::Duration;

use h3::error::{ConnectionError, StreamError};
use h3::quic::ConnectionErrorIncoming;
use http::{HeaderMap, HeaderValue, header};
use tonic::{Code, Status};

use crate::quic;

/// The deadline of a call: what it may take, from now.
pub(crate) const TIMEOUT: &str = "grpc-timeout";

/// True for native gRPC and grpc-web.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    content_type_starts(headers, "application/grpc")
}

/// True for the path of a method, `/package.Service/Method`. Ours all have a package, and so a dot that a directory has not.
pub(crate) fn is_call_path(path: &str) -> bool {
    let method = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    method
        .is_some_and(|(service, method)| service.contains('.') && !method.is_empty() && !method.contains('/'))
}

/// True for grpc-web, binary or text.
pub(crate) fn is_grpc_web(headers: &HeaderMap) -> bool {
    content_type_starts(headers, "application/grpc-web")
}

fn content_type_starts(headers: &HeaderMap, prefix: &str) -> bool {
    let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    value.is_some_and(|value| value.starts_with(prefix.as_bytes()))
}

/// The time a call asks for. Absent or malformed (not 1-8 digits and a unit of HMSmun) is none: a deadline that nobody can
/// read cannot be kept, and the caller keeps its own.
pub(crate) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// Trailers that carry a status.
pub(crate) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // The message could not stand in a header; the code always can.
        trailers.insert("grpc-status", HeaderValue::from(status.code() as i32));
    }
    trailers
}

/// What the failure of an HTTP/3 stream means for its call.
pub(crate) fn stream_status(error: &StreamError) -> Status {
    match error {
        StreamError::RemoteTerminate { code } => reset_status(code.value()),
        StreamError::RemoteClosing => Status::unavailable("the peer is shutting down; call again"),
        StreamError::ConnectionError(ConnectionError::Remote(
            ConnectionErrorIncoming::ApplicationClose { error_code: quic::EXCESSIVE_LOAD },
        )) => Status::resource_exhausted("the peer closed the connection for excessive load; call less"),
        StreamError::ConnectionError(_) => Status::unavailable("the connection was lost; call again"),
        StreamError::HeaderTooBig { .. } => {
            Status::resource_exhausted("the metadata is too large; send less")
        }
        _ => Status::internal("the HTTP/3 stream failed"),
    }
}

/// What the error code of a reset stream means for its call (the gRPC mapping of HTTP/2's codes, carried over).
fn reset_status(error_code: u64) -> Status {
    let (code, message) = match error_code {
        quic::REQUEST_CANCELLED => (Code::Cancelled, "the peer cancelled the call"),
        quic::REQUEST_REJECTED => (Code::Unavailable, "the peer did not take the call; call again"),
        quic::EXCESSIVE_LOAD => (Code::ResourceExhausted, "the peer refused the call for excessive load"),
        _ => (Code::Internal, "the peer reset the call before it was complete"),
    };
    Status::new(code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(TIMEOUT, HeaderValue::from_str(text).unwrap());
        timeout(&headers)
    }

    #[test]
    fn every_unit_of_a_timeout_is_understood() {
        assert_eq!(of("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(of("3M"), Some(Duration::from_secs(180)));
        assert_eq!(of("4S"), Some(Duration::from_secs(4)));
        assert_eq!(of("5m"), Some(Duration::from_millis(5)));
        assert_eq!(of("6u"), Some(Duration::from_micros(6)));
        assert_eq!(of("99999999n"), Some(Duration::from_nanos(99_999_999)));
    }

    #[test]
    fn a_malformed_timeout_is_no_timeout() {
        for text in ["", "S", "5", "-1S", "+1S", "123456789S", "1.5S", "1 S", "5s"] {
            assert_eq!(of(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_timeout_that_is_not_text_is_no_timeout() {
        let mut headers = HeaderMap::new();
        headers.insert(TIMEOUT, HeaderValue::from_bytes(b"1\xc3\xa9").unwrap());
        assert_eq!(timeout(&headers), None);
    }

    #[test]
    fn grpc_and_grpc_web_are_told_apart_from_pages() {
        let with = |value: &'static str| {
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))])
        };
        assert!(is_grpc(&with("application/grpc+proto")) && !is_grpc_web(&with("application/grpc+proto")));
        assert!(
            is_grpc(&with("application/grpc-web+proto")) && is_grpc_web(&with("application/grpc-web-text"))
        );
        assert!(!is_grpc(&with("text/html")) && !is_grpc(&HeaderMap::new()));
    }
}
