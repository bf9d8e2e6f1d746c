//! What strangers, idlers and time cost: `cargo bench -p duocast-router-core --bench edge [-- churn|idle] [--sessions N]`.
//!
//! `churn`: 100,000 short sessions through one shard; what it holds after each ten thousand, which must not grow.
//! `idle`: 2,000 connected legs without media; the share of a core that they take.
#![allow(missing_docs, reason = "a benchmark has no users")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![expect(clippy::print_stdout, reason = "its table")]

mod churn;
#[path = "../forward/count.rs"]
#[allow(dead_code, reason = "allocations are the other benchmark's")]
mod count;
#[path = "../forward/world.rs"]
#[allow(dead_code, reason = "media is the other benchmark's")]
mod world;

use std::time::{Duration, Instant};

use churn::Churn;
use count::Counting;
use world::{Shape, World};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SESSIONS: u64 = 100_000;
/// How often it is looked at.
const LOOKS: u64 = 10;
/// What an empty shard may hold more at the end than at the first look: caches of libraries find their size late.
const GROWTH_MAX_BYTES: i64 = 32 * 1024;

const IDLE_CALLS: usize = 1_000;
/// Virtual time that idle legs are watched for: several consent checks and reports of each.
const IDLE_TIME: Duration = Duration::from_secs(30);

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let (mut filter, mut sessions) = (String::new(), SESSIONS);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--sessions" => {
                sessions = args.next().and_then(|n| n.parse().ok()).expect("--sessions wants a number");
            }
            _ => filter = arg,
        }
    }
    let is_wanted = |name: &str| filter.is_empty() || filter == name;
    if is_wanted("churn") {
        run_churn(sessions);
    }
    if is_wanted("idle") {
        run_idle();
    }
}

fn run_churn(sessions: u64) {
    let began = Instant::now();
    let mut churn = Churn::new(began);
    let mut first = None;
    println!("{:>9} {:>16} {:>7} {:>8}", "sessions", "KiB of an empty", "known", "seconds");
    for look in 1..=LOOKS {
        (0..sessions / LOOKS / 2).for_each(|_| churn.run_call());
        let rest = churn.rest();
        let kib = rest.live_bytes as f64 / 1024.0;
        println!(
            "{:>9} {kib:>16.1} {:>7} {:>8.0}",
            look * sessions / LOOKS,
            rest.known,
            began.elapsed().as_secs_f64()
        );
        assert_eq!(rest.known, 0, "legs or calls are left");
        let growth = rest.live_bytes - *first.get_or_insert(rest.live_bytes);
        assert!(growth <= GROWTH_MAX_BYTES, "it grew by {growth} bytes since the first look");
    }
}

/// Of this thread: what else runs on the machine is not counted.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours, which the kernel fills.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "every Linux has this clock");
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// The clients run in between and push the shard's state out of the caches, so that a server of its own does better.
fn run_idle() {
    let mut world = World::connected(
        Instant::now(),
        Shape { calls: IDLE_CALLS, viewers: 1, estimates: false, workers: 1 },
    );
    let turns = IDLE_TIME.as_millis();
    let (mut all, mut busiest) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..turns / 1000 {
        let mut second = Duration::ZERO;
        for _ in 0..1000 {
            world.send_media(false);
            let began = cpu_time();
            world.take_turn();
            second += cpu_time() - began;
            world.deliver();
        }
        all += second;
        busiest = busiest.max(second);
    }
    let share = |time: Duration, of: f64| time.as_secs_f64() / of * 100.0;
    println!(
        "{} idle legs: {:.2} % of a core, {:.2} % in the busiest second",
        world.legs(),
        share(all, IDLE_TIME.as_secs_f64()),
        share(busiest, 1.0)
    );
}
