//! Settings, blocks and the questions about them. What changes takes effect at once.

use std::time::{Duration, SystemTime};

use duocast_control::Profile;
use duocast_wire::v1;
use duocast_wire::v1::{Audience, CallState, DirectSetting, EndReason, Outcome, Presence, Strangers};
use tonic::{Code, Status};

use crate::support::device::Device;
use crate::support::privacy::{audience, calling, change, direct, handles, message, strangers};
use crate::support::{World, account, assert_fails, eventually, follow};

/// A status as its client gets it, every byte of it.
fn bytes(status: &Status) -> (Code, String, Vec<u8>) {
    (status.code(), status.message().to_owned(), status.details().to_vec())
}

#[tokio::test]
async fn settings_start_with_the_defaults_and_keep_what_is_not_changed() {
    let world = World::new().await;
    let alice = world.person("alice");
    let first = alice.settings().await;
    assert_eq!(first.settings, first.defaults);
    assert_eq!((first.decided, first.policy_profile.as_str(), first.policy_version), (false, "default", 1));
    let defaults = first.settings.unwrap();
    assert!(!defaults.calling && defaults.enhanced_call_privacy);
    assert_eq!(defaults.audience, [Audience::Mutuals as i32]);

    let mut phone = world.device("alice", "phone").await;
    let changed = alice.set(audience(&[Audience::Everyone, Audience::Verified])).await;
    assert_eq!(changed.audience, [Audience::Verified as i32, Audience::Everyone as i32]);
    assert!(!changed.calling && changed.enhanced_call_privacy, "the rest stays");
    assert!(!alice.settings().await.decided, "who may call is not the first question");
    assert_eq!(phone.settings_told().await, changed, "the other devices hear of it");

    assert_eq!(alice.set(calling(false)).await, changed);
    assert!(alice.settings().await.decided, "off is an answer too");
    assert_eq!(phone.settings_told().await, changed, "that it was decided is news");
    alice.set(calling(false)).await;
    let on = alice.set(calling(true)).await;
    assert_eq!(phone.settings_told().await, on, "what changes nothing is not told");
    assert!(alice.profile().await.unwrap().calling_enabled);
}

#[tokio::test]
async fn the_platform_switches_calling_off_and_the_devices_hear_of_it() {
    let world = World::new().await;
    world.people(&["alice"]).await;
    let mut phone = world.device("alice", "phone").await;
    assert!(world.person("alice").settings().await.decided);
    let off = v1::Account { calling_enabled: Some(false), ..account("alice") };
    world.upsert(vec![account("alice"), off]).await.unwrap();
    assert!(!phone.settings_told().await.calling);
}

#[tokio::test]
async fn the_profile_as_reported_has_other_defaults() {
    let world = World::with(|config| config.policy = Profile::Reported2024).await;
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let first = alice.settings().await;
    bob.settings().await;
    assert_eq!(first.policy_profile, "reported-2024");
    let settings = first.settings.unwrap();
    assert!(settings.calling && !settings.enhanced_call_privacy);
    assert_eq!(alice.may_call("bob").await.0, Outcome::Deny);
    world.messages(vec![message("alice", "bob", true, true)]).await.unwrap();
    assert_eq!(alice.may_call("bob").await.0, Outcome::Allow, "an accepted message lets in");
    assert_eq!(bob.may_call("alice").await.0, Outcome::Deny, "in one direction");
}

#[tokio::test]
async fn a_call_that_rings_stops_when_the_callee_changes_who_may_call() {
    for change in [calling(false), audience(&[])] {
        let world = World::new().await;
        let _node = world.node("n1").await;
        let (mut alice, mut bob, _call) = world.ringing().await;
        bob.who.set(change).await;
        assert_eq!(bob.end().await, EndReason::Declined);
        assert_eq!(alice.end().await, EndReason::Declined, "to the caller it looks like a no");
        assert_eq!(world.counts().await.calls, 0);
    }
}

#[tokio::test]
async fn a_call_that_rings_stops_when_the_caller_switches_off_or_the_platform_says_so() {
    let world = World::new().await;
    let _node = world.node("n1").await;
    let (mut alice, mut bob, _call) = world.ringing().await;
    alice.who.set(calling(false)).await;
    assert_eq!(bob.end().await, EndReason::Cancelled);
    alice.end().await;

    alice.who.set(calling(true)).await;
    alice.place("bob", "r2").await.unwrap();
    bob.call_is(CallState::Ringing).await;
    world.follow(vec![follow("bob", "alice", false)]).await.unwrap();
    assert_eq!(bob.end().await, EndReason::Declined, "they are no longer mutual contacts");
    alice.end().await;
}

#[tokio::test]
async fn a_call_that_rings_stops_when_the_permission_that_it_was_placed_by_expires() {
    // The second one may call for another reason as well.
    for is_mutual in [false, true] {
        let world = World::new().await;
        let _node = world.node("n1").await;
        world.people(&["alice", "bob"]).await;
        if is_mutual {
            world.friends(&["alice", "bob"]).await;
        }
        let mut alice = world.device("alice", "laptop").await;
        let mut bob = world.device("bob", "phone").await;
        bob.who.grant("alice", 1).await.unwrap();
        let operator = rusqlite::Connection::open(world.dir.join("duocast.db")).unwrap();
        operator.busy_timeout(Duration::from_secs(5)).unwrap();
        let soon = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + Duration::from_secs(2);
        operator.execute("UPDATE grants SET expires_at = ?1", [soon.as_millis() as i64]).unwrap();
        let call = alice.place("bob", "r1").await.unwrap();
        bob.call_is(CallState::Ringing).await;
        if is_mutual {
            let may_still = async || {
                let (outcome, reason) = alice.who.may_call("bob").await;
                (outcome == Outcome::Allow && reason == "MUTUALS").then_some(())
            };
            eventually("the permission has expired", may_still).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            bob.accept(&call).await.unwrap();
            bob.call_is(CallState::Accepted).await;
        } else {
            assert_eq!(bob.end().await, EndReason::Declined);
            assert_eq!(alice.end().await, EndReason::Declined, "to the caller it looks like a no");
            assert_eq!(world.counts().await.calls, 0);
        }
    }
}

#[tokio::test]
async fn a_change_that_still_allows_the_call_leaves_it_alone() {
    let world = World::new().await;
    let _node = world.node("n1").await;
    let (_alice, mut bob, call) = world.ringing().await;
    bob.who.set(strangers(Strangers::Deny)).await;
    bob.who.set(audience(&[Audience::Following])).await;
    bob.accept(&call).await.unwrap();
    bob.call_is(CallState::Accepted).await;
    bob.who.set(calling(false)).await;
    assert_eq!(world.counts().await.answered, 1, "an answered call is not taken away by a setting");
}

#[tokio::test]
async fn a_block_ends_the_call_that_the_two_are_in() {
    for by in ["alice", "bob"] {
        let world = World::new().await;
        world.friends(&["alice", "bob", "carol"]).await;
        let _node = world.node("n1").await;
        let mut alice = world.device("alice", "laptop").await;
        let mut bob = world.device("bob", "phone").await;
        let call = world.live_call(&mut alice, &mut bob, "bob").await;
        world.person(by).block("carol").await.unwrap();
        assert_eq!(world.counts().await.answered, 1, "somebody else's block is nothing to them");
        let other = if by == "alice" { "bob" } else { "alice" };
        world.person(by).block(other).await.unwrap();
        assert_eq!(alice.end().await, EndReason::HungUp);
        assert_eq!(bob.end().await, EndReason::HungUp);
        let seen = world.person(other).get(&call.call_id).await.unwrap();
        assert_eq!(seen.end_reason(), EndReason::HungUp, "nothing says that it was a block");
    }
}

/// Everything that somebody can ask about another, and try with them.
async fn look(world: &World, device: &mut Device, about: &str) -> Vec<String> {
    let who = &device.who;
    let mut seen = Vec::new();
    let placed = who.place(&device.session, about, &format!("look-{}", world.dir.display())).await;
    seen.push(format!("{:?}", bytes(&placed.unwrap_err())));
    seen.push(format!("{:?}", bytes(&who.ask(about).await.unwrap_err())));
    seen.push(format!("{:?}", who.can_call(about).await.unwrap()));
    seen.push(format!("{:?}", who.callable(0, "").await.unwrap()));
    seen.push(format!("{:?}", who.callers(0, "").await.unwrap()));
    seen.push(format!("{:?}", who.requests().await));
    seen.push(format!("{:?}", who.contacts().await));
    seen.push(format!("{:?}", handles(who.grants(0, "").await.unwrap().grants.iter().map(|g| &g.person))));
    seen.push(format!("{:?}", who.blocked(0, "").await.unwrap()));
    seen.push(format!("{:?}", who.preview(calling(false)).await));
    seen.push(format!("{:?}", who.settings().await));
    seen
}

/// The world of one look: alice looks at bob, who blocked her, or is off, or turned strangers away.
async fn looked(related: bool, hide: impl AsyncFnOnce(&World)) -> (Vec<String>, usize) {
    let world = World::new().await;
    let _node = world.node("n1").await;
    world.people(&["alice", "bob"]).await;
    if related {
        world.friends(&["alice", "bob"]).await;
    } else {
        world.person("alice").ask("bob").await.unwrap();
    }
    let mut alice = world.device("alice", "laptop").await;
    let bob = world.device("bob", "phone").await;
    if related {
        alice.contact().await;
    }
    hide(&world).await;
    let seen = look(&world, &mut alice, "bob").await;
    // What else is told must come before this.
    alice.who.set(audience(&[Audience::Verified])).await;
    alice.settings_told().await;
    drop(bob);
    (seen, alice.told.len())
}

#[tokio::test]
async fn who_is_blocked_sees_exactly_what_everybody_sees_of_somebody_who_is_off() {
    for related in [true, false] {
        let off = looked(related, async |world| {
            world.person("bob").set(calling(false)).await;
        });
        let blocked = looked(related, async |world| {
            world.person("bob").block("alice").await.unwrap();
        });
        let (off, blocked) = (off.await, blocked.await);
        for (one, other) in off.0.iter().zip(&blocked.0) {
            assert_eq!(one, other, "related: {related}");
        }
        assert_eq!(off.1, blocked.1, "as many events");
        assert!(off.0[0].contains("this person cannot be reached"), "{}", off.0[0]);
    }
}

#[tokio::test]
async fn silently_turned_away_is_like_off_as_well() {
    let world = World::new().await;
    let _node = world.node("n1").await;
    world.people(&["alice", "bob", "carol"]).await;
    let alice = world.device("alice", "laptop").await;
    world.person("bob").set(calling(false)).await;
    world.person("carol").set(strangers(Strangers::Deny)).await;
    let off = alice.place("bob", "r1").await.unwrap_err();
    let silent = alice.place("carol", "r2").await.unwrap_err();
    assert_eq!(bytes(&off), bytes(&silent));
    assert_fails(Err::<(), _>(silent), Code::PermissionDenied, "CALLEE_NOT_REACHABLE");
}

#[tokio::test]
async fn a_block_works_both_ways_and_can_be_taken_back() {
    let world = World::new().await;
    let _node = world.node("n1").await;
    world.friends(&["alice", "bob"]).await;
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    bob.block("alice").await.unwrap();
    bob.block("alice").await.unwrap();
    assert_eq!(alice.may_call("bob").await, (Outcome::Deny, "CALLEE_NOT_REACHABLE".into()));
    assert_eq!(bob.may_call("alice").await, (Outcome::Deny, "BLOCKED_BY_CALLER".into()));
    assert_eq!(handles(bob.blocked(0, "").await.unwrap().blocks.iter().map(|b| &b.person)), ["alice"]);
    assert!(bob.contacts().await.is_empty(), "whom one blocks is in one's list no longer");
    assert_fails(bob.grant("alice", 0).await, Code::FailedPrecondition, "PERSON_BLOCKED");
    bob.unblock("alice").await.unwrap();
    bob.unblock("alice").await.unwrap();
    assert_eq!(alice.may_call("bob").await.0, Outcome::Allow);
    assert_fails(bob.block("bob").await, Code::InvalidArgument, "CALLEE_IS_SELF");
    assert_fails(bob.block("nobody").await, Code::NotFound, "CALLEE_UNKNOWN");
    assert_fails(bob.can_call("bob").await, Code::InvalidArgument, "CALLEE_IS_SELF");
    assert_fails(bob.can_call("nobody").await, Code::NotFound, "CALLEE_UNKNOWN");
}

#[tokio::test]
async fn presence_is_for_contacts_who_would_ring() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    world.people(&["carol"]).await;
    let mut alice = world.device("alice", "laptop").await;
    let bob = world.device("bob", "phone").await;
    let _carol = world.device("carol", "tablet").await;
    assert_eq!(alice.contact().await, ("bob".into(), Presence::Online));

    bob.who.set(audience(&[])).await;
    assert_eq!(alice.contact().await, ("bob".into(), Presence::Offline), "nobody may call bob now");
    bob.who.grant("alice", 0).await.unwrap();
    assert_eq!(alice.contact().await, ("bob".into(), Presence::Online), "but alice");
    bob.who.block("alice").await.unwrap();
    assert_eq!(alice.contact().await, ("bob".into(), Presence::Offline));
    let listed = alice.who.contacts().await;
    assert_eq!(listed.len(), 1, "a contact that vanished would say too much");
    assert_eq!(listed[0].presence(), Presence::Offline);
    bob.who.unblock("alice").await.unwrap();
    assert_eq!(alice.contact().await, ("bob".into(), Presence::Online));

    world.person("carol").grant("alice", 0).await.unwrap();
    assert_eq!(alice.contact().await, ("carol".into(), Presence::Online), "a grant makes a contact");
    world.person("carol").revoke("alice").await.unwrap();
    assert_eq!(alice.contact().await, ("carol".into(), Presence::Offline));
    world.follow(vec![follow("alice", "bob", false)]).await.unwrap();
    bob.who.revoke("alice").await.unwrap();
    assert_eq!(alice.contact().await, ("bob".into(), Presence::Offline), "who is no contact is not seen");
    assert!(alice.who.contacts().await.is_empty());
}

#[tokio::test]
async fn what_the_other_side_chose_is_heard_in_my_list_as_well() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let mut alice = world.device("alice", "laptop").await;
    let _bob = world.device("bob", "phone").await;
    alice.contact().await;
    // It is alice's badge that changes, and with it what she may know of bob.
    world.person("bob").set(audience(&[Audience::Verified])).await;
    assert_eq!(alice.contact().await, ("bob".into(), Presence::Offline));
    world.upsert(vec![v1::Account { verified: Some(true), ..account("alice") }]).await.unwrap();
    assert_eq!(alice.contact().await, ("bob".into(), Presence::Online));
}

#[tokio::test]
async fn a_preview_names_who_could_see_the_address() {
    let world = World::new().await;
    world.friends(&["alice", "bob", "carol"]).await;
    world.people(&["dave"]).await;
    world.follow(vec![follow("alice", "dave", true)]).await.unwrap();
    let alice = world.person("alice");
    // With Carol no call is possible, so nothing changes with her.
    alice.block("carol").await.unwrap();
    let seen = async |change: v1::SettingsChange| {
        let preview = alice.preview(change).await;
        let one = |one: &v1::PreviewedPerson| {
            let [before, after] = [&one.before, &one.after].map(|told| told.as_ref().unwrap().own_direct());
            (one.person.clone().unwrap().handle, before, after)
        };
        assert_eq!(preview.changed as usize, preview.changes.len());
        preview.changes.iter().map(one).collect::<Vec<_>>()
    };
    use v1::DirectConsent::{Given, Never, NotGiven};
    let both = |before, after| vec![("bob".to_owned(), before, after), ("dave".to_owned(), before, after)];
    assert_eq!(seen(direct(DirectSetting::Mutuals)).await, [("bob".to_owned(), Never, Given)]);
    assert_eq!(seen(direct(DirectSetting::Ask)).await, both(Never, NotGiven));
    assert_eq!(seen(direct(DirectSetting::Anyone)).await, both(Never, Given));
    alice.set(direct(DirectSetting::Anyone)).await;
    let hidden = v1::SettingsChange { enhanced_call_privacy: Some(true), ..change() };
    assert_eq!(seen(hidden).await, both(Given, Never));
    assert_eq!(seen(direct(DirectSetting::Anyone)).await, []);
}

#[tokio::test]
async fn a_preview_says_exactly_what_then_happens() {
    let world = World::new().await;
    world.friends(&["alice", "bob", "carol"]).await;
    let others = ["dave", "erin", "frank"];
    world.people(&others).await;
    world.follow(vec![follow("alice", "dave", true), follow("erin", "alice", true)]).await.unwrap();
    world.upsert(vec![v1::Account { verified: Some(true), ..account("erin") }]).await.unwrap();
    world.messages(vec![message("dave", "alice", true, true)]).await.unwrap();
    let alice = world.person("alice");
    alice.grant("frank", 3).await.unwrap();
    alice.block("carol").await.unwrap();
    let known = ["bob", "carol", "dave", "erin", "frank"];

    let answers = async || {
        let mut answers = Vec::new();
        for handle in known {
            let incoming = alice.can_call(handle).await.unwrap().incoming.unwrap();
            // And it is so: the other one hears the same outcome.
            let heard = world.person(handle).may_call("alice").await.0;
            assert_eq!(incoming.outcome(), heard, "{handle}");
            answers.push((handle.to_owned(), incoming));
        }
        answers
    };
    for change in [
        audience(&[Audience::Following]),
        audience(&[Audience::DmAccepted, Audience::Verified]),
        audience(&[Audience::Everyone]),
        strangers(Strangers::Deny),
        audience(&[]),
        direct(DirectSetting::Mutuals),
        direct(DirectSetting::Ask),
        v1::SettingsChange { calling: Some(false), ..direct(DirectSetting::Anyone) },
        v1::SettingsChange { require_e2ee: Some(true), ..calling(true) },
    ] {
        let (before, callers) = (answers().await, alice.callers(0, "").await.unwrap().people.len());
        let preview = alice.preview(change.clone()).await;
        assert_eq!(alice.set(change).await, preview.settings.unwrap());
        let after = answers().await;
        let expected: Vec<_> = before
            .iter()
            .zip(&after)
            .filter(|((handle, b), (_, a))| {
                let is_seen_otherwise = b.own_direct != a.own_direct && handle != "carol";
                b.outcome != a.outcome || is_seen_otherwise
            })
            .map(|((handle, b), (_, a))| (handle.clone(), b.clone(), a.clone()))
            .collect();
        let told: Vec<_> = preview
            .changes
            .iter()
            .map(|c| {
                let person = c.person.clone().unwrap().handle;
                (person, c.before.clone().unwrap(), c.after.clone().unwrap())
            })
            .collect();
        assert_eq!(told, expected);
        assert_eq!(preview.changed as usize, expected.len());
        let present = alice.callers(0, "").await.unwrap();
        assert_eq!(
            (preview.callers_before as usize, preview.callers_after as usize),
            (callers, present.people.len())
        );
        assert_eq!(present.everyone, preview.stranger_after.unwrap().outcome() == Outcome::Allow);
    }
}

#[tokio::test]
async fn lists_of_people_are_paged_without_gap_or_repeat() {
    let world = World::new().await;
    let names: Vec<String> = (0..25).map(|n| format!("friend{n:02}")).collect();
    let mut accounts: Vec<_> = names.iter().map(|name| account(name)).collect();
    accounts.push(account("alice"));
    // Every fifth has calling off.
    accounts.iter_mut().step_by(5).take(5).for_each(|a| a.calling_enabled = Some(false));
    world.upsert(accounts).await.unwrap();
    let both = |name: &String| [follow("alice", name, true), follow(name, "alice", true)];
    world.follow(names.iter().flat_map(both).collect()).await.unwrap();
    let alice = world.person("alice");
    let reachable: Vec<_> =
        names.iter().enumerate().filter(|(n, _)| n % 5 != 0).map(|(_, name)| name.clone()).collect();

    let (mut token, mut callable, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let page = alice.callable(7, &token).await.unwrap();
        callable.extend(handles(page.people.iter().map(|one| &one.person)));
        (token, pages) = (page.next_page_token, pages + 1);
        if token.is_empty() {
            break;
        }
        assert_eq!(callable.len() % 7, 0);
    }
    assert_eq!((callable, pages), (reachable.clone(), 3));
    let callers = alice.callers(500, "").await.unwrap();
    assert_eq!(
        handles(callers.people.iter().map(|one| &one.person)),
        names,
        "whether they have calling on is theirs"
    );
    assert!(callers.people.iter().all(|one| one.decision.as_ref().unwrap().reason == "MUTUALS"));

    for name in &names {
        alice.grant(name, 0).await.unwrap();
    }
    for name in &names[..12] {
        alice.block(name).await.unwrap();
    }
    let (mut token, mut granted) = (String::new(), Vec::new());
    loop {
        let page = alice.grants(5, &token).await.unwrap();
        granted.extend(handles(page.grants.iter().map(|one| &one.person)));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(granted, names[12..], "without those who are blocked");
    let first = alice.blocked(10, "").await.unwrap();
    let second = alice.blocked(10, &first.next_page_token).await.unwrap();
    let blocked = first.blocks.iter().chain(&second.blocks).map(|one| &one.person);
    assert_eq!(handles(blocked), names[..12]);
    assert_eq!(second.next_page_token, "");

    let bad = Code::InvalidArgument;
    assert_fails(alice.callable(501, "").await, bad, "PAGE_SIZE_INVALID");
    assert_fails(alice.callers(0, "AAAA").await, bad, "PAGE_TOKEN_INVALID");
    assert_fails(alice.blocked(0, "!").await, bad, "PAGE_TOKEN_INVALID");
}

#[tokio::test]
async fn settings_that_nobody_knows_are_refused() {
    let world = World::new().await;
    let alice = world.person("alice");
    let unknown = v1::AudienceChange { audience: vec![0] };
    for (change, reason) in [
        (v1::SettingsChange { audience: Some(unknown), ..change() }, "AUDIENCE_INVALID"),
        (v1::SettingsChange { strangers: Some(9), ..change() }, "STRANGERS_INVALID"),
        (v1::SettingsChange { direct: Some(-1), ..change() }, "DIRECT_INVALID"),
    ] {
        let message = v1::UpdateSettingsRequest { change: Some(change) };
        let refused = alice.privacy.clone().update_settings(alice.request(message)).await;
        assert_fails(refused, Code::InvalidArgument, reason);
    }
    assert!(!alice.settings().await.decided);
    assert_fails(alice.grant("alice", 0).await, Code::InvalidArgument, "CALLEE_IS_SELF");
    assert_fails(alice.grant("Nope!", 0).await, Code::InvalidArgument, "HANDLE_INVALID");
    assert_fails(alice.grant("bob", 366).await, Code::InvalidArgument, "GRANT_DAYS_INVALID");
}

#[tokio::test]
async fn a_standing_yes_to_direct_legs_is_withdrawn_at_once() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let open = v1::SettingsChange {
        enhanced_call_privacy: Some(false),
        direct: Some(v1::DirectSetting::Mutuals.into()),
        ..change()
    };
    for handle in ["alice", "bob"] {
        world.person(handle).set(open.clone()).await;
    }
    let mut alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    world.live_call(&mut alice, &mut bob, "bob").await;
    let is = |phase: v1::DirectPhase| move |call: &v1::Call| call.direct.is_some_and(|d| d.phase() == phase);
    alice.call("an attempt began", |call| call.direct.is_some_and(|d| d.attempt == 1)).await;
    bob.who.set(v1::SettingsChange { enhanced_call_privacy: Some(true), ..change() }).await;
    let routed = alice.call("routed again", is(v1::DirectPhase::Routed)).await;
    let direct = routed.direct.unwrap();
    assert_eq!(direct.last_end(), v1::DirectEnd::Withdrawn);
    assert_ne!(direct.peer_consent(), v1::DirectConsent::Never, "what bob's settings say is his");
    let status = async {
        let message = v1::SetDirectRequest {
            session_id: bob.session.clone(),
            call_id: routed.call_id.clone(),
            consent: true,
        };
        bob.who.api.clone().set_direct(bob.who.request(message)).await
    };
    assert_fails(status.await, Code::FailedPrecondition, "DIRECT_NOT_ALLOWED");
}

#[tokio::test]
async fn settings_and_permissions_survive_a_kill() {
    let world = World::new().await;
    world.people(&["alice", "bob", "carol", "dave"]).await;
    let alice = world.person("alice");
    alice.set(audience(&[Audience::DmAccepted, Audience::AddressBook])).await;
    alice.set(strangers(Strangers::Request)).await;
    alice.set(v1::SettingsChange { direct: Some(v1::DirectSetting::Ask.into()), ..change() }).await;
    alice.grant("bob", 7).await.unwrap();
    alice.block("carol").await.unwrap();
    world.person("dave").ask("alice").await.unwrap();
    world.messages(vec![message("bob", "alice", true, false)]).await.unwrap();
    let state = async |world: &World| {
        let alice = world.person("alice");
        format!(
            "{:?} {:?} {:?} {:?} {:?}",
            alice.settings().await,
            alice.grants(0, "").await.unwrap(),
            alice.blocked(0, "").await.unwrap(),
            alice.requests().await,
            alice.callers(0, "").await.unwrap(),
        )
    };
    let before = state(&world).await;
    let dir = world.killed();
    let world = World::open(dir.path(), |_| {}).await;
    assert_eq!(state(&world).await, before);
}

#[tokio::test]
async fn a_restart_asks_the_policy_again_about_calls_that_go_on() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let mut alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    world.live_call(&mut alice, &mut bob, "bob").await;
    let dir = world.killed();
    // As if the process had died between writing the block and ending the call.
    let database = rusqlite::Connection::open(dir.path().join("duocast.db")).unwrap();
    let block = "INSERT INTO blocks SELECT a.account_id, b.account_id, 1 FROM accounts a, accounts b
                 WHERE a.handle = 'bob' AND b.handle = 'alice'";
    assert_eq!(database.execute(block, []).unwrap(), 1);
    drop(database);
    let world = World::open(dir.path(), |_| {}).await;
    world.counts_become("the call ended", |counts| counts.calls == 0).await;
}

#[tokio::test]
async fn an_older_database_keeps_who_had_calling_on() {
    let dir = tempfile::TempDir::new().unwrap();
    let database = rusqlite::Connection::open(dir.path().join("duocast.db")).unwrap();
    database.execute_batch(include_str!("../../migrations/0001_accounts_and_calls.sql")).unwrap();
    database.pragma_update(None, "user_version", 1).unwrap();
    for (handle, on) in [("alice", 1), ("bob", 0)] {
        let id = duocast_control::auth::dev_account_id(handle);
        database
            .execute(
                "INSERT INTO accounts VALUES (?1, ?2, ?2, ?3, 1)",
                rusqlite::params![id.expose(), handle, on],
            )
            .unwrap();
    }
    drop(database);
    let world = World::open(dir.path(), |_| {}).await;
    let (alice, bob) = (world.person("alice").settings().await, world.person("bob").settings().await);
    assert_eq!((alice.decided, alice.settings.as_ref().unwrap().calling), (true, true));
    assert_eq!((bob.decided, bob.settings.as_ref().unwrap().calling), (false, false));
    assert_eq!(bob.settings, bob.defaults, "all else as for a new account");
}

#[tokio::test]
async fn old_calls_and_expired_permissions_are_deleted() {
    let world = World::with(|config| {
        config.tidy = Duration::from_millis(20);
        config.history = Duration::from_secs(3600);
    })
    .await;
    world.friends(&["alice", "bob"]).await;
    world.people(&["carol"]).await;
    let _node = world.node("n1").await;
    let mut alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    let recent = world.live_call(&mut alice, &mut bob, "bob").await;
    alice.hang_up(&recent).await.unwrap();
    bob.end().await;
    alice.who.grant("carol", 1).await.unwrap();
    world.person("carol").ask("bob").await.unwrap();
    let operator = rusqlite::Connection::open(world.dir.join("duocast.db")).unwrap();
    operator.busy_timeout(Duration::from_secs(5)).unwrap();
    // More old calls than one step deletes, and one old call that is still going on.
    operator
        .execute_batch(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
             INSERT INTO calls (call_id, revision, state, end_reason, video, node, boot, created_at, ended_at,
                 caller_account, caller_handle, caller_name, caller_audio, caller_video,
                 callee_account, callee_handle, callee_name, callee_audio, callee_video)
             SELECT randomblob(16), 1, 'ended', 'hung_up', 0, 'n1', 'b', i, i + 1,
                 caller_account, caller_handle, caller_name, 0, 0, callee_account, callee_handle, callee_name, 0, 0
             FROM calls, n;
             UPDATE grants SET expires_at = 5;
             UPDATE call_requests SET expires_at = 5;",
        )
        .unwrap();
    assert!(alice.who.grants(0, "").await.unwrap().grants.is_empty(), "what has expired counts no more");
    assert_eq!(world.person("carol").may_call("alice").await.0, Outcome::Request);
    let left = async || {
        let count = |table: &str| {
            operator
                .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, u32>(0))
                .unwrap()
        };
        ((count("calls"), count("grants"), count("call_requests")) == (1, 0, 0)).then_some(())
    };
    eventually("they are deleted", left).await;
    assert_eq!(alice.who.calls(0, "").await.unwrap().calls[0].call_id, recent.call_id);
}
