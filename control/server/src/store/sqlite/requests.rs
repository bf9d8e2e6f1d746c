//! Call requests.

use std::time::Duration;

use duocast_control_core::policy::{Decision, Profile, RequestHistory, decide};
use duocast_control_core::session::{CallRequest, CallRequestState};
use duocast_model::{AccountId, Handle, UnixMillis};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::pairs::pair_by_handle;
use super::privacy::{grant, make_block, parties};
use super::{collect, millis, moment, person};
use crate::store::{
    Answered, Named, Parties, PrivacyError, REQUEST_TTL, REQUESTS_MAX, RequestSent, Requests, StoreError,
};

/// Keeps a request if policy lets it through. One that waits, or was declined, stays as it is.
pub(in crate::store) fn send_request(
    db: &mut Connection,
    profile: Profile,
    sender: &AccountId,
    receiver: &Handle,
    now: UnixMillis,
) -> Result<RequestSent, PrivacyError> {
    let transaction = db.transaction()?;
    let pair = pair_by_handle(&transaction, sender, receiver, now)?.ok_or(PrivacyError::PersonUnknown)?;
    match decide(profile, &pair.outgoing()) {
        Decision::Allow(_) => return Err(PrivacyError::AlreadyAllowed),
        Decision::Deny(denied) => return Err(denied.into()),
        Decision::Request(_) => {}
    }
    let history = pair.me.request;
    let parties = Parties {
        own: Named { account: pair.me.account, person: pair.me.person },
        other: Named { account: pair.other.account, person: pair.other.person },
    };
    let ids = params![parties.own.account.expose(), parties.other.account.expose()];
    if history != RequestHistory::None {
        let created_at = transaction
            .prepare_cached("SELECT created_at FROM call_requests WHERE sender = ?1 AND receiver = ?2")?
            .query_row(ids, |row| row.get(0))?;
        return Ok(RequestSent { parties, created_at: moment(created_at)?, is_new: false });
    }
    within_bounds(&transaction, &parties, now)?;
    let expires_at = now.plus(REQUEST_TTL);
    transaction
        .prepare_cached("INSERT OR REPLACE INTO call_requests VALUES (?1, ?2, 'pending', ?3, ?4)")?
        .execute(params![
            parties.own.account.expose(),
            parties.other.account.expose(),
            millis(now),
            millis(expires_at)
        ])?;
    transaction.commit()?;
    Ok(RequestSent { parties, created_at: now, is_new: true })
}

/// A declined request counts for its sender like one that waits: else the sender could tell the two apart by counting.
fn within_bounds(
    transaction: &Transaction<'_>,
    parties: &Parties,
    now: UnixMillis,
) -> Result<(), PrivacyError> {
    let count = |sql: &str, account: &AccountId| -> Result<u32, StoreError> {
        let mut count = transaction.prepare_cached(sql)?;
        Ok(count.query_row(params![account.expose(), millis(now)], |row| row.get(0))?)
    };
    let sent = count(
        "SELECT count(*) FROM call_requests WHERE sender = ?1 AND state <> 'accepted' AND expires_at > ?2",
        &parties.own.account,
    )?;
    if sent >= REQUESTS_MAX {
        return Err(PrivacyError::SenderFull);
    }
    let waiting = count(
        "SELECT count(*) FROM call_requests WHERE receiver = ?1 AND state = 'pending' AND expires_at > ?2",
        &parties.other.account,
    )?;
    if waiting >= REQUESTS_MAX {
        return Err(PrivacyError::ReceiverFull);
    }
    Ok(())
}

/// An account's requests, newest first.
pub(in crate::store) fn requests(
    db: &mut Connection,
    account: &AccountId,
    now: UnixMillis,
) -> Result<Requests, StoreError> {
    let snapshot = db.transaction()?;
    let list = |sql: &str, incoming: bool| {
        let mut select = snapshot.prepare_cached(sql)?;
        collect(&mut select, params![account.expose(), millis(now), REQUESTS_MAX], |row| {
            let accepted = row.get_ref("state")?.as_str().map_err(rusqlite::Error::from)? == "accepted";
            Ok(CallRequest {
                person: person(row, "handle", "display_name")?,
                incoming,
                state: if accepted { CallRequestState::Accepted } else { CallRequestState::Sent },
                created_at: moment(row.get("created_at")?)?,
            })
        })
    };
    let incoming = list(
        "SELECT a.handle, a.display_name, r.state, r.created_at
         FROM call_requests r JOIN accounts a ON a.account_id = r.sender
         WHERE r.receiver = ?1 AND r.state = 'pending' AND r.expires_at > ?2
         ORDER BY r.created_at DESC, a.handle LIMIT ?3",
        true,
    )?;
    let outgoing = list(
        "SELECT a.handle, a.display_name, r.state, r.created_at
         FROM call_requests r JOIN accounts a ON a.account_id = r.receiver
         WHERE r.sender = ?1 AND r.expires_at > ?2
             AND NOT EXISTS (SELECT 1 FROM blocks WHERE blocker = ?1 AND blocked = r.receiver)
         ORDER BY r.created_at DESC, a.handle LIMIT ?3",
        false,
    )?;
    Ok(Requests { incoming, outgoing })
}

/// How a request from the other one stands, and when it was sent.
fn state(
    transaction: &Transaction<'_>,
    parties: &Parties,
    now: UnixMillis,
) -> Result<Option<String>, StoreError> {
    let mut select = transaction.prepare_cached(
        "SELECT state FROM call_requests WHERE receiver = ?1 AND sender = ?2 AND expires_at > ?3",
    )?;
    let (own, other) = (parties.own.account.expose(), parties.other.account.expose());
    Ok(select.query_row(params![own, other, millis(now)], |row| row.get(0)).optional()?)
}

/// Takes a request out of the receiver's list. Its sender is told nothing. Gives when it was sent, if one waited.
pub(super) fn close(
    transaction: &Transaction<'_>,
    parties: &Parties,
    now: UnixMillis,
) -> Result<Option<UnixMillis>, StoreError> {
    let mut close = transaction.prepare_cached(
        "UPDATE call_requests SET state = 'declined'
         WHERE receiver = ?1 AND sender = ?2 AND state = 'pending' AND expires_at > ?3
         RETURNING created_at",
    )?;
    let (own, other) = (parties.own.account.expose(), parties.other.account.expose());
    let closed: Option<i64> =
        close.query_row(params![own, other, millis(now)], |row| row.get(0)).optional()?;
    closed.map(moment).transpose()
}

/// Accepts a request. One that was declined cannot be accepted, only granted anew.
pub(in crate::store) fn accept_request(
    db: &mut Connection,
    account: &AccountId,
    sender: &Handle,
    now: UnixMillis,
    lasts: Duration,
) -> Result<Answered, PrivacyError> {
    let transaction = db.transaction()?;
    let parties = parties(&transaction, account, sender)?;
    match state(&transaction, &parties, now)?.as_deref() {
        // A repeat, for whoever did not hear the first answer, starts the grant's time anew.
        Some("pending" | "accepted") => {}
        _ => return Err(PrivacyError::RequestUnknown),
    }
    let granted = grant(&transaction, parties, now, lasts, true)?;
    transaction.commit()?;
    Ok(Answered::Accepted(granted))
}

/// Declines a request, and blocks its sender if that is wanted.
pub(in crate::store) fn decline_request(
    db: &mut Connection,
    account: &AccountId,
    sender: &Handle,
    now: UnixMillis,
    block: bool,
) -> Result<Answered, PrivacyError> {
    let transaction = db.transaction()?;
    let parties = parties(&transaction, account, sender)?;
    match state(&transaction, &parties, now)?.as_deref() {
        Some("pending" | "declined") => {}
        _ => return Err(PrivacyError::RequestUnknown),
    }
    let closed = close(&transaction, &parties, now)?;
    if block {
        make_block(&transaction, parties.clone(), now)?;
    }
    transaction.commit()?;
    Ok(Answered::Declined { parties, closed })
}
