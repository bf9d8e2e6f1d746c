//! The data directory, and that one process owns it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The locked file. It stays where it is and is empty: the lock is the kernel's, and ends with the process however that ends.
const LOCK: &str = "duocast.lock";

/// Why a process does not get its data directory.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error(
        "another duocast uses the data directory {}: stop it, or give --data-dir another one",
        path.display()
    )]
    InUse {
        /// Which directory.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("the data directory {} cannot be made: check the path and its permissions", path.display())]
    Make {
        /// Which directory.
        path: PathBuf,
        /// What failed.
        #[source]
        source: std::io::Error,
    },
    /// Its lock file cannot be used.
    #[error(
        "{} cannot be locked: check its permissions, and that the file system has locks",
        path.display()
    )]
    Lock {
        /// Which file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: std::io::Error,
    },
}

/// A data directory that is this process's alone until it is dropped. Two servers on one database would both take up its calls.
#[derive(Debug)]
pub struct DataDir {
    _lock: File,
}

impl DataDir {
    /// Makes the directory, readable for this user only, if it is not there, and locks it.
    pub fn take(path: &Path) -> Result<Self, DataDirError> {
        let make = |source| DataDirError::Make { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(make)?;
        let lock = path.join(LOCK);
        let fail = |source| DataDirError::Lock { path: lock.clone(), source };
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&lock).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _lock: file }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(fail(source)),
        }
    }
}
