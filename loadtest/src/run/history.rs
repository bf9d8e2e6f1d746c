//! The server and the calls as they change in the course of a run.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::generator;
use super::live::Live;
use super::server::{Sample, Watch};

/// Shortest time between two looks at the server: its CPU page counts in whole hundredths of a second.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// Looks in a run at most, ramp and end included.
const LOOKS_MAX: u32 = 300;

/// One look.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
struct Look {
    at: Duration,
    sample: Sample,
    generator_cpu: Option<f64>,
    up: i64,
    viewers: i64,
    failed: u64,
}

/// How it stood at one moment; rates are those since the moment before. What is not known is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Moment {
    pub(crate) at: Duration,
    pub(crate) calls_up: i64,
    pub(crate) viewers_up: i64,
    pub(crate) calls_failed: u64,
    pub(crate) server_cores: Option<f64>,
    pub(crate) router_cores: Option<f64>,
    pub(crate) packets_per_second: Option<f64>,
    pub(crate) memory_mb: Option<f64>,
    pub(crate) generator_cores: Option<f64>,
}

/// All looks of a run.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct History {
    looks: Vec<Look>,
}

impl History {
    /// Looks again and again. Runs until it is dropped; what it saw stays.
    pub(super) async fn follow(&mut self, start: Instant, run: Duration, watch: &Watch, live: &Live) {
        let every = EVERY_MIN.max(run / LOOKS_MAX);
        loop {
            let (sample, _) = watch.sample().await;
            self.looks.push(Look {
                at: start.elapsed(),
                sample,
                generator_cpu: generator::cpu_seconds(None),
                up: live.up.load(Ordering::Relaxed),
                viewers: live.viewers.load(Ordering::Relaxed),
                failed: live.failed.load(Ordering::Relaxed),
            });
            tokio::time::sleep(every).await;
        }
    }

    /// Adds what another generator of the same run saw: its calls and its own CPU, at the nearest moments. The server is the
    /// same one, so its figures stay.
    pub(super) fn merge(&mut self, other: &Self) {
        if self.looks.is_empty() {
            self.looks.clone_from(&other.looks);
            return;
        }
        for look in &mut self.looks {
            let Some(near) = other.looks.iter().min_by_key(|near| near.at.abs_diff(look.at)) else { return };
            look.up += near.up;
            look.viewers += near.viewers;
            look.failed += near.failed;
            look.generator_cpu = look.generator_cpu.zip(near.generator_cpu).map(|(own, other)| own + other);
        }
    }

    pub(crate) fn moments(&self) -> Vec<Moment> {
        // A metrics page may count CPU time in whole seconds, which says nothing from one look to the next.
        let is_fine =
            self.looks.iter().filter_map(|look| look.sample.cpu_seconds).any(|cpu| cpu.fract() != 0.0);
        let rate = |from: &Look, to: &Look, read: fn(&Look) -> Option<f64>| {
            let seconds = (to.at - from.at).as_secs_f64().max(0.001);
            Some((read(to)? - read(from)?).max(0.0) / seconds)
        };
        let moment = |pair: &[Look]| {
            let [before, now] = pair else { return Moment::default() };
            Moment {
                at: now.at,
                calls_up: now.up,
                viewers_up: now.viewers,
                calls_failed: now.failed,
                server_cores: rate(before, now, |look| look.sample.cpu_seconds).filter(|_| is_fine),
                router_cores: rate(before, now, |look| look.sample.router_busy_seconds),
                packets_per_second: rate(before, now, |look| look.sample.packets_forwarded),
                memory_mb: now.sample.resident_bytes.map(|bytes| bytes / 1e6),
                generator_cores: rate(before, now, |look| look.generator_cpu),
            }
        };
        self.looks.windows(2).map(moment).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_between_two_looks_and_what_is_not_published_is_not_known() {
        let look = |at: u64, cpu: f64, up| Look {
            at: Duration::from_secs(at),
            sample: Sample { cpu_seconds: Some(cpu), resident_bytes: Some(50e6), ..Sample::default() },
            generator_cpu: None,
            up,
            viewers: 0,
            failed: 0,
        };
        let history = History { looks: vec![look(0, 1.0, 0), look(2, 2.0, 5), look(4, 1.5, 5)] };
        let moments = history.moments();
        assert_eq!(moments.len(), 2);
        assert_eq!((moments[0].server_cores, moments[0].calls_up), (Some(0.5), 5));
        assert_eq!(moments[1].server_cores, Some(0.0), "a server that was restarted counts from nothing");
        let coarse = History { looks: vec![look(0, 1.0, 0), look(2, 2.0, 5)] };
        assert_eq!(coarse.moments()[0].server_cores, None, "whole seconds say nothing");
        assert_eq!((moments[1].memory_mb, moments[1].router_cores), (Some(50.0), None));
        assert!(History::default().moments().is_empty());
    }

    #[test]
    fn two_generators_calls_and_cpu_add_up_and_the_server_stays_one() {
        let look = |ms: u64, up, cpu: f64| Look {
            at: Duration::from_millis(ms),
            sample: Sample { cpu_seconds: Some(ms as f64 / 1e3 + 0.5), ..Sample::default() },
            generator_cpu: Some(cpu),
            up,
            viewers: 10 * up,
            failed: 1,
        };
        let mut one = History { looks: vec![look(0, 0, 1.0), look(1_000, 5, 1.5), look(2_000, 6, 2.0)] };
        let other = History { looks: vec![look(40, 0, 3.0), look(1_040, 7, 3.25), look(2_040, 7, 3.5)] };
        one.merge(&other);
        let moments = one.moments();
        assert_eq!(moments.iter().map(|m| m.calls_up).collect::<Vec<_>>(), [12, 13]);
        assert_eq!((moments[0].generator_cores, moments[0].server_cores), (Some(0.75), Some(1.0)));
        assert_eq!((moments[1].calls_failed, moments[1].viewers_up), (2, 130));
    }
}
