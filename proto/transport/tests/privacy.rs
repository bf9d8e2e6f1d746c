//! A client's network address reaches no log line, whatever happens to its connection.

mod common;

use std::time::Duration;

use common::probe::ask;
use common::{Setup, TestServer, in_time};
use duocast_transport::client::{Channel, DoorChoice};
use tempfile::NamedTempFile;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;

#[tokio::test]
async fn no_log_line_tells_a_clients_address() {
    let log = NamedTempFile::new().unwrap();
    let ours = Targets::new().with_target("duocast_transport", LevelFilter::TRACE);
    let format = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(log.reopen().unwrap());
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(format).with(ours)).unwrap();

    for door in [DoorChoice::H3, DoorChoice::H2] {
        let mut setup = Setup { drain_timeout: Duration::from_millis(100), ..Setup::default() };
        setup.limits.connections = 1;
        let server = TestServer::start_with(setup).await;
        let mut client = server.client(door).await;
        in_time(client.unary(ask("panic"))).await.unwrap_err();
        let mut idle = client.stream(ask("idle")).await.unwrap();
        in_time(idle.message()).await.unwrap();
        in_time(Channel::connect(server.config(door))).await.unwrap_err();
        server.stop().await;
        in_time(client.unary(ask("echo"))).await.unwrap_err();
    }

    let logged = std::fs::read_to_string(log.path()).unwrap();
    assert!(logged.contains("a handler panicked") && logged.contains("drain timeout reached"), "{logged}");
    for secret in ["127.0.0.1", "::1", "[::", "localhost"] {
        assert!(!logged.contains(secret), "{secret} in {logged}");
    }
}
