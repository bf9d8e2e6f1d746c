//! Settings, grants and blocks.

use std::time::Duration;

use duocast_model::{AccountId, AudienceSet, Handle, PrivacySettings, UnixMillis};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::pairs::{direct, direct_text, strangers, strangers_text};
use super::{account_id, collect, millis, moment, person};
use crate::store::{
    BLOCKS_MAX, BlockMade, Blocked, Changed, GRANTS_MAX, Grant, Granted, Named, OwnSettings, Parties,
    PrivacyError, SettingsChange, StoreError,
};

/// The account's settings, if it is known.
pub(in crate::store) fn own_settings(
    db: &Connection,
    account: &AccountId,
) -> Result<Option<OwnSettings>, StoreError> {
    let mut select = db.prepare_cached(
        "SELECT calling_enabled, audience, strangers, enhanced_call_privacy, direct, require_e2ee, decided
         FROM accounts WHERE account_id = ?1",
    )?;
    Ok(collect(&mut select, [account.expose()], settings_of)?.pop())
}

fn settings_of(row: &Row<'_>) -> Result<OwnSettings, StoreError> {
    let text = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str()?);
    let settings = PrivacySettings {
        calling: row.get("calling_enabled")?,
        audience: AudienceSet::from_bits(row.get("audience")?).ok_or(StoreError::Corrupt("audience"))?,
        strangers: strangers(text("strangers")?).ok_or(StoreError::Corrupt("strangers setting"))?,
        enhanced_call_privacy: row.get("enhanced_call_privacy")?,
        direct: direct(text("direct")?).ok_or(StoreError::Corrupt("direct setting"))?,
        require_e2ee: row.get("require_e2ee")?,
    };
    Ok(OwnSettings { settings, decided: row.get("decided")? })
}

/// Changes settings; `None` if the account is not known.
pub(in crate::store) fn update_settings(
    db: &mut Connection,
    account: &AccountId,
    change: &SettingsChange,
) -> Result<Option<Changed>, StoreError> {
    let transaction = db.transaction()?;
    let Some(before) = own_settings(&transaction, account)? else { return Ok(None) };
    let settings = change.applied_to(before.settings);
    let after = OwnSettings { settings, decided: before.decided || change.calling.is_some() };
    transaction
        .prepare_cached(
            "UPDATE accounts SET calling_enabled = ?2, audience = ?3, strangers = ?4, enhanced_call_privacy = ?5,
                 direct = ?6, require_e2ee = ?7, decided = ?8
             WHERE account_id = ?1",
        )?
        .execute(params![
            account.expose(),
            settings.calling,
            settings.audience.bits(),
            strangers_text(settings.strangers),
            settings.enhanced_call_privacy,
            direct_text(settings.direct),
            settings.require_e2ee,
            after.decided,
        ])?;
    transaction.commit()?;
    Ok(Some(Changed { before, after }))
}

fn named(row: &Row<'_>) -> Result<Named, StoreError> {
    Ok(Named { account: account_id(row, "account_id")?, person: person(row, "handle", "display_name")? })
}

pub(super) fn by_id(db: &Connection, account: &AccountId) -> Result<Option<Named>, StoreError> {
    let mut select =
        db.prepare_cached("SELECT account_id, handle, display_name FROM accounts WHERE account_id = ?1")?;
    Ok(collect(&mut select, [account.expose()], named)?.pop())
}

/// Who asks for something, and whom it is about.
pub(super) fn parties(db: &Connection, own: &AccountId, other: &Handle) -> Result<Parties, PrivacyError> {
    let mut select =
        db.prepare_cached("SELECT account_id, handle, display_name FROM accounts WHERE handle = ?1")?;
    let other = collect(&mut select, [other.as_str()], named)?.pop().ok_or(PrivacyError::PersonUnknown)?;
    let own = by_id(db, own)?.ok_or(PrivacyError::PersonUnknown)?;
    if own.account == other.account {
        return Err(PrivacyError::Oneself);
    }
    Ok(Parties { own, other })
}

/// The text that `handle > ?` starts a page with: every handle comes after the empty one.
fn page_start(after: Option<&Handle>) -> &str {
    after.map_or("", Handle::as_str)
}

/// Grants that have not expired, by handle.
pub(in crate::store) fn grants(
    db: &mut Connection,
    account: &AccountId,
    now: UnixMillis,
    after: Option<&Handle>,
    limit: u32,
) -> Result<Vec<Grant>, StoreError> {
    let mut select = db.prepare_cached(
        "SELECT a.handle, a.display_name, g.created_at, g.expires_at, g.from_request
         FROM grants g JOIN accounts a ON a.account_id = g.grantee
         WHERE g.granter = ?1 AND g.expires_at > ?2 AND a.handle > ?3
             AND NOT EXISTS (SELECT 1 FROM blocks WHERE blocker = ?1 AND blocked = g.grantee)
         ORDER BY a.handle LIMIT ?4",
    )?;
    let params = params![account.expose(), millis(now), page_start(after), limit];
    collect(&mut select, params, |row| {
        Ok(Grant {
            person: person(row, "handle", "display_name")?,
            created_at: moment(row.get("created_at")?)?,
            expires_at: moment(row.get("expires_at")?)?,
            from_request: row.get("from_request")?,
        })
    })
}

/// Lets somebody call.
pub(in crate::store) fn create_grant(
    db: &mut Connection,
    account: &AccountId,
    grantee: &Handle,
    now: UnixMillis,
    lasts: Duration,
) -> Result<Granted, PrivacyError> {
    let transaction = db.transaction()?;
    let parties = parties(&transaction, account, grantee)?;
    let granted = grant(&transaction, parties, now, lasts, false)?;
    transaction.commit()?;
    Ok(granted)
}

/// Gives a permission, which answers whatever request there is.
pub(super) fn grant(
    transaction: &Transaction<'_>,
    parties: Parties,
    now: UnixMillis,
    lasts: Duration,
    from_request: bool,
) -> Result<Granted, PrivacyError> {
    let (granter, grantee) = (parties.own.account.expose(), parties.other.account.expose());
    if is_blocked(transaction, granter, grantee)? {
        return Err(PrivacyError::IsBlocked);
    }
    // Those that have expired are nobody's business any more; the rest has a bound.
    transaction
        .prepare_cached("DELETE FROM grants WHERE granter = ?1 AND expires_at <= ?2")?
        .execute(params![granter, millis(now)])?;
    let others: u32 = transaction
        .prepare_cached("SELECT count(*) FROM grants WHERE granter = ?1 AND grantee <> ?2")?
        .query_row(params![granter, grantee], |row| row.get(0))?;
    if others >= GRANTS_MAX {
        return Err(PrivacyError::GrantsFull);
    }
    let expires_at = now.plus(lasts);
    transaction
        .prepare_cached("INSERT OR REPLACE INTO grants VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![granter, grantee, millis(now), millis(expires_at), from_request])?;
    let until = params![granter, grantee, millis(expires_at)];
    transaction
        .prepare_cached(
            "UPDATE call_requests SET expires_at = ?3 WHERE sender = ?2 AND receiver = ?1 AND state = 'accepted'",
        )?
        .execute(until)?;
    let answers: Option<i64> = transaction
        .prepare_cached(
            "UPDATE call_requests SET state = 'accepted', expires_at = ?3
             WHERE sender = ?2 AND receiver = ?1 AND state <> 'accepted' AND expires_at > ?4
             RETURNING created_at",
        )?
        .query_row(params![granter, grantee, millis(expires_at), millis(now)], |row| row.get(0))
        .optional()?;
    let answers = answers.map(moment).transpose()?;
    let grant = Grant { person: parties.other.person.clone(), created_at: now, expires_at, from_request };
    Ok(Granted { parties, grant, answers })
}

/// Takes a permission back, and with it the request that it came from: it can be asked for anew.
pub(in crate::store) fn revoke_grant(
    db: &mut Connection,
    account: &AccountId,
    grantee: &Handle,
) -> Result<Parties, PrivacyError> {
    let transaction = db.transaction()?;
    let parties = parties(&transaction, account, grantee)?;
    let pair = params![parties.own.account.expose(), parties.other.account.expose()];
    transaction.prepare_cached("DELETE FROM grants WHERE granter = ?1 AND grantee = ?2")?.execute(pair)?;
    transaction
        .prepare_cached(
            "DELETE FROM call_requests WHERE receiver = ?1 AND sender = ?2 AND state = 'accepted'",
        )?
        .execute(pair)?;
    transaction.commit()?;
    Ok(parties)
}

fn is_blocked(transaction: &Transaction<'_>, blocker: &str, blocked: &str) -> Result<bool, StoreError> {
    let mut select = transaction
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM blocks WHERE blocker = ?1 AND blocked = ?2)")?;
    Ok(select.query_row(params![blocker, blocked], |row| row.get(0))?)
}

/// People whom the account blocked, by handle.
pub(in crate::store) fn blocks(
    db: &mut Connection,
    account: &AccountId,
    after: Option<&Handle>,
    limit: u32,
) -> Result<Vec<Blocked>, StoreError> {
    let mut select = db.prepare_cached(
        "SELECT a.handle, a.display_name, b.created_at
         FROM blocks b JOIN accounts a ON a.account_id = b.blocked
         WHERE b.blocker = ?1 AND a.handle > ?2 ORDER BY a.handle LIMIT ?3",
    )?;
    collect(&mut select, params![account.expose(), page_start(after), limit], |row| {
        Ok(Blocked { person: person(row, "handle", "display_name")?, since: moment(row.get("created_at")?)? })
    })
}

/// Blocks somebody.
pub(in crate::store) fn block(
    db: &mut Connection,
    account: &AccountId,
    who: &Handle,
    now: UnixMillis,
) -> Result<BlockMade, PrivacyError> {
    let transaction = db.transaction()?;
    let parties = parties(&transaction, account, who)?;
    let made = make_block(&transaction, parties, now)?;
    transaction.commit()?;
    Ok(made)
}

/// A request that waits becomes a declined one: to its sender nothing changes. So does nothing else that the sender could
/// see: a grant stays, for example, and beats the block in no way.
pub(super) fn make_block(
    transaction: &Transaction<'_>,
    parties: Parties,
    now: UnixMillis,
) -> Result<BlockMade, PrivacyError> {
    let (blocker, blocked) = (parties.own.account.expose(), parties.other.account.expose());
    let others: u32 = transaction
        .prepare_cached("SELECT count(*) FROM blocks WHERE blocker = ?1 AND blocked <> ?2")?
        .query_row(params![blocker, blocked], |row| row.get(0))?;
    if others >= BLOCKS_MAX {
        return Err(PrivacyError::BlocksFull);
    }
    transaction
        .prepare_cached("INSERT INTO blocks VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
        .execute(params![blocker, blocked, millis(now)])?;
    let closed = super::requests::close(transaction, &parties, now)?;
    Ok(BlockMade { parties, closed })
}

/// Takes a block back.
pub(in crate::store) fn unblock(
    db: &mut Connection,
    account: &AccountId,
    who: &Handle,
) -> Result<Parties, PrivacyError> {
    let transaction = db.transaction()?;
    let parties = parties(&transaction, account, who)?;
    transaction
        .prepare_cached("DELETE FROM blocks WHERE blocker = ?1 AND blocked = ?2")?
        .execute(params![parties.own.account.expose(), parties.other.account.expose()])?;
    transaction.commit()?;
    Ok(parties)
}
