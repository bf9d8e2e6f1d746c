//! What is kept: accounts, what the platform says of them, what they chose and permitted, and every call there was.
//!
//! [`Store`] is the asynchronous API that the rest of the crate sees; nothing outside this module knows the engine. One
//! thread writes, a few read, each behind a bounded queue: a slow disk makes callers wait, it does not stop the runtime.

mod directory;
mod health;
mod people;
mod privacy;
mod sqlite;
mod worker;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use duocast_control_core::call::{CallRecord, CallView};
use duocast_control_core::policy;
use duocast_control_core::session::Person;
use duocast_model::{AccountId, CallId, Handle, PrivacySettings, UnixMillis};

use health::{Health, WriteError};
use worker::Worker;

pub use directory::{ADDRESS_BOOK_MAX, BookChange, BookError, ContactHash, MessageChange};
pub use people::{Contact, KNOWN_MAX, Pair, Side, Watch, Watched};
pub use privacy::{
    Answered, BLOCKS_MAX, BlockMade, Blocked, Changed, GRANTS_MAX, Grant, Granted, Named, OwnSettings,
    Parties, PrivacyError, REQUEST_TTL, REQUESTS_MAX, RequestSent, Requests, SettingsChange,
};

/// Threads that read. More serve more history pages at once; signalling itself hardly reads.
const READERS: usize = 2;

/// Most contacts of one account that are listed or told of its presence, by display name. Higher makes one popular
/// account's coming and going costlier for everybody; the contacts beyond it can still be called.
pub const CONTACTS_MAX: u32 = 1_000;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine failed. Its message names tables and columns, never values.
    #[error("the database failed: check the disk and the permissions of the data directory")]
    Engine(#[from] rusqlite::Error),
    /// A migration failed.
    #[error("the database could not be brought up to date: restore it from a backup or report this")]
    Migration(#[source] rusqlite_migration::Error),
    /// The file was written by a newer program.
    #[error("the database was written by a newer version of duocast: start that version, or a newer one")]
    NewerSchema,
    /// A value in the file is none that this program writes.
    #[error("the database holds a {0} that this program never wrote: restore it from a backup")]
    Corrupt(&'static str),
    /// The thread could not be started.
    #[error("a database thread could not be started")]
    Thread(#[source] std::io::Error),
    /// The process is stopping.
    #[error("the database is closed: the server is stopping")]
    Closed,
    /// The job panicked; its transaction was rolled back.
    #[error("a database job failed unexpectedly: report this with the time it happened")]
    Panicked,
}

/// Why the store is not ready to be used.
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    /// The last write failed, and it does not get better.
    #[error(
        "the database cannot be written: check the disk's free space and the data directory's permissions"
    )]
    Unwritable,
    /// It does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A call whose record the database does not take.
#[derive(Debug)]
pub struct RefusedCall {
    /// Which.
    pub call: CallId,
    /// What the engine said; it names tables and columns, never values.
    pub error: rusqlite::Error,
}

/// Why accounts are not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpsertError {
    /// Another account has the handle.
    #[error("this handle belongs to another account: choose another one")]
    HandleTaken {
        /// Which of the changes, counted from 0.
        index: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why follows, or direct messages, are not changed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// One of the two accounts does not exist.
    #[error("this account is unknown: create it with UpsertAccounts first")]
    AccountUnknown {
        /// Which of the changes, counted from 0.
        index: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A new account, or changes to one.
#[derive(Debug, Clone)]
pub struct AccountChange {
    /// Which account.
    pub account: AccountId,
    /// Its public name.
    pub handle: Handle,
    /// How it is shown; `None` keeps what there is (a new account is shown by its handle).
    pub display_name: Option<Arc<str>>,
    /// The opt-in; `None` keeps what there is (for a new account, what the policy's profile says).
    pub calling_enabled: Option<bool>,
    /// The platform's badge; `None` keeps what there is (none for a new account).
    pub verified: Option<bool>,
    /// Under which entries others have it in their address book; `None` keeps what there is.
    pub contact_hashes: Option<Vec<ContactHash>>,
}

impl AccountChange {
    /// A new account with nothing but names, or the names of one that is there.
    pub fn named(account: AccountId, handle: Handle, display_name: Option<Arc<str>>) -> Self {
        Self { account, handle, display_name, calling_enabled: None, verified: None, contact_hashes: None }
    }
}

/// "`follower` follows `followee`", or no longer.
#[derive(Debug, Clone)]
pub struct FollowChange {
    /// Who follows.
    pub follower: AccountId,
    /// Who is followed.
    pub followee: AccountId,
    /// Follows from now on.
    pub following: bool,
}

/// An account as it sees itself.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Which account.
    pub account: AccountId,
    /// As shown.
    pub person: Person,
    /// It can be called.
    pub calling_enabled: bool,
}

/// A place in an account's history; the page goes on with what is older.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageMark {
    /// When the last call shown was placed.
    pub created_at: UnixMillis,
    /// Which it was: several may have the same time.
    pub call: CallId,
}

/// The durable state. Cheap to clone; the last clone closes it.
#[derive(Clone)]
pub struct Store {
    threads: Arc<Threads>,
    profile: policy::Profile,
}

struct Threads {
    writer: Worker,
    readers: [Worker; READERS],
    next_reader: AtomicUsize,
    health: Health,
}

impl Store {
    /// Opens the database file and brings it up to date. Makes it if it is not there; its directory must be. New accounts
    /// get the defaults of the policy's profile.
    pub async fn open(path: &Path, profile: policy::Profile) -> Result<Self, StoreError> {
        // The writer first: it makes the file and runs the migrations that readers rely on.
        let writer = Worker::start("store-writer", path, sqlite::open_writer).await?;
        let readers = [
            Worker::start("store-reader-0", path, sqlite::open_reader).await?,
            Worker::start("store-reader-1", path, sqlite::open_reader).await?,
        ];
        let threads = Arc::new(Threads {
            writer,
            readers,
            next_reader: AtomicUsize::new(0),
            health: Health::default(),
        });
        Ok(Self { threads, profile })
    }

    /// Creates or changes accounts: all or none. Gives those that were there and whose calling was switched, with their
    /// settings.
    pub async fn upsert_accounts(
        &self,
        now: UnixMillis,
        changes: Vec<AccountChange>,
    ) -> Result<Vec<(AccountId, PrivacySettings)>, UpsertError> {
        let defaults = self.profile.defaults();
        self.write(move |db| sqlite::upsert_accounts(db, now, &defaults, &changes)).await
    }

    /// Sets and removes follows: all or none.
    pub async fn set_follows(&self, changes: Vec<FollowChange>) -> Result<(), FollowError> {
        self.write(move |db| sqlite::set_follows(db, &changes)).await
    }

    /// The account, if it is known.
    pub async fn profile(&self, account: AccountId) -> Result<Option<Profile>, StoreError> {
        self.reader().run(move |db| sqlite::profile(db, &account)).await
    }

    /// Keeps these calls as they are now, in one transaction. Gives those that the database refused, each with why; the others
    /// are kept.
    pub async fn save_calls(&self, calls: Arc<Vec<CallRecord>>) -> Result<Vec<RefusedCall>, StoreError> {
        let result = self.writer().run(move |db| sqlite::save_calls(db, &calls)).await;
        self.threads.health.calls(&result);
        result
    }

    /// Every call that has not ended.
    pub async fn open_calls(&self) -> Result<Vec<CallRecord>, StoreError> {
        self.writer().run(sqlite::open_calls).await
    }

    /// One call as this account last saw it; `None` if there is none, or it is not this account's.
    pub async fn call(&self, account: AccountId, call: CallId) -> Result<Option<CallView>, StoreError> {
        self.reader().run(move |db| sqlite::call(db, &account, call)).await
    }

    /// The account's calls, newest first, those older than `before`.
    pub async fn history(
        &self,
        account: AccountId,
        before: Option<PageMark>,
        limit: u32,
    ) -> Result<Vec<CallView>, StoreError> {
        self.reader().run(move |db| sqlite::history(db, &account, before, limit)).await
    }

    /// Answers if the database does, and takes what is written to it. Writes only if the last write failed.
    pub async fn ping(&self) -> Result<(), PingError> {
        let health = &self.threads.health;
        if health.calls_wait() {
            return Err(PingError::Unwritable);
        }
        if !health.is_in_doubt() {
            return Ok(self.writer().run(sqlite::ping).await?);
        }
        self.write(sqlite::touch).await.map_err(|error: StoreError| match error {
            StoreError::Engine(_) => PingError::Unwritable,
            error => PingError::Store(error),
        })
    }

    /// Runs a job that writes, and keeps in mind how it went.
    async fn write<T, E, F>(&self, job: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: WriteError + Send + 'static,
        F: FnOnce(&mut rusqlite::Connection) -> Result<T, E> + Send + 'static,
    {
        let result = match self.writer().run(move |db| Ok(job(db))).await {
            Ok(result) => result,
            Err(error) => Err(error.into()),
        };
        self.threads.health.other(&result);
        result
    }

    /// Which policy decides what this keeps.
    pub fn policy_profile(&self) -> policy::Profile {
        self.profile
    }

    fn writer(&self) -> &Worker {
        &self.threads.writer
    }

    fn reader(&self) -> &Worker {
        let turn = self.threads.next_reader.fetch_add(1, Ordering::Relaxed);
        &self.threads.readers[turn % READERS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_only(store: &Store, on: bool) {
        store.writer().run(move |db| Ok(db.pragma_update(None, "query_only", on)?)).await.unwrap();
    }

    #[tokio::test]
    async fn a_store_that_cannot_write_says_so_until_it_can_again() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Store::open(&dir.path().join("test.db"), Default::default()).await.unwrap();
        let change = || {
            let handle = Handle::new("zoe").unwrap();
            vec![AccountChange::named(AccountId::new("an-account").unwrap(), handle, None)]
        };
        store.ping().await.unwrap();
        read_only(&store, true).await;
        store.ping().await.expect("nothing was written, so nothing failed");
        store.upsert_accounts(UnixMillis(1), change()).await.unwrap_err();
        for _ in 0..2 {
            assert!(matches!(store.ping().await, Err(PingError::Unwritable)));
        }
        read_only(&store, false).await;
        store.ping().await.expect("asking finds that it is well again");
        store.upsert_accounts(UnixMillis(1), change()).await.unwrap();
    }

    #[tokio::test]
    async fn a_row_that_is_refused_is_no_trouble_of_the_store() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Store::open(&dir.path().join("test.db"), Default::default()).await.unwrap();
        let stranger = |name: &str| AccountId::new(name).unwrap();
        let change = FollowChange { follower: stranger("a"), followee: stranger("b"), following: true };
        let refused = store.set_follows(vec![change]).await.unwrap_err();
        assert!(matches!(refused, FollowError::AccountUnknown { .. }));
        store.ping().await.unwrap();
        assert!(!store.threads.health.is_in_doubt());
    }
}
