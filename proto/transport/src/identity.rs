//! Who a server is: a certificate chain and its private key, from PEM files or made here.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use sha2::Digest as _;

use crate::tls::provider;

/// Names that every self-signed certificate covers.
pub const DEFAULT_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How long a self-signed certificate is valid. Higher keeps a leaked key useful for longer, lower makes a server that
/// runs without a restart fail: renewal happens only when the identity is loaded.
const SELF_SIGNED_VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);

/// A certificate with less than this left is renewed when it is loaded. Higher renews more often (clients that pinned the
/// PEM must fetch it again), lower risks expiry while the server runs.
const RENEW_BEFORE_EXPIRY: Duration = Duration::from_secs(30 * 24 * 3600);

/// Certificates start to be valid this long ago, so that a peer whose clock is behind accepts them.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// A certificate chain and its private key. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    cert_pem: Arc<str>,
}

/// Why an [`Identity`] could not be had.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file or directory could not be read or written.
    #[error("cannot {doing} {path}: {source}; check that it exists and that this user may access it")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds no usable PEM section.
    #[error("{path} holds no usable {what}; give a PEM file that has one")]
    NoPem {
        /// The file.
        path: PathBuf,
        /// "certificate" or "private key".
        what: &'static str,
    },
    /// The key has an unsupported type or belongs to another certificate.
    #[error("the certificate and the private key cannot be used together ({0}); give a matching pair")]
    Unusable(rustls::Error),
    /// A name that can stand in no certificate.
    #[error("{0:?} is neither a DNS name nor an IP address; remove it from the names")]
    BadName(String),
    /// The certificate could not be made.
    #[error("the self-signed certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
}

impl Identity {
    /// Reads a certificate chain (leaf first) and its private key (PKCS#8, SEC1 or PKCS#1) from PEM files.
    pub fn from_pem_files(cert: &Path, key: &Path) -> Result<Self, IdentityError> {
        let cert_pem = read(cert)?;
        let key_pem = read(key)?;
        let chain = CertificateDer::pem_slice_iter(cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        let no_cert = || IdentityError::NoPem { path: cert.to_owned(), what: "certificate" };
        let chain = chain.map_err(|_| no_cert())?;
        if chain.is_empty() {
            return Err(no_cert());
        }
        let private = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|_| IdentityError::NoPem { path: key.to_owned(), what: "private key" })?;
        let key = CertifiedKey::from_der(chain, private, &provider()).map_err(IdentityError::Unusable)?;
        Ok(Self { key: Arc::new(key), cert_pem: cert_pem.into() })
    }

    /// Loads `dir/cert.pem` and `dir/key.pem`; makes them (and `dir`) when they are missing, unreadable as a pair, about to
    /// expire, or do not cover [`DEFAULT_NAMES`] and every one of `names` (DNS names and IP addresses).
    ///
    /// A new pair is ECDSA P-256, self-signed, valid for a year; the key file is readable by its owner only. Nothing but
    /// these two files is ever replaced, so `dir` is to be the server's own.
    pub fn load_or_create_self_signed(dir: &Path, names: &[String]) -> Result<Self, IdentityError> {
        let mut covered = DEFAULT_NAMES.map(String::from).to_vec();
        covered.extend(names.iter().filter(|name| !DEFAULT_NAMES.contains(&name.as_str())).cloned());
        let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        if let Ok(identity) = Self::from_pem_files(&cert, &key)
            && identity.serves(&covered, SystemTime::now() + RENEW_BEFORE_EXPIRY)
        {
            return Ok(identity);
        }
        fs::create_dir_all(dir).map_err(|source| io_error("create", dir, source))?;
        let (cert_pem, key_pem) = self_signed(&covered)?;
        replace(&key, key_pem.as_bytes(), 0o600)?;
        replace(&cert, cert_pem.as_bytes(), 0o644)?;
        Self::from_pem_files(&cert, &key)
    }

    /// The certificate chain as PEM: what a client needs as [`Roots::Pem`](crate::client::Roots) to trust a self-signed
    /// server.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// Base64 of the SHA-256 of the leaf's SubjectPublicKeyInfo (RFC 7469 section 2.4): the form in which Chromium's
    /// `--ignore-certificate-errors-spki-list` takes a pin. `None` if the key's type does not tell its public half.
    pub fn spki_sha256_base64(&self) -> Option<String> {
        let spki = self.key.key.public_key()?;
        Some(base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(spki.as_ref())))
    }

    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    /// True if this certificate, trusted as its own root, is valid for every name at `when`.
    fn serves(&self, names: &[String], when: SystemTime) -> bool {
        let Ok(leaf) = self.key.end_entity_cert() else { return false };
        let mut roots = rustls::RootCertStore::empty();
        let Ok(()) = roots.add(leaf.clone().into_owned()) else { return false };
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build();
        let Ok(verifier) = verifier else { return false };
        let since_epoch = when.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let when = UnixTime::since_unix_epoch(since_epoch);
        names.iter().all(|name| {
            ServerName::try_from(name.as_str())
                .is_ok_and(|name| verifier.verify_server_cert(leaf, &[], &name, &[], when).is_ok())
        })
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("spki_sha256", &self.spki_sha256_base64()).finish_non_exhaustive()
    }
}

/// A new certificate and key, both PEM.
fn self_signed(names: &[String]) -> Result<(String, String), IdentityError> {
    let mut params = rcgen::CertificateParams::default();
    for name in names {
        let name = match name.parse::<IpAddr>() {
            Ok(ip) => rcgen::SanType::IpAddress(ip),
            Err(_) => match name.as_str().try_into() {
                Ok(dns) if ServerName::try_from(name.as_str()).is_ok() => rcgen::SanType::DnsName(dns),
                _ => return Err(IdentityError::BadName(name.clone())),
            },
        };
        params.subject_alt_names.push(name);
    }
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "duocast self-signed");
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(since_epoch.as_secs());
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + SELF_SIGNED_VALIDITY;
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let cert = params.self_signed(&key)?;
    Ok((cert.pem(), key.serialize_pem()))
}

fn read(path: &Path) -> Result<String, IdentityError> {
    fs::read_to_string(path).map_err(|source| io_error("read", path, source))
}

/// Writes beside `path` and renames, so that a reader or a crash never meets half a file.
fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), IdentityError> {
    let part = path.with_extension("pem.part");
    let _ = fs::remove_file(&part);
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&part)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|source| io_error("write", path, source))
}

fn io_error(doing: &'static str, path: &Path, source: std::io::Error) -> IdentityError {
    IdentityError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_self_signed_identity_is_made_once_and_then_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create_self_signed(dir.path(), &[]).unwrap();
        let again = Identity::load_or_create_self_signed(dir.path(), &[]).unwrap();
        assert_eq!(first.cert_pem(), again.cert_pem());
        assert_eq!(first.spki_sha256_base64(), again.spki_sha256_base64());
        assert_eq!(first.spki_sha256_base64().unwrap().len(), 44);
        let mode = fs::metadata(dir.path().join("key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_certificate_that_does_not_cover_a_new_name_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create_self_signed(dir.path(), &["localhost".into()]).unwrap();
        let names = ["localhost".to_owned(), "calls.example".to_owned(), "10.0.0.7".to_owned()];
        let second = Identity::load_or_create_self_signed(dir.path(), &names).unwrap();
        assert_ne!(first.cert_pem(), second.cert_pem());
        assert!(second.serves(&names, SystemTime::now()));
    }

    #[test]
    fn names_are_covered_besides_the_default_ones() {
        let dir = tempfile::tempdir().unwrap();
        let named = ["calls.example".to_owned(), "localhost".to_owned()];
        let identity = Identity::load_or_create_self_signed(dir.path(), &named).unwrap();
        assert!(identity.serves(&named, SystemTime::now()));
        assert!(identity.serves(&DEFAULT_NAMES.map(String::from), SystemTime::now()));
    }

    #[test]
    fn a_certificate_counts_as_expired_after_a_year() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create_self_signed(dir.path(), &[]).unwrap();
        let names = ["localhost".to_owned()];
        assert!(identity.serves(&names, SystemTime::now() + Duration::from_secs(360 * 24 * 3600)));
        assert!(!identity.serves(&names, SystemTime::now() + Duration::from_secs(366 * 24 * 3600)));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Identity::load_or_create_self_signed(one.path(), &[]).unwrap();
        Identity::load_or_create_self_signed(other.path(), &[]).unwrap();
        let mixed = Identity::from_pem_files(&one.path().join("cert.pem"), &other.path().join("key.pem"));
        assert!(matches!(mixed, Err(IdentityError::Unusable(_))));
    }

    #[test]
    fn a_name_that_cannot_stand_in_a_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let made = Identity::load_or_create_self_signed(dir.path(), &["not a name".into()]);
        assert!(matches!(made, Err(IdentityError::BadName(_))));
    }
}
