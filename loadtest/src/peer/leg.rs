//! One party's media: sends, hears, measures.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use duocast_client::audio::{AudioError, AudioSink, Discard, FRAME, FRAME_SAMPLES, Listener, ListenerStats};
use duocast_client::media::{
    PeerCounters, PeerError, ReceivedRtp, SyntheticVideo, SyntheticVideoConfig, mark,
};

use duocast_media::prefetch_room;
use str0m::format::Codec;

use super::video_frames::VideoFrames;
use super::{Heard, Moment, Reception, SentBook, Session, SessionEvent, SessionState, SharedDecoder, Speech};
use crate::histogram::Histogram;
use crate::over_time::OverTime;
use crate::score::{Recorder, Recording};

/// A sender that is later than this leaves the missed time out instead of sending a burst.
const LATE_MAX: Duration = Duration::from_millis(200);

/// How long every leg decodes after it heard its first audio, sampled or not.
const DECODED_AT_LEAST: Duration = Duration::from_secs(1);

/// How long a receiver waits for a key frame before it asks for one, and then between its requests. Lower asks while the
/// first one is still on its way, higher shows a picture later when it was lost.
const KEYFRAME_PATIENCE: Duration = Duration::from_millis(400);

/// Which way a leg's media goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Sends and hears.
    Both,
    /// Sends, and has nobody to hear.
    Sends,
    /// Hears, and sends nothing.
    Receives,
}

/// What a leg does.
#[derive(Clone)]
pub(crate) struct LegConfig {
    pub(crate) speech: Arc<Speech>,
    /// What is sent, or expected.
    pub(crate) video: Option<SyntheticVideoConfig>,
    pub(crate) direction: Direction,
    /// How long after its first packet others may begin to receive, so that it can be told what they could expect.
    pub(crate) receivers_within: Duration,
    /// Decode to the end, not the first second only.
    pub(crate) decodes: bool,
    /// Keep what is heard, to score it. Those decode to the end.
    pub(crate) records: bool,
    /// Its own group and its peer's, where latencies are to be kept by group.
    pub(crate) groups: Option<[usize; 2]>,
}

/// What the call that a leg belongs to learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LegEvent {
    /// ICE and DTLS are up.
    Connected(Instant),
    /// The first packet of the other party was decoded.
    FirstAudio(Instant),
    /// The first whole key frame of the other party came.
    FirstVideo(Instant),
    /// Media cannot come back on this leg.
    Closed,
}

/// Latencies of all legs of a lane, before and in the steady phase.
#[derive(Debug, Default)]
pub(crate) struct Timings {
    pub(crate) steady: Option<(Instant, Instant)>,
    pub(crate) audio: Histogram,
    pub(crate) video: Histogram,
    /// Both kinds, outside the steady phase.
    pub(crate) ramp: Histogram,
    /// In the steady phase by group; empty if there are none.
    pub(crate) groups: Vec<GroupTimings>,
    /// Both kinds, in the whole run.
    pub(crate) over_time: OverTime,
}

/// Latencies of the media that a group of clients received and sent.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct GroupTimings {
    pub(crate) received: Histogram,
    pub(crate) sent: Histogram,
}

impl Timings {
    fn add(&mut self, now: Instant, is_audio: bool, groups: Option<[usize; 2]>, micros: u64) {
        let is_steady = self.steady.is_some_and(|(from, until)| (from..until).contains(&now));
        match (is_steady, is_audio) {
            (true, true) => self.audio.add_micros(micros),
            (true, false) => self.video.add_micros(micros),
            (false, _) => self.ramp.add_micros(micros),
        }
        self.over_time.add(now, micros);
        let Some([receiver, sender]) = groups.filter(|_| is_steady) else { return };
        if self.groups.len() <= receiver.max(sender) {
            self.groups.resize_with(receiver.max(sender) + 1, GroupTimings::default);
        }
        if counts_for(receiver, sender) {
            self.groups[receiver].received.add_micros(micros);
        }
        if counts_for(sender, receiver) {
            self.groups[sender].sent.add_micros(micros);
        }
    }
}

/// Whether a stream between clients of these groups tells something of the first one. The clients without conditions, group
/// 0, are judged among themselves: what they hear of a client with conditions, and it of them, is that one's.
pub(crate) fn counts_for(group: usize, other: usize) -> bool {
    group != 0 || other == 0
}

/// Packets so far, for live progress.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// What a leg heard.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    /// When its first sample was played.
    pub(crate) from: Instant,
    /// The same, in microseconds since 1970.
    pub(crate) from_unix_micros: u64,
    /// At 16 kHz, up to a minute.
    pub(crate) samples: Vec<i16>,
}

/// What a leg has done at its end.
#[derive(Debug, Clone, Default)]
pub(crate) struct LegReport {
    pub(crate) audio_sent: SentBook,
    pub(crate) video_sent: SentBook,
    pub(crate) audio_in: Reception,
    pub(crate) video_in: Reception,
    /// Set on legs that decoded to the end.
    pub(crate) heard: Option<ListenerStats>,
    /// Set on legs that record.
    pub(crate) recorded: Option<Recorded>,
    pub(crate) last_audio_at: Option<Instant>,
    /// Frames of audio that were not sent because the generator was late.
    pub(crate) audio_frames_skipped: u64,
    pub(crate) whole_video_frames: u64,
    /// Key frames sent because the other side asked.
    pub(crate) keyframes_wanted: u64,
    /// Key frames asked for.
    pub(crate) keyframes_asked: u64,
    pub(crate) counters: PeerCounters,
}

/// One party's end of a call.
///
/// [`Leg::handle_answer`], then [`Leg::handle_datagram`] for what the socket gives and [`Leg::handle_timeout`] at
/// [`Leg::poll_timeout`]; [`Leg::handle_open`] when the call is accepted, [`Leg::handle_stop`] before it ends. After each of
/// them [`Leg::poll_transmit`] and [`Leg::poll_event`] until both are empty.
pub(crate) struct Leg {
    session: Session,
    config: LegConfig,
    is_open: bool,
    is_started: bool,
    is_stopped: bool,
    talking: Option<Talking>,
    /// The last packet of it, with its mark.
    said: Vec<u8>,
    showing: Option<Showing>,
    listener: Option<Listener>,
    recording: Option<(Moment, Recording)>,
    first_audio_at: Option<Instant>,
    ask_keyframe_at: Option<Instant>,
    frames: VideoFrames,
    events: VecDeque<LegEvent>,
    report: LegReport,
}

struct Talking {
    next_at: Instant,
    /// Position in the speech, skipped frames included.
    frame: u64,
}

struct Showing {
    source: SyntheticVideo,
    next_at: Instant,
}

impl Leg {
    /// Around a session that has made its offer.
    pub(crate) fn new(session: Session, config: LegConfig) -> Self {
        let sent = SentBook::new(config.receivers_within);
        let report = LegReport { audio_sent: sent.clone(), video_sent: sent, ..LegReport::default() };
        Self {
            session,
            config,
            is_open: false,
            is_started: false,
            is_stopped: false,
            talking: None,
            said: Vec::new(),
            showing: None,
            listener: None,
            recording: None,
            first_audio_at: None,
            ask_keyframe_at: None,
            frames: VideoFrames::default(),
            events: VecDeque::new(),
            report,
        }
    }

    /// Starts connecting from this local address.
    pub(crate) fn handle_answer(
        &mut self,
        at: Moment,
        answer: &str,
        local: SocketAddr,
    ) -> Result<(), PeerError> {
        self.session.accept_answer(at.now, answer, local)
    }

    /// The call is accepted: plays from now on, and sends as soon as the leg is connected.
    pub(crate) fn handle_open(&mut self, at: Moment) -> Result<(), AudioError> {
        if !self.is_open {
            self.is_open = true;
            if self.config.direction != Direction::Sends {
                let decoder = SharedDecoder::new(Arc::clone(&self.config.speech), self.config.records)?;
                self.listener = Some(Listener::with_decoder(at.now, self.sink(at), Box::new(decoder)));
            }
            self.start(at);
        }
        Ok(())
    }

    /// Where sound goes.
    fn sink(&mut self, at: Moment) -> Box<dyn AudioSink> {
        if !self.config.records {
            return Box::new(Discard);
        }
        let (recorder, recording) = Recorder::new();
        self.recording = Some((at, recording));
        Box::new(recorder)
    }

    /// Stops sending; what is on its way is still heard.
    pub(crate) fn handle_stop(&mut self) {
        self.is_stopped = true;
        self.talking = None;
        self.showing = None;
        self.ask_keyframe_at = None;
    }

    /// Says good-bye to the router.
    pub(crate) fn handle_close(&mut self, at: Moment) {
        self.handle_stop();
        self.listener_ends();
        self.session.close(at.now);
    }

    /// Takes a datagram that the kernel received at `arrived_unix_micros`.
    pub(crate) fn handle_datagram(
        &mut self,
        at: Moment,
        arrived_unix_micros: u64,
        source: SocketAddr,
        datagram: &[u8],
        timings: &mut Timings,
    ) {
        let arrived = at.instant_of(arrived_unix_micros);
        self.session.handle_datagram(at.now, arrived, source, datagram);
        self.take_events(at, arrived_unix_micros, timings);
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, at: Moment, timings: &mut Timings) {
        self.talk(at);
        self.show(at);
        self.session.handle_timeout(at.now);
        self.take_events(at, at.unix_micros, timings);
        self.listen(at.now);
        if self.ask_keyframe_at.is_some_and(|due| due <= at.now) {
            self.ask_keyframe_at = Some(at.now + KEYFRAME_PATIENCE);
            self.report.keyframes_asked += 1;
            self.session.request_keyframe();
        }
    }

    /// Whether what comes may wait until the leg is due, which it is with each packet of sound that it sends: the call is up, so that nobody
    /// waits for its first sound or picture, and when a packet came the kernel tells.
    pub(crate) fn reads_when_due(&self) -> bool {
        let hears = self.config.direction == Direction::Sends || self.first_audio_at.is_some();
        let sees = self.config.video.is_none() || self.frames.is_showing();
        self.talking.is_some() && self.session.is_connected() && hears && sees
    }

    /// When [`Leg::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Instant {
        let is_connected = self.session.is_connected();
        let talking = self.talking.as_ref().filter(|_| is_connected).map(|talking| talking.next_at);
        let showing = self.showing.as_ref().filter(|_| is_connected).map(|showing| showing.next_at);
        let listening = self.listener.as_ref().map(Listener::poll_timeout);
        let media = [talking, showing, listening, self.ask_keyframe_at];
        let media = media.into_iter().flatten().min();
        match media.filter(|_| self.reads_when_due()) {
            // Reports go with the next packet of sound: a visit costs more than what it does.
            Some(media) => self.session.hurries_at().map_or(media, |at| at.min(media)),
            None => media.into_iter().fold(self.session.poll_timeout(), Instant::min),
        }
    }

    /// Has the memory fetched that the next visit needs, but for this itself: see [`duocast_media::prefetch`].
    pub(crate) fn prefetch(&self) {
        self.session.prefetch();
        prefetch_room(&self.said);
        self.report.audio_sent.prefetch();
    }

    /// The same, of what that points to.
    pub(crate) fn prefetch_further(&self) {
        self.session.prefetch_further();
    }

    #[must_use]
    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, &[u8])> {
        self.session.poll_transmit()
    }

    #[must_use]
    pub(crate) fn poll_event(&mut self) -> Option<LegEvent> {
        self.events.pop_front()
    }

    pub(crate) fn totals(&self) -> Totals {
        let counters = self.session.counters();
        Totals { sent: counters.packets_out, received: counters.packets_in }
    }

    /// Everything, at the end.
    pub(crate) fn into_report(mut self) -> LegReport {
        self.listener_ends();
        LegReport { counters: self.session.counters(), whole_video_frames: self.frames.whole, ..self.report }
    }

    /// Begins, once the call is accepted and the path is there.
    fn start(&mut self, at: Moment) {
        let is_ready = self.is_open && !self.is_stopped && self.session.is_connected();
        if !is_ready || self.is_started {
            return;
        }
        self.is_started = true;
        let direction = self.config.direction;
        if self.config.video.is_some() && direction != Direction::Sends && !self.frames.is_showing() {
            self.ask_keyframe_at = Some(at.now + KEYFRAME_PATIENCE);
        }
        if direction != Direction::Receives {
            self.talking = Some(Talking { next_at: at.now, frame: 0 });
            let show = |video| Showing { source: SyntheticVideo::new(video), next_at: at.now };
            self.showing = self.config.video.map(show);
            self.talk(at);
            self.show(at);
        }
    }

    /// The path is back: what was said while there was none is past, and that is not this program's being late.
    fn go_on_talking(&mut self, now: Instant) {
        if let Some(talking) = &mut self.talking {
            let frames = now.saturating_duration_since(talking.next_at).as_nanos() / FRAME.as_nanos();
            let frames = u32::try_from(frames).unwrap_or(u32::MAX);
            talking.frame += u64::from(frames);
            talking.next_at += FRAME * frames;
        }
    }

    /// Says what there is to say.
    fn talk(&mut self, at: Moment) {
        let Some(talking) = self.talking.as_mut().filter(|_| self.session.is_connected()) else { return };
        let late = at.now.saturating_duration_since(talking.next_at);
        if late > LATE_MAX {
            let frames = u32::try_from(late.as_nanos() / FRAME.as_nanos()).unwrap_or(u32::MAX);
            talking.frame += u64::from(frames);
            talking.next_at += FRAME * frames;
            self.report.audio_frames_skipped += u64::from(frames);
        }
        while talking.next_at <= at.now {
            let mark = self.report.audio_sent.next_mark(at.unix_micros);
            self.said.clear();
            self.config.speech.append_packet(talking.frame, mark, &mut self.said);
            // RTP time wraps by design (RFC 3550 section 5.1).
            let rtp_time = talking.frame.wrapping_mul(FRAME_SAMPLES as u64) as u32;
            self.session.send_audio(at.now, rtp_time, &self.said, talking.frame == 0);
            talking.frame += 1;
            talking.next_at += FRAME;
        }
    }

    fn show(&mut self, at: Moment) {
        let Some(showing) = self.showing.as_mut().filter(|_| self.session.is_connected()) else { return };
        if showing.next_at > at.now {
            return;
        }
        let interval = showing.source.interval();
        let is_late = at.now.saturating_duration_since(showing.next_at) > LATE_MAX;
        showing.next_at = if is_late { at.now + interval } else { showing.next_at + interval };
        let frame = showing.source.begin_frame();
        for index in 0..frame.packets {
            let mark = self.report.video_sent.next_mark(at.unix_micros);
            self.said.clear();
            showing.source.append_packet(&frame, index, Some(mark), &mut self.said);
            let is_last = index + 1 == frame.packets;
            self.session.send_video(at.now, frame.rtp_time, &self.said, is_last);
        }
    }

    fn listen(&mut self, now: Instant) {
        let Some(listener) = self.listener.as_mut().filter(|listener| listener.poll_timeout() <= now) else {
            return;
        };
        listener.handle_timeout(now);
        if self.first_audio_at.is_none()
            && let Some(first) = listener.stats().first_audio_at
        {
            self.first_audio_at = Some(first);
            self.events.push_back(LegEvent::FirstAudio(first));
        }
        let decodes = self.config.decodes || self.config.records;
        let has_enough = self.first_audio_at.is_some_and(|first| now - first >= DECODED_AT_LEAST);
        if has_enough && !decodes {
            self.listener = None;
        }
    }

    fn listener_ends(&mut self) {
        let decodes = self.config.decodes || self.config.records;
        if let Some(listener) = self.listener.take().filter(|_| decodes) {
            self.report.heard = Some(listener.stats());
        }
        if let Some((from, recording)) = self.recording.take() {
            let (from, from_unix_micros) = (from.now, from.unix_micros);
            self.report.recorded = Some(Recorded { from, from_unix_micros, samples: recording.take() });
        }
    }

    fn take_events(&mut self, at: Moment, arrived: u64, timings: &mut Timings) {
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::State(SessionState::Connected) => {
                    self.events.push_back(LegEvent::Connected(at.now));
                    self.go_on_talking(at.now);
                    self.start(at);
                }
                SessionEvent::State(SessionState::Closed) => self.events.push_back(LegEvent::Closed),
                SessionEvent::State(SessionState::Waiting) => {}
                SessionEvent::Audio(packet) => self.on_audio(at.now, arrived, &packet, timings),
                SessionEvent::Video(packet) => self.on_video(at.now, arrived, &packet, timings),
                SessionEvent::KeyframeWanted => {
                    self.report.keyframes_wanted += 1;
                    if let Some(showing) = &mut self.showing {
                        showing.source.request_keyframe();
                    }
                }
            }
        }
    }

    fn on_audio(&mut self, now: Instant, arrived: u64, packet: &Heard, timings: &mut Timings) {
        // It may have waited for the leg's visit, and is none the later for it: what was due before it came is played first.
        self.listen(packet.arrived);
        self.report.last_audio_at = Some(now);
        let payload = self.session.payload(packet);
        let mark = mark::read(payload);
        if let Some(latency) = self.report.audio_in.handle_packet(packet.sequence, mark, arrived) {
            timings.add(now, true, self.config.groups, latency);
        }
        if let Some(listener) = &mut self.listener {
            listener.handle_packet(ReceivedRtp {
                sequence: packet.sequence,
                rtp_time: packet.rtp_time,
                marker: packet.marker,
                codec: Codec::Opus,
                payload: payload.into(),
                arrived: packet.arrived,
            });
        }
    }

    fn on_video(&mut self, now: Instant, arrived: u64, packet: &Heard, timings: &mut Timings) {
        let payload = self.session.payload(packet);
        let mark = mark::read(payload);
        if let Some(latency) = self.report.video_in.handle_packet(packet.sequence, mark, arrived) {
            timings.add(now, false, self.config.groups, latency);
        }
        let was_showing = self.frames.is_showing();
        self.frames.handle_packet(packet.sequence, packet.marker, payload);
        if self.frames.is_showing() && !was_showing {
            self.ask_keyframe_at = None;
            self.events.push_back(LegEvent::FirstVideo(now));
        }
    }
}

#[cfg(test)]
mod tests;
