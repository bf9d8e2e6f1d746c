//! The two-account experiment of the press reports of March 2024 on calls in the X apps: what was reported, row by row,
//! and what each profile must say. A new test account and a long-standing real one try to call each other.

use duocast_model::PrivacySettings;

use super::decision::{Legs, legs, standing};
use super::rules::evaluate;
use super::situation::{Profile, Relation, Situation};
use super::verdict::Outcome;

/// Who calls whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The test account calls the real one.
    TestToReal,
    /// The real account calls the test one.
    RealToTest,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::TestToReal, Self::RealToTest];
}

/// What becomes of the test account's call to the real one, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attempt {
    /// It is not placed.
    NotPlaced,
    /// It rings and nobody picks up.
    Unanswered,
    /// The callee picks up.
    Answered,
}

/// Whose IP address the other one learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Exposed {
    /// The caller's.
    pub caller: bool,
    /// The callee's.
    pub callee: bool,
}

impl Exposed {
    /// How many addresses.
    pub const fn count(self) -> u8 {
        self.caller as u8 + self.callee as u8
    }
}

/// What one profile must say in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// May the test account call the real one: the answer and its reason code.
    pub test_to_real: (Outcome, &'static str),
    /// And the other way round.
    pub real_to_test: (Outcome, &'static str),
    /// Addresses that the test account's call exposes.
    pub addresses: u8,
}

impl Expected {
    /// The answer in one direction.
    pub const fn answer(&self, direction: Direction) -> (Outcome, &'static str) {
        match direction {
            Direction::TestToReal => self.test_to_real,
            Direction::RealToTest => self.real_to_test,
        }
    }
}

/// A row of the experiment.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// T1 to T5.
    pub name: &'static str,
    /// What was the case.
    pub situation: &'static str,
    /// What was reported.
    pub reported: &'static str,
    /// The two follow each other.
    pub mutual: bool,
    /// The test account sent the real one a direct message.
    pub dm_sent: bool,
    /// The real account accepted it.
    pub dm_accepted: bool,
    /// `default` only: the real account accepted a call request of the test account's, without which this row's call would
    /// not come about there.
    pub request_accepted: bool,
    /// What becomes of the test account's call where policy allows it.
    pub attempt: Attempt,
    /// What `default` must say.
    pub default: Expected,
    /// What `reported-2024` must say.
    pub reported_2024: Expected,
}

impl Row {
    /// What this profile must say.
    pub const fn expected(&self, profile: Profile) -> &Expected {
        match profile {
            Profile::Default => &self.default,
            Profile::Reported2024 => &self.reported_2024,
        }
    }

    /// The row as the policy is asked. Both accounts have the profile's defaults, and have switched calling on.
    pub fn situation(&self, profile: Profile, direction: Direction) -> Situation {
        let settings = PrivacySettings { calling: true, ..profile.defaults() };
        let from_test = direction == Direction::TestToReal;
        let relation = Relation {
            caller_follows: self.mutual,
            callee_follows: self.mutual,
            dm_sent: self.dm_sent && from_test,
            dm_accepted: self.dm_accepted && from_test,
            ..Relation::NONE
        };
        let grant = self.request_accepted && profile == Profile::Default && from_test;
        Situation { relation, grant, ..Situation::strangers(settings, settings) }
    }

    /// What the test account's call exposes.
    pub fn exposed(&self, profile: Profile) -> Exposed {
        exposed(profile, &self.situation(profile, Direction::TestToReal), self.attempt)
    }
}

/// The five rows.
pub const fn rows() -> [Row; 5] {
    const DENIED: (Outcome, &str) = (Outcome::Deny, "AUDIENCE_FOLLOWING");
    const MUST_ASK: (Outcome, &str) = (Outcome::Request, "REQUEST_NEEDED");
    const NO_CALL: Row = Row {
        name: "T1",
        situation: "nobody follows anybody",
        reported: "neither sees the phone icon",
        mutual: false,
        dm_sent: false,
        dm_accepted: false,
        request_accepted: false,
        attempt: Attempt::NotPlaced,
        default: Expected { test_to_real: MUST_ASK, real_to_test: MUST_ASK, addresses: 0 },
        reported_2024: Expected { test_to_real: DENIED, real_to_test: DENIED, addresses: 0 },
    };
    const BY_DM: Expected =
        Expected { test_to_real: (Outcome::Allow, "DM_GRANT"), real_to_test: DENIED, addresses: 1 };
    const FOLLOWS: (Outcome, &str) = (Outcome::Allow, "FOLLOWING");
    const MUTUALS: (Outcome, &str) = (Outcome::Allow, "MUTUALS");
    [
        NO_CALL,
        Row {
            name: "T2",
            situation: "test sent real a direct message, not accepted",
            reported: "neither sees the phone icon",
            dm_sent: true,
            ..NO_CALL
        },
        Row {
            name: "T3",
            situation: "real accepted the message; test calls, nobody picks up",
            reported: "test can call real; the caller's IP address is exposed",
            dm_sent: true,
            dm_accepted: true,
            attempt: Attempt::Unanswered,
            reported_2024: BY_DM,
            ..NO_CALL
        },
        Row {
            name: "T4",
            situation: "as T3, and real picked up",
            reported: "both IP addresses are exposed; real cannot call back",
            dm_sent: true,
            dm_accepted: true,
            request_accepted: true,
            attempt: Attempt::Answered,
            default: Expected {
                test_to_real: (Outcome::Allow, "GRANT"),
                real_to_test: MUST_ASK,
                addresses: 0,
            },
            reported_2024: Expected { addresses: 2, ..BY_DM },
            ..NO_CALL
        },
        Row {
            name: "T5",
            situation: "both follow each other; test calls, real picks up",
            reported: "both can call",
            mutual: true,
            attempt: Attempt::Answered,
            default: Expected { test_to_real: MUTUALS, real_to_test: MUTUALS, addresses: 0 },
            reported_2024: Expected { test_to_real: FOLLOWS, real_to_test: FOLLOWS, addresses: 2 },
            ..NO_CALL
        },
    ]
}

/// What a call exposes: under `default` what Duocast does, under `reported-2024` what was reported of X.
pub fn exposed(profile: Profile, situation: &Situation, attempt: Attempt) -> Exposed {
    if evaluate(profile, situation).outcome() != Outcome::Allow || attempt == Attempt::NotPlaced {
        return Exposed::default();
    }
    match profile {
        Profile::Default => exposed_by_duocast(situation, attempt),
        Profile::Reported2024 => exposed_as_reported(&situation.caller, &situation.callee, attempt),
    }
}

/// What was reported of X: media goes directly unless somebody has "enhanced call privacy" on, and the caller's app begins
/// before anybody answers. So the caller's address is out while it rings and the callee's as well once it is answered; who
/// has the switch on is masked.
///
/// A model for comparison only: no server of ours does this, with either profile.
pub const fn exposed_as_reported(
    caller: &PrivacySettings,
    callee: &PrivacySettings,
    attempt: Attempt,
) -> Exposed {
    let (caller_out, callee_out) = match attempt {
        Attempt::NotPlaced => (false, false),
        Attempt::Unanswered => (true, false),
        Attempt::Answered => (true, true),
    };
    Exposed {
        caller: caller_out && !caller.enhanced_call_privacy,
        callee: callee_out && !callee.enhanced_call_privacy,
    }
}

/// What Duocast does without anybody saying yes in the call: nothing before the answer, and after it nothing unless the
/// settings of both say so.
const fn exposed_by_duocast(situation: &Situation, attempt: Attempt) -> Exposed {
    let mutual = situation.relation.is_mutual();
    let legs = legs(standing(&situation.caller, mutual), standing(&situation.callee, mutual));
    let direct = matches!((attempt, legs), (Attempt::Answered, Legs::Direct));
    Exposed { caller: direct, callee: direct }
}
