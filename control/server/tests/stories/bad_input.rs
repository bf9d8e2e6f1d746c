//! Every RPC, every way to get its request wrong: a status, a reason, a sentence. Nothing stays behind.

use duocast_wire::v1;
use duocast_wire::v1::CallState;
use duocast_wire::v1::send_direct_request::Step;
use tonic::{Code, Status};

use crate::support::privacy::{audience, change, direct};
use crate::support::{World, account, failure, follow, framed, in_time, unreadable};

/// Checks one row and that the sentence repeats nothing of what was sent.
fn row<T: std::fmt::Debug>(what: &str, result: Result<T, Status>, code: Code, reason: &str, sent: &str) {
    let status = result.map(|_| ()).expect_err(what);
    assert_eq!(crate::support::failure(&status), (code, reason.into()), "{what}");
    assert!(sent.is_empty() || !status.message().contains(sent), "{what}: {:?}", status.message());
}

#[tokio::test]
async fn malformed_requests_of_a_person() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    let call = alice.place("bob", "r1").await.unwrap();
    bob.call_is(CallState::Ringing).await;
    let other = world.device("bob", "tablet").await;
    let before = world.counts().await;
    let (who, session, id) = (alice.who.clone(), alice.session.as_str(), call.call_id.as_str());
    let bad = Code::InvalidArgument;

    for device_id in ["", "has space", "ümlaut", &"d".repeat(65)] {
        let message = v1::SubscribeRequest { device_id: device_id.into(), ..Default::default() };
        let result = in_time(who.api.clone().subscribe(who.request(message))).await.map(|_| ());
        row("Subscribe device_id", result, bad, "DEVICE_ID_INVALID", device_id);
    }
    let message =
        v1::SubscribeRequest { device_id: "d".into(), session_id: "nonsense".into(), ..Default::default() };
    let result = in_time(who.api.clone().subscribe(who.request(message))).await.map(|_| ());
    row("Subscribe session_id", result, bad, "SESSION_ID_INVALID", "nonsense");

    for handle in ["", "Bob", "@bob", " bob ", "bob/../x", &"b".repeat(33)] {
        let result = who.place(session, handle, "r2").await;
        let sent = if handle.trim() == "bob" { "" } else { handle };
        row("PlaceCall callee_handle", result, bad, "CALLEE_HANDLE_INVALID", sent);
    }
    let free = world.person("bob");
    row("PlaceCall session_id", who.place("x", "bob", "r2").await, bad, "SESSION_ID_INVALID", "");
    let unknown = "0".repeat(32);
    let gone = Code::FailedPrecondition;
    row(
        "PlaceCall unknown session",
        who.place(&unknown, "bob", "r2").await,
        gone,
        "SESSION_UNKNOWN",
        &unknown,
    );
    for request_id in ["", &"r".repeat(65)] {
        let result = free.place(&other.session, "alice", request_id).await;
        row("PlaceCall request_id", result, bad, "REQUEST_ID_INVALID", request_id);
    }

    for (what, session, call, reason) in [
        ("malformed session", "zz", id, "SESSION_ID_INVALID"),
        ("malformed call", session, "zz", "CALL_ID_INVALID"),
        ("empty call", session, "", "CALL_ID_INVALID"),
    ] {
        row(what, who.accept(session, call).await, bad, reason, "zz");
        row(what, who.decline(session, call).await, bad, reason, "zz");
        row(what, who.hang_up(session, call).await, bad, reason, "zz");
        row(what, who.media(session, call, true).await, bad, reason, "zz");
        row(what, who.connect(session, call, "", "v=0").await, bad, reason, "zz");
    }
    let result = who.accept(&unknown, id).await;
    row("AcceptCall unknown session", result, gone, "SESSION_UNKNOWN", &unknown);
    row("AcceptCall by the caller", who.accept(session, id).await, gone, "NOT_THE_CALLEE", id);
    row("GetCall malformed", who.get("zz").await, bad, "CALL_ID_INVALID", "zz");
    row("GetCall unknown", who.get(&unknown).await, Code::NotFound, "CALL_UNKNOWN", &unknown);

    let offer = "v=0\r\n".repeat(20_000);
    row("ConnectLeg huge", who.connect(session, id, "", &offer).await, bad, "SDP_TOO_LARGE", &offer);
    row("ConnectLeg empty", who.connect(session, id, "", "").await, bad, "SDP_INVALID", "");
    row("ConnectLeg leg_id", who.connect(session, id, "zz", "v=0").await, bad, "LEG_ID_INVALID", "zz");
    let result = who.connect(session, id, &unknown, "v=0").await;
    row("ConnectLeg unknown leg", result, Code::NotFound, "LEG_UNKNOWN", &unknown);
    let message = v1::UpdateMediaRequest { session_id: session.into(), call_id: id.into(), media: None };
    let result = in_time(who.api.clone().update_media(who.request(message))).await;
    row("UpdateMedia without media", result, bad, "MEDIA_INVALID", "");

    row("ListCalls page_size", who.calls(101, "").await, bad, "PAGE_SIZE_INVALID", "");
    for token in ["!", "AAAA", &"A".repeat(500)] {
        row("ListCalls page_token", who.calls(10, token).await, bad, "PAGE_TOKEN_INVALID", token);
    }

    assert_eq!(world.counts().await, before, "nothing stayed behind");
    bob.accept(&call).await.expect("the call is as it was");
}

#[tokio::test]
async fn malformed_requests_of_the_platform() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let bad = Code::InvalidArgument;
    let with = |change: fn(&mut v1::Account)| {
        let mut changed = account("carol");
        change(&mut changed);
        vec![account("dave"), changed]
    };
    for (what, accounts, reason) in [
        ("no account id", with(|a| a.account_id.clear()), "ACCOUNT_ID_INVALID"),
        ("a space in the account id", with(|a| a.account_id = "a b".into()), "ACCOUNT_ID_INVALID"),
        ("no handle", with(|a| a.handle.clear()), "HANDLE_INVALID"),
        ("a capital in the handle", with(|a| a.handle = "Carol".into()), "HANDLE_INVALID"),
        ("a line in the name", with(|a| a.display_name = "a\nb".into()), "DISPLAY_NAME_INVALID"),
        ("too long a name", with(|a| a.display_name = "x".repeat(65)), "DISPLAY_NAME_INVALID"),
    ] {
        let status = world.upsert(accounts).await.expect_err(what);
        assert!(status.message().starts_with("accounts[1]."), "it says which one: {:?}", status.message());
        row(what, Err::<(), _>(status), bad, reason, "a b");
    }
    let taken = vec![account("dave"), v1::Account { account_id: "x".into(), ..account("bob") }];
    row("a taken handle", world.upsert(taken).await, Code::FailedPrecondition, "HANDLE_TAKEN", "bob");
    let status = world.person("alice").place(&"0".repeat(32), "dave", "r").await.unwrap_err();
    assert_eq!(crate::support::failure(&status).1, "CALLEE_UNKNOWN", "all or none");

    let many = (0..1_001).map(|n| account(&format!("u{n}"))).collect();
    row("too many accounts", world.upsert(many).await, bad, "TOO_MANY_ITEMS", "");
    let many = (0..1_001).map(|_| follow("alice", "bob", true)).collect();
    row("too many follows", world.follow(many).await, bad, "TOO_MANY_ITEMS", "");
    let nameless = v1::Follow { follower_account_id: String::new(), ..follow("alice", "bob", true) };
    let result = world.follow(vec![nameless]).await;
    row("a follow of nobody", result, bad, "FOLLOWER_ACCOUNT_ID_INVALID", "");
    let result = world.follow(vec![follow("alice", "alice", true)]).await;
    row("a follow of oneself", result, bad, "FOLLOWS_ITSELF", "");
    let result = world.follow(vec![follow("alice", "bob", false), follow("alice", "carol", true)]).await;
    row("a follow of somebody unknown", result, Code::NotFound, "ACCOUNT_UNKNOWN", "");
    assert_eq!(world.person("alice").contacts().await.len(), 1, "all or none");

    let mut api = v1::directory_service_client::DirectoryServiceClient::new(world.wire.clone());
    let message = v1::UpsertAccountsRequest { accounts: vec![account("mallory")] };
    let request = crate::support::with_token(message, &world.token("mallory"));
    let result = in_time(api.upsert_accounts(request)).await;
    row("a person instead of the platform", result, Code::PermissionDenied, "SCOPE_MISSING", "");
}

#[tokio::test]
async fn malformed_requests_about_a_direct_leg() {
    let world = World::new().await;
    world.friends(&["alice", "bob", "carol", "dave"]).await;
    let _node = world.node("n1").await;
    for handle in ["alice", "bob"] {
        world.person(handle).set(direct(v1::DirectSetting::Anyone)).await;
    }
    let mut alice = world.device("alice", "laptop").await;
    let tablet = world.device("alice", "tablet").await;
    let mut bob = world.device("bob", "phone").await;
    let carol = world.device("carol", "watch").await;
    let _dave = world.device("dave", "phone").await;
    let call = world.live_call(&mut alice, &mut bob, "bob").await;
    alice.call("an attempt began", |call| call.direct.is_some_and(|d| d.attempt == 1)).await;
    let rings = carol.place("dave", "r1").await.unwrap();
    let before = world.counts().await;
    let (who, session, id) = (&alice.who, alice.session.as_str(), call.call_id.as_str());
    let (bad, not_now) = (Code::InvalidArgument, Code::FailedPrecondition);
    let offer = |sdp: &str| Some(Step::Offer(sdp.into()));

    let unknown = "0".repeat(32);
    let nobodys = who.consent(session, &unknown, true).await;
    row("SetDirect unknown call", nobodys.clone(), Code::NotFound, "CALL_UNKNOWN", &unknown);
    let others = carol.who.consent(&carol.session, id, true).await;
    assert_eq!(told(others), told(nobodys), "another's call is no different from none");
    let nobodys = who.step(session, &unknown, 1, offer("v=0")).await;
    row("SendDirect unknown call", nobodys.clone(), Code::NotFound, "CALL_UNKNOWN", &unknown);
    let others = carol.who.step(&carol.session, id, 1, offer("v=0")).await;
    assert_eq!(told(others), told(nobodys), "another's call is no different from none");

    for (what, session, call, code, reason) in [
        ("malformed session", "zz", id, bad, "SESSION_ID_INVALID"),
        ("malformed call", session, "zz", bad, "CALL_ID_INVALID"),
        ("empty call", session, "", bad, "CALL_ID_INVALID"),
        ("unknown session", unknown.as_str(), id, not_now, "SESSION_UNKNOWN"),
        ("another's session", carol.session.as_str(), id, not_now, "SESSION_UNKNOWN"),
        ("another device", tablet.session.as_str(), id, not_now, "NOT_ON_THIS_DEVICE"),
    ] {
        row(what, who.consent(session, call, true).await, code, reason, "zz");
        row(what, who.step(session, call, 1, offer("v=0")).await, code, reason, "zz");
    }
    let early = carol.who.consent(&carol.session, &rings.call_id, true).await;
    row("SetDirect before the call is live", early, not_now, "CALL_NOT_LIVE", "");
    let early = carol.who.step(&carol.session, &rings.call_id, 1, offer("v=0")).await;
    row("SendDirect before the call is live", early, not_now, "CALL_NOT_LIVE", "");

    row("no step", who.step(session, id, 1, None).await, bad, "STEP_MISSING", "");
    row("another attempt", who.step(session, id, 7, offer("v=0")).await, not_now, "DIRECT_STALE", "");
    let answer = Some(Step::Answer("v=0".into()));
    row("an answer of the offerer", who.step(session, id, 1, answer).await, not_now, "DIRECT_STALE", "");
    let media = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n";
    let ice = format!("{media}a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n");
    for (what, sdp, reason) in [
        ("nothing", "", "SDP_INVALID"),
        ("no SDP", "hello", "SDP_INVALID"),
        ("no media", "v=0\r\n", "SDP_INVALID"),
        ("huge", &*"x".repeat(100_000), "SDP_TOO_LARGE"),
        ("thousands of lines", &*"a=x\r\n".repeat(5_000), "SDP_TOO_LARGE"),
        ("no ICE", media, "SDP_NO_ICE"),
        ("no fingerprint", ice.as_str(), "SDP_NO_FINGERPRINT"),
    ] {
        row(what, who.step(session, id, 1, offer(sdp)).await, bad, reason, sdp);
    }

    assert_eq!(world.counts().await, before, "nothing stayed behind");
    let good = format!("{ice}a=fingerprint:sha-256 00:01\r\n");
    who.step(session, id, 1, offer(&good)).await.expect("the attempt is as it was");
}

/// A failure as its client gets it, every byte of it.
fn told<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String, Vec<u8>) {
    let status = result.unwrap_err();
    (status.code(), status.message().to_owned(), status.details().to_vec())
}

#[tokio::test]
async fn malformed_requests_about_privacy() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let device = world.device("alice", "laptop").await;
    let alice = &device.who;
    let (settings, before) = (alice.settings().await, world.counts().await);
    let bad = Code::InvalidArgument;

    let each = async |handle: &str| {
        [
            ("CanCall", alice.can_call(handle).await.map(drop)),
            ("SendCallRequest", alice.ask(handle).await.map(drop)),
            ("AnswerCallRequest", alice.answer(handle, true, false).await.map(drop)),
            ("CreateGrant", alice.grant(handle, 1).await.map(drop)),
            ("RevokeGrant", alice.revoke(handle).await.map(drop)),
            ("Block", alice.block(handle).await.map(drop)),
            ("Unblock", alice.unblock(handle).await.map(drop)),
        ]
    };
    for handle in ["", "Bob", "@bob", "bob\n", &"b".repeat(33), &"b".repeat(100_000)] {
        for (what, result) in each(handle).await {
            row(what, result, bad, "HANDLE_INVALID", if handle == "bob\n" { "" } else { handle });
        }
    }
    for (what, result) in each("zelda").await {
        row(what, result, Code::NotFound, "CALLEE_UNKNOWN", "zelda");
    }
    for (what, result) in each("alice").await {
        row(what, result, bad, "CALLEE_IS_SELF", "alice");
    }

    for (size, token, reason) in [
        (501, "", "PAGE_SIZE_INVALID"),
        (u32::MAX, "", "PAGE_SIZE_INVALID"),
        (0, "!", "PAGE_TOKEN_INVALID"),
        (0, "AAAA", "PAGE_TOKEN_INVALID"),
        (0, &*"A".repeat(100_000), "PAGE_TOKEN_INVALID"),
    ] {
        row("ListCallable", alice.callable(size, token).await, bad, reason, token);
        row("ListCallers", alice.callers(size, token).await, bad, reason, token);
        row("ListGrants", alice.grants(size, token).await, bad, reason, token);
        row("ListBlocks", alice.blocked(size, token).await, bad, reason, token);
    }

    for (change, reason) in [
        (audience(&[v1::Audience::Unspecified]), "AUDIENCE_INVALID"),
        (v1::SettingsChange { strangers: Some(9), ..change() }, "STRANGERS_INVALID"),
        (v1::SettingsChange { direct: Some(-1), ..change() }, "DIRECT_INVALID"),
    ] {
        let update = v1::UpdateSettingsRequest { change: Some(change.clone()) };
        let result = in_time(alice.privacy.clone().update_settings(alice.request(update))).await;
        row("UpdateSettings", result, bad, reason, "");
        let preview = v1::PreviewSettingsRequest { change: Some(change) };
        let result = in_time(alice.privacy.clone().preview_settings(alice.request(preview))).await;
        row("PreviewSettings", result, bad, reason, "");
    }
    let grant = alice.grant("bob", 366).await;
    row("CreateGrant days", grant, bad, "GRANT_DAYS_INVALID", "");
    let days =
        v1::AnswerCallRequestRequest { handle: "bob".into(), accept: true, grant_days: 366, block: false };
    let result = in_time(alice.privacy.clone().answer_call_request(alice.request(days))).await;
    row("AnswerCallRequest days", result, bad, "GRANT_DAYS_INVALID", "");
    row("AnswerCallRequest both", alice.answer("bob", true, true).await, bad, "ANSWER_INVALID", "");
    for accept in [true, false] {
        let result = alice.answer("bob", accept, false).await;
        row("AnswerCallRequest of nobody", result, Code::NotFound, "REQUEST_UNKNOWN", "bob");
    }

    assert_eq!(alice.settings().await, settings);
    assert!(alice.grants(0, "").await.unwrap().grants.is_empty());
    assert!(alice.blocked(0, "").await.unwrap().blocks.is_empty());
    assert_eq!(world.counts().await, before, "nothing stayed behind");
}

#[tokio::test]
async fn no_method_takes_what_it_cannot_read_or_somebody_without_a_token() {
    let world = World::new().await;
    let token = world.token("alice");
    let grpc = "application/grpc";
    let services = duocast_wire::services();
    let methods =
        services.iter().flat_map(|service| service.methods.iter().map(move |method| (service, method)));
    for (service, method) in methods {
        let path = format!("/{}/{method}", service.name);
        let status = world.post(&path, grpc, None, framed(&[])).await;
        assert_eq!(failure(&status), (Code::Unauthenticated, "TOKEN_MISSING".into()), "{path}");
        // What a node says is read after its token; nobody here has one.
        if method != "Link" {
            for body in unreadable() {
                let status = world.post(&path, grpc, Some(&token), body).await;
                assert_eq!(failure(&status), (Code::InvalidArgument, "MESSAGE_INVALID".into()), "{path}");
            }
            let large = framed(&vec![0; duocast_wire::MAX_MESSAGE_BYTES + 1]);
            let status = world.post(&path, grpc, Some(&token), large).await;
            assert_eq!(failure(&status), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".into()), "{path}");
        }
    }
    assert_eq!(world.counts().await, duocast_control_core::switchboard::Counts::default());
}
