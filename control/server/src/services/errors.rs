//! How each failure is answered: its reason, which has a gRPC code, in one place. The sentence is the error's own.

use std::time::Duration;

use duocast_control_core::direct::{DescriptionError, DirectError};
use duocast_control_core::policy::{Denied, DenyReason};
use duocast_control_core::switchboard::{BroadcastError, CommandError, PlaceError, SubscribeError};
use duocast_transport::guard::Fault;
use duocast_wire::error::{Reason, retry};
use tonic::Status;

use super::status;
use crate::exchange::{ConnectError, ExchangeError, LegFailure, LinkEnd, StreamClose};
use crate::store::{BookError, FollowError, PrivacyError, StoreError, UpsertError};

/// When somebody for whom there was no room may try again, in milliseconds: each is told a moment of its own, so that they do
/// not come back all at once. Nodes say every second how loaded they are. Higher keeps people waiting beside free nodes, lower
/// has them ask in vain.
const ROOM_AFTER_MS: std::ops::Range<u64> = 2_000..6_000;

/// There is no room now, and when to ask again.
fn no_room(reason: Reason, sentence: String) -> Status {
    retry(reason, sentence, Duration::from_millis(rand::random_range(ROOM_AFTER_MS)))
}

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
                let reason: Reason = $table;
                status(reason, self.to_string())
            }
        }
    };
}

impl IntoStatus for PlaceError {
    fn status(&self) -> Status {
        let reason = match self {
            Self::SessionUnknown => Reason::SessionUnknown,
            Self::RequestIdInvalid => Reason::RequestIdInvalid,
            Self::AlreadyInCall => Reason::AlreadyInCall,
            Self::PeerIsCalling => Reason::PeerIsCalling,
            Self::CalleeOffline => Reason::CalleeOffline,
            Self::NoCapacity => return no_room(Reason::NoCapacity, self.to_string()),
            Self::RingBudget(spent) => {
                return retry(Reason::RingBudget, self.to_string(), spent.retry_after);
            }
        };
        status(reason, self.to_string())
    }
}

by_table!(Denied, denied => match denied.reason() {
    DenyReason::Oneself => Reason::CalleeIsSelf,
    DenyReason::CallerOff => Reason::CallerNotEnabled,
    DenyReason::BlockedByCaller => Reason::BlockedByCaller,
    DenyReason::CallerRequiresE2ee => Reason::CallerRequiresE2ee,
    DenyReason::CalleeRequiresE2ee => Reason::CalleeRequiresE2ee,
    // One and the same to the caller.
    DenyReason::BlockedByCallee | DenyReason::CalleeOff | DenyReason::OutsideAudience(_) => {
        Reason::CalleeNotReachable
    }
});

impl IntoStatus for CommandError {
    fn status(&self) -> Status {
        let reason = match self {
            Self::SessionUnknown => Reason::SessionUnknown,
            Self::CallUnknown => Reason::CallUnknown,
            Self::CallEnded(_) => Reason::CallEnded,
            Self::NotTheCallee => Reason::NotTheCallee,
            Self::AnsweredElsewhere => Reason::AnsweredElsewhere,
            Self::NotRinging => Reason::NotRinging,
            Self::AlreadyAnswered => Reason::AlreadyAnswered,
            Self::NotOnThisDevice => Reason::NotOnThisDevice,
            Self::LegUnknown => Reason::LegUnknown,
            Self::TooManyLegs => Reason::TooManyLegs,
            Self::Direct(DirectError::NotAllowed) => Reason::DirectNotAllowed,
            Self::Direct(DirectError::NotLive) => Reason::CallNotLive,
            Self::Direct(DirectError::Stale) => Reason::DirectStale,
            Self::Direct(DirectError::Description(error)) => description(*error),
            Self::Budget(spent) => {
                return retry(Reason::TooOften, self.to_string(), spent.retry_after);
            }
        };
        status(reason, self.to_string())
    }
}

impl IntoStatus for BroadcastError {
    fn status(&self) -> Status {
        let reason = match self {
            Self::SessionUnknown => Reason::SessionUnknown,
            Self::RequestIdInvalid => Reason::RequestIdInvalid,
            Self::AlreadyBroadcasting => Reason::AlreadyBroadcasting,
            Self::Unknown => Reason::BroadcastUnknown,
            Self::NotTheHost => Reason::NotTheHost,
            Self::Full => Reason::BroadcastFull,
            Self::NoCapacity => return no_room(Reason::NoCapacity, self.to_string()),
            Self::Budget(spent) => {
                return retry(Reason::TooOften, self.to_string(), spent.retry_after);
            }
        };
        status(reason, self.to_string())
    }
}

by_table!(SubscribeError, error => match error {
    SubscribeError::TooManySessions => Reason::TooManySessions,
    SubscribeError::Full => Reason::ServerFull,
});

impl IntoStatus for LegFailure {
    fn status(&self) -> Status {
        let reason = match self {
            Self::NodeAway => Reason::NodeAway,
            Self::NodeBusy => Reason::NodeBusy,
            Self::NodeSlow => Reason::NodeSlow,
            Self::LegChanged => Reason::LegChanged,
            Self::Refused { reason, .. } => refused(reason),
        };
        match reason {
            Reason::NodeFull => no_room(reason, self.to_string()),
            reason => status(reason, self.to_string()),
        }
    }
}

by_table!(StreamClose, why => match why {
    StreamClose::TakenOver => Reason::SessionTakenOver,
    StreamClose::Evicted => Reason::SessionEvicted,
    StreamClose::SlowConsumer => Reason::SlowConsumer,
});

/// The failure that a link ends with; `None` if its node said goodbye.
pub(super) fn link_end(why: LinkEnd) -> Option<Status> {
    let reason = match why {
        LinkEnd::TakenOver => Reason::LinkTakenOver,
        LinkEnd::SlowNode => Reason::SlowConsumer,
        LinkEnd::Left => return None,
    };
    Some(status(reason, why.to_string()))
}

const fn description(error: DescriptionError) -> Reason {
    match error {
        DescriptionError::TooLarge => Reason::SdpTooLarge,
        DescriptionError::Malformed => Reason::SdpInvalid,
        DescriptionError::NoIce => Reason::SdpNoIce,
        DescriptionError::NoFingerprint => Reason::SdpNoFingerprint,
    }
}

/// A node's word for why it did not answer an offer: one of `LegRefused`, or of a newer node's.
fn refused(word: &str) -> Reason {
    match Reason::from_str_name(word) {
        Some(reason @ (Reason::LegUnknown | Reason::NodeFull)) => reason,
        Some(reason) if word.starts_with("SDP_") => reason,
        None if word.starts_with("SDP_") => Reason::SdpInvalid,
        _ => Reason::Internal,
    }
}

/// What the guard ends a call with.
pub(crate) fn fault(fault: Fault) -> Status {
    let reason = match fault {
        Fault::MessageTooLarge { .. } => Reason::MessageTooLarge,
        Fault::MessageInvalid => Reason::MessageInvalid,
    };
    status(reason, fault.to_string())
}

by_table!(ExchangeError, error => match error {
    ExchangeError::Stopped => Reason::Draining,
    ExchangeError::Overloaded => Reason::Overloaded,
    ExchangeError::Failed => Reason::Internal,
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
        status(Reason::StoreUnavailable, sentence)
    }
}

impl IntoStatus for UpsertError {
    fn status(&self) -> Status {
        match self {
            Self::HandleTaken { .. } => status(Reason::HandleTaken, self.to_string()),
            Self::Store(error) => error.status(),
        }
    }
}

impl IntoStatus for FollowError {
    fn status(&self) -> Status {
        match self {
            Self::AccountUnknown { .. } => status(Reason::AccountUnknown, self.to_string()),
            Self::Store(error) => error.status(),
        }
    }
}

impl IntoStatus for BookError {
    fn status(&self) -> Status {
        match self {
            Self::AccountUnknown => status(Reason::AccountUnknown, self.to_string()),
            Self::Full => status(Reason::AddressBookFull, self.to_string()),
            Self::Store(error) => error.status(),
        }
    }
}

impl IntoStatus for PrivacyError {
    fn status(&self) -> Status {
        let reason = match self {
            Self::PersonUnknown => Reason::CalleeUnknown,
            Self::Oneself => Reason::CalleeIsSelf,
            Self::IsBlocked => Reason::PersonBlocked,
            Self::GrantsFull => Reason::GrantsFull,
            Self::BlocksFull => Reason::BlocksFull,
            Self::ReceiverFull | Self::SenderFull => Reason::RequestsFull,
            Self::RequestUnknown => Reason::RequestUnknown,
            Self::AlreadyAllowed => Reason::AlreadyAllowed,
            Self::Denied(denied) => return denied.status(),
            Self::Store(error) => return error.status(),
        };
        status(reason, self.to_string())
    }
}
