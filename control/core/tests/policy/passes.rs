//! What `decide` gives out, and when media may leave the router.

use duocast_control_core::policy::{
    Admission, AllowReason, Decision, DenyReason, Facts, Legs, Outcome, Profile, Relation, RequestReason,
    Situation, decide, evaluate, legs, standing,
};
use duocast_model::{AccountId, DirectConsent, Party, PrivacySettings};

use crate::reference::consent;
use crate::space::{DIRECT, relation};

fn facts(situation: Situation) -> Facts {
    let [caller, callee] = ["alice", "bob"].map(|id| AccountId::new(id).unwrap());
    Facts { caller, callee, situation }
}

fn on() -> PrivacySettings {
    PrivacySettings { calling: true, ..PrivacySettings::DEFAULT }
}

fn admitted(profile: Profile, situation: Situation) -> Admission {
    match decide(profile, &facts(situation)) {
        Decision::Allow(admission) => admission,
        other => panic!("{other:?}"),
    }
}

/// Every wish for how media goes, of one account.
fn wishes() -> impl Iterator<Item = PrivacySettings> {
    [false, true].into_iter().flat_map(|enhanced_call_privacy| {
        DIRECT.map(|direct| PrivacySettings { enhanced_call_privacy, direct, ..on() })
    })
}

#[test]
fn a_pass_names_the_two_it_was_made_for() {
    let friends = Situation { relation: Relation::MUTUAL, ..Situation::strangers(on(), on()) };
    let admission = admitted(Profile::Default, friends);
    assert_eq!((admission.caller().expose(), admission.callee().expose()), ("alice", "bob"));
    assert_eq!(admission.reason().code(), "MUTUALS");

    let Decision::Request(pass) = decide(Profile::Default, &facts(Situation::strangers(on(), on()))) else {
        panic!("strangers may ask");
    };
    assert_eq!((pass.caller().expose(), pass.callee().expose()), ("alice", "bob"));
    assert_eq!(pass.reason(), RequestReason::Fresh);
}

#[test]
fn nobody_calls_oneself_whatever_the_settings() {
    let granted = Situation { grant: true, relation: Relation::MUTUAL, ..Situation::strangers(on(), on()) };
    let facts = Facts { callee: AccountId::new("alice").unwrap(), ..facts(granted) };
    for profile in Profile::ALL {
        let Decision::Deny(denied) = decide(profile, &facts) else { panic!("one account") };
        assert_eq!((denied.reason(), denied.code()), (DenyReason::Oneself, "CALLEE_IS_SELF"));
    }
}

#[test]
fn a_denial_reads_as_the_caller_may_hear_it_in_every_form() {
    let off = Situation::strangers(on(), PrivacySettings::DEFAULT);
    let blocked = Situation { blocked_by_callee: true, ..Situation::strangers(on(), on()) };
    let forms = [off, blocked].map(|situation| {
        assert_eq!(evaluate(Profile::Default, &situation).outcome(), Outcome::Deny);
        let decision = decide(Profile::Default, &facts(situation));
        let Decision::Deny(denied) = &decision else { panic!("no way in") };
        assert_eq!(denied.code(), "CALLEE_NOT_REACHABLE");
        assert_ne!(decision.code(), denied.code(), "counters have the real reason");
        (denied.to_string(), format!("{decision:?}"))
    });
    assert_eq!(forms[0], forms[1]);
}

#[test]
fn what_settings_say_of_a_direct_leg_is_as_the_second_implementation_says() {
    for own in wishes() {
        for mutual in [false, true] {
            assert_eq!(standing(&own, mutual), consent(&own, mutual), "{own:?} {mutual}");
        }
    }
}

/// All wishes of both, all relations, both profiles.
#[test]
fn an_admission_has_what_each_ones_own_settings_say() {
    for profile in Profile::ALL {
        for bits in 0..64 {
            let (relation, mutual) = (relation(bits), bits & 3 == 3);
            for (caller, callee) in wishes().flat_map(|a| wishes().map(move |b| (a, b))) {
                let admission = admitted(
                    profile,
                    Situation { relation, grant: true, ..Situation::strangers(caller, callee) },
                );
                assert_eq!(admission.reason(), AllowReason::Grant);
                assert_eq!(admission.standing(Party::Caller), consent(&caller, mutual));
                assert_eq!(admission.standing(Party::Callee), consent(&callee, mutual));
            }
        }
    }
}

#[test]
fn direct_needs_both() {
    let mut direct = 0;
    for (caller, callee) in wishes().flat_map(|a| wishes().map(move |b| (a, b))) {
        for relation in [Relation::NONE, Relation::MUTUAL] {
            let situation = Situation { relation, grant: true, ..Situation::strangers(caller, callee) };
            let legs = admitted(Profile::Default, situation).legs();
            let both = [caller, callee].map(|own| consent(&own, relation.is_mutual()));
            assert_eq!(legs == Legs::Direct, both == [DirectConsent::Given; 2], "{situation:?}");
            if [caller, callee].iter().any(|own| own.enhanced_call_privacy) {
                assert_eq!(legs, Legs::Routed, "either one's masking masks both");
            }
            direct += u32::from(legs == Legs::Direct);
        }
    }
    assert_eq!(direct, 1 + 4, "anyone with anyone; and both of mutuals and anyone among mutual contacts");
}

#[test]
fn a_no_of_either_is_final_and_a_missing_yes_leaves_it_routed() {
    use DirectConsent::{Given, Never, NotGiven};
    let all = [Never, NotGiven, Given];
    for one in all {
        assert_eq!(legs(Never, one), Legs::Routed);
        for other in all {
            assert_eq!(legs(one, other), legs(other, one), "it does not matter who calls");
        }
    }
    assert_eq!([legs(NotGiven, NotGiven), legs(NotGiven, Given)], [Legs::OnYes; 2]);
    assert_eq!(legs(Given, Given), Legs::Direct);
}
