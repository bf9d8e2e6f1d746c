//! What a request is made of: messages of a bounded size, that can be read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use tonic::{Code, Status};

/// What stands before each message: whether it is compressed, and its length (gRPC over HTTP/2, Length-Prefixed-Message).
const PREFIX: usize = 5;

/// What tonic says, as INTERNAL, of a request that it cannot read. (A compressed message without an encoding is INTERNAL by
/// the protocol and stays so.)
const UNREADABLE: [&str; 4] = [
    "failed to decode Protobuf message",
    "Missing request message",
    "Unexpected EOF decoding stream",
    "protocol error: received message with invalid compression flag",
];

/// What is wrong with a request that no handler saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A message is larger than [`GuardConfig::message_max`](super::GuardConfig::message_max).
    #[error("a message of this request is too large: at most {limit} bytes are accepted, send less")]
    MessageTooLarge {
        /// Most bytes of one message.
        limit: usize,
    },
    /// What came is not one message of this method.
    #[error(
        "this request cannot be read: send one whole message of the method, built from the server's .proto files"
    )]
    MessageInvalid,
}

impl Fault {
    /// The fault with the gRPC code that fits it and nothing else.
    pub fn bare(self) -> Status {
        let code = match self {
            Self::MessageTooLarge { .. } => Code::ResourceExhausted,
            Self::MessageInvalid => Code::InvalidArgument,
        };
        Status::new(code, self.to_string())
    }
}

/// True for the answer to a request that could not be read.
pub(super) fn is_unreadable(response: &Response<Body>) -> bool {
    // tonic keeps the status beside the headers that it made of it. A handler's own INTERNAL is none of these sentences.
    response.extensions().get::<Status>().is_some_and(|status| {
        status.code() == Code::Internal && UNREADABLE.iter().any(|text| status.message().starts_with(text))
    })
}

/// Passes a request on, and ends it with a failure at the first message that is too large: by its prefix, before the
/// message is read.
pub(super) struct Messages {
    inner: Body,
    /// Bytes of the present message that are still to come.
    rest: usize,
    /// The part of a prefix that came so far.
    prefix: Vec<u8>,
    limit: usize,
    fault: fn(Fault) -> Status,
    is_over: bool,
}

impl Messages {
    pub(super) fn new(inner: Body, limit: usize, fault: fn(Fault) -> Status) -> Self {
        Self { inner, rest: 0, prefix: Vec::with_capacity(PREFIX), limit, fault, is_over: false }
    }

    /// Looks at what came; false if it begins a message that is too large.
    pub(super) fn admits(&mut self, mut data: &[u8]) -> bool {
        while !data.is_empty() {
            let passed = self.rest.min(data.len());
            self.rest -= passed;
            data = &data[passed..];
            let wanted = (PREFIX - self.prefix.len()).min(data.len());
            self.prefix.extend_from_slice(&data[..wanted]);
            data = &data[wanted..];
            if let [_, length @ ..] = self.prefix.as_slice()
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                self.rest = u32::from_be_bytes(length) as usize;
                self.prefix.clear();
                if self.rest > self.limit {
                    return false;
                }
            }
        }
        true
    }
}

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && !this.admits(data)
        {
            this.is_over = true;
            let status = (this.fault)(Fault::MessageTooLarge { limit: this.limit });
            return Poll::Ready(Some(Err(axum::Error::new(status))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend((length as u32).to_be_bytes());
        bytes.resize(PREFIX + length, 0xff);
        bytes
    }

    fn admitted(pieces: &[&[u8]]) -> bool {
        let mut messages = Messages::new(Body::empty(), 100, Fault::bare);
        pieces.iter().all(|piece| messages.admits(piece))
    }

    /// However a request is cut into pieces, each of its messages is measured.
    #[test]
    fn messages_are_measured_across_pieces() {
        for piece in 1..=PREFIX + 101 {
            for (last, fits) in [(0, true), (100, true), (101, false), (200, false)] {
                let bytes: Vec<u8> = [0, 100, 1, last].into_iter().flat_map(message).collect();
                let pieces: Vec<&[u8]> = bytes.chunks(piece).collect();
                assert_eq!(admitted(&pieces), fits, "{last} bytes in pieces of {piece}");
            }
        }
    }

    #[test]
    fn the_prefix_alone_is_enough_to_refuse() {
        assert!(admitted(&[&[0, 0, 0, 0, 100]]));
        assert!(!admitted(&[&[0, 0, 0], &[0, 101]]));
        assert!(!admitted(&[&[0, 0xff, 0xff, 0xff, 0xff]]));
    }
}
