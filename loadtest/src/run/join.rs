//! One report of several generators': distributions and counters are added up, never percentiles. Pure.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

use super::failure::Failure;
use super::figure::number;
use super::findings;
use super::groups;
use super::plan::Part;
use super::report::show;
use super::stats::{Generator, Summary};
use crate::plot::escape;

/// Generators that start further apart than this were not in one phase together.
const APART_MAX: Duration = Duration::from_secs(1);

/// What a note on a generator that was the bottleneck begins with.
const BOTTLENECK: &str = "THE GENERATOR WAS THE BOTTLENECK";

/// How one of several generators did.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Health {
    pub(crate) part: Option<Part>,
    pub(crate) started_unix_ms: u64,
    /// As the report's, or `lost`: it left no report.
    pub(crate) ended: Cow<'static, str>,
    pub(crate) calls_planned: u64,
    pub(crate) calls_up: u64,
    pub(crate) calls_failed: u64,
    pub(crate) cpu_cores: Option<f64>,
    pub(crate) lane_cpu_cores: Option<f64>,
    pub(crate) is_bottleneck: bool,
}

impl Health {
    pub(super) fn of(summary: &Summary) -> Self {
        Self {
            part: summary.part,
            started_unix_ms: summary.started_unix_ms,
            ended: summary.ended.clone(),
            calls_planned: summary.calls_planned,
            calls_up: summary.calls_up,
            calls_failed: summary.calls_failed,
            cpu_cores: summary.generator_cores(),
            lane_cpu_cores: summary.busiest_lane_share(),
            is_bottleneck: summary.generator.is_bottleneck,
        }
    }

    pub(super) fn name(&self) -> String {
        self.part.map_or_else(|| "one of them".into(), |part| format!("generator {part}"))
    }

    /// How it did, for people.
    pub(super) fn words(&self) -> String {
        let Self { calls_up, calls_planned, calls_failed, ended, .. } = self;
        let cores = |cores: Option<f64>| show(cores, 2);
        let bottleneck = if self.is_bottleneck { "; THE BOTTLENECK" } else { "" };
        format!(
            "{calls_up} of {calls_planned} calls up, {calls_failed} failed, ended: {ended}; {} cores, busiest media thread {}{bottleneck}",
            cores(self.cpu_cores),
            cores(self.lane_cpu_cores),
        )
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "part": self.part.map(|part| part.to_string()), "started_unix_ms": self.started_unix_ms,
            "ended": self.ended, "calls_planned": self.calls_planned, "calls_up": self.calls_up,
            "calls_failed": self.calls_failed, "cpu_cores": number(self.cpu_cores),
            "lane_cpu_cores": number(self.lane_cpu_cores), "is_bottleneck": self.is_bottleneck,
        })
    }
}

/// Why reports cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JoinError {
    #[error(
        "{0}: is no report that can be joined: allowed is a file written by `duocast-loadtest run --json` of this version"
    )]
    Unreadable(String),
    #[error(
        "{name}: has {what}, and {first} has not the same: allowed are the reports of one run's generators"
    )]
    Differs { name: String, first: String, what: String },
    #[error("{name}: is part {part}, as {first} is: allowed is each part once")]
    Twice { name: String, first: String, part: Part },
    #[error("nothing to join")]
    Nothing,
}

/// How each generator did, on the page.
pub(super) fn write_html(out: &mut String, generators: &[Health]) -> fmt::Result {
    if generators.is_empty() {
        return Ok(());
    }
    writeln!(out, "<section><h2>Generators</h2><div class=\"wide\"><table>")?;
    for health in generators {
        let class = if health.is_bottleneck || health.ended != "planned" { "worse" } else { "" };
        writeln!(out, "<tr><td>{}<td class=\"{class}\">{}</tr>", health.name(), escape(&health.words()))?;
    }
    writeln!(out, "</table></div></section>")
}

/// What can be joined of a JSON report.
pub(crate) fn read(name: &str, report: &Value) -> Result<Summary, JoinError> {
    let unreadable = || JoinError::Unreadable(name.to_owned());
    let mergeable = report.get("mergeable").ok_or_else(unreadable)?;
    serde_json::from_value(mergeable.clone()).map_err(|error| {
        tracing::debug!(%error, "a report cannot be read");
        unreadable()
    })
}

/// Adds the reports of one run's generators up, each with the name of its file.
pub(crate) fn join(mut reports: Vec<(String, Summary)>) -> Result<Summary, JoinError> {
    reports.sort_by_key(|(_, summary)| summary.part.map(|part| part.number));
    check(&reports)?;
    let mut notes = Vec::new();
    if let Some(of) = reports.first().and_then(|(_, first)| first.part).map(|part| part.of) {
        let has = |number| reports.iter().any(|(_, s)| s.part.is_some_and(|part| part.number == number));
        let missing: Vec<String> = (1..=of).filter(|n| !has(*n)).map(|n| format!("{n}/{of}")).collect();
        if !missing.is_empty() {
            notes.push(format!("the calls of part {} are not in these figures", missing.join(", ")));
        }
    }
    let starts = || reports.iter().map(|(_, summary)| summary.started_unix_ms);
    let apart = starts().max().unwrap_or(0) - starts().min().unwrap_or(0);
    if u128::from(apart) > APART_MAX.as_millis() {
        notes.push(format!(
            "the generators started up to {:.1} s apart, so not all calls were up together; give all of them one --start-at",
            apart as f64 / 1e3
        ));
    }
    let mut reports = reports.into_iter().map(|(_, summary)| summary);
    let mut all = reports.next().ok_or(JoinError::Nothing)?;
    all.generators = vec![Health::of(&all)];
    all.notes = named_notes(&mut all);
    reports.for_each(|report| all.merge(report));
    all.part = None;
    all.notes.extend(notes);
    all.findings = findings::find(&all);
    Ok(all)
}

fn check(reports: &[(String, Summary)]) -> Result<(), JoinError> {
    let Some((first, model)) = reports.first() else { return Err(JoinError::Nothing) };
    let mut before: Vec<(&String, Part)> = Vec::new();
    for (name, summary) in reports {
        let differs =
            |what: String| Err(JoinError::Differs { name: name.clone(), first: first.clone(), what });
        if summary.scenario != model.scenario {
            return differs(format!("scenario {}", summary.scenario));
        }
        if summary.seed != model.seed {
            return differs(format!("seed {}", summary.seed));
        }
        if summary.part.map(|part| part.of) != model.part.map(|part| part.of) {
            return differs(match summary.part {
                Some(part) => format!("part {part}"),
                None => "no part".into(),
            });
        }
        let names = |summary: &Summary| summary.groups.iter().map(|g| g.name.clone()).collect::<Vec<_>>();
        if summary.over_time.width() != model.over_time.width() || names(summary) != names(model) {
            return differs("another duration or other groups".into());
        }
        if let Some(part) = summary.part {
            if let Some((first, part)) = before.iter().find(|(_, other)| *other == part) {
                return Err(JoinError::Twice { name: name.clone(), first: (*first).clone(), part: *part });
            }
            before.push((name, part));
        }
    }
    Ok(())
}

/// A report's notes, with the generator that wrote each.
fn named_notes(summary: &mut Summary) -> Vec<String> {
    let who = summary.part.map_or_else(String::new, |part| format!("generator {part}"));
    let named = |note: String| match note.strip_prefix(BOTTLENECK) {
        _ if who.is_empty() => note,
        Some(rest) => format!("{BOTTLENECK} ({who}){rest}"),
        None => format!("{who}: {note}"),
    };
    std::mem::take(&mut summary.notes).into_iter().map(named).collect()
}

impl Summary {
    /// Adds another generator's figures of the same run. The server is the same, so its figures are those of whoever saw it.
    fn merge(&mut self, mut other: Self) {
        self.generators.push(Health::of(&other));
        let notes = named_notes(&mut other);
        let Self {
            scenario: _,
            description: _,
            seed: _,
            part: _,
            started_unix_ms,
            generators: _,
            has_video,
            ended,
            run,
            steady,
            steady_span,
            over_time,
            history,
            calls_planned,
            calls_up,
            calls_up_at_end,
            calls_failed,
            calls_skipped,
            failures,
            stream_breaks,
            join,
            ring,
            leg_ready,
            first_audio,
            first_video,
            hang_up,
            latency_audio,
            latency_video,
            latency_ramp,
            jitter_audio,
            jitter_video,
            audio_gap,
            audio,
            video,
            loss_of_receivers,
            receivers,
            audio_scores,
            sound,
            concealed_of_receivers,
            joins,
            first_audios,
            keyframes_wanted,
            keyframes_asked,
            whole_video_frames,
            audience,
            incidents,
            groups,
            server,
            generator,
            notes: _,
            findings: _,
        } = other;
        for (own, other) in [
            (&mut self.join, join),
            (&mut self.ring, ring),
            (&mut self.leg_ready, leg_ready),
            (&mut self.first_audio, first_audio),
            (&mut self.first_video, first_video),
            (&mut self.hang_up, hang_up),
            (&mut self.latency_audio, latency_audio),
            (&mut self.latency_video, latency_video),
            (&mut self.latency_ramp, latency_ramp),
            (&mut self.jitter_audio, jitter_audio),
            (&mut self.jitter_video, jitter_video),
            (&mut self.audio_gap, audio_gap),
        ] {
            own.merge(&other);
        }
        for (own, other) in [
            (&mut self.calls_planned, calls_planned),
            (&mut self.calls_up, calls_up),
            (&mut self.calls_up_at_end, calls_up_at_end),
            (&mut self.calls_failed, calls_failed),
            (&mut self.calls_skipped, calls_skipped),
            (&mut self.stream_breaks, stream_breaks),
            (&mut self.keyframes_wanted, keyframes_wanted),
            (&mut self.keyframes_asked, keyframes_asked),
            (&mut self.whole_video_frames, whole_video_frames),
        ] {
            *own += other;
        }
        self.started_unix_ms = self.started_unix_ms.min(started_unix_ms);
        self.has_video |= has_video;
        if severity(&ended) > severity(&self.ended) {
            self.ended = ended;
        }
        self.run = self.run.max(run);
        self.steady = self.steady.max(steady);
        self.steady_span = self.steady_span.or(steady_span);
        self.over_time.merge(&over_time);
        self.history.merge(&history);
        failures.into_iter().for_each(|(failure, count)| self.count_failure(failure, count));
        self.audio = self.audio.plus(audio);
        self.video = self.video.plus(video);
        self.loss_of_receivers.extend(loss_of_receivers);
        self.receivers.extend(receivers);
        self.audio_scores.extend(audio_scores);
        self.sound = self.sound.plus(sound);
        self.concealed_of_receivers.extend(concealed_of_receivers);
        self.joins.extend(joins);
        self.first_audios.extend(first_audios);
        self.audience.merge(audience);
        self.incidents.merge(incidents);
        groups::merge(&mut self.groups, groups);
        if self.server.resident_bytes.is_none() && self.server.busy_seconds.is_none() {
            self.server = server;
        }
        self.generator.merge(&generator);
        self.notes.extend(notes);
    }

    /// A generator that left no report: none of its calls can be shown to have come up.
    pub(super) fn note_lost(&mut self, part: Part, calls: u64, viewers: u64, why: &str) {
        let ended = Cow::Borrowed("lost");
        let health = Health {
            part: Some(part),
            ended,
            calls_planned: calls,
            calls_failed: calls,
            ..Health::default()
        };
        self.generators.push(health);
        self.calls_planned += calls;
        self.calls_failed += calls;
        self.audience.planned += viewers;
        let failure = Failure::own(super::failure::Stage::Join, tonic::Code::Internal, "GENERATOR_LOST");
        self.count_failure(failure, calls);
        let named = format!("the calls of part {part} are not in these figures");
        self.notes.retain(|note| *note != named);
        self.notes
            .push(format!("generator {part} left no report ({why}): its {calls} calls count as failed"));
    }

    fn count_failure(&mut self, failure: Failure, count: u64) {
        match self.failures.binary_search_by(|(known, _)| known.cmp(&failure)) {
            Ok(at) => self.failures[at].1 += count,
            Err(at) => self.failures.insert(at, (failure, count)),
        }
    }
}

impl Generator {
    fn merge(&mut self, other: &Self) {
        self.cpu_seconds = self.cpu_seconds.zip(other.cpu_seconds).map(|(own, other)| own + other);
        self.busiest_lane_cpu = self.busiest_lane_cpu.max(other.busiest_lane_cpu);
        self.media_lag.merge(&other.media_lag);
        self.task_lag.merge(&other.task_lag);
        self.socket_drops = self.socket_drops.zip(other.socket_drops).map(|(own, other)| own + other);
        self.unsent += other.unsent;
        self.frames_skipped += other.frames_skipped;
        self.is_bottleneck |= other.is_bottleneck;
    }
}

/// Of two ends, the one that says more of what went wrong.
fn severity(ended: &str) -> u8 {
    match ended {
        "planned" => 0,
        "interrupted" => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::audio_score::AudioScore;
    use crate::run::failure::Stage;
    use crate::run::outcome::{CallOutcome, PartyOutcome};
    use crate::run::party::Role;
    use crate::run::report;
    use crate::run::stats::tests::{scenario, surroundings};
    use crate::run::stats::{Receiver, summarize};

    /// The report of a generator whose calls' sign-ins took these milliseconds each; one call failed.
    fn report(part: Option<&str>, joins: &[u64]) -> Summary {
        let up = |ms: &u64| CallOutcome {
            came_up: true,
            parties: vec![
                PartyOutcome { join: Some(Duration::from_millis(*ms)), ..PartyOutcome::default() };
                2
            ],
            ..CallOutcome::default()
        };
        let failure = Failure::own(Stage::Place, tonic::Code::ResourceExhausted, "NO_CAPACITY");
        let failed = CallOutcome { failure: Some(failure), ..CallOutcome::default() };
        let calls: Vec<CallOutcome> = joins.iter().map(up).chain([failed]).collect();
        let mut around = surroundings();
        around.part = part.map(|part| part.parse().unwrap());
        around.notes.push("a note".into());
        summarize(&scenario(), &calls, vec![], around)
    }

    fn joined(reports: Vec<Summary>) -> Result<Summary, JoinError> {
        let named = reports.into_iter().enumerate().map(|(n, report)| (format!("{n}.json"), report));
        join(named.collect())
    }

    /// As it comes out of a file.
    fn written(summary: &Summary) -> Summary {
        let text = report::json(summary).to_string();
        read("x.json", &serde_json::from_str(&text).unwrap()).unwrap()
    }

    #[test]
    fn percentiles_are_those_of_all_and_not_of_percentiles() {
        let quick: Vec<u64> = vec![10; 99];
        let slow = [1000];
        let all = joined(vec![written(&report(Some("2/2"), &slow)), written(&report(Some("1/2"), &quick))])
            .unwrap();
        assert_eq!((all.calls_planned, all.calls_up, all.calls_failed), (102, 100, 2));
        assert_eq!(all.join.count(), 200);
        assert!((all.join.ms_at(0.99).unwrap() - 10.0).abs() < 0.1, "one of a hundred is slow");
        assert!((all.join.max_ms().unwrap() - 1000.0).abs() < 1.0);
        assert_eq!(all.failures.len(), 1);
        assert_eq!(all.failures[0].1, 2);
        assert_eq!(all.generators.len(), 2);
        assert_eq!(all.notes, ["generator 1/2: a note", "generator 2/2: a note"]);
        assert_eq!(all.generator.cpu_seconds, Some(20.0));
    }

    #[test]
    fn what_is_found_is_found_in_all_of_them_together() {
        let part = |part: &str, call: usize| {
            let mut report = report(Some(part), &[1]);
            let still = Receiver { call, packets: 500, gap_from_s: 9.0, gap_s: 1.0, ..Receiver::default() };
            report.receivers = vec![still];
            report.audio_scores = vec![AudioScore {
                group: 0,
                call,
                party: Role::Caller,
                at: Duration::from_secs(3),
                score: 4.0 + call as f64 / 10.0,
                recording: Some(format!("0-{call}-caller-0.wav")),
            }];
            written(&report)
        };
        let alone = joined(vec![part("1/2", 0)]).unwrap();
        assert!(alone.findings.is_empty(), "one stream alone may have any reason");
        let all = joined(vec![part("2/2", 1), part("1/2", 0)]).unwrap();
        assert_eq!(all.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), ["standstill"]);
        assert!(all.findings[0].sentence.starts_with("media of all calls stood still for 1.0 s at 9.0 s"));
        assert_eq!((all.audio_score_at(0.0), all.audio_score_at(1.0)), (Some(4.0), Some(4.1)));
        assert_eq!(all.audio_scores[1].recording.as_deref(), Some("0-1-caller-0.wav"));
    }

    #[test]
    fn a_report_of_one_is_that_report() {
        let one = report(None, &[10, 20]);
        let alone = joined(vec![written(&one)]).unwrap();
        let figures = |summary: &Summary| {
            let mut json = report::json(summary);
            let keys = json.as_object_mut().unwrap();
            keys.retain(|key, _| !["generators", "mergeable"].contains(&key.as_str()));
            json
        };
        assert_eq!(figures(&alone), figures(&one));
    }

    #[test]
    fn what_is_not_of_one_run_is_refused_and_what_is_missing_is_said() {
        let error = |reports| joined(reports).unwrap_err().to_string();
        let part = |part| report(Some(part), &[1]);
        let twice = error(vec![part("1/2"), part("1/2")]);
        assert_eq!(twice, "1.json: is part 1/2, as 0.json is: allowed is each part once");
        let mixed = error(vec![part("1/2"), part("2/3")]);
        assert!(mixed.starts_with("1.json: has part 2/3, and 0.json has not the same"), "{mixed}");
        let seeds = error(vec![part("1/2"), Summary { seed: 9, ..part("2/2") }]);
        assert!(seeds.starts_with("1.json: has seed 9, and 0.json"), "{seeds}");
        let other = error(vec![part("1/2"), Summary { scenario: "other".into(), ..part("2/2") }]);
        assert!(other.contains("has scenario other"), "{other}");
        let missing = joined(vec![part("1/3"), part("3/3")]).unwrap();
        assert_eq!(missing.notes[2], "the calls of part 2/3 are not in these figures");
        let apart = joined(vec![part("1/2"), Summary { started_unix_ms: 3_500, ..part("2/2") }]).unwrap();
        assert!(apart.notes[2].starts_with("the generators started up to 3.5 s apart"), "{:?}", apart.notes);
        let error = read("a.json", &json!({ "schema": 1 })).unwrap_err().to_string();
        assert!(error.starts_with("a.json: is no report that can be joined: allowed is"), "{error}");
    }

    #[test]
    fn a_generator_that_left_nothing_failed_with_all_its_calls() {
        let mut all = joined(vec![report(Some("1/2"), &[1])]).unwrap();
        all.note_lost("2/2".parse().unwrap(), 40, 0, "exit status: 101");
        assert_eq!((all.calls_planned, all.calls_failed), (42, 41));
        assert_eq!(all.notes.len(), 2, "{:?}", all.notes);
        assert!(all.notes[1].starts_with("generator 2/2 left no report (exit status: 101): its 40 calls"));
        assert_eq!(all.generators[1].ended, "lost");
    }

    #[test]
    fn a_bottleneck_in_one_of_them_is_one_of_all_and_named() {
        let mut late = report(Some("2/2"), &[1]);
        late.generator.is_bottleneck = true;
        late.notes.insert(0, format!("{BOTTLENECK}: it was slow"));
        let all = joined(vec![report(Some("1/2"), &[1]), late]).unwrap();
        assert!(all.generator.is_bottleneck && !all.generators[0].is_bottleneck);
        assert!(all.notes.contains(&format!("{BOTTLENECK} (generator 2/2): it was slow")), "{:?}", all.notes);
    }
}
