//! CORS for the API's calls, and for nothing else: pages of other origins have no business with metrics or health.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use http::{Request, Response};
use tower::{Layer as _, Service};
use tower_http::cors::{Cors, CorsLayer};

use super::web::WebSwitch;
use crate::grpc;

/// Chooses by the path of each request: a preflight has no content type.
#[derive(Clone)]
pub(super) struct OriginSwitch {
    calls: Cors<WebSwitch>,
    pages: WebSwitch,
}

impl OriginSwitch {
    pub(super) fn new(cors: &CorsLayer, inner: WebSwitch) -> Self {
        Self { calls: cors.layer(inner.clone()), pages: inner }
    }
}

impl Service<Request<Body>> for OriginSwitch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if grpc::is_call_path(request.uri().path()) {
            Box::pin(self.calls.call(request))
        } else {
            self.pages.call(request)
        }
    }
}
