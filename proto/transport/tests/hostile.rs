//! A client that speaks QUIC and breaks the rules of HTTP/3 costs the server little and disturbs nobody.

mod common;

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::probe::ask;
use common::{PATIENCE, Setup, TestServer, in_time};
use duocast_transport::client::DoorChoice;
use quinn::{ConnectionError, VarInt, WriteError};

const EXCESSIVE_LOAD: u64 = 0x107;
const REQUEST_CANCELLED: VarInt = VarInt::from_u32(0x10c);

/// Frame types (RFC 9114 section 7.2).
const DATA: u8 = 0;
const HEADERS: u8 = 1;

struct Hostile {
    connection: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

impl Hostile {
    /// Connects and sends nothing, not even SETTINGS.
    async fn connect(server: &TestServer) -> Self {
        let (endpoint, connection) = server.quic(quinn::TransportConfig::default()).await;
        Self { connection, _endpoint: endpoint }
    }

    async fn closed_with(&self) -> u64 {
        match in_time(self.connection.closed()).await {
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("closed by {other}"),
        }
    }
}

/// A header section (RFC 9204) of literal names and values: POST to `path`, as gRPC.
fn headers(path: &str) -> Vec<u8> {
    let mut section = vec![0, 0];
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    for (name, value) in fields {
        // Literal field line with literal name: 001, never-indexed 0, Huffman 0, then a 3-bit prefix length.
        match name.len() {
            short @ 0..7 => section.push(0x20 | short as u8),
            long => section.extend([0x27, (long - 7) as u8]),
        }
        section.extend(name.bytes());
        section.push(value.len() as u8);
        section.extend(value.bytes());
    }
    let mut frame = vec![HEADERS, 0x40 | (section.len() >> 8) as u8, section.len() as u8];
    frame.extend(section);
    frame
}

async fn is_well(server: &TestServer) {
    in_time(server.client(DoorChoice::H3).await.unary(ask("echo"))).await.unwrap();
}

#[tokio::test]
async fn a_header_section_without_end_is_cut_off() {
    let server = TestServer::start().await;
    let hostile = Hostile::connect(&server).await;
    let (mut send, _recv) = hostile.connection.open_bi().await.unwrap();
    // HEADERS, 1 GiB long: an 8-byte length.
    send.write_all(&[HEADERS, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]).await.unwrap();
    let stopped = in_time(async {
        let mut sent = 0;
        loop {
            match send.write(&[0; 4096]).await {
                Ok(bytes) => sent += bytes,
                Err(error) => return (sent, error),
            }
        }
    });
    let (sent, error) = stopped.await;
    assert_eq!(error, WriteError::Stopped(VarInt::from_u64(EXCESSIVE_LOAD).unwrap()));
    assert!(sent < 1024 * 1024, "{sent} bytes were taken");
    is_well(&server).await;
}

#[tokio::test]
async fn a_flood_of_tiny_frames_that_nobody_answers_is_held_back() {
    let server = TestServer::start().await;
    let hostile = Hostile::connect(&server).await;
    let (mut send, _recv) = hostile.connection.open_bi().await.unwrap();
    send.write_all(&headers("/duocast.test.Probe/Chat")).await.unwrap();
    // Each frame is a fifth of an empty message, and the answers are not read.
    let tiny = [DATA, 1, 0].repeat(1000);
    let sent = AtomicUsize::new(0);
    let flood = async {
        loop {
            let bytes = send.write(&tiny[sent.load(Ordering::Relaxed) % tiny.len()..]).await.unwrap();
            sent.fetch_add(bytes, Ordering::Relaxed);
        }
    };
    let mut before = usize::MAX;
    let mut flood = pin!(flood);
    // Until nothing more was taken for a while.
    while before != sent.load(Ordering::Relaxed) {
        before = sent.load(Ordering::Relaxed);
        let _: Result<std::convert::Infallible, _> =
            tokio::time::timeout(Duration::from_millis(500), flood.as_mut()).await;
    }
    // What the client itself may be sent (quinn's default of 1.25 MB) is about half as much as asking for it takes.
    assert!(before < 8 * 1024 * 1024, "{before} bytes were taken");
    is_well(&server).await;
}

#[tokio::test]
async fn streams_that_are_reset_before_their_headers_end_the_connection_at_last() {
    let server = TestServer::start().await;
    let hostile = Hostile::connect(&server).await;
    let flood = async {
        loop {
            let Ok((mut send, mut recv)) = hostile.connection.open_bi().await else { return };
            // Half a frame header, so that the server sees the stream and waits for more.
            let _ = send.write_all(&[HEADERS]).await;
            let _ = send.reset(REQUEST_CANCELLED);
            let _ = recv.stop(REQUEST_CANCELLED);
        }
    };
    in_time(flood).await;
    assert_eq!(hostile.closed_with().await, EXCESSIVE_LOAD);
    is_well(&server).await;
}

#[tokio::test]
async fn a_request_whose_headers_never_come_is_given_up() {
    let mut setup = Setup::default();
    setup.limits.header_timeout = Duration::from_millis(300);
    let server = TestServer::start_with(setup).await;
    let hostile = Hostile::connect(&server).await;
    let (mut send, mut recv) = hostile.connection.open_bi().await.unwrap();
    send.write_all(&[HEADERS]).await.unwrap();
    assert!(matches!(in_time(recv.read_to_end(16)).await, Err(quinn::ReadToEndError::Read(_))));
    assert!(hostile.connection.close_reason().is_none());
}

#[tokio::test]
async fn unidirectional_streams_without_end_end_the_connection() {
    let server = TestServer::start().await;
    let hostile = Hostile::connect(&server).await;
    let flood = async {
        loop {
            let Ok(mut send) = hostile.connection.open_uni().await else { return };
            // A reserved type (RFC 9114 section 6.2.3), which is to be ignored.
            let _ = send.write_all(&[0x21]).await;
            let _ = send.finish();
        }
    };
    in_time(flood).await;
    assert_eq!(hostile.closed_with().await, EXCESSIVE_LOAD);
    is_well(&server).await;
}

#[tokio::test]
async fn a_control_stream_that_talks_without_end_ends_the_connection() {
    let server = TestServer::start().await;
    let hostile = Hostile::connect(&server).await;
    let mut send = hostile.connection.open_uni().await.unwrap();
    // Control stream, empty SETTINGS, then a reserved frame of 1 GiB.
    send.write_all(&[0, 4, 0, 0x21, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]).await.unwrap();
    let mut sent = 0;
    let flood = async {
        while let Ok(bytes) = send.write(&[0; 4096]).await {
            sent += bytes;
        }
    };
    in_time(flood).await;
    assert!(sent < 4 * 1024 * 1024, "{sent} bytes were taken");
    hostile.closed_with().await;
    is_well(&server).await;
}

#[tokio::test]
async fn noise_on_request_streams_disturbs_nobody_else() {
    let server = TestServer::start().await;
    let mut other = server.client(DoorChoice::H3).await;
    let mut answers = other.stream(ask("idle")).await.unwrap();
    in_time(answers.message()).await.unwrap().unwrap();
    for noise in
        [&[DATA, 1, 7][..], &[HEADERS, 2, 0xff, 0xff], &[4, 0], &[0x0d, 1, 0], &[HEADERS, 3, 0, 0, 0xd1]]
    {
        let hostile = Hostile::connect(&server).await;
        let (mut send, mut recv) = hostile.connection.open_bi().await.unwrap();
        send.write_all(noise).await.unwrap();
        send.finish().unwrap();
        // A reset, a closed connection or an answer: anything but silence.
        let _ = tokio::time::timeout(PATIENCE, recv.read_to_end(65_536)).await.expect("silence");
    }
    server.probe.running(1).await;
    in_time(other.unary(ask("echo"))).await.unwrap();
}

#[tokio::test]
async fn an_empty_frame_in_the_middle_of_a_request_changes_nothing() {
    let server = TestServer::start().await;
    let peculiar = Hostile::connect(&server).await;
    let (mut send, mut recv) = peculiar.connection.open_bi().await.unwrap();
    send.write_all(&headers("/duocast.test.Probe/Unary")).await.unwrap();
    send.write_all(&[DATA, 7, 0, 0, 0, 0, 6, 10, 4, DATA, 0, DATA, 4]).await.unwrap();
    send.write_all(b"echo").await.unwrap();
    send.finish().unwrap();
    let answer = in_time(recv.read_to_end(65_536)).await.unwrap();
    // The answer's only message: a frame of 7 bytes that holds `number: 1`.
    let message = [DATA, 7, 0, 0, 0, 0, 2, 8, 1];
    assert!(answer.windows(message.len()).any(|bytes| bytes == message), "{answer:?}");
}

#[tokio::test]
async fn a_client_that_vanishes_takes_its_streams_along() {
    let mut setup = Setup::default();
    setup.limits.idle_timeout = Duration::from_millis(500);
    let server = TestServer::start_with(setup).await;
    let hostile = Hostile::connect(&server).await;
    let (mut send, _recv) = hostile.connection.open_bi().await.unwrap();
    send.write_all(&headers("/duocast.test.Probe/Stream")).await.unwrap();
    send.write_all(&[DATA, 11, 0, 0, 0, 0, 6, 10, 4]).await.unwrap();
    send.write_all(b"idle").await.unwrap();
    send.finish().unwrap();
    server.probe.running(1).await;
    // No keep-alive is sent, and nothing else: the same as a network that is gone.
    server.probe.running(0).await;
}

#[tokio::test]
async fn a_panic_without_the_guard_still_ends_one_http3_call_only() {
    let server = TestServer::start_with(Setup { guarded: false, ..Setup::default() }).await;
    let mut client = server.client(DoorChoice::H3).await;
    let mut answers = client.stream(ask("idle")).await.unwrap();
    in_time(answers.message()).await.unwrap().unwrap();
    assert_eq!(in_time(client.unary(ask("panic"))).await.unwrap_err().code(), tonic::Code::Internal);
    server.probe.running(1).await;
    in_time(client.unary(ask("echo"))).await.unwrap();
}
