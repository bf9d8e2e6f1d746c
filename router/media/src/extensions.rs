//! The header extensions that mean something here: which may pass from publisher to viewer, which are the hop's own.

use std::num::NonZeroU8;

use str0m::rtp::{Extension, ExtensionMap};

use crate::rtp::RawExtensions;

/// Dependency descriptor (AV1 RTP specification, appendix A): which frames need which.
pub const DEPENDENCY_DESCRIPTOR_URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// WebRTC's transport-wide-cc-02: a number among all of the transport, on which a report is sent if one is asked for, and then at once.
pub const REPORT_REQUEST_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/transport-wide-cc-02";

/// The bits of a video orientation that say how the picture is turned; the others tell of the camera (TS 26.114 section 7.4.5).
const ROTATION: u8 = 0x03;

/// The identifiers that were negotiated; `None`: not on this m-line.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExtensionIds {
    /// Name of the m-line (RFC 8843 section 15).
    pub mid: Option<NonZeroU8>,
    /// Name of the simulcast encoding (RFC 8852 section 3.1).
    pub rid: Option<NonZeroU8>,
    /// The encoding whose packet is repeated (RFC 8852 section 3.2).
    pub repaired_rid: Option<NonZeroU8>,
    /// Number among all of the transport (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    pub transport_number: Option<NonZeroU8>,
    /// The same with which reports are asked for; see [`REPORT_REQUEST_URI`].
    pub report_request: Option<NonZeroU8>,
    /// When it was sent (abs-send-time).
    pub send_time: Option<NonZeroU8>,
    /// How loud it is (RFC 6464).
    pub audio_level: Option<NonZeroU8>,
    /// How the picture is turned (TS 26.114 section 7.4.5).
    pub orientation: Option<NonZeroU8>,
    /// How long to wait before it is played (WebRTC's playout-delay).
    pub playout_delay: Option<NonZeroU8>,
    /// When it was captured (WebRTC's abs-capture-time).
    pub capture_time: Option<NonZeroU8>,
    /// See [`DEPENDENCY_DESCRIPTOR_URI`].
    pub descriptor: Option<NonZeroU8>,
}

impl ExtensionIds {
    /// What an m-line negotiated.
    pub fn of(map: &ExtensionMap) -> Self {
        let id = |extension| map.id_of(extension).and_then(NonZeroU8::new);
        let named = |uri| map.iter().find(|(_, e)| e.as_uri() == uri).and_then(|(id, _)| NonZeroU8::new(id));
        Self {
            mid: id(Extension::RtpMid),
            rid: id(Extension::RtpStreamId),
            repaired_rid: id(Extension::RepairedRtpStreamId),
            transport_number: id(Extension::TransportSequenceNumber),
            report_request: named(REPORT_REQUEST_URI),
            send_time: id(Extension::AbsoluteSendTime),
            audio_level: id(Extension::AudioLevel),
            orientation: id(Extension::VideoOrientation),
            playout_delay: id(Extension::PlayoutDelay),
            capture_time: id(Extension::AbsoluteCaptureTime),
            descriptor: named(DEPENDENCY_DESCRIPTOR_URI),
        }
    }

    /// Those of both; m-lines that share a transport share their identifiers (RFC 8843 section 10).
    pub fn or(self, other: Self) -> Self {
        Self {
            mid: self.mid.or(other.mid),
            rid: self.rid.or(other.rid),
            repaired_rid: self.repaired_rid.or(other.repaired_rid),
            transport_number: self.transport_number.or(other.transport_number),
            report_request: self.report_request.or(other.report_request),
            send_time: self.send_time.or(other.send_time),
            audio_level: self.audio_level.or(other.audio_level),
            orientation: self.orientation.or(other.orientation),
            playout_delay: self.playout_delay.or(other.playout_delay),
            capture_time: self.capture_time.or(other.capture_time),
            descriptor: self.descriptor.or(other.descriptor),
        }
    }
}

/// What a viewer may see of a publisher's extensions, as it was on the wire. Identity (MID, RID), clocks and transport state
/// stay behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    /// Voice activity (one bit) and level in -dBov (seven).
    pub audio_level: Option<[u8; 1]>,
    /// Quarter turns, without what it says of the camera.
    pub orientation: Option<[u8; 1]>,
    /// Shortest and longest, 12 bits each, in units of 10 ms.
    pub playout_delay: Option<[u8; 3]>,
    /// In 32.32 fixed point seconds, on the clock of the sender reports that it comes with: the publisher's, and to a viewer its leg's own.
    pub capture_time: Option<[u8; 8]>,
    /// There is a dependency descriptor (AV1 RTP specification, appendix A); its bytes are kept with the payload's.
    pub has_descriptor: bool,
}

/// What this hop reads of a publisher's extensions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Found<'a> {
    pub(crate) mid: Option<&'a [u8]>,
    /// The encoding (RFC 8852), or the one whose packet is repeated.
    pub(crate) rid: Option<&'a [u8]>,
    pub(crate) repaired_rid: Option<&'a [u8]>,
    pub(crate) transport_number: Option<u16>,
    pub(crate) descriptor: Option<&'a [u8]>,
}

impl Extensions {
    /// Sorts a publisher's extensions. What has not the length that it must have is left out.
    pub fn of_publisher<'a>(ids: &ExtensionIds, raw: RawExtensions<'a>) -> (Self, Found<'a>) {
        let (mut passed, mut found) = (Self::default(), Found::default());
        for (id, value) in raw {
            match NonZeroU8::new(id) {
                None => {}
                id if id == ids.mid => found.mid = Some(value),
                id if id == ids.rid => found.rid = Some(value),
                id if id == ids.repaired_rid => found.repaired_rid = Some(value),
                id if id == ids.transport_number => {
                    found.transport_number = value.try_into().ok().map(u16::from_be_bytes);
                }
                id if id == ids.descriptor => {
                    passed.has_descriptor = true;
                    found.descriptor = Some(value);
                }
                id if id == ids.audio_level => passed.audio_level = value.try_into().ok(),
                id if id == ids.orientation => {
                    passed.orientation = value.try_into().ok().map(|[byte]: [u8; 1]| [byte & ROTATION]);
                }
                id if id == ids.playout_delay => passed.playout_delay = playout_delay(value),
                id if id == ids.capture_time => passed.capture_time = capture_time(value),
                _ => {}
            }
        }
        (passed, found)
    }
}

/// The longest must not be shorter than the shortest.
fn playout_delay(value: &[u8]) -> Option<[u8; 3]> {
    let value @ [a, b, c]: [u8; 3] = value.try_into().ok()?;
    let shortest = u16::from(a) << 4 | u16::from(b >> 4);
    let longest = u16::from(b & 0x0f) << 8 | u16::from(c);
    (shortest <= longest).then_some(value)
}

/// The time alone, or followed by how far the clock that it is on is ahead of the sender's: then it is not the sender's own, as where that one mixes.
fn capture_time(value: &[u8]) -> Option<[u8; 8]> {
    let (time, ahead) = value.split_first_chunk::<8>()?;
    let ahead = match ahead {
        [] => 0,
        ahead => u64::from_be_bytes(ahead.try_into().ok()?),
    };
    Some(u64::from_be_bytes(*time).wrapping_sub(ahead).to_be_bytes())
}

/// What this hop says of itself to a viewer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OwnValues<'a> {
    pub(crate) mid: Option<&'a str>,
    /// 6.18 fixed point seconds.
    pub(crate) send_time: Option<[u8; 3]>,
    pub(crate) transport_number: Option<[u8; 2]>,
    pub(crate) asking_number: Option<AskingNumber>,
}

/// A transport-wide number that may ask for a report; see [`REPORT_REQUEST_URI`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AskingNumber {
    bytes: [u8; 4],
    asks: bool,
}

impl AskingNumber {
    /// With times, which the highest bit of what is asked for says.
    const TIMES: u16 = 0x8000;

    /// `asked_for`: the report is to be on so many packets, this one the last of them, below 2^15; `None`: no report is asked for.
    pub(crate) fn new(number: u16, asked_for: Option<u16>) -> Self {
        let ([a, b], [c, d]) = (number.to_be_bytes(), (Self::TIMES | asked_for.unwrap_or(0)).to_be_bytes());
        Self { bytes: [a, b, c, d], asks: asked_for.is_some() }
    }

    pub(crate) fn asks(&self) -> bool {
        self.asks
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        if self.asks { &self.bytes } else { &self.bytes[..2] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_playout_delay_of_another_length_or_the_wrong_way_round_is_left_out() {
        assert_eq!(
            playout_delay(&[0x00, 0xa0, 0x0a]),
            Some([0x00, 0xa0, 0x0a]),
            "100 ms, no less and no more"
        );
        assert_eq!(playout_delay(&[0, 0, 0]), Some([0, 0, 0]));
        assert_eq!(playout_delay(&[0x00, 0xb0, 0x0a]), None);
        assert_eq!((playout_delay(&[]), playout_delay(&[0, 0]), playout_delay(&[0; 4])), (None, None, None));
    }

    #[test]
    fn a_capture_time_is_that_of_the_senders_clock() {
        let at = |seconds: u64| (seconds << 32).to_be_bytes();
        assert_eq!(capture_time(&at(1000)), Some(at(1000)));
        assert_eq!(capture_time(&[at(1000), at(3)].concat()), Some(at(997)));
        let behind = (3_u64 << 32).wrapping_neg().to_be_bytes();
        assert_eq!(capture_time(&[at(1000), behind].concat()), Some(at(1003)));
        for len in (0..40).filter(|len| ![8, 16].contains(len)) {
            assert_eq!(capture_time(&vec![1; len]), None, "{len} bytes");
        }
    }
}
