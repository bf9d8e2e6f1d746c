//! How sure a mean of a few runs is. Pure.

/// Student's t for 95 % on both sides, from one degree of freedom on; more runs than these are as good as many.
const T_95: [f64; 9] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
const T_95_MANY: f64 = 1.96;

/// A mean with the interval that holds the true one 19 times of 20, if runs differ as a normal distribution does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    pub(super) mean: f64,
    /// `None` of a single run, which says nothing of how runs differ.
    pub(super) interval: Option<(f64, f64)>,
}

impl Estimate {
    /// Of these runs; `None` of none.
    pub(super) fn of(runs: &[f64]) -> Option<Self> {
        let count = runs.len() as f64;
        let mean = runs.iter().sum::<f64>() / count;
        let interval = (runs.len() > 1).then(|| {
            let spread = runs.iter().map(|run| (run - mean).powi(2)).sum::<f64>() / (count - 1.0);
            let t = T_95.get(runs.len() - 2).copied().unwrap_or(T_95_MANY);
            let half = t * (spread / count).sqrt();
            ((mean - half).max(0.0), mean + half)
        });
        (!runs.is_empty()).then_some(Self { mean, interval })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_runs_have_students_interval_and_one_has_none() {
        let estimate = Estimate::of(&[390.0, 400.0, 410.0]).unwrap();
        let (low, high) = estimate.interval.unwrap();
        // 4.303 * 10 / sqrt(3)
        assert!(
            (estimate.mean - 400.0).abs() < 1e-9
                && (high - 424.84).abs() < 0.01
                && (low - 375.16).abs() < 0.01
        );
        assert_eq!(Estimate::of(&[5.0]).unwrap(), Estimate { mean: 5.0, interval: None });
        assert_eq!(Estimate::of(&[]), None);
        let many = Estimate::of(&[1.0; 30]).unwrap();
        assert_eq!(many.interval, Some((1.0, 1.0)));
    }
}
