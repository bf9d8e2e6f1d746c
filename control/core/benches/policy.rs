//! Time of one decision: `cargo bench -p duocast-control-core`.
//!
//! Criterion gives the mean for a few situations; before that each of a million decisions is timed alone, and the
//! distribution printed: a mean would hide a slow one. Both take the facts and give back the pass, account ids included.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![expect(clippy::disallowed_types, reason = "a benchmark measures real time")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use duocast_control_core::policy::{Facts, Profile, Relation, RequestHistory, Situation, decide};
use duocast_model::{AccountId, AudienceSet, PrivacySettings, Strangers};
use hdrhistogram::Histogram;

/// The promise: 99 of 100 decisions take less.
const P99_MAX: Duration = Duration::from_micros(50);
const SAMPLES: u64 = 1_000_000;

/// Any situation, from any number.
fn situation(number: u64) -> Situation {
    let mut rest = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    let mut take = |of: u64| {
        let taken = rest % of;
        rest /= of;
        taken
    };
    let request = [RequestHistory::None, RequestHistory::Pending, RequestHistory::Declined][take(3) as usize];
    let audience = AudienceSet::from_bits(take(64) as u8).expect("six audiences");
    let strangers = [Strangers::Request, Strangers::Deny][take(2) as usize];
    let mut flag = || take(2) == 1;
    let base = PrivacySettings::DEFAULT;
    Situation {
        caller: PrivacySettings { calling: flag(), require_e2ee: flag(), ..base },
        callee: PrivacySettings { calling: flag(), require_e2ee: flag(), audience, strangers, ..base },
        relation: Relation {
            caller_follows: flag(),
            callee_follows: flag(),
            in_address_book: flag(),
            caller_verified: flag(),
            dm_sent: flag(),
            dm_accepted: flag(),
        },
        grant: flag(),
        blocked_by_callee: flag(),
        blocked_by_caller: flag(),
        request,
        e2ee_available: flag(),
    }
}

fn facts(situation: Situation) -> Facts {
    let [caller, callee] =
        ["018f6c2e-caller", "018f6c2e-callee"].map(|id| AccountId::new(id).expect("an id"));
    Facts { caller, callee, situation }
}

/// The same without what decides early: nobody blocked anybody or is off, so that the answer comes from the last rules.
fn undecided(number: u64) -> Situation {
    let s = situation(number);
    let caller = PrivacySettings { calling: true, ..s.caller };
    let callee = PrivacySettings { calling: true, ..s.callee };
    Situation {
        caller,
        callee,
        grant: false,
        blocked_by_callee: false,
        blocked_by_caller: false,
        e2ee_available: true,
        ..s
    }
}

fn distribution(_: &mut Criterion) {
    print_distribution("any situation", situation);
    print_distribution("situations that only the last rules decide", undecided);
}

fn print_distribution(name: &str, situation: fn(u64) -> Situation) {
    let mut nanos = Histogram::<u64>::new_with_bounds(1, 1_000_000_000, 3).expect("valid bounds");
    for number in 0..SAMPLES {
        let asked = facts(situation(number));
        let begin = Instant::now();
        let _ = black_box(decide(Profile::Default, black_box(&asked)));
        nanos.saturating_record(begin.elapsed().as_nanos() as u64);
    }
    let at = |quantile: f64| nanos.value_at_quantile(quantile);
    let (p50, p90, p99, p999, max) = (at(0.5), at(0.9), at(0.99), at(0.999), nanos.max());
    println!(
        "decide, {SAMPLES} times, {name}: p50 {p50} ns, p90 {p90} ns, p99 {p99} ns, p99.9 {p999} ns, max {max} ns"
    );
    let p99 = Duration::from_nanos(p99);
    assert!(p99 < P99_MAX, "p99 of a decision is {p99:?}, and must be under {P99_MAX:?}");
}

fn means(criterion: &mut Criterion) {
    let on = PrivacySettings { calling: true, ..PrivacySettings::DEFAULT };
    let strangers = Situation::strangers(on, on);
    let mut group = criterion.benchmark_group("decide");
    for (name, situation) in [
        ("caller off: first rule", Situation::strangers(PrivacySettings::DEFAULT, on)),
        ("mutual contacts: allow", Situation { relation: Relation::MUTUAL, ..strangers }),
        ("strangers: request, last rule", strangers),
    ] {
        let asked = facts(situation);
        group.bench_with_input(BenchmarkId::from_parameter(name), &asked, |bencher, asked| {
            bencher.iter(|| decide(Profile::Default, black_box(asked)));
        });
    }
    group.finish();
}

criterion_group!(benches, distribution, means);
criterion_main!(benches);
