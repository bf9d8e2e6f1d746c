//! The comparison as a table for people. Pure.

use std::fmt::{self, Write as _};

use anstyle::{AnsiColor, Style};

use super::figures::{Comparison, Figures, RATIOS};
use super::media::{AUDIO_BYTES, FRAMES_PER_SECOND, PACKETS_PER_FRAME, VIDEO_BYTES};

const STRONG: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default();

/// Widths of the first and of the other columns.
const NAME: usize = 16;
const CELL: usize = 10;

/// Headings in two lines, and the value of each column.
const COLUMNS: [(&str, &str, Column); 10] = [
    ("CPU µs", "/packet", |_, f| show(f.cpu_us_per_packet, 1)),
    ("÷", RATIOS[0], |c, f| show(c.ratio(f, RATIOS[0]), 2)),
    ("÷", RATIOS[1], |c, f| show(c.ratio(f, RATIOS[1]), 2)),
    ("÷", RATIOS[2], |c, f| show(c.ratio(f, RATIOS[2]), 2)),
    ("core", "%", |_, f| show(Some(f.server_core_percent), 0)),
    ("kB", "/call", |_, f| show(Some(f.memory_kb_per_call), 0)),
    ("added ms", "p50", |_, f| show(f.latency_p50_ms, 2)),
    ("added ms", "p99", |_, f| show(f.latency_p99_ms, 2)),
    ("inside ms", "p99", |_, f| show(f.residence_p99_ms, 2)),
    ("delivered", "%", |_, f| show(Some(f.delivered_percent), 2)),
];

type Column = fn(&Comparison, &Figures) -> String;

/// The table, with ANSI styles.
pub(crate) fn table(comparison: &Comparison) -> String {
    let mut out = String::new();
    write_table(&mut out, comparison).expect("writing to a string does not fail");
    out
}

fn write_table(out: &mut String, c: &Comparison) -> fmt::Result {
    let (seconds, offered) = (c.load.duration.as_secs_f64(), c.offered());
    writeln!(
        out,
        "\n{STRONG}{} two-party calls, {seconds} s, {offered} packets a second{STRONG:#}",
        c.load.calls
    )?;
    writeln!(
        out,
        "{FAINT}each party: 50 × {AUDIO_BYTES} B of audio and {} × {VIDEO_BYTES} B of video a second; \
         server on core {}{}, generator on core {}",
        FRAMES_PER_SECOND as usize * PACKETS_PER_FRAME,
        c.server_core,
        if c.realtime { " (ours in real time)" } else { "" },
        c.generator_core
    )?;
    let machine = &c.machine;
    let (cpu, cores, memory, kernel) = (&machine.cpu, machine.cores, machine.memory_gib, &machine.kernel);
    writeln!(out, "{cpu}, {cores} cores, {memory} GiB, Linux {kernel}{FAINT:#}\n")?;
    for line in 0..2 {
        write!(out, "{STRONG}{:NAME$}", "")?;
        for (upper, lower, _) in COLUMNS {
            write!(out, "{:>CELL$}", if line == 0 { upper } else { lower })?;
        }
        writeln!(out, "{STRONG:#}")?;
    }
    for outcome in &c.outcomes {
        match &outcome.result {
            Ok(figures) => write_row(out, c, outcome.name, figures)?,
            Err(why) => writeln!(out, "{:NAME$}  {BAD}not measured: {why}{BAD:#}", outcome.name)?,
        }
    }
    writeln!(out)?;
    for (name, figures) in c.measured() {
        writeln!(
            out,
            "{FAINT}{name}: load average {}, steal {} %; generator {:.0} % of its core, late p99 {} ms{FAINT:#}",
            show(figures.load_average, 2),
            show(figures.steal_percent, 1),
            figures.generator_core_percent,
            show(figures.generator_lag_p99_ms, 2),
        )?;
        for note in &figures.notes {
            let style = if note.starts_with("THE GENERATOR") { BAD } else { WARN };
            writeln!(out, "{style}! {name}: {note}{style:#}")?;
        }
    }
    Ok(())
}

fn write_row(out: &mut String, c: &Comparison, name: &str, figures: &Figures) -> fmt::Result {
    write!(out, "{name:NAME$}")?;
    for (_, _, column) in COLUMNS {
        write!(out, "{:>CELL$}", column(c, figures))?;
    }
    writeln!(out)
}

pub(super) fn show(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::figures::tests::comparison;

    #[test]
    fn columns_are_aligned_and_who_is_missing_is_named() {
        let styled = table(&comparison());
        let plain = anstream::adapter::strip_str(&styled).to_string();
        let row = |name: &str| plain.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        let (ours, coturn) = (row("duocast  "), row("coturn  "));
        assert_eq!(ours.chars().count(), NAME + COLUMNS.len() * CELL);
        assert_eq!(ours.chars().count(), coturn.chars().count());
        let cells: Vec<&str> = ours.split_whitespace().collect();
        assert_eq!(cells[1..4], ["20.0", "0.80", "-"], "{ours}");
        assert_eq!(coturn.split_whitespace().nth(1), Some("25.0"));
        assert!(row("Janus").ends_with("not measured: not installed: apt-get install janus"));
        assert!(plain.contains("load average 1.50, steal 0.1 %"), "{plain}");
    }
}
