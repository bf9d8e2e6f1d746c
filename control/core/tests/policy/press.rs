//! The five rows of the press reports of March 2024, in both profiles side by side.

use duocast_control_core::policy::press::{self, Attempt, Direction, Exposed, Row};
use duocast_control_core::policy::{Profile, Situation, evaluate};
use duocast_model::{DirectSetting, PrivacySettings};

const DENY: &str = "deny AUDIENCE_FOLLOWING";
const MUST_ASK: &str = "request REQUEST_NEEDED";

fn on() -> PrivacySettings {
    PrivacySettings { calling: true, ..PrivacySettings::DEFAULT }
}

/// Test → real, real → test, addresses that test's call exposes.
fn says(row: &Row, profile: Profile) -> (String, String, u8) {
    let [there, back] = Direction::BOTH.map(|direction| {
        let verdict = evaluate(profile, &row.situation(profile, direction));
        assert_eq!((verdict.outcome(), verdict.code()), row.expected(profile).answer(direction), "{row:?}");
        format!("{} {}", verdict.outcome().name(), verdict.code())
    });
    let exposed = row.exposed(profile).count();
    assert_eq!(exposed, row.expected(profile).addresses, "{row:?}");
    (there, back, exposed)
}

fn compare(row: usize, reported: (&str, &str, u8), ours: (&str, &str, u8)) {
    let row = &press::rows()[row - 1];
    for (profile, (there, back, addresses)) in [(Profile::Reported2024, reported), (Profile::Default, ours)] {
        assert_eq!(says(row, profile), (there.to_owned(), back.to_owned(), addresses), "{}", profile.name());
    }
}

#[test]
fn t1_nobody_follows_anybody() {
    compare(1, (DENY, DENY, 0), (MUST_ASK, MUST_ASK, 0));
}

#[test]
fn t2_a_message_was_sent_and_not_accepted() {
    compare(2, (DENY, DENY, 0), (MUST_ASK, MUST_ASK, 0));
}

#[test]
fn t3_the_message_was_accepted_and_the_call_not_answered() {
    compare(3, ("allow DM_GRANT", DENY, 1), (MUST_ASK, MUST_ASK, 0));
    let row = press::rows()[2];
    assert_eq!(row.exposed(Profile::Reported2024), Exposed { caller: true, callee: false });
}

#[test]
fn t4_the_call_was_answered_and_the_other_calls_back() {
    compare(4, ("allow DM_GRANT", DENY, 2), ("allow GRANT", MUST_ASK, 0));
    // Why there is no call back: the called one's own setting, and the caller hears that.
    let row = press::rows()[3];
    let back =
        evaluate(Profile::Default, &row.situation(Profile::Default, Direction::RealToTest)).to_caller();
    assert!(back.words.sentence.contains("this person's own settings"), "{}", back.words.sentence);
}

#[test]
fn t5_both_follow_each_other() {
    compare(5, ("allow FOLLOWING", "allow FOLLOWING", 2), ("allow MUTUALS", "allow MUTUALS", 0));
}

#[test]
fn nothing_is_exposed_in_default_answered_or_not() {
    for row in press::rows() {
        for direction in Direction::BOTH {
            let situation = row.situation(Profile::Default, direction);
            for attempt in [Attempt::NotPlaced, Attempt::Unanswered, Attempt::Answered] {
                assert_eq!(press::exposed(Profile::Default, &situation, attempt).count(), 0, "{row:?}");
            }
        }
    }
}

#[test]
fn with_a_standing_yes_of_both_nothing_is_exposed_before_the_answer() {
    let open = PrivacySettings { enhanced_call_privacy: false, direct: DirectSetting::Anyone, ..on() };
    let exposed = |caller, callee, attempt| {
        let situation = Situation { grant: true, ..Situation::strangers(caller, callee) };
        press::exposed(Profile::Default, &situation, attempt).count()
    };
    assert_eq!(exposed(open, open, Attempt::Unanswered), 0);
    assert_eq!(exposed(open, open, Attempt::Answered), 2);
    assert_eq!([exposed(open, on(), Attempt::Answered), exposed(on(), open, Attempt::Answered)], [0; 2]);
    let asks = PrivacySettings { direct: DirectSetting::Ask, ..open };
    assert_eq!(exposed(open, asks, Attempt::Answered), 0, "picking up is no yes");
}

#[test]
fn as_reported_the_privacy_switch_masks_only_who_has_it_on() {
    let open = Profile::Reported2024.defaults();
    let masked = PrivacySettings { enhanced_call_privacy: true, ..open };
    for (caller, callee, attempt, exposed) in [
        (open, open, Attempt::Unanswered, (true, false)),
        (open, masked, Attempt::Unanswered, (true, false)),
        (masked, open, Attempt::Unanswered, (false, false)),
        (open, open, Attempt::Answered, (true, true)),
        (open, masked, Attempt::Answered, (true, false)),
        (masked, open, Attempt::Answered, (false, true)),
        (masked, masked, Attempt::Answered, (false, false)),
        (open, open, Attempt::NotPlaced, (false, false)),
    ] {
        let modelled = press::exposed_as_reported(&caller, &callee, attempt);
        assert_eq!((modelled.caller, modelled.callee), exposed, "{caller:?} {callee:?} {attempt:?}");
    }
}

#[test]
fn a_profile_reads_back_from_its_name() {
    for profile in Profile::ALL {
        assert_eq!(profile.name().parse(), Ok(profile));
    }
    let unknown = "x".parse::<Profile>().unwrap_err().to_string();
    assert!(unknown.contains("\"default\" or \"reported-2024\""), "{unknown}");
}
