//! WAV files as source and sink.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{AudioSink, AudioSource, Channels, FRAME_SAMPLES, Resampler, SAMPLE_RATE};

/// Largest number of samples read from a file (about 30 minutes of stereo at 48 kHz, 350 MB).
const SAMPLES_MAX: usize = 172_800_000;

/// Frames between updates of the header: a recording that is cut off by a crash lacks at most this second.
const FRAMES_PER_FLUSH: u64 = 50;

/// Why a WAV file cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// It cannot be opened, or is no WAV.
    #[error("cannot read {path}: {source}; give a PCM or float WAV file")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: hound::Error,
    },
    /// It holds no sound.
    #[error("{0} holds no samples")]
    Empty(PathBuf),
    /// It is too long.
    #[error("{0} is longer than 30 minutes of stereo; cut it")]
    TooLong(PathBuf),
}

/// Plays a WAV file: any sample rate, 8 to 32-bit or float, mono, stereo, or more channels mixed to mono.
#[derive(Debug)]
pub struct WavSource {
    samples: Vec<f32>,
    channels: Channels,
    resampler: Resampler,
    position: usize,
    repeats: bool,
}

impl WavSource {
    /// Reads the file. With `repeats` it starts over at its end, without a gap.
    pub fn open(path: &Path, repeats: bool) -> Result<Self, WavError> {
        let failed = |source| WavError::Read { path: path.to_owned(), source };
        let mut reader = hound::WavReader::open(path).map_err(failed)?;
        let spec = reader.spec();
        if reader.len() as usize > SAMPLES_MAX {
            return Err(WavError::TooLong(path.to_owned()));
        }
        let read: Result<Vec<f32>, hound::Error> = match spec.sample_format {
            hound::SampleFormat::Float => reader.samples::<f32>().collect(),
            hound::SampleFormat::Int => {
                let full_scale = (1u64 << (spec.bits_per_sample - 1)) as f32;
                reader.samples::<i32>().map(|s| s.map(|s| s as f32 / full_scale)).collect()
            }
        };
        let read = read.map_err(failed)?;
        let (channels, samples) = match spec.channels {
            1 => (Channels::Mono, read),
            2 => (Channels::Stereo, read),
            many => {
                let mix = |frame: &[f32]| frame.iter().sum::<f32>() / f32::from(many.max(1));
                (Channels::Mono, read.chunks(usize::from(many.max(1))).map(mix).collect())
            }
        };
        if samples.len() < channels.count() {
            return Err(WavError::Empty(path.to_owned()));
        }
        let resampler = Resampler::new(spec.sample_rate);
        Ok(Self { samples, channels, resampler, position: 0, repeats })
    }

    /// How long it plays once.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.output_len() as f64 / f64::from(SAMPLE_RATE))
    }

    fn output_len(&self) -> usize {
        self.resampler.output_len(self.samples.len() / self.channels.count()).max(1)
    }

    fn sample(&self, position: usize, channel: usize) -> i16 {
        let count = self.channels.count();
        let length = (self.samples.len() / count) as i64;
        let input = |at: i64| {
            let at = if self.repeats { at.rem_euclid(length) } else { at };
            let index = usize::try_from(at).ok().map(|at| at * count + channel);
            index.and_then(|index| self.samples.get(index)).copied().unwrap_or(0.0)
        };
        (self.resampler.sample(position, input) * 32768.0).round().clamp(-32768.0, 32767.0) as i16
    }
}

impl AudioSource for WavSource {
    fn channels(&self) -> Channels {
        self.channels
    }

    fn read(&mut self, frame: &mut [i16]) -> bool {
        let length = self.output_len();
        if self.position >= length && !self.repeats {
            return false;
        }
        for samples in frame.chunks_mut(self.channels.count()) {
            let is_over = self.position >= length && !self.repeats;
            for (channel, sample) in samples.iter_mut().enumerate() {
                *sample = if is_over { 0 } else { self.sample(self.position % length, channel) };
            }
            self.position += 1;
        }
        if self.repeats {
            self.position %= length;
        }
        true
    }
}

/// Why a recording failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot record to {path}: {source}; check the folder and the free space")]
pub struct RecordError {
    path: PathBuf,
    source: hound::Error,
}

/// What was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordSummary {
    /// Length.
    pub duration: Duration,
}

/// Writes what is heard as 16-bit WAV at 48 kHz. The file is complete when the recorder is dropped, and readable up to
/// the last second at any moment before.
pub struct WavRecorder {
    writer: Option<hound::WavWriter<BufWriter<File>>>,
    path: PathBuf,
    channels: Channels,
    frames: u64,
    error: Option<hound::Error>,
    done: Option<oneshot::Sender<Result<RecordSummary, RecordError>>>,
}

/// Tells when a recording is complete.
#[derive(Debug)]
pub struct Recording(oneshot::Receiver<Result<RecordSummary, RecordError>>);

impl Recording {
    /// Waits until the recorder is dropped, which a call does when it is over.
    pub async fn finished(self) -> Result<RecordSummary, RecordError> {
        let nothing = Ok(RecordSummary { duration: Duration::ZERO });
        self.0.await.unwrap_or(nothing)
    }
}

impl WavRecorder {
    /// Creates the file, replacing an older one.
    pub fn create(path: &Path, channels: Channels) -> Result<(Self, Recording), RecordError> {
        let spec = hound::WavSpec {
            channels: channels.count() as u16,
            sample_rate: SAMPLE_RATE,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let writer = hound::WavWriter::create(path, spec)
            .map_err(|source| RecordError { path: path.to_owned(), source })?;
        let (done, recording) = oneshot::channel();
        let recorder = Self {
            writer: Some(writer),
            path: path.to_owned(),
            channels,
            frames: 0,
            error: None,
            done: Some(done),
        };
        Ok((recorder, Recording(recording)))
    }

    fn write_frame(&mut self, frame: &[i16]) -> Result<(), hound::Error> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        for sample in frame {
            writer.write_sample(*sample)?;
        }
        self.frames += 1;
        if self.frames.is_multiple_of(FRAMES_PER_FLUSH) {
            writer.flush()?;
        }
        Ok(())
    }
}

impl AudioSink for WavRecorder {
    fn channels(&self) -> Channels {
        self.channels
    }

    fn write(&mut self, frame: &[i16]) {
        if self.error.is_none() {
            self.error = self.write_frame(frame).err();
        }
    }
}

impl Drop for WavRecorder {
    fn drop(&mut self) {
        let finalized = self.writer.take().map_or(Ok(()), hound::WavWriter::finalize);
        let seconds = (self.frames * FRAME_SAMPLES as u64) as f64 / f64::from(SAMPLE_RATE);
        let result = match self.error.take().map_or(finalized, Err) {
            Ok(()) => Ok(RecordSummary { duration: Duration::from_secs_f64(seconds) }),
            Err(source) => Err(RecordError { path: std::mem::take(&mut self.path), source }),
        };
        if let Some(done) = self.done.take() {
            // Nobody waiting is fine.
            let _ = done.send(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_wav(path: &Path, spec: hound::WavSpec, samples: &[i32]) {
        let mut writer = hound::WavWriter::create(path, spec).unwrap();
        for sample in samples {
            writer.write_sample(*sample).unwrap();
        }
        writer.finalize().unwrap();
    }

    fn spec(channels: u16, sample_rate: u32, bits_per_sample: u16) -> hound::WavSpec {
        hound::WavSpec { channels, sample_rate, bits_per_sample, sample_format: hound::SampleFormat::Int }
    }

    fn read_all(source: &mut WavSource) -> Vec<i16> {
        let mut frame = vec![0; source.channels().frame_len()];
        let mut all = Vec::new();
        while source.read(&mut frame) {
            all.extend_from_slice(&frame);
        }
        all
    }

    #[test]
    fn files_of_other_rates_and_widths_come_out_as_48_khz() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.wav");
        for (rate, bits) in [(16_000, 16), (44_100, 24), (8000, 8), (48_000, 32)] {
            let half = 1i32 << (bits - 2);
            write_wav(&path, spec(1, rate, bits), &vec![half; rate as usize / 2]);
            let mut source = WavSource::open(&path, false).unwrap();
            assert_eq!(source.duration(), Duration::from_millis(500));
            let samples = read_all(&mut source);
            assert_eq!(samples.len(), 25 * 960);
            let middle = samples[12_000];
            assert!((i32::from(middle) - 16_384).abs() < 20, "{rate}/{bits}: {middle}");
        }
    }

    #[test]
    fn stereo_stays_stereo_and_six_channels_become_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.wav");
        write_wav(&path, spec(2, 48_000, 16), &[100, -100].repeat(960));
        let mut source = WavSource::open(&path, false).unwrap();
        assert_eq!(source.channels(), Channels::Stereo);
        assert_eq!(read_all(&mut source)[..4], [100, -100, 100, -100]);

        write_wav(&path, spec(6, 48_000, 16), &[600, 0, 0, 0, 0, 0].repeat(960));
        let mut source = WavSource::open(&path, false).unwrap();
        assert_eq!(source.channels(), Channels::Mono);
        assert_eq!(read_all(&mut source)[..2], [100, 100]);
    }

    #[test]
    fn a_repeating_file_never_ends_and_a_broken_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.wav");
        write_wav(&path, spec(1, 48_000, 16), &[1, 2, 3]);
        let mut source = WavSource::open(&path, true).unwrap();
        let mut frame = vec![0; 960];
        assert!(source.read(&mut frame) && source.read(&mut frame));
        assert_eq!(frame[..4], [1, 2, 3, 1]);

        write_wav(&path, spec(1, 48_000, 16), &[]);
        assert!(matches!(WavSource::open(&path, false), Err(WavError::Empty(_))));
        std::fs::write(&path, b"RIFF nonsense").unwrap();
        assert!(matches!(WavSource::open(&path, false), Err(WavError::Read { .. })));
    }

    #[tokio::test]
    async fn a_recording_reads_back_and_is_readable_before_it_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.wav");
        let (mut recorder, recording) = WavRecorder::create(&path, Channels::Mono).unwrap();
        for n in 0..75 {
            recorder.write(&[n; 960]);
        }
        let cut_off = hound::WavReader::open(&path).unwrap();
        assert_eq!(cut_off.len(), 50 * 960, "the header was brought up to date after a second");
        drop(recorder);
        let summary = recording.finished().await.unwrap();
        assert_eq!(summary.duration, Duration::from_millis(1500));
        let whole = hound::WavReader::open(&path).unwrap();
        assert_eq!(whole.len(), 75 * 960);
    }

    #[test]
    fn a_recording_that_cannot_be_made_says_so() {
        let error = WavRecorder::create(Path::new("/nowhere/out.wav"), Channels::Mono).err().unwrap();
        assert!(error.to_string().contains("/nowhere/out.wav"));
    }
}
