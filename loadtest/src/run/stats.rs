//! From what each call, lane and sample showed to the figures of a run.

mod parts;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use super::audience::Audience;
use super::audio_score::{self, AudioScore};
use super::failure::Failure;
use super::findings::{self, Finding};
use super::groups::{self, GroupFigures};
use super::history::History;
use super::incidents::{Incidents, Table};
use super::join::Health;
use super::outcome::{CallOutcome, PartyOutcome};
use super::plan::Part;
use super::scenario::Scenario;
use super::stop::StopReason;
use crate::histogram::{Histogram, quantile};
use crate::lane::LaneReport;
use crate::over_time::OverTime;

pub(crate) use self::parts::{Generator, Receiver, Server, Sound, Traffic};

/// A lane that is busy for more than this share of a core is near its end.
const BUSY_MAX: f64 = 0.85;

/// Lateness (p99) from which the generator distorts what it measures: most of an audio frame.
const LAG_MAX_MS: f64 = 15.0;

/// Everything that a report is made of. What is here is also in the JSON report, as it is: that is what can be joined.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Summary {
    pub(crate) scenario: String,
    pub(crate) description: String,
    pub(crate) seed: u64,
    /// Which of the run's generators this is; `None`: the only one, or all of them.
    pub(crate) part: Option<Part>,
    /// When it started: milliseconds since 1970.
    pub(crate) started_unix_ms: u64,
    /// Each generator, if these are the figures of several.
    pub(crate) generators: Vec<Health>,
    pub(crate) has_video: bool,
    /// `planned`, `interrupted` or `server_lost`.
    pub(crate) ended: Cow<'static, str>,
    pub(crate) run: Duration,
    /// How long the steady phase was; zero if the run ended before it.
    pub(crate) steady: Duration,
    /// From when to when, from the start of the run.
    pub(crate) steady_span: Option<(Duration, Duration)>,
    pub(crate) over_time: OverTime,
    pub(crate) history: History,

    pub(crate) calls_planned: u64,
    pub(crate) calls_up: u64,
    /// Of those, how many were up together at the end of the steady phase.
    pub(crate) calls_up_at_end: u64,
    pub(crate) calls_failed: u64,
    pub(crate) calls_skipped: u64,
    pub(crate) failures: Vec<(Failure, u64)>,
    pub(crate) stream_breaks: u64,

    pub(crate) join: Histogram,
    pub(crate) ring: Histogram,
    pub(crate) leg_ready: Histogram,
    pub(crate) first_audio: Histogram,
    pub(crate) first_video: Histogram,
    pub(crate) hang_up: Histogram,
    pub(crate) latency_audio: Histogram,
    pub(crate) latency_video: Histogram,
    pub(crate) latency_ramp: Histogram,
    pub(crate) jitter_audio: Histogram,
    pub(crate) jitter_video: Histogram,
    /// Longest time without an audio packet, of each receiver.
    pub(crate) audio_gap: Histogram,

    pub(crate) audio: Traffic,
    pub(crate) video: Traffic,
    /// Share of expected packets, both kinds together, that one receiver missed; one entry for each.
    pub(crate) loss_of_receivers: Vec<f64>,
    /// One entry for each stream that was received, those aside that the scenario itself cut off.
    pub(crate) receivers: Vec<Receiver>,
    pub(crate) audio_scores: Vec<AudioScore>,
    pub(crate) sound: Sound,
    /// Share of played sound that one of those made up; one entry for each.
    pub(crate) concealed_of_receivers: Vec<f64>,
    /// When sign-ins began, and what they took.
    #[serde(with = "micros")]
    pub(crate) joins: Vec<(Duration, Duration)>,
    /// When media was asked for, and how long it then took to the first audio.
    #[serde(with = "micros")]
    pub(crate) first_audios: Vec<(Duration, Duration)>,
    pub(crate) keyframes_wanted: u64,
    pub(crate) keyframes_asked: u64,
    pub(crate) whole_video_frames: u64,

    pub(crate) audience: Audience,
    pub(crate) incidents: Incidents,
    /// Empty without groups.
    pub(crate) groups: Vec<GroupFigures>,
    pub(crate) server: Server,
    pub(crate) generator: Generator,
    pub(crate) notes: Vec<String>,
    /// Faults that these figures point at. They are found anew where figures were joined.
    #[serde(skip)]
    pub(crate) findings: Vec<Finding>,
}

/// Pairs of times, in microseconds.
mod micros {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        pairs: &[(Duration, Duration)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer
            .collect_seq(pairs.iter().map(|(at, took)| (at.as_micros() as u64, took.as_micros() as u64)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(Duration, Duration)>, D::Error> {
        let pairs = <Vec<(u64, u64)>>::deserialize(deserializer)?;
        let time = Duration::from_micros;
        Ok(pairs.into_iter().map(|(at, took)| (time(at), time(took))).collect())
    }
}

/// What the driver hands over besides calls and lanes.
pub(crate) struct Surroundings {
    pub(crate) part: Option<Part>,
    pub(crate) stop: StopReason,
    /// The start of the run, in microseconds since 1970.
    pub(crate) start_unix_micros: u64,
    pub(crate) audio_scores: Vec<AudioScore>,
    pub(crate) run: Duration,
    pub(crate) steady: Duration,
    pub(crate) steady_span: Option<(Duration, Duration)>,
    pub(crate) history: History,
    pub(crate) server: Server,
    pub(crate) calls_up_at_end: u64,
    pub(crate) generator_cpu_seconds: Option<f64>,
    pub(crate) task_lag: Histogram,
    pub(crate) socket_drops: Option<u64>,
    pub(crate) notes: Vec<String>,
}

/// Sums everything up.
pub(crate) fn summarize(
    scenario: &Scenario,
    calls: &[CallOutcome],
    lanes: Vec<LaneReport>,
    around: Surroundings,
) -> Summary {
    let viewers = scenario.broadcast.map_or(0, |broadcast| broadcast.viewers * calls.len());
    let mut summary = Summary {
        scenario: scenario.name.clone(),
        description: scenario.description.clone(),
        seed: scenario.seed,
        part: around.part,
        started_unix_ms: around.start_unix_micros / 1000,
        has_video: scenario.video.is_some(),
        ended: match around.stop {
            StopReason::Planned => "planned",
            StopReason::Interrupted => "interrupted",
            StopReason::ServerLost => "server_lost",
        }
        .into(),
        run: around.run,
        steady: around.steady,
        steady_span: around.steady_span,
        history: around.history,
        calls_planned: calls.iter().filter(|call| call.ring_end.is_none()).count() as u64,
        calls_up_at_end: around.calls_up_at_end,
        server: around.server,
        generator: Generator {
            cpu_seconds: around.generator_cpu_seconds,
            task_lag: around.task_lag,
            socket_drops: around.socket_drops,
            ..Generator::default()
        },
        notes: around.notes,
        audio_scores: around.audio_scores,
        groups: GroupFigures::all(&scenario.groups),
        audience: Audience { planned: viewers as u64, ..Audience::default() },
        ..Summary::default()
    };
    let mut failures = BTreeMap::new();
    let takes_media = scenario.reconnect.is_some_and(|lost| lost.loses.media());
    for call in calls {
        let is_cut_off = takes_media && call.is_hit;
        summary.add_call(call, around.start_unix_micros, is_cut_off);
        summary.audience.add_call(call);
        summary.incidents.add_call(call);
        groups::add_call(&mut summary.groups, call);
        for failure in call.failures() {
            *failures.entry(failure.clone()).or_insert(0) += 1;
        }
    }
    summary.failures = failures.into_iter().collect();
    lanes.iter().for_each(|lane| summary.add_lane(lane));
    groups::add_scores(&mut summary.groups, &summary.audio_scores);
    summary.judge_generator();
    summary.findings = findings::find(&summary);
    summary
}

impl Summary {
    /// `is_cut_off`: the scenario itself kept its media away for a time.
    fn add_call(&mut self, call: &CallOutcome, start_unix_micros: u64, is_cut_off: bool) {
        self.calls_up += u64::from(call.came_up);
        self.calls_failed += u64::from(call.failures().next().is_some());
        self.calls_skipped += u64::from(call.is_skipped);
        self.stream_breaks += call.stream_breaks;
        if let (Some(all), Some(dropped)) = (&mut self.generator.socket_drops, call.socket_drops) {
            *all += dropped;
        }
        call.ring.iter().for_each(|time| self.ring.add(*time));
        call.hang_up.iter().for_each(|time| self.hang_up.add(*time));
        call.parties.iter().for_each(|party| self.add_party(party));
        if let Some(switching) = &call.switching {
            self.sound.add_call_of_sdk(switching);
            for audio in switching.audio {
                self.audio = self.audio.plus(audio);
                self.loss_of_receivers.extend(audio.loss());
            }
        }
        self.add_media(call, start_unix_micros, is_cut_off);
    }

    fn add_party(&mut self, party: &PartyOutcome) {
        // What a viewer waits for has figures of its own: nobody accepts.
        let accepted = |time: Option<Duration>| time.filter(|_| party.view.is_none());
        let times = [
            (&mut self.join, party.join),
            (&mut self.leg_ready, party.leg_ready),
            (&mut self.first_audio, accepted(party.first_audio)),
            (&mut self.first_video, accepted(party.first_video)),
            (&mut self.audio_gap, party.audio_gap),
        ];
        for (histogram, time) in times {
            time.iter().for_each(|time| histogram.add(*time));
        }
        self.joins.extend(party.join.map(|took| (party.joined_at, took)));
        self.first_audios.extend(party.asked_at.zip(party.first_audio));
    }

    fn add_media(&mut self, call: &CallOutcome, start_unix_micros: u64, is_cut_off: bool) {
        for (from, to) in call.streams() {
            let (Some(sender), Some(receiver)) = (&from.leg, &to.leg) else { continue };
            let audio = Traffic::of(&sender.audio_sent, &receiver.audio_in);
            let video = Traffic::of(&sender.video_sent, &receiver.video_in);
            self.audio = self.audio.plus(audio);
            self.video = self.video.plus(video);
            self.loss_of_receivers.extend(audio.plus(video).loss());
            if !is_cut_off {
                let (both, gap) = (audio.plus(video), receiver.audio_in.longest_gap);
                self.receivers.push(Receiver {
                    call: call.index,
                    group: audio_score::stream_group(to.group, from.group),
                    packets: both.expected,
                    loss: both.loss().unwrap_or(0.0),
                    gap_s: gap.micros as f64 / 1e6,
                    gap_from_s: gap.from.saturating_sub(start_unix_micros) as f64 / 1e6,
                    gap_missing: gap.missing,
                });
            }
            for (histogram, reception) in
                [(&mut self.jitter_audio, &receiver.audio_in), (&mut self.jitter_video, &receiver.video_in)]
            {
                if reception.packets > 1 {
                    histogram.add_micros(reception.jitter_micros as u64);
                }
            }
            self.sound.add_receiver(receiver);
            let mut sound = Sound::default();
            sound.add_receiver(receiver);
            self.concealed_of_receivers.extend(sound.concealed_share());
            self.keyframes_wanted += receiver.keyframes_wanted;
            self.keyframes_asked += receiver.keyframes_asked;
            self.whole_video_frames += receiver.whole_video_frames;
            self.generator.frames_skipped += receiver.audio_frames_skipped;
            if receiver.counters.overflowed > 0 {
                self.generator.unsent += receiver.counters.overflowed;
            }
        }
    }

    fn add_lane(&mut self, lane: &LaneReport) {
        self.latency_audio.merge(&lane.timings.audio);
        self.latency_video.merge(&lane.timings.video);
        self.latency_ramp.merge(&lane.timings.ramp);
        self.over_time.merge(&lane.timings.over_time);
        groups::add_timings(&mut self.groups, &lane.timings.groups);
        self.generator.media_lag.merge(&lane.lag);
        self.generator.unsent += lane.unsent;
        self.generator.busiest_lane_cpu = self.generator.busiest_lane_cpu.max(lane.steady_cpu);
    }

    /// What there is to show of audiences, and of what went wrong on purpose.
    pub(crate) fn tables(&self) -> Vec<Table<'_>> {
        self.audience.table().into_iter().chain(self.incidents.tables()).collect()
    }

    /// Growth of the server's memory for each call that was up when it was read last.
    pub(crate) fn server_bytes_per_call(&self) -> Option<f64> {
        let calls = self.calls_up_at_end;
        self.server.grown_bytes.filter(|_| calls > 0).map(|bytes| bytes / calls as f64)
    }

    /// CPU of this program in the steady phase, in cores.
    pub(crate) fn generator_cores(&self) -> Option<f64> {
        self.generator
            .cpu_seconds
            .filter(|_| !self.steady.is_zero())
            .map(|cpu| cpu / self.steady.as_secs_f64())
    }

    /// Share of one core that the busiest lane used in the steady phase.
    pub(crate) fn busiest_lane_share(&self) -> Option<f64> {
        (!self.steady.is_zero())
            .then(|| self.generator.busiest_lane_cpu.as_secs_f64() / self.steady.as_secs_f64())
    }

    /// The name of a group as the report has it.
    pub(crate) fn group_name(&self, group: usize) -> &str {
        self.groups.get(group).map_or(groups::REST, |group| &group.name)
    }

    /// The score that a share of the scored passages does not exceed.
    pub(crate) fn audio_score_at(&self, share: f64) -> Option<f64> {
        let mut scores: Vec<f64> = self.audio_scores.iter().map(|passage| passage.score).collect();
        quantile(&mut scores, share)
    }

    /// Loss of both kinds together.
    pub(crate) fn loss(&self) -> Option<f64> {
        self.audio.plus(self.video).loss()
    }

    /// The loss that a share of the receivers does not exceed.
    pub(crate) fn loss_at(&self, share: f64) -> Option<f64> {
        quantile(&mut self.loss_of_receivers.clone(), share)
    }

    /// Says so when the figures are those of this program and not of the server.
    fn judge_generator(&mut self) {
        let mut signs = Vec::new();
        if let Some(share) = self.busiest_lane_share().filter(|share| *share > BUSY_MAX) {
            signs.push(format!("its busiest media thread used {:.0} % of a core", share * 100.0));
        }
        for (what, lag) in [("media", &self.generator.media_lag), ("signalling", &self.generator.task_lag)] {
            if let Some(p99) = lag.ms_at(0.99).filter(|ms| *ms > LAG_MAX_MS) {
                signs.push(format!("its {what} was {p99:.0} ms late (p99)"));
            }
        }
        if self.generator.frames_skipped > 0 {
            signs.push(format!("it left out {} audio frames", self.generator.frames_skipped));
        }
        if self.generator.unsent > 0 {
            signs.push(format!("{} of its packets were not sent", self.generator.unsent));
        }
        if let Some(drops) = self.generator.socket_drops.filter(|drops| *drops > 0) {
            signs.push(format!("its own sockets overflowed and dropped {drops} datagrams"));
        }
        self.generator.is_bottleneck = !signs.is_empty();
        if self.generator.is_bottleneck {
            self.notes.insert(
                0,
                format!(
                    "THE GENERATOR WAS THE BOTTLENECK: {}. The server may be better than these figures; use a quieter \
                     or larger machine, more --lanes, or fewer calls",
                    signs.join(", ")
                ),
            );
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::peer::LegReport;
    use crate::run::failure::Stage;
    use crate::run::party::Role;
    use crate::run::scenario::Overrides;
    use crate::run::server::Sample;

    pub(crate) fn scenario() -> Scenario {
        Scenario::parse("x", "x.toml", "description = \"d\"\ncalls = 2", &Overrides::default()).unwrap()
    }

    pub(crate) fn surroundings() -> Surroundings {
        Surroundings {
            part: None,
            stop: StopReason::Planned,
            start_unix_micros: 0,
            audio_scores: Vec::new(),
            run: Duration::from_secs(30),
            steady: Duration::from_secs(20),
            steady_span: None,
            history: History::default(),
            server: Server::default(),
            calls_up_at_end: 0,
            generator_cpu_seconds: Some(10.0),
            task_lag: Histogram::default(),
            socket_drops: Some(0),
            notes: Vec::new(),
        }
    }

    /// A leg that sent `sent` audio packets and, of its peer's, received those that `is_received` picks.
    fn leg(sent: u64, peer_sent: u64, is_received: impl Fn(u64) -> bool) -> LegReport {
        let mut report = LegReport::default();
        let mark = |n: u64| 1_000_000 + n * 20_000;
        for n in 0..sent {
            report.audio_sent.next_mark(mark(n));
        }
        for n in (0..peer_sent).filter(|n| is_received(*n)) {
            report.audio_in.handle_packet(n, Some(mark(n)), mark(n) + 300);
        }
        report
    }

    fn call(legs: [LegReport; 2]) -> CallOutcome {
        let party = |(role, leg)| PartyOutcome { role, leg: Some(leg), ..PartyOutcome::default() };
        let parties = Role::PAIR.into_iter().zip(legs).map(party).collect();
        CallOutcome { came_up: true, parties, ..CallOutcome::default() }
    }

    #[test]
    fn loss_counts_holes_and_the_missing_end_but_not_what_came_before_the_first_packet() {
        let clean = leg(100, 100, |_| true);
        let late_start = leg(100, 100, |n| n >= 10);
        let holes = leg(100, 100, |n| n != 50 && n < 90);
        let summary = summarize(
            &scenario(),
            &[call([clean.clone(), late_start]), call([clean, holes])],
            vec![],
            surroundings(),
        );
        assert_eq!(summary.audio, Traffic { expected: 390, received: 379, repeated: 0, gaps: 1 });
        assert_eq!(summary.loss_at(0.5), Some(0.0));
        assert_eq!(summary.loss_at(0.99), Some(0.11));
        assert_eq!(summary.loss(), Some(11.0 / 390.0));
    }

    #[test]
    fn a_stream_that_the_scenario_cut_off_points_at_nobody() {
        let text = "description = \"d\"\ncalls = 2\nreconnect = { share = 1.0, loses = \"media\" }";
        let cut = Scenario::parse("x", "x.toml", text, &Overrides::default()).unwrap();
        let gone = || leg(500, 500, |n| !(100..300).contains(&n));
        let hit = |is_hit| CallOutcome { is_hit, ..call([gone(), gone()]) };
        let kinds = |scenario: &Scenario, is_hit| {
            let summary = summarize(scenario, &[hit(is_hit), hit(is_hit)], vec![], surroundings());
            assert_eq!(summary.loss(), Some(0.4), "the figures have it all the same");
            summary.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&cut, true), [""; 0]);
        assert_eq!(kinds(&cut, false), ["standstill", "loss"]);
        assert_eq!(kinds(&scenario(), true), ["standstill", "loss"], "control alone is not the media");
    }

    #[test]
    fn a_receiver_that_got_nothing_lost_everything() {
        let summary = summarize(
            &scenario(),
            &[call([leg(50, 50, |_| true), leg(50, 50, |_| false)])],
            vec![],
            surroundings(),
        );
        assert_eq!(summary.loss(), Some(0.5));
    }

    #[test]
    fn failures_are_counted_by_stage_code_and_reason() {
        let failed = |stage, reason: &str| CallOutcome {
            failure: Some(Failure::own(stage, tonic::Code::Unavailable, reason)),
            ..CallOutcome::default()
        };
        let calls = [failed(Stage::Place, "A"), failed(Stage::Join, "B"), failed(Stage::Place, "A")];
        let summary = summarize(&scenario(), &calls, vec![], surroundings());
        assert_eq!((summary.calls_up, summary.calls_failed), (0, 3));
        let counted: Vec<String> = summary.failures.iter().map(|(f, n)| format!("{n} {f}")).collect();
        assert_eq!(counted, ["1 join: UNAVAILABLE (B)", "2 place: UNAVAILABLE (A)"]);
    }

    #[test]
    fn cpu_and_memory_are_differences_of_samples() {
        let sample = |busy, packets, rss| Sample {
            router_busy_seconds: Some(busy),
            packets_forwarded: Some(packets),
            cpu_seconds: None,
            resident_bytes: Some(rss),
            ..Sample::default()
        };
        let server =
            Server::between(sample(0.0, 0.0, 50e6), sample(1.0, 1000.0, 60e6), sample(3.0, 101_000.0, 70e6));
        assert_eq!(server.cpu_us_per_packet(), Some(20.0));
        let process = |cpu: f64| Server { cpu_seconds: Some(cpu), ..server }.process_us_per_packet();
        assert_eq!([process(2.5), process(40.0)], [Some(25.0), Some(400.0)]);
        assert_eq!([process(0.0), process(3.0)], [None, None], "whole seconds of a short run are rounding");
        let mut summary = Summary { server, calls_up: 500, calls_up_at_end: 10, ..Summary::default() };
        assert_eq!(
            summary.server_bytes_per_call(),
            Some(2e6),
            "calls that came and went hold nothing any more"
        );
        summary.calls_up_at_end = 0;
        assert_eq!(summary.server_bytes_per_call(), None);
        assert_eq!(server.store_batch_ms(), None, "no page, no figure");
        let wrote = Sample { store_batch_seconds: Some(0.5), store_batches: Some(10.0), ..Sample::default() };
        let server = Server::between(Sample::default(), Sample::default(), wrote);
        assert_eq!(server.store_batch_ms(), Some(50.0), "its page begins with the first batch");
        let idle = Server::between(sample(0.0, 0.0, 1.0), sample(1.0, 5.0, 1.0), sample(2.0, 5.0, 1.0));
        assert_eq!(idle.cpu_us_per_packet(), None);
    }

    #[test]
    fn a_late_generator_says_that_it_was_the_bottleneck() {
        let quiet = summarize(&scenario(), &[], vec![LaneReport::default()], surroundings());
        assert!(!quiet.generator.is_bottleneck && quiet.notes.is_empty());

        let mut lane = LaneReport { steady_cpu: Duration::from_secs(19), ..LaneReport::default() };
        (0..100).for_each(|_| lane.lag.add(Duration::from_millis(40)));
        let late = summarize(&scenario(), &[], vec![lane], surroundings());
        assert!(late.generator.is_bottleneck);
        let note = &late.notes[0];
        assert!(note.contains("GENERATOR WAS THE BOTTLENECK") && note.contains("95 % of a core"), "{note}");
        assert!(note.contains("40 ms late"), "{note}");
    }
}
