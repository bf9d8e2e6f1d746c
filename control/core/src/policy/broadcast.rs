//! Who may broadcast, and who may view.

use duocast_model::{AccountId, CallId, PrivacySettings};

use super::decision::Denied;
use super::verdict::DenyReason;

/// Proof that policy lets this account broadcast. Only [`may_broadcast`] makes one, and starting takes it.
///
/// ```compile_fail,E0451
/// # use duocast_control_core::policy::BroadcastPass;
/// # use duocast_model::AccountId;
/// let forged = BroadcastPass { host: AccountId::new("mallory").unwrap() };
/// ```
#[derive(Debug)]
pub struct BroadcastPass {
    host: AccountId,
}

impl BroadcastPass {
    /// Who broadcasts.
    pub fn host(&self) -> &AccountId {
        &self.host
    }
}

/// Whether an account with these settings may broadcast: calling is on for it, and it does not want end-to-end encryption
/// always, since the router opens what it sends on to many.
pub fn may_broadcast(host: AccountId, settings: PrivacySettings) -> Result<BroadcastPass, Denied> {
    if !settings.calling {
        return Err(Denied::for_reason(DenyReason::CallerOff));
    }
    if settings.require_e2ee {
        return Err(Denied::for_reason(DenyReason::CallerRequiresE2ee));
    }
    Ok(BroadcastPass { host })
}

/// Proof that policy lets this account view this broadcast. Only [`may_watch`] makes one, and viewing takes it.
///
/// ```compile_fail,E0451
/// # use duocast_control_core::policy::ViewingPass;
/// # use duocast_model::{AccountId, CallId};
/// let viewer = AccountId::new("mallory").unwrap();
/// let forged = ViewingPass { viewer, broadcast: CallId::from_u128(1) };
/// ```
#[derive(Debug)]
pub struct ViewingPass {
    viewer: AccountId,
    broadcast: CallId,
}

impl ViewingPass {
    /// Who views.
    pub fn viewer(&self) -> &AccountId {
        &self.viewer
    }

    /// What.
    pub fn broadcast(&self) -> CallId {
        self.broadcast
    }
}

/// Why an account may not view. To it both are one: a block must not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such broadcast: it may be over; ask its host for a new link")]
pub enum WatchDenied {
    /// No broadcast has this token, or it is over.
    TokenUnknown,
    /// The host blocked this account.
    BlockedByHost,
}

impl WatchDenied {
    /// Stable code, for counters.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TokenUnknown => "TOKEN_UNKNOWN",
            Self::BlockedByHost => "BLOCKED_BY_HOST",
        }
    }
}

/// Whether `viewer`, who showed a token, may view. `found`: the broadcast that has the token, and whether its host blocked the
/// viewer.
pub fn may_watch(viewer: AccountId, found: Option<(CallId, bool)>) -> Result<ViewingPass, WatchDenied> {
    match found {
        None => Err(WatchDenied::TokenUnknown),
        Some((_, true)) => Err(WatchDenied::BlockedByHost),
        Some((broadcast, false)) => Ok(ViewingPass { viewer, broadcast }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> AccountId {
        AccountId::new("a").unwrap()
    }

    #[test]
    fn who_broadcasts_has_calling_on_and_does_not_insist_on_end_to_end() {
        let on = PrivacySettings { calling: true, ..PrivacySettings::DEFAULT };
        let reason = |settings| may_broadcast(account(), settings).err().map(|denied| denied.reason());
        assert_eq!(reason(on), None);
        assert_eq!(reason(PrivacySettings { calling: false, ..on }), Some(DenyReason::CallerOff));
        assert_eq!(
            reason(PrivacySettings { require_e2ee: true, ..on }),
            Some(DenyReason::CallerRequiresE2ee)
        );
    }

    #[test]
    fn a_block_sounds_like_a_wrong_token_and_is_counted_apart() {
        let broadcast = CallId::from_u128(7);
        assert_eq!(may_watch(account(), Some((broadcast, false))).unwrap().broadcast(), broadcast);
        let wrong = may_watch(account(), None).unwrap_err();
        let blocked = may_watch(account(), Some((broadcast, true))).unwrap_err();
        assert_eq!(wrong.to_string(), blocked.to_string());
        assert_ne!(wrong.code(), blocked.code());
    }
}
