//! Calls on an HTTP/2 connection.

use std::error::Error as _;
use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::{Code, Status};

use super::connect::TryError;
use super::{ChannelConfig, Failure, tcp};

/// Bytes of one response stream that may be on the way. A message of the API fits twice.
const STREAM_WINDOW_BYTES: u32 = 512 * 1024;

/// An HTTP/2 connection over TLS. It stays open until this and the bodies of all of its responses are dropped.
pub(super) struct H2Connection {
    requests: SendRequest<Upload>,
}

impl H2Connection {
    pub(super) async fn connect(
        address: SocketAddr,
        name: &ServerName<'static>,
        tls: &TlsConnector,
        config: &ChannelConfig,
    ) -> Result<Self, TryError> {
        let stream = tcp::connect(address, name, tls).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(TryError::Failed("TLS: the server does not speak HTTP/2".to_owned()));
        }
        let (requests, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(config.keep_alive)
            .keep_alive_timeout(config.idle_timeout.saturating_sub(config.keep_alive))
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(2 * STREAM_WINDOW_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(tcp::failed("HTTP/2"))?;
        // Ends with the connection. Why it ended is told to each of its calls.
        tokio::spawn(connection);
        Ok(Self { requests })
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.requests.is_closed()
    }

    pub(super) async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let mut requests = self.requests.clone();
        if requests.ready().await.is_err() {
            return Err(Failure::NotSent(Box::new(request)));
        }
        let (interest, lost_interest) = oneshot::channel();
        let request = request.map(|body| Upload { inner: body, lost_interest: Some(lost_interest) });
        match requests.try_send_request(request).await {
            Ok(response) => Ok(response.map(|body| {
                Body::new(ResponseBody { inner: body.map_err(|error| status(&error)), _interest: interest })
            })),
            Err(mut error) => match error.take_message() {
                Some(request) => Err(Failure::NotSent(Box::new(request.map(|upload| upload.inner)))),
                None => Err(Failure::Call(status(&error.into_error()))),
            },
        }
    }
}

/// A request body that fails when nobody waits for the response any more: hyper goes on sending it otherwise, and the
/// server never learns that the call was given up.
struct Upload {
    inner: Body,
    lost_interest: Option<oneshot::Receiver<()>>,
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(lost_interest) = &mut self.lost_interest
            && Pin::new(lost_interest).poll(cx).is_ready()
        {
            self.lost_interest = None;
            return Poll::Ready(Some(Err(h2::Error::from(h2::Reason::CANCEL).into())));
        }
        Pin::new(&mut self.inner).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Dropping it cancels the call.
struct ResponseBody<B> {
    inner: B,
    _interest: oneshot::Sender<()>,
}

impl<B: http_body::Body + Unpin> http_body::Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What the failure of an HTTP/2 stream means for its call (gRPC over HTTP/2, "HTTP2 Transport Mapping").
fn status(error: &hyper::Error) -> Status {
    let h2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    let lost = || Status::unavailable("the connection was lost; call again");
    let Some(h2) = h2 else { return lost() };
    if h2.is_go_away() || h2.is_io() {
        return lost();
    }
    let (code, message) = match h2.reason() {
        Some(h2::Reason::REFUSED_STREAM) => {
            (Code::Unavailable, "the server did not take the call; call again")
        }
        Some(h2::Reason::CANCEL) => (Code::Cancelled, "the server cancelled the call"),
        Some(h2::Reason::ENHANCE_YOUR_CALM) => {
            (Code::ResourceExhausted, "the server refused the call for excessive load")
        }
        _ => (Code::Internal, "the server reset the call before it was complete"),
    };
    Status::new(code, message)
}
