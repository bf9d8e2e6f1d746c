//! Sound that was lost on the way here and comes once more in a later packet (RFC 2198): to its viewers it goes as if it had come.
//!
//! Without that, what is lost on the way to a viewer adds up with what was lost here, and two in a row are heard even where each packet
//! carries those before. To the client it stays lost: that is what its own rate and redundancy are to go by.

use crate::red::OFFSET_MAX;
use crate::window::Window;

/// What is known of one source's sound.
#[derive(Debug)]
pub(crate) struct Recovery {
    /// The source's first number: viewers have no place for what was before it.
    first: u64,
    /// Number and time of the newest packet.
    last: Option<(u64, u32)>,
    /// Ticks from one packet to the next, as the last two in a row had them; 0: not known.
    step: u32,
    /// What was taken out of later packets.
    made: Window,
}

impl Recovery {
    /// Begins with the source's first packet, which still must be [noted](Recovery::note).
    pub(crate) fn new(first: u64) -> Self {
        Self { first, last: None, step: 0, made: Window::default() }
    }

    /// A packet came. False if it was taken out of a later one before: its viewers have it.
    #[must_use]
    pub(crate) fn note(&mut self, number: u64, timestamp: u32) -> bool {
        if let Some((last, at)) = self.last {
            let step = timestamp.wrapping_sub(at);
            if number == last + 1 && (1..=OFFSET_MAX).contains(&step) {
                self.step = step;
            }
        }
        if self.last.is_none_or(|(last, _)| number > last) {
            self.last = Some((number, timestamp));
        }
        self.made.is_new(number)
    }

    /// The number of a block that is `place` packets and `offset` ticks older than the packet with this number, if it is to be taken: it came neither by
    /// itself (`arrived`) nor in another packet. A block says when it was spoken and not which packet it was: it counts only if
    /// both agree. After a silence they may not, and nothing is taken.
    pub(crate) fn take(&mut self, arrived: &Window, number: u64, place: u32, offset: u32) -> Option<u64> {
        let lost = number.checked_sub(place.into()).filter(|lost| *lost > self.first)?;
        let is_that_one = self.step > 0 && self.step.checked_mul(place) == Some(offset);
        (is_that_one && arrived.is_new(lost) && self.made.take(lost)).then_some(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: u32 = 960;

    /// What came of a source, and what is known of its sound.
    struct Source(Window, Recovery);

    impl Source {
        /// Starts at number 100.
        fn new(numbers: &[u64]) -> Self {
            let mut source = Self(Window::default(), Recovery::new(100));
            numbers.iter().for_each(|number| assert!(source.note(*number)));
            source
        }

        fn note(&mut self, number: u64) -> bool {
            self.note_at(number, number as u32 * STEP)
        }

        fn note_at(&mut self, number: u64, timestamp: u32) -> bool {
            self.0.take(number);
            self.1.note(number, timestamp)
        }

        fn take(&mut self, number: u64, place: u32) -> Option<u64> {
            self.1.take(&self.0, number, place, place * STEP)
        }
    }

    #[test]
    fn what_did_not_come_is_taken_once_from_whichever_packet_has_it() {
        let mut source = Source::new(&[100, 101, 104]);
        assert_eq!((source.take(104, 1), source.take(104, 2)), (Some(103), Some(102)));
        assert_eq!((source.take(104, 1), source.take(104, 3)), (None, None), "it was taken, or came");
        assert!(source.note(105));
        assert_eq!(source.take(105, 2), None);
        assert!(!source.note(103), "the original is late");
        assert!(source.note(106) && !source.note(102));
    }

    #[test]
    fn a_late_packet_has_what_was_lost_before_it_as_well() {
        let mut source = Source::new(&[100, 101, 104]);
        assert_eq!(source.take(104, 1), Some(103));
        assert!(!source.note(103));
        assert_eq!(source.take(103, 1), Some(102));
    }

    #[test]
    fn what_was_before_the_source_began_is_not_taken() {
        let mut source = Source::new(&[100, 101]);
        assert_eq!((source.take(101, 2), source.take(101, 1), source.take(0, 1)), (None, None, None));
        let mut source = Source(Window::default(), Recovery::new(0));
        assert!(source.note(0) && source.note(1));
        assert_eq!((source.take(1, 1), source.take(1, 2)), (None, None));
    }

    #[test]
    fn a_block_whose_time_is_not_that_of_its_place_is_not_taken() {
        let mut source = Source::new(&[100, 102]);
        assert_eq!(source.take(102, 1), None, "how long a packet is, is not known yet");
        let mut source = Source::new(&[100, 101, 103]);
        for offset in [0, STEP - 1, 2 * STEP, OFFSET_MAX] {
            assert_eq!(source.1.take(&source.0, 103, 1, offset), None, "{offset}");
        }
        // After a silence, and once packets are longer.
        assert!(source.note_at(104, 112 * STEP) && source.note_at(106, 114 * STEP));
        assert_eq!(source.take(106, 1), None);
        assert!(source.note_at(107, 117 * STEP) && source.note_at(109, 123 * STEP));
        assert_eq!(source.1.take(&source.0, 109, 1, 3 * STEP), Some(108));
        assert!(source.note_at(110, 0) && source.note_at(112, 0));
        assert_eq!(source.1.take(&source.0, 112, 1, 3 * STEP), Some(111), "a jump teaches nothing");
    }
}
