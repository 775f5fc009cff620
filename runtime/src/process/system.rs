//! What each system is asked in its own way.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::umask;
#[cfg(target_os = "linux")]
pub(super) use linux::{exit_notice, file_without_a_name, living_members, memory_of_groups};

#[cfg(not(target_os = "linux"))]
mod portable;
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::umask;
#[cfg(not(target_os = "linux"))]
pub(super) use portable::{exit_notice, file_without_a_name, living_members, memory_of_groups};
