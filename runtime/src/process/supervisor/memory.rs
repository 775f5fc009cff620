//! How much memory workers use, with all that they have started.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// How often the memory of workers is measured if there is a limit.
pub(super) const INTERVAL: Duration = Duration::from_millis(250);

/// Reads how much memory the processes of each of these groups use together, in bytes.
pub(crate) type MemoryProbe = dyn Fn(&[u32]) -> io::Result<BTreeMap<u32, u64>> + Send + Sync;

/// Measures memory by asking the operating system; see [`MemoryProbe`].
pub(super) fn probe(groups: &[u32]) -> io::Result<BTreeMap<u32, u64>> {
    crate::os::memory_of_groups(groups)
}
