//! `duocast ctl`: settings, questions about who may call whom, requests, grants, blocks.

use std::path::PathBuf;

use duocast_transport::client::Channel;
use duocast_wire::v1;
use duocast_wire::v1::privacy_service_client::PrivacyServiceClient;
use serde_json::{Value, json};

use super::{CtlError, done, millis, words};
use crate::cli::{As, Blocks, Direct, Grants, OnOff, Requests, SettingsChange, SettingsCommand, Target, Who};
use crate::cli::{AudienceFlag, StrangersFlag};
use crate::term::{self, BAD, FAINT, GOOD, STRONG, paint, table};

/// Most people that are listed at once; a page of the server.
const PAGE: u32 = 500;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// Somebody's client at one server.
struct Client<'a> {
    api: PrivacyServiceClient<Channel>,
    of: &'a As,
}

macro_rules! rpc {
    ($client:expr, $method:ident, $message:expr) => {{
        let request = $client.of.request($message)?;
        $client.api.$method(request).await?.into_inner()
    }};
}

mod preview;

impl<'a> Client<'a> {
    async fn of(of: &'a As) -> Result<Self, CtlError> {
        Ok(Self { api: PrivacyServiceClient::new(of.target.connect().await?), of })
    }
}

pub(super) async fn settings(command: SettingsCommand) -> Result<(), CtlError> {
    match command {
        SettingsCommand::Show(of) => show(&of).await,
        SettingsCommand::Set { of, change } => {
            let mut client = Client::of(&of).await?;
            let message = v1::UpdateSettingsRequest { change: Some(wanted(&change)) };
            let settings = rpc!(client, update_settings, message).settings.unwrap_or_default();
            if of.target.json {
                term::line(&json!({ "settings": settings_json(&settings) }).to_string());
            } else {
                done(&of.target, &format!("{}: in effect now", of.name()));
                term::line(&settings_table(&settings, None));
            }
            Ok(())
        }
        SettingsCommand::Preview { of, change } => preview::preview(&of, &change).await,
    }
}

async fn show(of: &As) -> Result<(), CtlError> {
    let mut client = Client::of(of).await?;
    let answer = rpc!(client, get_settings, v1::GetSettingsRequest {});
    let (settings, defaults) = (answer.settings.unwrap_or_default(), answer.defaults.unwrap_or_default());
    if of.target.json {
        let all = json!({
            "settings": settings_json(&settings),
            "defaults": settings_json(&defaults),
            "decided": answer.decided,
            "policy_profile": answer.policy_profile,
            "policy_version": answer.policy_version,
        });
        term::line(&all.to_string());
        return Ok(());
    }
    term::line(&settings_table(&settings, Some(&defaults)));
    if !answer.decided {
        let hint =
            "nobody has decided yet: `duocast ctl settings set --as HANDLE --calling on` lets people call";
        term::line(&paint(FAINT, hint));
    }
    if answer.policy_profile != "default" {
        term::line(&paint(FAINT, &format!("this server runs the policy {}", answer.policy_profile)));
    }
    Ok(())
}

pub(super) async fn can_call(
    a: String,
    b: String,
    token: Option<PathBuf>,
    target: Target,
) -> Result<(), CtlError> {
    // What B is told takes a token of B.
    let ask_b = token.is_none();
    let account = |handle: &String| token.is_none().then(|| handle.clone());
    let of_a = As { account: account(&a), token: token.clone(), target: target.clone() };
    let of_b = As { account: account(&b), token: None, target };
    let from_a = ask(&of_a, &b).await?;
    let from_b = if ask_b { ask(&of_b, &a).await? } else { v1::CanCallResponse::default() };
    let directions =
        [(&a, &b, &from_a.outgoing, &from_b.incoming), (&b, &a, &from_b.outgoing, &from_a.incoming)];
    if of_a.target.json {
        let list = directions.map(|(from, to, heard, seen)| {
            json!({ "from": from, "to": to, "caller": decision_json(heard), "callee": decision_json(seen) })
        });
        term::line(&json!({ "directions": list }).to_string());
        return Ok(());
    }
    let mut rows = Vec::new();
    for (from, to, heard, seen) in directions {
        for (who, verb, decision) in [(from, "hears", heard), (to, "sees", seen)] {
            if decision.is_none() {
                continue;
            }
            let arrow = if who == from || !ask_b {
                paint(STRONG, &format!("{from} → {to}"))
            } else {
                String::new()
            };
            let told = decision.clone().unwrap_or_default();
            rows.push(vec![arrow, format!("{who} {verb}"), outcome(decision), told.reason, told.sentence]);
        }
    }
    term::line(&table(&["CALL", "WHO", "ANSWER", "REASON", "IN WORDS"], &rows));
    Ok(())
}

async fn ask(of: &As, handle: &str) -> Result<v1::CanCallResponse, CtlError> {
    let mut client = Client::of(of).await?;
    Ok(rpc!(client, can_call, v1::CanCallRequest { handle: handle.to_owned() }))
}

pub(super) async fn people(of: &As, callers: bool) -> Result<(), CtlError> {
    let mut client = Client::of(of).await?;
    let (mut people, mut page_token) = (Vec::new(), String::new());
    let everyone = loop {
        let message = v1::ListPeopleRequest { page_size: PAGE, page_token };
        let page =
            if callers { rpc!(client, list_callers, message) } else { rpc!(client, list_callable, message) };
        people.extend(page.people);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break page.everyone;
        }
    };
    if of.target.json {
        let list = people.iter().map(|one| {
            json!({ "handle": handle(&one.person), "name": name(&one.person), "decision": decision_json(&one.decision) })
        });
        let list: Vec<_> = list.collect();
        term::line(&json!({ "people": list, "everyone": everyone }).to_string());
        return Ok(());
    }
    if everyone {
        term::line(&paint(BAD, "everybody with calling on can call; of those whom this account knows:"));
    }
    if people.is_empty() {
        let hint = if callers {
            "nobody: `duocast ctl settings show` says whom this account lets call"
        } else {
            "nobody: `duocast ctl can-call A B` says why, `duocast ctl requests send` asks"
        };
        term::line(hint);
        return Ok(());
    }
    let rows: Vec<Vec<String>> = people
        .iter()
        .map(|one| {
            let told = one.decision.clone().unwrap_or_default();
            vec![handle(&one.person), name(&one.person), told.reason, told.sentence]
        })
        .collect();
    term::line(&table(&["HANDLE", "NAME", "REASON", "IN WORDS"], &rows));
    Ok(())
}

pub(super) async fn requests(command: Requests) -> Result<(), CtlError> {
    match command {
        Requests::List(of) => list_requests(&of).await,
        Requests::Send(who) => {
            let mut client = Client::of(&who.of).await?;
            rpc!(client, send_call_request, v1::SendCallRequestRequest { handle: who.handle.clone() });
            done(&who.of.target, &format!("{} sees the request; nothing rings", who.handle));
            Ok(())
        }
        Requests::Accept { who, days } => {
            let grant = answer(&who, true, days, false).await?;
            let until = grant.as_ref().map(left).unwrap_or_default();
            done(&who.of.target, &format!("{} may call {} for {until}", who.handle, who.of.name()));
            Ok(())
        }
        Requests::Decline { who, block } => {
            answer(&who, false, 0, block).await?;
            let blocked = if block { "declined and blocked" } else { "declined" };
            done(&who.of.target, &format!("{blocked}; {} is not told", who.handle));
            Ok(())
        }
    }
}

async fn answer(who: &Who, accept: bool, days: u32, block: bool) -> Result<Option<v1::Grant>, CtlError> {
    let mut client = Client::of(&who.of).await?;
    let message =
        v1::AnswerCallRequestRequest { handle: who.handle.clone(), accept, grant_days: days, block };
    Ok(rpc!(client, answer_call_request, message).grant)
}

async fn list_requests(of: &As) -> Result<(), CtlError> {
    let mut client = Client::of(of).await?;
    let answer = rpc!(client, list_call_requests, v1::ListCallRequestsRequest {});
    if of.target.json {
        let list = |requests: &[v1::CallRequest]| -> Vec<Value> {
            let one = |r: &v1::CallRequest| {
                json!({
                    "handle": handle(&r.person),
                    "state": words(r.state().as_str_name(), "CALL_REQUEST_STATE_"),
                    "created_at_ms": r.created_at.as_ref().map(millis),
                })
            };
            requests.iter().map(one).collect()
        };
        let all = json!({ "incoming": list(&answer.incoming), "outgoing": list(&answer.outgoing) });
        term::line(&all.to_string());
        return Ok(());
    }
    let rows: Vec<Vec<String>> = answer
        .incoming
        .iter()
        .chain(&answer.outgoing)
        .map(|request| {
            let state = match (request.incoming, request.state()) {
                (true, _) => paint(STRONG, "waits for you"),
                (false, v1::CallRequestState::Accepted) => paint(GOOD, "accepted"),
                (false, _) => paint(FAINT, "sent"),
            };
            let way = if request.incoming { "from" } else { "to" };
            vec![way.into(), handle(&request.person), name(&request.person), state]
        })
        .collect();
    if rows.is_empty() {
        term::line("no call requests: `duocast ctl requests send BOB --as ALICE` sends one");
    } else {
        term::line(&table(&["WAY", "HANDLE", "NAME", "STATE"], &rows));
    }
    Ok(())
}

pub(super) async fn grants(command: Grants) -> Result<(), CtlError> {
    match command {
        Grants::List(of) => list_grants(&of).await,
        Grants::Add { who, days } => {
            let mut client = Client::of(&who.of).await?;
            let message = v1::CreateGrantRequest { handle: who.handle.clone(), days };
            let grant = rpc!(client, create_grant, message).grant;
            let until = grant.as_ref().map(left).unwrap_or_default();
            done(&who.of.target, &format!("{} may call {} for {until}", who.handle, who.of.name()));
            Ok(())
        }
        Grants::Revoke(who) => {
            let mut client = Client::of(&who.of).await?;
            rpc!(client, revoke_grant, v1::RevokeGrantRequest { handle: who.handle.clone() });
            done(&who.of.target, &format!("{} has no permission of {} any more", who.handle, who.of.name()));
            Ok(())
        }
    }
}

async fn list_grants(of: &As) -> Result<(), CtlError> {
    let mut client = Client::of(of).await?;
    let (mut grants, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = rpc!(client, list_grants, v1::ListGrantsRequest { page_size: PAGE, page_token });
        grants.extend(page.grants);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if of.target.json {
        let list = grants.iter().map(|grant| {
            json!({
                "handle": handle(&grant.person),
                "created_at_ms": grant.created_at.as_ref().map(millis),
                "expires_at_ms": grant.expires_at.as_ref().map(millis),
                "from_request": grant.from_request,
            })
        });
        term::line(&json!({ "grants": list.collect::<Vec<_>>() }).to_string());
    } else if grants.is_empty() {
        term::line("no permissions: `duocast ctl grants add BOB --as ALICE` lets one person call");
    } else {
        let rows: Vec<Vec<String>> = grants
            .iter()
            .map(|grant| {
                let from = if grant.from_request { "a request" } else { "by hand" };
                vec![handle(&grant.person), name(&grant.person), left(grant), from.into()]
            })
            .collect();
        term::line(&table(&["HANDLE", "NAME", "LASTS", "GIVEN"], &rows));
    }
    Ok(())
}

pub(super) async fn blocks(command: Blocks) -> Result<(), CtlError> {
    match command {
        Blocks::List(of) => list_blocks(&of).await,
        Blocks::Add(who) => {
            let mut client = Client::of(&who.of).await?;
            rpc!(client, block, v1::BlockRequest { handle: who.handle.clone() });
            done(&who.of.target, &format!("{} is blocked and not told", who.handle));
            Ok(())
        }
        Blocks::Remove(who) => {
            let mut client = Client::of(&who.of).await?;
            rpc!(client, unblock, v1::UnblockRequest { handle: who.handle.clone() });
            done(&who.of.target, &format!("{} is not blocked any more", who.handle));
            Ok(())
        }
    }
}

async fn list_blocks(of: &As) -> Result<(), CtlError> {
    let mut client = Client::of(of).await?;
    let (mut blocks, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = rpc!(client, list_blocks, v1::ListBlocksRequest { page_size: PAGE, page_token });
        blocks.extend(page.blocks);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if of.target.json {
        let list = blocks
            .iter()
            .map(|one| json!({ "handle": handle(&one.person), "since_ms": one.since.as_ref().map(millis) }));
        term::line(&json!({ "blocks": list.collect::<Vec<_>>() }).to_string());
    } else if blocks.is_empty() {
        term::line("nobody is blocked");
    } else {
        let rows: Vec<Vec<String>> =
            blocks.iter().map(|one| vec![handle(&one.person), name(&one.person)]).collect();
        term::line(&table(&["HANDLE", "NAME"], &rows));
    }
    Ok(())
}

fn wanted(change: &SettingsChange) -> v1::SettingsChange {
    let on = |flag: Option<OnOff>| flag.map(|flag| flag == OnOff::On);
    let audience = change.audience.as_ref().map(|all| {
        let audience = all.iter().filter_map(|one| audience(*one)).map(Into::into).collect();
        v1::AudienceChange { audience }
    });
    let strangers = change.strangers.map(|strangers| match strangers {
        StrangersFlag::Request => v1::Strangers::Request.into(),
        StrangersFlag::Deny => v1::Strangers::Deny.into(),
    });
    let direct = change.direct.map(|direct| match direct {
        Direct::Never => v1::DirectSetting::Never.into(),
        Direct::Ask => v1::DirectSetting::Ask.into(),
        Direct::Mutuals => v1::DirectSetting::Mutuals.into(),
        Direct::Anyone => v1::DirectSetting::Anyone.into(),
    });
    v1::SettingsChange {
        calling: on(change.calling),
        audience,
        strangers,
        enhanced_call_privacy: on(change.enhanced_call_privacy),
        direct,
        require_e2ee: on(change.require_e2ee),
    }
}

fn audience(flag: AudienceFlag) -> Option<v1::Audience> {
    match flag {
        AudienceFlag::Mutuals => Some(v1::Audience::Mutuals),
        AudienceFlag::Following => Some(v1::Audience::Following),
        AudienceFlag::AddressBook => Some(v1::Audience::AddressBook),
        AudienceFlag::Verified => Some(v1::Audience::Verified),
        AudienceFlag::DmAccepted => Some(v1::Audience::DmAccepted),
        AudienceFlag::Everyone => Some(v1::Audience::Everyone),
        AudienceFlag::Nobody => None,
    }
}

fn audience_names(settings: &v1::Settings) -> Vec<String> {
    settings.audience().map(|one| one.as_str_name().trim_start_matches("AUDIENCE_").to_lowercase()).collect()
}

fn settings_json(settings: &v1::Settings) -> Value {
    json!({
        "calling": settings.calling,
        "audience": audience_names(settings),
        "strangers": words(settings.strangers().as_str_name(), "STRANGERS_"),
        "enhanced_call_privacy": settings.enhanced_call_privacy,
        "direct": words(settings.direct().as_str_name(), "DIRECT_SETTING_"),
        "require_e2ee": settings.require_e2ee,
    })
}

/// One line for each setting; beside it the default, where it differs.
fn settings_table(settings: &v1::Settings, defaults: Option<&v1::Settings>) -> String {
    let rows = |settings: &v1::Settings| {
        let on = |on: bool| if on { "on" } else { "off" }.to_owned();
        let audience = audience_names(settings).join(", ");
        [
            ("calling", on(settings.calling)),
            ("audience", if audience.is_empty() { "nobody".into() } else { audience }),
            ("strangers", words(settings.strangers().as_str_name(), "STRANGERS_")),
            ("enhanced_call_privacy", on(settings.enhanced_call_privacy)),
            ("direct", words(settings.direct().as_str_name(), "DIRECT_SETTING_")),
            ("require_e2ee", on(settings.require_e2ee)),
        ]
    };
    let own = rows(settings);
    let usual = defaults.map_or_else(|| own.clone(), rows);
    let lines = own.into_iter().zip(usual).map(|((name, value), (_, usual))| {
        let note = if value == usual { String::new() } else { paint(FAINT, &format!("default: {usual}")) };
        vec![name.to_owned(), paint(STRONG, &value), note]
    });
    table(&["SETTING", "VALUE", ""], &lines.collect::<Vec<_>>())
}

fn decision_json(decision: &Option<v1::Decision>) -> Value {
    let Some(decision) = decision else { return Value::Null };
    json!({
        "outcome": words(decision.outcome().as_str_name(), "OUTCOME_"),
        "reason": decision.reason,
        "sentence": decision.sentence,
        "own_direct": words(decision.own_direct().as_str_name(), "DIRECT_CONSENT_"),
    })
}

fn outcome(decision: &Option<v1::Decision>) -> String {
    match decision.as_ref().map(v1::Decision::outcome) {
        Some(v1::Outcome::Allow) => paint(GOOD, "rings"),
        Some(v1::Outcome::Request) => "request".into(),
        _ => paint(BAD, "no"),
    }
}

fn handle(person: &Option<v1::Person>) -> String {
    person.as_ref().map(|person| person.handle.clone()).unwrap_or_default()
}

fn name(person: &Option<v1::Person>) -> String {
    person.as_ref().map(|person| person.display_name.clone()).unwrap_or_default()
}

/// How long a grant lasts from now.
fn left(grant: &v1::Grant) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let left = grant.expires_at.as_ref().map_or(0, millis).saturating_sub(now);
    match (left + DAY_MS - 1) / DAY_MS {
        ..=1 => "less than a day".into(),
        days => format!("{days} days"),
    }
}
