//! The whole control plane as one value.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use duocast_control_core::switchboard::Counts;
use duocast_control_core::{Limits, policy};
use duocast_model::{Handle, UnixMillis};
use duocast_transport::guard::{GuardConfig, Origins, guard};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use crate::auth::{
    DevIssuer, DevIssuerError, InternalIssuer, IssuerConfig, IssuerError, Scope, Verifier, dev_account_id,
};
use crate::exchange::{Exchange, ExchangeError, Tuning};
use crate::http::{self, Operations};
use crate::metrics;
use crate::services::{self, Context, Services};
use crate::store::{AccountChange, FollowChange, FollowError, Store, StoreError, UpsertError, Watch};
use crate::web;

/// The database's file in the data directory.
const DATABASE: &str = "duocast.db";

/// How long streams may take to end once the drain began. Longer waits for clients that do not read, shorter cuts off those
/// far away.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// How often the metrics recorder tidies its histograms; without it they grow between scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Pause between two steps of the clean-up, in which calls are written.
const TIDY_PAUSE: Duration = Duration::from_millis(20);

/// What a [`Control`] is to be.
pub struct ControlConfig {
    /// Holds the database and, for development, the issuer's key. Made if it is not there.
    pub data_dir: PathBuf,
    /// Whose tokens are believed.
    pub issuers: Vec<IssuerConfig>,
    /// Also believe the [`DevIssuer`] of `data_dir`. Whoever can read that directory can then be anybody: never in production.
    pub dev_issuer: bool,
    /// Bounds and times of calls and sessions.
    pub limits: Limits,
    /// Bounds and times of the exchange.
    pub tuning: Tuning,
    /// Which policy decides who may call whom, and what new accounts start with.
    pub policy: policy::Profile,
    /// How long an ended call is kept.
    pub history: Duration,
    /// How often what has expired is deleted. Shorter keeps the database smaller, longer wakes the disk less often.
    pub tidy: Duration,
    /// What `/metrics` shows; `None`: nothing.
    pub metrics: Option<PrometheusHandle>,
    /// `/ready` waits for a router node.
    pub ready_needs_node: bool,
    /// Which web pages may use the API.
    pub origins: Origins,
    /// Signs credentials for the relay on the same port; `None`: there is none.
    pub relay: Option<duocast_turn::Secret>,
}

impl ControlConfig {
    /// Production defaults: no issuer, a node needed to be ready, pages of every origin (they need a token).
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            issuers: Vec::new(),
            dev_issuer: false,
            limits: Limits::default(),
            tuning: Tuning::default(),
            policy: policy::Profile::default(),
            history: Duration::from_secs(90 * 24 * 3600),
            tidy: Duration::from_secs(600),
            metrics: None,
            ready_needs_node: true,
            origins: Origins::Any,
            relay: None,
        }
    }
}

/// Why the control plane does not open. Says what the operator can do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory cannot be made.
    #[error("the data directory {} cannot be made: check the path and its permissions", path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// What failed.
        #[source]
        error: std::io::Error,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An issuer cannot be used.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// The development issuer cannot be used.
    #[error(transparent)]
    DevIssuer(#[from] DevIssuerError),
    /// No key could be made for the node of this process.
    #[error("no key could be made: the system's random source does not answer")]
    InternalIssuer,
    /// The API's descriptors cannot be served; a bug.
    #[error("the API's description cannot be served: report this")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Why the demonstration accounts are not there.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The accounts could not be made.
    #[error(transparent)]
    Accounts(#[from] UpsertError),
    /// The accounts could not be made contacts of each other.
    #[error(transparent)]
    Follows(#[from] FollowError),
}

/// The exchange, which decides everything, ended by itself: a defect. Its last log lines say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the exchange died; restart the process and report its last log lines")]
pub struct ExchangeDied;

/// The control plane. Cheap to clone.
///
/// Open it, serve [`app`](Self::app), and [`run`](Self::run) it until the shutdown. It starts to work when it is opened.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    context: Arc<Context>,
    operations: Operations,
    internal: InternalIssuer,
    draining: CancellationToken,
    stop: CancellationToken,
    exchange: Mutex<Option<JoinHandle<()>>>,
    health: HealthReporter,
    app: Router,
}

impl Control {
    /// Opens the store, takes up the calls in it and starts the exchange. Needs a tokio runtime.
    pub async fn open(config: ControlConfig) -> Result<Self, OpenError> {
        metrics::begin_at_zero();
        make_private_dir(&config.data_dir)?;
        let internal = InternalIssuer::new().ok_or(OpenError::InternalIssuer)?;
        let verifier = verifier(&config, &internal)?;
        let store = Store::open(&config.data_dir.join(DATABASE), config.policy).await?;
        let (draining, stop) = (CancellationToken::new(), CancellationToken::new());
        let resume_window = config.limits.resume;
        let (exchange, task) =
            Exchange::start(store.clone(), config.limits, config.tuning.clone(), stop.clone()).await?;
        let context = Context::new(exchange, store, verifier, config.tuning, resume_window, draining.clone());
        let context = Arc::new(context.with_relay(config.relay));
        let taken_up = context.clone();
        tokio::spawn(async move { taken_up.recheck_all().await });
        tokio::spawn(tidy(context.clone(), config.tidy, config.history, stop.clone()));
        let operations = Operations {
            context: context.clone(),
            prometheus: config.metrics,
            ready_needs_node: config.ready_needs_node,
            looked: Arc::default(),
        };
        let (health, app) = app(&Services::new(context.clone()), operations.clone()).await?;
        let guarded = guard(
            app,
            GuardConfig {
                draining: draining.clone(),
                origins: config.origins,
                message_max: duocast_wire::MAX_MESSAGE_BYTES,
                fault: services::errors::fault,
                ..GuardConfig::default()
            },
        );
        let exchange = Mutex::new(Some(task));
        let inner = Inner { context, operations, internal, draining, stop, exchange, health, app: guarded };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Everything that is served: the five services for native gRPC and grpc-web, health, reflection, the pages for operators
    /// and the web client, behind the guard that makes all doors behave the same.
    pub fn app(&self) -> Router {
        self.inner.app.clone()
    }

    /// Works until `shutdown`, then drains: every stream is told and ends, what was decided is written, the exchange stops.
    /// Returns when that is done, at most a few seconds later; or at once when the exchange died, a defect: the process
    /// should start anew. To be called once.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), ExchangeDied> {
        let exchange = self.inner.exchange.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut exchange = exchange.ok_or(ExchangeDied)?;
        let mut upkeep = tokio::time::interval(UPKEEP);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = &mut exchange => return Err(ExchangeDied),
                _ = upkeep.tick() => {
                    if let Some(prometheus) = &self.inner.operations.prometheus {
                        prometheus.run_upkeep();
                    }
                }
            }
        }
        self.drain().await;
        let streams = &self.inner.context.open_streams;
        streams.close();
        if tokio::time::timeout(DRAIN_MAX, streams.wait()).await.is_err() {
            tracing::warn!(streams = streams.len(), "some streams did not end in time and are cut off");
        }
        self.inner.stop.cancel();
        exchange.await.map_err(|_| ExchangeDied)
    }

    /// Begins to drain: not ready any more, new calls answer UNAVAILABLE, every stream is told and ends. [`run`](Self::run)
    /// does so at the shutdown.
    pub async fn drain(&self) {
        self.inner.draining.cancel();
        for service in health_names() {
            self.inner.health.set_service_status(service, tonic_health::ServingStatus::NotServing).await;
        }
    }

    /// Why no calls can be placed now; `None`: they can.
    pub async fn not_ready(&self) -> Option<String> {
        self.inner.operations.check().await.err().map(|why| why.to_string())
    }

    /// A token for a router node in this process. Its key exists in this process's memory only.
    pub fn mint_node_token(&self) -> String {
        self.inner.internal.mint_node().expect("the key was made by this process and signs")
    }

    /// How many sessions, streams, calls and nodes there are; `None` once the exchange stopped.
    pub async fn counts(&self) -> Option<Counts> {
        self.inner.context.exchange.counts().await.ok()
    }

    /// Makes the development accounts `alice` and `bob`: calling on, contacts of each other. Does no harm if they are there.
    pub async fn seed_demo(&self) -> Result<(), SeedError> {
        let store = &self.inner.context.store;
        let account = |handle: &str, name: &str| {
            let named = Handle::new(handle).expect("a lower-case word is a handle");
            AccountChange {
                calling_enabled: Some(true),
                ..AccountChange::named(dev_account_id(handle), named, Some(name.into()))
            }
        };
        let people = vec![account("alice", "Alice"), account("bob", "Bob")];
        let (alice, bob) = (people[0].account.clone(), people[1].account.clone());
        store.upsert_accounts(SystemTime::now().into(), people).await?;
        let follow = |follower, followee| FollowChange { follower, followee, following: true };
        store
            .set_follows(vec![follow(alice.clone(), bob.clone()), follow(bob.clone(), alice.clone())])
            .await?;
        // If the exchange is stopping there is nobody to tell.
        let _: Result<(), ExchangeError> =
            self.inner.context.exchange.changed(vec![Watch::Both(alice), Watch::Both(bob)]).await;
        Ok(())
    }
}

/// Names that the health service answers for; the empty one is the server as a whole.
fn health_names() -> impl Iterator<Item = String> {
    std::iter::once(String::new()).chain(duocast_wire::services().into_iter().map(|service| service.name))
}

async fn app(services: &Services, operations: Operations) -> Result<(HealthReporter, Router), OpenError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in health_names() {
        health.set_service_status(service, tonic_health::ServingStatus::Serving).await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(duocast_wire::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = tonic::service::Routes::new(services.call())
        .add_service(services.broadcast())
        .add_service(services.privacy())
        .add_service(services.directory())
        .add_service(services.node())
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .into_axum_router();
    Ok((health, routes.merge(http::routes(operations)).fallback(web::fallback)))
}

/// Deletes what has expired, in small steps, until the stop.
async fn tidy(context: Arc<Context>, every: Duration, history: Duration, stop: CancellationToken) {
    let mut due = tokio::time::interval(every);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = due.tick() => {}
        }
        let now = UnixMillis::from(SystemTime::now());
        let calls_before = UnixMillis(now.0.saturating_sub(history.as_millis() as u64));
        loop {
            match context.store.tidy(now, calls_before).await {
                Ok(true) if !stop.is_cancelled() => tokio::time::sleep(TIDY_PAUSE).await,
                Ok(_) => break,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "what has expired could not be deleted; trying again later");
                    break;
                }
            }
        }
    }
}

fn verifier(config: &ControlConfig, internal: &InternalIssuer) -> Result<Verifier, OpenError> {
    let mut verifier = Verifier::new(&config.issuers)?;
    if config.dev_issuer {
        verifier.trust(&DevIssuer::load_or_create(&config.data_dir)?.config())?;
    }
    verifier.trust_for(&internal.config(), Scope::Node)?;
    Ok(verifier)
}

/// What is in the data directory is nobody else's on this machine.
fn make_private_dir(path: &std::path::Path) -> Result<(), OpenError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(|error| OpenError::DataDir { path: path.to_owned(), error })
}
