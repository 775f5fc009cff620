//! The queries that each system answers in its own way.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::{BootTimer, boot_time, umask};
#[cfg(target_os = "linux")]
pub(super) use linux::{file_without_a_name, living_members, usage_of_groups, wait_for};

#[cfg(not(target_os = "linux"))]
mod portable;
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::{BootTimer, boot_time, umask};
#[cfg(not(target_os = "linux"))]
pub(super) use portable::{file_without_a_name, living_members, usage_of_groups, wait_for};

/// Whether this process has a controlling terminal.
pub(super) fn has_terminal() -> bool {
    static HAS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    // Without a controlling terminal this device cannot be opened.
    *HAS.get_or_init(|| std::fs::File::open("/dev/tty").is_ok())
}
