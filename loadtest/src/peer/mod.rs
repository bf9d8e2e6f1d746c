//! A synthetic participant: one party's media, without a socket, a clock or a task.
//!
//! - [`Leg`]: sends shared speech and synthetic video, hears with the SDK's jitter buffer and Opus, measures.
//! - [`Session`]: its media path.
//! - [`Speech`]: Opus packets encoded once for all legs, and [`SharedDecoder`]: decoded once for all that hear them whole.
//! - [`Reception`], [`SentBook`]: what came of what was sent.
//! - [`Wheel`]: when which of thousands of legs is due.

mod leg;
mod reception;
mod session;
mod shared_decoder;
mod speech;
mod video_frames;
mod wheel;

use std::time::{Duration, Instant};

pub(crate) use leg::{
    Direction, GroupTimings, Leg, LegConfig, LegEvent, LegReport, Recorded, Timings, Totals, counts_for,
};
pub(crate) use reception::{Reception, SentBook};
pub(crate) use session::{Heard, Session, SessionConfig, SessionEvent, SessionRoom, SessionState};
pub(crate) use shared_decoder::SharedDecoder;
pub(crate) use speech::{Sentences, Speech, SpeechError};
pub(crate) use wheel::Wheel;

/// A moment on both clocks, read together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// For schedules.
    pub(crate) now: Instant,
    /// For marks in media: microseconds since 1970.
    pub(crate) unix_micros: u64,
}

impl Moment {
    /// When it was so many microseconds since 1970, by the other clock; now for what is yet to come.
    pub(crate) fn instant_of(self, unix_micros: u64) -> Instant {
        let ago = Duration::from_micros(self.unix_micros.saturating_sub(unix_micros));
        self.now.checked_sub(ago).unwrap_or(self.now)
    }
}
