//! Finds the way to a server: names to addresses, QUIC before TCP, the first that connects.

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::Uri;
use http::uri::{Authority, Scheme};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::ServerName;
use socket2::{Domain, Protocol, Socket, Type};

use super::h2::H2Connection;
use super::h3::H3Connection;
use super::small_socket::SmallSockets;
use super::{ChannelConfig, DoorChoice, RebindError, TlsStream, tcp};
use crate::{Door, tls};

/// Head start of each address over the next (RFC 8305 section 5 recommends 250 ms between tries and allows 100).
const ADDRESS_STAGGER: Duration = Duration::from_millis(100);

/// Addresses of a name that are tried. A name with more is served by the first ones.
const ADDRESSES: usize = 8;

/// Bytes of one response stream that may be on the way. A message of the API fits twice.
const STREAM_WINDOW_BYTES: u32 = 512 * 1024;

/// How long QUIC may still take once TCP was refused. The server has both on one port, so most likely nothing is there; this is
/// for networks that refuse TCP. Long enough for one lost packet (quinn repeats the first after a second, the head start
/// included); longer makes people wait to hear that the server is not running.
const QUIC_AFTER_REFUSAL: Duration = Duration::from_millis(1_200);

/// Why there is no connection. No message tells an address.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be used.
    #[error("{url:?} is no server URL ({why}); give https://host:port")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The PEM text holds no certificate.
    #[error("the roots hold no certificate; give the server's certificate or its issuer's as PEM")]
    NoRoots,
    /// There is no bundle of root certificates.
    #[error("no system root certificates were found; name a bundle in SSL_CERT_FILE or give roots as PEM")]
    NoSystemRoots,
    /// A setting cannot be used.
    #[error("the connection settings cannot be used: {0}")]
    Settings(String),
    /// The name has no address.
    #[error("the server's name has no address: {0}; check the name and the network")]
    Resolve(io::Error),
    /// The host is there, and nothing listens on the port.
    #[error(
        "nothing listens on port {0} of the server's host; start the server, or check host and port of the URL"
    )]
    Refused(u16),
    /// Every door that was tried failed.
    #[error(
        "cannot connect ({0}); check that the server runs, its certificate is trusted and the network lets it through"
    )]
    Failed(String),
    /// No door answered in time.
    #[error("no answer within {0:?}; check that the server runs and the network lets it through")]
    TimedOut(Duration),
}

/// A connection that calls can be made on.
pub(super) enum Live {
    H3(H3Connection),
    H2(H2Connection),
}

impl Live {
    pub(super) fn door(&self) -> Door {
        match self {
            Self::H3(_) => Door::H3,
            Self::H2(_) => Door::H2,
        }
    }

    /// False once the connection is closed or the server is going away.
    pub(super) fn is_usable(&self) -> bool {
        match self {
            Self::H3(connection) => connection.is_usable(),
            Self::H2(connection) => connection.is_usable(),
        }
    }
}

/// RFC 9114, section 8.1.
const H3_NO_ERROR: quinn::VarInt = quinn::VarInt::from_u32(0x100);

/// Longest wait for a close to be on its way. Higher keeps a program from ending where the server is away.
const CLOSE_MAX: Duration = Duration::from_millis(500);

/// Makes connections to one server.
pub(super) struct Connector {
    config: ChannelConfig,
    host: String,
    port: u16,
    name: ServerName<'static>,
    tcp_tls: tokio_rustls::TlsConnector,
    guest_tls: tokio_rustls::TlsConnector,
    quic: Option<Quic>,
}

struct Quic {
    endpoint: quinn::Endpoint,
    client: quinn::ClientConfig,
}

impl Connector {
    /// Reads the configuration. Opens the UDP socket unless HTTP/2 alone is wanted.
    pub(super) fn new(config: ChannelConfig) -> Result<(Self, Authority), ConnectError> {
        let bad = |why| ConnectError::Url { url: config.url.clone(), why };
        let url: Uri = config.url.parse().map_err(|_| bad("it cannot be parsed"))?;
        if url.scheme() != Some(&Scheme::HTTPS) {
            return Err(bad("it is not https"));
        }
        let authority = url.authority().ok_or_else(|| bad("it has no host"))?.clone();
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| bad("its host is no name or address"))?;
        let roots = Arc::new(config.roots.load()?);
        let tcp_tls = tls::client_config(Arc::clone(&roots), &["h2"]).map_err(settings)?;
        let guest_tls = tls::client_config(Arc::clone(&roots), &[]).map_err(settings)?;
        let quic = match config.door {
            DoorChoice::H2 => None,
            DoorChoice::H3 => Some(Quic::new(&config, roots)?),
            // A machine without UDP still has TCP.
            DoorChoice::Auto => Quic::new(&config, roots).ok(),
        };
        let port = authority.port_u16().unwrap_or(443);
        let (tcp_tls, guest_tls) = (Arc::new(tcp_tls).into(), Arc::new(guest_tls).into());
        let connector = Self { host, port, name, tcp_tls, guest_tls, quic, config };
        Ok((connector, authority))
    }

    /// Connects by the doors of the configuration, within its timeout.
    pub(super) async fn connect(&self) -> Result<Live, ConnectError> {
        let limit = self.config.connect_timeout;
        tokio::time::timeout(limit, self.any_door()).await.unwrap_or(Err(ConnectError::TimedOut(limit)))
    }

    async fn any_door(&self) -> Result<Live, ConnectError> {
        let addresses = self.addresses().await?;
        let Some(quic) = &self.quic else { return self.by_tcp(&addresses).await };
        if self.config.door == DoorChoice::H3 {
            return self.by_quic(quic, &addresses).await;
        }
        let mut by_quic = pin!(self.by_quic(quic, &addresses));
        let mut by_tcp = pin!(self.by_tcp(&addresses));
        match tokio::time::timeout(self.config.quic_head_start, by_quic.as_mut()).await {
            Ok(Ok(live)) => return Ok(live),
            Ok(Err(_)) => return by_tcp.await,
            Err(_) => {}
        }
        let failure = tokio::select! {
            outcome = by_quic.as_mut() => match outcome {
                Ok(live) => return Ok(live),
                Err(_) => return by_tcp.await,
            },
            outcome = by_tcp.as_mut() => match outcome {
                Ok(live) => return Ok(live),
                Err(failure) => failure,
            },
        };
        let patience = match failure {
            ConnectError::Refused(_) => QUIC_AFTER_REFUSAL,
            // The connect timeout of the whole ends it.
            _ => Duration::MAX,
        };
        tokio::time::timeout(patience, by_quic).await.ok().and_then(Result::ok).ok_or(failure)
    }

    /// A connection of its own on which no protocol is negotiated, within the configuration's timeout.
    pub(super) async fn guest(&self) -> Result<TlsStream, ConnectError> {
        let limit = self.config.connect_timeout;
        let connected = async {
            let addresses = self.addresses().await?;
            let connect = |address| tcp::connect(address, &self.name, &self.guest_tls);
            race(&addresses, connect).await.map_err(|failure| self.failed(failure))
        };
        tokio::time::timeout(limit, connected).await.unwrap_or(Err(ConnectError::TimedOut(limit)))
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, ConnectError> {
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        Ok(addresses.map_err(ConnectError::Resolve)?.take(ADDRESSES).collect())
    }

    async fn by_quic(&self, quic: &Quic, addresses: &[SocketAddr]) -> Result<Live, ConnectError> {
        let connected = race(addresses, |address| quic.connect(address, &self.host)).await;
        connected.map(Live::H3).map_err(|failure| self.failed(failure))
    }

    async fn by_tcp(&self, addresses: &[SocketAddr]) -> Result<Live, ConnectError> {
        let connect = |address| H2Connection::connect(address, &self.name, &self.tcp_tls, &self.config);
        race(addresses, connect).await.map(Live::H2).map_err(|failure| self.failed(failure))
    }

    fn failed(&self, failure: TryError) -> ConnectError {
        match failure {
            TryError::Refused => ConnectError::Refused(self.port),
            TryError::NoWay(why) | TryError::Failed(why) => ConnectError::Failed(why),
        }
    }

    /// Closes the QUIC connections and waits until the server may have heard of it. One on TCP closes when it is dropped.
    pub(super) async fn close(&self) {
        let Some(quic) = &self.quic else { return };
        quic.endpoint.close(H3_NO_ERROR, b"");
        // Whoever cannot be told goes by the idle timeout.
        let _ = tokio::time::timeout(CLOSE_MAX, quic.endpoint.wait_idle()).await;
    }

    /// Moves the QUIC connections to a new local socket.
    pub(super) fn rebind(&self) -> Result<(), RebindError> {
        let quic = self.quic.as_ref().ok_or(RebindError::NotQuic)?;
        Ok(quic.endpoint.rebind(udp_socket()?)?)
    }
}

impl Quic {
    fn new(config: &ChannelConfig, roots: Arc<rustls::RootCertStore>) -> Result<Self, ConnectError> {
        let tls = tls::client_config(roots, &["h3"]).map_err(settings)?;
        let crypto = QuicClientConfig::try_from(tls).map_err(settings)?;
        let idle = quinn::IdleTimeout::try_from(config.idle_timeout).map_err(settings)?;
        let mut transport = quinn::TransportConfig::default();
        transport
            .max_idle_timeout(Some(idle))
            .keep_alive_interval(Some(config.keep_alive))
            .stream_receive_window(STREAM_WINDOW_BYTES.into())
            .receive_window((2 * STREAM_WINDOW_BYTES).into())
            .max_concurrent_bidi_streams(0_u32.into())
            .datagram_receive_buffer_size(None);
        let mut client = quinn::ClientConfig::new(Arc::new(crypto));
        client.transport_config(Arc::new(transport));
        let runtime = Arc::new(SmallSockets);
        let socket = udp_socket().map_err(settings)?;
        let endpoint = quinn::Endpoint::new(quinn::EndpointConfig::default(), None, socket, runtime);
        Ok(Self { endpoint: endpoint.map_err(settings)?, client })
    }

    async fn connect(&self, address: SocketAddr, host: &str) -> Result<H3Connection, TryError> {
        let connecting = self.endpoint.connect_with(self.client.clone(), address, host);
        // An address that this machine has no route to is one of the ways to fail; its text is not passed on.
        let connecting = connecting.map_err(|_| TryError::NoWay("QUIC: no way to the address".to_owned()))?;
        let quic = connecting.await.map_err(|error| TryError::Failed(format!("QUIC: {error}")))?;
        H3Connection::new(quic).await.map_err(TryError::Failed)
    }
}

/// A UDP socket on a port of the system's choice: for IPv6 and IPv4, or IPv4 alone where there is no IPv6.
fn udp_socket() -> io::Result<UdpSocket> {
    let both = || {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_only_v6(false)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())?;
        Ok(socket.into())
    };
    both().or_else(|_: io::Error| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))
}

/// Why one address did not connect, what tells least first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TryError {
    /// This machine has no way to it, as to IPv6 where there is none.
    NoWay(String),
    /// Its host says that nothing listens.
    Refused,
    /// Something was there, or nothing was heard.
    Failed(String),
}

/// Tries the addresses in order, each with a head start over the next; the first to connect wins, the others are dropped. If
/// none does, the failure that tells most is given.
async fn race<'a, T, F>(
    addresses: &'a [SocketAddr],
    connect: impl Fn(SocketAddr) -> F + 'a,
) -> Result<T, TryError>
where
    F: Future<Output = Result<T, TryError>>,
{
    let mut running = FuturesUnordered::new();
    let mut waiting = addresses.iter();
    let mut failure = TryError::NoWay("the name has no address".to_owned());
    loop {
        match waiting.next() {
            Some(address) => running.push(connect(*address)),
            None if running.is_empty() => return Err(failure),
            None => {}
        }
        tokio::select! {
            Some(outcome) = running.next() => match outcome {
                Ok(connection) => return Ok(connection),
                Err(error) => failure = failure.max(error),
            },
            () = tokio::time::sleep(ADDRESS_STAGGER), if waiting.len() > 0 => {}
        }
    }
}

fn settings(error: impl Display) -> ConnectError {
    ConnectError::Settings(error.to_string())
}
