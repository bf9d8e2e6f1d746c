//! What must hold whatever anybody chose.

use duocast_control_core::policy::{
    Outcome, Profile, Relation, RequestHistory, Situation, evaluate, incoming, outgoing,
};
use duocast_model::{Audience, AudienceSet, PrivacySettings, Strangers};

use crate::{reference, space};

fn everywhere(mut holds: impl FnMut(Profile, Situation)) {
    space::every(|situation, _| Profile::ALL.into_iter().for_each(|profile| holds(profile, situation)));
}

#[test]
fn a_block_in_either_direction_beats_all() {
    everywhere(|profile, s| {
        if s.blocked_by_callee || s.blocked_by_caller {
            assert_eq!(evaluate(profile, &s).outcome(), Outcome::Deny, "{profile:?} {s:?}");
        }
    });
}

#[test]
fn nothing_but_an_opt_in_makes_an_account_reachable() {
    assert!(!Profile::Default.defaults().calling, "an account that never chose is off");
    assert_eq!(Profile::Default.defaults(), PrivacySettings::DEFAULT);
    everywhere(|profile, s| {
        if !s.callee.calling {
            assert_eq!(evaluate(profile, &s).outcome(), Outcome::Deny, "{profile:?} {s:?}");
        }
    });
}

#[test]
fn who_has_calling_off_calls_nobody() {
    everywhere(|profile, s| {
        if !s.caller.calling {
            assert_eq!(evaluate(profile, &s).outcome(), Outcome::Deny, "{profile:?} {s:?}");
        }
    });
}

#[test]
fn a_paid_badge_adds_nothing_unless_the_callee_chose_it() {
    assert!(Profile::ALL.iter().all(|profile| !profile.defaults().audience.contains(Audience::Verified)));
    everywhere(|profile, s| {
        if s.relation.caller_verified && !s.callee.audience.contains(Audience::Verified) {
            let plain = Situation { relation: Relation { caller_verified: false, ..s.relation }, ..s };
            assert_eq!(evaluate(profile, &s), evaluate(profile, &plain), "{profile:?} {s:?}");
        }
    });
}

#[test]
fn accepting_a_message_adds_nothing_in_default_unless_the_callee_chose_it() {
    assert!(!Profile::Default.defaults().audience.contains(Audience::DmAccepted));
    space::every(|s, _| {
        if s.relation.dm_accepted && !s.callee.audience.contains(Audience::DmAccepted) {
            let without = Situation { relation: Relation { dm_accepted: false, ..s.relation }, ..s };
            let [with, without] = [s, without].map(|s| evaluate(Profile::Default, &s));
            assert_eq!(with, without, "{s:?}");
        }
    });
}

#[test]
fn sending_a_message_adds_nothing() {
    everywhere(|profile, s| {
        if s.relation.dm_sent {
            let unsent = Situation { relation: Relation { dm_sent: false, ..s.relation }, ..s };
            assert_eq!(evaluate(profile, &s), evaluate(profile, &unsent), "{profile:?} {s:?}");
        }
    });
}

/// Whatever the caller does on its own side (its settings, its blocks, its request, its client), it hears of all three the
/// same as of an account that blocked it, is off and lets nobody in.
#[test]
fn off_blocked_and_turned_away_are_one_to_the_caller() {
    let mut hidden = 0;
    everywhere(|profile, s| {
        let turns_away = s.callee.strangers == Strangers::Deny || profile == Profile::Reported2024;
        let turned_away = turns_away && reference::ways_in(profile, &s) == 0;
        if s.blocked_by_callee || !s.callee.calling || turned_away {
            let callee = PrivacySettings { audience: AudienceSet::NONE, ..PrivacySettings::DEFAULT };
            let gone = Situation { callee, blocked_by_callee: true, grant: false, ..s };
            assert_eq!(outgoing(profile, &s), outgoing(profile, &gone), "{profile:?} {s:?}");
            hidden += 1;
        }
    });
    assert!(hidden > 6_000_000, "{hidden}");
}

#[test]
fn a_declined_request_looks_to_the_caller_like_one_that_waits() {
    everywhere(|profile, s| {
        if s.request == RequestHistory::Declined {
            let waits = Situation { request: RequestHistory::Pending, ..s };
            assert_eq!(outgoing(profile, &s), outgoing(profile, &waits), "{profile:?} {s:?}");
        }
    });
}

/// The callee's own question must not answer what its own call would hide: whether the other one blocked it, or is off.
#[test]
fn the_callee_learns_nothing_of_what_the_caller_chose() {
    everywhere(|profile, s| {
        let open = PrivacySettings { calling: true, require_e2ee: false, ..s.caller };
        let willing = Situation { caller: open, blocked_by_caller: false, ..s };
        assert_eq!(incoming(profile, &s), incoming(profile, &willing), "{profile:?} {s:?}");
    });
}

/// What the callee is told is what a willing caller meets.
#[test]
fn the_callee_is_told_the_truth_about_a_willing_caller() {
    everywhere(|profile, s| {
        if s.caller.calling && !s.caller.require_e2ee && !s.blocked_by_caller {
            let (verdict, told) = (evaluate(profile, &s), incoming(profile, &s));
            assert_eq!((verdict.outcome(), verdict.code()), (told.outcome, told.words.code), "{s:?}");
        }
    });
}

#[test]
fn a_grant_never_takes_away() {
    everywhere(|profile, s| {
        let granted = Situation { grant: true, ..s };
        // Outcomes are in order: allow, request, deny.
        let [with, without] = [granted, s].map(|s| evaluate(profile, &s).outcome());
        assert!(with <= without, "{profile:?} {s:?}");
    });
}

#[test]
fn choosing_one_more_audience_never_takes_away() {
    everywhere(|profile, s| {
        let before = evaluate(profile, &s).outcome();
        if before == Outcome::Deny {
            return; // There is nothing to take away.
        }
        for more in Audience::ALL {
            let audience = s.callee.audience.iter().chain([more]).collect();
            let wider = Situation { callee: PrivacySettings { audience, ..s.callee }, ..s };
            assert!(evaluate(profile, &wider).outcome() <= before, "{more:?} {profile:?} {s:?}");
        }
    });
}
