//! The embedded engine: one SQLite file in WAL mode.
//!
//! `synchronous = NORMAL`: a commit is in the operating system's hands when it returns, so killing the process loses
//! nothing; a power failure may lose the last moments but never corrupts the file.

mod accounts;
mod calls;
mod directory;
mod pairs;
mod privacy;
mod requests;

use std::path::Path;
use std::time::Duration;

use duocast_control_core::session::Person;
use duocast_model::{AccountId, Handle, UnixMillis};
use rusqlite::{Connection, Row};
use rusqlite_migration::{Error, M, MigrationDefinitionError, Migrations};

use super::StoreError;

pub(super) use accounts::{profile, upsert_accounts};
pub(super) use calls::{call, history, open_calls, save_calls};
pub(super) use directory::{set_address_book, set_follows, set_messages, tidy};
pub(super) use pairs::{contacts, known, pair_by_handle, pair_by_id, watched};
pub(super) use privacy::{
    block, blocks, create_grant, grants, own_settings, revoke_grant, unblock, update_settings,
};
pub(super) use requests::{accept_request, decline_request, requests, send_request};

/// How long a statement waits for another process's lock (a backup, an operator's shell) before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Prepared statements that a connection keeps; more than this crate has.
const STATEMENT_CACHE: usize = 96;

/// Every migration, in order. A published one never changes: a new one is added.
const MIGRATIONS: &[M<'_>] = &[
    M::up(include_str!("../../../migrations/0001_accounts_and_calls.sql")),
    M::up(include_str!("../../../migrations/0002_privacy.sql")),
];

/// Opens the file for writing, makes it if need be, and brings it up to date.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    match Migrations::from_slice(MIGRATIONS).to_latest(&mut connection) {
        Ok(()) => Ok(connection),
        Err(Error::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead)) => {
            Err(StoreError::NewerSchema)
        }
        Err(error) => Err(StoreError::Migration(error)),
    }
}

/// Opens the file for reading only.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let connection = open(path)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    Ok(connection)
}

/// Answers if the database does.
pub(super) fn ping(db: &mut Connection) -> Result<(), StoreError> {
    db.query_row("SELECT 1", [], |_| Ok(()))?;
    Ok(())
}

/// Writes one page that says what it said before: succeeds if the disk takes it.
pub(super) fn touch(db: &mut Connection) -> Result<(), StoreError> {
    let kept: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    Ok(db.pragma_update(None, "application_id", kept)?)
}

fn account_id(row: &Row<'_>, column: &str) -> Result<AccountId, StoreError> {
    AccountId::new(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?)
        .map_err(|_| StoreError::Corrupt("account id"))
}

fn person(row: &Row<'_>, handle: &str, name: &str) -> Result<Person, StoreError> {
    let handle = Handle::new(row.get_ref(handle)?.as_str().map_err(rusqlite::Error::from)?)
        .map_err(|_| StoreError::Corrupt("handle"))?;
    let display_name: String = row.get(name)?;
    Ok(Person { handle, display_name: display_name.into() })
}

/// SQLite's integers are signed; a time beyond them is beyond any clock.
fn millis(at: UnixMillis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

fn moment(millis: i64) -> Result<UnixMillis, StoreError> {
    u64::try_from(millis).map(UnixMillis).map_err(|_| StoreError::Corrupt("time"))
}

/// Runs `map` over every row of a prepared statement.
fn collect<T>(
    statement: &mut rusqlite::Statement<'_>,
    params: impl rusqlite::Params,
    mut map: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(map(row)?);
    }
    Ok(found)
}
