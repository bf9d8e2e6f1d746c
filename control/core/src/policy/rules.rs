//! The rules, in order: the first that applies decides.
//!
//! What is the caller's own comes first, so that a caller hears the same of it whatever the callee chose: nobody can tell
//! a block from an account that is off by switching their own settings and asking again.

use duocast_model::{Audience, AudienceSet, Strangers};

use super::situation::{Profile, Relation, RequestHistory, Situation};
use super::verdict::{AllowReason, DenyReason, RequestReason, Verdict};

/// The part of a [`Situation`] that the rules look at. What is not here cannot change an answer: how media goes, whom the
/// caller lets call, and what happens to strangers of the caller's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    profile: Profile,
    caller_calling: bool,
    caller_requires_e2ee: bool,
    callee_calling: bool,
    callee_requires_e2ee: bool,
    audience: AudienceSet,
    strangers: Strangers,
    relation: Relation,
    grant: bool,
    blocked_by_callee: bool,
    blocked_by_caller: bool,
    request: RequestHistory,
    e2ee_available: bool,
}

impl Question {
    fn new(profile: Profile, s: &Situation) -> Self {
        Self {
            profile,
            caller_calling: s.caller.calling,
            caller_requires_e2ee: s.caller.require_e2ee,
            callee_calling: s.callee.calling,
            callee_requires_e2ee: s.callee.require_e2ee,
            audience: s.callee.audience,
            strangers: s.callee.strangers,
            relation: s.relation,
            grant: s.grant,
            blocked_by_callee: s.blocked_by_callee,
            blocked_by_caller: s.blocked_by_caller,
            request: s.request,
            e2ee_available: s.e2ee_available,
        }
    }

    fn accepted_dm_grants(&self) -> bool {
        self.profile == Profile::Reported2024 && self.relation.dm_accepted
    }

    fn fits(&self, audience: Audience) -> bool {
        self.audience.contains(audience) && self.relation.is_in(audience)
    }

    fn is_outside(&self) -> bool {
        !self.grant && !self.accepted_dm_grants() && !Audience::ALL.into_iter().any(|one| self.fits(one))
    }

    fn turns_strangers_away(&self) -> bool {
        self.profile == Profile::Reported2024 || self.strangers == Strangers::Deny
    }
}

/// One rule.
pub(super) struct Rule {
    /// Its condition, in words for `docs/policy.md`.
    pub(super) when: &'static str,
    applies: fn(&Question) -> bool,
    then: fn(&Question) -> Verdict,
}

macro_rules! audience_rule {
    ($audience:ident, $when:literal) => {
        Rule {
            when: $when,
            applies: |q| q.fits(Audience::$audience),
            then: |_| Verdict::Allow(AllowReason::Audience(Audience::$audience)),
        }
    };
}

/// All rules, in order. The last three apply to whoever is left.
pub(super) const RULES: &[Rule] = &[
    Rule {
        when: "the caller has calling off",
        applies: |q| !q.caller_calling,
        then: |_| Verdict::Deny(DenyReason::CallerOff),
    },
    Rule {
        when: "the caller blocked the callee",
        applies: |q| q.blocked_by_caller,
        then: |_| Verdict::Deny(DenyReason::BlockedByCaller),
    },
    Rule {
        when: "the caller has `require_e2ee` on, and the call could not be end-to-end encrypted",
        applies: |q| q.caller_requires_e2ee && !q.e2ee_available,
        then: |_| Verdict::Deny(DenyReason::CallerRequiresE2ee),
    },
    Rule {
        when: "the callee blocked the caller",
        applies: |q| q.blocked_by_callee,
        then: |_| Verdict::Deny(DenyReason::BlockedByCallee),
    },
    Rule {
        when: "the callee has calling off",
        applies: |q| !q.callee_calling,
        then: |_| Verdict::Deny(DenyReason::CalleeOff),
    },
    Rule {
        when: "rules 8 to 15 let the caller in nowhere, and the callee has `strangers` = deny (in `reported-2024` always)",
        applies: |q| q.is_outside() && q.turns_strangers_away(),
        then: |q| Verdict::Deny(DenyReason::OutsideAudience(q.audience)),
    },
    Rule {
        when: "the callee has `require_e2ee` on, and the call could not be end-to-end encrypted",
        applies: |q| q.callee_requires_e2ee && !q.e2ee_available,
        then: |_| Verdict::Deny(DenyReason::CalleeRequiresE2ee),
    },
    Rule {
        when: "the callee gave the caller a grant that has not expired",
        applies: |q| q.grant,
        then: |_| Verdict::Allow(AllowReason::Grant),
    },
    Rule {
        when: "in `reported-2024`: the callee accepted a direct message of the caller's",
        applies: Question::accepted_dm_grants,
        then: |_| Verdict::Allow(AllowReason::AcceptedDm),
    },
    audience_rule!(Mutuals, "`audience` has `mutuals`, and the two follow each other"),
    audience_rule!(Following, "`audience` has `following`, and the callee follows the caller"),
    audience_rule!(
        AddressBook,
        "`audience` has `address_book`, and the caller is in the callee's address book"
    ),
    audience_rule!(Verified, "`audience` has `verified`, and the caller is verified"),
    audience_rule!(
        DmAccepted,
        "`audience` has `dm_accepted`, and the callee accepted a direct message of the caller's"
    ),
    audience_rule!(Everyone, "`audience` has `everyone`"),
    Rule {
        when: "the caller's call request was declined",
        applies: |q| q.request == RequestHistory::Declined,
        then: |_| Verdict::Request(RequestReason::Declined),
    },
    Rule {
        when: "the caller's call request waits for an answer",
        applies: |q| q.request == RequestHistory::Pending,
        then: |_| Verdict::Request(RequestReason::Pending),
    },
    Rule { when: "otherwise", applies: |_| true, then: |_| Verdict::Request(RequestReason::Fresh) },
];

/// May this caller call this callee? Caller and callee are two accounts; [`super::decide`] knows who they are.
pub fn evaluate(profile: Profile, situation: &Situation) -> Verdict {
    ruled(profile, situation).1
}

/// The answer, with the index of the rule that gave it.
pub(super) fn ruled(profile: Profile, situation: &Situation) -> (usize, Verdict) {
    let question = Question::new(profile, situation);
    let applies = |rule: &Rule| (rule.applies)(&question);
    let index = RULES.iter().position(applies).expect("the last rule applies always");
    (index, (RULES[index].then)(&question))
}

#[cfg(test)]
mod tests {
    use duocast_model::PrivacySettings;

    use super::*;
    use crate::policy::Outcome;

    /// Rule 6 speaks of others by number.
    #[test]
    fn rules_8_to_15_and_no_others_let_the_caller_in() {
        let stranger = Situation::strangers(PrivacySettings::DEFAULT, PrivacySettings::DEFAULT);
        let question = Question::new(Profile::Default, &stranger);
        let lets_in = |rule: &Rule| (rule.then)(&question).outcome() == Outcome::Allow;
        let numbers: Vec<usize> = (1..=RULES.len()).filter(|number| lets_in(&RULES[number - 1])).collect();
        assert_eq!(numbers, (8..=15).collect::<Vec<_>>());
        assert!(RULES[5].when.contains("rules 8 to 15"));
    }
}
