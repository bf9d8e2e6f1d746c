//! Another protocol beside HTTP on the TLS port.

mod common;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use common::probe::ask;
use common::{Setup, TestServer, in_time};
use duocast_transport::client::DoorChoice;
use duocast_transport::server::{Duplex, Guest};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Says back what it hears, and falls over what it does not like.
struct Echo;

impl Guest for Echo {
    fn knows(&self, first: u8) -> bool {
        first < 0x40
    }

    fn serve(&self, mut stream: Box<dyn Duplex>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let mut word = [0; 4];
            while stream.read_exact(&mut word).await.is_ok() {
                assert_ne!(&word[1..], b"boo", "as a bug would");
                stream.write_all(&word).await.unwrap();
                stream.flush().await.unwrap();
            }
        })
    }
}

async fn server() -> TestServer {
    TestServer::start_with(Setup { guest: Some(Arc::new(Echo)), ..Setup::default() }).await
}

/// A connection that negotiates this protocol, or none.
async fn connect(server: &TestServer, protocol: Option<&str>) -> TlsStream<TcpStream> {
    let mut tls = server.tls(&rustls::version::TLS13, "h2");
    tls.alpn_protocols = protocol.into_iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    in_time(TlsConnector::from(Arc::new(tls)).connect(name, stream)).await.unwrap()
}

async fn says(stream: &mut TlsStream<TcpStream>, word: &[u8; 4]) -> Option<[u8; 4]> {
    stream.write_all(word).await.ok()?;
    let mut answer = [0; 4];
    in_time(stream.read_exact(&mut answer)).await.ok()?;
    Some(answer)
}

#[tokio::test]
async fn a_guest_is_served_beside_http_with_and_without_alpn() {
    let server = server().await;
    let mut guest = connect(&server, None).await;
    assert_eq!(says(&mut guest, b"\x00one").await, Some(*b"\x00one"));
    in_time(server.client(DoorChoice::H2).await.unary(ask("echo"))).await.unwrap();
    let mut plain = connect(&server, None).await;
    plain.write_all(b"GET /page HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    in_time(plain.read_to_string(&mut page)).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("a page"), "{page}");
    assert_eq!(says(&mut guest, b"\x00two").await, Some(*b"\x00two"));
}

#[tokio::test]
async fn a_channel_opens_connections_to_the_guest_and_trusts_no_other_server() {
    let server = server().await;
    for door in [DoorChoice::H2, DoorChoice::H3] {
        let channel = server.channel(door).await;
        let mut guest = in_time(channel.guest()).await.unwrap();
        assert_eq!(says(&mut guest, b"\x00one").await, Some(*b"\x00one"), "{door:?}");
        assert_eq!(guest.get_ref().1.alpn_protocol(), None);
    }
    let channel = server.channel(DoorChoice::H2).await;
    let port = server.port;
    server.stop().await;
    // Another server takes its place, with a certificate of its own.
    let _other =
        TestServer::start_with(Setup { port, guest: Some(Arc::new(Echo)), ..Setup::default() }).await;
    let refused = in_time(channel.guest()).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
}

#[tokio::test]
async fn who_negotiated_http_is_no_guest_whatever_it_begins_with() {
    let server = server().await;
    let mut liar = connect(&server, Some("http/1.1")).await;
    assert_ne!(says(&mut liar, b"\x00one").await, Some(*b"\x00one"));
}

#[tokio::test]
async fn a_panic_in_a_guest_ends_its_connection_only() {
    let server = server().await;
    let (mut unlucky, mut other) = (connect(&server, None).await, connect(&server, None).await);
    assert_eq!(says(&mut other, b"\x00one").await, Some(*b"\x00one"));
    assert_eq!(says(&mut unlucky, b"\x00boo").await, None);
    assert_eq!(says(&mut other, b"\x00two").await, Some(*b"\x00two"));
    let mut later = connect(&server, None).await;
    assert_eq!(says(&mut later, b"\x00one").await, Some(*b"\x00one"));
}

#[tokio::test]
async fn a_shutdown_waits_for_no_silent_connection_and_ends_guests_when_drained() {
    let setup =
        Setup { guest: Some(Arc::new(Echo)), drain_timeout: Duration::from_millis(100), ..Setup::default() };
    let server = TestServer::start_with(setup).await;
    let (mut guest, mut silent) = (connect(&server, None).await, connect(&server, None).await);
    assert_eq!(says(&mut guest, b"\x00one").await, Some(*b"\x00one"));
    server.stop().await;
    for stream in [&mut guest, &mut silent] {
        let mut rest = Vec::new();
        let _ = in_time(stream.read_to_end(&mut rest)).await;
        assert!(rest.is_empty());
    }
}
