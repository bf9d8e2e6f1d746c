//! Compiles the .proto files with protox (pure Rust: no protoc on the machine) and keeps the descriptors for reflection.

use prost::Message as _;

/// What holds a client's description or candidates, or accounts: `{:?}` of these shows the name alone, so that none can be
/// logged by mistake, whatever holds them.
const UNPRINTABLE: [&str; 14] = [
    "ConnectLegRequest",
    "ConnectLegResponse",
    "SendDirectRequest",
    "send_direct_request.Step",
    "DirectSignal",
    "direct_signal.Kind",
    "DirectCandidates",
    "LegOffer",
    "LegAnswer",
    "leg_answer.Result",
    "Account",
    "ContactHashes",
    "DirectMessage",
    "SetAddressBookRequest",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos =
        ["call", "common", "directory", "node", "privacy"].map(|name| format!("duocast/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=../duocast");
    let descriptors = protox::compile(protos, [".."])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("duocast.bin"), descriptors.encode_to_vec())?;
    let mut blind = String::new();
    for path in UNPRINTABLE {
        let (name, rust) = (path.rsplit('.').next().unwrap_or(path), path.replace('.', "::"));
        blind += &format!(
            "impl std::fmt::Debug for v1::{rust} {{ fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result \
             {{ f.write_str(\"{name}(..)\") }} }}\n"
        );
    }
    std::fs::write(out.join("unprintable.rs"), blind)?;
    // A oneof is named by its message and field.
    let fields = UNPRINTABLE.map(|path| match path {
        "send_direct_request.Step" => ".duocast.v1.SendDirectRequest.step".to_owned(),
        "direct_signal.Kind" => ".duocast.v1.DirectSignal.kind".to_owned(),
        "leg_answer.Result" => ".duocast.v1.LegAnswer.result".to_owned(),
        message => format!(".duocast.v1.{message}"),
    });
    tonic_prost_build::configure().build_transport(false).skip_debug(fields).compile_fds(descriptors)?;
    Ok(())
}
