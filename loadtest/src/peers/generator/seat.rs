//! A party's end on the thread, and what is counted of all.

use std::net::SocketAddr;

use duocast_media::prefetch;
use tokio::sync::oneshot;

use super::{GAP_MIN, Gap, Report, Window};
use crate::lane::port::Place;
use crate::peer::{Moment, Reception, SentBook};
use crate::peers::wire::{Heard, Wire};

/// Most gaps that are kept; at the bound later ones are not told. A minute of bad audio of a hundred parties has fewer.
const GAPS_MAX: usize = 100_000;

/// Counts what was sent and what came.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) window: Option<Window>,
    pub(super) report: Report,
}

impl Tally {
    /// What happened at this moment counts.
    pub(super) fn has(&self, unix_micros: u64) -> bool {
        self.window.is_some_and(|window| window.has(unix_micros))
    }

    fn note(&mut self, reception: &mut Reception, heard: Heard, arrived: u64) {
        let Some(latency) = reception.handle_packet(heard.sequence, heard.mark, arrived) else { return };
        self.report.forwarded += u64::from(self.has(arrived));
        if heard.mark.is_some_and(|mark| self.has(mark)) {
            self.report.delivered += 1;
            self.report.latency.add_micros(latency);
        }
    }

    fn note_gap(&mut self, heard_at: &mut Option<u64>, arrived: u64) {
        let since = heard_at.map_or(0, |before| arrived.saturating_sub(before));
        *heard_at = (*heard_at).max(Some(arrived));
        if since > GAP_MIN.as_micros() as u64 && self.report.gaps.len() < GAPS_MAX {
            self.report.gaps.push(Gap { ended_at: arrived, micros: since });
        }
    }
}

pub(super) struct Seat {
    pub(super) wire: Box<dyn Wire>,
    pub(super) place: Place,
    /// See [`super::End::sends`].
    pub(super) sends: bool,
    marks: SentBook,
    audio: Reception,
    video: Reception,
    connected: Option<oneshot::Sender<()>>,
    audio_heard_at: Option<u64>,
}

impl Seat {
    pub(super) fn new(end: super::End, connected: oneshot::Sender<()>) -> Self {
        Self {
            wire: end.wire,
            place: end.spot.place,
            sends: end.sends,
            marks: SentBook::default(),
            audio: Reception::default(),
            video: Reception::default(),
            connected: Some(connected),
            audio_heard_at: None,
        }
    }

    /// The mark of the next packet.
    pub(super) fn next_mark(&mut self, at: Moment, tally: &mut Tally) -> u64 {
        let mark = self.marks.next_mark(at.unix_micros);
        tally.report.sent += u64::from(tally.has(mark));
        mark
    }

    /// Takes a datagram that came at `arrived`.
    pub(super) fn take(
        &mut self,
        at: Moment,
        arrived: u64,
        source: SocketAddr,
        datagram: &[u8],
        tally: &mut Tally,
    ) {
        self.wire.handle_datagram(at, arrived, source, datagram);
        while let Some(heard) = self.wire.poll_heard() {
            tally.note(if heard.is_audio { &mut self.audio } else { &mut self.video }, heard, arrived);
            if heard.is_audio {
                tally.note_gap(&mut self.audio_heard_at, arrived);
            }
        }
    }

    /// After sending and in time's passing: what came of it. True if the party has just connected.
    pub(super) fn settle(&mut self, at: Moment, tally: &mut Tally) -> bool {
        while let Some(heard) = self.wire.poll_heard() {
            let reception = if heard.is_audio { &mut self.audio } else { &mut self.video };
            tally.note(reception, heard, at.unix_micros);
        }
        let connected = if self.wire.is_connected() { self.connected.take() } else { None };
        // Who waited for it may have given up.
        connected.map(|connected| connected.send(())).is_some()
    }

    /// Has the memory fetched that the next visit needs, but for this itself.
    pub(super) fn prefetch(&self) {
        prefetch(&*self.wire);
        self.marks.prefetch();
    }
}
