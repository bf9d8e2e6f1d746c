//! Speech, encoded once.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use duocast_client::audio::{AudioError, AudioSource, FRAME, Talker, WavError, WavSource};
use duocast_client::media::Payload;

use super::voice::Voice;

/// Length of the built-in speech; it starts over at its end.
const BUILT_IN: Duration = Duration::from_secs(10);

/// Most of a file that is used. Higher takes longer to encode before a run, lower repeats sooner.
const FILE_MAX: Duration = Duration::from_secs(120);

/// Opus packets of 20 ms that every leg sends, in a loop.
#[derive(Debug)]
pub(crate) struct Speech {
    packets: Vec<Payload>,
}

/// Why there is nothing to say.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpeechError {
    #[error("audio.speech: {0}")]
    File(#[from] WavError),
    #[error(transparent)]
    Codec(#[from] AudioError),
    #[error("audio.speech: {}: is shorter than 20 ms: give a longer recording", .0.display())]
    Short(PathBuf),
}

impl Speech {
    /// Encodes a WAV file, or the built-in voice.
    pub(crate) fn encode(file: Option<&Path>) -> Result<Self, SpeechError> {
        let Some(file) = file else { return Ok(Self { packets: encode(Box::new(Voice::new()), BUILT_IN)? }) };
        let source = WavSource::open(file, false)?;
        let length = source.duration().min(FILE_MAX);
        let packets = encode(Box::new(source), length)?;
        if packets.is_empty() { Err(SpeechError::Short(file.to_owned())) } else { Ok(Self { packets }) }
    }

    /// Packet number `n` of the loop.
    pub(crate) fn packet(&self, n: u64) -> &Payload {
        &self.packets[(n % self.packets.len() as u64) as usize]
    }

    /// Packets in the loop.
    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }
}

/// The SDK's own encoder, on a clock that is only counted.
fn encode(source: Box<dyn AudioSource>, length: Duration) -> Result<Vec<Payload>, AudioError> {
    let start = Instant::now();
    let mut talker = Talker::new(start, source)?;
    let frames = length.as_nanos() / FRAME.as_nanos();
    let mut packets = Vec::new();
    for n in 0..u32::try_from(frames).unwrap_or(u32::MAX) {
        packets.extend(talker.poll_packet(start + FRAME * n).map(|packet| packet.payload));
    }
    Ok(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_voice_fills_its_length_with_packets_of_speech_size() {
        let speech = Speech::encode(None).unwrap();
        assert_eq!(speech.len(), 500);
        let bytes: usize = (0..500).map(|n| speech.packet(n).len()).sum();
        assert!((50..200).contains(&(bytes / 500)), "{} bytes a packet", bytes / 500);
        assert_eq!(speech.packet(3), speech.packet(503), "it starts over");
    }

    #[test]
    fn a_file_that_is_no_wav_is_named() {
        let error = Speech::encode(Some(Path::new("/no/such.wav"))).unwrap_err().to_string();
        assert!(error.contains("audio.speech: cannot read /no/such.wav"), "{error}");
    }
}
