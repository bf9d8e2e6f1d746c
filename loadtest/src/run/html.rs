//! The report as one HTML page: no script, nothing from elsewhere, light or dark as the reader's system is. Pure.

use std::fmt::{self, Display, Write as _};

use serde_json::Value;

use super::keys::keys;
use super::report::{grouped, show};
use super::stats::Summary;
use super::{groups, incidents, join};
use crate::histogram::Histogram;
use crate::plot::{Axis, Chart, Scale, Series, escape};

/// Dots of a kind in a chart: of more, only the highest of each stretch is drawn.
const DOTS_MAX: usize = 800;

/// Points of a percentile line.
const PERCENTILE_POINTS: u32 = 60;

const STYLE: &str = include_str!("html.css");

/// The page of a run. `broken`: assertions that do not hold.
pub(crate) fn html(summary: &Summary, broken: &[String]) -> String {
    let mut out = String::new();
    write_page(&mut out, summary, broken).expect("writing to a string does not fail");
    out
}

/// What every page of ours begins with.
pub(crate) fn head(out: &mut String, title: &str) -> fmt::Result {
    let title = escape(title);
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<style>\n{STYLE}</style></head><body>"
    )
}

fn write_page(out: &mut String, s: &Summary, broken: &[String]) -> fmt::Result {
    head(out, &format!("Load test: {}", s.scenario))?;
    writeln!(out, "<header><h1>{}</h1><p>{}</p>", escape(&s.scenario), escape(&s.description))?;
    let (run, steady) = (s.run.as_secs_f64(), s.steady.as_secs_f64());
    writeln!(
        out,
        "<p class=\"s\">{run:.1} s, {steady:.1} s of them steady; seed {}; ended: {}; duocast-loadtest {}</p></header>",
        s.seed,
        escape(&s.ended),
        env!("CARGO_PKG_VERSION")
    )?;
    for note in &s.notes {
        let class = if note.starts_with("THE GENERATOR") { "note bad" } else { "note" };
        writeln!(out, "<p class=\"{class}\">{}</p>", escape(note))?;
    }
    for assertion in broken {
        writeln!(out, "<p class=\"note bad\">Does not hold: {}</p>", escape(assertion))?;
    }
    write_findings(out, s)?;
    write_tiles(out, s)?;
    writeln!(out, "<section class=\"charts\">")?;
    for chart in charts(s) {
        out.push_str(&chart.html());
    }
    writeln!(out, "</section>")?;
    write_failures(out, s)?;
    write_times(out, s)?;
    incidents::write_html(out, s.tables())?;
    write_groups(out, s)?;
    join::write_html(out, &s.generators)?;
    write_figures(out, s)?;
    writeln!(out, "</body></html>")
}

fn write_findings(out: &mut String, s: &Summary) -> fmt::Result {
    if s.findings.is_empty() {
        return Ok(());
    }
    writeln!(out, "<section class=\"findings\"><h2>Findings</h2><ul>")?;
    for finding in &s.findings {
        let figures = escape(&finding.figures.join(", "));
        writeln!(out, "<li>{} <span class=\"s\">{figures}</span></li>", escape(&finding.sentence))?;
    }
    writeln!(out, "</ul></section>")
}

fn write_tiles(out: &mut String, s: &Summary) -> fmt::Result {
    writeln!(out, "<section class=\"tiles\">")?;
    let is_good = |is_good| if is_good { "good" } else { "bad" };
    let (calls_up, calls_failed) = match s.audience.is_there() {
        true => ("broadcasts up", "broadcasts failed"),
        false => ("calls up", "calls failed"),
    };
    tile(
        out,
        calls_up,
        format!("{} of {}", s.calls_up, s.calls_planned),
        is_good(s.calls_up == s.calls_planned),
    )?;
    tile(out, calls_failed, s.calls_failed, is_good(s.calls_failed == 0))?;
    tile(out, "packets lost", unit(s.loss().map(|loss| loss * 100.0), 3, "%"), "")?;
    tile(out, "one-way latency, audio, p99", unit(s.latency_audio.ms_at(0.99), 1, "ms"), "")?;
    let audience = &s.audience;
    if audience.is_there() {
        let is_full = is_good(audience.up == audience.planned && audience.failed == 0);
        tile(out, "viewers up", format!("{} of {}", audience.up, audience.planned), is_full)?;
        tile(out, "watch to first audio, p95", unit(audience.first_audio.ms_at(0.95), 0, "ms"), "")?;
    } else {
        tile(out, "accept to first audio, p95", unit(s.first_audio.ms_at(0.95), 0, "ms"), "")?;
    }
    tile(out, "audio score, p5 (of 5)", unit(s.audio_score_at(0.05), 2, "").trim_end(), "")?;
    tile(out, "sign-in, p95", unit(s.join.ms_at(0.95), 0, "ms"), "")?;
    tile(out, "router CPU per packet", unit(s.server.cpu_us_per_packet(), 1, "µs"), "")?;
    tile(out, "server memory", unit(s.server.resident_bytes.map(|bytes| bytes / 1e6), 0, "MB"), "")?;
    tile(out, "generator CPU", unit(s.generator_cores(), 2, "cores"), is_good(!s.generator.is_bottleneck))?;
    writeln!(out, "</section>")
}

fn unit(value: Option<f64>, digits: usize, unit: &str) -> String {
    value.map_or_else(|| "not known".into(), |value| format!("{value:.digits$} {unit}"))
}

pub(crate) fn tile(out: &mut String, name: &str, value: impl Display, class: &str) -> fmt::Result {
    writeln!(out, "<div class=\"tile {class}\"><b>{value}</b><span>{name}</span></div>")
}

fn charts(s: &Summary) -> Vec<Chart<'_>> {
    let time = Axis { label: "since the start, s", scale: Scale::Linear };
    let over_time = |title, label, scale, series| Chart {
        title,
        x: time,
        y: Axis { label, scale },
        series,
        band: s.steady_span.map(|(from, until)| (from.as_secs_f64(), until.as_secs_f64())),
    };
    let windows: Vec<_> = s.over_time.points().collect();
    let window = |read: fn(&crate::over_time::Point) -> f64| {
        windows.iter().map(|point| (point.at.as_secs_f64(), read(point))).collect::<Vec<_>>()
    };
    let moments = s.history.moments();
    let moment = |read: fn(&super::history::Moment) -> Option<f64>| {
        moments.iter().filter_map(|m| Some((m.at.as_secs_f64(), read(m)?))).collect::<Vec<_>>()
    };
    let dots = |points: &[(std::time::Duration, std::time::Duration)]| {
        thinned(points.iter().map(|(at, took)| (at.as_secs_f64(), took.as_secs_f64() * 1e3)).collect())
    };
    let is_viewed = s.audience.is_there();
    let (first_audio, audio_times) = match is_viewed {
        true => ("watch to first audio", &s.audience.first_audio),
        false => ("accept to first audio", &s.first_audio),
    };
    let (first_video, video_times) = match is_viewed {
        true => ("watch to first video", &s.audience.first_video),
        false => ("accept to first video", &s.first_video),
    };
    let mut up = vec![
        Series::line("up", moment(|m| Some(m.calls_up as f64))),
        Series::line("failed", moment(|m| Some(m.calls_failed as f64))),
    ];
    if is_viewed {
        up.push(Series::line("viewers", moment(|m| Some(m.viewers_up as f64))));
    }
    vec![
        over_time(
            "One-way latency over time",
            "ms",
            Scale::Log,
            vec![
                Series::line("p50", window(|point| point.p50_ms)),
                Series::line("p95", window(|point| point.p95_ms)),
                Series::line("p99", window(|point| point.p99_ms)),
                Series::line("longest", window(|point| point.max_ms)),
            ],
        ),
        distribution(
            "One-way latency, steady phase",
            "share of packets that is faster",
            &[("audio", &s.latency_audio), ("video", &s.latency_video)],
        ),
        over_time(
            if is_viewed { "Broadcasts and viewers" } else { "Calls" },
            if is_viewed { "broadcasts, viewers" } else { "calls" },
            Scale::Linear,
            up,
        ),
        over_time(
            "Sign-in and first audio",
            "ms",
            Scale::Log,
            vec![Series::dots("sign-in", dots(&s.joins)), Series::dots(first_audio, dots(&s.first_audios))],
        ),
        distribution(
            "Sign-in and first media",
            "share of clients that is faster",
            &[("sign-in", &s.join), (first_audio, audio_times), (first_video, video_times)],
        ),
        over_time("Audio score of passages", "1 (bad) to 5 (like the original)", Scale::Linear, scores(s)),
        Chart {
            title: "Loss and concealment",
            x: Axis { label: "% of receivers that have less", scale: Scale::Linear },
            y: Axis { label: "% of its packets or sound", scale: Scale::Linear },
            series: vec![
                Series::line("packets lost", sorted(&s.loss_of_receivers)),
                Series::line("sound made up", sorted(&s.concealed_of_receivers)),
            ],
            band: None,
        },
        over_time(
            "CPU",
            "cores",
            Scale::Linear,
            vec![
                Series::line("server", moment(|m| m.server_cores)),
                Series::line("its router workers", moment(|m| m.router_cores)),
                Series::line("this generator", moment(|m| m.generator_cores)),
            ],
        ),
        over_time(
            "Memory of the server",
            "MB resident",
            Scale::Linear,
            vec![Series::line("memory", moment(|m| m.memory_mb))],
        ),
        over_time(
            "Packets forwarded by the router",
            "packets a second",
            Scale::Linear,
            vec![Series::line("packets", moment(|m| m.packets_per_second))],
        ),
    ]
}

/// Times by how many are faster.
fn distribution<'a>(title: &'a str, shares: &'a str, times: &[(&'a str, &Histogram)]) -> Chart<'a> {
    Chart {
        title,
        x: Axis { label: shares, scale: Scale::Nines },
        y: Axis { label: "ms", scale: Scale::Log },
        series: times.iter().map(|(name, times)| Series::line(name, percentiles(times))).collect(),
        band: None,
    }
}

/// One series for each group of streams; one alone without groups.
fn scores(s: &Summary) -> Vec<Series<'_>> {
    let of = |group: usize| {
        let own = s.audio_scores.iter().filter(|passage| passage.group == group);
        own.map(|passage| (passage.at.as_secs_f64(), passage.score)).collect()
    };
    (0..s.groups.len().max(1)).map(|group| Series::dots(s.group_name(group), of(group))).collect()
}

/// Percentile by percentile, as far as there are values for.
fn percentiles(times: &Histogram) -> Vec<(f64, f64)> {
    let nines = (times.count().max(1) as f64).log10().min(5.0);
    let shares = (0..=PERCENTILE_POINTS)
        .map(|n| 1.0 - 10f64.powf(-nines * f64::from(n) / f64::from(PERCENTILE_POINTS)));
    shares.filter_map(|share| Some((share, times.ms_at(share)?))).collect()
}

/// Shares of receivers in percent, from the least to the most. Receivers alike are one point at each end of theirs.
fn sorted(shares: &[f64]) -> Vec<(f64, f64)> {
    let mut shares = shares.to_vec();
    shares.sort_by(f64::total_cmp);
    let last = shares.len().saturating_sub(1).max(1) as f64;
    let is_needed = |n: usize| {
        let at = shares[n];
        n == 0 || n + 1 == shares.len() || shares[n - 1] != at || shares[n + 1] != at
    };
    let points = (0..shares.len()).filter(|n| is_needed(*n));
    points.map(|n| (n as f64 * 100.0 / last, shares[n] * 100.0)).collect()
}

/// The highest of each stretch, where there are too many to draw.
fn thinned(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let size = points.len().div_ceil(DOTS_MAX).max(1);
    let highest = |chunk: &[(f64, f64)]| chunk.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    points.chunks(size).filter_map(highest).collect()
}

fn write_failures(out: &mut String, s: &Summary) -> fmt::Result {
    writeln!(out, "<section><h2>Failures</h2>")?;
    if s.failures.is_empty() {
        return writeln!(out, "<p>None.</p></section>");
    }
    let most = s.failures.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    writeln!(
        out,
        "<div class=\"wide\"><table><tr><th>stage<th>code<th>reason<th class=\"n\">calls<th class=\"w\"></tr>"
    )?;
    for (failure, count) in &s.failures {
        let reason = if failure.reason.is_empty() { "none given" } else { &failure.reason };
        let (stage, code, reason) = (failure.stage.name(), &failure.code, escape(reason));
        let share = *count as f64 * 100.0 / most as f64;
        writeln!(
            out,
            "<tr><td>{stage}<td>{code}<td>{reason}<td class=\"n\">{count}\
             <td><i style=\"width:{share:.0}%\"></i></tr>"
        )?;
    }
    writeln!(out, "</table></div></section>")
}

fn write_times(out: &mut String, s: &Summary) -> fmt::Result {
    let (leg, hang_up) = match s.audience.is_there() {
        true => ("leg connected", "stop → all know"),
        false => ("leg prepared, while it rings", "hang-up → both know"),
    };
    let rows: [(&str, &Histogram); 13] = [
        ("sign-in", &s.join),
        ("place → rings", &s.ring),
        (leg, &s.leg_ready),
        ("accept → first audio decoded", &s.first_audio),
        ("accept → first key frame", &s.first_video),
        ("one-way, audio", &s.latency_audio),
        ("one-way, video", &s.latency_video),
        ("one-way, outside the steady phase", &s.latency_ramp),
        ("jitter, audio", &s.jitter_audio),
        ("jitter, video", &s.jitter_video),
        ("longest gap in audio", &s.audio_gap),
        (hang_up, &s.hang_up),
        ("generator late, media", &s.generator.media_lag),
    ];
    writeln!(
        out,
        "<section><h2>Times, ms</h2><div class=\"wide\"><table>\
         <tr><th><th class=\"n\">p50<th class=\"n\">p95<th class=\"n\">p99<th class=\"n\">longest<th class=\"n\">count</tr>"
    )?;
    for (name, times) in rows.into_iter().filter(|(_, times)| times.count() > 0) {
        write!(out, "<tr><td>{name}")?;
        for value in [times.ms_at(0.5), times.ms_at(0.95), times.ms_at(0.99), times.max_ms()] {
            write!(out, "<td class=\"n\">{}", show(value, 2))?;
        }
        writeln!(out, "<td class=\"n\">{}</tr>", grouped(times.count()))?;
    }
    writeln!(out, "</table></div></section>")
}

fn write_groups(out: &mut String, s: &Summary) -> fmt::Result {
    if s.groups.is_empty() {
        return Ok(());
    }
    writeln!(out, "<section><h2>Groups of clients</h2><div class=\"wide\"><table><tr><th>")?;
    for group in &s.groups {
        write!(out, "<th class=\"n\">{}", escape(&group.name))?;
    }
    writeln!(out, "<th></tr>")?;
    for key in groups::KEYS {
        write!(out, "<tr title=\"{}\"><td>{}", escape(key.meaning), label(key.name))?;
        for group in &s.groups {
            write!(out, "<td class=\"n\">{}", rounded(&(key.read)(group)))?;
        }
        writeln!(out, "<td class=\"s\">{}</tr>", key.unit)?;
    }
    writeln!(out, "</table></div></section>")
}

fn write_figures(out: &mut String, s: &Summary) -> fmt::Result {
    writeln!(out, "<section><details><summary>All figures</summary><div class=\"wide\"><table>")?;
    for key in keys().iter().filter(|key| !["list", "object"].contains(&key.unit)) {
        let (value, meaning) = (shown(&key.value(s)), escape(&key.meaning));
        writeln!(
            out,
            "<tr><td><code>{}</code><td class=\"n\">{value}<td class=\"s\">{}<td class=\"s\">{meaning}</tr>",
            key.name, key.unit
        )?;
    }
    writeln!(out, "</table></div></details></section>")
}

/// `received_p50_ms` as words; its unit has a column of its own.
fn label(name: &str) -> String {
    let name = name.trim_end_matches("_percent").trim_end_matches("_ms");
    name.replace('_', " ")
}

/// With three decimals at most: a table of groups is wide.
fn rounded(value: &Value) -> String {
    match value.as_f64().filter(|number| number.fract() != 0.0) {
        Some(number) => format!("{number:.3}"),
        None => shown(value).trim_end_matches(".0").to_owned(),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".into(),
        Value::String(text) => escape(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::run::failure::{Failure, Stage};
    use crate::run::outcome::{CallOutcome, PartyOutcome};
    use crate::run::stats::summarize;
    use crate::run::stats::tests::{scenario, surroundings};

    fn page() -> String {
        let up = CallOutcome {
            came_up: true,
            parties: [12, 15]
                .map(|ms| PartyOutcome { join: Some(Duration::from_millis(ms)), ..PartyOutcome::default() })
                .into(),
            ..CallOutcome::default()
        };
        let failure = Failure::own(Stage::Place, tonic::Code::ResourceExhausted, "<NO_CAPACITY>");
        let failed = CallOutcome { failure: Some(failure), ..CallOutcome::default() };
        html(&summarize(&scenario(), &[up, failed], vec![], surroundings()), &["calls_up is 1".into()])
    }

    #[test]
    fn the_page_needs_nothing_else_and_runs_nothing() {
        let page = page();
        for forbidden in ["<script", "<link", "<img", "@import", "url(", "http://", "https://", "src="] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert!(page.len() < 200_000, "{} bytes", page.len());
        assert!(page.contains("prefers-color-scheme"));
    }

    #[test]
    fn it_says_what_failed_and_what_was_not_seen() {
        let page = page();
        assert!(page.contains("&lt;NO_CAPACITY&gt;") && !page.contains("<NO_CAPACITY>"));
        assert!(page.contains("Does not hold: calls_up is 1"));
        assert!(page.contains("Nothing was seen in this run."), "no packets, no latency");
        assert!(page.contains("RESOURCE_EXHAUSTED"));
        assert_eq!(page.matches("<figure>").count(), page.matches("</figure>").count());
    }

    #[test]
    fn percentiles_go_as_far_as_there_are_values() {
        let mut times = Histogram::default();
        (1..=1000).for_each(|ms| times.add(Duration::from_millis(ms)));
        let points = percentiles(&times);
        assert_eq!(points.len(), 61);
        assert!((points[60].0 - 0.999).abs() < 1e-9 && (points[60].1 - 999.0).abs() < 2.0);
        assert!(percentiles(&Histogram::default()).is_empty());
    }

    #[test]
    fn receivers_stand_from_the_least_to_the_most() {
        assert_eq!(sorted(&[0.1, 0.0, 0.0, 0.0, 0.0]), [(0.0, 0.0), (75.0, 0.0), (100.0, 10.0)]);
        assert_eq!(sorted(&[0.5]), [(0.0, 50.0)]);
        assert!(sorted(&[]).is_empty());
    }

    #[test]
    fn of_too_many_dots_the_highest_stay() {
        let many: Vec<(f64, f64)> = (0..100_000).map(|n| (f64::from(n), f64::from(n % 100))).collect();
        let drawn = thinned(many);
        assert!(drawn.len() <= DOTS_MAX && drawn.iter().all(|point| point.1 == 99.0));
    }
}
