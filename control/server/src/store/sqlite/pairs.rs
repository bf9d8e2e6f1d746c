//! Two accounts with all that is between them, and the sets of accounts that belong to one.

use std::sync::LazyLock;

use duocast_control_core::policy::{Profile, RequestHistory};
use duocast_control_core::session::Person;
use duocast_model::{AccountId, AudienceSet, DirectSetting, Handle, PrivacySettings, Strangers, UnixMillis};
use rusqlite::types::FromSql;
use rusqlite::{Connection, Row, named_params};

use super::{collect, millis, moment};
use crate::store::{CONTACTS_MAX, Contact, KNOWN_MAX, Pair, Side, StoreError, Watch, Watched};

static BY_HANDLE: LazyLock<String> = LazyLock::new(|| select("handle"));
static BY_ID: LazyLock<String> = LazyLock::new(|| select("account_id"));

fn select(other_by: &str) -> String {
    let (me, other) = (columns("me", "other"), columns("other", "me"));
    format!(
        "SELECT {me}, {other} FROM accounts me, accounts other
         WHERE me.account_id = :me AND other.{other_by} = :other"
    )
}

/// Those that [`side`] reads, in its order. Each looks up one row by its key.
fn columns(own: &str, other: &str) -> String {
    let (own_id, other_id) = (format!("{own}.account_id"), format!("{other}.account_id"));
    format!(
        "{own_id}, {own}.handle, {own}.display_name, {own}.calling_enabled, {own}.audience, {own}.strangers,
         {own}.enhanced_call_privacy, {own}.direct, {own}.require_e2ee, {own}.verified,
         EXISTS (SELECT 1 FROM follows WHERE follower = {own_id} AND followee = {other_id}),
         EXISTS (SELECT 1 FROM contact_hashes known JOIN address_book book
                 ON book.owner = {other_id} AND book.hash = known.hash WHERE known.account = {own_id}),
         (SELECT accepted FROM direct_messages WHERE sender = {own_id} AND recipient = {other_id}),
         (SELECT expires_at FROM grants WHERE granter = {own_id} AND grantee = {other_id} AND expires_at > :now),
         EXISTS (SELECT 1 FROM blocks WHERE blocker = {own_id} AND blocked = {other_id}),
         (SELECT state FROM call_requests
          WHERE sender = {own_id} AND receiver = {other_id} AND state <> 'accepted' AND expires_at > :now)"
    )
}

/// A row's columns, one after the other.
struct Cursor<'row> {
    row: &'row Row<'row>,
    next: usize,
}

impl Cursor<'_> {
    fn get<T: FromSql>(&mut self) -> Result<T, StoreError> {
        self.next += 1;
        Ok(self.row.get(self.next - 1)?)
    }

    fn text<T>(&mut self, what: &'static str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
        self.next += 1;
        let text = self.row.get_ref(self.next - 1)?.as_str().map_err(rusqlite::Error::from)?;
        read(text).ok_or(StoreError::Corrupt(what))
    }
}

pub(super) fn strangers_text(strangers: Strangers) -> &'static str {
    match strangers {
        Strangers::Request => "request",
        Strangers::Deny => "deny",
    }
}

pub(super) fn strangers(text: &str) -> Option<Strangers> {
    [Strangers::Request, Strangers::Deny].into_iter().find(|one| strangers_text(*one) == text)
}

pub(super) fn direct_text(direct: DirectSetting) -> &'static str {
    match direct {
        DirectSetting::Never => "never",
        DirectSetting::Ask => "ask",
        DirectSetting::Mutuals => "mutuals",
        DirectSetting::Anyone => "anyone",
    }
}

pub(super) fn direct(text: &str) -> Option<DirectSetting> {
    use DirectSetting::{Anyone, Ask, Mutuals, Never};
    [Never, Ask, Mutuals, Anyone].into_iter().find(|one| direct_text(*one) == text)
}

fn request_history(text: &str) -> Option<RequestHistory> {
    match text {
        "pending" => Some(RequestHistory::Pending),
        "declined" => Some(RequestHistory::Declined),
        _ => None,
    }
}

fn side(cursor: &mut Cursor<'_>) -> Result<Side, StoreError> {
    let account = cursor.text("account id", |text| AccountId::new(text).ok())?;
    let handle = cursor.text("handle", |text| Handle::new(text).ok())?;
    let display_name: String = cursor.get()?;
    let calling = cursor.get()?;
    let audience = AudienceSet::from_bits(cursor.get()?).ok_or(StoreError::Corrupt("audience"))?;
    let settings = PrivacySettings {
        calling,
        audience,
        strangers: cursor.text("strangers setting", strangers)?,
        enhanced_call_privacy: cursor.get()?,
        direct: cursor.text("direct setting", direct)?,
        require_e2ee: cursor.get()?,
    };
    let verified = cursor.get()?;
    let follows = cursor.get()?;
    let in_others_book = cursor.get()?;
    let message = cursor.get()?;
    let grants_until = cursor.get::<Option<i64>>()?.map(moment).transpose()?;
    let blocks = cursor.get()?;
    let request: Option<String> = cursor.get()?;
    let request = match request {
        None => RequestHistory::None,
        Some(text) => request_history(&text).ok_or(StoreError::Corrupt("call request state"))?,
    };
    let person = Person { handle, display_name: display_name.into() };
    Ok(Side {
        account,
        person,
        settings,
        verified,
        follows,
        in_others_book,
        message,
        grants_until,
        blocks,
        request,
    })
}

fn pair(row: &Row<'_>) -> Result<Pair, StoreError> {
    let mut cursor = Cursor { row, next: 0 };
    Ok(Pair { me: side(&mut cursor)?, other: side(&mut cursor)? })
}

/// The two accounts, and all that is between them; `None` if one is not known.
pub(in crate::store) fn pair_by_handle(
    db: &Connection,
    me: &AccountId,
    other: &Handle,
    now: UnixMillis,
) -> Result<Option<Pair>, StoreError> {
    let mut select = db.prepare_cached(&BY_HANDLE)?;
    let params = named_params! { ":me": me.expose(), ":other": other.as_str(), ":now": millis(now) };
    Ok(collect(&mut select, params, pair)?.pop())
}

/// The same, both by id.
pub(in crate::store) fn pair_by_id(
    db: &Connection,
    me: &AccountId,
    other: &AccountId,
    now: UnixMillis,
) -> Result<Option<Pair>, StoreError> {
    let mut select = db.prepare_cached(&BY_ID)?;
    let params = named_params! { ":me": me.expose(), ":other": other.expose(), ":now": millis(now) };
    Ok(collect(&mut select, params, pair)?.pop())
}

const CONTACTS: &str = "
    WITH ids (id) AS (
        SELECT mine.followee FROM follows mine
        JOIN follows theirs ON theirs.follower = mine.followee AND theirs.followee = mine.follower
        WHERE mine.follower = :me
        UNION SELECT grantee FROM grants WHERE granter = :me AND expires_at > :now
        UNION SELECT granter FROM grants WHERE grantee = :me AND expires_at > :now)
    SELECT a.account_id FROM ids JOIN accounts a ON a.account_id = ids.id
    ORDER BY a.display_name COLLATE NOCASE, a.handle LIMIT :max";

fn contact_pairs(db: &Connection, me: &AccountId, now: UnixMillis) -> Result<Vec<Pair>, StoreError> {
    let mut select = db.prepare_cached(CONTACTS)?;
    let params = named_params! { ":me": me.expose(), ":now": millis(now), ":max": CONTACTS_MAX };
    let ids = collect(&mut select, params, |row| super::account_id(row, "account_id"))?;
    ids.iter().filter_map(|id| pair_by_id(db, me, id, now).transpose()).collect()
}

/// Contacts by display name, without those whom the account blocked.
pub(in crate::store) fn contacts(
    db: &mut Connection,
    profile: Profile,
    me: &AccountId,
    now: UnixMillis,
) -> Result<Vec<Contact>, StoreError> {
    let snapshot = db.transaction()?;
    let pairs = contact_pairs(&snapshot, me, now)?;
    let kept = pairs.into_iter().filter(|pair| !pair.me.blocks);
    Ok(kept.map(|pair| contact(profile, pair)).collect())
}

fn contact(profile: Profile, pair: Pair) -> Contact {
    let visible = pair.sees(profile);
    Contact { account: pair.other.account, person: pair.other.person, visible }
}

/// Who may know what of whose presence.
pub(in crate::store) fn watched(
    db: &mut Connection,
    profile: Profile,
    asked: &[Watch],
    now: UnixMillis,
) -> Result<Vec<Watched>, StoreError> {
    let snapshot = db.transaction()?;
    let mut found = Vec::with_capacity(asked.len());
    for watch in asked {
        let (account, pairs, both) = match watch {
            Watch::Account(account) => (account, contact_pairs(&snapshot, account, now)?, false),
            Watch::Both(account) => (account, contact_pairs(&snapshot, account, now)?, true),
            Watch::Pair(one, other) => {
                (one, pair_by_id(&snapshot, one, other, now)?.into_iter().collect(), true)
            }
        };
        let Some(own) = super::privacy::by_id(&snapshot, account)? else { continue };
        let by = pairs.iter().map(|pair| (pair.other.account.clone(), pair.is_seen(profile))).collect();
        let of =
            if both { pairs.into_iter().map(|pair| contact(profile, pair)).collect() } else { Vec::new() };
        let is_whole = !matches!(watch, Watch::Pair(..));
        found.push(Watched { account: own.account, person: own.person, is_whole, by, of });
    }
    Ok(found)
}

/// Everybody that an account knows. Each source is bounded, so that a popular account costs no more than others.
const KNOWN: &str = "
    WITH ids (id) AS (
        SELECT followee FROM (SELECT followee FROM follows WHERE follower = :me LIMIT :max)
        UNION SELECT follower FROM (SELECT follower FROM follows WHERE followee = :me LIMIT :max)
        UNION SELECT grantee FROM grants WHERE granter = :me AND expires_at > :now
        UNION SELECT granter FROM
            (SELECT granter FROM grants WHERE grantee = :me AND expires_at > :now LIMIT :max)
        UNION SELECT account FROM
            (SELECT known.account FROM address_book book JOIN contact_hashes known ON known.hash = book.hash
             WHERE book.owner = :me LIMIT :max)
        UNION SELECT callee_account FROM
            (SELECT callee_account FROM calls WHERE caller_account = :me AND accepted_at IS NOT NULL
             ORDER BY created_at DESC LIMIT :max)
        UNION SELECT caller_account FROM
            (SELECT caller_account FROM calls WHERE callee_account = :me AND accepted_at IS NOT NULL
             ORDER BY created_at DESC LIMIT :max))
    SELECT a.account_id FROM ids JOIN accounts a ON a.account_id = ids.id
    WHERE a.handle > :after AND a.account_id <> :me ORDER BY a.handle LIMIT :max";

/// What `pick` makes of the people that an account knows.
pub(in crate::store) fn known<T>(
    db: &mut Connection,
    me: &AccountId,
    now: UnixMillis,
    after: Option<&Handle>,
    limit: usize,
    mut pick: impl FnMut(&Pair) -> Option<T>,
) -> Result<Vec<T>, StoreError> {
    let snapshot = db.transaction()?;
    let mut select = snapshot.prepare_cached(KNOWN)?;
    let params = named_params! {
        ":me": me.expose(),
        ":now": millis(now),
        ":max": KNOWN_MAX,
        // Every handle comes after the empty text.
        ":after": after.map_or("", Handle::as_str),
    };
    let ids = collect(&mut select, params, |row| super::account_id(row, "account_id"))?;
    let mut picked = Vec::new();
    for id in ids {
        if picked.len() >= limit {
            break;
        }
        let pair = pair_by_id(&snapshot, me, &id, now)?;
        picked.extend(pair.as_ref().and_then(&mut pick));
    }
    Ok(picked)
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::store::{AccountChange, SettingsChange};

    /// Most that a row more or less in an index may cost. A look-up takes some hundred.
    const ROW_STEPS: i32 = 8;

    /// What SQLite's machine does to look up what is between alice and somebody.
    fn steps(db: &Connection, other: &str) -> i32 {
        let mut select = db.prepare(&BY_HANDLE).unwrap();
        let found =
            select.query_map(named_params! { ":me": "a-alice", ":other": other, ":now": 2 }, |_| Ok(()));
        assert!(found.unwrap().count() <= 1);
        select.get_status(StatementStatus::VmStep)
    }

    #[test]
    fn to_look_up_a_block_costs_what_it_costs_to_look_up_that_calling_is_off() {
        let dir = tempfile::TempDir::new().unwrap();
        let mut db = super::super::open_writer(&dir.path().join("test.db")).unwrap();
        let account = |handle: &str| AccountId::new(&format!("a-{handle}")).unwrap();
        let people = ["alice", "blocker", "off", "open"]
            .map(|handle| AccountChange::named(account(handle), Handle::new(handle).unwrap(), None));
        let open = PrivacySettings { calling: true, ..PrivacySettings::DEFAULT };
        super::super::upsert_accounts(&mut db, UnixMillis(1), &open, &people).unwrap();
        let alice = Handle::new("alice").unwrap();
        super::super::block(&mut db, &account("blocker"), &alice, UnixMillis(1)).unwrap();
        let off = SettingsChange { calling: Some(false), ..Default::default() };
        super::super::update_settings(&mut db, &account("off"), &off).unwrap();

        let [blocked, off, open, unknown] =
            ["blocker", "off", "open", "nobody"].map(|handle| steps(&db, handle));
        assert!(
            (blocked - off).abs() <= ROW_STEPS,
            "{blocked} steps to see a block, {off} to see that it is off"
        );
        assert!(
            open - unknown > 10 * ROW_STEPS,
            "{unknown} steps for nobody, {open} for somebody: this counts"
        );
    }
}
