//! Issuers that this program is itself: one for development, one for its own router node.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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
        let pem = fs::read_to_string(&path).map_err(file_error)?;
        let signer = Signer::from_pem(DEV_ISSUER, &pem).ok_or(DevIssuerError::Key { path: path.clone() })?;
        Ok(Self { path, signer })
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
}

impl Signer {
    fn from_pem(iss: &str, pem: &str) -> Option<Self> {
        let pair = KeyPair::from_pem(pem).ok().filter(|pair| pair.is_compatible(&PKCS_ED25519))?;
        let key = EncodingKey::from_ed_der(&pair.serialize_der());
        Some(Self { iss: iss.into(), public_key_pem: pair.public_key_pem(), key })
    }

    fn config(&self) -> IssuerConfig {
        IssuerConfig { iss: self.iss.clone(), public_key_pem: self.public_key_pem.clone() }
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
