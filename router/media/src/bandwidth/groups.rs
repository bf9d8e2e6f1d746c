//! Packets sent together, and how much later each group arrived than the one before it (draft-ietf-rmcat-gcc-02 section 5.2
//! to 5.3).

/// Packets sent or arriving within this time, in microseconds, are one group: they queue together.
const BURST: i64 = 5_000;

/// Longest group that arrives as one burst, in microseconds.
const MAX_BURST: i64 = 100_000;

/// A group that is this much later or earlier than its neighbours, in microseconds, is no delay: a clock has jumped.
const MAX_CHANGE: i64 = 3_000_000;

/// See the module. Times are microseconds, those of arrival on the receiver's clock.
#[derive(Debug, Default)]
pub(super) struct Groups {
    present: Option<Group>,
    before: Option<Group>,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    first_sent: i64,
    last_sent: i64,
    first_arrived: i64,
    last_arrived: i64,
}

/// Between two groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) sent: i64,
    pub(super) arrived: i64,
    /// When the later one had arrived.
    pub(super) at: i64,
}

impl Groups {
    /// Takes a packet that arrived; what it shows if it begins another group.
    pub(super) fn add(&mut self, sent: i64, arrived: i64) -> Option<Change> {
        let alone =
            Group { first_sent: sent, last_sent: sent, first_arrived: arrived, last_arrived: arrived };
        let Some(present) = &mut self.present else {
            self.present = Some(alone);
            return None;
        };
        if sent < present.first_sent {
            return None;
        }
        if present.takes(sent, arrived) {
            present.last_sent = present.last_sent.max(sent);
            present.last_arrived = present.last_arrived.max(arrived);
            return None;
        }
        let done = std::mem::replace(present, alone);
        let before = self.before.replace(done)?;
        let (sent, arrived) = (done.last_sent - before.last_sent, done.last_arrived - before.last_arrived);
        if arrived < 0 || (arrived - sent).abs() > MAX_CHANGE {
            self.forget();
            return None;
        }
        Some(Change { sent, arrived, at: done.last_arrived })
    }

    /// What comes next has nothing to do with what was before.
    pub(super) fn forget(&mut self) {
        (self.present, self.before) = (None, None);
    }
}

impl Group {
    fn takes(&self, sent: i64, arrived: i64) -> bool {
        let since = arrived - self.last_arrived;
        let is_catching_up = since <= BURST && since < sent - self.last_sent;
        sent - self.first_sent <= BURST || (is_catching_up && arrived - self.first_arrived < MAX_BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_compared_by_their_last_packets() {
        let mut groups = Groups::default();
        // Two packets every 20 ms; the second frame's last one is 7 ms late.
        let packets = [(0, 100), (1, 101), (20, 120), (21, 128), (40, 140), (41, 141)];
        let changes: Vec<_> = packets.iter().filter_map(|(s, a)| groups.add(s * 1000, a * 1000)).collect();
        assert_eq!(changes, [Change { sent: 20_000, arrived: 27_000, at: 128_000 }]);
        let next = groups.add(60_000, 160_000);
        assert_eq!(next, Some(Change { sent: 20_000, arrived: 13_000, at: 141_000 }));
    }

    #[test]
    fn what_was_held_up_and_comes_at_once_is_one_group() {
        let mut groups = Groups::default();
        for n in 0..10 {
            assert_eq!(groups.add(n * 10_000, 500_000 + n * 100), None);
        }
        assert_eq!(groups.add(100_000, 600_000), None);
        let held_up = groups.add(120_000, 620_000).unwrap();
        assert_eq!(held_up, Change { sent: 10_000, arrived: 99_100, at: 600_000 });
    }

    #[test]
    fn a_clock_that_jumps_is_no_delay() {
        let mut groups = Groups::default();
        groups.add(0, 0);
        groups.add(20_000, 20_000);
        groups.add(40_000, 9_000_000);
        assert_eq!(groups.add(60_000, 9_020_000), None);
        assert_eq!(groups.add(80_000, 9_040_000), None, "begun anew");
        assert_eq!(groups.add(100_000, 9_060_000), None);
        assert!(groups.add(120_000, 9_080_000).is_some());
    }
}
