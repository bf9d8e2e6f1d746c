//! The first request of an account makes it known.

use std::sync::Arc;
use std::time::SystemTime;

use dashmap::DashMap;
use duocast_model::{AccountId, Handle};

use super::now;
use crate::auth::Caller;
use crate::store::{AccountChange, Store, UpsertError};

/// Accounts whose names are known to be written. At the bound all are forgotten, and each is written once more at its next
/// request. Higher costs about 200 B an account, lower makes more writes.
const REMEMBERED_MAX: usize = 100_000;

/// Which names each account last signed in with.
///
/// Of several tokens of an account, the one that ends last says how it is named: a device that still holds an older one does
/// not undo a rename.
#[derive(Default)]
pub(super) struct SignIn {
    remembered: DashMap<AccountId, Names>,
}

#[derive(Clone, PartialEq, Eq)]
struct Names {
    handle: Handle,
    name: Option<Arc<str>>,
    until: SystemTime,
}

impl SignIn {
    /// Makes the account known under the names in its token. A new one has calling off.
    ///
    /// A new account cannot have another one's handle. A known account whose token names one keeps the names that it has:
    /// the platform gave its old handle away since the token was made.
    pub(super) async fn ensure(&self, store: &Store, caller: &Caller) -> Result<(), UpsertError> {
        let Some(handle) = caller.handle.clone() else { return Ok(()) };
        let names = Names { handle, name: caller.name.clone(), until: caller.expiry };
        if self.is_remembered(&caller.account, &names) {
            return Ok(());
        }
        let change = AccountChange::named(caller.account.clone(), names.handle.clone(), names.name.clone());
        match store.upsert_accounts(now(), vec![change]).await {
            Err(UpsertError::HandleTaken { .. })
                if store.profile(caller.account.clone()).await?.is_some() => {}
            written => drop(written?),
        }
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.clear();
        }
        self.remembered.insert(caller.account.clone(), names);
        Ok(())
    }

    fn is_remembered(&self, account: &AccountId, names: &Names) -> bool {
        self.remembered.get(account).is_some_and(|known| {
            names.until <= known.until || (names.handle == known.handle && names.name == known.name)
        })
    }
}
