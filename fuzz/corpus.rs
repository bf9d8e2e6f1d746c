//! What is kept of fuzzing, as a test: every file of a target's corpus goes through the target once more. Shared by `#[path]`
//! by the crates that have targets.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::TARGETS;

/// Runs each target on the files of `fuzz/corpus/NAME`; a crash names its file.
#[test]
#[allow(clippy::disallowed_methods, reason = "a pure crate's test reads files, the crate does not")]
fn all_that_fuzzing_kept_passes() {
    for (name, target) in TARGETS {
        let mut files: Vec<PathBuf> =
            folder(name).read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            let contents = std::fs::read(&file).unwrap();
            let result = catch_unwind(AssertUnwindSafe(|| target(&contents)));
            assert!(result.is_ok(), "{} fails: its message is above", file.display());
        }
    }
}

/// Where the inputs of a target are.
pub(crate) fn folder(target: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().find(|folder| folder.join("fuzz/corpus").is_dir());
    root.expect("the repository has fuzz/corpus").join("fuzz/corpus").join(target)
}
