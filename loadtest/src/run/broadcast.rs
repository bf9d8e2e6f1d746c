//! The script of a broadcast: its host publishes, viewers come at their times with its token, and all stay until the run stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use duocast_client::ViewingToken;
use futures_util::future::join_all;
use tokio::sync::watch;
use tonic::{Code, Status};

use super::accounts::Account;
use super::call::{END_MAX, Shared, audio_stopped, ended_early, failed};
use super::device::{Device, DeviceState};
use super::failure::{Failure, Stage};
use super::outcome::{CallOutcome, PartyOutcome, View, judge};
use super::plan::{Arrivals, CallPlan, JOIN_LEAD};
use super::seat::{MEDIA_MAX, Place, Seat};
use super::stop::StopReason;
use crate::lane::LaneLink;
use crate::peer::Direction;

/// Runs it from its host's sign-in to its end. Every wait in it is bounded.
pub(super) async fn run(
    shared: &Shared,
    plan: &CallPlan,
    arrivals: Arrivals,
    lanes: &[LaneLink],
    accounts: &[Account],
) -> CallOutcome {
    let air = Air { shared, plan, on: watch::Sender::new(OnAir::Soon), is_heard: AtomicBool::new(false) };
    let outcome = CallOutcome::new(plan);
    let mut members = outcome.parties.iter().enumerate().map(|(party, outcome)| {
        Member::new(&air, party, &lanes[party % lanes.len()], &accounts[party], outcome.clone())
    });
    let Some(mut host) = members.next() else { return outcome };
    let mut viewers: Vec<Member<'_>> = members.collect();
    let views = viewers.iter_mut().enumerate().map(|(viewer, member)| member.view(arrivals.at(viewer)));
    tokio::join!(host.publish(), join_all(views));
    let hang_up = end(&mut host, &mut viewers).await;
    let came_up = air.is_heard.load(Ordering::Relaxed);
    if came_up {
        shared.live.on_lanes.fetch_sub(1, Ordering::Relaxed);
    }
    let up = viewers.iter().filter(|viewer| viewer.is_up).count();
    shared.live.viewers.fetch_sub(i64::try_from(up).unwrap_or(0), Ordering::Relaxed);
    let stream_breaks = [&host].into_iter().chain(&viewers).map(Member::stream_breaks).sum();
    let view = |member: Member<'_>| {
        let Member { is_up: came_up, failure, is_skipped, outcome, .. } = member;
        PartyOutcome { view: Some(View { came_up, failure, is_skipped }), ..outcome }
    };
    CallOutcome {
        start: host.started,
        hang_up,
        came_up,
        failure: host.failure,
        is_skipped: host.is_skipped,
        stream_breaks,
        parties: [host.outcome].into_iter().chain(viewers.into_iter().map(view)).collect(),
        ..outcome
    }
}

/// The host stops sending, and what is on its way comes; then every other viewer leaves, and the rest hear of the end. Done after
/// failures as well. Gives the time from StopBroadcast to everybody's knowledge of it.
async fn end<'a>(host: &mut Member<'a>, viewers: &mut [Member<'a>]) -> Option<Duration> {
    if let Some(seat) = &host.seat {
        seat.stop().await;
    }
    let stopped_at = Instant::now();
    tokio::time::sleep(host.air.shared.drain).await;
    join_all(viewers.iter_mut().skip(1).step_by(2).map(Member::leave)).await;
    let took = host.stop_broadcast(viewers).await;
    join_all([host].into_iter().chain(viewers).map(|member| member.collect(stopped_at))).await;
    took
}

/// What all of a broadcast share.
struct Air<'a> {
    shared: &'a Shared,
    plan: &'a CallPlan,
    on: watch::Sender<OnAir>,
    /// A viewer heard its host.
    is_heard: AtomicBool,
}

/// Whether there is something to view.
enum OnAir {
    Soon,
    On(ViewingToken),
    Over,
}

impl Air<'_> {
    /// What lets somebody view, as soon as there is something; `None`: there will not be.
    async fn token(&self) -> Option<ViewingToken> {
        let mut on = self.on.subscribe();
        let known = on.wait_for(|on| !matches!(on, OnAir::Soon)).await;
        match &*known.ok()? {
            OnAir::On(token) => Some(token.clone()),
            OnAir::Soon | OnAir::Over => None,
        }
    }

    fn is_over(&self) -> bool {
        matches!(*self.on.borrow(), OnAir::Over)
    }

    /// A viewer hears the host; the first one who does brings the broadcast up.
    fn note_heard(&self) {
        self.shared.live.viewers.fetch_add(1, Ordering::Relaxed);
        if !self.is_heard.swap(true, Ordering::Relaxed) {
            self.shared.note_up();
            self.shared.live.on_lanes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One who publishes or views.
struct Member<'a> {
    air: &'a Air<'a>,
    party: usize,
    lane: &'a LaneLink,
    account: &'a Account,
    /// `None`: its turn has not come.
    stage: Option<Stage>,
    device: Option<Device>,
    /// The broadcast that it is in.
    id: Option<String>,
    seat: Option<Seat>,
    /// Of the host: from StartBroadcast to its leg's being up.
    started: Option<Duration>,
    /// Of a viewer: when it asked to view.
    asked_at: Option<Instant>,
    is_up: bool,
    failure: Option<Failure>,
    is_skipped: bool,
    outcome: PartyOutcome,
}

impl<'a> Member<'a> {
    fn new(
        air: &'a Air<'a>,
        party: usize,
        lane: &'a LaneLink,
        account: &'a Account,
        outcome: PartyOutcome,
    ) -> Self {
        Self {
            air,
            party,
            lane,
            account,
            stage: None,
            device: None,
            id: None,
            seat: None,
            started: None,
            asked_at: None,
            is_up: false,
            failure: None,
            is_skipped: false,
            outcome,
        }
    }

    /// Publishes until the run stops, or until that fails.
    async fn publish(&mut self) {
        let stop = Arc::clone(&self.air.shared.stop);
        let stopped = tokio::select! {
            biased;
            reason = stop.stopped() => Ok(reason),
            Err(failure) = self.be_host() => Err(failure),
        };
        if stopped.is_err() {
            self.air.on.send_replace(OnAir::Over);
        }
        self.judge(stopped);
    }

    /// Views until the run stops, or until that fails.
    async fn view(&mut self, join_at: Duration) {
        let stop = Arc::clone(&self.air.shared.stop);
        let stopped = tokio::select! {
            biased;
            reason = stop.stopped() => Ok(reason),
            ended = self.be_viewer(join_at) => match ended {
                Ok(NothingToView) => {
                    self.is_skipped = true;
                    return;
                }
                Err(failure) => Err(failure),
            },
        };
        self.judge(stopped);
    }

    fn judge(&mut self, stopped: Result<StopReason, Failure>) {
        (self.failure, self.is_skipped) = judge(self.is_up, stopped, self.stage);
    }

    async fn be_host(&mut self) -> Result<Infallible, Failure> {
        let Air { shared, plan, .. } = *self.air;
        self.sign_in(plan.join_at).await?;
        shared.sleep_until(plan.place_at).await;
        self.stage = Some(Stage::Start);
        let asked_at = Instant::now();
        let started = self.device().start_broadcast(plan.has_video).await;
        let (id, token) = started.map_err(failed(Stage::Start))?;
        self.id = Some(id);
        self.take_seat().await?;
        self.stage = Some(Stage::Media);
        self.started = Some(self.seat().be_connected().await?.saturating_duration_since(asked_at));
        self.stage = Some(Stage::Call);
        self.is_up = true;
        self.air.on.send_replace(OnAir::On(token));
        Err(self.hear_of_its_end().await)
    }

    async fn be_viewer(&mut self, join_at: Duration) -> Result<NothingToView, Failure> {
        let shared = self.air.shared;
        shared.sleep_until(join_at).await;
        if self.air.is_over() {
            return Ok(NothingToView);
        }
        self.sign_in(join_at).await?;
        shared.sleep_until(join_at + JOIN_LEAD).await;
        let Some(token) = self.air.token().await else { return Ok(NothingToView) };
        self.stage = Some(Stage::Watch);
        self.asked_at = Some(Instant::now());
        self.outcome.asked_at = Some(shared.start.elapsed());
        self.id = Some(self.device().watch_broadcast(&token).await.map_err(failed(Stage::Watch))?);
        self.take_seat().await?;
        self.stage = Some(Stage::Media);
        self.seat().hear().await?;
        self.stage = Some(Stage::Call);
        self.is_up = true;
        self.air.note_heard();
        Err(self.hear_of_its_end().await)
    }

    async fn sign_in(&mut self, join_at: Duration) -> Result<(), Failure> {
        let shared = self.air.shared;
        shared.sleep_until(join_at).await;
        self.stage = Some(Stage::Join);
        self.outcome.joined_at = shared.start.elapsed();
        let (device, took) =
            Device::join(shared.server.clone(), self.account, Arc::clone(&shared.live)).await?;
        self.device = Some(device);
        self.outcome.join = Some(took);
        Ok(())
    }

    /// Connects its leg, which sends or plays as soon as it is up: nobody has to accept it.
    async fn take_seat(&mut self) -> Result<(), Failure> {
        self.stage = Some(Stage::Leg);
        let id = self.id.as_deref().unwrap_or_default();
        let seat = Seat::connect(self.place(), self.device(), id, self.lane).await?;
        seat.leg.open().await;
        self.seat = Some(seat);
        Ok(())
    }

    fn place(&self) -> Place<'a> {
        let Air { shared, plan, .. } = *self.air;
        let is_host = self.outcome.role.hears().is_none();
        // The last viewer is up before the steady phase, or has failed soon after.
        let receivers_within = (shared.steady_from + MEDIA_MAX).saturating_sub(plan.place_at);
        Place {
            shared,
            plan,
            party: self.party,
            direction: if is_host { Direction::Sends } else { Direction::Receives },
            receivers_within: if is_host { receivers_within } else { Duration::ZERO },
        }
    }

    fn device(&self) -> &Device {
        self.device.as_ref().expect("it has signed in")
    }

    fn seat(&self) -> &Seat {
        self.seat.as_ref().expect("its leg is connected")
    }

    /// Waits for an end that nobody planned.
    async fn hear_of_its_end(&self) -> Failure {
        let mut state = self.device().state.clone();
        let ended = state.wait_for(DeviceState::has_ended).await.ok().and_then(|state| state.call.clone());
        ended_early(Stage::Call, &ended)
    }

    /// Leaves what it views, and hears of it.
    async fn leave(&mut self) {
        let Some(id) = self.id_if_in() else { return };
        let left = self.device().leave_broadcast(&id);
        let left = in_time(left).await;
        self.note_end(left);
        if self.failure.is_none() {
            self.be_told().await;
        }
    }

    /// Stops what it publishes. Gives the time until all have heard of it, if they have.
    async fn stop_broadcast(&mut self, viewers: &mut [Member<'a>]) -> Option<Duration> {
        let id = self.id_if_in()?;
        let asked_at = Instant::now();
        let stopped = in_time(self.device().stop_broadcast(&id)).await;
        let is_stopped = stopped.is_ok();
        self.note_end(stopped);
        if !is_stopped {
            return None;
        }
        let told = join_all([self].into_iter().chain(viewers).map(Member::be_told)).await;
        told.into_iter().all(|is_told| is_told).then(|| asked_at.elapsed())
    }

    /// Waits until it knows of the end. False: it was not told.
    async fn be_told(&mut self) -> bool {
        if self.id_if_in().is_none() {
            return true;
        }
        let told = self.device().wait(END_MAX, Stage::HangUp, "NOT_TOLD", DeviceState::has_ended).await;
        let is_told = told.is_ok();
        self.note_end(told.map(drop));
        is_told
    }

    /// The broadcast that it is in still, as far as it knows.
    fn id_if_in(&self) -> Option<String> {
        let device = self.device.as_ref()?;
        self.id.clone().filter(|_| !device.state.borrow().has_ended())
    }

    fn note_end(&mut self, ended: Result<(), Failure>) {
        if let Err(failure) = ended {
            self.failure.get_or_insert(failure);
        }
    }

    async fn collect(&mut self, stopped_at: Instant) {
        let Some(seat) = self.seat.take() else { return };
        let is_silenced = self.place().is_silenced(stopped_at);
        let fell_silent = seat.collect(&mut self.outcome, self.asked_at, stopped_at).await;
        let is_viewer = self.outcome.role.hears().is_some();
        if is_viewer && self.is_up && fell_silent && !is_silenced {
            self.failure.get_or_insert_with(audio_stopped);
        }
    }

    fn stream_breaks(&self) -> u64 {
        self.device.as_ref().map_or(0, |device| device.state.borrow().breaks)
    }
}

/// Its host has failed before.
struct NothingToView;

/// The answer to a last command, if it comes in time.
async fn in_time(command: impl Future<Output = Result<(), Status>>) -> Result<(), Failure> {
    match tokio::time::timeout(END_MAX, command).await {
        Ok(answer) => answer.map_err(failed(Stage::HangUp)),
        Err(_) => Err(Failure::own(Stage::HangUp, Code::DeadlineExceeded, "NO_ANSWER")),
    }
}
