//! Who is calling: tokens in, typed callers out.
//!
//! A token is a JWT (RFC 7519) signed with EdDSA (Ed25519) or ES256 by a configured issuer. The algorithm follows from the
//! issuer's key, never from the token, so a token cannot choose how it is checked.

mod claims;
mod dev;

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use tonic::Status;
use tonic::metadata::MetadataMap;

use claims::Claims;
pub use claims::{AUDIENCE, Caller, Scope};
pub(crate) use dev::InternalIssuer;
pub use dev::{DEV_ISSUER, DevIssuer, DevIssuerError, dev_account_id};

use crate::services::{Reason, status};

/// Longest token, in bytes. Longer ones are refused before they are parsed: nothing legitimate is near it.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// How far clocks of issuer and server may be apart. Higher lets stolen tokens live longer, lower locks out users of a
/// platform whose clock is off.
pub const LEEWAY: Duration = Duration::from_secs(10);

/// Keys in all. More than that is a mistake in the configuration.
pub const ISSUER_KEYS_MAX: usize = 64;

/// Somebody whose tokens are believed.
#[derive(Debug, Clone)]
pub struct IssuerConfig {
    /// The `iss` claim of its tokens. Several entries with the same one are several valid keys, for rotation.
    pub iss: String,
    /// Its public key: SubjectPublicKeyInfo in PEM, Ed25519 or NIST P-256.
    pub public_key_pem: String,
}

/// Why a configured issuer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The key is none, or of another kind.
    #[error(
        "the key of issuer {iss:?} is no Ed25519 or P-256 public key in PEM: paste the whole BEGIN PUBLIC KEY block"
    )]
    Key {
        /// Which issuer.
        iss: String,
    },
    /// More than [`ISSUER_KEYS_MAX`].
    #[error("more than {ISSUER_KEYS_MAX} issuer keys are configured: remove those that are not used")]
    TooMany,
}

/// Why a request is refused before it is looked at. The sentences hold nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No token, or not as a bearer token.
    #[error("send your token in the `authorization` header, as `Bearer TOKEN`")]
    Missing,
    /// Its time is over, or has not come.
    #[error("this token is not valid at this time: sign in again for a fresh one")]
    Expired,
    /// Not from an issuer that is believed, not for this service, or not signed by who it says.
    #[error("this token is not for this service: sign in again, and check issuer and audience")]
    Foreign,
    /// Not a token at all, or one without what it must say.
    #[error(
        "this token cannot be read: it must be a JWT with iss, aud, exp, sub and, for people, a valid handle"
    )]
    Malformed,
    /// Larger than [`TOKEN_BYTES_MAX`].
    #[error("this token is too large: at most 4096 bytes are accepted")]
    TooLarge,
    /// Valid, but for something else.
    #[error("this token is for something else: use one whose scope fits this service")]
    Scope,
}

impl Refusal {
    /// The failure as it is answered.
    pub fn status(self) -> Status {
        let reason = match self {
            Self::Missing => Reason::TokenMissing,
            Self::Expired => Reason::TokenExpired,
            Self::Foreign => Reason::TokenForeign,
            Self::Malformed | Self::TooLarge => Reason::TokenMalformed,
            Self::Scope => Reason::ScopeMissing,
        };
        status(reason, self.to_string())
    }
}

/// Checks tokens. Immutable once made; share it.
pub struct Verifier {
    keys: Vec<Key>,
}

struct Key {
    iss: String,
    /// Tokens of this key may have this scope only; `None`: any.
    only: Option<Scope>,
    decoding: DecodingKey,
    validation: Validation,
}

impl Verifier {
    /// Believes these issuers.
    pub fn new(issuers: &[IssuerConfig]) -> Result<Self, IssuerError> {
        if issuers.len() > ISSUER_KEYS_MAX {
            return Err(IssuerError::TooMany);
        }
        let keys = issuers.iter().map(|issuer| Key::new(issuer, None)).collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// Believes one more issuer, for tokens of every scope.
    pub(crate) fn trust(&mut self, issuer: &IssuerConfig) -> Result<(), IssuerError> {
        self.keys.push(Key::new(issuer, None)?);
        Ok(())
    }

    /// Believes one more issuer, for tokens of one scope.
    pub(crate) fn trust_for(&mut self, issuer: &IssuerConfig, scope: Scope) -> Result<(), IssuerError> {
        self.keys.push(Key::new(issuer, Some(scope))?);
        Ok(())
    }

    /// The caller that these headers prove, who must have this scope.
    pub fn caller(&self, metadata: &MetadataMap, scope: Scope) -> Result<Caller, Refusal> {
        let caller = self.check(bearer(metadata)?)?;
        if caller.scope == scope { Ok(caller) } else { Err(Refusal::Scope) }
    }

    fn check(&self, token: &str) -> Result<Caller, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        // What is read here is not believed: it only says which keys to try.
        let iss = claims::unverified_issuer(token).ok_or(Refusal::Malformed)?;
        let mut refusal = Refusal::Foreign;
        for key in self.keys.iter().filter(|key| key.iss == iss) {
            match key.check(token) {
                Ok(caller) => return Ok(caller),
                // Another key of the same issuer may be the right one.
                Err(Refusal::Foreign) => {}
                Err(other) => refusal = other,
            }
        }
        Err(refusal)
    }
}

impl Key {
    fn new(issuer: &IssuerConfig, only: Option<Scope>) -> Result<Self, IssuerError> {
        let pem = issuer.public_key_pem.as_bytes();
        let (algorithm, decoding) = match key_kind(&issuer.public_key_pem) {
            Some(Algorithm::EdDSA) => (Algorithm::EdDSA, DecodingKey::from_ed_pem(pem)),
            Some(Algorithm::ES256) => (Algorithm::ES256, DecodingKey::from_ec_pem(pem)),
            _ => return Err(IssuerError::Key { iss: issuer.iss.clone() }),
        };
        let decoding = decoding.map_err(|_| IssuerError::Key { iss: issuer.iss.clone() })?;
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY.as_secs();
        validation.validate_nbf = true;
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[&issuer.iss]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Ok(Self { iss: issuer.iss.clone(), only, decoding, validation })
    }

    fn check(&self, token: &str) -> Result<Caller, Refusal> {
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation);
        let caller = decoded.map_err(|error| refusal(error.kind()))?.claims.caller()?;
        // The library counts in whole seconds; a stream ends at the moment, and a request after it must not pass.
        if caller.expiry <= SystemTime::now() {
            return Err(Refusal::Expired);
        }
        match self.only {
            Some(scope) if scope != caller.scope => Err(Refusal::Scope),
            _ => Ok(caller),
        }
    }
}

/// Fuzzed: a token, or what one says. Nothing of it is believed without a key.
#[cfg(any(test, duocast_fuzz))]
pub(crate) fn fuzz(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = key_kind(text);
    let nobody = Verifier { keys: Vec::new() };
    assert!(nobody.check(text).is_err());
    let Ok(claims) = serde_json::from_str::<Claims>(text) else { return };
    if let Ok(caller) = claims.caller() {
        assert_eq!(caller.handle.is_some(), caller.scope == Scope::Client);
        assert!(!format!("{caller:?}").contains('\n'));
    }
}

fn refusal(kind: &ErrorKind) -> Refusal {
    match kind {
        ErrorKind::ExpiredSignature | ErrorKind::ImmatureSignature => Refusal::Expired,
        ErrorKind::InvalidSignature
        | ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidIssuer
        | ErrorKind::InvalidAudience => Refusal::Foreign,
        _ => Refusal::Malformed,
    }
}

fn bearer(metadata: &MetadataMap) -> Result<&str, Refusal> {
    let header = metadata.get("authorization").ok_or(Refusal::Missing)?;
    let text = header.to_str().map_err(|_| Refusal::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(Refusal::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Refusal::Missing);
    }
    Ok(token)
}

/// Ed25519 and P-256 keys, told apart by the object identifiers in their SubjectPublicKeyInfo (RFC 8410, RFC 5480): a P-384
/// key would pass as an EC key and fail only when the first token comes.
fn key_kind(pem: &str) -> Option<Algorithm> {
    const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
    const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let body = pem.split_once("-----BEGIN PUBLIC KEY-----")?.1.split_once("-----END PUBLIC KEY-----")?.0;
    let base64: String = body.split_whitespace().collect();
    let der = STANDARD.decode(base64).ok()?;
    let has = |oid: &[u8]| der.windows(oid.len()).take(32).any(|window| window == oid);
    if has(ED25519) {
        Some(Algorithm::EdDSA)
    } else if has(P256) {
        Some(Algorithm::ES256)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{KeyPair, PKCS_ED25519};

    use super::*;

    proptest! {
        /// Whatever stands in the header, there is an answer and no panic.
        #[test]
        fn no_header_causes_a_panic(token in "[ -~]{0,200}", parts in prop::collection::vec("[A-Za-z0-9_-]{0,40}", 0..5)) {
            let internal = InternalIssuer::new().unwrap();
            let verifier = Verifier::new(&[internal.config()]).unwrap();
            for text in [token, parts.join(".")] {
                let mut metadata = MetadataMap::new();
                metadata.insert("authorization", format!("Bearer {text}").parse().unwrap());
                prop_assert!(verifier.caller(&metadata, Scope::Node).is_err());
            }
        }

        /// A single changed byte anywhere in a sound token makes it none, or leaves it meaning the same.
        #[test]
        fn a_damaged_token_proves_nothing(at in 0usize..200, byte in "[A-Za-z0-9_.-]") {
            let internal = InternalIssuer::new().unwrap();
            let verifier = Verifier::new(&[internal.config()]).unwrap();
            let mut token = internal.mint_node().unwrap();
            let at = at % token.len();
            token.replace_range(at..=at, &byte);
            if let Ok(caller) = verifier.check(&token) {
                prop_assert_eq!((caller.account.expose(), caller.scope), ("node", Scope::Node));
            }
        }
    }

    #[test]
    fn a_key_that_is_trusted_for_nodes_makes_no_people() {
        let internal = InternalIssuer::new().unwrap();
        let mut verifier = Verifier::new(&[]).unwrap();
        verifier.trust_for(&internal.config(), Scope::Client).unwrap();
        assert_eq!(verifier.check(&internal.mint_node().unwrap()).unwrap_err(), Refusal::Scope);
        verifier.trust_for(&internal.config(), Scope::Node).unwrap();
        assert!(verifier.check(&internal.mint_node().unwrap()).is_ok());
    }

    #[test]
    fn keys_have_a_bound() {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let key = IssuerConfig { iss: "i".into(), public_key_pem: pair.public_key_pem() };
        assert!(Verifier::new(&vec![key.clone(); ISSUER_KEYS_MAX]).is_ok());
        assert!(Verifier::new(&vec![key; ISSUER_KEYS_MAX + 1]).is_err());
    }
}
