//! Compiles the .proto files with protox (pure Rust: no protoc on the machine) and keeps the descriptors for reflection.

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos =
        ["call", "common", "directory", "node", "privacy"].map(|name| format!("duocast/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=../duocast");
    let descriptors = protox::compile(protos, [".."])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("duocast.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().build_transport(false).compile_fds(descriptors)?;
    Ok(())
}
