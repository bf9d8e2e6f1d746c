//! Calls: kept at every move, read as history and after a restart.

use duocast_control_core::call::{CallRecord, CallView, SeatRecord};
use duocast_model::{
    AccountId, CallId, CallState, DeviceId, EndReason, Exposure, LegId, MediaState, NodeId, Party,
};
use rusqlite::{Connection, Row, named_params, params};

use super::{account_id, collect, millis, moment, person};
use crate::store::health::is_about_one_row;
use crate::store::{PageMark, RefusedCall, StoreError};

/// Every reason, to read back what [`EndReason::name`] wrote.
const END_REASONS: [EndReason; 9] = [
    EndReason::HungUp,
    EndReason::Declined,
    EndReason::TimedOut,
    EndReason::Busy,
    EndReason::Cancelled,
    EndReason::AnsweredElsewhere,
    EndReason::PartyLost,
    EndReason::MediaFailed,
    EndReason::NodeLost,
];

/// Keeps the calls as they are now. A row that is newer already stays. A row that is refused undoes itself alone: the
/// statement fails, its transaction goes on.
pub(in crate::store) fn save_calls(
    db: &mut Connection,
    calls: &[CallRecord],
) -> Result<Vec<RefusedCall>, StoreError> {
    let transaction = db.transaction()?;
    let mut refused = Vec::new();
    {
        let mut save = transaction.prepare_cached(
            "INSERT INTO calls VALUES (
                 :call_id, :revision, :state, :end_reason, :video, :node, :boot,
                 :created_at, :accepted_at, :live_at, :ended_at,
                 :caller_account, :caller_handle, :caller_name, :caller_device, :caller_leg, :caller_audio, :caller_video,
                 :callee_account, :callee_handle, :callee_name, :callee_device, :callee_leg, :callee_audio, :callee_video,
                 :caller_exposed_at, :caller_exposed_public, :caller_exposed_local,
                 :callee_exposed_at, :callee_exposed_public, :callee_exposed_local)
             ON CONFLICT (call_id) DO UPDATE SET
                 revision = :revision, state = :state, end_reason = :end_reason, node = :node, boot = :boot,
                 accepted_at = :accepted_at, live_at = :live_at, ended_at = :ended_at,
                 caller_device = :caller_device, caller_leg = :caller_leg,
                 caller_audio = :caller_audio, caller_video = :caller_video,
                 callee_device = :callee_device, callee_leg = :callee_leg,
                 callee_audio = :callee_audio, callee_video = :callee_video,
                 caller_exposed_at = :caller_exposed_at,
                 caller_exposed_public = :caller_exposed_public, caller_exposed_local = :caller_exposed_local,
                 callee_exposed_at = :callee_exposed_at,
                 callee_exposed_public = :callee_exposed_public, callee_exposed_local = :callee_exposed_local
             WHERE revision <= :revision",
        )?;
        for call in calls {
            let (state, end_reason) = state_text(call.state);
            let [caller, callee] = &call.seats;
            let [of_caller, of_callee] = call.exposure;
            let public = |exposure: Option<Exposure>| exposure.is_some_and(|e| e.public);
            let local = |exposure: Option<Exposure>| exposure.is_some_and(|e| e.local_network);
            let leg = |seat: &SeatRecord| seat.leg.map(|leg| leg.as_u128().to_be_bytes());
            let saved = save.execute(named_params! {
                ":call_id": call.id.as_u128().to_be_bytes(),
                ":revision": i64::try_from(call.revision).unwrap_or(i64::MAX),
                ":state": state,
                ":end_reason": end_reason,
                ":video": call.video,
                ":node": call.node.as_str(),
                ":boot": call.boot,
                ":created_at": millis(call.created_at),
                ":accepted_at": call.accepted_at.map(millis),
                ":live_at": call.live_at.map(millis),
                ":ended_at": call.ended_at.map(millis),
                ":caller_account": caller.account.expose(),
                ":caller_handle": caller.person.handle.as_str(),
                ":caller_name": &*caller.person.display_name,
                ":caller_device": caller.device.as_ref().map(DeviceId::as_str),
                ":caller_leg": leg(caller),
                ":caller_audio": caller.media.audio,
                ":caller_video": caller.media.video,
                ":callee_account": callee.account.expose(),
                ":callee_handle": callee.person.handle.as_str(),
                ":callee_name": &*callee.person.display_name,
                ":callee_device": callee.device.as_ref().map(DeviceId::as_str),
                ":callee_leg": leg(callee),
                ":callee_audio": callee.media.audio,
                ":callee_video": callee.media.video,
                ":caller_exposed_at": of_caller.map(|e| millis(e.since)),
                ":caller_exposed_public": public(of_caller),
                ":caller_exposed_local": local(of_caller),
                ":callee_exposed_at": of_callee.map(|e| millis(e.since)),
                ":callee_exposed_public": public(of_callee),
                ":callee_exposed_local": local(of_callee),
            });
            match saved {
                Ok(_) => {}
                Err(error) if is_about_one_row(&error) => refused.push(RefusedCall { call: call.id, error }),
                Err(error) => return Err(error.into()),
            }
        }
    }
    transaction.commit()?;
    Ok(refused)
}

/// Every call that has not ended.
pub(in crate::store) fn open_calls(db: &mut Connection) -> Result<Vec<CallRecord>, StoreError> {
    let mut select =
        db.prepare_cached("SELECT * FROM calls WHERE state <> 'ended' ORDER BY created_at, call_id")?;
    collect(&mut select, [], record)
}

/// One call as this account last saw it.
pub(in crate::store) fn call(
    db: &mut Connection,
    account: &AccountId,
    id: CallId,
) -> Result<Option<CallView>, StoreError> {
    let mut select = db.prepare_cached("SELECT * FROM calls WHERE call_id = ?1")?;
    let found = collect(&mut select, [id.as_u128().to_be_bytes()], record)?.pop();
    Ok(found.and_then(|call| view(&call, account)))
}

/// A page of an account's history. Each seat has an index in the page's order; the two are merged here.
pub(in crate::store) fn history(
    db: &mut Connection,
    account: &AccountId,
    before: Option<PageMark>,
    limit: u32,
) -> Result<Vec<CallView>, StoreError> {
    // Ids have 16 bytes, so 17 sort after all of them.
    let (time, id) = before.map_or((i64::MAX, vec![0xff; 17]), |mark| {
        (millis(mark.created_at), mark.call.as_u128().to_be_bytes().to_vec())
    });
    let mut calls = Vec::new();
    for seat in ["caller_account", "callee_account"] {
        let mut select = db.prepare_cached(&format!(
            "SELECT * FROM calls WHERE {seat} = ?1 AND (created_at, call_id) < (?2, ?3)
             ORDER BY created_at DESC, call_id DESC LIMIT ?4"
        ))?;
        calls.extend(collect(&mut select, params![account.expose(), time, id, limit], record)?);
    }
    calls.sort_by_key(|call| std::cmp::Reverse((call.created_at, call.id)));
    calls.truncate(limit as usize);
    Ok(calls.iter().filter_map(|call| view(call, account)).collect())
}

/// The call as the account sees it on no device in particular; `None` if it is neither party's.
fn view(call: &CallRecord, account: &AccountId) -> Option<CallView> {
    let role = Party::BOTH.into_iter().find(|party| call.seats[*party as usize].account == *account)?;
    let (own, peer) = (&call.seats[role as usize], &call.seats[role.other() as usize]);
    Some(CallView {
        id: call.id,
        revision: call.revision,
        state: call.state,
        role,
        peer: peer.person.clone(),
        video: call.video,
        created_at: call.created_at,
        accepted_at: call.accepted_at,
        live_at: call.live_at,
        ended_at: call.ended_at,
        own_media: own.media,
        peer_media: peer.media,
        peer_connected: false,
        on_this_device: false,
        leg_wanted: false,
        without_pictures: false,
        direct: None,
        own_exposure: call.exposure[role as usize],
        peer_exposure: call.exposure[role.other() as usize],
    })
}

fn record(row: &Row<'_>) -> Result<CallRecord, StoreError> {
    let time = |column: &str| row.get::<_, Option<i64>>(column)?.map(moment).transpose();
    let node: String = row.get("node")?;
    Ok(CallRecord {
        id: CallId::from_u128(u128::from_be_bytes(row.get("call_id")?)),
        revision: row.get::<_, i64>("revision")?.try_into().map_err(|_| StoreError::Corrupt("revision"))?,
        state: state(row)?,
        video: row.get("video")?,
        seats: [seat(row, "caller")?, seat(row, "callee")?],
        node: NodeId::new(&node).map_err(|_| StoreError::Corrupt("node id"))?,
        boot: row.get("boot")?,
        created_at: moment(row.get("created_at")?)?,
        accepted_at: time("accepted_at")?,
        live_at: time("live_at")?,
        ended_at: time("ended_at")?,
        exposure: [exposure(row, "caller")?, exposure(row, "callee")?],
    })
}

fn exposure(row: &Row<'_>, party: &str) -> Result<Option<Exposure>, StoreError> {
    let column = |name: &str| format!("{party}_exposed_{name}");
    let since: Option<i64> = row.get(column("at").as_str())?;
    let Some(since) = since else { return Ok(None) };
    Ok(Some(Exposure {
        since: moment(since)?,
        public: row.get(column("public").as_str())?,
        local_network: row.get(column("local").as_str())?,
    }))
}

fn seat(row: &Row<'_>, party: &str) -> Result<SeatRecord, StoreError> {
    let column = |name: &str| format!("{party}_{name}");
    let device: Option<String> = row.get(column("device").as_str())?;
    let leg: Option<[u8; 16]> = row.get(column("leg").as_str())?;
    Ok(SeatRecord {
        account: account_id(row, &column("account"))?,
        person: person(row, &column("handle"), &column("name"))?,
        device: device
            .map(|id| DeviceId::new(&id).map_err(|_| StoreError::Corrupt("device id")))
            .transpose()?,
        leg: leg.map(|bytes| LegId::from_u128(u128::from_be_bytes(bytes))),
        media: MediaState {
            audio: row.get(column("audio").as_str())?,
            video: row.get(column("video").as_str())?,
        },
    })
}

fn state_text(state: CallState) -> (&'static str, Option<&'static str>) {
    match state {
        CallState::Created => ("created", None),
        CallState::Ringing => ("ringing", None),
        CallState::Accepted => ("accepted", None),
        CallState::Live => ("live", None),
        CallState::Ended(reason) => ("ended", Some(reason.name())),
    }
}

fn state(row: &Row<'_>) -> Result<CallState, StoreError> {
    let end_reason: Option<String> = row.get("end_reason")?;
    let state = row.get_ref("state")?.as_str().map_err(rusqlite::Error::from)?;
    Ok(match (state, end_reason.as_deref()) {
        ("created", None) => CallState::Created,
        ("ringing", None) => CallState::Ringing,
        ("accepted", None) => CallState::Accepted,
        ("live", None) => CallState::Live,
        ("ended", Some(text)) => {
            let reason = END_REASONS.into_iter().find(|reason| reason.name() == text);
            CallState::Ended(reason.ok_or(StoreError::Corrupt("end reason"))?)
        }
        _ => return Err(StoreError::Corrupt("call state")),
    })
}
