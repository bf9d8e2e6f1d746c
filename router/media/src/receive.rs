//! What a client sends: authenticated, told apart by SSRC, put in order of its own numbers, and missed where it is missing.

use std::ops::Range;
use std::time::{Duration, Instant};

use str0m::media::Mid;

use crate::descriptor::Structure;
use crate::extensions::{ExtensionIds, Extensions, Found};
use crate::frame::{Codec, Frame};
use crate::missing::{Missing, Terms};
use crate::prefetch::prefetch;
use crate::reception::{Reception, SenderReport};
use crate::recovery::Recovery;
use crate::red::{self, Blocks};
use crate::rtp::{Header, unpadded};
use crate::srtp::Context;
use crate::window::Window;
use crate::{Announced, Refused, TrackConfig};

/// Most SSRCs that a client may bring in, since each has its replay list for as long as the keys live. At the bound packets of
/// further ones are dropped and counted; the client needs a new leg. Two or three per track are usual, and as many again when
/// a client replaces one. It bounds those in whose name RTCP comes as well. Higher costs 90 bytes each and time to look one up, lower refuses clients that replace tracks often.
pub(crate) const MAX_SSRCS: usize = 256;

/// A source that another one of its track has replaced comes back only if that one was silent for this long: what still
/// comes of it is late. Higher loses a client's first packets after it changed back, lower lets late packets disturb viewers.
const REPLACED_FOR: Duration = Duration::from_millis(500);

/// Before the original's payload in a repetition (RFC 4588 section 4).
const ORIGINAL_NUMBER_BYTES: usize = 2;

/// A publisher's packet, authenticated and decrypted.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Its m-line.
    pub mid: Mid,
    /// Which of its track's simulcast encodings it is of; 0 if there is one.
    pub encoding: u8,
    /// Its source.
    pub ssrc: u32,
    /// As the client numbers its codecs.
    pub payload_type: u8,
    /// The last packet of a picture, or the first of a talk spurt.
    pub marker: bool,
    /// Extended by the rollovers of its source.
    pub sequence_number: u64,
    /// In its codec's clock.
    pub timestamp: u32,
    /// When it was taken.
    pub arrival: Instant,
    /// The source's last.
    pub report: Option<SenderReport>,
    /// As far as they may pass.
    pub extensions: Extensions,
    /// Where its dependency descriptor is in the batch's bytes.
    pub descriptor: Range<usize>,
    /// Where its payload is in the batch's bytes.
    pub payload: Range<usize>,
    /// Of redundant audio: where the newest block is, if the payload is sound.
    pub primary: Option<Range<usize>>,
    /// It was lost, and is what a later packet of redundant audio said of it.
    pub is_recovered: bool,
    /// Of video: the frame that it is part of.
    pub frame: Frame,
}

/// What became of a datagram that authenticated.
#[derive(Debug, Default)]
pub struct Received {
    /// `None`: padding, a probe, or media that was there already.
    pub packet: Option<Packet>,
    /// The transport-wide number, for feedback.
    pub transport_number: Option<u16>,
    /// The SSRC came for the first time.
    pub new_ssrc: Option<u32>,
}

/// Why a datagram was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It came before, or is too old to know.
    Repeated,
    Dropped(Refused),
}

/// The receiving half of a leg's media.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    ids: ExtensionIds,
    tracks: Vec<Track>,
    announced: Vec<Announced>,
    /// What packets of each SSRC are, in the order of `streams`: looked through for every packet.
    ssrcs: Vec<u32>,
    streams: Vec<Stream>,
    /// Lost sound that the last packet brought, the newest first.
    recovered: Vec<Packet>,
}

#[derive(Debug)]
struct Stream {
    window: Window,
    /// `None`: nobody's (yet), such as probes for bandwidth.
    role: Option<Role>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A track's, and one of its encodings.
    Media(usize, usize),
    /// Repetitions of a track's media; of this source alone, if the offer said so.
    Repair(usize, usize, Option<u32>),
}

/// An m-line.
#[derive(Debug)]
struct Track {
    mid: Mid,
    payloads: Vec<Payload>,
    /// At least one.
    encodings: Vec<Encoding>,
}

/// One of a track's simulcast encodings, or all that there is of it.
#[derive(Debug, Default)]
struct Encoding {
    /// `None`: it goes without a name.
    rid: Option<String>,
    /// Who feeds it now, and who did before.
    source: Option<Source>,
    replaced: Option<u32>,
}

/// A codec, as the client may send it.
#[derive(Debug, Clone, Copy)]
pub struct Payload {
    /// As offer and answer number it.
    pub payload_type: u8,
    /// The payload type of its repetitions, if they were negotiated.
    pub repair: Option<u8>,
    /// Of its timestamps, in hertz.
    pub clock_rate: u32,
    /// What is lost of it is asked for again (NACK); without repetitions of their own it comes as it was sent.
    pub is_asked_for: bool,
    /// Redundant audio (RFC 2198).
    pub is_redundant: bool,
    /// Of video: how its payload is read.
    pub codec: Codec,
}

impl Payload {
    fn is_sound(&self) -> bool {
        self.codec == Codec::Other
    }

    /// On which what a packet of it shows to be missing is asked for.
    fn terms(&self) -> Terms {
        match (self.is_sound(), self.is_redundant) {
            (false, _) => Terms::PICTURE,
            (true, false) => Terms::SOUND,
            (true, true) => Terms::REDUNDANT_SOUND,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) ssrc: u32,
    /// Its highest number.
    pub(crate) highest: u64,
    pub(crate) reception: Reception,
    pub(crate) missing: Missing,
    recovery: Recovery,
    heard_at: Instant,
    /// What the last key frame's dependency descriptor brought.
    structure: Option<Box<Structure>>,
}

/// A packet in its place among those of its source.
struct Sorted {
    mid: Mid,
    track: usize,
    encoding: usize,
    ssrc: u32,
    payload: Option<Payload>,
    payload_type: u8,
    number: u64,
    report: Option<SenderReport>,
}

impl Receiver {
    /// See [`prefetch`]: what it points to.
    pub(crate) fn prefetch(&self) {
        prefetch(&self.ssrcs[..]);
        prefetch(&self.streams[..]);
        prefetch(&self.tracks[..]);
    }

    /// What that points to.
    pub(crate) fn prefetch_further(&self) {
        for track in &self.tracks {
            prefetch(&track.payloads[..]);
            prefetch(&track.encodings[..]);
        }
    }

    /// The m-lines are now these. What is known of SSRCs stays: their keys are the same.
    pub(crate) fn set_tracks(&mut self, configs: &[TrackConfig], announced: Vec<Announced>) {
        let mut before = std::mem::take(&mut self.tracks);
        let is_same = before.iter().zip(configs).all(|(track, config)| track.is_as(config));
        if !is_same || configs.len() < before.len() {
            self.streams.iter_mut().for_each(|stream| stream.role = None);
        }
        self.ids = configs.iter().fold(ExtensionIds::default(), |ids, config| ids.or(config.ids));
        self.announced = announced;
        for config in configs {
            let same = before.iter_mut().find(|track| track.is_as(config));
            let new = || Encoding::all_of(&config.encodings);
            let encodings = same.map_or_else(new, |track| std::mem::take(&mut track.encodings));
            self.tracks.push(Track { mid: config.mid, payloads: config.payloads.clone(), encodings });
        }
    }

    /// The sources that feed tracks now.
    pub(crate) fn sources(&mut self) -> impl Iterator<Item = &mut Source> {
        let encodings = self.tracks.iter_mut().flat_map(|track| &mut track.encodings);
        encodings.filter_map(|encoding| encoding.source.as_mut())
    }

    /// The SSRC that feeds one of a track's encodings.
    pub(crate) fn source_of(&self, mid: Mid, encoding: u8) -> Option<u32> {
        let track = self.tracks.iter().find(|track| track.mid == mid)?;
        track.encodings.get(usize::from(encoding))?.source.as_ref().map(|source| source.ssrc)
    }

    /// When packets are to be asked for.
    pub(crate) fn missing_at(&self, now: Instant, round_trip: Option<Duration>) -> Option<Instant> {
        let encodings = self.tracks.iter().flat_map(|track| &track.encodings);
        let sources = encodings.filter_map(|encoding| encoding.source.as_ref());
        sources.filter_map(|source| source.missing.due_at(now, round_trip)).min()
    }

    /// A sender report of this SSRC came.
    pub(crate) fn set_report(&mut self, now: Instant, ssrc: u32, report: SenderReport) {
        if let Some(source) = self.sources().find(|source| source.ssrc == ssrc) {
            source.reception.set_report(now, report);
        }
    }

    /// Takes an SRTP packet; its payload is appended to `bytes`. Nothing changes before it authenticated.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        keys: &Context,
        contents: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Result<Received, Refusal> {
        self.recovered.clear();
        let header = Header::read(contents).ok_or(Refusal::Dropped(Refused::Malformed))?;
        let known = self.ssrcs.iter().position(|ssrc| *ssrc == header.ssrc);
        if known.is_none() && self.ssrcs.len() == MAX_SSRCS {
            return Err(Refusal::Dropped(Refused::TooManySources));
        }
        let number = match known {
            Some(at) => self.streams[at].window.extend(header.sequence_number),
            None => Some(header.sequence_number.into()),
        };
        let number = number
            .filter(|number| known.is_none_or(|at| self.streams[at].window.is_new(*number)))
            .ok_or(Refusal::Repeated)?;
        let start = bytes.len();
        if !keys.open_rtp(contents, header.len, header.ssrc, number, bytes) {
            return Err(Refusal::Dropped(Refused::NotAuthenticated));
        }
        let at = known.unwrap_or_else(|| {
            self.ssrcs.push(header.ssrc);
            self.streams.push(Stream { window: Window::default(), role: None });
            self.streams.len() - 1
        });
        self.streams[at].window.take(number);
        let (extensions, found) = Extensions::of_publisher(&self.ids, header.extensions);
        let role = self.streams[at].role.or_else(|| self.role_of(&header, &found));
        self.streams[at].role = role;
        let mut received = Received {
            packet: None,
            transport_number: found.transport_number,
            new_ssrc: known.is_none().then_some(header.ssrc),
        };
        let malformed = Refusal::Dropped(Refused::Malformed);
        let payload = unpadded(bytes, start..bytes.len(), header.has_padding).ok_or(malformed)?;
        let (prefix, sorted) = match role {
            Some(Role::Media(track, encoding)) => {
                (0, self.sort_media(now, (track, encoding), &header, number))
            }
            Some(Role::Repair(track, encoding, of)) if payload.len() >= ORIGINAL_NUMBER_BYTES => {
                let original = u16::from_be_bytes([bytes[payload.start], bytes[payload.start + 1]]);
                (ORIGINAL_NUMBER_BYTES, self.sort_repair(now, (track, encoding), of, &header, original))
            }
            _ => (0, None),
        };
        let Some(sorted) = sorted else {
            bytes.truncate(start);
            return Ok(received);
        };
        let descriptor = bytes.len()..bytes.len() + found.descriptor.map_or(0, <[u8]>::len);
        bytes.extend_from_slice(found.descriptor.unwrap_or_default());
        let payload = payload.start + prefix..payload.end;
        let is_redundant = sorted.payload.is_some_and(|payload| payload.is_redundant);
        let blocks = is_redundant.then(|| red::read(bytes, payload.clone())).flatten();
        let frame = self.frame_of(&sorted, header.marker, &bytes[payload.clone()], found.descriptor);
        let packet = Packet {
            mid: sorted.mid,
            encoding: sorted.encoding as u8,
            ssrc: sorted.ssrc,
            payload_type: sorted.payload_type,
            marker: header.marker,
            sequence_number: sorted.number,
            timestamp: header.timestamp,
            arrival: now,
            report: sorted.report,
            extensions,
            descriptor,
            payload,
            primary: blocks.as_ref().map(|blocks| blocks.primary.clone()),
            is_recovered: false,
            frame,
        };
        let is_news = self.recover(at, &sorted, &packet, blocks);
        received.packet = is_news.then_some(packet);
        Ok(received)
    }

    /// Takes lost sound out of a packet that came on this stream. False if the packet itself was taken out of a later one before.
    fn recover(&mut self, stream: usize, sorted: &Sorted, packet: &Packet, blocks: Option<Blocks>) -> bool {
        if !sorted.payload.as_ref().is_some_and(Payload::is_sound) {
            return true;
        }
        let Some(Track { payloads, encodings, .. }) = self.tracks.get_mut(sorted.track) else { return true };
        let source = encodings.get_mut(sorted.encoding).and_then(|encoding| encoding.source.as_mut());
        let (Some(source), Some(arrived)) = (source, self.streams.get(stream)) else { return true };
        let is_news = source.recovery.note(sorted.number, packet.timestamp);
        for (place, block) in (1..).zip(blocks.map(|blocks| blocks.earlier).into_iter().flatten()) {
            let Some(block) = block.filter(|block| !block.at.is_empty()) else { continue };
            let codec = payloads.iter().find(|payload| payload.payload_type == block.payload_type);
            if !codec.is_some_and(|payload| payload.is_sound() && !payload.is_redundant) {
                continue;
            }
            let lost = source.recovery.take(&arrived.window, sorted.number, place, block.offset);
            lost.inspect(|number| _ = source.missing.found(*number));
            self.recovered.extend(lost.map(|sequence_number| Packet {
                payload_type: block.payload_type,
                marker: false,
                sequence_number,
                timestamp: packet.timestamp.wrapping_sub(block.offset),
                extensions: Extensions::default(),
                descriptor: 0..0,
                payload: block.at,
                primary: None,
                is_recovered: true,
                ..packet.clone()
            }));
        }
        is_news
    }

    /// What the last packet brought of lost sound, the oldest first: all of it goes before that packet.
    pub(crate) fn poll_recovered(&mut self) -> Option<Packet> {
        self.recovered.pop()
    }

    /// What a packet of video says of its frame.
    fn frame_of(
        &mut self,
        sorted: &Sorted,
        marker: bool,
        payload: &[u8],
        descriptor: Option<&[u8]>,
    ) -> Frame {
        let codec = sorted.payload.map_or(Codec::Other, |payload| payload.codec);
        let encoding = self.tracks.get_mut(sorted.track).and_then(|t| t.encodings.get_mut(sorted.encoding));
        match encoding.and_then(|encoding| encoding.source.as_mut()) {
            Some(source) if codec != Codec::Other => {
                Frame::read(codec, payload, descriptor, marker, &mut source.structure)
            }
            _ => Frame::default(),
        }
    }

    /// What an SSRC is for, as its offer or the MID of its packet says (RFC 8843 section 9.2), and of a simulcast track its RID (RFC
    /// 8852). The payload type tells media from repetitions.
    fn role_of(&self, header: &Header<'_>, found: &Found<'_>) -> Option<Role> {
        let announced = self.announced.iter().find(|a| a.ssrc == header.ssrc);
        let is_on = |track: &Track| match announced {
            Some(announced) => track.mid == announced.mid,
            None => found.mid == Some(track.mid.as_bytes()),
        };
        let index = self.tracks.iter().position(is_on)?;
        let track = &self.tracks[index];
        let is_repair = track.payloads.iter().any(|p| p.repair == Some(header.payload_type));
        if track.is_simulcast() {
            let rid = if is_repair { found.repaired_rid } else { found.rid }?;
            let named = |encoding: &Encoding| encoding.rid.as_ref().is_some_and(|own| own.as_bytes() == rid);
            let encoding = track.encodings.iter().position(named)?;
            return Some(if is_repair {
                Role::Repair(index, encoding, None)
            } else {
                Role::Media(index, encoding)
            });
        }
        let repairs = announced.and_then(|announced| announced.repairs);
        if repairs.is_some() || is_repair {
            return Some(Role::Repair(index, 0, repairs));
        }
        let is_known = track.payloads.iter().any(|p| p.payload_type == header.payload_type);
        (is_known || announced.is_some()).then_some(Role::Media(index, 0))
    }

    fn sort_media(
        &mut self,
        now: Instant,
        at: (usize, usize),
        header: &Header<'_>,
        number: u64,
    ) -> Option<Sorted> {
        let track = self.tracks.get_mut(at.0)?;
        let mid = track.mid;
        let payload = track.payloads.iter().find(|p| p.payload_type == header.payload_type).copied();
        let source = track.encodings.get_mut(at.1)?.source_for(now, header.ssrc, number)?;
        let mut is_again = false;
        if number > source.highest {
            if let Some(payload) = payload.filter(|payload| payload.is_asked_for) {
                source.missing.skipped(now, source.highest + 1, number, payload.terms());
            }
            source.highest = number;
        } else {
            is_again = source.missing.found(number);
        }
        // Sound that was lost and came again stays lost to the client: by that it knows that its way loses some, and adds redundancy.
        if let Some(payload) = payload.filter(|payload| !(is_again && payload.is_sound())) {
            source.reception.count(now, header.timestamp, payload.clock_rate, false);
        }
        Some(source.sorted(mid, at, (header.payload_type, payload), number))
    }

    /// Puts a repetition in the place of what it repeats. `None` if that is there already, or nobody knows what it is.
    fn sort_repair(
        &mut self,
        now: Instant,
        at: (usize, usize),
        of: Option<u32>,
        header: &Header<'_>,
        original: u16,
    ) -> Option<Sorted> {
        let track = self.tracks.get_mut(at.0)?;
        let payload = *track.payloads.iter().find(|p| p.repair == Some(header.payload_type))?;
        let source = track.encodings.get_mut(at.1)?.source.as_mut();
        let source = source.filter(|source| of.is_none_or(|of| of == source.ssrc))?;
        let stream = self.ssrcs.iter().position(|ssrc| *ssrc == source.ssrc)?;
        let window = &mut self.streams[stream].window;
        // Beyond the highest there is nothing to repeat.
        let number = window.extend(original).filter(|number| *number <= source.highest)?;
        if !window.take(number) {
            return None;
        }
        source.heard_at = now;
        let _ = source.missing.found(number);
        source.reception.count(now, header.timestamp, payload.clock_rate, true);
        Some(source.sorted(track.mid, at, (payload.payload_type, Some(payload)), number))
    }
}

impl Track {
    /// Each encoding has its name.
    fn is_simulcast(&self) -> bool {
        self.encodings.iter().any(|encoding| encoding.rid.is_some())
    }

    /// It is this m-line, with the same encodings.
    fn is_as(&self, config: &TrackConfig) -> bool {
        let names = self.encodings.iter().filter_map(|encoding| encoding.rid.as_ref());
        self.mid == config.mid && names.eq(&config.encodings)
    }
}

impl Encoding {
    fn all_of(rids: &[String]) -> Vec<Self> {
        if rids.is_empty() {
            return vec![Self::default()];
        }
        rids.iter().map(|rid| Self { rid: Some(rid.clone()), ..Self::default() }).collect()
    }

    /// The source with this SSRC, which feeds the encoding from now on. `None` if another one has replaced it.
    fn source_for(&mut self, now: Instant, ssrc: u32, number: u64) -> Option<&mut Source> {
        let present = self.source.as_ref().filter(|source| source.ssrc != ssrc);
        let is_replaced = present.is_some_and(|source| {
            self.replaced == Some(ssrc) && now.saturating_duration_since(source.heard_at) < REPLACED_FOR
        });
        if is_replaced {
            return None;
        }
        if let Some(source) = present {
            self.replaced = Some(source.ssrc);
            self.source = None;
        }
        let source = self.source.get_or_insert_with(|| Source {
            ssrc,
            highest: number,
            reception: Reception::new(now, number),
            missing: Missing::default(),
            recovery: Recovery::new(number),
            heard_at: now,
            structure: None,
        });
        source.heard_at = now;
        Some(source)
    }
}

impl Source {
    fn sorted(
        &self,
        mid: Mid,
        (track, encoding): (usize, usize),
        (payload_type, payload): (u8, Option<Payload>),
        number: u64,
    ) -> Sorted {
        let report = self.reception.report();
        Sorted { mid, track, encoding, ssrc: self.ssrc, payload, payload_type, number, report }
    }
}
