//! A client's SDP offer, before str0m sees it: guarded, then cut down to what a leg may know.

use str0m::media::{MediaKind, Mid};

use duocast_media::Announced;

/// Longest offer. A browser's with two tracks has about 7 KiB. Higher costs parsing time on a media thread, lower refuses
/// clients with many codecs.
pub const MAX_SDP_BYTES: usize = 64 * 1024;

/// Most m-lines of an offer. A call needs two, screen sharing adds two. Higher costs state per leg, lower refuses clients.
pub const MAX_MEDIA_LINES: usize = 8;

/// Most lines of an offer, since each costs the parser more than its bytes. A browser's have about 120 per m-line.
const MAX_LINES: usize = 2048;

/// Most `a=ssrc` sources of an offer, since each makes receive state. Browsers name two per video track.
const MAX_SSRCS: usize = 4 * MAX_MEDIA_LINES;

/// Most simulcast encodings of a track. Those beyond are not accepted, and the client does not send them. Higher lets a client bring in
/// more sources, lower leaves viewers fewer sizes to choose from.
pub(crate) const MAX_ENCODINGS: usize = 3;

/// Why an offer was not answered. Holds nothing of the SDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Not an offer that a leg can answer.
    #[error("the offer is not SDP that this node can answer; send what createOffer gave, with setup:actpass")]
    Invalid,
    /// Longer than [`MAX_SDP_BYTES`], or too many lines.
    #[error("the offer is too large; offer fewer codecs or tracks")]
    TooLarge,
    /// No ICE user name or password.
    #[error("the offer has no ice-ufrag and ice-pwd; send the offer of an ICE client")]
    NoIce,
    /// No certificate fingerprint, or by other hash functions only.
    #[error("the offer has no SHA-256 certificate fingerprint; media must be DTLS-SRTP")]
    NoFingerprint,
    /// An audio or video line for media in the clear, or with keys in the SDP (SDES).
    #[error("the offer has media that are not DTLS-SRTP; offer UDP/TLS/RTP/SAVPF, as WebRTC does")]
    NotDtlsSrtp,
    /// No audio or video line has a codec of ours. (A single line without one is rejected in the answer.)
    #[error("the offer shares no codec with this node; offer Opus, and VP8, VP9, H264 or AV1")]
    NoCommonCodec,
    /// More than [`MAX_MEDIA_LINES`].
    #[error("the offer has too many m-lines; offer at most 8")]
    TooManyMedia,
    /// The plan has no such leg.
    #[error("this node has no such leg; ask control for a new one")]
    LegUnknown,
    /// The shard carries as many legs as it may.
    #[error("the call's node carries as many legs as it may; try again when other calls have ended")]
    NodeFull,
    /// The engine failed; counted as a panic.
    #[error("the node failed to answer; try again with a new offer")]
    Internal,
}

impl OfferError {
    /// The stable reason of `LegRefused` in node.proto.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Invalid => "SDP_INVALID",
            Self::TooLarge => "SDP_TOO_LARGE",
            Self::NoIce => "SDP_NO_ICE",
            Self::NoFingerprint => "SDP_NO_FINGERPRINT",
            Self::NotDtlsSrtp => "SDP_NOT_DTLS_SRTP",
            Self::NoCommonCodec => "SDP_NO_COMMON_CODEC",
            Self::TooManyMedia => "SDP_TOO_MANY_MEDIA",
            Self::LegUnknown => "LEG_UNKNOWN",
            Self::NodeFull => "NODE_FULL",
            Self::Internal => "INTERNAL",
        }
    }
}

/// 192 bits from a cryptographic random source, drawn by the shell for one offer: the leg's ICE user name and password.
/// str0m's own come from a generator that is not made for secrets.
#[derive(Clone, Copy)]
pub struct IceSecret(pub [u8; 24]);

impl IceSecret {
    /// User name fragment (48 bits) and password (144 bits) in `ice-char`s (RFC 8839 section 5.4).
    pub(crate) fn credentials(&self) -> str0m::IceCreds {
        let (ufrag, pass) = self.0.split_at(6);
        str0m::IceCreds { ufrag: ice_chars(ufrag), pass: ice_chars(pass) }
    }
}

impl std::fmt::Debug for IceSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IceSecret(…)")
    }
}

/// Six bits a character; `bytes` must come in threes.
fn ice_chars(bytes: &[u8]) -> String {
    const CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let six = |group: u32, shift: u32| char::from(CHARS[(group >> shift & 0x3f) as usize]);
    let groups = bytes.chunks_exact(3).map(|c| u32::from_be_bytes([0, c[0], c[1], c[2]]));
    groups.flat_map(|g| [18, 12, 6, 0].map(|shift| six(g, shift))).collect()
}

/// An offer that passed the guards, ready for str0m.
#[derive(Debug)]
pub(crate) struct CheckedOffer {
    /// The SDP without candidates, stream names and simulcast.
    pub(crate) sdp: String,
    /// The certificate that the client will present; another one means another client instance.
    pub(crate) fingerprint: String,
    /// The m-lines in order.
    pub(crate) lines: Vec<Line>,
    /// The SSRCs that it says it will send with.
    pub(crate) announced: Vec<Announced>,
    /// What it can send in several encodings.
    pub(crate) simulcast: Vec<Simulcast>,
    /// The client wants transport-wide feedback (`a=rtcp-fb:… transport-cc`).
    pub(crate) wants_arrivals: bool,
    /// It sends lost sound again if it is asked (`a=rtcp-fb:… nack` of a sound line).
    pub(crate) repeats_sound: bool,
}

/// The simulcast encodings of an m-line (RFC 8853), in the order of the offer: the smallest first, as browsers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Simulcast {
    pub(crate) mid: Mid,
    /// Two at least, [`MAX_ENCODINGS`] at most.
    pub(crate) rids: Vec<String>,
}

/// One m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// `None` for a data channel.
    pub(crate) kind: Option<MediaKind>,
    pub(crate) mid: String,
}

/// Checks an offer and takes out of it what no leg may use: candidates (a packet goes only to an address that
/// authenticated), the client's stream names (the leg's own are random), simulcast and RIDs (which are the leg's own matter).
pub(crate) fn check(sdp: &str) -> Result<CheckedOffer, OfferError> {
    if sdp.len() > MAX_SDP_BYTES || sdp.lines().take(MAX_LINES + 1).count() > MAX_LINES {
        return Err(OfferError::TooLarge);
    }
    if !sdp.starts_with("v=0") || !sdp.is_ascii() {
        return Err(OfferError::Invalid);
    }
    let lines = media_lines(sdp)?;
    let fingerprint = fingerprints(sdp).find(|value| is_sha256(value)).ok_or(OfferError::NoFingerprint)?;
    let ufrag = attribute(sdp, "ice-ufrag").ok_or(OfferError::NoIce)?;
    let password = attribute(sdp, "ice-pwd").ok_or(OfferError::NoIce)?;
    if !(4..=256).contains(&ufrag.len()) || !(22..=256).contains(&password.len()) {
        return Err(OfferError::NoIce);
    }
    let passive = |line: &str| line.trim_end() == "a=setup:passive" || line.trim_end() == "a=setup:holdconn";
    if sdp.lines().any(passive) || distinct_ssrcs(sdp) > MAX_SSRCS {
        return Err(OfferError::Invalid);
    }
    let (announced, simulcast) = (announced(sdp, &lines), simulcast(sdp, &lines));
    let wants_arrivals =
        sdp.lines().any(|line| line.starts_with("a=rtcp-fb:") && line.trim_end().ends_with(" transport-cc"));
    let sound = sections(sdp, &lines).filter(|(_, line)| line.kind == Some(MediaKind::Audio));
    let repeats_sound = sound.flat_map(|(section, _)| section.lines()).any(is_nack);
    let kept: Vec<&str> = sdp.lines().map(str::trim_end).filter(|l| !l.is_empty() && is_kept(l)).collect();
    let (sdp, fingerprint) = (kept.join("\r\n") + "\r\n", fingerprint.to_owned());
    Ok(CheckedOffer { sdp, fingerprint, lines, announced, simulcast, wants_arrivals, repeats_sound })
}

fn media_lines(sdp: &str) -> Result<Vec<Line>, OfferError> {
    let mut lines: Vec<Line> = Vec::new();
    for line in sdp.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            if lines.len() == MAX_MEDIA_LINES {
                return Err(OfferError::TooManyMedia);
            }
            // A port, then the protocol (RFC 8866 section 5.14).
            let mut words = media.split(' ');
            let (medium, protocol) = (words.next(), words.nth(1));
            let kind = match medium {
                Some("audio") => Some(MediaKind::Audio),
                Some("video") => Some(MediaKind::Video),
                Some("application") => None,
                _ => return Err(OfferError::Invalid),
            };
            if kind.is_some() && protocol != Some("UDP/TLS/RTP/SAVPF") {
                return Err(OfferError::NotDtlsSrtp);
            }
            lines.push(Line { kind, mid: String::new() });
        } else if let (Some(mid), Some(last)) = (line.strip_prefix("a=mid:"), lines.last_mut()) {
            last.mid = mid.trim_end().to_owned();
        }
    }
    // str0m keeps 16 characters of a MID and turns all but letters and digits into '_': names that would become equal
    // could not be told apart.
    let usable = |mid: &str| {
        (1..=16).contains(&mid.len()) && mid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let distinct =
        lines.iter().enumerate().all(|(i, l)| lines[..i].iter().all(|earlier| earlier.mid != l.mid));
    let has_media = lines.iter().any(|l| l.kind.is_some());
    if !has_media || !distinct || !lines.iter().all(|l| usable(&l.mid)) {
        return Err(OfferError::Invalid);
    }
    Ok(lines)
}

/// The SSRCs of each m-line (RFC 5576), at most [`MAX_SSRCS`]; a FID group says which one repeats which.
fn announced(sdp: &str, lines: &[Line]) -> Vec<Announced> {
    let mut announced: Vec<Announced> = Vec::new();
    for (section, line) in sections(sdp, lines).filter(|(_, line)| line.kind.is_some()) {
        let mid = Mid::from(line.mid.as_str());
        let numbers =
            |list: &str| -> Vec<u32> { list.split(' ').filter_map(|n| n.trim().parse().ok()).collect() };
        let groups = section.lines().filter_map(|line| line.strip_prefix("a=ssrc-group:FID ")).map(numbers);
        let pairs: Vec<(u32, u32)> =
            groups.filter_map(|group| Some((*group.first()?, *group.get(1)?))).collect();
        let ssrcs = section.lines().filter_map(|line| line.strip_prefix("a=ssrc:"));
        for ssrc in ssrcs.filter_map(|rest| rest.split(' ').next()?.parse().ok()) {
            let repairs = pairs.iter().find(|(_, repeats)| *repeats == ssrc).map(|(of, _)| *of);
            if announced.len() < MAX_SSRCS && announced.iter().all(|known| known.ssrc != ssrc) {
                announced.push(Announced { mid, ssrc, repairs });
            }
        }
    }
    announced
}

fn sections<'a>(sdp: &'a str, lines: &'a [Line]) -> impl Iterator<Item = (&'a str, &'a Line)> {
    sdp.split("\nm=").skip(1).zip(lines)
}

/// What each video line says that it can send in several encodings: of alternatives the first, whether or not it is paused now.
fn simulcast(sdp: &str, lines: &[Line]) -> Vec<Simulcast> {
    let video = sections(sdp, lines).filter(|(_, line)| line.kind == Some(MediaKind::Video));
    let all = video.filter_map(|(section, line)| {
        let attribute = |name| section.lines().filter_map(move |line| line.trim_end().strip_prefix(name));
        let list = attribute("a=simulcast:").find_map(|value| {
            let mut words = value.split(' ').skip_while(|word| *word != "send");
            words.nth(1)
        })?;
        let names = list.split(';').filter_map(|group| group.split(',').next());
        let names = names.map(|name| name.strip_prefix('~').unwrap_or(name));
        let is_sent = |name: &&str| {
            let mut rids = attribute("a=rid:").map(|rid| rid.split(' '));
            rids.any(|mut words| words.next() == Some(*name) && words.next() == Some("send"))
        };
        let mut rids: Vec<String> = Vec::new();
        for name in names.filter(|name| is_rid(name)).filter(is_sent) {
            if rids.len() < MAX_ENCODINGS && rids.iter().all(|known| known != name) {
                rids.push(name.to_owned());
            }
        }
        (rids.len() > 1).then(|| Simulcast { mid: Mid::from(line.mid.as_str()), rids })
    });
    all.collect()
}

/// A request for packets that were lost (RFC 4585 section 6.2.1), and none for pictures.
fn is_nack(line: &str) -> bool {
    line.strip_prefix("a=rtcp-fb:").is_some_and(|feedback| feedback.trim_end().ends_with(" nack"))
}

/// RFC 8851 section 10, and no longer than an extension in the one-byte form.
fn is_rid(name: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=16).contains(&name.len()) && name.bytes().all(is_usual)
}

/// The value of the first `a=name:value`.
fn attribute<'a>(sdp: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':');
    sdp.lines().find_map(value).map(str::trim).filter(|value| !value.is_empty())
}

/// The hash functions and values of all certificate fingerprints (RFC 8122).
fn fingerprints(sdp: &str) -> impl Iterator<Item = &str> {
    sdp.lines().filter_map(|line| line.strip_prefix("a=fingerprint:")).map(str::trim)
}

/// SHA-1 and MD5 prove too little; nobody's WebRTC has another one than SHA-256.
fn is_sha256(fingerprint: &str) -> bool {
    fingerprint.split(' ').next().is_some_and(|hash| hash.eq_ignore_ascii_case("sha-256"))
}

fn distinct_ssrcs(sdp: &str) -> usize {
    let ssrc = |line: &str| line.strip_prefix("a=ssrc:")?.split(' ').next().map(str::to_owned);
    let mut ssrcs: Vec<String> = sdp.lines().filter_map(ssrc).collect();
    ssrcs.sort_unstable();
    ssrcs.dedup();
    ssrcs.len()
}

fn is_kept(line: &str) -> bool {
    const CUT: [&str; 8] = [
        "a=candidate",
        "a=end-of-candidates",
        "a=remote-candidates",
        "a=msid",
        "a=simulcast",
        "a=rid:",
        "a=ssrc-group:SIM",
        "a=sctp-init",
    ];
    let names_a_stream = || {
        let attribute = line.strip_prefix("a=ssrc:").and_then(|rest| rest.split_once(' '));
        attribute.is_some_and(|(_, a)| ["msid", "mslabel", "label"].iter().any(|name| a.starts_with(name)))
    };
    // str0m would take a weaker one of the session over a stronger one of an m-line.
    let is_weak = || line.strip_prefix("a=fingerprint:").is_some_and(|value| !is_sha256(value.trim()));
    !CUT.iter().any(|cut| line.starts_with(cut)) && !names_a_stream() && !is_weak()
}

/// Puts the leg's secret credentials in the place of those that str0m chose.
pub(crate) fn replace_credentials(answer: &str, from: &str0m::IceCreds, to: &str0m::IceCreds) -> String {
    let old_suffix = format!(" ufrag {}", from.ufrag);
    let line = |line: &str| {
        if line.starts_with("a=ice-ufrag:") {
            format!("a=ice-ufrag:{}\r\n", to.ufrag)
        } else if line.starts_with("a=ice-pwd:") {
            format!("a=ice-pwd:{}\r\n", to.pass)
        } else if let Some(candidate) = line.strip_suffix(&old_suffix) {
            format!("{candidate} ufrag {}\r\n", to.ufrag)
        } else {
            format!("{line}\r\n")
        }
    };
    answer.lines().map(line).collect()
}

/// The answer that takes these encodings (RFC 8853 section 5.3.2).
pub(crate) fn accept_simulcast(answer: &str, simulcast: &[Simulcast]) -> String {
    let mut out = String::with_capacity(answer.len() + 128 * simulcast.len());
    for line in answer.lines() {
        out += line;
        out += "\r\n";
        let Some(mid) = line.strip_prefix("a=mid:").map(|mid| Mid::from(mid.trim_end())) else { continue };
        let Some(Simulcast { rids, .. }) = simulcast.iter().find(|simulcast| simulcast.mid == mid) else {
            continue;
        };
        for rid in rids {
            out += &format!("a=rid:{rid} recv\r\n");
        }
        out += &format!("a=simulcast:recv {}\r\n", rids.join(";"));
    }
    out
}

/// The answer that says that lost sound is asked for.
pub(crate) fn accept_repeated_sound(answer: &str) -> String {
    let line = |line: &str| {
        let map = line.strip_prefix("a=rtpmap:").and_then(|map| map.split_once(' '));
        match map.filter(|(_, codec)| codec.starts_with("opus/")) {
            Some((payload_type, _)) => format!("{line}\r\na=rtcp-fb:{payload_type} nack\r\n"),
            None => format!("{line}\r\n"),
        }
    };
    answer.lines().map(line).collect()
}

/// The answer with redundant audio behind plain one: browsers send what comes first, and twice the sound is for lossy paths only.
pub(crate) fn plain_first(answer: &str) -> String {
    let is_red = |payload_type: &str| {
        let map = format!("a=rtpmap:{payload_type} red/");
        answer.lines().any(|line| line.starts_with(&map))
    };
    let line = |line: &str| {
        if !line.starts_with("m=audio ") {
            return format!("{line}\r\n");
        }
        let mut words: Vec<&str> = line.split(' ').collect();
        if let Some(payload_types) = words.get_mut(3..) {
            payload_types.sort_by_key(|payload_type| is_red(payload_type));
        }
        format!("{}\r\n", words.join(" "))
    };
    answer.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redundant_audio_comes_last() {
        let answer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 63 111 13\r\na=rtpmap:63 red/48000/2\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n";
        assert_eq!(plain_first(answer), answer.replace("63 111 13", "111 13 63"));
    }

    #[test]
    fn ssrcs_are_announced_with_what_they_repeat() {
        let offer = "v=0\r\nt=0 0\r\na=fingerprint:sha-256 00\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
                     m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:a\r\na=ssrc:1 cname:x\r\n\
                     m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\n\
                     m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\na=ssrc-group:FID 2 3\r\na=ssrc:2 cname:x\r\n\
                     a=ssrc:2 msid:y\r\na=ssrc:3 cname:x\r\na=ssrc:99999999999 cname:x\r\na=rtcp-fb:96 transport-cc\r\n";
        let checked = check(offer).unwrap();
        let of = |mid: &str, ssrc, repairs| Announced { mid: mid.into(), ssrc, repairs };
        assert_eq!(checked.announced, [of("a", 1, None), of("v", 2, None), of("v", 3, Some(2))]);
        assert!(
            checked.wants_arrivals
                && !check(&offer.replace("transport-cc", "goog-remb")).unwrap().wants_arrivals
        );
    }

    #[test]
    fn lost_sound_is_asked_for_where_it_was_offered() {
        let offer = |sound: &str, video: &str| {
            format!(
                "v=0\r\nt=0 0\r\na=fingerprint:sha-256 00\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
                 m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:a\r\n{sound}m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\n{video}"
            )
        };
        let is_asked = |sound, video| check(&offer(sound, video)).unwrap().repeats_sound;
        assert!(is_asked("a=rtcp-fb:111 nack\r\n", ""));
        assert!(!is_asked("a=rtcp-fb:111 transport-cc\r\n", "a=rtcp-fb:96 nack\r\n"));
        assert!(!is_asked("a=rtcp-fb:111 nack pli\r\n", ""));
        let answer = "a=rtpmap:111 opus/48000/2\r\na=rtpmap:63 red/48000/2\r\na=rtpmap:96 VP8/90000\r\n";
        let asked = "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 nack\r\n";
        assert_eq!(accept_repeated_sound(answer), answer.replace("a=rtpmap:111 opus/48000/2\r\n", asked));
    }

    #[test]
    fn encodings_are_read_in_order_and_accepted() {
        let offer = |rids: &str, simulcast: &str| {
            format!(
                "v=0\r\nt=0 0\r\na=fingerprint:sha-256 00\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
                 m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:a\r\n\
                 m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\n{rids}a=simulcast:{simulcast}\r\n"
            )
        };
        let all = "a=rid:q send\r\na=rid:h send\r\na=rid:f send pt=96\r\na=rid:x send\r\na=rid:r recv\r\n";
        let rids = |simulcast| {
            let checked = check(&offer(all, simulcast)).unwrap();
            checked.simulcast.first().map(|simulcast| simulcast.rids.join(" ")).unwrap_or_default()
        };
        assert_eq!(rids("send q;h;f"), "q h f");
        assert_eq!(rids("recv r send ~f,x;h"), "f h", "paused, alternatives, the other direction in front");
        assert_eq!(rids("send q;h;q;f;x"), "q h f", "once each, and not too many");
        assert_eq!(rids("send q;r;nobody;?"), "", "one alone is no simulcast");
        let taken = check(&offer(all, "send q;h")).unwrap();
        assert!(!taken.sdp.contains("simulcast") && !taken.sdp.contains("a=rid"), "{}", taken.sdp);
        let answer = "m=audio 9 x 111\r\na=mid:a\r\nm=video 9 x 96\r\na=mid:v\r\na=sendrecv\r\n";
        let lines = "a=mid:v\r\na=rid:q recv\r\na=rid:h recv\r\na=simulcast:recv q;h\r\n";
        assert_eq!(accept_simulcast(answer, &taken.simulcast), answer.replace("a=mid:v\r\n", lines));
    }

    #[test]
    fn a_weak_fingerprint_beside_a_strong_one_is_cut_out() {
        let offer = "v=0\r\nt=0 0\r\na=fingerprint:sha-1 00:01\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
                     a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=fingerprint:SHA-256 00:02\r\n";
        let checked = check(offer).unwrap();
        assert_eq!(checked.fingerprint, "SHA-256 00:02");
        assert!(!checked.sdp.contains("sha-1") && checked.sdp.contains("SHA-256"), "{}", checked.sdp);
        let weak = offer.replace("SHA-256 00:02", "md5 00:02");
        assert_eq!(check(&weak).unwrap_err(), OfferError::NoFingerprint);
    }
}
