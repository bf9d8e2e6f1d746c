//! The `[calls]` section: how long a call rings, and how often somebody may do what costs others something.

use std::time::Duration;

use duocast_control::{Limits, Rate, Rates};
use serde::{Deserialize, Serialize};

/// How calls ring.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Calls {
    /// How long a call rings, in seconds.
    pub ring_seconds: u64,
    /// How often what may be done.
    pub rates: CallRates,
}

/// Bursts and rates; see `duocast_control::Rates`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallRates {
    /// Calls placed by one account.
    pub rings_by_caller: RateSetting,
    /// Calls that reach one account.
    pub rings_to_callee: RateSetting,
    /// Unanswered calls from one account to another.
    pub rings_of_pair: RateSetting,
    /// Call requests sent by one account.
    pub requests: RateSetting,
    /// Legs connected by one account.
    pub legs: RateSetting,
    /// Broadcasts started by one account.
    pub broadcasts: RateSetting,
    /// Viewing tokens shown by one account.
    pub watches: RateSetting,
    /// Yeses to a direct leg by one account.
    pub direct: RateSetting,
}

/// `burst` at once, then one more each `every_ms` milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateSetting {
    /// How many at once.
    pub burst: u32,
    /// Milliseconds until one more is allowed.
    pub every_ms: u64,
}

impl From<Rate> for RateSetting {
    fn from(rate: Rate) -> Self {
        let every_ms = u64::try_from(rate.every.as_millis()).unwrap_or(u64::MAX);
        Self { burst: rate.burst, every_ms }
    }
}

impl From<RateSetting> for Rate {
    fn from(setting: RateSetting) -> Self {
        Rate::new(setting.burst, Duration::from_millis(setting.every_ms))
    }
}

impl Default for Calls {
    fn default() -> Self {
        let limits = Limits::default();
        Self { ring_seconds: limits.ring.as_secs(), rates: CallRates::default() }
    }
}

impl Default for CallRates {
    fn default() -> Self {
        let rates = Rates::default();
        Self {
            rings_by_caller: rates.rings_by_caller.into(),
            rings_to_callee: rates.rings_to_callee.into(),
            rings_of_pair: rates.rings_of_pair.into(),
            requests: rates.requests.into(),
            legs: rates.legs.into(),
            broadcasts: rates.broadcasts.into(),
            watches: rates.watches.into(),
            direct: rates.direct.into(),
        }
    }
}

impl Calls {
    /// What cannot be, each with its key and what is allowed.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if !(1..=300).contains(&self.ring_seconds) {
            wrong.push(format!("calls.ring_seconds: {}: choose 1 to 300", self.ring_seconds));
        }
        let rates = [
            ("rings_by_caller", self.rates.rings_by_caller),
            ("rings_to_callee", self.rates.rings_to_callee),
            ("rings_of_pair", self.rates.rings_of_pair),
            ("requests", self.rates.requests),
            ("legs", self.rates.legs),
            ("broadcasts", self.rates.broadcasts),
            ("watches", self.rates.watches),
            ("direct", self.rates.direct),
        ];
        for (name, rate) in rates {
            if rate.burst == 0 {
                wrong.push(format!("calls.rates.{name}: burst = 0 allows nothing: choose 1 or more"));
            }
            if !(1..=86_400_000).contains(&rate.every_ms) {
                wrong.push(format!(
                    "calls.rates.{name}: every_ms = {}: choose 1 to 86400000 (a day)",
                    rate.every_ms
                ));
            }
        }
        wrong
    }

    /// As the switchboard takes them.
    pub fn limits(&self) -> Limits {
        let rates = Rates {
            rings_by_caller: self.rates.rings_by_caller.into(),
            rings_to_callee: self.rates.rings_to_callee.into(),
            rings_of_pair: self.rates.rings_of_pair.into(),
            requests: self.rates.requests.into(),
            legs: self.rates.legs.into(),
            broadcasts: self.rates.broadcasts.into(),
            watches: self.rates.watches.into(),
            direct: self.rates.direct.into(),
        };
        Limits { ring: Duration::from_secs(self.ring_seconds), rates, ..Limits::default() }
    }
}
