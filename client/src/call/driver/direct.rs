//! Carries out what the direct planner decides.

use std::io;
use std::time::Instant;

use duocast_wire::v1;
use duocast_wire::v1::send_direct_request::Step;
use tokio::sync::oneshot;

use super::{Driver, DriverCommand, ask};
use crate::call::direct::DirectAction;
use crate::error::CallError;
use crate::media::Peer;
use crate::media::gather::{Gathered, gather};
use crate::media::shell::{self, LegCommand};

/// Something that was under way and is done.
pub(super) enum Done {
    /// The sockets for a leg are there; with the offer to answer, if this side answers.
    Gathered { attempt: u32, offer: Option<String>, result: io::Result<Gathered> },
    /// A step was sent. Without its description the attempt is lost; a report may get lost.
    Sent { attempt: u32, is_description: bool, result: Result<(), CallError> },
}

impl Driver {
    pub(super) async fn on_command(&mut self, command: DriverCommand) {
        match command {
            DriverCommand::Consent(yes) => self.direct.handle_consent(Instant::now(), yes),
            DriverCommand::Signal(signal) => {
                // The state that a signal belongs to was told before it.
                self.on_call().await;
                self.direct.handle_signal(Instant::now(), signal);
            }
        }
    }

    /// Does everything that the planner wants done now.
    pub(super) async fn act_direct(&mut self) {
        while let Some(action) = self.direct.poll_action() {
            match action {
                DirectAction::Offer(attempt) => self.gather(attempt, None),
                DirectAction::Answer(attempt, offer) => self.gather(attempt, Some(offer)),
                DirectAction::TakeAnswer(attempt, answer) => {
                    let (done, result) = oneshot::channel();
                    let command = LegCommand::DirectAnswer { attempt, answer, done };
                    if !matches!(ask(&self.media, command, result).await, Ok(Ok(()))) {
                        self.direct.handle_failed(attempt);
                    }
                }
                DirectAction::TakeCandidates(attempt, candidates) => {
                    self.tell(LegCommand::DirectCandidates { attempt, candidates }).await;
                }
                DirectAction::Course(course) => {
                    tracing::debug!(call = %self.id, ?course, "media takes another course");
                    self.tell(LegCommand::Course(course)).await;
                }
                DirectAction::AskKeyframe(path) => self.tell(LegCommand::AskKeyframe(path)).await,
                DirectAction::TellDecoding(attempt) => {
                    self.send(attempt, Step::Decoding(v1::DirectDecoding {}));
                }
                DirectAction::TellFailed(attempt) => self.send(attempt, Step::Failed(v1::DirectFailed {})),
                DirectAction::Hush(attempt) => self.tell(LegCommand::DirectHush { attempt }).await,
                DirectAction::Close(attempt) => self.tell(LegCommand::DirectClose { attempt }).await,
            }
        }
    }

    pub(super) async fn on_done(&mut self, done: Done) {
        match done {
            Done::Gathered { attempt, offer, result } => {
                if !self.direct.is_trying(attempt) {
                    return;
                }
                if let Err(reason) = self.make(attempt, offer, result).await {
                    tracing::info!(call = %self.id, reason, "no direct leg could be made");
                    self.direct.handle_failed(attempt);
                }
            }
            Done::Sent { attempt, is_description, result: Err(error) } => {
                tracing::debug!(call = %self.id, %error, "a direct step was not taken");
                if is_description {
                    self.direct.handle_failed(attempt);
                }
            }
            Done::Sent { .. } => {}
        }
    }

    fn gather(&mut self, attempt: u32, offer: Option<String>) {
        let media = self.media.clone();
        self.doing.spawn(async move {
            let (ways, answer) = oneshot::channel();
            let ways = ask(&media, LegCommand::DirectWays { ways }, answer).await.unwrap_or_default();
            let result = gather(&ways).await;
            Done::Gathered { attempt, offer, result }
        });
    }

    async fn make(
        &mut self,
        attempt: u32,
        offer: Option<String>,
        gathered: io::Result<Gathered>,
    ) -> Result<(), String> {
        let Gathered { sockets, candidates } = gathered.map_err(|error| error.kind().to_string())?;
        let (now, config) = (Instant::now(), shell::leg_config());
        let made = match &offer {
            None => Peer::offer_direct(now, config, &candidates),
            Some(offer) => Peer::answer_direct(now, config, offer, &candidates),
        };
        let (peer, sdp) = made.map_err(|error| error.to_string())?;
        self.tell(LegCommand::DirectInstall { attempt, peer: Box::new(peer), sockets }).await;
        self.send(attempt, if offer.is_some() { Step::Answer(sdp) } else { Step::Offer(sdp) });
        Ok(())
    }

    fn send(&mut self, attempt: u32, step: Step) {
        let (id, session) = (self.id, self.session.clone());
        let is_description = matches!(step, Step::Offer(_) | Step::Answer(_));
        self.doing.spawn(async move {
            let result = session.send_direct(id, attempt, step).await;
            Done::Sent { attempt, is_description, result }
        });
    }

    async fn tell(&self, command: LegCommand) {
        // A media task that is gone has been cancelled, and so is this one.
        let _ = self.media.send(command).await;
    }
}
