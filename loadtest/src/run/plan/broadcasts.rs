//! Which broadcast when, and who views it from when on.

use std::time::Duration;

use super::{CallPlan, JOIN_LEAD, Plan, SETTLE, Script, assign_video, is_sampled};
use crate::run::party::{PartyPlan, Role};
use crate::run::scenario::{Broadcast, Scenario};
use crate::run::{audio_score, groups};

/// When the viewers of one broadcast sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrivals {
    first: Duration,
    every: Duration,
}

impl Arrivals {
    /// When its viewer of this number does, from 0.
    pub(crate) fn at(self, viewer: usize) -> Duration {
        self.first + self.every.mul_f64(viewer as f64)
    }
}

/// Hosts come at the rate of calls; then viewers at theirs, one for each broadcast in turn.
pub(super) fn plan(scenario: &Scenario, broadcast: Broadcast) -> Plan {
    let Broadcast { viewers, viewers_per_second } = broadcast;
    let host_gap = Duration::from_secs_f64(1.0 / scenario.calls_per_second);
    let viewer_gap = Duration::from_secs_f64(1.0 / viewers_per_second);
    // When they view, the last host has had its lead to be on air.
    let first = host_gap.mul_f64((scenario.calls - 1) as f64) + JOIN_LEAD;
    let groups = groups::assign_viewers(scenario, scenario.viewers());
    let decode_share = scenario.decode_share_of(scenario.viewers());
    let party = |index: usize, viewer: usize| {
        // Counted in the order in which they come.
        let nth = viewer * scenario.calls + index;
        PartyPlan {
            decodes: is_sampled(nth, decode_share),
            group: groups[nth],
            ..PartyPlan::new(Role::Viewer(viewer as u32))
        }
    };
    let mut calls: Vec<CallPlan> = (0..scenario.calls)
        .map(|index| {
            let join_at = host_gap.mul_f64(index as f64);
            let host = std::iter::once(PartyPlan::new(Role::Host));
            CallPlan {
                index,
                join_at,
                place_at: join_at + JOIN_LEAD,
                ring_for: Duration::ZERO,
                caller_hangs_up: true,
                lasts: None,
                has_video: scenario.video.is_some(),
                script: Script::Broadcast(Arrivals {
                    first: first + viewer_gap.mul_f64(index as f64),
                    every: viewer_gap.mul_f64(scenario.calls as f64),
                }),
                parties: host.chain((0..viewers).map(|viewer| party(index, viewer))).collect(),
            }
        })
        .collect();
    assign_video(scenario, &mut calls);
    audio_score::choose(
        calls.iter_mut().map(|call| &mut call.parties[..]).collect(),
        scenario.scored_receivers,
    );
    let last = first + viewer_gap.mul_f64((scenario.viewers() - 1) as f64);
    let steady_from = last + JOIN_LEAD + SETTLE;
    Plan { calls, steady_from, stop_at: steady_from + scenario.duration, note: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::plan;
    use crate::run::scenario::Overrides;

    fn planned(extra: &str) -> Plan {
        let text = format!("description = \"d\"\ncalls = 3\n{extra}\n[broadcast]\nviewers = 40");
        let scenario = Scenario::parse("x", "x.toml", &text, &Overrides::default()).unwrap();
        plan::plan(&scenario)
    }

    fn arrivals(call: &CallPlan) -> Vec<Duration> {
        let Script::Broadcast(arrivals) = call.script else { panic!("{:?}", call.script) };
        (0..call.parties.len() - 1).map(|viewer| arrivals.at(viewer)).collect()
    }

    #[test]
    fn each_broadcast_has_one_host_and_its_viewers_come_in_turn_at_the_rate_of_the_ramp() {
        let plan = planned("ramp = { calls_per_second = 1, viewers_per_second = 5 }");
        assert_eq!(plan.calls.len(), 3);
        let mut all = Vec::new();
        for call in &plan.calls {
            assert_eq!(call.parties[0].role, Role::Host);
            assert_eq!((call.parties.len(), call.clients()), (41, 41));
            all.extend(arrivals(call).into_iter().map(|at| (at, call.index)));
        }
        all.sort();
        assert_eq!(all.iter().take(4).map(|(_, call)| *call).collect::<Vec<_>>(), [0, 1, 2, 0]);
        let gaps = all.windows(2).map(|pair| pair[1].0 - pair[0].0);
        assert!(gaps.into_iter().all(|gap| gap == Duration::from_millis(200)), "{all:?}");
        let last_host = plan.calls[2].place_at;
        assert_eq!(all[0].0, last_host, "signs in when the last host starts, and views two seconds later");
        let (last_viewer, _) = all[all.len() - 1];
        assert_eq!(plan.steady_from, last_viewer + JOIN_LEAD + SETTLE);
    }

    #[test]
    fn what_is_drawn_comes_from_the_seed() {
        let text = |seed: u32| {
            format!(
                "seed = {seed}\nvideo = {{ enabled = true, share = 0.4 }}\ngroups = [{{ name = \"far\", share = 0.1 }}]"
            )
        };
        assert_eq!(planned(&text(7)), planned(&text(7)));
        let far = |seed| {
            let groups = planned(&text(seed)).calls.into_iter().flat_map(|call| call.parties);
            groups.map(|party| party.group).collect::<Vec<_>>()
        };
        assert_ne!(far(7), far(8));
        assert_eq!(far(7).iter().filter(|group| **group == 1).count(), 12, "a tenth of 120 viewers");
        let hosts = planned(&text(7)).calls.into_iter().map(|call| call.parties[0].group);
        assert!(hosts.into_iter().all(|group| group == 0), "the network of a host is the machine's");
    }

    #[test]
    fn generators_share_whole_broadcasts_in_the_same_phases() {
        let whole = planned("");
        let parts = ["1/2", "2/2"].map(|part| {
            let mut plan = whole.clone();
            plan.keep(part.parse().unwrap());
            plan
        });
        assert_eq!(parts.each_ref().map(|part| part.calls.len()), [2, 1]);
        assert!(parts.iter().all(|part| part.steady_from == whole.steady_from));
        let mut together: Vec<CallPlan> = parts.into_iter().flat_map(|part| part.calls).collect();
        together.sort_by_key(|call| call.index);
        assert_eq!(together, whole.calls);
    }

    #[test]
    fn a_share_of_the_viewers_decodes_and_a_few_record_and_never_a_host() {
        let plan = planned("audio = { decode_share = 0.25, scored_receivers = 6 }");
        let count = |what: fn(&PartyPlan) -> bool| {
            plan.calls.iter().flat_map(|call| &call.parties).filter(|party| what(party)).count()
        };
        assert_eq!(count(|party| party.decodes), 30);
        assert_eq!(count(|party| party.records), 6);
        assert_eq!(count(|party| party.role == Role::Host && (party.decodes || party.records)), 0);
    }
}
