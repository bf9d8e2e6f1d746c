//! The API as Rust: generated messages, clients and servers ([`v1`]), the file descriptors for reflection
//! ([`FILE_DESCRIPTOR_SET`]), the way between wire and model ([`convert`]) and the shape of errors ([`error`]).

#[allow(missing_docs, unreachable_pub, clippy::all)]
/// `duocast.v1`, generated from `proto/duocast/v1/*.proto`, where it is documented.
pub mod v1 {
    tonic::include_proto!("duocast.v1");
}

pub mod convert;
pub mod error;

/// Encoded `google.protobuf.FileDescriptorSet` of the API, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/duocast.bin"));

/// Most bytes of one gRPC message in either direction; a larger one answers `RESOURCE_EXHAUSTED` (or
/// `OUT_OF_RANGE`, tonic's choice for decoding). Higher costs memory per stream under attack, lower refuses SDP offers.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// Most bytes of one SDP offer or answer.
pub const MAX_SDP_BYTES: usize = 64 * 1024;
