//! How each failure is answered: gRPC code and reason, in one place. The sentence is the error's own.

use duocast_control_core::direct::DirectError;
use duocast_control_core::policy::{Denied, DenyReason};
use duocast_control_core::switchboard::{CommandError, PlaceError, SubscribeError};
use tonic::{Code, Status};

use duocast_wire::error::retry;

use super::status;
use crate::exchange::{ConnectError, ExchangeError, LegFailure, LinkEnd, StreamClose};
use crate::store::{BookError, FollowError, PrivacyError, StoreError, UpsertError};

/// A failure that has a place in the API.
pub(super) trait IntoStatus: std::error::Error {
    /// The failure as it is answered.
    fn status(&self) -> Status;
}

macro_rules! by_table {
    ($error:ty, $of:ident => $table:expr) => {
        impl IntoStatus for $error {
            fn status(&self) -> Status {
                let $of = self;
                let (code, reason): (Code, &str) = $table;
                status(code, reason, self.to_string())
            }
        }
    };
}

impl IntoStatus for PlaceError {
    fn status(&self) -> Status {
        let (code, reason) = match self {
            Self::SessionUnknown => (Code::FailedPrecondition, "SESSION_UNKNOWN"),
            Self::RequestIdInvalid => (Code::InvalidArgument, "REQUEST_ID_INVALID"),
            Self::AlreadyInCall => (Code::FailedPrecondition, "ALREADY_IN_CALL"),
            Self::PeerIsCalling => (Code::FailedPrecondition, "PEER_IS_CALLING"),
            Self::CalleeOffline => (Code::FailedPrecondition, "CALLEE_OFFLINE"),
            Self::NoCapacity => (Code::ResourceExhausted, "NO_CAPACITY"),
            Self::RingBudget(spent) => {
                let (code, reason) = (Code::ResourceExhausted, "RING_BUDGET");
                return retry(code, reason, self.to_string(), spent.retry_after);
            }
        };
        status(code, reason, self.to_string())
    }
}

by_table!(Denied, denied => match denied.reason() {
    DenyReason::Oneself => (Code::InvalidArgument, denied.code()),
    _ => (Code::PermissionDenied, denied.code()),
});

impl IntoStatus for CommandError {
    fn status(&self) -> Status {
        let (code, reason) = match self {
            Self::SessionUnknown => (Code::FailedPrecondition, "SESSION_UNKNOWN"),
            Self::CallUnknown => (Code::NotFound, "CALL_UNKNOWN"),
            Self::CallEnded(_) => (Code::FailedPrecondition, "CALL_ENDED"),
            Self::NotTheCallee => (Code::FailedPrecondition, "NOT_THE_CALLEE"),
            Self::AnsweredElsewhere => (Code::FailedPrecondition, "ANSWERED_ELSEWHERE"),
            Self::NotRinging => (Code::FailedPrecondition, "NOT_RINGING"),
            Self::AlreadyAnswered => (Code::FailedPrecondition, "ALREADY_ANSWERED"),
            Self::NotOnThisDevice => (Code::FailedPrecondition, "NOT_ON_THIS_DEVICE"),
            Self::LegUnknown => (Code::NotFound, "LEG_UNKNOWN"),
            Self::TooManyLegs => (Code::ResourceExhausted, "TOO_MANY_LEGS"),
            Self::Direct(DirectError::NotAllowed) => (Code::FailedPrecondition, "DIRECT_NOT_ALLOWED"),
            Self::Direct(DirectError::NotLive) => (Code::FailedPrecondition, "CALL_NOT_LIVE"),
            Self::Direct(DirectError::Stale) => (Code::FailedPrecondition, "DIRECT_STALE"),
            Self::Direct(DirectError::Description(error)) => (Code::InvalidArgument, error.code()),
            Self::Budget(spent) => {
                let (code, reason) = (Code::ResourceExhausted, "TOO_OFTEN");
                return retry(code, reason, self.to_string(), spent.retry_after);
            }
        };
        status(code, reason, self.to_string())
    }
}

by_table!(SubscribeError, error => match error {
    SubscribeError::TooManySessions => (Code::ResourceExhausted, "TOO_MANY_SESSIONS"),
    SubscribeError::Full => (Code::ResourceExhausted, "SERVER_FULL"),
});

by_table!(LegFailure, failure => match failure {
    LegFailure::NodeAway => (Code::Unavailable, "NODE_AWAY"),
    LegFailure::NodeBusy => (Code::Unavailable, "NODE_BUSY"),
    LegFailure::NodeSlow => (Code::Unavailable, "NODE_SLOW"),
    LegFailure::LegChanged => (Code::Aborted, "LEG_CHANGED"),
    LegFailure::Refused { reason, .. } => match reason.as_str() {
        "LEG_UNKNOWN" => (Code::NotFound, reason),
        "NODE_FULL" => (Code::ResourceExhausted, reason),
        reason if reason.starts_with("SDP_") => (Code::InvalidArgument, reason),
        reason => (Code::Internal, reason),
    },
});

by_table!(StreamClose, why => match why {
    StreamClose::TakenOver => (Code::Aborted, "SESSION_TAKEN_OVER"),
    StreamClose::Evicted => (Code::Aborted, "SESSION_EVICTED"),
    StreamClose::SlowConsumer => (Code::ResourceExhausted, "SLOW_CONSUMER"),
});

by_table!(LinkEnd, why => match why {
    LinkEnd::TakenOver => (Code::Aborted, "LINK_TAKEN_OVER"),
    LinkEnd::SlowNode => (Code::ResourceExhausted, "SLOW_CONSUMER"),
    LinkEnd::Left => (Code::Aborted, "NODE_LEFT"),
});

by_table!(ExchangeError, error => match error {
    ExchangeError::Stopped => (Code::Unavailable, "DRAINING"),
    ExchangeError::Overloaded => (Code::Unavailable, "OVERLOADED"),
    ExchangeError::Failed => (Code::Internal, "INTERNAL"),
});

impl IntoStatus for ConnectError {
    fn status(&self) -> Status {
        match self {
            Self::Command(error) => error.status(),
            Self::Leg(failure) => failure.status(),
        }
    }
}

/// A store that fails is the operator's affair: the whole chain is logged, the client is told to come back.
impl IntoStatus for StoreError {
    fn status(&self) -> Status {
        tracing::error!(error = self as &dyn std::error::Error, "the database failed");
        let sentence = "the server cannot use its database right now: try again in a moment";
        status(Code::Unavailable, "STORE_UNAVAILABLE", sentence)
    }
}

impl IntoStatus for UpsertError {
    fn status(&self) -> Status {
        match self {
            Self::HandleTaken { .. } => status(Code::FailedPrecondition, "HANDLE_TAKEN", self.to_string()),
            Self::Store(error) => error.status(),
        }
    }
}

impl IntoStatus for FollowError {
    fn status(&self) -> Status {
        match self {
            Self::AccountUnknown { .. } => status(Code::NotFound, "ACCOUNT_UNKNOWN", self.to_string()),
            Self::Store(error) => error.status(),
        }
    }
}

impl IntoStatus for BookError {
    fn status(&self) -> Status {
        match self {
            Self::AccountUnknown => status(Code::NotFound, "ACCOUNT_UNKNOWN", self.to_string()),
            Self::Full => status(Code::ResourceExhausted, "ADDRESS_BOOK_FULL", self.to_string()),
            Self::Store(error) => error.status(),
        }
    }
}

impl IntoStatus for PrivacyError {
    fn status(&self) -> Status {
        let (code, reason) = match self {
            Self::PersonUnknown => (Code::NotFound, "CALLEE_UNKNOWN"),
            Self::Oneself => (Code::InvalidArgument, "CALLEE_IS_SELF"),
            Self::IsBlocked => (Code::FailedPrecondition, "PERSON_BLOCKED"),
            Self::GrantsFull => (Code::ResourceExhausted, "GRANTS_FULL"),
            Self::BlocksFull => (Code::ResourceExhausted, "BLOCKS_FULL"),
            Self::ReceiverFull | Self::SenderFull => (Code::ResourceExhausted, "REQUESTS_FULL"),
            Self::RequestUnknown => (Code::NotFound, "REQUEST_UNKNOWN"),
            Self::AlreadyAllowed => (Code::FailedPrecondition, "ALREADY_ALLOWED"),
            Self::Denied(denied) => return denied.status(),
            Self::Store(error) => return error.status(),
        };
        status(code, reason, self.to_string())
    }
}
