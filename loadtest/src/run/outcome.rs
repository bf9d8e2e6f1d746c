//! What became of a call: what its script measured, and how it ended.

use std::time::Duration;

use tonic::Code;

use super::device::Rejoin;
use super::failure::{Failure, Stage};
use super::incidents::{RingOutcome, SwitchOutcome};
use super::stop::StopReason;
use crate::lane::NetworkReport;
use crate::peer::LegReport;

/// What became of a call. Pairs are caller, callee.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallOutcome {
    /// Its place in the plan.
    pub(crate) index: usize,
    /// When its clients began to sign in, and when it was accepted; from the start of the run.
    pub(crate) joined_at: Duration,
    pub(crate) accepted_at: Option<Duration>,
    pub(crate) join: [Option<Duration>; 2],
    /// From PlaceCall to the callee's ringing.
    pub(crate) ring: Option<Duration>,
    /// From the offer to a connected leg.
    pub(crate) leg_ready: [Option<Duration>; 2],
    /// From AcceptCall to the first decoded audio.
    pub(crate) first_audio: [Option<Duration>; 2],
    /// From AcceptCall to the first whole key frame.
    pub(crate) first_video: [Option<Duration>; 2],
    /// From HangUp to both parties' knowledge of it.
    pub(crate) hang_up: Option<Duration>,
    pub(crate) legs: [Option<LegReport>; 2],
    pub(crate) groups: [usize; 2],
    /// What the conditions of those that have some did.
    pub(crate) networks: [Option<NetworkReport>; 2],
    pub(crate) came_up: bool,
    pub(crate) failure: Option<Failure>,
    /// The run stopped before this call had its turn, or while it was being set up.
    pub(crate) is_skipped: bool,
    /// How often event streams broke.
    pub(crate) stream_breaks: u64,
    /// Datagrams that its sockets dropped, if it ended before the run did; `None`: they are seen at the run's end.
    pub(crate) socket_drops: Option<u64>,
    /// Of a call that nobody answers, how it ended.
    pub(crate) ring_end: Option<RingOutcome>,
    /// The scenario took something from one of its clients while it was up.
    pub(crate) is_hit: bool,
    /// How often it took the control plane from them, and how they came back.
    pub(crate) losses: u64,
    pub(crate) rejoins: Vec<Rejoin>,
    /// Longest time in which caller and callee got no audio packet, up to the stop.
    pub(crate) audio_gap: [Option<Duration>; 2],
    /// Of a call that changes its legs, what came of it.
    pub(crate) switching: Option<SwitchOutcome>,
}

impl CallOutcome {
    /// What it means that the script came to its end, or was stopped, at this stage; `None`: its turn had not come.
    pub(super) fn judge(&mut self, stopped: Result<StopReason, Failure>, stage: Option<Stage>) {
        self.failure = match (stopped, stage) {
            (Err(failure), _) => Some(failure),
            (Ok(StopReason::ServerLost), Some(stage)) => {
                Some(Failure::own(stage, Code::Unavailable, "SERVER_LOST"))
            }
            (Ok(_), Some(_)) if self.came_up => None,
            (Ok(StopReason::Planned), Some(stage)) => {
                Some(Failure::own(stage, Code::DeadlineExceeded, "RUN_ENDED"))
            }
            (Ok(_), _) => {
                self.is_skipped = true;
                None
            }
        };
    }
}
