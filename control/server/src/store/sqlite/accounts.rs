//! Accounts: who there is, and under which name.

use duocast_model::{AccountId, PrivacySettings, UnixMillis};
use rusqlite::{Connection, ErrorCode, Row, Transaction, params};

use super::directory::set_contact_hashes;
use super::pairs::{direct_text, strangers_text};
use super::privacy::own_settings;
use super::{account_id, collect, millis, person};
use crate::store::{AccountChange, Profile, StoreError, UpsertError};

/// Creates or changes accounts, all or none. Gives those that were there and whose calling was switched, as it is now.
pub(in crate::store) fn upsert_accounts(
    db: &mut Connection,
    now: UnixMillis,
    defaults: &PrivacySettings,
    changes: &[AccountChange],
) -> Result<Vec<(AccountId, PrivacySettings)>, UpsertError> {
    let transaction = db.transaction().map_err(StoreError::from)?;
    free_handles(&transaction, changes)?;
    let mut switched = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        let before = match change.calling_enabled {
            Some(_) => own_settings(&transaction, &change.account)?,
            None => None,
        };
        upsert(&transaction, now, defaults, change).map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => UpsertError::HandleTaken { index },
            _ => UpsertError::Store(error.into()),
        })?;
        if let Some(hashes) = &change.contact_hashes {
            set_contact_hashes(&transaction, &change.account, hashes)?;
        }
        if let (Some(before), Some(calling)) = (before, change.calling_enabled)
            && before.settings.calling != calling
        {
            switched.push((change.account.clone(), PrivacySettings { calling, ..before.settings }));
        }
    }
    transaction.commit().map_err(StoreError::from)?;
    Ok(switched)
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

fn upsert(
    transaction: &Transaction<'_>,
    now: UnixMillis,
    defaults: &PrivacySettings,
    change: &AccountChange,
) -> rusqlite::Result<()> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO accounts (account_id, handle, display_name, calling_enabled, created_at, decided, verified,
             audience, strangers, enhanced_call_privacy, direct, require_e2ee)
         VALUES (?1, ?2, coalesce(?3, ?2), coalesce(?4, ?7), ?5, ?4 IS NOT NULL, coalesce(?6, 0), ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT (account_id) DO UPDATE SET
             handle = ?2,
             display_name = coalesce(?3, display_name),
             calling_enabled = coalesce(?4, calling_enabled),
             decided = max(decided, ?4 IS NOT NULL),
             verified = coalesce(?6, verified)",
    )?;
    upsert.execute(params![
        change.account.expose(),
        change.handle.as_str(),
        change.display_name.as_deref(),
        change.calling_enabled,
        millis(now),
        change.verified,
        defaults.calling,
        defaults.audience.bits(),
        strangers_text(defaults.strangers),
        defaults.enhanced_call_privacy,
        direct_text(defaults.direct),
        defaults.require_e2ee,
    ])?;
    Ok(())
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

fn profile_of(row: &Row<'_>) -> Result<Profile, StoreError> {
    Ok(Profile {
        account: account_id(row, "account_id")?,
        person: person(row, "handle", "display_name")?,
        calling_enabled: row.get("calling_enabled")?,
    })
}
