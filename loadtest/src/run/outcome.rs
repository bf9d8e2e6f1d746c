//! What became of a call: what its script measured, and how it ended.

use std::time::Duration;

use tonic::Code;

use super::device::Rejoin;
use super::failure::{Failure, Stage};
use super::incidents::{RingOutcome, SwitchOutcome};
use super::party::{PartyPlan, Role};
use super::plan::CallPlan;
use super::stop::StopReason;
use crate::lane::NetworkReport;
use crate::peer::LegReport;

/// What became of one client of a call.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartyOutcome {
    pub(crate) role: Role,
    /// 0 for none, else its group's place in the scenario plus one.
    pub(crate) group: usize,
    /// When it began to sign in, from the start of the run, and how long that took.
    pub(crate) joined_at: Duration,
    pub(crate) join: Option<Duration>,
    /// From the offer to a connected leg.
    pub(crate) leg_ready: Option<Duration>,
    /// When its media was asked for, from the start of the run: AcceptCall, or WatchBroadcast.
    pub(crate) asked_at: Option<Duration>,
    /// From then to the first decoded audio.
    pub(crate) first_audio: Option<Duration>,
    /// From then to the first whole key frame.
    pub(crate) first_video: Option<Duration>,
    pub(crate) leg: Option<LegReport>,
    /// What its conditions did, if it has some.
    pub(crate) network: Option<NetworkReport>,
    /// Longest time in which it got no audio packet, up to the stop.
    pub(crate) audio_gap: Option<Duration>,
    /// Of one who views: a call of two comes up or fails as one.
    pub(crate) view: Option<View>,
}

/// How it went for one who views.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// It decoded the host's audio.
    pub(crate) came_up: bool,
    pub(crate) failure: Option<Failure>,
    /// The run stopped before its turn, or its host had failed.
    pub(crate) is_skipped: bool,
}

/// What became of a call.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallOutcome {
    /// Its place in the plan.
    pub(crate) index: usize,
    /// As the plan has them.
    pub(crate) parties: Vec<PartyOutcome>,
    /// Of a broadcast, from StartBroadcast to its host's leg being up.
    pub(crate) start: Option<Duration>,
    /// From PlaceCall to the callee's ringing.
    pub(crate) ring: Option<Duration>,
    /// From HangUp to both parties' knowledge of it; from StopBroadcast to everybody's.
    pub(crate) hang_up: Option<Duration>,
    pub(crate) came_up: bool,
    /// Of a broadcast its host's; each viewer has its own.
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
    /// Of a call that changes its legs, what came of it.
    pub(crate) switching: Option<SwitchOutcome>,
}

impl CallOutcome {
    /// Of a call to which nothing has happened yet.
    pub(super) fn new(plan: &CallPlan) -> Self {
        let party =
            |plan: &PartyPlan| PartyOutcome { role: plan.role, group: plan.group, ..PartyOutcome::default() };
        Self { index: plan.index, parties: plan.parties.iter().map(party).collect(), ..Self::default() }
    }

    /// Whom a party of it hears.
    pub(crate) fn sender_to(&self, receiver: &PartyOutcome) -> Option<&PartyOutcome> {
        receiver.role.hears().and_then(|sender| self.parties.get(sender))
    }

    /// Every stream in it: who sends, who hears.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (&PartyOutcome, &PartyOutcome)> {
        self.parties.iter().filter_map(|receiver| Some((self.sender_to(receiver)?, receiver)))
    }

    /// Its clients begin to sign in.
    pub(super) fn note_joining(&mut self, since_start: Duration) {
        self.parties.iter_mut().for_each(|party| party.joined_at = since_start);
    }

    /// Its two clients have signed in, and took this long.
    pub(super) fn note_joined(&mut self, took: [Duration; 2]) {
        self.parties.iter_mut().zip(took).for_each(|(party, took)| party.join = Some(took));
    }

    /// It is accepted.
    pub(super) fn note_accepted(&mut self, since_start: Duration) {
        self.parties.iter_mut().for_each(|party| party.asked_at = Some(since_start));
    }

    /// What it means that the script came to its end, or was stopped, at this stage; `None`: its turn had not come.
    pub(super) fn judge(&mut self, stopped: Result<StopReason, Failure>, stage: Option<Stage>) {
        (self.failure, self.is_skipped) = judge(self.came_up, stopped, stage);
    }

    /// Every failure in it: its own, and those of who viewed it.
    pub(crate) fn failures(&self) -> impl Iterator<Item = &Failure> {
        let views = self.parties.iter().filter_map(|party| party.view.as_ref());
        self.failure.iter().chain(views.filter_map(|view| view.failure.as_ref()))
    }

    /// It failed for this party.
    pub(crate) fn has_failed_for(&self, party: &PartyOutcome) -> bool {
        party.view.as_ref().map_or(&self.failure, |view| &view.failure).is_some()
    }
}

/// What it means for a call, or for one who views, that a script came to its end, or was stopped, at this stage; `None`: its turn
/// had not come. Gives how it failed, and whether it was skipped.
pub(super) fn judge(
    came_up: bool,
    stopped: Result<StopReason, Failure>,
    stage: Option<Stage>,
) -> (Option<Failure>, bool) {
    match (stopped, stage) {
        (Err(failure), _) => (Some(failure), false),
        (Ok(StopReason::ServerLost), Some(stage)) => {
            (Some(Failure::own(stage, Code::Unavailable, "SERVER_LOST")), false)
        }
        (Ok(_), Some(_)) if came_up => (None, false),
        (Ok(StopReason::Planned), Some(stage)) => {
            (Some(Failure::own(stage, Code::DeadlineExceeded, "RUN_ENDED")), false)
        }
        (Ok(_), _) => (None, true),
    }
}
