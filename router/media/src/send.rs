//! What a client is sent: headers, the viewer's own extensions, encryption, and repetitions of what it missed.

use std::ops::Range;
use std::time::{Duration, Instant};

use str0m::media::Mid;

use crate::TrackConfig;
use crate::bandwidth::Bandwidth;
use crate::extensions::{AskingNumber, ExtensionIds, Extensions, OwnValues};
use crate::frame::Renumbered;
use crate::history::{History, Sent};
use crate::ntp::NtpClock;
use crate::prefetch::prefetch;
use crate::red::Redundancy;
use crate::rtp::{self, Outgoing};
use crate::srtp::Context;
use crate::window::Window;

/// A packet for a viewer, as forwarding decided it.
#[derive(Debug, Clone)]
pub struct Write {
    /// As the viewer numbers its codecs.
    pub payload_type: u8,
    /// The last packet of a picture, or the first of a talk spurt.
    pub marker: bool,
    /// Starts below 65536, and is never given out twice.
    pub sequence_number: u64,
    /// In its codec's clock.
    pub timestamp: u32,
    /// When it was captured.
    pub captured: Instant,
    /// Of its timestamps, in hertz.
    pub clock_rate: u32,
    /// The publisher's, as far as they may pass.
    pub extensions: Extensions,
    /// When the publisher says that it was captured: said once more, on the clock of our own reports.
    pub capture_time: Option<Instant>,
    /// Where its dependency descriptor is in the batch's bytes.
    pub descriptor: Range<usize>,
    /// Where its payload is in the batch's bytes.
    pub payload: Range<usize>,
    /// The viewer may ask for it again; and it may wait until its path carries it.
    pub is_repaired: bool,
    /// What was sent on this track before does not go on with it: what still waits of that is of no use.
    pub begins: bool,
    /// The payload type of redundant audio, if this is sound and the viewer takes it so.
    pub redundant: Option<u8>,
    /// It is no packet: it goes inside those after it alone, as redundant audio. The first of them has this sequence number.
    pub is_carried: bool,
    /// The viewer's own numbers, in the place of those in descriptor and payload.
    pub renumbered: Renumbered,
}

/// A packet waits for no longer than this: then its track begins anew with a key frame. Higher is a picture that is late, lower one that
/// stands still where it need not: a large key frame takes this long.
pub(crate) const HELD_FOR: Duration = Duration::from_millis(600);

/// Padding of one packet: as much as it can say.
const PADDING_BYTES: u8 = 255;

/// The sending half of a leg's media.
#[derive(Debug, Default)]
pub(crate) struct Sender {
    tracks: Vec<SendTrack>,
}

/// An m-line that the answer gave SSRCs.
#[derive(Debug)]
pub(crate) struct SendTrack {
    pub(crate) mid: Mid,
    pub(crate) ssrc: u32,
    pub(crate) repair_ssrc: Option<u32>,
    pub(crate) cname: String,
    ids: ExtensionIds,
    /// Payload types and those of their repetitions.
    repairs: Vec<(u8, u8)>,
    /// Numbers that were encrypted: none is twice.
    sealed: Window,
    next_repair: u64,
    /// A report of the viewer names the SSRC, so that it needs no MID any more.
    is_bound: bool,
    is_repair_bound: bool,
    history: History,
    redundancy: Redundancy,
    /// Something that was to wait found no room.
    is_broken: bool,
    /// What was sent was given up, and begins anew once the path lets pass again: until then nothing more waits.
    is_resting: bool,
    packets: u32,
    octets: u32,
    last: Option<Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    payload_type: u8,
    timestamp: u32,
    captured: Instant,
    clock_rate: u32,
}

/// A packet was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    /// It is the track's first.
    pub(crate) is_first: bool,
    /// It waits, goes inside the next packets, or is left out of what was given up: nothing was appended.
    pub(crate) is_held: bool,
}

/// What a sender report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SenderInfo {
    pub(crate) timestamp: u32,
    pub(crate) packets: u32,
    pub(crate) octets: u32,
}

impl Sender {
    /// See [`prefetch`]: what it points to.
    pub(crate) fn prefetch(&self) {
        prefetch(&self.tracks[..]);
    }

    /// What that points to.
    pub(crate) fn prefetch_further(&self) {
        for track in &self.tracks {
            prefetch(&track.repairs[..]);
            track.history.prefetch();
        }
    }

    /// The m-lines are now these. A track that was there goes on, since its keys do.
    pub(crate) fn set_tracks(&mut self, configs: &[TrackConfig]) {
        for config in configs {
            let Some((ssrc, repair_ssrc)) = config.sends else { continue };
            let repairs = config.payloads.iter().filter_map(|p| Some((p.payload_type, p.repair?))).collect();
            match self.tracks.iter_mut().find(|track| track.ssrc == ssrc) {
                Some(track) => {
                    track.ids = config.ids;
                    track.repairs = repairs;
                }
                None => self.tracks.push(SendTrack {
                    mid: config.mid,
                    ssrc,
                    repair_ssrc,
                    cname: config.cname.clone(),
                    ids: config.ids,
                    repairs,
                    sealed: Window::default(),
                    next_repair: 1,
                    is_bound: false,
                    is_repair_bound: false,
                    history: History::default(),
                    redundancy: Redundancy::default(),
                    is_broken: false,
                    is_resting: false,
                    packets: 0,
                    octets: 0,
                    last: None,
                }),
            }
        }
    }

    /// What redundant sound adds to what publishers send, in bits per second.
    pub(crate) fn added_bits(&self) -> u64 {
        self.tracks.iter().map(|track| track.redundancy.added_bits()).sum()
    }

    pub(crate) fn tracks(&self) -> &[SendTrack] {
        &self.tracks
    }

    /// The m-line that this SSRC is sent on, if a key frame that is asked for now would go out on it: one that begins anew once the path lets pass
    /// has its own asked for then.
    pub(crate) fn wants_keyframe(&self, ssrc: u32) -> Option<Mid> {
        self.tracks.iter().find(|track| track.ssrc == ssrc && !track.is_resting).map(|track| track.mid)
    }

    /// A report of the viewer names this SSRC, of which it lost so many of 256 packets.
    pub(crate) fn acknowledge(&mut self, ssrc: u32, lost: u8) {
        for track in &mut self.tracks {
            if track.ssrc == ssrc {
                track.is_bound = true;
                track.redundancy.note_loss(lost);
            }
            track.is_repair_bound |= track.repair_ssrc == Some(ssrc);
        }
    }

    /// Encrypts a packet and appends it to `out`, or keeps it until the path carries it; `None` (and nothing appended) if there is no such
    /// track or the number was used before. `bytes` are those of the batch.
    pub(crate) fn write(
        &mut self,
        now: Instant,
        (keys, clock): (&Context, &NtpClock),
        mid: Mid,
        (write, bytes): (&Write, &[u8]),
        bandwidth: Option<&mut Bandwidth>,
        out: &mut Vec<u8>,
    ) -> Option<Written> {
        let is_late = bandwidth.as_ref().is_some_and(|bandwidth| !bandwidth.lets_pass(now));
        let track = self.tracks.iter_mut().find(|track| track.mid == mid)?;
        let descriptor = bytes.get(write.descriptor.clone())?;
        let payload = bytes.get(write.payload.clone())?;
        let (number, timestamp) = (write.sequence_number, write.timestamp);
        if write.is_carried {
            track.redundancy.carry(number, timestamp, payload);
            return Some(Written { is_first: false, is_held: true });
        }
        if !track.sealed.take(number) {
            return None;
        }
        let capture_time = write.capture_time.map(|at| clock.at(at).to_be_bytes());
        let wrapped_as =
            write.redundant.filter(|_| track.redundancy.is_due(number, timestamp, payload.len()));
        let sent = Sent {
            number,
            payload_type: wrapped_as.unwrap_or(write.payload_type),
            marker: write.marker,
            timestamp,
            extensions: Extensions { capture_time, ..write.extensions },
            descriptor,
            payload,
            renumbered: write.renumbered,
        };
        let wraps = wrapped_as.map(|_| write.payload_type);
        let is_waiting = track.history.held_since().is_some();
        if write.begins && is_waiting {
            track.history.give_up();
        }
        let is_held = write.is_repaired && (is_late || (is_waiting && !write.begins));
        if is_held && track.is_resting {
            // It would only be late as well.
        } else if is_held {
            // What finds no room breaks what waits: that is given up and begun anew, and so is this.
            track.is_broken |= !track.history.hold(now, &sent);
        } else if !track.seal(&sent, wraps, now, (keys, clock), bandwidth, out) {
            return None;
        } else if write.is_repaired {
            track.history.keep(now, &sent);
        }
        if write.redundant.is_some() {
            track.redundancy.keep(number, timestamp, payload);
        }
        if !is_held {
            track.count(payload.len());
        }
        let (captured, clock_rate) = (write.captured, write.clock_rate);
        let last = Last { payload_type: write.payload_type, timestamp, captured, clock_rate };
        let before = track.last.replace(last);
        Some(Written { is_first: before.is_none(), is_held })
    }

    /// Encrypts the repetition of a packet and appends it to `out`; false if it is not known any more or not allowed.
    pub(crate) fn repeat(
        &mut self,
        now: Instant,
        (keys, clock): (&Context, &NtpClock),
        ssrc: u32,
        number: u16,
        bandwidth: Option<&mut Bandwidth>,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(track) = self.tracks.iter_mut().find(|track| track.ssrc == ssrc) else { return false };
        track.seal_repair(now, (keys, clock), number, bandwidth, out).is_some()
    }

    /// Since when the first packet waits.
    pub(crate) fn held_since(&self) -> Option<Instant> {
        self.tracks.iter().filter_map(|track| track.history.held_since()).min()
    }

    /// Encrypts the first packet that waits and appends it to `out`; false if there is none.
    pub(crate) fn release(
        &mut self,
        now: Instant,
        with: (&Context, &NtpClock),
        bandwidth: Option<&mut Bandwidth>,
        out: &mut Vec<u8>,
    ) -> bool {
        let waiting = self.tracks.iter_mut().filter_map(|track| Some((track.history.held_since()?, track)));
        let Some((_, track)) = waiting.min_by_key(|(since, _)| *since) else { return false };
        let Some(kept) = track.history.first_held() else { return false };
        let sent = Sent {
            number: kept.number,
            payload_type: kept.payload_type,
            marker: kept.marker,
            timestamp: kept.timestamp,
            extensions: kept.extensions,
            descriptor: kept.descriptor(),
            payload: kept.payload(),
            renumbered: Renumbered::default(),
        };
        let (len, is_sealed) = (sent.payload.len(), track.seal(&sent, None, now, with, bandwidth, out));
        if is_sealed {
            track.count(len);
        }
        track.history.note_sent(now);
        is_sealed
    }

    /// Gives up what waits for longer than it may, or all that waits if the viewer has no path. A key frame would wait as long: the track rests until
    /// [`Sender::go_on`].
    pub(crate) fn give_up(&mut self, now: Instant, has_path: bool) {
        for track in &mut self.tracks {
            let is_late = |since| !has_path || now.saturating_duration_since(since) >= HELD_FOR;
            let is_late = track.history.held_since().is_some_and(is_late);
            if std::mem::take(&mut track.is_broken) || is_late {
                track.history.give_up();
                track.is_resting = true;
            }
        }
    }

    /// Gives up all that was sent of pictures: the path carries far less, and a smaller one is to begin at once.
    pub(crate) fn begin_anew(&mut self, given_up: &mut Vec<Mid>) {
        for track in self.tracks.iter_mut().filter(|track| track.repair_ssrc.is_some()) {
            track.history.give_up();
            (track.is_broken, track.is_resting) = (false, true);
        }
        self.go_on(given_up);
    }

    /// The path lets pass again: says on which m-lines a picture is to begin.
    pub(crate) fn go_on(&mut self, given_up: &mut Vec<Mid>) {
        for track in &mut self.tracks {
            if std::mem::take(&mut track.is_resting) && !given_up.contains(&track.mid) {
                given_up.push(track.mid);
            }
        }
    }

    /// Encrypts a packet of nothing but padding and appends it to `out`; false if no track can say that it is none of its media:
    /// repetitions have numbers of their own, and one without a payload repeats nothing.
    pub(crate) fn pad(
        &mut self,
        now: Instant,
        (keys, clock): (&Context, &NtpClock),
        bandwidth: &mut Bandwidth,
        out: &mut Vec<u8>,
    ) -> bool {
        let can_pad = |track: &&mut SendTrack| {
            let is_repaired = track.repair_ssrc.is_some() && track.ids.transport_number.is_some();
            is_repaired && track.last.is_some_and(|last| track.repair_of(last.payload_type).is_some())
        };
        let track = self.tracks.iter_mut().find(can_pad);
        track.is_some_and(|track| track.seal_padding(now, (keys, clock), bandwidth, out).is_some())
    }
}

impl SendTrack {
    /// What to report at `now`; `None` before the first packet.
    pub(crate) fn info(&self, now: Instant) -> Option<SenderInfo> {
        let last = self.last?;
        let since = now.saturating_duration_since(last.captured).as_micros() as u64;
        let ticks = since * u64::from(last.clock_rate) / 1_000_000;
        let timestamp = last.timestamp.wrapping_add(ticks as u32);
        Some(SenderInfo { timestamp, packets: self.packets, octets: self.octets })
    }

    /// A packet of media was sent.
    fn count(&mut self, payload_bytes: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload_bytes as u32);
    }

    /// Whether repetitions were sent.
    pub(crate) fn has_repeated(&self) -> bool {
        self.next_repair > 1
    }

    /// `wraps`: the packet is redundant audio of this payload type.
    fn seal(
        &self,
        sent: &Sent<'_>,
        wraps: Option<u8>,
        now: Instant,
        (keys, clock): (&Context, &NtpClock),
        bandwidth: Option<&mut Bandwidth>,
        out: &mut Vec<u8>,
    ) -> bool {
        let start = out.len();
        let mid = (!self.is_bound).then_some(&self.mid);
        let mut numbered = [0; 255];
        let outgoing = Outgoing {
            payload_type: sent.payload_type,
            marker: sent.marker,
            sequence_number: sent.number as u16,
            timestamp: sent.timestamp,
            ssrc: self.ssrc,
            extensions: &sent.extensions,
            descriptor: sent.numbered_descriptor(&mut numbered),
            own: own_values(&self.ids, now, clock, mid, bandwidth.as_deref()),
        };
        let (header_len, asking) = (outgoing.write(&self.ids, out), outgoing.own.asking_number);
        if let Some(payload_type) = wraps {
            let packet = (sent.number, sent.timestamp, sent.payload.len());
            self.redundancy.append(packet, payload_type, out);
        }
        let payload_at = out.len();
        out.extend_from_slice(sent.payload);
        sent.renumbered.apply_to_payload(&mut out[payload_at..]);
        let is_sealed = keys.seal_rtp(out, start, header_len, self.ssrc, sent.number);
        self.note_sent(now, is_sealed, (start, asking), bandwidth, out)
    }

    /// Tells the estimation what was appended since `start`, and how that asks for reports, or takes it back if it was not sealed.
    fn note_sent(
        &self,
        now: Instant,
        is_sealed: bool,
        (start, asking): (usize, Option<AskingNumber>),
        bandwidth: Option<&mut Bandwidth>,
        out: &mut Vec<u8>,
    ) -> bool {
        if !is_sealed {
            out.truncate(start);
        } else if let (Some(bandwidth), Some(_)) = (bandwidth, self.ids.transport_number) {
            match asking {
                Some(number) => bandwidth.note_asking(now, number.asks()),
                None => bandwidth.note_plain(),
            }
            bandwidth.note_sent(now, out.len() - start);
        }
        is_sealed
    }

    /// The payload type of repetitions of this one.
    fn repair_of(&self, payload_type: u8) -> Option<u8> {
        self.repairs.iter().find(|(of, _)| *of == payload_type).map(|(_, repair)| *repair)
    }

    fn seal_repair(
        &mut self,
        now: Instant,
        (keys, clock): (&Context, &NtpClock),
        number: u16,
        bandwidth: Option<&mut Bandwidth>,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let ssrc = self.repair_ssrc?;
        let kept = self.history.again(now, number)?;
        let (_, payload_type) = *self.repairs.iter().find(|(of, _)| *of == kept.payload_type)?;
        let mid = (!self.is_repair_bound).then_some(&self.mid);
        let repair_number = self.next_repair;
        self.next_repair += 1;
        let start = out.len();
        let outgoing = Outgoing {
            payload_type,
            marker: kept.marker,
            sequence_number: repair_number as u16,
            timestamp: kept.timestamp,
            ssrc,
            extensions: &kept.extensions,
            descriptor: kept.descriptor(),
            own: own_values(&self.ids, now, clock, mid, bandwidth.as_deref()),
        };
        let (header_len, asking) = (outgoing.write(&self.ids, out), outgoing.own.asking_number);
        out.extend_from_slice(&(kept.number as u16).to_be_bytes());
        out.extend_from_slice(kept.payload());
        let is_sealed = keys.seal_rtp(out, start, header_len, ssrc, repair_number);
        self.note_sent(now, is_sealed, (start, asking), bandwidth, out).then_some(())
    }

    fn seal_padding(
        &mut self,
        now: Instant,
        (keys, clock): (&Context, &NtpClock),
        bandwidth: &mut Bandwidth,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let (ssrc, last) = (self.repair_ssrc?, self.last?);
        let payload_type = self.repair_of(last.payload_type)?;
        let mid = (!self.is_repair_bound).then_some(&self.mid);
        let number = self.next_repair;
        self.next_repair += 1;
        let start = out.len();
        let outgoing = Outgoing {
            payload_type,
            marker: false,
            sequence_number: number as u16,
            timestamp: last.timestamp,
            ssrc,
            extensions: &Extensions::default(),
            descriptor: &[],
            own: own_values(&self.ids, now, clock, mid, Some(bandwidth)),
        };
        let (header_len, asking) = (outgoing.write(&self.ids, out), outgoing.own.asking_number);
        rtp::append_padding(start, PADDING_BYTES, out);
        let is_sealed = keys.seal_rtp(out, start, header_len, ssrc, number);
        self.note_sent(now, is_sealed, (start, asking), Some(bandwidth), out).then_some(())
    }
}

fn own_values<'a>(
    ids: &ExtensionIds,
    now: Instant,
    clock: &NtpClock,
    mid: Option<&'a Mid>,
    bandwidth: Option<&Bandwidth>,
) -> OwnValues<'a> {
    let bandwidth = bandwidth.filter(|_| ids.transport_number.is_some());
    let asking_number = bandwidth.filter(|_| ids.report_request.is_some()).and_then(|b| b.next_asking(now));
    let plain = bandwidth.filter(|_| asking_number.is_none());
    let transport_number = plain.map(|bandwidth| bandwidth.next_number().to_be_bytes());
    let send_time = ids.send_time.map(|_| clock.send_time_at(now));
    OwnValues { mid: mid.map(|mid| &**mid), send_time, transport_number, asking_number }
}
