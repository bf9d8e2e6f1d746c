//! From what was counted to what is reported. Pure.

use serde::Serialize;
use serde_json::{Value, json};

use super::Load;
use super::generator::Report;
use super::machine::Machine;
use super::media::{AUDIO_BYTES, PACKETS_PER_SECOND, VIDEO_BYTES};
use crate::run::Residence;

/// The JSON report's schema: grows when a key changes its meaning or goes away.
const SCHEMA: u32 = 1;

/// The generator's thread is near its end from this share of a core on.
const BUSY_MAX: f64 = 0.85;

/// Lateness (p99) from which the generator distorts what it measures: most latencies here are below it.
const LAG_MAX_MS: f64 = 5.0;

/// Share of sent packets below which a server is called overloaded.
const DELIVERED_MIN: f64 = 0.99;

/// Share of a core's time that others may take before the figures are called disturbed.
const STEAL_MAX: f64 = 0.02;

/// CPU time on the server's core that is not the server's, as a share of the core, before the figures are called disturbed.
const FOREIGN_MAX: f64 = 0.10;

/// What was counted for one server.
pub(super) struct Measured {
    pub(super) seconds: f64,
    pub(super) server_cpu_seconds: f64,
    /// Resident memory at the end less that before the first call.
    pub(super) memory_growth_bytes: f64,
    pub(super) load_average: Option<f64>,
    /// Stolen and used shares of both cores.
    pub(super) server_core: Option<(f64, f64)>,
    pub(super) generator_core: Option<(f64, f64)>,
    /// What the server says of how long it had media; only ours does.
    pub(super) residence: Option<Residence>,
    pub(super) report: Report,
}

/// What is reported of one server.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Figures {
    pub(super) packets_sent: u64,
    pub(super) packets_delivered: u64,
    pub(super) delivered_percent: f64,
    pub(super) packets_per_second: f64,
    pub(super) cpu_us_per_packet: Option<f64>,
    pub(super) server_core_percent: f64,
    pub(super) memory_kb_per_call: f64,
    pub(super) latency_p50_ms: Option<f64>,
    pub(super) latency_p99_ms: Option<f64>,
    pub(super) latency_max_ms: Option<f64>,
    pub(super) residence_p50_ms: Option<f64>,
    pub(super) residence_p99_ms: Option<f64>,
    pub(super) generator_core_percent: f64,
    pub(super) generator_lag_p99_ms: Option<f64>,
    pub(super) generator_is_bottleneck: bool,
    pub(super) load_average: Option<f64>,
    pub(super) steal_percent: Option<f64>,
    pub(super) notes: Vec<String>,
}

/// A server's figures, or why there are none.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) name: &'static str,
    pub(super) result: Result<Figures, String>,
}

/// A whole run.
#[derive(Debug, Clone)]
pub(crate) struct Comparison {
    pub(super) machine: Machine,
    pub(super) load: Load,
    pub(super) generator_core: usize,
    pub(super) server_core: usize,
    /// Ours, that is; the others have no such setting.
    pub(super) realtime: bool,
    pub(super) outcomes: Vec<Outcome>,
}

impl Figures {
    pub(super) fn of(measured: &Measured, load: Load) -> Self {
        let report = &measured.report;
        let seconds = measured.seconds.max(f64::MIN_POSITIVE);
        let delivered = report.delivered.min(report.sent);
        let forwarded = report.forwarded as f64;
        let stolen = [measured.server_core, measured.generator_core];
        let steal = stolen.into_iter().flatten().map(|(steal, _)| steal).reduce(f64::max);
        let stayed = |quantile| measured.residence.as_ref()?.ms_at(quantile);
        let mut figures = Self {
            packets_sent: report.sent,
            packets_delivered: delivered,
            delivered_percent: if report.sent == 0 {
                0.0
            } else {
                delivered as f64 / report.sent as f64 * 100.0
            },
            packets_per_second: forwarded / seconds,
            cpu_us_per_packet: (report.forwarded > 0).then(|| measured.server_cpu_seconds * 1e6 / forwarded),
            server_core_percent: measured.server_cpu_seconds / seconds * 100.0,
            memory_kb_per_call: measured.memory_growth_bytes / 1000.0 / load.calls as f64,
            latency_p50_ms: report.latency.ms_at(0.5),
            latency_p99_ms: report.latency.ms_at(0.99),
            latency_max_ms: report.latency.max_ms(),
            residence_p50_ms: stayed(0.5),
            residence_p99_ms: stayed(0.99),
            generator_core_percent: report.cpu.as_secs_f64() / seconds * 100.0,
            generator_lag_p99_ms: report.lag.ms_at(0.99),
            generator_is_bottleneck: false,
            load_average: measured.load_average,
            steal_percent: steal.map(|steal| steal * 100.0),
            notes: Vec::new(),
        };
        figures.judge(measured);
        figures
    }

    fn judge(&mut self, measured: &Measured) {
        let report = &measured.report;
        let mut signs = Vec::new();
        if self.generator_core_percent > BUSY_MAX * 100.0 {
            signs.push(format!("its thread used {:.0} % of a core", self.generator_core_percent));
        }
        if let Some(lag) = self.generator_lag_p99_ms.filter(|lag| *lag > LAG_MAX_MS) {
            signs.push(format!("it sent {lag:.0} ms late (p99)"));
        }
        if report.skipped > 0 {
            signs.push(format!("it left out {} packets", report.skipped));
        }
        if report.unsent > 0 {
            signs.push(format!("{} of its packets were not sent", report.unsent));
        }
        if report.drops > 0 {
            signs.push(format!("its own sockets dropped {} datagrams", report.drops));
        }
        self.generator_is_bottleneck = !signs.is_empty();
        if self.generator_is_bottleneck {
            let text = format!(
                "THE GENERATOR WAS THE BOTTLENECK: {}; use fewer calls or a quieter machine",
                signs.join(", ")
            );
            self.notes.push(text);
        }
        if self.delivered_percent < DELIVERED_MIN * 100.0 {
            let core = self.server_core_percent;
            let text = format!(
                "delivered {:.2} % of what was sent, at {core:.0} % of its core: overloaded, or lossy",
                self.delivered_percent
            );
            self.notes.push(text);
        }
        if let Some(steal) = self.steal_percent.filter(|steal| *steal > STEAL_MAX * 100.0) {
            self.notes.push(format!("the hypervisor took {steal:.1} % of a core's time: disturbed"));
        }
        let foreign =
            measured.server_core.map(|(steal, used)| used - steal - self.server_core_percent / 100.0);
        if let Some(foreign) = foreign.filter(|foreign| *foreign > FOREIGN_MAX) {
            let percent = foreign * 100.0;
            self.notes
                .push(format!("{percent:.0} % of its core went to other processes or the kernel: disturbed"));
        }
    }
}

impl Comparison {
    /// This server's CPU time per packet over that one's.
    pub(super) fn ratio(&self, figures: &Figures, to: &str) -> Option<f64> {
        let other = self.outcomes.iter().find(|outcome| outcome.name == to)?;
        let other = other.result.as_ref().ok()?.cpu_us_per_packet.filter(|cost| *cost > 0.0)?;
        Some(figures.cpu_us_per_packet? / other)
    }

    /// Names and figures of those that could be measured.
    pub(super) fn measured(&self) -> impl Iterator<Item = (&'static str, &Figures)> {
        self.outcomes.iter().filter_map(|outcome| Some((outcome.name, outcome.result.as_ref().ok()?)))
    }

    /// True if every server was measured and delivered what it got.
    pub(crate) fn is_sound(&self) -> bool {
        let is_fine = |figures: &Figures| figures.delivered_percent >= DELIVERED_MIN * 100.0;
        self.outcomes.iter().all(|outcome| outcome.result.as_ref().is_ok_and(is_fine))
    }

    /// The report for programs.
    pub(crate) fn json(&self) -> Value {
        let peers = self.outcomes.iter().map(|outcome| match &outcome.result {
            Ok(figures) => {
                let ratio = |to: &&'static str| (*to, self.ratio(figures, to));
                let ratios: std::collections::BTreeMap<_, _> = RATIOS.iter().map(ratio).collect();
                json!({ "name": outcome.name, "figures": figures, "cpu_ratio_to": ratios })
            }
            Err(why) => json!({ "name": outcome.name, "not_measured": why }),
        });
        json!({
            "schema": SCHEMA,
            "machine": self.machine,
            "generator_core": self.generator_core,
            "server_core": self.server_core,
            "realtime": self.realtime,
            "load": {
                "calls": self.load.calls,
                "seconds": self.load.duration.as_secs_f64(),
                "packets_per_second": self.offered(),
                "audio_payload_bytes": AUDIO_BYTES,
                "video_payload_bytes": VIDEO_BYTES,
            },
            "peers": peers.collect::<Vec<_>>(),
        })
    }

    /// Packets a second that all parties send.
    pub(super) fn offered(&self) -> u64 {
        self.load.calls as u64 * 2 * u64::from(PACKETS_PER_SECOND)
    }
}

/// Whom others are compared with.
pub(super) const RATIOS: [&str; 3] = ["coturn", "Janus", "bare loop"];

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;

    fn measured() -> Measured {
        let mut report = Report { sent: 1000, delivered: 999, forwarded: 1000, ..Report::default() };
        (1..=100).for_each(|n| report.latency.add(Duration::from_micros(n * 100)));
        report.lag.add(Duration::from_micros(80));
        report.cpu = Duration::from_secs(1);
        Measured {
            seconds: 2.0,
            server_cpu_seconds: 0.02,
            memory_growth_bytes: 1e6,
            load_average: Some(1.5),
            server_core: Some((0.001, 0.05)),
            generator_core: Some((0.0, 0.5)),
            residence: None,
            report,
        }
    }

    const LOAD: Load = Load { calls: 5, duration: Duration::from_secs(2) };

    /// Three servers, one of which is not installed.
    pub(in crate::peers) fn comparison() -> Comparison {
        let ours = Figures::of(&measured(), LOAD);
        let coturn = Figures::of(&Measured { server_cpu_seconds: 0.025, ..measured() }, LOAD);
        Comparison {
            machine: Machine { cpu: "Test <CPU>".into(), cores: 2, memory_gib: 24.0, kernel: "6.1".into() },
            load: LOAD,
            generator_core: 0,
            server_core: 1,
            realtime: false,
            outcomes: vec![
                Outcome { name: "duocast", result: Ok(ours) },
                Outcome { name: "coturn", result: Ok(coturn) },
                Outcome { name: "Janus", result: Err("not installed: apt-get install janus".into()) },
            ],
        }
    }

    #[test]
    fn costs_are_per_packet_and_per_call() {
        let figures = Figures::of(&measured(), LOAD);
        assert_eq!(figures.cpu_us_per_packet, Some(20.0));
        assert_eq!((figures.memory_kb_per_call, figures.server_core_percent), (200.0, 1.0));
        assert!((figures.delivered_percent - 99.9).abs() < 1e-9);
        assert!((figures.latency_p99_ms.unwrap() - 9.9).abs() < 0.1);
        assert!(figures.notes.is_empty() && !figures.generator_is_bottleneck, "{:?}", figures.notes);
    }

    #[test]
    fn a_generator_that_cannot_keep_up_says_so() {
        let said = |change: &dyn Fn(&mut Report)| {
            let mut measured = measured();
            change(&mut measured.report);
            let figures = Figures::of(&measured, LOAD);
            assert!(figures.generator_is_bottleneck);
            figures.notes[0].clone()
        };
        assert!(said(&|report| report.cpu = Duration::from_millis(1900)).contains("95 % of a core"));
        assert!(said(&|report| report.lag.add(Duration::from_millis(9))).contains("9 ms late"));
        assert!(said(&|report| report.skipped = 7).contains("left out 7"));
        assert!(said(&|report| report.unsent = 8).contains("8 of its packets"));
        assert!(said(&|report| report.drops = 9).contains("dropped 9"));
    }

    #[test]
    fn overload_and_disturbance_are_named() {
        let mut lossy = measured();
        lossy.report.delivered = 900;
        assert!(Figures::of(&lossy, LOAD).notes[0].contains("90.00 %"));
        let stolen = Measured { server_core: Some((0.05, 0.08)), ..measured() };
        assert!(Figures::of(&stolen, LOAD).notes[0].contains("5.0 %"));
        let shared = Measured { server_core: Some((0.0, 0.5)), ..measured() };
        assert!(Figures::of(&shared, LOAD).notes[0].contains("49 % of its core"));
    }

    #[test]
    fn ratios_are_to_those_that_were_measured() {
        let comparison = comparison();
        let json = comparison.json();
        assert_eq!(json["peers"][0]["cpu_ratio_to"]["coturn"], 0.8);
        assert!(json["peers"][0]["cpu_ratio_to"]["Janus"].is_null());
        assert_eq!(json["peers"][2]["not_measured"], "not installed: apt-get install janus");
        assert_eq!(json["load"]["packets_per_second"], 1700);
        assert!(!comparison.is_sound(), "one is missing");
    }
}
