//! Whether the database takes what is written to it.

use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::ErrorCode;

use super::{BookError, FollowError, PrivacyError, StoreError, UpsertError};
use crate::metrics;

/// How the last writes went. Costs no write of its own while all is well.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Call records wait because their last batch failed. The exchange tries it again by itself.
    calls_wait: AtomicBool,
    /// The last other write failed. Nobody may try again, so who looks has to.
    others_fail: AtomicBool,
}

impl Health {
    /// A batch of call records was written, or not.
    pub(super) fn calls<T>(&self, result: &Result<T, StoreError>) {
        self.note(&self.calls_wait, result.as_ref().err());
    }

    /// Anything else was written, or not.
    pub(super) fn other<T, E: WriteError>(&self, result: &Result<T, E>) {
        self.note(&self.others_fail, result.as_ref().err().and_then(WriteError::of_store));
    }

    /// Call records wait to be written.
    pub(super) fn calls_wait(&self) -> bool {
        self.calls_wait.load(Ordering::Relaxed)
    }

    /// A write is needed to know whether the database is well again.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.others_fail.load(Ordering::Relaxed)
    }

    fn note(&self, flag: &AtomicBool, error: Option<&StoreError>) {
        let error = error.filter(|error| error.is_about_the_file());
        let before = flag.swap(error.is_some(), Ordering::Relaxed);
        if let Some(error) = error
            && !before
        {
            let error = error as &dyn std::error::Error;
            tracing::error!(
                error,
                "the database cannot be written, so this server is not ready: check the free space of its disk and the \
                 permissions of the data directory; it recovers by itself"
            );
        } else if error.is_none() && before {
            tracing::info!("the database takes writes again");
        }
        metrics::store_writable(!self.calls_wait() && !self.is_in_doubt());
    }
}

impl StoreError {
    /// The database as a whole is in trouble, rather than refusing one row.
    pub(super) fn is_about_the_file(&self) -> bool {
        match self {
            Self::Engine(error) => !is_about_one_row(error),
            Self::Closed => false,
            Self::Migration(_) | Self::NewerSchema | Self::Corrupt(_) | Self::Thread(_) | Self::Panicked => {
                true
            }
        }
    }
}

/// The engine refused this row; others may be well.
pub(super) fn is_about_one_row(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
    )
}

/// What a write may fail with.
pub(super) trait WriteError: From<StoreError> {
    /// The store's part in it; `None`: the store did what it was asked, which was to refuse.
    fn of_store(&self) -> Option<&StoreError>;
}

impl WriteError for StoreError {
    fn of_store(&self) -> Option<&StoreError> {
        Some(self)
    }
}

macro_rules! write_error {
    ($($error:ident),+) => {$(
        impl WriteError for $error {
            fn of_store(&self) -> Option<&StoreError> {
                match self {
                    Self::Store(error) => Some(error),
                    _ => None,
                }
            }
        }
    )+};
}

write_error!(BookError, FollowError, PrivacyError, UpsertError);
