//! Stories of the control plane: real services, real exchange, real SQLite; only the media is left out.

#[path = "../support/mod.rs"]
mod support;

mod auth;
mod bad_input;
mod blocks;
mod broadcasts;
mod calls;
mod directory;
mod doors;
mod nodes;
mod pages;
mod privacy;
mod requests;
mod restart;
mod sessions;
mod store;
