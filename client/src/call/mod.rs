//! One call, as its application holds it.

mod direct;
pub(crate) mod driver;
mod leg;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use duocast_model::{CallId, CallState, EndReason, MediaState};
use duocast_wire::v1;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::audio::{AudioSink, AudioSource, Discard, Silence};
use crate::client::SessionLink;
use crate::error::CallError;
use crate::media::SyntheticVideoConfig;
use crate::media::shell::{self, LegCommand, Network};
use crate::session::{CallInfo, DirectSignal, Person};
use crate::stats::CallStats;

use driver::DriverCommand;

/// Commands and signals that may wait for a call's driver; at the bound a signal is dropped, and that attempt at a direct
/// leg fails.
const COMMANDS_MAX: usize = 32;

/// What a party sends and plays.
pub struct Media {
    pub(crate) source: Box<dyn AudioSource>,
    pub(crate) sink: Option<Box<dyn AudioSink>>,
    pub(crate) video: Option<SyntheticVideoConfig>,
}

impl Media {
    /// Audio from `source`, and what is heard to `sink`.
    pub fn audio(source: impl AudioSource, sink: impl AudioSink) -> Self {
        Self { source: Box::new(source), sink: Some(Box::new(sink)), video: None }
    }

    /// Sends nothing and hears nothing.
    pub fn none() -> Self {
        Self::audio(Silence, Discard)
    }

    /// The same with synthetic video.
    #[must_use]
    pub fn with_synthetic_video(self, config: SyntheticVideoConfig) -> Self {
        Self { video: Some(config), ..self }
    }

    /// True if it sends video.
    pub fn has_video(&self) -> bool {
        self.video.is_some()
    }
}

impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Media").field("video", &self.video).finish_non_exhaustive()
    }
}

/// How calls of a client are run.
#[derive(Debug, Clone)]
pub(crate) struct CallSettings {
    pub(crate) network: Network,
    pub(crate) latency_marks: bool,
    pub(crate) manual_media: bool,
}

/// A call. Clones are the same call; dropping them changes nothing: [`Call::hang_up`] ends it, and so does closing the
/// client.
#[derive(Clone)]
pub struct Call(Arc<Shared>);

struct Shared {
    id: CallId,
    session: SessionLink,
    info: watch::Sender<CallInfo>,
    stats: watch::Receiver<CallStats>,
    /// `None` if the application drives media itself.
    media: Option<mpsc::Sender<LegCommand>>,
    driver: mpsc::Sender<DriverCommand>,
    network_changed: Arc<tokio::sync::Notify>,
    /// Held while the server is told yes or no to a direct leg: it must learn them in the order in which they were said.
    consent_order: tokio::sync::Mutex<()>,
    cancel: CancellationToken,
}

/// The changes of a call, newest state first: a slow reader skips states in between.
#[derive(Debug)]
pub struct Updates(watch::Receiver<CallInfo>);

impl Updates {
    /// The next state that was not seen yet; the first call gives the present one. `None` after the call's last state.
    pub async fn next(&mut self) -> Option<CallInfo> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }
}

impl Call {
    pub(crate) fn start(
        info: CallInfo,
        session: SessionLink,
        settings: &CallSettings,
        cancel: CancellationToken,
    ) -> Self {
        let id = info.id;
        let (info, info_rx) = watch::channel(info);
        let network_changed = Arc::new(tokio::sync::Notify::new());
        let (driver, commands_rx) = mpsc::channel(COMMANDS_MAX);
        let (media, stats) = if settings.manual_media {
            (None, watch::channel(CallStats::default()).1)
        } else {
            let task = shell::spawn(settings.network, settings.latency_marks, cancel.clone());
            let (commands, stats) = (task.commands.clone(), task.stats.clone());
            let changed = network_changed.clone();
            let driver = driver::Driver::new(id, session.clone(), info_rx, task, commands_rx, changed);
            tokio::spawn(driver.run(cancel.clone()));
            (Some(commands), stats)
        };
        Self(Arc::new(Shared {
            id,
            session,
            info,
            stats,
            media,
            driver,
            network_changed,
            consent_order: Default::default(),
            cancel,
        }))
    }

    /// Which call.
    pub fn id(&self) -> CallId {
        self.0.id
    }

    /// The call as it is known now.
    pub fn info(&self) -> CallInfo {
        self.0.info.borrow().clone()
    }

    /// The other party.
    pub fn peer(&self) -> Person {
        self.0.info.borrow().peer.clone()
    }

    /// Its changes, from the present state on.
    pub fn updates(&self) -> Updates {
        let mut updates = self.0.info.subscribe();
        updates.mark_changed();
        Updates(updates)
    }

    /// The call in numbers; the last ones after its end.
    pub fn stats(&self) -> CallStats {
        self.0.stats.borrow().clone()
    }

    /// A watch on the numbers, which closes when media is over.
    pub fn watch_stats(&self) -> watch::Receiver<CallStats> {
        self.0.stats.clone()
    }

    /// Answers a ringing call with this media.
    pub async fn accept(&self, media: Media) -> Result<(), CallError> {
        let pressed = Instant::now();
        let has_video = media.has_video();
        self.attach(media).await?;
        self.tell_media(LegCommand::AcceptPressed(pressed)).await?;
        let answer = self.0.session.signaller.accept_call(self.command()).await?;
        self.0.session.merge(answer.call).await?;
        self.try_announce(MediaState { audio: true, video: has_video }).await;
        Ok(())
    }

    /// Sets what is sent and played, before or after the call is accepted; a second time replaces the first only while
    /// nothing was sent.
    pub async fn attach(&self, media: Media) -> Result<(), CallError> {
        let (done, answer) = oneshot::channel();
        self.tell_media(LegCommand::Attach { media, done }).await?;
        let result = answer.await.map_err(|_| CallError::Over)?;
        result.map_err(|error| CallError::Unreadable(error.to_string()))
    }

    /// Declines a ringing call, on all devices of this account.
    pub async fn decline(&self) -> Result<(), CallError> {
        let answer = self.0.session.signaller.decline_call(self.command()).await?;
        self.0.session.merge(answer.call).await.map(drop)
    }

    /// Ends the call: cancels, declines or hangs up, whichever it is. A broadcast is stopped by its host and left by others.
    pub async fn hang_up(&self) -> Result<(), CallError> {
        if self.info().broadcast.is_some() {
            let (session_id, broadcast_id) = (self.0.session.id(), self.0.id.to_string());
            let request = v1::LeaveBroadcastRequest { session_id, broadcast_id };
            return self.0.session.signaller.leave_broadcast(request).await.map(drop);
        }
        let answer = self.0.session.signaller.hang_up(self.command()).await?;
        self.0.session.merge(answer.call).await.map(drop)
    }

    /// Stops or resumes sending audio at once, and tells the other party.
    pub async fn set_muted(&self, muted: bool) -> Result<(), CallError> {
        self.tell_media(LegCommand::Mute(muted)).await?;
        let own = self.0.info.borrow().own_media;
        self.announce(MediaState { audio: !muted, ..own }).await
    }

    /// Stops or resumes sending video at once, and tells the other party.
    pub async fn set_video(&self, on: bool) -> Result<(), CallError> {
        self.tell_media(LegCommand::Video(on)).await?;
        let own = self.0.info.borrow().own_media;
        self.announce(MediaState { video: on, ..own }).await
    }

    /// Says yes or no to a direct leg: media that goes straight to the other party, who then sees this one's IP address.
    /// It takes both parties' yes. A no takes effect here at once, before any server knows, and whatever the other party
    /// does. What is said while the server has not answered to the last one waits for that answer, so that the server ends with
    /// the same.
    ///
    /// Errors: `DIRECT_NOT_ALLOWED` if this account's settings rule direct legs out, `CALL_NOT_LIVE` before the call is live.
    pub async fn set_direct(&self, yes: bool) -> Result<(), CallError> {
        // Without a driver, the application has its own legs to look after.
        let _ = self.0.driver.send(DriverCommand::Consent(yes)).await;
        let _in_order = self.0.consent_order.lock().await;
        let request = v1::SetDirectRequest {
            session_id: self.0.session.id(),
            call_id: self.0.id.to_string(),
            consent: yes,
        };
        let answer = self.0.session.signaller.set_direct(request).await?;
        self.0.session.merge(answer.call).await.map(drop)
    }

    /// Drops the direct leg's sockets without a word, as a lost network does: for tests of what happens then.
    #[doc(hidden)]
    pub async fn break_direct(&self) -> Result<(), CallError> {
        self.tell_media(LegCommand::DirectBreak).await
    }

    /// Waits until the call is over.
    pub async fn ended(&self) -> EndReason {
        let mut info = self.0.info.subscribe();
        let is_over = |call: &CallInfo| call.state.is_ended();
        let last = info.wait_for(is_over).await.map(|call| call.state);
        match last {
            Ok(CallState::Ended(reason)) => reason,
            _ => EndReason::PartyLost,
        }
    }

    /// For applications that drive media themselves
    /// ([`ClientConfig::manual_media`](crate::ClientConfig::manual_media)): an SDP offer of a new leg, or of an ICE restart
    /// of the leg named; gives the leg's id and the SDP answer.
    pub async fn connect_leg(
        &self,
        leg_id: Option<&str>,
        offer: String,
    ) -> Result<(String, String), CallError> {
        let answer = self.0.session.connect_leg(self.0.id, leg_id.unwrap_or_default(), offer).await?;
        Ok((answer.leg_id, answer.sdp_answer))
    }

    /// Sends nothing, for one who views.
    pub(crate) async fn only_listen(&self) -> Result<(), CallError> {
        self.tell_media(LegCommand::Mute(true)).await
    }

    /// A new state from the session; false if it is the last.
    pub(crate) fn update(&self, info: CallInfo) {
        let is_over = info.state.is_ended();
        self.0.info.send_replace(info);
        if is_over {
            self.0.cancel.cancel();
        }
    }

    /// The other party's step towards a direct leg.
    pub(crate) fn signal(&self, signal: DirectSignal) {
        if self.0.driver.try_send(DriverCommand::Signal(signal)).is_err() {
            tracing::debug!(call = %self.0.id, "nobody takes a direct signal");
        }
    }

    pub(crate) fn network_changed(&self) {
        self.0.network_changed.notify_one();
    }

    /// Tells the other party what this one sends, if that is not known already.
    pub(crate) async fn announce(&self, media: MediaState) -> Result<(), CallError> {
        let is_known = |info: &CallInfo| info.own_media == media || info.broadcast.is_some();
        if is_known(&self.0.info.borrow()) {
            return Ok(());
        }
        let request = v1::UpdateMediaRequest {
            session_id: self.0.session.id(),
            call_id: self.0.id.to_string(),
            media: Some(media.into()),
        };
        let answer = self.0.session.signaller.update_media(request).await?;
        self.0.session.merge(answer.call).await.map(drop)
    }

    /// The same for a call that is fine without: what is shown of the other party may be wrong until the next change.
    pub(crate) async fn try_announce(&self, media: MediaState) {
        if let Err(error) = self.announce(media).await {
            tracing::info!(call = %self.0.id, %error, "the other party was not told what is sent");
        }
    }

    fn command(&self) -> v1::CallCommand {
        v1::CallCommand { session_id: self.0.session.id(), call_id: self.0.id.to_string() }
    }

    async fn tell_media(&self, command: LegCommand) -> Result<(), CallError> {
        match &self.0.media {
            Some(media) => media.send(command).await.map_err(|_| CallError::Over),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("id", &self.0.id).finish_non_exhaustive()
    }
}
