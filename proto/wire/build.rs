//! Compiles the .proto files with protox (pure Rust: no protoc on the machine) and keeps the descriptors for reflection.

use prost::Message as _;

/// What holds a client's description or candidates, or accounts: `{:?}` of these shows the name alone, so that none can be
/// logged by mistake, whatever holds them.
const UNPRINTABLE: [&str; 11] = [
    "ConnectLegRequest",
    "ConnectLegResponse",
    "SendDirectRequest",
    "DirectSignal",
    "DirectCandidates",
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
    let protos =
        ["call", "common", "directory", "node", "privacy"].map(|name| format!("duocast/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=../duocast");
    let descriptors = protox::compile(protos, [".."])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
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
