//! What can go wrong with a command, and who can do something about it.

use std::fmt;

use duocast_wire::error::{Reason, reason};
use tonic::{Code, Status};

/// What passes by itself.
const LATER: [Reason; 3] = [Reason::NoCapacity, Reason::RingBudget, Reason::RequestBudget];

/// Why a command failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The server refused; its sentence says what to do.
    #[error("{sentence}")]
    Refused {
        /// Stable code such as `CALLEE_OFFLINE`; empty if a proxy or a library answered.
        reason: String,
        /// For people.
        sentence: String,
    },
    /// The callee takes no calls of this account yet, but a call request is open to it.
    #[error("{sentence}")]
    RequestNeeded {
        /// Why, as a stable code.
        reason: String,
        /// For people.
        sentence: String,
    },
    /// The token was refused.
    #[error("{sentence}")]
    SignedOut {
        /// Stable code such as `TOKEN_EXPIRED`; may be empty.
        reason: String,
        /// For people.
        sentence: String,
    },
    /// The server could not be reached, or is stopping.
    #[error("the server cannot be reached ({0}); it is tried again while the call lasts")]
    Unreachable(String),
    /// No answer in time.
    #[error("the server did not answer in time; try again")]
    TimedOut,
    /// The call is over.
    #[error("the call is over")]
    Over,
    /// The [`Client`](crate::Client) was closed or dropped.
    #[error("this client is closed; connect a new one")]
    Closed,
    /// The handle cannot exist.
    #[error("{0}")]
    InvalidHandle(duocast_model::InvalidId),
    /// The server's answer makes no sense to this client.
    #[error("the server's answer cannot be read ({0}); update this client")]
    Unreadable(String),
}

/// Who can do something about a [`CallError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// Get a new token, [`Client::set_token`](crate::Client::set_token).
    SignIn,
    /// Trying again later may work.
    TryLater,
    /// The callee takes no calls of this account, but may be asked:
    /// [`Client::send_call_request`](crate::Client::send_call_request).
    AskFirst,
    /// Tell the person; repeating changes nothing.
    TellUser,
    /// Nothing: it is over.
    Nothing,
}

impl fmt::Display for NextStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SignIn => "sign in again",
            Self::TryLater => "try again in a moment",
            Self::AskFirst => "send a call request",
            Self::TellUser => "tell the person what the sentence says",
            Self::Nothing => "nothing to do",
        })
    }
}

impl CallError {
    /// The server's stable reason code, if it gave one.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused { reason, .. }
            | Self::RequestNeeded { reason, .. }
            | Self::SignedOut { reason, .. } => Some(reason.as_str()).filter(|reason| !reason.is_empty()),
            _ => None,
        }
    }

    /// Who can do something about it.
    pub fn next_step(&self) -> NextStep {
        match self {
            Self::SignedOut { .. } => NextStep::SignIn,
            Self::Unreachable(_) | Self::TimedOut => NextStep::TryLater,
            Self::RequestNeeded { .. } => NextStep::AskFirst,
            Self::Refused { reason, .. }
                if Reason::from_str_name(reason).is_some_and(|reason| LATER.contains(&reason)) =>
            {
                NextStep::TryLater
            }
            Self::Refused { .. } | Self::InvalidHandle(_) | Self::Unreadable(_) => NextStep::TellUser,
            Self::Over | Self::Closed => NextStep::Nothing,
        }
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        let sentence = status.message().to_owned();
        let reason = reason(&status).unwrap_or_default();
        match status.code() {
            Code::Unauthenticated => Self::SignedOut { reason, sentence },
            Code::Unavailable if reason.is_empty() => Self::Unreachable(sentence),
            Code::PermissionDenied if reason == Reason::RequestNeeded.as_str_name() => {
                Self::RequestNeeded { reason, sentence }
            }
            Code::DeadlineExceeded | Code::Cancelled => Self::TimedOut,
            _ => Self::Refused { reason, sentence },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_reason_and_sentence() {
        let status = duocast_wire::error::status(Reason::CalleeOffline, "Bob is offline");
        let error = CallError::from(status);
        assert_eq!(error.reason(), Some("CALLEE_OFFLINE"));
        assert_eq!(error.to_string(), "Bob is offline");
        assert_eq!(error.next_step(), NextStep::TellUser);
    }

    #[test]
    fn the_next_step_follows_from_what_failed() {
        let step = |status: Status| CallError::from(status).next_step();
        assert_eq!(step(Status::unauthenticated("expired")), NextStep::SignIn);
        assert_eq!(step(Status::unavailable("no connection")), NextStep::TryLater);
        assert_eq!(step(Status::deadline_exceeded("")), NextStep::TryLater);
        assert_eq!(step(Status::not_found("no such call")), NextStep::TellUser);
        let refused = |reason| duocast_wire::error::status(reason, "a sentence");
        assert_eq!(step(refused(Reason::RequestNeeded)), NextStep::AskFirst);
        assert_eq!(step(refused(Reason::CalleeNotReachable)), NextStep::TellUser);
        assert_eq!(step(refused(Reason::RingBudget)), NextStep::TryLater);
    }
}
