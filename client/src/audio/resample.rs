//! From any sample rate to 48 kHz: a windowed-sinc filter bank.

use super::SAMPLE_RATE;

/// Zero crossings on each side of the filter. Higher is sharper at the band's edge and costs as much more.
const CROSSINGS: usize = 24;

/// Most phases of the filter bank; rates that need more use the nearest. 44.1 kHz needs 160.
const PHASES_MAX: usize = 1024;

/// Converts one channel of `rate` samples a second; reads any position, so streams need no state.
#[derive(Debug, Clone)]
pub struct Resampler {
    rate: u64,
    phases: usize,
    taps: usize,
    /// `phases` rows of `taps` weights; empty if the rate is 48 kHz already.
    bank: Vec<f32>,
}

impl Resampler {
    /// A converter from `rate` (raised to 1 if 0).
    pub fn new(rate: u32) -> Self {
        let rate = rate.max(1);
        let exact = SAMPLE_RATE / gcd(rate, SAMPLE_RATE);
        let phases = (exact as usize).min(PHASES_MAX);
        // Towards 48 kHz from above, what lies over 24 kHz must go: a lower cut-off and a longer filter.
        let cutoff = (f64::from(SAMPLE_RATE) / f64::from(rate)).min(1.0);
        let half = (CROSSINGS as f64 / cutoff).ceil() as usize;
        let taps = 2 * half;
        let bank = if rate == SAMPLE_RATE { Vec::new() } else { filter_bank(phases, half, cutoff) };
        Self { rate: rate.into(), phases, taps, bank }
    }

    /// Output samples that `input_len` input samples make.
    pub fn output_len(&self, input_len: usize) -> usize {
        (input_len as u64 * u64::from(SAMPLE_RATE) / self.rate) as usize
    }

    /// Output sample number `index`, where `input` gives input samples and 0 outside.
    pub fn sample(&self, index: usize, input: impl Fn(i64) -> f32) -> f32 {
        let scaled = index as u64 * self.rate;
        let whole = (scaled / u64::from(SAMPLE_RATE)) as i64;
        if self.bank.is_empty() {
            return input(whole);
        }
        let rest = scaled % u64::from(SAMPLE_RATE);
        let phase = (rest * self.phases as u64 / u64::from(SAMPLE_RATE)) as usize;
        let first = whole - self.taps as i64 / 2 + 1;
        let weights = &self.bank[phase * self.taps..(phase + 1) * self.taps];
        weights.iter().zip(first..).map(|(weight, at)| weight * input(at)).sum()
    }
}

fn filter_bank(phases: usize, half: usize, cutoff: f64) -> Vec<f32> {
    let mut bank = Vec::with_capacity(phases * half * 2);
    for phase in 0..phases {
        let offset = phase as f64 / phases as f64;
        let weight = |tap: usize| {
            let x = tap as f64 - (half as f64 - 1.0) - offset;
            cutoff * sinc(x * cutoff) * blackman(x / half as f64)
        };
        let row: Vec<f64> = (0..2 * half).map(weight).collect();
        let sum: f64 = row.iter().sum();
        bank.extend(row.iter().map(|w| (w / sum) as f32));
    }
    bank
}

fn sinc(x: f64) -> f64 {
    let angle = std::f64::consts::PI * x;
    if angle.abs() < 1e-9 { 1.0 } else { angle.sin() / angle }
}

/// The Blackman window over -1 to 1.
fn blackman(x: f64) -> f64 {
    let angle = std::f64::consts::PI * x.clamp(-1.0, 1.0);
    0.42 + 0.5 * angle.cos() + 0.08 * (2.0 * angle).cos()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signal-to-error ratio in dB of a resampled sine against the ideal one, edges left out.
    fn quality(rate: u32, hertz: f64) -> f64 {
        let resampler = Resampler::new(rate);
        let sine = |n: i64, per: u32| (n as f64 * hertz * std::f64::consts::TAU / f64::from(per)).sin();
        let (mut signal, mut error) = (0.0, 0.0);
        for index in 4800..9600 {
            let ideal = sine(index as i64, SAMPLE_RATE);
            let got = f64::from(resampler.sample(index, |n| sine(n, rate) as f32));
            signal += ideal * ideal;
            error += (got - ideal) * (got - ideal);
        }
        10.0 * (signal / error.max(1e-30)).log10()
    }

    #[test]
    fn speech_band_tones_survive_conversion_from_common_rates() {
        for rate in [8000, 11_025, 16_000, 22_050, 32_000, 44_100, 96_000, 192_000] {
            let ratio = quality(rate, 1000.0);
            assert!(ratio > 60.0, "{rate} Hz: {ratio:.1} dB");
        }
        assert!(quality(47_999, 1000.0) > 40.0, "rates that need more phases than the bank has");
    }

    #[test]
    fn what_48_khz_cannot_carry_is_filtered_out() {
        let resampler = Resampler::new(96_000);
        let above = |n: i64| (n as f64 * 40_000.0 * std::f64::consts::TAU / 96_000.0).sin() as f32;
        let loudest = (1000..2000).map(|i| resampler.sample(i, above).abs()).fold(0.0, f32::max);
        assert!(loudest < 0.001, "{loudest}");
    }

    #[test]
    fn a_file_at_48_khz_passes_unchanged() {
        let resampler = Resampler::new(SAMPLE_RATE);
        assert_eq!(resampler.sample(123, |n| n as f32), 123.0);
        assert_eq!(resampler.output_len(77), 77);
        assert_eq!(Resampler::new(16_000).output_len(16_000), 48_000);
    }
}
