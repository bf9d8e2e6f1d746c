//! Who may call whom, and who may learn which address: one pure function, versioned, with a reason for every answer.
//!
//! - [`evaluate`] goes through the rules in order; the first that applies decides. `docs/policy.md` shows them.
//! - [`outgoing`] and [`incoming`] say the answer in the words that the caller, or the callee, may hear.
//! - [`decide`] turns the answer into a pass. Only it makes an [`Admission`], and only that creates a call.
//! - [`standing`] and [`legs`] say when media may leave the router.
//! - [`may_broadcast`] and [`may_watch`] are the same for one who publishes to many.
//! - [`press`] holds the five rows of the reports of March 2024; [`table`] writes the tables of `docs/policy.md`.

mod broadcast;
mod decision;
pub mod press;
mod rules;
mod situation;
pub mod table;
mod verdict;

pub use broadcast::{BroadcastPass, ViewingPass, WatchDenied, may_broadcast, may_watch};
pub use decision::{Admission, Decision, Denied, Facts, Legs, RequestPass, decide, legs, standing};
pub use rules::evaluate;
pub use situation::{Profile, Relation, RequestHistory, Situation, UnknownProfile};
pub use verdict::{AllowReason, DenyReason, Outcome, RequestReason, Told, Verdict, Words, codes};

/// Counts up when a rule, its place or a reason code changes, so that clients and operators can tell.
pub const POLICY_VERSION: u32 = 1;

/// "Can I call them?", as the caller may hear it.
pub fn outgoing(profile: Profile, situation: &Situation) -> Told {
    evaluate(profile, situation).to_caller()
}

/// "Can they call me?", as the callee may hear it.
///
/// What the caller chose for itself (calling off, a block, encrypted calls only) is left out: the callee would otherwise
/// learn from this answer what the answer to its own call hides.
pub fn incoming(profile: Profile, situation: &Situation) -> Told {
    evaluate(profile, &situation.without_callers_choices()).to_callee()
}
