//! The script of one call: two clients sign in, one rings the other, both talk until the run stops.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use duocast_client::ChannelConfig;
use duocast_client::media::SyntheticVideoConfig;
use futures_util::future::join_all;
use tonic::{Code, Status};

use super::accounts::Account;
use super::device::{Device, DeviceState};
use super::failure::{Failure, Stage};
use super::generator;
use super::live::Live;
use super::outcome::CallOutcome;
use super::plan::{CallPlan, Script};
use super::scenario::{Group, Reconnect, Switches};
use super::seat::{Place, Seat};
use super::stop::{Stop, StopReason};
use super::{broadcast, ring, switching};
use crate::lane::LaneLink;
use crate::peer::{Direction, Speech};

/// From PlaceCall to the callee's ringing.
pub(super) const RING_MAX: Duration = Duration::from_secs(15);

/// From AcceptCall to the caller's knowledge of it.
const ACCEPT_MAX: Duration = Duration::from_secs(10);

/// From the last packet sent to the hang-up, besides what conditions hold: what is on its way arrives meanwhile. Longer than a
/// resend on a bad path.
pub(super) const DRAIN: Duration = Duration::from_millis(400);

/// From HangUp to both sides' knowledge of it.
pub(super) const END_MAX: Duration = Duration::from_secs(5);

/// From the end of a call to its clients' being signed in again, where the scenario took the server away: the SDK's longest
/// wait between two attempts is 15 s, after being away for longer than this allows.
const RETURN_MAX: Duration = Duration::from_secs(10);

/// What all calls share.
pub(crate) struct Shared {
    pub(crate) server: ChannelConfig,
    pub(crate) server_is_loopback: bool,
    pub(crate) start: Instant,
    /// From the start on.
    pub(crate) steady_from: Duration,
    pub(crate) speech: Arc<Speech>,
    /// `None`: the built-in sentences.
    pub(crate) speech_file: Option<PathBuf>,
    pub(crate) video: Option<SyntheticVideoConfig>,
    /// Clients with network conditions.
    pub(crate) groups: Vec<Group>,
    pub(crate) reconnect: Option<Reconnect>,
    pub(crate) switches: Option<Switches>,
    pub(crate) seed: u64,
    /// From the last packet sent to the hang-up: what is on its way arrives meanwhile.
    pub(crate) drain: Duration,
    pub(crate) stop: Arc<Stop>,
    pub(crate) live: Arc<Live>,
}

impl Shared {
    pub(super) async fn sleep_until(&self, since_start: Duration) {
        tokio::time::sleep_until((self.start + since_start).into()).await;
    }

    /// A call is up.
    pub(super) fn note_up(&self) {
        self.live.up.fetch_add(1, Ordering::Relaxed);
        self.live.came_up.fetch_add(1, Ordering::Relaxed);
    }
}

/// A call under way.
struct Call<'a> {
    shared: &'a Shared,
    plan: &'a CallPlan,
    lane: &'a LaneLink,
    /// `None`: its turn has not come.
    stage: Option<Stage>,
    devices: Option<[Device; 2]>,
    call_id: Option<String>,
    accepted_at: Option<Instant>,
    seats: [Option<Seat>; 2],
    outcome: CallOutcome,
}

/// Runs a call from sign-in to its end. Every wait in it is bounded. Its legs go on the first of `lanes`, one at least; those of
/// an audience on all of them in turn.
pub(crate) async fn run(
    shared: &Shared,
    plan: &CallPlan,
    lanes: &[LaneLink],
    accounts: &[Account],
) -> CallOutcome {
    let outcome = match plan.script {
        Script::Talk => talk(shared, plan, &lanes[0], accounts).await,
        Script::Switch => switching::run(shared, plan, accounts).await,
        Script::Ring(end) => ring::run(shared, plan, end, accounts).await,
        Script::Broadcast(arrivals) => broadcast::run(shared, plan, arrivals, lanes, accounts).await,
    };
    if outcome.came_up {
        shared.live.up.fetch_sub(1, Ordering::Relaxed);
    }
    shared.live.failed.fetch_add(outcome.failures().next().is_some().into(), Ordering::Relaxed);
    shared.live.over.fetch_add(1, Ordering::Relaxed);
    outcome
}

async fn talk(shared: &Shared, plan: &CallPlan, lane: &LaneLink, accounts: &[Account]) -> CallOutcome {
    let mut call = Call {
        shared,
        plan,
        lane,
        stage: None,
        devices: None,
        call_id: None,
        accepted_at: None,
        seats: [None, None],
        outcome: CallOutcome::new(plan),
    };
    let stopped = tokio::select! {
        biased;
        reason = shared.stop.stopped() => Ok(reason),
        ended = call.talk(accounts) => ended.map(|()| StopReason::Planned),
    };
    call.outcome.judge(stopped, call.stage);
    if call.outcome.came_up {
        shared.live.on_lanes.fetch_sub(1, Ordering::Relaxed);
    }
    call.end().await;
    call.outcome
}

impl Call<'_> {
    /// Gets the call up and keeps it up. Comes back when it has lasted as long as planned, or with a failure.
    async fn talk(&mut self, accounts: &[Account]) -> Result<(), Failure> {
        self.set_up(accounts).await?;
        match self.plan.lasts {
            None => Err(self.stay_up().await),
            Some(lasts) => {
                let failed = tokio::time::timeout(lasts, self.stay_up()).await;
                failed.map_or(Ok(()), Err)
            }
        }
    }

    async fn set_up(&mut self, accounts: &[Account]) -> Result<(), Failure> {
        self.shared.sleep_until(self.plan.join_at).await;
        self.stage = Some(Stage::Join);
        self.outcome.note_joining(self.shared.start.elapsed());
        let join = |party: usize| {
            Device::join(self.shared.server.clone(), &accounts[party], Arc::clone(&self.shared.live))
        };
        let ((caller, caller_took), (callee, callee_took)) = tokio::try_join!(join(0), join(1))?;
        self.outcome.note_joined([caller_took, callee_took]);
        self.devices = Some([caller, callee]);
        self.shared.sleep_until(self.plan.place_at).await;
        let rang_at = self.ring(&accounts[1]).await?;
        tokio::time::sleep_until((rang_at + self.plan.ring_for).into()).await;
        self.accept().await?;
        self.hear_each_other().await
    }

    /// Places the call and prepares both legs. Gives when the callee rang.
    async fn ring(&mut self, callee: &Account) -> Result<Instant, Failure> {
        let [caller_device, callee_device] = self.devices.as_ref().expect("both have joined");
        self.stage = Some(Stage::Place);
        let placed_at = Instant::now();
        let call_id = caller_device.place(callee, self.plan.has_video).await.map_err(failed(Stage::Place))?;
        self.call_id = Some(call_id.clone());

        self.stage = Some(Stage::Ring);
        let ring = async {
            let rang = callee_device
                .wait(RING_MAX, Stage::Ring, "DID_NOT_RING", |state| {
                    state.rang_at.is_some() || state.has_ended()
                })
                .await?;
            let rang_at = rang.rang_at.ok_or_else(|| ended_early(Stage::Ring, &rang.call))?;
            Ok((rang_at, self.connect_leg(1, &call_id).await?))
        };
        let (caller_seat, (rang_at, callee_seat)) = tokio::try_join!(self.connect_leg(0, &call_id), ring)?;
        self.seats = [Some(caller_seat), Some(callee_seat)];
        self.outcome.ring = Some(rang_at.saturating_duration_since(placed_at));
        Ok(rang_at)
    }

    async fn connect_leg(&self, party: usize, call_id: &str) -> Result<Seat, Failure> {
        let device = &self.devices.as_ref().expect("both have joined")[party];
        Seat::connect(self.place(party), device, call_id, self.lane).await
    }

    fn place(&self, party: usize) -> Place<'_> {
        let Self { shared, plan, .. } = self;
        Place { shared, plan, party, direction: Direction::Both, receivers_within: Duration::ZERO }
    }

    async fn accept(&mut self) -> Result<(), Failure> {
        self.stage = Some(Stage::Accept);
        let [caller, callee] = self.devices.as_ref().expect("both have joined");
        let (Some(caller_seat), Some(callee_seat)) = (&self.seats[0], &self.seats[1]) else {
            return Err(Failure::own(Stage::Accept, Code::Internal, "NO_LEG"));
        };
        let call_id = self.call_id.as_deref().unwrap_or_default();
        self.accepted_at = Some(Instant::now());
        self.outcome.note_accepted(self.shared.start.elapsed());
        let answered = async {
            callee.accept(call_id).await.map_err(failed(Stage::Accept))?;
            callee_seat.leg.open().await;
            Ok(())
        };
        let heard_of = async {
            let is_known = |state: &DeviceState| {
                state.has_ended() || state.call.as_ref().is_some_and(|call| call.carries_media())
            };
            let state = caller.wait(ACCEPT_MAX, Stage::Accept, "CALLER_NOT_TOLD", is_known).await?;
            if state.has_ended() {
                return Err(ended_early(Stage::Accept, &state.call));
            }
            caller_seat.leg.open().await;
            Ok(())
        };
        tokio::try_join!(answered, heard_of).map(|_| ())
    }

    async fn hear_each_other(&mut self) -> Result<(), Failure> {
        self.stage = Some(Stage::Media);
        for seat in self.seats.iter().flatten() {
            seat.hear().await?;
        }
        self.stage = Some(Stage::Call);
        self.outcome.came_up = true;
        self.shared.note_up();
        self.shared.live.on_lanes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the server away from those of its clients whose turn it is, again and again. Does not come back.
    async fn lose_server(&self) {
        let devices = self.devices.as_ref().expect("both have joined");
        let lost = self.shared.reconnect.filter(|lost| lost.loses.control());
        let moments = lost.into_iter().flat_map(|lost| lost.moments().map(move |at| (at, lost.away)));
        for (at, away) in moments {
            let at = self.shared.start + self.shared.steady_from + at;
            if at < Instant::now() {
                continue;
            }
            tokio::time::sleep_until(at.into()).await;
            for (device, _) in devices.iter().zip(&self.plan.parties).filter(|(_, plan)| plan.reconnects) {
                device.lose_until(at + away).await;
            }
        }
        std::future::pending().await
    }

    /// Waits for an end that nobody planned.
    async fn stay_up(&self) -> Failure {
        let [caller, callee] = self.devices.as_ref().expect("both have joined");
        let (mut first, mut second) = (caller.state.clone(), callee.state.clone());
        let ended = tokio::select! {
            state = first.wait_for(DeviceState::has_ended) => state.ok().and_then(|s| s.call.clone()),
            state = second.wait_for(DeviceState::has_ended) => state.ok().and_then(|s| s.call.clone()),
            () = self.lose_server() => None,
        };
        ended_early(Stage::Call, &ended)
    }

    /// Stops sending, hangs up, collects what the legs measured. Done after a failure as well.
    async fn end(&mut self) {
        join_all(self.seats.iter().flatten().map(Seat::stop)).await;
        let stopped_at = Instant::now();
        self.outcome.is_hit = self.was_hit(stopped_at);
        if self.seats.iter().any(Option::is_some) {
            tokio::time::sleep(self.shared.drain).await;
        }
        self.await_return().await;
        if let Err(failure) = self.hang_up().await {
            self.outcome.failure.get_or_insert(failure);
        }
        if self.shared.stop.reason().is_none() {
            self.outcome.socket_drops = self.socket_drops().await;
        }
        self.collect(stopped_at).await;
        if let Some(devices) = self.devices.take() {
            for device in &devices {
                let state = device.state.borrow();
                self.outcome.stream_breaks += state.breaks;
                self.outcome.losses += state.losses;
                self.outcome.rejoins.extend(&state.rejoins);
            }
        }
    }

    /// Gives clients from which the scenario took the server the time to come back, so that they can hang up.
    async fn await_return(&mut self) {
        for device in self.devices.iter().flatten() {
            if device.state.borrow().losses > 0 {
                let is_back = |state: &DeviceState| state.is_online;
                if let Err(failure) = device.wait(RETURN_MAX, Stage::Call, "NOT_ONLINE_AGAIN", is_back).await
                {
                    self.outcome.failure.get_or_insert(failure);
                }
            }
        }
    }

    async fn hang_up(&mut self) -> Result<(), Failure> {
        let (Some(devices), Some(call_id)) = (&self.devices, &self.call_id) else { return Ok(()) };
        if devices.iter().any(|device| device.state.borrow().has_ended()) {
            return Ok(());
        }
        let device = &devices[usize::from(!self.plan.caller_hangs_up)];
        let hung_up_at = Instant::now();
        match tokio::time::timeout(END_MAX, device.hang_up(call_id)).await {
            Ok(hung_up) => hung_up.map_err(failed(Stage::HangUp))?,
            Err(_) => return Err(Failure::own(Stage::HangUp, Code::DeadlineExceeded, "NO_ANSWER")),
        }
        for device in devices {
            device.wait(END_MAX, Stage::HangUp, "NOT_TOLD", DeviceState::has_ended).await?;
        }
        self.outcome.hang_up = Some(hung_up_at.elapsed());
        Ok(())
    }

    /// What its sockets dropped, while they are there to be asked.
    async fn socket_drops(&self) -> Option<u64> {
        let ports: HashSet<u16> = self.seats.iter().flatten().map(|seat| seat.leg.local_port).collect();
        if ports.is_empty() {
            return None;
        }
        tokio::task::spawn_blocking(move || generator::socket_drops(&ports)).await.ok()?
    }

    /// Whether the scenario took something from one of its clients while it was up.
    fn was_hit(&self, stopped_at: Instant) -> bool {
        let loses = self.outcome.came_up && self.plan.parties.iter().any(|party| party.reconnects);
        let (Some(lost), Some(accepted_at)) = (self.shared.reconnect.filter(|_| loses), self.accepted_at)
        else {
            return false;
        };
        let steady_from = self.shared.start + self.shared.steady_from;
        lost.moments().any(|at| (accepted_at..stopped_at).contains(&(steady_from + at)))
    }

    async fn collect(&mut self, stopped_at: Instant) {
        let is_silenced = (0..2).any(|party| self.place(party).is_silenced(stopped_at));
        for (seat, outcome) in self.seats.iter_mut().zip(&mut self.outcome.parties) {
            let Some(seat) = seat.take() else { continue };
            let fell_silent = seat.collect(outcome, self.accepted_at, stopped_at).await;
            if fell_silent && self.outcome.came_up && !is_silenced {
                self.outcome.failure.get_or_insert_with(audio_stopped);
            }
        }
    }
}

/// It was up, and nothing was heard any more before the end.
pub(super) fn audio_stopped() -> Failure {
    Failure::own(Stage::Call, Code::Unavailable, "AUDIO_STOPPED")
}

pub(super) fn failed(stage: Stage) -> impl Fn(Status) -> Failure {
    move |status| Failure::of(stage, &status)
}

/// It was over before anybody ended it.
pub(super) fn ended_early(stage: Stage, call: &Option<duocast_client::CallInfo>) -> Failure {
    let reason = call.as_ref().map_or_else(|| "CLIENT_TASK_ENDED".into(), |call| format!("{:?}", call.state));
    Failure::own(stage, Code::Aborted, &reason)
}
