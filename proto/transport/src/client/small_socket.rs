//! A QUIC socket that takes little memory. quinn keeps room for 32 runs of 64 datagrams that the kernel may have joined (UDP GRO): 3 MB for a
//! client that hears a few datagrams a second, all of it cleared when it signs in.

use std::io;
use std::net::UdpSocket;
use std::pin::Pin;
use std::sync::Arc;

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};

/// Tokio, with sockets that take one datagram at a time.
#[derive(Debug)]
pub(super) struct SmallSockets;

impl Runtime for SmallSockets {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        TokioRuntime.spawn(future);
    }

    #[cfg(target_os = "linux")]
    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        use std::os::fd::AsFd as _;
        let same = socket.try_clone()?;
        let socket = TokioRuntime.wrap_udp_socket(socket)?;
        Ok(match duocast_udp::take_apart(same.as_fd()) {
            Ok(()) => Arc::new(apart::SmallSocket(socket)),
            // A kernel that joins none has nothing to take apart; whatever it is, the large one works.
            Err(_) => socket,
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> std::time::Instant {
        TokioRuntime.now()
    }
}

#[cfg(target_os = "linux")]
mod apart {
    use std::io::{self, IoSliceMut};
    use std::net::SocketAddr;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use quinn::udp::{RecvMeta, Transmit};
    use quinn::{AsyncUdpSocket, UdpPoller};

    /// One whose datagrams the kernel does not join.
    #[derive(Debug)]
    pub(super) struct SmallSocket(pub(super) Arc<dyn AsyncUdpSocket>);

    impl AsyncUdpSocket for SmallSocket {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            Arc::clone(&self.0).create_io_poller()
        }

        fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
            self.0.try_send(transmit)
        }

        fn poll_recv(
            &self,
            cx: &mut Context<'_>,
            buffers: &mut [IoSliceMut<'_>],
            metas: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            self.0.poll_recv(cx, buffers, metas)
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            self.0.local_addr()
        }

        fn max_transmit_segments(&self) -> usize {
            self.0.max_transmit_segments()
        }

        fn max_receive_segments(&self) -> usize {
            1
        }

        fn may_fragment(&self) -> bool {
            self.0.may_fragment()
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::future::poll_fn;
    use std::io::IoSliceMut;
    use std::net::Ipv4Addr;

    use quinn::udp::{RecvMeta, Transmit};

    use super::*;

    #[tokio::test]
    async fn a_run_that_was_sent_as_one_comes_as_single_datagrams() {
        let (sender, receiver) = (bound(), bound());
        let destination = receiver.local_addr().unwrap();
        let receiver = SmallSockets.wrap_udp_socket(receiver).unwrap();
        assert_eq!(receiver.max_receive_segments(), 1);
        let sender = SmallSockets.wrap_udp_socket(sender).unwrap();
        let mut writable = Arc::clone(&sender).create_io_poller();
        poll_fn(|cx| writable.as_mut().poll_writable(cx)).await.unwrap();
        let contents: Vec<u8> = (0..10).flat_map(|n| [n; 1000]).collect();
        let segment_size = (sender.max_transmit_segments() >= 10).then_some(1000);
        let chunk = if segment_size.is_some() { 10_000 } else { 1000 };
        for contents in contents.chunks(chunk) {
            sender
                .try_send(&Transmit { destination, ecn: None, contents, segment_size, src_ip: None })
                .unwrap();
        }
        let mut heard = Vec::new();
        let mut room = [[0; 1472]; 4];
        while heard.len() < 10 {
            let mut buffers = room.each_mut().map(|bytes| IoSliceMut::new(bytes));
            let mut metas = [RecvMeta::default(); 4];
            let count = poll_fn(|cx| receiver.poll_recv(cx, &mut buffers, &mut metas)).await.unwrap();
            for (buffer, meta) in buffers.iter().zip(&metas).take(count) {
                assert_eq!((meta.len, meta.stride), (1000, 1000));
                heard.push(buffer[0]);
            }
        }
        assert_eq!(heard, (0..10).collect::<Vec<u8>>());
    }

    fn bound() -> UdpSocket {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
    }
}
