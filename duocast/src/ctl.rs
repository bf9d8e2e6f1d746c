//! `duocast ctl`: tokens, accounts, contacts, calls and permissions of a running server.

mod calls;
mod directory;
mod privacy;

use std::path::PathBuf;
use std::time::Duration;

use duocast_control::auth::{DevIssuerError, Scope, dev_account_id};
use duocast_model::Handle;
use duocast_transport::client::{Channel, ChannelConfig, ConnectError, Roots};
use duocast_wire::v1;
use duocast_wire::v1::call_service_client::CallServiceClient;
use duocast_wire::v1::directory_service_client::DirectoryServiceClient;
use serde_json::json;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status};

use crate::cli::{As, Ctl, OnOff, ScopeFlag, Target};
use crate::config::{Config, ConfigError, default_data_dir};
use crate::serve;
use crate::term::{self, FAINT, GOOD, paint, table};

/// How long the token of one command is valid.
const COMMAND_TOKEN_TTL: Duration = Duration::from_secs(300);

/// Deadline of one command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CtlError {
    /// No server there.
    #[error("no server answers at {url}: is `duocast up` running there?")]
    Connect {
        /// Where.
        url: String,
        /// What failed.
        #[source]
        source: ConnectError,
    },
    /// The server said no.
    #[error("{}", .0.message())]
    Refused(Box<Status>),
    /// No development key.
    #[error("no token can be made")]
    Token(#[from] DevIssuerError),
    /// The token file cannot be read.
    #[error("{} cannot be read: check --token", path.display())]
    TokenFile {
        /// Which file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: std::io::Error,
    },
    /// The token file holds something else.
    #[error("{} holds no token: check --token", path.display())]
    NoToken {
        /// Which file.
        path: PathBuf,
    },
    /// The configuration does not say where the page is.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The page has no fixed port.
    #[error(
        "`http` names port 0, which is chosen at the start: take the link that `duocast up --demo` prints, or leave out --link"
    )]
    NoPage,
    /// Not a handle.
    #[error("{0}")]
    Handle(#[from] duocast_model::InvalidId),
    /// The certificate file cannot be read.
    #[error("{} cannot be read: check --ca", path.display())]
    Ca {
        /// Which file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: std::io::Error,
    },
}

impl From<Status> for CtlError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl Target {
    /// Where a local server keeps its things.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(default_data_dir)
    }

    /// What to trust: `--ca`, else the local server's certificate, else the system's.
    pub fn roots(&self) -> Result<Roots, CtlError> {
        let local = self.data_dir().join("cert.pem");
        let path = match &self.ca {
            Some(path) => path.clone(),
            None if local.is_file() => local,
            None => return Ok(Roots::System),
        };
        let pem = std::fs::read_to_string(&path).map_err(|source| CtlError::Ca { path, source })?;
        Ok(Roots::Pem(pem))
    }

    async fn connect(&self) -> Result<Channel, CtlError> {
        let config = ChannelConfig::new(&self.url, self.roots()?);
        let failed = |source| CtlError::Connect { url: self.url.clone(), source };
        Channel::connect(config).await.map_err(failed)
    }

    fn request<T>(&self, handle: &str, scope: Scope, message: T) -> Result<Request<T>, CtlError> {
        let token = serve::mint(&self.data_dir(), handle, scope, COMMAND_TOKEN_TTL)?;
        Ok(with_bearer(message, format!("Bearer {token}").parse().expect("a JWT is printable ASCII")))
    }
}

impl As {
    /// A request of the account.
    fn request<T>(&self, message: T) -> Result<Request<T>, CtlError> {
        let Some(path) = &self.token else {
            let handle = Handle::new(self.account.as_deref().unwrap_or_default())?;
            return self.target.request(handle.as_str(), Scope::Client, message);
        };
        let read = |source| CtlError::TokenFile { path: path.clone(), source };
        let token = std::fs::read_to_string(path).map_err(read)?;
        let bearer = format!("Bearer {}", token.trim()).parse::<MetadataValue<Ascii>>();
        Ok(with_bearer(message, bearer.map_err(|_| CtlError::NoToken { path: path.clone() })?))
    }

    /// The account in a sentence.
    fn name(&self) -> &str {
        self.account.as_deref().unwrap_or("this account")
    }
}

fn with_bearer<T>(message: T, mut bearer: MetadataValue<Ascii>) -> Request<T> {
    bearer.set_sensitive(true);
    let mut request = Request::new(message);
    request.set_timeout(COMMAND_TIMEOUT);
    request.metadata_mut().insert("authorization", bearer);
    request
}

/// Where the configured server has its page.
fn page(config: Option<&std::path::Path>) -> Result<String, CtlError> {
    Config::load(config, &serde_json::json!({}))?.page().ok_or(CtlError::NoPage)
}

/// Runs one command.
pub async fn run(command: Ctl) -> Result<(), CtlError> {
    match command {
        Ctl::Token { handle, data_dir, ttl, scope, link, config } => {
            let handle = Handle::new(&handle)?;
            let page = link.then(|| page(config.as_deref())).transpose()?;
            let dir = data_dir.unwrap_or_else(default_data_dir);
            let token = serve::mint(&dir, handle.as_str(), scope.into(), ttl)?;
            term::line(&page.map_or_else(|| token.clone(), |page| format!("{page}/#token={token}")));
            Ok(())
        }
        Ctl::Account { handle, name, calling, target } => account(&handle, name, calling, &target).await,
        Ctl::Follow { follower, followee, mutual, remove, target } => {
            follow(&follower, &followee, mutual, remove, &target).await
        }
        Ctl::Contacts(of) => contacts(&of).await,
        Ctl::Calls { of, limit } => calls::list(&of, limit).await,
        Ctl::Settings(command) => privacy::settings(command).await,
        Ctl::CanCall { a, b, token, target } => privacy::can_call(a, b, token, target).await,
        Ctl::Callable(whose) => privacy::people(&whose.into(), false).await,
        Ctl::Callers(whose) => privacy::people(&whose.into(), true).await,
        Ctl::Requests(command) => privacy::requests(command).await,
        Ctl::Grants(command) => privacy::grants(command).await,
        Ctl::Blocks(command) => privacy::blocks(command).await,
        Ctl::Dm { sender, recipient, accepted, remove, target } => {
            directory::dm(&sender, &recipient, accepted, remove, &target).await
        }
        Ctl::Verified { handle, verified, target } => directory::verified(&handle, verified, &target).await,
        Ctl::AddressBook { handle, add, remove, replace, target } => {
            directory::address_book(&handle, &add, &remove, replace, &target).await
        }
        Ctl::Reachable { handle, contacts, target } => {
            directory::reachable(&handle, &contacts, &target).await
        }
    }
}

async fn account(
    handle: &str,
    name: Option<String>,
    calling: OnOff,
    target: &Target,
) -> Result<(), CtlError> {
    let handle = Handle::new(handle)?;
    let wanted = v1::Account {
        account_id: dev_account_id(handle.as_str()).expose().to_owned(),
        handle: handle.as_str().to_owned(),
        display_name: name.unwrap_or_else(|| serve::display_name(handle.as_str())),
        calling_enabled: Some(calling == OnOff::On),
        ..v1::Account::default()
    };
    let request =
        target.request("ctl", Scope::Platform, v1::UpsertAccountsRequest { accounts: vec![wanted] })?;
    DirectoryServiceClient::new(target.connect().await?).upsert_accounts(request).await?;
    let state = if calling == OnOff::On { "on" } else { "off" };
    done(target, &format!("{}: calling is {state}", handle.as_str()));
    Ok(())
}

async fn follow(
    follower: &str,
    followee: &str,
    mutual: bool,
    remove: bool,
    target: &Target,
) -> Result<(), CtlError> {
    let (a, b) = (Handle::new(follower)?, Handle::new(followee)?);
    let id = |h: &Handle| dev_account_id(h.as_str()).expose().to_owned();
    let one = |from: &Handle, to: &Handle| v1::Follow {
        follower_account_id: id(from),
        followee_account_id: id(to),
        following: !remove,
    };
    let mut follows = vec![one(&a, &b)];
    if mutual {
        follows.push(one(&b, &a));
    }
    let request = target.request("ctl", Scope::Platform, v1::SetFollowsRequest { follows })?;
    DirectoryServiceClient::new(target.connect().await?).set_follows(request).await?;
    let verb = match (mutual, remove) {
        (false, false) => "now follows",
        (false, true) => "no longer follows",
        (true, false) => "and the other now follow each other:",
        (true, true) => "and the other no longer follow each other:",
    };
    done(target, &format!("{} {verb} {}", a.as_str(), b.as_str()));
    Ok(())
}

async fn contacts(of: &As) -> Result<(), CtlError> {
    let target = &of.target;
    let request = of.request(v1::ListContactsRequest {})?;
    let answer = CallServiceClient::new(target.connect().await?).list_contacts(request).await?.into_inner();
    let rows: Vec<(String, String, bool)> = answer
        .contacts
        .into_iter()
        .map(|c| {
            let online = c.presence() == v1::Presence::Online;
            let person = c.person.unwrap_or_default();
            (person.handle, person.display_name, online)
        })
        .collect();
    if target.json {
        let list: Vec<_> =
            rows.iter().map(|(h, n, o)| json!({ "handle": h, "display_name": n, "online": o })).collect();
        term::line(&json!({ "contacts": list }).to_string());
    } else if rows.is_empty() {
        term::line("no contacts yet: `duocast ctl follow A B --mutual` makes two accounts contacts");
    } else {
        let state = |on: bool| if on { paint(GOOD, "online") } else { paint(FAINT, "offline") };
        let rows: Vec<Vec<String>> = rows.into_iter().map(|(h, n, o)| vec![h, n, state(o)]).collect();
        term::line(&table(&["HANDLE", "NAME", "PRESENCE"], &rows));
    }
    Ok(())
}

fn words(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase().replace('_', " ")
}

fn millis(at: &prost_types::Timestamp) -> i64 {
    at.seconds.saturating_mul(1000).saturating_add(i64::from(at.nanos / 1_000_000))
}

fn done(target: &Target, text: &str) {
    if target.json {
        term::line(&json!({ "ok": true }).to_string());
    } else {
        term::line(&format!("{}  {text}", paint(GOOD, "done")));
    }
}

impl From<ScopeFlag> for Scope {
    fn from(flag: ScopeFlag) -> Self {
        match flag {
            ScopeFlag::Client => Scope::Client,
            ScopeFlag::Platform => Scope::Platform,
            ScopeFlag::Node => Scope::Node,
        }
    }
}
