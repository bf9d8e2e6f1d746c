//! Every RPC, every way to get its request wrong: a status, a reason, a sentence. Nothing stays behind.

use duocast_wire::v1;
use duocast_wire::v1::CallState;
use tonic::{Code, Status};

use crate::support::{World, account, follow, in_time};

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
    let other = world.device("bob", "tablet").await;
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

    drop(other);
    world
        .counts_become("nothing stayed behind", |counts| {
            (counts.calls, counts.streams, counts.nodes) == (before.calls, before.streams, before.nodes)
        })
        .await;
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
async fn a_message_that_is_too_large_is_refused_before_it_is_read() {
    let world = World::new().await;
    let person = world.person("alice");
    let offer = "x".repeat(duocast_wire::MAX_MESSAGE_BYTES);
    let status = person.connect(&"0".repeat(32), &"0".repeat(32), "", &offer).await.unwrap_err();
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
    person.profile().await.expect("the next request is served");
}
