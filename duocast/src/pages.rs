//! What a router node alone shows its operator: `/live`, `/ready`, `/metrics` on the plain addresses.

use std::net::SocketAddr;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Router, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::serve::ServeError;

/// Serves them until `shutdown`. Everything is bound when this returns.
pub async fn serve(
    addresses: &[SocketAddr],
    metrics: Option<PrometheusHandle>,
    linked: watch::Receiver<bool>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let app = Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(move || async move { ready(*linked.borrow()) }))
        .route("/metrics", get(move || async move { scrape(metrics) }));
    for address in addresses {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| ServeError::Page { address: *address, source })?;
        let (app, stop) = (app.clone(), shutdown.clone());
        tokio::spawn(async move {
            // Ends at the shutdown; accepting never fails for good.
            let _ = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
        });
    }
    Ok(())
}

fn ready(is_linked: bool) -> Response {
    if is_linked {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: control is not linked\n").into_response()
    }
}

fn scrape(metrics: Option<PrometheusHandle>) -> Response {
    let Some(metrics) = metrics else { return StatusCode::NOT_FOUND.into_response() };
    metrics.run_upkeep();
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, metrics.render()).into_response()
}
