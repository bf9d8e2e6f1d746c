//! What a packet costs that reaches many viewers through sockets: `cargo bench -p duocast-router --bench fan_out [-- VIEWERS]`.
//!
//! One worker thread of a whole node on loopback, one publisher with 50 packets of 120 B and 30 frames of four packets of 1100 B
//! a second, and plain str0m clients that view it. What is timed is all CPU of the worker's thread, the kernel's share of the
//! send included; over loopback that holds the way to the viewer's socket too. The clients share the machine with it.
#![allow(missing_docs, reason = "a benchmark has no users")]
#![expect(clippy::print_stdout, reason = "its table")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use common::peer::{Offered, Peer, Sends};
use common::{Control, Node};
use duocast_model::{CallId, Generation, LegId, Route, RoutePlan};
use duocast_wire::v1;
use v1::control_to_node::Kind as ToNode;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(10);

fn main() {
    let wanted: Vec<u128> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let wanted = if wanted.is_empty() { vec![1, 10, 200] } else { wanted };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let columns = ["viewers", "packets/s", "us a packet", "of it kernel", "of a core", "lost"];
    println!("{}", columns.map(|column| format!("{column:>14}")).concat());
    for viewers in wanted {
        runtime.block_on(measure(viewers));
    }
}

async fn measure(viewers: u128) {
    let mut control = Control::start().await;
    let node = Node::start_with_capacity(&control, vec![LOOPBACK], viewers as u32 + 1);
    let mut link = control.link().await;
    link.send(ToNode::Synced(v1::Synced {})).await;

    let call = CallId::from_u128(1);
    let legs: Vec<LegId> = (0..=viewers).map(|n| LegId::from_u128(n + 1)).collect();
    let routes = legs[1..].iter().map(|to| Route { from: legs[0], to: *to }).collect();
    let plan = RoutePlan::new(call, Generation(1), legs.clone(), routes).expect("a valid plan");
    assert!(link.plan(&plan).await.applied);
    let mut peers: Vec<Peer> = Vec::new();
    for leg in &legs {
        let offered = Offered::new(LOOPBACK);
        let answer = link.offer(call, *leg, &offered.sdp).await.expect("an answer");
        let sends = if peers.is_empty() { Sends::Show } else { Sends::Nothing };
        peers.push(offered.answered_as(sends, &answer));
    }
    for leg in &legs {
        link.leg_is(*leg, v1::LegState::Connected).await;
    }
    tokio::time::sleep(WARM_UP).await;
    let (began, cpu, before) = (Instant::now(), worker_cpu(), counts(&peers));
    tokio::time::sleep(MEASURED).await;
    let (time, after) = (began.elapsed(), counts(&peers));
    let [user, kernel] = worker_cpu().map(|time| time.as_secs_f64() * 1e6);
    let [user, kernel] = [user - cpu[0].as_secs_f64() * 1e6, kernel - cpu[1].as_secs_f64() * 1e6];
    let delivered = (after.delivered - before.delivered) as f64;
    // The publisher's packets are counted where they are sent: what is on its way at both ends cancels out.
    let sent = ((after.published - before.published) * viewers as u64) as f64;
    println!(
        "{viewers:>14}{:>14.0}{:>14.2}{:>14.2}{:>13.1}%{:>13.2}%",
        delivered / time.as_secs_f64(),
        (user + kernel) / delivered,
        kernel / delivered,
        (user + kernel) / 1e4 / time.as_secs_f64(),
        100.0 * (1.0 - delivered / sent),
    );
    drop(peers);
    node.stop().await;
}

struct Counts {
    published: u64,
    delivered: u64,
}

fn counts(peers: &[Peer]) -> Counts {
    let (publisher, viewers) = peers.split_first().expect("a publisher");
    let seen = viewers.iter().map(Peer::seen).map(|seen| (seen.audio + seen.video) as u64);
    Counts { published: publisher.seen().sent, delivered: seen.sum() }
}

/// User and system time of the worker's thread.
fn worker_cpu() -> [Duration; 2] {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs").flatten().map(|task| task.path());
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let worker = tasks.into_iter().find(|task| read(task.join("comm")).trim() == "router-0");
    let stat = read(worker.expect("a worker").join("stat"));
    // After the name in brackets: utime and stime are the 14th and 15th of all fields, in ticks of 10 ms.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<u64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    [ticks[0], ticks[1]].map(|ticks| Duration::from_millis(ticks * 10))
}
