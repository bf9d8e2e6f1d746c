//! Distributions of times as they change in the course of a run, in little memory. Pure.

use std::time::{Duration, Instant};

/// Parts of an octave that are told apart: a value is known to 4.5 %.
const PARTS: usize = 8;

/// Octaves from 1 µs: the last one begins at 67 s, and longer times count as its end.
const OCTAVES: usize = 27;

/// Windows of a run at most. Later times count in the last one.
const WINDOWS_MAX: usize = 400;

/// Shortest window: long enough for a p99 of one call's packets.
const WIDTH_MIN: Duration = Duration::from_secs(1);

/// Times of one window in microseconds, in buckets that grow with the time.
#[derive(Debug, Clone)]
struct Window {
    count: u64,
    max: u64,
    buckets: [u32; PARTS * OCTAVES],
}

impl Default for Window {
    fn default() -> Self {
        Self { count: 0, max: 0, buckets: [0; PARTS * OCTAVES] }
    }
}

fn bucket(micros: u64) -> usize {
    let octave = micros.max(1).ilog2();
    // The three bits below the highest one.
    let part = (micros.max(1) << 3 >> octave) as usize & (PARTS - 1);
    (octave as usize * PARTS + part).min(PARTS * OCTAVES - 1)
}

/// The middle of a bucket.
fn micros_of(bucket: usize) -> f64 {
    let (octave, part) = (bucket / PARTS, bucket % PARTS);
    2f64.powi(octave as i32) * (1.0 + (part as f64 + 0.5) / PARTS as f64)
}

impl Window {
    fn add(&mut self, micros: u64) {
        self.count += 1;
        self.max = self.max.max(micros);
        self.buckets[bucket(micros)] += 1;
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.max = self.max.max(other.max);
        for (own, other) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += other;
        }
    }

    fn ms_at(&self, share: f64) -> f64 {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        });
        found.map_or(0.0, micros_of).min(self.max as f64) / 1000.0
    }
}

/// How wide the windows of a run of this length are.
pub(crate) fn window_width(run: Duration) -> Duration {
    let seconds = (run.as_secs_f64() / WINDOWS_MAX as f64).ceil();
    WIDTH_MIN.max(Duration::from_secs_f64(seconds))
}

/// As it is written.
#[derive(serde::Serialize, serde::Deserialize)]
struct Written {
    width_micros: u64,
    windows: Vec<WrittenWindow>,
}

/// A window's number, its longest time, and pairs of a bucket and its count.
type WrittenWindow = (usize, u64, Vec<(usize, u32)>);

impl serde::Serialize for OverTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seen = self.windows.iter().enumerate().filter(|(_, window)| window.count > 0);
        let window = |(index, window): (usize, &Window)| {
            let buckets = window.buckets.iter().copied().enumerate().filter(|(_, count)| *count > 0);
            (index, window.max, buckets.collect())
        };
        let width_micros = self.width().map_or(0, |width| width.as_micros() as u64);
        Written { width_micros, windows: seen.map(window).collect() }.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for OverTime {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { width_micros, windows } = Written::deserialize(deserializer)?;
        let mut over_time = match width_micros {
            0 => Self::default(),
            micros => Self::new(Instant::now(), Duration::from_micros(micros)),
        };
        for (index, max, buckets) in windows {
            let index = index.min(WINDOWS_MAX);
            if over_time.windows.len() <= index {
                over_time.windows.resize_with(index + 1, Window::default);
            }
            let window = &mut over_time.windows[index];
            window.max = max;
            for (bucket, count) in buckets {
                window.count += u64::from(count);
                let seen = &mut window.buckets[bucket.min(PARTS * OCTAVES - 1)];
                *seen = seen.saturating_add(count);
            }
        }
        Ok(over_time)
    }
}

/// Times by when they were seen. The default keeps none.
#[derive(Debug, Clone, Default)]
pub(crate) struct OverTime {
    plan: Option<(Instant, Duration)>,
    windows: Vec<Window>,
}

/// What one window showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// The window's begin.
    pub(crate) at: Duration,
    pub(crate) count: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl OverTime {
    /// Windows of this width from `start` on.
    pub(crate) fn new(start: Instant, width: Duration) -> Self {
        Self { plan: Some((start, width)), windows: Vec::new() }
    }

    pub(crate) fn add(&mut self, now: Instant, micros: u64) {
        let Some((start, width)) = self.plan else { return };
        let index = now.saturating_duration_since(start).as_micros() / width.as_micros().max(1);
        let index = usize::try_from(index).unwrap_or(usize::MAX).min(WINDOWS_MAX);
        if self.windows.len() <= index {
            self.windows.resize_with(index + 1, Window::default);
        }
        self.windows[index].add(micros);
    }

    /// How wide its windows are.
    pub(crate) fn width(&self) -> Option<Duration> {
        self.plan.map(|(_, width)| width)
    }

    /// Adds one of the same plan.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.plan = self.plan.or(other.plan);
        if self.windows.len() < other.windows.len() {
            self.windows.resize_with(other.windows.len(), Window::default);
        }
        for (own, other) in self.windows.iter_mut().zip(&other.windows) {
            own.merge(other);
        }
    }

    /// Each window in which something was seen.
    pub(crate) fn points(&self) -> impl Iterator<Item = Point> + '_ {
        let width = self.plan.map_or(Duration::ZERO, |(_, width)| width);
        let seen = self.windows.iter().enumerate().filter(|(_, window)| window.count > 0);
        seen.map(move |(index, window)| Point {
            at: width * index as u32,
            count: window.count,
            p50_ms: window.ms_at(0.5),
            p95_ms: window.ms_at(0.95),
            p99_ms: window.ms_at(0.99),
            max_ms: window.max as f64 / 1000.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_known_to_a_few_percent_from_microseconds_to_a_minute() {
        for micros in [1, 7, 8, 100, 999, 1_000, 65_535, 65_536, 1_234_567, 60_000_000] {
            let error = micros_of(bucket(micros)) / micros as f64 - 1.0;
            assert!(error.abs() <= 0.07 || micros < 8, "{micros} µs are {error} off");
        }
        assert_eq!(bucket(0), bucket(1));
        assert_eq!(bucket(u64::from(u32::MAX)), PARTS * OCTAVES - 1, "longer ones count as the longest");
        assert!((1..2_000).all(|micros| bucket(micros) <= bucket(micros + 1)));
    }

    #[test]
    fn each_window_has_its_own_percentiles_and_those_of_two_lanes_add_up() {
        let start = Instant::now();
        let width = Duration::from_secs(1);
        let mut lanes = [OverTime::new(start, width), OverTime::new(start, width)];
        for n in 0..1000 {
            let now = start + Duration::from_millis(n);
            lanes[0].add(now, 1_000);
            lanes[1].add(now + 2 * width, if n < 980 { 10_000 } else { 90_000 });
        }
        let mut all = OverTime::default();
        lanes.iter().for_each(|lane| all.merge(lane));
        let points: Vec<Point> = all.points().collect();
        assert_eq!(
            points.iter().map(|p| (p.at.as_secs(), p.count)).collect::<Vec<_>>(),
            [(0, 1000), (2, 1000)]
        );
        assert!((points[0].p99_ms - 1.0).abs() < 0.07);
        assert!((points[1].p50_ms - 10.0).abs() < 0.7 && (points[1].p95_ms - 10.0).abs() < 0.7);
        assert!((points[1].p99_ms - 90.0).abs() < 6.0, "{:?}", points[1]);
        assert_eq!(points[1].max_ms, 90.0);
    }

    #[test]
    fn what_was_written_reads_as_the_same_windows() {
        let start = Instant::now();
        let mut over_time = OverTime::new(start, Duration::from_secs(2));
        (0..500).for_each(|n| over_time.add(start + Duration::from_millis(n * 37), n * n));
        let text = serde_json::to_string(&over_time).unwrap();
        let read: OverTime = serde_json::from_str(&text).unwrap();
        assert_eq!(read.points().collect::<Vec<_>>(), over_time.points().collect::<Vec<_>>());
        assert_eq!(read.width(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_run_of_any_length_has_a_bounded_number_of_windows() {
        assert_eq!(window_width(Duration::from_secs(30)), Duration::from_secs(1));
        assert_eq!(window_width(Duration::from_secs(24 * 3600)), Duration::from_secs(216));
        let start = Instant::now();
        let mut short = OverTime::new(start, Duration::from_secs(1));
        short.add(start + Duration::from_secs(1_000_000), 5);
        assert_eq!(short.points().count(), 1);
        OverTime::default().add(start, 5);
    }
}
