//! Keeps what a listener hears.

use std::sync::{Arc, Mutex, PoisonError};

use duocast_client::audio::{AudioSink, SAMPLE_RATE};

use super::RATE;

/// Samples of a recording at most: a minute, 2 MB. Higher scores more passages of one receiver, lower keeps less memory.
const SAMPLES_MAX: usize = 60 * RATE;

/// 48 kHz samples for one of 16 kHz.
const FACTOR: usize = SAMPLE_RATE as usize / RATE;

/// Taps of the filter before it: what lies above 7.9 kHz is 50 dB down.
const TAPS: usize = 96;

/// From 48 to 16 kHz, sample by sample.
pub(crate) struct Decimator {
    taps: [f32; TAPS],
    /// The last samples, twice, so that any stretch of them is in one piece.
    last: [f32; 2 * TAPS],
    at: usize,
    count: usize,
}

impl Decimator {
    pub(crate) fn new() -> Self {
        // The middle of the slope, in cycles a sample at 48 kHz: 7.4 kHz.
        let cutoff = 7_400.0 / f64::from(SAMPLE_RATE);
        let tap = |n: usize| {
            let x = n as f64 - (TAPS - 1) as f64 / 2.0;
            let angle = std::f64::consts::TAU * cutoff * x;
            let turn = std::f64::consts::TAU * (n as f64 + 0.5) / TAPS as f64;
            let window = 0.42 - 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos();
            2.0 * cutoff * (angle.sin() / angle) * window
        };
        Self { taps: std::array::from_fn(|n| tap(n) as f32), last: [0.0; 2 * TAPS], at: 0, count: 0 }
    }

    /// Takes samples of 48 kHz and gives those of 16 kHz to `out`.
    pub(crate) fn push(&mut self, samples: impl IntoIterator<Item = i16>, out: &mut Vec<i16>) {
        for sample in samples {
            let sample = f32::from(sample);
            (self.last[self.at], self.last[self.at + TAPS]) = (sample, sample);
            self.at = (self.at + 1) % TAPS;
            self.count = (self.count + 1) % FACTOR;
            if self.count == 0 {
                let window = &self.last[self.at..self.at + TAPS];
                let sum: f32 = window.iter().zip(&self.taps).map(|(sample, tap)| sample * tap).sum();
                out.push(sum.round().clamp(-32_768.0, 32_767.0) as i16);
            }
        }
    }
}

/// What was heard, at 16 kHz, while it is being recorded and after.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recording(Arc<Mutex<Vec<i16>>>);

impl Recording {
    /// Takes out what there is.
    pub(crate) fn take(&self) -> Vec<i16> {
        // A thread that panicked with it has left whole samples.
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A listener's sink that fills a [`Recording`], up to a minute.
pub(crate) struct Recorder {
    decimator: Decimator,
    recording: Recording,
}

impl Recorder {
    pub(crate) fn new() -> (Self, Recording) {
        let recording = Recording::default();
        (Self { decimator: Decimator::new(), recording: recording.clone() }, recording)
    }
}

impl AudioSink for Recorder {
    fn write(&mut self, frame: &[i16]) {
        let mut samples = self.recording.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() < SAMPLES_MAX {
            self.decimator.push(frame.iter().copied(), &mut samples);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(hertz: f64) -> f64 {
        let mut out = Vec::new();
        let tone =
            |n: u32| ((f64::from(n) * hertz * std::f64::consts::TAU / 48_000.0).sin() * 10_000.0) as i16;
        Decimator::new().push((0..48_000).map(tone), &mut out);
        assert_eq!(out.len(), 16_000);
        let energy: f64 = out[1000..].iter().map(|sample| f64::from(*sample).powi(2)).sum();
        (2.0 * energy / 15_000.0).sqrt() / 10_000.0
    }

    #[test]
    fn what_is_speech_stays_and_what_16_khz_cannot_hold_goes() {
        for hertz in [100.0, 1000.0, 6000.0] {
            assert!((level(hertz) - 1.0).abs() < 0.02, "{hertz}: {}", level(hertz));
        }
        for hertz in [8500.0, 12_000.0, 20_000.0] {
            assert!(level(hertz) < 0.01, "{hertz}: {}", level(hertz));
        }
    }

    #[test]
    fn a_recording_ends_after_a_minute() {
        let (mut recorder, recording) = Recorder::new();
        (0..3100).for_each(|_| recorder.write(&[100; 960]));
        assert_eq!(recording.take().len(), SAMPLES_MAX);
    }
}
