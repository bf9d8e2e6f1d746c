//! A response body that keeps to its call's deadline.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;

/// Fails with DEADLINE_EXCEEDED, and cancels the call by dropping it, when the time is over.
pub(super) struct Deadline {
    inner: Option<Body>,
    due: Pin<Box<Sleep>>,
}

impl Deadline {
    pub(super) fn new(inner: Body, due: Instant) -> Self {
        Self { inner: Some(inner), due: Box::pin(tokio::time::sleep_until(due)) }
    }
}

impl http_body::Body for Deadline {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        // The server ends the call at the same moment; what it says, if it is here already, says more.
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if self.due.as_mut().poll(cx).is_ready() {
            self.inner = None;
            return Poll::Ready(Some(Err(deadline_exceeded())));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or(SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

/// The status of a call that this side gave up.
pub(super) fn deadline_exceeded() -> Status {
    Status::deadline_exceeded(
        "no complete answer came before the call's deadline; allow more time or call again",
    )
}
