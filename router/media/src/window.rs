//! Which packets of one SSRC were seen, by their extended sequence number: the replay list of RFC 3711 section 3.3.2, and on
//! the way out the promise that no nonce is used twice.

/// Packets below the highest that are still told apart; older ones count as seen. Higher costs memory per SSRC, lower
/// drops what was repaired late: 512 are 0.4 s at 10 Mbit/s.
pub(crate) const WINDOW: u64 = 512;

const WORDS: usize = (WINDOW / 64) as usize;

/// The packets of one SSRC.
#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    highest: Option<u64>,
    /// One bit for each of the last [`WINDOW`] numbers, at the number modulo [`WINDOW`].
    seen: [u64; WORDS],
}

impl Window {
    /// The extended number that a 16-bit one most likely means (RFC 3711 section 3.3.1). `None`: one from before the first.
    pub(crate) fn extend(&self, number: u16) -> Option<u64> {
        extend(self.highest, number)
    }

    /// Whether the number was not taken yet and is not too old to know.
    pub(crate) fn is_new(&self, number: u64) -> bool {
        let Some(highest) = self.highest else { return true };
        let (word, bit) = place(number);
        number > highest || (highest - number < WINDOW && self.seen[word] & bit == 0)
    }

    /// Takes a number; false if it [is not new](Window::is_new).
    pub(crate) fn take(&mut self, number: u64) -> bool {
        if !self.is_new(number) {
            return false;
        }
        match self.highest {
            Some(highest) if number > highest => self.forget((highest + 1)..number),
            _ => {}
        }
        self.highest = self.highest.max(Some(number));
        let (word, bit) = place(number);
        self.seen[word] |= bit;
        true
    }

    fn forget(&mut self, skipped: std::ops::Range<u64>) {
        if skipped.end - skipped.start >= WINDOW {
            self.seen = [0; WORDS];
            return;
        }
        for number in skipped {
            let (word, bit) = place(number);
            self.seen[word] &= !bit;
        }
    }
}

fn place(number: u64) -> (usize, u64) {
    ((number % WINDOW / 64) as usize, 1 << (number % 64))
}

/// The number closest to `highest` whose low 16 bits are `number`; with nothing known, the number itself.
pub(crate) fn extend(highest: Option<u64>, number: u16) -> Option<u64> {
    let Some(highest) = highest else { return Some(number.into()) };
    let ahead = number.wrapping_sub(highest as u16).cast_signed();
    highest.checked_add_signed(ahead.into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_go_on_across_the_wrap_in_both_directions() {
        assert_eq!(extend(None, 65_535), Some(65_535));
        assert_eq!(extend(Some(65_535), 0), Some(65_536));
        assert_eq!(extend(Some(65_536), 65_535), Some(65_535));
        assert_eq!(extend(Some(0x5_0001), 0xffff), Some(0x4_ffff));
        assert_eq!(extend(Some(3), 65_535), None, "there is no rollover before the first");
    }

    proptest! {
        /// Model: a set of all numbers ever taken.
        #[test]
        fn a_number_is_taken_once(steps in proptest::collection::vec(-700_i64..700, 1..400)) {
            let (mut window, mut model, mut highest) = (Window::default(), BTreeSet::new(), 10_000_u64);
            for step in steps {
                let number = highest.saturating_add_signed(step);
                let is_recent = model.last().is_none_or(|last: &u64| number + WINDOW > *last);
                let expected = is_recent && !model.contains(&number);
                prop_assert_eq!(window.is_new(number), expected, "{}", number);
                prop_assert_eq!(window.take(number), expected);
                if expected {
                    model.insert(number);
                    highest = highest.max(number);
                }
                prop_assert_eq!(window.highest, model.last().copied());
            }
        }
    }
}
