//! Datagrams that wait for the shell, back to back in one buffer that is used again.

use std::ops::Range;

use crate::prefetch::prefetch_room;

/// Room that the buffer keeps when it is empty. Higher keeps what one burst took, lower asks the allocator for every batch.
const KEPT_BYTES: usize = 1 << 20;

/// See the module. `P`: where a datagram goes.
pub struct Outbox<P> {
    bytes: Vec<u8>,
    waiting: Vec<(P, Range<usize>)>,
    /// The first of `waiting` that was not taken.
    next: usize,
    queued: u64,
    queued_bytes: u64,
}

impl<P> Default for Outbox<P> {
    fn default() -> Self {
        Self { bytes: Vec::new(), waiting: Vec::new(), next: 0, queued: 0, queued_bytes: 0 }
    }
}

impl<P> Outbox<P> {
    /// Has the memory fetched that the next datagram is queued in: see [`prefetch_room`].
    pub fn prefetch(&self) {
        prefetch_room(&self.bytes);
        prefetch_room(&self.waiting);
    }

    /// Queues what `write` appends to the buffer. False, and nothing queued, if `write` says so.
    pub fn write(&mut self, path: P, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let start = self.bytes.len();
        if !write(&mut self.bytes) {
            self.bytes.truncate(start);
            return false;
        }
        self.queued += 1;
        self.queued_bytes += (self.bytes.len() - start) as u64;
        self.waiting.push((path, start..self.bytes.len()));
        true
    }

    /// Queues a copy.
    pub fn push(&mut self, path: P, contents: &[u8]) {
        self.write(path, |bytes| {
            bytes.extend_from_slice(contents);
            true
        });
    }

    /// Datagrams and bytes that were ever queued.
    pub fn totals(&self) -> (u64, u64) {
        (self.queued, self.queued_bytes)
    }

    /// Hands out all datagrams that wait, back to back in one buffer, with where each goes and is; then they are gone.
    pub fn drain<T>(&mut self, take: impl FnOnce(&[u8], &[(P, Range<usize>)]) -> T) -> T {
        let taken = take(&self.bytes, &self.waiting[self.next..]);
        self.clear();
        taken
    }

    /// The next datagram.
    pub fn pop(&mut self) -> Option<(P, &[u8])>
    where
        P: Copy,
    {
        let Some((path, range)) = self.waiting.get(self.next) else {
            self.clear();
            return None;
        };
        self.next += 1;
        Some((*path, &self.bytes[range.clone()]))
    }

    fn clear(&mut self) {
        self.waiting.clear();
        self.next = 0;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn datagrams_come_out_as_they_went_in_and_what_was_refused_does_not() {
        let mut queue = Outbox::default();
        queue.push(1, b"one");
        assert!(!queue.write(2, |bytes| {
            bytes.extend_from_slice(b"half of it");
            false
        }));
        queue.push(3, b"three");
        assert_eq!(queue.totals(), (2, 8));
        assert_eq!(queue.pop(), Some((1, &b"one"[..])));
        assert_eq!(queue.pop(), Some((3, &b"three"[..])));
        assert!(queue.pop().is_none());
        assert!(queue.bytes.is_empty());
    }

    #[test]
    fn all_that_waits_is_handed_out_at_once_and_is_gone() {
        let mut queue = Outbox::default();
        for (path, contents) in [(1, &b"one"[..]), (2, b"two"), (2, b"three")] {
            queue.push(path, contents);
        }
        assert_eq!(queue.pop(), Some((1, &b"one"[..])));
        let handed_out = queue.drain(|bytes, datagrams| {
            datagrams.iter().map(|(path, at)| (*path, bytes[at.clone()].to_vec())).collect::<Vec<_>>()
        });
        assert_eq!(handed_out, [(2, b"two".to_vec()), (2, b"three".to_vec())]);
        assert!(
            queue.pop().is_none() && queue.drain(|bytes, datagrams| bytes.is_empty() && datagrams.is_empty())
        );
    }
}
