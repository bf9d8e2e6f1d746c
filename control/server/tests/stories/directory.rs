//! What the platform says of its accounts.

use duocast_wire::v1;

use crate::support::{World, account, follow};

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
