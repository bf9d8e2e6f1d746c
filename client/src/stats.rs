//! A call in numbers.

use std::time::Duration;

use serde::Serialize;

use crate::media::{SwitchStats, Transport, Units};

/// A call in numbers, as of the last update (4 a second, and once more at the end). Times are in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CallStats {
    /// From the moment the call was known here to the first connected leg.
    pub leg_ready_ms: Option<f64>,
    /// From Accept (pressed here, or learned from the server) to connected media.
    pub join_time_ms: Option<f64>,
    /// From Accept (pressed here, or learned from the server) to the first decoded audio of the other party.
    pub accept_to_first_audio_ms: Option<f64>,
    /// One-way latency of the marks in received media; only where the sender marks and both share a clock.
    pub one_way_latency: Option<LatencyStats>,
    /// Last measured round trip to the router.
    pub rtt_ms: Option<f64>,
    /// Interarrival jitter of received audio (RFC 3550 section 6.4.1).
    pub jitter_ms: f64,
    /// Delay that the jitter buffer aims at.
    pub buffer_target_ms: f64,
    /// Audio sent; a packet that goes on two legs counts once.
    pub audio_packets_out: u64,
    /// Audio received; a packet that comes on two legs counts once.
    pub audio_packets_in: u64,
    /// Audio packets that were not there when due.
    pub audio_packets_lost: u64,
    /// Of those, how many in-band FEC stood in for.
    pub audio_packets_recovered: u64,
    /// Audio packets that came too late, or twice.
    pub audio_packets_late: u64,
    /// Sound that was made up.
    pub concealed_ms: f64,
    /// Sound given to the sink, silence included.
    pub played_ms: f64,
    /// Sound with [marks](crate::media::mark) that was played; only where the sender marks.
    pub audio_units: Units,
    /// The same of pictures: frames that could be shown, from whichever way.
    pub video_units: Units,
    /// Video packets received.
    pub video_packets_in: u64,
    /// Video frames that could be shown, each once.
    pub video_frames_in: u64,
    /// Video frames sent.
    pub video_frames_out: u64,
    /// Key frames sent because the other side asked.
    pub keyframes_wanted: u64,
    /// RTP packets sent.
    pub packets_out: u64,
    /// RTP packets received.
    pub packets_in: u64,
    /// Bytes sent in datagrams, of the present leg.
    pub bytes_out: u64,
    /// Bytes received in datagrams, of the present leg.
    pub bytes_in: u64,
    /// Share of sent packets that the router missed in the last second, 0 to 1.
    pub loss_out: f32,
    /// ICE restarts and new legs after the first.
    pub leg_reconnects: u32,
    /// A leg is connected.
    pub connected: bool,
    /// What the leg to the router goes over, or went over at last: `udp`, or `tcp` where UDP is blocked, or `tls` where all
    /// but the API's port is; none before it connects.
    pub transport: Option<Transport>,
    /// The other party's media comes directly.
    pub direct: bool,
    /// RTP packets sent to the other party's own address.
    pub direct_packets_out: u64,
    /// RTP packets received from it.
    pub direct_packets_in: u64,
    /// Changes between the two ways so far.
    pub switch_count: u64,
    /// The latest of them, oldest first.
    pub switches: Vec<SwitchStats>,
}

/// Summary of latencies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct LatencyStats {
    /// Marks seen.
    pub count: u64,
    /// Least.
    pub min_ms: f64,
    /// Mean.
    pub mean_ms: f64,
    /// Most.
    pub max_ms: f64,
}

impl LatencyStats {
    /// Counts one latency in.
    pub fn add(&mut self, latency: Duration) {
        let ms = millis(latency);
        self.min_ms = if self.count == 0 { ms } else { self.min_ms.min(ms) };
        self.max_ms = self.max_ms.max(ms);
        self.count += 1;
        self.mean_ms += (ms - self.mean_ms) / self.count as f64;
    }
}

/// A duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_summed_up() {
        let mut stats = LatencyStats::default();
        for ms in [4, 2, 6] {
            stats.add(Duration::from_millis(ms));
        }
        assert_eq!(stats, LatencyStats { count: 3, min_ms: 2.0, mean_ms: 4.0, max_ms: 6.0 });
    }
}
