//! Pages for operators and browsers, health and reflection.

use axum::body::Body;
use duocast_transport::Door;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use metrics_exporter_prometheus::PrometheusBuilder;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse;
use tonic_reflection::pb::{v1, v1alpha};
use tower::ServiceExt as _;

use crate::support::{World, in_time};

pub(crate) async fn get(world: &World, path: &str) -> (Response<()>, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let (parts, body) = in_time(world.control.app().oneshot(request)).await.unwrap().into_parts();
    let text = in_time(body.collect()).await.unwrap().to_bytes();
    (Response::from_parts(parts, ()), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn live_at_once_and_ready_with_a_node_until_the_drain() {
    let world = World::new().await;
    assert_eq!(get(&world, "/live").await.0.status(), StatusCode::OK);
    let (response, text) = get(&world, "/ready").await;
    assert_eq!(
        (response.status(), text.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: no router node is linked\n")
    );
    let _node = world.node("n1").await;
    // One look serves everybody who asks for a moment.
    in_time(async {
        while get(&world, "/ready").await.0.status() != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(get(&world, "/ready").await.1, "ready\n");
    assert_eq!(world.control.not_ready().await, None);
    world.control.drain().await;
    assert_eq!(get(&world, "/ready").await.0.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(&world, "/live").await.0.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_page_is_served_with_strict_headers() {
    let world = World::new().await;
    let (response, text) = get(&world, "/").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(text.contains("<title>"), "the client, or how to build it");
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    let policy = header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert_ne!(header("cache-control"), "", "a page is never cached without asking");

    for path in ["/nothing-here", "/../Cargo.toml", "/%2e%2e/Cargo.toml", "//etc/passwd"] {
        let (response, _) = get(&world, path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(response.headers().contains_key(header::CONTENT_SECURITY_POLICY), "{path}");
    }
    let post = Request::post("/").body(Body::empty()).unwrap();
    let response = in_time(world.control.app().oneshot(post)).await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let world = World::new().await;
    for path in ["/duocast.v1.CallService/Nothing", "/duocast.v9.CallService/PlaceCall"] {
        let request =
            Request::post(path).header(header::CONTENT_TYPE, "application/grpc").body(Body::empty());
        let response = in_time(world.control.app().oneshot(request.unwrap())).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], (Code::Unimplemented as i32).to_string(), "{path}");
    }
}

#[tokio::test]
async fn health_and_reflection_know_every_service() {
    let world = World::new().await;
    let services = duocast_wire::services();
    assert!(services.iter().any(|service| service.name == "duocast.v1.PrivacyService"), "{services:?}");
    let health = async |service: &str| {
        let ask = HealthCheckRequest { service: service.into() };
        in_time(HealthClient::new(world.wire.clone()).check(ask)).await.unwrap().into_inner().status
    };
    for service in services.iter().map(|service| service.name.as_str()).chain([""]) {
        assert_eq!(health(service).await, 1, "{service:?} serves");
    }

    let ask = v1::ServerReflectionRequest {
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(world.wire.clone());
    let answers = in_time(client.server_reflection_info(tokio_stream::once(ask))).await.unwrap();
    let answer = in_time(answers.into_inner().message()).await.unwrap().unwrap();
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        answer.message_response
    else {
        panic!("no list")
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    assert!(services.iter().all(|service| names.contains(&service.name)), "{names:?}");

    for service in &services {
        let name = service.name.clone();
        let symbol = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(name);
        let ask = v1alpha::ServerReflectionRequest { message_request: Some(symbol), ..Default::default() };
        let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(world.wire.clone());
        let answers = in_time(client.server_reflection_info(tokio_stream::once(ask))).await.unwrap();
        let answer =
            in_time(answers.into_inner().message()).await.unwrap().unwrap().message_response.unwrap();
        let is_file = matches!(answer, FileDescriptorResponse(_));
        assert!(is_file, "{}: {answer:?}", service.name);
    }
}

#[tokio::test]
async fn every_counter_is_there_before_its_first_event() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    duocast_control::metrics::describe();
    let world = World::with(|config| config.metrics = Some(handle)).await;
    let (_, text) = get(&world, "/metrics").await;
    let described: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    for name in [
        "duocast_control_calls_placed_total",
        "duocast_control_calls_ended_total",
        "duocast_control_policy_decisions_total",
        "duocast_control_call_requests_total",
        "duocast_control_leg_failures_total",
        "duocast_control_plans_refused_total",
        "duocast_control_node_messages_invalid_total",
        "duocast_control_rpc_requests_total",
        "duocast_control_events_delivered_total",
        "duocast_control_streams_closed_total",
        "duocast_control_store_failures_total",
        "duocast_control_store_records_refused_total",
        "duocast_control_panics_total",
    ] {
        assert!(described.contains(&name), "{name} is missing in:\n{text}");
    }
    for line in [
        "duocast_control_calls_placed_total{result=\"placed\"} 0",
        "duocast_control_calls_placed_total{result=\"RING_BUDGET\"} 0",
        "duocast_control_calls_ended_total{reason=\"hung_up\"} 0",
        "duocast_control_calls_ended_total{reason=\"node_lost\"} 0",
        "duocast_control_policy_decisions_total{decision=\"deny\",reason=\"OUTSIDE_AUDIENCE\"} 0",
        "duocast_control_call_requests_total{decision=\"request\",reason=\"REQUEST_NEEDED\"} 0",
        "duocast_control_leg_failures_total{reason=\"node_slow\"} 0",
        "duocast_control_streams_closed_total{why=\"slow_consumer\"} 0",
        "duocast_control_rpc_requests_total{method=\"CanCall\",code=\"INTERNAL\"} 0",
        "duocast_control_rpc_requests_total{method=\"Link\",code=\"OK\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in:\n{text}");
    }
}

#[tokio::test]
async fn metrics_count_what_happened_and_name_nobody() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    // The whole control plane runs on this test's thread, but for the database.
    let _recording = metrics::set_default_local_recorder(&recorder);
    duocast_control::metrics::describe();
    let world = World::with(|config| config.metrics = Some(handle)).await;
    let (_, begun) = get(&world, "/metrics").await;
    world.friends(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    let call = alice.place("bob", "r1").await.unwrap();
    bob.call_is(duocast_wire::v1::CallState::Ringing).await;
    bob.decline(&call).await.unwrap();
    alice.place("nobody", "r2").await.unwrap_err();

    let (response, text) = get(&world, "/metrics").await;
    assert_eq!(response.status(), StatusCode::OK);
    for line in [
        "duocast_control_streams 2",
        "duocast_control_node_links 1",
        "duocast_control_calls_placed_total{result=\"placed\"} 1",
        "duocast_control_calls_placed_total{result=\"CALLEE_UNKNOWN\"} 1",
        "duocast_control_calls_ended_total{reason=\"declined\"} 1",
        "duocast_control_policy_decisions_total{decision=\"allow\",reason=\"MUTUALS\"} 1",
        "duocast_control_rpc_requests_total{method=\"PlaceCall\",code=\"NOT_FOUND\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in:\n{text}");
    }
    // Whatever has been counted was shown, at zero, before.
    let series = |text: &str| -> Vec<String> {
        let counted = text.lines().filter(|line| line.contains("_total"));
        counted.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
    };
    let begun = series(&begun);
    let late: Vec<_> = series(&text).into_iter().filter(|one| !begun.contains(one)).collect();
    assert!(late.is_empty(), "appeared later: {late:?}");
    for secret in ["alice", "bob", "laptop", "phone", alice.session.as_str(), call.call_id.as_str()] {
        assert!(!text.contains(secret), "{secret}");
    }

    for door in [Door::H2, Door::H3] {
        let request = Request::get("/metrics").extension(door).body(Body::empty()).unwrap();
        let response = in_time(world.control.app().oneshot(request)).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{door}: not for everybody who reaches the API");
    }
}
