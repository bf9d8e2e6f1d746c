//! The command line: what can be asked for, and how it is explained.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::config::{LogFormat, PolicyProfile};

mod privacy;

pub use privacy::{
    As, AudienceFlag, Blocks, Direct, Grants, Requests, Settings as SettingsCommand, SettingsChange,
    StrangersFlag, Who, Whose,
};

/// Calls as two-party broadcasts, routed by default: nobody learns your IP address.
#[derive(Debug, Parser)]
#[command(name = "duocast", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process: control plane, router, web client, SQLite.
    #[command(
        after_help = "Examples:\n  duocast up --demo          two demo accounts, links to sign in as each\n  \
        duocast up --listen 0.0.0.0:4433 --announce 203.0.113.7\n\nSettings come from $XDG_CONFIG_HOME/duocast/duocast.toml, \
        then DUOCAST_* in the environment\n(DUOCAST_MEDIA__PORT=5000), then flags. `duocast config` prints what results."
    )]
    Up(Up),
    /// Run the control plane alone; routers link to it.
    Control(Up),
    /// Run a router node alone and link it to a control plane.
    Router(Router),
    /// Place or answer a call without a browser, with a WAV file as microphone.
    #[command(
        after_help = "Examples:\n  duocast call --as alice --to bob --audio in.wav --record out.wav\n  \
        duocast call --as bob --answer --record heard.wav --duration 20s"
    )]
    Call(Call),
    /// Look at and manage a running server: tokens, accounts, calls.
    #[command(subcommand)]
    Ctl(Ctl),
    /// See what this program does differently.
    #[command(subcommand)]
    Demo(Demo),
    /// Print the configuration that results from file, environment and defaults.
    Config(Settings),
}

/// Demonstrations: each starts what it needs on free ports of this machine and stops it again.
#[derive(Debug, Subcommand)]
pub enum Demo {
    /// Repeat the press's experiment of March 2024 with X's calls: who can call whom, and who learns whose IP address, as reported and here
    Press {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Settings that flags may override. Serialized as the configuration has them.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub struct Settings {
    /// Configuration file [default: $XDG_CONFIG_HOME/duocast/duocast.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Where keys, certificate and database are kept [default: $XDG_DATA_HOME/duocast]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// Address of the API, UDP and TCP; may be given several times
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<SocketAddr>,
    /// Plain HTTP address for the page and metrics, loopback only; may be given several times
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<SocketAddr>,
    /// Policy settings.
    #[command(flatten)]
    #[serde(skip_serializing_if = "PolicyFlags::is_empty")]
    pub policy: PolicyFlags,
    /// Media settings.
    #[command(flatten)]
    #[serde(skip_serializing_if = "MediaFlags::is_empty")]
    pub media: MediaFlags,
    /// Log settings.
    #[command(flatten)]
    #[serde(skip_serializing_if = "LogFlags::is_empty")]
    pub log: LogFlags,
}

/// Flags of `[policy]`.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub struct PolicyFlags {
    /// Which policy decides who may call whom (docs/policy.md) [default: default]
    #[arg(long = "policy-profile", value_name = "PROFILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<PolicyProfile>,
}

impl PolicyFlags {
    fn is_empty(&self) -> bool {
        self.profile.is_none()
    }
}

/// Flags of `[media]`.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub struct MediaFlags {
    /// First port for media; worker n uses this plus n
    #[arg(long = "media-port", value_name = "PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// IP address that clients are told for media; may be given several times
    #[arg(long, value_name = "IP")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub announce: Vec<IpAddr>,
    /// Worker threads [default: one for each core]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
    /// Run the workers before everything else on their cores; takes LimitRTPRIO=1 or CAP_SYS_NICE
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub realtime: bool,
}

impl MediaFlags {
    fn is_empty(&self) -> bool {
        self.port.is_none() && self.announce.is_empty() && self.workers.is_none() && !self.realtime
    }
}

/// Flags of `[log]`.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub struct LogFlags {
    /// Shape of log lines
    #[arg(long = "log-format", value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LogFormat>,
    /// What is logged, e.g. `info` or `warn,duocast_router=debug`
    #[arg(long = "log-level", value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

impl LogFlags {
    fn is_empty(&self) -> bool {
        self.format.is_none() && self.level.is_none()
    }
}

/// `duocast up` and `duocast control`.
#[derive(Debug, Args)]
pub struct Up {
    /// Settings.
    #[command(flatten)]
    pub settings: Settings,
    /// Make the demo accounts alice and bob, who can call each other, and print their links
    #[arg(long)]
    pub demo: bool,
    /// Print one line of JSON when ready: url, page, ca (path) and the demo accounts' links
    #[arg(long)]
    pub json: bool,
}

/// `duocast router`.
#[derive(Debug, Args)]
pub struct Router {
    /// Settings.
    #[command(flatten)]
    pub settings: Settings,
}

/// Which server, and as whom.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// URL of the server's API
    #[arg(long, value_name = "URL", default_value = "https://localhost:4433")]
    pub url: String,
    /// PEM file with the certificate to trust [default: the one in the data directory, else the system's]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Data directory of a local server, for its certificate and development key
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `duocast call`.
#[derive(Debug, Args)]
pub struct Call {
    /// Which server.
    #[command(flatten)]
    pub target: Target,
    /// Development account to call as (its token is made with the local development key)
    #[arg(long = "as", value_name = "HANDLE", required_unless_present = "token")]
    pub account: Option<String>,
    /// File with a token, instead of --as
    #[arg(long, value_name = "FILE")]
    pub token: Option<PathBuf>,
    /// Whom to call
    #[arg(long, value_name = "HANDLE", required_unless_present = "answer")]
    pub to: Option<String>,
    /// Wait for a call and answer it; with --to, only from that person
    #[arg(long)]
    pub answer: bool,
    /// WAV file to speak [default: silence]
    #[arg(long, value_name = "FILE")]
    pub audio: Option<PathBuf>,
    /// Speak the file again and again
    #[arg(long, requires = "audio")]
    pub r#loop: bool,
    /// WAV file to record what is heard (16 bit, 48 kHz)
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Send synthetic video packets as well (for tests: there is no picture in them)
    #[arg(long)]
    pub video: bool,
    /// Connect directly to the other person if they agree: they see your IP address then, and you theirs
    #[arg(long)]
    pub direct: bool,
    /// Go back to the server this long after the direct connection began
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "direct")]
    pub go_private_after: Option<Duration>,
    /// Take commands from standard input, a line each: direct, private, hang-up
    #[arg(long)]
    pub commands: bool,
    /// Put its send time into everything sent, so that the other side can tell latency, and what came twice
    #[arg(long)]
    pub latency_marks: bool,
    /// File that is given all that the server sends, decrypted: to see what a device learns
    #[arg(long, value_name = "FILE")]
    pub received: Option<PathBuf>,
    /// Local IP address to send media from [default: the one that leads to the server]
    #[arg(long, value_name = "IP")]
    pub bind: Option<std::net::IpAddr>,
    /// Hang up after this long, counted from the answer (e.g. 20s, 2m) [default: when the other side does]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Doors to try
    #[arg(long, value_name = "DOOR", value_enum, default_value = "auto")]
    pub door: DoorFlag,
}

/// Which doors a client tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DoorFlag {
    /// HTTP/3 over QUIC, falling back to HTTP/2
    Auto,
    /// HTTP/3 only
    H3,
    /// HTTP/2 only
    H2,
}

/// `duocast ctl`.
#[derive(Debug, Subcommand)]
pub enum Ctl {
    /// Make a token for a development account
    Token {
        /// The account's handle
        handle: String,
        /// Where the development key is
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// How long it is valid
        #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "24h")]
        ttl: Duration,
        /// What it allows
        #[arg(long, value_enum, default_value = "client")]
        scope: ScopeFlag,
        /// Print a link to sign in with instead
        #[arg(long)]
        link: bool,
        /// The server's configuration file, which says where the page is [default: as for `duocast up`]
        #[arg(long, value_name = "FILE", requires = "link")]
        config: Option<PathBuf>,
    },
    /// Create a development account, or change it
    Account {
        /// Its handle: a-z, 0-9, '_' and '.'
        handle: String,
        /// Its display name [default: the handle]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Switch calling on or off
        #[arg(long, value_enum, default_value = "on")]
        calling: OnOff,
        /// Which server.
        #[command(flatten)]
        target: Target,
    },
    /// Let one development account follow another
    Follow {
        /// Who follows
        follower: String,
        /// Who is followed
        followee: String,
        /// Both ways: mutual contacts can call each other
        #[arg(long)]
        mutual: bool,
        /// Take it back instead
        #[arg(long)]
        remove: bool,
        /// Which server.
        #[command(flatten)]
        target: Target,
    },
    /// List an account's contacts and who of them is online
    Contacts(As),
    /// List an account's calls, newest first
    Calls {
        /// Whose.
        #[command(flatten)]
        of: As,
        /// How many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
    },
    /// See or change who may call an account and who may learn its address
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// May A call B, and B call A? With the reasons that each of them hears
    #[command(
        after_help = "Example:\n  duocast ctl can-call alice bob\n\n\"hears\" is what the caller is told; \"sees\" is what the callee is told of the same \
        question.\nSomebody who blocked you, is off or turns strangers away sounds the same: that is on purpose."
    )]
    CanCall {
        /// One account
        a: String,
        /// The other one
        b: String,
        /// File with a token of A, where there is no development key: says what A is told, and not what B is
        #[arg(long, value_name = "FILE")]
        token: Option<PathBuf>,
        /// Which server.
        #[command(flatten)]
        target: Target,
    },
    /// Whom can an account call? Everybody it knows who would ring
    Callable(Whose),
    /// Who can call an account, and why?
    Callers(Whose),
    /// Call requests: how a stranger asks for permission to call
    #[command(subcommand)]
    Requests(Requests),
    /// Permissions to call that an account gave
    #[command(subcommand)]
    Grants(Grants),
    /// People whom an account blocked
    #[command(subcommand)]
    Blocks(Blocks),
    /// Say, as the platform, that one account sent another a direct message
    #[command(
        after_help = "Examples:\n  duocast ctl dm alice bob              sent\n  duocast ctl dm alice bob --accepted   and accepted by bob\n  \
        duocast ctl dm alice bob --remove     neither"
    )]
    Dm {
        /// Who sent it
        sender: String,
        /// To whom
        recipient: String,
        /// The recipient accepted it
        #[arg(long, conflicts_with = "remove")]
        accepted: bool,
        /// There is none
        #[arg(long)]
        remove: bool,
        /// Which server.
        #[command(flatten)]
        target: Target,
    },
    /// Give an account the platform's badge, or take it
    Verified {
        /// Whose
        handle: String,
        /// On or off
        #[arg(value_enum)]
        verified: OnOff,
        /// Which server.
        #[command(flatten)]
        target: Target,
    },
    /// Change an account's address book
    #[command(after_help = privacy::HASHING)]
    AddressBook {
        /// Whose
        handle: String,
        /// Phone number, e-mail address or hash to add; may be given several times
        #[arg(long, value_name = "CONTACT")]
        add: Vec<String>,
        /// Phone number, e-mail address or hash to remove; may be given several times
        #[arg(long, value_name = "CONTACT")]
        remove: Vec<String>,
        /// Forget what there was first
        #[arg(long)]
        replace: bool,
        /// Which server.
        #[command(flatten)]
        target: Target,
    },
    /// Say under which numbers and addresses others have an account in their address books
    #[command(after_help = privacy::HASHING)]
    Reachable {
        /// Whose
        handle: String,
        /// Phone numbers, e-mail addresses or hashes, at most 16; none takes all away
        #[arg(value_name = "CONTACT")]
        contacts: Vec<String>,
        /// Which server.
        #[command(flatten)]
        target: Target,
    },
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ScopeFlag {
    /// Calls of one account
    Client,
    /// The directory API
    Platform,
    /// A router's link
    Node,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnOff {
    /// On
    On,
    /// Off
    Off,
}

/// `20s`, `1500ms`, `2m`, `24h`; a bare number counts seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("use a number with ms, s, m or h, e.g. 20s".into()),
    };
    let number: f64 = number.parse().map_err(|_| "use a number with ms, s, m or h, e.g. 20s".to_owned())?;
    Duration::try_from_secs_f64(number * scale).map_err(|_| "that is too long".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in
            [("20s", 20_000), ("1500ms", 1500), ("2m", 120_000), ("1.5", 1500), ("24h", 86_400_000)]
        {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for bad in ["", "s", "1d", "-1s", "1e400", "1..2s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
