//! Who is in which group, and what each group's clients sent and heard. Pure.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Map, Value};

use super::audio_score::AudioScore;
use super::figure::{number, percent};
use super::outcome::CallOutcome;
use super::scenario::{Group, Scenario};
use super::stats::{Sound, Traffic};
use crate::histogram::{Histogram, quantile};
use crate::net::{self, Injected};
use crate::peer::{GroupTimings, counts_for};

/// What the report calls the clients without conditions.
pub(crate) const REST: &str = "rest";

/// The stream of random numbers that groups are drawn from.
const DRAW: u64 = u64::MAX;

/// The group of each call's caller and callee: 0 for none, else its place in the scenario plus one.
pub(crate) fn assign(scenario: &Scenario, calls: usize) -> Vec<[usize; 2]> {
    let mut random = StdRng::seed_from_u64(net::seed(scenario.seed, DRAW));
    let count = calls;
    let mut calls: Vec<(usize, usize)> = (0..calls).map(|call| (call, random.random_range(0..2))).collect();
    calls.shuffle(&mut random);
    // One client of each call, and the others when those are used up: most of them speak with clients of no group.
    let others: Vec<(usize, usize)> = calls.iter().map(|(call, party)| (*call, 1 - party)).collect();
    let mut clients = calls.into_iter().chain(others);
    let mut assigned = vec![[0, 0]; count];
    for (index, group) in scenario.groups.iter().enumerate() {
        let count = (group.share * 2.0 * count as f64).round().max(1.0) as usize;
        for (call, party) in clients.by_ref().take(count) {
            assigned[call][party] = index + 1;
        }
    }
    assigned
}

/// The group of each of `count` who view: 0 for none, else its place in the scenario plus one.
pub(crate) fn assign_viewers(scenario: &Scenario, count: usize) -> Vec<usize> {
    let mut viewers: Vec<usize> = (0..count).collect();
    viewers.shuffle(&mut StdRng::seed_from_u64(net::seed(scenario.seed, DRAW)));
    let mut viewers = viewers.into_iter();
    let mut assigned = vec![0; count];
    for (index, group) in scenario.groups.iter().enumerate() {
        let share = (group.share * count as f64).round().max(1.0) as usize;
        viewers.by_ref().take(share).for_each(|viewer| assigned[viewer] = index + 1);
    }
    assigned
}

/// What one group's clients sent and heard. Of clients without conditions only what they sent and heard among themselves.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct GroupFigures {
    pub(crate) name: String,
    pub(crate) clients: u64,
    pub(crate) calls_failed: u64,
    pub(crate) received: Traffic,
    pub(crate) sent: Traffic,
    pub(crate) times: GroupTimings,
    pub(crate) jitter: Histogram,
    pub(crate) first_audio: Histogram,
    /// Longest time without an audio packet, of each of its clients.
    pub(crate) audio_gap: Histogram,
    /// Of the passages that were scored, to its clients or from them.
    pub(crate) audio_scores: Vec<f64>,
    pub(crate) sound: Sound,
    pub(crate) down: Injected,
    pub(crate) up: Injected,
    pub(crate) address_changes: u64,
}

impl GroupFigures {
    /// One for the clients of no group and one for each group; none if the scenario has no groups.
    pub(crate) fn all(groups: &[Group]) -> Vec<Self> {
        if groups.is_empty() {
            return Vec::new();
        }
        let names = std::iter::once(REST).chain(groups.iter().map(|group| group.name.as_str()));
        names.map(|name| Self { name: name.into(), ..Self::default() }).collect()
    }

    /// The score that a share of its passages does not exceed.
    pub(crate) fn score_at(&self, share: f64) -> Option<f64> {
        quantile(&mut self.audio_scores.clone(), share)
    }
}

/// Adds those of another generator of the same run.
pub(crate) fn merge(groups: &mut [GroupFigures], others: Vec<GroupFigures>) {
    for (group, other) in groups.iter_mut().zip(others) {
        let GroupFigures {
            name: _,
            clients,
            calls_failed,
            received,
            sent,
            times,
            jitter,
            first_audio,
            audio_gap,
            audio_scores,
            sound,
            down,
            up,
            address_changes,
        } = other;
        group.clients += clients;
        group.calls_failed += calls_failed;
        group.received = group.received.plus(received);
        group.sent = group.sent.plus(sent);
        group.times.received.merge(&times.received);
        group.times.sent.merge(&times.sent);
        group.jitter.merge(&jitter);
        group.first_audio.merge(&first_audio);
        group.audio_gap.merge(&audio_gap);
        group.audio_scores.extend(audio_scores);
        group.sound = group.sound.plus(sound);
        group.down.add(&down);
        group.up.add(&up);
        group.address_changes += address_changes;
    }
}

/// Adds what became of a call.
pub(crate) fn add_call(groups: &mut [GroupFigures], call: &CallOutcome) {
    if groups.is_empty() || call.ring_end.is_some() {
        return;
    }
    for party in &call.parties {
        let sender = call.sender_to(party);
        let (own, other) = (party.group, sender.map_or(0, |sender| sender.group));
        let is_told_here = counts_for(own, other);
        let group = &mut groups[own];
        group.clients += 1;
        group.calls_failed += u64::from(call.has_failed_for(party) && is_told_here);
        if let Some(network) = &party.network {
            group.down.add(&network.down);
            group.up.add(&network.up);
            group.address_changes += u64::from(network.address_changes);
        }
        if is_told_here {
            party.first_audio.iter().for_each(|time| group.first_audio.add(*time));
        }
        let (Some(receiver), Some(sender)) = (&party.leg, sender.and_then(|sender| sender.leg.as_ref()))
        else {
            continue;
        };
        let audio = Traffic::of(&sender.audio_sent, &receiver.audio_in);
        let traffic = audio.plus(Traffic::of(&sender.video_sent, &receiver.video_in));
        if is_told_here {
            group.received = group.received.plus(traffic);
            group.sound.add_receiver(receiver);
            party.audio_gap.iter().for_each(|gap| group.audio_gap.add(*gap));
            if receiver.audio_in.packets > 1 {
                group.jitter.add_micros(receiver.audio_in.jitter_micros as u64);
            }
        }
        if counts_for(other, own) {
            groups[other].sent = groups[other].sent.plus(traffic);
        }
    }
}

/// Adds what a lane timed.
pub(crate) fn add_timings(groups: &mut [GroupFigures], timings: &[GroupTimings]) {
    for (group, timings) in groups.iter_mut().zip(timings) {
        group.times.received.merge(&timings.received);
        group.times.sent.merge(&timings.sent);
    }
}

/// Adds the scores of its streams.
pub(crate) fn add_scores(groups: &mut [GroupFigures], scores: &[AudioScore]) {
    for score in scores {
        if let Some(group) = groups.get_mut(score.group) {
            group.audio_scores.push(score.score);
        }
    }
}

/// One figure of a group.
pub(crate) struct GroupKey {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) read: fn(&GroupFigures) -> Value,
}

fn ms(time: Option<Duration>) -> Value {
    number(time.map(|time| time.as_secs_f64() * 1e3))
}

/// Every figure of a group, in the order of the report.
pub(crate) const KEYS: &[GroupKey] = &[
    GroupKey { name: "clients", unit: "clients", meaning: "its clients", read: |g| g.clients.into() },
    GroupKey {
        name: "calls_failed",
        unit: "calls",
        meaning: "its clients' failed calls",
        read: |g| g.calls_failed.into(),
    },
    GroupKey {
        name: "received_loss_percent",
        unit: "%",
        meaning: "packets that did not come to its clients, of those expected",
        read: |g| percent(g.received.loss()),
    },
    GroupKey {
        name: "sent_loss_percent",
        unit: "%",
        meaning: "packets of its clients that did not come to the other party",
        read: |g| percent(g.sent.loss()),
    },
    GroupKey {
        name: "received_p50_ms",
        unit: "ms",
        meaning: "one-way latency to its clients, steady phase: p50",
        read: |g| number(g.times.received.ms_at(0.5)),
    },
    GroupKey {
        name: "received_p99_ms",
        unit: "ms",
        meaning: "the same: p99",
        read: |g| number(g.times.received.ms_at(0.99)),
    },
    GroupKey {
        name: "received_mean_ms",
        unit: "ms",
        meaning: "the same: mean",
        read: |g| number(g.times.received.mean_ms()),
    },
    GroupKey {
        name: "sent_p50_ms",
        unit: "ms",
        meaning: "one-way latency from its clients to the other party, steady phase: p50",
        read: |g| number(g.times.sent.ms_at(0.5)),
    },
    GroupKey {
        name: "sent_p99_ms",
        unit: "ms",
        meaning: "the same: p99",
        read: |g| number(g.times.sent.ms_at(0.99)),
    },
    GroupKey {
        name: "sent_mean_ms",
        unit: "ms",
        meaning: "the same: mean",
        read: |g| number(g.times.sent.mean_ms()),
    },
    GroupKey {
        name: "received_jitter_p50_ms",
        unit: "ms",
        meaning: "interarrival jitter of audio to its clients: p50 over receivers",
        read: |g| number(g.jitter.ms_at(0.5)),
    },
    GroupKey {
        name: "accept_to_first_audio_p95_ms",
        unit: "ms",
        meaning: "AcceptCall, or WatchBroadcast, being sent to its clients' first decoded audio: p95",
        read: |g| number(g.first_audio.ms_at(0.95)),
    },
    GroupKey {
        name: "concealed_percent",
        unit: "%",
        meaning: "share of its decoding clients' sound that was made up",
        read: |g| percent(g.sound.concealed_share()),
    },
    GroupKey {
        name: "audio_gap_p50_ms",
        unit: "ms",
        meaning: "longest time without an audio packet, each of its receivers: p50",
        read: |g| number(g.audio_gap.ms_at(0.5)),
    },
    GroupKey {
        name: "audio_score_p50",
        unit: "score",
        meaning: "audio score, 1 to 5, of scored passages to its clients or from them: p50",
        read: |g| number(g.score_at(0.5)),
    },
    GroupKey {
        name: "audio_score_min",
        unit: "score",
        meaning: "the same: least",
        read: |g| number(g.score_at(0.0)),
    },
    GroupKey {
        name: "down_injected_loss_percent",
        unit: "%",
        meaning: "media packets to its clients that their conditions dropped, by the conditions' own count",
        read: |g| percent(g.down.loss()),
    },
    GroupKey {
        name: "up_injected_loss_percent",
        unit: "%",
        meaning: "media packets from its clients that their conditions dropped",
        read: |g| percent(g.up.loss()),
    },
    GroupKey {
        name: "down_injected_mean_ms",
        unit: "ms",
        meaning: "how long its conditions held a media packet that they let through to a client: mean",
        read: |g| ms(g.down.mean_held()),
    },
    GroupKey {
        name: "up_injected_mean_ms",
        unit: "ms",
        meaning: "the same, from a client",
        read: |g| ms(g.up.mean_held()),
    },
    GroupKey {
        name: "injected_blackout_packets",
        unit: "packets",
        meaning: "media packets lost in blackouts",
        read: |g| (g.down.blacked_out + g.up.blacked_out).into(),
    },
    GroupKey {
        name: "injected_overflow_packets",
        unit: "packets",
        meaning: "media packets that a bottleneck's full queue dropped",
        read: |g| (g.down.overflowed + g.up.overflowed).into(),
    },
    GroupKey {
        name: "injected_duplicates",
        unit: "packets",
        meaning: "media packets sent twice; SRTP's replay protection drops the second one",
        read: |g| (g.down.duplicated + g.up.duplicated).into(),
    },
    GroupKey {
        name: "address_changes",
        unit: "count",
        meaning: "new local ports, all its clients",
        read: |g| g.address_changes.into(),
    },
];

/// The groups of a report: an object for each, by its name.
pub(crate) fn json(groups: &[GroupFigures]) -> Value {
    let figures = |group: &GroupFigures| -> Value {
        KEYS.iter().map(|key| (key.name.to_owned(), (key.read)(group))).collect::<Map<_, _>>().into()
    };
    groups.iter().map(|group| (group.name.clone(), figures(group))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::NetworkReport;
    use crate::peer::LegReport;
    use crate::run::outcome::PartyOutcome;
    use crate::run::party::Role;
    use crate::run::scenario::Overrides;

    fn scenario(calls: usize, seed: u64, shares: &[f64]) -> Scenario {
        let groups: String = shares
            .iter()
            .enumerate()
            .map(|(n, share)| format!("[[groups]]\nname = \"g{n}\"\nshare = {share}\n"))
            .collect();
        let text = format!("description = \"d\"\ncalls = {calls}\nseed = {seed}\n{groups}");
        Scenario::parse("x", "x.toml", &text, &Overrides::default()).unwrap()
    }

    fn assigned(calls: usize, seed: u64, shares: &[f64]) -> Vec<[usize; 2]> {
        assign(&scenario(calls, seed, shares), calls)
    }

    fn sizes(assigned: &[[usize; 2]]) -> [usize; 3] {
        [0, 1, 2].map(|group| assigned.iter().flatten().filter(|own| **own == group).count())
    }

    #[test]
    fn groups_have_their_share_and_the_same_members_for_the_same_seed() {
        assert_eq!(sizes(&assigned(50, 1, &[])), [100, 0, 0]);
        assert_eq!(sizes(&assigned(50, 1, &[0.01, 0.2])), [79, 1, 20]);
        assert_eq!(sizes(&assigned(3, 1, &[0.001])), [5, 1, 0], "at least one client");
        assert_eq!(sizes(&assigned(10, 1, &[0.5, 0.5])), [0, 10, 10]);
        let members = |seed| assigned(50, seed, &[0.2]);
        assert_eq!(members(1), members(1));
        assert_ne!(members(1), members(2));
    }

    #[test]
    fn up_to_half_of_all_clients_have_conditions_without_speaking_with_each_other() {
        let assigned = assigned(40, 3, &[0.3, 0.2]);
        assert!(assigned.iter().all(|groups| groups.iter().filter(|group| **group > 0).count() == 1));
        let callers = assigned.iter().filter(|groups| groups[0] > 0).count();
        assert!((5..35).contains(&callers), "{callers} of 40 are callers");
    }

    /// A leg that sent 100 audio packets and received those of its peer's that `is_received` picks.
    fn leg(is_received: impl Fn(u64) -> bool) -> LegReport {
        let mut report = LegReport::default();
        let mark = |n: u64| 1_000_000 + n * 20_000;
        for n in 0..100 {
            report.audio_sent.next_mark(mark(n));
        }
        for n in (0..100).filter(|n| is_received(*n)) {
            report.audio_in.handle_packet(n, Some(mark(n)), mark(n) + 300);
        }
        report
    }

    #[test]
    fn a_bad_clients_losses_are_its_own_and_those_of_the_others_are_not_touched() {
        let injected = Injected { packets: 100, lost: 10, ..Injected::default() };
        let network = NetworkReport { up: injected, down: Injected::default(), address_changes: 1 };
        let party = |role, leg| PartyOutcome { role, leg: Some(leg), ..PartyOutcome::default() };
        let call =
            |parties: [PartyOutcome; 2]| CallOutcome { parties: parties.into(), ..CallOutcome::default() };
        let clean = call(Role::PAIR.map(|role| party(role, leg(|_| true))));
        let lossy = party(Role::Callee, leg(|n| n % 20 != 5));
        let lossy = PartyOutcome { group: 1, network: Some(network), ..lossy };
        let bad = call([party(Role::Caller, leg(|n| n % 10 != 5)), lossy]);
        let mut groups = GroupFigures::all(&scenario(2, 1, &[0.25]).groups);
        add_call(&mut groups, &clean);
        add_call(&mut groups, &bad);
        let json = json(&groups);
        assert_eq!((&json["rest"]["clients"], &json["g0"]["clients"]), (&3.into(), &1.into()));
        assert_eq!(json["rest"]["received_loss_percent"], 0.0);
        assert_eq!(json["rest"]["sent_loss_percent"], 0.0);
        assert_eq!(json["g0"]["received_loss_percent"], 5.0);
        assert_eq!(json["g0"]["sent_loss_percent"], 10.0);
        assert_eq!(json["g0"]["up_injected_loss_percent"], 10.0);
        assert_eq!(json["g0"]["address_changes"], 1);
    }

    #[test]
    fn a_run_without_groups_has_no_figures_of_them() {
        let mut groups = GroupFigures::all(&[]);
        add_call(&mut groups, &CallOutcome::default());
        assert_eq!(json(&groups), serde_json::json!({}));
    }
}
