//! The numbered, immutable order that a router node gets for one call.

use std::fmt;

use crate::{CallId, LegId};

/// Number of a plan of one call; each newer plan has a higher one, and a node refuses the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Generation(pub u64);

impl Generation {
    /// The next one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}", self.0)
    }
}

/// "What `from` publishes, `to` views."
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// The publisher's leg.
    pub from: LegId,
    /// The viewer's leg.
    pub to: LegId,
}

/// Most legs in one plan. Higher lets more people view one publisher and gives a node more to do for it at once, lower ends
/// audiences sooner.
pub const MAX_LEGS_PER_PLAN: usize = 256;

/// Most routes in one plan: everybody views one publisher and is viewed by it. Higher lets many publish to many.
pub const MAX_ROUTES_PER_PLAN: usize = 2 * MAX_LEGS_PER_PLAN;

/// Everything a node knows of one call. Replaces all that it knew before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePlan {
    call: CallId,
    generation: Generation,
    legs: Vec<LegId>,
    routes: Vec<Route>,
    has_audience: bool,
}

impl RoutePlan {
    /// Checks and makes a plan. Errors: [`PlanError`].
    pub fn new(
        call: CallId,
        generation: Generation,
        legs: Vec<LegId>,
        routes: Vec<Route>,
    ) -> Result<Self, PlanError> {
        if legs.len() > MAX_LEGS_PER_PLAN {
            return Err(PlanError::TooManyLegs);
        }
        if routes.len() > MAX_ROUTES_PER_PLAN {
            return Err(PlanError::TooManyRoutes);
        }
        let (known, has_twin) = sorted(&legs);
        if has_twin {
            return Err(PlanError::LegTwice);
        }
        if sorted(&routes).1 {
            return Err(PlanError::RouteTwice);
        }
        if routes.iter().any(|r| r.from == r.to) {
            return Err(PlanError::RouteToItself);
        }
        let is_known = |leg: &LegId| known.binary_search(leg).is_ok();
        if !routes.iter().all(|r| is_known(&r.from) && is_known(&r.to)) {
            return Err(PlanError::RouteWithoutLeg);
        }
        Ok(Self { call, generation, legs, routes, has_audience: false })
    }

    /// The order to forget the call: no legs, no routes.
    pub fn teardown(call: CallId, generation: Generation) -> Self {
        Self { call, generation, legs: Vec::new(), routes: Vec::new(), has_audience: false }
    }

    /// The same for an audience that may be many: a node may have its legs on several of its cores.
    #[must_use]
    pub fn with_audience(self) -> Self {
        Self { has_audience: true, ..self }
    }

    /// Which call.
    pub fn call(&self) -> CallId {
        self.call
    }

    /// The plan's number.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The legs that may exist.
    pub fn legs(&self) -> &[LegId] {
        &self.legs
    }

    /// Who is heard by whom; empty before the call is accepted.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// True if its legs may be many.
    pub fn has_audience(&self) -> bool {
        self.has_audience
    }

    /// True if the call is to be forgotten.
    pub fn is_teardown(&self) -> bool {
        self.legs.is_empty()
    }
}

/// In order, and whether something is there twice.
fn sorted<T: Ord + Copy>(items: &[T]) -> (Vec<T>, bool) {
    let mut items = items.to_vec();
    items.sort_unstable();
    let has_twin = items.windows(2).any(|pair| pair[0] == pair[1]);
    (items, has_twin)
}

/// Why a plan is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanError {
    /// More than [`MAX_LEGS_PER_PLAN`].
    TooManyLegs,
    /// More than [`MAX_ROUTES_PER_PLAN`].
    TooManyRoutes,
    /// A leg is named twice.
    LegTwice,
    /// A route is named twice.
    RouteTwice,
    /// A leg would hear itself.
    RouteToItself,
    /// A route names a leg that the plan does not have.
    RouteWithoutLeg,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooManyLegs => "the plan has more legs than a node takes",
            Self::TooManyRoutes => "the plan has more routes than a node takes",
            Self::LegTwice => "the plan names a leg twice",
            Self::RouteTwice => "the plan names a route twice",
            Self::RouteToItself => "the plan routes a leg to itself",
            Self::RouteWithoutLeg => "a route names a leg that the plan does not have",
        })
    }
}

impl std::error::Error for PlanError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(n: u128) -> LegId {
        LegId::from_u128(n)
    }

    #[test]
    fn a_plan_that_contradicts_itself_cannot_be_made() {
        let plan = |legs: &[u128], routes: &[(u128, u128)]| {
            RoutePlan::new(
                CallId::from_u128(1),
                Generation(1),
                legs.iter().map(|n| leg(*n)).collect(),
                routes.iter().map(|(a, b)| Route { from: leg(*a), to: leg(*b) }).collect(),
            )
            .map(|_| ())
        };
        assert_eq!(plan(&[1, 2], &[(1, 2), (2, 1)]), Ok(()));
        assert_eq!(plan(&[1, 1], &[]), Err(PlanError::LegTwice));
        assert_eq!(plan(&[1, 2], &[(1, 2), (1, 2)]), Err(PlanError::RouteTwice));
        assert_eq!(plan(&[1], &[(1, 1)]), Err(PlanError::RouteToItself));
        assert_eq!(plan(&[1], &[(1, 2)]), Err(PlanError::RouteWithoutLeg));
        let many = |legs: u128| (0..legs).collect::<Vec<_>>();
        let audience: Vec<_> = (1..256).map(|viewer| (0, viewer)).collect();
        assert_eq!(plan(&many(256), &audience), Ok(()));
        assert_eq!(plan(&many(257), &[]), Err(PlanError::TooManyLegs));
        let all_to_all: Vec<_> = (0..24).flat_map(|a| (0..24).map(move |b| (a, b))).collect();
        let all_to_all: Vec<_> = all_to_all.into_iter().filter(|(a, b)| a != b).collect();
        assert_eq!(plan(&many(24), &all_to_all), Err(PlanError::TooManyRoutes));
    }
}
