use std::sync::mpsc;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use str0m::format::Codec;

use super::*;
use crate::audio::{AudioSource, Channels, FRAME_SAMPLES, Talker, Tone};

struct Heard(mpsc::Sender<Vec<i16>>, Channels);

impl AudioSink for Heard {
    fn channels(&self) -> Channels {
        self.1
    }

    fn write(&mut self, frame: &[i16]) {
        self.0.send(frame.to_vec()).unwrap();
    }
}

/// What a path does to packets.
struct Path {
    loss: f64,
    delay_ms: u64,
    jitter_ms: u64,
}

struct Outcome {
    samples: Vec<i16>,
    stats: ListenerStats,
}

/// Sends `source` through a path for ten seconds of virtual time.
fn through(source: impl AudioSource, path: &Path, seed: u64) -> Outcome {
    let start = Instant::now();
    let mut rng = StdRng::seed_from_u64(seed);
    let (tx, rx) = mpsc::channel();
    let mut talker = Talker::new(start, Box::new(source)).unwrap();
    let mut listener = Listener::new(start, Box::new(Heard(tx, Channels::Mono))).unwrap();
    let mut flying: Vec<ReceivedRtp> = Vec::new();
    let mut sequence = 0;
    for ms in 0..10_000 {
        let now = start + Duration::from_millis(ms);
        while let Some(packet) = talker.poll_packet(now) {
            sequence += 1;
            let wait = path.delay_ms + rng.random_range(0..=path.jitter_ms);
            let (rtp_time, marker) = (packet.rtp_time, packet.marker);
            let arrived = now + Duration::from_millis(wait);
            if !rng.random_bool(path.loss) {
                let (codec, payload) = (Codec::Opus, packet.payload);
                flying.push(ReceivedRtp { sequence, rtp_time, marker, codec, payload, arrived });
            }
        }
        flying.sort_by_key(|p| p.arrived);
        while flying.first().is_some_and(|p| p.arrived <= now) {
            listener.handle_packet(flying.remove(0));
        }
        listener.handle_timeout(now);
    }
    let stats = listener.stats();
    drop(listener);
    Outcome { samples: rx.into_iter().flatten().collect(), stats }
}

/// Loudness of the last second, as root mean square.
fn loudness(samples: &[i16]) -> f64 {
    let last = &samples[samples.len() - 48_000..];
    let power: f64 = last.iter().map(|s| f64::from(*s).powi(2)).sum();
    (power / last.len() as f64).sqrt()
}

/// Root mean square of a [`Tone`]: 8192 / √2.
const TONE: f64 = 5792.0;

#[test]
fn a_tone_arrives_as_loud_as_it_left_on_a_clean_path() {
    let path = Path { loss: 0.0, delay_ms: 5, jitter_ms: 0 };
    let heard = through(Tone::new(440.0), &path, 1);
    assert_eq!(heard.samples.len(), 500 * FRAME_SAMPLES, "one frame every 20 ms from the start");
    let loud = loudness(&heard.samples);
    assert!((loud - TONE).abs() < TONE * 0.1, "{loud}");
    assert_eq!(heard.stats.jitter.concealed_frames, 0);
    assert!(heard.stats.first_audio_at.is_some());
}

#[test]
fn five_percent_loss_is_mostly_recovered_and_hardly_heard() {
    for seed in 1..=5 {
        let path = Path { loss: 0.05, delay_ms: 20, jitter_ms: 5 };
        let heard = through(Tone::new(440.0), &path, seed);
        let counters = heard.stats.jitter;
        assert!(counters.lost > 0, "seed {seed}");
        assert!(counters.recovered > 0, "seed {seed}: {counters:?}");
        let loud = loudness(&heard.samples);
        assert!((loud - TONE).abs() < TONE * 0.15, "seed {seed}: {loud}");
    }
}

#[test]
fn sixty_milliseconds_of_jitter_cost_little_once_the_buffer_has_adapted() {
    for seed in 1..=5 {
        let path = Path { loss: 0.0, delay_ms: 20, jitter_ms: 60 };
        let heard = through(Tone::new(440.0), &path, seed);
        let counters = heard.stats.jitter;
        assert!(counters.concealed_frames + counters.recovered <= 12, "seed {seed}: {counters:?}");
        let loud = loudness(&heard.samples);
        assert!((loud - TONE).abs() < TONE * 0.15, "seed {seed}: {loud}");
    }
}

#[test]
fn silence_is_written_until_the_first_packet_and_after_the_last() {
    let start = Instant::now();
    let (tx, rx) = mpsc::channel();
    let mut listener = Listener::new(start, Box::new(Heard(tx, Channels::Stereo))).unwrap();
    listener.handle_timeout(start + Duration::from_millis(99));
    let frames: Vec<Vec<i16>> = rx.try_iter().collect();
    assert_eq!(frames.len(), 5);
    assert!(frames.iter().all(|f| f.len() == 1920 && f.iter().all(|s| *s == 0)));
}

#[test]
fn hostile_payloads_are_counted_and_never_panic() {
    let start = Instant::now();
    let (tx, rx) = mpsc::channel();
    let mut listener = Listener::new(start, Box::new(Heard(tx, Channels::Mono))).unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    for sequence in 0..2000u64 {
        let payload: Vec<u8> = (0..rng.random_range(1..80)).map(|_| rng.random()).collect();
        let arrived = start + FRAME * sequence as u32;
        listener.handle_packet(ReceivedRtp {
            sequence: rng.random_range(0..4000),
            rtp_time: rng.random(),
            marker: rng.random(),
            codec: Codec::Opus,
            payload: payload.into(),
            arrived,
        });
        listener.handle_timeout(arrived);
    }
    assert_eq!(rx.try_iter().count(), 2000);
    assert!(listener.stats().undecodable > 0);
}
