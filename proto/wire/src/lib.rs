//! The API as Rust: generated messages, clients and servers ([`v1`]), the file descriptors for reflection
//! ([`FILE_DESCRIPTOR_SET`]), the way between wire and model ([`convert`]) and the shape of errors ([`error`]).

#[allow(missing_docs, unreachable_pub, clippy::all)]
/// `duocast.v1`, generated from `proto/duocast/v1/*.proto`, where it is documented.
pub mod v1 {
    tonic::include_proto!("duocast.v1");
}

/// `Debug` of messages that must not be printed.
mod unprintable {
    use crate::v1;

    include!(concat!(env!("OUT_DIR"), "/unprintable.rs"));
}

pub mod convert;
pub mod error;
#[cfg(any(test, duocast_fuzz))]
pub mod fuzz;

/// Encoded `google.protobuf.FileDescriptorSet` of the API, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/duocast.bin"));

/// One service of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceNames {
    /// In full: `duocast.v1.CallService`.
    pub name: String,
    /// Its methods: `PlaceCall`.
    pub methods: Vec<String>,
}

/// Every service of the API with its methods, by the .proto files.
pub fn services() -> Vec<ServiceNames> {
    use prost::Message as _;
    let files = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the build wrote it").file;
    let named =
        files.iter().flat_map(|file| file.service.iter().map(move |service| (file.package(), service)));
    named
        .map(|(package, service)| ServiceNames {
            name: format!("{package}.{}", service.name()),
            methods: service.method.iter().map(|method| method.name().to_owned()).collect(),
        })
        .collect()
}

/// Most bytes of one gRPC message in either direction; a larger one answers `RESOURCE_EXHAUSTED`. Higher costs memory per stream under attack, lower refuses SDP offers.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// Most bytes of one SDP offer or answer.
pub const MAX_SDP_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::v1;

    #[test]
    fn what_names_an_address_or_an_account_shows_its_name_alone() {
        let secret = "candidate:1 1 udp 1 203.0.113.9 9 typ host".to_owned();
        let signal = v1::DirectSignal {
            call_id: "c".into(),
            attempt: 1,
            kind: Some(v1::direct_signal::Kind::Candidates(v1::DirectCandidates {
                candidates: vec![secret.clone()],
            })),
        };
        let offer = v1::LegOffer { sdp_offer: secret.clone(), ..Default::default() };
        let step = v1::SendDirectRequest {
            step: Some(v1::send_direct_request::Step::Offer(secret.clone())),
            ..Default::default()
        };
        let leg = v1::ConnectLegRequest { sdp_offer: secret.clone(), ..Default::default() };
        let answer = v1::leg_answer::Result::SdpAnswer(secret.clone());
        let account = v1::Account { handle: secret.clone(), ..Default::default() };
        let event = v1::ControlToNode { kind: Some(v1::control_to_node::Kind::LegOffer(offer.clone())) };
        let shown = format!(
            "{signal:?} {:?} {offer:?} {step:?} {leg:?} {answer:?} {account:?} {event:?}",
            signal.kind
        );
        assert!(!shown.contains("203.0.113.9") && shown.contains("LegOffer(..)"), "{shown}");
    }
}
