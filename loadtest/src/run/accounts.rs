//! Who the clients are: accounts made for this run, or those of a tokens file.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use duocast_model::Handle;
use duocast_transport::client::{Channel, ChannelConfig, ConnectError};
use duocast_wire::v1;
use duocast_wire::v1::directory_service_client::DirectoryServiceClient;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
use tonic::{Request, Status};

use super::api::{Bearer, COMMAND_TIMEOUT};
use super::plan::{CallPlan, Script};
use super::scenario::show_time;

/// The development key's name in a data directory.
pub(crate) const DEV_KEY_FILE: &str = "dev-issuer.pem";

/// The self-signed certificate's name in a data directory.
pub(crate) const CERT_FILE: &str = "cert.pem";

/// The `iss` of the development key's tokens.
const DEV_ISSUER: &str = "duocast-dev";

/// Accounts or relations in one request: the API's own bound.
const BATCH: usize = 1000;

/// Tokens outlive the planned run by this.
const TOKEN_SLACK: Duration = Duration::from_secs(900);

/// Largest tokens file: 40,000 tokens of 1 KiB fit.
const TOKENS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A client's account.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) handle: String,
    pub(crate) bearer: Bearer,
}

/// Where accounts come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// Made for this run, with tokens signed by the development key in this file.
    DevKey(PathBuf),
    /// Lines of `HANDLE TOKEN`; two lines are the two parties of a call, or as many as a broadcast has are its host and viewers.
    Tokens(PathBuf),
}

/// Why there are no accounts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountsError {
    #[error("{}: cannot be read ({error}): name the server's data directory with --data-dir, its key with --dev-key, or a tokens file with --tokens", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{}: is no Ed25519 private key in PEM: give the server's {DEV_KEY_FILE}", .0.display())]
    Key(PathBuf),
    #[error("{}: is larger than 64 MiB: that is no tokens file", .0.display())]
    TooLarge(PathBuf),
    #[error("{}: line {line}: allowed is HANDLE TOKEN, with a space between", path.display())]
    Line { path: PathBuf, line: usize },
    #[error("{}: holds {found} accounts: {calls} calls need {}", path.display(), calls * each)]
    TooFew { path: PathBuf, found: usize, calls: usize, each: usize },
    #[error(
        "--tokens: has two accounts for each call, and a call to a busy person needs a third: allowed is rings.busy = 0, or --dev-key"
    )]
    Third,
    #[error("--target {url}: {error}")]
    Connect { url: String, error: ConnectError },
    #[error("the server refused to make the accounts ({}{}): {}", super::failure::code_name(.0.code()), reason(.0), .0.message())]
    Refused(Box<Status>),
    #[error("a token could not be signed with {}", .0.display())]
    Sign(PathBuf),
}

fn reason(status: &Status) -> String {
    duocast_wire::error::reason(status).map_or_else(String::new, |reason| format!(" {reason}"))
}

/// The clients of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Of the run's calls, from 0.
    call: usize,
    /// Caller and callee, or a host and those who view.
    parties: usize,
    /// One more, who calls the callee as well.
    third: bool,
    /// They call each other: the second and each of the others are mutual contacts. Who views needs a token only.
    are_contacts: bool,
}

impl Wanted {
    /// Two who call each other.
    pub(crate) fn pair(call: usize) -> Self {
        Self { call, parties: 2, third: false, are_contacts: true }
    }

    pub(crate) fn of(call: &CallPlan) -> Self {
        let parties = call.parties.len();
        Self {
            call: call.index,
            parties,
            third: call.clients() > parties,
            are_contacts: !matches!(call.script, Script::Broadcast(_)),
        }
    }

    fn clients(&self) -> usize {
        self.parties + usize::from(self.third)
    }
}

/// The accounts of each of these calls, in their order: its parties, and a third if wanted.
pub(crate) async fn prepare(
    source: &Source,
    server: &ChannelConfig,
    wanted: &[Wanted],
    run_time: Duration,
) -> Result<Vec<Vec<Account>>, AccountsError> {
    match source {
        Source::Tokens(path) => {
            if wanted.iter().any(|wanted| wanted.third) {
                return Err(AccountsError::Third);
            }
            let calls = wanted.iter().map(|wanted| wanted.call + 1).max().unwrap_or(0);
            // All calls of a scenario have as many.
            let each = wanted.first().map_or(2, |wanted| wanted.parties);
            let clients = read_tokens(path, calls, each)?;
            Ok(wanted.iter().map(|wanted| clients[wanted.call].clone()).collect())
        }
        Source::DevKey(path) => {
            let signer = Signer::read(path)?;
            let ttl = run_time + TOKEN_SLACK;
            let run = format!("{:08x}", rand::random::<u32>());
            make(&signer, server, &run, wanted, ttl).await?;
            tracing::debug!(calls = wanted.len(), ttl = show_time(ttl), "accounts are there");
            let account = |n: usize| signer.account(&name(&run, n), ttl);
            numbered(wanted).into_iter().map(|clients| clients.map(account).collect()).collect()
        }
    }
}

/// The numbers of each call's clients, counted through all calls.
fn numbered(wanted: &[Wanted]) -> Vec<std::ops::Range<usize>> {
    let mut next = 0;
    let mut take = |wanted: &Wanted| {
        let from = next;
        next += wanted.clients();
        from..next
    };
    wanted.iter().map(&mut take).collect()
}

/// Handle, and account id, of client `n`.
fn name(run: &str, n: usize) -> String {
    format!("load.{run}.{n}")
}

/// Creates the accounts of all calls, with the opt-in, and who is whose contact.
async fn make(
    signer: &Signer,
    server: &ChannelConfig,
    run: &str,
    wanted: &[Wanted],
    ttl: Duration,
) -> Result<(), AccountsError> {
    let connect = |error| AccountsError::Connect { url: server.url.clone(), error };
    let channel = Channel::connect(server.clone()).await.map_err(connect)?;
    let bearer = signer.bearer("load", None, "platform", ttl)?;
    let mut directory = DirectoryServiceClient::with_interceptor(channel, bearer);
    let refused = |status: Status| AccountsError::Refused(Box::new(status));

    let calls = numbered(wanted);
    let accounts: Vec<v1::Account> = (0..calls.last().map_or(0, |clients| clients.end))
        .map(|n| v1::Account {
            account_id: name(run, n),
            handle: name(run, n),
            display_name: format!("Load client {n}"),
            calling_enabled: Some(true),
            ..v1::Account::default()
        })
        .collect();
    for accounts in accounts.chunks(BATCH) {
        let request = v1::UpsertAccountsRequest { accounts: accounts.to_vec() };
        directory.upsert_accounts(with_deadline(request)).await.map_err(refused)?;
    }
    let follow = |from: usize, to: usize| v1::Follow {
        follower_account_id: name(run, from),
        followee_account_id: name(run, to),
        following: true,
    };
    let follows: Vec<v1::Follow> = calls
        .into_iter()
        .zip(wanted)
        .filter(|(_, wanted)| wanted.are_contacts)
        .flat_map(|(clients, _)| {
            let callee = clients.start + 1;
            clients.filter(move |n| *n != callee).flat_map(move |n| [follow(n, callee), follow(callee, n)])
        })
        .collect();
    for follows in follows.chunks(BATCH) {
        let request = v1::SetFollowsRequest { follows: follows.to_vec() };
        directory.set_follows(with_deadline(request)).await.map_err(refused)?;
    }
    Ok(())
}

fn with_deadline<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(COMMAND_TIMEOUT);
    request
}

fn read_tokens(path: &Path, calls: usize, each: usize) -> Result<Vec<Vec<Account>>, AccountsError> {
    let read = |error| AccountsError::Read { path: path.to_owned(), error };
    if std::fs::metadata(path).map_err(read)?.len() > TOKENS_BYTES_MAX {
        return Err(AccountsError::TooLarge(path.to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    let lines =
        text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let accounts = lines.map(|(number, line)| {
        let account = line.trim().split_once(' ').and_then(|(handle, token)| {
            let handle = Handle::new(handle).ok()?.as_str().to_owned();
            Some(Account { handle, bearer: Bearer::new(token)? })
        });
        account.ok_or_else(|| AccountsError::Line { path: path.to_owned(), line: number + 1 })
    });
    let accounts = accounts.collect::<Result<Vec<Account>, _>>()?;
    if accounts.len() < calls * each {
        return Err(AccountsError::TooFew { path: path.to_owned(), found: accounts.len(), calls, each });
    }
    Ok(accounts.chunks_exact(each).take(calls).map(<[Account]>::to_vec).collect())
}

/// Signs tokens as the development issuer does.
struct Signer {
    path: PathBuf,
    key: EncodingKey,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    exp: u64,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    handle: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
}

impl Signer {
    fn read(path: &Path) -> Result<Self, AccountsError> {
        let pem =
            std::fs::read(path).map_err(|error| AccountsError::Read { path: path.to_owned(), error })?;
        let der =
            PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| AccountsError::Key(path.to_owned()))?;
        Ok(Self { path: path.to_owned(), key: EncodingKey::from_ed_der(der.secret_pkcs8_der()) })
    }

    fn account(&self, name: &str, ttl: Duration) -> Result<Account, AccountsError> {
        Ok(Account { handle: name.into(), bearer: self.bearer(name, Some(name), "", ttl)? })
    }

    fn bearer(
        &self,
        sub: &str,
        handle: Option<&str>,
        scope: &str,
        ttl: Duration,
    ) -> Result<Bearer, AccountsError> {
        let until = (SystemTime::now() + ttl).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let claims = Claims { iss: DEV_ISSUER, aud: "duocast", exp: until.as_secs(), sub, handle, scope };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.key).ok();
        token.and_then(|token| Bearer::new(&token)).ok_or_else(|| AccountsError::Sign(self.path.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str, calls: usize, each: usize) -> Result<Vec<String>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let read = read_tokens(file.path(), calls, each);
        let name = file.path().display().to_string();
        let handles = read.map(|pairs| pairs.into_iter().flatten().map(|account| account.handle).collect());
        handles.map_err(|error| error.to_string().replace(&name, "FILE"))
    }

    #[test]
    fn a_tokens_file_names_two_parties_for_each_call() {
        let text = "# made by the platform\na aaa.bbb.ccc\nb aaa.bbb.ccc\n\nc aaa.bbb.ccc\nd aaa.bbb.ccc\n";
        assert_eq!(tokens(text, 2, 2).unwrap(), ["a", "b", "c", "d"]);
        assert_eq!(tokens(text, 1, 2).unwrap(), ["a", "b"]);
        assert_eq!(tokens(text, 1, 4).unwrap(), ["a", "b", "c", "d"], "a host and three viewers");
        assert_eq!(tokens(text, 2, 4).unwrap_err(), "FILE: holds 4 accounts: 2 calls need 8");
        assert_eq!(tokens(text, 3, 2).unwrap_err(), "FILE: holds 4 accounts: 3 calls need 6");
        assert_eq!(
            tokens("a aaa\nbroken\n", 1, 2).unwrap_err(),
            "FILE: line 2: allowed is HANDLE TOKEN, with a space between"
        );
    }

    #[test]
    fn a_busy_person_has_a_third_client_beside_it() {
        let wanted = [false, true, false].map(|third| Wanted { third, ..Wanted::pair(0) });
        assert_eq!(numbered(&wanted), [0..2, 2..5, 5..7]);
    }

    #[test]
    fn every_handle_of_a_full_run_is_one() {
        for n in [0, 79_999] {
            assert!(Handle::new(&name("deadbeef", n)).is_ok());
        }
    }

    #[test]
    fn a_key_that_is_none_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello").unwrap();
        let error = Signer::read(file.path()).err().unwrap().to_string();
        assert!(error.contains("is no Ed25519 private key in PEM"), "{error}");
    }
}
