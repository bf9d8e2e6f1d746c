//! Media over TLS, for networks that let nothing else through: TURN (RFC 8656) on the port that serves the API, as browsers
//! speak it to a `turns:` server. What comes out of it is UDP to a router's media port: the router sees one more client.
//!
//! - [`Secret`] issues a [`Credential`] for one leg and its router's media addresses; nothing is stored for it.
//! - [`Relays`] serves connections, each an allocation that leads to those addresses and nowhere else, and bounds them all.
//!
//! `frames` cuts the stream, `request` says what a message may ask for, `relay` decides (no socket, no clock), `serve` touches the
//! world. Nothing here is told where a client is.

mod credential;
mod frames;
#[cfg(any(test, duocast_fuzz))]
pub mod fuzz;
mod metrics;
mod relay;
mod request;
mod seats;
mod serve;

pub use credential::{Credential, Secret, VALID_FOR};
pub use duocast_model::is_turn;
pub use metrics::describe;
pub use serve::Relays;
