//! Nothing grows while calls come and go; the short form of `cargo bench -p duocast-router-core --bench edge -- churn`.

#[path = "../benches/edge/churn.rs"]
mod churn;
#[path = "../benches/forward/count.rs"]
#[allow(dead_code, reason = "allocations are the benchmarks'")]
mod count;

use std::time::Instant;

use churn::Churn;
use count::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Five ways to end, so often each before and after the first look.
const CALLS: usize = 50;

/// What a call may leave: its id and generation are remembered for a while (32 bytes, and the room a growing queue takes in
/// advance). A leg would leave 70 KiB.
const BYTES_PER_CALL: i64 = 128;

#[test]
#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
fn calls_that_end_leave_nothing_behind() {
    let mut churn = Churn::new(Instant::now());
    (0..CALLS).for_each(|_| churn.run_call());
    let before = churn.rest();
    assert_eq!(before.known, 0);
    (0..CALLS).for_each(|_| churn.run_call());
    let after = churn.rest();
    assert_eq!(after.known, 0);
    let growth = after.live_bytes - before.live_bytes;
    assert!(growth <= BYTES_PER_CALL * CALLS as i64, "{growth} bytes after {CALLS} more calls");
}
