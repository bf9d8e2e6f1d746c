//! The Rust SDK: sign in, call, be called.
