//! What a summary is made of: traffic, sound, the server and this program.

use std::time::Duration;

use crate::histogram::Histogram;
use crate::peer::{LegReport, Reception, SentBook};
use crate::run::Residence;
use crate::run::incidents::SwitchOutcome;
use crate::run::server::Sample;

/// CPU seconds from which a metrics page's whole ones are fine enough: to a twentieth. Lower shows what is rounding.
const WHOLE_SECONDS_MIN: f64 = 20.0;

/// What one receiver's stream was like.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Receiver {
    pub(crate) call: usize,
    /// Whose conditions it meets; 0: nobody's.
    pub(crate) group: usize,
    /// Its packets of both kinds, and which share of them did not come.
    pub(crate) packets: u64,
    pub(crate) loss: f64,
    /// The longest time between two packets of audio, and when it began, from the start of the run.
    pub(crate) gap_s: f64,
    pub(crate) gap_from_s: f64,
    /// Audio packets sent in that time that never came.
    pub(crate) gap_missing: u64,
}

/// Packets of one kind, over all receivers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Traffic {
    pub(crate) expected: u64,
    pub(crate) received: u64,
    pub(crate) repeated: u64,
    pub(crate) gaps: u64,
}

impl Traffic {
    /// One receiver's packets, against what was sent from the first one on that it got.
    pub(crate) fn of(sent: &SentBook, received: &Reception) -> Self {
        let expected = received.first_mark.map_or(sent.packets(), |mark| sent.packets_since(mark));
        Self { expected, received: received.packets, repeated: received.repeats, gaps: received.gaps() }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            expected: self.expected + other.expected,
            received: self.received + other.received,
            repeated: self.repeated + other.repeated,
            gaps: self.gaps + other.gaps,
        }
    }

    /// Share of expected packets that did not come; `None` if none were expected.
    pub(crate) fn loss(self) -> Option<f64> {
        let missing = self.expected.saturating_sub(self.received);
        (self.expected > 0).then(|| missing as f64 / self.expected as f64)
    }
}

/// What the receivers that decoded to the end heard.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Sound {
    pub(crate) receivers: u64,
    pub(crate) played: Duration,
    pub(crate) concealed: Duration,
    pub(crate) late_packets: u64,
    pub(crate) undecodable: u64,
}

impl Sound {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            receivers: self.receivers + other.receivers,
            played: self.played + other.played,
            concealed: self.concealed + other.concealed,
            late_packets: self.late_packets + other.late_packets,
            undecodable: self.undecodable + other.undecodable,
        }
    }

    pub(crate) fn add_receiver(&mut self, receiver: &LegReport) {
        let Some(heard) = &receiver.heard else { return };
        let frames = |count: u64| Duration::from_millis(20) * u32::try_from(count).unwrap_or(u32::MAX);
        self.receivers += 1;
        self.played += frames(heard.frames_played);
        self.concealed += frames(heard.jitter.concealed_frames);
        self.late_packets += heard.jitter.late;
        self.undecodable += heard.undecodable;
    }

    /// Both receivers of a call that the SDK made by itself.
    pub(super) fn add_call_of_sdk(&mut self, switching: &SwitchOutcome) {
        self.receivers += 2;
        self.played += switching.played;
        self.concealed += switching.concealed;
    }

    /// Share of played sound that was made up.
    pub(crate) fn concealed_share(&self) -> Option<f64> {
        (!self.played.is_zero()).then(|| self.concealed.as_secs_f64() / self.played.as_secs_f64())
    }
}

/// The server between two samples.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Server {
    pub(crate) busy_seconds: Option<f64>,
    pub(crate) packets_forwarded: Option<f64>,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) resident_bytes: Option<f64>,
    /// Growth of its memory since before the first client.
    pub(crate) grown_bytes: Option<f64>,
    /// Time to write call records in the whole run, and how many batches they were.
    pub(crate) store_batch_seconds: Option<f64>,
    pub(crate) store_batches: Option<f64>,
    /// How long media was in the router, in milliseconds: the steady phase's p50 and p99, and the p99 of the time before it.
    pub(crate) residence_p50_ms: Option<f64>,
    pub(crate) residence_p99_ms: Option<f64>,
    pub(crate) residence_ramp_p99_ms: Option<f64>,
}

impl Server {
    /// `before` is from before the first client, `from` and `until` are the steady phase's ends.
    pub(crate) fn between(before: Sample, from: Sample, until: Sample) -> Self {
        let grown = |a: Option<f64>, b: Option<f64>| Some((b? - a?).max(0.0));
        let stayed = |a: &Sample, b: &Sample| Some(b.residence.as_ref()?.since(a.residence.as_ref()?));
        let at = |stayed: &Option<Residence>, quantile| stayed.as_ref()?.ms_at(quantile);
        let (steady, ramp) = (stayed(&from, &until), stayed(&before, &from));
        Self {
            busy_seconds: grown(from.router_busy_seconds, until.router_busy_seconds),
            packets_forwarded: grown(from.packets_forwarded, until.packets_forwarded),
            cpu_seconds: grown(from.cpu_seconds, until.cpu_seconds),
            resident_bytes: until.resident_bytes,
            grown_bytes: grown(before.resident_bytes, until.resident_bytes),
            // The page has no line of it before the first batch.
            store_batch_seconds: grown(before.store_batch_seconds.or(Some(0.0)), until.store_batch_seconds),
            store_batches: grown(before.store_batches.or(Some(0.0)), until.store_batches),
            residence_p50_ms: at(&steady, 0.5),
            residence_p99_ms: at(&steady, 0.99),
            residence_ramp_p99_ms: at(&ramp, 0.99),
        }
    }

    /// Mean time to write a batch of call records, in milliseconds.
    pub(crate) fn store_batch_ms(&self) -> Option<f64> {
        let batches = self.store_batches.filter(|batches| *batches > 0.0)?;
        Some(self.store_batch_seconds? * 1e3 / batches)
    }

    /// CPU time of the router's workers for each packet that they forwarded.
    pub(crate) fn cpu_us_per_packet(&self) -> Option<f64> {
        self.us_per_packet(self.busy_seconds)
    }

    /// CPU time of the whole process for each of them, where it is known well enough.
    pub(crate) fn process_us_per_packet(&self) -> Option<f64> {
        self.us_per_packet(self.cpu_seconds.filter(|cpu| cpu.fract() != 0.0 || *cpu >= WHOLE_SECONDS_MIN))
    }

    fn us_per_packet(&self, seconds: Option<f64>) -> Option<f64> {
        let packets = self.packets_forwarded.filter(|packets| *packets > 0.0)?;
        Some(seconds? * 1e6 / packets)
    }
}

/// This program in the steady phase.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Generator {
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) busiest_lane_cpu: Duration,
    pub(crate) media_lag: Histogram,
    pub(crate) task_lag: Histogram,
    pub(crate) socket_drops: Option<u64>,
    pub(crate) unsent: u64,
    pub(crate) frames_skipped: u64,
    pub(crate) is_bottleneck: bool,
}
