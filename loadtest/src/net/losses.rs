//! Which packets are lost.

use rand::Rng;

/// Loss in bursts: Gilbert and Elliott's model, whose good state loses nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Burst {
    /// Chance to enter a burst with a packet.
    enter: f64,
    /// Chance to leave it with a packet.
    leave: f64,
    /// Share of a burst's packets that are lost.
    density: f64,
}

impl Burst {
    /// Bursts of `packets` packets on average, `density` of them lost, that lose `loss` of all packets. `None` if no two chances
    /// do that: bursts would have to begin more often than they end.
    pub(crate) fn new(loss: f64, packets: f64, density: f64) -> Option<Self> {
        let share = loss / density;
        let leave = 1.0 / packets;
        let enter = leave * share / (1.0 - share);
        (share < 1.0 && enter <= 1.0).then_some(Self { enter, leave, density })
    }

    fn share(&self) -> f64 {
        self.enter / (self.enter + self.leave)
    }
}

/// Decides packet by packet.
#[derive(Debug)]
pub(super) struct Losses {
    random: f64,
    burst: Option<Burst>,
    is_in_burst: bool,
}

impl Losses {
    pub(super) fn new(random: f64, burst: Option<Burst>, rng: &mut impl Rng) -> Self {
        // Starts as if it had been going on for ever, so that short runs have the right share as well.
        let is_in_burst = burst.is_some_and(|burst| rng.random_bool(burst.share()));
        Self { random, burst, is_in_burst }
    }

    /// Whether the next packet is lost.
    pub(super) fn takes(&mut self, rng: &mut impl Rng) -> bool {
        let mut is_lost = self.random > 0.0 && rng.random_bool(self.random);
        if let Some(burst) = self.burst {
            is_lost |= self.is_in_burst && rng.random_bool(burst.density);
            let turns = if self.is_in_burst { burst.leave } else { burst.enter };
            self.is_in_burst ^= rng.random_bool(turns);
        }
        is_lost
    }
}
