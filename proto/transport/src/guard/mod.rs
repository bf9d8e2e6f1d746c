//! What holds on every door: grpc-web, CORS, deadlines, panic isolation, draining.

mod body;
mod call;
#[cfg(any(test, duocast_fuzz))]
pub mod fuzz;
mod message;
mod origin;
mod web;

use std::time::Duration;

use axum::Router;
use http::{HeaderName, HeaderValue, Method};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use call::Calls;
pub use message::Fault;
use origin::OriginSwitch;
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
    /// Most bytes of one message of a request. Higher costs memory per call under attack, lower refuses honest messages; a
    /// larger one ends its call before it is read. Each generated service must allow as much (`max_decoding_message_size`).
    pub message_max: usize,
    /// The status for a request that no handler sees; [`Fault::bare`] has no details.
    pub fault: fn(Fault) -> Status,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            draining: CancellationToken::new(),
            drain_grace: Duration::from_secs(5),
            deadline_max: Duration::from_secs(24 * 3600),
            response_timeout: Duration::from_secs(60),
            origins: Origins::Any,
            message_max: 4 * 1024 * 1024,
            fault: Fault::bare,
        }
    }
}

/// Wraps `app` so that its calls behave the same on every door and in every encoding.
///
/// - grpc-web requests (binary and text, over any HTTP version) reach `app` as gRPC and are answered as grpc-web; everything
///   else passes as it is.
/// - CORS applies to the paths of calls, `/package.Service/Method`, only: metrics and health are for no web page.
/// - A gRPC call ends with DEADLINE_EXCEEDED when its `grpc-timeout` is over, whether it was answered, is streaming or
///   idle; its handler or stream is dropped then.
/// - A panic ends its call with INTERNAL and nothing else; outside of gRPC it answers 500.
/// - While draining, see [`GuardConfig::draining`].
/// - A message that is too large, or cannot be read, ends its call as [`GuardConfig::fault`] says.
///
/// Bounds on connections and on calls per connection are the server's ([`Limits`](crate::server::Limits)).
pub fn guard(app: Router, config: GuardConfig) -> Router {
    let cors = cors(&config.origins);
    let guarded = OriginSwitch::new(&cors, WebSwitch::new(Calls::new(app, config)));
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::{get, post};
    use bytes::Bytes;
    use futures_util::{StreamExt as _, stream};
    use http::{Request, Response, StatusCode, header};
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::sync::oneshot;
    use tokio::time::Instant;
    use tower::ServiceExt as _;

    use super::*;

    fn call(path: &str) -> Request<Body> {
        Request::post(path).header(header::CONTENT_TYPE, "application/grpc").body(Body::empty()).unwrap()
    }

    fn call_within(path: &str, timeout: &str) -> Request<Body> {
        let mut request = call(path);
        request.headers_mut().insert(crate::grpc::TIMEOUT, HeaderValue::from_str(timeout).unwrap());
        request
    }

    /// One message, then nothing for ever, or one message after the other for ever.
    fn app() -> Router {
        let message = || Ok::<_, axum::Error>(http_body::Frame::data(Bytes::from_static(b"message")));
        let idle = move || async move {
            Body::new(StreamBody::new(stream::iter([message()]).chain(stream::pending())))
        };
        let busy = move || async move { Body::new(StreamBody::new(stream::repeat_with(message))) };
        let panics = || async {
            if Instant::now().elapsed() < Duration::MAX {
                panic!("a test asked for it")
            }
        };
        Router::new()
            .route("/idle", post(idle))
            .route("/busy", post(busy))
            .route("/never", post(std::future::pending::<()>))
            .route("/panics", post(panics))
            .route("/test.Probe/Idle", post(idle))
            .route("/page", get(|| async { "a page" }).post(panics))
    }

    /// The status in the headers or trailers, after all messages.
    async fn status(response: Response<Body>) -> String {
        let (parts, body) = response.into_parts();
        let mut fields = parts.headers;
        fields.extend(body.collect().await.unwrap().trailers().cloned().unwrap_or_default());
        fields["grpc-status"].to_str().unwrap().to_owned()
    }

    const INTERNAL: &str = "13";
    const UNAVAILABLE: &str = "14";
    const DEADLINE_EXCEEDED: &str = "4";

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_calls_that_wait_idle_or_stream_on() {
        for path in ["/never", "/idle", "/busy"] {
            let began = Instant::now();
            let guarded = guard(app(), GuardConfig::default());
            let response = guarded.oneshot(call_within(path, "5S")).await.unwrap();
            if path == "/busy" {
                // Time stands still while there is always something to do.
                tokio::time::advance(Duration::from_secs(5)).await;
            }
            assert_eq!(status(response).await, DEADLINE_EXCEEDED, "{path}");
            assert_eq!(began.elapsed().as_secs(), 5, "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_beyond_the_longest_counts_as_the_longest() {
        let began = Instant::now();
        let guarded = guard(app(), GuardConfig::default());
        let response = guarded.oneshot(call_within("/idle", "99999999H")).await.unwrap();
        assert_eq!(status(response).await, DEADLINE_EXCEEDED);
        assert_eq!(began.elapsed().as_secs(), 24 * 3600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_never_responds_is_given_up_without_any_deadline() {
        let began = Instant::now();
        let response = guard(app(), GuardConfig::default()).oneshot(call("/never")).await.unwrap();
        assert_eq!(status(response).await, DEADLINE_EXCEEDED);
        assert_eq!(began.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_a_deadline_is_left_alone() {
        let guarded = guard(app(), GuardConfig::default());
        let mut body = guarded.oneshot(call("/idle")).await.unwrap().into_body();
        assert!(body.frame().await.unwrap().unwrap().is_data());
        let more = tokio::time::timeout(Duration::from_secs(365 * 24 * 3600), body.frame());
        assert!(more.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_stream_has_its_grace_while_draining_and_is_then_told() {
        let config = GuardConfig::default();
        let (draining, grace) = (config.draining.clone(), config.drain_grace);
        let response = guard(app(), config).oneshot(call("/idle")).await.unwrap();
        let began = Instant::now();
        draining.cancel();
        assert_eq!(status(response).await, UNAVAILABLE);
        assert_eq!(began.elapsed().as_secs(), grace.as_secs());
    }

    #[tokio::test]
    async fn while_draining_calls_are_refused_and_pages_are_not() {
        let config = GuardConfig::default();
        config.draining.cancel();
        let guarded = guard(app(), config);
        assert_eq!(status(guarded.clone().oneshot(call("/idle")).await.unwrap()).await, UNAVAILABLE);
        let page = guarded.oneshot(Request::get("/page").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(page.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_panic_is_internal_for_a_call_and_500_for_a_page() {
        let guarded = guard(app(), GuardConfig::default());
        assert_eq!(status(guarded.clone().oneshot(call("/panics")).await.unwrap()).await, INTERNAL);
        let page = guarded.oneshot(Request::post("/page").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(page.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_over_its_deadline_is_dropped_while_its_end_is_still_being_sent() {
        let (held, dropped) = oneshot::channel::<()>();
        let stream = stream::poll_fn(move |_| {
            let _ = &held;
            std::task::Poll::<Option<Result<http_body::Frame<Bytes>, axum::Error>>>::Pending
        });
        let body = std::sync::Mutex::new(Some(Body::new(StreamBody::new(stream))));
        let body = std::sync::Arc::new(body);
        let handler = move || async move { body.lock().unwrap().take().unwrap() };
        let guarded = guard(Router::new().route("/held", post(handler)), GuardConfig::default());
        let mut response = guarded.oneshot(call_within("/held", "1S")).await.unwrap().into_body();
        assert!(response.frame().await.unwrap().unwrap().is_trailers());
        assert!(dropped.await.is_err(), "the handler's stream is gone while the response is still held");
    }

    #[tokio::test]
    async fn only_listed_origins_may_call_if_a_list_is_given() {
        let origins = Origins::Only(vec![HeaderValue::from_static("https://calls.example")]);
        let guarded = guard(app(), GuardConfig { origins, ..GuardConfig::default() });
        for (origin, allowed) in [("https://calls.example", true), ("https://other.example", false)] {
            let mut request = call("/test.Probe/Idle");
            request.headers_mut().insert(header::ORIGIN, HeaderValue::from_static(origin));
            let response = guarded.clone().oneshot(request).await.unwrap();
            assert_eq!(
                response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN),
                allowed,
                "{origin}"
            );
        }
    }

    #[tokio::test]
    async fn a_page_of_another_origin_may_read_calls_only() {
        let guarded = guard(app(), GuardConfig::default());
        let preflight = |path: &str| {
            let request = Request::options(path).header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET");
            request.body(Body::empty()).unwrap()
        };
        for (mut request, allowed) in [
            (Request::get("/page").body(Body::empty()).unwrap(), false),
            (preflight("/page"), false),
            (preflight("/assets/index.js"), false),
            (preflight("/test.Probe/Idle"), true),
            (call("/test.Probe/Idle"), true),
        ] {
            let what = format!("{} {}", request.method(), request.uri());
            request.headers_mut().insert(header::ORIGIN, HeaderValue::from_static("https://other.example"));
            let response = guarded.clone().oneshot(request).await.unwrap();
            let told = response.headers().keys().any(|name| name.as_str().starts_with("access-control-"));
            assert_eq!(told, allowed, "{what}");
        }
    }
}
