//! The web client's bundle is embedded if it was built; without it the server says how to build it.

fn main() -> std::io::Result<()> {
    // A folder that is not there would make cargo build this crate anew each time.
    std::fs::create_dir_all("../../web/dist")?;
    println!("cargo:rerun-if-changed=../../web/dist");
    println!("cargo:rerun-if-changed=migrations");
    Ok(())
}
