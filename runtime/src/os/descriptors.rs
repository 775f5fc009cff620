//! The limit of open descriptors, for this process and for those that it starts.

use std::io;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit that this process was started with. It is set just before this process changes its limit.
static ORIGINAL: OnceLock<Rlimit> = OnceLock::new();

/// The highest limit of descriptors that macOS allows, although it calls its limit infinite.
const MAX_ON_MACOS: u64 = 10_240;

/// Raises this process's soft limit of open descriptors to this number, or as far as the hard limit allows, and returns
/// the limit that is in effect now. The limit is never lowered.
///
/// Processes that are started get the soft limit that this process was started with: programs that use `select` break
/// with descriptors above 1024, and some close every descriptor up to the limit before they do anything.
///
/// ```
/// use ratchet_runtime::process::raise_descriptor_limit;
///
/// let before = raise_descriptor_limit(0)?;
/// assert_eq!(raise_descriptor_limit(before)?, before);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn raise_descriptor_limit(needed: u64) -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    // An infinite limit is treated as one that no process reaches.
    let Some(current) = limit.current else {
        return Ok(u64::MAX);
    };
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    let raised = needed.min(allowed);
    if raised <= current {
        return Ok(current);
    }
    // The limit is stored before the change, so that no process is started with the raised limit.
    ORIGINAL.get_or_init(|| limit);
    let set = |current| {
        let limit = Rlimit {
            current: Some(current),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, limit).map(|()| current)
    };
    let set_less = |error| {
        let less = raised.min(MAX_ON_MACOS);
        if cfg!(target_os = "macos") && less > current {
            set(less)
        } else {
            Err(error)
        }
    };
    Ok(set(raised).or_else(set_less)?)
}

/// Returns the limit that child processes are started with; `None` if it is the limit of this process.
pub(super) fn original() -> Option<Rlimit> {
    ORIGINAL.get().copied()
}
