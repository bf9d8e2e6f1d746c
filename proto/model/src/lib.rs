//! The nouns of Duocast, one line each:
//!
//! - [`AccountId`]: the platform's id of a person; never printed, never sent to anybody else.
//! - [`Handle`]: the public name that others call.
//! - [`DeviceId`], [`SessionId`]: one installation of a client, and its present conversation with control.
//! - [`CallId`]: one Broadcast with an audience of two named parties.
//! - [`Party`]: caller or callee.
//! - [`CallState`], [`EndReason`]: where a call is, and why it ended.
//! - [`LegId`]: one party's media path to the router.
//! - [`NodeId`]: one router process.
//! - [`PrivacySettings`], [`DirectConsent`]: what an account chose, and what it says of a direct leg.
//! - [`Exposure`]: which kinds of address one party learned of the other, since when; never an address.
//! - [`RoutePlan`]: the numbered, immutable order that a node gets for one call.
//! - [`Frames`], [`frame_header`]: datagrams on a byte stream, for media over TCP.
//! - [`TurnFrame`]: TURN's messages on a byte stream, for media over TLS.
//! - [`AUDIO_MAX_BYTES`]: what is longer is video.
//!
//! [`assert_unshown!`] stands beside every type that must not become text.
//!
//! std only. Values that exist are valid: every constructor checks.

mod call;
mod framing;
#[cfg(any(test, duocast_fuzz))]
pub mod fuzz;
mod ids;
mod plan;
mod privacy;
mod time;
mod turn;
mod unshown;

pub use call::{CallState, EndReason, MediaState, Party};
pub use framing::{AUDIO_MAX_BYTES, FRAME_HEADER_BYTES, FrameTooLong, Frames, frame_header};
pub use ids::{AccountId, CallId, DeviceId, Handle, InvalidId, LegId, NodeId, SessionId};
pub use plan::{Generation, MAX_LEGS_PER_PLAN, MAX_ROUTES_PER_PLAN, PlanError, Route, RoutePlan};
pub use privacy::{
    AddressKind, Audience, AudienceSet, DirectConsent, DirectSetting, Exposure, PrivacySettings, Strangers,
};
pub use time::UnixMillis;
pub use turn::{NotTurn, TURN_FRAME_MAX, TurnFrame, is_turn, is_turn_channel, turn_padding};
