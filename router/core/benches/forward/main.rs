//! What a forwarded packet costs in memory: `cargo bench -p duocast-router-core --bench forward [-- NAME] [--seconds N]`.
//!
//! Clients encrypt ahead; what is timed is the shard (of several: all of them, one after the other) from received datagram to datagram ready to send, a turn of one
//! millisecond at a time. Both parties of a call send 50 packets of 120 B and 120 of 1100 B a second.
#![allow(missing_docs, reason = "a benchmark has no users")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![expect(clippy::print_stdout, reason = "its table")]

mod count;
mod world;

use std::time::{Duration, Instant};

use count::{Counting, so_far};
use world::{Shape, World};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SCENARIOS: [(&str, Shape); 8] = [
    ("calls-1", Shape { calls: 1, viewers: 1, estimates: false, workers: 1 }),
    ("calls-50", Shape { calls: 50, viewers: 1, estimates: false, workers: 1 }),
    ("estimate-50", Shape { calls: 50, viewers: 1, estimates: true, workers: 1 }),
    ("calls-300", Shape { calls: 300, viewers: 1, estimates: false, workers: 1 }),
    ("calls-500", Shape { calls: 500, viewers: 1, estimates: false, workers: 1 }),
    ("fan-out-10", Shape { calls: 1, viewers: 10, estimates: false, workers: 1 }),
    ("fan-out-200", Shape { calls: 1, viewers: 200, estimates: false, workers: 1 }),
    ("across-200", Shape { calls: 1, viewers: 200, estimates: false, workers: 2 }),
];

/// Virtual time before anything counts: caches and buffers get their size.
const WARM_UP: Duration = Duration::from_millis(1500);
const TURNS_PER_WINDOW: usize = 100;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let (mut filter, mut seconds) = (String::new(), 3);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seconds" => {
                seconds = args.next().and_then(|n| n.parse().ok()).expect("--seconds wants a number above 0");
            }
            _ => filter = arg,
        }
    }
    println!(
        "{:<13} {:>9} {:>9} {:>13} {:>12} {:>12}",
        "", "ns median", "ns least", "allocations", "KiB idle", "KiB active"
    );
    for (name, shape) in SCENARIOS.into_iter().filter(|(name, _)| filter.is_empty() || *name == filter) {
        measure(name, shape, seconds);
    }
}

/// Prints nanoseconds and allocations per forwarded packet, and what a leg holds before and under media.
fn measure(name: &str, shape: Shape, seconds: usize) {
    let empty = so_far().live_bytes;
    let mut world = World::connected(Instant::now(), shape);
    let kib_per_leg = |world: &World| (so_far().live_bytes - empty) / 1024 / world.legs() as i64;
    let idle = kib_per_leg(&world);
    for _ in 0..WARM_UP.as_millis() {
        run_turn(&mut world);
    }
    let (allocations, published, forwarded) = (so_far().allocations, world.published(), world.forwarded());
    let mut windows: Vec<f64> =
        (0..seconds * 1000 / TURNS_PER_WINDOW).map(|_| measure_window(&mut world)).collect();
    windows.sort_by(f64::total_cmp);
    let active = kib_per_leg(&world);
    let forwarded = world.forwarded() - forwarded;
    assert_eq!(
        forwarded,
        (world.published() - published) * shape.viewers as u64,
        "every packet was forwarded"
    );
    let allocations = (so_far().allocations - allocations) as f64 / forwarded as f64;
    let (median, least) = (windows[windows.len() / 2], windows[0]);
    println!("{name:<13} {median:>9.0} {least:>9.0} {allocations:>13.2} {idle:>12} {active:>12}");
}

fn measure_window(world: &mut World) -> f64 {
    let before = world.forwarded();
    let spent: Duration = (0..TURNS_PER_WINDOW).map(|_| run_turn(world)).sum();
    spent.as_nanos() as f64 / (world.forwarded() - before) as f64
}

fn run_turn(world: &mut World) -> Duration {
    world.send_media(true);
    let began = Instant::now();
    world.take_turn();
    let spent = began.elapsed();
    world.deliver();
    spent
}
