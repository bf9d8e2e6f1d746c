//! What a leg says by RTCP of itself: reports, what is missing, what arrived.

use std::time::{Duration, Instant};

use super::{MediaPlane, Sink};
use crate::arrivals::Arrivals;
use crate::feedback::{self, Report};
use crate::ntp;
use crate::srtp::Contexts;

/// Time between two reports on what is sent and received, before it is spread. Higher lets lips and voice drift for longer,
/// lower costs packets.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// SRTCP packets that one key may encrypt (RFC 3711 section 9.2).
const MAX_REPORT_INDEX: u32 = 1 << 31;

impl MediaPlane {
    pub(super) fn ask_for_missing(&mut self, now: Instant, sink: &mut Sink<'_, impl Copy>) {
        let (round_trip, mut numbers) = (self.round_trip, Vec::new());
        let mut asked = Vec::new();
        for source in self.receiver.sources() {
            source.missing.ask(now, source.highest, round_trip, &mut numbers);
            if !numbers.is_empty() {
                asked.push((source.ssrc, std::mem::take(&mut numbers)));
            }
        }
        let own = self.spokesman();
        for (ssrc, numbers) in asked {
            self.send_rtcp(sink, |out| feedback::write_nack(own, ssrc, &numbers, out));
        }
    }

    pub(super) fn tell_arrivals(&mut self, now: Instant, sink: &mut Sink<'_, impl Copy>) {
        let is_due = |arrivals: &Arrivals| arrivals.due_at(now).is_some_and(|at| at <= now);
        if !self.arrivals.as_ref().is_some_and(is_due) {
            return;
        }
        let own = self.spokesman();
        let source = self.receiver.sources().next().map_or(0, |source| source.ssrc);
        while let Some(report) = self.arrivals.as_mut().and_then(|arrivals| arrivals.report(now)) {
            self.send_rtcp(sink, |out| feedback::write_arrivals(own, source, &report, out));
        }
    }

    /// Tells what the client is to send at most, if that is due.
    pub(super) fn tell_limit(&mut self, now: Instant, sink: &mut Sink<'_, impl Copy>) {
        let Some(limit) = self.limit.due(now) else { return };
        let own = self.spokesman();
        let sources: Vec<u32> = self.receiver.sources().map(|source| source.ssrc).collect();
        let is_told = self.send_rtcp(sink, |out| feedback::write_limit(own, &sources, limit, out));
        self.limit.note_tried(now, is_told);
    }

    pub(super) fn send_report(&mut self, now: Instant, sink: &mut Sink<'_, impl Copy>) {
        let Some(contexts) = &self.contexts else { return };
        let sent = self.sender.tracks().iter();
        let report = Report {
            ntp: self.clock.at(now),
            sender: self.spokesman(),
            sends: sent.filter_map(|t| Some((t.ssrc, t.cname.as_str(), t.info(now)?))).collect(),
            receives: (self.receiver.sources())
                .map(|source| (source.ssrc, source.reception.block(now, source.highest)))
                .collect(),
            answers: (self.times.drain(..))
                .map(|t| (t.ssrc, t.middle, ntp::short(now.saturating_duration_since(t.came_at))))
                .collect(),
        };
        seal_rtcp(contexts, &mut self.reports_sent, sink, |out| report.write(out));
        self.limit.repeat();
        self.tell_limit(now, sink);
    }

    /// In whose name things are said that belong to no track: the first track's, as long as there is one.
    pub(super) fn spokesman(&self) -> u32 {
        self.sender.tracks().first().map_or(self.own_ssrc, |track| track.ssrc)
    }

    pub(super) fn send_rtcp(
        &mut self,
        sink: &mut Sink<'_, impl Copy>,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> bool {
        let Some(contexts) = &self.contexts else { return false };
        seal_rtcp(contexts, &mut self.reports_sent, sink, write)
    }

    /// Something came or went: a report is due after its time.
    pub(super) fn note_activity(&mut self, now: Instant) {
        self.is_active = true;
        self.report_at.get_or_insert(now + REPORT_EVERY);
    }

    /// From three to five quarters of the usual time (RFC 3550 section 6.2 spreads further, for many members).
    pub(super) fn spread_interval(&mut self) -> Duration {
        self.spread = self.spread.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        REPORT_EVERY * 3 / 4 + REPORT_EVERY / 2 * (self.spread >> 16) / 0xffff
    }
}

/// Each index is used once.
fn seal_rtcp(
    contexts: &Contexts,
    sent: &mut u32,
    sink: &mut Sink<'_, impl Copy>,
    write: impl FnOnce(&mut Vec<u8>) -> bool,
) -> bool {
    let index = *sent;
    if index >= MAX_REPORT_INDEX {
        return false;
    }
    *sent += 1;
    sink.send(|out| {
        let start = out.len();
        write(out) && contexts.outbound.seal_rtcp(out, start, index)
    })
}
