//! Both implementations, everywhere.

use duocast_control_core::policy::{Profile, evaluate};

use crate::reference::Reference;
use crate::space::{self, IDLE};

/// What no answer may depend on is not multiplied in, for the rules cannot see it (`rules::Question` does not hold it).
/// It still varies here: each of its 8,192 values comes with at least 700 situations, so that a rule which did look at it
/// would differ from the reference, which does not.
fn same_everywhere(profile: Profile) {
    let reference = Reference::new();
    let mut met = vec![0_u32; IDLE];
    space::every(|situation, idle| {
        met[idle] += 1;
        let verdict = evaluate(profile, &situation);
        let told = verdict.to_caller();
        let answer = (verdict.outcome().name(), verdict.code(), told.words.code);
        assert_eq!(answer, reference.answer(profile, &situation), "{situation:?}");
        assert_eq!(told.outcome, verdict.outcome());
    });
    assert!(met.iter().all(|times| *times >= 700), "{:?}", met.iter().min());
}

#[test]
fn default_is_as_the_second_implementation_says_in_every_situation() {
    same_everywhere(Profile::Default);
}

#[test]
fn reported_2024_is_as_the_second_implementation_says_in_every_situation() {
    same_everywhere(Profile::Reported2024);
}
