//! How received speech sounds beside what was said, from 1 (bad) to 5 (like the original): ViSQOL's speech mode. Pure.
//!
//! Full-reference, after A. Hines et al., "ViSQOL: an objective speech quality model" (EURASIP J. Audio, Speech, Music Process.
//! 2015:13), and M. Chinen et al., "ViSQOL v3" (QoMEX 2020), with the parameters of ViSQOL 3.3: both signals at the same level as
//! spectrograms of 21 gammatone bands from 50 Hz to 8 kHz, 80 ms windows every 20 ms; stretches ("patches") of 20 windows in
//! which somebody speaks; each is looked for near its place in the recording, and its neurogram similarity (NSIM) is what counts. The
//! map from similarity to a score is ViSQOL's exponential one, fitted to the TCD-VoIP listening tests.
//!
//! Where this differs: a listener's playout moves in whole frames of 20 ms, so patches are looked for in steps of one window
//! and each by itself, and are not realigned by samples. Similarity then is within 0.02 of ViSQOL's for lost frames and noise.
//!
//! Limits: it was fitted to telephone and VoIP speech of 3 to 10 s. It judges how like the original a passage is, so silence in the
//! place of silence costs nothing, delay costs nothing, and echo, double talk and level are not judged. Absolute values depend on
//! the voices; compare within one speech.
//!
//! - [`gammatone`]: spectrograms. [`nsim`]: how like two patches are. [`align`]: where in a recording the speech is.
//! - [`Recorder`]: keeps what a listener hears, at 16 kHz.

mod align;
mod gammatone;
mod nsim;
mod recorder;

use std::ops::Range;

use gammatone::{Filterbank, HOP, Spectrogram};

pub(crate) use recorder::{Decimator, Recorder, Recording};

/// Samples a second of everything that is compared.
pub(crate) const RATE: usize = 16_000;

/// Longest stretch of the speech that one score is of. ViSQOL is meant for a few sentences.
const REFERENCE_MAX: usize = 10 * RATE;

/// Windows of a patch: 0.4 s.
const PATCH: usize = 20;

/// The first patch begins half a patch in.
const FIRST_PATCH: usize = PATCH / 2 - 1;

/// How far from its place a patch is looked for, in windows: a jitter buffer's shift within a passage. Higher finds later ones, and
/// also finds something for a patch that is not there.
const SEARCH: usize = 12;

/// Share of the loudest sample from which 20 ms are speech: ViSQOL's 5000 of 32768.
const VOICE: f64 = 5000.0 / 32_768.0;

/// Windows after speech that still count as speech.
const VOICE_HANGOVER: usize = 2;

/// Who begins to listen this much after the speech began, in samples, has missed the breath before it.
const MISSED_MAX: i64 = 3 * RATE as i64 / 10;

/// How much later than expected a passage may be and still count as whole in what was recorded, in samples: what paths and jitter buffers hold.
/// Higher leaves out more last passages, lower takes the beginning of one for all of it.
const HELD_MAX: usize = 3 * RATE / 10;

/// Similarity below which nothing of the speech is there.
const NOTHING_LIKE_IT: f64 = 0.15;

/// What was said, ready to be compared with.
pub(crate) struct Reference {
    samples: Vec<f64>,
    spectrogram: Spectrogram,
    /// First windows of the patches with speech.
    patches: Vec<usize>,
    filters: Filterbank,
    /// How long the whole speech is before it starts over.
    period: usize,
}

/// The speech, as one receiver heard it once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Passage {
    /// First sample in the recording.
    pub(crate) begin: usize,
    pub(crate) score: f64,
}

impl Reference {
    /// Of speech that is said again and again. Only its first seconds are compared with. `None` if nobody speaks in them for the
    /// length of a patch.
    pub(crate) fn new(speech: &[i16]) -> Option<Self> {
        let samples = floats(&speech[..speech.len().min(REFERENCE_MAX)]);
        let filters = Filterbank::new();
        let spectrogram = filters.spectrogram(&samples);
        let patches = patches_with_voice(&samples, spectrogram.len());
        (!patches.is_empty()).then_some(Self { samples, spectrogram, patches, filters, period: speech.len() })
    }

    /// Samples of the part that is compared with.
    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// The part that is compared with, of the speech that it was made of.
    pub(crate) fn part<'a>(&self, speech: &'a [i16]) -> &'a [i16] {
        &speech[..self.samples.len()]
    }

    /// Every whole passage of a recording with its score, in order. `begun`: the sample at which the speech began to be sent for the
    /// first time; below 0 before the recording, so that its first passage is a later one.
    pub(crate) fn passages(&self, recording: &[i16], begun: i64) -> Vec<Passage> {
        let recording = floats(recording);
        let mut passages = Vec::new();
        let first =
            if begun < -MISSED_MAX { begun.rem_euclid(self.period as i64) } else { begun.max(0) } as usize;
        let is_whole = |at: usize| at + self.samples.len() + HELD_MAX <= recording.len();
        let mut search = Some(first..first + align::FIRST_MAX).filter(|_| is_whole(first));
        while let Some(range) = search.take()
            && let Some(begin) = align::find(&self.samples, &recording, range)
        {
            passages.push(Passage { begin, score: self.score(&recording, begin) });
            let next = begin + self.period;
            let around = next.saturating_sub(align::DRIFT_MAX)..next + align::DRIFT_MAX;
            search = is_whole(next).then_some(around);
        }
        passages
    }

    /// The score of the passage that begins at this sample.
    fn score(&self, recording: &[f64], begin: usize) -> f64 {
        let heard = stretch(recording, begin, self.samples.len(), SEARCH * HOP);
        let level = rms(&recording[begin..(begin + self.samples.len()).min(recording.len())]);
        if level <= 0.0 {
            return 1.0;
        }
        let gain = rms(&self.samples) / level;
        let heard: Vec<f64> = heard.into_iter().map(|sample| sample * gain).collect();
        let heard = self.filters.spectrogram(&heard);
        let best = |patch: &usize| {
            let said = self.spectrogram.windows(*patch..patch + PATCH);
            let places = (0..=2 * SEARCH).filter_map(|shift| {
                let range: Range<usize> = patch + shift..patch + shift + PATCH;
                (range.end <= heard.len()).then(|| nsim::similarity(said, heard.windows(range)))
            });
            places.fold(0.0, f64::max)
        };
        let sum: f64 = self.patches.iter().map(best).sum();
        quality(sum / self.patches.len() as f64)
    }
}

/// From mean similarity to a mean opinion score; scaled so that the same is 5.
fn quality(similarity: f64) -> f64 {
    const A: f64 = -262.847_869;
    const B: f64 = 0.015_430_252_5;
    const X0: f64 = -361.063_949;
    const SCALE: f64 = 1.245_063;
    if similarity < NOTHING_LIKE_IT {
        return 1.0;
    }
    ((A + (B * (similarity - X0)).exp()) * SCALE).clamp(1.0, 5.0)
}

fn patches_with_voice(samples: &[f64], windows: usize) -> Vec<usize> {
    let peak = samples.iter().fold(0.0, |peak: f64, sample| peak.max(sample.abs()));
    let is_loud: Vec<bool> =
        samples.chunks_exact(HOP).map(|chunk| peak > 0.0 && rms(chunk) >= VOICE * peak).collect();
    let has_voice =
        |patch: usize| is_loud[patch.saturating_sub(VOICE_HANGOVER)..patch + PATCH].contains(&true);
    (FIRST_PATCH..)
        .step_by(PATCH)
        .take_while(|patch| patch + PATCH <= windows)
        .filter(|p| has_voice(*p))
        .collect()
}

/// `length` samples from `begin` on and `margin` more on both sides; silence where the recording has none.
fn stretch(recording: &[f64], begin: usize, length: usize, margin: usize) -> Vec<f64> {
    let at =
        |n: usize| (begin + n).checked_sub(margin).and_then(|n| recording.get(n)).copied().unwrap_or(0.0);
    (0..length + 2 * margin).map(at).collect()
}

fn floats(samples: &[i16]) -> Vec<f64> {
    samples.iter().map(|sample| f64::from(*sample) / 32_768.0).collect()
}

fn rms(samples: &[f64]) -> f64 {
    let energy: f64 = samples.iter().map(|sample| sample * sample).sum();
    (energy / samples.len().max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests;
