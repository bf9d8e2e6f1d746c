//! From whose track to whose, and what each payload type of the one is for the other.

use std::time::Instant;

use str0m::format::{CodecConfig, PayloadParams};
use str0m::media::Pt;

use super::{Forward, Track};
use crate::demux::LegKey;

/// From one published track to one viewed track.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) to: LegKey,
    /// Index in the viewer's `views`; `None` if it has no track for this one.
    pub(super) view: Option<usize>,
    pub(super) payload_types: Vec<PayloadMapping>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct PayloadMapping {
    pub(super) from: Pt,
    pub(super) to: Pt,
    pub(super) clock_rate: u32,
    /// The viewer negotiated retransmission for it.
    pub(super) repaired: bool,
    /// It comes redundant (RFC 2198): what it says now goes on, plain.
    pub(super) is_redundant: bool,
    /// The viewer takes it redundant, under this payload type, where its path needs that.
    pub(super) redundant: Option<Pt>,
}

impl Forward {
    /// The tracks of a leg changed: its links, and those to it of whom it hears, are worked out anew.
    pub(super) fn relink(&mut self, now: Instant, key: LegKey) {
        self.link_publisher(now, key, None);
        let heard = self.legs.get(&key).map(|leg| leg.from.clone()).unwrap_or_default();
        for publisher in heard {
            self.link_publisher(now, publisher, Some(key));
        }
    }

    /// A viewer's n-th track of a kind gets the publisher's n-th of that kind. Links that are there stay, except the one to
    /// `changed`, whose tracks are others now. A new link to somebody who can be written to asks for a keyframe; others ask
    /// once they are live.
    pub(super) fn link_publisher(&mut self, now: Instant, key: LegKey, changed: Option<LegKey>) {
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
        self.limit(now, key);
        for index in opened {
            let viewers = self.viewers_of(key, index);
            viewers.into_iter().for_each(|viewer| self.allocate(now, viewer));
            self.wish_awaited(now, key, index);
        }
    }

    /// Whom a track goes to.
    pub(super) fn viewers_of(&self, publisher: LegKey, index: usize) -> Vec<LegKey> {
        let published = self.legs.get(&publisher).and_then(|leg| leg.publishes.get(index));
        published.map(|published| published.links.iter().map(|link| link.to).collect()).unwrap_or_default()
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
        let mut map = |from, is_redundant| {
            let (clock_rate, repaired) = (params.spec().clock_rate.get(), to.resend().is_some());
            mappings.push(PayloadMapping {
                from,
                to: to.pt(),
                clock_rate,
                repaired,
                is_redundant,
                redundant: to.red(),
            });
        };
        map(params.pt(), false);
        if let Some(red) = params.red() {
            map(red, true);
        }
    }
    mappings
}
