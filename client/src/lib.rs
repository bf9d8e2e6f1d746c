//! The Rust SDK: sign in, call, be called.
pub mod media;
pub mod session;
