//! Cutting TURN's stream into messages: STUN messages, and channel data padded to four bytes (RFC 8656 sections 3.7 and 12.5).

use bytes::BytesMut;

/// Most bytes of one message. Media packets have at most 1,500, and no request of a client comes near. Higher lets a client
/// make the relay hold more, lower refuses large packets.
pub(crate) const MAX_FRAME: usize = 4096;

/// STUN's header: type, length, cookie, transaction.
const STUN_HEADER: usize = 20;

/// Channel data's header: number, length.
const CHANNEL_HEADER: usize = 4;

/// What came is not TURN, or nothing that a client of ours says: the connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not what a TURN client says here; close the connection")]
pub(crate) struct NotTurn;

/// Whether a connection that begins with this byte speaks TURN: its first message is STUN, which has two zero bits, since channels
/// come after an allocation (RFC 8656 section 12). HTTP begins with a letter.
pub fn is_turn(first: u8) -> bool {
    first < 0x40
}

/// Whether a message is channel data, given its first byte.
pub(crate) fn is_channel_data(first: u8) -> bool {
    (0x40..0x80).contains(&first)
}

/// Takes the first message, without its padding; `None` until it is whole.
pub(crate) fn take(stream: &mut BytesMut) -> Result<Option<BytesMut>, NotTurn> {
    let &[first, _, high, low, ..] = &stream[..] else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let header = match first {
        _ if is_turn(first) => STUN_HEADER,
        _ if is_channel_data(first) => CHANNEL_HEADER,
        _ => return Err(NotTurn),
    };
    let (frame, padded) = (header + length, header + length.next_multiple_of(4));
    if frame > MAX_FRAME {
        return Err(NotTurn);
    }
    if stream.len() < padded {
        return Ok(None);
    }
    let mut message = stream.split_to(padded);
    message.truncate(frame);
    Ok(Some(message))
}

/// Appends a message, padded if it is channel data; STUN messages are multiples of four by themselves.
pub(crate) fn put(stream: &mut BytesMut, message: &[u8]) {
    stream.extend_from_slice(message);
    let padding = message.len().next_multiple_of(4) - message.len();
    stream.resize(stream.len() + padding, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_however_the_stream_is_cut() {
        let channel = [&[0x40, 0x01, 0x00, 0x05][..], b"media"].concat();
        let mut stun = vec![0x00, 0x03, 0x00, 0x08];
        stun.extend([9; 24]);
        let messages = [channel, stun, vec![0x40, 0x01, 0x00, 0x00]];
        let mut stream = BytesMut::new();
        messages.iter().for_each(|message| put(&mut stream, message));
        assert_eq!(stream.len() % 4, 0);
        for size in 1..stream.len() {
            let (mut arrived, mut out) = (BytesMut::new(), Vec::new());
            for part in stream.chunks(size) {
                arrived.extend_from_slice(part);
                while let Some(message) = take(&mut arrived).unwrap() {
                    out.push(message.to_vec());
                }
            }
            assert_eq!(out, messages, "in parts of {size}");
        }
    }

    #[test]
    fn what_is_not_turn_and_what_is_too_long_ends_the_stream() {
        for bytes in [&b"\x80\x01\x00\x00"[..], b"\xff\xff\xff\xff", b"\x40\x01\xff\xff", b"\x00\x01\x10\x00"]
        {
            assert_eq!(take(&mut BytesMut::from(bytes)), Err(NotTurn), "{bytes:?}");
        }
        assert_eq!(take(&mut BytesMut::from(&b"\x40\x01\x00"[..])), Ok(None));
    }
}
