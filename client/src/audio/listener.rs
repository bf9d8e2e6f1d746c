//! From packets to a sink, one frame every 20 ms.

use std::time::{Duration, Instant};

use super::splice::Splice;
use super::{
    AudioError, AudioSink, Decode, Decoder, FRAME, JitterBuffer, JitterCounters, Playout, Undecodable,
};
use crate::media::{Path, ReceivedRtp, Units};

/// Samples of each channel in the longest Opus packet (120 ms, RFC 6716 section 2.1.4).
const PACKET_SAMPLES_MAX: usize = 5760;

/// Samples over which the end of a dropped frame is blended into the next: 5 ms.
const BLEND_SAMPLES: usize = 240;

/// Packets decoded for one frame at most: 2.5 ms packets need eight.
const PULLS_PER_FRAME_MAX: usize = 8;

/// A listener that was held up for longer than this leaves the missed time out of the recording.
const LATE_MAX: Duration = Duration::from_secs(10);

/// What was heard.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListenerStats {
    /// Packets and frames.
    pub jitter: JitterCounters,
    /// When the first frame of the other party was decoded.
    pub first_audio_at: Option<Instant>,
    /// Frames given to the sink, silence included.
    pub frames_played: u64,
    /// Packets that Opus refused.
    pub undecodable: u64,
    /// Packets with marks that were given to Opus to be played.
    pub units: Units,
}

/// Plays one stream into a sink on an absolute 20 ms schedule that starts when it is made. Feed packets as they come, call
/// [`Listener::handle_timeout`] at [`Listener::poll_timeout`].
pub struct Listener {
    splice: Splice,
    /// What [`Splice`] gave out, from packet to packet the same memory.
    placed: Vec<ReceivedRtp>,
    buffer: JitterBuffer,
    decoder: Box<dyn Decode>,
    sink: Box<dyn AudioSink>,
    channels: usize,
    /// Decoded and not yet played.
    ready: Vec<i16>,
    scratch: Vec<i16>,
    next_at: Instant,
    stats: ListenerStats,
}

impl Listener {
    /// Starts playing now: silence until something comes.
    pub fn new(now: Instant, sink: Box<dyn AudioSink>) -> Result<Self, AudioError> {
        let decoder = Decoder::new(sink.channels())?;
        Ok(Self::with_decoder(now, sink, Box::new(decoder)))
    }

    /// The same, with a decoder that gives samples in the layout of this sink.
    pub fn with_decoder(now: Instant, sink: Box<dyn AudioSink>, decoder: Box<dyn Decode>) -> Self {
        let channels = sink.channels();
        Self {
            splice: Splice::default(),
            placed: Vec::new(),
            buffer: JitterBuffer::default(),
            decoder,
            channels: channels.count(),
            sink,
            ready: Vec::new(),
            scratch: vec![0; PACKET_SAMPLES_MAX * channels.count()],
            next_at: now,
            stats: ListenerStats::default(),
        }
    }

    /// Takes an Opus packet of the only leg there is.
    pub fn handle_packet(&mut self, packet: ReceivedRtp) {
        self.handle_packet_on(Path::Routed, packet);
    }

    /// Takes an Opus packet that came on this path. A frame that comes on both is played once.
    pub fn handle_packet_on(&mut self, path: Path, packet: ReceivedRtp) {
        self.splice.handle_packet(path, packet, &mut self.placed);
        for packet in self.placed.drain(..) {
            self.buffer.handle_packet(packet.arrived, packet.sequence, packet.rtp_time, packet.payload);
        }
    }

    /// A direct leg is there (true), or gone.
    pub fn set_double(&mut self, is_double: bool) {
        self.splice.set_double(is_double);
    }

    /// What comes on this path can be played without a break.
    pub fn is_ready(&self, path: Path) -> bool {
        self.splice.is_ready(path)
    }

    /// From which path to play, where the two carry different frames.
    pub fn set_lead(&mut self, path: Path) {
        self.splice.set_lead(path);
    }

    /// A new leg replaced the one that packets of this path came on.
    pub fn start_over(&mut self, path: Path) {
        if self.splice.start_over(path) {
            self.buffer.start_over();
        }
    }

    /// When the next frame is due.
    pub fn poll_timeout(&self) -> Instant {
        self.next_at
    }

    /// Plays every frame that is due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now.saturating_duration_since(self.next_at) > LATE_MAX {
            self.next_at = now;
        }
        while self.next_at <= now {
            self.play_frame(now);
            self.next_at += FRAME;
        }
    }

    /// What was heard so far.
    pub fn stats(&self) -> ListenerStats {
        ListenerStats { jitter: self.buffer.counters(), ..self.stats }
    }

    fn play_frame(&mut self, now: Instant) {
        let length = self.sink.channels().frame_len();
        for _ in 0..PULLS_PER_FRAME_MAX {
            if self.ready.len() >= length {
                break;
            }
            let playout = self.buffer.pull(now);
            self.decode(now, playout, length);
        }
        self.ready.resize(self.ready.len().max(length), 0);
        self.sink.write(&self.ready[..length]);
        self.ready.drain(..length);
        self.stats.frames_played += 1;
    }

    fn decode(&mut self, now: Instant, playout: Playout, frame: usize) {
        match playout {
            Playout::Packet(payload) => {
                self.decode_packet(&payload);
                self.stats.first_audio_at.get_or_insert(now);
            }
            Playout::CatchUp(first, second) => {
                let start = self.ready.len();
                self.decode_packet(&first);
                let middle = self.ready.len();
                self.decode_packet(&second);
                blend(&mut self.ready, start, middle, BLEND_SAMPLES * self.channels);
            }
            Playout::Recover(next) => {
                let decoded = self.decoder.recover(&next, &mut self.scratch[..frame]);
                self.keep(decoded);
            }
            Playout::Conceal => {
                let decoded = self.decoder.conceal(&mut self.scratch[..frame]);
                self.keep(decoded);
            }
            Playout::Silence => self.ready.resize(self.ready.len() + frame, 0),
        }
    }

    fn decode_packet(&mut self, payload: &[u8]) {
        self.stats.units.count(payload);
        let decoded = self.decoder.decode(payload, &mut self.scratch);
        self.keep(decoded);
    }

    fn keep(&mut self, decoded: Result<usize, Undecodable>) {
        match decoded {
            Ok(samples) => self.ready.extend_from_slice(&self.scratch[..samples * self.channels]),
            Err(error) => {
                tracing::debug!("{error}");
                self.stats.undecodable += 1;
            }
        }
    }
}

/// Replaces the two frames that start at `start` and `middle` by the second, faded in from the first.
fn blend(samples: &mut Vec<i16>, start: usize, middle: usize, width: usize) {
    let width = width.min(middle - start).min(samples.len() - middle);
    for i in 0..width {
        let (old, new) = (i32::from(samples[start + i]), i32::from(samples[middle + i]));
        let (i, width) = (i as i32, width as i32);
        samples[middle + i as usize] = ((old * (width - i) + new * i) / width) as i16;
    }
    samples.drain(start..middle);
}

#[cfg(test)]
mod tests;
