//! Compiles the .proto files with protox (pure Rust: no protoc on the machine) and keeps the descriptors for reflection.

use prost::Message as _;

/// What holds a client's description or candidates, accounts, or a token: `{:?}` of these shows the name alone, so that none can be
/// logged by mistake, whatever holds them.
const UNPRINTABLE: [&str; 13] = [
    "ConnectLegRequest",
    "ConnectLegResponse",
    "SendDirectRequest",
    "DirectSignal",
    "DirectCandidates",
    "StartBroadcastResponse",
    "WatchBroadcastRequest",
    "LegOffer",
    "LegAnswer",
    "Account",
    "ContactHashes",
    "DirectMessage",
    "SetAddressBookRequest",
];

/// The same for what may be one of several: the name in Rust, and the field.
const UNPRINTABLE_ONEOFS: [(&str, &str); 3] = [
    ("send_direct_request::Step", "SendDirectRequest.step"),
    ("direct_signal::Kind", "DirectSignal.kind"),
    ("leg_answer::Result", "LegAnswer.result"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = ["broadcast", "call", "common", "directory", "error", "node", "privacy"]
        .map(|name| format!("duocast/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=../duocast");
    let descriptors = protox::compile(protos, [".."])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("reasons.rs"), reasons(include_str!("../duocast/v1/error.proto")))?;
    std::fs::write(out.join("duocast.bin"), descriptors.encode_to_vec())?;
    let unprintable = UNPRINTABLE.map(|message| (message, message)).into_iter().chain(UNPRINTABLE_ONEOFS);
    let mut blind = String::new();
    let mut paths = Vec::new();
    for (rust, proto) in unprintable {
        let name = rust.rsplit(':').next().unwrap_or(rust);
        blind += &format!(
            "impl std::fmt::Debug for v1::{rust} {{ fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result \
             {{ f.write_str(\"{name}(..)\") }} }}\n"
        );
        paths.push(format!(".duocast.v1.{proto}"));
    }
    std::fs::write(out.join("unprintable.rs"), blind)?;
    tonic_prost_build::configure().build_transport(false).skip_debug(paths).compile_fds(descriptors)?;
    Ok(())
}

/// The error reasons, and of each the gRPC code: the first word of its comment in error.proto, so that what is documented is
/// what is sent.
fn reasons(proto: &str) -> String {
    let mut code = None;
    let (mut all, mut codes) = (String::new(), String::new());
    for line in proto.lines().map(str::trim) {
        let comment = line.strip_prefix("// ").and_then(|text| text.split(['.', ',', ' ']).next());
        match (comment, line.split_once(" = ")) {
            (Some(word), _) if code.is_none() => code = Some(word.to_owned()),
            (None, Some((value, _))) if is_name(value) && value != "ERROR_REASON_UNSPECIFIED" => {
                let code = code.take().unwrap_or_else(|| panic!("{value} has no comment in error.proto"));
                all += &format!("Reason::{},", camel(value));
                codes += &format!("Reason::{} => tonic::Code::{},", camel(value), camel(&code));
            }
            (None, _) => code = None,
            (Some(_), _) => {}
        }
    }
    format!(
        "/// Every reason.\npub const ALL_REASONS: &[Reason] = &[{all}];\n\
         impl Reason {{ /// The gRPC code of a failure for this reason.\n\
         pub const fn code(self) -> tonic::Code {{ match self {{ {codes} \
         Reason::Unspecified => tonic::Code::Unknown }} }} }}\n"
    )
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// `CALL_UNKNOWN` as `CallUnknown`.
fn camel(name: &str) -> String {
    let word = |word: &str| word[..1].to_owned() + &word[1..].to_lowercase();
    name.split('_').map(word).collect()
}
