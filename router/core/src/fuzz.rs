//! What `make fuzz` feeds: everything that a stranger can send to a router, with what must hold whatever comes.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use duocast_media::Kind;
use duocast_model::{CallId, Frames, Generation, LegId, RoutePlan};
use str0m::crypto::from_feature_flags;
use str0m::ice::StunMessage;

use crate::demux::{Demux, LegKey};
use crate::offer::{self, IceSecret, OfferError};
use crate::wire::{Datagram, Link, MAX_DATAGRAM_BYTES, Path, rtp_ssrc};
use crate::{Shard, ShardConfig, bare, check};

/// A target: its name, which is that of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of this crate.
pub const TARGETS: &[Target] =
    &[("bare", bare), ("demux", demux), ("check", check), ("offer", offer), ("sdp", sdp), ("shard", shard)];

/// An offer as short as it can be.
const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
    a=fingerprint:sha-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF\r\n\
    a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=ssrc:1 cname:x\r\n";

const SECRETS: [IceSecret; 2] = [IceSecret([1; 24]), IceSecret([2; 24])];

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, n], 5000))
}

/// A question without a user name, and its answer.
fn bare(input: &[u8]) {
    let Some(request) = bare::parse(input) else { return };
    for source in [address(1), "[2001:db8::7]:9".parse().expect("an address")] {
        let answer = bare::answer(&request, source);
        assert!(answer.len() < 64 && answer.len().is_multiple_of(4));
        assert_eq!(answer[4..20], input[4..20], "the question's cookie and transaction");
        let port = u16::from_be_bytes([answer[26] ^ answer[4], answer[27] ^ answer[5]]);
        assert_eq!((&answer[..2], port), (&[1, 1][..], source.port()));
        assert_eq!(usize::from(u16::from_be_bytes([answer[2], answer[3]])), answer.len() - 20);
    }
}

/// Whose is it? From an address that is known and from one that is not, with a user and an SSRC that are known.
fn demux(input: &[u8]) {
    let mut demux = Demux::default();
    demux.set_user(LegKey(1), "user");
    demux.learn_ssrc(LegKey(2), 7);
    let path = |n| Path { link: Link::Udp(0), local: None, remote: address(n) };
    demux.learn_address(LegKey(3), path(3).source());
    let [known, stranger] = [3, 4].map(|n| demux.classify(&Datagram { path: path(n), contents: input }));
    let by_name = |leg| [LegKey(1), LegKey(2)].contains(&leg);
    assert!(stranger.is_ok_and(|found| by_name(found.leg)) || stranger.is_err());
    match Kind::of(input).filter(|_| input.len() <= MAX_DATAGRAM_BYTES) {
        None => assert!(known.is_err()),
        Some(Kind::Stun) => assert_eq!(known, stranger, "a check names its leg itself"),
        Some(_) => assert!(known.is_ok_and(|found| found.leg == LegKey(3))),
    }
    if Kind::of(input) == Some(Kind::Rtp) {
        assert!(rtp_ssrc(input).is_some());
    }
}

/// str0m's answer to a check, as it leaves: never longer than what a check is.
fn check(input: &[u8]) {
    if let Some(answer) = check::answer_to(address(1), input.to_vec().into(), "password") {
        assert!(answer.len() <= input.len().max(100));
    }
}

/// The guard in front of str0m's own parser: what it lets through it lets through again, and holds no candidate.
fn offer(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(checked) = offer::check(text) else { return };
    assert!(!checked.sdp.lines().any(|line| line.starts_with("a=candidate")));
    let again = offer::check(&checked.sdp).expect("what was let through");
    assert_eq!(
        (again.sdp, again.fingerprint, again.lines),
        (checked.sdp, checked.fingerprint, checked.lines)
    );
}

/// An offer through the guard and str0m: answered or refused, and a refused one leaves no leg.
fn sdp(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (mut shard, now, call, legs) = open();
    let answer = shard.handle_offer(now, call, legs[0], text, &SECRETS[0]);
    assert_ne!(answer, Err(OfferError::Internal), "the engine panicked");
    assert_eq!(shard.leg_count(), usize::from(answer.is_ok()));
}

#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
fn open() -> (Shard, Instant, CallId, [LegId; 2]) {
    let announced = vec![([198, 51, 100, 7], 4000).into()];
    let mut shard = Shard::new(ShardConfig { announced, announced_tcp: Vec::new(), max_legs: 4 });
    let (now, call, legs) = (Instant::now(), CallId::from_u128(1), [2, 3].map(LegId::from_u128));
    let plan = RoutePlan::new(call, Generation(1), legs.to_vec(), Vec::new()).expect("a valid plan");
    assert!(shard.handle_plan(now, &plan).applied);
    (shard, now, call, legs)
}

/// A shard with two legs that wait for their clients. The input is frames, as on TCP; the first byte of each says who sends
/// the rest (two bits), how (one), and how much later (five).
///
/// Nothing is ever sent to somebody who has not proven to know a leg's password.
fn shard(input: &[u8]) {
    let (mut shard, mut now, call, legs) = open();
    for (leg, secret) in legs.into_iter().zip(&SECRETS) {
        shard.handle_offer(now, call, leg, OFFER, secret).expect("a good offer");
    }
    let mut proven = HashSet::new();
    let mut frames = Frames::new(input, MAX_DATAGRAM_BYTES);
    while let Ok(Some(frame)) = frames.next_frame() {
        let Some((&how, contents)) = frame.split_first() else { continue };
        now += Duration::from_millis(u64::from(how >> 3) * 40);
        let link = if how & 4 == 0 { Link::Udp(0) } else { Link::Tcp(u64::from(how & 3)) };
        let path = Path { link, local: None, remote: address(how & 3) };
        if shard.poll_timeout().is_some_and(|(at, _)| at <= now) {
            shard.handle_timeout(now);
        }
        if is_authentic(contents) {
            proven.insert(path.remote);
        }
        shard.handle_packets(now, &[Datagram { path, contents }]);
        while let Some(transmit) = shard.poll_transmit() {
            assert!(proven.contains(&transmit.path.remote), "sent to a stranger");
        }
        while shard.poll_event().is_some() {}
    }
    if shard.poll_timeout().is_some_and(|(at, _)| at <= now) {
        shard.handle_timeout(now);
    }
    assert_eq!(shard.counters().panics, 0, "the engine panicked");
    shard.handle_synced(now, &HashSet::new());
    assert_eq!((shard.leg_count(), shard.call_count()), (0, 0));
}

/// A check that knows the password of the leg that it names.
fn is_authentic(contents: &[u8]) -> bool {
    let Ok(message) = StunMessage::parse(contents) else { return false };
    let Some((user, _)) = message.split_username() else { return false };
    let credentials = SECRETS.each_ref().map(IceSecret::credentials);
    let of_leg = credentials.iter().find(|credentials| credentials.ufrag == user);
    let hmac = from_feature_flags().sha1_hmac_provider;
    of_leg.is_some_and(|of| message.verify(of.pass.as_bytes(), |key, parts| hmac.sha1_hmac(key, parts)))
}

#[cfg(test)]
#[path = "../../../fuzz/corpus.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use std::fs;

    use str0m::ice::TransId;

    use super::*;

    fn authentic_check(nominates: bool) -> Vec<u8> {
        let credentials = SECRETS[0].credentials();
        let user = format!("{}:abcd", credentials.ufrag);
        let message = StunMessage::binding_request(&user, TransId::new(), true, 7, 99, nominates);
        let hmac = from_feature_flags().sha1_hmac_provider;
        let mut bytes = vec![0; 512];
        let sign = |key: &[u8], parts: &[&[u8]]| hmac.sha1_hmac(key, parts);
        let len = message.to_bytes(Some(credentials.pass.as_bytes()), &mut bytes, sign).unwrap();
        bytes.truncate(len);
        bytes
    }

    #[test]
    #[ignore = "writes the first inputs of the corpus"]
    fn seeds() {
        let keep = |target: &str, name: &str, bytes: &[u8]| {
            fs::create_dir_all(corpus::folder(target)).unwrap();
            fs::write(corpus::folder(target).join(name), bytes).unwrap();
        };
        let bare = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2];
        let mut rtp = vec![0x80, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7];
        rtp.extend([5; 40]);
        let rtcp = [0x81, 200, 0, 6, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let hello = include_bytes!("../tests/fixtures/client-hello.bin");
        let (check, nominating) = (authentic_check(false), authentic_check(true));
        assert!(is_authentic(&check));
        keep("bare", "request", &bare);
        for (name, bytes) in
            [("bare", &bare[..]), ("rtp", &rtp), ("rtcp", &rtcp), ("hello", hello), ("check", &check)]
        {
            keep("demux", name, bytes);
        }
        let hmac = from_feature_flags().sha1_hmac_provider;
        let mut reply = vec![0; 256];
        let message = StunMessage::binding_reply(TransId::new(), address(9));
        let len = message.to_bytes(Some(b"password"), &mut reply, |k, p| hmac.sha1_hmac(k, p)).unwrap();
        keep("check", "reply", &reply[..len]);
        keep("check", "request", &check);
        let chromium = include_bytes!("../tests/fixtures/chromium-offer.sdp");
        for target in ["offer", "sdp"] {
            keep(target, "short", OFFER.as_bytes());
            keep(target, "chromium", chromium);
        }
        let frame = |how: u8, contents: &[u8]| {
            let mut bytes = (contents.len() as u16 + 1).to_be_bytes().to_vec();
            bytes.push(how);
            bytes.extend_from_slice(contents);
            bytes
        };
        let story = [
            frame(0, &nominating),
            frame(1, hello),
            frame(0, hello),
            frame(2, &rtp),
            frame(3, &bare),
            frame(0x40, &rtcp),
            frame(5, &check),
            frame(0xf8, hello),
        ];
        keep("shard", "story", &story.concat());
        keep("shard", "stranger", &[frame(1, hello), frame(2, &rtp), frame(3, &bare)].concat());
    }
}
