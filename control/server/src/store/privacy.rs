//! What accounts chose and permitted: settings, grants, blocks, call requests.

use std::time::Duration;

use duocast_control_core::policy::Denied;
use duocast_control_core::session::{CallRequest, Person};
use duocast_model::{AccountId, AudienceSet, DirectSetting, Handle, PrivacySettings, Strangers, UnixMillis};

use super::{Store, StoreError, sqlite};

/// Most grants of one account. Higher makes its list longer than a person can look through.
pub const GRANTS_MAX: u32 = 1_000;

/// Most blocks of one account.
pub const BLOCKS_MAX: u32 = 10_000;

/// Most requests that wait for one account's answer, and most that one account has sent and that count. Higher lets strangers
/// fill a list, lower turns away honest ones.
pub const REQUESTS_MAX: u32 = 100;

/// How long a call request counts, answered with no or not at all; then it can be sent anew.
pub const REQUEST_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// An account's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnSettings {
    /// What it chose.
    pub settings: PrivacySettings,
    /// It has answered the first question.
    pub decided: bool,
}

/// A change of settings: what is `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct SettingsChange {
    /// Calling on or off.
    pub calling: Option<bool>,
    /// Who may call.
    pub audience: Option<AudienceSet>,
    /// What happens to others.
    pub strangers: Option<Strangers>,
    /// Every call routed.
    pub enhanced_call_privacy: Option<bool>,
    /// When media may go directly.
    pub direct: Option<DirectSetting>,
    /// Only end-to-end encrypted calls.
    pub require_e2ee: Option<bool>,
}

impl SettingsChange {
    /// The settings after the change.
    pub fn applied_to(&self, before: PrivacySettings) -> PrivacySettings {
        PrivacySettings {
            calling: self.calling.unwrap_or(before.calling),
            audience: self.audience.unwrap_or(before.audience),
            strangers: self.strangers.unwrap_or(before.strangers),
            enhanced_call_privacy: self.enhanced_call_privacy.unwrap_or(before.enhanced_call_privacy),
            direct: self.direct.unwrap_or(before.direct),
            require_e2ee: self.require_e2ee.unwrap_or(before.require_e2ee),
        }
    }
}

/// Settings before and after a change.
#[derive(Debug, Clone, Copy)]
pub struct Changed {
    /// Before.
    pub before: OwnSettings,
    /// After.
    pub after: OwnSettings,
}

/// Somebody, for the store and for show.
#[derive(Debug, Clone)]
pub struct Named {
    /// Which account.
    pub account: AccountId,
    /// As shown.
    pub person: Person,
}

/// Who did something, and to whom.
#[derive(Debug, Clone)]
pub struct Parties {
    /// Who asked for it.
    pub own: Named,
    /// The other one.
    pub other: Named,
}

/// A permission that an account gave.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Who may call.
    pub person: Person,
    /// When it was given.
    pub created_at: UnixMillis,
    /// When it ends.
    pub expires_at: UnixMillis,
    /// By accepting a call request.
    pub from_request: bool,
}

/// A grant that was made.
#[derive(Debug)]
pub struct Granted {
    /// Who gave it to whom.
    pub parties: Parties,
    /// What was given.
    pub grant: Grant,
    /// When the request was sent that this answers, if it answers one.
    pub answers: Option<UnixMillis>,
}

/// What became of an answer to a call request.
#[derive(Debug)]
pub enum Answered {
    /// Accepted.
    Accepted(Granted),
    /// Declined; `closed` is when the request was sent, unless it was declined before.
    Declined {
        /// Who said no to whom.
        parties: Parties,
        /// When the request was sent that this took out of the list.
        closed: Option<UnixMillis>,
    },
}

/// Somebody who is blocked.
#[derive(Debug, Clone)]
pub struct Blocked {
    /// Who.
    pub person: Person,
    /// Since when.
    pub since: UnixMillis,
}

/// A block that was made.
#[derive(Debug)]
pub struct BlockMade {
    /// Who blocked whom.
    pub parties: Parties,
    /// When the request was sent that this took out of the blocker's list, if there was one.
    pub closed: Option<UnixMillis>,
}

/// A call request that is sent, now or before.
#[derive(Debug)]
pub struct RequestSent {
    /// Who asks whom.
    pub parties: Parties,
    /// When it was sent.
    pub created_at: UnixMillis,
    /// It was sent now.
    pub is_new: bool,
}

/// An account's requests as it sees them, newest first.
#[derive(Debug)]
pub struct Requests {
    /// Those that wait for its answer.
    pub incoming: Vec<CallRequest>,
    /// Those that it sent.
    pub outgoing: Vec<CallRequest>,
}

/// Why a permission is not changed.
#[derive(Debug, thiserror::Error)]
pub enum PrivacyError {
    /// Nobody has the handle.
    #[error("nobody has this handle: check its spelling")]
    PersonUnknown,
    /// The account itself was named.
    #[error("this is your own account: name somebody else")]
    Oneself,
    /// The person is blocked.
    #[error("you blocked this person: unblock them first")]
    IsBlocked,
    /// [`GRANTS_MAX`] is reached.
    #[error("you have given 1,000 permissions to call: revoke some first")]
    GrantsFull,
    /// [`BLOCKS_MAX`] is reached.
    #[error("you have blocked 10,000 people: unblock some first")]
    BlocksFull,
    /// [`REQUESTS_MAX`] of the receiver's is reached.
    #[error("too many call requests wait for this person: try again in a few days")]
    ReceiverFull,
    /// [`REQUESTS_MAX`] of the sender's is reached.
    #[error(
        "100 call requests of yours wait for an answer: send another one when some were answered or expired"
    )]
    SenderFull,
    /// There is no request from this person.
    #[error("no call request of this person waits for your answer: it may have expired")]
    RequestUnknown,
    /// A call would ring.
    #[error("you may call this person without asking: place the call")]
    AlreadyAllowed,
    /// Policy says no.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for PrivacyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// The account's settings, if it is known.
    pub async fn settings(&self, account: AccountId) -> Result<Option<OwnSettings>, StoreError> {
        self.reader().run(move |db| sqlite::own_settings(db, &account)).await
    }

    /// Changes settings; `None` if the account is not known.
    pub async fn update_settings(
        &self,
        account: AccountId,
        change: SettingsChange,
    ) -> Result<Option<Changed>, StoreError> {
        self.write(move |db| sqlite::update_settings(db, &account, &change)).await
    }

    /// Permissions that the account gave and that have not expired, by handle, those after `after`. Without people it blocked.
    pub async fn grants(
        &self,
        account: AccountId,
        now: UnixMillis,
        after: Option<Handle>,
        limit: u32,
    ) -> Result<Vec<Grant>, StoreError> {
        self.reader().run(move |db| sqlite::grants(db, &account, now, after.as_ref(), limit)).await
    }

    /// Lets somebody call. Answers a request of theirs, if there is one.
    pub async fn create_grant(
        &self,
        account: AccountId,
        grantee: Handle,
        now: UnixMillis,
        lasts: Duration,
    ) -> Result<Granted, PrivacyError> {
        self.write(move |db| sqlite::create_grant(db, &account, &grantee, now, lasts)).await
    }

    /// Takes a permission back, if there is one.
    pub async fn revoke_grant(&self, account: AccountId, grantee: Handle) -> Result<Parties, PrivacyError> {
        self.write(move |db| sqlite::revoke_grant(db, &account, &grantee)).await
    }

    /// People whom the account blocked, by handle, those after `after`.
    pub async fn blocks(
        &self,
        account: AccountId,
        after: Option<Handle>,
        limit: u32,
    ) -> Result<Vec<Blocked>, StoreError> {
        self.reader().run(move |db| sqlite::blocks(db, &account, after.as_ref(), limit)).await
    }

    /// Blocks somebody.
    pub async fn block(
        &self,
        account: AccountId,
        person: Handle,
        now: UnixMillis,
    ) -> Result<BlockMade, PrivacyError> {
        self.write(move |db| sqlite::block(db, &account, &person, now)).await
    }

    /// Takes a block back, if there is one.
    pub async fn unblock(&self, account: AccountId, person: Handle) -> Result<Parties, PrivacyError> {
        self.write(move |db| sqlite::unblock(db, &account, &person)).await
    }

    /// Keeps a call request if policy lets it through; policy is asked in the transaction that keeps it.
    pub async fn send_request(
        &self,
        account: AccountId,
        receiver: Handle,
        now: UnixMillis,
    ) -> Result<RequestSent, PrivacyError> {
        let profile = self.profile;
        self.write(move |db| sqlite::send_request(db, profile, &account, &receiver, now)).await
    }

    /// The account's requests, at most [`REQUESTS_MAX`] each way.
    pub async fn requests(&self, account: AccountId, now: UnixMillis) -> Result<Requests, StoreError> {
        self.reader().run(move |db| sqlite::requests(db, &account, now)).await
    }

    /// Accepts a request: a grant that lasts so long.
    pub async fn accept_request(
        &self,
        account: AccountId,
        sender: Handle,
        now: UnixMillis,
        lasts: Duration,
    ) -> Result<Answered, PrivacyError> {
        self.write(move |db| sqlite::accept_request(db, &account, &sender, now, lasts)).await
    }

    /// Declines a request.
    pub async fn decline_request(
        &self,
        account: AccountId,
        sender: Handle,
        now: UnixMillis,
        block: bool,
    ) -> Result<Answered, PrivacyError> {
        self.write(move |db| sqlite::decline_request(db, &account, &sender, now, block)).await
    }
}
