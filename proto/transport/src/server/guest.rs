//! Connections on the TLS port that speak something else than HTTP.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// A byte stream both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// Another protocol on the TLS port, for clients that negotiate no protocol (ALPN), told from HTTP by its first byte. Its connections
/// count against the same bounds, and end at the latest when a shutdown has drained.
pub trait Guest: Send + Sync {
    /// Whether a connection that begins with this byte speaks it. HTTP begins with a letter.
    fn knows(&self, first: u8) -> bool;

    /// Serves one connection, which does not say whose it is. Dropping the future closes it; a panic ends this connection only.
    fn serve(&self, stream: Box<dyn Duplex>) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A stream whose first byte was looked at and is read again.
pub(super) struct Peeked<S> {
    first: Option<u8>,
    stream: S,
}

impl<S: AsyncRead + Unpin> Peeked<S> {
    /// Waits for the first byte and tells it; an error if there is none.
    pub(super) async fn new(mut stream: S) -> io::Result<(u8, Self)> {
        let first = stream.read_u8().await?;
        Ok((first, Self { first: Some(first), stream }))
    }

    /// The stream itself.
    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Peeked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buffer.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Peeked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn nothing_of_a_stream_is_lost_by_looking_at_its_first_byte() {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(b"PRI * HTTP/2.0").await.unwrap();
        let (first, mut stream) = Peeked::new(server).await.unwrap();
        stream.write_all(b"answer").await.unwrap();
        drop(client.shutdown().await);
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        assert_eq!((first, &all[..]), (b'P', &b"PRI * HTTP/2.0"[..]));
        drop(stream);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    }

    #[tokio::test]
    async fn a_stream_that_ends_at_once_has_no_first_byte() {
        let (client, server) = tokio::io::duplex(64);
        drop(client);
        assert!(Peeked::new(server).await.is_err());
    }
}
