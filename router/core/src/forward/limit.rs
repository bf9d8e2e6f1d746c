//! What a publisher is told to send at most (REMB), where nobody can choose: of a picture in one size for one viewer, what that viewer's way carries.
//!
//! So such a call is as a direct one: the publisher's own encoder follows the narrower of the two ways. Where there are several sizes, or several viewers,
//! each viewer is sent what its way carries.

use std::time::Instant;

use super::allocate::is_news;
use super::layers::Layers;
use super::{Forward, Limited, Published};
use crate::demux::LegKey;
use duocast_media::Estimate;

/// Probes look on the viewer's way for so many times what the publisher sends: it is told of room that was found, and not sent to look for it. Higher
/// fills that way more often, lower has pictures grow more slowly.
pub(super) const SOUGHT: f64 = 1.2;

/// It is told no less than this, in bits per second: sound, and the smallest of pictures. Higher fills narrow ways, lower ends pictures for good.
const LEAST: u64 = 120_000;

/// A way that was narrow and carries this again, in bits per second, is narrow no more: no picture of ours takes as much. Higher holds pictures back, lower
/// has them fill a way that is nearly wide.
const ENOUGH: u64 = 2_500_000;

/// A change of so much is told. Higher follows more coarsely, lower costs packets.
const TOLD: f64 = 0.05;

impl Forward {
    /// Whose way a publisher's rate follows, if it sends one picture, in one size, to one viewer.
    pub(super) fn follows(&self, now: Instant, publisher: LegKey) -> Option<LegKey> {
        let leg = self.legs.get(&publisher).filter(|leg| !leg.is_viewed_elsewhere)?;
        // One that has ended counts as long as there is no other: its way is as narrow when it comes again.
        let pictures = |has_ended| leg.publishes.iter().filter(move |p| p.brings_pictures(now, has_ended));
        let mut pictures = pictures(pictures(false).next().is_none());
        let (Some(published), None) = (pictures.next(), pictures.next()) else { return None };
        let [link] = &published.links[..] else { return None };
        let is_one_size =
            published.layers.as_ref().is_some_and(|layers| layers.is_layered() && layers.is_one_size());
        (is_one_size && link.view.is_some()).then_some(link.to)
    }

    /// Works out anew what a publisher is to send at most.
    pub(super) fn limit(&mut self, now: Instant, publisher: LegKey) {
        let viewer = self.follows(now, publisher).and_then(|viewer| self.legs.get(&viewer));
        let estimate = viewer.and_then(|viewer| viewer.estimate);
        let Some(leg) = self.legs.get_mut(&publisher) else { return };
        // What was never full may carry far more than what was sent. Once it was, its publisher follows what is known of it.
        let is_narrow = |of: &Estimate| of.is_bound || (leg.limit.is_some() && of.bits_per_second < ENOUGH);
        let limit = estimate.filter(is_narrow).map(|estimate| estimate.bits_per_second.max(LEAST));
        if is_news(leg.limit, limit, TOLD) {
            leg.limit = limit;
            self.limited.push_back(Limited { leg: publisher, limit });
        }
    }
}

impl Published {
    fn brings_pictures(&self, now: Instant, has_ended: bool) -> bool {
        let brings = |layers: &Layers| layers.bits() > 0.0 && layers.has_ended(now) == has_ended;
        !self.links.is_empty() && self.layers.as_deref().is_some_and(brings)
    }
}
