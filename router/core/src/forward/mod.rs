//! Who gets a packet, and as what. Knows routes, tracks and numbers; knows no leg, no socket, no encryption.

mod clock;
mod keyframe;
mod rewrite;

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use str0m::format::{CodecConfig, PayloadParams};
use str0m::media::{MediaKind, Mid, Pt};

use self::clock::PublisherClock;
use self::keyframe::{Pacer, Wish};
use self::rewrite::Rewriter;
use crate::counters::{Counters, DropReason};
use crate::demux::{LegKey, LegMap};
use crate::media::{Packet, Write};

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

/// From one published track to one viewed track.
#[derive(Debug)]
struct Link {
    to: LegKey,
    /// Index in the viewer's `views`; `None` if it has no track for this one.
    view: Option<usize>,
    payload_types: Vec<PayloadMapping>,
}

#[derive(Debug, Clone, Copy)]
struct PayloadMapping {
    from: Pt,
    to: Pt,
    clock_rate: u32,
    /// The viewer negotiated retransmission for it.
    repaired: bool,
    sound: Sound,
}

/// What becomes of redundant audio (RFC 2198) between a publisher and a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sound {
    /// What comes goes on as it is.
    Same,
    /// It comes redundant, and the viewer takes none: the newest block goes on.
    Unwrapped,
    /// It comes plain, and the viewer takes it redundant, under this payload type, where its path needs that.
    Wrapped(Pt),
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

    /// An authenticated packet of a publisher: appends what its viewers get to `out`, or counts why they get nothing.
    pub(crate) fn handle_packet(
        &mut self,
        from: LegKey,
        packet: &Packet,
        counters: &mut Counters,
        out: &mut Vec<Delivery>,
    ) {
        let mid = packet.mid;
        let Some(leg) = self.legs.get_mut(&from) else { return counters.drop_packet(DropReason::NotRouted) };
        let Some(published) = leg.publishes.iter_mut().find(|p| p.track.mid == mid) else {
            return counters.drop_packet(DropReason::NotRouted);
        };
        if published.links.is_empty() {
            return counters.drop_packet(DropReason::NotRouted);
        }
        let kind = published.track.kind;
        let links = std::mem::take(&mut published.links);
        let mut clock = std::mem::take(&mut leg.clock);
        let source = SourceId { leg: from, ssrc: packet.ssrc };
        for link in &links {
            match self.deliver(link, source, packet, kind, &mut clock) {
                Ok(delivery) => {
                    let forwarded = match kind {
                        MediaKind::Audio => &mut counters.audio_forwarded,
                        MediaKind::Video => &mut counters.video_forwarded,
                    };
                    *forwarded += 1;
                    out.push(delivery);
                }
                Err(reason) => counters.drop_packet(reason),
            }
        }
        if let Some(leg) = self.legs.get_mut(&from) {
            leg.clock = clock;
            if let Some(published) = leg.publishes.iter_mut().find(|p| p.track.mid == mid) {
                published.links = links;
            }
        }
    }

    fn deliver(
        &mut self,
        link: &Link,
        source: SourceId,
        packet: &Packet,
        kind: MediaKind,
        clock: &mut PublisherClock,
    ) -> Result<Delivery, DropReason> {
        let viewer = self.legs.get_mut(&link.to).filter(|v| v.live).ok_or(DropReason::ViewerAbsent)?;
        let view = link.view.and_then(|i| viewer.views.get_mut(i)).ok_or(DropReason::NoTrack)?;
        let sequence_number = packet.sequence_number;
        if packet.payload.is_empty() {
            view.rewriter.skip(source, sequence_number);
            return Err(DropReason::Padding);
        }
        let payload_type = Pt::from(packet.payload_type);
        let Some(mapping) = link.payload_types.iter().find(|m| m.from == payload_type) else {
            view.rewriter.skip(source, sequence_number);
            return Err(DropReason::NoCommonCodec);
        };
        let (payload, redundant) = match mapping.sound {
            Sound::Same => (Some(packet.payload.clone()), None),
            Sound::Unwrapped => (packet.primary.clone(), None),
            Sound::Wrapped(payload_type) => (Some(packet.payload.clone()), Some(*payload_type)),
        };
        let Some(payload) = payload else {
            view.rewriter.skip(source, sequence_number);
            return Err(DropReason::Malformed);
        };
        let (timestamp, clock_rate) = (packet.timestamp, mapping.clock_rate);
        let (arrival, rate) = (packet.arrival, u64::from(clock_rate));
        let place = view.rewriter.place(arrival, source, sequence_number, timestamp, rate);
        let place = place.ok_or(DropReason::TooLate)?;
        let captured = clock.captured(arrival, timestamp, rate, packet.report.as_ref());
        let write = Write {
            payload_type: *mapping.to,
            marker: packet.marker,
            sequence_number: place.sequence_number,
            timestamp: place.timestamp,
            captured,
            clock_rate,
            extensions: packet.extensions,
            descriptor: packet.descriptor.clone(),
            payload,
            is_repaired: kind.is_video() && mapping.repaired,
            redundant,
        };
        Ok(Delivery { to: link.to, mid: view.track.mid, write })
    }

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
            if self.wish(now, publisher, index) == Some(Wish::Merged) {
                counters.keyframes_merged += 1;
            }
        }
    }

    /// Keyframe requests that had to wait are due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, key, index)) = self.waiting.first()
            && at <= now
        {
            self.waiting.pop_first();
            let published = self.legs.get_mut(&key).and_then(|leg| leg.publishes.get_mut(index));
            if let Some(published) = published
                && published.pacer.due(now)
            {
                self.asks.push_back(KeyframeAsk { leg: key, mid: published.track.mid });
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

    fn wish_all(&mut self, now: Instant, publisher: LegKey) {
        let tracks = self.legs.get(&publisher).map_or(0, |leg| leg.publishes.len());
        for index in 0..tracks {
            self.wish(now, publisher, index);
        }
    }

    fn wish(&mut self, now: Instant, key: LegKey, index: usize) -> Option<Wish> {
        let published = self.legs.get_mut(&key)?.publishes.get_mut(index)?;
        if !published.track.kind.is_video() || published.links.is_empty() {
            return None;
        }
        let wish = published.pacer.wish(now);
        match wish {
            Wish::Ask => self.asks.push_back(KeyframeAsk { leg: key, mid: published.track.mid }),
            Wish::Wait(at) => drop(self.waiting.insert((at, key, index))),
            Wish::Merged => {}
        }
        Some(wish)
    }

    /// The tracks of a leg changed: its links, and those to it of whom it hears, are worked out anew.
    fn relink(&mut self, now: Instant, key: LegKey) {
        self.link_publisher(now, key, None);
        let heard = self.legs.get(&key).map(|leg| leg.from.clone()).unwrap_or_default();
        for publisher in heard {
            self.link_publisher(now, publisher, Some(key));
        }
    }

    /// A viewer's n-th track of a kind gets the publisher's n-th of that kind. Links that are there stay, except the one to
    /// `changed`, whose tracks are others now. A new link to somebody who can be written to asks for a keyframe; others ask
    /// once they are live.
    fn link_publisher(&mut self, now: Instant, key: LegKey, changed: Option<LegKey>) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let (mut publishes, to) = (std::mem::take(&mut leg.publishes), std::mem::take(&mut leg.to));
        let mut opened = Vec::new();
        for index in 0..publishes.len() {
            let (earlier, others) = publishes.split_at_mut(index);
            let Some(published) = others.first_mut() else { continue };
            let nth = earlier.iter().filter(|e| e.track.kind == published.track.kind).count();
            let mut before = std::mem::take(&mut published.links).into_iter().peekable();
            let mut is_opened = false;
            for to in &to {
                while before.next_if(|link| link.to < *to).is_some() {}
                let had = before.next_if(|link| link.to == *to);
                let had_view = had.as_ref().and_then(|link| link.view);
                let link = match had.filter(|_| changed != Some(*to)) {
                    Some(link) => link,
                    None => self.link(nth, &published.track, *to),
                };
                is_opened |= link.view.is_some() && link.view != had_view && self.is_live(*to);
                published.links.push(link);
            }
            if is_opened {
                opened.push(index);
            }
        }
        if let Some(leg) = self.legs.get_mut(&key) {
            (leg.publishes, leg.to) = (publishes, to);
        }
        for index in opened {
            self.wish(now, key, index);
        }
    }

    fn is_live(&self, key: LegKey) -> bool {
        self.legs.get(&key).is_some_and(|leg| leg.live)
    }

    fn link(&self, nth: usize, track: &Track, to: LegKey) -> Link {
        let views = self.legs.get(&to).map(|leg| &leg.views[..]).unwrap_or_default();
        let same_kind = views.iter().enumerate().filter(|(_, v)| v.track.kind == track.kind);
        let Some((index, view)) = same_kind.clone().nth(nth) else {
            return Link { to, view: None, payload_types: Vec::new() };
        };
        Link { to, view: Some(index), payload_types: payload_types(&track.codecs, &view.track.codecs) }
    }
}

fn payload_types(published: &[PayloadParams], viewed: &[PayloadParams]) -> Vec<PayloadMapping> {
    let viewer = CodecConfig::new_from_payload_params(viewed.to_vec());
    let mut mappings = Vec::new();
    for params in published {
        let Some(to) = viewer.match_params(*params) else { continue };
        let mut map = |from, to_pt, sound| {
            let (clock_rate, repaired) = (params.spec().clock_rate.get(), to.resend().is_some());
            mappings.push(PayloadMapping { from, to: to_pt, clock_rate, repaired, sound });
        };
        map(params.pt(), to.pt(), to.red().map_or(Sound::Same, Sound::Wrapped));
        match (params.red(), to.red()) {
            (Some(red), Some(taken)) => map(red, taken, Sound::Same),
            (Some(red), None) => map(red, to.pt(), Sound::Unwrapped),
            (None, _) => {}
        }
    }
    mappings
}
