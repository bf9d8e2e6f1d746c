//! Accounts and who follows whom.

use duocast_control_core::policy::{Facts, Relation, Situation};
use duocast_model::{AccountId, Handle, PrivacySettings, UnixMillis};
use rusqlite::{Connection, ErrorCode, Row, Transaction, params};

use super::{account_id, collect, millis, person};
use crate::store::{
    AccountChange, CONTACTS_MAX, FollowChange, FollowError, Placing, Profile, StoreError, UpsertError,
    Watched,
};

const MUTUALS: &str = "
    SELECT a.account_id, a.handle, a.display_name, a.calling_enabled
    FROM follows mine
    JOIN follows theirs ON theirs.follower = mine.followee AND theirs.followee = mine.follower
    JOIN accounts a ON a.account_id = mine.followee
    WHERE mine.follower = ?1
    ORDER BY a.display_name COLLATE NOCASE, a.handle
    LIMIT ?2";

/// Creates or changes accounts, all or none.
pub(in crate::store) fn upsert_accounts(
    db: &mut Connection,
    now: UnixMillis,
    changes: &[AccountChange],
) -> Result<(), UpsertError> {
    let transaction = db.transaction().map_err(StoreError::from)?;
    free_handles(&transaction, changes)?;
    for (index, change) in changes.iter().enumerate() {
        upsert(&transaction, now, change).map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => UpsertError::HandleTaken { index },
            _ => UpsertError::Store(error.into()),
        })?;
    }
    transaction.commit().map_err(StoreError::from)?;
    Ok(())
}

/// Takes the handle from every account that gets another one, so that accounts can swap theirs. What stands in between is
/// no valid handle and cannot collide with one.
fn free_handles(transaction: &Transaction<'_>, changes: &[AccountChange]) -> Result<(), StoreError> {
    let mut free = transaction.prepare_cached(
        "UPDATE accounts SET handle = '!' || account_id WHERE account_id = ?1 AND handle <> ?2",
    )?;
    for change in changes {
        free.execute(params![change.account.expose(), change.handle.as_str()])?;
    }
    Ok(())
}

fn upsert(transaction: &Transaction<'_>, now: UnixMillis, change: &AccountChange) -> rusqlite::Result<()> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO accounts (account_id, handle, display_name, calling_enabled, created_at)
         VALUES (?1, ?2, coalesce(?3, ?2), coalesce(?4, 0), ?5)
         ON CONFLICT (account_id) DO UPDATE SET
             handle = ?2,
             display_name = coalesce(?3, display_name),
             calling_enabled = coalesce(?4, calling_enabled)",
    )?;
    upsert.execute(params![
        change.account.expose(),
        change.handle.as_str(),
        change.display_name.as_deref(),
        change.calling_enabled,
        millis(now),
    ])?;
    Ok(())
}

/// Sets and removes follows, all or none.
pub(in crate::store) fn set_follows(
    db: &mut Connection,
    changes: &[FollowChange],
) -> Result<(), FollowError> {
    let transaction = db.transaction().map_err(StoreError::from)?;
    for (index, change) in changes.iter().enumerate() {
        let (follower, followee) = (change.follower.expose(), change.followee.expose());
        if !both_exist(&transaction, follower, followee)? {
            return Err(FollowError::AccountUnknown { index });
        }
        let statement = if change.following {
            "INSERT INTO follows (follower, followee) VALUES (?1, ?2) ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM follows WHERE follower = ?1 AND followee = ?2"
        };
        let mut set = transaction.prepare_cached(statement).map_err(StoreError::from)?;
        set.execute(params![follower, followee]).map_err(StoreError::from)?;
    }
    transaction.commit().map_err(StoreError::from)?;
    Ok(())
}

fn both_exist(transaction: &Transaction<'_>, one: &str, other: &str) -> Result<bool, StoreError> {
    let mut count =
        transaction.prepare_cached("SELECT count(*) = 2 FROM accounts WHERE account_id IN (?1, ?2)")?;
    Ok(count.query_row(params![one, other], |row| row.get(0))?)
}

/// The account, if it is known.
pub(in crate::store) fn profile(
    db: &mut Connection,
    account: &AccountId,
) -> Result<Option<Profile>, StoreError> {
    let mut select = db.prepare_cached(
        "SELECT account_id, handle, display_name, calling_enabled FROM accounts WHERE account_id = ?1",
    )?;
    Ok(collect(&mut select, [account.expose()], profile_of)?.pop())
}

/// Mutual contacts by display name.
pub(in crate::store) fn contacts(
    db: &mut Connection,
    account: &AccountId,
) -> Result<Vec<Profile>, StoreError> {
    let mut select = db.prepare_cached(MUTUALS)?;
    collect(&mut select, params![account.expose(), CONTACTS_MAX], profile_of)
}

/// Accounts with their mutual contacts.
pub(in crate::store) fn watched(
    db: &mut Connection,
    accounts: &[AccountId],
) -> Result<Vec<Watched>, StoreError> {
    let mut found = Vec::with_capacity(accounts.len());
    for account in accounts {
        if let Some(who) = profile(db, account)? {
            let by = contacts(db, account)?.into_iter().map(|contact| contact.account).collect();
            found.push(Watched { who, by });
        }
    }
    Ok(found)
}

/// What is needed to place a call, in one read.
pub(in crate::store) fn placing(
    db: &mut Connection,
    caller: &AccountId,
    callee: &Handle,
) -> Result<Option<Placing>, StoreError> {
    let mut select = db.prepare_cached(
        "SELECT caller.account_id AS caller_id, caller.handle AS caller_handle,
                caller.display_name AS caller_name, caller.calling_enabled AS caller_enabled,
                callee.account_id AS callee_id, callee.handle AS callee_handle,
                callee.display_name AS callee_name, callee.calling_enabled AS callee_enabled,
                EXISTS (SELECT 1 FROM follows WHERE follower = caller.account_id AND followee = callee.account_id)
                    AS caller_follows,
                EXISTS (SELECT 1 FROM follows WHERE follower = callee.account_id AND followee = caller.account_id)
                    AS callee_follows
         FROM accounts caller, accounts callee
         WHERE caller.account_id = ?1 AND callee.handle = ?2",
    )?;
    let found = collect(&mut select, params![caller.expose(), callee.as_str()], |row| {
        let caller = PrivacySettings { calling: row.get("caller_enabled")?, ..PrivacySettings::DEFAULT };
        let callee = PrivacySettings { calling: row.get("callee_enabled")?, ..PrivacySettings::DEFAULT };
        let relation = Relation {
            caller_follows: row.get("caller_follows")?,
            callee_follows: row.get("callee_follows")?,
            ..Relation::NONE
        };
        Ok(Placing {
            facts: Facts {
                caller: account_id(row, "caller_id")?,
                callee: account_id(row, "callee_id")?,
                situation: Situation { relation, ..Situation::strangers(caller, callee) },
            },
            caller: person(row, "caller_handle", "caller_name")?,
            callee: person(row, "callee_handle", "callee_name")?,
        })
    })?;
    Ok(found.into_iter().next())
}

fn profile_of(row: &Row<'_>) -> Result<Profile, StoreError> {
    Ok(Profile {
        account: account_id(row, "account_id")?,
        person: person(row, "handle", "display_name")?,
        calling_enabled: row.get("calling_enabled")?,
    })
}
