//! One voice on two ways: numbers the packets of both as one stream, so that nothing is played twice or left out when the
//! way changes.
//!
//! Both ways carry the same encoded frames while both are used, under numbers of their own. A frame that came on both tells
//! how the numbers relate; RTP times keep that relation for as long as the legs live. Where a sender encodes for each
//! way by itself, there are no equal frames: then the stream goes over from one way to the other with what came last.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::FRAME_SAMPLES;
use crate::media::{Path, Payload, ReceivedRtp};

/// Packets of each way that are remembered to find equal frames: 1.3 s. Higher finds them on ways whose delays differ more.
const REMEMBERED: usize = 64;

/// Equal frames that came further apart than this are taken for a sound that repeats itself.
const ALIKE_WITHIN: Duration = Duration::from_millis(400);

/// Packets of a way that are compared at once: a sound that repeats itself has equal frames in many places, and only where
/// several came at nearly the same moments is the right one. Higher is surer, lower changes the way sooner.
const COMPARED: usize = 10;

/// Of those, how many must agree.
const AGREEING: usize = 2;

/// Packets of the way that should be played and has no equal frames, after which the stream goes over to it anyway.
const PATIENCE: usize = 15;

/// The other way is silent when nothing came on it for this long; then nobody waits for equal frames.
const SILENT_AFTER: Duration = Duration::from_millis(60);

/// What is still played of a way's last packets when the stream goes over to it.
const KEPT: usize = 2;

/// A gap in RTP time beyond this many frames is a pause, not loss.
const LOST_MAX: u32 = 25;

/// A packet with the numbers of the way it came on, or with the stream's.
#[derive(Debug, Clone)]
struct Heard {
    sequence: u64,
    rtp_time: u32,
    arrived: Instant,
    payload: Payload,
}

impl Heard {
    fn of(packet: &ReceivedRtp) -> Self {
        let (sequence, rtp_time, arrived) = (packet.sequence, packet.rtp_time, packet.arrived);
        Self { sequence, rtp_time, arrived, payload: packet.payload.clone() }
    }
}

/// What is added to a way's numbers to get the stream's.
#[derive(Debug, Clone, Copy, Default)]
struct Shift {
    sequence: u64,
    time: u32,
}

#[derive(Debug, Default)]
struct Lane {
    shift: Option<Shift>,
    /// Came while there was no shift, oldest first.
    waiting: VecDeque<Heard>,
    heard_at: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Splice {
    lanes: [Lane; 2],
    /// The stream's last packets, in the order they came.
    line: VecDeque<Heard>,
    is_double: bool,
    lead: Path,
}

impl Default for Splice {
    fn default() -> Self {
        let routed = Lane { shift: Some(Shift::default()), ..Lane::default() };
        Self { lanes: [routed, Lane::default()], line: VecDeque::new(), is_double: false, lead: Path::Routed }
    }
}

impl Splice {
    /// From now on packets may come on both ways, or on the routed one only.
    pub(crate) fn set_double(&mut self, is_double: bool) {
        self.is_double = is_double;
        self.lanes[Path::Direct as usize] = Lane::default();
        if !is_double {
            self.lead = Path::Routed;
        }
    }

    /// The way whose packets are to be played.
    pub(crate) fn set_lead(&mut self, lead: Path) {
        self.lead = lead;
    }

    /// A new leg carries this way: its numbers have nothing to do with the old one's. True: the stream starts over.
    pub(crate) fn start_over(&mut self, path: Path) -> bool {
        self.lanes[path as usize] = Lane::default();
        let is_alone = self.lanes[path.other() as usize].shift.is_none();
        if is_alone {
            self.line.clear();
            self.lanes[path as usize].shift = Some(Shift::default());
        }
        is_alone
    }

    /// Packets of this way can be played: their place in the stream is known, or there is none.
    pub(crate) fn is_ready(&self, path: Path) -> bool {
        let lane = &self.lanes[path as usize];
        lane.shift.is_some() || lane.waiting.len() >= PATIENCE
    }

    /// Takes a packet; what is to be played of it, and of what waited for it, goes to `out` with the stream's numbers.
    pub(crate) fn handle_packet(&mut self, path: Path, packet: ReceivedRtp, out: &mut Vec<ReceivedRtp>) {
        let is_first = self.line.is_empty() && self.lanes[path.other() as usize].shift.is_none();
        let lane = &mut self.lanes[path as usize];
        lane.heard_at = Some(packet.arrived);
        if lane.shift.is_none() && is_first {
            lane.shift = Some(Shift::default());
        }
        if lane.shift.is_some() {
            out.extend(self.place(path, &packet));
            return;
        }
        lane.waiting.push_back(Heard::of(&packet));
        if lane.waiting.len() > REMEMBERED {
            lane.waiting.pop_front();
        }
        let must_go_over = self.must_go_over(path, packet.arrived);
        if must_go_over || self.lanes[path as usize].waiting.len() >= COMPARED {
            self.align(path, &packet, out);
        }
        if must_go_over && self.lanes[path as usize].shift.is_none() {
            self.go_over(path, &packet, out);
        }
    }

    /// Finds the frames of the stream that equal those that wait on this way, and with them its shift: of all that agree,
    /// the one whose frames came closest to each other. Then plays of them what the stream does not have.
    fn align(&mut self, path: Path, like: &ReceivedRtp, out: &mut Vec<ReceivedRtp>) {
        let mut found: Vec<(Shift, usize, Duration)> = Vec::new();
        for (here, there) in
            self.lanes[path as usize].waiting.iter().flat_map(|h| self.line.iter().map(move |l| (h, l)))
        {
            let apart = here.arrived.max(there.arrived) - here.arrived.min(there.arrived);
            if apart > ALIKE_WITHIN || here.payload != there.payload {
                continue;
            }
            let shift = Shift {
                sequence: there.sequence.wrapping_sub(here.sequence),
                time: there.rtp_time.wrapping_sub(here.rtp_time),
            };
            match found.iter_mut().find(|(known, ..)| known.time == shift.time) {
                Some((_, count, sum)) => (*count, *sum) = (*count + 1, *sum + apart),
                None => found.push((shift, 1, apart)),
            }
        }
        let agreeing = found.iter().filter(|(_, count, _)| *count >= AGREEING);
        let best = agreeing.min_by_key(|(_, count, sum)| *sum / *count as u32).map(|(shift, ..)| *shift);
        let Some(shift) = best else { return };
        let lane = &mut self.lanes[path as usize];
        lane.shift = Some(shift);
        for heard in std::mem::take(&mut lane.waiting) {
            let packet = renumbered(like, heard.sequence, heard.rtp_time, heard.payload, heard.arrived);
            out.extend(self.place(path, &packet));
        }
    }

    fn must_go_over(&self, path: Path, now: Instant) -> bool {
        let other = self.lanes[path.other() as usize].heard_at;
        let is_silent = other.is_none_or(|at| now.saturating_duration_since(at) >= SILENT_AFTER);
        self.lead == path && (is_silent || self.lanes[path as usize].waiting.len() >= PATIENCE)
    }

    /// The stream goes on with the last packets of this way, numbered as if they followed what was played.
    fn go_over(&mut self, path: Path, like: &ReceivedRtp, out: &mut Vec<ReceivedRtp>) {
        let mut waiting = std::mem::take(&mut self.lanes[path as usize].waiting);
        waiting.drain(..waiting.len().saturating_sub(KEPT));
        let (last_sequence, last_time) = self.newest().map_or((0, 0), |h| (h.sequence, h.rtp_time));
        let Some(first) = waiting.front() else { return };
        self.lanes[path as usize].shift = Some(Shift {
            sequence: (last_sequence + 1).wrapping_sub(first.sequence),
            time: last_time.wrapping_add(FRAME_SAMPLES as u32).wrapping_sub(first.rtp_time),
        });
        self.lanes[path.other() as usize] = Lane::default();
        for heard in waiting {
            let packet = renumbered(like, heard.sequence, heard.rtp_time, heard.payload, heard.arrived);
            out.extend(self.place(path, &packet));
        }
    }

    /// The packet with the stream's numbers; `None` if the stream has it already, or has gone past it.
    fn place(&mut self, path: Path, packet: &ReceivedRtp) -> Option<ReceivedRtp> {
        let shift = self.lanes[path as usize].shift?;
        let rtp_time = packet.rtp_time.wrapping_add(shift.time);
        let own = packet.sequence.wrapping_add(shift.sequence);
        if !self.is_double {
            // A way that rested while the other one carried the stream counts on from where it was; its times do not.
            let before = self.newest().filter(|h| is_after(rtp_time, h.rtp_time));
            let before = before.map(|h| (h.sequence, h.rtp_time));
            let own = between(own, rtp_time, before, None).unwrap_or(own);
            self.lanes[path as usize].shift =
                Some(Shift { sequence: own.wrapping_sub(packet.sequence), ..shift });
            let placed = renumbered(packet, own, rtp_time, packet.payload.clone(), packet.arrived);
            // Only where the stream is, in case a second way comes.
            if self.line.back().is_none_or(|last| last.sequence < own) {
                self.line.clear();
                self.line.push_back(Heard::of(&placed));
            }
            return Some(placed);
        }
        if let Some(equal) = self.line.iter().rev().find(|heard| heard.rtp_time == rtp_time) {
            let sequence = equal.sequence.wrapping_sub(packet.sequence);
            // A sound that repeats itself may have led to a wrong shift; the way that is played keeps its own.
            let is_wrong = equal.payload != packet.payload && path != self.lead;
            self.lanes[path as usize].shift = (!is_wrong).then_some(Shift { sequence, ..shift });
            return None;
        }
        let before = self.line.iter().filter(|h| is_after(rtp_time, h.rtp_time));
        let before = before.max_by_key(|h| h.sequence).map(|h| (h.sequence, h.rtp_time));
        let after = self.line.iter().filter(|h| is_after(h.rtp_time, rtp_time)).map(|h| h.sequence).min();
        let sequence = between(own, rtp_time, before, after)?;
        self.lanes[path as usize].shift =
            Some(Shift { sequence: sequence.wrapping_sub(packet.sequence), ..shift });
        let placed = renumbered(packet, sequence, rtp_time, packet.payload.clone(), packet.arrived);
        self.line.push_back(Heard::of(&placed));
        if self.line.len() > REMEMBERED {
            self.line.pop_front();
        }
        Some(placed)
    }

    fn newest(&self) -> Option<&Heard> {
        self.line.iter().max_by_key(|heard| heard.sequence)
    }
}

/// The sequence number of a packet between its neighbours in time: its way's own numbering if that fits, and else (the way
/// was not used for a while) as far behind `before` as its time says.
fn between(own: u64, rtp_time: u32, before: Option<(u64, u32)>, after: Option<u64>) -> Option<u64> {
    let fits = |n: u64| before.is_none_or(|(b, _)| n > b) && after.is_none_or(|a| n < a);
    if fits(own) {
        return Some(own);
    }
    let (sequence, time) = before?;
    let frames = (rtp_time.wrapping_sub(time) / FRAME_SAMPLES as u32).max(1);
    let by_time = sequence + if frames <= LOST_MAX { u64::from(frames) } else { 1 };
    fits(by_time).then_some(by_time)
}

fn is_after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < u32::MAX / 2
}

fn renumbered(
    like: &ReceivedRtp,
    sequence: u64,
    rtp_time: u32,
    payload: Payload,
    arrived: Instant,
) -> ReceivedRtp {
    ReceivedRtp { sequence, rtp_time, payload, arrived, marker: like.marker, codec: like.codec }
}

#[cfg(test)]
mod tests;
