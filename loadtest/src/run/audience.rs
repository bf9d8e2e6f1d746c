//! What became of those who view broadcasts. Pure.

use super::incidents::Table;
use super::outcome::{CallOutcome, PartyOutcome, View};
use crate::histogram::Histogram;

/// Figures of all broadcasts.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Audience {
    /// Viewers that the scenario asks for.
    pub(crate) planned: u64,
    pub(crate) up: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    pub(crate) start: Histogram,
    pub(crate) first_audio: Histogram,
    pub(crate) first_video: Histogram,
}

impl Audience {
    /// Adds what became of a broadcast.
    pub(crate) fn add_call(&mut self, call: &CallOutcome) {
        call.start.iter().for_each(|time| self.start.add(*time));
        for party in &call.parties {
            if let Some(view) = &party.view {
                self.add_viewer(party, view);
            }
        }
    }

    fn add_viewer(&mut self, party: &PartyOutcome, view: &View) {
        self.up += u64::from(view.came_up);
        self.failed += u64::from(view.failure.is_some());
        self.skipped += u64::from(view.is_skipped);
        party.first_audio.iter().for_each(|time| self.first_audio.add(*time));
        party.first_video.iter().for_each(|time| self.first_video.add(*time));
    }

    /// Adds those of another generator.
    pub(crate) fn merge(&mut self, other: Self) {
        let Self { planned, up, failed, skipped, start, first_audio, first_video } = other;
        self.planned += planned;
        self.up += up;
        self.failed += failed;
        self.skipped += skipped;
        self.start.merge(&start);
        self.first_audio.merge(&first_audio);
        self.first_video.merge(&first_video);
    }

    /// The calls are broadcasts.
    pub(crate) fn is_there(&self) -> bool {
        self.planned > 0
    }

    /// What it has for people.
    pub(crate) fn table(&self) -> Option<Table<'_>> {
        self.is_there().then(|| Table {
            heading: "Viewers",
            words: format!(
                "{} of {} viewers up, {} failed, {} skipped",
                self.up, self.planned, self.failed, self.skipped
            ),
            is_good: self.up == self.planned && self.failed == 0,
            times: vec![
                ("start → host's leg up", &self.start),
                ("watch → first audio decoded", &self.first_audio),
                ("watch → first key frame", &self.first_video),
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::run::failure::{Failure, Stage};
    use crate::run::party::Role;
    use crate::run::stats::summarize;
    use crate::run::stats::tests::{scenario, surroundings};

    fn viewer(number: u32, first_audio: Option<u64>, failure: Option<Failure>) -> PartyOutcome {
        PartyOutcome {
            role: Role::Viewer(number),
            first_audio: first_audio.map(Duration::from_millis),
            view: Some(View { came_up: first_audio.is_some(), failure, is_skipped: false }),
            ..PartyOutcome::default()
        }
    }

    fn full() -> Failure {
        let status = duocast_wire::error::status(duocast_wire::error::Reason::BroadcastFull, "full");
        Failure::of(Stage::Watch, &status)
    }

    fn broadcast() -> CallOutcome {
        let host = PartyOutcome { role: Role::Host, ..PartyOutcome::default() };
        let start = Some(Duration::from_millis(20));
        let parties =
            vec![host, viewer(0, Some(80), None), viewer(1, Some(120), None), viewer(2, None, Some(full()))];
        CallOutcome { came_up: true, start, parties, ..CallOutcome::default() }
    }

    #[test]
    fn a_viewer_who_is_not_let_in_has_failed_by_stage_and_its_broadcast_with_it() {
        let mut scenario = scenario();
        (scenario.calls, scenario.broadcast) =
            (2, Some(crate::run::scenario::Broadcast { viewers: 3, viewers_per_second: 20.0 }));
        let other = CallOutcome { index: 1, ..broadcast() };
        let summary = summarize(&scenario, &[broadcast(), other], vec![], surroundings());
        let audience = &summary.audience;
        assert_eq!((audience.planned, audience.up, audience.failed, audience.skipped), (6, 4, 2, 0));
        assert_eq!((summary.calls_up, summary.calls_failed), (2, 2));
        let counted: Vec<String> = summary.failures.iter().map(|(f, n)| format!("{n} {f}")).collect();
        assert_eq!(counted, ["2 watch: RESOURCE_EXHAUSTED (BROADCAST_FULL)"]);
        assert_eq!((audience.first_audio.count(), summary.first_audio.count()), (4, 0));
        let table = audience.table().unwrap();
        assert_eq!(table.words, "4 of 6 viewers up, 2 failed, 0 skipped");
        assert!(!table.is_good);
    }

    #[test]
    fn two_generators_together_have_what_each_had() {
        let mut one = Audience { planned: 3, ..Audience::default() };
        one.add_call(&broadcast());
        let other = one.clone();
        one.merge(other);
        assert_eq!(
            (one.planned, one.up, one.failed, one.first_audio.count(), one.start.count()),
            (6, 4, 2, 4, 2)
        );
        assert!(Audience::default().table().is_none(), "calls of two have no audience");
    }
}
