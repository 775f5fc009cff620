//! Converts failures of `SQLite` to errors of the cache.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::ErrorCode;

use crate::error::CacheError;

/// Whether another process holds a lock that is needed.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}

/// Converts an error to one of three: another process is busy, the system refused something, or the index is damaged.
///
/// Any error that is neither of the first two means damage. The statements are always the same, so only the content of
/// the file can make one fail.
pub(super) fn classify(error: rusqlite::Error, path: &Path, waited: Duration) -> CacheError {
    if is_busy(&error) {
        return CacheError::Busy {
            path: path.to_path_buf(),
            waited,
        };
    }
    let extended = error.sqlite_error().map(|error| error.extended_code);
    let is_damaged = match error.sqlite_error_code() {
        // A page is truncated, or the file system reports it as damaged.
        Some(ErrorCode::SystemIoFailure) => matches!(
            extended,
            Some(
                rusqlite::ffi::SQLITE_IOERR_SHORT_READ
                    | rusqlite::ffi::SQLITE_IOERR_DATA
                    | rusqlite::ffi::SQLITE_IOERR_CORRUPTFS
            )
        ),
        // The header of the file forbids writing, although the system allows it.
        Some(ErrorCode::ReadOnly) => {
            rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
                && extended == Some(rusqlite::ffi::SQLITE_READONLY)
        }
        Some(
            ErrorCode::PermissionDenied
            | ErrorCode::OutOfMemory
            | ErrorCode::OperationInterrupted
            | ErrorCode::DiskFull
            | ErrorCode::CannotOpen
            | ErrorCode::NoLargeFileSupport,
        ) => false,
        _ => true,
    };
    if is_damaged {
        tracing::debug!(path = %path.display(), %error, "the cache index is damaged");
        CacheError::Damaged {
            path: path.to_path_buf(),
        }
    } else {
        CacheError::Index {
            path: path.to_path_buf(),
            source: Arc::new(error),
        }
    }
}
