//! Prints docs/policy.md with its tables as the code has them: `make policy`.

use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policy.md");
    let document = duocast_control_core::policy::table::document(&std::fs::read_to_string(path)?)?;
    std::io::stdout().write_all(document.as_bytes())?;
    Ok(())
}
