//! Serves the probe service of the tests, health and reflection on all doors, for foreign clients to be run against.
//!
//! `cargo run -p duocast-transport --example probe -- DIRECTORY` keeps its certificate in DIRECTORY, prints one line with
//! its addresses and the certificate's path, and drains when its standard input ends.

#![allow(clippy::print_stdout, reason = "the line on standard output is what the program is for")]

#[path = "../tests/common/probe.rs"]
mod probe;

use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use duocast_transport::guard::{GuardConfig, guard};
use duocast_transport::identity::Identity;
use duocast_transport::server::{Limits, Server, ServerConfig, loopback};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = PathBuf::from(std::env::args().nth(1).ok_or("name a directory for the certificate")?);
    let config = ServerConfig {
        listen: loopback(0),
        plain: loopback(0),
        identity: Identity::load_or_create_self_signed(&directory, &[])?,
        limits: Limits::default(),
        reset_secret: None,
        drain_timeout: Duration::from_secs(5),
    };
    let server = Server::bind(config).await?;
    let certificate = directory.join("cert.pem");
    let (port, plain) = (server.listen_addrs()[0].port(), server.plain_addrs()[0].port());
    println!("port={port} plain={plain} ca={}", certificate.display());

    let shutdown = CancellationToken::new();
    let ends = shutdown.clone();
    std::thread::spawn(move || {
        // Whatever is said there, and a failure to read it, count as nothing.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        ends.cancel();
    });
    let app = guard(app().await?, GuardConfig { draining: shutdown.clone(), ..GuardConfig::default() });
    server.serve(app, shutdown).await;
    Ok(())
}

async fn app() -> Result<Router, tonic_reflection::server::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let descriptors = tonic_health::pb::FILE_DESCRIPTOR_SET;
    let reflection =
        || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(descriptors);
    let routes = Routes::new(probe::Probe::default())
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(routes.into_axum_router().merge(Router::new().route("/page", get(|| async { "a page" }))))
}
