//! Identifiers. Each is its own type; what must not be printed cannot be printed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a string is not an identifier. Holds nothing of the string itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidId {
    /// Which identifier was meant.
    pub what: &'static str,
    /// What is allowed.
    pub allowed: &'static str,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a {}: expected {}", self.what, self.allowed)
    }
}

impl std::error::Error for InvalidId {}

/// The platform's id of an account (`sub` of its tokens): 1-64 printable ASCII characters.
///
/// It has no `Display` and a blind `Debug`: it cannot reach a log, an event or an error by accident.
/// [`AccountId::expose`] is the one way out, for the store and the token check.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// Checks and wraps. Errors: [`InvalidId`] when empty, longer than 64 or not printable ASCII.
    pub fn new(id: &str) -> Result<Self, InvalidId> {
        let printable = id.bytes().all(|b| (0x21..=0x7e).contains(&b));
        if id.is_empty() || id.len() > 64 || !printable {
            return Err(InvalidId { what: "account id", allowed: "1-64 printable ASCII characters" });
        }
        Ok(Self(id.into()))
    }

    /// The id itself. For the store and the token check only; never for anything that is shown or logged.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountId(…)")
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $allowed:literal, $max:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and wraps. Errors: [`InvalidId`], which says what is allowed.
            pub fn new(id: &str) -> Result<Self, InvalidId> {
                let ok: fn(u8) -> bool = $ok;
                if id.is_empty() || id.len() > $max || !id.bytes().all(ok) {
                    return Err(InvalidId { what: $what, allowed: $allowed });
                }
                Ok(Self(id.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(s: &str) -> Result<Self, InvalidId> {
                Self::new(s)
            }
        }
    };
}

macro_rules! printable {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.as_str())
            }
        }
    };
}

text_id!(
    /// The public name that others call: 1-32 characters of `[a-z0-9_.]`.
    ///
    /// Shown to people who may see the account; kept out of logs all the same, so it has no `Display` and a blind
    /// `Debug`.
    Handle,
    "handle",
    "1-32 characters of a-z, 0-9, '_' and '.'",
    32,
    |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'.'
);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle(…)")
    }
}

text_id!(
    /// One installation of a client, chosen by it: 1-64 characters of `[A-Za-z0-9_-]`.
    DeviceId,
    "device id",
    "1-64 characters of A-Z, a-z, 0-9, '_' and '-'",
    64,
    |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'
);

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceId(…)")
    }
}

text_id!(
    /// One router process's name, chosen by its operator: 1-64 characters of `[A-Za-z0-9_.-]`.
    NodeId,
    "node id",
    "1-64 characters of A-Z, a-z, 0-9, '_', '.' and '-'",
    64,
    |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')
);
printable!(NodeId);

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// 128 bits drawn by a shell (cores draw no randomness); text form: 32 lower-case hexadecimal digits.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u128);

        impl $name {
            /// Wraps 128 bits from a cryptographic random source.
            pub const fn from_u128(bits: u128) -> Self {
                Self(bits)
            }

            /// The bits.
            pub const fn as_u128(self) -> u128 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:032x})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(s: &str) -> Result<Self, InvalidId> {
                let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                let invalid = InvalidId { what: $what, allowed: "32 lower-case hexadecimal digits" };
                if s.len() != 32 || !s.bytes().all(lower_hex) {
                    return Err(invalid);
                }
                u128::from_str_radix(s, 16).map(Self).map_err(|_| invalid)
            }
        }
    };
}

crate::assert_unshown!(AccountId, Handle, DeviceId);

random_id!(
    /// One call, that is one Broadcast with an audience of two named parties. Says nothing about who they are.
    CallId,
    "call id"
);
random_id!(
    /// One device's conversation with control. Unguessable, but no credential: every RPC is authenticated by itself.
    SessionId,
    "session id"
);
random_id!(
    /// One party's media path into a call.
    LegId,
    "leg id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_id_and_a_handle_cannot_be_printed() {
        let account = AccountId::new("acct-7f3a").unwrap();
        let handle = Handle::new("alice").unwrap();
        let device = DeviceId::new("phone-1").unwrap();
        let printed = format!("{account:?} {handle:?} {device:?}");
        for secret in ["acct-7f3a", "alice", "phone-1"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }

    #[test]
    fn ids_refuse_what_is_not_theirs_and_do_not_repeat_it() {
        for bad in ["", "has space", "ümlaut", &"x".repeat(65)] {
            let error = AccountId::new(bad).unwrap_err().to_string();
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
        for bad in ["", "Alice", "a b", "a@b", &"x".repeat(33)] {
            assert!(Handle::new(bad).is_err(), "{bad}");
        }
        for bad in
            ["", "0", &"g".repeat(32), &"A".repeat(32), &"0".repeat(33), "+0000000000000000000000000000001"]
        {
            assert!(bad.parse::<CallId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_random_id_reads_back_as_written() {
        for bits in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef] {
            let id = LegId::from_u128(bits);
            assert_eq!(id.to_string().parse::<LegId>().unwrap(), id);
        }
    }
}
