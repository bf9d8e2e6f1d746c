//! What a run shows while it goes on: a live line on a terminal, a plain line now and then elsewhere. All of it goes to
//! standard error, so that standard output holds the report alone.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::live::Live;
use crate::lane::LaneLink;

/// How often the live line changes.
pub(crate) const EVERY: Duration = Duration::from_millis(500);

/// How often a plain line is written.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    calls: usize,
    started: Instant,
    ends_at: Instant,
    last: (Instant, u64, u64),
    plain_at: Instant,
}

impl Progress {
    pub(crate) fn new(calls: usize, started: Instant, ends_at: Instant) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let total = ends_at.saturating_duration_since(started).as_millis();
            let bar = ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX));
            let style = ProgressStyle::with_template("{bar:24.cyan} {msg}");
            bar.set_style(style.expect("the template is constant and valid"));
            bar
        });
        Self { bar, calls, started, ends_at, last: (started, 0, 0), plain_at: started }
    }

    /// Shows how it stands.
    pub(crate) fn update(&mut self, now: Instant, live: &Live, lanes: &[LaneLink]) {
        let sent: u64 = lanes.iter().map(|lane| lane.gauges().sent()).sum();
        let received: u64 = lanes.iter().map(|lane| lane.gauges().received()).sum();
        if self.bar.is_none() && now < self.plain_at {
            return;
        }
        let (last_at, last_sent, last_received) = std::mem::replace(&mut self.last, (now, sent, received));
        let seconds = now.saturating_duration_since(last_at).as_secs_f64().max(0.001);
        let rate = |new: u64, old: u64| (new.saturating_sub(old) as f64 / seconds).round();
        let viewers = match live.viewers.load(Ordering::Relaxed) {
            0 => String::new(),
            viewers => format!("{viewers} viewers, "),
        };
        let line = format!(
            "{} online, {}/{} calls up, {viewers}{} failed, {} packets/s out, {} in",
            live.online.load(Ordering::Relaxed),
            live.up.load(Ordering::Relaxed),
            self.calls,
            live.failed.load(Ordering::Relaxed),
            rate(sent, last_sent),
            rate(received, last_received),
        );
        let elapsed = now.saturating_duration_since(self.started);
        match &self.bar {
            Some(bar) => {
                bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
                bar.set_message(line);
            }
            None => {
                self.plain_at = now + PLAIN_EVERY;
                let total = self.ends_at.saturating_duration_since(self.started).as_secs();
                say(&format!("{:>4} of {total} s: {line}", elapsed.as_secs()));
            }
        }
    }

    /// Clears the live line.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A line for people.
pub(crate) fn say(line: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}
