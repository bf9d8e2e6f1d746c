//! RTP headers (RFC 3550 section 5.1), for the peers that are not spoken to by WebRTC.

/// Bytes of a header without extension.
pub(super) const HEADER_BYTES: usize = 12;

/// The bits of a packet that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) is_audio: bool,
    pub(super) marker: bool,
    pub(super) sequence: u16,
    pub(super) time: u32,
    pub(super) ssrc: u32,
}

/// Payload types as browsers like to choose them.
const AUDIO_TYPE: u8 = 111;
const VIDEO_TYPE: u8 = 96;

impl Header {
    pub(super) fn bytes(&self) -> [u8; HEADER_BYTES] {
        let payload_type = if self.is_audio { AUDIO_TYPE } else { VIDEO_TYPE };
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = 0x80;
        bytes[1] = payload_type | u8::from(self.marker) << 7;
        bytes[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.time.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        bytes
    }

    /// Header and what follows; `None` for what is no packet of ours.
    pub(super) fn parse(datagram: &[u8]) -> Option<(Self, &[u8])> {
        let (header, rest) = datagram.split_first_chunk::<HEADER_BYTES>()?;
        let [first, second, s0, s1, t0, t1, t2, t3, ssrc @ ..] = *header;
        let is_audio = match second & 0x7f {
            AUDIO_TYPE => true,
            VIDEO_TYPE => false,
            _ => return None,
        };
        (first == 0x80).then_some(())?;
        let header = Self {
            is_audio,
            marker: second & 0x80 != 0,
            sequence: u16::from_be_bytes([s0, s1]),
            time: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes(ssrc),
        };
        Some((header, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        let header =
            Header { is_audio: false, marker: true, sequence: 65_535, time: 90_000, ssrc: 0xdead_beef };
        let mut datagram = header.bytes().to_vec();
        datagram.extend_from_slice(b"payload");
        assert_eq!(Header::parse(&datagram), Some((header, &b"payload"[..])));
    }

    #[test]
    fn what_is_no_packet_of_ours_is_refused() {
        let header = Header { is_audio: true, marker: false, sequence: 1, time: 2, ssrc: 3 }.bytes();
        for cut in 0..HEADER_BYTES {
            assert_eq!(Header::parse(&header[..cut]), None);
        }
        let with = |index: usize, byte: u8| {
            let mut bytes = header;
            bytes[index] = byte;
            bytes
        };
        assert_eq!(Header::parse(&with(0, 0x90)), None, "extensions are not expected");
        assert_eq!(Header::parse(&with(1, 0)), None, "an unknown payload type");
    }
}
