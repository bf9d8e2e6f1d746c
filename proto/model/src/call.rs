//! Where a call is, and why it ended.

/// One of the two parties of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Party {
    /// Placed the call.
    Caller,
    /// Is being called.
    Callee,
}

impl Party {
    /// Both, in a fixed order: index them with `party as usize`.
    pub const BOTH: [Party; 2] = [Party::Caller, Party::Callee];

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

/// The life of a call, in order. Legal moves: `duocast_control_core::call::MOVES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallState {
    /// Admitted; none of the callee's devices has been reached yet.
    Created,
    /// At least one device of the callee rings.
    Ringing,
    /// Answered; media is not yet confirmed on both legs.
    Accepted,
    /// Both legs are connected and media is forwarded.
    Live,
    /// Over. Nothing leaves this state.
    Ended(EndReason),
}

impl CallState {
    /// True before anybody answered: no media may be forwarded.
    pub const fn is_before_accept(self) -> bool {
        matches!(self, Self::Created | Self::Ringing)
    }

    /// True once the call is over.
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

/// Why a call ended, as a party sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndReason {
    /// A party hung up after the answer.
    HungUp,
    /// The callee declined.
    Declined,
    /// Nobody answered in time.
    TimedOut,
    /// The callee is in another call.
    Busy,
    /// The caller gave up before an answer.
    Cancelled,
    /// Another device of the callee answered; only the callee's other devices see this.
    AnsweredElsewhere,
    /// A party lost its connection and did not come back in time.
    PartyLost,
    /// Media did not connect after the answer.
    MediaFailed,
    /// The router node that carried the call was lost.
    NodeLost,
}

impl EndReason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::HungUp,
        Self::Declined,
        Self::TimedOut,
        Self::Busy,
        Self::Cancelled,
        Self::AnsweredElsewhere,
        Self::PartyLost,
        Self::MediaFailed,
        Self::NodeLost,
    ];

    /// Stable lower-case name, for reports, metric labels and the store: the wire's without its prefix.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HungUp => "hung_up",
            Self::Declined => "declined",
            Self::TimedOut => "timed_out",
            Self::Busy => "busy",
            Self::Cancelled => "cancelled",
            Self::AnsweredElsewhere => "answered_elsewhere",
            Self::PartyLost => "party_lost",
            Self::MediaFailed => "media_failed",
            Self::NodeLost => "node_lost",
        }
    }
}

/// What a party says that it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MediaState {
    /// Microphone on.
    pub audio: bool,
    /// Camera on.
    pub video: bool,
}
