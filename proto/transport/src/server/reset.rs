//! Stateless resets (RFC 9000 section 10.3): how a server ends the connections of the process that held its address before.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use quinn::{ConnectionId, ConnectionIdGenerator};

/// Length of a connection id: long enough that no two connections ever draw the same, short in each packet.
const CONNECTION_ID_BYTES: usize = 8;

/// At most one reset is sent in this time on each socket. Shorter ends the connections of a crowd sooner after a restart,
/// longer bounds what is spent on answering noise; an answer is always smaller than its question.
const MIN_RESET_INTERVAL: Duration = Duration::from_millis(1);

/// The settings of one QUIC socket. The reset tokens depend on the secret and on `address`, so that what is sent to one
/// socket cannot draw the token of a connection that lives on another (section 21.11).
pub(super) fn endpoint_config(secret: Option<&[u8; 32]>, address: SocketAddr) -> quinn::EndpointConfig {
    let Some(secret) = secret else { return quinn::EndpointConfig::default() };
    let of_server = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let of_socket = hmac::sign(&of_server, address.to_string().as_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA256, of_socket.as_ref());
    let mut config = quinn::EndpointConfig::new(Arc::new(key));
    config.min_reset_interval(MIN_RESET_INTERVAL).cid_generator(|| Box::new(AnyId));
    config
}

/// Makes connection ids at random and takes each for one that a predecessor may have made. The default of quinn knows its
/// own by a key that dies with the process, and says nothing to the rest.
struct AnyId;

impl ConnectionIdGenerator for AnyId {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; CONNECTION_ID_BYTES];
        rand::fill(&mut bytes).expect("the system gives random bytes");
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
