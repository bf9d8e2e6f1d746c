//! Sound: 20 ms frames of 48 kHz PCM in and out, Opus between them.
//!
//! - [`AudioSource`], [`AudioSink`]: what an application plugs in: a microphone, a file, a speech engine.
//! - [`Talker`]: source → Opus, on a 20 ms schedule.
//! - [`Listener`]: packets → [`JitterBuffer`] → Opus → sink, on a 20 ms schedule, with loss repaired or concealed.
//! - [`WavSource`], [`WavRecorder`]: files of any rate in, 48 kHz 16-bit files out.
//!
//! Everything here takes time as an argument and is tested on virtual time.

mod decode;
mod jitter;
mod listener;
mod resample;
mod splice;
mod talker;
mod wav;

use std::time::Duration;

pub use decode::{Decode, Decoder, Undecodable};
pub use jitter::{JitterBuffer, JitterCounters, Playout};
pub use listener::{Listener, ListenerStats};
pub use resample::Resampler;
pub use talker::{AudioError, OpusPacket, Talker};
pub use wav::{RecordError, RecordSummary, Recording, WavError, WavRecorder, WavSource};

/// Samples a second of each channel, everywhere in this crate.
pub const SAMPLE_RATE: u32 = 48_000;

/// Samples of each channel in one frame.
pub const FRAME_SAMPLES: usize = 960;

/// Length of one frame.
pub const FRAME: Duration = Duration::from_millis(20);

/// One or two channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Channels {
    /// One.
    #[default]
    Mono,
    /// Two, interleaved left first.
    Stereo,
}

impl Channels {
    /// How many.
    pub const fn count(self) -> usize {
        match self {
            Self::Mono => 1,
            Self::Stereo => 2,
        }
    }

    /// Samples of all channels in one frame.
    pub const fn frame_len(self) -> usize {
        FRAME_SAMPLES * self.count()
    }

    fn opus(self) -> opus::Channels {
        match self {
            Self::Mono => opus::Channels::Mono,
            Self::Stereo => opus::Channels::Stereo,
        }
    }
}

/// Where sound comes from. Called from the call's media task: it must not block.
pub trait AudioSource: Send + 'static {
    /// The layout of its frames; must not change.
    fn channels(&self) -> Channels {
        Channels::Mono
    }

    /// Fills `frame` ([`Channels::frame_len`] samples) with the next 20 ms. False: the source is at its end, what is in
    /// `frame` does not count, and nothing is sent from now on.
    fn read(&mut self, frame: &mut [i16]) -> bool;
}

/// Where sound goes. Called from the call's media task: it must not block.
pub trait AudioSink: Send + 'static {
    /// The layout it wants; must not change.
    fn channels(&self) -> Channels {
        Channels::Mono
    }

    /// Takes the next 20 ms. Frames follow each other without a gap from the moment the call is accepted: silence is
    /// written while nothing is heard.
    fn write(&mut self, frame: &[i16]);
}

/// A source that never sends.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silence;

impl AudioSource for Silence {
    fn read(&mut self, _: &mut [i16]) -> bool {
        false
    }
}

/// A sink that hears nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Discard;

impl AudioSink for Discard {
    fn write(&mut self, _: &[i16]) {}
}

/// A sine tone, for tests and demonstrations.
#[derive(Debug, Clone)]
pub struct Tone {
    step: f64,
    phase: f64,
}

impl Tone {
    /// A tone of this frequency at a quarter of full scale.
    pub fn new(hertz: f64) -> Self {
        Self { step: hertz * std::f64::consts::TAU / f64::from(SAMPLE_RATE), phase: 0.0 }
    }
}

impl AudioSource for Tone {
    fn read(&mut self, frame: &mut [i16]) -> bool {
        for sample in frame {
            *sample = (self.phase.sin() * 8192.0) as i16;
            self.phase = (self.phase + self.step) % std::f64::consts::TAU;
        }
        true
    }
}
