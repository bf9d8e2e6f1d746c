//! Spectrograms as an ear's: how loud each of a bank of gammatone filters is, window by window.
//!
//! M. Slaney, "An efficient implementation of the Patterson-Holdsworth auditory filter bank" (Apple TR 35, 1993): four sections of
//! second order for each band, centre frequencies evenly apart on the scale of B. Glasberg and B. Moore (1990).

use std::f64::consts::TAU;
use std::ops::Range;

use super::RATE;

/// Frequency bands.
pub(super) const BANDS: usize = 21;

/// Samples of a window (80 ms), and from one to the next (20 ms).
pub(super) const WINDOW: usize = RATE * 80 / 1000;
pub(super) const HOP: usize = RATE * 20 / 1000;

/// Centre of the lowest band, and the upper end of the highest, in hertz.
const LOWEST_HZ: f64 = 50.0;
const HIGHEST_HZ: f64 = 8000.0;

/// Quality of the ear's filters at high frequencies, and their bandwidth in hertz at low ones.
const EAR_Q: f64 = 9.264_49;
const MIN_BANDWIDTH_HZ: f64 = 24.7;

/// Decibels at which a window of a band is silent.
pub(super) const FLOOR_DB: f64 = -45.0;

/// Loudness in decibels of each band.
pub(super) type Window = [f64; BANDS];

pub(super) struct Spectrogram(Vec<Window>);

impl Spectrogram {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn windows(&self, range: Range<usize>) -> &[Window] {
        &self.0[range]
    }
}

/// One band: four sections with the same poles, and a zero each.
struct Band {
    /// `1 + zeros[n] z^-1` is the numerator of section n.
    zeros: [f64; 4],
    /// `1 + poles[0] z^-1 + poles[1] z^-2` is the denominator of all.
    poles: [f64; 2],
    /// Makes the centre frequency come out as loud as it went in.
    gain: f64,
}

impl Band {
    fn new(centre_hz: f64) -> Self {
        let bandwidth = 1.019 * TAU * (centre_hz / EAR_Q + MIN_BANDWIDTH_HZ);
        let radius = (-bandwidth / RATE as f64).exp();
        let (sin, cos) = (TAU * centre_hz / RATE as f64).sin_cos();
        let root = std::f64::consts::SQRT_2;
        let zeros =
            [root + 1.0, -root - 1.0, root - 1.0, 1.0 - root].map(|turn| -radius * (cos + turn * sin));
        let poles = [-2.0 * radius * cos, radius * radius];
        // |H| at the centre, z^-1 = cos - i sin there.
        let size = |one: f64, two: f64| {
            let (cos_2, sin_2) = (2.0 * cos * cos - 1.0, 2.0 * sin * cos);
            (1.0 + one * cos + two * cos_2).hypot(one * sin + two * sin_2)
        };
        let through: f64 = zeros.iter().map(|zero| size(*zero, 0.0) / size(poles[0], poles[1])).product();
        Self { zeros, poles, gain: 1.0 / through }
    }

    /// Loudness of these samples in this band, in ViSQOL's decibels: ten times the logarithm of the amplitude.
    fn level(&self, samples: &[f64]) -> f64 {
        let mut states = [[0.0; 2]; 4];
        let mut energy = 0.0;
        for sample in samples {
            let mut value = *sample;
            for (state, zero) in states.iter_mut().zip(self.zeros) {
                let out = value + state[0];
                *state = [zero * value + state[1] - self.poles[0] * out, -self.poles[1] * out];
                value = out;
            }
            energy += value * value;
        }
        let amplitude = self.gain * (energy / samples.len().max(1) as f64).sqrt();
        (10.0 * amplitude.log10()).max(FLOOR_DB)
    }
}

/// All bands, from the highest to the lowest, and how a window fades in and out (Hann).
pub(super) struct Filterbank {
    bands: Vec<Band>,
    fade: Vec<f64>,
}

impl Filterbank {
    pub(super) fn new() -> Self {
        let offset = EAR_Q * MIN_BANDWIDTH_HZ;
        let (high, low) = (HIGHEST_HZ + offset, LOWEST_HZ + offset);
        let centre = |n: usize| high * (low / high).powf(n as f64 / BANDS as f64) - offset;
        let fade = |n: usize| 0.5 - 0.5 * (TAU * n as f64 / (WINDOW - 1) as f64).cos();
        Self {
            bands: (1..=BANDS).map(|n| Band::new(centre(n))).collect(),
            fade: (0..WINDOW).map(fade).collect(),
        }
    }

    /// Each window by itself, from silent filters.
    pub(super) fn spectrogram(&self, samples: &[f64]) -> Spectrogram {
        let mut windows = Vec::with_capacity(samples.len() / HOP);
        for begin in (0..).step_by(HOP).take_while(|begin| begin + WINDOW <= samples.len()) {
            let faded = samples[begin..].iter().zip(&self.fade).map(|(sample, fade)| sample * fade);
            let faded: Vec<f64> = faded.collect();
            windows.push(std::array::from_fn(|band| self.bands[band].level(&faded)));
        }
        Spectrogram(windows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f64) -> Vec<f64> {
        (0..WINDOW).map(|n| (TAU * hertz * n as f64 / RATE as f64).sin()).collect()
    }

    #[test]
    fn a_tone_is_loudest_in_its_own_band_and_silence_is_silent_in_all() {
        let filters = Filterbank::new();
        let loudest = |hertz| {
            let window = filters.spectrogram(&tone(hertz)).0[0];
            (0..BANDS).max_by(|a, b| window[*a].total_cmp(&window[*b])).unwrap()
        };
        let offset = EAR_Q * MIN_BANDWIDTH_HZ;
        let at = |n: f64| (8000.0 + offset) * ((50.0 + offset) / (8000.0 + offset)).powf(n / 21.0) - offset;
        for band in [1, 5, 12, 18] {
            assert_eq!(loudest(at(band as f64 + 1.0)), band);
        }
        assert!(filters.spectrogram(&vec![0.0; WINDOW]).0[0].iter().all(|level| *level == FLOOR_DB));
    }

    #[test]
    fn windows_are_80_ms_every_20() {
        let filters = Filterbank::new();
        assert_eq!(filters.spectrogram(&vec![0.1; RATE]).len(), 47);
        assert_eq!(filters.spectrogram(&vec![0.1; WINDOW - 1]).len(), 0);
    }
}
