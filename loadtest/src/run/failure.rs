//! How a call failed: at which stage, with which gRPC code and reason.

use std::borrow::Cow;
use std::fmt;

use tonic::{Code, Status};

/// Where in its life a call was.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// Connecting and subscribing.
    #[default]
    Join,
    /// PlaceCall.
    Place,
    /// StartBroadcast.
    Start,
    /// WatchBroadcast.
    Watch,
    /// Until the callee's device rang.
    Ring,
    /// ConnectLeg, and taking its answer.
    Leg,
    /// AcceptCall, and the caller hearing of it.
    Accept,
    /// Until both sides, or the viewer, decoded audio; until a host's leg was up.
    Media,
    /// While the call or the broadcast was up.
    Call,
    /// On the way to a direct leg, or back.
    Switch,
    /// HangUp, LeaveBroadcast or StopBroadcast, and all whom it concerns hearing of it.
    HangUp,
}

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Place => "place",
            Self::Start => "start",
            Self::Watch => "watch",
            Self::Ring => "ring",
            Self::Leg => "leg",
            Self::Accept => "accept",
            Self::Media => "media",
            Self::Call => "call",
            Self::Switch => "switch",
            Self::HangUp => "hang_up",
        }
    }
}

/// Why a call failed. Holds no address, handle or account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    /// The name of a gRPC code; for what failed on this side the one that fits.
    pub(crate) code: Cow<'static, str>,
    /// The server's reason, or this program's own; empty if a library or a proxy answered.
    pub(crate) reason: String,
}

impl Failure {
    /// A failure that this program found by itself.
    pub(crate) fn own(stage: Stage, code: Code, reason: &str) -> Self {
        Self { stage, code: code_name(code).into(), reason: reason.into() }
    }

    pub(crate) fn of(stage: Stage, status: &Status) -> Self {
        Self {
            stage,
            code: code_name(status.code()).into(),
            reason: duocast_wire::error::reason(status).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = if self.reason.is_empty() { "no reason given" } else { &self.reason };
        write!(f, "{}: {} ({reason})", self.stage.name(), self.code)
    }
}

/// A gRPC code as the specification writes it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_stage_code_and_reason_and_not_the_sentence() {
        let offline = duocast_wire::error::Reason::CalleeOffline;
        let status = duocast_wire::error::status(offline, "somebody is offline");
        let failure = Failure::of(Stage::Place, &status);
        assert_eq!(failure.to_string(), "place: FAILED_PRECONDITION (CALLEE_OFFLINE)");
        let failure = Failure::of(Stage::Join, &Status::unavailable("no way to 192.0.2.1"));
        assert_eq!(failure.to_string(), "join: UNAVAILABLE (no reason given)");
    }
}
