//! Whether marked media is handed over once and in order.

use serde::Serialize;

use super::mark;

/// Frames of sound or pictures that carried a [`mark`], as they were handed over: to the decoder, or to whoever would show them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Units {
    /// How many.
    pub handed_over: u64,
    /// Of those, how many were not newer than all before: handed over a second time, or after a later one.
    pub repeated: u64,
    #[serde(skip)]
    newest: u64,
}

impl Units {
    /// A frame with this payload, or with this as its last packet's, is handed over. Without a mark it does not count.
    pub(crate) fn count(&mut self, payload: &[u8]) {
        if let Some(sent) = mark::read(payload) {
            self.count_sent(sent);
        }
    }

    /// The same for a frame whose mark was read already.
    pub(crate) fn count_sent(&mut self, sent: u64) {
        self.handed_over += 1;
        self.repeated += u64::from(sent <= self.newest);
        self.newest = self.newest.max(sent);
    }

    /// What came since then.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            handed_over: self.handed_over.saturating_sub(earlier.handed_over),
            repeated: self.repeated.saturating_sub(earlier.repeated),
            newest: self.newest,
        }
    }
}

/// Marks for what is sent: the clock's, and never one twice.
#[derive(Debug, Default)]
pub(crate) struct Marker(u64);

impl Marker {
    pub(crate) fn next(&mut self, unix_micros: u64) -> u64 {
        self.0 = unix_micros.max(self.0 + 1);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_or_goes_back_is_counted() {
        let mut units = Units::default();
        for sent in [1, 2, 2, 4, 3, 5] {
            units.count(&mark::bytes(sent));
        }
        units.count(b"without a mark");
        assert_eq!((units.handed_over, units.repeated), (6, 2));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_no_mark_twice() {
        let mut marker = Marker::default();
        assert_eq!([7, 7, 3, 20].map(|now| marker.next(now)), [7, 8, 9, 20]);
    }
}
