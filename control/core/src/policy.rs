//! Who may call whom: one pure function.

use duocast_model::AccountId;

/// What the decision is made from. The shell reads it from the store.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Who wants to call.
    pub caller: AccountId,
    /// Who would be called.
    pub callee: AccountId,
    /// The caller has switched calling on.
    pub caller_enabled: bool,
    /// The callee has switched calling on.
    pub callee_enabled: bool,
    /// The caller follows the callee.
    pub caller_follows: bool,
    /// The callee follows the caller.
    pub callee_follows: bool,
}

/// Proof that policy allowed this caller to call this callee. Only [`decide`] makes one, and creating a call takes it.
#[derive(Debug)]
pub struct Admission {
    caller: AccountId,
    callee: AccountId,
}

impl Admission {
    /// Who calls.
    pub fn caller(&self) -> &AccountId {
        &self.caller
    }

    /// Who is called.
    pub fn callee(&self) -> &AccountId {
        &self.callee
    }
}

/// Why policy did not allow a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Caller and callee are one account.
    #[error("you cannot call yourself: choose somebody else")]
    Oneself,
    /// The caller has not switched calling on.
    #[error("calling is off for your account: switch it on in your settings first")]
    CallerNotEnabled,
    /// The callee has not switched calling on, so nothing of this reaches any device of theirs.
    #[error("this person cannot be reached by calls")]
    CalleeNotReachable,
    /// The two do not follow each other.
    #[error("you can call people who follow you and whom you follow: ask them for it in another way")]
    NotMutual,
}

impl Denied {
    /// Stable code for the wire and for counters.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Oneself => "CALLEE_IS_SELF",
            Self::CallerNotEnabled => "CALLER_NOT_ENABLED",
            Self::CalleeNotReachable => "CALLEE_NOT_REACHABLE",
            Self::NotMutual => "NOT_MUTUAL",
        }
    }
}

/// May this caller call this callee?
///
/// Mutual contacts may, once both have switched calling on. An account that never opted in is unreachable for everybody.
pub fn decide(facts: &Facts) -> Result<Admission, Denied> {
    if facts.caller == facts.callee {
        return Err(Denied::Oneself);
    }
    if !facts.caller_enabled {
        return Err(Denied::CallerNotEnabled);
    }
    if !facts.callee_enabled {
        return Err(Denied::CalleeNotReachable);
    }
    if !(facts.caller_follows && facts.callee_follows) {
        return Err(Denied::NotMutual);
    }
    Ok(Admission { caller: facts.caller.clone(), callee: facts.callee.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(id: &str) -> AccountId {
        AccountId::new(id).unwrap()
    }

    #[test]
    fn only_mutual_contacts_who_both_opted_in_may_call() {
        for bits in 0..16u8 {
            let on = |bit: u8| bits & (1 << bit) != 0;
            let facts = Facts {
                caller: account("a"),
                callee: account("b"),
                caller_enabled: on(0),
                callee_enabled: on(1),
                caller_follows: on(2),
                callee_follows: on(3),
            };
            assert_eq!(decide(&facts).is_ok(), bits == 0b1111, "{bits:04b}");
        }
    }

    #[test]
    fn a_callee_who_never_opted_in_looks_the_same_to_friend_and_stranger() {
        for follows in [false, true] {
            let facts = Facts {
                caller: account("a"),
                callee: account("b"),
                caller_enabled: true,
                callee_enabled: false,
                caller_follows: follows,
                callee_follows: follows,
            };
            assert_eq!(decide(&facts).unwrap_err(), Denied::CalleeNotReachable);
        }
    }
}
