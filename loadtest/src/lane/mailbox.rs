//! What came for legs that are visited later: a leg's memory is fetched once for what it says and what it hears.

use std::net::SocketAddr;

use duocast_media::prefetch;

/// Largest datagram that is kept: what a path of usual MTU carries.
const LETTER_BYTES: usize = 1500;

/// Most datagrams kept at a time: 25 MB. At the bound a leg is visited at once.
const LETTERS_MAX: usize = 16_384;

/// As much of a datagram is fetched ahead: a packet of sound.
const LETTER_BYTES_FETCHED: usize = 192;

/// The end of a list.
const NONE: u32 = u32::MAX;

/// Datagrams by the leg that they are for, each leg's in the order in which they came.
#[derive(Default)]
pub(super) struct Mailboxes {
    letters: Vec<Letter>,
    /// The first of the letters that are free.
    free: Option<u32>,
    /// Leg by leg, in little room: who puts something in looks at nothing else of a leg.
    boxes: Vec<Mailbox>,
}

#[derive(Clone, Copy)]
struct Mailbox {
    /// The leg is visited soon enough.
    is_open: bool,
    /// [`NONE`] if there is none.
    first: u32,
    last: u32,
}

const SHUT: Mailbox = Mailbox { is_open: false, first: NONE, last: NONE };

/// A datagram that waits.
pub(super) struct Letter {
    /// When it came, in microseconds since 1970.
    pub(super) arrived: u64,
    pub(super) source: SocketAddr,
    len: u16,
    /// The next one of the same leg, or of those that are free.
    next: u32,
    bytes: [u8; LETTER_BYTES],
}

impl Letter {
    pub(super) fn datagram(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Mailboxes {
    /// From now on what comes for this leg may wait for its next visit, or not. What waits is still there to be taken.
    pub(super) fn set_open(&mut self, key: usize, is_open: bool) {
        if self.boxes.len() <= key {
            self.boxes.resize(key + 1, SHUT);
        }
        self.boxes[key].is_open = is_open;
    }

    /// Keeps a datagram for the leg of this key. False if it cannot.
    pub(super) fn put(&mut self, key: usize, arrived: u64, source: SocketAddr, datagram: &[u8]) -> bool {
        if datagram.len() > LETTER_BYTES || !self.boxes.get(key).is_some_and(|mailbox| mailbox.is_open) {
            return false;
        }
        let at = match self.free {
            Some(at) => {
                let next = self.letters[at as usize].next;
                self.free = (next != NONE).then_some(next);
                at
            }
            None if self.letters.len() < LETTERS_MAX => {
                self.letters.push(Letter { arrived, source, len: 0, next: NONE, bytes: [0; LETTER_BYTES] });
                self.letters.len() as u32 - 1
            }
            None => return false,
        };
        let letter = &mut self.letters[at as usize];
        (letter.arrived, letter.source, letter.next) = (arrived, source, NONE);
        // It fits in [`LETTER_BYTES`].
        letter.len = datagram.len() as u16;
        letter.bytes[..datagram.len()].copy_from_slice(datagram);
        let mailbox = &mut self.boxes[key];
        match mailbox.first {
            NONE => mailbox.first = at,
            _ => self.letters[mailbox.last as usize].next = at,
        }
        mailbox.last = at;
        true
    }

    /// See [`prefetch`]: what is to be taken next.
    pub(super) fn prefetch(&self, key: usize) {
        let first = self.boxes.get(key).and_then(|mailbox| self.letters.get(mailbox.first as usize));
        if let Some(letter) = first {
            prefetch(&letter.bytes[..LETTER_BYTES_FETCHED]);
            prefetch(&letter.next);
        }
    }

    /// Takes out the oldest for the leg of this key. It is there until the next is put in.
    pub(super) fn take(&mut self, key: usize) -> Option<&Letter> {
        let mailbox = self.boxes.get_mut(key)?;
        let at = mailbox.first;
        let letter = self.letters.get_mut(at as usize)?;
        mailbox.first = std::mem::replace(&mut letter.next, self.free.unwrap_or(NONE));
        self.free = Some(at);
        Some(letter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 3478))
    }

    fn open(keys: &[usize]) -> Mailboxes {
        let mut mailboxes = Mailboxes::default();
        keys.iter().for_each(|key| mailboxes.set_open(*key, true));
        mailboxes
    }

    fn taken(mailboxes: &mut Mailboxes, key: usize) -> Vec<(u64, Vec<u8>)> {
        std::iter::from_fn(|| mailboxes.take(key).map(|letter| (letter.arrived, letter.datagram().to_vec())))
            .collect()
    }

    #[test]
    fn each_gets_its_own_in_order_and_places_are_used_again() {
        let mut mailboxes = open(&[7, 0, 3]);
        for round in 0..1_000_u64 {
            for n in 0..5 {
                for key in [7, 0, 3] {
                    let said = [round as u8, n as u8, key as u8].repeat(1 + key);
                    assert!(mailboxes.put(key, round + n, source(), &said));
                }
            }
            for key in [0, 3, 7] {
                let expected: Vec<_> =
                    (0..5).map(|n| (round + n, [round as u8, n as u8, key as u8].repeat(1 + key))).collect();
                assert_eq!(taken(&mut mailboxes, key), expected);
            }
        }
        assert!(taken(&mut mailboxes, 1).is_empty() && taken(&mut mailboxes, 9_999).is_empty());
        assert_eq!(mailboxes.letters.len(), 15);
    }

    #[test]
    fn who_is_late_may_be_interrupted() {
        let mut mailboxes = open(&[1, 2]);
        for n in 0..3 {
            mailboxes.put(1, n, source(), &[n as u8]);
        }
        assert_eq!(mailboxes.take(1).map(|letter| letter.arrived), Some(0));
        mailboxes.put(2, 10, source(), b"x");
        mailboxes.put(1, 3, source(), &[3]);
        let rest: Vec<u64> = taken(&mut mailboxes, 1).iter().map(|(arrived, _)| *arrived).collect();
        assert_eq!((rest, taken(&mut mailboxes, 2).len()), (vec![1, 2, 3], 1));
    }

    #[test]
    fn who_cannot_wait_is_not_kept_waiting_and_loses_nothing() {
        let mut mailboxes = open(&[4]);
        assert!(mailboxes.put(4, 1, source(), b"before"));
        mailboxes.set_open(4, false);
        assert!(!mailboxes.put(4, 2, source(), b"now") && !mailboxes.put(5, 2, source(), b"unknown"));
        assert_eq!(taken(&mut mailboxes, 4), [(1, b"before".to_vec())]);
    }

    #[test]
    fn what_is_too_much_or_too_long_is_refused_and_nothing_is_lost() {
        let mut mailboxes = open(&[0, 1]);
        assert!(!mailboxes.put(0, 0, source(), &[0; LETTER_BYTES + 1]));
        assert!((0..LETTERS_MAX as u64).all(|n| mailboxes.put(0, n, source(), &[0; LETTER_BYTES])));
        assert!(!mailboxes.put(1, 0, source(), b"one too many"));
        assert_eq!(taken(&mut mailboxes, 0).len(), LETTERS_MAX);
        assert!(mailboxes.put(1, 0, source(), b"again"));
    }
}
