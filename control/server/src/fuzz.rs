//! What `make fuzz` feeds: tokens and fields of requests.

/// A target: its name, which is that of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of this crate.
pub const TARGETS: &[Target] = &[("claims", crate::auth::fuzz), ("fields", crate::services::fuzz)];

#[cfg(test)]
#[path = "../../../fuzz/corpus.rs"]
mod corpus;
