//! The control plane's shell: services, store, exchange, and the app that a [server](duocast_transport::server::Server)
//! serves.
//!
//! - [`Control`] is all of it: open, serve its [`app`](Control::app), run until the shutdown.
//! - [`auth`] turns tokens into callers; it has the development issuer too.
//! - [`store`] is what is kept, [`metrics`] what is counted.
//!
//! A request's way: a service checks and converts it, the exchange (one task, the only owner of the switchboard) decides, the
//! store writes what was decided, and only then anybody is told.

pub mod auth;
pub mod metrics;
pub mod store;

mod clock;
mod control;
mod exchange;
#[cfg(any(test, duocast_fuzz))]
pub mod fuzz;
mod http;
mod names;
mod services;
mod web;

pub use control::{Control, ControlConfig, ExchangeDied, OpenError, SeedError};
pub use duocast_control_core::Limits;
pub use duocast_control_core::budget::Rate;
pub use duocast_control_core::policy::{Outcome, Profile, press};
pub use duocast_control_core::switchboard::Rates;
pub use exchange::Tuning;
