//! Who may call whom, and what a call does next. Pure: no I/O, no clock, no randomness.
//!
//! - [`policy`] decides whether a call may be placed; its pass is a value, [`policy::Admission`], that nobody else can make.
//! - [`call`] is one call: the table of its states and legal moves, its two seats, its legs, its route plan.
//! - [`broadcast`]: one who publishes, and many who view.
//! - [`session`] is one device's conversation: an event log with sequence numbers that a client can resume.
//! - [`direct`]: when and how a call's media may go without the router, and who learned which address.
//! - [`budget`]: how often somebody may ring, ask and connect.
//! - [`placement`] chooses the router node for a call.
//! - [`switchboard`] joins them: inputs by `handle_*`, outputs by `poll_effect`, one deadline by `poll_timeout`.

pub mod broadcast;
pub mod budget;
pub mod call;
pub mod direct;
pub mod placement;
pub mod policy;
pub mod session;
pub mod switchboard;

pub use switchboard::{Effect, Limits, Switchboard};
