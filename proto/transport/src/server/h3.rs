//! The door on UDP: HTTP/3 connections.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use h3::frame::FrameStream;
use h3::stream::BufRecvStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::drain::Drain;
use super::limits::{Admission, Gate, Limits, Transport};
use super::request::{self, Outcome};
use crate::quic;

/// Streams of one connection that ended before their header section was complete. `h3` keeps an id of about 16 bytes for
/// each; beyond it the connection is closed with H3_EXCESSIVE_LOAD and the client connects anew.
const HEADERLESS_STREAMS: usize = 1024;

/// How long the last packets may take to leave when an endpoint is closed.
pub(super) const CLOSE_FLUSH: Duration = Duration::from_secs(1);

/// How long GOAWAY may take to be written; a client that grants no flow control for it is closed.
const GOAWAY_TIMEOUT: Duration = Duration::from_secs(1);

/// Requests that may still come in after GOAWAY was sent, because they crossed it: they are answered (UNAVAILABLE by the
/// guard), later ones are rejected unprocessed.
const REQUESTS_AFTER_GOAWAY: usize = 1;

type H3Connection = h3::server::Connection<quic::Connection, Bytes>;

/// How HTTP/3 is served on one UDP socket.
#[derive(Clone)]
pub(super) struct H3Door {
    endpoint: quinn::Endpoint,
    limits: Limits,
}

impl H3Door {
    pub(super) fn new(endpoint: quinn::Endpoint, limits: &Limits) -> Self {
        Self { endpoint, limits: limits.clone() }
    }

    /// Accepts connections; each runs as a task of its own. Once the drain began, new ones are refused, which tells the
    /// client more than silence does.
    pub(super) async fn accept_loop(self, app: Router, gate: Gate, drain: Drain, tasks: TaskTracker) {
        while let Some(incoming) = self.endpoint.accept().await {
            if drain.is_begun() {
                incoming.refuse();
            } else if !incoming.remote_address_validated()
                && incoming.may_retry()
                && gate.wants_proof(incoming.remote_address().ip())
            {
                // The condition for the only failure was just checked.
                let _ = incoming.retry();
            } else if let Some(admission) = gate.enter(Transport::Quic, incoming.remote_address().ip()) {
                tasks.spawn(self.clone().connection(incoming, admission, app.clone(), drain.clone()));
            } else {
                incoming.refuse();
            }
        }
    }

    async fn connection(
        self,
        incoming: quinn::Incoming,
        mut admission: Admission,
        app: Router,
        drain: Drain,
    ) {
        let served = async {
            let handshake =
                tokio::time::timeout(self.limits.handshake_timeout, self.handshake(incoming)).await;
            let Ok(Some((quic, h3))) = handshake else { return };
            admission.established();
            self.serve(quic, h3, app, &drain).await;
        };
        tokio::select! {
            () = served => {}
            () = drain.now() => {}
        }
    }

    async fn handshake(&self, incoming: quinn::Incoming) -> Option<(quinn::Connection, H3Connection)> {
        let quic = incoming.accept().ok()?.await.ok()?;
        let h3 = h3::server::builder()
            .send_grease(false)
            .max_field_section_size(self.limits.header_bytes.into())
            .build(quic::Connection::server(quic.clone()))
            .await;
        Some((quic, h3.ok()?))
    }

    /// Serves one connection until it is closed, unused for too long or, while draining, has no request left. Every request
    /// is a task; they are aborted when this returns.
    async fn serve(&self, quic: quinn::Connection, mut h3: H3Connection, app: Router, drain: &Drain) {
        let mut requests = JoinSet::new();
        let mut headerless = 0;
        let mut draining = false;
        let mut unused = pin!(tokio::time::sleep(self.limits.idle_timeout));
        while !(draining && requests.is_empty()) {
            tokio::select! {
                () = drain.begun(), if !draining => {
                    draining = true;
                    if !go_away(&mut h3).await {
                        return;
                    }
                }
                () = unused.as_mut(), if !draining && requests.is_empty() => {
                    draining = true;
                    if !go_away(&mut h3).await {
                        return;
                    }
                }
                Some(ended) = requests.join_next() => match ended {
                    Ok(Outcome::Headerless) => {
                        headerless += 1;
                        if headerless > HEADERLESS_STREAMS {
                            quic.close(quic::code(quic::EXCESSIVE_LOAD), b"too many requests without a header section");
                            return;
                        }
                    }
                    Ok(Outcome::Answered | Outcome::Cancelled | Outcome::Failed) => {
                        unused.as_mut().reset(Instant::now() + self.limits.unused_timeout);
                    }
                    Err(error) => tracing::error!(%error, "a handler panicked; its call was reset"),
                },
                accepted = poll_fn(|cx| h3.poll_accept_request_stream(cx)) => {
                    let Ok(Some(stream)) = accepted else { return };
                    let (cancelled, consumed) = (stream.cancelled(), stream.consumed());
                    let resolver = h3.create_resolver(FrameStream::new(BufRecvStream::new(stream)));
                    let timeout = self.limits.header_timeout;
                    requests.spawn(request::answer(resolver, cancelled, consumed, app.clone(), timeout));
                }
            }
        }
    }
}

/// Tells the client to make no further request here; false if it does not take that.
async fn go_away(h3: &mut H3Connection) -> bool {
    let goaway = h3.shutdown(REQUESTS_AFTER_GOAWAY);
    matches!(tokio::time::timeout(GOAWAY_TIMEOUT, goaway).await, Ok(Ok(())))
}
