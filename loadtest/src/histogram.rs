//! Distributions of times.

use std::time::Duration;

/// Longest time told apart, in microseconds; longer ones count as this. Every deadline of a run is shorter.
const MICROS_MAX: u64 = 120_000_000;

/// Significant decimal digits kept: an error below 0.1 %. A third would be 16 times the memory of a second.
const DIGITS: u8 = 3;

/// Times in microseconds, as an HDR histogram (about 270 KB when filled).
#[derive(Debug, Clone)]
pub(crate) struct Histogram(hdrhistogram::Histogram<u64>);

impl Default for Histogram {
    fn default() -> Self {
        let bounds = hdrhistogram::Histogram::new_with_bounds(1, MICROS_MAX, DIGITS);
        Self(bounds.expect("the bounds are constant and valid"))
    }
}

/// As pairs of a time in microseconds and how often it was seen: any program can read that and add it up.
impl serde::Serialize for Histogram {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter_recorded().map(|at| (at.value_iterated_to(), at.count_at_value())))
    }
}

impl<'de> serde::Deserialize<'de> for Histogram {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut histogram = Self::default();
        for (micros, count) in <Vec<(u64, u64)>>::deserialize(deserializer)? {
            histogram.0.saturating_record_n(micros.min(MICROS_MAX), count);
        }
        Ok(histogram)
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, time: Duration) {
        self.add_micros(u64::try_from(time.as_micros()).unwrap_or(MICROS_MAX));
    }

    pub(crate) fn add_micros(&mut self, micros: u64) {
        self.0.saturating_record(micros.min(MICROS_MAX));
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    /// The time in milliseconds that a share of them (0 to 1) does not exceed; `None` of an empty one.
    pub(crate) fn ms_at(&self, share: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(share) as f64 / 1000.0)
    }

    /// How many times were added.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn mean_ms(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.mean() / 1000.0)
    }

    pub(crate) fn max_ms(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.max() as f64 / 1000.0)
    }
}

/// The value that a share of them (0 to 1) does not exceed, by nearest rank; `None` of none.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_added_and_an_empty_one_has_none() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.ms_at(0.5), histogram.max_ms()), (None, None));
        for ms in 1..=100 {
            histogram.add(Duration::from_millis(ms));
        }
        assert!((histogram.ms_at(0.5).unwrap() - 50.0).abs() < 0.1);
        assert!((histogram.ms_at(0.99).unwrap() - 99.0).abs() < 0.1);
        let mut other = Histogram::default();
        other.add(Duration::from_secs(9_999));
        histogram.merge(&other);
        assert_eq!(histogram.0.len(), 101);
        assert!((histogram.max_ms().unwrap() - 120_000.0).abs() < 100.0, "longer times count as the longest");
    }

    #[test]
    fn what_was_written_reads_as_the_same_distribution() {
        let mut histogram = Histogram::default();
        (0..10_000_u64).for_each(|n| histogram.add_micros(n * n / 7));
        let text = serde_json::to_string(&histogram).unwrap();
        let read: Histogram = serde_json::from_str(&text).unwrap();
        assert_eq!(read.count(), 10_000);
        for share in [0.0, 0.5, 0.9, 0.99, 0.999, 1.0] {
            assert_eq!(read.ms_at(share), histogram.ms_at(share), "{share}");
        }
        assert_eq!(read.max_ms(), histogram.max_ms());
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let mut values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&mut values, 0.5), Some(2.0));
        assert_eq!(quantile(&mut values, 0.99), Some(4.0));
        assert_eq!(quantile(&mut values, 0.0), Some(1.0));
        assert_eq!(quantile(&mut [], 0.5), None);
    }
}
