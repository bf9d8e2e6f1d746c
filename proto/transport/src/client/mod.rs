//! A channel to a server, for generated tonic clients.

mod body;
mod connect;
mod h2;
mod h3;
mod roots;
mod small_socket;
mod tcp;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

pub use connect::ConnectError;
pub use roots::Roots;

use crate::{Door, grpc};
use connect::{Connector, Live};

/// A connection over TLS that is not the channel's own.
pub type TlsStream = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;

/// Connections tried for one call: the one that is there, and a new one if that turns out to be gone before anything was
/// sent. More would hide a server that keeps closing.
const ATTEMPTS: usize = 2;

/// Which doors a channel tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DoorChoice {
    /// HTTP/3, and HTTP/2 when QUIC does not connect or is slow to.
    #[default]
    Auto,
    /// HTTP/3 only.
    H3,
    /// HTTP/2 only.
    H2,
}

/// What a [`Channel`] is to be.
#[derive(Debug, Clone)]
pub struct ChannelConfig {
    /// `https://host` or `https://host:port`.
    pub url: String,
    /// Which certificates are trusted.
    pub roots: Roots,
    /// Which doors are tried.
    pub door: DoorChoice,
    /// How long connecting may take in all.
    pub connect_timeout: Duration,
    /// How long QUIC is tried alone before TCP joins the race. Higher picks HTTP/3 on slower paths, lower connects sooner
    /// where UDP is blocked.
    pub quic_head_start: Duration,
    /// How often an idle connection is kept alive. Above 25 s, address translators forget UDP flows.
    pub keep_alive: Duration,
    /// A connection on which nothing arrives for this long is given up, and its calls fail with UNAVAILABLE.
    pub idle_timeout: Duration,
}

impl ChannelConfig {
    /// The defaults for a URL.
    pub fn new(url: impl Into<String>, roots: Roots) -> Self {
        Self {
            url: url.into(),
            roots,
            door: DoorChoice::Auto,
            connect_timeout: Duration::from_secs(10),
            quic_head_start: Duration::from_millis(300),
            keep_alive: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(50),
        }
    }

    /// The same with these doors.
    #[must_use]
    pub fn with_door(self, door: DoorChoice) -> Self {
        Self { door, ..self }
    }
}

/// Why the local address could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum RebindError {
    /// There is no QUIC connection. A TCP connection cannot move; its calls fail when it is found dead.
    #[error("the channel is not connected by QUIC; call again and it connects anew")]
    NotQuic,
    /// No socket could be had.
    #[error("no new UDP socket: {0}; check that a network is up")]
    Socket(#[from] std::io::Error),
}

/// A connection to one server, shared by its clones. It connects anew, on the next call, after its connection died or the
/// server said it is going away. Concurrent calls share that attempt; a caller that repeats failed calls has to pause
/// between them (with jitter).
///
/// Each call keeps to its `grpc-timeout` on this side as well. Dropping a call or its response stream cancels it on the
/// server. Calls fail with a [`Status`]: UNAVAILABLE when there is no connection or it was lost.
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
}

struct Shared {
    connector: Connector,
    authority: Authority,
    live: ArcSwapOption<Live>,
    /// Held while connecting.
    connecting: Mutex<()>,
}

impl Channel {
    /// Connects. Needs a tokio runtime.
    pub async fn connect(config: ChannelConfig) -> Result<Self, ConnectError> {
        let (connector, authority) = Connector::new(config)?;
        let shared =
            Shared { connector, authority, live: ArcSwapOption::empty(), connecting: Mutex::default() };
        let channel = Self { shared: Arc::new(shared) };
        channel.shared.live().await?;
        Ok(channel)
    }

    /// The door of the present connection, or of the last one.
    pub fn door(&self) -> Door {
        self.shared.live.load().as_ref().map_or(Door::H3, |live| live.door())
    }

    /// Opens a connection of its own to the channel's server, by TCP and with the same trust, on which no protocol is negotiated:
    /// for what is served beside HTTP ([`Guest`](crate::server::Guest)). The door that the channel was told to use does not
    /// count.
    ///
    /// Errors: as of [`Channel::connect`], within the same time.
    pub async fn guest(&self) -> Result<TlsStream, ConnectError> {
        self.shared.connector.guest().await
    }

    /// Closes the QUIC connection, so that the server knows at once and need not wait for the idle timeout. For the end of a
    /// program, which leaves no time for what is sent when the last handle is dropped; takes half a second at most.
    pub async fn close(&self) {
        self.shared.connector.close().await;
    }

    /// Moves the QUIC connection to a new local UDP socket: to be called when the device changed networks. Running calls go
    /// on (RFC 9000 section 9).
    pub fn rebind(&self) -> Result<(), RebindError> {
        match self.shared.live.load().as_deref() {
            Some(Live::H3(_)) => self.shared.connector.rebind(),
            _ => Err(RebindError::NotQuic),
        }
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("door", &self.door()).finish_non_exhaustive()
    }
}

impl Shared {
    /// The connection, made anew if need be.
    async fn live(&self) -> Result<Arc<Live>, ConnectError> {
        if let Some(live) = self.usable() {
            return Ok(live);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(live) = self.usable() {
            return Ok(live);
        }
        let live = Arc::new(self.connector.connect().await?);
        tracing::debug!(door = %live.door(), "connected");
        self.live.store(Some(Arc::clone(&live)));
        Ok(live)
    }

    fn usable(&self) -> Option<Arc<Live>> {
        self.live.load_full().filter(|live| live.is_usable())
    }

    async fn call(&self, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        for _ in 0..ATTEMPTS {
            let live = self.live().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let sent = match &*live {
                Live::H3(connection) => connection.call(request).await,
                Live::H2(connection) => connection.call(request).await,
            };
            match sent {
                Ok(response) => return Ok(response),
                Err(Failure::Call(status)) => return Err(status),
                Err(Failure::NotSent(unsent)) => request = *unsent,
            }
        }
        Err(Status::unavailable("the server closed each connection before the call was sent; call again"))
    }
}

/// Why a connection gave no response.
enum Failure {
    /// The call failed, perhaps after the server saw it.
    Call(Status),
    /// The connection is gone and nothing of the request was sent.
    NotSent(Box<Request<Body>>),
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = target(&shared.authority, path);
        let agent = HeaderValue::from_static(concat!("duocast/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().entry(header::USER_AGENT).or_insert(agent);
        Box::pin(async move {
            let Some(timeout) = grpc::timeout(request.headers()) else { return shared.call(request).await };
            // Longer than the clock can say is no deadline.
            let Some(deadline) = Instant::now().checked_add(timeout) else {
                return shared.call(request).await;
            };
            let response = tokio::time::timeout_at(deadline, shared.call(request)).await;
            let response = response.unwrap_or_else(|_| Err(body::deadline_exceeded()))?;
            Ok(response.map(|body| Body::new(body::Deadline::new(body, deadline))))
        })
    }
}

fn target(authority: &Authority, path: Option<PathAndQuery>) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Uri::from_parts(parts).expect("scheme, authority and path make a URI")
}
