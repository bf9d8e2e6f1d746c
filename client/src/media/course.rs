//! Which way media goes, and how the ways are.

use std::time::Instant;

/// One of the two ways to the other party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Path {
    /// Through the router.
    #[default]
    Routed,
    /// To the other party's own address.
    Direct,
}

impl Path {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Routed, Self::Direct];

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Routed => Self::Direct,
            Self::Direct => Self::Routed,
        }
    }
}

/// Where encoded frames go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum SendOn {
    #[default]
    Routed,
    Both,
    Direct,
}

impl SendOn {
    pub(crate) fn includes(self, path: Path) -> bool {
        match path {
            Path::Routed => self != Self::Direct,
            Path::Direct => self != Self::Routed,
        }
    }
}

/// Where frames go, and whose are played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Course {
    pub(crate) send: SendOn,
    pub(crate) play: Path,
}

/// How the two paths are, as far as switching between them depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Health {
    /// Of which attempt the direct leg is; 0: there is none.
    pub(crate) attempt: u32,
    pub(crate) is_connected: bool,
    /// It was closed, lost its path, or nothing came on it for too long.
    pub(crate) is_dead: bool,
    /// The other party's media comes on it and can be played.
    pub(crate) decodes: bool,
    /// The same of the routed leg.
    pub(crate) routed_decodes: bool,
    /// Since when the other party's media has come on the routed leg without a pause; `None`: it does not.
    pub(crate) routed_since: Option<Instant>,
}
