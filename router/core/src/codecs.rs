//! The codecs and header extensions that a leg offers a client, and nothing else.

use duocast_media::{DEPENDENCY_DESCRIPTOR_URI, REPORT_REQUEST_URI};
use str0m::RtcConfig;
use str0m::rtp::{Extension, ExtensionMap, ExtensionSerializer, ExtensionValues};

/// For the SDP only: the media plane reads and writes extensions.
#[derive(Debug)]
struct SdpOnly {
    is_for_audio: bool,
}

impl ExtensionSerializer for SdpOnly {
    fn write_to(&self, _buf: &mut [u8], _values: &ExtensionValues) -> usize {
        0
    }

    fn parse_value(&self, _buf: &[u8], _values: &mut ExtensionValues) -> bool {
        false
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        self.is_for_audio
    }
}

/// Opus with in-band FEC and RED (RFC 2198); VP8, VP9, H264 constrained baseline and AV1, each with RTX, in this order of preference.
pub(crate) fn enable_codecs(config: RtcConfig) -> RtcConfig {
    let mut config = config.clear_codecs().enable_opus(true, true).enable_vp8(true).enable_vp9(true);
    config.codec_config().add_h264(108.into(), Some(109.into()), true, 0x42_e01f);
    config.enable_av1(true)
}

/// The extensions that may cross the router. What is not here is neither answered nor passed on.
pub(crate) fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    map.set(1, Extension::AudioLevel);
    map.set(2, Extension::AbsoluteSendTime);
    map.set(3, Extension::TransportSequenceNumber);
    map.set(4, Extension::RtpMid);
    map.set(5, Extension::PlayoutDelay);
    map.set(6, Extension::AbsoluteCaptureTime);
    map.set(10, Extension::RtpStreamId);
    map.set(11, Extension::RepairedRtpStreamId);
    map.set(7, Extension::with_serializer(REPORT_REQUEST_URI, SdpOnly { is_for_audio: true }));
    map.set(8, Extension::with_serializer(DEPENDENCY_DESCRIPTOR_URI, SdpOnly { is_for_audio: false }));
    map.set(13, Extension::VideoOrientation);
    map
}
