//! One who publishes and many who view, told on virtual time.

mod support;

use duocast_control_core::broadcast::{BroadcastEnd, BroadcastView, MAX_VIEWERS, ViewingToken};
use duocast_control_core::policy::{may_broadcast, may_watch};
use duocast_control_core::switchboard::{BroadcastError, CommandError, LegReport, StartBroadcast};
use duocast_model::{CallId, LegId, PrivacySettings, Route};
use support::{World, account, node, person};

const TOKEN: ViewingToken = ViewingToken([7; 32]);

fn id(n: u128) -> CallId {
    CallId::from_u128(1_000_000 + n)
}

fn start(world: &mut World, device: &str, request: &str, n: u128) -> Result<BroadcastView, BroadcastError> {
    let host = world.devices[device].account.clone();
    let settings = PrivacySettings { calling: true, ..PrivacySettings::DEFAULT };
    let ask = StartBroadcast {
        session: world.session(device),
        request: request.into(),
        pass: may_broadcast(account(&host), settings).expect("calling is on"),
        host: person(&host),
        fresh: id(n),
        token: ViewingToken([n as u8; 32]),
        video: true,
    };
    let started = world.board.handle_start_broadcast(world.now, ask);
    world.settle();
    let (view, token) = started?;
    assert!(token == ViewingToken([(view.id.as_u128() - 1_000_000) as u8; 32]), "the token is the first one");
    world.broadcasts.insert(view.id);
    world.devices.get_mut(device).unwrap().broadcast = Some(view.clone());
    Ok(view)
}

fn watch(world: &mut World, device: &str, token: ViewingToken) -> Result<BroadcastView, BroadcastError> {
    let viewer = account(&world.devices[device].account);
    let found = world.board.handle_token(world.now, &viewer, &token).map_err(BroadcastError::Budget)?;
    let pass = may_watch(viewer, found.map(|(id, _)| (id, false))).map_err(|_| BroadcastError::Unknown)?;
    let session = world.session(device);
    let watched = world.board.handle_watch(world.now, &pass, session);
    world.settle();
    let view = watched?;
    world.devices.get_mut(device).unwrap().broadcast = Some(view.clone());
    Ok(view)
}

fn told(world: &World, device: &str) -> BroadcastView {
    world.devices[device].broadcast.clone().expect("it was told of a broadcast")
}

fn end(world: &World, device: &str) -> Option<BroadcastEnd> {
    told(world, device).ended
}

/// `ann` publishes, each of `viewers` views; all legs are up.
fn on_air(viewers: &[&str]) -> (World, LegId, Vec<LegId>) {
    let mut world = World::new();
    world.online("ann").unwrap();
    start(&mut world, "ann", "r", 7).unwrap();
    let host = world.leg_up("ann", id(7)).leg;
    let mut legs = Vec::new();
    for viewer in viewers {
        world.online(viewer).unwrap();
        watch(&mut world, viewer, TOKEN).unwrap();
        legs.push(world.leg_up(viewer, id(7)).leg);
    }
    world.wait_s(2);
    (world, host, legs)
}

#[test]
fn what_the_host_publishes_goes_to_each_viewer_and_nothing_goes_back() {
    let (world, host, legs) = on_air(&["bob", "cyd", "dan"]);
    let plan = world.plan(id(7)).unwrap();
    assert_eq!(plan.legs().len(), 4);
    assert!(plan.has_audience(), "a node may spread them over its cores");
    let mut routes = plan.routes().to_vec();
    let mut expected: Vec<_> = legs.iter().map(|to| Route { from: host, to: *to }).collect();
    routes.sort();
    expected.sort();
    assert_eq!(routes, expected);
    let (ann, bob) = (told(&world, "ann"), told(&world, "bob"));
    assert_eq!((ann.is_host, ann.viewers, ann.leg_wanted), (true, Some(3), false));
    assert_eq!((bob.is_host, bob.viewers, bob.host_connected), (false, None, true));
    assert!(world.records.is_empty(), "nothing is kept");
}

#[test]
fn the_host_is_told_the_number_once_a_second_however_many_come() {
    let (mut world, ..) = on_air(&[]);
    let before = world.devices["ann"].last_seq;
    for n in 0..50 {
        let viewer = format!("v{n}");
        world.online(&viewer).unwrap();
        watch(&mut world, &viewer, TOKEN).unwrap();
        world.leg_up(&viewer, id(7));
    }
    world.wait_s(5);
    assert_eq!(told(&world, "ann").viewers, Some(50));
    assert_eq!(world.devices["ann"].last_seq - before, 1);
}

#[test]
fn once_stopped_it_is_over_for_all_and_the_token_opens_nothing() {
    let (mut world, ..) = on_air(&["bob", "cyd"]);
    let (bob, ann) = (world.session("bob"), world.session("ann"));
    let refused = world.board.handle_stop_broadcast(world.now, &account("bob"), bob, id(7));
    assert_eq!(refused, Err(BroadcastError::NotTheHost));
    world.board.handle_stop_broadcast(world.now, &account("ann"), ann, id(7)).unwrap();
    world.settle();
    for device in ["ann", "bob", "cyd"] {
        assert_eq!(end(&world, device), Some(BroadcastEnd::Stopped), "{device}");
    }
    assert!(world.plan(id(7)).unwrap().is_teardown());
    assert_eq!(watch(&mut world, "bob", TOKEN), Err(BroadcastError::Unknown));
    assert_eq!(world.connect_leg("bob", id(7), None), Err(CommandError::CallUnknown));
    assert_eq!(world.board.counts().broadcasts, 0);
    world.wait_s(120);
    start(&mut world, "ann", "r2", 8).expect("the account may broadcast again");
}

#[test]
fn who_leaves_is_out_of_the_plan_and_the_others_stay() {
    let (mut world, _, legs) = on_air(&["bob", "cyd"]);
    let bob = world.session("bob");
    world.board.handle_leave_broadcast(world.now, &account("bob"), bob, id(7)).unwrap();
    world.settle();
    world.wait_s(2);
    assert_eq!(end(&world, "bob"), Some(BroadcastEnd::Left));
    let plan = world.plan(id(7)).unwrap();
    assert!(!plan.legs().contains(&legs[0]) && plan.legs().contains(&legs[1]));
    assert_eq!(told(&world, "ann").viewers, Some(1));
}

#[test]
fn a_viewer_whose_leg_is_lost_may_connect_again_and_after_30_s_is_out() {
    let (mut world, _, legs) = on_air(&["bob", "cyd"]);
    for (viewer, leg) in [("bob", legs[0]), ("cyd", legs[1])] {
        let order = duocast_control_core::switchboard::LegOrder { node: node("n1"), leg };
        world.report(&order, id(7), LegReport::Closed);
        assert!(told(&world, viewer).leg_wanted);
    }
    world.leg_up("bob", id(7));
    world.wait_s(31);
    assert_eq!((end(&world, "bob"), end(&world, "cyd")), (None, Some(BroadcastEnd::Away)));
    assert_eq!(world.plan(id(7)).unwrap().routes().len(), 1);
}

#[test]
fn without_its_host_for_30_s_it_is_over() {
    let (mut world, host, _) = on_air(&["bob"]);
    let order = duocast_control_core::switchboard::LegOrder { node: node("n1"), leg: host };
    world.report(&order, id(7), LegReport::Stalled);
    assert!(!told(&world, "bob").host_connected);
    world.wait_s(20);
    world.report(&order, id(7), LegReport::Connected);
    world.wait_s(20);
    assert!(told(&world, "bob").host_connected, "it came back in time");
    world.report(&order, id(7), LegReport::Closed);
    world.wait_s(31);
    assert_eq!(end(&world, "bob"), Some(BroadcastEnd::HostLost));
}

#[test]
fn a_reload_goes_on_and_an_expired_session_is_out() {
    let (mut world, ..) = on_air(&["bob", "cyd"]);
    for device in ["ann", "bob"] {
        world.forget(device);
        world.online(device).unwrap();
        assert_eq!(told(&world, device).id, id(7), "the snapshot of the new session has it");
        world.leg_up(device, id(7));
    }
    world.offline("cyd");
    world.wait_s(31);
    assert_eq!((end(&world, "ann"), end(&world, "bob")), (None, None));
    assert_eq!(world.plan(id(7)).unwrap().routes().len(), 1, "cyd's session expired");
    world.offline("ann");
    world.wait_s(31);
    assert_eq!(end(&world, "bob"), Some(BroadcastEnd::HostLost));
}

#[test]
fn a_reload_without_media_after_it_does_not_stay_for_ever() {
    let (mut world, host, _) = on_air(&["bob"]);
    let order = duocast_control_core::switchboard::LegOrder { node: node("n1"), leg: host };
    world.report(&order, id(7), LegReport::Closed);
    world.forget("ann");
    world.online("ann").unwrap();
    world.wait_s(31);
    assert_eq!(end(&world, "bob"), Some(BroadcastEnd::HostLost));
}

#[test]
fn it_moves_with_its_node_and_ends_where_there_is_no_other() {
    let (mut world, ..) = on_air(&["bob"]);
    world.node_up("n2", "boot-2");
    world.node_leaving("n1");
    for device in ["ann", "bob"] {
        assert!(told(&world, device).leg_wanted, "{device}");
        assert_eq!(world.leg_up(device, id(7)).node, node("n2"));
    }
    assert_eq!(world.plans[&(node("n2"), id(7))].routes().len(), 1);
    world.node_down("n2");
    world.wait_s(60);
    assert_eq!(end(&world, "bob"), Some(BroadcastEnd::NodeLost));
}

#[test]
fn a_node_that_starts_anew_has_lost_the_legs_and_one_that_links_again_has_not() {
    let (mut world, ..) = on_air(&["bob"]);
    world.node_down("n1");
    world.node_up("n1", "boot-1");
    assert!(!told(&world, "bob").leg_wanted);
    assert_eq!(world.plan(id(7)).unwrap().routes().len(), 1);
    world.node_down("n1");
    world.node_up("n1", "boot-2");
    assert!(told(&world, "bob").leg_wanted && told(&world, "ann").leg_wanted);
}

#[test]
fn a_viewer_whom_the_host_blocks_hears_that_it_is_over() {
    let (mut world, ..) = on_air(&["bob", "bob/tv", "cyd"]);
    world.board.handle_viewer_blocked(world.now, &account("ann"), &account("bob"));
    world.settle();
    assert_eq!(end(&world, "bob"), Some(BroadcastEnd::Stopped));
    assert_eq!(end(&world, "bob/tv"), Some(BroadcastEnd::Stopped));
    assert_eq!(end(&world, "cyd"), None);
    assert_eq!(world.plan(id(7)).unwrap().routes().len(), 1);
}

#[test]
fn an_account_has_one_at_a_time_and_a_device_is_in_one() {
    let (mut world, ..) = on_air(&["bob"]);
    world.online("ann/phone").unwrap();
    assert_eq!(start(&mut world, "ann/phone", "r2", 8), Err(BroadcastError::AlreadyBroadcasting));
    assert_eq!(start(&mut world, "ann", "r", 9).unwrap().id, id(7), "a repeat answers as the first did");
    world.online("eve").unwrap();
    start(&mut world, "eve", "r", 10).unwrap();
    watch(&mut world, "bob", ViewingToken([10; 32])).unwrap();
    assert_eq!(world.plan(id(7)).unwrap().routes().len(), 0, "bob left the first");
}

#[test]
fn an_audience_is_bounded_and_tokens_are_not_tried_for_ever() {
    let (mut world, ..) = on_air(&[]);
    for n in 0..=MAX_VIEWERS {
        let viewer = format!("v{n}");
        world.online(&viewer).unwrap();
        let watched = watch(&mut world, &viewer, TOKEN);
        assert_eq!(watched.err(), (n == MAX_VIEWERS).then_some(BroadcastError::Full));
        if n < MAX_VIEWERS {
            world.leg_up(&viewer, id(7));
        }
    }
    assert_eq!(world.plan(id(7)).unwrap().routes().len(), MAX_VIEWERS);
    world.online("mallory").unwrap();
    let tried = (0..100).map(|n| watch(&mut world, "mallory", ViewingToken([100 + n; 32])));
    let refused = tried.filter(|tried| matches!(tried, Err(BroadcastError::Budget(_)))).count();
    assert_eq!(refused, 80);
}
