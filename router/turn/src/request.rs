//! What a client's message may ask for: looked at before TURN sees it, so that a client cannot make it keep anything for an address
//! that is none of its routers'.

use std::net::SocketAddr;

use turn_server_proto::stun::types::message::{BINDING, Message, MessageClass};
use turn_server_proto::stun::types::prelude::{
    Attribute as _, AttributeFromRaw as _, AttributeStaticType as _,
};
use turn_server_proto::types::attribute::XorPeerAddress;
use turn_server_proto::types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH, SEND};

/// Whether this is of the part of TURN that media over UDP needs: nothing of TCP to peers (RFC 6062), and no answer of a client.
pub(crate) fn is_served(message: &Message<'_>) -> bool {
    let method = message.method();
    match message.class() {
        MessageClass::Request => {
            [BINDING, ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND].contains(&method)
        }
        MessageClass::Indication => method == SEND,
        MessageClass::Success | MessageClass::Error => false,
    }
}

/// Whether every address that the message names is one of these. A permission is for an address at any port (RFC 8656 section 9);
/// what is sent is looked at again.
pub(crate) fn stays_within(message: &Message<'_>, nodes: &[SocketAddr]) -> bool {
    let any_port = message.has_method(CREATE_PERMISSION);
    let is_node =
        |peer: SocketAddr| nodes.iter().any(|node| *node == peer || any_port && node.ip() == peer.ip());
    let mut peers = message.iter_attributes().filter(|(_, one)| one.get_type() == XorPeerAddress::TYPE);
    peers.all(|(_, one)| {
        XorPeerAddress::from_raw(one).is_ok_and(|peer| is_node(peer.addr(message.transaction_id())))
    })
}
