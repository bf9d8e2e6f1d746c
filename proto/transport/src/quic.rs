//! HTTP/3's view of QUIC: the traits of `h3` over `quinn`.
//!
//! Three things differ from a plain adapter. A stream that is dropped before it was finished is reset, because quinn would
//! finish it and a cut-off message would look whole. Reading needs no stored future, so reading can be stopped at any
//! moment. And what `h3` may hold back unread is bounded: it collects a frame until it is complete, however long the
//! peer says it is.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::VarInt;

/// Most bytes taken from a stream at once. Higher means fewer wake-ups for large messages, lower less memory in a stream
/// that is being read.
const READ_CHUNK_BYTES: usize = 16 * 1024;

/// Bytes of a request stream that were read and not yet given on. Beyond it nothing more is read until some were, because
/// `h3` reads on with each frame that it gives, however much it holds; a frame that cannot be given before more is read (a
/// HEADERS frame of this size) ends the stream with H3_EXCESSIVE_LOAD. Lower than the largest header section plus
/// [`READ_CHUNK_BYTES`] would refuse legal requests.
const UNCONSUMED_BYTES: usize = 64 * 1024;

/// Refusals to read more, with nothing given on in between, after which a frame is held to be larger than
/// [`UNCONSUMED_BYTES`]. `h3` asks twice for each piece that it gives; more only costs a few idle polls.
const REFUSALS: u32 = 8;

/// Credit for the frame header in front of each piece of data: two varints of at most 8 bytes (RFC 9114 section 7.1).
const FRAME_HEADER_BYTES: usize = 16;

/// Most bytes read from one unidirectional stream in its life: SETTINGS, GOAWAY and a PRIORITY_UPDATE of about 20 bytes for
/// each request are all a peer has to say. Beyond it the connection is closed; the client connects anew.
const UNI_STREAM_BYTES: usize = 1024 * 1024;

/// Unidirectional streams accepted in the life of a connection: three are needed (control and two of QPACK), a few more are
/// opened for greasing. `h3` keeps a place for each. Beyond it the connection is closed.
const UNI_STREAMS: usize = 32;

/// The request or response was given up by its sender (RFC 9114 section 8.1).
pub(crate) const REQUEST_CANCELLED: u64 = 0x10c;
/// Something failed on this side.
pub(crate) const INTERNAL_ERROR: u64 = 0x102;
/// Nothing failed; the rest is not needed.
pub(crate) const NO_ERROR: u64 = 0x100;
/// The peer asks for more than it may.
pub(crate) const EXCESSIVE_LOAD: u64 = 0x107;
/// The request was refused before any of it was processed.
pub(crate) const REQUEST_REJECTED: u64 = 0x10b;

/// What a stream that is dropped unfinished says to the peer.
#[derive(Clone, Copy)]
struct DropCodes {
    /// Resets the part that was being sent.
    reset: u64,
    /// Stops the part that was being received.
    stop: u64,
}

/// A client that drops a stream has lost interest.
const CLIENT_DROP: DropCodes = DropCodes { reset: REQUEST_CANCELLED, stop: REQUEST_CANCELLED };
/// A server that drops a stream failed to answer; a request body that is left unread is no error.
const SERVER_DROP: DropCodes = DropCodes { reset: INTERNAL_ERROR, stop: NO_ERROR };

type Incoming<T> = Pin<Box<dyn Future<Output = Result<T, quinn::ConnectionError>> + Send + Sync>>;

/// A QUIC connection for `h3`.
pub(crate) struct Connection {
    opener: Opener,
    accepting_bi: Incoming<(quinn::SendStream, quinn::RecvStream)>,
    accepting_uni: Incoming<quinn::RecvStream>,
    uni_streams: usize,
}

impl Connection {
    /// For the side that opened the connection.
    pub(crate) fn client(inner: quinn::Connection) -> Self {
        Self::new(inner, CLIENT_DROP)
    }

    /// For the side that accepted it.
    pub(crate) fn server(inner: quinn::Connection) -> Self {
        Self::new(inner, SERVER_DROP)
    }

    fn new(inner: quinn::Connection, codes: DropCodes) -> Self {
        Self {
            accepting_bi: accept_bi(&inner),
            accepting_uni: accept_uni(&inner),
            opener: Opener { inner, codes, opening_bi: None, opening_uni: None },
            uni_streams: 0,
        }
    }
}

fn accept_bi(inner: &quinn::Connection) -> Incoming<(quinn::SendStream, quinn::RecvStream)> {
    let inner = inner.clone();
    Box::pin(async move { inner.accept_bi().await })
}

fn accept_uni(inner: &quinn::Connection) -> Incoming<quinn::RecvStream> {
    let inner = inner.clone();
    Box::pin(async move { inner.accept_uni().await })
}

impl<B: Buf> h3::quic::Connection<B> for Connection {
    type RecvStream = RecvStream;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<RecvStream, ConnectionErrorIncoming>> {
        let stream = ready!(self.accepting_uni.as_mut().poll(cx));
        self.accepting_uni = accept_uni(&self.opener.inner);
        let stream = stream.map_err(connection_error)?;
        self.uni_streams += 1;
        if self.uni_streams > UNI_STREAMS {
            self.opener.inner.close(code(EXCESSIVE_LOAD), b"too many unidirectional streams");
            return Poll::Ready(Err(ConnectionErrorIncoming::ApplicationClose {
                error_code: EXCESSIVE_LOAD,
            }));
        }
        let budget = Budget::Lifetime { left: UNI_STREAM_BYTES };
        Poll::Ready(Ok(RecvStream { inner: stream, stop_code: self.opener.codes.stop, budget }))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<BidiStream<B>, ConnectionErrorIncoming>> {
        let streams = ready!(self.accepting_bi.as_mut().poll(cx));
        self.accepting_bi = accept_bi(&self.opener.inner);
        let (send, recv) = streams.map_err(connection_error)?;
        let budget = Budget::unconsumed();
        Poll::Ready(Ok(BidiStream::new(send, recv, budget, self.opener.codes)))
    }

    fn opener(&self) -> Opener {
        self.opener.clone()
    }
}

impl<B: Buf> h3::quic::OpenStreams<B> for Connection {
    type BidiStream = BidiStream<B>;
    type SendStream = SendStream<B>;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<BidiStream<B>, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendStream<B>, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, error: Code, reason: &[u8]) {
        self.opener.inner.close(code(error.value()), reason);
    }
}

/// Opens streams on a connection.
pub(crate) struct Opener {
    inner: quinn::Connection,
    codes: DropCodes,
    opening_bi: Option<Incoming<(quinn::SendStream, quinn::RecvStream)>>,
    opening_uni: Option<Incoming<quinn::SendStream>>,
}

impl Clone for Opener {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), codes: self.codes, opening_bi: None, opening_uni: None }
    }
}

impl<B: Buf> h3::quic::OpenStreams<B> for Opener {
    type BidiStream = BidiStream<B>;
    type SendStream = SendStream<B>;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<BidiStream<B>, StreamErrorIncoming>> {
        let opening = self.opening_bi.get_or_insert_with(|| {
            let inner = self.inner.clone();
            Box::pin(async move { inner.open_bi().await })
        });
        let streams = ready!(opening.as_mut().poll(cx));
        self.opening_bi = None;
        let (send, recv) = streams.map_err(stream_lost)?;
        Poll::Ready(Ok(BidiStream::new(send, recv, Budget::Unbounded, self.codes)))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendStream<B>, StreamErrorIncoming>> {
        let opening = self.opening_uni.get_or_insert_with(|| {
            let inner = self.inner.clone();
            Box::pin(async move { inner.open_uni().await })
        });
        let stream = ready!(opening.as_mut().poll(cx));
        self.opening_uni = None;
        Poll::Ready(Ok(SendStream::new(stream.map_err(stream_lost)?, self.codes)))
    }

    fn close(&mut self, error: Code, reason: &[u8]) {
        self.inner.close(code(error.value()), reason);
    }
}

/// A request stream: both directions.
pub(crate) struct BidiStream<B: Buf> {
    send: SendStream<B>,
    recv: RecvStream,
}

impl<B: Buf> BidiStream<B> {
    fn new(send: quinn::SendStream, recv: quinn::RecvStream, budget: Budget, codes: DropCodes) -> Self {
        let recv = RecvStream { inner: recv, stop_code: codes.stop, budget };
        Self { send: SendStream::new(send, codes), recv }
    }

    /// Completes when the peer no longer wants what is sent here (`true`), the connection is gone (`true`), or all of it
    /// was finished and acknowledged (`false`). Needs no polling of the stream itself, so that it also tells of a stream on
    /// which nothing is being sent.
    pub(crate) fn cancelled(&self) -> impl Future<Output = bool> + Send + 'static {
        let stopped = self.send.inner.stopped();
        async move { !matches!(stopped.await, Ok(None)) }
    }

    /// Where the reader of this stream's data says what it has taken.
    pub(crate) fn consumed(&self) -> Consumed {
        match &self.recv.budget {
            Budget::Unconsumed { held, .. } => Consumed(Arc::clone(held)),
            Budget::Lifetime { .. } | Budget::Unbounded => Consumed::default(),
        }
    }
}

impl<B: Buf> h3::quic::BidiStream<B> for BidiStream<B> {
    type SendStream = SendStream<B>;
    type RecvStream = RecvStream;

    fn split(self) -> (SendStream<B>, RecvStream) {
        (self.send, self.recv)
    }
}

impl<B: Buf> h3::quic::SendStream<B> for BidiStream<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }
    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }
    fn reset(&mut self, reset_code: u64) {
        self.send.reset(reset_code);
    }
    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

impl<B: Buf> h3::quic::RecvStream for BidiStream<B> {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.recv.poll_data(cx)
    }
    fn stop_sending(&mut self, error_code: u64) {
        self.recv.stop_sending(error_code);
    }
    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}

/// The sending part of a stream. Reset when it is dropped before it was finished.
pub(crate) struct SendStream<B> {
    inner: quinn::SendStream,
    unsent: Option<WriteBuf<B>>,
    ended: bool,
    reset_code: u64,
}

impl<B> SendStream<B> {
    fn new(inner: quinn::SendStream, codes: DropCodes) -> Self {
        Self { inner, unsent: None, ended: false, reset_code: codes.reset }
    }
}

impl<B: Buf> h3::quic::SendStream<B> for SendStream<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        if let Some(unsent) = &mut self.unsent {
            while unsent.has_remaining() {
                let written = Pin::new(&mut self.inner).poll_write(cx, unsent.chunk());
                unsent.advance(ready!(written).map_err(write_error)?);
            }
        }
        self.unsent = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        if self.unsent.is_some() {
            let message = "data was given to a stream that still holds earlier data".to_owned();
            let connection_error = ConnectionErrorIncoming::InternalError(message);
            return Err(StreamErrorIncoming::ConnectionErrorIncoming { connection_error });
        }
        self.unsent = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        ready!(self.poll_ready(cx))?;
        self.ended = true;
        // The only failure is a stream that has ended already.
        let _ = self.inner.finish();
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self, reset_code: u64) {
        self.ended = true;
        let _ = self.inner.reset(code(reset_code));
    }

    fn send_id(&self) -> StreamId {
        stream_id(self.inner.id())
    }
}

impl<B> Drop for SendStream<B> {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.inner.reset(code(self.reset_code));
        }
    }
}

/// The receiving part of a stream. The peer is asked to stop when it is dropped before its end was read.
pub(crate) struct RecvStream {
    inner: quinn::RecvStream,
    stop_code: u64,
    budget: Budget,
}

/// How much may be read.
enum Budget {
    /// At most about [`UNCONSUMED_BYTES`] more than was reported to [`Consumed`].
    Unconsumed { held: Arc<AtomicUsize>, held_at_refusal: usize, refusals: u32 },
    /// So many bytes in all.
    Lifetime { left: usize },
    /// The peer is a server that this side chose to trust.
    Unbounded,
}

/// What a [`Budget`] says to reading on.
enum Verdict {
    Read,
    /// Not before something was consumed.
    Later,
    Never,
}

impl Budget {
    fn unconsumed() -> Self {
        Self::Unconsumed { held: Arc::default(), held_at_refusal: 0, refusals: 0 }
    }

    fn check(&mut self) -> Verdict {
        match self {
            Self::Unconsumed { held, held_at_refusal, refusals } => {
                let now = held.load(Ordering::Relaxed);
                if now < UNCONSUMED_BYTES {
                    return Verdict::Read;
                }
                *refusals = if now == *held_at_refusal { *refusals + 1 } else { 0 };
                *held_at_refusal = now;
                if *refusals < REFUSALS { Verdict::Later } else { Verdict::Never }
            }
            Self::Lifetime { left: 0 } => Verdict::Never,
            Self::Lifetime { .. } | Self::Unbounded => Verdict::Read,
        }
    }

    fn spend(&mut self, bytes: usize) {
        match self {
            Self::Unconsumed { held, .. } => {
                held.fetch_add(bytes, Ordering::Relaxed);
            }
            Self::Lifetime { left } => *left = left.saturating_sub(bytes),
            Self::Unbounded => {}
        }
    }
}

impl h3::quic::RecvStream for RecvStream {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        match self.budget.check() {
            Verdict::Read => {}
            Verdict::Later => {
                // `h3` may have something to give meanwhile; if not, the next check tells.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Verdict::Never => {
                self.stop_sending(EXCESSIVE_LOAD);
                return Poll::Ready(Err(StreamErrorIncoming::StreamTerminated {
                    error_code: EXCESSIVE_LOAD,
                }));
            }
        }
        let read =
            ready!(pin!(self.inner.read_chunk(READ_CHUNK_BYTES, true)).poll(cx)).map_err(read_error)?;
        Poll::Ready(Ok(read.map(|chunk| {
            self.budget.spend(chunk.bytes.len());
            chunk.bytes
        })))
    }

    fn stop_sending(&mut self, error_code: u64) {
        // The only failure is a stream that has ended already.
        let _ = self.inner.stop(code(error_code));
    }

    fn recv_id(&self) -> StreamId {
        stream_id(self.inner.id())
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        let _ = self.inner.stop(code(self.stop_code));
    }
}

/// Gives back the budget of a stream as its data is used.
#[derive(Clone, Default)]
pub(crate) struct Consumed(Arc<AtomicUsize>);

impl Consumed {
    /// One piece of data of this many bytes was taken out of `h3`.
    pub(crate) fn piece(&self, bytes: usize) {
        self.give_back(bytes + FRAME_HEADER_BYTES);
    }

    /// The header section was complete and is decoded.
    pub(crate) fn headers(&self) {
        self.give_back(UNCONSUMED_BYTES);
    }

    fn give_back(&self, bytes: usize) {
        let less = |held: usize| Some(held.saturating_sub(bytes));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// An error code for the wire; all of HTTP/3's fit.
pub(crate) fn code(value: u64) -> VarInt {
    VarInt::from_u64(value).unwrap_or(VarInt::MAX)
}

fn stream_id(id: quinn::StreamId) -> StreamId {
    // Both are 62-bit numbers (RFC 9000 section 2.1).
    StreamId::try_from(u64::from(VarInt::from(id))).expect("a QUIC stream id is below 2^62")
}

fn connection_error(error: quinn::ConnectionError) -> ConnectionErrorIncoming {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: close.error_code.into_inner() }
        }
        quinn::ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(Arc::new(other)),
    }
}

fn stream_lost(error: quinn::ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error: connection_error(error) }
}

fn write_error(error: quinn::WriteError) -> StreamErrorIncoming {
    match error {
        quinn::WriteError::Stopped(reason) => {
            StreamErrorIncoming::StreamTerminated { error_code: reason.into_inner() }
        }
        quinn::WriteError::ConnectionLost(error) => stream_lost(error),
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}

fn read_error(error: quinn::ReadError) -> StreamErrorIncoming {
    match error {
        quinn::ReadError::Reset(reason) => {
            StreamErrorIncoming::StreamTerminated { error_code: reason.into_inner() }
        }
        quinn::ReadError::ConnectionLost(error) => stream_lost(error),
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}
