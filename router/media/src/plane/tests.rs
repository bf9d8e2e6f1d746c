//! Two planes against each other in virtual time: one is a router's, the other stands for its client.
#![expect(clippy::disallowed_methods, reason = "a start for virtual time")]

use std::num::NonZeroU8;

use str0m::crypto::dtls::SrtpProfile;

use super::*;
use crate::frame::Codec;

const PT: u8 = 96;
const REPAIR_PT: u8 = 97;
const SSRC: u32 = 7;
const REPAIR_SSRC: u32 = 8;

struct Pair {
    now: Instant,
    mid: Mid,
    router: MediaPlane,
    client: MediaPlane,
    queue: Outbox<()>,
}

fn config(mid: Mid) -> MediaConfig {
    let payload = Payload {
        payload_type: PT,
        repair: Some(REPAIR_PT),
        clock_rate: 90_000,
        is_asked_for: true,
        is_redundant: false,
        codec: Codec::Vp8,
    };
    let ids =
        ExtensionIds { mid: NonZeroU8::new(4), transport_number: NonZeroU8::new(3), ..Default::default() };
    let sends = Some((SSRC, Some(REPAIR_SSRC)));
    let track = TrackConfig {
        mid,
        payloads: vec![payload],
        encodings: Vec::new(),
        ids,
        sends,
        cname: "name".to_owned(),
    };
    MediaConfig { tracks: vec![track], announced: Vec::new(), wants_arrivals: true }
}

impl Pair {
    fn new() -> Self {
        let (now, mid) = (Instant::now(), Mid::from("v"));
        let keys = Keys { profile: SrtpProfile::AEAD_AES_128_GCM, material: (0..56).collect() };
        let plane = |ssrc, side| {
            let mut plane = MediaPlane::new(now, ssrc);
            plane.configure(now, config(mid));
            assert!(plane.start(&keys, side));
            plane
        };
        let (router, client) = (plane(1, Side::Server), plane(2, Side::Client));
        Self { now, mid, router, client, queue: Outbox::default() }
    }

    /// The client sends a packet with this number: the datagram, or nothing.
    fn send(&mut self, sequence_number: u64) -> Option<Vec<u8>> {
        let write = crate::fuzz::packet(self.now, sequence_number);
        let bytes = sequence_number.to_be_bytes();
        let mut sink = Sink { queue: &mut self.queue, path: Some(()) };
        let is_sent = self.client.write(self.now, self.mid, &write, &bytes, &mut sink);
        let sent = self.queue.pop().map(|((), contents)| contents.to_vec());
        assert_eq!(is_sent, sent.is_some());
        sent
    }

    /// The router takes a datagram: number and payload of the packet that comes of it.
    fn receive(&mut self, datagram: &[u8]) -> Option<(u64, Vec<u8>)> {
        let mut bytes = Vec::new();
        let received = self.router.receive(self.now, datagram, &mut bytes).unwrap()?;
        received.packet.map(|packet| (packet.sequence_number, bytes[packet.payload].to_vec()))
    }

    /// The router does what is due; the client takes it: what the client sends because of that.
    fn finish(&mut self) -> Vec<Vec<u8>> {
        self.router.finish(self.now, &mut Sink { queue: &mut self.queue, path: Some(()) });
        let mut from_router = Vec::new();
        while let Some(((), contents)) = self.queue.pop() {
            from_router.push(contents.to_vec());
        }
        for datagram in from_router {
            let mut sink = Sink { queue: &mut self.queue, path: Some(()) };
            let taken =
                self.client.receive_rtcp(self.now, &datagram, &mut Vec::new(), &mut Vec::new(), &mut sink);
            assert_eq!(taken, Ok(true));
        }
        std::iter::from_fn(|| self.queue.pop().map(|((), contents)| contents.to_vec())).collect()
    }
}

#[test]
fn no_number_is_encrypted_twice_whatever_is_asked_for() {
    let mut pair = Pair::new();
    assert!(pair.send(1000).is_some());
    assert_eq!(pair.send(1000), None);
    assert!(pair.send(2000).is_some() && pair.send(1999).is_some());
    assert_eq!(pair.send(1999), None);
    assert_eq!(pair.send(1000), None, "too old to know");
    let mut again = config(pair.mid);
    again.tracks[0].payloads.clear();
    pair.client.configure(pair.now, again);
    pair.client.configure(pair.now, config(pair.mid));
    assert_eq!(pair.send(2000), None, "another offer does not make the keys new");
}

#[test]
fn a_lost_packet_is_asked_for_repeated_and_put_in_its_place_once() {
    let mut pair = Pair::new();
    let datagrams: Vec<Vec<u8>> = (65_530..65_545).map(|number| pair.send(number).unwrap()).collect();
    // In the order of their 16 bits, in which they are asked for.
    let lost = [6, 9, 5];
    for (n, datagram) in datagrams.iter().enumerate().filter(|(n, _)| !lost.contains(n)) {
        let number = 65_530 + n as u64;
        assert_eq!(pair.receive(datagram), Some((number, number.to_be_bytes().to_vec())));
        assert_eq!(pair.receive(datagram), None, "only once");
    }
    let repeated = pair.finish();
    assert_eq!(repeated.len(), lost.len());
    for (n, datagram) in lost.iter().zip(&repeated) {
        let number = 65_530 + *n as u64;
        assert_eq!(pair.receive(datagram), Some((number, number.to_be_bytes().to_vec())));
        assert_eq!(pair.receive(&datagrams[*n]), None, "the late original");
    }
    pair.now += Duration::from_millis(200);
    assert!(pair.finish().is_empty(), "nothing is missing any more");
}

#[test]
fn both_report_and_the_round_trip_is_known() {
    let mut pair = Pair::new();
    for number in 1000..1200 {
        let datagram = pair.send(number).unwrap();
        pair.now += Duration::from_millis(20);
        pair.receive(&datagram);
        pair.finish();
        pair.client.finish(pair.now, &mut Sink { queue: &mut pair.queue, path: Some(()) });
        while let Some(datagram) = pair.queue.pop().map(|((), contents)| contents.to_vec()) {
            pair.now += Duration::from_millis(5);
            let mut elsewhere = Outbox::default();
            let mut sink = Sink { queue: &mut elsewhere, path: Some(()) };
            let (mut bytes, mut wishes) = (Vec::new(), Vec::new());
            let taken = pair.router.receive_rtcp(pair.now, &datagram, &mut bytes, &mut wishes, &mut sink);
            assert_eq!(taken, Ok(true));
        }
    }
    let source = pair.router.receiver.sources().next().unwrap();
    assert!(source.reception.report().is_some(), "the client said when its timestamps are");
    let round_trip = pair.router.round_trip.expect("the client gave our time back");
    assert!((4..=6).contains(&round_trip.as_millis()), "{round_trip:?}");
}

/// The transport-wide numbers of packets 20 ms apart: their identifiers and how long they are.
fn numbers(pair: &mut Pair, of: std::ops::Range<u64>) -> Vec<(u8, usize)> {
    let each = of.map(|number| {
        pair.now += Duration::from_millis(20);
        let datagram = pair.send(number).unwrap();
        let extensions = crate::rtp::Header::read(&datagram).unwrap().extensions;
        let of_transport: Vec<_> = extensions.filter(|(id, _)| [3, 7].contains(id)).collect();
        assert_eq!(of_transport.len(), 1, "{of_transport:?}");
        (of_transport[0].0, of_transport[0].1.len())
    });
    each.collect()
}

#[test]
fn who_can_be_asked_for_reports_is_asked_and_told_plain_numbers_if_it_never_answers() {
    const PLAIN: (u8, usize) = (3, 2);
    const ASKS: (u8, usize) = (7, 4);
    const ASKS_NOT: (u8, usize) = (7, 2);
    let mut pair = Pair::new();
    let mut asked = config(pair.mid);
    asked.tracks[0].ids.report_request = NonZeroU8::new(7);
    pair.client.configure(pair.now, asked);
    pair.client.set_demand(pair.now, Some(Demand { wanted: 1_000_000 }));
    assert_eq!(numbers(&mut pair, 1000..1010), [PLAIN; 10], "it reported nothing yet");
    pair.now += Duration::from_millis(20);
    let datagram = pair.send(1010).unwrap();
    pair.receive(&datagram);
    pair.finish();
    let told = numbers(&mut pair, 1011..1200);
    assert_eq!(told[0], ASKS, "it has now");
    assert!(told[..10].contains(&ASKS_NOT), "not with each: {told:?}");
    let asked = told.iter().filter(|one| **one == ASKS).count();
    let from = told.iter().position(|one| *one == PLAIN).expect("it never answers");
    assert!((20..=40).contains(&asked), "{asked}");
    assert!(told[from..].iter().all(|one| *one == PLAIN), "{told:?}");
}

#[test]
fn who_cannot_be_asked_for_reports_is_told_plain_numbers() {
    let mut pair = Pair::new();
    pair.client.set_demand(pair.now, Some(Demand { wanted: 1_000_000 }));
    assert_eq!(numbers(&mut pair, 1000..1100), [(3, 2); 100]);
}

#[test]
fn no_datagram_makes_the_plane_panic_or_lets_a_stranger_in() {
    let mut pair = Pair::new();
    let mut seed = 5_u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    };
    let valid: Vec<Vec<u8>> = (1000..1010).map(|number| pair.send(number).unwrap()).collect();
    for datagram in &valid[..5] {
        pair.receive(datagram);
    }
    for _ in 0..20_000 {
        let mut junk = valid[random() as usize % valid.len()].clone();
        for _ in 0..=random() % 4 {
            let at = random() as usize % junk.len();
            match random() % 3 {
                0 => junk[at] ^= 1 + (random() % 255) as u8,
                1 => junk.truncate(at.max(1)),
                _ => junk.extend((0..random() % 30).map(|n| n as u8)),
            }
        }
        if valid.contains(&junk) {
            continue;
        }
        let mut bytes = Vec::new();
        let received = pair.router.receive(pair.now, &junk, &mut bytes);
        assert!(matches!(received, Err(_) | Ok(None)));
        let mut sink = Sink { queue: &mut pair.queue, path: Some(()) };
        assert!(pair.router.receive_rtcp(pair.now, &junk, &mut bytes, &mut Vec::new(), &mut sink).is_err());
    }
    assert_eq!(pair.receive(&valid[9]).map(|(number, _)| number), Some(1009));
}
