//! Sends grpc-web through the translator and everything else past it.
//!
//! The translator passes native gRPC on only if the request says HTTP/2, and refuses pages; asking the content type first
//! makes both HTTP/3 and HTTP/1.1 work without pretending about the version.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use http::{Request, Response};
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::{Layer as _, Service};

use super::call::Calls;
use crate::grpc;

/// Chooses by the content type of each request.
#[derive(Clone)]
pub(super) struct WebSwitch {
    native: Calls,
    web: GrpcWebService<Calls>,
}

impl WebSwitch {
    pub(super) fn new(calls: Calls) -> Self {
        Self { web: GrpcWebLayer::new().layer(calls.clone()), native: calls }
    }
}

impl Service<Request<Body>> for WebSwitch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if grpc::is_grpc_web(request.headers()) {
            let answer = self.web.call(request);
            Box::pin(async move { Ok(answer.await?.map(Body::new)) })
        } else {
            self.native.call(request)
        }
    }
}
