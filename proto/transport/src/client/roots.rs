//! Which certificates a channel trusts.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::ConnectError;

/// Where systems keep their bundle of root certificates, the most common place first.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// Which certificates are trusted.
#[derive(Debug, Clone)]
pub enum Roots {
    /// These, as PEM. A self-signed server's own certificate
    /// ([`cert_pem`](crate::identity::Identity::cert_pem)) is one.
    Pem(String),
    /// The system's bundle: the file that `SSL_CERT_FILE` names, else the first that exists of the usual places.
    System,
}

impl Roots {
    pub(super) fn load(&self) -> Result<RootCertStore, ConnectError> {
        let pem = match self {
            Self::Pem(pem) => pem.clone().into_bytes(),
            Self::System => system_bundle().ok_or(ConnectError::NoSystemRoots)?,
        };
        let mut store = RootCertStore::empty();
        // A bundle may hold certificates that webpki cannot read; the others still count.
        store.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        if store.is_empty() { Err(ConnectError::NoRoots) } else { Ok(store) }
    }
}

fn system_bundle() -> Option<Vec<u8>> {
    match std::env::var_os("SSL_CERT_FILE") {
        Some(path) => std::fs::read(path).ok(),
        None => SYSTEM_BUNDLES.iter().find_map(|path| std::fs::read(path).ok()),
    }
}
