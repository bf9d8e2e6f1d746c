//! What `make fuzz` feeds: the parsers of this crate, with what must hold whatever comes.

use crate::{AccountId, CallId, DeviceId, Frames, Handle, LegId, NodeId, SessionId, frame_header};

/// A target: its name, which is that of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of this crate.
pub const TARGETS: &[Target] = &[("framing", framing), ("ids", ids)];

/// Longest frame that the reader allows here.
const FRAME_MAX: usize = 1500;

/// Media over TCP: the first byte says how long the pieces are that the stream arrives in.
fn framing(input: &[u8]) {
    let Some((&step, stream)) = input.split_first() else { return };
    let (mut kept, mut cut) = (Vec::new(), Vec::new());
    for piece in stream.chunks(usize::from(step).max(1)) {
        kept.extend_from_slice(piece);
        let mut frames = Frames::new(&kept, FRAME_MAX);
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => cut.push(frame.to_vec()),
                Ok(None) => break,
                // However it arrives, the same frames stand before what is none.
                Err(_) => return assert_eq!(cut, whole(stream)),
            }
        }
        kept = frames.rest().to_vec();
        assert!(kept.len() < FRAME_MAX + 2, "a reader keeps less than a frame");
    }
    assert_eq!(cut, whole(stream));
    for frame in cut {
        assert_eq!(frame_header(&frame), Some((frame.len() as u16).to_be_bytes()));
    }
}

fn whole(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Frames::new(stream, FRAME_MAX);
    std::iter::from_fn(|| frames.next_frame().ok().flatten().map(<[u8]>::to_vec)).collect()
}

/// Identifiers: what is taken comes back as it was.
fn ids(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = AccountId::new(text).map(|id| assert_eq!(id.expose(), text));
    let _ = Handle::new(text).map(|id| assert_eq!(id.as_str(), text));
    let _ = DeviceId::new(text).map(|id| assert_eq!(id.as_str(), text));
    let _ = NodeId::new(text).map(|id| assert_eq!(id.to_string(), text));
    let _ = text.parse::<CallId>().map(|id| assert_eq!(id.to_string(), text));
    let _ = text.parse::<LegId>().map(|id| assert_eq!(id.to_string(), text));
    let _ = text.parse::<SessionId>();
}

#[cfg(test)]
#[path = "../../../fuzz/corpus.rs"]
mod corpus;
