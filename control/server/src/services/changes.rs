//! What follows from a change of something that policy decides by: it takes effect at once, also for a call that is open.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use duocast_control_core::policy::{self, Decision};
use duocast_control_core::session::Event;
use duocast_control_core::switchboard::Recheck;
use duocast_model::{AccountId, CallId, Party, UnixMillis};
use tonic::Status;

use super::errors::IntoStatus;
use super::{Context, now};
use crate::exchange::ExchangeError;
use crate::store::Watch;

/// Accounts are told apart by this many counters. More make two accounts share one less often, which costs a second look.
const STRIPES: usize = 1024;

/// The clock that timers go by and the one that permissions end by differ by less than this over the length of a ring.
const CLOCK_STEP: Duration = Duration::from_millis(20);

/// Which accounts' facts changed, and when: so that a decision can be thrown away if it was overtaken on its way from the
/// store to the switchboard.
#[derive(Debug)]
pub(crate) struct Revisions {
    last: AtomicU64,
    of: Box<[AtomicU64]>,
}

/// A moment in the order of changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Revision(u64);

impl Default for Revisions {
    fn default() -> Self {
        Self { last: AtomicU64::new(0), of: (0..STRIPES).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Revisions {
    /// Now. To be taken before the facts are read.
    pub(super) fn now(&self) -> Revision {
        Revision(self.last.load(Ordering::SeqCst))
    }

    /// Facts of this account were written.
    fn changed(&self, account: &AccountId) {
        let revision = self.last.fetch_add(1, Ordering::SeqCst) + 1;
        self.stripe(account).fetch_max(revision, Ordering::SeqCst);
    }

    /// True if facts of these two that were read after `since` are still as they were.
    pub(super) fn is_unchanged(&self, pair: [&AccountId; 2], since: Revision) -> bool {
        pair.into_iter().all(|account| self.stripe(account).load(Ordering::SeqCst) <= since.0)
    }

    fn stripe(&self, account: &AccountId) -> &AtomicU64 {
        // FNV-1a: spreads well enough, and nobody gains by a collision.
        let hash = account.expose().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        &self.of[(hash % STRIPES as u64) as usize]
    }
}

impl Context {
    /// Runs a change to its end even if its client goes away meanwhile: what was written must take effect.
    pub(super) async fn to_the_end<T, F>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Status>> + Send + 'static,
    {
        tokio::spawn(work(self.clone())).await.unwrap_or_else(|_| Err(ExchangeError::Failed.status()))
    }

    /// Facts of these accounts were written: their open calls are decided again, and contacts are told what changed for them.
    pub(super) async fn changed(
        &self,
        accounts: Vec<AccountId>,
        by: ChangedBy,
        watches: Vec<Watch>,
    ) -> Result<(), Status> {
        accounts.iter().for_each(|account| self.revisions.changed(account));
        let own = (by == ChangedBy::First).then(|| accounts.first().cloned()).flatten();
        let calls = self.ask(move |board, _| {
            let open = accounts.into_iter().filter_map(|account| {
                let (call, party, other) = board.partner(&account)?;
                Some(match party {
                    Party::Caller => (call, [account, other]),
                    Party::Callee => (call, [other, account]),
                })
            });
            // A call of two of the accounts is one call.
            open.collect::<BTreeMap<_, _>>()
        });
        for (call, pair) in calls.await? {
            let by = Party::BOTH.into_iter().find(|party| own.as_ref() == Some(&pair[*party as usize]));
            self.recheck(call, pair, by).await?;
        }
        self.exchange.changed(watches).await.map_err(|error| error.status())
    }

    /// Decides every open call again: after a start, when settings may have been changed by another process.
    pub(crate) async fn recheck_all(&self) {
        let Ok(pairs) = self.ask(|board, _| board.open_pairs()).await else { return };
        for (call, pair) in pairs {
            // A store that fails has logged why; the call stays private.
            let _ = self.recheck(call, pair, None).await;
        }
    }

    /// A call was placed by a permission that ends at `until`: if it still rings then, it is decided again. Permissions last for
    /// days, so that this seldom waits, and never longer than a call rings.
    pub(super) fn recheck_at(self: &Arc<Self>, until: UnixMillis, call: CallId, pair: [AccountId; 2]) {
        let (context, left) = (self.clone(), until.since(now()));
        tokio::spawn(async move {
            tokio::time::sleep(left + CLOCK_STEP).await;
            // A store that fails has logged why; whoever rings may still be answered.
            let _ = context.recheck(call, pair, None).await;
        });
    }

    async fn recheck(&self, call: CallId, pair: [AccountId; 2], by: Option<Party>) -> Result<(), Status> {
        loop {
            let since = self.revisions.now();
            let [caller, callee] = pair.clone();
            let found = self.store.pair_of(caller, callee, now()).await.map_err(|error| error.status())?;
            let Some(found) = found else { return Ok(()) };
            let mutual = found.is_mutual();
            let recheck = Recheck {
                by,
                allowed: matches!(policy::decide(self.profile(), &found.outgoing()), Decision::Allow(_)),
                blocked: found.is_blocked(),
                standing: [&found.me, &found.other].map(|side| policy::standing(&side.settings, mutual)),
            };
            let (revisions, [caller, callee]) = (self.revisions.clone(), pair.clone());
            let is_done = self.ask(move |board, now| {
                let is_fresh = revisions.is_unchanged([&caller, &callee], since);
                if is_fresh {
                    board.handle_recheck(now, call, recheck);
                }
                is_fresh
            });
            if is_done.await? {
                return Ok(());
            }
        }
    }

    /// Tells all devices of an account.
    pub(super) async fn tell(&self, account: AccountId, event: Event) -> Result<(), Status> {
        self.ask(move |board, now| board.handle_tell(now, &account, &event)).await
    }
}

/// Whose change it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangedBy {
    /// The first of the accounts named.
    First,
    /// The platform's.
    Platform,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_overtaken_by_a_change_of_either_account_and_of_no_other() {
        let account = |id: &str| AccountId::new(id).unwrap();
        let (alice, bob, carol) = (account("a"), account("b"), account("c"));
        let revisions = Revisions::default();
        let before = revisions.now();
        revisions.changed(&carol);
        assert!(revisions.is_unchanged([&alice, &bob], before));
        revisions.changed(&bob);
        assert!(!revisions.is_unchanged([&alice, &bob], before));
        assert!(revisions.is_unchanged([&alice, &bob], revisions.now()));
    }
}
