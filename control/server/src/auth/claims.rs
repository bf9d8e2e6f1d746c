//! What a token says, and the caller that it makes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use duocast_model::{AccountId, Handle};
use serde::{Deserialize, Serialize};

use super::{LEEWAY, Refusal};
use crate::names::display_name;

/// The `aud` claim of every token.
pub const AUDIENCE: &str = "duocast";

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A person's client: no `scope` claim.
    Client,
    /// The platform's servers.
    Platform,
    /// A router node.
    Node,
}

impl Scope {
    /// The claim's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "",
            Self::Platform => "platform",
            Self::Node => "node",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Client, Self::Platform, Self::Node].into_iter().find(|scope| scope.as_str() == text)
    }
}

/// Who sent a request, proven by its token.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The platform's id.
    pub account: AccountId,
    /// The public name; only people have one.
    pub handle: Option<Handle>,
    /// The display name, if the token has one.
    pub name: Option<Arc<str>>,
    /// What the token is for.
    pub scope: Scope,
    /// When it ends, leeway included.
    pub expiry: SystemTime,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) aud: serde_json::Value,
    /// Seconds since 1970 (RFC 7519 section 2, NumericDate: fractions are allowed).
    pub(super) exp: f64,
    pub(super) sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) handle: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) scope: String,
}

impl Claims {
    /// Checks what the signature does not prove: that the values are such.
    pub(super) fn caller(self) -> Result<Caller, Refusal> {
        let scope = Scope::parse(&self.scope).ok_or(Refusal::Scope)?;
        let handle = match (scope, self.handle) {
            (Scope::Client, Some(handle)) => Some(Handle::new(&handle).map_err(|_| Refusal::Malformed)?),
            (Scope::Client, None) => return Err(Refusal::Malformed),
            (Scope::Platform | Scope::Node, _) => None,
        };
        let name = self.name.filter(|name| !name.is_empty());
        Ok(Caller {
            account: AccountId::new(&self.sub).map_err(|_| Refusal::Malformed)?,
            handle,
            name: name.map(|name| display_name(&name)).transpose().map_err(|_| Refusal::Malformed)?,
            scope,
            expiry: expiry(self.exp).ok_or(Refusal::Malformed)?,
        })
    }
}

fn expiry(exp: f64) -> Option<SystemTime> {
    let since_1970 = Duration::try_from_secs_f64(exp).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(since_1970)?.checked_add(LEEWAY)
}

/// The `iss` that a token claims. Nothing is checked.
pub(super) fn unverified_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    jsonwebtoken::dangerous::insecure_decode::<Issuer>(token).ok().map(|token| token.claims.iss)
}
