//! Who must be told that an account came or went: looked up beside the exchange, one batch at a time.

use std::collections::BTreeSet;
use std::future::{Future, pending};
use std::pin::Pin;

use duocast_model::AccountId;

use crate::store::{Store, StoreError, Watched};

/// Accounts of one look-up. Higher delays the first of them, lower makes more reads.
const BATCH: usize = 64;

type Lookup = Pin<Box<dyn Future<Output = Result<Vec<Watched>, StoreError>> + Send>>;

/// Accounts whose reachability changed. An account that changes again while it waits is looked up once and told as it is
/// then; so there is at most one entry for each account that has, or just had, a session.
pub(super) struct Presence {
    store: Store,
    waiting: BTreeSet<AccountId>,
    lookup: Option<Lookup>,
}

impl Presence {
    pub(super) fn new(store: Store) -> Self {
        Self { store, waiting: BTreeSet::new(), lookup: None }
    }

    pub(super) fn changed(&mut self, account: AccountId) {
        self.waiting.insert(account);
    }

    /// The next accounts with those who may know; waits for ever if nothing changed. Cancel-safe.
    pub(super) async fn next(&mut self) -> Vec<Watched> {
        if self.lookup.is_none() && !self.waiting.is_empty() {
            let mut batch = Vec::new();
            while batch.len() < BATCH
                && let Some(account) = self.waiting.pop_first()
            {
                batch.push(account);
            }
            let store = self.store.clone();
            self.lookup = Some(Box::pin(async move { store.watched(batch).await }));
        }
        let Some(lookup) = &mut self.lookup else { return pending().await };
        let found = lookup.await;
        self.lookup = None;
        found.unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "contacts were not told of a change of presence"
            );
            Vec::new()
        })
    }
}
