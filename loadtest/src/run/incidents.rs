//! What came of that which a scenario has happen on purpose: unanswered calls, clients that lose the server, changes of legs. Pure.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use serde_json::Value;

use super::outcome::CallOutcome;
use super::scenario::RingEnd;
use super::stats::Traffic;
use crate::histogram::Histogram;

/// How an unanswered call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RingOutcome {
    pub(crate) kind: RingEnd,
    pub(crate) expected: &'static str,
    /// As `expected` if all went as it should.
    pub(crate) ended: String,
    /// From the act that ends it to both parties' knowledge of it.
    pub(crate) told: Option<Duration>,
    /// From PlaceCall to the caller's knowledge that nobody can be rung.
    pub(crate) refused: Option<Duration>,
}

impl RingOutcome {
    pub(crate) fn new(kind: RingEnd, expected: &'static str) -> Self {
        Self { kind, expected, ended: "failed".into(), told: None, refused: None }
    }

    pub(crate) fn is_as_expected(&self) -> bool {
        self.ended == self.expected
    }
}

/// How a call's changes between the router and a direct leg went.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SwitchOutcome {
    /// From the consents to both parties' media being direct; from the no to its being back.
    pub(crate) to_direct: Vec<Duration>,
    pub(crate) to_routed: Vec<Duration>,
    /// Reasons of those that did not come to it.
    pub(crate) failures: Vec<String>,
    /// Of each party and change: sound made up, longest time without a new picture, last packet to the other's address.
    pub(crate) made_up: Vec<Duration>,
    pub(crate) video_gaps: Vec<Duration>,
    pub(crate) last_packets: Vec<Duration>,
    /// Sound of both parties in the whole call.
    pub(crate) played: Duration,
    pub(crate) concealed: Duration,
    /// Audio packets of each party, by whichever leg they came.
    pub(crate) audio: [Traffic; 2],
}

/// Figures of all calls.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Incidents {
    pub(crate) rings: u64,
    pub(crate) rings_as_expected: u64,
    /// Kind, how it should end, how it ended, and how often.
    pub(crate) ring_ends: Vec<(String, String, String, u64)>,
    pub(crate) ring_told: Histogram,
    pub(crate) ring_refused: Histogram,
    pub(crate) losses: u64,
    pub(crate) rejoin: Histogram,
    pub(crate) resumed: u64,
    /// Calls with a client that lost the server, and those of them that went on as planned.
    pub(crate) hit_calls: u64,
    pub(crate) hit_calls_kept: u64,
    pub(crate) hit_audio_gap: Histogram,
    pub(crate) to_direct: Histogram,
    pub(crate) to_routed: Histogram,
    pub(crate) switches_failed: u64,
    pub(crate) switch_made_up: Histogram,
    pub(crate) switch_video_gap: Histogram,
    pub(crate) switch_last_packet: Histogram,
}

impl Incidents {
    /// Adds what became of a call.
    pub(crate) fn add_call(&mut self, call: &CallOutcome) {
        if let Some(ring) = &call.ring_end
            && !call.is_skipped
        {
            self.add_ring(ring);
        }
        self.losses += call.losses;
        for rejoin in &call.rejoins {
            self.rejoin.add(rejoin.took);
            self.resumed += u64::from(rejoin.is_resumed);
        }
        if call.is_hit {
            self.hit_calls += 1;
            self.hit_calls_kept += u64::from(call.came_up && call.failure.is_none());
            let gaps = call.parties.iter().filter_map(|party| party.audio_gap);
            gaps.for_each(|gap| self.hit_audio_gap.add(gap));
        }
        if let Some(switching) = &call.switching {
            let times = [
                (&mut self.to_direct, &switching.to_direct),
                (&mut self.to_routed, &switching.to_routed),
                (&mut self.switch_made_up, &switching.made_up),
                (&mut self.switch_video_gap, &switching.video_gaps),
                (&mut self.switch_last_packet, &switching.last_packets),
            ];
            for (histogram, times) in times {
                times.iter().for_each(|time| histogram.add(*time));
            }
            self.switches_failed += switching.failures.len() as u64;
        }
    }

    fn add_ring(&mut self, ring: &RingOutcome) {
        self.rings += 1;
        self.rings_as_expected += u64::from(ring.is_as_expected());
        ring.told.iter().for_each(|time| self.ring_told.add(*time));
        ring.refused.iter().for_each(|time| self.ring_refused.add(*time));
        self.count_end((ring.kind.name().into(), ring.expected.into(), ring.ended.clone(), 1));
    }

    fn count_end(&mut self, (kind, expected, ended, count): (String, String, String, u64)) {
        let mut ends: BTreeMap<_, u64> =
            std::mem::take(&mut self.ring_ends).into_iter().map(|(a, b, c, n)| ((a, b, c), n)).collect();
        *ends.entry((kind, expected, ended)).or_default() += count;
        self.ring_ends = ends.into_iter().map(|((a, b, c), n)| (a, b, c, n)).collect();
    }

    /// Adds those of another generator.
    pub(crate) fn merge(&mut self, other: Self) {
        let Self {
            rings,
            rings_as_expected,
            ring_ends,
            ring_told,
            ring_refused,
            losses,
            rejoin,
            resumed,
            hit_calls,
            hit_calls_kept,
            hit_audio_gap,
            to_direct,
            to_routed,
            switches_failed,
            switch_made_up,
            switch_video_gap,
            switch_last_packet,
        } = other;
        self.rings += rings;
        self.rings_as_expected += rings_as_expected;
        ring_ends.into_iter().for_each(|end| self.count_end(end));
        self.losses += losses;
        self.resumed += resumed;
        self.hit_calls += hit_calls;
        self.hit_calls_kept += hit_calls_kept;
        self.switches_failed += switches_failed;
        for (own, other) in [
            (&mut self.ring_told, ring_told),
            (&mut self.ring_refused, ring_refused),
            (&mut self.rejoin, rejoin),
            (&mut self.hit_audio_gap, hit_audio_gap),
            (&mut self.to_direct, to_direct),
            (&mut self.to_routed, to_routed),
            (&mut self.switch_made_up, switch_made_up),
            (&mut self.switch_video_gap, switch_video_gap),
            (&mut self.switch_last_packet, switch_last_packet),
        ] {
            own.merge(&other);
        }
    }

    /// Changes of legs that came to it.
    pub(crate) fn switches(&self) -> u64 {
        self.to_direct.count() + self.to_routed.count()
    }

    /// Objects for the JSON report.
    pub(crate) fn ring_ends_json(&self) -> Value {
        let end = |(kind, expected, ended, count): &(String, String, String, u64)| serde_json::json!({ "callee": kind, "expected": expected, "ended": ended, "count": count });
        self.ring_ends.iter().map(end).collect()
    }

    /// Each table that has something to show: a heading, a line of words, and rows of times.
    pub(crate) fn tables(&self) -> Vec<Table<'_>> {
        let mut tables = Vec::new();
        if self.rings > 0 {
            let mut words = format!("{} of {} ended as they should:", self.rings_as_expected, self.rings);
            for (kind, expected, ended, count) in &self.ring_ends {
                let mark = if expected == ended { "" } else { " (!)" };
                write!(words, " {count} {kind} → {ended}{mark},").expect("writing to a string does not fail");
            }
            tables.push(Table {
                heading: "Unanswered calls",
                words: words.trim_end_matches(',').into(),
                is_good: self.rings == self.rings_as_expected,
                times: vec![
                    ("end → both know", &self.ring_told),
                    ("place → busy or offline", &self.ring_refused),
                ],
            });
        }
        if self.hit_calls > 0 {
            let (back, lost) = (self.rejoin.count(), self.losses);
            tables.push(Table {
                heading: "Reconnects",
                words: format!(
                    "{back} of {lost} clients signed in again, {} to the same session; {} of {} calls were kept",
                    self.resumed, self.hit_calls_kept, self.hit_calls
                ),
                is_good: back == lost && self.hit_calls == self.hit_calls_kept,
                times: vec![("way back → signed in", &self.rejoin), ("longest gap in audio", &self.hit_audio_gap)],
            });
        }
        if self.switches() + self.switches_failed > 0 {
            tables.push(Table {
                heading: "Leg switches",
                words: format!(
                    "{} to a direct leg, {} back, {} failed",
                    self.to_direct.count(),
                    self.to_routed.count(),
                    self.switches_failed
                ),
                is_good: self.switches_failed == 0,
                times: vec![
                    ("both yes → both direct", &self.to_direct),
                    ("private → both routed", &self.to_routed),
                    ("sound made up", &self.switch_made_up),
                    ("longest time without picture", &self.switch_video_gap),
                    ("private → last packet direct", &self.switch_last_packet),
                ],
            });
        }
        tables
    }
}

/// A part of the report for people.
pub(crate) struct Table<'a> {
    pub(crate) heading: &'static str,
    pub(crate) words: String,
    pub(crate) is_good: bool,
    pub(crate) times: Vec<(&'static str, &'a Histogram)>,
}

/// The tables of a page.
pub(crate) fn write_html(out: &mut String, tables: Vec<Table<'_>>) -> fmt::Result {
    for Table { heading, words, is_good, times } in tables {
        let class = if is_good { "" } else { "note bad" };
        writeln!(
            out,
            "<section><h2>{heading}, ms</h2><p class=\"{class}\">{}</p><div class=\"wide\"><table>\
             <tr><th><th class=\"n\">p50<th class=\"n\">p95<th class=\"n\">p99<th class=\"n\">longest<th class=\"n\">count</tr>",
            crate::plot::escape(&words)
        )?;
        for (name, times) in times.into_iter().filter(|(_, times)| times.count() > 0) {
            write!(out, "<tr><td>{name}")?;
            for value in [times.ms_at(0.5), times.ms_at(0.95), times.ms_at(0.99), times.max_ms()] {
                write!(out, "<td class=\"n\">{}", super::report::show(value, 2))?;
            }
            writeln!(out, "<td class=\"n\">{}</tr>", times.count())?;
        }
        writeln!(out, "</table></div></section>")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::device::Rejoin;
    use crate::run::failure::{Failure, Stage};
    use crate::run::outcome::PartyOutcome;

    fn ring(ended: &str) -> CallOutcome {
        let mut ring = RingOutcome::new(RingEnd::Declined, "declined");
        ring.ended = ended.into();
        ring.told = Some(Duration::from_millis(7));
        CallOutcome { ring_end: Some(ring), ..CallOutcome::default() }
    }

    #[test]
    fn ends_are_counted_by_what_they_should_have_been() {
        let mut incidents = Incidents::default();
        for ended in ["declined", "declined", "busy"] {
            incidents.add_call(&ring(ended));
        }
        incidents.add_call(&CallOutcome { is_skipped: true, ..ring("failed") });
        assert_eq!((incidents.rings, incidents.rings_as_expected), (3, 2));
        let json = incidents.ring_ends_json();
        assert_eq!(
            json[1],
            serde_json::json!({ "callee": "declined", "expected": "declined", "ended": "declined", "count": 2 })
        );
        let tables = incidents.tables();
        assert_eq!(
            tables[0].words,
            "2 of 3 ended as they should: 1 declined → busy (!), 2 declined → declined"
        );
        assert!(!tables[0].is_good && tables.len() == 1);
    }

    #[test]
    fn a_call_is_kept_if_it_is_up_at_its_end_and_nothing_failed() {
        let took = Duration::from_millis(300);
        let kept = CallOutcome {
            is_hit: true,
            came_up: true,
            losses: 1,
            rejoins: vec![Rejoin { took, is_resumed: true }],
            parties: [Some(took), None]
                .map(|audio_gap| PartyOutcome { audio_gap, ..PartyOutcome::default() })
                .into(),
            ..CallOutcome::default()
        };
        let failure = Failure::own(Stage::Call, tonic::Code::Aborted, "PARTY_LOST");
        let lost = CallOutcome { failure: Some(failure), rejoins: Vec::new(), ..kept.clone() };
        let mut incidents = Incidents::default();
        [&kept, &lost, &CallOutcome::default()].into_iter().for_each(|call| incidents.add_call(call));
        assert_eq!((incidents.hit_calls, incidents.hit_calls_kept, incidents.resumed), (2, 1, 1));
        assert_eq!(incidents.hit_audio_gap.count(), 2);
        let tables = incidents.tables();
        assert!(tables[0].words.starts_with("1 of 2 clients signed in again, 1 to the same session; 1 of 2"));
    }

    #[test]
    fn two_generators_together_have_what_each_had() {
        let mut one = Incidents::default();
        one.add_call(&ring("declined"));
        let mut other = Incidents::default();
        other.add_call(&ring("declined"));
        other.add_call(&ring("busy"));
        let switching = SwitchOutcome {
            to_direct: vec![Duration::from_millis(80)],
            failures: vec!["NOT_ROUTED".into()],
            ..SwitchOutcome::default()
        };
        other.add_call(&CallOutcome { switching: Some(switching), ..CallOutcome::default() });
        one.merge(other);
        assert_eq!((one.rings, one.rings_as_expected, one.ring_told.count()), (3, 2, 3));
        assert_eq!((one.switches(), one.switches_failed), (1, 1));
        assert_eq!(one.ring_ends.len(), 2);
    }
}
