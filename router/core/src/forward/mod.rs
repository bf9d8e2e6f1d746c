//! Who gets a packet, and as what. Knows routes, tracks and numbers; knows no leg, no socket, no encryption.

mod allocate;
mod allocation;
mod clock;
mod deliver;
mod keyframe;
mod layers;
mod limit;
mod link;
mod pause;
mod pictures;
mod rewrite;
mod selector;

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use str0m::format::PayloadParams;
use str0m::media::{MediaKind, Mid};

use self::clock::PublisherClock;
use self::keyframe::Pacer;
use self::layers::Layers;
use self::link::Link;
use self::pause::Pause;
use self::pictures::Pictures;
use self::rewrite::Rewriter;
use self::selector::Selector;
use crate::demux::{LegKey, LegMap};
use crate::offer::MAX_ENCODINGS;
use duocast_media::{Demand, Estimate, Write};

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
    /// In how many simulcast encodings it is published; 1 if it is none.
    pub(crate) encodings: u8,
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
    /// Of this simulcast encoding.
    pub(crate) encoding: u8,
}

/// A viewer's path is to be estimated for this, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) leg: LegKey,
    pub(crate) demand: Option<Demand>,
}

/// A publisher is to send so many bits per second at most; `None`: what it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(crate) leg: LegKey,
    pub(crate) limit: Option<u64>,
}

/// The routes of one shard.
#[derive(Debug, Default)]
pub(crate) struct Forward {
    legs: LegMap<Leg>,
    asks: VecDeque<KeyframeAsk>,
    /// When, whose, which track and which encoding.
    waiting: BTreeSet<(Instant, LegKey, usize, u8)>,
    wanted: VecDeque<Wanted>,
    limited: VecDeque<Limited>,
    /// Whose pictures have ended for want of room, or come again.
    pauses: VecDeque<(LegKey, bool)>,
}

#[derive(Debug, Default)]
struct Leg {
    clock: PublisherClock,
    publishes: Vec<Published>,
    views: Vec<Viewed>,
    /// The numbering of tracks that the client does not view now. It goes on when they come back: with the same keys no
    /// number may be used twice.
    paused: Vec<Viewed>,
    /// Who hears this leg, in order, and whom it hears.
    to: Vec<LegKey>,
    from: Vec<LegKey>,
    /// Somebody on another shard views it.
    is_viewed_elsewhere: bool,
    /// The client is connected: it can be written to.
    live: bool,
    /// What its path carries, as far as it was asked and is known, and for what it was asked.
    estimate: Option<Estimate>,
    demand: Option<Demand>,
    /// What it was told to send at most.
    limit: Option<u64>,
    /// Whether there is room for any picture.
    pause: Pause,
}

#[derive(Debug)]
struct Published {
    track: Track,
    /// Of video.
    layers: Option<Box<Layers>>,
    /// One for each encoding.
    pacers: [Pacer; MAX_ENCODINGS],
    /// Where its packets go, in the order of viewers. Worked out when tracks or routes change, and then only for those whom the
    /// change concerns: others may be hundreds.
    links: Vec<Link>,
}

#[derive(Debug)]
struct Viewed {
    track: Track,
    rewriter: Rewriter,
    pictures: Pictures,
    selector: Selector,
}

impl Published {
    fn new(track: Track) -> Self {
        let layers = track.kind.is_video().then(|| Box::new(Layers::new(track.encodings)));
        Self { track, layers, pacers: Default::default(), links: Vec::new() }
    }

    /// Viewers can choose among its layers.
    fn is_layered(&self) -> bool {
        self.layers.as_ref().is_some_and(|layers| layers.is_layered())
    }

    fn link_to(&self, viewer: LegKey) -> Option<&Link> {
        self.links.binary_search_by_key(&viewer, |link| link.to).ok().and_then(|at| self.links.get(at))
    }
}

impl Forward {
    /// The leg's tracks are now these. Numbering goes on where a track keeps its MID.
    pub(crate) fn set_tracks(&mut self, now: Instant, key: LegKey, tracks: Tracks) {
        let leg = self.legs.entry(key).or_default();
        leg.paused.append(&mut leg.views);
        leg.publishes = tracks.publishes.into_iter().map(Published::new).collect();
        leg.views = tracks
            .views
            .into_iter()
            .map(|track| {
                let same = leg.paused.iter().position(|paused| paused.track.mid == track.mid);
                let new = || Viewed {
                    track: track.clone(),
                    rewriter: Rewriter::default(),
                    pictures: Pictures::default(),
                    selector: Selector::default(),
                };
                let before = same.map(|i| leg.paused.swap_remove(i));
                Viewed { track: track.clone(), ..before.unwrap_or_else(new) }
            })
            .collect();
        self.waiting.retain(|(_, leg, ..)| *leg != key);
        self.relink(now, key);
    }

    /// A new client is behind this leg: its streams start anew.
    pub(crate) fn restart(&mut self, key: LegKey) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        leg.views.clear();
        leg.paused.clear();
        leg.clock = PublisherClock::default();
        leg.live = false;
        (leg.estimate, leg.demand, leg.limit) = (None, None, None);
        if leg.pause.end() {
            self.pauses.push_back((key, false));
        }
        // What its viewers were sent does not go on.
        for viewer in leg.to.clone() {
            let views = self.legs.get_mut(&viewer).map(|leg| &mut leg.views[..]).unwrap_or_default();
            views.iter_mut().for_each(|view| view.selector.restart());
        }
    }

    /// What a viewer was sent on a track does not go on: it needs a key frame.
    pub(crate) fn begin_anew(&mut self, viewer: LegKey, mid: Mid) {
        let views = self.legs.get_mut(&viewer).map(|leg| &mut leg.views[..]).unwrap_or_default();
        views.iter_mut().filter(|view| view.track.mid == mid).for_each(|view| view.selector.restart());
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

    /// Somebody on another shard views this leg, or nobody does any more.
    pub(crate) fn set_viewed_elsewhere(&mut self, key: LegKey, is_viewed: bool) {
        if let Some(leg) = self.legs.get_mut(&key) {
            leg.is_viewed_elsewhere = is_viewed;
        }
    }

    /// Whether a viewer of this leg can be written to.
    pub(crate) fn is_viewed(&self, key: LegKey) -> bool {
        let viewers = self.legs.get(&key).map(|leg| &leg.to[..]).unwrap_or_default();
        viewers.iter().any(|viewer| self.legs.get(viewer).is_some_and(|viewer| viewer.live))
    }

    /// Whom a leg hears.
    pub(crate) fn heard_by(&self, key: LegKey) -> &[LegKey] {
        self.legs.get(&key).map(|leg| &leg.from[..]).unwrap_or_default()
    }

    /// The leg and its routes are gone.
    pub(crate) fn remove(&mut self, now: Instant, key: LegKey) {
        let Some(gone) = self.legs.remove(&key) else { return };
        self.pauses.retain(|(leg, _)| *leg != key);
        self.waiting.retain(|(_, leg, ..)| *leg != key);
        for publisher in gone.from {
            if let Some(leg) = self.legs.get_mut(&publisher) {
                leg.to.retain(|to| *to != key);
                leg.publishes.iter_mut().for_each(|published| published.links.retain(|l| l.to != key));
            }
            self.limit(now, publisher);
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

    /// The next viewer whose path is to be estimated, or not any more.
    #[must_use]
    pub(crate) fn poll_wanted(&mut self) -> Option<Wanted> {
        self.wanted.pop_front()
    }

    /// The next publisher that is to send less, or more again.
    #[must_use]
    pub(crate) fn poll_limited(&mut self) -> Option<Limited> {
        self.limited.pop_front()
    }

    /// The next viewer who gets no picture any more (true), since its path carries none, or some again.
    #[must_use]
    pub(crate) fn poll_pause(&mut self) -> Option<(LegKey, bool)> {
        self.pauses.pop_front()
    }

    /// When [`Forward::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.first().map(|(at, ..)| *at)
    }
}
