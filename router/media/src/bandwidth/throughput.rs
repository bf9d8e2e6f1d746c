//! How much arrives: bytes by the time of their arrival on the receiver's clock.

/// Arrivals within this time, in microseconds, are counted together.
const SPAN: i64 = 25_000;

/// Spans that are kept: half a second, over which growth is judged.
const SPANS: usize = 20;

/// Spans over which a collapse is judged: a quarter of a second. Higher lets what arrived before a collapse count for longer,
/// lower takes the pauses between pictures for one.
const RECENT: usize = 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Throughput {
    /// At the span modulo [`SPANS`].
    bytes: [u64; SPANS],
    first: Option<i64>,
    last: i64,
}

/// Bits per second that arrived lately.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Arriving {
    /// Over half a second.
    pub(super) usual: f64,
    /// Over half as long, if that was less.
    pub(super) least: f64,
}

impl Throughput {
    /// A packet arrived at this time on the receiver's clock, in microseconds.
    pub(super) fn add(&mut self, at: i64, bytes: u64) {
        let last = if self.first.is_some() { self.last } else { at };
        self.first.get_or_insert(at);
        self.last = last.max(at);
        let skipped = (at.div_euclid(SPAN) - last.div_euclid(SPAN)).min(SPANS as i64);
        (0..skipped).for_each(|n| self.bytes[place(at - n * SPAN)] = 0);
        if self.last.div_euclid(SPAN) - at.div_euclid(SPAN) < SPANS as i64 {
            self.bytes[place(at)] += bytes;
        }
    }

    /// `None` until enough time has passed.
    pub(super) fn arriving(&self) -> Option<Arriving> {
        let usual = self.over(SPANS)?;
        Some(Arriving { usual, least: self.over(RECENT)?.min(usual) })
    }

    /// Forgets everything: the receiver's clock has jumped.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    fn over(&self, spans: usize) -> Option<f64> {
        let start = (self.last.div_euclid(SPAN) - spans as i64 + 1) * SPAN;
        if self.first? > start {
            return None;
        }
        let bytes: u64 = (0..spans as i64).map(|n| self.bytes[place(start + n * SPAN)]).sum();
        let micros = (self.last - start).max(1);
        Some(bytes as f64 * 8e6 / micros as f64)
    }
}

fn place(at: i64) -> usize {
    at.div_euclid(SPAN).rem_euclid(SPANS as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_is_known_after_half_a_second_and_a_collapse_in_half_that_time() {
        let mut throughput = Throughput::default();
        let mut at = 7_777_777;
        for n in 0..200 {
            throughput.add(at, 1000);
            assert_eq!(throughput.arriving().is_some(), n >= 50, "{n}");
            at += 10_000;
        }
        let Arriving { usual, least } = throughput.arriving().unwrap();
        assert!((760e3..850e3).contains(&usual) && (760e3..850e3).contains(&least), "{usual} {least}");
        for _ in 0..25 {
            throughput.add(at, 100);
            at += 10_000;
        }
        let Arriving { usual, least } = throughput.arriving().unwrap();
        assert!((400e3..500e3).contains(&usual) && (75e3..120e3).contains(&least), "{usual} {least}");
        throughput.add(at + 60_000_000, 10);
        assert!(throughput.arriving().unwrap().usual < 1e4, "nothing came for a minute");
        throughput.add(at, 1_000_000);
        assert!(throughput.arriving().unwrap().usual < 1e4, "too late to count");
    }
}
