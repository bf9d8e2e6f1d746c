//! Which of the node's workers an order of control is for. Pure.

use std::collections::HashSet;
use std::ops::Range;

use duocast_model::{CallId, LegId, RoutePlan};
use duocast_router_core::Workers;

/// Most calls that are spread over all workers; each worker bounds all of its calls alike. At the bound the plan of a new one is refused.
/// Higher costs memory for calls without media, lower refuses broadcasts.
const MAX_SPREAD: usize = 16_384;

/// Knows which calls are spread.
pub(crate) struct Spread {
    workers: Workers,
    calls: HashSet<CallId>,
}

impl Spread {
    pub(crate) fn over(workers: usize) -> Self {
        Self { workers: Workers(workers), calls: HashSet::new() }
    }

    /// The workers that a plan is for, and the plan as it is for them: a call that was spread once stays so. `None`: there is no room for it.
    pub(crate) fn workers_of(&mut self, plan: RoutePlan) -> Option<(RoutePlan, Range<usize>)> {
        let call = plan.call();
        let plan = if self.calls.contains(&call) { plan.with_audience() } else { plan };
        if !self.workers.spreads(&plan) {
            let worker = self.workers.of_call(call);
            return Some((plan, worker..worker + 1));
        }
        if plan.is_teardown() {
            self.calls.remove(&call);
        } else if self.calls.len() < MAX_SPREAD || self.calls.contains(&call) {
            self.calls.insert(call);
        } else {
            return None;
        }
        Some((plan, 0..self.workers.0))
    }

    /// The worker of a leg.
    pub(crate) fn worker_of(&self, call: CallId, leg: LegId) -> usize {
        self.workers.of_leg(call, leg, self.calls.contains(&call))
    }

    /// All other calls are over.
    pub(crate) fn keep(&mut self, named: &HashSet<CallId>) {
        self.calls.retain(|call| named.contains(call));
    }
}

#[cfg(test)]
mod tests {
    use duocast_model::Generation;

    use super::*;

    const CALL: CallId = CallId::from_u128(6);
    const LEGS: [LegId; 2] = [LegId::from_u128(1), LegId::from_u128(3)];

    fn plan(generation: u64) -> RoutePlan {
        RoutePlan::new(CALL, Generation(generation), LEGS.to_vec(), Vec::new()).unwrap()
    }

    fn workers(spread: &Spread) -> [usize; 2] {
        LEGS.map(|leg| spread.worker_of(CALL, leg))
    }

    #[test]
    fn a_call_is_one_workers_and_an_audience_all_workers_until_it_is_over() {
        let mut spread = Spread::over(4);
        assert_eq!(spread.workers_of(plan(1)).unwrap(), (plan(1), 2..3));
        assert_eq!(workers(&spread), [2, 2]);
        assert_eq!(spread.workers_of(plan(2).with_audience()).unwrap().1, 0..4);
        assert_eq!(workers(&spread), [1, 3]);
        let (again, of) = spread.workers_of(plan(3)).unwrap();
        assert!(again.has_audience() && of == (0..4), "it stays so");
        let over = spread.workers_of(RoutePlan::teardown(CALL, Generation(4))).unwrap();
        assert_eq!((over.1, workers(&spread)), (0..4, [2, 2]));
    }

    #[test]
    fn one_worker_has_all_legs() {
        let mut spread = Spread::over(1);
        assert_eq!(spread.workers_of(plan(1).with_audience()).unwrap().1, 0..1);
        assert_eq!((workers(&spread), spread.calls.len()), ([0, 0], 0));
    }

    #[test]
    fn calls_that_control_does_not_name_are_forgotten_and_there_is_a_bound() {
        let mut spread = Spread::over(2);
        let plan = |n: usize| {
            let plan = RoutePlan::new(CallId::from_u128(n as u128), Generation(1), LEGS.to_vec(), Vec::new());
            plan.unwrap().with_audience()
        };
        assert!((0..MAX_SPREAD).all(|n| spread.workers_of(plan(n)).is_some()));
        assert_eq!(spread.workers_of(plan(MAX_SPREAD)), None);
        assert!(spread.workers_of(plan(7)).is_some(), "those that are there go on");
        spread.keep(&HashSet::from([CallId::from_u128(7)]));
        assert_eq!(spread.calls.len(), 1);
    }
}
