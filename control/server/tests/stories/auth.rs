//! Tokens that are believed, and those that are not.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use duocast_control::auth::{DevIssuer, IssuerConfig, Scope, TOKEN_BYTES_MAX, dev_account_id};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::{Code, Request};

use crate::support::{Person, World, assert_fails, failure, in_time};

/// An issuer with the kind of key that the story needs.
struct Issuer {
    pair: KeyPair,
    algorithm: Algorithm,
}

impl Issuer {
    fn ed25519() -> Self {
        Self { pair: KeyPair::generate_for(&PKCS_ED25519).unwrap(), algorithm: Algorithm::EdDSA }
    }

    fn p256() -> Self {
        Self { pair: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), algorithm: Algorithm::ES256 }
    }

    fn config(&self, iss: &str) -> IssuerConfig {
        IssuerConfig { iss: iss.into(), public_key_pem: self.pair.public_key_pem() }
    }

    fn sign(&self, claims: &Value) -> String {
        let der = self.pair.serialize_der();
        let key = match self.algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_der(&der),
            _ => EncodingKey::from_ec_der(&der),
        };
        jsonwebtoken::encode(&Header::new(self.algorithm), claims, &key).unwrap()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims() -> Value {
    json!({ "iss": "platform.example", "aud": "duocast", "exp": now() + 600, "sub": "u-1", "handle": "alice" })
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[key] = value;
    claims
}

fn without(key: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(key);
    claims
}

fn bearing(world: &World, token: &str) -> Person {
    Person { token: token.into(), ..world.person("nobody") }
}

#[tokio::test]
async fn tokens_of_both_kinds_of_key_are_believed() {
    let (ed, ec) = (Issuer::ed25519(), Issuer::p256());
    let issuers = vec![ed.config("platform.example"), ec.config("platform.example")];
    let world = World::with(|config| config.issuers = issuers).await;
    for (issuer, name) in [(&ed, "Ada"), (&ec, "Ada L."), (&ed, "Ada Lovelace")] {
        let mut claims = with("name", name.into());
        // A token that ends later says how the account is named.
        claims["exp"] = (now() + 600 + name.len() as u64).into();
        let profile = bearing(&world, &issuer.sign(&claims)).profile().await.unwrap();
        assert_eq!(profile.person.unwrap().display_name, name);
    }
    let aud = with("aud", json!(["somebody-else", "duocast"]));
    bearing(&world, &ed.sign(&aud)).profile().await.expect("one of several audiences");
    let exp = with("exp", json!(now() as f64 + 600.5));
    bearing(&world, &ed.sign(&exp)).profile().await.expect("a NumericDate may have a fraction");
}

#[tokio::test]
async fn tokens_that_are_not_believed() {
    let (good, foreign, p256) = (Issuer::ed25519(), Issuer::ed25519(), Issuer::p256());
    let issuers = vec![good.config("platform.example"), p256.config("ec.example")];
    let pem = issuers[0].public_key_pem.clone();
    let world = World::with(|config| config.issuers = issuers).await;

    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!("{}.{}.", part(&json!({ "alg": "none", "typ": "JWT" })), part(&claims()));
    let hmac = |secret: &[u8]| {
        let key = EncodingKey::from_secret(secret);
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &key).unwrap()
    };
    let sound = good.sign(&claims());
    let (head, signature) = sound.rsplit_once('.').unwrap();
    let swapped =
        format!("{}.{}.{signature}", head.split_once('.').unwrap().0, part(&with("sub", "u-2".into())));
    let huge = good.sign(&with("padding", "x".repeat(TOKEN_BYTES_MAX).into()));

    let table = [
        ("expired", good.sign(&with("exp", (now() - 60).into())), "TOKEN_EXPIRED"),
        ("not valid yet", good.sign(&with("nbf", (now() + 60).into())), "TOKEN_EXPIRED"),
        ("signed by somebody else", foreign.sign(&claims()), "TOKEN_FOREIGN"),
        ("unknown issuer", good.sign(&with("iss", "elsewhere.example".into())), "TOKEN_FOREIGN"),
        ("another audience", good.sign(&with("aud", "somebody-else".into())), "TOKEN_FOREIGN"),
        ("another issuer's kind of key", good.sign(&with("iss", "ec.example".into())), "TOKEN_FOREIGN"),
        ("claims swapped", swapped, "TOKEN_FOREIGN"),
        ("HS256 with the public key as secret", hmac(pem.as_bytes()), "TOKEN_FOREIGN"),
        ("alg none", unsigned, "TOKEN_MALFORMED"),
        ("no signature", format!("{head}."), "TOKEN_FOREIGN"),
        ("too large", huge, "TOKEN_MALFORMED"),
        ("no token at all", "not-a-token".into(), "TOKEN_MALFORMED"),
        ("three dots", "a.b.c".into(), "TOKEN_MALFORMED"),
        ("no expiry", good.sign(&without("exp")), "TOKEN_MALFORMED"),
        ("no subject", good.sign(&without("sub")), "TOKEN_MALFORMED"),
        ("no audience", good.sign(&without("aud")), "TOKEN_MALFORMED"),
        ("no issuer", good.sign(&without("iss")), "TOKEN_MALFORMED"),
        ("no handle", good.sign(&without("handle")), "TOKEN_MALFORMED"),
        ("a handle that is none", good.sign(&with("handle", "Not A Handle".into())), "TOKEN_MALFORMED"),
        ("a subject that is none", good.sign(&with("sub", "x".repeat(65).into())), "TOKEN_MALFORMED"),
        ("a name that misleads", good.sign(&with("name", "\u{202e}ecila".into())), "TOKEN_MALFORMED"),
        ("a number for a subject", good.sign(&with("sub", 7.into())), "TOKEN_MALFORMED"),
        ("an expiry beyond time", good.sign(&with("exp", json!(1e300))), "TOKEN_MALFORMED"),
    ];
    for (case, token, reason) in table {
        let status = bearing(&world, &token).profile().await.expect_err(case);
        assert_eq!(failure(&status), (Code::Unauthenticated, reason.into()), "{case}");
        assert!(!status.message().contains(&token), "{case}: the sentence repeats the token");
    }
    let unknown_scope = good.sign(&with("scope", "root".into()));
    assert_fails(bearing(&world, &unknown_scope).profile().await, Code::PermissionDenied, "SCOPE_MISSING");
    bearing(&world, &sound).profile().await.expect("the sound one is believed");
    assert_eq!(world.counts().await, Default::default());
}

#[tokio::test]
async fn a_request_without_a_bearer_token_is_told_how_to_send_one() {
    let world = World::new().await;
    for header in [None, Some("Basic YWxpY2U6c2VjcmV0"), Some("Bearer"), Some("Bearer ")] {
        let mut request = Request::new(duocast_wire::v1::GetProfileRequest {});
        if let Some(header) = header {
            request.metadata_mut().insert("authorization", header.parse().unwrap());
        }
        let status = in_time(world.person("alice").api.get_profile(request)).await.unwrap_err();
        assert_eq!(failure(&status), (Code::Unauthenticated, "TOKEN_MISSING".into()), "{header:?}");
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_token_does() {
    let issuer = Issuer::ed25519();
    let config = issuer.config("platform.example");
    let world = World::with(|control| control.issuers = vec![config]).await;
    // Within the leeway still: it ends about two seconds from now.
    let token = issuer.sign(&with("exp", (now() - 8).into()));
    let mut alice = crate::support::device::Device::open(bearing(&world, &token), "laptop").await;
    let ended = failure(&alice.stream_end().await);
    assert_eq!(ended, (Code::Unauthenticated, "TOKEN_EXPIRED".into()));
    assert_fails(alice.who.profile().await, Code::Unauthenticated, "TOKEN_EXPIRED");
}

#[tokio::test]
async fn a_handle_that_another_account_has_is_refused() {
    let world = World::new().await;
    world.person("alice").profile().await.unwrap();
    let token = world.issuer.mint("impostor", "alice", "", Scope::Client, Duration::from_secs(60)).unwrap();
    let status = bearing(&world, &token).profile().await.unwrap_err();
    assert_eq!(failure(&status), (Code::FailedPrecondition, "HANDLE_TAKEN".into()));
}

#[tokio::test]
async fn an_older_token_does_not_undo_a_rename() {
    let world = World::new().await;
    let sub = dev_account_id("alice");
    let mint = |handle: &str, minutes: u64| {
        world.issuer.mint(sub.expose(), handle, "", Scope::Client, Duration::from_secs(60 * minutes)).unwrap()
    };
    let (older, newer) = (mint("alice", 5), mint("alice.new", 10));
    for (token, handle) in [(&older, "alice"), (&newer, "alice.new"), (&older, "alice.new")] {
        let profile = bearing(&world, token).profile().await.unwrap();
        assert_eq!(profile.person.unwrap().handle, handle);
    }
}

#[test]
fn the_development_key_is_made_once_and_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let keys: Vec<String> = std::thread::scope(|scope| {
        let make = || DevIssuer::load_or_create(&data).unwrap().config().public_key_pem;
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "all have the same key");
    let file = data.join("dev-issuer.pem");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1, "no drafts are left");
    std::fs::write(&file, "not a key").unwrap();
    assert!(DevIssuer::load_or_create(&data).is_err());
}

#[tokio::test]
async fn an_issuer_key_of_another_kind_is_refused_at_start() {
    let dir = TempDir::new().unwrap();
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().public_key_pem();
    let private = KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_pem();
    for pem in
        [p384, private, String::new(), "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----".into()]
    {
        let mut config = duocast_control::ControlConfig::new(dir.path());
        config.issuers = vec![IssuerConfig { iss: "platform.example".into(), public_key_pem: pem.clone() }];
        let error = duocast_control::Control::open(config).await.err().expect("it must not open");
        assert!(error.to_string().contains("platform.example"), "{error}");
        assert!(pem.is_empty() || !error.to_string().contains(&pem), "the key is not repeated");
    }
}
