//! The report, as JSON and as a table for people.

use std::fmt::{self, Display, Write as _};

use anstyle::{AnsiColor, Style};
use serde_json::{Map, Value};

use super::keys::keys;
use super::stats::Summary;
use crate::histogram::Histogram;

const STRONG: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default();

/// Width of the first column.
const LABEL: usize = 30;

/// The JSON report: one flat object with the documented keys.
pub(crate) fn json(summary: &Summary) -> Value {
    Value::Object(keys().into_iter().map(|key| (key.name.clone(), key.value(summary))).collect::<Map<_, _>>())
}

/// The table at the end of a run, with ANSI styles.
pub(crate) fn table(summary: &Summary, broken: &[String]) -> String {
    let mut out = String::new();
    let written = write_table(&mut out, summary, broken);
    written.expect("writing to a string does not fail");
    out
}

fn write_table(out: &mut String, s: &Summary, broken: &[String]) -> fmt::Result {
    writeln!(out, "\n{STRONG}{}{STRONG:#}  {}", s.scenario, s.description)?;
    let ended = if s.ended == "planned" { FAINT } else { WARN };
    let (run, steady) = (s.run.as_secs_f64(), s.steady.as_secs_f64());
    writeln!(
        out,
        "{ended}{run:.1} s, {steady:.1} s of them steady; seed {}; ended: {}{ended:#}\n",
        s.seed, s.ended
    )?;
    write_calls(out, s)?;
    write_times(out, s)?;
    write_media(out, s)?;
    write_incidents(out, s)?;
    write_groups(out, s)?;
    write_server(out, s)?;
    write_generator(out, s)?;
    for finding in &s.findings {
        writeln!(out, "{BAD}→ {}{BAD:#}", finding.sentence)?;
    }
    for note in &s.notes {
        let style = if note.starts_with("THE GENERATOR") { BAD } else { WARN };
        writeln!(out, "{style}! {note}{style:#}")?;
    }
    for assertion in broken {
        writeln!(out, "{BAD}✗ {assertion}{BAD:#}")?;
    }
    Ok(())
}

fn write_calls(out: &mut String, s: &Summary) -> fmt::Result {
    let name = if s.audience.is_there() { "Broadcasts" } else { "Calls" };
    heading(out, name, &["planned", "up", "failed", "skipped"])?;
    let up = if s.calls_up == s.calls_planned { GOOD } else { BAD };
    let failed = if s.calls_failed == 0 { GOOD } else { BAD };
    label(out, "")?;
    cell(out, Style::new(), s.calls_planned)?;
    cell(out, up, s.calls_up)?;
    cell(out, failed, s.calls_failed)?;
    cell(out, Style::new(), s.calls_skipped)?;
    writeln!(out)?;
    for (failure, count) in &s.failures {
        writeln!(out, "  {BAD}{count:>6} × {failure}{BAD:#}")?;
    }
    if s.stream_breaks > 0 {
        writeln!(out, "  {WARN}{} event streams broke and were resumed{WARN:#}", s.stream_breaks)?;
    }
    writeln!(out)
}

fn write_times(out: &mut String, s: &Summary) -> fmt::Result {
    heading(out, "Times, ms", &["p50", "p95", "p99", "longest"])?;
    times(out, "sign-in", &s.join)?;
    let has_calls = !s.audience.is_there();
    if has_calls {
        times(out, "place → rings", &s.ring)?;
    }
    times(out, if has_calls { "leg prepared, while ringing" } else { "leg connected" }, &s.leg_ready)?;
    if has_calls {
        times(out, "accept → first audio decoded", &s.first_audio)?;
    }
    if s.has_video && has_calls {
        times(out, "accept → first key frame", &s.first_video)?;
    }
    times(out, "one-way, audio", &s.latency_audio)?;
    if s.has_video {
        times(out, "one-way, video", &s.latency_video)?;
    }
    times(out, "one-way, outside steady phase", &s.latency_ramp)?;
    times(out, "jitter, audio", &s.jitter_audio)?;
    if s.has_video {
        times(out, "jitter, video", &s.jitter_video)?;
    }
    times(out, "longest gap in audio", &s.audio_gap)?;
    times(out, if has_calls { "hang-up → both know" } else { "stop → all know" }, &s.hang_up)?;
    writeln!(out)
}

fn write_media(out: &mut String, s: &Summary) -> fmt::Result {
    heading(out, "Loss, % (over receivers)", &["p50", "p95", "p99", "total"])?;
    label(out, "packets that did not come")?;
    let shares = [s.loss_at(0.5), s.loss_at(0.95), s.loss_at(0.99), s.loss()];
    for share in shares {
        let style = match share {
            None => FAINT,
            Some(loss) if loss < 0.001 => GOOD,
            Some(_) => BAD,
        };
        cell(out, style, show(share.map(|loss| loss * 100.0), 3))?;
    }
    writeln!(out)?;
    let traffic = [("audio", s.audio), ("video", s.video)];
    for (kind, traffic) in traffic.into_iter().filter(|(_, traffic)| traffic.expected > 0) {
        let (received, expected) = (grouped(traffic.received), grouped(traffic.expected));
        line(out, kind, &format!("{received} of {expected} packets"))?;
    }
    if let Some(share) = s.sound.concealed_share() {
        let (ms, receivers) = (s.sound.concealed.as_millis(), s.sound.receivers);
        let text =
            format!("{ms} ms concealed, {:.3} % ({receivers} receivers decoded to the end)", share * 100.0);
        line(out, "sound", &text)?;
    }
    if let [Some(p50), Some(p5), Some(least)] = [0.5, 0.05, 0.0].map(|share| s.audio_score_at(share)) {
        let passages = s.audio_scores.len();
        let text = format!(
            "{p50:.2} p50, {p5:.2} p5, {least:.2} least, of 5 ({passages} passages; see docs/loadtest.md)"
        );
        line(out, "audio score", &text)?;
    }
    writeln!(out)
}

fn write_incidents(out: &mut String, s: &Summary) -> fmt::Result {
    for table in s.tables() {
        heading(out, &format!("{}, ms", table.heading), &["p50", "p95", "p99", "longest"])?;
        let style = if table.is_good { GOOD } else { BAD };
        writeln!(out, "  {style}{}{style:#}", table.words)?;
        for (name, histogram) in table.times.into_iter().filter(|(_, times)| times.count() > 0) {
            times(out, name, histogram)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_groups(out: &mut String, s: &Summary) -> fmt::Result {
    if s.groups.is_empty() {
        return Ok(());
    }
    heading(
        out,
        "Groups, % and ms",
        &["clients", "failed", "in: lost", "p50", "p99", "out: lost", "p50", "p99", "score"],
    )?;
    for group in &s.groups {
        label(out, &group.name)?;
        cell(out, Style::new(), group.clients)?;
        cell(out, if group.calls_failed == 0 { Style::new() } else { BAD }, group.calls_failed)?;
        for (traffic, times) in [(group.received, &group.times.received), (group.sent, &group.times.sent)] {
            cell(out, Style::new(), show(traffic.loss().map(|loss| loss * 100.0), 3))?;
            cell(out, Style::new(), show(times.ms_at(0.5), 2))?;
            cell(out, Style::new(), show(times.ms_at(0.99), 2))?;
        }
        cell(out, Style::new(), show(group.score_at(0.5), 2))?;
        writeln!(out)?;
        let (down, up) = (group.down, group.up);
        if down.packets + up.packets > 0 {
            write!(out, "{FAINT}")?;
            label(out, "  injected, mean")?;
            write!(out, "{:20}", "")?;
            for injected in [down, up] {
                let held = injected.mean_held().map(|held| held.as_secs_f64() * 1e3);
                write!(
                    out,
                    "{:>10}{:>10}{:10}",
                    show(injected.loss().map(|loss| loss * 100.0), 3),
                    show(held, 2),
                    ""
                )?;
            }
            writeln!(out, "{FAINT:#}")?;
        }
    }
    writeln!(out)
}

fn write_server(out: &mut String, s: &Summary) -> fmt::Result {
    writeln!(out, "{STRONG}Server{STRONG:#}")?;
    let steady = s.steady.as_secs_f64();
    let per_second = |total: Option<f64>| total.filter(|_| steady > 0.0).map(|total| total / steady);
    let cost = s.server.cpu_us_per_packet().map(|us| format!("{us:.1} µs of router CPU"));
    line(out, "per forwarded packet", &cost.unwrap_or_else(|| "not known".into()))?;
    if let Some(us) = s.server.process_us_per_packet() {
        line(out, "", &format!("{us:.1} µs of CPU of the whole process"))?;
    }
    let rate =
        per_second(s.server.packets_forwarded).map(|rate| format!("{} a second", grouped(rate as u64)));
    line(out, "packets forwarded", &rate.unwrap_or_else(|| "not known".into()))?;
    let cores = per_second(s.server.busy_seconds).map(|cores| format!("{cores:.2} cores"));
    line(out, "router workers", &cores.unwrap_or_else(|| "not known".into()))?;
    if let Some(cores) = per_second(s.server.cpu_seconds) {
        line(out, "whole process", &format!("{cores:.2} cores"))?;
    }
    let [p50, p99, ramp] =
        [s.server.residence_p50_ms, s.server.residence_p99_ms, s.server.residence_ramp_p99_ms];
    if p99.or(ramp).is_some() {
        let times = format!(
            "p50 {}, p99 {} ms; p99 before steady phase {} ms",
            show(p50, 2),
            show(p99, 2),
            show(ramp, 2)
        );
        line(out, "media is in the router", &times)?;
    }
    let memory = s.server_bytes_per_call().map(|bytes| format!("{:.0} kB", bytes / 1e3));
    line(
        out,
        if s.audience.is_there() { "memory per broadcast" } else { "memory per call" },
        &memory.unwrap_or_else(|| "not known".into()),
    )?;
    writeln!(out)
}

fn write_generator(out: &mut String, s: &Summary) -> fmt::Result {
    writeln!(out, "{STRONG}Generator{STRONG:#}")?;
    let cores = show(s.generator_cores(), 2);
    let lane = show(s.busiest_lane_share(), 2);
    line(out, "CPU", &format!("{cores} cores; busiest media thread {lane}"))?;
    let lag = |histogram: &Histogram| show(histogram.ms_at(0.99), 1);
    let (media, task) = (lag(&s.generator.media_lag), lag(&s.generator.task_lag));
    line(out, "late (p99)", &format!("media {media} ms, signalling {task} ms"))?;
    for health in &s.generators {
        line(out, &health.name(), &health.words())?;
    }
    writeln!(out)
}

fn heading(out: &mut String, name: &str, columns: &[&str]) -> fmt::Result {
    write!(out, "{STRONG}{name:<LABEL$}{STRONG:#}")?;
    for column in columns {
        cell(out, FAINT, column)?;
    }
    writeln!(out)
}

fn times(out: &mut String, name: &str, histogram: &Histogram) -> fmt::Result {
    label(out, name)?;
    let values = [histogram.ms_at(0.5), histogram.ms_at(0.95), histogram.ms_at(0.99), histogram.max_ms()];
    for value in values {
        cell(out, if value.is_some() { Style::new() } else { FAINT }, show(value, 2))?;
    }
    writeln!(out)
}

fn label(out: &mut String, name: &str) -> fmt::Result {
    let width = LABEL - 2;
    write!(out, "  {name:<width$}")
}

fn line(out: &mut String, name: &str, text: &str) -> fmt::Result {
    label(out, name)?;
    writeln!(out, "  {text}")
}

fn cell(out: &mut String, style: Style, value: impl Display) -> fmt::Result {
    // Formatted first: padding would count the style's bytes.
    let value = value.to_string();
    write!(out, "{style}{value:>10}{style:#}")
}

pub(super) fn show(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
}

/// 1234567 as 1,234,567.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::failure::{Failure, Stage};
    use crate::run::outcome::{CallOutcome, PartyOutcome};
    use crate::run::stats::summarize;
    use crate::run::stats::tests::{scenario, surroundings};
    use std::time::Duration;

    fn summary() -> Summary {
        let party = |(join, first_audio)| PartyOutcome {
            join: Some(Duration::from_millis(join)),
            first_audio: Some(Duration::from_millis(first_audio)),
            ..PartyOutcome::default()
        };
        let up = CallOutcome {
            came_up: true,
            parties: [(12, 80), (15, 95)].map(party).into(),
            ..CallOutcome::default()
        };
        let failure = Failure::own(Stage::Place, tonic::Code::ResourceExhausted, "NO_CAPACITY");
        let failed = CallOutcome { failure: Some(failure), ..CallOutcome::default() };
        let mut around = surroundings();
        around.notes.push("the metrics page cannot be reached".into());
        summarize(&scenario(), &[up, failed], vec![], around)
    }

    fn plain(styled: &str) -> String {
        anstream::adapter::strip_str(styled).to_string()
    }

    #[test]
    fn the_table_is_aligned_and_says_what_failed_and_what_is_not_known() {
        let table = plain(&table(&summary(), &["calls_up is 1, not above 1".into()]));
        for expected in [
            "Calls                            planned        up    failed   skipped",
            "                                       2         1         1         0",
            "       1 × place: RESOURCE_EXHAUSTED (NO_CAPACITY)",
            "  sign-in                          12.01     15.01     15.01     15.01",
            "  place → rings                        –         –         –         –",
            "  per forwarded packet          not known",
            "! the metrics page cannot be reached",
            "✗ calls_up is 1, not above 1",
        ] {
            assert!(table.lines().any(|line| line.trim_end() == expected), "{expected:?} is not in\n{table}");
        }
        assert!(!table.contains("key frame"), "an audio run has no rows of video");
    }

    #[test]
    fn the_json_is_flat_and_null_where_nothing_was_seen() {
        let json = json(&summary());
        assert_eq!(json["calls_up"], 1);
        assert_eq!(json["failures"][0]["code"], "RESOURCE_EXHAUSTED");
        assert_eq!(json["join_p50_ms"].as_f64().unwrap().round(), 12.0);
        assert!(json["ring_p99_ms"].is_null() && json["router_cpu_us_per_packet"].is_null());
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
