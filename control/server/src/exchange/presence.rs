//! Who must be told that an account came or went: looked up beside the exchange, one batch at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, pending};
use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;

use duocast_control_core::session::Person;
use duocast_model::AccountId;

use crate::clock::Clock;
use crate::store::{Store, StoreError, Watch, Watched};

/// Accounts of one look-up. Higher delays the first of them, lower makes more reads.
const BATCH: usize = 64;

type Lookup = Pin<Box<dyn Future<Output = Result<Vec<Watched>, StoreError>> + Send>>;

/// Accounts whose reachability changed. An account that changes again while it waits is looked up once and told as it is
/// then; so there are only few entries for each account that has, or just had, a session.
pub(super) struct Presence {
    store: Store,
    clock: Clock,
    waiting: BTreeSet<Watch>,
    lookup: Option<Lookup>,
}

impl Presence {
    pub(super) fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, waiting: BTreeSet::new(), lookup: None }
    }

    pub(super) fn changed(&mut self, watch: Watch) {
        self.waiting.insert(watch);
    }

    /// The next accounts with those who may know; waits for ever if nothing changed. Cancel-safe.
    pub(super) async fn next(&mut self) -> Vec<Watched> {
        if self.lookup.is_none() && !self.waiting.is_empty() {
            let mut batch = Vec::new();
            while batch.len() < BATCH
                && let Some(watch) = self.waiting.pop_first()
            {
                batch.push(watch);
            }
            let (store, now) = (self.store.clone(), self.clock.now());
            self.lookup = Some(Box::pin(async move { store.watched(batch, now).await }));
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

/// What is news: who was last told that whom can be reached. Contacts hear of changes only.
///
/// Holds at most those that have sessions, and of each watcher 8 bytes: a keyed hash, for there may be millions of pairs.
#[derive(Default)]
pub(super) struct Told {
    online: BTreeMap<AccountId, Online>,
    hasher: RandomState,
}

struct Online {
    person: Person,
    /// Sorted.
    watchers: Vec<u64>,
}

impl Told {
    /// True if anybody was told that this account can be reached.
    pub(super) fn is_online(&self, account: &AccountId) -> bool {
        self.online.contains_key(account)
    }

    /// Notes that `watcher` sees `who` online, or not. True if that is news.
    pub(super) fn is_news(
        &mut self,
        watcher: &AccountId,
        who: &AccountId,
        person: &Person,
        online: bool,
    ) -> bool {
        let key = self.hasher.hash_one(watcher);
        let Some(told) = self.online.get_mut(who) else {
            if online {
                let first = Online { person: person.clone(), watchers: vec![key] };
                self.online.insert(who.clone(), first);
            }
            return online;
        };
        match (told.watchers.binary_search(&key), online) {
            (Ok(_), true) => told.person != *person,
            (Ok(at), false) => {
                told.watchers.remove(at);
                true
            }
            (Err(at), true) => {
                told.watchers.insert(at, key);
                true
            }
            (Err(_), false) => false,
        }
    }

    /// Everybody was told who this is now; or that they are gone.
    pub(super) fn settle(&mut self, who: &AccountId, person: &Person, online: bool) {
        if !online {
            self.online.remove(who);
        } else if let Some(told) = self.online.get_mut(who) {
            told.person = person.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_watcher_hears_of_changes_only() {
        let account = |id: &str| AccountId::new(id).unwrap();
        let person = |name: &str| Person {
            handle: duocast_model::Handle::new("bob").unwrap(),
            display_name: name.into(),
        };
        let (alice, carol, bob) = (account("a"), account("c"), account("b"));
        let mut told = Told::default();
        assert!(!told.is_news(&alice, &bob, &person("Bob"), false), "nobody thought otherwise");
        assert!(told.is_news(&alice, &bob, &person("Bob"), true));
        assert!(!told.is_news(&alice, &bob, &person("Bob"), true));
        assert!(told.is_news(&carol, &bob, &person("Bob"), true), "the other one knew nothing");
        assert!(told.is_news(&carol, &bob, &person("Bob"), false));
        assert!(told.is_news(&alice, &bob, &person("Robert"), true), "a new name is news");
        told.settle(&bob, &person("Robert"), true);
        assert!(!told.is_news(&alice, &bob, &person("Robert"), true));
        told.settle(&bob, &person("Robert"), false);
        assert!(!told.is_online(&bob));
    }
}
