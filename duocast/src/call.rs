//! `duocast call`: one call without a browser.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use duocast_client::headless::{self, Action, HeadlessError, Options, Progress, Report};
use duocast_client::media::SyntheticVideoConfig;
use duocast_client::session::Connection;
use duocast_client::{
    CallInfo, ClientConfig, DeviceId, DirectEnd, DirectPhase, DoorChoice, EndReason, Handle, InvalidToken,
    Received, Token,
};
use duocast_control::auth::Scope;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cli::{Call, DoorFlag};
use crate::ctl::CtlError;
use crate::serve;
use crate::term::{self, BAD, FAINT, GOOD, STRONG, clock, paint};

/// How long a call's token is valid: longer than any call is.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

/// Exit code of a call that nobody answered: 0 is a call that was, 1 an error.
const NOT_ANSWERED: u8 = 3;

/// Why there was no call.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No token or certificate.
    #[error(transparent)]
    Target(#[from] CtlError),
    /// Not a handle.
    #[error("{0}")]
    Handle(#[from] duocast_model::InvalidId),
    /// The token file holds none.
    #[error("{} holds no token", path.display())]
    Token {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: InvalidToken,
    },
    /// The token file cannot be read.
    #[error("{} cannot be read: check --token", path.display())]
    TokenFile {
        /// Which file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: std::io::Error,
    },
    /// The file for what is received cannot be written.
    #[error("{} cannot be written: check --received", path.display())]
    Received {
        /// Which file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: std::io::Error,
    },
    /// The call could not be made.
    #[error(transparent)]
    Headless(#[from] HeadlessError),
}

/// Places or answers one call, tells its progress, and says how it was.
pub async fn run(args: Call) -> Result<ExitCode, CallError> {
    let mut options = options(&args)?;
    let stop = options.stop.clone();
    if args.commands {
        options.consent = Some(commands(stop.clone()));
    }
    tokio::spawn(async move {
        serve::stop_signal().await;
        stop.cancel();
    });
    let started = Instant::now();
    let quiet = args.target.json;
    let report = headless::run(options, |progress| {
        if !quiet {
            tell(started.elapsed(), &progress);
        }
    })
    .await?;
    if quiet {
        term::line(&serde_json::to_string(&report).expect("a report is plain data"));
    } else {
        summary(&report);
    }
    Ok(if report.answered { ExitCode::SUCCESS } else { ExitCode::from(NOT_ANSWERED) })
}

/// What a person says while the call goes on, a line each. Ends with the input, and the call goes on.
fn commands(stop: CancellationToken) -> watch::Receiver<bool> {
    let (consent, said) = watch::channel(false);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            match line.trim() {
                "direct" => drop(consent.send(true)),
                "private" => drop(consent.send(false)),
                "hang-up" => stop.cancel(),
                "" => {}
                _ => term::note("commands are: direct, private, hang-up"),
            }
        }
    });
    said
}

/// Writes what comes to this file.
fn received(path: &Path) -> Result<Received, CallError> {
    let broken = |source| CallError::Received { path: path.to_owned(), source };
    let file = Mutex::new(File::create(path).map_err(broken)?);
    Ok(Received::by(move |bytes| {
        let mut file = file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Err(error) = file.write_all(bytes).and_then(|()| file.write_all(b"\n")) {
            tracing::warn!(%error, "what was received could not be written");
        }
    }))
}

fn options(args: &Call) -> Result<Options, CallError> {
    let token = match (&args.token, &args.account) {
        (Some(path), _) => {
            let read = |source| CallError::TokenFile { path: path.clone(), source };
            let jwt = std::fs::read_to_string(path).map_err(read)?;
            Token::new(&jwt).map_err(|source| CallError::Token { path: path.clone(), source })?
        }
        (None, account) => {
            let handle = Handle::new(account.as_deref().unwrap_or_default())?;
            let dir = args.target.data_dir();
            let jwt = serve::mint(&dir, handle.as_str(), Scope::Client, TOKEN_TTL).map_err(CtlError::from)?;
            Token::new(&jwt).map_err(|source| CallError::Token { path: dir, source })?
        }
    };
    let mut client = ClientConfig::new(&args.target.url, token);
    client.roots = args.target.roots()?;
    client.device_id = DeviceId::new(&format!("cli-{}", uuid::Uuid::new_v4().simple()))?;
    client.door = match args.door {
        DoorFlag::Auto => DoorChoice::Auto,
        DoorFlag::H3 => DoorChoice::H3,
        DoorFlag::H2 => DoorChoice::H2,
    };
    client.bind = args.bind;
    client.latency_marks = args.latency_marks;
    client.received = args.received.as_deref().map(received).transpose()?;
    let peer = args.to.as_deref().map(Handle::new).transpose()?;
    let action = match peer {
        Some(callee) if !args.answer => Action::Place(callee),
        from => Action::Answer { from },
    };
    let mut options = Options::new(client, action);
    options.audio_in = args.audio.clone();
    options.audio_repeats = args.r#loop;
    options.record = args.record.clone();
    options.duration = args.duration;
    options.direct = args.direct;
    options.go_private_after = args.go_private_after;
    options.video = args.video.then(SyntheticVideoConfig::default);
    Ok(options)
}

fn tell(at: Duration, progress: &Progress) {
    let text = match progress {
        Progress::Connected { door } => format!("connected ({door})"),
        Progress::Waiting => "waiting for a call".into(),
        Progress::Incoming { peer } => format!("{} calls", paint(STRONG, &peer.display_name)),
        Progress::Placed => "calling".into(),
        Progress::Ringing => "ringing".into(),
        Progress::Accepted => paint(GOOD, "accepted"),
        Progress::Live => paint(GOOD, "live"),
        Progress::FirstAudio { after } => format!("first sound, {} ms after the answer", after.as_millis()),
        Progress::PeerMuted(muted) => {
            format!("the other side {}", if *muted { "is muted" } else { "speaks again" })
        }
        Progress::PeerVideo(on) => format!("the other side's camera is {}", if *on { "on" } else { "off" }),
        Progress::Privacy(call) => match privacy_words(call) {
            Some(words) => words,
            None => return,
        },
        Progress::PeerAway(true) => "the other side lost its connection; waiting for it".into(),
        Progress::PeerAway(false) => "the other side is back".into(),
        Progress::Connection(connection) => connection_words(connection),
        Progress::Ended { reason } => ended_words(*reason),
    };
    term::note(&format!("{}  {text}", paint(FAINT, &format!("{:>6.2} s", at.as_secs_f64()))));
}

/// Who sees whose IP address, and what is asked; `None` while that is about to be known.
fn privacy_words(call: &CallInfo) -> Option<String> {
    let direct = call.direct?;
    let name = &call.peer.display_name;
    if direct.is_asked() {
        return Some(format!(
            "{name} asks for a direct connection. It would show your IP address to {name}, and theirs to you."
        ));
    }
    let text = match (direct.phase, call.own_exposure.map(|exposure| clock(exposure.since))) {
        (DirectPhase::Connecting, Some(since)) => {
            format!("Connecting directly: your IP address is visible to {name} since {since}.")
        }
        (DirectPhase::Active, since) => {
            let since = since.unwrap_or_else(|| "now".into());
            format!("Direct: your IP address is visible to {name} since {since}.")
        }
        (DirectPhase::Routed, Some(since)) => {
            let why = if direct.last_end == Some(DirectEnd::Failed) { "No direct connection. " } else { "" };
            format!("{why}Through the server again. {name} saw your IP address from {since}.")
        }
        (DirectPhase::Routed, None) => {
            "Your call goes through the server. They cannot see your IP address.".into()
        }
        (DirectPhase::Negotiating | DirectPhase::Connecting, _) => return None,
    };
    Some(text)
}

fn connection_words(connection: &Connection) -> String {
    match connection {
        Connection::Online => "connected to the server".into(),
        Connection::SignedOut { .. } => paint(BAD, "signed out"),
        Connection::Refused { sentence, .. } => paint(BAD, sentence),
        Connection::TakenOver => paint(BAD, "signed in elsewhere with this device"),
        _ => "connecting to the server".into(),
    }
}

fn ended_words(reason: EndReason) -> String {
    let text = match reason {
        EndReason::HungUp => return paint(GOOD, "hung up"),
        EndReason::Declined => "declined",
        EndReason::TimedOut => "nobody answered",
        EndReason::Busy => "busy: in another call",
        EndReason::Cancelled => "the caller gave up",
        EndReason::AnsweredElsewhere => "answered on another device",
        EndReason::PartyLost => "the connection to one side was lost",
        EndReason::MediaFailed => "media could not connect: check that UDP to the router is open",
        EndReason::NodeLost => "the router was lost",
    };
    paint(BAD, text)
}

fn summary(report: &Report) {
    let Some(talked) = report.duration_ms else { return };
    let stats = &report.stats;
    let ms = |value: Option<f64>| value.map_or_else(|| "-".into(), |v| format!("{v:.0} ms"));
    term::note("");
    let rows = [
        ("talked", format!("{:.1} s over {}", talked / 1000.0, report.door)),
        ("first sound after", ms(stats.accept_to_first_audio_ms)),
        ("audio packets", format!("{} in, {} lost", stats.audio_packets_in, stats.audio_packets_lost)),
        ("concealed", ms(Some(stats.concealed_ms))),
        ("round trip", ms(stats.rtt_ms)),
        ("ways changed", format!("{} times", stats.switch_count)),
    ];
    for (name, value) in rows {
        term::note(&format!("  {}  {value}", paint(FAINT, &format!("{name:<17}"))));
    }
    if let Some(path) = &report.record {
        term::note(&format!("  {}  {}", paint(FAINT, &format!("{:<17}", "recorded")), path.display()));
    }
}

#[cfg(test)]
mod tests {
    use duocast_client::{CallId, CallState, DirectConsent, DirectInfo, Exposure, MediaState, Party, Person};
    use duocast_model::UnixMillis;

    use super::*;

    fn call(phase: DirectPhase, own: DirectConsent, peer: DirectConsent, exposed: bool) -> CallInfo {
        let since = UnixMillis((12 * 60 + 3) * 60_000 + 86_400_000);
        let direct = DirectInfo {
            phase,
            attempt: 1,
            offerer: true,
            own_consent: own,
            peer_consent: peer,
            last_end: None,
        };
        CallInfo {
            id: CallId::from_u128(1),
            revision: 1,
            state: CallState::Live,
            role: Party::Caller,
            peer: Person { handle: "bob".parse().unwrap(), display_name: "Bob".into() },
            video: false,
            accepted_at: None,
            own_media: MediaState::default(),
            peer_media: MediaState::default(),
            peer_connected: true,
            on_this_device: true,
            leg_wanted: false,
            without_pictures: false,
            direct: Some(direct),
            own_exposure: exposed.then_some(Exposure { since, public: true, local_network: false }),
            peer_exposure: None,
            broadcast: None,
        }
    }

    #[test]
    fn the_privacy_of_a_call_is_said_in_plain_words() {
        use DirectConsent::{Given, NotGiven};
        use DirectPhase::{Active, Connecting, Negotiating, Routed};
        let words = |phase, own, peer, exposed| privacy_words(&call(phase, own, peer, exposed));
        let routed = "Your call goes through the server. They cannot see your IP address.";
        assert_eq!(words(Routed, NotGiven, NotGiven, false).as_deref(), Some(routed));
        let direct = "Direct: your IP address is visible to Bob since 12:03 UTC.";
        assert_eq!(words(Active, Given, Given, true).as_deref(), Some(direct));
        let again = "Through the server again. Bob saw your IP address from 12:03 UTC.";
        assert_eq!(words(Routed, NotGiven, NotGiven, true).as_deref(), Some(again));
        assert!(words(Connecting, Given, Given, true).unwrap().contains("visible to Bob since 12:03"));
        let asked = words(Routed, NotGiven, Given, false).unwrap();
        assert!(asked.starts_with("Bob asks for a direct connection."), "{asked}");
        assert_eq!(words(Negotiating, Given, Given, false), None);
    }
}
