//! Calls on an HTTP/3 connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use h3::ConnectionState as _;
use h3::client::{RequestStream, SendRequest};
use h3::error::StreamError;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::body::Body;

use super::Failure;
use crate::grpc::stream_status;
use crate::h3_body::H3Body;
use crate::quic::{self, Consumed, Opener};

/// An HTTP/3 connection. It stays open until this and the bodies of all of its responses are dropped.
pub(super) struct H3Connection {
    requests: SendRequest<Opener, Bytes>,
    quic: quinn::Connection,
}

impl H3Connection {
    pub(super) async fn new(quic: quinn::Connection) -> Result<Self, String> {
        let built =
            h3::client::builder().send_grease(false).build(quic::Connection::client(quic.clone())).await;
        let (mut driver, requests) = built.map_err(|error| format!("HTTP/3: {error}"))?;
        // Ends with the connection. Why it ended is told to each of its calls.
        tokio::spawn(async move { poll_fn(|cx| driver.poll_close(cx)).await });
        Ok(Self { requests, quic })
    }

    pub(super) fn is_usable(&self) -> bool {
        self.quic.close_reason().is_none() && !self.requests.is_closing()
    }

    pub(super) async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let mut requests = self.requests.clone();
        let (head, body) = request.into_parts();
        let stream = match requests.send_request(Request::from_parts(head.clone(), ())).await {
            Ok(stream) => stream,
            Err(StreamError::RemoteClosing | StreamError::ConnectionError(_)) => {
                return Err(Failure::NotSent(Box::new(Request::from_parts(head, body))));
            }
            Err(error) => return Err(Failure::Call(stream_status(&error))),
        };
        let (send, mut recv) = stream.split();
        let upload = upload(body, send);
        let response = recv.recv_response().await.map_err(|error| Failure::Call(stream_status(&error)))?;
        let body = ResponseBody {
            inner: H3Body::new(recv, Consumed::default()),
            _upload: upload,
            _requests: requests,
        };
        Ok(response.map(|()| Body::new(body)))
    }
}

type SendHalf = RequestStream<quic::SendStream<Bytes>, Bytes>;
type RecvHalf = RequestStream<quic::RecvStream, Bytes>;

/// Sends the request body, beside the response if it is a stream. Aborting resets the stream, which cancels the call.
fn upload(body: Body, send: SendHalf) -> Option<AbortOnDropHandle<()>> {
    let mut sending = Box::pin(send_body(body, send));
    // The single message of a unary call is ready at once and needs no task.
    if sending.as_mut().now_or_never().is_some() {
        return None;
    }
    Some(AbortOnDropHandle::new(tokio::spawn(sending)))
}

/// Every early return drops `send`, which resets the stream. If the server wants no more of the request, its response says
/// the rest.
async fn send_body(mut body: Body, mut send: SendHalf) {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return };
        // gRPC requests have no trailers.
        let Ok(data) = frame.into_data() else { continue };
        if send.send_data(data).await.is_err() {
            return;
        }
    }
    // Fails only if the server wants no more.
    let _ = send.finish().await;
}

/// Dropping it cancels the call.
struct ResponseBody {
    inner: H3Body<RecvHalf>,
    _upload: Option<AbortOnDropHandle<()>>,
    /// The connection closes with the last of these.
    _requests: SendRequest<Opener, Bytes>,
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}
