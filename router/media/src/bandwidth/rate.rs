//! The rate itself: up by steps, down by a factor (draft-ietf-rmcat-gcc-02 section 5.5).

use super::loss;
use super::probe::Shown;
use super::throughput::Arriving;
use super::trend::Usage;

/// Bounds, in bits per second. The lower one is what sound needs with its headers: below it nothing is left to choose.
pub(super) const MIN_RATE: f64 = 30e3;
pub(super) const MAX_RATE: f64 = 30e6;

/// What is kept of what arrives, when a queue grows.
const DECREASE: f64 = 0.85;
/// What is kept of what comes out of a queue that stands: the path is full meanwhile, so that this is measured and not guessed. Higher leaves the
/// queue as it is, lower makes pictures smaller than they need be.
const SETTLED: f64 = 0.9;
/// Growth in a second as long as the path's capacity is not known.
const GROWTH: f64 = 1.08;
/// Longest time that is grown for at once, in seconds.
const MAX_STEP: f64 = 1.0;
/// The rate does not grow beyond this many times what arrives, and a little: what is not sent proves nothing.
const BEYOND: f64 = 1.5;
const BEYOND_BITS: f64 = 10e3;
/// A path that a probe has filled carries more than that after all if this many times as much arrives.
const REFUTED: f64 = 1.1;
/// A queue that still grows may lower the rate again after a round trip, within these bounds, in microseconds.
const AGAIN: (u64, u64) = (10_000, 200_000);
/// High loss lowers the rate again after this time and a round trip, in microseconds.
const LOSS_AGAIN: u64 = 300_000;
/// How long, beyond a round trip, the answer to growth takes, in seconds.
const RESPONSE: f64 = 0.1;
/// A usual packet, in bits: near the capacity the rate grows by one in a response time.
const PACKET_BITS: f64 = 9600.0;
/// Least growth near the capacity, in bits per second, per second.
const MIN_GROWTH: f64 = 4000.0;

/// See the module. Times in microseconds, rates in bits per second.
#[derive(Debug, Default)]
pub(super) struct Rate {
    bits: Option<f64>,
    capacity: Capacity,
    /// A probe filled the path at this rate.
    filled: Option<f64>,
    /// `None`: it does not grow now.
    grown_at: Option<u64>,
    lowered_at: Option<u64>,
}

impl Rate {
    pub(super) fn bits(&self) -> Option<f64> {
        self.bits
    }

    /// A report came; true if the rate was lowered.
    pub(super) fn update(
        &mut self,
        now: u64,
        usage: Usage,
        loss: f64,
        arriving: Option<Arriving>,
        round_trip: u64,
    ) -> bool {
        let Some(arriving) = arriving else { return false };
        let bits = *self.bits.get_or_insert(arriving.usual.clamp(MIN_RATE, MAX_RATE));
        match usage {
            Usage::Over => {
                self.grown_at = None;
                let again = round_trip.clamp(AGAIN.0, AGAIN.1);
                let is_time = self.lowered_at.is_none_or(|at| now.saturating_sub(at) >= again);
                if is_time || arriving.least < bits / 2.0 {
                    self.decrease(now, arriving);
                    return true;
                }
            }
            Usage::Under => self.grown_at = None,
            Usage::Normal if loss > loss::SOME => self.grown_at = None,
            Usage::Normal => self.increase(now, arriving, round_trip),
        }
        false
    }

    /// This fraction was lost lately; true if the rate was lowered for it.
    pub(super) fn lose(
        &mut self,
        now: u64,
        fraction: f64,
        arriving: Option<Arriving>,
        round_trip: u64,
    ) -> bool {
        let Some(bits) = self.bits.filter(|_| fraction > loss::HIGH) else { return false };
        let is_time = self.lowered_at.is_none_or(|at| now.saturating_sub(at) >= LOSS_AGAIN + round_trip);
        let lowered = match arriving {
            Some(arriving) if fraction > loss::HEAVY => arriving.least,
            _ if is_time => bits * (1.0 - fraction / 2.0),
            _ => return false,
        };
        if lowered < bits {
            self.set(lowered);
            self.lowered_at = Some(now);
        }
        lowered < bits
    }

    /// This much comes out of a queue that stands: that is what the path carries.
    pub(super) fn settle(&mut self, now: u64, carries: f64) {
        self.set(carries * SETTLED);
        self.capacity = Capacity::default();
        (self.filled, self.grown_at, self.lowered_at) = (None, None, Some(now));
    }

    /// Nothing was heard of what was sent.
    pub(super) fn halve(&mut self) {
        self.set(self.bits.unwrap_or_default() / 2.0);
        self.grown_at = None;
    }

    /// A probe has shown what the path carries.
    pub(super) fn prove(&mut self, shown: Shown) {
        self.filled = shown.is_filled.then_some(shown.rate);
        if self.bits.is_some_and(|bits| shown.rate > bits) {
            self.set(shown.rate);
            self.capacity.forget_below(shown.rate);
        }
    }

    fn set(&mut self, bits: f64) {
        self.bits = Some(bits.clamp(MIN_RATE, MAX_RATE));
    }

    fn decrease(&mut self, now: u64, arriving: Arriving) {
        let bits = self.bits.unwrap_or_default();
        let of_capacity = self.capacity.mean.map_or(bits, |mean| mean * DECREASE);
        let of_arriving = arriving.least * DECREASE;
        let lowered = if of_arriving < bits { of_arriving } else { of_capacity };
        self.set(lowered.min(bits));
        self.capacity.show(arriving.least);
        self.lowered_at = Some(now);
    }

    fn increase(&mut self, now: u64, arriving: Arriving, round_trip: u64) {
        let since = now.saturating_sub(self.grown_at.unwrap_or(now)) as f64 / 1e6;
        self.grown_at = Some(now);
        self.capacity.forget_below(arriving.usual);
        let (bits, since) = (self.bits.unwrap_or_default(), since.min(MAX_STEP));
        let grown = if self.capacity.mean.is_some() {
            let response = round_trip as f64 / 1e6 + RESPONSE;
            bits + since * (PACKET_BITS / response).max(MIN_GROWTH)
        } else {
            bits * GROWTH.powf(since)
        };
        self.filled = self.filled.filter(|filled| arriving.usual < filled * REFUTED);
        let most = (BEYOND * arriving.usual + BEYOND_BITS).min(self.filled.unwrap_or(MAX_RATE));
        if bits < most {
            self.set(grown.min(most));
        }
    }
}

/// What arrived when queues grew: the path's capacity, as long as that hardly changes.
#[derive(Debug, Default)]
struct Capacity {
    mean: Option<f64>,
    /// Variance over mean, in kbit/s.
    spread: f64,
}

/// How fast the mean follows, and the bounds of the spread.
const FOLLOWS: f64 = 0.05;
const SPREAD: (f64, f64) = (0.4, 2.5);

impl Capacity {
    fn show(&mut self, bits: f64) {
        if self.mean.is_some_and(|mean| bits < mean - self.deviation()) {
            self.mean = None;
        }
        let mean = self.mean.unwrap_or(bits);
        let error = (mean - bits) / 1e3;
        let spread = (1.0 - FOLLOWS) * self.spread + FOLLOWS * error * error / (mean / 1e3).max(1.0);
        self.spread = spread.clamp(SPREAD.0, SPREAD.1);
        self.mean = Some((1.0 - FOLLOWS) * mean + FOLLOWS * bits);
    }

    /// This much arrives: a capacity that is clearly less is out of date.
    fn forget_below(&mut self, bits: f64) {
        if self.mean.is_some_and(|mean| bits > mean + self.deviation()) {
            self.mean = None;
        }
    }

    /// Three standard deviations.
    fn deviation(&self) -> f64 {
        3e3 * (self.spread * self.mean.unwrap_or_default() / 1e3).sqrt()
    }
}
