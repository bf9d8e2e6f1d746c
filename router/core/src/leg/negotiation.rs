//! Offers and answers of a leg: str0m makes the answer, the media plane gets what it says.

use std::time::Instant;

use str0m::change::SdpOffer;
use str0m::media::{MediaKind, Mid};

use super::{Leg, Progress, Renegotiation};
use crate::forward::{Track, Tracks};
use crate::offer::{
    CheckedOffer, IceSecret, OfferError, accept_repeated_sound, accept_simulcast, plain_first,
    replace_credentials,
};
use duocast_media::{ExtensionIds, MediaConfig, TrackConfig};

impl Leg {
    /// What another offer means for this leg.
    pub(crate) fn renegotiation(&self, offer: &CheckedOffer) -> Renegotiation {
        if self.fingerprint != offer.fingerprint || self.progress == Progress::Closed {
            return Renegotiation::Replace;
        }
        match offer.lines.get(..self.lines.len()) {
            Some(same) if same == self.lines => Renegotiation::Continue,
            _ => Renegotiation::Refuse,
        }
    }

    /// Answers another offer of the same client: more tracks, other directions, or an ICE restart.
    pub(crate) fn accept_again(
        &mut self,
        now: Instant,
        offer: &CheckedOffer,
        secret: &IceSecret,
    ) -> Result<String, OfferError> {
        let before = self.rtc.direct_api().local_ice_credentials();
        let answer = self.negotiate(now, offer)?;
        let after = self.rtc.direct_api().local_ice_credentials();
        if before == after {
            return Ok(answer);
        }
        let fresh = secret.credentials();
        let answer = replace_credentials(&answer, &after, &fresh);
        self.rtc.direct_api().set_local_ice_credentials(fresh);
        Ok(answer)
    }

    /// Answers an offer, the first or another.
    pub(super) fn negotiate(&mut self, now: Instant, offer: &CheckedOffer) -> Result<String, OfferError> {
        let sdp = SdpOffer::from_sdp_string(&offer.sdp).map_err(|_| OfferError::Invalid)?;
        for (mid, ssrc, repair) in &self.sends {
            if self.rtc.media(*mid).is_some() {
                self.rtc.direct_api().declare_stream_tx(*ssrc, *repair, *mid, None);
            }
        }
        let answer = self.rtc.sdp_api().accept_offer(sdp).map_err(|_| OfferError::Invalid)?;
        self.rtc_wakes_at = Some(now);
        self.lines.clone_from(&offer.lines);
        // str0m rejects a line without a common codec by itself; a leg needs one that has some.
        let has_codec = |mid| self.rtc.media(mid).is_some_and(|media| !media.remote_pts().is_empty());
        if !self.media_lines().any(|(mid, _)| has_codec(mid)) {
            return Err(OfferError::NoCommonCodec);
        }
        self.take_simulcast(offer);
        self.take_streams(offer);
        let tracks =
            self.media_lines().filter_map(|(mid, _)| self.track_config(mid, offer.repeats_sound)).collect();
        let (announced, wants_arrivals) = (offer.announced.clone(), offer.wants_arrivals);
        self.media.configure(now, MediaConfig { tracks, announced, wants_arrivals });
        let answer = accept_simulcast(&plain_first(&answer.to_sdp_string()), &self.simulcast);
        Ok(if offer.repeats_sound { accept_repeated_sound(&answer) } else { answer })
    }

    /// Which encodings come on which m-line: str0m is not told, since it would then have no SSRC to send with.
    fn take_simulcast(&mut self, offer: &CheckedOffer) {
        self.simulcast.clone_from(&offer.simulcast);
        self.simulcast.retain(|simulcast| {
            let media = self.rtc.media(simulcast.mid);
            media.is_some_and(|m| {
                m.direction().is_receiving() && ExtensionIds::of(m.remote_extmap()).rid.is_some()
            })
        });
    }

    fn encodings(&self, mid: Mid) -> &[String] {
        let of_track = self.simulcast.iter().find(|simulcast| simulcast.mid == mid);
        of_track.map(|simulcast| &simulcast.rids[..]).unwrap_or_default()
    }

    /// Takes the streams out of str0m, which then has nothing to report, to cache or to wake for.
    fn take_streams(&mut self, offer: &CheckedOffer) {
        let mids: Vec<Mid> = self.media_lines().map(|(mid, _)| mid).collect();
        let mut api = self.rtc.direct_api();
        for mid in mids {
            let Some(stream) = api.stream_tx_by_mid(mid, None) else { continue };
            let (ssrc, repair) = (stream.ssrc(), stream.rtx());
            api.remove_stream_tx(ssrc);
            if !self.sends.iter().any(|(known, ..)| *known == mid) {
                self.sends.push((mid, ssrc, repair));
            }
        }
        for announced in &offer.announced {
            api.remove_stream_rx(announced.ssrc.into());
        }
    }

    /// What the media plane must know of an m-line.
    fn track_config(&self, mid: Mid, repeats_sound: bool) -> Option<TrackConfig> {
        let sends = self.sends.iter().find(|(known, ..)| *known == mid);
        let sends = sends.map(|(_, ssrc, repair)| (*ssrc, *repair));
        TrackConfig::negotiated(&self.rtc, mid, self.encodings(mid).to_vec(), sends, repeats_sound)
    }

    /// What the client sends and can receive.
    pub(crate) fn tracks(&self) -> Tracks {
        let mut tracks = Tracks::default();
        for (mid, kind) in self.media_lines() {
            let Some(media) = self.rtc.media(mid) else { continue };
            let negotiated = |p: &&str0m::format::PayloadParams| media.remote_pts().contains(&p.pt());
            let codecs = self.rtc.codec_config().params().iter().filter(negotiated).copied().collect();
            let encodings = self.encodings(mid).len().max(1) as u8;
            let track = Track { mid, kind, codecs, encodings };
            if media.direction().is_receiving() {
                tracks.publishes.push(track.clone());
            }
            if media.direction().is_sending() {
                tracks.views.push(track);
            }
        }
        tracks
    }

    fn media_lines(&self) -> impl Iterator<Item = (Mid, MediaKind)> {
        self.lines.iter().filter_map(|l| Some((Mid::from(l.mid.as_str()), l.kind?)))
    }
}
