//! A camera whose picture comes in several encodings, and what a viewer's decoder makes of what it gets of them.

use std::time::{Duration, Instant};

use str0m::media::{Direction, MediaKind, Rid, Simulcast, SimulcastLayer};
use str0m::rtp::{RtpPacket, RtpWrite, SeqNo};

use super::{Audio, Client, OfferError, Video, World, leg};

/// Time of a frame: 25 a second.
const FRAME: Duration = Duration::from_millis(40);
/// How many times a usual frame a key frame is.
const KEY: u64 = 4;
/// Payload of a full packet.
const PACKET: usize = 1100;

/// What one client films: in VP8, or in VP9 if it is one stream.
pub struct Camera {
    /// RID, and bits per second; 0: it is switched off.
    pub encodings: Vec<(&'static str, u64)>,
    /// The encodings are spatial layers of one stream; those above the lowest lean on the one below in key pictures alone (L3T1_KEY).
    is_one_stream: bool,
    frames: u32,
    /// Next sequence number, picture id and TL0PICIDX of each.
    next: Vec<(u64, u16, u8)>,
    is_key_due: Vec<bool>,
    requests_seen: usize,
    /// Key frames of each that were made.
    pub keys: Vec<usize>,
}

/// A whole picture that was received, as its payload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    pub at: Instant,
    pub encoding: u8,
    pub number: u32,
    pub is_key: bool,
    pub id: u16,
    pub base: u8,
    pub timestamp: u32,
}

impl Camera {
    pub fn new(encodings: &[(&'static str, u64)]) -> Self {
        let count = encodings.len();
        Self {
            encodings: encodings.to_vec(),
            is_one_stream: false,
            frames: 0,
            // Near the wrap, and far from each other.
            next: (0..count as u16).map(|n| (100, 0x7ff0 - n * 1000, 250)).collect(),
            is_key_due: vec![true; count],
            requests_seen: 0,
            keys: vec![0; count],
        }
    }

    /// The same with spatial layers of one stream, of which each takes so much more than those below.
    pub fn in_one_stream(layers: &[(&'static str, u64)]) -> Self {
        Self { is_one_stream: true, ..Self::new(layers) }
    }

    /// The payloads of the next picture, layer by layer.
    fn encode_layers(&mut self) -> Vec<Vec<u8>> {
        let is_key = std::mem::take(&mut self.is_key_due[0]);
        self.keys[0] += usize::from(is_key);
        let (_, id, base) = &mut self.next[0];
        let [high, low] = (*id & 0x7fff).to_be_bytes();
        let mut payloads = Vec::new();
        for (layer, (_, bits)) in self.encodings.iter().enumerate() {
            let bits = bits * FRAME.as_millis() as u64 / 1000;
            let bytes = (bits / 8 * if is_key { KEY } else { 1 }).max(20) as usize;
            let packets = bytes.div_ceil(PACKET);
            for n in 0..packets {
                let (start, end) = (u8::from(n == 0) << 3, u8::from(n == packets - 1) << 2);
                let leans = u8::from(is_key && layer > 0);
                let mut payload = vec![0xa0 | u8::from(!is_key) << 6 | start | end, 0x80 | high, low];
                payload.extend([(layer as u8) << 1 | leans, *base, u8::from(!is_key), 0, layer as u8]);
                payload.extend(self.frames.to_be_bytes());
                payload.resize((bytes / packets).max(payload.len()), 7);
                payloads.push(payload);
            }
        }
        *id = id.wrapping_add(1);
        *base = base.wrapping_add(1);
        payloads
    }

    /// The payloads of the next frame of one encoding.
    fn encode(&mut self, encoding: usize) -> Vec<Vec<u8>> {
        let is_key = std::mem::take(&mut self.is_key_due[encoding]);
        self.keys[encoding] += usize::from(is_key);
        let (_, id, base) = &mut self.next[encoding];
        let [high, low] = (*id & 0x7fff).to_be_bytes();
        let bits = self.encodings[encoding].1 * FRAME.as_millis() as u64 / 1000;
        let bytes = (bits / 8 * if is_key { KEY } else { 1 }).max(20) as usize;
        let packets = bytes.div_ceil(PACKET);
        let payload = |n: usize| {
            let start = if n == 0 { 0x10 } else { 0 };
            let mut payload = vec![0x80 | start, 0xe0, 0x80 | high, low, *base, 0, u8::from(!is_key)];
            payload.push(encoding as u8);
            payload.extend(self.frames.to_be_bytes());
            payload.resize((bytes / packets).max(payload.len()), 7);
            payload
        };
        let payloads = (0..packets).map(payload).collect();
        *id = id.wrapping_add(1);
        *base = base.wrapping_add(1);
        payloads
    }
}

impl World {
    /// A sound line, and a video line with these encodings.
    pub fn offer_simulcast(&mut self, n: usize, rids: &[&str]) -> Result<(), OfferError> {
        let mut simulcast = Simulcast::new();
        rids.iter().for_each(|rid| simulcast.add_send_layer(SimulcastLayer::new(rid)));
        let client = &mut self.clients[n];
        let mut api = client.rtc.sdp_api();
        for (kind, media, simulcast) in
            [(Audio, MediaKind::Audio, None), (Video, MediaKind::Video, Some(simulcast))]
        {
            let mid = api.add_media(media, Direction::SendRecv, None, None, simulcast);
            client.mids.insert(kind, mid);
        }
        let (offer, pending) = api.apply().unwrap();
        self.exchange(n, leg(n), offer, pending)
    }

    /// One films and talks for so many frames.
    pub fn film(&mut self, n: usize, camera: &mut Camera, frames: usize) {
        for _ in 0..frames {
            camera.frames += 1;
            let rids: Vec<Rid> = camera.encodings.iter().map(|(rid, _)| (*rid).into()).collect();
            let requests = &self.clients[n].keyframe_requests[camera.requests_seen..];
            for (_, request) in requests {
                let of = rids.iter().position(|rid| request.rid.is_none_or(|asked| asked == *rid));
                camera.is_key_due[of.expect("one of its encodings")] = true;
            }
            camera.requests_seen += requests.len();
            let mut queue = Vec::new();
            let streams = if camera.is_one_stream { 1 } else { rids.len() };
            for (encoding, rid) in rids.into_iter().enumerate().take(streams) {
                if camera.encodings[encoding].1 == 0 {
                    continue;
                }
                let payloads =
                    if camera.is_one_stream { camera.encode_layers() } else { camera.encode(encoding) };
                let last = payloads.len() - 1;
                for (at, payload) in payloads.into_iter().enumerate() {
                    queue.push((encoding, rid, at == last, payload));
                }
            }
            // Over half of the frame's time, and sound twice.
            let (each, mut queue) = (queue.len().div_ceil(20).max(1), queue.into_iter());
            for millisecond in 0..FRAME.as_millis() {
                if millisecond % 20 == 0 {
                    self.send(n, Audio, &[7; 120]);
                }
                for (encoding, rid, is_last, payload) in queue.by_ref().take(each) {
                    let (seq, ..) = &mut camera.next[encoding];
                    *seq += 1;
                    let time = camera.frames * 3600 + encoding as u32 * 1_000_000_000;
                    self.send_encoded(n, streams > 1, rid, (*seq, time, is_last), payload);
                }
                self.run_for(Duration::from_millis(1));
            }
        }
    }

    fn send_encoded(
        &mut self,
        n: usize,
        is_simulcast: bool,
        rid: Rid,
        (seq, time, marker): (u64, u32, bool),
        payload: Vec<u8>,
    ) {
        let client = &mut self.clients[n];
        let pt = client.payload_type(Video).expect("a negotiated codec").pt();
        let write =
            RtpWrite::new(pt, SeqNo::from(seq), time, self.now, payload).marker(marker).nackable(true);
        let mut api = client.rtc.direct_api();
        let track = api.stream_tx_by_mid(client.mids[&Video], is_simulcast.then_some(rid));
        track.expect("a sending encoding").write_rtp(write);
        client.wakes_at = self.now;
    }
}

impl Client {
    /// What was received of the camera's video since the n-th packet, in the order of its numbers.
    pub fn pictures(&self, since: usize) -> Vec<Picture> {
        let vp8 = self.payload_type(Video).expect("a negotiated codec").pt();
        let packets = self.received.iter().zip(&self.received_at).skip(since);
        let mut packets: Vec<(&RtpPacket, Instant)> =
            packets.filter(|(p, _)| p.header.payload_type == vp8).map(|(p, at)| (p, *at)).collect();
        packets.sort_by_key(|(packet, _)| *packet.seq_no);
        let mut pictures: Vec<Picture> = Vec::new();
        let (mut parts, mut before) = (0, None);
        for (packet, at) in packets {
            let bytes = &packet.payload;
            if bytes[0] & 0x10 != 0 {
                parts = 0;
            } else if before != Some(*packet.seq_no - 1) {
                parts = usize::MAX / 2;
            }
            (parts, before) = (parts + 1, Some(*packet.seq_no));
            if packet.header.marker && parts < usize::MAX / 2 {
                pictures.push(Picture {
                    at,
                    encoding: bytes[7],
                    number: u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
                    is_key: bytes[6] & 1 == 0,
                    id: u16::from_be_bytes([bytes[2] & 0x7f, bytes[3]]),
                    base: bytes[4],
                    timestamp: packet.time.numer() as u32,
                });
            }
        }
        pictures
    }

    /// The same where the camera's layers are in one stream: pictures as far as they can be shown, in the size of their highest layer that can be. Numbers
    /// that step back fail the story.
    pub fn decoded_layers(&self) -> Vec<Picture> {
        let vp9 = self.payload_type(Video).expect("a negotiated codec").pt();
        let packets = self.received.iter().zip(&self.received_at);
        let mut packets: Vec<(&RtpPacket, Instant)> =
            packets.filter(|(p, _)| p.header.payload_type == vp9).map(|(p, at)| (p, *at)).collect();
        packets.sort_by_key(|(packet, _)| *packet.seq_no);
        let of_picture = |one: &(&RtpPacket, Instant), other: &(&RtpPacket, Instant)| {
            one.0.payload[1..3] == other.0.payload[1..3]
        };
        let (mut shown, mut before): (Vec<Picture>, (u16, Vec<u8>)) = (Vec::new(), (0, Vec::new()));
        for packets in packets.chunk_by(of_picture) {
            let first = &packets[0].0.payload;
            let (id, is_key) = (u16::from_be_bytes([first[1] & 0x7f, first[2]]), first[5] == 0);
            assert!(before.1.is_empty() || (1..1000).contains(&(id.wrapping_sub(before.0) & 0x7fff)));
            let goes_on = id.wrapping_sub(before.0) & 0x7fff == 1;
            let layers = packets.chunk_by(|one, other| one.0.payload[7] == other.0.payload[7]);
            let mut whole = Vec::new();
            for packets in layers {
                let (layer, in_order) = (packets[0].0.payload[7], packets.array_windows());
                let has_all = packets[0].0.payload[0] & 8 != 0
                    && packets[packets.len() - 1].0.payload[0] & 4 != 0
                    && in_order.clone().all(|[one, next]| *next.0.seq_no == *one.0.seq_no + 1);
                let leans_on = if is_key { layer == 0 || whole.contains(&(layer - 1)) } else { false };
                if has_all && (leans_on || (!is_key && goes_on && before.1.contains(&layer))) {
                    whole.push(layer);
                }
            }
            if let Some(encoding) = whole.last().copied() {
                let (last, at) = packets[packets.len() - 1];
                let number = u32::from_be_bytes([first[8], first[9], first[10], first[11]]);
                let timestamp = last.time.numer() as u32;
                shown.push(Picture { at, encoding, number, is_key, id, base: first[4], timestamp });
            }
            before = (id, whole);
        }
        shown
    }

    /// The pictures that a decoder can show: each begins with a key frame or goes on from the one before. Numbers that step back or, without
    /// a loss, leave something out, fail the story.
    pub fn decoded(&self, since: usize) -> Vec<Picture> {
        let mut shown: Vec<Picture> = Vec::new();
        let mut before: Option<Picture> = None;
        for picture in self.pictures(since) {
            if let Some(before) = before {
                let ids = picture.id.wrapping_sub(before.id) & 0x7fff;
                assert!((1..1000).contains(&ids), "{before:?} {picture:?}");
                assert!(
                    picture.timestamp.wrapping_sub(before.timestamp) < 90_000 * 60,
                    "{before:?} {picture:?}"
                );
                assert_eq!(ids as u8, picture.base.wrapping_sub(before.base), "{before:?} {picture:?}");
            }
            let goes_on = shown.last().is_some_and(|last| {
                last.encoding == picture.encoding && picture.id.wrapping_sub(last.id) & 0x7fff == 1
            });
            if picture.is_key || goes_on {
                shown.push(picture);
            }
            before = Some(picture);
        }
        shown
    }
}
