//! Which call when: everything that is drawn at random is drawn here, from the seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::groups;
use super::scenario::Scenario;
use crate::net;

/// Clients sign in this long before their call is placed. Higher separates sign-in from ringing on slow servers, lower
/// makes the ramp shorter.
pub(crate) const JOIN_LEAD: Duration = Duration::from_secs(2);

/// From the last answer to the steady phase: handshakes, the first key frames and growing buffers are over by then.
pub(crate) const SETTLE: Duration = Duration::from_secs(2);

/// Shortest call: both parties hear each other before it ends.
const CALL_MIN: Duration = Duration::from_secs(1);

/// Calls of a run in which they come and go, at most: each has accounts of its own.
const ARRIVALS_MAX: usize = 20_000;

/// The stream of random numbers that arrivals are drawn from.
const ARRIVALS: u64 = u64::MAX - 1;

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
    /// How long it stays up, before one of them hangs up; `None`: to the end of the run.
    pub(crate) lasts: Option<Duration>,
}

/// The whole run. Times count from its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) calls: Vec<CallPlan>,
    /// From here on every call should be up.
    pub(crate) steady_from: Duration,
    /// When everybody stops sending and hangs up.
    pub(crate) stop_at: Duration,
    /// What the scenario asks for and this is not.
    pub(crate) note: Option<String>,
}

/// Draws the plan: the same scenario and seed give the same one.
pub(crate) fn plan(scenario: &Scenario) -> Plan {
    let mut random = StdRng::seed_from_u64(scenario.seed);
    let gap = Duration::from_secs_f64(1.0 / scenario.calls_per_second);
    let mut note = None;
    let arrivals: Vec<Duration> = match scenario.mean_call {
        None => (0..scenario.calls).map(|index| gap.mul_f64(index as f64)).collect(),
        Some(mean) => {
            let (arrivals, is_cut) = arrivals(scenario, mean, ARRIVALS_MAX);
            note = is_cut.then(|| cut(&arrivals));
            arrivals
        }
    };
    let groups = groups::assign(scenario, arrivals.len());
    let calls: Vec<CallPlan> = arrivals
        .into_iter()
        .zip(groups)
        .enumerate()
        .map(|(index, (join_at, groups))| CallPlan {
            index,
            join_at,
            place_at: join_at + JOIN_LEAD,
            ring_for: scenario.answer_after + scenario.answer_spread.mul_f64(random.random()),
            caller_hangs_up: random.random(),
            decodes: [0, 1].map(|party| is_sampled(2 * index + party, scenario.decode_share)),
            groups,
            lasts: scenario.mean_call.map(|mean| CALL_MIN.max(exponential(mean, &mut random))),
        })
        .collect();
    let steady_from = match scenario.mean_call {
        None => calls.iter().map(|call| call.place_at + call.ring_for).max().unwrap_or_default() + SETTLE,
        Some(mean) => filled_at(scenario, mean),
    };
    Plan { calls, steady_from, stop_at: steady_from + scenario.duration, note }
}

fn cut(arrivals: &[Duration]) -> String {
    let (count, last) = (arrivals.len(), arrivals.last().map_or(0, Duration::as_secs));
    format!(
        "no call came after {last} s: {count} calls are the most that a run may have, so fewer were up at its end; \
         use a shorter duration, longer calls or fewer of them"
    )
}

/// When as many calls are up as will be on average: after three mean lengths 95 % of them are.
fn filled_at(scenario: &Scenario, mean: Duration) -> Duration {
    JOIN_LEAD + scenario.answer_after + scenario.answer_spread + 3 * mean
}

/// What calls last on average: the shortest ones are made longer.
fn mean_length(mean: Duration) -> Duration {
    CALL_MIN + mean.mul_f64((-CALL_MIN.as_secs_f64() / mean.as_secs_f64()).exp())
}

/// When clients sign in: at random, at the rate that keeps as many calls up as the scenario asks for. The last one can
/// still come up before the end. True: there would have been more than `most`.
fn arrivals(scenario: &Scenario, mean: Duration, most: usize) -> (Vec<Duration>, bool) {
    let mut random = StdRng::seed_from_u64(net::seed(scenario.seed, ARRIVALS));
    let setting_up = JOIN_LEAD + scenario.answer_after + scenario.answer_spread + SETTLE;
    let until = (filled_at(scenario, mean) + scenario.duration).saturating_sub(setting_up);
    let between = mean_length(mean).div_f64(scenario.calls as f64);
    let mut at = Duration::ZERO;
    let mut arrivals = vec![at];
    loop {
        at += exponential(between, &mut random);
        if at >= until {
            return (arrivals, false);
        }
        if arrivals.len() == most {
            return (arrivals, true);
        }
        arrivals.push(at);
    }
}

fn exponential(mean: Duration, random: &mut StdRng) -> Duration {
    mean.mul_f64(-(1.0 - random.random::<f64>()).ln())
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

    #[test]
    fn a_run_that_would_have_too_many_calls_says_when_they_stopped_coming() {
        let scenario = scenario("duration = \"60s\"\nchurn.mean_call = \"5s\"");
        let (all, is_cut) = arrivals(&scenario, Duration::from_secs(5), ARRIVALS_MAX);
        assert!(!is_cut && plan(&scenario).note.is_none());
        let (some, is_cut) = arrivals(&scenario, Duration::from_secs(5), 100);
        assert!(is_cut && some == all[..100]);
        let note = cut(&some);
        assert!(
            note.starts_with(&format!("no call came after {} s: 100 calls", some[99].as_secs())),
            "{note}"
        );
    }

    #[test]
    fn calls_that_come_and_go_are_as_many_as_asked_for_on_average() {
        let plan = plan(&scenario("duration = \"300s\"\nchurn.mean_call = \"5s\""));
        let count = plan.calls.len() as f64;
        let span = plan.calls.last().unwrap().join_at.as_secs_f64();
        assert!((count / span / 8.0 - 1.0).abs() < 0.1, "40 calls of 5 s are 8 a second: {count} in {span}");
        let lengths = plan.calls.iter().map(|call| call.lasts.unwrap().as_secs_f64());
        let mean = lengths.sum::<f64>() / count;
        assert!((4.8..5.6).contains(&mean), "{mean}: short ones are made a second long");
        let latest = plan.calls.iter().map(|call| call.place_at + call.ring_for + SETTLE).max().unwrap();
        assert!(latest <= plan.stop_at);
        assert_eq!(plan.stop_at - plan.steady_from, Duration::from_secs(300));
    }
}
