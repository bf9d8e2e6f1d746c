//! What `make fuzz` feeds the media plane. Only its client can seal a packet, so most targets stand behind that.

use std::num::NonZeroU8;
use std::time::{Duration, Instant};

use duocast_model::Frames;
use str0m::crypto::dtls::SrtpProfile;
use str0m::media::Mid;

use crate::bandwidth::{Bandwidth, Demand};
use crate::extensions::{AskingNumber, ExtensionIds, Extensions, OwnValues};
use crate::feedback::{self, Said};
use crate::frame::{Base, Codec, Frame, PictureId, Renumbered};
use crate::plane::MAX_REPEATED;
use crate::red::{self, Blocks, MAX_EARLIER};
use crate::rtp::{Header, Outgoing, unpadded};
use crate::srtp::Contexts;
use crate::{
    Announced, Keys, MediaConfig, MediaPlane, Outbox, Packet, Payload, Side, Sink, TrackConfig, Write,
};

/// A target: its name, which is that of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of this crate.
pub const TARGETS: &[Target] =
    &[("rtp", rtp), ("frame", frame), ("rtcp", rtcp), ("srtp", srtp), ("media", media)];

const PROFILES: [(SrtpProfile, usize); 3] = [
    (SrtpProfile::AES128_CM_SHA1_80, 60),
    (SrtpProfile::AEAD_AES_128_GCM, 56),
    (SrtpProfile::AEAD_AES_256_GCM, 88),
];

/// What the client of `media` sends and receives.
const MEDIA: (u8, u32) = (96, 20);
const REPAIR: (u8, u32) = (97, 21);
const SENT: u32 = 7;

/// Its sound, on the same track: plain, and redundant.
const SOUND: u8 = 111;
const REDUNDANT: u8 = 63;

/// Longest datagram: what the router looks at.
const MAX_DATAGRAM_BYTES: usize = 1500;

/// Longest answer to one datagram: all that may be repeated, and what is due.
const MAX_ANSWERS: usize = MAX_REPEATED + 64;

#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
fn start() -> Instant {
    Instant::now()
}

fn contexts((profile, len): (SrtpProfile, usize)) -> (Keys, Contexts) {
    let keys = Keys { profile, material: (0..len as u8).collect() };
    let contexts = Contexts::new(&keys, Side::Server).expect("good keys");
    (keys, contexts)
}

/// All that there are, as browsers number them.
pub(super) fn ids() -> ExtensionIds {
    let id = NonZeroU8::new;
    ExtensionIds {
        mid: id(4),
        rid: id(10),
        repaired_rid: id(11),
        transport_number: id(3),
        report_request: id(7),
        send_time: id(2),
        audio_level: id(1),
        orientation: id(13),
        playout_delay: id(5),
        capture_time: id(6),
        descriptor: id(8),
    }
}

/// A header, its extensions and padding: what may pass is the same when it is read again. And redundant audio.
fn rtp(input: &[u8]) {
    let Some(header) = Header::read(input) else { return };
    assert!(header.len <= input.len());
    if let Some(payload) = unpadded(input, header.len..input.len(), header.has_padding) {
        assert!(payload.start == header.len && payload.end <= input.len());
    }
    if let Some(Blocks { primary, earlier }) = red::read(input, 0..input.len()) {
        assert!(primary.start <= primary.end && primary.end == input.len());
        let whole = earlier.iter().flatten().fold(primary.start, |end, block| {
            assert!(block.at.start <= block.at.end && block.at.end == end);
            block.at.start
        });
        assert!(whole > 0, "heads are in front of all blocks");
    }
    let (passed, found) = Extensions::of_publisher(&ids(), header.extensions);
    let outgoing = Outgoing {
        payload_type: header.payload_type,
        marker: header.marker,
        sequence_number: header.sequence_number,
        timestamp: header.timestamp,
        ssrc: header.ssrc,
        extensions: &passed,
        descriptor: found.descriptor.unwrap_or_default(),
        own: OwnValues {
            mid: Some("0"),
            send_time: Some([1; 3]),
            transport_number: Some([2; 2]),
            asking_number: Some(AskingNumber::new(3, Some(4))),
        },
    };
    let mut out = Vec::new();
    let len = outgoing.write(&ids(), &mut out);
    let again = Header::read(&out).expect("what was written");
    let (passed_again, found_again) = Extensions::of_publisher(&ids(), again.extensions);
    assert_eq!((again.len, again.timestamp, again.marker), (len, header.timestamp, header.marker));
    assert_eq!((passed_again, found_again.descriptor), (passed, found.descriptor));
    assert_eq!((found_again.mid, found_again.transport_number), (Some(&b"0"[..]), Some(0x0202)));
}

/// What packets say of their frames, one after the other. The input is frames, as on TCP; the first byte of each says the codec (two
/// bits), whether there is a descriptor (one) and how long it is (five); the payload follows it.
fn frame(input: &[u8]) {
    const CODECS: [Codec; 4] = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1];
    let mut structure = None;
    let mut frames = Frames::new(input, MAX_DATAGRAM_BYTES);
    while let Ok(Some(packet)) = frames.next_frame() {
        let Some((&how, rest)) = packet.split_first() else { continue };
        let (codec, has_descriptor) = (CODECS[usize::from(how & 3)], how & 4 != 0);
        let (descriptor, payload) = rest.split_at(usize::from(how >> 3).min(rest.len()));
        let (mut descriptor, mut payload) = (descriptor.to_vec(), payload.to_vec());
        let with = |descriptor: &[u8], payload: &[u8], structure: &mut _| {
            Frame::read(codec, payload, has_descriptor.then_some(descriptor), true, structure)
        };
        let read = with(&descriptor, &payload, &mut structure);
        let numbers = Renumbered {
            picture_id: read.picture_id.map(|id| PictureId { value: !id.value & 0x7f, ..id }),
            base: read.base.map(|base| Base { value: !base.value, ..base }),
            number: read.number.map(|number| !number),
        };
        numbers.apply_to_payload(&mut payload);
        numbers.apply_to_descriptor(&mut descriptor);
        let again = with(&descriptor, &payload, &mut structure);
        assert_eq!(
            (again.picture_id, again.base, again.number),
            (numbers.picture_id, numbers.base, numbers.number)
        );
        let rest = |frame: Frame| Frame { picture_id: None, base: None, number: None, ..frame };
        assert_eq!(rest(again), rest(read), "nothing else has changed");
    }
}

/// RTCP in the clear, and what a report does to an estimate.
fn rtcp(input: &[u8]) {
    let now = start();
    let mut bandwidth = Bandwidth::new(now, 0, Demand { wanted: 1_000_000 });
    for n in 0..600 {
        bandwidth.note_sent(now + Duration::from_millis(n), 1000);
    }
    let (mut said, now) = (0, now + Duration::from_millis(650));
    feedback::read(input, |one| {
        said += 1;
        match one {
            Said::Arrivals(report) => bandwidth.take_report(now, &report),
            Said::Carries { bits_per_second } => bandwidth.take_limit(now, bits_per_second),
            _ => {}
        }
    });
    assert!(said <= 17 * input.len() / 4, "one entry of a NACK names 17 packets");
    if let Some(estimate) = bandwidth.estimate(now) {
        assert!((30_000..=30_000_000).contains(&estimate.bits_per_second));
    }
}

/// Datagrams of a stranger: nothing opens, and nothing of them is left.
fn srtp(input: &[u8]) {
    for profile in PROFILES {
        let (_, contexts) = contexts(profile);
        let mut out = b"before".to_vec();
        if let Some(header) = Header::read(input) {
            let index = u64::from(header.sequence_number);
            assert!(!contexts.inbound.open_rtp(input, header.len, header.ssrc, index, &mut out));
            assert_eq!(out, b"before");
        }
        assert_eq!(contexts.inbound.open_rtcp(input, &mut out), None);
    }
}

/// The client's own datagrams. The input is frames, as on TCP; the first byte of each says whether it is RTCP (one bit) and how
/// much later it comes (five); the rest is what is sealed.
fn media(input: &[u8]) {
    let (mut now, mid) = (start(), Mid::from("0"));
    let (keys, contexts) = contexts(PROFILES[1]);
    let mut plane = MediaPlane::new(now, 1);
    let payload = Payload {
        payload_type: MEDIA.0,
        repair: Some(REPAIR.0),
        clock_rate: 90_000,
        is_asked_for: true,
        is_redundant: false,
        codec: Codec::Vp8,
    };
    let sound = |payload_type, is_redundant| Payload {
        payload_type,
        repair: None,
        clock_rate: 48_000,
        is_asked_for: true,
        is_redundant,
        codec: Codec::Other,
    };
    let sends = Some((SENT, Some(SENT + 1)));
    let track = TrackConfig {
        mid,
        payloads: vec![payload, sound(SOUND, false), sound(REDUNDANT, true)],
        encodings: Vec::new(),
        ids: ids(),
        sends,
        cname: "name".to_owned(),
    };
    let of = |ssrc, repairs| Announced { mid, ssrc, repairs };
    let announced = vec![of(MEDIA.1, None), of(REPAIR.1, Some(MEDIA.1))];
    plane.configure(now, MediaConfig { tracks: vec![track], announced, wants_arrivals: true });
    assert!(plane.start(&keys, Side::Server));
    plane.set_demand(now, Some(Demand { wanted: 1_000_000 }));

    let (mut queue, mut bytes, mut report, mut wishes) =
        (Outbox::default(), Vec::new(), Vec::new(), Vec::new());
    let mut frames = Frames::new(input, MAX_DATAGRAM_BYTES);
    let mut index = 0;
    while let Ok(Some(frame)) = frames.next_frame() {
        let Some((&how, contents)) = frame.split_first() else { continue };
        now += Duration::from_millis(u64::from(how >> 3) * 10);
        let mut sink = Sink { queue: &mut queue, path: Some(()) };
        plane.write(now, mid, &packet(now, 65_530 + u64::from(index)), b"payload!", &mut sink);
        let mut sealed = contents.to_vec();
        if how & 1 == 0 {
            let Some(header) = Header::read(contents) else { continue };
            let number = header.sequence_number.into();
            assert!(contexts.inbound.seal_rtp(&mut sealed, 0, header.len, header.ssrc, number));
            let _ = plane.receive(now, &sealed, &mut bytes);
            let recovered: Vec<Packet> = std::iter::from_fn(|| plane.poll_recovered()).collect();
            let is_there = |sound: &Packet| {
                let payload = bytes.get(sound.payload.clone());
                payload.is_some_and(|bytes| !bytes.is_empty()) && sound.payload_type == SOUND
            };
            assert!(recovered.len() <= MAX_EARLIER && recovered.iter().all(is_there));
            assert!(recovered.is_sorted_by(|one, next| one.sequence_number < next.sequence_number));
        } else if contexts.inbound.seal_rtcp(&mut sealed, 0, index) {
            let _ = plane.receive_rtcp(now, &sealed, &mut report, &mut wishes, &mut sink);
        }
        plane.finish(now, &mut sink);
        let answers = std::iter::from_fn(|| queue.pop().map(|((), contents)| contents.len()));
        let answers: Vec<usize> = answers.collect();
        assert!(answers.len() <= MAX_ANSWERS && answers.iter().all(|len| *len < 1400), "{answers:?}");
        assert!(wishes.len() <= 1 && bytes.len() <= input.len());
        index += 1;
    }
}

/// A packet of eight bytes to send, with this number.
pub(crate) fn packet(now: Instant, sequence_number: u64) -> Write {
    Write {
        payload_type: MEDIA.0,
        marker: false,
        sequence_number,
        timestamp: 3000_u32.wrapping_mul(sequence_number as u32),
        captured: now,
        clock_rate: 90_000,
        extensions: Extensions::default(),
        capture_time: None,
        descriptor: 0..0,
        payload: 0..8,
        is_repaired: true,
        begins: false,
        redundant: None,
        is_carried: false,
        renumbered: Renumbered::default(),
    }
}

#[cfg(test)]
#[path = "../../../fuzz/corpus.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    #[ignore = "writes the first inputs of the corpus"]
    fn seeds() {
        let keep = |target: &str, name: &str, bytes: &[u8]| {
            fs::create_dir_all(corpus::folder(target)).unwrap();
            fs::write(corpus::folder(target).join(name), bytes).unwrap();
        };
        let frame = |how: u8, contents: &[u8]| {
            let mut bytes = (contents.len() as u16 + 1).to_be_bytes().to_vec();
            bytes.push(how);
            bytes.extend_from_slice(contents);
            bytes
        };
        let mut rtp = vec![0x80, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7];
        rtp.extend([5; 40]);
        let rtcp = [0x81, 200, 0, 6, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        // One-byte extensions: level, MID, transport-wide number, descriptor.
        let mut extended = vec![0xb0, 96, 0, 9, 0, 0, 0, 1, 0, 0, 0, 20, 0xbe, 0xde, 0, 4];
        extended.extend([0x10, 0x85, 0x40, b'0', 0x31, 0, 7, 0x82, 1, 2, 3, 0x52, 0, 1, 2, 0]);
        extended.extend([1, 2, 3, 0, 0, 3]);
        let two_bytes =
            [&[0x90, 111, 0, 9, 0, 0, 0, 1, 0, 0, 0, 20, 0x10, 0, 0, 1][..], &[1, 1, 0x85, 0]].concat();
        let nack = [0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 7, 0xff, 0xfa, 0, 3];
        let twcc =
            [0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 7, 0, 1, 0, 3, 0, 0, 1, 0, 0x20, 3, 4, 8, 8, 0, 0, 0];
        let pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 7];
        let remb = [0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 9, 0, 5, 0, 0, 0, 7];
        let times = [0x80, 207, 0, 4, 0, 0, 0, 1, 4, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0];
        let packets = [("media", &rtp[..]), ("extended", &extended), ("two-bytes", &two_bytes)];
        let reports = [
            ("sender", &rtcp[..]),
            ("nack", &nack),
            ("twcc", &twcc),
            ("pli", &pli),
            ("remb", &remb),
            ("times", &times),
        ];
        packets.iter().for_each(|(name, bytes)| keep("rtp", name, bytes));
        reports.iter().for_each(|(name, bytes)| keep("rtcp", name, bytes));
        packets.iter().chain(&reports[..1]).for_each(|(name, bytes)| keep("srtp", name, bytes));
        let key = crate::descriptor::tests::two_by_two(7);
        let story = [
            frame(0, &[0x90, 0xf0, 0xff, 0xfe, 200, 0xa5, 0x00]),
            frame(1, &[0xaa, 0x81, 0x02, 0x00, 7, 0xff]),
            frame(2, &[0x78, 0, 1, 0x67, 0, 1, 0x68]),
            frame(7 | (key.len() as u8) << 3, &key),
            frame(7 | 3 << 3, &[0xbd, 0, 8, 1, 2]),
            frame(4 | 3 << 3, &[0xbe, 0, 9, 0x90, 0x80, 0x05, 0x01]),
        ];
        keep("frame", "story", &story.concat());
        let mut later = extended.clone();
        (later[3], later[19]) = (12, b'0');
        let story = [frame(0, &extended), frame(8, &later)];
        let story = story.into_iter().chain(reports.iter().map(|(_, bytes)| frame(0x51, bytes)));
        keep("media", "story", &story.collect::<Vec<_>>().concat());
        let spoken = |number: u8, payload_type: u8, payload: &[u8]| {
            let time = u32::from(number) * 960;
            let head = [&[0x80, payload_type, 0, number][..], &time.to_be_bytes(), &[0, 0, 0, 20]].concat();
            frame(0x10, &[&head, payload].concat())
        };
        let twice = [0x80 | SOUND, 0x1e, 0, 3, 0x80 | SOUND, 0x0f, 0, 3, SOUND, 4, 4, 4, 5, 5, 5, 6, 6, 6];
        let story = [
            spoken(1, SOUND, &[1; 3]),
            spoken(2, SOUND, &[2; 3]),
            spoken(6, REDUNDANT, &twice),
            spoken(5, SOUND, &[5; 3]),
            spoken(3, REDUNDANT, &twice[4..]),
        ];
        keep("media", "redundant", &story.concat());
    }
}
