//! The codecs and header extensions that a leg offers a client, and nothing else.

use std::sync::Arc;

use str0m::RtcConfig;
use str0m::rtp::{Extension, ExtensionMap, ExtensionSerializer, ExtensionValues};

/// Dependency descriptor (AV1 RTP specification, appendix A): which frames need which. Passed on unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DependencyDescriptor(pub(crate) Arc<[u8]>);

const DEPENDENCY_DESCRIPTOR_URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// Longest value that the one-byte form of a header extension holds (RFC 8285 section 4.2).
const ONE_BYTE_FORM_MAX: usize = 16;

#[derive(Debug)]
struct DependencyDescriptorSerializer;

impl ExtensionSerializer for DependencyDescriptorSerializer {
    fn write_to(&self, buf: &mut [u8], values: &ExtensionValues) -> usize {
        let Some(DependencyDescriptor(bytes)) = values.user_values.get() else { return 0 };
        let Some(target) = buf.get_mut(..bytes.len()) else { return 0 };
        target.copy_from_slice(bytes);
        bytes.len()
    }

    fn parse_value(&self, buf: &[u8], values: &mut ExtensionValues) -> bool {
        values.user_values.set(DependencyDescriptor(buf.into()));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        let descriptor: Option<&DependencyDescriptor> = values.user_values.get();
        descriptor.is_some_and(|d| d.0.len() > ONE_BYTE_FORM_MAX)
    }
}

/// Opus with in-band FEC; VP8, VP9, H264 constrained baseline and AV1, each with RTX, in this order of preference.
pub(crate) fn enable_codecs(config: RtcConfig) -> RtcConfig {
    let mut config = config.clear_codecs().enable_opus(true, false).enable_vp8(true).enable_vp9(true);
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
    map.set(8, Extension::with_serializer(DEPENDENCY_DESCRIPTOR_URI, DependencyDescriptorSerializer));
    map.set(13, Extension::VideoOrientation);
    map
}

/// The values a viewer may see of what a publisher sent. Identity (MID, RID), clocks and transport state stay behind: str0m
/// adds the viewer's own MID, transport-cc and abs-send-time.
pub(crate) fn passed_on(values: &ExtensionValues) -> ExtensionValues {
    let mut passed = ExtensionValues {
        audio_level: values.audio_level,
        voice_activity: values.voice_activity,
        video_orientation: values.video_orientation,
        play_delay_min: values.play_delay_min,
        play_delay_max: values.play_delay_max,
        ..Default::default()
    };
    if let Some(descriptor) = values.user_values.get_arc::<DependencyDescriptor>() {
        passed.user_values.set_arc(descriptor);
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_dependency_descriptor_asks_for_the_two_byte_form_and_passes_unchanged() {
        let mut received = ExtensionValues::default();
        let long: Vec<u8> = (0..40).collect();
        assert!(DependencyDescriptorSerializer.parse_value(&long, &mut received));
        let passed = passed_on(&received);
        assert!(DependencyDescriptorSerializer.requires_two_byte_form(&passed));
        let mut written = [0; 255];
        assert_eq!(DependencyDescriptorSerializer.write_to(&mut written, &passed), 40);
        assert_eq!(&written[..40], &long[..]);
        assert_eq!(DependencyDescriptorSerializer.write_to(&mut [0; 10], &passed), 0);
    }

    #[test]
    fn identity_and_transport_values_stay_behind() {
        let received = ExtensionValues {
            mid: Some("secret".into()),
            rid: Some("hi".into()),
            rid_repair: Some("hi".into()),
            transport_cc: Some(7),
            audio_level: Some(-30),
            voice_activity: Some(true),
            ..Default::default()
        };
        let passed = passed_on(&received);
        assert_eq!((passed.audio_level, passed.voice_activity), (Some(-30), Some(true)));
        assert_eq!(
            (passed.mid, passed.rid, passed.rid_repair, passed.transport_cc),
            (None, None, None, None)
        );
    }
}
