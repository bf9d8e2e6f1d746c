//! Two accounts and all that is between them: what the policy decides from, and what one may know of the other.

use duocast_control_core::policy::{self, Facts, Outcome, Profile, Relation, RequestHistory, Situation};
use duocast_control_core::session::Person;
use duocast_model::{AccountId, Handle, PrivacySettings, UnixMillis};

use super::{Store, StoreError, sqlite};

/// Most people that the questions about "everybody known" look at: the first by handle. Higher answers popular accounts more
/// fully and costs a read of a few microseconds for each.
pub const KNOWN_MAX: u32 = 5_000;

/// Whether a call between two clients of this server can be end-to-end encrypted.
const E2EE_AVAILABLE: bool = false;

/// One of two accounts, and what it did to the other.
#[derive(Debug, Clone)]
pub struct Side {
    /// Which account.
    pub account: AccountId,
    /// As shown.
    pub person: Person,
    /// What it chose.
    pub settings: PrivacySettings,
    /// The platform's badge.
    pub verified: bool,
    /// It follows the other.
    pub follows: bool,
    /// It is in the other's address book.
    pub in_others_book: bool,
    /// It sent the other a direct message; true: the other accepted it.
    pub message: Option<bool>,
    /// It gave the other permission to call, and that has not expired: until then.
    pub grants_until: Option<UnixMillis>,
    /// It blocked the other.
    pub blocks: bool,
    /// What became of its call request to the other.
    pub request: RequestHistory,
}

/// Two accounts; `me` is who asks.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Who asks.
    pub me: Side,
    /// The other one.
    pub other: Side,
}

impl Pair {
    /// What decides whether `me` may call.
    pub fn outgoing(&self) -> Facts {
        facts(&self.me, &self.other)
    }

    /// What decides whether the other may call.
    pub fn incoming(&self) -> Facts {
        facts(&self.other, &self.me)
    }

    /// They follow each other.
    pub fn is_mutual(&self) -> bool {
        self.me.follows && self.other.follows
    }

    /// One has blocked the other.
    pub fn is_blocked(&self) -> bool {
        self.me.blocks || self.other.blocks
    }

    /// Each is in the other's list of contacts: they follow each other, or one may call the other by a grant.
    pub fn is_contact(&self) -> bool {
        self.is_mutual() || self.me.grants_until.is_some() || self.other.grants_until.is_some()
    }

    /// `me` may know when the other can be reached: a contact that would ring if `me` called. What `me` chose for itself
    /// does not matter but for a block.
    pub fn sees(&self, profile: Profile) -> bool {
        let would_ring = policy::incoming(profile, &self.outgoing().situation).outcome == Outcome::Allow;
        self.is_contact() && !self.me.blocks && would_ring
    }

    /// The same, the other way round.
    pub fn is_seen(&self, profile: Profile) -> bool {
        let would_ring = policy::incoming(profile, &self.incoming().situation).outcome == Outcome::Allow;
        self.is_contact() && !self.other.blocks && would_ring
    }
}

fn facts(caller: &Side, callee: &Side) -> Facts {
    let situation = Situation {
        caller: caller.settings,
        callee: callee.settings,
        relation: Relation {
            caller_follows: caller.follows,
            callee_follows: callee.follows,
            in_address_book: caller.in_others_book,
            caller_verified: caller.verified,
            dm_sent: caller.message.is_some(),
            dm_accepted: caller.message == Some(true),
        },
        grant: callee.grants_until.is_some(),
        blocked_by_callee: callee.blocks,
        blocked_by_caller: caller.blocks,
        request: caller.request,
        e2ee_available: E2EE_AVAILABLE,
    };
    Facts { caller: caller.account.clone(), callee: callee.account.clone(), situation }
}

/// A contact, and whether the account may know when it can be reached.
#[derive(Debug, Clone)]
pub struct Contact {
    /// Which account.
    pub account: AccountId,
    /// As shown.
    pub person: Person,
    /// Its presence may be shown.
    pub visible: bool,
}

/// An account, and what others and it may know of each other's presence.
#[derive(Debug)]
pub struct Watched {
    /// Which account.
    pub account: AccountId,
    /// As shown.
    pub person: Person,
    /// `by` has everybody who might be told of it.
    pub is_whole: bool,
    /// Those who might be told of it, and whether they may know.
    pub by: Vec<(AccountId, bool)>,
    /// Those whom it might be told of, and whether it may know.
    pub of: Vec<Contact>,
}

/// Whose presence may have changed for whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watch {
    /// Everybody who might be told of this account.
    Account(AccountId),
    /// That, and everybody whom it might be told of.
    Both(AccountId),
    /// These two, each for the other.
    Pair(AccountId, AccountId),
}

impl Store {
    /// The two accounts, and all that is between them, in one read; `None` if nobody has the handle.
    pub async fn pair(
        &self,
        me: AccountId,
        other: Handle,
        now: UnixMillis,
    ) -> Result<Option<Pair>, StoreError> {
        self.reader().run(move |db| sqlite::pair_by_handle(db, &me, &other, now)).await
    }

    /// The same by account ids; `None` if one of the two is not known.
    pub async fn pair_of(
        &self,
        me: AccountId,
        other: AccountId,
        now: UnixMillis,
    ) -> Result<Option<Pair>, StoreError> {
        self.reader().run(move |db| sqlite::pair_by_id(db, &me, &other, now)).await
    }

    /// The account's contacts by display name, at most [`CONTACTS_MAX`](super::CONTACTS_MAX), without those it blocked.
    pub async fn contacts(&self, account: AccountId, now: UnixMillis) -> Result<Vec<Contact>, StoreError> {
        let profile = self.profile;
        self.reader().run(move |db| sqlite::contacts(db, profile, &account, now)).await
    }

    /// Who may know what of whose presence. Unknown accounts are left out.
    pub async fn watched(&self, asked: Vec<Watch>, now: UnixMillis) -> Result<Vec<Watched>, StoreError> {
        let profile = self.profile;
        self.reader().run(move |db| sqlite::watched(db, profile, &asked, now)).await
    }

    /// Goes through the people that an account knows, by handle and after `after`, and keeps what `pick` makes of them, until
    /// there are `limit`. It knows whom it follows, who follows it, whom it gave a grant and who gave it one, who is in its
    /// address book and with whom it talked; at most [`KNOWN_MAX`] of them are looked at.
    pub async fn known<T: Send + 'static>(
        &self,
        account: AccountId,
        now: UnixMillis,
        after: Option<Handle>,
        limit: usize,
        pick: impl FnMut(&Pair) -> Option<T> + Send + 'static,
    ) -> Result<Vec<T>, StoreError> {
        self.reader().run(move |db| sqlite::known(db, &account, now, after.as_ref(), limit, pick)).await
    }
}
