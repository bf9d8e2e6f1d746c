//! What each viewer is to be sent of the layers that its publishers send.

use std::time::Instant;

use super::Forward;
use super::allocation::{self, Video};
use super::layers::{Choice, Layer};
use super::limit::SOUGHT;
use super::{Leg, Wanted};
use crate::demux::LegKey;
use duocast_media::{Demand, Estimate};

/// What a track of sound takes, in bits per second, headers and redundancy included. It goes first whatever there is room for. Higher
/// makes pictures smaller for nothing, lower lets a queue grow in front of the sound.
const SOUND_BITS: f64 = 60e3;

/// What could be sent with use is told if it changed by so much. Higher lets probes stop short of it, lower tells every picture.
const TOLD: f64 = 0.1;

/// What a viewer views, and what it takes.
#[derive(Debug, Default)]
struct Viewing {
    /// Pictures with layers: which of its tracks each is.
    videos: Vec<(usize, Video)>,
    /// All else, in bits per second.
    rest: f64,
}

impl Forward {
    /// What a viewer's path carries is thought to be this now.
    pub(crate) fn set_estimate(&mut self, now: Instant, viewer: LegKey, estimate: Estimate) {
        if let Some(leg) = self.legs.get_mut(&viewer) {
            leg.estimate = Some(estimate);
            self.allocate(now, viewer);
        }
    }

    /// Chooses anew what a viewer is to be sent.
    pub(super) fn allocate(&mut self, now: Instant, viewer: LegKey) {
        let mut viewing = self.viewing(now, viewer);
        let publishers = self.heard_by(viewer).to_vec();
        let is_followed = publishers.iter().any(|publisher| self.follows(now, *publisher) == Some(viewer));
        if is_followed {
            // The publisher leaves out what there is no room for, and does that better.
            for (_, video) in &mut viewing.videos {
                let all = video.choices.pop();
                video.choices = all.into_iter().collect();
            }
        }
        let Some(leg) = self.legs.get_mut(&viewer) else { return };
        let Viewing { videos, rest } = viewing;
        let top = |video: &Video| video.choices.last().map_or(0.0, |choice| choice.bits);
        let has_choice = videos.iter().any(|(_, video)| video.choices.len() > 1) || is_followed;
        let wanted = rest + videos.iter().map(|(_, video)| top(video)).sum::<f64>();
        let sought = if is_followed { SOUGHT } else { allocation::HEADROOM };
        let demand = has_choice.then_some(Demand { wanted: (wanted * sought) as u64 });
        let wanted_of = |demand: Option<Demand>| demand.map(|demand| demand.wanted);
        // Before its publisher has sent something there is nothing to say.
        let is_known = videos.iter().any(|(_, video)| !video.choices.is_empty()) || leg.demand.is_none();
        if is_known && is_news(wanted_of(leg.demand), wanted_of(demand), TOLD) {
            leg.demand = demand;
            if demand.is_none() {
                leg.estimate = None;
            }
            self.wanted.push_back(Wanted { leg: viewer, demand });
        }
        let bound = leg.estimate.filter(|estimate| estimate.is_bound);
        let room = bound.map(|bound| bound.bits_per_second as f64 - rest);
        let (views, videos): (Vec<usize>, Vec<Video>) = videos.into_iter().unzip();
        let mut chosen = allocation::choose(room, &videos);
        let is_shown = videos.iter().any(|video| !video.choices.is_empty());
        let has_room = chosen.iter().any(Option::is_some);
        let judged = leg.pause.judge(now, is_shown && !has_room);
        if judged.is_paused {
            chosen.fill(None);
        }
        if let Some(is_paused) = judged.news {
            self.pauses.push_back((viewer, is_paused));
        }
        for ((view, video), chosen) in views.into_iter().zip(&videos).zip(chosen) {
            leg.aim(view, video, chosen, room);
        }
        publishers.into_iter().for_each(|publisher| self.limit(now, publisher));
    }

    fn viewing(&self, now: Instant, viewer: LegKey) -> Viewing {
        let mut viewing = Viewing::default();
        let Some(leg) = self.legs.get(&viewer) else { return viewing };
        let mut has_ended = Vec::new();
        let publishers = leg.from.iter().filter_map(|from| self.legs.get(from));
        for published in publishers.flat_map(|publisher| &publisher.publishes) {
            let index = published.link_to(viewer).and_then(|link| link.view);
            let Some((index, view)) = index.and_then(|index| Some((index, leg.views.get(index)?))) else {
                continue;
            };
            match &published.layers {
                None => viewing.rest += SOUND_BITS,
                Some(layers) if layers.is_layered() => {
                    let video = Video { choices: layers.choices(), present: view.selector.target() };
                    has_ended.push(layers.has_ended(now));
                    viewing.videos.push((index, video));
                }
                Some(layers) if layers.has_ended(now) => {}
                Some(layers) => viewing.rest += layers.bits(),
            }
        }
        // Where one goes on, there is no room to be left for others that have ended.
        if has_ended.contains(&false) {
            let ended = viewing.videos.iter_mut().zip(has_ended).filter(|(_, has_ended)| *has_ended);
            let choices = ended.flat_map(|((_, video), _)| &mut video.choices);
            choices.for_each(|choice| choice.bits = 0.0);
        }
        viewing
    }
}

impl Leg {
    fn aim(&mut self, view: usize, video: &Video, chosen: Option<Layer>, room: Option<f64>) {
        let Some(view) = self.views.get_mut(view) else { return };
        if view.selector.target() == chosen {
            return;
        }
        let of_sent = view.selector.sent().and_then(|sent| {
            let is_of_it = |choice: &&Choice| choice.layer.encoding == sent.encoding && choice.layer <= sent;
            video.choices.iter().rev().find(is_of_it)
        });
        let is_other =
            of_sent.is_some_and(|sent| chosen.is_some_and(|to| to.encoding != sent.layer.encoding));
        let most = if is_other { URGENT } else { URGENT_WITHIN };
        let is_too_much = |room: f64| of_sent.is_some_and(|choice| choice.bits > room * most);
        view.selector.aim(chosen, room.is_some_and(is_too_much));
    }
}

/// What a viewer is sent ends at once if it takes so many times what there is room for; else it goes on until a smaller picture has begun. Higher
/// keeps queues that sound waits in, lower lets the picture stand still where it need not.
const URGENT: f64 = 1.2;
/// The same for layers of one stream, of which a smaller picture needs no key frame, as long as nothing of it was lost. Higher leaves decoders to
/// wait for what was lost in a queue that was full, lower asks for a key frame where none is needed.
const URGENT_WITHIN: f64 = 2.0;

/// A rate, in bits per second, that came, went, or changed by more than this share.
pub(super) fn is_news(before: Option<u64>, now: Option<u64>, by: f64) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => before.abs_diff(now) as f64 > by * before as f64,
        (before, now) => before != now,
    }
}
