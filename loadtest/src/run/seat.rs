//! One client's leg in a call, from its offer to what it measured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::Code;

use super::call::{Shared, failed};
use super::device::Device;
use super::failure::{Failure, Stage};
use super::outcome::PartyOutcome;
use super::plan::CallPlan;
use crate::lane::{LaneLink, LegLink, NetworkConfig, NewLeg};
use crate::net::{self, Path};
use crate::peer::{Direction, LegConfig, Session, SessionConfig};

/// From accept to audio decoded on both sides, or to a leg that is up.
pub(super) const MEDIA_MAX: Duration = Duration::from_secs(10);

/// A party that heard nothing for this long before the end had lost its media: audio is sent all the time.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(2);

/// Who sits there, and what its media is.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) shared: &'a Shared,
    pub(super) plan: &'a CallPlan,
    /// Its place among the call's parties.
    pub(super) party: usize,
    pub(super) direction: Direction,
    /// From its first packet on, how long others may take to begin to receive.
    pub(super) receivers_within: Duration,
}

/// A client's leg.
pub(super) struct Seat {
    pub(super) leg: LegLink,
    offered_at: Instant,
}

impl Seat {
    /// Offers a leg, and puts it on its lane with the router's answer.
    pub(super) async fn connect(
        place: Place<'_>,
        device: &Device,
        call_id: &str,
        lane: &LaneLink,
    ) -> Result<Self, Failure> {
        let Place { shared, plan, direction, receivers_within, .. } = place;
        let party = &plan.parties[place.party];
        let offered_at = Instant::now();
        let config = SessionConfig { video: plan.has_video, only_receives: direction == Direction::Receives };
        let (session, sdp_offer) = Session::offer(offered_at, config);
        let answer = device.connect_leg(call_id, sdp_offer).await.map_err(failed(Stage::Leg))?;
        let sender = party.role.hears().map_or(0, |sender| plan.parties[sender].group);
        let leg = NewLeg {
            session: Box::new(session),
            answer,
            config: LegConfig {
                speech: Arc::clone(&shared.speech),
                video: shared.video.filter(|_| plan.has_video),
                direction,
                receivers_within,
                decodes: party.decodes,
                records: party.records,
                groups: (!shared.groups.is_empty()).then_some([party.group, sender]),
            },
            server_is_loopback: shared.server_is_loopback,
            network: place.network(),
        };
        let leg = lane.add(leg).await.map_err(|error| {
            tracing::warn!(%error, "a leg cannot be made");
            Failure::own(Stage::Leg, Code::Internal, "LEG_NOT_MADE")
        })?;
        Ok(Self { leg, offered_at })
    }

    /// Waits for the first audio that is decoded.
    pub(super) async fn hear(&self) -> Result<(), Failure> {
        let mut state = self.leg.state.clone();
        let heard = state.wait_for(|state| state.first_audio_at.is_some() || state.is_closed);
        match tokio::time::timeout(MEDIA_MAX, heard).await {
            Ok(Ok(state)) if state.first_audio_at.is_some() => Ok(()),
            _ => Err(self.is_silent()),
        }
    }

    /// Waits for ICE and DTLS.
    pub(super) async fn be_connected(&self) -> Result<Instant, Failure> {
        let mut state = self.leg.state.clone();
        let connected = state.wait_for(|state| state.connected_at.is_some() || state.is_closed);
        let connected_at = match tokio::time::timeout(MEDIA_MAX, connected).await {
            Ok(Ok(state)) => state.connected_at,
            _ => None,
        };
        connected_at.ok_or_else(|| self.is_silent())
    }

    /// Why nothing was heard.
    fn is_silent(&self) -> Failure {
        let is_connected = self.leg.state.borrow().connected_at.is_some();
        let reason = if is_connected { "NO_AUDIO" } else { "LEG_NOT_CONNECTED" };
        Failure::own(Stage::Media, Code::DeadlineExceeded, reason)
    }

    /// Sends nothing any more; what is on its way is still heard.
    pub(super) async fn stop(&self) {
        self.leg.stop().await;
    }

    /// Ends the leg and notes what it measured. `asked_at`: when its media was asked for; `stopped_at`: when the sender
    /// stopped. Gives whether it had fallen silent by then.
    pub(super) async fn collect(
        self,
        outcome: &mut PartyOutcome,
        asked_at: Option<Instant>,
        stopped_at: Instant,
    ) -> bool {
        let state = *self.leg.state.borrow();
        let since = |from: Option<Instant>, to: Option<Instant>| Some(to?.saturating_duration_since(from?));
        let (report, network) = self.leg.close().await;
        let gap = Duration::from_micros(report.audio_in.longest_gap.micros);
        let silence = report.last_audio_at.map(|last| stopped_at.saturating_duration_since(last));
        outcome.leg_ready = since(Some(self.offered_at), state.connected_at);
        outcome.first_audio = since(asked_at, state.first_audio_at);
        outcome.first_video = since(asked_at, state.first_video_at);
        outcome.network = network;
        outcome.audio_gap = silence.map(|silence| gap.max(silence));
        outcome.leg = Some(report);
        silence.is_none_or(|silence| silence > SILENCE_MAX)
    }
}

impl Place<'_> {
    fn network(&self) -> Option<NetworkConfig> {
        let Self { shared, plan, party, .. } = self;
        // A number of its own for each client of the run.
        let client = (plan.index * plan.parties.len() + party) as u64;
        Some(NetworkConfig { path: self.path()?, seed: net::seed(shared.seed, client) })
    }

    /// What the scenario does to this party's packets.
    fn path(&self) -> Option<Arc<Path>> {
        let party = &self.plan.parties[self.party];
        let group = party.group.checked_sub(1).and_then(|group| self.shared.groups.get(group));
        let outage = self.shared.reconnect.filter(|lost| party.reconnects && lost.loses.media());
        match (group, outage) {
            (None, None) => None,
            (Some(group), None) => Some(Arc::clone(&group.path)),
            (group, Some(outage)) => {
                let path = group.map(|group| (*group.path).clone()).unwrap_or_default();
                Some(Arc::new(outage.on(path)))
            }
        }
    }

    /// Whether the scenario itself kept its packets away, in the time before this moment in which silence counts.
    pub(super) fn is_silenced(&self, stopped_at: Instant) -> bool {
        let steady_from = self.shared.start + self.shared.steady_from;
        let moments = [stopped_at, stopped_at.checked_sub(SILENCE_MAX).unwrap_or(stopped_at)];
        self.path().is_some_and(|path| moments.iter().any(|at| path.is_black(steady_from, *at)))
    }
}
