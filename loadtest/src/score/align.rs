//! Where in a recording the speech is: first by how loudness rises and falls, then by the waveform.

use std::ops::Range;

use super::RATE;
use super::gammatone::HOP;

/// The speech is heard this soon after it is sent: a second or two of setting up, and what a path holds.
pub(super) const FIRST_MAX: usize = 8 * RATE;

/// How much sooner or later than the speech's length it begins again: what a jitter buffer grows or shrinks by.
pub(super) const DRIFT_MAX: usize = 3 * RATE / 2;

/// Loudness below which differences are not heard, in decibels under full scale.
const SILENCE_DB: f64 = -55.0;

/// The sample of `recording` at which `speech` begins, in this range; `None` if it is not whole there.
pub(super) fn find(speech: &[f64], recording: &[f64], range: Range<usize>) -> Option<usize> {
    let latest = recording.len().checked_sub(speech.len())?;
    let (first, last) = (range.start.div_ceil(HOP), range.end.min(latest + 1) / HOP);
    let said = centred(levels(speech));
    let heard = levels(recording);
    let likeness = |at: usize| correlation(&said, &heard[at..at + said.len()]);
    let coarse = (first..=last)
        .filter(|at| at + said.len() <= heard.len())
        .map(|at| (at, likeness(at)))
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    let about = coarse.0 * HOP;
    let (from, until) = (about.saturating_sub(HOP), (about + HOP).min(latest));
    let loud = loudest(speech, 2 * RATE);
    let product = |at: usize| -> f64 {
        let pairs = speech[loud.clone()].iter().zip(&recording[at + loud.start..]);
        pairs.map(|(a, b)| a * b).sum()
    };
    let fine = (from..=until).map(|at| (at, product(at))).max_by(|a, b| a.1.total_cmp(&b.1));
    // Nothing like it in waveform: loudness has to do.
    fine.map(|(at, product)| if product > 0.0 { at } else { about })
}

/// Loudness in steps of a hop, in decibels.
fn levels(samples: &[f64]) -> Vec<f64> {
    samples.chunks_exact(HOP).map(|chunk| (20.0 * super::rms(chunk).log10()).max(SILENCE_DB)).collect()
}

fn centred(mut values: Vec<f64>) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.iter_mut().for_each(|value| *value -= mean);
    values
}

/// Pearson's, of which the first is centred already and of the same spread for all.
fn correlation(said: &[f64], heard: &[f64]) -> f64 {
    let mean = heard.iter().sum::<f64>() / heard.len().max(1) as f64;
    let product: f64 = said.iter().zip(heard).map(|(a, b)| a * (b - mean)).sum();
    let spread: f64 = heard.iter().map(|b| (b - mean).powi(2)).sum();
    if spread > 0.0 { product / spread.sqrt() } else { 0.0 }
}

/// The stretch of this length with the most energy.
fn loudest(samples: &[f64], length: usize) -> Range<usize> {
    let length = length.min(samples.len());
    let starts = (0..=samples.len() - length).step_by(HOP);
    let start = starts.max_by(|a, b| {
        let energy = |at: usize| super::rms(&samples[at..at + length]);
        energy(*a).total_cmp(&energy(*b))
    });
    let start = start.unwrap_or(0);
    start..start + length
}
