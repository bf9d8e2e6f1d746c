//! One call: refused while draining, else run to its response within its deadline, panics caught.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use tokio::time::Instant;
use tonic::Status;
use tower::{Service, ServiceExt as _};

use super::GuardConfig;
use super::body::GuardedBody;
use super::message::{Fault, Messages, is_unreadable};
use crate::grpc;

/// The app, and what its calls must keep to.
#[derive(Clone)]
pub(super) struct Calls {
    app: Router,
    config: GuardConfig,
}

impl Calls {
    pub(super) fn new(app: Router, config: GuardConfig) -> Self {
        Self { app, config }
    }
}

impl<B> Service<Request<B>> for Calls
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (app, config) = (self.app.clone(), self.config.clone());
        let request = request.map(Body::new);
        if grpc::is_grpc(request.headers()) {
            Box::pin(async move { Ok(grpc_call(app, request, config).await) })
        } else {
            Box::pin(async move { Ok(page(app, request).await) })
        }
    }
}

async fn grpc_call(app: Router, request: Request<Body>, config: GuardConfig) -> Response<Body> {
    if config.draining.is_cancelled() {
        return refused(&Status::unavailable("the server is shutting down; call again elsewhere or later"));
    }
    let now = Instant::now();
    let deadline = grpc::timeout(request.headers()).map(|timeout| now + timeout.min(config.deadline_max));
    let response_due = now + config.response_timeout;
    let due = deadline.map_or(response_due, |deadline| deadline.min(response_due));
    let request = request.map(|body| Body::new(Messages::new(body, config.message_max, config.fault)));
    let handler = AssertUnwindSafe(async move { app.oneshot(request).await }).catch_unwind();
    match tokio::time::timeout_at(due, handler).await {
        Ok(Ok(Ok(response))) if is_unreadable(&response) => refused(&(config.fault)(Fault::MessageInvalid)),
        Ok(Ok(Ok(response))) => response
            .map(|body| Body::new(GuardedBody::new(body, deadline, config.draining, config.drain_grace))),
        Ok(Ok(Err(never))) => match never {},
        Ok(Err(_)) => refused(&panicked()),
        Err(_) => refused(&deadline_exceeded()),
    }
}

async fn page(app: Router, request: Request<Body>) -> Response<Body> {
    match AssertUnwindSafe(async move { app.oneshot(request).await }).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => {
            tracing::error!("a page handler panicked; answered 500");
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

/// A response that is nothing but its status.
fn refused(status: &Status) -> Response<Body> {
    status.clone().into_http()
}

/// The status of a call whose handler or stream panicked.
pub(super) fn panicked() -> Status {
    tracing::error!("a handler panicked; its call ends with INTERNAL");
    Status::internal("the server failed on this call; report it with the time it happened")
}

/// The status of a call that took too long.
pub(super) fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("the call took longer than its deadline allows; allow more time or call again")
}
