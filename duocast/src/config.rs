//! The configuration: a TOML file, then `DUOCAST_*` in the environment, then flags; all checked before anything binds.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use duocast_transport::server::loopback;
use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use serde::{Deserialize, Serialize};

use crate::calls::Calls;

/// Most mistakes of parsing that are told at once.
const MISTAKES_MAX: usize = 20;

/// Everything that can be set. Each field's default makes `duocast up` work on a developer's machine with nothing set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where keys, the development certificate and the database are kept.
    pub data_dir: PathBuf,
    /// TLS addresses of the control plane, UDP (HTTP/3) and TCP (HTTP/2) each.
    pub listen: Vec<SocketAddr>,
    /// Plain HTTP addresses for the page and for metrics. Loopback only: nothing on them is encrypted.
    pub http: Vec<SocketAddr>,
    /// How long running calls of the API may go on after a stop was asked for, in seconds.
    pub drain_seconds: u64,
    /// The certificate of `listen`.
    pub tls: Tls,
    /// Who may sign tokens.
    pub auth: Auth,
    /// How calls ring, and how often.
    pub calls: Calls,
    /// Who may call whom.
    pub policy: Policy,
    /// Media addresses and size of the router.
    pub media: Media,
    /// The router's link to control (`duocast router` only; `duocast up` joins both by itself).
    pub link: Link,
    /// Log lines.
    pub log: Log,
}

/// The certificate of the control plane.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate chain. Unset: a self-signed one is made in `data_dir`.
    pub cert: Option<PathBuf>,
    /// PEM file with its private key.
    pub key: Option<PathBuf>,
    /// Names of the self-signed certificate besides localhost.
    pub names: Vec<String>,
}

/// Who may sign tokens.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Accept tokens signed by the development key in `data_dir` (`duocast ctl token`). Unset: only while no issuer is named.
    pub dev: Option<bool>,
    /// The platform's issuers: all of one platform, for an account is known by its `sub` alone.
    pub issuers: Vec<Issuer>,
}

impl Auth {
    /// True if development tokens are accepted.
    pub fn accepts_dev(&self) -> bool {
        self.dev.unwrap_or(self.issuers.is_empty())
    }
}

/// One issuer of tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The `iss` claim.
    pub iss: String,
    /// PEM file with its Ed25519 (EdDSA) or P-256 (ES256) public key.
    pub public_key: PathBuf,
}

/// Who may call whom, and how long it is remembered who did.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// `default`, or `reported-2024` for comparison: X's, as reported in March 2024. docs/policy.md has both.
    pub profile: PolicyProfile,
    /// Days after which an ended call is deleted.
    pub history_days: u32,
}

/// Which policy decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyProfile {
    /// Duocast's own: nobody rings you until you say so.
    Default,
    /// X's, as reported in March 2024: for comparison only.
    #[serde(rename = "reported-2024")]
    #[value(name = "reported-2024")]
    Reported2024,
}

impl From<PolicyProfile> for duocast_control::Profile {
    fn from(profile: PolicyProfile) -> Self {
        match profile {
            PolicyProfile::Default => Self::Default,
            PolicyProfile::Reported2024 => Self::Reported2024,
        }
    }
}

/// Media addresses and size of a router.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// Local addresses for media. Empty: all, IPv6 where there is any.
    pub listen: Vec<IpAddr>,
    /// First port; worker n uses this plus n.
    pub port: u16,
    /// Media over TCP as well, on the same ports, for clients whose network lets no UDP through.
    pub tcp: bool,
    /// Addresses that clients are told. Empty: all of this machine's.
    pub announce: Vec<IpAddr>,
    /// Worker threads; 0 means one for each core.
    pub workers: usize,
    /// Workers run before everything else on their cores.
    pub realtime: bool,
    /// Legs that the router is willing to carry.
    pub leg_capacity: u32,
}

/// The router's link to control.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Link {
    /// This node's name; unset: the host's name.
    pub node_id: Option<String>,
    /// URL of control, `https://host:port`.
    pub control: String,
    /// PEM file with the certificate authority of control. Unset: the system's.
    pub ca: Option<PathBuf>,
    /// File with the node's token (scope "node"). Read anew at each attempt to link, so that it can be replaced.
    pub token: Option<PathBuf>,
}

/// Log lines, on standard error.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// What is logged, e.g. `info` or `info,duocast_router=debug`.
    pub level: String,
}

/// Shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: default_data_dir(),
            listen: loopback(4433),
            http: loopback(8080),
            drain_seconds: 10,
            tls: Tls::default(),
            auth: Auth::default(),
            calls: Calls::default(),
            policy: Policy::default(),
            media: Media::default(),
            link: Link::default(),
            log: Log::default(),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self { profile: PolicyProfile::Default, history_days: 90 }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            port: 40_000,
            tcp: true,
            announce: Vec::new(),
            workers: 0,
            realtime: false,
            leg_capacity: 4_000,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

/// Why there is no usable configuration. Each line names the key, what it holds and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was asked for is not there.
    #[error("there is no configuration file at {}: leave out --config, or name one that exists", .0.display())]
    NoFile(PathBuf),
    /// Values that cannot be, or that do not parse: all of them, as far as they can be told at once.
    #[error("the configuration cannot work:\n  {}", .0.join("\n  "))]
    Invalid(Vec<String>),
}

impl Config {
    /// Reads file (`None`: `$XDG_CONFIG_HOME/duocast/duocast.toml`, if there is one), environment and flags, and checks.
    ///
    /// `DUOCAST_MEDIA__PORT=5000` sets `port` of `[media]`; lists are written `["a","b"]`.
    pub fn load(file: Option<&Path>, flags: &impl Serialize) -> Result<Self, ConfigError> {
        if let Some(missing) = file.filter(|f| !f.exists()) {
            return Err(ConfigError::NoFile(missing.to_owned()));
        }
        let path = file.map_or_else(default_config_file, Path::to_owned);
        let figment = Figment::from(Serialized::defaults(Self::default()))
            .merge(Toml::file(path))
            .merge(Env::prefixed("DUOCAST_").split("__"))
            .merge(Serialized::defaults(flags));
        let (config, mut wrong) = parse(figment);
        if let Some(config) = &config {
            wrong.extend(config.wrong());
        }
        config.filter(|_| wrong.is_empty()).ok_or(ConfigError::Invalid(wrong))
    }

    /// What cannot work, a line each.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.listen.is_empty() {
            wrong.push("listen: empty: name at least one address, e.g. [\"0.0.0.0:4433\"]".into());
        }
        for plain in self.http.iter().filter(|a| !a.ip().is_loopback()) {
            wrong.push(format!(
                "http: {plain}: only loopback addresses are allowed, nothing on it is encrypted; serve others by `listen`"
            ));
        }
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            wrong.push("tls: cert and key go together: set both, or neither".into());
        }
        for file in [&self.tls.cert, &self.tls.key, &self.link.ca, &self.link.token].into_iter().flatten() {
            if !file.is_file() {
                wrong.push(format!("{}: there is no such file", file.display()));
            }
        }
        let last = usize::from(self.media.port) + self.media_workers();
        if self.media.port != 0 && last > 65_536 {
            wrong.push(format!(
                "media.port: {}: {} workers need as many ports from there on: choose a lower one",
                self.media.port,
                self.media_workers()
            ));
        }
        for address in self.media.announce.iter().filter(|a| a.is_unspecified() || a.is_multicast()) {
            wrong.push(format!(
                "media.announce: {address}: clients cannot send there: name addresses that they reach this machine at, or leave it \
                 empty for all of this machine's"
            ));
        }
        if self.media.leg_capacity < 2 {
            wrong.push(format!("media.leg_capacity: {}: a call needs 2", self.media.leg_capacity));
        }
        if !self.auth.accepts_dev() && self.auth.issuers.is_empty() {
            wrong.push(
                "auth: with dev = false name at least one [[auth.issuers]], else nobody can sign in".into(),
            );
        }
        for issuer in self.auth.issuers.iter().filter(|i| !i.public_key.is_file()) {
            wrong.push(format!("auth.issuers: {}: there is no such file", issuer.public_key.display()));
        }
        wrong.extend(self.calls.wrong());
        if !(1..=3650).contains(&self.policy.history_days) {
            wrong.push(format!("policy.history_days: {}: choose 1 to 3650", self.policy.history_days));
        }
        if let Err(e) = tracing_subscriber::EnvFilter::try_new(&self.log.level) {
            wrong.push(format!("log.level: {:?}: {e}", self.log.level));
        }
        wrong
    }

    /// The page's address as this machine's browser has it; `None` if its port is chosen at the start.
    pub fn page(&self) -> Option<String> {
        let page = self.http.first().map(|plain| ("http", plain.port()));
        let (scheme, port) = page.or_else(|| Some(("https", self.listen.first()?.port())))?;
        (port != 0).then(|| format!("{scheme}://localhost:{port}"))
    }

    /// Worker threads of the router.
    pub fn media_workers(&self) -> usize {
        match self.media.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }
}

/// The configuration, if there is one, and what does not parse. What does not is told, then read as if it were not set, so
/// that the rest is checked as well.
fn parse(mut figment: Figment) -> (Option<Config>, Vec<String>) {
    let defaults = Figment::from(Serialized::defaults(Config::default()));
    let mut wrong: Vec<String> = Vec::new();
    for _ in 0..MISTAKES_MAX {
        let errors = match figment.extract() {
            Ok(config) => return (Some(config), wrong),
            Err(errors) => errors,
        };
        let mut is_mended = false;
        for error in errors {
            // The item of a list is no key.
            let keys = error.path.iter().take_while(|part| part.parse::<usize>().is_err());
            let key = keys.map(String::as_str).collect::<Vec<_>>().join(".");
            let line = error.to_string();
            if !wrong.contains(&line) {
                wrong.push(line);
                if !key.is_empty()
                    && let Ok(default) = defaults.find_value(&key)
                {
                    figment = figment.merge((key, default));
                    is_mended = true;
                }
            }
        }
        // A key that nobody knows has no default to be read as.
        if !is_mended {
            break;
        }
    }
    (None, wrong)
}

/// `$XDG_DATA_HOME/duocast`, else `~/.local/share/duocast`.
pub fn default_data_dir() -> PathBuf {
    xdg("XDG_DATA_HOME", ".local/share")
}

fn default_config_file() -> PathBuf {
    xdg("XDG_CONFIG_HOME", ".config").join("duocast.toml")
}

fn xdg(variable: &str, under_home: &str) -> PathBuf {
    let set = std::env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| ".".into())).join(under_home);
    set.unwrap_or_else(home).join("duocast")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("duocast.toml");
        std::fs::write(&file, toml).unwrap();
        Config::load(Some(&file), &serde_json::json!({})).map_err(|e| e.to_string())
    }

    #[test]
    fn nothing_set_is_a_working_configuration() {
        assert!(load("").unwrap().auth.accepts_dev());
    }

    #[test]
    fn what_cannot_work_is_named_with_key_and_remedy() {
        let table = [
            ("lisen = []", "lisen"),
            ("listen = []", "listen: empty"),
            ("listen = ['nowhere']", "listen"),
            ("http = ['0.0.0.0:80']", "0.0.0.0:80: only loopback"),
            ("[tls]\ncert = '/nowhere'", "go together"),
            ("[tls]\ncert = '/nowhere'\nkey = '/nowhere'", "/nowhere: there is no such file"),
            ("[media]\nport = 65535\nworkers = 2", "choose a lower one"),
            ("[media]\nleg_capacity = 1", "leg_capacity: 1"),
            (
                "[media]\nannounce = ['192.0.2.1', '0.0.0.0']",
                "media.announce: 0.0.0.0: clients cannot send there",
            ),
            ("[media]\nannounce = ['::']", "media.announce: ::: clients cannot send there"),
            ("[media]\nannounce = ['224.0.0.1']", "media.announce: 224.0.0.1: clients cannot send there"),
            ("[media]\nannounce = ['here']", "media.announce"),
            ("[auth]\ndev = false", "nobody can sign in"),
            ("[calls]\nring_seconds = 0", "calls.ring_seconds: 0: choose 1 to 300"),
            ("[calls.rates]\nlegs = { burst = 0, every_ms = 5 }", "calls.rates.legs: burst = 0"),
            ("[calls.rates]\nlegs = { burst = 1, every_ms = 0 }", "calls.rates.legs: every_ms = 0"),
            ("[policy]\nprofile = 'mine'", "reported-2024"),
            ("[policy]\nhistory_days = 0", "policy.history_days: 0: choose 1 to 3650"),
            ("[log]\nlevel = 'a=b=c'", "log.level"),
            ("[log]\nformat = 'xml'", "xml"),
        ];
        for (toml, expected) in table {
            let error = load(toml).expect_err(toml);
            assert!(error.contains(expected), "{toml}: {error}");
        }
    }

    #[test]
    fn naming_an_issuer_switches_the_development_key_off() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key.pem");
        std::fs::write(&key, "").unwrap();
        let issuers = format!("[auth]\nissuers = [{{ iss = 'a', public_key = '{}' }}]", key.display());
        assert!(!load(&issuers).unwrap().auth.accepts_dev());
        assert!(load(&format!("{issuers}\ndev = true")).unwrap().auth.accepts_dev());
    }

    #[test]
    fn several_mistakes_are_told_at_once() {
        let error = load("listen = []\nhttp = ['0.0.0.0:80']").unwrap_err();
        assert_eq!(error.lines().count(), 3, "{error}");
        let mixed = "drain_seconds = 'soon'\nlisten = ['nowhere']\nhttp = ['0.0.0.0:80']\n[media]\nport = 70000\n\
                     [calls]\nring_seconds = 0\n[log]\nformat = 'xml'";
        let error = load(mixed).unwrap_err();
        for key in
            ["drain_seconds", "listen", "0.0.0.0:80: only", "media.port", "ring_seconds: 0", "log.format"]
        {
            assert!(error.contains(key), "{key}: {error}");
        }
        assert_eq!(error.lines().count(), 7, "{error}");
    }

    #[test]
    fn the_page_is_where_it_is_configured() {
        let page = |toml: &str| load(toml).unwrap().page();
        assert_eq!(page("").as_deref(), Some("http://localhost:8080"));
        assert_eq!(page("http = ['127.0.0.1:9090']").as_deref(), Some("http://localhost:9090"));
        assert_eq!(page("http = []\nlisten = ['0.0.0.0:443']").as_deref(), Some("https://localhost:443"));
        assert_eq!(page("http = ['127.0.0.1:0']"), None);
    }

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("duocast.toml");
        std::fs::write(&file, "drain_seconds = 3\n[media]\nport = 5000").unwrap();
        let flags = serde_json::json!({ "media": { "port": 6000 } });
        let config = Config::load(Some(&file), &flags).unwrap();
        assert_eq!((config.media.port, config.drain_seconds), (6000, 3));
    }
}
