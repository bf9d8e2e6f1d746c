//! What `make fuzz` feeds: all that somebody says to the relay who has no password.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use duocast_model::TURN_FRAME_MAX;
use turn_server_proto::stun::types::message::Message;

use crate::Secret;
use crate::frames;
use crate::relay::Relay;
use crate::request;

/// A target: its name, which is that of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of this crate.
pub const TARGETS: &[Target] = &[("relay", relay), ("username", username)];

/// The first byte says in which parts the rest comes.
fn relay(input: &[u8]) {
    let Some((&part, stream)) = input.split_first() else { return };
    let part = usize::from(part).max(1);
    assert_eq!(messages(stream, part), messages(stream, stream.len().max(1)), "it matters how it is cut");
    let nodes: [SocketAddr; 2] = [([192, 0, 2, 30], 40_000).into(), ([192, 0, 2, 31], 40_000).into()];
    for message in messages(stream, part) {
        let Ok(message) = Message::from_bytes(&message) else { continue };
        let _ = request::is_served(&message);
        let within_less = request::stays_within(&message, &nodes[..1]);
        assert!(!within_less || request::stays_within(&message, &nodes), "more routers allow less");
    }
    let now = Instant::now();
    let mut relay = Relay::new(now, Secret::new([7; 32]));
    for bytes in stream.chunks(part) {
        if relay.handle_client(now, UNIX_EPOCH, bytes).is_err() {
            break;
        }
        let _ = relay.handle_timeout(now + Duration::from_secs(1));
    }
    assert!(relay.poll_socket().is_none() && relay.poll_transmit().is_none() && !relay.is_open());
    assert!(relay.output().len() <= 4096, "a stranger is told more than a few words");
}

/// The messages of a stream that comes in such parts, as far as it is TURN.
fn messages(stream: &[u8], part: usize) -> Vec<BytesMut> {
    let (mut arrived, mut found) = (BytesMut::new(), Vec::new());
    for bytes in stream.chunks(part) {
        arrived.extend_from_slice(bytes);
        while let Ok(Some(message)) = frames::take(&mut arrived) {
            assert!(message.len() <= TURN_FRAME_MAX);
            found.push(message);
        }
    }
    found
}

/// A user name, and that what is issued is understood.
fn username(input: &[u8]) {
    let (secret, now) = (Secret::new([7; 32]), SystemTime::UNIX_EPOCH);
    let Ok(username) = std::str::from_utf8(input) else { return };
    let Some(grant) = secret.look_up(now, username) else { return };
    if let Some(again) = secret.issue(now, grant.leg, &grant.nodes) {
        let issued = secret.look_up(now, &again.username);
        assert!(issued.is_some_and(|issued| issued.leg == grant.leg && issued.password == again.password));
    }
}

#[cfg(test)]
#[path = "../../../fuzz/corpus.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use duocast_model::LegId;
    use turn_server_proto::stun::types::attribute::Username;
    use turn_server_proto::stun::types::message::{BINDING, MessageWriteVec};
    use turn_server_proto::stun::types::prelude::*;
    use turn_server_proto::types::attribute::{Data, RequestedTransport, XorPeerAddress};
    use turn_server_proto::types::message::{ALLOCATE, CREATE_PERMISSION, SEND};

    use super::*;

    #[test]
    #[ignore = "writes the first inputs of the corpus"]
    fn seeds() {
        let node: SocketAddr = ([192, 0, 2, 30], 40_000).into();
        let credential = Secret::new([7; 32]).issue(UNIX_EPOCH, LegId::from_u128(5), &[node]).unwrap();
        let request = |method| Message::builder_request(method, MessageWriteVec::new());
        let binding = request(BINDING).finish();
        let mut allocate = request(ALLOCATE);
        allocate.add_attribute(&RequestedTransport::new(RequestedTransport::UDP)).unwrap();
        allocate.add_attribute(&Username::new(&credential.username).unwrap()).unwrap();
        let mut permission = request(CREATE_PERMISSION);
        let peer = XorPeerAddress::new(node, permission.transaction_id());
        permission.add_attribute(&peer).unwrap();
        let mut send = Message::builder_indication(SEND, MessageWriteVec::new());
        let peer = XorPeerAddress::new(node, send.transaction_id());
        send.add_attribute(&peer).unwrap();
        send.add_attribute(&Data::new(b"media")).unwrap();
        let channel = [&[0x40, 1, 0, 5][..], b"media\0\0\0"].concat();
        let all = [binding, allocate.finish(), permission.finish(), send.finish(), channel];
        for (number, bytes) in all.iter().chain([&all.concat()]).enumerate() {
            let seed = [&[7 * number as u8][..], bytes].concat();
            std::fs::write(corpus::folder("relay").join(format!("seed{number}")), seed).unwrap();
        }
        std::fs::write(corpus::folder("username").join("issued"), credential.username).unwrap();
    }
}
