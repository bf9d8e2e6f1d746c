//! What holds on every door: grpc-web, CORS, deadlines, panic isolation, draining.

mod body;
mod call;
mod web;

use std::time::Duration;

use axum::Router;
use http::{HeaderName, HeaderValue, Method};
use tokio_util::sync::CancellationToken;
use tower::Layer as _;
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use call::Calls;
use web::WebSwitch;

/// How long a browser may remember the answer to a preflight. Chromium takes at most two hours.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(7200);

/// Response headers that a page of another origin may read; without them grpc-web cannot see how a call ended.
const EXPOSED_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
];

/// Which web pages may call.
#[derive(Debug, Clone)]
pub enum Origins {
    /// Pages of every origin. Calls carry a bearer token that a page has to know, and no cookie, so a foreign page can do
    /// no more than any other program.
    Any,
    /// Pages of these origins (`https://calls.example`), and those that this server serves itself.
    Only(Vec<HeaderValue>),
}

/// How [`guard()`] behaves.
#[derive(Debug, Clone)]
pub struct GuardConfig {
    /// Cancelled when the server drains: the token that [`serve`](crate::server::Server::serve) gets. From then on a new
    /// call answers UNAVAILABLE.
    pub draining: CancellationToken,
    /// How long after that running calls may go on; then they end with UNAVAILABLE. Keep it below the server's drain
    /// timeout, or connections close before clients were told.
    pub drain_grace: Duration,
    /// The longest deadline that is kept for a client; a longer `grpc-timeout` counts as this one. Bounds timers only: a
    /// call without `grpc-timeout` has no deadline for its stream.
    pub deadline_max: Duration,
    /// How long a handler may take until its response begins, whatever the client allows. A stream begins when its handler
    /// returns, so this does not limit how long it may last.
    pub response_timeout: Duration,
    /// Which web pages may call.
    pub origins: Origins,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            draining: CancellationToken::new(),
            drain_grace: Duration::from_secs(5),
            deadline_max: Duration::from_secs(24 * 3600),
            response_timeout: Duration::from_secs(60),
            origins: Origins::Any,
        }
    }
}

/// Wraps `app` so that its calls behave the same on every door and in every encoding.
///
/// - grpc-web requests (binary and text, over any HTTP version) reach `app` as gRPC and are answered as grpc-web, with CORS;
///   everything else passes as it is.
/// - A gRPC call ends with DEADLINE_EXCEEDED when its `grpc-timeout` is over, whether it was answered, is streaming or
///   idle; its handler or stream is dropped then.
/// - A panic ends its call with INTERNAL and nothing else; outside of gRPC it answers 500.
/// - While draining, see [`GuardConfig::draining`].
///
/// Bounds on connections and on calls per connection are the server's ([`Limits`](crate::server::Limits)); the size of a
/// message is bounded by each generated service (`max_decoding_message_size`).
pub fn guard(app: Router, config: GuardConfig) -> Router {
    let cors = cors(&config.origins);
    let guarded = cors.layer(WebSwitch::new(Calls::new(app, config)));
    Router::new().fallback_service(guarded)
}

fn cors(origins: &Origins) -> CorsLayer {
    let origins = match origins {
        Origins::Any => AllowOrigin::from(Any),
        Origins::Only(list) => AllowOrigin::list(list.iter().cloned()),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::POST, Method::GET])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED_HEADERS)
        .max_age(PREFLIGHT_MAX_AGE)
}
