//! What was found, as JSON, as a table and as a page.

use std::fmt::{self, Write as _};

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::confidence::Estimate;
use super::search::{Limit, Verdict};
use super::{Capacity, Step};
use crate::plot::{Axis, Chart, Scale, Series, escape};
use crate::run::{html_head, html_tile};

const STRONG: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const WARN: Style = AnsiColor::Yellow.on_default();

/// Figures of each run in the table: heading, key of the run's report, decimals.
const COLUMNS: [(&str, &str, usize); 7] = [
    ("failed", "calls_failed", 0),
    ("lost, %", "loss_percent", 3),
    ("audio p50, ms", "one_way_audio_p50_ms", 2),
    ("audio p99, ms", "one_way_audio_p99_ms", 2),
    ("1st audio, ms", "accept_to_first_audio_p95_ms", 0),
    ("router cores", "router_cpu_cores", 2),
    ("generator", "generator_cpu_cores", 2),
];

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Breaks => "breaks",
            Self::Unseen => "generator",
        }
    }
}

impl Capacity {
    /// Sentence on the knee.
    fn sentence(&self) -> String {
        let knee = self.search.holds();
        let broke = self.search.breaks().map(|(calls, _)| calls);
        let runs = knee.map(|calls| self.search.runs(calls)).unwrap_or_default();
        let held = format!("{} of {} runs at it held", runs.1, runs.0);
        match (knee, broke, self.search.limit()) {
            (Some(knee), Some(broke), Limit::Generator) => format!(
                "At least {knee} calls ({held}); with {broke} this program was the bottleneck, so the server's end was not seen"
            ),
            (Some(knee), Some(broke), _) => {
                format!("{knee} calls hold the bounds, {broke} do not ({held})")
            }
            (Some(knee), None, Limit::Ended) => {
                format!("At least {knee} calls ({held}); the search ended before a larger load was settled")
            }
            (Some(knee), None, _) => {
                format!("{knee} calls hold the bounds, and more were not tried ({held})")
            }
            (None, Some(broke), _) => format!("not even {broke} calls hold the bounds"),
            (None, None, _) => "not known: the search ended before any load was settled".into(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        let step = |step: &Step| {
            json!({
                "calls": step.calls, "verdict": step.verdict.name(), "broken": step.broken, "report": step.report,
            })
        };
        let knee = self.search.holds();
        let runs = knee.map(|calls| self.search.runs(calls));
        let limit = match self.search.limit() {
            Limit::Bound => "bound",
            Limit::Generator => "generator",
            Limit::Max => "max",
            Limit::Ended => "ended",
            Limit::Nothing => "nothing",
        };
        let per_core = self.calls_per_router_core();
        let interval = per_core.and_then(|estimate| estimate.interval);
        json!({
            "schema": 1, "scenario": self.scenario, "seed": self.seed,
            "bounds": self.bounds.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "precision_percent": self.precision_percent,
            "knee_calls": knee, "breaks_at_calls": self.search.breaks().map(|(calls, _)| calls),
            "knee_runs": runs.map(|runs| runs.0), "knee_runs_held": runs.map(|runs| runs.1),
            "limited_by": limit, "ended_early": self.ended_early,
            "calls_per_router_core": per_core.map(|estimate| estimate.mean),
            "calls_per_router_core_low": interval.map(|interval| interval.0),
            "calls_per_router_core_high": interval.map(|interval| interval.1),
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
        })
    }

    /// The table, with ANSI styles.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        self.write_table(&mut out).expect("writing to a string does not fail");
        out
    }

    fn write_table(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "\n{STRONG}{}{STRONG:#}  {}\n", self.scenario, self.description)?;
        write!(out, "{STRONG}{:>8}  {:<10}", "calls", "")?;
        for (heading, ..) in COLUMNS {
            write!(out, "{heading:>15}")?;
        }
        writeln!(out, "{STRONG:#}")?;
        for step in &self.steps {
            let style = match step.verdict {
                Verdict::Holds => GOOD,
                Verdict::Breaks => BAD,
                Verdict::Unseen => WARN,
            };
            write!(out, "{:>8}  {style}{:<10}{style:#}", step.calls, step.verdict.name())?;
            for (_, key, digits) in COLUMNS {
                write!(out, "{:>15}", show(&step.report, key, digits))?;
            }
            writeln!(out)?;
        }
        writeln!(out, "\n{STRONG}{}.{STRONG:#}", self.sentence())?;
        if let Some(estimate) = self.calls_per_router_core() {
            writeln!(out, "{} calls for each core that the router's workers used there.", words(estimate))?;
        }
        if let Some(why) = &self.ended_early {
            writeln!(out, "{WARN}! ended early: {why}{WARN:#}")?;
        }
        Ok(())
    }

    /// The page: like that of a run, it needs nothing else.
    pub(crate) fn html(&self) -> String {
        let mut out = String::new();
        self.write_page(&mut out).expect("writing to a string does not fail");
        out
    }

    fn write_page(&self, out: &mut String) -> fmt::Result {
        html_head(out, &format!("Capacity: {}", self.scenario))?;
        let (name, description) = (escape(&self.scenario), escape(&self.description));
        writeln!(out, "<header><h1>Capacity: {name}</h1><p>{description}</p>")?;
        let bounds: Vec<String> = self.bounds.iter().map(|bound| escape(&bound.to_string())).collect();
        writeln!(
            out,
            "<p>{}.</p><p class=\"s\">Bounds: {}</p></header>",
            self.sentence(),
            bounds.join(", ")
        )?;
        if let Some(why) = &self.ended_early {
            writeln!(out, "<p class=\"note\">Ended early: {}</p>", escape(why))?;
        }
        writeln!(out, "<section class=\"tiles\">")?;
        let calls =
            |calls: Option<usize>| calls.map_or_else(|| "not known".into(), |calls| calls.to_string());
        html_tile(out, "calls hold", calls(self.search.holds()), "good")?;
        html_tile(out, "calls do not", calls(self.search.breaks().map(|(calls, _)| calls)), "")?;
        let per_core = self.calls_per_router_core().map_or_else(|| "not known".into(), words);
        html_tile(out, "calls per router core", per_core, "")?;
        html_tile(out, "runs", self.steps.len(), "")?;
        writeln!(out, "</section><section class=\"charts\">")?;
        for chart in self.charts() {
            out.push_str(&chart.html());
        }
        writeln!(
            out,
            "</section><section><h2>Runs</h2><div class=\"wide\"><table><tr><th class=\"n\">calls<th>"
        )?;
        for (heading, ..) in COLUMNS {
            write!(out, "<th class=\"n\">{heading}")?;
        }
        writeln!(out, "<th>what broke</tr>")?;
        for step in &self.steps {
            let class = if step.verdict == Verdict::Holds { "better" } else { "worse" };
            write!(out, "<tr><td class=\"n\">{}<td class=\"{class}\">{}", step.calls, step.verdict.name())?;
            for (_, key, digits) in COLUMNS {
                write!(out, "<td class=\"n\">{}", show(&step.report, key, digits))?;
            }
            writeln!(out, "<td class=\"s\">{}</tr>", escape(&step.broken.join("; ")))?;
        }
        writeln!(out, "</table></div></section></body></html>")
    }

    fn charts(&self) -> Vec<Chart<'_>> {
        let points = |key: &str, keep: fn(&Step) -> bool| -> Vec<(f64, f64)> {
            let kept = self.steps.iter().filter(|step| keep(step));
            let mut points: Vec<(f64, f64)> =
                kept.filter_map(|step| Some((step.calls as f64, step.report[key].as_f64()?))).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            points
        };
        let chart = |title, label, scale, series| Chart {
            title,
            x: Axis { label: "calls", scale: Scale::Linear },
            y: Axis { label, scale },
            series,
            band: self.search.holds().map(|knee| (0.0, knee as f64)),
        };
        let mut charts: Vec<Chart<'_>> = self
            .bounds
            .iter()
            .map(|bound| {
                let key = bound.key();
                let held = Series::dots("holds", points(key, |step| step.verdict == Verdict::Holds));
                let broke = Series::dots("does not", points(key, |step| step.verdict != Verdict::Holds));
                let ends =
                    [held.points.first(), held.points.last(), broke.points.first(), broke.points.last()];
                let ends = ends.into_iter().flatten().map(|point| point.0);
                let (from, until) = ends.fold((f64::MAX, 0.0), |(low, high), at| (at.min(low), at.max(high)));
                let line =
                    if until > 0.0 { vec![(from, bound.bound()), (until, bound.bound())] } else { vec![] };
                chart(key, bound.unit(), Scale::Linear, vec![held, broke, Series::line("bound", line)])
            })
            .collect();
        let means = |key: &str| by_calls(points(key, |_| true));
        charts.push(chart(
            "CPU",
            "cores",
            Scale::Linear,
            vec![
                Series::line("server", means("server_cpu_cores")),
                Series::line("its router workers", means("router_cpu_cores")),
                Series::line("this generator", means("generator_cpu_cores")),
            ],
        ));
        charts.push(chart(
            "One-way latency, audio",
            "ms",
            Scale::Log,
            vec![
                Series::line("p50", means("one_way_audio_p50_ms")),
                Series::line("p99", means("one_way_audio_p99_ms")),
            ],
        ));
        charts
    }
}

/// One point for each number of calls: the mean of its runs. Takes them in order.
fn by_calls(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let runs = points.chunk_by(|a, b| a.0 == b.0);
    runs.map(|runs| (runs[0].0, runs.iter().map(|run| run.1).sum::<f64>() / runs.len() as f64)).collect()
}

/// `400 (95 %: 375 to 425)`.
fn words(estimate: Estimate) -> String {
    let interval = estimate.interval.map(|(low, high)| format!(" (95 %: {low:.0} to {high:.0})"));
    format!("{:.0}{}", estimate.mean, interval.unwrap_or_default())
}

fn show(report: &Value, key: &str, digits: usize) -> String {
    report[key].as_f64().map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::search::Search;

    fn step(calls: usize, verdict: Verdict) -> Step {
        let report = json!({ "loss_percent": calls as f64 / 100.0, "router_cpu_cores": calls as f64 / 50.0, "calls_failed": 0 });
        let broken = if verdict == Verdict::Holds { vec![] } else { vec!["loss_percent is <high>".into()] };
        Step { calls, verdict, broken, report }
    }

    fn capacity(runs: &[(usize, Verdict)]) -> Capacity {
        let mut search = Search::new(10, 100, 0.05);
        runs.iter().for_each(|(calls, verdict)| search.tell(*calls, *verdict));
        Capacity {
            scenario: "voice".into(),
            description: "d".into(),
            seed: 1,
            bounds: vec!["loss_percent<0.5".parse().unwrap()],
            precision_percent: 5.0,
            steps: runs.iter().map(|(calls, verdict)| step(*calls, *verdict)).collect(),
            search,
            ended_early: None,
        }
    }

    #[test]
    fn the_knee_is_told_with_how_often_it_held() {
        let found = capacity(&[
            (10, Verdict::Holds),
            (20, Verdict::Breaks),
            (20, Verdict::Breaks),
            (10, Verdict::Holds),
        ]);
        assert_eq!(found.sentence(), "10 calls hold the bounds, 20 do not (2 of 2 runs at it held)");
        let json = found.json();
        assert_eq!((&json["knee_calls"], &json["breaks_at_calls"]), (&10.into(), &20.into()));
        assert_eq!(json["calls_per_router_core"], 50.0);
        assert_eq!(json["bounds"][0], "loss_percent<0.5");
        let table = anstream::adapter::strip_str(&found.table()).to_string();
        assert!(table.lines().any(|line| line.starts_with("      20  breaks")), "{table}");
    }

    #[test]
    fn a_search_that_was_cut_off_has_a_report_of_what_there_is() {
        let mut found = capacity(&[]);
        found.ended_early = Some("interrupted".into());
        assert!(!found.is_complete());
        assert!(
            found.table().contains("not known: the search ended") && found.json()["knee_calls"].is_null()
        );
        assert!(found.html().contains("Ended early: interrupted"));
        let unseen = capacity(&[(10, Verdict::Holds), (20, Verdict::Unseen), (20, Verdict::Unseen)]);
        assert!(unseen.sentence().starts_with("At least 10 calls"));
        assert_eq!(unseen.json()["limited_by"], "generator");
    }

    #[test]
    fn runs_at_the_same_load_are_one_point() {
        let points = vec![(5.0, 1.0), (10.0, 2.0), (10.0, 4.0)];
        assert_eq!(by_calls(points), [(5.0, 1.0), (10.0, 3.0)]);
    }

    #[test]
    fn the_page_has_a_chart_for_each_bound_and_escapes_what_it_shows() {
        let page = capacity(&[(10, Verdict::Holds), (20, Verdict::Breaks), (20, Verdict::Breaks)]).html();
        assert!(page.contains("aria-label=\"loss_percent\"") && page.contains("loss_percent&lt;0.5"));
        assert!(page.contains("&lt;high&gt;") && !page.contains("<script"));
    }
}
