//! What the platform says of its accounts besides their names.

use duocast_model::{AccountId, UnixMillis};

use super::{FollowError, Store, StoreError, sqlite};

/// Most entries of one address book.
pub const ADDRESS_BOOK_MAX: u32 = 10_000;

/// Rows that one step of the clean-up deletes. Higher keeps calls waiting for the writer, lower takes more steps.
const TIDY_BATCH: u32 = 500;

/// A keyed hash of a phone number or an e-mail address.
pub type ContactHash = [u8; 32];

/// "`sender` sent `recipient` a direct message", and "`recipient` accepted it".
#[derive(Debug, Clone)]
pub struct MessageChange {
    /// Who sent.
    pub sender: AccountId,
    /// To whom.
    pub recipient: AccountId,
    /// `None`: no message; true: an accepted one.
    pub accepted: Option<bool>,
}

/// A change of an address book.
#[derive(Debug, Clone)]
pub struct BookChange {
    /// Whose.
    pub owner: AccountId,
    /// Forget what there was.
    pub replace: bool,
    /// New entries.
    pub add: Vec<ContactHash>,
    /// Entries that go.
    pub remove: Vec<ContactHash>,
}

/// Why an address book is not changed.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The account does not exist.
    #[error("account_id: this account is unknown, create it with UpsertAccounts first")]
    AccountUnknown,
    /// [`ADDRESS_BOOK_MAX`] would be exceeded.
    #[error("add: the address book would have more than 10,000 entries, remove some first")]
    Full,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Sets and removes direct messages: all or none.
    pub async fn set_messages(&self, changes: Vec<MessageChange>) -> Result<(), FollowError> {
        self.write(move |db| sqlite::set_messages(db, &changes)).await
    }

    /// Changes an address book.
    pub async fn set_address_book(&self, change: BookChange) -> Result<(), BookError> {
        self.write(move |db| sqlite::set_address_book(db, &change)).await
    }

    /// Deletes what has expired, and calls that ended before `calls_before`: a bounded number of rows. True if there may be
    /// more.
    pub async fn tidy(&self, now: UnixMillis, calls_before: UnixMillis) -> Result<bool, StoreError> {
        self.write(move |db| sqlite::tidy(db, now, calls_before, TIDY_BATCH)).await
    }
}
