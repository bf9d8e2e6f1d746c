//! A whole call as one function: place it or answer it, play a file, record what is heard, report.
//!
//! The engine of `duocast call`. [`run`] needs a tokio runtime and tells its progress through a callback.

mod private;
mod report;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use duocast_model::{CallState, Handle, Party};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::audio::{AudioSink, AudioSource, Channels, Discard, RecordError, Recording, Silence};
use crate::audio::{WavError, WavRecorder, WavSource};
use crate::call::{Call, Media};
use crate::client::{Client, ClientConfig, ClientEvent, ConnectError};
use crate::error::CallError;
use crate::media::SyntheticVideoConfig;
use crate::session::{CallInfo, Connection, Person};
use crate::{Door, EndReason};

pub use report::Report;

use private::Privacy;

/// How long the end of a call may take to be written down: final numbers, and the recording's header.
const FINISH_MAX: Duration = Duration::from_secs(5);

/// What to do.
#[derive(Debug, Clone)]
pub enum Action {
    /// Call this handle.
    Place(Handle),
    /// Wait for a call and answer it.
    Answer {
        /// Only calls of this handle; any by default.
        from: Option<Handle>,
    },
}

/// A headless call.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who signs in where.
    pub client: ClientConfig,
    /// Place or answer.
    pub action: Action,
    /// WAV file to send; silence without.
    pub audio_in: Option<PathBuf>,
    /// Start the file over at its end.
    pub audio_repeats: bool,
    /// WAV file to write what is heard to, from the moment of accept.
    pub record: Option<PathBuf>,
    /// Hang up this long after accept; without, the call lasts until somebody hangs up.
    pub duration: Option<Duration>,
    /// Wants media to go directly: asks for it, and says yes when asked.
    pub direct: bool,
    /// Goes back to the server this long after media began to go directly, and stays there.
    pub go_private_after: Option<Duration>,
    /// Each change is a person's yes or no to a direct connection, said then; what it holds at first counts for nothing.
    pub consent: Option<watch::Receiver<bool>>,
    /// Send synthetic video.
    pub video: Option<SyntheticVideoConfig>,
    /// Give up waiting for a call after this long (only [`Action::Answer`]).
    pub answer_timeout: Option<Duration>,
    /// Cancel it, for example at ctrl-C, to hang up and finish in order.
    pub stop: CancellationToken,
}

impl Options {
    /// An audio call without files that lasts until somebody hangs up.
    pub fn new(client: ClientConfig, action: Action) -> Self {
        Self {
            client,
            action,
            audio_in: None,
            audio_repeats: false,
            record: None,
            duration: None,
            direct: false,
            go_private_after: None,
            consent: None,
            video: None,
            answer_timeout: None,
            stop: CancellationToken::new(),
        }
    }
}

/// What happens, as it happens.
#[derive(Debug, Clone)]
pub enum Progress {
    /// Signed in.
    Connected {
        /// Over which door.
        door: Door,
    },
    /// Ready to be called.
    Waiting,
    /// Somebody calls.
    Incoming {
        /// Who.
        peer: Person,
    },
    /// The call exists; nobody rings yet.
    Placed,
    /// The callee rings.
    Ringing,
    /// Answered.
    Accepted,
    /// Both sides' media is connected.
    Live,
    /// The first sound of the other party was decoded.
    FirstAudio {
        /// After Accept.
        after: Duration,
    },
    /// The other party muted or unmuted.
    PeerMuted(bool),
    /// The other party switched its camera.
    PeerVideo(bool),
    /// Which way media goes, what became known, or what the other party asks for.
    Privacy(Box<CallInfo>),
    /// The other party lost its connection (true) or came back (false).
    PeerAway(bool),
    /// The own connection to the server changed.
    Connection(Connection),
    /// Over.
    Ended {
        /// Why.
        reason: EndReason,
    },
}

/// Why there was no call.
#[derive(Debug, thiserror::Error)]
pub enum HeadlessError {
    /// Not signed in.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The call was refused, or its answer was.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The file to send cannot be read.
    #[error(transparent)]
    Wav(#[from] WavError),
    /// The recording cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Nobody called in time.
    #[error("nobody called within {0:?}")]
    NobodyCalled(Duration),
    /// Stopped before there was a call.
    #[error("stopped before there was a call")]
    Stopped,
    /// Signed out, or the session was taken over, before there was a call.
    #[error("the server ended the session; sign in again")]
    SessionLost,
}

/// Places or answers one call and stays until it is over. A call that is declined, busy or times out is no error: the
/// report says so.
pub async fn run(
    options: Options,
    mut on_progress: impl FnMut(Progress) + Send,
) -> Result<Report, HeadlessError> {
    let files = media(&options)?;
    let client = Client::connect(options.client.clone()).await?;
    let channel = client.signaller().channel().clone();
    let report = run_on(client, options, files, &mut on_progress).await;
    channel.close().await;
    report
}

async fn run_on(
    client: Client,
    options: Options,
    (media, recording): (Media, Option<Recording>),
    on_progress: &mut (impl FnMut(Progress) + Send),
) -> Result<Report, HeadlessError> {
    on_progress(Progress::Connected { door: client.door() });
    let started = Instant::now();
    let call = match &options.action {
        Action::Place(callee) => place(&client, callee, media, &options).await?,
        Action::Answer { from } => answer(&client, from.as_ref(), media, &options, on_progress).await?,
    };
    let watched = follow(&client, &call, &options, on_progress).await;
    let door = client.door();
    if watched.is_hung_up {
        client.close().await;
    }
    // Ends the media task, which then completes its numbers and the recording.
    drop(client);
    let stats = final_stats(&call).await;
    let recorded = match recording {
        Some(recording) => timeout(FINISH_MAX, recording.finished()).await.ok().transpose()?,
        None => None,
    };
    Ok(Report {
        call_id: call.id().to_string(),
        role: if call.info().role == Party::Caller { "caller" } else { "callee" },
        door: door.name(),
        answered: watched.accepted_at.is_some(),
        ended: watched.reason.name(),
        ring_ms: watched.accepted_at.map(|at| crate::stats::millis(at - started)),
        duration_ms: watched.accepted_at.map(|at| crate::stats::millis(watched.ended_at - at)),
        recorded_ms: recorded.map(|summary| crate::stats::millis(summary.duration)),
        record: options.record,
        stats,
    })
}

/// Files are opened before anybody is called, so that a wrong path costs no ring.
fn media(options: &Options) -> Result<(Media, Option<Recording>), HeadlessError> {
    let source: Box<dyn AudioSource> = match &options.audio_in {
        Some(path) => Box::new(WavSource::open(path, options.audio_repeats)?),
        None => Box::new(Silence),
    };
    let (sink, recording): (Box<dyn AudioSink>, _) = match &options.record {
        Some(path) => {
            let (recorder, recording) = WavRecorder::create(path, Channels::Mono)?;
            (Box::new(recorder), Some(recording))
        }
        None => (Box::new(Discard), None),
    };
    Ok((Media { source, sink: Some(sink), video: options.video }, recording))
}

async fn place(
    client: &Client,
    callee: &Handle,
    media: Media,
    options: &Options,
) -> Result<Call, HeadlessError> {
    tokio::select! {
        call = client.place(callee, media) => Ok(call?),
        () = options.stop.cancelled() => Err(HeadlessError::Stopped),
    }
}

async fn answer(
    client: &Client,
    from: Option<&Handle>,
    media: Media,
    options: &Options,
    on_progress: &mut (impl FnMut(Progress) + Send),
) -> Result<Call, HeadlessError> {
    on_progress(Progress::Waiting);
    let give_up = options.answer_timeout.map(|after| (after, tokio::time::Instant::now() + after));
    let call = tokio::select! {
        call = incoming(client, from) => call.ok_or(HeadlessError::SessionLost)?,
        () = options.stop.cancelled() => return Err(HeadlessError::Stopped),
        after = reached(give_up) => return Err(HeadlessError::NobodyCalled(after)),
    };
    on_progress(Progress::Incoming { peer: call.peer() });
    call.accept(media).await?;
    Ok(call)
}

async fn incoming(client: &Client, from: Option<&Handle>) -> Option<Call> {
    let is_wanted = |call: &Call| from.is_none_or(|handle| call.peer().handle == *handle);
    let mut events = client.events();
    loop {
        match events.next().await? {
            ClientEvent::Incoming(call) if is_wanted(&call) => return Some(call),
            ClientEvent::Missed(_) => {
                let waiting = client.calls().into_iter().find(|c| c.info().is_incoming() && is_wanted(c));
                if waiting.is_some() {
                    return waiting;
                }
            }
            ClientEvent::Connection(Connection::SignedOut { .. } | Connection::TakenOver) => return None,
            _ => {}
        }
    }
}

async fn reached<T>(deadline: Option<(T, tokio::time::Instant)>) -> T {
    match deadline {
        Some((value, at)) => {
            sleep_until(at).await;
            value
        }
        None => std::future::pending().await,
    }
}

/// The next change; never, once nobody can press any more.
async fn pressed(consent: &mut Option<watch::Receiver<bool>>) -> bool {
    if let Some(receiver) = consent {
        if receiver.changed().await.is_ok() {
            return *receiver.borrow_and_update();
        }
        *consent = None;
    }
    std::future::pending().await
}

struct Watched {
    accepted_at: Option<Instant>,
    ended_at: Instant,
    reason: EndReason,
    /// False: the server could not be told.
    is_hung_up: bool,
}

/// Tells what happens until the call is over; hangs up when its time is.
async fn follow(
    client: &Client,
    call: &Call,
    options: &Options,
    on_progress: &mut (impl FnMut(Progress) + Send),
) -> Watched {
    let mut updates = call.updates();
    let mut stats = call.watch_stats();
    let mut events = client.events();
    let mut known: Option<CallInfo> = None;
    let mut accepted_at = None;
    let mut has_audio = false;
    let (mut is_stopping, mut is_hung_up) = (false, false);
    let mut privacy = Privacy::new(options);
    let mut consent = options.consent.clone();
    loop {
        let hang_up_at = options
            .duration
            .zip(accepted_at)
            .map(|(after, at): (Duration, Instant)| ((), tokio::time::Instant::from_std(at + after)));
        tokio::select! {
            info = updates.next() => {
                let Some(info) = info else { break };
                tell_changes(known.as_ref(), &info, on_progress);
                if !info.state.is_before_accept() && !info.state.is_ended() {
                    accepted_at.get_or_insert_with(Instant::now);
                }
                if info.state.is_ended() {
                    break;
                }
                privacy.follow(call, &info, on_progress);
                known = Some(info);
            }
            Ok(()) = stats.changed(), if !has_audio => {
                if let Some(ms) = stats.borrow_and_update().accept_to_first_audio_ms {
                    has_audio = true;
                    on_progress(Progress::FirstAudio { after: Duration::from_secs_f64(ms / 1000.0) });
                }
            }
            Some(event) = events.next() => {
                if let ClientEvent::Connection(connection) = event {
                    on_progress(Progress::Connection(connection));
                }
            }
            () = reached(privacy.leave_at()) => privacy.press(call, false),
            yes = pressed(&mut consent) => privacy.press(call, yes),
            () = reached(hang_up_at), if !is_stopping => is_stopping = true,
            () = options.stop.cancelled(), if !is_stopping => is_stopping = true,
        }
        if is_stopping && !is_hung_up {
            if let Err(error) = call.hang_up().await {
                tracing::warn!(%error, "the call is left without the server knowing");
                let reason = EndReason::PartyLost;
                on_progress(Progress::Ended { reason });
                return Watched { accepted_at, ended_at: Instant::now(), reason, is_hung_up };
            }
            is_hung_up = true;
        }
    }
    let reason = call.ended().await;
    on_progress(Progress::Ended { reason });
    Watched { accepted_at, ended_at: Instant::now(), reason, is_hung_up: true }
}

fn tell_changes(before: Option<&CallInfo>, now: &CallInfo, on_progress: &mut (impl FnMut(Progress) + Send)) {
    if before.map(|call| call.state) != Some(now.state) {
        match now.state {
            CallState::Created => on_progress(Progress::Placed),
            CallState::Ringing if now.role == Party::Caller => on_progress(Progress::Ringing),
            CallState::Accepted => on_progress(Progress::Accepted),
            CallState::Live => on_progress(Progress::Live),
            CallState::Ringing | CallState::Ended(_) => {}
        }
    }
    // Connecting and ending change what the other party sends and whether it is there; only in between is it news.
    let Some(before) = before.filter(|call| call.state == CallState::Live && now.state == CallState::Live)
    else {
        return;
    };
    if before.peer_media.audio != now.peer_media.audio {
        on_progress(Progress::PeerMuted(!now.peer_media.audio));
    }
    if before.peer_media.video != now.peer_media.video {
        on_progress(Progress::PeerVideo(now.peer_media.video));
    }
    if before.peer_connected != now.peer_connected {
        on_progress(Progress::PeerAway(!now.peer_connected));
    }
}

/// The numbers after the media task has published its last ones.
async fn final_stats(call: &Call) -> crate::CallStats {
    let mut stats = call.watch_stats();
    let closed = async { while stats.changed().await.is_ok() {} };
    if timeout(FINISH_MAX, closed).await.is_err() {
        tracing::warn!("the media task did not end in time; its last numbers may be missing");
    }
    call.stats()
}
