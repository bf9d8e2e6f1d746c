//! A voice without a recording: what an encoder finds as hard as speech, and a decoder as worth hearing.

use duocast_client::audio::{AudioSource, SAMPLE_RATE};

/// Vowels as the first three formants in hertz.
const VOWELS: [[f64; 3]; 5] = [
    [730.0, 1090.0, 2440.0],
    [270.0, 2290.0, 3010.0],
    [300.0, 870.0, 2240.0],
    [530.0, 1840.0, 2480.0],
    [570.0, 840.0, 2410.0],
];

/// Bandwidth of each formant, in hertz.
const BANDWIDTHS: [f64; 3] = [80.0, 100.0, 140.0];

/// Samples of one syllable: four a second.
const SYLLABLE: u64 = SAMPLE_RATE as u64 / 4;

/// Syllables between pauses for breath of one syllable.
const PHRASE: u64 = 7;

/// Syllables of a gliding, breathing voice: a pulse train with noise through three resonators. The same each time.
pub(crate) struct Voice {
    sample: u64,
    phase: f64,
    noise: u64,
    resonators: [[f64; 2]; 3],
}

impl Voice {
    pub(crate) fn new() -> Self {
        Self { sample: 0, phase: 0.0, noise: 0x9e37_79b9_7f4a_7c15, resonators: [[0.0; 2]; 3] }
    }

    fn next(&mut self) -> f64 {
        let syllable = self.sample / SYLLABLE;
        let through = (self.sample % SYLLABLE) as f64 / SYLLABLE as f64;
        self.sample += 1;

        let pitch = 115.0 + 25.0 * (syllable as f64 * 1.7).sin() - 15.0 * through;
        self.phase += pitch / f64::from(SAMPLE_RATE);
        let pulse = if self.phase >= 1.0 { 1.0 } else { 0.0 };
        self.phase = self.phase.fract();
        let excitation = pulse * 60.0 + self.white() * 0.6;

        let vowel = VOWELS[(syllable * 3 % 5) as usize];
        let mut sound = 0.0;
        for (state, (frequency, bandwidth)) in self.resonators.iter_mut().zip(vowel.iter().zip(BANDWIDTHS)) {
            sound += resonate(state, excitation, *frequency, bandwidth);
        }
        let is_breath = syllable % (PHRASE + 1) == PHRASE;
        let loudness = if is_breath { 0.01 } else { (through * std::f64::consts::PI).sin().powf(0.6) };
        sound * loudness
    }

    fn white(&mut self) -> f64 {
        self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.noise >> 33) as f64 / f64::from(1u32 << 30) - 1.0
    }
}

/// A two-pole resonator with unit gain at its peak, roughly.
fn resonate(state: &mut [f64; 2], input: f64, frequency: f64, bandwidth: f64) -> f64 {
    let rate = f64::from(SAMPLE_RATE);
    let radius = (-std::f64::consts::PI * bandwidth / rate).exp();
    let turn = (std::f64::consts::TAU * frequency / rate).cos();
    let output = input * (1.0 - radius) + 2.0 * radius * turn * state[0] - radius * radius * state[1];
    *state = [output, state[0]];
    output
}

impl AudioSource for Voice {
    fn read(&mut self, frame: &mut [i16]) -> bool {
        for sample in frame {
            *sample = (self.next() * 2500.0).clamp(-30_000.0, 30_000.0) as i16;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_speaks_with_pauses_and_never_clips() {
        let mut voice = Voice::new();
        let mut levels = Vec::new();
        let mut peak = 0;
        for _ in 0..200 {
            let mut frame = [0i16; 960];
            assert!(voice.read(&mut frame));
            peak = peak.max(frame.iter().map(|s| s.unsigned_abs()).max().unwrap());
            let power: f64 = frame.iter().map(|s| f64::from(*s).powi(2)).sum();
            levels.push((power / 960.0).sqrt());
        }
        assert!((2_000..30_000).contains(&peak), "peak {peak}");
        let loud = levels.iter().filter(|level| **level > 500.0).count();
        let quiet = levels.iter().filter(|level| **level < 100.0).count();
        assert!(loud > 100 && quiet > 10, "{loud} loud, {quiet} quiet of 200");
    }
}
