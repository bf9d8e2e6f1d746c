//! Datagrams that wait for the shell, back to back in one buffer that is used again.

use std::collections::VecDeque;
use std::ops::Range;

use crate::wire::{Path, Transmit};

/// Room that the buffer keeps when it is empty. Higher keeps what one burst took, lower asks the allocator for every batch.
const KEPT_BYTES: usize = 1 << 20;

/// See the module.
#[derive(Default)]
pub(crate) struct TransmitQueue {
    bytes: Vec<u8>,
    waiting: VecDeque<(Path, Range<usize>)>,
    queued: u64,
    queued_bytes: u64,
}

impl TransmitQueue {
    /// Queues what `write` appends to the buffer. False, and nothing queued, if `write` says so.
    pub(crate) fn write(&mut self, path: Path, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let start = self.bytes.len();
        if !write(&mut self.bytes) {
            self.bytes.truncate(start);
            return false;
        }
        self.queued += 1;
        self.queued_bytes += (self.bytes.len() - start) as u64;
        self.waiting.push_back((path, start..self.bytes.len()));
        true
    }

    /// Queues a copy.
    pub(crate) fn push(&mut self, path: Path, contents: &[u8]) {
        self.write(path, |bytes| {
            bytes.extend_from_slice(contents);
            true
        });
    }

    /// Datagrams and bytes that were ever queued.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.queued, self.queued_bytes)
    }

    /// The next datagram.
    pub(crate) fn pop(&mut self) -> Option<Transmit<'_>> {
        let Some((path, range)) = self.waiting.pop_front() else {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
            return None;
        };
        Some(Transmit { path, contents: &self.bytes[range] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Link;

    #[test]
    fn datagrams_come_out_as_they_went_in_and_what_was_refused_does_not() {
        let path = |port| Path { link: Link::Udp(0), local: None, remote: ([192, 0, 2, 1], port).into() };
        let mut queue = TransmitQueue::default();
        queue.push(path(1), b"one");
        assert!(!queue.write(path(2), |bytes| {
            bytes.extend_from_slice(b"half of it");
            false
        }));
        queue.push(path(3), b"three");
        assert_eq!(queue.totals(), (2, 8));
        assert_eq!(queue.pop().map(|t| (t.path, t.contents.to_vec())), Some((path(1), b"one".to_vec())));
        assert_eq!(queue.pop().map(|t| (t.path, t.contents.to_vec())), Some((path(3), b"three".to_vec())));
        assert!(queue.pop().is_none());
        assert!(queue.bytes.is_empty());
    }
}
