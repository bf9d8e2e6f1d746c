//! Probes: for a moment more is sent than is needed, to see whether the path carries it. What is sent anyway counts; the rest is
//! padding.

/// Longest time between two steps of a probe, and how long it lasts, in microseconds. Longer is surer of what it sees, and
/// lets the queue of a path without room grow for longer.
const STEP: u64 = 5_000;
const LENGTH: u64 = 50_000;

/// How many times the estimate a probe is. Higher finds room in fewer steps, lower keeps the queue short where there is none.
const FACTOR: f64 = 2.0;

/// A probe is no less than this, in bits per second: fewer packets show nothing.
const MIN_RATE: f64 = 200e3;

/// How far beyond what is wanted a probe goes: what it shows is a little less than what it sends.
const BEYOND_WANTED: f64 = 1.1;

/// Time between probes that find no room, in microseconds: doubled each time. Higher costs less, lower finds room sooner: the
/// longest is most of the time in which a full picture is to come back.
const INTERVAL: (u64, u64) = (1_000_000, 4_000_000);

/// Longest wait for reports on a probe, beyond a round trip, in microseconds.
const REPORTED_AFTER: u64 = 500_000;

/// Least packets of a probe, and the least of them that must arrive, in percent.
const MIN_PACKETS: u32 = 5;
const MIN_ARRIVED: u32 = 80;
/// Least time that a probe must have been sent over, in microseconds.
const MIN_TIME: u64 = 15_000;

/// What arrives slower than this part of how it was sent has filled the path; then this much of it counts.
const FILLED: f64 = 0.9;
const COUNTS: f64 = 0.95;

/// One after the other. Times in microseconds, rates in bits per second.
#[derive(Debug)]
pub(super) struct Probes {
    present: Option<Probe>,
    /// Of the last one; never 0.
    id: u8,
    next_at: u64,
    interval: u64,
}

#[derive(Debug)]
struct Probe {
    rate: f64,
    began: u64,
    /// When it was last seen to.
    seen_at: u64,
    /// Nothing more is sent for it since then.
    ended_at: Option<u64>,
    /// The number after its last packet.
    end: u64,
    sent: Passed,
    arrived: Passed,
}

/// What a probe has shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shown {
    /// What the path carries at least.
    pub(super) rate: f64,
    /// It carries no more.
    pub(super) is_filled: bool,
}

/// Packets as they passed one end of the path.
#[derive(Debug, Default)]
struct Passed {
    packets: u32,
    bytes: u64,
    first: i64,
    last: i64,
    /// Of the first packet, and of all at the last moment.
    first_bytes: u64,
    last_bytes: u64,
}

impl Probes {
    pub(super) fn new(now: u64) -> Self {
        Self { present: None, id: 0, next_at: now, interval: INTERVAL.0 }
    }

    /// Begins a probe if it is time.
    pub(super) fn begin(&mut self, now: u64, estimate: f64, wanted: f64) {
        if self.present.is_some() || now < self.next_at {
            return;
        }
        let rate = (estimate * FACTOR).max(MIN_RATE).min(wanted * BEYOND_WANTED);
        self.id = self.id.checked_add(1).unwrap_or(1);
        let (sent, arrived) = (Passed::default(), Passed::default());
        self.present = Some(Probe { rate, began: now, seen_at: now, ended_at: None, end: 0, sent, arrived });
    }

    /// No probe begins before this time.
    pub(super) fn wait_until(&mut self, at: u64) {
        self.next_at = self.next_at.max(at);
    }

    /// Whether padding must be sent now for the present probe.
    pub(super) fn wants_padding(&mut self, now: u64) -> bool {
        let Some(probe) = self.present.as_mut().filter(|probe| probe.ended_at.is_none()) else {
            return false;
        };
        probe.seen_at = now;
        let until = (now.saturating_sub(probe.began) + STEP).min(LENGTH);
        let is_behind = (probe.sent.bytes as f64) < probe.rate * until as f64 / 8e6;
        if !is_behind && until == LENGTH {
            probe.ended_at = Some(now);
        }
        is_behind
    }

    /// What packets that are sent now are part of; 0: nothing.
    pub(super) fn id(&self) -> u8 {
        let is_sending = self.present.as_ref().is_some_and(|probe| probe.ended_at.is_none());
        if is_sending { self.id } else { 0 }
    }

    /// A packet of the present probe was sent.
    pub(super) fn send(&mut self, now: u64, number: u64, bytes: usize) {
        if let Some(probe) = &mut self.present {
            probe.end = number + 1;
            probe.sent.add(now.cast_signed(), bytes as u64);
        }
    }

    /// One arrived, at this time on the receiver's clock.
    pub(super) fn arrive(&mut self, id: u8, at: i64, bytes: u64) {
        if let Some(probe) = self.present.as_mut().filter(|_| self.id == id) {
            probe.arrived.add(at, bytes);
        }
    }

    /// Ends the present probe without a result, and waits for the next.
    pub(super) fn give_up(&mut self, now: u64) {
        if self.present.take().is_some() {
            self.back_off(now);
        }
    }

    /// What the present probe has shown, once reports cover all numbers up to `reported` or do not come. `Some(None)`: nothing.
    pub(super) fn result(&mut self, now: u64, reported: u64, round_trip: u64) -> Option<Option<Shown>> {
        let probe = self.present.as_ref()?;
        let ended_at = probe.ended_at?;
        let is_late = now >= ended_at + round_trip + REPORTED_AFTER;
        if reported < probe.end && !is_late {
            return None;
        }
        let shown = probe.shown();
        let is_filled = shown.is_none_or(|shown| shown.is_filled);
        self.present = None;
        if is_filled {
            self.back_off(now);
        } else {
            (self.next_at, self.interval) = (now, INTERVAL.0);
        }
        Some(shown)
    }

    /// When something is to be done; `wants_more`: whether another probe would begin.
    pub(super) fn wakes_at(&self, wants_more: bool, round_trip: u64) -> Option<u64> {
        match &self.present {
            Some(Probe { ended_at: Some(at), .. }) => Some(at + round_trip + REPORTED_AFTER),
            Some(probe) => Some(probe.seen_at + STEP),
            None => wants_more.then_some(self.next_at),
        }
    }

    fn back_off(&mut self, now: u64) {
        self.next_at = now + self.interval;
        self.interval = (2 * self.interval).min(INTERVAL.1);
    }
}

impl Probe {
    fn shown(&self) -> Option<Shown> {
        let (sent, arrived) = (&self.sent, &self.arrived);
        let enough = sent.packets >= MIN_PACKETS && arrived.packets * 100 >= sent.packets * MIN_ARRIVED;
        if !enough || sent.time() < MIN_TIME {
            return None;
        }
        // The last packets take time after they were sent, the first one has taken its time before it arrived.
        let sent = (sent.bytes - sent.last_bytes) as f64 * 8e6 / sent.time() as f64;
        let arrived = (arrived.bytes - arrived.first_bytes) as f64 * 8e6 / arrived.time().max(1000) as f64;
        let is_filled = arrived < FILLED * sent;
        let rate = if is_filled { arrived * COUNTS } else { sent.min(arrived) };
        Some(Shown { rate, is_filled })
    }
}

impl Passed {
    fn add(&mut self, at: i64, bytes: u64) {
        if self.packets == 0 {
            (self.first, self.last, self.first_bytes) = (at, at, bytes);
        }
        self.first = self.first.min(at);
        self.last_bytes = if at > self.last { bytes } else { self.last_bytes + bytes };
        self.last = self.last.max(at);
        self.packets += 1;
        self.bytes += bytes;
    }

    fn time(&self) -> u64 {
        self.last.abs_diff(self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A probe from 500 kbit/s on a path of this rate, and how long after it the next one may begin.
    fn probe(path: f64, lost_percent: u64) -> (Option<f64>, u64) {
        let mut probes = Probes::new(0);
        probes.begin(0, 500e3, 5e6);
        let (mut number, mut free_at) = (0, 0.0_f64);
        for step in 0..=10 {
            let now = step * STEP;
            while probes.wants_padding(now) {
                probes.send(now, number, 280);
                free_at = free_at.max(now as f64) + 280.0 * 8e6 / path;
                if number % 100 >= lost_percent {
                    probes.arrive(probes.id(), 90_000_000 + free_at as i64, 280);
                }
                number += 1;
            }
            assert!(probes.id() == 0 || probes.wakes_at(true, 0) == Some(now + STEP));
        }
        let ended_at = probes.present.as_ref().unwrap().ended_at.expect("it ended");
        assert!((20..26).contains(&number), "{number} packets are 1 Mbit/s for 50 ms");
        assert_eq!(probes.result(ended_at, number - 1, 0), None);
        let result = probes.result(ended_at, number, 0).unwrap();
        (result.map(|shown| shown.rate), probes.next_at - ended_at)
    }

    #[test]
    fn a_probe_shows_room_or_that_there_is_none() {
        let (room, next_at) = probe(10e6, 0);
        assert!(room.is_some_and(|room| (930e3..1060e3).contains(&room)) && next_at == 0, "{room:?}");
        let (full, next_at) = probe(600e3, 0);
        assert!(full.is_some_and(|full| (540e3..600e3).contains(&full)), "{full:?}");
        assert_eq!(next_at, INTERVAL.0);
        assert_eq!(probe(10e6, 40), (None, INTERVAL.0));
    }

    #[test]
    fn probes_that_find_no_room_become_rare_but_not_too_rare() {
        let (mut probes, mut now, mut gaps) = (Probes::new(0), 0, Vec::new());
        for _ in 0..5 {
            probes.begin(now, 1e6, 5e6);
            assert!(probes.wants_padding(now));
            let begun = now;
            probes.give_up(now);
            now = probes.wakes_at(true, 0).unwrap();
            gaps.push((now - begun) / 1_000_000);
        }
        assert_eq!(gaps, [1, 2, 4, 4, 4]);
        assert_eq!(probes.wakes_at(false, 0), None);
    }

    #[test]
    fn a_probe_goes_no_further_than_what_is_wanted_and_ends_without_reports() {
        let mut probes = Probes::new(0);
        probes.begin(0, 500e3, 600e3);
        assert!(probes.present.as_ref().is_some_and(|probe| probe.rate < 661e3));
        probes.send(0, 7, 5000);
        assert!(!probes.wants_padding(LENGTH));
        let late = LENGTH + 30_000 + REPORTED_AFTER;
        assert_eq!(probes.wakes_at(true, 30_000), Some(late));
        assert_eq!(probes.result(late - 1, 0, 30_000), None);
        assert_eq!(probes.result(late, 0, 30_000), Some(None));
    }
}
