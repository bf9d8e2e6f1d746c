//! Keyframe requests: many viewers' merged into one, and never more often than a publisher can bear.

use std::time::{Duration, Instant};

use str0m::media::Mid;

use super::{Forward, KeyframeAsk, Published};
use crate::counters::Counters;
use crate::demux::LegKey;

/// Least time between two requests for one encoding of a track. A keyframe is ten times a normal frame: more often starves the link it is
/// meant to heal; less often leaves a viewer frozen for longer.
pub(crate) const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);

/// A wish from another shard that comes so soon after a request is answered by that: it was made for the same reason and took longer.
/// Higher leaves out one that came after a quick publisher's answer, so that its viewer must ask again; lower asks twice for what all
/// viewers miss.
const JUST_ASKED: Duration = Duration::from_millis(5);

/// Paces the requests for one encoding of a track.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    asked_at: Option<Instant>,
    waiting: bool,
}

/// What becomes of a wish for a keyframe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Ask the publisher now.
    Ask,
    /// Ask at this moment: [`Pacer::due`].
    Wait(Instant),
    /// One already waits, or was sent this very moment.
    Merged,
}

impl Pacer {
    pub(crate) fn wish(&mut self, now: Instant) -> Wish {
        let free_at = self.asked_at.map(|at| at + KEYFRAME_INTERVAL).filter(|at| *at > now);
        match free_at {
            _ if self.waiting || self.asked_at == Some(now) => Wish::Merged,
            Some(at) => {
                self.waiting = true;
                Wish::Wait(at)
            }
            None => {
                self.asked_at = Some(now);
                Wish::Ask
            }
        }
    }

    /// The publisher was asked a moment ago, and cannot have answered.
    fn has_just_asked(&self, now: Instant) -> bool {
        self.asked_at.is_some_and(|at| now.saturating_duration_since(at) < JUST_ASKED)
    }

    /// A wish would be passed on at once.
    pub(crate) fn is_free(&self, now: Instant) -> bool {
        !self.waiting && self.asked_at.is_none_or(|at| at + KEYFRAME_INTERVAL <= now)
    }

    /// The moment that [`Wish::Wait`] named has come: true if the publisher is to be asked.
    pub(crate) fn due(&mut self, now: Instant) -> bool {
        if std::mem::take(&mut self.waiting) {
            self.asked_at = Some(now);
            return true;
        }
        false
    }
}

impl Forward {
    /// A viewer wants a keyframe on one of its tracks. Counts what is merged.
    pub(crate) fn handle_keyframe_request(
        &mut self,
        now: Instant,
        viewer: LegKey,
        mid: Mid,
        counters: &mut Counters,
    ) {
        let Some(leg) = self.legs.get(&viewer) else { return };
        let view = leg.views.iter().position(|v| v.track.mid == mid);
        for publisher in leg.from.clone() {
            let Some(leg) = self.legs.get(&publisher) else { continue };
            let feeds = |p: &Published| p.link_to(viewer).is_some_and(|link| link.view == view);
            let Some(index) = leg.publishes.iter().position(feeds) else { continue };
            let Some(encoding) = self.encoding_of(viewer, view, publisher, index) else { continue };
            if self.wish(now, publisher, index, encoding) == Some(Wish::Merged) {
                counters.keyframes_merged += 1;
            }
        }
    }

    /// Viewers on another shard want a keyframe of one encoding of a track. `begins`: what answered an earlier wish did not go to them. Counts what
    /// is merged.
    pub(crate) fn handle_wish_from_elsewhere(
        &mut self,
        now: Instant,
        publisher: LegKey,
        (mid, encoding): (Mid, u8),
        begins: bool,
        counters: &mut Counters,
    ) {
        let published = self.legs.get(&publisher).map(|leg| &leg.publishes[..]).unwrap_or_default();
        let Some(index) = published.iter().position(|p| p.track.mid == mid) else { return };
        let pacer = published[index].pacers.get(usize::from(encoding));
        let is_answered = !begins && pacer.is_some_and(|pacer| pacer.has_just_asked(now));
        if is_answered || self.wish(now, publisher, index, encoding) == Some(Wish::Merged) {
            counters.keyframes_merged += 1;
        }
    }

    /// Keyframe requests that had to wait are due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, key, index, encoding)) = self.waiting.first()
            && at <= now
        {
            self.waiting.pop_first();
            let published = self.legs.get_mut(&key).and_then(|leg| leg.publishes.get_mut(index));
            if let Some(published) = published
                && published.pacers.get_mut(usize::from(encoding)).is_some_and(|pacer| pacer.due(now))
            {
                self.asks.push_back(KeyframeAsk { leg: key, mid: published.track.mid, encoding });
            }
        }
    }

    pub(super) fn wish_all(&mut self, now: Instant, publisher: LegKey) {
        let tracks = self.legs.get(&publisher).map_or(0, |leg| leg.publishes.len());
        for index in 0..tracks {
            self.wish_awaited(now, publisher, index);
        }
    }

    /// Wishes for key frames of those encodings of a track that somebody waits for.
    pub(super) fn wish_awaited(&mut self, now: Instant, publisher: LegKey, index: usize) {
        let Some(published) = self.legs.get(&publisher).and_then(|leg| leg.publishes.get(index)) else {
            return;
        };
        if !published.is_layered() {
            self.wish(now, publisher, index, 0);
            return;
        }
        let awaits = |encoding: u8| {
            published.links.iter().any(|link| {
                let viewer = self.legs.get(&link.to).filter(|viewer| viewer.live);
                let view = viewer.and_then(|viewer| viewer.views.get(link.view?));
                view.is_some_and(|view| view.selector.awaits(encoding))
            })
        };
        let awaited = (0..published.track.encodings).map(awaits).collect::<Vec<_>>();
        for (encoding, _) in awaited.into_iter().enumerate().filter(|(_, is_awaited)| *is_awaited) {
            self.wish_again(now, publisher, index, encoding as u8);
        }
    }

    /// The encoding of which a viewer needs a key frame when it asks for one; `None`: it is sent nothing.
    fn encoding_of(
        &self,
        viewer: LegKey,
        view: Option<usize>,
        publisher: LegKey,
        index: usize,
    ) -> Option<u8> {
        let published = self.legs.get(&publisher)?.publishes.get(index)?;
        if !published.is_layered() {
            return Some(0);
        }
        let encoding = self.legs.get(&viewer)?.views.get(view?)?.selector.encoding()?;
        Some(if encoding < published.track.encodings { encoding } else { 0 })
    }

    /// Wishes again for a key frame that somebody still waits for: packets of its encoding come without one.
    pub(super) fn wish_again(&mut self, now: Instant, key: LegKey, index: usize, encoding: u8) {
        let published = self.legs.get(&key).and_then(|leg| leg.publishes.get(index));
        let pacer = published.and_then(|published| published.pacers.get(usize::from(encoding)));
        if pacer.is_some_and(|pacer| pacer.is_free(now)) {
            self.wish(now, key, index, encoding);
        }
    }

    pub(super) fn wish(&mut self, now: Instant, key: LegKey, index: usize, encoding: u8) -> Option<Wish> {
        let leg = self.legs.get_mut(&key)?;
        let published = leg.publishes.get_mut(index)?;
        let is_viewed = leg.is_viewed_elsewhere || !published.links.is_empty();
        if !published.track.kind.is_video() || !is_viewed {
            return None;
        }
        let wish = published.pacers.get_mut(usize::from(encoding))?.wish(now);
        match wish {
            Wish::Ask => self.asks.push_back(KeyframeAsk { leg: key, mid: published.track.mid, encoding }),
            Wish::Wait(at) => drop(self.waiting.insert((at, key, index, encoding))),
            Wish::Merged => {}
        }
        Some(wish)
    }
}
