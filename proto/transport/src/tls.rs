//! TLS settings shared by the doors. One crypto provider for all of them: aws-lc-rs.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::identity::Identity;

/// TLS 1.3 alone, on TCP as on QUIC: every browser that the page runs in and both ends of this crate speak it.
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// TLS 1.3 tickets sent after a handshake. One is enough for a client that reconnects; each costs a packet's worth of
/// work on connect.
const SESSION_TICKETS: usize = 1;

/// The crypto provider of every TLS and QUIC connection.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A server's TLS settings for one door. `protocols` is its ALPN list, best first.
pub(crate) fn server_config(
    identity: &Identity,
    protocols: &[&str],
) -> Result<rustls::ServerConfig, rustls::Error> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(OneKey(identity.certified_key())));
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = SESSION_TICKETS;
    Ok(config)
}

/// A client's TLS settings for one door; `protocols` is its ALPN list. They hold the session tickets, so they are to be kept across reconnects.
pub(crate) fn client_config(
    roots: Arc<rustls::RootCertStore>,
    protocols: &[&str],
) -> Result<rustls::ClientConfig, rustls::Error> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(config)
}

/// Presents the same certificate to everybody: the name a client asks for is not a secret that chooses between tenants.
#[derive(Debug)]
struct OneKey(Arc<CertifiedKey>);

impl ResolvesServerCert for OneKey {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
