//! `duocast ctl`: who may call whom.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{OnOff, Target};

/// How contacts are written on the command line.
pub(super) const HASHING: &str = "A contact of 64 hexadecimal digits is taken as a hash that the platform made. Anything else is a phone \
    number or an\ne-mail address: it is hashed here (HMAC-SHA-256 by a key that follows from the local development key) and never \
    sent in plain.\n\nExample:\n  duocast ctl reachable bob +442079460958 bob@example.org\n  duocast ctl address-book alice --add \
    +442079460958";

/// As whom, and at which server.
#[derive(Debug, Clone, Args)]
pub struct As {
    /// Development account to act as (its token is made with the local development key)
    #[arg(long = "as", value_name = "HANDLE", required_unless_present = "token", conflicts_with = "token")]
    pub account: Option<String>,
    /// File with a token of the account, instead of --as
    #[arg(long, value_name = "FILE")]
    pub token: Option<PathBuf>,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// Whose question it is.
#[derive(Debug, Clone, Args)]
pub struct Whose {
    /// Development account whose question it is (its token is made with the local development key)
    #[arg(value_name = "HANDLE", required_unless_present = "token", conflicts_with = "token")]
    pub handle: Option<String>,
    /// File with a token of the account, instead of its handle
    #[arg(long, value_name = "FILE")]
    pub token: Option<PathBuf>,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

impl From<Whose> for As {
    fn from(Whose { handle, token, target }: Whose) -> Self {
        Self { account: handle, token, target }
    }
}

/// One other person.
#[derive(Debug, Clone, Args)]
pub struct Who {
    /// The other person's handle
    pub handle: String,
    /// As whom.
    #[command(flatten)]
    pub of: As,
}

/// What is to change; the rest stays.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
pub struct SettingsChange {
    /// Call and be called at all
    #[arg(long, value_enum)]
    pub calling: Option<OnOff>,
    /// Who rings without asking: any of mutuals, following, address_book, verified, dm_accepted, everyone; or nobody
    #[arg(long, value_delimiter = ',', value_name = "WHO,...")]
    pub audience: Option<Vec<AudienceFlag>>,
    /// What happens to everybody else
    #[arg(long, value_enum)]
    pub strangers: Option<StrangersFlag>,
    /// Route every call, whatever --direct says
    #[arg(long, value_enum)]
    pub enhanced_call_privacy: Option<OnOff>,
    /// When media may leave the server and show your IP address to the other person
    #[arg(long, value_enum)]
    pub direct: Option<Direct>,
    /// Only end-to-end encrypted calls
    #[arg(long, value_enum)]
    pub require_e2ee: Option<OnOff>,
}

/// Who may call without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AudienceFlag {
    /// You follow each other
    Mutuals,
    /// You follow them
    Following,
    /// They are in your address book
    #[value(name = "address_book", alias = "address-book")]
    AddressBook,
    /// They have the platform's badge
    Verified,
    /// You accepted a direct message of theirs
    #[value(name = "dm_accepted", alias = "dm-accepted")]
    DmAccepted,
    /// Everybody
    Everyone,
    /// Only people with a grant
    Nobody,
}

/// What happens to strangers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StrangersFlag {
    /// They may send a call request
    Request,
    /// You look unreachable
    Deny,
}

/// When media may go directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Direct {
    /// Never
    Never,
    /// After a yes in that call
    Ask,
    /// With people who follow you and whom you follow
    Mutuals,
    /// With anyone
    Anyone,
}

/// `duocast ctl settings`.
#[derive(Debug, Subcommand)]
pub enum Settings {
    /// Show an account's settings beside the defaults
    Show(As),
    /// Change settings; takes effect at once, also for a call that rings
    #[command(
        after_help = "Examples:\n  duocast ctl settings set --as alice --calling on --audience mutuals,address_book\n  \
        duocast ctl settings set --as alice --enhanced-call-privacy off --direct ask"
    )]
    Set {
        /// As whom.
        #[command(flatten)]
        of: As,
        /// What.
        #[command(flatten)]
        change: SettingsChange,
    },
    /// Show what a change would do, person by person, without doing it
    #[command(after_help = "Example:\n  duocast ctl settings preview --as alice --audience everyone")]
    Preview {
        /// As whom.
        #[command(flatten)]
        of: As,
        /// What.
        #[command(flatten)]
        change: SettingsChange,
    },
}

/// `duocast ctl requests`.
#[derive(Debug, Subcommand)]
pub enum Requests {
    /// List requests to and from an account
    List(As),
    /// Ask somebody for permission to call; nothing rings
    Send(Who),
    /// Accept somebody's request: they may call until the grant ends
    Accept {
        /// Whose request.
        #[command(flatten)]
        who: Who,
        /// How long they may call
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=365))]
        days: u32,
    },
    /// Decline somebody's request; they are not told
    Decline {
        /// Whose request.
        #[command(flatten)]
        who: Who,
        /// Block them as well
        #[arg(long)]
        block: bool,
    },
}

/// `duocast ctl grants`.
#[derive(Debug, Subcommand)]
pub enum Grants {
    /// List the permissions that an account gave
    List(As),
    /// Let one person call
    Add {
        /// Whom.
        #[command(flatten)]
        who: Who,
        /// How long
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=365))]
        days: u32,
    },
    /// Take a permission back; takes effect at once
    Revoke(Who),
}

/// `duocast ctl blocks`.
#[derive(Debug, Subcommand)]
pub enum Blocks {
    /// List the people whom an account blocked
    List(As),
    /// Block somebody: beats everything else, in both directions; they are not told
    Add(Who),
    /// Take a block back
    Remove(Who),
}
