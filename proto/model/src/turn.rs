//! TURN on a byte stream: STUN messages, and channel data padded to four bytes (RFC 8656 sections 3.7 and 12.5).

/// Most bytes of one message. Media packets have at most 1,500, and no request or answer comes near. Higher lets the other end
/// make this one hold more, lower refuses large packets.
pub const TURN_FRAME_MAX: usize = 4096;

/// STUN's header: type, length, cookie, transaction.
const STUN_HEADER: usize = 20;

/// Channel data's header: number, length.
const CHANNEL_HEADER: usize = 4;

/// What came is not TURN, or nothing that is said here: the connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotTurn;

impl std::fmt::Display for NotTurn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not what is said in TURN here; close the connection")
    }
}

impl std::error::Error for NotTurn {}

/// The first message of a stream, all of which is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnFrame {
    /// Bytes of the message.
    pub length: usize,
    /// Bytes until the next one.
    pub padded: usize,
}

impl TurnFrame {
    /// Looks for the first message; `None` until it is whole.
    ///
    /// Errors: [`NotTurn`] as soon as its header says so, whatever of it is there.
    pub fn first(stream: &[u8]) -> Result<Option<Self>, NotTurn> {
        let &[first, _, high, low, ..] = stream else { return Ok(None) };
        let contents = usize::from(u16::from_be_bytes([high, low]));
        let header = match first {
            _ if is_turn(first) => STUN_HEADER,
            _ if is_turn_channel(first) => CHANNEL_HEADER,
            _ => return Err(NotTurn),
        };
        let length = header + contents;
        if length > TURN_FRAME_MAX {
            return Err(NotTurn);
        }
        let padded = length + turn_padding(length);
        Ok((stream.len() >= padded).then_some(Self { length, padded }))
    }
}

/// Whether a connection that begins with this byte speaks TURN: its first message is STUN, which has two zero bits, since channels
/// come after an allocation (RFC 8656 section 12). HTTP begins with a letter.
pub fn is_turn(first: u8) -> bool {
    first < 0x40
}

/// Whether a message is channel data, given its first byte.
pub fn is_turn_channel(first: u8) -> bool {
    (0x40..0x80).contains(&first)
}

/// Zero bytes that follow a message of this length. STUN messages are multiples of four by themselves.
pub fn turn_padding(length: usize) -> usize {
    length.next_multiple_of(4) - length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_there_when_its_padding_is() {
        let channel = b"\x40\x01\x00\x05media\0\0\0\x40";
        for there in 0..12 {
            assert_eq!(TurnFrame::first(&channel[..there]), Ok(None), "{there} bytes");
        }
        assert_eq!(TurnFrame::first(channel), Ok(Some(TurnFrame { length: 9, padded: 12 })));
        let stun = [&[0, 3, 0, 8][..], &[9; 24]].concat();
        assert_eq!(TurnFrame::first(&stun), Ok(Some(TurnFrame { length: 28, padded: 28 })));
        assert_eq!(TurnFrame::first(&stun[..27]), Ok(None));
    }

    #[test]
    fn what_is_not_turn_and_what_is_too_long_ends_the_stream() {
        for bytes in [&b"\x80\x01\x00\x00"[..], b"\xff\xff\xff\xff", b"\x40\x01\xff\xff", b"\x00\x01\x10\x00"]
        {
            assert_eq!(TurnFrame::first(bytes), Err(NotTurn), "{bytes:?}");
        }
        assert_eq!(TurnFrame::first(b"\x40\x01\x00"), Ok(None));
    }
}
