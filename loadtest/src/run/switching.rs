//! The script of a call whose clients are the whole SDK: both say yes to a direct leg, one goes private, and so on.

use std::time::{Duration, Instant};

use duocast_client::audio::{Discard, WavSource};
use duocast_client::privacy::{DirectSetting, SettingsChange};
use duocast_client::{
    Call, CallError, CallStats, Client, ClientConfig, ClientEvent, ConnectError, DirectPhase, Events, Handle,
    Media, Token,
};
use tokio::sync::watch;
use tonic::Code;

use super::accounts::Account;
use super::call::{END_MAX, RING_MAX, Shared};
use super::failure::{Failure, Stage};
use super::incidents::SwitchOutcome;
use super::outcome::CallOutcome;
use super::plan::CallPlan;
use super::seat::MEDIA_MAX;
use super::stats::Traffic;
use crate::peer::Sentences;

/// From the second yes to the direct leg's use, or from the no to the router's: the server gives up an attempt after 10 s.
const SWITCH_MAX: Duration = Duration::from_secs(12);

/// Runs it from sign-in to hang-up. Every wait in it is bounded.
pub(super) async fn run(shared: &Shared, plan: &CallPlan, accounts: &[Account]) -> CallOutcome {
    let mut switching = Switching {
        shared,
        plan,
        stage: None,
        calls: None,
        outcome: CallOutcome::new(plan),
        found: SwitchOutcome::default(),
    };
    let stopped = tokio::select! {
        biased;
        reason = shared.stop.stopped() => Ok(reason),
        failure = switching.talk(accounts) => Err(failure),
    };
    let stopped = stopped.map_err(|ended| match ended {
        Ok(never) => match never {},
        Err(failure) => failure,
    });
    switching.outcome.judge(stopped, switching.stage);
    switching.end().await;
    let first = switching
        .found
        .failures
        .first()
        .map(|reason| Failure::own(Stage::Switch, Code::DeadlineExceeded, reason));
    let mut outcome = switching.outcome;
    outcome.failure = outcome.failure.or(first);
    outcome.switching = Some(switching.found);
    outcome
}

/// A call under way.
struct Switching<'a> {
    shared: &'a Shared,
    plan: &'a CallPlan,
    /// `None`: its turn has not come.
    stage: Option<Stage>,
    /// The two ends, and the clients that keep them.
    calls: Option<([Client; 2], [Call; 2])>,
    outcome: CallOutcome,
    found: SwitchOutcome,
}

impl Switching<'_> {
    async fn talk(&mut self, accounts: &[Account]) -> Result<std::convert::Infallible, Failure> {
        self.set_up(accounts).await?;
        self.stage = Some(Stage::Call);
        let every = self.shared.switches.map_or(SWITCH_MAX, |switches| switches.every);
        self.shared.sleep_until(self.shared.steady_from).await;
        for count in 0_u64.. {
            let is_direct = count.is_multiple_of(2);
            let (clients, calls) = self.calls.as_ref().expect("the call was set up");
            let _ = clients;
            let switched = switch(calls, is_direct, count / 2);
            let took = tokio::select! {
                took = switched => took,
                _ = calls[0].ended() => return Err(ended(&calls[0])),
                _ = calls[1].ended() => return Err(ended(&calls[1])),
            };
            match took {
                Ok(took) if is_direct => self.found.to_direct.push(took),
                Ok(took) => self.found.to_routed.push(took),
                Err(reason) => self.found.failures.push(reason),
            }
            let stays = tokio::time::sleep(every);
            tokio::select! {
                () = stays => {}
                _ = calls[0].ended() => return Err(ended(&calls[0])),
            }
        }
        unreachable!("nobody counts to the end")
    }

    async fn set_up(&mut self, accounts: &[Account]) -> Result<(), Failure> {
        self.shared.sleep_until(self.plan.join_at).await;
        self.stage = Some(Stage::Join);
        self.outcome.note_joining(self.shared.start.elapsed());
        let ((caller, first), (callee, second)) =
            tokio::try_join!(self.join(&accounts[0]), self.join(&accounts[1]))?;
        self.outcome.note_joined([first, second]);
        self.shared.sleep_until(self.plan.place_at).await;

        self.stage = Some(Stage::Place);
        let mut events = callee.events();
        let handle: Handle = accounts[1].handle.parse().map_err(|_| own(Stage::Place, "HANDLE_INVALID"))?;
        let placed_at = Instant::now();
        let media = self.media()?;
        let placed = caller.place(&handle, media).await.map_err(|error| of(Stage::Place, &error))?;
        self.stage = Some(Stage::Ring);
        let rung = tokio::time::timeout(RING_MAX, incoming(&mut events)).await.ok().flatten();
        let rung = rung.ok_or_else(|| own(Stage::Ring, "DID_NOT_RING"))?;
        let rang_at = Instant::now();
        self.outcome.ring = Some(rang_at - placed_at);
        self.calls = Some(([caller, callee], [placed, rung.clone()]));
        tokio::time::sleep_until((rang_at + self.plan.ring_for).into()).await;

        self.stage = Some(Stage::Accept);
        self.outcome.note_accepted(self.shared.start.elapsed());
        let media = self.media()?;
        rung.accept(media).await.map_err(|error| of(Stage::Accept, &error))?;
        self.stage = Some(Stage::Media);
        let (_, calls) = self.calls.as_ref().expect("it was just set");
        for call in calls {
            let mut stats = call.watch_stats();
            let heard = stats.wait_for(|stats| stats.accept_to_first_audio_ms.is_some());
            let is_heard = matches!(tokio::time::timeout(MEDIA_MAX, heard).await, Ok(Ok(_)));
            if !is_heard {
                return Err(own(Stage::Media, "NO_AUDIO"));
            }
        }
        self.outcome.came_up = true;
        self.shared.note_up();
        Ok(())
    }

    async fn join(&self, account: &Account) -> Result<(Client, Duration), Failure> {
        let token = Token::new(account.bearer.jwt()).map_err(|_| own(Stage::Join, "TOKEN_INVALID"))?;
        let server = &self.shared.server;
        let config = ClientConfig {
            roots: server.roots.clone(),
            door: server.door,
            ..ClientConfig::new(server.url.clone(), token)
        };
        let began = Instant::now();
        let client = Client::connect(config).await.map_err(|error| not_joined(&error))?;
        let took = began.elapsed();
        // A direct leg shows each other's address, so that both accounts have to allow what is asked here.
        let change = SettingsChange {
            enhanced_call_privacy: Some(false),
            direct: Some(DirectSetting::Ask),
            ..SettingsChange::default()
        };
        client.update_settings(change).await.map_err(|error| of(Stage::Join, &error))?;
        Ok((client, took))
    }

    fn media(&self) -> Result<Media, Failure> {
        let media = match &self.shared.speech_file {
            None => Media::audio(Sentences::new(), Discard),
            Some(file) => {
                let source =
                    WavSource::open(file, true).map_err(|_| own(Stage::Place, "SPEECH_UNREADABLE"))?;
                Media::audio(source, Discard)
            }
        };
        let video = self.shared.video.filter(|_| self.plan.has_video);
        Ok(match video {
            Some(video) => media.with_synthetic_video(video),
            None => media,
        })
    }

    /// Hangs up and collects the SDK's own figures. Done after a failure as well.
    async fn end(&mut self) {
        let Some((clients, calls)) = self.calls.take() else { return };
        let stats = calls.each_ref().map(Call::watch_stats);
        let hung_up_at = Instant::now();
        let party = usize::from(!self.plan.caller_hangs_up);
        if !calls[0].info().state.is_ended() {
            let ended = async {
                calls[party].hang_up().await.map_err(|error| of(Stage::HangUp, &error))?;
                calls[0].ended().await;
                calls[1].ended().await;
                Ok::<_, Failure>(())
            };
            match tokio::time::timeout(END_MAX, ended).await {
                Ok(Ok(())) => self.outcome.hang_up = Some(hung_up_at.elapsed()),
                Ok(Err(failure)) => drop(self.outcome.failure.get_or_insert(failure)),
                Err(_) => drop(self.outcome.failure.get_or_insert(own(Stage::HangUp, "NOT_TOLD"))),
            }
        }
        for (party, stats) in stats.into_iter().enumerate() {
            self.collect(party, &last(stats).await);
        }
        for client in clients {
            client.close().await;
        }
    }

    fn collect(&mut self, party: usize, stats: &CallStats) {
        let ms = |ms: f64| Duration::from_secs_f64(ms.max(0.0) / 1e3);
        self.outcome.parties[party].leg_ready = stats.leg_ready_ms.map(ms);
        self.outcome.parties[party].first_audio = stats.accept_to_first_audio_ms.map(ms);
        self.found.played += ms(stats.played_ms);
        self.found.concealed += ms(stats.concealed_ms);
        // Those that were not there when due, without those that came later.
        let missing = stats.audio_packets_lost.saturating_sub(stats.audio_packets_late);
        self.found.audio[party] = Traffic {
            expected: stats.audio_packets_in + missing,
            received: stats.audio_packets_in,
            ..Traffic::default()
        };
        for switch in &stats.switches {
            self.found.made_up.push(ms(switch.concealed_ms));
            self.found.video_gaps.extend(switch.video_gap_ms.map(ms));
            self.found.last_packets.extend(switch.left_after_ms.map(ms));
        }
    }
}

/// Goes direct by both parties' yes, or back by one's no. Gives the time to both parties' being there.
async fn switch(calls: &[Call; 2], is_direct: bool, round: u64) -> Result<Duration, String> {
    let began = Instant::now();
    let (phase, name) = match is_direct {
        true => (DirectPhase::Active, "NOT_DIRECT"),
        false => (DirectPhase::Routed, "NOT_ROUTED"),
    };
    let said = async {
        if is_direct {
            tokio::try_join!(calls[0].set_direct(true), calls[1].set_direct(true)).map(drop)
        } else {
            calls[(round % 2) as usize].set_direct(false).await
        }
    };
    let switched = async {
        said.await.map_err(|error| error.reason().map_or_else(|| name.to_owned(), str::to_owned))?;
        for call in calls {
            let mut updates = call.updates();
            while updates
                .next()
                .await
                .is_some_and(|info| info.direct.is_none_or(|direct| direct.phase != phase))
            {}
        }
        Ok(began.elapsed())
    };
    tokio::time::timeout(SWITCH_MAX, switched).await.unwrap_or_else(|_| Err(name.to_owned()))
}

async fn incoming(events: &mut Events) -> Option<Call> {
    loop {
        if let ClientEvent::Incoming(call) = events.next().await? {
            return Some(call);
        }
    }
}

/// The figures of a call that is over, once its media task has written them.
async fn last(mut stats: watch::Receiver<CallStats>) -> CallStats {
    let closed = async { while stats.changed().await.is_ok() {} };
    // A task that does not end has figures all the same.
    let _ = tokio::time::timeout(END_MAX, closed).await;
    stats.borrow().clone()
}

fn own(stage: Stage, reason: &str) -> Failure {
    Failure::own(stage, Code::DeadlineExceeded, reason)
}

fn ended(call: &Call) -> Failure {
    Failure::own(Stage::Call, Code::Aborted, &format!("{:?}", call.info().state))
}

fn not_joined(error: &ConnectError) -> Failure {
    tracing::debug!(%error, "a client of the SDK cannot sign in");
    match error {
        ConnectError::Channel(_) => Failure::own(Stage::Join, Code::Unavailable, "NOT_CONNECTED"),
        ConnectError::SignedOut { reason } => {
            Failure::own(Stage::Join, Code::Unauthenticated, reason.as_deref().unwrap_or_default())
        }
        ConnectError::Refused { reason, .. } => Failure::own(Stage::Join, Code::ResourceExhausted, reason),
        ConnectError::TimedOut => own(Stage::Join, "NOT_ONLINE"),
    }
}

/// A command of the SDK failed, after what it tries again by itself.
fn of(stage: Stage, error: &CallError) -> Failure {
    tracing::debug!(%error, "a command of the SDK failed");
    Failure::own(stage, Code::Unknown, error.reason().unwrap_or_default())
}
