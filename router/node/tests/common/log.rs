//! What the node logs.

use std::sync::OnceLock;

use tempfile::NamedTempFile;

/// The lines of this process so far, captured from the first call on. Tests of one process share them.
pub fn capture() -> impl Fn() -> Vec<String> {
    static LOG: OnceLock<NamedTempFile> = OnceLock::new();
    let log = LOG.get_or_init(|| {
        let file = NamedTempFile::new().unwrap();
        tracing_subscriber::fmt().with_ansi(false).with_writer(file.reopen().unwrap()).init();
        file
    });
    || std::fs::read_to_string(log.path()).unwrap().lines().map(str::to_owned).collect()
}
