//! The response body of a gRPC call, ended in time.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::call::{deadline_exceeded, panicked};
use crate::grpc;

/// Passes a body on until its deadline, the end of the drain's grace, or a panic; each of these ends it with trailers that
/// say so and drops the handler's stream.
pub(super) struct GuardedBody {
    inner: Option<Body>,
    deadline: Option<Pin<Box<Sleep>>>,
    drained: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl GuardedBody {
    pub(super) fn new(
        inner: Body,
        deadline: Option<Instant>,
        draining: CancellationToken,
        drain_grace: Duration,
    ) -> Self {
        let drained = async move {
            draining.cancelled().await;
            tokio::time::sleep(drain_grace).await;
        };
        let deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
        Self { inner: Some(inner), deadline, drained: Box::pin(drained) }
    }

    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.inner = None;
        Poll::Ready(Some(Ok(Frame::trailers(grpc::trailers(status)))))
    }
}

impl http_body::Body for GuardedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        // Before the inner body, or a stream that always has something would never end.
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return this.end(&deadline_exceeded());
        }
        if this.drained.as_mut().poll(cx).is_ready() {
            return this
                .end(&Status::unavailable("the server is shutting down; call again elsewhere or later"));
        }
        match catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(cx))) {
            Ok(frame) => {
                let frame = ready!(frame);
                if frame.is_none() {
                    this.inner = None;
                }
                Poll::Ready(frame)
            }
            Err(_) => this.end(&panicked()),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        // A body that may be cut short promises no length, except that nothing stays nothing.
        if self.is_end_stream() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}
