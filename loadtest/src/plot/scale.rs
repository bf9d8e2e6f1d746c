//! Where a value stands on an axis, and which values the axis names.

/// How an axis is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From 0.
    Linear,
    Log,
    /// Shares from 0 to below 1, by how many nines they have: 90 %, 99 % and 99.9 % are equally far apart.
    Nines,
}

/// An axis over the values that were seen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Range {
    scale: Scale,
    low: f64,
    high: f64,
}

/// Names on an axis at most.
const TICKS_MAX: usize = 6;

impl Range {
    /// From the values' least to their largest, rounded outwards.
    pub(super) fn over(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let (mut least, mut largest) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            least = least.min(value);
            largest = largest.max(value);
        }
        let (low, high) = match scale {
            Scale::Linear => {
                let largest = if largest > 0.0 { largest } else { 1.0 };
                let step = step(largest);
                (0.0, (largest / step - 1e-9).ceil() * step)
            }
            Scale::Log => {
                let least = if least.is_finite() { least.max(1e-3) } else { 1.0 };
                let largest = largest.max(least);
                let (low, high) = (least.log10().floor(), (largest.log10() - 1e-9).ceil());
                (10f64.powf(low), 10f64.powf(high.max(low + 1.0)))
            }
            Scale::Nines => (0.0, largest.clamp(0.9, 0.999_999)),
        };
        Self { scale, low, high }
    }

    /// From these to these exactly.
    pub(super) fn exactly(low: f64, high: f64) -> Self {
        Self { scale: Scale::Linear, low, high: high.max(low + 1e-9) }
    }

    /// 0 at its low end, 1 at its high end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let (low, high, value) = (self.spread(self.low), self.spread(self.high), self.spread(value));
        ((value - low) / (high - low)).clamp(0.0, 1.0)
    }

    fn spread(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(self.low).log10(),
            Scale::Nines => -(1.0 - value.clamp(0.0, self.high)).log10(),
        }
    }

    /// What the axis names, with how it is written.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => {
                let step = step(self.high);
                let count = (self.high / step + 1e-6).floor() as usize;
                (0..=count).map(|n| n as f64 * step).map(|value| (value, show(value))).collect()
            }
            Scale::Log => {
                let decades = (self.high / self.low).log10().round() as i32;
                let marks: &[f64] = if decades <= 1 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                let decade = |n: i32| self.low * 10f64.powi(n);
                let all = (0..=decades).flat_map(|n| marks.iter().map(move |mark| decade(n) * mark));
                all.filter(|value| *value <= self.high * 1.000_001)
                    .map(|value| (value, show(value)))
                    .collect()
            }
            Scale::Nines => {
                let named = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];
                let within = named.into_iter().filter(|share| *share <= self.high);
                within.map(|share| (share, format!("{} %", show(share * 100.0)))).collect()
            }
        }
    }
}

/// A step of 1, 2 or 5 by a power of ten that divides up to this value into at most [`TICKS_MAX`] parts.
fn step(largest: f64) -> f64 {
    let rough = largest / (TICKS_MAX - 1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough * 0.999_999);
    factor.unwrap_or(10.0) * power
}

/// A number with as many digits as it needs, five at most.
pub(super) fn show(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(range: &Range) -> Vec<String> {
        range.ticks().into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn linear_axes_begin_at_zero_and_end_at_a_round_number() {
        for (largest, expected) in [
            (7.3, vec!["0", "2", "4", "6", "8"]),
            (0.031, vec!["0", "0.01", "0.02", "0.03", "0.04"]),
            (100.0, vec!["0", "20", "40", "60", "80", "100"]),
            (0.0, vec!["0", "0.2", "0.4", "0.6", "0.8", "1"]),
            (23_000.0, vec!["0", "5000", "10000", "15000", "20000", "25000"]),
        ] {
            let range = Range::over(Scale::Linear, [largest / 2.0, largest].into_iter());
            assert_eq!(names(&range), expected, "{largest}");
            assert_eq!((range.place(0.0), range.place(f64::MAX)), (0.0, 1.0));
        }
    }

    #[test]
    fn logarithmic_axes_have_whole_decades() {
        let range = Range::over(Scale::Log, [0.3, 70.0].into_iter());
        assert_eq!(names(&range), ["0.1", "1", "10", "100"]);
        assert!((range.place(1.0) - 1.0 / 3.0).abs() < 1e-9);
        let range = Range::over(Scale::Log, [11.0, 70.0].into_iter());
        assert_eq!(names(&range), ["10", "20", "50", "100"]);
        assert_eq!(Range::over(Scale::Log, std::iter::empty()).place(0.0), 0.0, "zero stands at the low end");
    }

    #[test]
    fn percentiles_are_as_far_apart_as_they_have_nines() {
        let range = Range::over(Scale::Nines, [0.5, 0.9999].into_iter());
        assert_eq!(names(&range), ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert!((range.place(0.99) - 0.5).abs() < 1e-9);
        assert!((range.place(0.999) - 0.75).abs() < 1e-6);
    }
}
