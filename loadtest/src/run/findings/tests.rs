use std::time::Duration;

use super::*;
use crate::run::stats::{Server, Traffic};

/// Twenty calls that are well: 1 ms of latency, nothing lost, signalling in 20 ms.
fn well() -> Summary {
    let mut s = Summary { ended: "planned".into(), run: Duration::from_secs(30), ..Summary::default() };
    for call in 0..20 {
        for _ in 0..2 {
            s.receivers.push(Receiver {
                call,
                packets: 1000,
                gap_s: 0.04,
                gap_from_s: call as f64,
                ..Receiver::default()
            });
        }
        s.ring.add(Duration::from_millis(20));
        s.join.add(Duration::from_millis(20));
        s.hang_up.add(Duration::from_millis(20));
        s.latency_audio.add(Duration::from_millis(1));
    }
    s
}

/// The same with a group of four clients beside the others.
fn with_group(clients: u64) -> Summary {
    let mut s = well();
    let traffic = |received| Traffic { expected: 1000, received, ..Traffic::default() };
    for (name, clients) in [(REST, 40 - clients), ("far", clients)] {
        let mut group = GroupFigures { name: name.into(), clients, ..GroupFigures::default() };
        group.received = traffic(1000);
        group.sent = traffic(1000);
        group.times.received.add_micros(1000);
        group.times.sent.add_micros(1000);
        group.jitter.add_micros(300);
        s.groups.push(group);
    }
    s.receivers.iter_mut().take(2 * clients as usize).for_each(|receiver| receiver.group = 1);
    s
}

fn kinds(s: &Summary) -> Vec<&'static str> {
    find(s).iter().map(|finding| finding.kind).collect()
}

fn only(s: &Summary) -> Finding {
    let found = find(s);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next().unwrap()
}

fn stand_still(receiver: &mut Receiver, seconds: f64, missing: u64) {
    (receiver.gap_from_s, receiver.gap_s, receiver.gap_missing) = (12.0, seconds, missing);
}

#[test]
fn a_run_that_is_well_has_no_findings() {
    assert_eq!(kinds(&well()), [""; 0]);
    assert_eq!(kinds(&with_group(4)), [""; 0]);
    assert_eq!(kinds(&Summary::default()), [""; 0]);
}

#[test]
fn a_worker_that_stalls_is_the_router_when_all_are_late_and_one_of_several_when_some_are() {
    let mut s = well();
    s.receivers.iter_mut().for_each(|receiver| stand_still(receiver, 1.02, 0));
    let found = only(&s);
    assert_eq!(found.kind, "standstill");
    let expected = "media of all calls stood still for 1.0 s at 12.0 s; what was sent meanwhile came late and was not lost: the router or its machine";
    assert_eq!(found.sentence, expected);

    let mut s = well();
    s.receivers.iter_mut().take(20).for_each(|receiver| stand_still(receiver, 1.0, 0));
    let found = only(&s);
    assert!(
        found.sentence.starts_with("media of 20 of 40 streams")
            && found.sentence.ends_with("one worker or node of several")
    );
}

#[test]
fn a_generator_that_stands_still_blames_itself() {
    let mut s = well();
    s.receivers.iter_mut().for_each(|receiver| stand_still(receiver, 1.0, 0));
    s.generator.media_lag.add(Duration::from_millis(950));
    assert_eq!(only(&s).kind, "generator");
}

#[test]
fn one_stream_that_stops_is_not_the_routers_standstill() {
    let mut s = well();
    stand_still(&mut s.receivers[3], 2.0, 100);
    assert_eq!(kinds(&s), [""; 0]);
}

#[test]
fn a_blackout_is_its_groups_with_what_was_lost_in_it() {
    let mut s = with_group(4);
    let of_group = s.receivers.iter_mut().filter(|receiver| receiver.group == 1);
    of_group.for_each(|receiver| stand_still(receiver, 3.01, 150));
    let found = only(&s);
    assert_eq!(found.kind, "blackout");
    assert_eq!(
        found.sentence,
        "nothing passed between the 4 clients of far and the others for 3.0 s at 12.0 s; 150 packets of each stream were lost: their network"
    );
}

#[test]
fn a_slow_store_is_told_from_a_slow_control_and_from_a_late_generator() {
    let slow = || {
        let mut s = well();
        (0..10).for_each(|_| s.ring.add(Duration::from_millis(900)));
        s
    };
    let mut s = slow();
    assert_eq!(only(&s).kind, "control");
    s.server = Server { store_batch_seconds: Some(20.0), store_batches: Some(40.0), ..Server::default() };
    let found = only(&s);
    assert_eq!(found.kind, "store");
    assert_eq!(
        found.sentence,
        "place → rings took 900 ms (p95) while audio took 1 ms (p99): control's store is slow, its batches took 500 ms on average"
    );
    s.server.store_batch_seconds = Some(0.2);
    assert!(only(&s).sentence.ends_with("control is slow, and its store is not"));
    let mut late = slow();
    late.generator.task_lag.add(Duration::from_millis(400));
    assert_eq!(only(&late).kind, "generator");
}

#[test]
fn loss_delay_and_jitter_of_a_group_are_told_with_what_was_injected() {
    let mut s = with_group(4);
    s.groups[1].received.received = 980;
    (s.groups[1].down.packets, s.groups[1].down.lost) = (1000, 20);
    let found = only(&s);
    assert_eq!((found.kind, found.figures[0].as_str()), ("loss", "groups.far.received_loss_percent"));
    assert_eq!(
        found.sentence,
        "packets of the 4 clients of far were lost: to them 2.00 % (2.00 % injected), and 0.00 % among the others: their network"
    );

    let mut s = with_group(4);
    (0..10).for_each(|_| s.groups[1].times.sent.add_micros(101_000));
    assert!(only(&s).sentence.starts_with("packets took 100 ms longer from the 4 clients of far (p50)"));

    let mut s = with_group(4);
    (0..10).for_each(|_| s.groups[1].jitter.add_micros(17_000));
    assert_eq!(only(&s).kind, "jitter");
}

#[test]
fn one_bad_client_is_found_in_its_group_and_without_one() {
    let mut s = with_group(1);
    s.groups[1].sent.received = 950;
    assert_eq!(only(&s).kind, "bad_clients");
    assert!(only(&s).sentence.contains("the one client of far"));

    let mut s = well();
    s.receivers[7].loss = 0.05;
    let found = only(&s);
    assert_eq!(found.kind, "bad_clients");
    assert_eq!(found.sentence, "1 of 40 streams lost 5.00 %, the others 0.00 %: single clients (calls 3)");
}

#[test]
fn loss_of_everybody_is_nobody_s_own() {
    let mut s = well();
    s.receivers.iter_mut().for_each(|receiver| receiver.loss = 0.02);
    let found = only(&s);
    assert_eq!((found.kind, found.figures[0].as_str()), ("loss", "loss_percent"));
}

#[test]
fn a_server_that_dies_is_named_and_the_loss_that_it_causes_is_not() {
    let mut s = well();
    s.receivers.iter_mut().for_each(|receiver| receiver.loss = 0.2);
    assert_eq!(kinds(&s), ["loss"]);
    s.ended = "server_lost".into();
    assert_eq!(kinds(&s), ["server_lost"]);
    assert_eq!(find(&s)[0].json()["figures"][0], "ended");
}
