#![expect(clippy::disallowed_methods, reason = "a start for virtual time")]

use duocast_model::RoutePlan;

use super::*;
use crate::offer::IceSecret;

const OFFER: &str = include_str!("../../tests/fixtures/chromium-offer.sdp");

/// A call with two legs that have a client each.
fn open(shard: &mut Shard, now: Instant, n: u128) -> (CallId, [LegId; 2]) {
    let (call, legs) = (CallId::from_u128(n), [2 * n, 2 * n + 1].map(LegId::from_u128));
    let plan = RoutePlan::new(call, Generation(1), legs.to_vec(), Vec::new()).unwrap();
    assert!(shard.handle_plan(now, &plan).applied);
    for leg in legs {
        let secret = IceSecret([leg.as_u128() as u8; 24]);
        shard.handle_offer(now, call, leg, OFFER, &secret).unwrap();
    }
    (call, legs)
}

#[test]
fn a_panic_ends_one_call_and_no_other() {
    let now = Instant::now();
    let config = ShardConfig {
        announced: vec![([198, 51, 100, 7], 4000).into()],
        announced_tcp: Vec::new(),
        max_legs: 8,
    };
    let mut shard = Shard::new(config);
    let (broken, broken_legs) = open(&mut shard, now, 1);
    let (other, other_legs) = open(&mut shard, now, 2);
    let key = shard.key_of(broken, broken_legs[0]).unwrap();
    shard.visit(now, key, |_, _| panic!("a defect, provoked by the test"));
    shard.settle(now);
    assert_eq!((shard.counters().panics, shard.leg_count(), shard.call_count()), (1, 2, 2));
    let mut told = std::iter::from_fn(|| shard.poll_event()).collect::<Vec<_>>();
    told.sort_by_key(|Event::LegChanged { leg, .. }| *leg);
    let closed = |leg| Event::LegChanged { call: broken, leg, state: LegState::Closed };
    assert_eq!(told, broken_legs.map(closed));
    assert!(shard.leg_counters(other, other_legs[0]).is_some());
    let again = shard.handle_offer(now, broken, broken_legs[0], OFFER, &IceSecret([9; 24]));
    assert!(again.is_ok(), "a new offer revives the leg");
}
