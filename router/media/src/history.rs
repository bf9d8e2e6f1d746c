//! What was sent to a viewer, so that it can be sent again (RTX, RFC 4588), and how much of that is allowed; and what is still to be sent.

use std::time::{Duration, Instant};

use crate::extensions::Extensions;
use crate::frame::Renumbered;
use crate::prefetch::prefetch;
use crate::window::extend;

/// Sent packets kept to answer NACKs: 128 are half a second at 2.5 Mbit/s. Higher costs 1.2 KiB each per track, lower leaves
/// holes on paths with a long round trip. A power of two.
const KEPT_PACKETS: usize = 128;

/// Sent packets older than this are not repeated: the viewer has given up on them.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// Repetitions stop while they are more than one in so many of all sent bytes. Higher stops repair where loss is high, lower
/// feeds a congested path.
const MAX_SHARE: u64 = 2;

/// Over how long the share is reckoned.
const SHARE_OVER: Duration = Duration::from_secs(1);

/// A packet as it was written, without what the hop adds.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    /// When it was sent or, if that has not happened, when it should have been.
    sent_at: Instant,
    is_held: bool,
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) timestamp: u32,
    pub(crate) extensions: Extensions,
    /// Dependency descriptor, then payload.
    bytes: Vec<u8>,
    descriptor_len: usize,
}

/// The last packets of one track, in buffers that are used again.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// At the number modulo [`KEPT_PACKETS`]; grows up to that.
    kept: Vec<Option<Kept>>,
    highest: Option<u64>,
    /// The first number that was not sent yet.
    held: Option<u64>,
    /// Numbers below this are given up.
    given_up: u64,
    share: Share,
}

impl Kept {
    pub(crate) fn descriptor(&self) -> &[u8] {
        &self.bytes[..self.descriptor_len]
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[self.descriptor_len..]
    }
}

/// A packet on its way to a viewer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent<'a> {
    pub(crate) number: u64,
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) timestamp: u32,
    pub(crate) extensions: Extensions,
    pub(crate) descriptor: &'a [u8],
    pub(crate) payload: &'a [u8],
    /// What takes the place of the numbers in both.
    pub(crate) renumbered: Renumbered,
}

impl<'a> Sent<'a> {
    /// The descriptor with its own number; `buffer` is where it is put if that is another one than the publisher's.
    pub(crate) fn numbered_descriptor<'b>(&self, buffer: &'b mut [u8]) -> &'b [u8]
    where
        'a: 'b,
    {
        match buffer.get_mut(..self.descriptor.len()) {
            Some(own) if self.renumbered.number.is_some() => {
                own.copy_from_slice(self.descriptor);
                self.renumbered.apply_to_descriptor(own);
                own
            }
            _ => self.descriptor,
        }
    }
}

impl History {
    /// See [`prefetch`]: where the next packet is kept.
    pub(crate) fn prefetch(&self) {
        let next = self.highest.map_or(0, |highest| highest + 1);
        if let Some(place) = self.kept.get((next % KEPT_PACKETS as u64) as usize) {
            prefetch(place);
        }
    }

    /// Keeps a copy of what is sent.
    pub(crate) fn keep(&mut self, now: Instant, sent: &Sent<'_>) {
        self.share.add(now, sent.payload.len(), 0);
        self.highest = self.highest.max(Some(sent.number));
        let at = (sent.number % KEPT_PACKETS as u64) as usize;
        if at >= self.kept.len() {
            self.kept.resize_with(at + 1, || None);
        }
        let mut bytes = self.kept[at].take().map(|kept| kept.bytes).unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(sent.descriptor);
        bytes.extend_from_slice(sent.payload);
        let (descriptor, payload) = bytes.split_at_mut(sent.descriptor.len());
        sent.renumbered.apply_to_descriptor(descriptor);
        sent.renumbered.apply_to_payload(payload);
        self.kept[at] = Some(Kept {
            number: sent.number,
            sent_at: now,
            is_held: false,
            payload_type: sent.payload_type,
            marker: sent.marker,
            timestamp: sent.timestamp,
            extensions: sent.extensions,
            bytes,
            descriptor_len: sent.descriptor.len(),
        });
    }

    /// Keeps a packet that is to be sent later. False if there was no room for it: then nothing of what is held makes a whole any more.
    #[must_use]
    pub(crate) fn hold(&mut self, now: Instant, sent: &Sent<'_>) -> bool {
        let at = (sent.number % KEPT_PACKETS as u64) as usize;
        let is_free = self.kept.get(at).and_then(Option::as_ref).is_none_or(|kept| !kept.is_held);
        if is_free {
            self.keep(now, sent);
            if let Some(Some(kept)) = self.kept.get_mut(at) {
                kept.is_held = true;
            }
            self.held = Some(self.held.map_or(sent.number, |held| held.min(sent.number)));
        }
        is_free
    }

    /// Since when the first packet waits that is held.
    pub(crate) fn held_since(&self) -> Option<Instant> {
        self.held_at(self.held?).map(|kept| kept.sent_at)
    }

    /// The first packet that is held.
    pub(crate) fn first_held(&self) -> Option<&Kept> {
        self.held_at(self.held?)
    }

    /// The first packet that is held was sent.
    pub(crate) fn note_sent(&mut self, now: Instant) {
        let (Some(number), Some(highest)) = (self.held, self.highest) else { return };
        if let Some(Some(kept)) = self.kept.get_mut((number % KEPT_PACKETS as u64) as usize) {
            (kept.is_held, kept.sent_at) = (false, now);
        }
        // What is held fits in there, so that this ends.
        self.held = (number + 1..=highest).take(KEPT_PACKETS).find(|number| self.held_at(*number).is_some());
    }

    /// All that was sent or held so far is not sent any more.
    pub(crate) fn give_up(&mut self) {
        self.given_up = self.highest.map_or(0, |highest| highest + 1);
        self.kept.iter_mut().flatten().for_each(|kept| kept.is_held = false);
        self.held = None;
    }

    fn held_at(&self, number: u64) -> Option<&Kept> {
        let kept = self.kept.get((number % KEPT_PACKETS as u64) as usize)?.as_ref()?;
        (kept.number == number && kept.is_held).then_some(kept)
    }

    /// What was sent with this number, if it is still known, worth it and allowed.
    pub(crate) fn again(&mut self, now: Instant, number: u16) -> Option<&Kept> {
        let number = extend(Some(self.highest?), number)?;
        let at = (number % KEPT_PACKETS as u64) as usize;
        let kept = self.kept.get(at)?.as_ref().filter(|kept| kept.number == number && !kept.is_held)?;
        if number < self.given_up {
            return None;
        }
        if now.saturating_duration_since(kept.sent_at) > KEPT_FOR || !self.share.allows(now) {
            return None;
        }
        self.share.add(now, 0, kept.payload().len());
        Some(kept)
    }
}

/// Bytes sent and repeated in this second and the one before.
#[derive(Debug, Default)]
struct Share {
    began: Option<Instant>,
    sent: [u64; 2],
    repeated: [u64; 2],
}

impl Share {
    fn add(&mut self, now: Instant, sent: usize, repeated: usize) {
        let began = *self.began.get_or_insert(now);
        let since = now.saturating_duration_since(began);
        if since >= SHARE_OVER {
            let is_next = since < 2 * SHARE_OVER;
            self.sent = [0, if is_next { self.sent[0] } else { 0 }];
            self.repeated = [0, if is_next { self.repeated[0] } else { 0 }];
            self.began = Some(now);
        }
        self.sent[0] += sent as u64;
        self.repeated[0] += repeated as u64;
    }

    fn allows(&mut self, now: Instant) -> bool {
        self.add(now, 0, 0);
        let repeated: u64 = self.repeated.iter().sum();
        let all = repeated + self.sent.iter().sum::<u64>();
        repeated * MAX_SHARE <= all
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
mod tests {
    use super::*;

    fn keep(history: &mut History, now: Instant, number: u64, payload: &[u8]) {
        let sent = Sent {
            number,
            payload_type: 96,
            marker: false,
            timestamp: 0,
            extensions: Extensions::default(),
            descriptor: b"dd",
            payload,
            renumbered: Renumbered::default(),
        };
        history.keep(now, &sent);
    }

    #[test]
    fn what_was_sent_is_there_for_a_second_and_for_128_packets() {
        let t0 = Instant::now();
        let mut history = History::default();
        assert!(history.again(t0, 1).is_none());
        for number in 65_500..65_700_u64 {
            keep(&mut history, t0, number, &number.to_be_bytes());
        }
        let kept = history.again(t0, 65_690_u64 as u16).unwrap();
        assert_eq!((kept.payload(), kept.descriptor()), (&65_690_u64.to_be_bytes()[..], &b"dd"[..]));
        assert!(history.again(t0, 65_572_u64 as u16).is_some(), "the 128th last");
        assert!(history.again(t0, 65_571_u64 as u16).is_none());
        assert!(history.again(t0, 65_700_u64 as u16).is_none(), "not sent yet");
        assert!(history.again(t0 + KEPT_FOR + Duration::from_millis(1), 65_690_u64 as u16).is_none());
        assert_eq!(history.kept.len(), KEPT_PACKETS);
    }

    #[test]
    fn repetitions_are_at_most_half_of_what_is_sent() {
        let t0 = Instant::now();
        let mut history = History::default();
        (0..10).for_each(|n| keep(&mut history, t0, n, &[0; 1000]));
        let repeated = (0..100).filter(|n| history.again(t0, n % 10).is_some()).count();
        assert_eq!(repeated, 11);
        let later = t0 + Duration::from_millis(900);
        keep(&mut history, later, 10, &[0; 5000]);
        assert!(history.again(later, 10).is_some());
    }
}
