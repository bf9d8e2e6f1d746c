//! How long media is in this node, from the kernel's receipt of a datagram to the end of the call that sent what came of it. Pure.
//!
//! What a client measures has its own machine in it, and the network. This has neither: it says whether the node is slow.

use std::time::Duration;

/// Upper bounds of the buckets in µs, and as Prometheus writes them in seconds. Closer ones tell more, each costs a series.
const BOUNDS: [(u64, &str); 16] = [
    (100, "0.0001"),
    (200, "0.0002"),
    (300, "0.0003"),
    (500, "0.0005"),
    (750, "0.00075"),
    (1_000, "0.001"),
    (1_500, "0.0015"),
    (2_000, "0.002"),
    (3_000, "0.003"),
    (5_000, "0.005"),
    (7_500, "0.0075"),
    (10_000, "0.01"),
    (20_000, "0.02"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
];

/// Packets by how long they were here.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Residence {
    /// One for each bound, and one for what is beyond the last.
    packets: [u64; BOUNDS.len() + 1],
    total: Duration,
}

impl Residence {
    /// What of these has been sent at `now`; all are times since the Unix epoch. A clock that was put back makes a time of zero.
    pub(crate) fn add(&mut self, now: Duration, receipts: impl Iterator<Item = Duration>) {
        for received_at in receipts {
            let time = now.saturating_sub(received_at);
            let bucket = BOUNDS.partition_point(|(bound, _)| u128::from(*bound) < time.as_micros());
            self.packets[bucket] += 1;
            self.total = self.total.saturating_add(time);
        }
    }

    /// How many were here for at most so long (`le`), bound by bound to `+Inf`, as a Prometheus histogram counts.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bounds = BOUNDS.iter().map(|(_, le)| *le).chain(["+Inf"]);
        let sums = self.packets.iter().scan(0, |sum, packets| {
            *sum += packets;
            Some(*sum)
        });
        bounds.zip(sums)
    }

    /// All of them.
    pub(crate) fn count(&self) -> u64 {
        self.packets.iter().sum()
    }

    /// How long all of them were here, added up.
    pub(crate) fn total(&self) -> Duration {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_what_was_here_for_its_bound_or_less() {
        let micros = Duration::from_micros;
        let now = Duration::from_secs(1_700_000_000);
        let times = [0, 100, 101, 999, 1_000, 1_001, 250_000, 250_001, 9_000_000];
        let mut residence = Residence::default();
        residence.add(now, times.map(|time| now - micros(time)).into_iter());
        let buckets: Vec<_> = residence.buckets().collect();
        let up_to = |le: &str| buckets.iter().find(|(bound, _)| *bound == le).unwrap().1;
        assert_eq!(["0.0001", "0.0002", "0.00075", "0.001", "0.0015"].map(up_to), [2, 3, 3, 5, 6]);
        assert_eq!((up_to("0.25"), up_to("+Inf"), residence.count()), (7, 9, 9));
        assert_eq!(residence.total(), micros(times.iter().sum()));
        assert!(
            BOUNDS.iter().all(|(bound, le)| le.parse() == Ok(*bound as f64 / 1e6)),
            "one bound, written twice"
        );
    }

    #[test]
    fn a_clock_that_was_put_back_takes_nothing_away() {
        let mut residence = Residence::default();
        residence.add(Duration::from_secs(1), [Duration::from_secs(2)].into_iter());
        assert_eq!((residence.count(), residence.total()), (1, Duration::ZERO));
    }
}
