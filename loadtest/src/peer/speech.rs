//! Speech, encoded and decoded once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use duocast_client::audio::{
    AudioError, AudioSource, Channels, Decode as _, Decoder, FRAME, FRAME_SAMPLES, Resampler, Talker,
    WavError, WavSource,
};
use duocast_client::media::{Payload, mark};

use crate::score::{Decimator, RATE};

/// Three sentences of two synthetic voices, 8 s (speech/make.sh); they start over at their end.
const BUILT_IN: &[u8] = include_bytes!("../../speech/sentences.wav");

/// Bytes before the samples of that file.
const HEADER_BYTES: usize = 44;

/// Most of a file that is used. Higher takes longer to encode before a run, lower repeats sooner.
const FILE_MAX: Duration = Duration::from_secs(120);

/// Opus packets of 20 ms that every leg sends, in a loop.
#[derive(Debug)]
pub(crate) struct Speech {
    /// Each has a mark already, which is written over.
    packets: Vec<Payload>,
    /// Which packet it is, by what stands before the mark. Of equal ones it is the first.
    numbers: HashMap<Box<[u8]>, usize>,
    /// What was encoded, at 16 kHz.
    said: Vec<i16>,
    /// What a decoder gives that has heard the loop before: mono frames at 48 kHz.
    heard: Vec<i16>,
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
    /// Encodes a WAV file, or the built-in sentences.
    pub(crate) fn encode(file: Option<&Path>) -> Result<Self, SpeechError> {
        let Some(file) = file else {
            let sentences = Sentences::new();
            let length = sentences.duration();
            return Ok(encode(Box::new(sentences), length)?);
        };
        let source = WavSource::open(file, false)?;
        let length = source.duration().min(FILE_MAX);
        let speech = encode(Box::new(source), length)?;
        if speech.packets.is_empty() { Err(SpeechError::Short(file.to_owned())) } else { Ok(speech) }
    }

    /// Packet number `n` of the loop.
    pub(crate) fn packet(&self, n: u64) -> &Payload {
        &self.packets[(n % self.packets.len() as u64) as usize]
    }

    /// Appends the same, with this mark.
    pub(crate) fn append_packet(&self, n: u64, unix_micros: u64, out: &mut Vec<u8>) {
        let packet = self.packet(n);
        out.extend_from_slice(unmarked(packet));
        if unmarked(packet).len() < packet.len() {
            out.extend_from_slice(&mark::bytes(unix_micros));
        }
    }

    /// Whether this is packet number `n`, whatever its mark.
    pub(crate) fn is_packet(&self, n: usize, packet: &[u8]) -> bool {
        unmarked(self.packet(n as u64)) == unmarked(packet)
    }

    /// Where in the loop a packet is.
    pub(crate) fn number_of(&self, packet: &[u8]) -> Option<usize> {
        self.numbers.get(unmarked(packet)).copied()
    }

    /// What packet number `n` sounds like for who has heard those before it.
    pub(crate) fn heard(&self, n: usize) -> Option<&[i16]> {
        self.heard.chunks_exact(FRAME_SAMPLES).nth(n)
    }

    /// Packets in the loop.
    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }

    /// The loop before it was encoded, at 16 kHz.
    pub(crate) fn said(&self) -> &[i16] {
        &self.said
    }
}

/// The SDK's own encoder, on a clock that is only counted.
fn encode(source: Box<dyn AudioSource>, length: Duration) -> Result<Speech, AudioError> {
    let start = Instant::now();
    let said = Arc::new(Mutex::new(Vec::new()));
    let source = Overheard { source, decimator: Decimator::new(), said: Arc::clone(&said) };
    let mut talker = Talker::new(start, Box::new(source))?;
    let frames = length.as_nanos() / FRAME.as_nanos();
    let mut packets = Vec::new();
    for n in 0..u32::try_from(frames).unwrap_or(u32::MAX) {
        packets
            .extend(talker.poll_packet(start + FRAME * n).map(|packet| mark::stamp_opus(&packet.payload, 0)));
    }
    let mut numbers = HashMap::new();
    for (number, packet) in packets.iter().enumerate() {
        numbers.entry(unmarked(packet).into()).or_insert(number);
    }
    let heard = hear(&packets)?;
    let said = std::mem::take(&mut *said.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Speech { packets, numbers, said, heard })
}

/// What stands before a packet's mark.
fn unmarked(packet: &[u8]) -> &[u8] {
    let mark = if mark::read(packet).is_some() { mark::MARK_BYTES } else { 0 };
    &packet[..packet.len() - mark]
}

/// The loop as who hears it for the second time hears it.
fn hear(packets: &[Payload]) -> Result<Vec<i16>, AudioError> {
    let mut decoder = Decoder::new(Channels::Mono)?;
    let mut heard = vec![0; packets.len() * FRAME_SAMPLES];
    for _ in 0..2 {
        for (packet, frame) in packets.iter().zip(heard.chunks_exact_mut(FRAME_SAMPLES)) {
            // What our own encoder made can be decoded; a frame of silence would be found not to be the same.
            let _ = decoder.decode(packet, frame);
        }
    }
    Ok(heard)
}

/// The built-in sentences, again and again.
pub(crate) struct Sentences {
    samples: Vec<f32>,
    resampler: Resampler,
    position: usize,
}

impl Sentences {
    pub(crate) fn new() -> Self {
        let samples = BUILT_IN[HEADER_BYTES..].chunks_exact(2);
        let samples = samples.map(|two| f32::from(i16::from_le_bytes([two[0], two[1]]))).collect();
        Self { samples, resampler: Resampler::new(RATE as u32), position: 0 }
    }

    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.samples.len() as f64 / RATE as f64)
    }
}

impl AudioSource for Sentences {
    fn read(&mut self, frame: &mut [i16]) -> bool {
        for sample in frame {
            let at = |n: i64| self.samples[n.rem_euclid(self.samples.len() as i64) as usize];
            *sample = self.resampler.sample(self.position, at).round().clamp(-32_768.0, 32_767.0) as i16;
            self.position += 1;
        }
        true
    }
}

/// A source whose sound is kept at 16 kHz, mixed to one channel.
struct Overheard {
    source: Box<dyn AudioSource>,
    decimator: Decimator,
    said: Arc<Mutex<Vec<i16>>>,
}

impl AudioSource for Overheard {
    fn channels(&self) -> Channels {
        self.source.channels()
    }

    fn read(&mut self, frame: &mut [i16]) -> bool {
        let has_more = self.source.read(frame);
        if has_more {
            let count = self.source.channels().count();
            let mixed = frame.chunks_exact(count).map(|samples| {
                let sum: i32 = samples.iter().map(|sample| i32::from(*sample)).sum();
                (sum / count as i32) as i16
            });
            self.decimator.push(mixed, &mut self.said.lock().unwrap_or_else(PoisonError::into_inner));
        }
        has_more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_sentences_fill_their_length_with_packets_of_speech_size() {
        let speech = Speech::encode(None).unwrap();
        assert_eq!(speech.len(), 400);
        let bytes: usize = (0..400).map(|n| speech.packet(n).len()).sum();
        assert!((50..200).contains(&(bytes / 400)), "{} bytes a packet", bytes / 400);
        assert_eq!(speech.packet(3), speech.packet(403), "it starts over");
    }

    #[test]
    fn the_built_in_sentences_start_over() {
        let mut sentences = Sentences::new();
        let mut round = || {
            let mut samples = vec![0; 8 * 48_000];
            sentences.read(&mut samples);
            samples
        };
        let (first, second) = (round(), round());
        assert!(first == second && first.iter().any(|sample| *sample > 3_000));
    }

    #[test]
    fn what_was_said_is_kept_at_16_khz() {
        let speech = Speech::encode(None).unwrap();
        assert_eq!(speech.said().len(), 8 * RATE);
        let loud = speech.said().iter().filter(|sample| sample.unsigned_abs() > 3_000).count();
        assert!((5_000..60_000).contains(&loud), "{loud} samples are loud");
    }

    #[test]
    fn a_file_that_is_no_wav_is_named() {
        let error = Speech::encode(Some(Path::new("/no/such.wav"))).unwrap_err().to_string();
        assert!(error.contains("audio.speech: cannot read /no/such.wav"), "{error}");
    }
}
