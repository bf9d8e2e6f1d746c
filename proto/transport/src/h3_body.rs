//! The body of an HTTP/3 message that is being received.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h3::error::StreamError;
use http::HeaderMap;
use http_body::{Body, Frame};
use tonic::Status;

use crate::grpc::stream_status;
use crate::quic::{Consumed, RecvStream};

/// The receiving half of a request stream of either side.
pub(crate) trait Receive {
    /// The next piece of data; none when trailers or the end follow.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>>;
    /// The trailers, after the data.
    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, StreamError>>;
}

macro_rules! receive {
    ($stream:ty) => {
        impl Receive for $stream {
            fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
                let data = ready!(self.poll_recv_data(cx))?;
                Poll::Ready(Ok(data.map(|mut data| data.copy_to_bytes(data.remaining()))))
            }
            fn poll_trailers(
                &mut self,
                cx: &mut Context<'_>,
            ) -> Poll<Result<Option<HeaderMap>, StreamError>> {
                self.poll_recv_trailers(cx)
            }
        }
    };
}
receive!(h3::server::RequestStream<RecvStream, Bytes>);
receive!(h3::client::RequestStream<RecvStream, Bytes>);

/// Streams the data and then the trailers of a message.
pub(crate) struct H3Body<R> {
    stream: R,
    consumed: Consumed,
    stage: Stage,
}

enum Stage {
    Data,
    /// `h3` said that the data ended, which it also says of an empty DATA frame in the middle: it is asked once more.
    DataOrEnd,
    Trailers,
    End,
}

impl<R> H3Body<R> {
    pub(crate) fn new(stream: R, consumed: Consumed) -> Self {
        Self { stream, consumed, stage: Stage::Data }
    }
}

impl<R: Receive + Unpin> Body for H3Body<R> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            match this.stage {
                Stage::Data | Stage::DataOrEnd => match ready!(this.stream.poll_data(cx)) {
                    Ok(Some(data)) => {
                        this.stage = Stage::Data;
                        this.consumed.piece(data.len());
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Ok(None) if matches!(this.stage, Stage::Data) => this.stage = Stage::DataOrEnd,
                    Ok(None) => this.stage = Stage::Trailers,
                    Err(error) => return Poll::Ready(Some(Err(this.fail(&error)))),
                },
                Stage::Trailers => match ready!(this.stream.poll_trailers(cx)) {
                    Ok(trailers) => {
                        this.stage = Stage::End;
                        return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                    }
                    Err(error) => return Poll::Ready(Some(Err(this.fail(&error)))),
                },
                Stage::End => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.stage, Stage::End)
    }
}

impl<R> H3Body<R> {
    fn fail(&mut self, error: &StreamError) -> Status {
        self.stage = Stage::End;
        stream_status(error)
    }
}
