//! Checks that no other user can put results into a cache.
//!
//! A user who can write to a cache decides the results of jobs. So the folders, the index and the values have to belong
//! to the user or to root, and no other user may have the permission to write to them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::CacheError;

/// Refuses a file or a folder that another user owns or can write to.
pub(super) fn check(path: &Path, metadata: &Metadata) -> Result<(), CacheError> {
    let user = rustix::process::geteuid().as_raw();
    // Root trusts the files of the user who called sudo. For other users the variable proves nothing.
    let caller = if user == 0 { sudo_user() } else { None };
    if !is_trusted(metadata.uid(), user, caller) {
        return Err(CacheError::WrongOwner {
            path: path.to_path_buf(),
            owner: metadata.uid(),
        });
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(CacheError::WritableByOthers {
            path: path.to_path_buf(),
            mode: metadata.mode() & 0o7777,
        });
    }
    Ok(())
}

fn is_trusted(owner: u32, user: u32, caller: Option<u32>) -> bool {
    owner == user || owner == 0 || Some(owner) == caller
}

fn sudo_user() -> Option<u32> {
    std::env::var("SUDO_UID").ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_user_and_root_and_the_caller_of_sudo_are_trusted() {
        for (owner, user, caller, expected) in [
            (1000, 1000, None, true),
            (0, 1000, None, true),
            (0, 0, Some(1000), true),
            (1000, 0, Some(1000), true),
            (1000, 0, None, false),
            (1001, 0, Some(1000), false),
            (1001, 1000, None, false),
        ] {
            assert_eq!(
                is_trusted(owner, user, caller),
                expected,
                "{owner} {user} {caller:?}"
            );
        }
    }
}
