//! What `make fuzz` feeds: the bytes of a request's body.

use axum::body::Body;

use super::Fault;
use super::message::Messages;

/// A target: its name, which is that of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of this crate.
pub const TARGETS: &[Target] = &[("lengths", lengths)];

/// Messages of a request: the first byte says how long the pieces are that it arrives in. What is admitted does not hang on
/// how it was cut.
fn lengths(input: &[u8]) {
    let Some((&step, stream)) = input.split_first() else { return };
    let admitted = |step: usize| {
        let mut messages = Messages::new(Body::empty(), 100, Fault::bare);
        stream.chunks(step.max(1)).all(|piece| messages.admits(piece))
    };
    assert_eq!(admitted(usize::from(step)), admitted(stream.len()));
}

#[cfg(test)]
#[path = "../../../../fuzz/corpus.rs"]
mod corpus;
