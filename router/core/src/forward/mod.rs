//! Who gets a packet, and as what. Knows routes, tracks and numbers; knows no leg, no socket, no encryption.

mod clock;
mod deliver;
mod keyframe;
mod link;
mod rewrite;

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use str0m::format::PayloadParams;
use str0m::media::{MediaKind, Mid};

use self::clock::PublisherClock;
use self::keyframe::Pacer;
use self::link::Link;
use self::rewrite::Rewriter;
use crate::demux::{LegKey, LegMap};
use crate::media::Write;

/// One incoming RTP stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceId {
    pub(crate) leg: LegKey,
    pub(crate) ssrc: u32,
}

/// The tracks of a leg, as its last offer and answer left them.
#[derive(Debug, Default)]
pub(crate) struct Tracks {
    /// What the client sends.
    pub(crate) publishes: Vec<Track>,
    /// What the client can receive.
    pub(crate) views: Vec<Track>,
}

/// One m-line in one direction.
#[derive(Debug, Clone)]
pub(crate) struct Track {
    pub(crate) mid: Mid,
    pub(crate) kind: MediaKind,
    /// The codecs negotiated on it.
    pub(crate) codecs: Vec<PayloadParams>,
}

/// A packet for a viewer.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) to: LegKey,
    pub(crate) mid: Mid,
    pub(crate) write: Write,
}

/// A publisher is to be asked for a keyframe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyframeAsk {
    pub(crate) leg: LegKey,
    pub(crate) mid: Mid,
}

/// The routes of one shard.
#[derive(Debug, Default)]
pub(crate) struct Forward {
    legs: LegMap<Leg>,
    asks: VecDeque<KeyframeAsk>,
    waiting: BTreeSet<(Instant, LegKey, usize)>,
}

#[derive(Debug, Default)]
struct Leg {
    clock: PublisherClock,
    publishes: Vec<Published>,
    views: Vec<Viewed>,
    /// The numbering of tracks that the client does not view now. It goes on when they come back: with the same keys no
    /// number may be used twice.
    paused: Vec<(Mid, Rewriter)>,
    /// Who hears this leg, in order, and whom it hears.
    to: Vec<LegKey>,
    from: Vec<LegKey>,
    /// The client is connected: it can be written to.
    live: bool,
}

#[derive(Debug)]
struct Published {
    track: Track,
    pacer: Pacer,
    /// Where its packets go, in the order of viewers. Worked out when tracks or routes change, and then only for those whom the
    /// change concerns: others may be hundreds.
    links: Vec<Link>,
}

#[derive(Debug)]
struct Viewed {
    track: Track,
    rewriter: Rewriter,
}

impl Published {
    fn link_to(&self, viewer: LegKey) -> Option<&Link> {
        self.links.binary_search_by_key(&viewer, |link| link.to).ok().and_then(|at| self.links.get(at))
    }
}

impl Forward {
    /// The leg's tracks are now these. Numbering goes on where a track keeps its MID.
    pub(crate) fn set_tracks(&mut self, now: Instant, key: LegKey, tracks: Tracks) {
        let leg = self.legs.entry(key).or_default();
        leg.paused.extend(leg.views.drain(..).map(|view| (view.track.mid, view.rewriter)));
        let publish = |track| Published { track, pacer: Pacer::default(), links: Vec::new() };
        leg.publishes = tracks.publishes.into_iter().map(publish).collect();
        leg.views = tracks
            .views
            .into_iter()
            .map(|track| {
                let same = leg.paused.iter().position(|(mid, _)| *mid == track.mid);
                let rewriter = same.map(|i| leg.paused.swap_remove(i).1).unwrap_or_default();
                Viewed { track, rewriter }
            })
            .collect();
        self.waiting.retain(|(_, leg, _)| *leg != key);
        self.relink(now, key);
    }

    /// A new client is behind this leg: its streams start anew.
    pub(crate) fn restart(&mut self, key: LegKey) {
        if let Some(leg) = self.legs.get_mut(&key) {
            leg.views.clear();
            leg.paused.clear();
            leg.clock = PublisherClock::default();
            leg.live = false;
        }
    }

    /// The client can, or cannot, be written to.
    pub(crate) fn set_live(&mut self, now: Instant, key: LegKey, live: bool) {
        let leg = self.legs.entry(key).or_default();
        let opened = live && !leg.live;
        leg.live = live;
        if opened {
            for from in leg.from.clone() {
                self.wish_all(now, from);
            }
            self.wish_all(now, key);
        }
    }

    /// Routes among `legs` are now these and no others.
    pub(crate) fn set_routes(&mut self, now: Instant, legs: &[LegKey], routes: &[(LegKey, LegKey)]) {
        for key in legs {
            let leg = self.legs.entry(*key).or_default();
            leg.to.clear();
            leg.from.clear();
        }
        for (from, to) in routes {
            self.legs.entry(*from).or_default().to.push(*to);
            self.legs.entry(*to).or_default().from.push(*from);
        }
        for key in legs {
            self.legs.entry(*key).or_default().to.sort_unstable();
            self.link_publisher(now, *key, None);
        }
    }

    /// The leg and its routes are gone.
    pub(crate) fn remove(&mut self, key: LegKey) {
        let Some(gone) = self.legs.remove(&key) else { return };
        self.waiting.retain(|(_, leg, _)| *leg != key);
        for publisher in gone.from {
            if let Some(leg) = self.legs.get_mut(&publisher) {
                leg.to.retain(|to| *to != key);
                leg.publishes.iter_mut().for_each(|published| published.links.retain(|l| l.to != key));
            }
        }
        for viewer in gone.to {
            if let Some(leg) = self.legs.get_mut(&viewer) {
                leg.from.retain(|from| *from != key);
            }
        }
    }

    /// The next keyframe to ask for.
    #[must_use]
    pub(crate) fn poll_keyframe(&mut self) -> Option<KeyframeAsk> {
        self.asks.pop_front()
    }

    /// When [`Forward::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.first().map(|(at, ..)| *at)
    }
}
