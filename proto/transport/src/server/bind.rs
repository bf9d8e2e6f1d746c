//! Binds every socket of a server, or none.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use quinn::VarInt;
use quinn::crypto::rustls::QuicServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::ServerConfig;
use super::limits::Limits;
use super::reset;
use crate::tls;

/// Connections that the kernel completes before the accept loop takes them. Higher absorbs larger bursts.
const BACKLOG: i32 = 1024;

/// Ports tried when the system is to choose one that is free for TCP and UDP on every address. Each try fails only if
/// another program holds the port for the other protocol, so a handful is plenty.
const PORT_TRIES: usize = 32;

/// Receive buffer asked for each UDP socket. Higher absorbs longer pauses of the process; the system may grant less.
const UDP_RECEIVE_BUFFER_BYTES: usize = 1024 * 1024;

/// Unidirectional streams a client may have open: three that HTTP/3 needs, and some for greasing.
const UNI_STREAMS: u32 = 8;

/// Bytes of responses of one connection that are kept until they are acknowledged. Higher lets one connection on a
/// long path go faster, lower bounds what a client that acknowledges nothing costs.
const SEND_WINDOW_BYTES: u64 = 512 * 1024;

/// Why a server could not be bound. Nothing is left open.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be had.
    #[error(
        "cannot listen on {protocol} {address}: {source}; stop what is using it or choose another address"
    )]
    Address {
        /// "TCP" or "UDP".
        protocol: &'static str,
        /// The server's own address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No port was free for both protocols on all addresses.
    #[error("no port is free for both TCP and UDP on every address; name a port instead of 0")]
    NoCommonPort,
    /// TLS refused the identity.
    #[error("the certificate cannot be used to serve: {0}")]
    Tls(#[from] rustls::Error),
    /// QUIC needs TLS 1.3 with AES-128-GCM.
    #[error("the certificate cannot be used to serve QUIC: {0}")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// A limit does not fit its protocol.
    #[error("the limit {0} is out of range; lower it")]
    Limit(&'static str),
}

/// The loopback addresses of this machine with `port`: 127.0.0.1, and ::1 if there is IPv6. A browser or a client that
/// resolves `localhost` may try either first.
pub fn loopback(port: u16) -> Vec<SocketAddr> {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let has_v6 = std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if has_v6 { vec![v4, v6] } else { vec![v4] }
}

/// Everything that is bound.
pub(super) struct Sockets {
    pub(super) tls: Vec<(TcpListener, Arc<rustls::ServerConfig>)>,
    pub(super) quic: Vec<quinn::Endpoint>,
    pub(super) plain: Vec<TcpListener>,
    pub(super) listen_addrs: Vec<SocketAddr>,
    pub(super) plain_addrs: Vec<SocketAddr>,
}

pub(super) fn bind(config: &ServerConfig) -> Result<Sockets, BindError> {
    let tcp_tls = tls::server_config(&config.identity, &["h2", "http/1.1"])?;
    let quic_config = quic_server_config(config)?;
    let pairs = bind_pairs(&config.listen)?;
    let plain = config.plain.iter().map(|address| bind_tcp(*address, &config.plain));
    let plain = plain.collect::<Result<Vec<_>, _>>()?;

    let tcp_tls = Arc::new(tcp_tls);
    let mut sockets = Sockets {
        listen_addrs: pairs.iter().map(|pair| pair.address).collect(),
        plain_addrs: Vec::new(),
        tls: Vec::new(),
        quic: Vec::new(),
        plain: Vec::new(),
    };
    for pair in pairs {
        let tcp = TcpListener::from_std(pair.tcp.into()).map_err(at("TCP", pair.address))?;
        sockets.tls.push((tcp, Arc::clone(&tcp_tls)));
        let runtime = Arc::new(quinn::TokioRuntime);
        let server = Some(quic_config.clone());
        let settings = reset::endpoint_config(config.reset_secret.as_ref(), pair.address);
        let endpoint = quinn::Endpoint::new(settings, server, pair.udp.into(), runtime);
        sockets.quic.push(endpoint.map_err(at("UDP", pair.address))?);
    }
    for (socket, address) in plain {
        sockets.plain.push(TcpListener::from_std(socket.into()).map_err(at("TCP", address))?);
        sockets.plain_addrs.push(address);
    }
    Ok(sockets)
}

struct Pair {
    tcp: Socket,
    udp: Socket,
    address: SocketAddr,
}

/// Binds each address on TCP and UDP. If some have port 0, the system chooses one port for all of those.
fn bind_pairs(addresses: &[SocketAddr]) -> Result<Vec<Pair>, BindError> {
    let Some(first_open) = addresses.iter().find(|address| address.port() == 0) else {
        return addresses.iter().map(|address| bind_pair(*address, addresses)).collect();
    };
    for _ in 0..PORT_TRIES {
        // Holding the probe until the pairs are bound would make them fail; the try is repeated if somebody is faster.
        let (probe, chosen) = bind_tcp(*first_open, addresses)?;
        drop(probe);
        let with_port = addresses.iter().map(|address| match address.port() {
            0 => SocketAddr::new(address.ip(), chosen.port()),
            _ => *address,
        });
        match with_port.map(|address| bind_pair(address, addresses)).collect::<Result<Vec<_>, _>>() {
            Err(BindError::Address { address, source, .. })
                if address.port() == chosen.port() && source.kind() == io::ErrorKind::AddrInUse => {}
            outcome => return outcome,
        }
    }
    Err(BindError::NoCommonPort)
}

fn bind_pair(address: SocketAddr, all: &[SocketAddr]) -> Result<Pair, BindError> {
    let (tcp, address) = bind_tcp(address, all)?;
    let udp = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        prepare(&socket, address, all)?;
        // Less than this is no failure.
        let _ = socket.set_recv_buffer_size(UDP_RECEIVE_BUFFER_BYTES);
        socket.bind(&address.into())?;
        Ok(socket)
    };
    Ok(Pair { tcp, udp: udp().map_err(at("UDP", address))?, address })
}

fn bind_tcp(address: SocketAddr, all: &[SocketAddr]) -> Result<(Socket, SocketAddr), BindError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        prepare(&socket, address, all)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok((socket, bound))
    };
    open().map_err(at("TCP", address))
}

/// An IPv6 wildcard also takes IPv4, unless an IPv4 address is listened on as well.
fn prepare(socket: &Socket, address: SocketAddr, all: &[SocketAddr]) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(all.iter().any(SocketAddr::is_ipv4))?;
    }
    Ok(())
}

fn at(protocol: &'static str, address: SocketAddr) -> impl Fn(io::Error) -> BindError {
    move |source| BindError::Address { protocol, address, source }
}

fn quic_server_config(config: &ServerConfig) -> Result<quinn::ServerConfig, BindError> {
    let tls = tls::server_config(&config.identity, &["h3"])?;
    let crypto = QuicServerConfig::try_from(tls)?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    server.max_incoming(config.limits.handshakes);
    server.transport_config(Arc::new(transport(&config.limits)?));
    Ok(server)
}

fn transport(limits: &Limits) -> Result<quinn::TransportConfig, BindError> {
    let idle = quinn::IdleTimeout::try_from(limits.idle_timeout);
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.streams_per_connection))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS))
        .max_idle_timeout(Some(idle.map_err(|_| BindError::Limit("idle_timeout"))?))
        .stream_receive_window(VarInt::from_u32(limits.stream_window_bytes))
        .receive_window(VarInt::from_u32(limits.connection_window_bytes))
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None);
    Ok(transport)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_zero_gives_one_port_for_both_protocols_on_every_address() {
        let pairs = bind_pairs(&loopback(0)).unwrap();
        let port = pairs[0].address.port();
        assert_ne!(port, 0);
        for pair in &pairs {
            assert_eq!(pair.address.port(), port);
            assert_eq!(pair.udp.local_addr().unwrap().as_socket().unwrap(), pair.address);
        }
    }

    #[test]
    fn an_address_whose_udp_port_is_taken_binds_nothing() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let Err(BindError::Address { protocol, .. }) = bind_pairs(&[address]) else {
            panic!("the UDP port was taken")
        };
        assert_eq!(protocol, "UDP");
        assert!(std::net::TcpListener::bind(address).is_ok(), "the TCP half was left open");
    }
}
