//! The doors on TCP: HTTP/2 and HTTP/1.1, with TLS or (localhost) without.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::activity::Activity;
use super::drain::Drain;
use super::guest::{Guest, Peeked};
use super::limits::{Admission, Gate, Limits, Transport};
use crate::Door;

/// Pause after the system could not give a connection (out of file descriptors): connections have to end before it can.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a client may take to close a connection that was unused for too long.
const UNUSED_CLOSE: Duration = Duration::from_secs(5);

/// How long a browser may remember that HTTP/3 is served here.
const ALT_SVC_SECONDS: u32 = 3600;

/// Response bytes of one HTTP/2 stream that are buffered. Higher makes large responses faster, lower bounds what a client
/// that reads nothing costs.
const H2_SEND_BUFFER_BYTES: usize = 32 * 1024;

/// Most bytes of an HTTP/1.1 request head, and read at once. The smallest that hyper takes is 8 KiB.
const H1_BUFFER_BYTES: usize = 16 * 1024;

/// Streams reset by a client before they were accepted, and by us for its errors: beyond it the connection is closed
/// (CVE-2023-44487 and its kin).
const H2_RESET_STREAMS: usize = 32;

/// What the kernel may hold for a guest's slow reader. Higher is heard as delay when a path gets slow, lower limits the rate on long
/// paths: 128 KiB are 5 Mbit/s at a round trip of 200 ms.
const GUEST_SEND_BYTES: usize = 128 * 1024;

/// The `alt-svc` header that tells a browser of HTTP/3 on the same port (RFC 7838).
pub(super) fn alt_svc(port: u16) -> HeaderValue {
    HeaderValue::try_from(format!("h3=\":{port}\"; ma={ALT_SVC_SECONDS}"))
        .expect("digits make a header value")
}

/// How connections on one listener are served.
#[derive(Clone)]
pub(super) struct TcpDoor {
    tls: Option<TlsAcceptor>,
    alt_svc: Option<HeaderValue>,
    limits: Limits,
    guest: Option<Arc<dyn Guest>>,
}

impl TcpDoor {
    pub(super) fn new(
        tls: Option<Arc<rustls::ServerConfig>>,
        alt_svc: Option<HeaderValue>,
        limits: &Limits,
        guest: Option<Arc<dyn Guest>>,
    ) -> Self {
        Self { tls: tls.map(TlsAcceptor::from), alt_svc, limits: limits.clone(), guest }
    }

    /// Accepts until the drain begins; each connection runs as a task of its own.
    pub(super) async fn accept_loop(
        self,
        listener: TcpListener,
        app: Router,
        gate: Gate,
        drain: Drain,
        tasks: TaskTracker,
    ) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = drain.begun() => return,
                () = drain.now() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => {
                    if let Some(admission) = gate.enter(Transport::Tcp, from.ip()) {
                        let door = self.clone();
                        tasks.spawn(door.connection(stream, admission, app.clone(), drain.clone()));
                    }
                }
                Err(error) => {
                    tracing::warn!(kind = %error.kind(), "a TCP connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, mut admission: Admission, app: Router, drain: Drain) {
        let served = async {
            // Small messages are to leave at once; a socket without the option still works.
            let _ = stream.set_nodelay(true);
            match &self.tls {
                None => {
                    admission.established();
                    self.serve(stream, self.builder(), app, &drain).await;
                }
                Some(acceptor) => {
                    let handshake = acceptor.accept(stream);
                    let Ok(Ok(stream)) = tokio::time::timeout(self.limits.handshake_timeout, handshake).await
                    else {
                        return;
                    };
                    admission.established();
                    let builder = match stream.get_ref().1.alpn_protocol() {
                        Some(b"h2") => self.builder().http2_only(),
                        None if self.guest.is_some() => return self.without_alpn(stream, app, &drain).await,
                        _ => self.builder().http1_only(),
                    };
                    self.serve(stream, builder, app, &drain).await;
                }
            }
        };
        tokio::select! {
            () = served => {}
            () = drain.now() => {}
        }
    }

    /// Serves a client that did not say what it speaks: the guest, or HTTP/1.1.
    async fn without_alpn(&self, stream: TlsStream<TcpStream>, app: Router, drain: &Drain) {
        let peeked = tokio::select! {
            peeked = tokio::time::timeout(self.limits.idle_timeout, Peeked::new(stream)) => peeked,
            () = drain.begun() => return,
        };
        let Ok(Ok((first, stream))) = peeked else { return };
        match self.guest.as_ref().filter(|guest| guest.knows(first)) {
            Some(guest) => {
                // A system that does not take the bound serves all the same.
                let _ = SockRef::from(stream.get_ref().get_ref().0).set_send_buffer_size(GUEST_SEND_BYTES);
                guest.serve(Box::new(stream)).await;
            }
            None => self.serve(stream, self.builder().http1_only(), app, drain).await,
        }
    }

    async fn serve<S>(&self, stream: S, builder: Builder<TokioExecutor>, app: Router, drain: &Drain)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Activity::new();
        let door = if self.tls.is_some() { Door::H2 } else { Door::Plain };
        let service = service_fn(|mut request: Request<Incoming>| {
            let running = activity.begin();
            request.extensions_mut().insert(door);
            let answer = app.clone().oneshot(request.map(Body::new));
            let alt_svc = self.alt_svc.clone();
            async move {
                let mut response = answer.await?;
                if let Some(value) = alt_svc {
                    response.headers_mut().insert(header::ALT_SVC, value);
                }
                Ok::<_, Infallible>(response.map(|body| running.until_sent(body)))
            }
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        // hyper has no time limit of its own before the first request, nor, on HTTP/2, after it.
        let mut unused = pin!(activity.idle(self.limits.idle_timeout, self.limits.unused_timeout));
        let mut draining = pin!(drain.begun());
        let mut closed = pin!(tokio::time::sleep(Duration::MAX));
        let (mut check_use, mut check_drain) = (true, true);
        loop {
            tokio::select! {
                // How a connection ends is the client's affair; calls have their own outcome.
                _ = connection.as_mut() => return,
                () = draining.as_mut(), if check_drain => {
                    check_drain = false;
                    connection.as_mut().graceful_shutdown();
                }
                () = unused.as_mut(), if check_use => {
                    check_use = false;
                    connection.as_mut().graceful_shutdown();
                    closed.as_mut().reset(Instant::now() + UNUSED_CLOSE);
                }
                () = closed.as_mut(), if !check_use => return,
            }
        }
    }

    fn builder(&self) -> Builder<TokioExecutor> {
        let limits = &self.limits;
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(H1_BUFFER_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(limits.idle_timeout / 2)
            .keep_alive_timeout(limits.idle_timeout / 2)
            .initial_stream_window_size(limits.stream_window_bytes)
            .initial_connection_window_size(limits.connection_window_bytes)
            .max_concurrent_streams(limits.streams_per_connection)
            .max_header_list_size(limits.header_bytes)
            .max_pending_accept_reset_streams(H2_RESET_STREAMS)
            .max_local_error_reset_streams(H2_RESET_STREAMS)
            .max_send_buf_size(H2_SEND_BUFFER_BYTES);
        builder
    }
}
