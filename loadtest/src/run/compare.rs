//! `compare A.json B.json`: what changed between two reports, and what got worse. Pure.

use std::fmt::{self, Write as _};

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::groups;
use super::keys::{keys, near};

const STRONG: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default();

/// The schema of the reports that can be compared.
const SCHEMA: u64 = 1;

/// What is asserted where nothing else is asked for.
pub(crate) const ASSERTED: [&str; 6] = [
    "calls_up",
    "calls_failed",
    "loss_percent",
    "accept_to_first_audio_p95_ms",
    "one_way_audio_p99_ms",
    "router_cpu_us_per_packet",
];

/// Which way of a figure is the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Better {
    Lower,
    Higher,
    /// It says how much was done or asked for, and not how well.
    Neither,
}

/// Counts that should be low.
const LOW: [&str; 15] = [
    "switches_failed",
    "calls_failed",
    "calls_skipped",
    "viewers_failed",
    "viewers_skipped",
    "stream_breaks",
    "packets_repeated",
    "sequence_gaps",
    "late_audio_packets",
    "undecodable_packets",
    "keyframes_asked",
    "generator_socket_drops",
    "generator_unsent",
    "generator_frames_skipped",
    "generator_is_bottleneck",
];

fn better(name: &str, unit: &str) -> Better {
    if name.contains("injected") {
        return Better::Neither;
    }
    match unit {
        "score" => Better::Higher,
        "ms" | "%" | "µs" | "cores" | "MB" | "kB" => Better::Lower,
        _ if LOW.contains(&name) => Better::Lower,
        _ if ["calls_up", "viewers_up", "reconnect_calls_kept"].contains(&name) => Better::Higher,
        _ => Better::Neither,
    }
}

/// Differences that no two runs are without: smaller ones are never worse or better.
fn noise(unit: &str) -> f64 {
    match unit {
        "ms" => 1.0,
        "%" => 0.05,
        "cores" => 0.02,
        "score" => 0.1,
        "µs" => 0.5,
        "MB" | "kB" => 5.0,
        _ => 0.0,
    }
}

/// What became of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Same,
    Better,
    Worse,
    /// Differs, and neither way is the good one.
    Differs,
    /// Only one of the reports has it.
    Missing,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Differs => "differs",
            Self::Missing => "missing",
        }
    }
}

/// One figure of both reports.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    key: String,
    unit: &'static str,
    values: [Option<f64>; 2],
    verdict: Verdict,
    is_asserted: bool,
}

impl Row {
    fn difference(&self) -> Option<f64> {
        Some(self.values[1]? - self.values[0]?)
    }

    fn change_percent(&self) -> Option<f64> {
        let before = self.values[0].filter(|before| *before != 0.0)?;
        Some(self.difference()? * 100.0 / before.abs())
    }

    /// It is asserted and does not hold.
    fn is_broken(&self) -> bool {
        let is_lost = self.verdict == Verdict::Missing && self.values[1].is_none();
        self.is_asserted && (self.verdict == Verdict::Worse || is_lost)
    }
}

/// Two reports side by side.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Comparison {
    names: [String; 2],
    tolerance_percent: f64,
    notes: Vec<String>,
    rows: Vec<Row>,
}

impl Comparison {
    /// Compares a report with an earlier one. `asserted`: [`ASSERTED`], as far as a report has them, if there are none. `Err`
    /// is a sentence about what is no report, or no key of one.
    pub(crate) fn of(
        names: [String; 2],
        reports: [&Value; 2],
        tolerance_percent: f64,
        asserted: &[String],
    ) -> Result<Self, String> {
        for (name, report) in names.iter().zip(reports) {
            let is_run = report.get("calls_planned").is_some();
            match report.get("schema").and_then(Value::as_u64).filter(|_| is_run) {
                Some(SCHEMA) => {}
                Some(other) => {
                    return Err(format!(
                        "{name}: has schema {other}: allowed is {SCHEMA}; use the program that wrote it"
                    ));
                }
                None => {
                    return Err(format!(
                        "{name}: is no report of duocast-loadtest run: allowed is a file written by --json"
                    ));
                }
            }
        }
        let [before, after] = reports;
        let mut rows = Vec::new();
        for key in keys().iter().filter(|key| !["text", "list", "object"].contains(&key.unit)) {
            if !["schema", "seed", "run_seconds", "steady_seconds"].contains(&key.name.as_str()) {
                let values = reports.map(|report| number(report.get(&key.name)));
                rows.extend(row(
                    key.name.clone(),
                    key.unit,
                    better(&key.name, key.unit),
                    values,
                    tolerance_percent,
                ));
            }
        }
        for (name, _) in before.get("groups").and_then(Value::as_object).into_iter().flatten() {
            for key in groups::KEYS {
                let values = reports.map(|report| number(report["groups"][name].get(key.name)));
                let path = format!("groups.{name}.{}", key.name);
                rows.extend(row(path, key.unit, better(key.name, key.unit), values, tolerance_percent));
            }
        }
        for row in rows.iter_mut().filter(|row| asserted.is_empty() && ASSERTED.contains(&row.key.as_str())) {
            row.is_asserted = true;
        }
        for key in asserted {
            match rows.iter_mut().find(|row| row.key == *key) {
                Some(row) => row.is_asserted = true,
                None => return Err(no_figure(key, rows.iter().map(|row| row.key.as_str()))),
            }
        }
        let differing = ["scenario", "seed", "calls_planned"];
        let differing = differing.into_iter().filter(|key| before.get(key) != after.get(key));
        let mut notes: Vec<String> =
            differing.map(|key| format!("{key} differs: {} and {}", before[key], after[key])).collect();
        for (name, report) in names.iter().zip(reports) {
            if report["generator_is_bottleneck"] == true {
                notes.push(format!(
                    "{name}: the generator was the bottleneck, so its figures are not the server's"
                ));
            }
            if report["ended"] != "planned" {
                notes.push(format!("{name}: ended early ({})", report["ended"]));
            }
        }
        Ok(Self { names, tolerance_percent, notes, rows })
    }

    /// No asserted figure got worse by more than the tolerance, or lost.
    pub(crate) fn holds(&self) -> bool {
        !self.rows.iter().any(Row::is_broken)
    }

    pub(crate) fn json(&self) -> Value {
        let figure = |row: &Row| {
            json!({
                "key": row.key, "unit": row.unit, "a": row.values[0], "b": row.values[1],
                "difference": row.difference(), "change_percent": row.change_percent(),
                "verdict": row.verdict.name(), "asserted": row.is_asserted,
            })
        };
        json!({
            "schema": SCHEMA, "a": self.names[0], "b": self.names[1], "tolerance_percent": self.tolerance_percent,
            "holds": self.holds(), "notes": self.notes, "figures": self.rows.iter().map(figure).collect::<Vec<_>>(),
        })
    }

    /// The table, with ANSI styles. Figures that are the same are left out of the short form.
    pub(crate) fn table(&self, is_long: bool) -> String {
        let mut out = String::new();
        self.write(&mut out, is_long).expect("writing to a string does not fail");
        out
    }

    fn write(&self, out: &mut String, is_long: bool) -> fmt::Result {
        let rows: Vec<&Row> = self
            .rows
            .iter()
            .filter(|row| is_long || row.is_asserted || row.verdict != Verdict::Same)
            .collect();
        let width = rows.iter().map(|row| row.key.len()).max().unwrap_or(3).max(3);
        writeln!(out, "\nA: {}\nB: {}\n", self.names[0], self.names[1])?;
        writeln!(
            out,
            "{STRONG}{:<width$}{:>13}{:>13}{:>13}{:>10}{STRONG:#}",
            "", "A", "B", "difference", "%"
        )?;
        for row in &rows {
            let style = match row.verdict {
                Verdict::Better => GOOD,
                Verdict::Worse => BAD,
                Verdict::Missing => WARN,
                Verdict::Differs | Verdict::Same => FAINT,
            };
            let mark = match (row.is_asserted, row.is_broken()) {
                (_, true) => " ✗ asserted",
                (true, _) => " ✓ asserted",
                _ => "",
            };
            let change = row.change_percent().map_or_else(|| "–".into(), |change| format!("{change:+.1}"));
            writeln!(
                out,
                "{:<width$}{:>13}{:>13}{:>13}{change:>10}  {style}{}{style:#} {}{mark}",
                row.key,
                show(row.values[0], false),
                show(row.values[1], false),
                show(row.difference(), true),
                row.verdict.name(),
                row.unit,
            )?;
        }
        let same = self.rows.len() - rows.len();
        if same > 0 {
            writeln!(
                out,
                "{FAINT}{same} figures are the same within {} % (--all shows them){FAINT:#}",
                self.tolerance_percent
            )?;
        }
        for note in &self.notes {
            writeln!(out, "{WARN}! {note}{WARN:#}")?;
        }
        let broken: Vec<&str> =
            self.rows.iter().filter(|row| row.is_broken()).map(|row| row.key.as_str()).collect();
        match broken.is_empty() {
            true => writeln!(
                out,
                "{GOOD}No asserted figure got worse by more than {} %.{GOOD:#}",
                self.tolerance_percent
            ),
            false => writeln!(
                out,
                "{BAD}Worse by more than {} %: {}.{BAD:#}",
                self.tolerance_percent,
                broken.join(", ")
            ),
        }
    }
}

fn no_figure<'a>(key: &str, present: impl Iterator<Item = &'a str>) -> String {
    let allowed = "allowed is a number that a report has";
    match near(key, present) {
        Some(near) => format!("--assert {key}: {allowed}, such as {near}"),
        None => format!("--assert {key}: {allowed}; `duocast-loadtest keys` lists them"),
    }
}

fn number(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::Number(number) => number.as_f64(),
        Value::Bool(is_so) => Some(f64::from(u8::from(*is_so))),
        _ => None,
    }
}

/// `None` if neither report has it.
fn row(
    key: String,
    unit: &'static str,
    better: Better,
    values: [Option<f64>; 2],
    tolerance_percent: f64,
) -> Option<Row> {
    let verdict = match values {
        [None, None] => return None,
        [Some(before), Some(after)] => {
            let allowed = (before.abs() * tolerance_percent / 100.0).max(noise(unit));
            let is_within = (after - before).abs() <= allowed + 1e-9;
            match (is_within, better, after > before) {
                (true, ..) => Verdict::Same,
                (_, Better::Neither, _) => Verdict::Differs,
                (_, Better::Lower, true) | (_, Better::Higher, false) => Verdict::Worse,
                _ => Verdict::Better,
            }
        }
        _ => Verdict::Missing,
    };
    Some(Row { key, unit, values, verdict, is_asserted: false })
}

fn show(value: Option<f64>, is_difference: bool) -> String {
    match value {
        None => "–".into(),
        Some(value) if value.fract() == 0.0 && is_difference => format!("{value:+}"),
        Some(value) if value.fract() == 0.0 => format!("{value}"),
        Some(value) if is_difference => format!("{value:+.3}"),
        Some(value) => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(loss: f64, up: u64, cpu: Option<f64>) -> Value {
        json!({
            "schema": 1, "scenario": "voice", "seed": 1, "calls_planned": 50, "ended": "planned",
            "calls_up": up, "calls_failed": 50 - up, "loss_percent": loss, "join_p99_ms": 120.0,
            "router_cpu_us_per_packet": cpu, "audio_packets_received": 1000 * up,
            "groups": { "far": { "received_p50_ms": 80.0 + loss, "up_injected_mean_ms": loss } },
        })
    }

    fn compare(before: &Value, after: &Value, asserted: &[&str]) -> Result<Comparison, String> {
        let asserted: Vec<String> = asserted.iter().map(|key| (*key).to_owned()).collect();
        Comparison::of(["a.json".into(), "b.json".into()], [before, after], 10.0, &asserted)
    }

    fn verdict(comparison: &Comparison, key: &str) -> Verdict {
        comparison.rows.iter().find(|row| row.key == key).unwrap().verdict
    }

    #[test]
    fn each_figure_knows_its_good_direction() {
        let (before, after) = (report(0.1, 50, Some(5.0)), report(9.0, 40, Some(3.0)));
        let comparison = compare(&before, &after, &["join_p99_ms"]).unwrap();
        for (key, expected) in [
            ("loss_percent", Verdict::Worse),
            ("calls_up", Verdict::Worse),
            ("calls_failed", Verdict::Worse),
            ("router_cpu_us_per_packet", Verdict::Better),
            ("join_p99_ms", Verdict::Same),
            ("audio_packets_received", Verdict::Differs),
            ("groups.far.received_p50_ms", Verdict::Worse),
            ("groups.far.up_injected_mean_ms", Verdict::Differs),
        ] {
            assert_eq!(verdict(&comparison, key), expected, "{key}");
        }
        assert!(comparison.holds(), "what got worse is not asserted");
        assert!(!compare(&before, &after, &[]).unwrap().holds(), "unless nothing else is");
    }

    #[test]
    fn an_asserted_figure_may_get_worse_within_the_tolerance_and_not_beyond() {
        let before = report(0.1, 50, Some(5.0));
        let holds =
            |cpu, asserted: &[&str]| compare(&before, &report(0.1, 50, cpu), asserted).unwrap().holds();
        assert!(holds(Some(5.5), &["router_cpu_us_per_packet"]));
        assert!(!holds(Some(5.8), &["router_cpu_us_per_packet"]));
        assert!(holds(Some(5.8), &["loss_percent"]));
        assert!(!holds(None, &["router_cpu_us_per_packet"]), "a figure that is gone does not hold");
    }

    #[test]
    fn what_no_two_runs_are_without_is_not_worse() {
        let comparison = compare(&report(0.0, 50, Some(1.0)), &report(0.04, 50, Some(1.4)), &[]).unwrap();
        assert_eq!(verdict(&comparison, "loss_percent"), Verdict::Same);
        assert_eq!(verdict(&comparison, "router_cpu_us_per_packet"), Verdict::Same);
    }

    #[test]
    fn what_is_no_report_or_no_figure_is_refused() {
        let good = report(0.0, 50, None);
        let error = compare(&json!({"a": 1}), &good, &[]).unwrap_err();
        assert!(error.starts_with("a.json: is no report"), "{error}");
        let capacity = json!({"schema": 1, "knee_calls": 40, "steps": []});
        let error = compare(&good, &capacity, &[]).unwrap_err();
        assert!(error.starts_with("b.json: is no report"), "{error}");
        let error = compare(&good, &json!({"schema": 9, "calls_planned": 1}), &[]).unwrap_err();
        assert!(error.starts_with("b.json: has schema 9: allowed is 1"), "{error}");
    }

    #[test]
    fn a_key_that_no_report_has_is_refused_with_those_that_are_near() {
        let good = report(0.0, 50, None);
        let error = compare(&good, &good, &["los_percent"]).unwrap_err();
        assert!(error.starts_with("--assert los_percent: allowed is"), "{error}");
        assert!(error.ends_with("such as loss_percent"), "{error}");
        let error = compare(&good, &good, &["router_cpu_us_per_packet"]).unwrap_err();
        assert!(
            error.starts_with("--assert router_cpu_us_per_packet: allowed is"),
            "null is no figure: {error}"
        );
        assert!(
            compare(&good, &good, &[]).unwrap().holds(),
            "of those that nobody asked for some may be missing"
        );
    }

    #[test]
    fn the_table_is_aligned_and_shows_what_changed() {
        let comparison =
            compare(&report(0.1, 50, Some(5.0)), &report(9.0, 50, Some(5.0)), &["loss_percent"]).unwrap();
        let table = anstream::adapter::strip_str(&comparison.table(false)).to_string();
        let lines: Vec<&str> = table.lines().filter(|line| line.contains("loss_percent")).collect();
        assert_eq!(
            lines[0].split_whitespace().collect::<Vec<_>>(),
            ["loss_percent", "0.100", "9", "+8.900", "+8900.0", "worse", "%", "✗", "asserted"]
        );
        assert!(!table.contains("join_p99_ms") && comparison.table(true).contains("join_p99_ms"));
        assert!(table.contains("Worse by more than 10 %: loss_percent."));
        let json = comparison.json();
        assert_eq!(json["holds"], false);
        assert_eq!(json["a"], "a.json");
    }

    #[test]
    fn reports_of_different_loads_say_so() {
        let mut other = report(0.0, 50, None);
        other["seed"] = 2.into();
        other["generator_is_bottleneck"] = true.into();
        let comparison = compare(&report(0.0, 50, None), &other, &[]).unwrap();
        assert_eq!(comparison.notes[0], "seed differs: 1 and 2");
        assert!(comparison.notes[1].starts_with("b.json: the generator was the bottleneck"));
    }
}
