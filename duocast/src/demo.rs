//! `duocast demo press`: the experiment that the press made with X's calls in March 2024, run live against this program
//! with its own policy and with X's, side by side.
//!
//! Two servers are started in this process, one for each profile, and two SDK clients on each. Every answer is asked for over
//! the API and every call is placed. Addresses are counted from both sides' ledgers; the one that X's app exposed before
//! anybody answered is stated as reported, for no server of ours does that.

use std::time::Duration;

use duocast_client::audio::{Discard, Tone};
use duocast_client::privacy::{Outcome, RequestAnswer};
use duocast_client::session::DirectPhase;
use duocast_client::{
    Call, CallError, CallState, ChannelConfig, Client, ClientConfig, ClientEvent, ConnectError, Handle,
    Media, Roots, Token,
};
use duocast_control::auth::{Scope, dev_account_id};
use duocast_control::press::{self, Attempt, Direction, Row};
use duocast_control::{Outcome as Verdict, Profile};
use duocast_transport::client::Channel;
use duocast_wire::v1;
use duocast_wire::v1::directory_service_client::DirectoryServiceClient;
use serde_json::json;
use tokio::time::{sleep, timeout};
use tonic::{Request, Status};

use crate::config::{Config, PolicyProfile};
use crate::serve::{self, Running, ServeError};
use crate::term::{self, BAD, FAINT, GOOD, STRONG, paint, table};

/// How long one step may take; none needs a tenth of it on an idle machine.
const STEP_MAX: Duration = Duration::from_secs(15);

/// How long a routed call is watched for a direct leg that must not come.
const WATCH: Duration = Duration::from_millis(1500);

/// Why the demonstration cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A server does not start.
    #[error("a server for the demonstration does not start")]
    Serve(#[from] ServeError),
    /// No place for its data.
    #[error("no temporary directory can be made: check TMPDIR")]
    Directory(#[from] std::io::Error),
    /// The directory's door.
    #[error("the server does not answer")]
    Channel(#[from] duocast_transport::client::ConnectError),
    /// A client does not come in.
    #[error("a client cannot sign in")]
    Client(#[from] ConnectError),
    /// A command failed that must not.
    #[error("a command of the demonstration failed: {0}")]
    Command(#[from] CallError),
    /// The platform's facts were refused.
    #[error("the platform's facts were refused: {}", .0.message())]
    Directory2(Box<Status>),
    /// Something that must come did not.
    #[error("row {row}: {what} did not happen within {} s", STEP_MAX.as_secs())]
    Slow {
        /// Which row.
        row: &'static str,
        /// What was waited for.
        what: &'static str,
    },
}

impl From<Status> for DemoError {
    fn from(status: Status) -> Self {
        Self::Directory2(Box::new(status))
    }
}

/// What a row came to under one profile.
#[derive(Debug, Clone)]
struct Measured {
    test_to_real: (Outcome, String),
    real_to_test: (Outcome, String),
    /// Addresses in both sides' ledgers.
    in_ledgers: u8,
    /// What a call did, if one could be placed.
    call: &'static str,
}

/// Runs the five rows and prints them. False if something came out otherwise than the table says.
pub async fn press(json: bool) -> Result<bool, DemoError> {
    let theirs = Stage::open(Profile::Reported2024).await?;
    let ours = Stage::open(Profile::Default).await?;
    let mut results = Vec::new();
    for row in press::rows() {
        term::note(&paint(FAINT, &format!("{}  {} …", row.name, row.situation)));
        results.push((row, theirs.run(&row).await?, ours.run(&row).await?));
    }
    theirs.server.stop().await?;
    ours.server.stop().await?;

    let wrong: Vec<String> =
        results.iter().flat_map(|(row, theirs, ours)| differences(row, theirs, ours)).collect();
    if json {
        let rows: Vec<_> = results.iter().map(|(row, theirs, ours)| row_json(row, theirs, ours)).collect();
        term::line(&json!({ "rows": rows, "differences": wrong }).to_string());
    } else {
        show(&results, &wrong);
    }
    Ok(wrong.is_empty())
}

fn show(results: &[(Row, Measured, Measured)], wrong: &[String]) {
    let rows: Vec<Vec<String>> = results
        .iter()
        .map(|(row, theirs, ours)| {
            let reported = addresses_as_reported(row, theirs);
            vec![
                paint(STRONG, row.name),
                row.situation.to_owned(),
                answers(theirs),
                paint(
                    if reported == 0 { GOOD } else { BAD },
                    &format!("{reported}{}", footnote(row, theirs)),
                ),
                answers(ours),
                paint(if ours.in_ledgers == 0 { GOOD } else { BAD }, &ours.in_ledgers.to_string()),
                ours.call.to_owned(),
            ]
        })
        .collect();
    let heading = [
        "",
        "situation",
        "X, as reported in March 2024",
        "addresses",
        "Duocast",
        "addresses",
        "Duocast's call",
    ];
    term::line(&table(&heading, &rows));
    term::line("");
    term::line("test → real | real → test.  addresses: IP addresses that the other person learned.");
    term::line("* as reported: X's app exposed the caller before anybody answered; no Duocast server does.");
    for line in wrong {
        term::line(&format!("{} {line}", paint(BAD, "otherwise than expected:")));
    }
}

fn answers(measured: &Measured) -> String {
    let word = |(outcome, reason): &(Outcome, String)| match outcome {
        Outcome::Allow => format!("{} {}", paint(GOOD, "rings"), paint(FAINT, reason)),
        Outcome::Request => "may ask".to_owned(),
        Outcome::Deny => format!("denied {}", paint(FAINT, reason)),
    };
    format!("{} | {}", word(&measured.test_to_real), word(&measured.real_to_test))
}

/// What a call like this exposed on X: what really crossed here, or what was reported if that is more.
fn addresses_as_reported(row: &Row, theirs: &Measured) -> u8 {
    row.exposed(Profile::Reported2024).count().max(theirs.in_ledgers)
}

fn footnote(row: &Row, theirs: &Measured) -> &'static str {
    if addresses_as_reported(row, theirs) > theirs.in_ledgers { "*" } else { "" }
}

fn differences(row: &Row, theirs: &Measured, ours: &Measured) -> Vec<String> {
    let mut wrong = Vec::new();
    for (profile, measured) in [(Profile::Reported2024, theirs), (Profile::Default, ours)] {
        let expected = row.expected(profile);
        for (direction, got) in
            [(Direction::TestToReal, &measured.test_to_real), (Direction::RealToTest, &measured.real_to_test)]
        {
            let (outcome, reason) = expected.answer(direction);
            if (verdict(got.0), got.1.as_str()) != (outcome, reason) {
                wrong.push(format!("{} {} {direction:?}: {:?} {}", row.name, profile.name(), got.0, got.1));
            }
        }
        let expected = if row.attempt == Attempt::Unanswered { 0 } else { expected.addresses };
        if measured.in_ledgers != expected {
            let got = measured.in_ledgers;
            wrong.push(format!("{} {}: {got} addresses crossed, not {expected}", row.name, profile.name()));
        }
    }
    wrong
}

fn verdict(outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Allow => Verdict::Allow,
        Outcome::Request => Verdict::Request,
        Outcome::Deny => Verdict::Deny,
    }
}

fn row_json(row: &Row, theirs: &Measured, ours: &Measured) -> serde_json::Value {
    let side = |measured: &Measured| {
        let answer = |(outcome, reason): &(Outcome, String)| json!({ "outcome": format!("{outcome:?}").to_lowercase(), "reason": reason });
        json!({
            "test_to_real": answer(&measured.test_to_real),
            "real_to_test": answer(&measured.real_to_test),
            "addresses_in_ledgers": measured.in_ledgers,
            "call": measured.call,
        })
    };
    json!({
        "row": row.name,
        "situation": row.situation,
        "reported": row.reported,
        "reported_addresses": row.exposed(Profile::Reported2024).count(),
        "reported_2024": side(theirs),
        "default": side(ours),
    })
}

/// A server with one profile.
struct Stage {
    profile: Profile,
    server: Running,
    _data: tempfile::TempDir,
}

impl Stage {
    async fn open(profile: Profile) -> Result<Self, DemoError> {
        let data = tempfile::tempdir()?;
        let mut config = Config { data_dir: data.path().to_owned(), http: Vec::new(), ..Config::default() };
        config.listen = vec![([127, 0, 0, 1], 0).into()];
        config.media.listen = vec![[127, 0, 0, 1].into()];
        config.media.announce = config.media.listen.clone();
        config.media.port = 0;
        config.media.workers = 1;
        config.policy.profile = match profile {
            Profile::Default => PolicyProfile::Default,
            Profile::Reported2024 => PolicyProfile::Reported2024,
        };
        let server = serve::start(&config, true).await?;
        server.until_ready().await?;
        Ok(Self { profile, server, _data: data })
    }

    async fn run(&self, row: &Row) -> Result<Measured, DemoError> {
        let name = |who: &str| format!("{}_{who}", row.name.to_lowercase());
        let (test, real) = (name("test"), name("real"));
        self.facts(row, &test, &real).await?;
        let (test_client, real_client) = (self.client(&test).await?, self.client(&real).await?);
        let (test, real) = (handle(&test), handle(&real));
        if row.request_accepted && self.profile == Profile::Default {
            test_client.send_call_request(&real).await?;
            real_client.answer_call_request(&test, RequestAnswer::Accept { days: None }).await?;
        }
        // The callee's own view has the reason; a caller may hear less.
        let inward = |can: duocast_client::privacy::CanCall| (can.incoming.outcome, can.incoming.reason);
        let test_to_real = inward(real_client.can_call(&test).await?);
        let real_to_test = inward(test_client.can_call(&real).await?);
        let (in_ledgers, call) = call(row, &test_client, &real_client, &real).await?;
        test_client.close().await;
        real_client.close().await;
        Ok(Measured { test_to_real, real_to_test, in_ledgers, call })
    }

    /// What the platform knows of the two.
    async fn facts(&self, row: &Row, test: &str, real: &str) -> Result<(), DemoError> {
        let roots = Roots::Pem(self.server.ca_pem.clone());
        let channel = Channel::connect(ChannelConfig::new(&self.server.url, roots)).await?;
        let token = self.server.token("platform", Scope::Platform)?;
        let bearer: tonic::metadata::MetadataValue<_> =
            format!("Bearer {token}").parse().expect("a JWT is printable ASCII");
        let mut directory =
            DirectoryServiceClient::with_interceptor(channel, move |mut request: Request<()>| {
                request.metadata_mut().insert("authorization", bearer.clone());
                Ok(request)
            });
        let id = |handle: &str| dev_account_id(handle).expose().to_owned();
        let account = |handle: &str| v1::Account {
            account_id: id(handle),
            handle: handle.to_owned(),
            display_name: handle.to_owned(),
            calling_enabled: Some(true),
            ..v1::Account::default()
        };
        let accounts = vec![account(test), account(real)];
        directory.upsert_accounts(v1::UpsertAccountsRequest { accounts }).await?;
        let follow = |from: &str, to: &str| v1::Follow {
            follower_account_id: id(from),
            followee_account_id: id(to),
            following: row.mutual,
        };
        let follows = vec![follow(test, real), follow(real, test)];
        directory.set_follows(v1::SetFollowsRequest { follows }).await?;
        let message = v1::DirectMessage {
            sender_account_id: id(test),
            recipient_account_id: id(real),
            sent: row.dm_sent,
            accepted: row.dm_accepted,
        };
        directory.set_direct_messages(v1::SetDirectMessagesRequest { messages: vec![message] }).await?;
        Ok(())
    }

    async fn client(&self, handle: &str) -> Result<Client, DemoError> {
        let token = self.server.token(handle, Scope::Client)?;
        let token = Token::new(&token).expect("a token of our own");
        let roots = Roots::Pem(self.server.ca_pem.clone());
        Ok(Client::connect(ClientConfig { roots, ..ClientConfig::new(&self.server.url, token) }).await?)
    }
}

/// Places the row's call and counts the addresses that the two then know of each other.
async fn call(
    row: &Row,
    test: &Client,
    real: &Client,
    callee: &Handle,
) -> Result<(u8, &'static str), DemoError> {
    let media = || Media::audio(Tone::new(440.0), Discard);
    let mut events = real.events();
    let call = match test.place(callee, media()).await {
        Ok(call) => call,
        Err(error) if error.reason().is_some() => return Ok((0, "not placed")),
        Err(error) => return Err(error.into()),
    };
    let slow = |what| DemoError::Slow { row: row.name, what };
    let answered = async {
        loop {
            match events.next().await {
                Some(ClientEvent::Incoming(incoming)) => return Some(incoming),
                Some(_) => {}
                None => return None,
            }
        }
    };
    let incoming = timeout(STEP_MAX, answered).await.ok().flatten().ok_or_else(|| slow("the ring"))?;
    if row.attempt != Attempt::Answered {
        sleep(WATCH).await;
        call.hang_up().await?;
        return Ok((known(&call, &incoming), "rang, unanswered"));
    }
    incoming.accept(media()).await?;
    let live = async {
        while !(call.info().state == CallState::Live && incoming.info().state == CallState::Live) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(STEP_MAX, live).await.map_err(|_| slow("media"))?;
    let consented = call.info().direct.is_some_and(|direct| direct.attempt > 0);
    let direct = async {
        while call.info().direct.is_none_or(|direct| direct.phase != DirectPhase::Active) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let wait = if consented { STEP_MAX } else { WATCH };
    let went_direct = timeout(wait, direct).await.is_ok();
    if consented && !went_direct {
        return Err(slow("the direct leg"));
    }
    let known = known(&call, &incoming);
    call.hang_up().await?;
    Ok((known, if went_direct { "answered, direct" } else { "answered, routed" }))
}

/// Addresses in the ledgers of both, which must say the same.
fn known(caller: &Call, callee: &Call) -> u8 {
    let (caller, callee) = (caller.info(), callee.info());
    let of_caller = caller.own_exposure.is_some() || callee.peer_exposure.is_some();
    let of_callee = callee.own_exposure.is_some() || caller.peer_exposure.is_some();
    u8::from(of_caller) + u8::from(of_callee)
}

fn handle(text: &str) -> Handle {
    Handle::new(text).expect("a row's name is a valid handle")
}
