//! Starting servers: everything in one process, or control and router apart.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use duocast_control::auth::{DevIssuer, DevIssuerError, IssuerConfig, Scope, dev_account_id};
use duocast_control::{Control, ControlConfig};
use duocast_model::NodeId;
use duocast_router::{Router, RouterConfig, TokenSource};
use duocast_transport::client::{ChannelConfig, Roots};
use duocast_transport::identity::Identity;
use duocast_transport::server::{Duplex, Guest, Limits, Server, ServerConfig};
use duocast_turn::Relays;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::data_dir::{DataDir, DataDirError};
use crate::term::{self, FAINT, GOOD, STRONG, paint};

/// The node's name in a single-process server.
const EMBEDDED_NODE: &str = "embedded";

/// How long the demo links are valid.
const DEMO_TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

/// How long a server of one process may take until calls can be placed, and how often that is looked at.
const READY_MAX: Duration = Duration::from_secs(10);
const READY_POLL: Duration = Duration::from_millis(20);

/// The accounts of `--demo`.
const DEMO_ACCOUNTS: [&str; 2] = ["alice", "bob"];

/// Why a server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory cannot be had.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// No certificate.
    #[error("the certificate cannot be used")]
    Identity(#[from] duocast_transport::identity::IdentityError),
    /// A TCP or QUIC address cannot be bound.
    #[error("the control plane's addresses cannot be bound")]
    Bind(#[from] duocast_transport::server::BindError),
    /// The control plane cannot open.
    #[error("the control plane cannot start")]
    Control(#[from] duocast_control::OpenError),
    /// A media address cannot be bound.
    #[error("the router cannot start")]
    Media(#[from] duocast_router::BindError),
    /// The router stopped by itself.
    #[error("the router stopped")]
    Router(#[from] duocast_router::RouterError),
    /// The development key cannot be used.
    #[error("the development key cannot be used")]
    DevIssuer(#[from] DevIssuerError),
    /// The demo accounts cannot be made.
    #[error("the demo accounts cannot be made")]
    Demo(#[from] duocast_control::SeedError),
    /// A page's address cannot be bound.
    #[error("cannot listen on {address}: stop what is using it or choose another `http` address")]
    Page {
        /// Which address.
        address: SocketAddr,
        /// What failed.
        #[source]
        source: std::io::Error,
    },
    /// A file of the configuration cannot be read.
    #[error("{} cannot be read: check the path and its permissions", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: std::io::Error,
    },
    /// A file of the data directory cannot be written.
    #[error("{} cannot be written: check the data directory's permissions and space", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: std::io::Error,
    },
    /// Control's exchange died: a defect.
    #[error("the control plane stopped")]
    Exchange(#[from] duocast_control::ExchangeDied),
    /// Calls cannot be placed, and it does not get better.
    #[error("the server started but takes no calls: {0}; its log says more")]
    NotReady(String),
    /// A setting is missing or wrong.
    #[error("{0}")]
    Setting(String),
}

/// A running server. [`Running::stop`] drains; dropping it begins to, and does not wait.
pub struct Running {
    /// The API's address, `https://localhost:port`.
    pub url: String,
    /// The page's address, `http://localhost:port`; `None` if none is configured.
    pub page: Option<String>,
    /// The certificate to trust.
    pub ca_pem: String,
    /// Where keys and database are.
    pub data_dir: PathBuf,
    control: Control,
    shutdown: CancellationToken,
    task: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Running {
    /// Stops gracefully: calls of the API end within the drain time, media until then.
    pub async fn stop(self) -> Result<(), ServeError> {
        self.shutdown.cancel();
        self.wait().await
    }

    /// Waits until everything has stopped.
    pub async fn wait(mut self) -> Result<(), ServeError> {
        match self.task.take() {
            Some(task) => join(task.await).unwrap_or(Ok(())),
            None => Ok(()),
        }
    }

    /// Waits until calls can be placed.
    pub async fn until_ready(&self) -> Result<(), ServeError> {
        let began = Instant::now();
        while let Some(why) = self.control.not_ready().await {
            if began.elapsed() > READY_MAX {
                return Err(ServeError::NotReady(why));
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }

    /// A token for a development account of this server.
    pub fn token(&self, handle: &str, scope: Scope) -> Result<String, ServeError> {
        Ok(mint(&self.data_dir, handle, scope, DEMO_TOKEN_TTL)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Everything in one process, until a signal says stop.
pub async fn up(config: Config, demo: bool, json: bool) -> Result<(), ServeError> {
    serve(config, true, demo, json).await
}

/// The control plane alone.
pub async fn control(config: Config, demo: bool, json: bool) -> Result<(), ServeError> {
    serve(config, false, demo, json).await
}

async fn serve(config: Config, with_router: bool, demo: bool, json: bool) -> Result<(), ServeError> {
    if demo && !config.auth.accepts_dev() {
        let why = "--demo needs auth.dev = true: its tokens are signed by the development key";
        return Err(ServeError::Setting(why.into()));
    }
    let running = start(&config, with_router).await?;
    if with_router {
        running.until_ready().await?;
    }
    let mut links = Vec::new();
    if demo {
        running.control.seed_demo().await?;
        for handle in DEMO_ACCOUNTS {
            let page = running.page.as_deref().unwrap_or(&running.url);
            links.push((handle, format!("{page}/#token={}", running.token(handle, Scope::Client)?)));
        }
    }
    if json {
        announce_json(&running, &links)
    } else {
        announce(&running, &links)
    }
    wait_for_signal(running).await
}

/// A router node alone.
pub async fn router(config: Config) -> Result<(), ServeError> {
    let link = &config.link;
    if link.control.is_empty() {
        return Err(ServeError::Setting(
            "link.control: empty: name the control plane, e.g. https://calls.example:4433".into(),
        ));
    }
    let Some(token) = &link.token else {
        return Err(ServeError::Setting(
            "link.token: not set: name the file with this node's token (scope node)".into(),
        ));
    };
    // It is read again at each attempt to link; a file that is not there now is a mistake in the configuration.
    read(token)?;
    let token = TokenSource::File(token.clone());
    let roots = match &link.ca {
        Some(file) => Roots::Pem(read(file)?),
        None => Roots::System,
    };
    let name = link.node_id.clone().unwrap_or_else(host_name);
    let node_id =
        NodeId::new(&name).map_err(|e| ServeError::Setting(format!("link.node_id: {name:?}: {e}")))?;
    let metrics = crate::metrics::install();
    let router = Router::bind(router_config(&config, node_id, node_link(&link.control, roots), token))?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        stop_signal().await;
        stop.cancel();
    });
    crate::pages::serve(&config.http, metrics, router.linked(), shutdown.clone()).await?;
    term::line(&format!("{}  router {name}", paint(GOOD, "ready")));
    Ok(router.run(shutdown).await?)
}

/// Starts control, and with `with_router` a router in the same process that links to it as any other would.
pub async fn start(config: &Config, with_router: bool) -> Result<Running, ServeError> {
    let data_dir = DataDir::take(&config.data_dir)?;
    let identity = identity(config)?;
    let ca_pem = identity.cert_pem().to_owned();
    // Everything binds before the calls in the database are taken up: a start that fails leaves them as they were.
    let server = Server::bind(ServerConfig {
        listen: config.listen.clone(),
        plain: config.http.clone(),
        identity,
        limits: Limits::default(),
        reset_secret: Some(reset_secret(&config.data_dir)?),
        drain_timeout: Duration::from_secs(config.drain_seconds),
    })
    .await?;
    let relay = duocast_turn::Secret::new(fresh_secret());
    let server = server.with_guest(Arc::new(OverTls(Relays::new(relay.clone()))));
    let url = format!("https://localhost:{}", port(server.listen_addrs()).unwrap_or_default());
    let page = port(server.plain_addrs()).map(|port| format!("http://localhost:{port}"));
    let embedded = if with_router { Some(embedded_router(config).await?) } else { None };

    let control = Control::open(ControlConfig {
        issuers: issuers(config)?,
        dev_issuer: config.auth.accepts_dev(),
        metrics: crate::metrics::install(),
        limits: config.calls.limits(),
        policy: config.policy.profile.into(),
        history: Duration::from_secs(u64::from(config.policy.history_days) * 24 * 3600),
        ready_needs_node: true,
        relay: Some(relay),
        ..ControlConfig::new(config.data_dir.clone())
    })
    .await?;
    let node_token = TokenSource::Given(control.mint_node_token());

    let shutdown = CancellationToken::new();
    // The router outlives the API's drain: media of running calls goes on until then.
    let drained = CancellationToken::new();
    let (stop, app, worker) = (shutdown.clone(), control.app(), control.clone());
    let task = tokio::spawn(async move {
        let _until_all_has_stopped = data_dir;
        let (inner, media) = match embedded {
            Some((inner, router)) => (Some(inner), Some(router.with_token(node_token))),
            None => (None, None),
        };
        // The first part to end, in order or not, stops the others: a server without one of its parts helps nobody.
        let api = ending(&stop, async { server.serve(app.clone(), stop.clone()).await });
        let inner = ending(&stop, async {
            match inner {
                Some(inner) => inner.serve(app.clone(), stop.clone()).await,
                None => stop.cancelled().await,
            }
        });
        let control = ending(&stop, worker.run(stop.clone()));
        let media = ending(&stop, async {
            match media {
                Some(router) => router.run(drained.clone()).await,
                None => {
                    drained.cancelled().await;
                    Ok(())
                }
            }
        });
        let control_side = async {
            let ((), (), ended) = tokio::join!(api, inner, control);
            drained.cancel();
            ended
        };
        let (control, media) = tokio::join!(control_side, media);
        control?;
        Ok(media?)
    });
    Ok(Running { url, page, ca_pem, data_dir: config.data_dir.clone(), control, shutdown, task: Some(task) })
}

/// Media over TLS, on the port of the API.
struct OverTls(Relays);

impl Guest for OverTls {
    fn knows(&self, first: u8) -> bool {
        duocast_turn::is_turn(first)
    }

    fn serve(&self, stream: Box<dyn Duplex>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.0.clone().serve(stream))
    }
}

/// Says stop to all when `part` has ended.
async fn ending<T>(stop: &CancellationToken, part: impl Future<Output = T>) -> T {
    let _stop_all = stop.clone().drop_guard();
    part.await
}

/// The router of a single-process server, and the loopback door that it links to: with an identity of its own, because the
/// configured certificate need not cover localhost, nor the configured addresses include it. The router has no token yet.
async fn embedded_router(config: &Config) -> Result<(Server, Router), ServeError> {
    let identity = Identity::load_or_create_self_signed(&config.data_dir.join("internal"), &[])?;
    let roots = Roots::Pem(identity.cert_pem().to_owned());
    let door = Server::bind(ServerConfig {
        listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
        plain: Vec::new(),
        identity,
        limits: Limits::default(),
        reset_secret: None,
        drain_timeout: Duration::from_secs(config.drain_seconds),
    })
    .await?;
    let url = format!("https://127.0.0.1:{}", port(door.listen_addrs()).unwrap_or_default());
    let node = NodeId::new(EMBEDDED_NODE).expect("a valid node id");
    let router = router_config(config, node, node_link(&url, roots), TokenSource::Given(String::new()));
    Ok((door, Router::bind(router)?))
}

/// What a task gave; `None` if it was cancelled. Its panic goes on here.
fn join<T>(ended: Result<T, tokio::task::JoinError>) -> Option<T> {
    match ended {
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        ended => ended.ok(),
    }
}

fn announce(running: &Running, links: &[(&str, String)]) {
    term::line(&format!("{}  {}", paint(GOOD, "ready"), paint(STRONG, &running.url)));
    if links.is_empty() {
        running.page.iter().for_each(|page| term::line(&format!("       {page}")));
        return;
    }
    term::line("\n  Open one link in each of two tabs, and call:");
    for (handle, link) in links {
        term::line(&format!("  {}  {link}", paint(STRONG, &format!("{handle:<5}"))));
    }
    let next = "\n  Or without a browser: duocast call --as alice --to bob   (--help for more; ctrl-C stops the server)";
    term::line(&paint(FAINT, next));
}

fn announce_json(running: &Running, links: &[(&str, String)]) {
    let links: serde_json::Map<String, serde_json::Value> =
        links.iter().map(|(handle, link)| ((*handle).to_owned(), link.as_str().into())).collect();
    let ready = serde_json::json!({
        "ready": true,
        "url": running.url,
        "page": running.page,
        "ca": running.data_dir.join("cert.pem"),
        "links": links,
    });
    term::line(&ready.to_string());
}

async fn wait_for_signal(running: Running) -> Result<(), ServeError> {
    let shutdown = running.shutdown.clone();
    tokio::spawn(async move {
        stop_signal().await;
        tracing::info!("stopping: draining running calls of the API; a second signal stops at once");
        shutdown.cancel();
        stop_signal().await;
        std::process::exit(130);
    });
    running.wait().await
}

/// Waits for SIGINT or SIGTERM.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

fn identity(config: &Config) -> Result<Identity, ServeError> {
    Ok(match (&config.tls.cert, &config.tls.key) {
        (Some(cert), Some(key)) => Identity::from_pem_files(cert, key)?,
        _ => Identity::load_or_create_self_signed(&config.data_dir, &config.tls.names)?,
    })
}

/// The server's own secret for QUIC's stateless resets, kept so that a restart is noticed at once.
fn reset_secret(data_dir: &Path) -> Result<[u8; 32], ServeError> {
    let path = data_dir.join("quic-reset.key");
    if let Some(kept) = std::fs::read(&path).ok().and_then(|bytes| bytes.try_into().ok()) {
        return Ok(kept);
    }
    let fresh = fresh_secret();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&path).and_then(|mut file| file.write_all(&fresh));
    written.map_err(|source| ServeError::Write { path, source })?;
    Ok(fresh)
}

/// Of 244 random bits.
fn fresh_secret() -> [u8; 32] {
    let halves = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(uuid::Uuid::into_bytes);
    halves.concat().try_into().expect("two UUIDs are 32 bytes")
}

fn issuers(config: &Config) -> Result<Vec<IssuerConfig>, ServeError> {
    let load = |i: &crate::config::Issuer| {
        Ok(IssuerConfig { iss: i.iss.clone(), public_key_pem: read(&i.public_key)? })
    };
    config.auth.issuers.iter().map(load).collect()
}

/// A node's link notices a lost control within seconds: control moves the calls of a node that stays away for 15 s.
fn node_link(url: &str, roots: Roots) -> ChannelConfig {
    let keep_alive = Duration::from_secs(1);
    ChannelConfig { keep_alive, idle_timeout: 5 * keep_alive, ..ChannelConfig::new(url, roots) }
}

fn router_config(
    config: &Config,
    node_id: NodeId,
    control: ChannelConfig,
    token: TokenSource,
) -> RouterConfig {
    RouterConfig {
        node_id,
        control,
        token,
        listen: config.media.listen.clone(),
        port_base: config.media.port,
        media_tcp: config.media.tcp,
        announce: config.media.announce.clone(),
        workers: config.media_workers(),
        realtime: config.media.realtime,
        leg_capacity: config.media.leg_capacity,
    }
}

/// A token of the development issuer in `data_dir`.
pub fn mint(data_dir: &Path, handle: &str, scope: Scope, ttl: Duration) -> Result<String, DevIssuerError> {
    let issuer = DevIssuer::load(data_dir)?;
    let name = display_name(handle);
    let sub = dev_account_id(handle);
    issuer.mint(sub.expose(), handle, &name, scope, ttl)
}

/// `alice` → `Alice`: how a development account appears until it is given a name.
pub fn display_name(handle: &str) -> String {
    let mut letters = handle.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn read(path: &Path) -> Result<String, ServeError> {
    std::fs::read_to_string(path).map_err(|source| ServeError::File { path: path.to_owned(), source })
}

fn port(addresses: &[SocketAddr]) -> Option<u16> {
    addresses.first().map(SocketAddr::port)
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "router".into() } else { name.to_owned() }
}
