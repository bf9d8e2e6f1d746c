//! What layers a publisher's picture comes in now, and what each of them takes.

use std::time::{Duration, Instant};

use crate::offer::MAX_ENCODINGS;
use duocast_media::Frame;

/// Spatial and temporal layers that are told apart; those above count as the highest.
const SPATIAL: usize = 3;
const TEMPORAL: usize = 3;

/// How often rates are reckoned, and viewers' choices looked at. Longer is calmer, shorter follows a publisher sooner.
const REVIEWED_EVERY: Duration = Duration::from_millis(250);

/// A picture of which nothing came for so long takes nothing. Higher leaves room for what has ended, lower takes a screen on which nothing moves for one.
const ENDED_AFTER: Duration = Duration::from_secs(5);

/// How much of the rate before is kept at a review.
const KEPT: f64 = 0.75;

/// A layer is gone once others of its track have brought so many frames and it none. Higher leaves viewers with a picture that stands
/// still for longer, lower takes a publisher's pause for a layer's end.
const GONE_AFTER: u8 = 20;

/// A part of what a publisher sends: all up to these layers of one encoding. In order from little to much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Layer {
    pub(crate) encoding: u8,
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
}

impl Layer {
    /// All there is.
    pub(crate) const ALL: Self = Self { encoding: u8::MAX, spatial: u8::MAX, temporal: u8::MAX };
}

/// Something to choose, and what it takes in bits per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    pub(crate) layer: Layer,
    pub(crate) bits: f64,
}

/// The layers of one published picture.
#[derive(Debug)]
pub(crate) struct Layers {
    /// In simulcast encodings and their spatial layers.
    streams: [[Stream; SPATIAL]; MAX_ENCODINGS],
    /// As they were negotiated.
    encodings: u8,
    is_layered: bool,
    reviewed_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Stream {
    temporal: [Meter; TEMPORAL],
    /// Frames of others since its last; `None`: nothing ever came.
    missed: Option<u8>,
}

#[derive(Debug, Default)]
struct Meter {
    /// Since the last review.
    bytes: u32,
    bits: Option<f64>,
    /// Between the last two reviews.
    latest: f64,
}

impl Layers {
    pub(crate) fn new(encodings: u8) -> Self {
        Self { streams: Default::default(), encodings, is_layered: encodings > 1, reviewed_at: None }
    }

    /// There is something to choose.
    pub(crate) fn is_layered(&self) -> bool {
        self.is_layered
    }

    /// Takes note of a packet. True if viewers' choices are to be looked at: it is time, or a layer has come or gone.
    pub(crate) fn note(&mut self, now: Instant, encoding: u8, frame: &Frame, bytes: usize) -> bool {
        self.is_layered |= frame.spatial > 0 || frame.temporal > 0;
        let at = (usize::from(encoding).min(MAX_ENCODINGS - 1), usize::from(frame.spatial).min(SPATIAL - 1));
        let stream = &mut self.streams[at.0][at.1];
        let mut has_changed = !stream.is_there();
        stream.missed = Some(0);
        let meter = &mut stream.temporal[usize::from(frame.temporal).min(TEMPORAL - 1)];
        meter.bytes = meter.bytes.saturating_add(bytes as u32);
        if frame.is_end && self.is_layered {
            has_changed |= self.count_missed(at);
        }
        let since = self.reviewed_at.map(|at| now.saturating_duration_since(at));
        if since.is_none_or(|since| since >= REVIEWED_EVERY) {
            self.review(now, since);
            has_changed = true;
        }
        has_changed
    }

    /// A frame of one stream has come whole; true if another one is gone.
    fn count_missed(&mut self, of: (usize, usize)) -> bool {
        let mut is_gone = false;
        for (encoding, streams) in self.streams.iter_mut().enumerate() {
            for (spatial, stream) in streams.iter_mut().enumerate() {
                if (encoding, spatial) != of && stream.is_there() {
                    stream.missed = stream.missed.map(|missed| missed + 1);
                    if !stream.is_there() {
                        is_gone = true;
                        stream.temporal = Default::default();
                    }
                }
            }
        }
        is_gone
    }

    fn review(&mut self, now: Instant, since: Option<Duration>) {
        self.reviewed_at = Some(now);
        let meters = self.streams.iter_mut().flatten().flat_map(|stream| &mut stream.temporal);
        for meter in meters {
            let bytes = std::mem::take(&mut meter.bytes);
            // What comes after a pause says nothing of the time before.
            let Some(since) = since.filter(|since| *since < 4 * REVIEWED_EVERY) else { continue };
            let bits = f64::from(bytes) * 8.0 / since.as_secs_f64();
            let is_news = meter.bits.is_some() || bytes > 0;
            let smoothed = meter.bits.map_or(bits, |before| KEPT * before + (1.0 - KEPT) * bits);
            meter.bits = is_news.then_some(smoothed);
            meter.latest = bits;
        }
    }

    /// All that comes now is of one size, and the publisher sends no others: where it has several, the smallest alone is what its own way carries.
    pub(crate) fn is_one_size(&self) -> bool {
        let is_there =
            |streams: &[Stream; SPATIAL]| streams.iter().filter(|stream| stream.is_there()).count();
        let [smallest, larger @ ..] = self.streams.each_ref().map(is_there);
        match larger.iter().sum() {
            0_usize => self.encodings == 1 && smallest == 1,
            count => count == 1 && smallest == 0,
        }
    }

    /// Nothing comes of it any more.
    pub(crate) fn has_ended(&self, now: Instant) -> bool {
        // Reviewed with what comes.
        self.reviewed_at.is_none_or(|at| now.saturating_duration_since(at) >= ENDED_AFTER)
    }

    /// What all of it takes, or took when it ended, in bits per second.
    pub(crate) fn bits(&self) -> f64 {
        self.streams.iter().flatten().map(Stream::bits).sum()
    }

    /// What there is to choose, from little to much; nothing while nothing comes. Temporal layers are left out in the smallest
    /// picture alone: elsewhere a smaller one is the better loss.
    pub(crate) fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        // A publisher of one size is told what its viewer's way carries: that it sends less counts at once.
        let is_one_size = self.is_one_size();
        for (encoding, streams) in self.streams.iter().enumerate() {
            let mut bits = 0.0;
            for (spatial, stream) in streams.iter().enumerate().filter(|(_, stream)| stream.is_there()) {
                let layer = |temporal: usize| Layer {
                    encoding: encoding as u8,
                    spatial: spatial as u8,
                    temporal: temporal as u8,
                };
                let highest = stream.temporal.iter().rposition(|meter| meter.bits.is_some()).unwrap_or(0);
                let is_smallest = choices.is_empty();
                for (temporal, meter) in stream.temporal.iter().enumerate().take(highest + 1) {
                    let usual = meter.bits.unwrap_or_default();
                    bits += if is_one_size { usual.min(meter.latest) } else { usual };
                    if is_smallest && temporal < highest {
                        choices.push(Choice { layer: layer(temporal), bits });
                    }
                }
                let whole = Layer { temporal: u8::MAX, ..layer(highest) };
                choices.push(Choice { layer: whole, bits });
            }
            // All of an encoding is with whatever else it comes to have.
            let of_encoding = |choice: &Choice| usize::from(choice.layer.encoding) == encoding;
            if let Some(highest) = choices.last().filter(|last| of_encoding(last)).map(|c| c.layer.spatial) {
                let at_highest =
                    |choice: &&mut Choice| of_encoding(choice) && choice.layer.spatial == highest;
                choices.iter_mut().filter(at_highest).for_each(|choice| choice.layer.spatial = u8::MAX);
            }
        }
        choices
    }
}

impl Stream {
    fn is_there(&self) -> bool {
        self.missed.is_some_and(|missed| missed < GONE_AFTER)
    }

    fn bits(&self) -> f64 {
        self.temporal.iter().filter_map(|meter| meter.bits).sum()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
mod tests {
    use super::*;

    /// So many frames of 33 ms, of each of these encodings as many bytes.
    fn send(layers: &mut Layers, now: &mut Instant, frames: usize, sizes: &[(u8, usize)]) {
        for n in 0..frames {
            for (encoding, bytes) in sizes {
                let temporal = (n % 2) as u8;
                let frame = Frame { is_start: true, is_end: true, temporal, ..Frame::default() };
                layers.note(*now, *encoding, &frame, *bytes);
            }
            *now += Duration::from_millis(33);
        }
    }

    #[test]
    fn each_encoding_is_a_choice_with_its_rate_and_the_smallest_has_more_than_one() {
        let (mut layers, mut now) = (Layers::new(3), Instant::now());
        assert!(layers.is_layered() && layers.choices().is_empty());
        send(&mut layers, &mut now, 120, &[(0, 500), (1, 2000), (2, 6000)]);
        let choices = layers.choices();
        let shown: Vec<_> = choices.iter().map(|c| (c.layer.encoding, (c.bits / 1e3).round())).collect();
        let near = |(encoding, bits): (u8, f64), expected: (u8, f64)| {
            encoding == expected.0 && (bits - expected.1).abs() < expected.1 / 5.0
        };
        let expected = [(0, 61.0), (0, 121.0), (1, 485.0), (2, 1455.0)];
        assert_eq!(shown.len(), expected.len(), "{shown:?}");
        assert!(shown.iter().zip(expected).all(|(shown, expected)| near(*shown, expected)), "{shown:?}");
        assert!(choices.is_sorted_by_key(|choice| choice.layer));
    }

    #[test]
    fn an_encoding_that_ends_is_noticed_after_a_few_frames_and_one_that_begins_at_once() {
        let (mut layers, mut now) = (Layers::new(3), Instant::now());
        send(&mut layers, &mut now, 60, &[(0, 500), (1, 2000), (2, 6000)]);
        send(&mut layers, &mut now, 8, &[(0, 500), (1, 2000)]);
        assert_eq!(layers.choices().last().unwrap().layer.encoding, 2);
        send(&mut layers, &mut now, 3, &[(0, 500), (1, 2000)]);
        assert_eq!(layers.choices().last().unwrap().layer.encoding, 1);
        assert!(layers.note(now, 2, &Frame::default(), 1), "it is back");
        assert_eq!(layers.choices().last().unwrap().layer.encoding, 2);
    }

    #[test]
    fn one_stream_without_layers_is_nothing_to_choose() {
        let (mut layers, mut now) = (Layers::new(1), Instant::now());
        let frame = Frame { is_start: true, is_end: true, ..Frame::default() };
        for _ in 0..100 {
            layers.note(now, 0, &frame, 1000);
            now += Duration::from_millis(20);
        }
        assert!(!layers.is_layered());
        assert!((layers.bits() - 400e3).abs() < 40e3 && !layers.has_ended(now), "{}", layers.bits());
        now += ENDED_AFTER;
        assert!(layers.has_ended(now));
        layers.note(now, 0, &frame, 1000);
        assert!(!layers.has_ended(now), "it goes on");
    }
}
