//! What a server sent, as it was read: for tests of what a device learns.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use duocast_transport::client::Channel;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;

/// Is given everything that the server sends to a client, decrypted: names and values of headers and trailers, and the bytes of
/// messages. It is called where they are read, and must be quick.
#[derive(Clone)]
pub struct Received(Arc<Take>);

type Take = dyn Fn(&[u8]) + Send + Sync;

impl Received {
    /// Gives it to `take`.
    pub fn by(take: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    fn headers(&self, headers: &HeaderMap) {
        for (name, value) in headers {
            (self.0)(name.as_str().as_bytes());
            (self.0)(value.as_bytes());
        }
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Received(…)")
    }
}

/// A channel, and who is to see what comes on it.
#[derive(Clone)]
pub(crate) struct Recorded {
    channel: Channel,
    received: Option<Received>,
}

impl Recorded {
    pub(crate) fn new(channel: Channel, received: Option<Received>) -> Self {
        Self { channel, received }
    }
}

impl Service<Request<Body>> for Recorded {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.channel.call(request);
        let Some(received) = self.received.clone() else { return answer };
        Box::pin(async move {
            let answer = answer.await?;
            received.headers(answer.headers());
            let see = move |frame: Frame<tokio_util::bytes::Bytes>| {
                if let Some(data) = frame.data_ref() {
                    (received.0)(data);
                } else if let Some(trailers) = frame.trailers_ref() {
                    received.headers(trailers);
                }
                frame
            };
            Ok(answer.map(|body| Body::new(body.map_frame(see))))
        })
    }
}
