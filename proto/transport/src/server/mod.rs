//! Serves one axum app on all doors.

mod activity;
mod bind;
mod drain;
mod guest;
mod h3;
mod leftover;
mod limits;
mod request;
mod reset;
mod tcp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use bind::{BindError, loopback};
pub use guest::{Duplex, Guest};
pub use limits::{Limits, UNUSED_TIMEOUT};

use crate::identity::Identity;
use drain::Drain;
use limits::Gate;

/// What a [`Server`] is to be.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where TLS is served, on UDP (HTTP/3) and TCP (HTTP/2 and 1.1) each. Addresses with port 0 all get one and the same
    /// port, free for both protocols on all of them. See [`loopback`] for a local server.
    pub listen: Vec<SocketAddr>,
    /// Where HTTP (1.1 and 2 with prior knowledge) is served without TLS. Meant for localhost: nothing on it is encrypted.
    pub plain: Vec<SocketAddr>,
    /// The certificate for `listen`.
    pub identity: Identity,
    /// Bounds on what clients may take.
    pub limits: Limits,
    /// Secret of this server alone, the same over restarts: clients of a process that died learn so from its successor at
    /// their next packet (stateless reset, RFC 9000 section 10.3) instead of at the idle timeout. Servers must not share it
    /// (section 21.11). `None`: a random one.
    pub reset_secret: Option<[u8; 32]>,
    /// How long calls may go on after the shutdown began, before their connections are closed.
    pub drain_timeout: Duration,
}

/// A server that is bound and not yet serving.
pub struct Server {
    sockets: bind::Sockets,
    limits: Limits,
    drain_timeout: Duration,
    guest: Option<Arc<dyn Guest>>,
}

impl Server {
    /// Binds every address of the configuration, or none. Needs a tokio runtime.
    pub async fn bind(config: ServerConfig) -> Result<Self, BindError> {
        let sockets = bind::bind(&config)?;
        Ok(Self { sockets, limits: config.limits, drain_timeout: config.drain_timeout, guest: None })
    }

    /// Also serves another protocol on the TLS port of TCP.
    #[must_use]
    pub fn with_guest(self, guest: Arc<dyn Guest>) -> Self {
        Self { guest: Some(guest), ..self }
    }

    /// The bound TLS addresses, in the order of the configuration. Each is open on UDP and TCP.
    pub fn listen_addrs(&self) -> &[SocketAddr] {
        &self.sockets.listen_addrs
    }

    /// The bound addresses without TLS, in the order of the configuration.
    pub fn plain_addrs(&self) -> &[SocketAddr] {
        &self.sockets.plain_addrs
    }

    /// Serves `app` until `shutdown` is cancelled, then drains: accepts nothing new, sends GOAWAY on every connection, lets
    /// running calls end within the drain timeout, closes what is left and returns.
    ///
    /// Dropping the future closes everything at once. A panic in `app` ends one HTTP/3 call; on TCP it ends the connection:
    /// wrap `app` with [`guard`](crate::guard::guard()), which makes each panic an INTERNAL answer.
    pub async fn serve(self, app: Router, shutdown: CancellationToken) {
        let gate = Gate::new(&self.limits);
        let (drain, _kill_on_drop) = Drain::new(shutdown.clone());
        let tasks = TaskTracker::new();
        let mut accepting = JoinSet::new();
        let alt_svc = self.sockets.listen_addrs.first().map(|address| tcp::alt_svc(address.port()));
        for (listener, tls) in self.sockets.tls {
            let door = tcp::TcpDoor::new(Some(tls), alt_svc.clone(), &self.limits, self.guest.clone());
            accepting.spawn(door.accept_loop(
                listener,
                app.clone(),
                gate.clone(),
                drain.clone(),
                tasks.clone(),
            ));
        }
        for listener in self.sockets.plain {
            let door = tcp::TcpDoor::new(None, None, &self.limits, None);
            accepting.spawn(door.accept_loop(
                listener,
                app.clone(),
                gate.clone(),
                drain.clone(),
                tasks.clone(),
            ));
        }
        for endpoint in &self.sockets.quic {
            let door = h3::H3Door::new(endpoint.clone(), &self.limits);
            accepting.spawn(door.accept_loop(app.clone(), gate.clone(), drain.clone(), tasks.clone()));
        }
        shutdown.cancelled().await;
        tracing::info!(connections = gate.open(), "draining: new calls are refused, running ones may end");
        tasks.close();
        if tokio::time::timeout(self.drain_timeout, tasks.wait()).await.is_err() {
            tracing::warn!(connections = gate.open(), "drain timeout reached: closing what is left");
            drain.kill();
            tasks.wait().await;
        }
        for endpoint in &self.sockets.quic {
            endpoint.close(crate::quic::code(crate::quic::NO_ERROR), b"");
            let _ = tokio::time::timeout(h3::CLOSE_FLUSH, endpoint.wait_idle()).await;
        }
    }
}
