//! The Rust SDK: sign in, call, be called.
//!
//! ```no_run
//! use duocast_client::audio::{Discard, Tone};
//! use duocast_client::{Client, ClientConfig, ClientEvent, Media, Token};
//!
//! # async fn example(jwt: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(ClientConfig::new("https://calls.example.org", Token::new(jwt)?)).await?;
//!
//! // Call somebody …
//! let call = client.place(&"bob".parse()?, Media::audio(Tone::new(440.0), Discard)).await?;
//! println!("over: {:?}", call.ended().await);
//!
//! // … or wait to be called.
//! let mut events = client.events();
//! while let Some(event) = events.next().await {
//!     if let ClientEvent::Incoming(call) = event {
//!         call.accept(Media::audio(Tone::new(440.0), Discard)).await?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`Client`], [`Call`]: the API of an application.
//! - [`privacy`]: who may call, call requests, and what became known of whom.
//! - [`headless`]: a whole call as one function, for the command line and tests.
//! - [`media`], [`audio`], [`session`], [`Signaller`]: the pieces, for who drives many calls in one process.

pub mod audio;
mod call;
mod client;
mod error;
#[cfg(any(test, duocast_fuzz))]
pub mod fuzz;
pub mod headless;
pub mod media;
pub mod privacy;
mod received;
pub mod session;
mod signal;
mod stats;

pub use call::{Call, Media, Updates};
pub use client::{Client, ClientConfig, ClientEvent, ConnectError, Events, ViewingToken};
pub use duocast_model::{
    CallId, CallState, DeviceId, DirectConsent, EndReason, Exposure, Handle, MediaState, Party,
};
pub use duocast_transport::Door;
pub use duocast_transport::client::{Channel, ChannelConfig, DoorChoice, Roots};
pub use error::{CallError, NextStep};
pub use received::Received;
pub use session::{BroadcastInfo, CallInfo, Connection, Contact, DirectEnd, DirectInfo, DirectPhase, Person};
pub use signal::{InvalidToken, Signaller, Token};
pub use stats::{CallStats, LatencyStats};

/// A random number for a wait.
pub(crate) fn jitter() -> session::Jitter {
    session::Jitter::new(rand::random())
}
