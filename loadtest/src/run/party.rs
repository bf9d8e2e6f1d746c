//! Who a call's clients are to each other. Pure.

use std::fmt;

/// What a client is in its call.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    #[default]
    Caller,
    Callee,
    /// Publishes a broadcast.
    Host,
    /// Views one; its number, from 0.
    Viewer(u32),
}

impl Role {
    /// The two of a call.
    pub(crate) const PAIR: [Self; 2] = [Self::Caller, Self::Callee];

    /// The place in its call of whom it hears; `None`: nobody.
    pub(crate) fn hears(self) -> Option<usize> {
        match self {
            Self::Caller => Some(1),
            Self::Callee | Self::Viewer(_) => Some(0),
            Self::Host => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller => f.write_str("caller"),
            Self::Callee => f.write_str("callee"),
            Self::Host => f.write_str("host"),
            Self::Viewer(number) => write!(f, "viewer-{number}"),
        }
    }
}

/// What one client of a call does besides the call's script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartyPlan {
    pub(crate) role: Role,
    /// It decodes to the end.
    pub(crate) decodes: bool,
    /// It records what it hears, to be scored.
    pub(crate) records: bool,
    /// 0 for none, else its group's place in the scenario plus one.
    pub(crate) group: usize,
    /// It loses the server when the scenario says so.
    pub(crate) reconnects: bool,
}

impl PartyPlan {
    /// One that does nothing of all that.
    pub(crate) fn new(role: Role) -> Self {
        Self { role, decodes: false, records: false, group: 0, reconnects: false }
    }
}
