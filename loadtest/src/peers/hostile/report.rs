//! What a flood did to the calls, judged. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::flood::FloodReport;
use crate::peers::machine::Machine;

const STRONG: Style = Style::new().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// The JSON report's schema: grows when a key changes its meaning or goes away.
const SCHEMA: u32 = 1;

/// The calls in one phase.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Phase {
    pub(super) seconds: f64,
    /// Of one core.
    pub(super) server_core_percent: f64,
    /// Between two audio packets that somebody heard one after the other.
    pub(super) longest_audio_gap_ms: f64,
    /// Packets that the router received, as it says itself.
    pub(super) packets_received: f64,
}

/// A line of the table: its name, its value, and how many decimals are shown.
type Row = (&'static str, fn(&Phase) -> f64, usize);

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Siege {
    pub(super) schema: u32,
    pub(super) machine: Machine,
    pub(super) load_average: Option<f64>,
    pub(super) calls: usize,
    /// Calls that connected while junk came in, of those that tried.
    pub(super) joined: usize,
    pub(super) joining: usize,
    pub(super) quiet: Phase,
    pub(super) flooded: Phase,
    pub(super) junk_packets: u64,
    pub(super) junk_bytes: u64,
    pub(super) junk_per_second: f64,
    pub(super) answers: u64,
    pub(super) answer_bytes: u64,
    /// Bytes to addresses that have proven nothing, of those that came from them.
    pub(super) amplification: f64,
    /// Media packets of both phases.
    pub(super) packets_sent: u64,
    pub(super) packets_delivered: u64,
    /// During the flood, by reason.
    pub(super) dropped: BTreeMap<String, f64>,
    /// What does not hold.
    pub(super) broken: Vec<String>,
}

impl Siege {
    pub(super) fn new(machine: Machine, flood: FloodReport) -> Self {
        Self {
            schema: SCHEMA,
            machine,
            load_average: None,
            calls: 0,
            joined: 0,
            joining: 0,
            quiet: Phase::default(),
            flooded: Phase::default(),
            junk_packets: flood.packets,
            junk_bytes: flood.bytes,
            junk_per_second: flood.packets as f64 / flood.seconds.max(f64::MIN_POSITIVE),
            answers: flood.answers,
            answer_bytes: flood.answer_bytes,
            amplification: flood.answer_bytes as f64 / (flood.bytes as f64).max(1.0),
            packets_sent: 0,
            packets_delivered: 0,
            dropped: BTreeMap::new(),
            broken: Vec::new(),
        }
    }

    /// Judges; `gap_max` only if there is one, since a busy machine makes gaps of its own.
    pub(super) fn judge(mut self, gap_max: Option<Duration>) -> Self {
        if self.answer_bytes > 0 {
            self.broken.push(format!("strangers were sent {} bytes", self.answer_bytes));
        }
        if self.joined < self.joining {
            let lost = self.joining - self.joined;
            self.broken.push(format!("{lost} of {} calls did not connect during the flood", self.joining));
        }
        if self.packets_delivered < self.packets_sent || self.packets_sent == 0 {
            let (delivered, sent) = (self.packets_delivered, self.packets_sent);
            self.broken.push(format!("{delivered} of {sent} packets of media were delivered"));
        }
        let gap = Duration::from_secs_f64(self.flooded.longest_audio_gap_ms / 1000.0);
        if let Some(max) = gap_max.filter(|max| gap > *max) {
            self.broken.push(format!(
                "audio was away for {} ms, at most {} are allowed",
                gap.as_millis(),
                max.as_millis()
            ));
        }
        self
    }

    /// Everything holds.
    pub(crate) fn holds(&self) -> bool {
        self.broken.is_empty()
    }

    /// The report for programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The report for people.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        let Machine { cpu, cores, .. } = &self.machine;
        let _ = writeln!(
            out,
            "\n{STRONG}{} calls, {} more while {:.0} packets of junk a second come in{STRONG:#}\n{cpu}, {cores} cores, load {:.1}\n",
            self.calls,
            self.joined,
            self.junk_per_second,
            self.load_average.unwrap_or_default()
        );
        let _ = writeln!(out, "{:32}{:>12}{:>12}", "", "quiet", "flooded");
        let rows: [Row; 3] = [
            ("server, % of its core", |phase| phase.server_core_percent, 1),
            ("longest gap of audio, ms", |phase| phase.longest_audio_gap_ms, 0),
            ("packets a second received", |phase| phase.packets_received / phase.seconds, 0),
        ];
        for (name, value, decimals) in rows {
            let (quiet, flooded) = (value(&self.quiet), value(&self.flooded));
            let _ = writeln!(out, "{name:32}{quiet:>12.decimals$}{flooded:>12.decimals$}");
        }
        let _ = writeln!(
            out,
            "\nmedia: {} of {} packets delivered\njunk: {} packets, {} bytes; to strangers: {} packets, {} bytes \
             (amplification {:.2})",
            self.packets_delivered,
            self.packets_sent,
            self.junk_packets,
            self.junk_bytes,
            self.answers,
            self.answer_bytes,
            self.amplification
        );
        let reasons: Vec<String> = self
            .dropped
            .iter()
            .filter(|(_, n)| **n > 0.0)
            .map(|(reason, n)| format!("{reason} {n:.0}"))
            .collect();
        let _ = writeln!(out, "dropped by the router: {}", reasons.join(", "));
        for sentence in &self.broken {
            let _ = writeln!(out, "{BAD}! {sentence}{BAD:#}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn siege() -> Siege {
        let flood = FloodReport { seconds: 2.0, packets: 1000, bytes: 100_000, answers: 0, answer_bytes: 0 };
        let mut siege = Siege::new(Machine::here(), flood);
        (siege.calls, siege.joined, siege.joining) = (3, 2, 2);
        (siege.packets_sent, siege.packets_delivered) = (500, 500);
        siege.quiet.seconds = 1.0;
        siege.flooded = Phase { seconds: 1.0, longest_audio_gap_ms: 150.0, ..Phase::default() };
        siege
    }

    #[test]
    fn whatever_a_stranger_gained_is_named() {
        let limit = Some(Duration::from_millis(200));
        assert!(siege().judge(limit).holds());
        let broken = |change: &dyn Fn(&mut Siege)| {
            let mut siege = siege();
            change(&mut siege);
            let siege = siege.judge(limit);
            assert!(!siege.holds() && siege.table().contains(&siege.broken[0]));
            assert_eq!(siege.json()["broken"][0], siege.broken[0].as_str());
            siege.broken[0].clone()
        };
        assert!(broken(&|siege| siege.answer_bytes = 1).contains("sent 1 bytes"));
        assert!(broken(&|siege| siege.joined = 1).contains("1 of 2 calls"));
        assert!(broken(&|siege| siege.packets_delivered = 499).contains("499 of 500"));
        assert!(broken(&|siege| siege.packets_sent = 0).contains("of 0 packets"));
        assert!(broken(&|siege| siege.flooded.longest_audio_gap_ms = 201.0).contains("201 ms"));
        let mut late = siege();
        late.flooded.longest_audio_gap_ms = 900.0;
        assert!(late.judge(None).holds(), "time is not judged unless it is asked for");
    }
}
