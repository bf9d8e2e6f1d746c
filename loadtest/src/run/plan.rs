//! Which call when: everything that is drawn at random is drawn here, from the seed.

mod broadcasts;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

pub(crate) use self::broadcasts::Arrivals;
use super::party::{PartyPlan, Role};
use super::scenario::{RINGS_MARGIN, RingEnd, Rings, Scenario};
use super::{audio_score, groups};
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

/// The streams of random numbers that arrivals, unanswered calls, and who loses the server, switches legs and shows video are
/// drawn from.
const ARRIVALS: u64 = u64::MAX - 1;
const RINGS: u64 = u64::MAX - 2;
const RECONNECTS: u64 = u64::MAX - 3;
const SWITCHES: u64 = u64::MAX - 4;
const VIDEOS: u64 = u64::MAX - 5;

/// What a call's clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// Both talk until one hangs up.
    Talk,
    /// The same by the whole SDK, on a direct leg and back again and again.
    Switch,
    /// Nobody answers.
    Ring(RingEnd),
    /// One publishes, many view.
    Broadcast(Arrivals),
}

/// One call. Times count from the start of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallPlan {
    pub(crate) index: usize,
    /// When its two clients, or its host, sign in.
    pub(crate) join_at: Duration,
    pub(crate) place_at: Duration,
    /// How long the callee rings before it answers.
    pub(crate) ring_for: Duration,
    pub(crate) caller_hangs_up: bool,
    /// How long it stays up, before one of them hangs up; `None`: to the end of the run.
    pub(crate) lasts: Option<Duration>,
    pub(crate) has_video: bool,
    pub(crate) script: Script,
    /// Caller and callee; or a host and those who view.
    pub(crate) parties: Vec<PartyPlan>,
}

impl CallPlan {
    /// Clients that it takes: its parties, and who keeps the callee busy.
    pub(crate) fn clients(&self) -> usize {
        self.parties.len() + usize::from(self.script == Script::Ring(RingEnd::Busy))
    }

    /// Nobody answers it.
    pub(crate) fn is_ring(&self) -> bool {
        matches!(self.script, Script::Ring(_))
    }
}

/// One of several generators that share a run's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(crate) struct Part {
    /// From 1.
    pub(crate) number: u32,
    pub(crate) of: u32,
}

/// Generators of a run at most: who needs more joins reports of reports.
pub(crate) const PARTS_MAX: u32 = 64;

impl std::str::FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |text: &str| text.parse::<u32>().ok();
        let part = text.split_once('/').and_then(|(number, of)| Some((parse(number)?, parse(of)?)));
        let part = part.filter(|(number, of)| (1..=*of).contains(number) && *of <= PARTS_MAX);
        let (number, of) =
            part.ok_or_else(|| format!("allowed is I/N, such as 2/3, with N up to {PARTS_MAX}"))?;
        Ok(Self { number, of })
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
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

impl Plan {
    /// Leaves one generator's share of the calls. All shares together are the plan, with the same phases.
    pub(crate) fn keep(&mut self, part: Part) {
        let (number, of) = (part.number as usize - 1, part.of as usize);
        self.calls.retain(|call| call.index % of == number);
    }
}

/// Draws the plan: the same scenario and seed give the same one.
pub(crate) fn plan(scenario: &Scenario) -> Plan {
    match scenario.broadcast {
        Some(broadcast) => broadcasts::plan(scenario, broadcast),
        None => plan_calls(scenario),
    }
}

/// Calls of two.
fn plan_calls(scenario: &Scenario) -> Plan {
    let mut random = StdRng::seed_from_u64(scenario.seed);
    let gap = Duration::from_secs_f64(1.0 / scenario.calls_per_second);
    let coming = scenario.mean_call.map_or(0, |_| share_of(scenario.calls, scenario.churn_share));
    let staying = scenario.calls - coming;
    let mut note = None;
    let mut arrivals: Vec<(Duration, bool)> =
        (0..staying).map(|index| (gap.mul_f64(index as f64), false)).collect();
    if let Some(mean) = scenario.mean_call.filter(|_| coming > 0) {
        let (come, is_cut) = self::arrivals(scenario, mean, coming, ARRIVALS_MAX);
        note = is_cut.then(|| cut(&come));
        arrivals.extend(come.into_iter().map(|at| (at, true)));
    }
    let groups = groups::assign(scenario, arrivals.len());
    let decode_share = scenario.decode_share_of(Role::PAIR.len() * arrivals.len());
    let mut calls: Vec<CallPlan> = arrivals
        .into_iter()
        .zip(groups)
        .enumerate()
        .map(|(index, ((join_at, goes), groups))| CallPlan {
            index,
            join_at,
            place_at: join_at + JOIN_LEAD,
            ring_for: scenario.answer_after + scenario.answer_spread.mul_f64(random.random()),
            caller_hangs_up: random.random(),
            lasts: scenario
                .mean_call
                .filter(|_| goes)
                .map(|mean| CALL_MIN.max(exponential(mean, &mut random))),
            has_video: scenario.video.is_some(),
            script: Script::Talk,
            parties: Role::PAIR
                .into_iter()
                .zip(groups)
                .enumerate()
                .map(|(party, (role, group))| PartyPlan {
                    decodes: is_sampled(2 * index + party, decode_share),
                    group,
                    ..PartyPlan::new(role)
                })
                .collect(),
        })
        .collect();
    assign_incidents(scenario, &mut calls);
    let answered = calls.iter().filter(|call| call.lasts.is_none());
    let answered = answered.map(|call| call.place_at + call.ring_for + SETTLE).max().unwrap_or_default();
    let filled = scenario.mean_call.filter(|_| coming > 0).map(|mean| filled_at(scenario, mean));
    let steady_from = answered.max(filled.unwrap_or_default());
    let stop_at = steady_from + scenario.duration;
    if let Some(rings) = &scenario.rings {
        note = add_rings(scenario, rings, steady_from..stop_at, &mut calls).or(note);
    }
    Plan { calls, steady_from, stop_at, note }
}

/// How many of `count` a share is; one at least of a share that is more than nothing.
fn share_of(count: usize, share: f64) -> usize {
    let rounded = (count as f64 * share).round() as usize;
    if share > 0.0 { rounded.max(1) } else { 0 }
}

/// Draws who switches legs, who loses the server, and who shows video, and chooses who records.
fn assign_incidents(scenario: &Scenario, calls: &mut [CallPlan]) {
    let draw = |stream| StdRng::seed_from_u64(net::seed(scenario.seed, stream));
    if let Some(switches) = scenario.switches {
        // The SDK has sockets of its own, which no conditions of ours apply to.
        let mut eligible: Vec<usize> = calls
            .iter()
            .filter(|call| call.lasts.is_none() && call.parties.iter().all(|party| party.group == 0))
            .map(|c| c.index)
            .collect();
        eligible.shuffle(&mut draw(SWITCHES));
        for index in eligible.into_iter().take(share_of(calls.len(), switches.share)) {
            calls[index].script = Script::Switch;
        }
    }
    if let Some(reconnect) = scenario.reconnect {
        let talking = calls.iter().filter(|call| call.script == Script::Talk);
        let mut clients: Vec<(usize, usize)> =
            talking.flat_map(|call| [(call.index, 0), (call.index, 1)]).collect();
        let count = share_of(clients.len(), reconnect.share);
        clients.shuffle(&mut draw(RECONNECTS));
        clients
            .into_iter()
            .take(count)
            .for_each(|(call, party)| calls[call].parties[party].reconnects = true);
    }
    assign_video(scenario, calls);
    // The SDK's own clients play what they hear, and keep none of it.
    let heard = calls.iter_mut().filter(|call| call.script == Script::Talk).map(|call| &mut call.parties[..]);
    audio_score::choose(heard.collect(), scenario.scored_receivers);
}

/// Draws who has no video after all.
fn assign_video(scenario: &Scenario, calls: &mut [CallPlan]) {
    if scenario.video.is_some() && scenario.video_share < 1.0 {
        let mut order: Vec<usize> = (0..calls.len()).collect();
        order.shuffle(&mut StdRng::seed_from_u64(net::seed(scenario.seed, VIDEOS)));
        let without = share_of(calls.len(), 1.0 - scenario.video_share);
        order.into_iter().take(without).for_each(|index| calls[index].has_video = false);
    }
}

/// Adds calls that nobody answers, so that all are over before the end. Gives a sentence if there would be too many.
fn add_rings(
    scenario: &Scenario,
    rings: &Rings,
    steady: std::ops::Range<Duration>,
    calls: &mut Vec<CallPlan>,
) -> Option<String> {
    let mut random = StdRng::seed_from_u64(net::seed(scenario.seed, RINGS));
    let between = Duration::from_secs_f64(1.0 / rings.per_second);
    let longest = rings.patience.max(scenario.answer_after + scenario.answer_spread);
    let until = steady.end.saturating_sub(longest + RINGS_MARGIN);
    let mut place_at = steady.start;
    for count in 0.. {
        place_at += exponential(between, &mut random);
        if place_at >= until {
            return None;
        }
        if count == ARRIVALS_MAX {
            let at = place_at.as_secs();
            return Some(format!(
                "no unanswered call was placed after {at} s: {count} are the most of a run; use a shorter duration or a lower \
                 rings.per_second"
            ));
        }
        let mut rest = random.random::<f64>() * rings.weights.iter().sum::<f64>();
        let drawn = RingEnd::ALL.into_iter().zip(rings.weights).find(|(_, weight)| {
            rest -= weight;
            rest < 0.0
        });
        // Rounding may leave a crumb past the last weight.
        let end = drawn.map_or(RingEnd::Declined, |(end, _)| end);
        let ring_for = match end {
            RingEnd::Unanswered => rings.patience,
            _ => scenario.answer_after + scenario.answer_spread.mul_f64(random.random()),
        };
        calls.push(CallPlan {
            index: calls.len(),
            join_at: place_at.saturating_sub(JOIN_LEAD),
            place_at,
            ring_for,
            caller_hangs_up: true,
            lasts: None,
            has_video: false,
            script: Script::Ring(end),
            parties: Role::PAIR.map(PartyPlan::new).into(),
        });
    }
    None
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
fn arrivals(scenario: &Scenario, mean: Duration, calls: usize, most: usize) -> (Vec<Duration>, bool) {
    let mut random = StdRng::seed_from_u64(net::seed(scenario.seed, ARRIVALS));
    let setting_up = JOIN_LEAD + scenario.answer_after + scenario.answer_spread + SETTLE;
    let until = (filled_at(scenario, mean) + scenario.duration).saturating_sub(setting_up);
    let between = mean_length(mean).div_f64(calls as f64);
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

    fn groups(call: &CallPlan) -> Vec<usize> {
        call.parties.iter().map(|party| party.group).collect()
    }

    /// Everything at once, as mixed.toml has it.
    const MIXED: &str = "churn = { mean_call = \"8s\", share = 0.3 }\nvideo = { enabled = true, share = 0.4 }\n\
        rings.per_second = 5\nreconnect.share = 0.25\nswitches.share = 0.2\n\
        groups = [{ name = \"far\", share = 0.1 }]\n";

    #[test]
    fn whatever_happens_in_a_run_is_drawn_from_its_seed() {
        let mixed = |seed: u32| plan(&scenario(&format!("seed = {seed}\n{MIXED}")));
        assert_eq!(mixed(7), mixed(7));
        let differs = |what: fn(&CallPlan) -> String| {
            let all = |seed| mixed(seed).calls.iter().map(what).collect::<Vec<_>>();
            assert_ne!(all(7), all(8), "{}", all(7).join(" "));
        };
        differs(|call| format!("{:?}", call.script));
        differs(|call| {
            format!("{:?}", call.parties.iter().map(|party| party.reconnects).collect::<Vec<_>>())
        });
        differs(|call| format!("{:?}", call.has_video));
        differs(|call| format!("{:?}", groups(call)));
        differs(|call| format!("{:?}", call.lasts));
        differs(|call| format!("{:?}", call.place_at));
    }

    #[test]
    fn the_generators_of_a_run_share_its_plan() {
        let whole = plan(&scenario(MIXED));
        let parts = ["1/3", "2/3", "3/3"].map(|part| {
            let mut plan = whole.clone();
            plan.keep(part.parse().unwrap());
            plan
        });
        let mut together: Vec<CallPlan> = parts.iter().flat_map(|part| part.calls.clone()).collect();
        together.sort_by_key(|call| call.index);
        assert_eq!(together, whole.calls);
        assert!(
            parts.iter().all(|part| part.steady_from == whole.steady_from && part.stop_at == whole.stop_at)
        );
        for bad in ["", "1", "0/2", "3/2", "1/65", "a/2", "1/2/3"] {
            assert_eq!(
                bad.parse::<Part>().unwrap_err(),
                "allowed is I/N, such as 2/3, with N up to 64",
                "{bad}"
            );
        }
    }

    #[test]
    fn each_kind_has_its_share() {
        let plan = plan(&scenario(MIXED));
        let calls: Vec<&CallPlan> = plan.calls.iter().filter(|call| !call.is_ring()).collect();
        let count = |what: fn(&&CallPlan) -> bool| calls.iter().copied().filter(what).count();
        assert_eq!(count(|call| call.lasts.is_none()), 28);
        assert_eq!(count(|call| call.script == Script::Switch), share_of(calls.len(), 0.2));
        assert_eq!(count(|call| !call.has_video), share_of(calls.len(), 0.6));
        let talking = count(|call| call.script == Script::Talk);
        let lost = calls.iter().flat_map(|call| &call.parties).filter(|party| party.reconnects).count();
        assert_eq!(lost, share_of(2 * talking, 0.25));
        assert_eq!(
            count(|call| call.script == Script::Switch && call.parties.iter().any(|p| p.reconnects)),
            0
        );
        assert!(calls.iter().enumerate().all(|(index, call)| call.index == index), "calls come before rings");
    }

    #[test]
    fn unanswered_calls_come_at_their_rate_by_weight_and_are_over_before_the_end() {
        let text = "duration = \"200s\"\nrings = { per_second = 10, declined = 2, busy = 0, offline = 1 }";
        let plan = plan(&scenario(text));
        let rings: Vec<&CallPlan> = plan.calls.iter().filter(|call| call.is_ring()).collect();
        let count = |end| rings.iter().filter(|call| call.script == Script::Ring(end)).count() as f64;
        assert!((rings.len() as f64 / 1940.0 - 1.0).abs() < 0.1, "{} in 194 s", rings.len());
        assert!((count(RingEnd::Declined) / rings.len() as f64 - 0.5).abs() < 0.05);
        assert!((count(RingEnd::Offline) / rings.len() as f64 - 0.25).abs() < 0.05);
        assert_eq!(count(RingEnd::Busy), 0.0);
        assert!(rings.iter().all(|call| call.place_at >= plan.steady_from));
        assert!(rings.iter().all(|call| call.place_at + call.ring_for + RINGS_MARGIN <= plan.stop_at));
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
    fn who_records_is_in_a_call_whose_sound_comes_here() {
        let recording = |plan: &Plan| {
            let calls = plan.calls.iter().filter(|call| call.parties.iter().any(|party| party.records));
            calls.map(|call| (call.script, groups(call))).collect::<Vec<_>>()
        };
        let all = plan(&scenario(MIXED));
        let chosen = recording(&all);
        let streams = |far: bool| {
            let of = all.calls.iter().filter(|call| (groups(call) != [0, 0]) == far);
            of.flat_map(|call| &call.parties).filter(|party| party.records).count()
        };
        assert_eq!((streams(false), streams(true)), (4, 4));
        assert!(chosen.iter().all(|(script, _)| *script == Script::Talk), "{chosen:?}");
        let mut shares = [all.clone(), all.clone()];
        shares[0].keep("1/2".parse().unwrap());
        shares[1].keep("2/2".parse().unwrap());
        assert_eq!(shares.iter().map(|share| recording(share).len()).sum::<usize>(), chosen.len());
        assert!(recording(&plan(&scenario(&format!("audio.scored_receivers = 0\n{MIXED}")))).is_empty());
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
            let decoding = plan.calls.iter().flat_map(|call| &call.parties).filter(|p| p.decodes).count();
            assert_eq!(decoding, expected, "share {share}");
        }
    }

    #[test]
    fn those_that_decode_are_no_more_than_they_may_be_and_spread_evenly() {
        for (max, expected) in [(0, 0), (10, 10), (30, 20)] {
            let keys = format!("audio.decode_share = 0.25\naudio.decoders_max = {max}");
            let plan = plan(&scenario(&keys));
            let decodes =
                |calls: &[CallPlan]| calls.iter().flat_map(|c| &c.parties).filter(|p| p.decodes).count();
            assert_eq!(decodes(&plan.calls), expected, "at most {max}");
            assert_eq!(decodes(&plan.calls[..20]), expected / 2, "at most {max}: in the first half");
        }
    }

    #[test]
    fn a_run_that_would_have_too_many_calls_says_when_they_stopped_coming() {
        let scenario = scenario("duration = \"60s\"\nchurn.mean_call = \"5s\"");
        let (all, is_cut) = arrivals(&scenario, Duration::from_secs(5), 40, ARRIVALS_MAX);
        assert!(!is_cut && plan(&scenario).note.is_none());
        let (some, is_cut) = arrivals(&scenario, Duration::from_secs(5), 40, 100);
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
