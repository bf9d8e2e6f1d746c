//! What is left of a request that was answered before all of it had come.
//!
//! A server may ask the client to stop sending at once (RFC 9114 section 4.1), but Chromium then never gives the response
//! to its page: it looks at none before its upload is done. So the rest is taken in and thrown away, within bounds.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use h3::error::StreamError;
use h3::server::RequestStream;
use http::HeaderMap;
use tokio::sync::oneshot;

use crate::h3_body::Receive;
use crate::quic::{Consumed, RecvStream};

/// Bytes of one request that are thrown away; beyond it the client is asked to stop. Higher lets a client waste more of the
/// network, lower leaves Chromium waiting where the message was further above the limit. Costs no memory.
const LEFTOVER_BYTES: usize = 4 * 1024 * 1024;

/// How long they may take; then the client is asked to stop.
const LEFTOVER_TIMEOUT: Duration = Duration::from_secs(5);

type RecvHalf = RequestStream<RecvStream, Bytes>;

/// Lends the receiving half of a request to its handler; what the handler did not read comes back when it is dropped.
pub(super) fn lend(stream: RecvHalf, consumed: Consumed) -> (Lent, Leftover) {
    let (back, returned) = oneshot::channel();
    (Lent { stream: Some(stream), back: Some(back) }, Leftover { returned, consumed })
}

/// The receiving half of a request, in the hands of its handler.
pub(super) struct Lent {
    /// Taken only by `drop`.
    stream: Option<RecvHalf>,
    back: Option<oneshot::Sender<RecvHalf>>,
}

impl Receive for Lent {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        self.stream.as_mut().map_or(Poll::Ready(Ok(None)), |stream| stream.poll_data(cx))
    }

    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, StreamError>> {
        self.stream.as_mut().map_or(Poll::Ready(Ok(None)), |stream| stream.poll_trailers(cx))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            // Where the request is over already, the stream is dropped here, which stops it.
            let _ = back.send(stream);
        }
    }
}

/// The other end of [`lend`].
pub(super) struct Leftover {
    returned: oneshot::Receiver<RecvHalf>,
    consumed: Consumed,
}

impl Leftover {
    /// Throws away what the handler left, to be called once the response is complete. Whatever still comes after it is
    /// stopped; so is all of it if a handler holds on to the request after its response.
    pub(super) async fn discard(mut self) {
        let Ok(stream) = self.returned.try_recv() else { return };
        let _ = tokio::time::timeout(LEFTOVER_TIMEOUT, drain(stream, &self.consumed)).await;
    }
}

async fn drain(mut stream: RecvHalf, consumed: &Consumed) {
    let mut left = LEFTOVER_BYTES;
    while let Ok(Some(data)) = stream.recv_data().await {
        consumed.piece(data.remaining());
        match left.checked_sub(data.remaining()) {
            Some(less) => left = less,
            None => return,
        }
    }
}
