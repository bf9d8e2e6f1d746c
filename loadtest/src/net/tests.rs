//! A pipe alone on virtual time: what it does is what it was told to do.

use std::time::Instant;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// One packet: its number, when it came in and when it came out.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Passed {
    number: u64,
    after: Duration,
    at: Duration,
}

/// Sends `count` packets of `bytes` bytes, one each `gap`, and gives what comes out.
fn pass(conditions: Conditions, count: u64, gap: Duration, bytes: usize) -> (Vec<Passed>, Injected) {
    let start = Instant::now();
    let mut pipe = Pipe::new(conditions, 7, Some(start));
    let mut out = Vec::new();
    let mut drain = |pipe: &mut Pipe<(u64, Instant)>, until: Option<Instant>| {
        while let Some(due) = pipe.poll_timeout().filter(|due| until.is_none_or(|until| *due <= until)) {
            let (held, (number, sent_at)) = pipe.pop(due).expect("it is due");
            assert_eq!(due - sent_at, held);
            out.push(Passed { number, after: held, at: due - start });
        }
    };
    for number in 0..count {
        let now = start + gap * u32::try_from(number).unwrap();
        drain(&mut pipe, Some(now));
        pipe.push(now, bytes, true, (number, now));
    }
    drain(&mut pipe, None);
    let injected = pipe.injected();
    (out, injected)
}

/// Lengths of the runs of missing numbers.
fn holes(passed: &[Passed]) -> Vec<u64> {
    let gaps = passed.windows(2).map(|pair| pair[1].number - pair[0].number - 1);
    gaps.filter(|gap| *gap > 0).collect()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

fn near(found: f64, expected: f64, within: f64) {
    assert!((found - expected).abs() <= expected * within, "{found} is not {expected} within {within}");
}

#[test]
fn without_conditions_everything_passes_at_once_and_in_order() {
    let (passed, injected) = pass(Conditions::default(), 1000, 20 * MS, 150);
    assert_eq!(passed.len(), 1000);
    assert!(passed.iter().enumerate().all(|(n, p)| p.number == n as u64 && p.after.is_zero()));
    assert_eq!(injected, Injected { packets: 1000, ..Injected::default() });
}

#[test]
fn random_loss_takes_its_share_and_single_packets() {
    let conditions = Conditions { loss: 0.02, ..Conditions::default() };
    let (passed, injected) = pass(conditions, 200_000, 20 * MS, 150);
    near(1.0 - passed.len() as f64 / 200_000.0, 0.02, 0.05);
    assert_eq!(injected.lost, 200_000 - passed.len() as u64);
    // Of independent losses, 2 % follow another one.
    near(mean(holes(&passed).iter().map(|hole| *hole as f64)), 1.0 / 0.98, 0.02);
}

#[test]
fn bursts_take_their_share_in_runs_of_their_length() {
    let burst = Burst::new(0.05, 8.0, 1.0);
    let (passed, _) = pass(Conditions { burst, ..Conditions::default() }, 2_000_000, 20 * MS, 150);
    near(1.0 - passed.len() as f64 / 2_000_000.0, 0.05, 0.05);
    near(mean(holes(&passed).iter().map(|hole| *hole as f64)), 8.0, 0.05);
}

#[test]
fn a_thin_burst_loses_a_part_of_its_packets() {
    let burst = Burst::new(0.05, 20.0, 0.5);
    let (passed, _) = pass(Conditions { burst, ..Conditions::default() }, 2_000_000, 20 * MS, 150);
    near(1.0 - passed.len() as f64 / 2_000_000.0, 0.05, 0.05);
    near(mean(holes(&passed).iter().map(|hole| *hole as f64)), 1.0 / (1.0 - 0.5 * 0.95), 0.05);
}

#[test]
fn bursts_that_would_begin_more_often_than_they_end_cannot_be() {
    assert!(Burst::new(0.5, 1.0, 1.0).is_some());
    assert_eq!(Burst::new(0.6, 1.0, 1.0), None);
    assert_eq!(Burst::new(0.5, 8.0, 0.5), None);
}

#[test]
fn delay_holds_each_packet_for_just_that_long() {
    let conditions = Conditions { delay: 80 * MS, ..Conditions::default() };
    let (passed, injected) = pass(conditions, 500, 20 * MS, 150);
    assert!(passed.len() == 500 && passed.iter().all(|p| p.after == 80 * MS));
    assert_eq!(injected.mean_held(), Some(80 * MS));
}

#[test]
fn jitter_with_overtaking_is_evenly_spread_and_reorders() {
    let conditions = Conditions { delay: 50 * MS, jitter: 100 * MS, reorder: true, ..Conditions::default() };
    let (passed, _) = pass(conditions, 50_000, 20 * MS, 150);
    let after = |p: &Passed| p.after.as_secs_f64() * 1e3;
    near(mean(passed.iter().map(after)), 100.0, 0.01);
    let below = |ms: f64| passed.iter().filter(|p| after(p) < ms).count() as f64 / 50_000.0;
    near(below(75.0), 0.25, 0.05);
    near(below(125.0), 0.75, 0.05);
    assert!(below(50.0) == 0.0 && below(150.1) == 1.0);
    assert!(passed.windows(2).any(|pair| pair[1].number < pair[0].number), "some overtake others");
}

#[test]
fn jitter_without_overtaking_keeps_the_order() {
    let conditions = Conditions { jitter: 100 * MS, ..Conditions::default() };
    let (passed, _) = pass(conditions, 50_000, 20 * MS, 150);
    assert!(passed.windows(2).all(|pair| pair[1].number == pair[0].number + 1));
    assert!(passed.iter().all(|p| p.after <= 100 * MS));
    assert!(passed.windows(2).any(|pair| pair[0].at == pair[1].at), "those behind a late one come with it");
}

#[test]
fn duplicates_are_the_same_packet_again() {
    let conditions = Conditions { duplicate: 0.1, ..Conditions::default() };
    let (passed, injected) = pass(conditions, 50_000, 20 * MS, 150);
    let doubled = passed.windows(2).filter(|pair| pair[0] == pair[1]).count();
    near(doubled as f64, 5000.0, 0.05);
    assert_eq!((injected.duplicated as usize, passed.len()), (doubled, 50_000 + doubled));
}

#[test]
fn a_bottleneck_passes_its_rate_and_holds_no_packet_longer_than_its_queue() {
    // 1.2 Mbit/s want to go through 600 kbit/s.
    let rate = Rate { bits_per_second: 600_000, queue: 200 * MS };
    let conditions = Conditions { rate: Some(rate), ..Conditions::default() };
    let (passed, injected) = pass(conditions, 10_000, 8 * MS, 1172);
    let seconds = passed.last().unwrap().at.as_secs_f64();
    near(passed.len() as f64 * 1200.0 * 8.0 / seconds, 600_000.0, 0.01);
    near(injected.loss().unwrap(), 0.5, 0.02);
    assert!(passed.iter().all(|p| p.after <= 200 * MS));
    assert!(passed.iter().any(|p| p.after > 180 * MS), "the queue fills");
}

#[test]
fn a_bottleneck_that_is_wide_enough_changes_nothing() {
    let rate = Rate { bits_per_second: 600_000, queue: 200 * MS };
    let conditions = Conditions { rate: Some(rate), ..Conditions::default() };
    let (passed, _) = pass(conditions, 1000, 20 * MS, 1172);
    assert!(passed.len() == 1000 && passed.iter().all(|p| p.after.is_zero()));
}

#[test]
fn a_blackout_takes_what_comes_in_its_time_and_nothing_else() {
    let blackout = Blackout { at: Duration::from_secs(5), lasts: Duration::from_secs(3) };
    let (passed, injected) =
        pass(Conditions { blackouts: vec![blackout], ..Conditions::default() }, 1000, 20 * MS, 150);
    assert_eq!(holes(&passed), [150]);
    assert_eq!(passed[249].at, Duration::from_millis(4980));
    assert_eq!(passed[250].at, Duration::from_secs(8));
    assert_eq!(injected.blacked_out, 150);
}

#[test]
fn the_same_seed_loses_the_same_packets_and_another_one_others() {
    let run = |seed| {
        let now = Instant::now();
        let mut pipe = Pipe::new(Conditions { loss: 0.3, ..Conditions::default() }, seed, None);
        (0..200).for_each(|number| pipe.push(now, 100, true, number));
        std::iter::from_fn(|| pipe.flush()).collect::<Vec<u32>>()
    };
    assert_eq!(run(seed(1, 4)), run(seed(1, 4)));
    assert_ne!(run(seed(1, 4)), run(seed(1, 5)));
    assert_ne!(run(seed(1, 4)), run(seed(2, 4)));
}
