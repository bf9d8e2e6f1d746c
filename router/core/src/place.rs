//! Which worker of a node has a leg: the one place that says so.
//!
//! A call's two legs are on one worker, which the call's id names. The legs of a [plan with an
//! audience](RoutePlan::has_audience) are spread over all by their own ids. Ids are random, so that this spreads evenly, and says
//! the same after any reconnect of a client and any restart of the link to control.

use std::collections::BTreeSet;

use duocast_model::{CallId, LegId, RoutePlan};

/// How many workers a node has; none counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers(pub usize);

impl Workers {
    /// The worker of a call. Of a call that is spread, the one that counts it.
    pub fn of_call(self, call: CallId) -> usize {
        self.one_of(call.as_u128())
    }

    /// The worker of a leg.
    pub fn of_leg(self, call: CallId, leg: LegId, is_spread: bool) -> usize {
        if is_spread { self.one_of(leg.as_u128()) } else { self.of_call(call) }
    }

    /// Whether the legs of a plan are spread over the workers.
    pub fn spreads(self, plan: &RoutePlan) -> bool {
        plan.has_audience() && self.0 > 1
    }

    fn one_of(self, id: u128) -> usize {
        (id % self.0.max(1) as u128) as usize
    }
}

/// Which of a node's workers a shard is the data plane of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 0.
    pub worker: usize,
    /// Of so many.
    pub of: Workers,
}

impl Place {
    /// The only worker.
    pub const ALONE: Self = Self { worker: 0, of: Workers(1) };

    /// Of a call that is spread: whether this worker counts it.
    pub(crate) fn counts(self, call: CallId) -> bool {
        self.of.of_call(call) == self.worker
    }

    /// Every other worker.
    pub(crate) fn others(self) -> impl Iterator<Item = usize> {
        (0..self.of.0).filter(move |worker| *worker != self.worker)
    }

    /// What a plan asks of this worker.
    pub(crate) fn share_of(self, plan: &RoutePlan) -> Share {
        if !self.of.spreads(plan) {
            return Share { own: plan.legs().to_vec(), ..Share::default() };
        }
        let worker_of = |leg: LegId| self.of.of_leg(plan.call(), leg, true);
        let is_own = |leg: LegId| worker_of(leg) == self.worker;
        let mut share = Share { is_spread: true, ..Share::default() };
        share.own = plan.legs().iter().copied().filter(|leg| is_own(*leg)).collect();
        for route in plan.routes() {
            match (is_own(route.from), is_own(route.to)) {
                (true, false) => drop(share.audiences.insert((route.from, worker_of(route.to)))),
                (false, true) => drop(share.publishers.insert((route.from, worker_of(route.from)))),
                (true, true) | (false, false) => {}
            }
        }
        share
    }
}

/// What a plan asks of one worker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Share {
    /// Other workers have legs of the call too.
    pub(crate) is_spread: bool,
    /// The legs that are here.
    pub(crate) own: Vec<LegId>,
    /// Whom legs here view that are elsewhere, and where.
    pub(crate) publishers: BTreeSet<(LegId, usize)>,
    /// Which legs here are viewed elsewhere, and where.
    pub(crate) audiences: BTreeSet<(LegId, usize)>,
}

#[cfg(test)]
mod tests {
    use duocast_model::{Generation, Route};

    use super::*;

    fn leg(n: u128) -> LegId {
        LegId::from_u128(n)
    }

    /// Leg 0 publishes, all others view.
    fn plan(legs: u128) -> RoutePlan {
        let routes = (1..legs).map(|to| Route { from: leg(0), to: leg(to) }).collect();
        let legs = (0..legs).map(leg).collect();
        RoutePlan::new(CallId::from_u128(5), Generation(1), legs, routes).unwrap()
    }

    #[test]
    fn a_call_is_whole_on_the_worker_that_its_id_names() {
        let plan = plan(2);
        for worker in 0..4 {
            let share = Place { worker, of: Workers(4) }.share_of(&plan);
            assert_eq!(share, Share { own: vec![leg(0), leg(1)], ..Share::default() });
        }
        assert_eq!([leg(0), leg(1)].map(|leg| Workers(4).of_leg(plan.call(), leg, false)), [1, 1]);
        assert_eq!(Place::ALONE.share_of(&plan.with_audience()).publishers, BTreeSet::new());
    }

    #[test]
    fn each_leg_of_an_audience_is_on_one_worker_and_both_ends_know_where_the_other_is() {
        let plan = plan(7).with_audience();
        let shares = [0, 1, 2].map(|worker| Place { worker, of: Workers(3) }.share_of(&plan));
        let own = shares.each_ref().map(|share| share.own.clone());
        assert_eq!(own, [vec![leg(0), leg(3), leg(6)], vec![leg(1), leg(4)], vec![leg(2), leg(5)]]);
        assert_eq!(shares[0].audiences, BTreeSet::from([(leg(0), 1), (leg(0), 2)]));
        for share in &shares[1..] {
            assert_eq!((share.audiences.len(), &share.publishers), (0, &BTreeSet::from([(leg(0), 0)])));
        }
        assert_eq!(shares[0].publishers, BTreeSet::new());
    }
}
