//! What the platform says of its accounts besides their names: follows, direct messages, address books.

use duocast_model::{AccountId, UnixMillis};
use rusqlite::{Connection, Transaction, params};

use super::millis;
use crate::store::{
    ADDRESS_BOOK_MAX, BookChange, BookError, ContactHash, FollowChange, FollowError, MessageChange,
    StoreError,
};

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

/// Sets and removes direct messages, all or none.
pub(in crate::store) fn set_messages(
    db: &mut Connection,
    changes: &[MessageChange],
) -> Result<(), FollowError> {
    let transaction = db.transaction().map_err(StoreError::from)?;
    for (index, change) in changes.iter().enumerate() {
        let (sender, recipient) = (change.sender.expose(), change.recipient.expose());
        if !both_exist(&transaction, sender, recipient)? {
            return Err(FollowError::AccountUnknown { index });
        }
        set_message(&transaction, sender, recipient, change.accepted)?;
    }
    transaction.commit().map_err(StoreError::from)?;
    Ok(())
}

fn set_message(
    transaction: &Transaction<'_>,
    sender: &str,
    recipient: &str,
    accepted: Option<bool>,
) -> Result<(), StoreError> {
    match accepted {
        Some(accepted) => transaction
            .prepare_cached("INSERT OR REPLACE INTO direct_messages VALUES (?1, ?2, ?3)")?
            .execute(params![sender, recipient, accepted])?,
        None => transaction
            .prepare_cached("DELETE FROM direct_messages WHERE sender = ?1 AND recipient = ?2")?
            .execute(params![sender, recipient])?,
    };
    Ok(())
}

fn both_exist(transaction: &Transaction<'_>, one: &str, other: &str) -> Result<bool, StoreError> {
    let mut count =
        transaction.prepare_cached("SELECT count(*) = 2 FROM accounts WHERE account_id IN (?1, ?2)")?;
    Ok(count.query_row(params![one, other], |row| row.get(0))?)
}

/// Changes an address book.
pub(in crate::store) fn set_address_book(db: &mut Connection, change: &BookChange) -> Result<(), BookError> {
    let transaction = db.transaction().map_err(StoreError::from)?;
    let owner = change.owner.expose();
    if !exists(&transaction, owner)? {
        return Err(BookError::AccountUnknown);
    }
    if edit_book(&transaction, owner, change)? > ADDRESS_BOOK_MAX {
        return Err(BookError::Full);
    }
    transaction.commit().map_err(StoreError::from)?;
    Ok(())
}

fn exists(transaction: &Transaction<'_>, account: &str) -> Result<bool, StoreError> {
    let mut select =
        transaction.prepare_cached("SELECT EXISTS (SELECT 1 FROM accounts WHERE account_id = ?1)")?;
    Ok(select.query_row([account], |row| row.get(0))?)
}

/// Makes the change and gives how many entries there are now.
fn edit_book(transaction: &Transaction<'_>, owner: &str, change: &BookChange) -> Result<u32, StoreError> {
    if change.replace {
        transaction.prepare_cached("DELETE FROM address_book WHERE owner = ?1")?.execute([owner])?;
    }
    let mut remove = transaction.prepare_cached("DELETE FROM address_book WHERE owner = ?1 AND hash = ?2")?;
    for hash in &change.remove {
        remove.execute(params![owner, hash])?;
    }
    let mut add =
        transaction.prepare_cached("INSERT INTO address_book VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    for hash in &change.add {
        add.execute(params![owner, hash])?;
    }
    let mut count = transaction.prepare_cached("SELECT count(*) FROM address_book WHERE owner = ?1")?;
    Ok(count.query_row([owner], |row| row.get(0))?)
}

/// Replaces the hashes under which others have an account in their book.
pub(super) fn set_contact_hashes(
    transaction: &Transaction<'_>,
    account: &AccountId,
    hashes: &[ContactHash],
) -> Result<(), StoreError> {
    let account = account.expose();
    transaction.prepare_cached("DELETE FROM contact_hashes WHERE account = ?1")?.execute([account])?;
    let mut add =
        transaction.prepare_cached("INSERT INTO contact_hashes VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    for hash in hashes {
        add.execute(params![account, hash])?;
    }
    Ok(())
}

/// Deletes what has expired and what is old, at most `batch` rows of each. True if there may be more.
pub(in crate::store) fn tidy(
    db: &mut Connection,
    now: UnixMillis,
    calls_before: UnixMillis,
    batch: u32,
) -> Result<bool, StoreError> {
    let transaction = db.transaction()?;
    let mut more = false;
    for (sql, before) in [
        (
            "DELETE FROM grants WHERE (granter, grantee) IN
                 (SELECT granter, grantee FROM grants WHERE expires_at <= ?1 LIMIT ?2)",
            now,
        ),
        (
            "DELETE FROM call_requests WHERE (sender, receiver) IN
                 (SELECT sender, receiver FROM call_requests WHERE expires_at <= ?1 LIMIT ?2)",
            now,
        ),
        (
            "DELETE FROM calls WHERE call_id IN
                 (SELECT call_id FROM calls WHERE ended_at IS NOT NULL AND ended_at <= ?1 LIMIT ?2)",
            calls_before,
        ),
    ] {
        let deleted = transaction.prepare_cached(sql)?.execute(params![millis(before), batch])?;
        more |= deleted >= batch as usize;
    }
    transaction.commit()?;
    Ok(more)
}
