//! TLS on TCP to one address.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::TlsStream;
use super::connect::TryError;

/// Connects, and sees that the server is who it should be.
pub(super) async fn connect(
    address: SocketAddr,
    name: &ServerName<'static>,
    tls: &TlsConnector,
) -> Result<TlsStream, TryError> {
    let stream = TcpStream::connect(address).await.map_err(|error| unconnected(&error))?;
    // Small messages are to leave at once; a socket without the option still works.
    let _ = stream.set_nodelay(true);
    tls.connect(name.clone(), stream).await.map_err(failed("TLS"))
}

pub(super) fn failed<E: Display>(step: &'static str) -> impl Fn(E) -> TryError {
    move |error| TryError::Failed(format!("{step}: {error}"))
}

fn unconnected(error: &io::Error) -> TryError {
    use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
    // The system's text may name the address; the kind does not.
    match error.kind() {
        ConnectionRefused => TryError::Refused,
        kind @ (AddrNotAvailable | HostUnreachable | NetworkUnreachable) => {
            TryError::NoWay(format!("TCP: {kind}"))
        }
        kind => TryError::Failed(format!("TCP: {kind}")),
    }
}
