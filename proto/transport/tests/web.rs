//! What a browser meets: grpc-web on every door, CORS, the page, and the way to HTTP/3.

mod common;

use bytes::{Buf as _, Bytes};
use common::probe::{Ask, ask};
use common::{TestServer, in_time};
use duocast_transport::client::DoorChoice;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::TcpStream;
use tonic::body::Body;
use tower::ServiceExt as _;

/// The ways a browser may reach the server.
#[derive(Debug, Clone, Copy)]
enum Way {
    Http3,
    Http2,
    PlainHttp1,
    PlainHttp2,
}

const WAYS: [Way; 4] = [Way::Http3, Way::Http2, Way::PlainHttp1, Way::PlainHttp2];

/// Sends one request and collects its response; trailers of the HTTP message, if there are any, join the headers.
async fn send(server: &TestServer, way: Way, request: Request<Bytes>) -> Response<Bytes> {
    let response = match way {
        Way::Http3 => over_channel(server, DoorChoice::H3, request).await,
        Way::Http2 => over_channel(server, DoorChoice::H2, request).await,
        Way::PlainHttp1 => {
            let stream = TokioIo::new(TcpStream::connect(server.plain).await.unwrap());
            let (mut requests, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let mut request = request.map(Full::new);
            request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
            requests.send_request(request).await.unwrap().map(Body::new)
        }
        Way::PlainHttp2 => {
            let stream = TokioIo::new(TcpStream::connect(server.plain).await.unwrap());
            let executor = TokioExecutor::new();
            let (mut requests, connection) =
                hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
            tokio::spawn(connection);
            let (mut parts, body) = request.into_parts();
            parts.uri = format!("http://localhost{}", parts.uri.path()).parse().unwrap();
            let request = Request::from_parts(parts, Full::new(body));
            requests.send_request(request).await.unwrap().map(Body::new)
        }
    };
    let (mut parts, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    parts.headers.extend(collected.trailers().cloned().unwrap_or_default());
    Response::from_parts(parts, collected.to_bytes())
}

async fn over_channel(server: &TestServer, door: DoorChoice, request: Request<Bytes>) -> Response<Body> {
    let request = request.map(|body| Body::new(Full::new(body)));
    server.channel(door).await.oneshot(request).await.unwrap()
}

fn framed(ask: &Ask) -> Bytes {
    let message = ask.encode_to_vec();
    let mut frame = vec![0; 1];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    frame.into()
}

fn post(path: &str, content_type: &'static str, ask: &Ask) -> Request<Bytes> {
    Request::post(path)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::ACCEPT, content_type)
        .header(header::ORIGIN, "https://calls.example")
        .header("x-grpc-web", "1")
        .body(framed(ask))
        .unwrap()
}

/// The messages and the status in a grpc-web body.
fn unframed(mut body: Bytes) -> (Vec<Bytes>, String) {
    let mut messages = Vec::new();
    let mut trailers = String::new();
    while !body.is_empty() {
        let (flags, length) = (body.get_u8(), body.get_u32() as usize);
        let content = body.split_to(length);
        if flags & 0x80 == 0 {
            messages.push(content);
        } else {
            trailers = String::from_utf8(content.to_vec()).unwrap();
        }
    }
    (messages, trailers)
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(|value| value.to_str().unwrap().to_ascii_lowercase()).unwrap_or_default()
}

#[tokio::test]
async fn a_grpc_web_call_is_answered_on_every_way() {
    let server = TestServer::start().await;
    for way in WAYS {
        let asked = Ask { number: 3, ..ask("count") };
        let request = post("/duocast.test.Probe/Stream", "application/grpc-web+proto", &asked);
        let response = in_time(send(&server, way, request)).await;
        assert_eq!(response.status(), StatusCode::OK, "{way:?}");
        assert_eq!(text(response.headers(), "content-type"), "application/grpc-web+proto");
        assert_eq!(text(response.headers(), "access-control-allow-origin"), "*");
        let exposed = text(response.headers(), "access-control-expose-headers");
        for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
            assert!(exposed.contains(name), "{way:?} does not expose {name}: {exposed}");
        }
        let (messages, trailers) = unframed(response.into_body());
        assert_eq!(messages.len(), 3, "{way:?}");
        assert!(trailers.contains("grpc-status:0"), "{way:?}: {trailers}");
    }
}

#[tokio::test]
async fn a_grpc_web_text_call_is_answered_on_every_way() {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let server = TestServer::start().await;
    for way in WAYS {
        let request = post("/duocast.test.Probe/Unary", "application/grpc-web-text", &ask("echo"));
        let request = request.map(|body| Bytes::from(base64.encode(body)));
        let response = in_time(send(&server, way, request)).await;
        assert_eq!(text(response.headers(), "content-type"), "application/grpc-web-text+proto", "{way:?}");
        // Each piece is encoded, and padded, by itself.
        let body = String::from_utf8(response.into_body().to_vec()).unwrap();
        let pieces = body.as_bytes().chunks(4).map(|quad| base64.decode(quad).unwrap());
        let (messages, trailers) = unframed(pieces.flatten().collect());
        assert_eq!(messages.len(), 1, "{way:?}");
        assert!(trailers.contains("grpc-status:0"), "{way:?}: {trailers}");
    }
}

#[tokio::test]
async fn a_panic_and_a_deadline_reach_a_grpc_web_client_as_a_status() {
    let server = TestServer::start().await;
    for way in WAYS {
        let panics = post("/duocast.test.Probe/Stream", "application/grpc-web+proto", &ask("panic"));
        let (messages, trailers) = unframed(in_time(send(&server, way, panics)).await.into_body());
        assert_eq!(messages.len(), 1, "{way:?}");
        assert!(trailers.contains("grpc-status:13"), "{way:?}: {trailers}");

        let mut late = post("/duocast.test.Probe/Stream", "application/grpc-web+proto", &ask("idle"));
        // Our channel keeps deadlines itself, so over it this would not show what the server does.
        if matches!(way, Way::PlainHttp1 | Way::PlainHttp2) {
            late.headers_mut().insert("grpc-timeout", HeaderValue::from_static("300m"));
            let (messages, trailers) = unframed(in_time(send(&server, way, late)).await.into_body());
            assert_eq!(messages.len(), 1, "{way:?}");
            assert!(trailers.contains("grpc-status:4"), "{way:?}: {trailers}");
        }
    }
    server.probe.running(0).await;
}

#[tokio::test]
async fn native_grpc_is_not_touched_by_the_translation() {
    let server = TestServer::start().await;
    for way in [Way::Http3, Way::Http2, Way::PlainHttp2] {
        let request = post("/duocast.test.Probe/Unary", "application/grpc", &ask("echo"));
        let response = in_time(send(&server, way, request)).await;
        assert_eq!(text(response.headers(), "content-type"), "application/grpc", "{way:?}");
        assert_eq!(text(response.headers(), "grpc-status"), "0", "{way:?}");
    }
}

#[tokio::test]
async fn a_preflight_is_answered_on_every_way() {
    let server = TestServer::start().await;
    for way in WAYS {
        let request = Request::builder()
            .method(Method::OPTIONS)
            .uri("/duocast.test.Probe/Unary")
            .header(header::ORIGIN, "https://calls.example")
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(
                header::ACCESS_CONTROL_REQUEST_HEADERS,
                "authorization,content-type,x-grpc-web,grpc-timeout",
            )
            .body(Bytes::new())
            .unwrap();
        let response = in_time(send(&server, way, request)).await;
        assert_eq!(response.status(), StatusCode::OK, "{way:?}");
        let allowed = text(response.headers(), "access-control-allow-headers");
        for name in ["authorization", "content-type", "x-grpc-web", "grpc-timeout"] {
            assert!(allowed.contains(name), "{way:?} does not allow {name}");
        }
        assert!(text(response.headers(), "access-control-allow-methods").contains("post"), "{way:?}");
    }
}

#[tokio::test]
async fn the_page_is_served_on_every_way() {
    let server = TestServer::start().await;
    for way in WAYS {
        let request = Request::get("/page").body(Bytes::new()).unwrap();
        let response = in_time(send(&server, way, request)).await;
        assert_eq!(
            (response.status(), response.body().as_ref()),
            (StatusCode::OK, &b"a page"[..]),
            "{way:?}"
        );
        let is_cors = |name: &HeaderName| name.as_str().starts_with("access-control-");
        assert!(!response.headers().keys().any(is_cors), "{way:?}: for pages of this origin only");
    }
}

#[tokio::test]
async fn http2_tells_of_http3_on_the_same_port() {
    let server = TestServer::start().await;
    for way in WAYS {
        let request = Request::get("/page").body(Bytes::new()).unwrap();
        let response = in_time(send(&server, way, request)).await;
        let told = text(response.headers(), "alt-svc");
        match way {
            Way::Http2 => assert_eq!(told, format!("h3=\":{}\"; ma=3600", server.port)),
            _ => assert_eq!(told, "", "{way:?}"),
        }
    }
}
