//! TURN's messages in buffers that grow at one end and shrink at the other.

use bytes::BytesMut;
use duocast_model::{NotTurn, TurnFrame, turn_padding};

/// Takes the first message, without its padding; `None` until it is whole.
pub(crate) fn take(stream: &mut BytesMut) -> Result<Option<BytesMut>, NotTurn> {
    let Some(frame) = TurnFrame::first(stream)? else { return Ok(None) };
    let mut message = stream.split_to(frame.padded);
    message.truncate(frame.length);
    Ok(Some(message))
}

/// Appends a message, padded if it is channel data.
pub(crate) fn put(stream: &mut BytesMut, message: &[u8]) {
    stream.extend_from_slice(message);
    stream.resize(stream.len() + turn_padding(message.len()), 0);
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
}
