//! From Opus packets to samples.

use super::{AudioError, Channels, SAMPLE_RATE};

/// A packet that Opus refused.
#[derive(Debug, thiserror::Error)]
#[error("a packet could not be decoded: {0}")]
pub struct Undecodable(#[from] opus::Error);

/// Turns one stream's packets into samples, in the order in which they are played. [`Decoder`] does it by itself; who has thousands of
/// listeners of one speech may share the work.
///
/// Each method fills `samples` (interleaved, at 48 kHz) from its beginning and gives how many of each channel there are.
pub trait Decode: Send + 'static {
    /// The next packet.
    fn decode(&mut self, packet: &[u8], samples: &mut [i16]) -> Result<usize, Undecodable>;

    /// As much as fits for a packet that is lost, from the copy that the one after it may hold (RFC 6716 section 2.1.7).
    fn recover(&mut self, next: &[u8], samples: &mut [i16]) -> Result<usize, Undecodable>;

    /// As much as fits for a packet that is lost, from what came before it.
    fn conceal(&mut self, samples: &mut [i16]) -> Result<usize, Undecodable>;
}

/// Opus itself.
#[derive(Debug)]
pub struct Decoder(opus::Decoder);

impl Decoder {
    /// Has heard nothing yet. Packets of any layout come out in this one.
    pub fn new(channels: Channels) -> Result<Self, AudioError> {
        Ok(Self(opus::Decoder::new(SAMPLE_RATE, channels.opus())?))
    }

    /// Forgets what it has heard.
    pub fn start_over(&mut self) -> Result<(), AudioError> {
        Ok(self.0.reset_state()?)
    }
}

impl Decode for Decoder {
    fn decode(&mut self, packet: &[u8], samples: &mut [i16]) -> Result<usize, Undecodable> {
        Ok(self.0.decode(packet, samples, false)?)
    }

    fn recover(&mut self, next: &[u8], samples: &mut [i16]) -> Result<usize, Undecodable> {
        Ok(self.0.decode(next, samples, true)?)
    }

    fn conceal(&mut self, samples: &mut [i16]) -> Result<usize, Undecodable> {
        Ok(self.0.decode(&[], samples, false)?)
    }
}
