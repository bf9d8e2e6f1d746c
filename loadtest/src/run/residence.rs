//! How long media was in the router, from the histogram that it publishes. Pure.

use super::server::labelled;

const BUCKETS: &str = "duocast_router_packet_residence_seconds_bucket";

/// Packets by how long the router had them: from the kernel's receipt of a datagram until what came of it was sent.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Residence {
    /// Upper bound in seconds and how many packets of all were here for so long at most, in rising order. What is beyond the last bound of the router's is
    /// under the last here, which quantiles never exceed.
    buckets: Vec<(f64, f64)>,
    count: f64,
}

impl Residence {
    /// From a page of metrics; `None` if it has no such histogram.
    pub(crate) fn read(page: &str) -> Option<Self> {
        let by_bound = labelled(page, BUCKETS, "le");
        let count = *by_bound.get("+Inf")?;
        let finite = by_bound.iter().filter_map(|(le, packets)| Some((le.parse::<f64>().ok()?, *packets)));
        let mut buckets: Vec<_> = finite.filter(|(bound, _)| bound.is_finite()).collect();
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        Some(Self { buckets, count })
    }

    /// What came after `before`, an earlier look at the same router.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let earlier = |bound: f64| before.buckets.iter().find(|(b, _)| *b == bound).map_or(0.0, |(_, n)| *n);
        let buckets =
            self.buckets.iter().map(|(bound, packets)| (*bound, packets - earlier(*bound))).collect();
        Self { buckets, count: self.count - before.count }
    }

    /// The time in milliseconds that a share of `quantile` of the packets was here at most, between a bucket's bounds in proportion, as
    /// PromQL's `histogram_quantile` has it. `None` if there are no packets.
    pub(crate) fn ms_at(&self, quantile: f64) -> Option<f64> {
        let rank = (self.count > 0.0).then_some(quantile * self.count)?;
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, packets) in &self.buckets {
            if *packets >= rank && *packets > below {
                return Some((lower + (bound - lower) * (rank - below) / (packets - below)) * 1e3);
            }
            (lower, below) = (*bound, *packets);
        }
        Some(lower * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(counts: [u32; 4]) -> String {
        let line = |(le, count): (&str, u32)| format!("{BUCKETS}{{le=\"{le}\"}} {count}\n");
        ["0.0005", "0.001", "0.01", "+Inf"].into_iter().zip(counts).map(line).rev().collect()
    }

    #[test]
    fn quantiles_lie_between_a_buckets_bounds() {
        let residence = Residence::read(&page([50, 90, 100, 100])).unwrap();
        let ms = |quantile| residence.ms_at(quantile).unwrap();
        assert!((ms(0.25) - 0.25).abs() < 1e-9 && (ms(0.7) - 0.75).abs() < 1e-9, "{} {}", ms(0.25), ms(0.7));
        assert!((ms(0.95) - 5.5).abs() < 1e-9 && (ms(1.0) - 10.0).abs() < 1e-9);
        let slow = Residence::read(&page([0, 0, 1, 100])).unwrap();
        assert_eq!(slow.ms_at(0.99), Some(10.0), "no more is known than the last bound");
    }

    #[test]
    fn only_what_came_between_two_looks_counts() {
        let (before, after) = (page([50, 50, 50, 50]), page([50, 150, 150, 150]));
        let between = Residence::read(&after).unwrap().since(&Residence::read(&before).unwrap());
        assert!((between.ms_at(0.5).unwrap() - 0.75).abs() < 1e-9);
        assert_eq!(between.since(&between).ms_at(0.5), None, "nothing came");
        assert_eq!(Residence::read("other 1\n"), None);
    }
}
