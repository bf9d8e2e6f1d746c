//! What the platform says of its accounts.

use duocast_wire::v1;
use duocast_wire::v1::{Audience, CallState, EndReason, Outcome};
use tonic::Code;

use crate::support::privacy::{audience, message};
use crate::support::{World, account, assert_fails, follow};

#[tokio::test]
async fn what_is_left_out_stays_as_it_is() {
    let world = World::new().await;
    let new = v1::Account { display_name: String::new(), calling_enabled: None, ..account("alice") };
    world.upsert(vec![new.clone()]).await.unwrap();
    let alice = world.person("alice");
    let profile = alice.profile().await.unwrap();
    assert_eq!(profile.person.unwrap().display_name, "alice", "shown by the handle");
    assert!(!profile.calling_enabled);

    world.upsert(vec![account("alice")]).await.unwrap();
    world.upsert(vec![new]).await.unwrap();
    let profile = alice.profile().await.unwrap();
    assert_eq!(profile.person.unwrap().display_name, "The alice");
    assert!(profile.calling_enabled);
}

#[tokio::test]
async fn two_accounts_swap_their_handles() {
    let world = World::new().await;
    world.friends(&["alice", "bob"]).await;
    let swap = |id: &str, handle: &str| v1::Account { handle: handle.into(), ..account(id) };
    world.upsert(vec![swap("alice", "bob"), swap("bob", "alice")]).await.unwrap();
    let contacts = world.person("alice").contacts().await;
    assert_eq!(contacts[0].person.as_ref().unwrap().display_name, "The bob");
}

#[tokio::test]
async fn contacts_are_those_who_follow_each_other() {
    let world = World::new().await;
    world.upsert(["alice", "bob", "carol"].iter().map(|handle| account(handle)).collect()).await.unwrap();
    let alice = world.person("alice");
    let contacts = async || {
        let people = alice.contacts().await.into_iter().map(|contact| contact.person.unwrap().handle);
        people.collect::<Vec<_>>()
    };
    world.follow(vec![follow("alice", "bob", true), follow("carol", "alice", true)]).await.unwrap();
    assert_eq!(contacts().await, [""; 0]);
    world.follow(vec![follow("bob", "alice", true), follow("alice", "carol", true)]).await.unwrap();
    assert_eq!(contacts().await, ["bob", "carol"]);
    world.follow(vec![follow("bob", "alice", false), follow("bob", "alice", false)]).await.unwrap();
    assert_eq!(contacts().await, ["carol"]);
}

#[tokio::test]
async fn the_demonstration_accounts_can_call_each_other_and_are_made_once() {
    let world = World::new().await;
    world.control.seed_demo().await.unwrap();
    world.control.seed_demo().await.unwrap();
    let _node = world.node("n1").await;
    let alice = world.device("alice", "laptop").await;
    let _bob = world.device("bob", "phone").await;
    let call = alice.place("bob", "r1").await.unwrap();
    assert_eq!(call.peer.unwrap().display_name, "Bob");
}

/// A hash as the platform would make one.
fn hash(n: u16) -> Vec<u8> {
    let mut hash = vec![0xa5; 32];
    hash[..2].copy_from_slice(&n.to_be_bytes());
    hash
}

fn known_under(handle: &str, hashes: &[u16]) -> v1::Account {
    let hashes = hashes.iter().map(|n| hash(*n)).collect();
    v1::Account { contact_hashes: Some(v1::ContactHashes { hashes }), ..account(handle) }
}

#[tokio::test]
async fn an_address_book_lets_in_whom_it_holds() {
    let world = World::new().await;
    world.people(&["alice"]).await;
    world.upsert(vec![known_under("bob", &[1, 2]), known_under("carol", &[3])]).await.unwrap();
    let alice = world.person("alice");
    alice.set(audience(&[Audience::AddressBook])).await;
    let (bob, carol) = (world.person("bob"), world.person("carol"));
    assert_eq!(bob.may_call("alice").await.0, Outcome::Request);
    world.address_book("alice", false, vec![hash(2), hash(9), hash(2)], vec![]).await.unwrap();
    assert_eq!(
        bob.may_call("alice").await,
        (Outcome::Allow, "CALLEE_ALLOWS".into()),
        "not why: it is her book"
    );
    let incoming = alice.can_call("bob").await.unwrap().incoming.unwrap();
    assert_eq!(incoming.reason, "ADDRESS_BOOK");
    assert_eq!(carol.may_call("alice").await.0, Outcome::Request);
    assert_eq!(alice.callers(0, "").await.unwrap().people.len(), 1, "who is in the book is known");

    world.upsert(vec![account("bob")]).await.unwrap();
    assert_eq!(bob.may_call("alice").await.0, Outcome::Allow, "what is left out stays");
    world.upsert(vec![known_under("bob", &[])]).await.unwrap();
    assert_eq!(bob.may_call("alice").await.0, Outcome::Request);
    world.address_book("alice", true, vec![hash(3)], vec![]).await.unwrap();
    assert_eq!(carol.may_call("alice").await.0, Outcome::Allow);
    world.address_book("alice", false, vec![], vec![hash(3)]).await.unwrap();
    assert_eq!(carol.may_call("alice").await.0, Outcome::Request);
}

#[tokio::test]
async fn an_address_book_has_bounds_and_is_changed_wholly_or_not() {
    let world = World::new().await;
    world.people(&["alice"]).await;
    for chunk in 0..10u16 {
        let add = (0..1_000).map(|n| hash(chunk * 1_000 + n)).collect();
        world.address_book("alice", false, add, vec![]).await.unwrap();
    }
    let bad = Code::InvalidArgument;
    let more = world.address_book("alice", false, vec![hash(10_000)], vec![]).await;
    assert_fails(more, Code::ResourceExhausted, "ADDRESS_BOOK_FULL");
    world.address_book("alice", false, vec![hash(10_000)], vec![hash(0)]).await.expect("one for one");
    let more = world.address_book("alice", false, vec![hash(1); 1_001], vec![]).await;
    assert_fails(more, bad, "TOO_MANY_ITEMS");
    assert_fails(world.address_book("alice", false, vec![vec![1; 31]], vec![]).await, bad, "HASH_INVALID");
    let unknown = world.address_book("nobody", false, vec![hash(1)], vec![]).await;
    assert_fails(unknown, Code::NotFound, "ACCOUNT_UNKNOWN");
    let hashes: Vec<u16> = (0..17).collect();
    assert_fails(world.upsert(vec![known_under("bob", &hashes)]).await, bad, "TOO_MANY_ITEMS");
    let short = v1::ContactHashes { hashes: vec![vec![1; 33]] };
    let short = v1::Account { contact_hashes: Some(short), ..account("bob") };
    assert_fails(world.upsert(vec![short]).await, bad, "HASH_INVALID");
}

#[tokio::test]
async fn an_accepted_message_lets_in_only_who_chose_that_audience() {
    let world = World::new().await;
    world.people(&["alice", "bob"]).await;
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.messages(vec![message("alice", "bob", true, true)]).await.unwrap();
    assert_eq!(alice.may_call("bob").await.0, Outcome::Request, "accepting a message grants nothing");
    bob.set(audience(&[Audience::DmAccepted])).await;
    assert_eq!(alice.may_call("bob").await, (Outcome::Allow, "DM_ACCEPTED".into()));
    world.messages(vec![message("alice", "bob", true, false)]).await.unwrap();
    assert_eq!(alice.may_call("bob").await.0, Outcome::Request);
    world.messages(vec![message("alice", "bob", false, true)]).await.unwrap();
    assert_eq!(alice.may_call("bob").await.0, Outcome::Allow, "accepted implies sent");
    world.messages(vec![message("alice", "bob", false, false)]).await.unwrap();
    assert_eq!(alice.may_call("bob").await.0, Outcome::Request);

    let bad = Code::InvalidArgument;
    assert_fails(world.messages(vec![message("bob", "bob", true, false)]).await, bad, "WRITES_TO_ITSELF");
    let many = (0..1_001).map(|_| message("alice", "bob", true, false)).collect();
    assert_fails(world.messages(many).await, bad, "TOO_MANY_ITEMS");
    let half = vec![message("alice", "bob", true, true), message("alice", "nobody", true, true)];
    assert_fails(world.messages(half).await, Code::NotFound, "ACCOUNT_UNKNOWN");
    assert_eq!(alice.may_call("bob").await.0, Outcome::Request, "all or none");
}

#[tokio::test]
async fn what_the_platform_takes_back_stops_what_rings() {
    let world = World::new().await;
    world.people(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let mut alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    bob.who.set(audience(&[Audience::Verified, Audience::DmAccepted])).await;
    let badge = |verified| vec![v1::Account { verified: Some(verified), ..account("alice") }];
    world.upsert(badge(true)).await.unwrap();
    alice.place("bob", "r1").await.unwrap();
    bob.call_is(CallState::Ringing).await;
    world.upsert(badge(false)).await.unwrap();
    assert_eq!(bob.end().await, EndReason::Declined);
    alice.end().await;

    world.messages(vec![message("alice", "bob", true, true)]).await.unwrap();
    alice.place("bob", "r2").await.unwrap();
    bob.call_is(CallState::Ringing).await;
    world.messages(vec![message("alice", "bob", true, false)]).await.unwrap();
    assert_eq!(bob.end().await, EndReason::Declined);
    alice.end().await;
}
