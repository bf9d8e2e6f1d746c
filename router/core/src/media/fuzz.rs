//! What `make fuzz` feeds the media plane. Only its client can seal a packet, so most targets stand behind that.

use std::num::NonZeroU8;
use std::time::{Duration, Instant};

use duocast_model::Frames;
use str0m::crypto::dtls::SrtpProfile;
use str0m::media::Mid;

use super::bandwidth::{Bandwidth, Demand};
use super::extensions::{ExtensionIds, Extensions, OwnValues};
use super::feedback::{self, Said};
use super::frame::{Base, Codec, Frame, PictureId, Renumbered};
use super::red;
use super::rtp::{Header, Outgoing, unpadded};
use super::srtp::Contexts;
use super::{Announced, Keys, MAX_REPEATED, MediaConfig, MediaPlane, Payload, Sink, TrackConfig, Write};
use crate::transmits::TransmitQueue;
use crate::wire::{Link, MAX_DATAGRAM_BYTES, Path};

const PROFILES: [(SrtpProfile, usize); 3] = [
    (SrtpProfile::AES128_CM_SHA1_80, 60),
    (SrtpProfile::AEAD_AES_128_GCM, 56),
    (SrtpProfile::AEAD_AES_256_GCM, 88),
];

/// What the client of `media` sends and receives.
const MEDIA: (u8, u32) = (96, 20);
const REPAIR: (u8, u32) = (97, 21);
const SENT: u32 = 7;

/// Longest answer to one datagram: all that may be repeated, and what is due.
const MAX_ANSWERS: usize = MAX_REPEATED + 64;

#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
fn start() -> Instant {
    Instant::now()
}

fn contexts((profile, len): (SrtpProfile, usize)) -> (Keys, Contexts) {
    let keys = Keys { profile, material: (0..len as u8).collect() };
    let contexts = Contexts::of_server(&keys).expect("good keys");
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
        send_time: id(2),
        audio_level: id(1),
        orientation: id(13),
        playout_delay: id(5),
        descriptor: id(8),
    }
}

/// A header, its extensions and padding: what may pass is the same when it is read again. And redundant audio.
pub(crate) fn rtp(input: &[u8]) {
    let Some(header) = Header::read(input) else { return };
    assert!(header.len <= input.len());
    if let Some(payload) = unpadded(input, header.len..input.len(), header.has_padding) {
        assert!(payload.start == header.len && payload.end <= input.len());
    }
    if let Some(primary) = red::primary(input) {
        assert!(primary.start <= primary.end && primary.end == input.len());
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
        own: OwnValues { mid: Some("0"), send_time: Some([1; 3]), transport_number: Some([2; 2]) },
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
pub(crate) fn frame(input: &[u8]) {
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

/// A key frame's dependency descriptor, to begin with.
#[cfg(test)]
pub(crate) fn descriptor() -> Vec<u8> {
    super::descriptor::tests::two_by_two(7)
}

/// RTCP in the clear, and what a report does to an estimate.
pub(crate) fn rtcp(input: &[u8]) {
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
pub(crate) fn srtp(input: &[u8]) {
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
pub(crate) fn media(input: &[u8]) {
    let (mut now, mid) = (start(), Mid::from("0"));
    let (keys, contexts) = contexts(PROFILES[1]);
    let mut plane = MediaPlane::new(now, 1);
    let payload = Payload {
        payload_type: MEDIA.0,
        repair: Some(REPAIR.0),
        clock_rate: 90_000,
        is_redundant: false,
        codec: Codec::Vp8,
    };
    let sends = Some((SENT, Some(SENT + 1)));
    let track = TrackConfig {
        mid,
        payloads: vec![payload],
        encodings: Vec::new(),
        ids: ids(),
        sends,
        cname: "name".to_owned(),
    };
    let of = |ssrc, repairs| Announced { mid, ssrc, repairs };
    let announced = vec![of(MEDIA.1, None), of(REPAIR.1, Some(MEDIA.1))];
    plane.configure(now, MediaConfig { tracks: vec![track], announced, wants_arrivals: true });
    assert!(plane.start(&keys));
    plane.set_demand(now, Some(Demand { wanted: 1_000_000 }));

    let path = Path { link: Link::Udp(0), local: None, remote: ([203, 0, 113, 1], 5000).into() };
    let (mut queue, mut bytes, mut report, mut wishes) =
        (TransmitQueue::default(), Vec::new(), Vec::new(), Vec::new());
    let mut frames = Frames::new(input, MAX_DATAGRAM_BYTES);
    let mut index = 0;
    while let Ok(Some(frame)) = frames.next_frame() {
        let Some((&how, contents)) = frame.split_first() else { continue };
        now += Duration::from_millis(u64::from(how >> 3) * 10);
        let mut sink = Sink { queue: &mut queue, path: Some(path) };
        plane.write(now, mid, &packet(now, index), b"payload!", &mut sink);
        let mut sealed = contents.to_vec();
        if how & 1 == 0 {
            let Some(header) = Header::read(contents) else { continue };
            let number = header.sequence_number.into();
            assert!(contexts.inbound.seal_rtp(&mut sealed, 0, header.len, header.ssrc, number));
            let _ = plane.receive(now, &sealed, &mut bytes);
        } else if contexts.inbound.seal_rtcp(&mut sealed, 0, index) {
            let _ = plane.receive_rtcp(now, &sealed, &mut report, &mut wishes, &mut sink);
        }
        plane.finish(now, &mut sink);
        let answers = std::iter::from_fn(|| queue.pop().map(|transmit| transmit.contents.len()));
        let answers: Vec<usize> = answers.collect();
        assert!(answers.len() <= MAX_ANSWERS && answers.iter().all(|len| *len < 1400), "{answers:?}");
        assert!(wishes.len() <= 1 && bytes.len() <= input.len());
        index += 1;
    }
}

/// What the client is sent meanwhile.
fn packet(now: Instant, number: u32) -> Write {
    Write {
        payload_type: MEDIA.0,
        marker: false,
        sequence_number: 65_530 + u64::from(number),
        timestamp: 3000 * number,
        captured: now,
        clock_rate: 90_000,
        extensions: Extensions::default(),
        descriptor: 0..0,
        payload: 0..8,
        is_repaired: true,
        redundant: None,
        renumbered: Renumbered::default(),
    }
}
