//! How many allocations there may be: in all, and of one leg.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use duocast_model::LegId;

use crate::metrics::{self, Open};

/// Most allocations of one process. Each has a socket and holds up to 256 KiB for a client that reads too slowly. Higher serves more
/// people whose networks let nothing but TLS through, lower bounds what they take of a machine; at the bound a client is told that
/// there is no capacity.
const MAX_ALLOCATIONS: usize = 2_048;

/// Most of one leg. A browser makes one for each network that it is on, and again in an ICE restart before the old ones go. Higher
/// lets one client take more of all, lower cuts off clients on several networks.
const MAX_OF_LEG: usize = 8;

/// Counts allocations. A lock is taken when one begins or ends, never for a datagram.
#[derive(Clone, Default)]
pub(crate) struct Seats(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    all: usize,
    by_leg: HashMap<LegId, usize>,
}

/// One allocation that may be; counted until it is dropped.
pub(crate) struct Seat {
    seats: Seats,
    leg: LegId,
    _open: Open,
}

impl Seats {
    /// A seat for one more of this leg, or none.
    pub(crate) fn take(&self, leg: LegId) -> Option<Seat> {
        let mut taken = self.taken();
        let of_leg = taken.by_leg.get(&leg).copied().unwrap_or_default();
        if taken.all >= MAX_ALLOCATIONS || of_leg >= MAX_OF_LEG {
            metrics::refused();
            return None;
        }
        taken.all += 1;
        taken.by_leg.insert(leg, of_leg + 1);
        Some(Seat { seats: self.clone(), leg, _open: Open::allocation() })
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        // Every update is complete before anything could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        taken.all = taken.all.saturating_sub(1);
        let left = taken.by_leg.get(&self.leg).map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => taken.by_leg.remove(&self.leg),
            left => taken.by_leg.insert(self.leg, left),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_leg_cannot_take_the_seats_of_others() {
        let seats = Seats::default();
        let (greedy, other) = (LegId::from_u128(1), LegId::from_u128(2));
        let mut taken: Vec<_> = std::iter::from_fn(|| seats.take(greedy)).collect();
        assert_eq!(taken.len(), MAX_OF_LEG);
        assert!(seats.take(other).is_some());
        taken.pop();
        assert!(seats.take(greedy).is_some());
        taken.clear();
        assert!(seats.taken().by_leg.is_empty() && seats.taken().all == 0);
    }

    #[test]
    fn all_together_have_a_bound() {
        let seats = Seats::default();
        let taken: Vec<_> = (0..).map_while(|leg| seats.take(LegId::from_u128(leg))).collect();
        assert_eq!(taken.len(), MAX_ALLOCATIONS);
        drop(taken);
        assert!(seats.take(LegId::from_u128(0)).is_some());
    }
}
