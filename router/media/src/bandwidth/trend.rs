//! Whether a queue grows on the way: the trend of the delay between groups, against a threshold that adapts
//! (draft-ietf-rmcat-gcc-02 section 5.4, with a line fitted to the smoothed delay in the place of the Kalman filter).

use super::groups::Change;

/// Groups that the line is fitted to. Higher is calmer, lower quicker.
const WINDOW: usize = 20;
/// How much of the smoothed delay is kept at each group.
const SMOOTHING: f64 = 0.9;
/// A slope counts for as many groups as were seen, up to this, and this many times.
const MAX_WEIGHT: u32 = 60;
const GAIN: f64 = 4.0;

/// The threshold: where it begins, its bounds (milliseconds), and how fast it follows above and below it.
const THRESHOLD: f64 = 12.5;
const THRESHOLD_BOUNDS: (f64, f64) = (6.0, 600.0);
const RISE: f64 = 0.0087;
const FALL: f64 = 0.039;
/// A trend this far above the threshold does not move it: a sudden change of the path.
const MAX_ABOVE: f64 = 15.0;
/// Longest time that the threshold follows at once, in milliseconds.
const MAX_STEP: f64 = 100.0;

/// How long, in milliseconds of sending, the trend must be above the threshold.
const OVERUSED_AFTER: f64 = 10.0;

/// What the path is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Usage {
    #[default]
    Normal,
    /// A queue grows.
    Over,
    /// A queue drains.
    Under,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Trend {
    /// Time and smoothed delay of the last groups, in milliseconds; a ring.
    points: [(f64, f64); WINDOW],
    groups: u32,
    began: Option<i64>,
    accumulated: f64,
    smoothed: f64,
    slope: f64,
    threshold: f64,
    followed_at: f64,
    /// How long and how often the trend was above the threshold.
    above: Option<(f64, u32)>,
    usage: Usage,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            points: [(0.0, 0.0); WINDOW],
            groups: 0,
            began: None,
            accumulated: 0.0,
            smoothed: 0.0,
            slope: 0.0,
            threshold: THRESHOLD,
            followed_at: 0.0,
            above: None,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// Takes what another group has shown.
    pub(super) fn add(&mut self, change: Change) {
        let began = *self.began.get_or_insert(change.at);
        let at = millis(change.at - began);
        self.accumulated += millis(change.arrived - change.sent);
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * self.accumulated;
        self.points[self.groups as usize % WINDOW] = (at, self.smoothed);
        self.groups = self.groups.wrapping_add(1).max(1);
        let before = self.slope;
        if self.groups as usize >= WINDOW {
            self.slope = slope(&self.points).unwrap_or(self.slope);
        }
        let trend = f64::from(self.groups.min(MAX_WEIGHT)) * self.slope * GAIN;
        self.judge(trend, self.slope >= before, millis(change.sent));
        self.follow(trend, at);
    }

    fn judge(&mut self, trend: f64, is_rising: bool, sent: f64) {
        if trend > self.threshold {
            let (long, often) = self.above.map_or((sent / 2.0, 1), |(long, often)| (long + sent, often + 1));
            self.above = Some((long, often));
            if long > OVERUSED_AFTER && often > 1 && is_rising {
                self.above = Some((0.0, 0));
                self.usage = Usage::Over;
            }
            return;
        }
        self.above = None;
        self.usage = if trend < -self.threshold { Usage::Under } else { Usage::Normal };
    }

    /// Moves the threshold towards the trend, so that other traffic with longer queues does not starve ours.
    fn follow(&mut self, trend: f64, at: f64) {
        let (size, step) = (trend.abs(), (at - self.followed_at).clamp(0.0, MAX_STEP));
        self.followed_at = at;
        if size > self.threshold + MAX_ABOVE {
            return;
        }
        let speed = if size < self.threshold { FALL } else { RISE };
        let (least, most) = THRESHOLD_BOUNDS;
        self.threshold = (self.threshold + speed * (size - self.threshold) * step).clamp(least, most);
    }
}

/// Of the line through the points with the least squares; `None` if they are all at one time.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (x, y) = (x / count, y / count);
    let above: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let below: f64 = points.iter().map(|point| (point.0 - x) * (point.0 - x)).sum();
    (below > 0.0).then(|| above / below)
}

fn millis(micros: i64) -> f64 {
    micros as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups every 20 ms; each arrives `later(n)` microseconds later than the one before. What the trend says at the end, and
    /// after how many groups it spoke of overuse first.
    fn after(groups: i64, later: impl Fn(i64) -> i64) -> (Usage, Option<i64>) {
        let (mut trend, mut at, mut overused) = (Trend::default(), 0, None);
        for n in 0..groups {
            let arrived = 20_000 + later(n);
            at += arrived;
            trend.add(Change { sent: 20_000, arrived, at });
            if trend.usage() == Usage::Over {
                overused = overused.or(Some(n));
            }
        }
        (trend.usage(), overused)
    }

    #[test]
    fn a_queue_that_grows_is_noticed_within_a_few_groups_and_one_that_drains_as_well() {
        assert_eq!(after(100, |_| 0), (Usage::Normal, None));
        let (usage, overused) = after(60, |n| if n < 50 { 0 } else { 10_000 });
        assert_eq!(usage, Usage::Over);
        assert!(overused.is_some_and(|n| (51..=56).contains(&n)), "{overused:?}");
        assert_eq!(after(80, |n| if n < 50 { 0 } else { -5_000 }), (Usage::Under, None));
    }

    #[test]
    fn delay_that_goes_up_and_down_is_no_trend() {
        let mut seed = 5_u64;
        let delays: Vec<i64> = (0..=2000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) as i64 % 15_000
            })
            .collect();
        let (_, overused) = after(2000, |n| delays[n as usize + 1] - delays[n as usize]);
        assert_eq!(overused, None);
    }
}
