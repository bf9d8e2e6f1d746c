//! A running server with the probe service behind the guard, on ports of the system's choice.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod probe;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use duocast_transport::client::{Channel, ChannelConfig, DoorChoice, Roots};
use duocast_transport::guard::{GuardConfig, guard};
use duocast_transport::identity::Identity;
use duocast_transport::server::{Guest, Limits, Server, ServerConfig, loopback};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use probe::{Probe, ProbeClient};

/// No step of a test takes nearly as long; reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct TestServer {
    pub identity: Identity,
    pub port: u16,
    pub plain: SocketAddr,
    pub probe: Probe,
    pub shutdown: CancellationToken,
    serving: JoinHandle<()>,
    _certificates: tempfile::TempDir,
}

/// What differs from a plain test server.
pub struct Setup {
    pub limits: Limits,
    pub drain_timeout: Duration,
    pub drain_grace: Duration,
    pub port: u16,
    pub guarded: bool,
    pub identity: Option<Identity>,
    pub reset_secret: Option<[u8; 32]>,
    pub guest: Option<Arc<dyn Guest>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            drain_timeout: PATIENCE,
            drain_grace: PATIENCE,
            port: 0,
            guarded: true,
            identity: None,
            reset_secret: None,
            guest: None,
        }
    }
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    pub async fn start_with(setup: Setup) -> Self {
        let certificates = tempfile::tempdir().unwrap();
        let made = || Identity::load_or_create_self_signed(certificates.path(), &[]).unwrap();
        let identity = setup.identity.unwrap_or_else(made);
        let config = ServerConfig {
            listen: loopback(setup.port),
            plain: loopback(0)[..1].to_vec(),
            identity: identity.clone(),
            limits: setup.limits,
            reset_secret: setup.reset_secret,
            drain_timeout: setup.drain_timeout,
        };
        let mut server = Server::bind(config).await.unwrap();
        if let Some(guest) = setup.guest {
            server = server.with_guest(guest);
        }
        let (port, plain) = (server.listen_addrs()[0].port(), server.plain_addrs()[0]);
        let shutdown = CancellationToken::new();
        let probe = Probe::default();
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status("probe", tonic_health::ServingStatus::Serving).await;
        let mut app = Routes::new(probe.clone()).add_service(health_service).into_axum_router();
        app = app.merge(Router::new().route("/page", get(|| async { "a page" })));
        if setup.guarded {
            let draining = shutdown.clone();
            app = guard(
                app,
                GuardConfig {
                    draining,
                    drain_grace: setup.drain_grace,
                    message_max: probe::MAX_MESSAGE_BYTES,
                    ..GuardConfig::default()
                },
            );
        }
        let serving = tokio::spawn(server.serve(app, shutdown.clone()));
        Self { identity, port, plain, probe, shutdown, serving, _certificates: certificates }
    }

    pub fn config(&self, door: DoorChoice) -> ChannelConfig {
        self.config_for(&format!("https://localhost:{}", self.port), door)
    }

    pub fn config_for(&self, url: &str, door: DoorChoice) -> ChannelConfig {
        ChannelConfig::new(url, Roots::Pem(self.identity.cert_pem().to_owned())).with_door(door)
    }

    pub async fn channel(&self, door: DoorChoice) -> Channel {
        Channel::connect(self.config(door)).await.unwrap()
    }

    pub async fn client(&self, door: DoorChoice) -> ProbeClient<Channel> {
        ProbeClient::new(self.channel(door).await)
    }

    /// The TLS settings of a foreign client that trusts this server.
    pub fn tls(
        &self,
        version: &'static rustls::SupportedProtocolVersion,
        protocol: &str,
    ) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.identity.cert_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        tls
    }

    /// A bare QUIC connection on which nothing is sent, not even SETTINGS. It lasts as long as its endpoint is kept.
    pub async fn quic(&self, transport: quinn::TransportConfig) -> (quinn::Endpoint, quinn::Connection) {
        let crypto = QuicClientConfig::try_from(self.tls(&rustls::version::TLS13, "h3")).unwrap();
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = ([127, 0, 0, 1], self.port).into();
        let connection = in_time(endpoint.connect_with(config, address, "localhost").unwrap()).await.unwrap();
        (endpoint, connection)
    }

    /// Shuts down and waits until `serve` has returned.
    pub async fn stop(self) {
        self.shutdown.cancel();
        in_time(self.serving).await.unwrap();
    }

    /// Waits until `serve` has returned after its shutdown began.
    pub async fn stopped(&mut self) {
        in_time(&mut self.serving).await.unwrap();
    }
}

/// Fails the test instead of hanging it.
pub async fn in_time<F: IntoFuture>(step: F) -> F::Output {
    tokio::time::timeout(PATIENCE, step.into_future()).await.expect("the step did not end in time")
}
