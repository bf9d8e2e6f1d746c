//! gRPC over HTTP/3 and HTTP/2: the server's doors and the client's channel.
//!
//! One axum app is served by several doors ([`server`]): gRPC over HTTP/3 (QUIC) and gRPC over HTTP/2 (TLS on TCP) on one
//! port number, and plain HTTP on a localhost port for the page. [`guard`] gives the app the behaviour that must be the
//! same on each of them: grpc-web, CORS, deadlines, panic isolation, draining. [`client`] is the other end, a channel for
//! generated tonic clients that prefers HTTP/3. [`identity`] is the certificate both agree on.

pub mod client;
pub mod guard;
pub mod identity;
pub mod server;

mod grpc;
mod h3_body;
mod quic;
mod tls;

/// How a request came in, or how a channel is connected.
///
/// The server puts it into the extensions of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// HTTP/3 over QUIC.
    H3,
    /// HTTP/2 or HTTP/1.1 over TLS on TCP. A client's channel speaks HTTP/2 only.
    H2,
    /// HTTP without TLS, on a localhost port.
    Plain,
}

impl Door {
    /// A short name for logs and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::H3 => "h3",
            Self::H2 => "h2",
            Self::Plain => "plain",
        }
    }
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
