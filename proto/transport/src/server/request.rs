//! One HTTP/3 request: from its header section to the acknowledged end of its response.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use h3::error::StreamError;
use h3::server::{RequestResolver, RequestStream};
use http::{HeaderMap, Request, Response, header};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::leftover;
use crate::Door;
use crate::h3_body::H3Body;
use crate::quic::{self, Consumed};

/// How a request ended.
pub(super) enum Outcome {
    /// The whole response was handed to QUIC.
    Answered,
    /// The client gave it up, or its connection is gone.
    Cancelled,
    /// The response could not be completed; the stream was reset.
    Failed,
    /// No complete header section came.
    Headerless,
}

type SendHalf = RequestStream<quic::SendStream<Bytes>, Bytes>;

/// Answers one request with `app`. The handler and its response body are dropped at once when `cancelled` says that the
/// client gave the request up, even if nothing is being sent; a stream that is left unfinished is reset.
pub(super) async fn answer(
    resolver: RequestResolver<quic::Connection, Bytes>,
    cancelled: impl Future<Output = bool>,
    consumed: Consumed,
    app: Router,
    header_timeout: Duration,
) -> Outcome {
    let resolved = tokio::time::timeout(header_timeout, resolver.resolve_request()).await;
    let Ok(Ok((request, stream))) = resolved else { return Outcome::Headerless };
    consumed.headers();
    let (mut send, recv) = stream.split();
    let (lent, leftover) = leftover::lend(recv, consumed.clone());
    let mut request = request.map(|()| Body::new(H3Body::new(lent, consumed)));
    request.extensions_mut().insert(Door::H3);

    let mut cancelled = pin!(cancelled);
    tokio::select! {
        biased;
        _ = cancelled.as_mut() => return Outcome::Cancelled,
        responded = respond(&mut send, request, app) => if responded.is_err() {
            return Outcome::Failed;
        },
    }
    // Until the end is acknowledged the connection must not be closed: a drain waits for it.
    match cancelled.await {
        true => Outcome::Cancelled,
        false => {
            leftover.discard().await;
            Outcome::Answered
        }
    }
}

/// The stream is reset when it is dropped, so an error needs no more than to be returned.
struct Unanswered;

impl From<StreamError> for Unanswered {
    fn from(_: StreamError) -> Self {
        Self
    }
}

async fn respond(send: &mut SendHalf, request: Request<Body>, app: Router) -> Result<(), Unanswered> {
    let response = match app.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (mut head, mut body) = response.into_parts();
    without_connection_headers(&mut head.headers);
    send.send_response(Response::from_parts(head, ())).await?;
    while let Some(frame) = body.frame().await {
        match frame.map_err(|_| Unanswered)?.into_data() {
            Ok(data) => send.send_data(data).await?,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    send.send_trailers(trailers).await?;
                    break;
                }
            }
        }
    }
    Ok(send.finish().await?)
}

/// HTTP/3 has no connection-specific fields (RFC 9114 section 4.2).
fn without_connection_headers(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
}
