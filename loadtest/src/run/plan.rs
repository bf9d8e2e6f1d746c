//! Which call when: everything that is drawn at random is drawn here, from the seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::groups;
use super::scenario::Scenario;

/// Clients sign in this long before their call is placed. Higher separates sign-in from ringing on slow servers, lower
/// makes the ramp shorter.
pub(crate) const JOIN_LEAD: Duration = Duration::from_secs(2);

/// From the last answer to the steady phase: handshakes, the first key frames and growing buffers are over by then.
pub(crate) const SETTLE: Duration = Duration::from_secs(2);

/// One call. Times count from the start of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallPlan {
    pub(crate) index: usize,
    /// When its two clients sign in.
    pub(crate) join_at: Duration,
    pub(crate) place_at: Duration,
    /// How long the callee rings before it answers.
    pub(crate) ring_for: Duration,
    pub(crate) caller_hangs_up: bool,
    /// Whether caller and callee decode to the end.
    pub(crate) decodes: [bool; 2],
    /// The group of caller and callee: 0 for none, else its place in the scenario plus one.
    pub(crate) groups: [usize; 2],
}

/// The whole run. Times count from its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) calls: Vec<CallPlan>,
    /// From here on every call should be up.
    pub(crate) steady_from: Duration,
    /// When everybody stops sending and hangs up.
    pub(crate) stop_at: Duration,
}

/// Draws the plan: the same scenario and seed give the same one.
pub(crate) fn plan(scenario: &Scenario) -> Plan {
    let mut random = StdRng::seed_from_u64(scenario.seed);
    let gap = Duration::from_secs_f64(1.0 / scenario.calls_per_second);
    let groups = groups::assign(scenario);
    let calls: Vec<CallPlan> = groups
        .into_iter()
        .enumerate()
        .map(|(index, groups)| {
            let join_at = gap.mul_f64(index as f64);
            CallPlan {
                index,
                join_at,
                place_at: join_at + JOIN_LEAD,
                ring_for: scenario.answer_after + scenario.answer_spread.mul_f64(random.random()),
                caller_hangs_up: random.random(),
                decodes: [0, 1].map(|party| is_sampled(2 * index + party, scenario.decode_share)),
                groups,
            }
        })
        .collect();
    let answered = calls.iter().map(|call| call.place_at + call.ring_for).max().unwrap_or_default();
    let steady_from = answered + SETTLE;
    Plan { calls, steady_from, stop_at: steady_from + scenario.duration }
}

/// Spreads the sampled ones evenly: of any first n, `share * n` are in, give or take one.
fn is_sampled(index: usize, share: f64) -> bool {
    let up_to = |n: usize| (n as f64 * share).round();
    up_to(index + 1) > up_to(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::scenario::Overrides;

    fn scenario(extra: &str) -> Scenario {
        let text = format!("description = \"d\"\ncalls = 40\n{extra}");
        Scenario::parse("x", "x.toml", &text, &Overrides::default()).unwrap()
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_seed_another_one() {
        assert_eq!(plan(&scenario("seed = 7")), plan(&scenario("seed = 7")));
        assert_ne!(plan(&scenario("seed = 7")), plan(&scenario("seed = 8")));
    }

    #[test]
    fn calls_come_at_the_rate_of_the_ramp_and_everybody_is_up_for_the_duration() {
        let plan = plan(&scenario("duration = \"30s\"\nramp.calls_per_second = 4"));
        let gaps = plan.calls.windows(2).map(|pair| pair[1].place_at - pair[0].place_at);
        assert!(gaps.into_iter().all(|gap| gap == Duration::from_millis(250)));
        assert_eq!(plan.stop_at - plan.steady_from, Duration::from_secs(30));
        for call in &plan.calls {
            assert!(call.place_at + call.ring_for + SETTLE <= plan.steady_from);
            assert_eq!(call.place_at - call.join_at, JOIN_LEAD);
        }
    }

    #[test]
    fn ring_times_stay_within_their_spread_and_either_party_hangs_up() {
        let plan = plan(&scenario("[answer]\nafter = \"1s\"\nspread = \"200ms\""));
        let within = Duration::from_secs(1)..=Duration::from_millis(1200);
        assert!(plan.calls.iter().all(|call| within.contains(&call.ring_for)));
        let by_caller = plan.calls.iter().filter(|call| call.caller_hangs_up).count();
        assert!((1..40).contains(&by_caller), "{by_caller}");
    }

    #[test]
    fn a_share_of_the_legs_decodes_to_the_end() {
        for (share, expected) in [("0.0", 0), ("0.25", 20), ("0.5", 40), ("1.0", 80)] {
            let plan = plan(&scenario(&format!("audio.decode_share = {share}")));
            let decoding: usize = plan.calls.iter().map(|c| c.decodes.iter().filter(|d| **d).count()).sum();
            assert_eq!(decoding, expected, "share {share}");
        }
    }
}
