//! Issuers that this program is itself: one for development, one for its own router node.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use duocast_model::AccountId;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ED25519};
use sha2::{Digest as _, Sha256};

use super::claims::Claims;
use super::{AUDIENCE, IssuerConfig, Scope};

/// The `iss` claim of development tokens.
pub const DEV_ISSUER: &str = "duocast-dev";

const KEY_FILE: &str = "dev-issuer.pem";

/// Why there is no development issuer.
#[derive(Debug, thiserror::Error)]
pub enum DevIssuerError {
    /// The key's file cannot be used.
    #[error("the development key {} cannot be read or written: check the data directory's permissions", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What failed.
        #[source]
        error: io::Error,
    },
    /// There is none, and none is to be made.
    #[error(
        "there is no development key {}: use the data directory of a server that accepts development tokens, \
         or a token of an issuer that the server trusts",
        path.display()
    )]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// The file holds something else, or no token could be signed with it.
    #[error("the development key {} is no Ed25519 private key: delete the file, a new one is made", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
    },
}

/// Signs tokens for development and tests. Whoever can read its file can be anybody: never configure it in production.
pub struct DevIssuer {
    path: PathBuf,
    signer: Signer,
}

impl DevIssuer {
    /// Loads the key in `dir`: the server makes it, other programs only use it.
    pub fn load(dir: &Path) -> Result<Self, DevIssuerError> {
        let path = dir.join(KEY_FILE);
        let pem = fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => DevIssuerError::Missing { path: path.clone() },
            _ => DevIssuerError::File { path: path.clone(), error },
        })?;
        let signer = Signer::from_pem(DEV_ISSUER, &pem).ok_or(DevIssuerError::Key { path: path.clone() })?;
        Ok(Self { path, signer })
    }

    /// Loads the key in `dir`, or makes one that only this user can read. Several processes may do so at once.
    pub fn load_or_create(dir: &Path) -> Result<Self, DevIssuerError> {
        let path = dir.join(KEY_FILE);
        let file_error = |error| DevIssuerError::File { path: path.clone(), error };
        fs::create_dir_all(dir).map_err(file_error)?;
        if !path.try_exists().map_err(file_error)? {
            let key = KeyPair::generate_for(&PKCS_ED25519)
                .map_err(|_| DevIssuerError::Key { path: path.clone() })?;
            publish(&path, key.serialize_pem().as_bytes()).map_err(file_error)?;
        }
        Self::load(dir)
    }

    /// How to believe this issuer.
    pub fn config(&self) -> IssuerConfig {
        self.signer.config()
    }

    /// A token that is valid for `ttl` from now. `handle` and `name` matter for people only and may be empty otherwise.
    pub fn mint(
        &self,
        sub: &str,
        handle: &str,
        name: &str,
        scope: Scope,
        ttl: Duration,
    ) -> Result<String, DevIssuerError> {
        let token = self.signer.mint(sub, handle, name, scope, ttl);
        token.ok_or_else(|| DevIssuerError::Key { path: self.path.clone() })
    }

    /// The keyed hash (HMAC-SHA-256) under which development accounts have a phone number or an e-mail address in their address
    /// books. Case, spaces and the punctuation of phone numbers make no difference.
    pub fn contact_hash(&self, identifier: &str) -> Result<[u8; 32], DevIssuerError> {
        let is_number = !identifier.contains('@');
        let is_idle = |c: char| c.is_whitespace() || is_number && matches!(c, '-' | '(' | ')' | '.' | '/');
        let plain = identifier.to_lowercase().replace(is_idle, "");
        let hash = self.signer.hash(plain.as_bytes());
        hash.ok_or_else(|| DevIssuerError::Key { path: self.path.clone() })
    }
}

/// The account id of the development account with this handle: stable, and nothing like the handle.
pub fn dev_account_id(handle: &str) -> AccountId {
    let digest = Sha256::digest(format!("duocast-dev:{handle}"));
    let hex: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    AccountId::new(&hex).expect("24 hexadecimal digits are a valid account id")
}

/// Puts the file there whole, or leaves the one that another process put there first.
fn publish(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("{:016x}.new", rand::random::<u64>()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    fs::remove_file(&draft)?;
    linked
}

/// Signs tokens for the router node that runs in this process. Its key never leaves memory.
pub(crate) struct InternalIssuer(Signer);

impl InternalIssuer {
    /// A new one, with a name and key that no other process has; `None` if no key could be made.
    pub(crate) fn new() -> Option<Self> {
        let key = KeyPair::generate_for(&PKCS_ED25519).ok()?;
        let iss = format!("duocast-internal-{:032x}", rand::random::<u128>());
        Signer::from_pem(&iss, &key.serialize_pem()).map(Self)
    }

    pub(crate) fn config(&self) -> IssuerConfig {
        self.0.config()
    }

    /// A node's token; it dies with this process at the latest.
    pub(crate) fn mint_node(&self) -> Option<String> {
        const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
        self.0.mint("node", "", "", Scope::Node, TEN_YEARS)
    }
}

struct Signer {
    iss: String,
    public_key_pem: String,
    key: EncodingKey,
    /// Another key, for hashes: it follows from the first, so that there is one file to keep.
    hash_key: EncodingKey,
}

impl Signer {
    fn from_pem(iss: &str, pem: &str) -> Option<Self> {
        let pair = KeyPair::from_pem(pem).ok().filter(|pair| pair.is_compatible(&PKCS_ED25519))?;
        let key = EncodingKey::from_ed_der(&pair.serialize_der());
        let secret = Sha256::new().chain_update("duocast-dev-contacts:").chain_update(pair.serialize_der());
        let hash_key = EncodingKey::from_secret(&secret.finalize());
        Some(Self { iss: iss.into(), public_key_pem: pair.public_key_pem(), key, hash_key })
    }

    fn config(&self) -> IssuerConfig {
        IssuerConfig { iss: self.iss.clone(), public_key_pem: self.public_key_pem.clone() }
    }

    fn hash(&self, plain: &[u8]) -> Option<[u8; 32]> {
        let text = jsonwebtoken::crypto::sign(plain, &self.hash_key, Algorithm::HS256).ok()?;
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
    }

    fn mint(&self, sub: &str, handle: &str, name: &str, scope: Scope, ttl: Duration) -> Option<String> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let end = SystemTime::now() + ttl;
        let claims = Claims {
            iss: self.iss.clone(),
            aud: AUDIENCE.into(),
            exp: end.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64().floor(),
            sub: sub.into(),
            handle: some(handle),
            name: some(name),
            scope: scope.as_str().into(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.key).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_one_however_it_is_written_and_needs_the_key() {
        let (one, other) = (tempfile::TempDir::new().unwrap(), tempfile::TempDir::new().unwrap());
        let hash = |dir: &Path, text| DevIssuer::load_or_create(dir).unwrap().contact_hash(text).unwrap();
        let number = hash(one.path(), "+44 (20) 7946-0958");
        assert_eq!(hash(one.path(), "+442079460958"), number, "also when the key is loaded again");
        assert_ne!(hash(one.path(), "+442079460959"), number);
        assert_ne!(hash(other.path(), "+442079460958"), number);
        assert_eq!(hash(one.path(), " Bob.B@Example.org"), hash(one.path(), "bob.b@example.org"));
        assert_ne!(hash(one.path(), "bob.b@example.org"), hash(one.path(), "bobb@example.org"));
    }
}
