//! A leg between the two parties themselves: full ICE on both sides, and candidates that come apart from the descriptions.

use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use str0m::Candidate;
use str0m::change::{SdpAnswer, SdpOffer};

use super::{Outgoing, Peer, PeerConfig, PeerError, build};

/// Longest time between two checks of a quiet path. Four answers may be missed before a path is taken for dead; higher
/// makes that less sure, lower sends more.
const CHECK_MAX: Duration = Duration::from_millis(250);

/// Most candidates of the other party that are tried; control passes on 8. Higher lets the other party have checks sent to
/// more addresses.
const REMOTE_CANDIDATES_MAX: usize = 8;

/// An address at which the other party may reach this device. Its `Debug` shows none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LocalCandidate {
    /// Where the socket is bound.
    pub base: SocketAddr,
    /// How the world sees it, if that is known and different.
    pub mapped: Option<SocketAddr>,
}

duocast_model::assert_unshown!(LocalCandidate);
duocast_model::assert_not_impl!(LocalCandidate: serde::Serialize);

impl fmt::Debug for LocalCandidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCandidate").field("mapped", &self.mapped.is_some()).finish_non_exhaustive()
    }
}

impl Peer {
    /// Makes a direct leg and its offer, which names `candidates`. Take the answer with [`Peer::accept_direct_answer`].
    pub fn offer_direct(
        now: Instant,
        config: PeerConfig,
        candidates: &[LocalCandidate],
    ) -> Result<(Self, String), PeerError> {
        let mut rtc = build(now, &config, CHECK_MAX);
        add_local(&mut rtc, candidates)?;
        let (mut peer, offer) = Self::offer_on(now, rtc, &config);
        peer.local = candidates.first().map(|candidate| candidate.base);
        Ok((peer, offer))
    }

    /// Makes a direct leg from the other party's offer, and the answer, which names `candidates`.
    pub fn answer_direct(
        now: Instant,
        config: PeerConfig,
        offer: &str,
        candidates: &[LocalCandidate],
    ) -> Result<(Self, String), PeerError> {
        let mut rtc = build(now, &config, CHECK_MAX);
        add_local(&mut rtc, candidates)?;
        // The engine answers "passive" to a party that could be either: told this, it answers "active".
        let offer = offer.replace("a=setup:actpass", "a=setup:passive");
        let answered = guarded(|| {
            let offer = SdpOffer::from_sdp_string(&offer).ok()?;
            rtc.sdp_api().accept_offer(offer).ok()
        });
        let answer = answered.ok_or(PeerError::Description)?.to_sdp_string();
        let line = |kind: &str| mid_of(&answer, kind).map(|mid| Outgoing::new(mid.into()));
        let audio = line("audio").ok_or(PeerError::Description)?;
        let video = line("video").filter(|_| config.video);
        let mut peer = Self::new(now, rtc, audio, video, &config);
        peer.local = candidates.first().map(|candidate| candidate.base);
        peer.learn_payload_types();
        peer.step(now);
        Ok((peer, answer))
    }

    /// Takes the other party's answer. Errors: [`PeerError`]; the leg is useless then.
    pub fn accept_direct_answer(&mut self, now: Instant, answer: &str) -> Result<(), PeerError> {
        let pending = self.pending.take().ok_or(PeerError::NoOffer)?;
        let rtc = &mut self.rtc;
        let accepted = guarded(|| {
            let answer = SdpAnswer::from_sdp_string(answer).ok()?;
            rtc.sdp_api().accept_answer(pending, answer).ok()
        });
        accepted.ok_or(PeerError::Description)?;
        self.learn_payload_types();
        self.step(now);
        Ok(())
    }

    /// Adds the other party's candidates (`candidate:…`, RFC 8839 section 5.1) and starts checking. Those that make no
    /// sense are left out; gives how many were added.
    pub fn add_remote_candidates(&mut self, now: Instant, candidates: &[String]) -> usize {
        let readable = candidates.iter().filter_map(|line| Candidate::from_sdp_string(line).ok());
        let mut added = 0;
        for candidate in readable.take(REMOTE_CANDIDATES_MAX) {
            self.rtc.add_remote_candidate(candidate);
            added += 1;
        }
        self.step(now);
        added
    }
}

/// The engine is known to panic on some descriptions; another party's must not end the task.
fn guarded<T>(parse: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(parse)).ok().flatten()
}

fn add_local(rtc: &mut str0m::Rtc, candidates: &[LocalCandidate]) -> Result<(), PeerError> {
    for LocalCandidate { base, mapped } in candidates {
        let host = Candidate::host(*base, "udp").map_err(|_| PeerError::LocalAddress)?;
        rtc.add_local_candidate(host);
        let mapped = mapped.filter(|mapped| mapped != base);
        if let Some(candidate) = mapped.and_then(|m| Candidate::server_reflexive(m, *base, "udp").ok()) {
            rtc.add_local_candidate(candidate);
        }
    }
    Ok(())
}

/// The mid of the first m-line of this kind that was not rejected.
fn mid_of<'a>(sdp: &'a str, kind: &str) -> Option<&'a str> {
    let section = sdp.split("\r\nm=").skip(1).find(|section| {
        let mut words = section.split(' ');
        words.next() == Some(kind) && words.next() != Some("0")
    })?;
    section.lines().find_map(|line| line.strip_prefix("a=mid:"))
}

#[cfg(test)]
mod tests;
