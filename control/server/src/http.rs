//! Everything that is no call of the API: is the process alive, is it ready, how is it doing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use duocast_transport::Door;
use metrics_exporter_prometheus::PrometheusHandle;

use tokio::sync::Mutex;

use crate::metrics;
use crate::services::Context;
use crate::store::PingError;

/// How long the parts may take to answer before the process counts as not ready.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one look serves all who ask. Longer hides changes from a load balancer, shorter costs the store more.
const READY_KEPT: Duration = Duration::from_millis(200);

/// What the pages for operators look at.
#[derive(Clone)]
pub(crate) struct Operations {
    pub(crate) context: Arc<Context>,
    pub(crate) prometheus: Option<PrometheusHandle>,
    pub(crate) ready_needs_node: bool,
    /// The last look, shared: looking queues work for the store and the exchange, and anybody may ask.
    pub(crate) looked: Arc<Mutex<Option<Look>>>,
}

/// When somebody looked whether calls can be placed, and what was seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    at: Instant,
    result: Result<(), NotReady>,
}

/// Why the process takes no calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotReady {
    #[error("draining: the server is about to stop")]
    Draining,
    #[error("the database does not answer")]
    Store,
    #[error(
        "the database cannot be written: check the disk's free space and the data directory's permissions"
    )]
    StoreUnwritable,
    #[error("the exchange does not answer")]
    Exchange,
    #[error("no router node is linked")]
    NoNode,
}

/// `/live`, `/ready` and, on the plain door only, `/metrics`.
pub(crate) fn routes(operations: Operations) -> Router {
    Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(scrape))
        .with_state(operations)
}

impl Operations {
    /// Whether calls can be placed through this process now.
    pub(crate) async fn check(&self) -> Result<(), NotReady> {
        if self.context.draining.is_cancelled() {
            return Err(NotReady::Draining);
        }
        let mut looked = self.looked.lock().await;
        match *looked {
            Some(Look { at, result }) if at.elapsed() < READY_KEPT => result,
            _ => {
                let result = self.look().await;
                *looked = Some(Look { at: Instant::now(), result });
                result
            }
        }
    }

    async fn look(&self) -> Result<(), NotReady> {
        let store = tokio::time::timeout(READY_TIMEOUT, self.context.store.ping()).await;
        match store {
            Ok(Ok(())) => {}
            Ok(Err(PingError::Unwritable)) => return Err(NotReady::StoreUnwritable),
            Ok(Err(PingError::Store(_))) | Err(_) => return Err(NotReady::Store),
        }
        let counts = tokio::time::timeout(READY_TIMEOUT, self.context.exchange.counts()).await;
        let counts = counts.ok().and_then(Result::ok).ok_or(NotReady::Exchange)?;
        if self.ready_needs_node && counts.nodes == 0 {
            return Err(NotReady::NoNode);
        }
        Ok(())
    }
}

async fn ready(State(operations): State<Operations>) -> Response {
    match operations.check().await {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response(),
    }
}

/// Only for the operator's own machine: counts say who is busy when, so that they are not for everybody who can reach the API.
async fn scrape(door: Option<Extension<Door>>, State(operations): State<Operations>) -> Response {
    if door.is_some_and(|Extension(door)| door != Door::Plain) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let Some(prometheus) = operations.prometheus else {
        return (StatusCode::NOT_FOUND, "no metrics recorder is installed\n").into_response();
    };
    if let Ok(counts) = operations.context.exchange.counts().await {
        metrics::counts(counts);
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, prometheus.render()).into_response()
}
