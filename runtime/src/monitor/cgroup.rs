//! The limits and the usage of the control group of this process, in version 1 and 2, and in a mixture of both.
//!
//! A group's limit also holds for all groups below it. So all groups from this process's own up to the root are read, and
//! the tightest limit counts. In a container, `/proc/self/cgroup` may name a path of the host that is not mounted there.
//! Then the root of the mount is the container's own group.

use std::fs;
use std::path::{Path, PathBuf};

/// The limits and the usage of a control group, read from its files.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Cgroup {
    /// The tightest memory limit, with the memory that its group uses.
    pub(super) memory: Option<MemoryLimit>,
    /// The tightest processor limit, with the processor time that its group has used.
    pub(super) cpu: Option<CpuLimit>,
}

/// The memory limit of a group, and the memory that the group uses, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryLimit {
    /// How many bytes the group may use.
    pub(super) limit: u64,
    /// How many bytes the group uses, without page cache that can be freed.
    pub(super) used: u64,
}

impl MemoryLimit {
    /// Returns how many bytes are left.
    pub(super) fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// The processor limit of a group, and the processor time that the group has used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CpuLimit {
    /// How many processors the group may use, which need not be a whole number.
    pub(super) processors: f64,
    /// How many seconds of processor time the group has used.
    pub(super) used_seconds: f64,
}

/// The folders of the control groups of this process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ControlGroups {
    /// The group that limits memory; `None` if the system has no such groups.
    memory: Option<ControlGroup>,
    /// The group that limits processor time.
    cpu: Option<ControlGroup>,
}

/// A group in a hierarchy of version 1 or 2.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ControlGroup {
    version: Version,
    /// The folder at which the hierarchy is mounted. There are no limits above it.
    mount: PathBuf,
    /// The folder of the group of this process, at or below `mount`.
    path: PathBuf,
    /// The group of the controller `cpuacct`, which has the used time in version 1.
    usage_mount: PathBuf,
}

/// The version of a hierarchy of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// Each controller has a hierarchy and a mount of its own.
    One,
    /// One hierarchy has all controllers.
    Two,
}

impl ControlGroups {
    /// Finds the groups of this process. There are none where the system has none.
    pub(super) fn find() -> Self {
        let memberships = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::of(&memberships, Path::new("/sys/fs/cgroup"))
    }

    /// Returns the groups that `/proc/self/cgroup` names, below the folders where they are mounted.
    fn of(memberships: &str, mounts: &Path) -> Self {
        let one = |controller: &str| {
            let path = membership(memberships, controller)?;
            let mount = mounts.join(controller);
            mount.is_dir().then(|| ControlGroup {
                version: Version::One,
                path: below(&mount, path),
                usage_mount: mounts.join("cpuacct"),
                mount,
            })
        };
        let two = || {
            let path = membership(memberships, "")?;
            // Version 2 is mounted at the root if it is alone, and in `unified` next to version 1.
            let mount = [mounts.to_path_buf(), mounts.join("unified")]
                .into_iter()
                .find(|mount| mount.join("cgroup.controllers").is_file())?;
            Some(ControlGroup {
                version: Version::Two,
                path: below(&mount, path),
                usage_mount: mount.clone(),
                mount,
            })
        };
        Self {
            memory: one("memory").or_else(two),
            cpu: one("cpu").or_else(two),
        }
    }

    /// Reads the files of the groups.
    pub(super) fn read(&self) -> Cgroup {
        Cgroup {
            memory: self.memory.as_ref().and_then(ControlGroup::memory),
            cpu: self.cpu.as_ref().and_then(ControlGroup::cpu),
        }
    }
}

impl ControlGroup {
    /// Reads the memory limit that leaves the least memory, of all groups from this one up.
    fn memory(&self) -> Option<MemoryLimit> {
        let read = |folder: &Path| match self.version {
            Version::Two => Some(MemoryLimit {
                limit: number(&text(folder, "memory.max")?)?,
                used: number(&text(folder, "memory.current")?)?
                    .saturating_sub(stat(&text(folder, "memory.stat")?, "inactive_file")),
            }),
            Version::One => Some(MemoryLimit {
                limit: number(&text(folder, "memory.limit_in_bytes")?)
                    .filter(|limit| *limit < NO_LIMIT)?,
                used: number(&text(folder, "memory.usage_in_bytes")?)?
                    .saturating_sub(stat(&text(folder, "memory.stat")?, "total_inactive_file")),
            }),
        };
        let folders = self.folders();
        folders.filter_map(read).min_by_key(MemoryLimit::free)
    }

    fn cpu(&self) -> Option<CpuLimit> {
        let read = |folder: &Path| {
            let processors = match self.version {
                Version::Two => quota(&text(folder, "cpu.max")?)?,
                Version::One => quota(&format!(
                    "{} {}",
                    text(folder, "cpu.cfs_quota_us")?.trim(),
                    text(folder, "cpu.cfs_period_us")?.trim()
                ))?,
            };
            let used_seconds = match self.version {
                Version::Two => seconds(stat(&text(folder, "cpu.stat")?, "usage_usec"), 1e6),
                Version::One => {
                    let inside = folder.strip_prefix(&self.mount).ok()?;
                    let usage = text(&self.usage_mount.join(inside), "cpuacct.usage")?;
                    seconds(number(&usage)?, 1e9)
                }
            };
            Some(CpuLimit {
                processors,
                used_seconds,
            })
        };
        let tighter =
            |one: &CpuLimit, other: &CpuLimit| one.processors.total_cmp(&other.processors);
        self.folders().filter_map(read).min_by(tighter)
    }

    /// Iterates over the group's folder and all above it, up to where they are mounted.
    fn folders(&self) -> impl Iterator<Item = &Path> {
        let all = self.path.ancestors();
        all.take_while(|folder| folder.starts_with(&self.mount))
    }
}

/// The least memory limit that means "no limit": version 1 writes the greatest number of pages for it.
const NO_LIMIT: u64 = 1 << 60;

/// Returns the path of the group of a controller. The empty name stands for version 2, which has one group for all
/// controllers.
fn membership<'a>(memberships: &'a str, controller: &str) -> Option<&'a str> {
    memberships.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (names, path) = rest.split_once(':')?;
        let is_it = if controller.is_empty() {
            number == "0" && names.is_empty()
        } else {
            names.split(',').any(|name| name == controller)
        };
        is_it.then_some(path)
    })
}

/// Returns the folder of a group below a mount, or the mount itself if the group is not mounted there.
fn below(mount: &Path, path: &str) -> PathBuf {
    let folder = mount.join(path.trim_start_matches('/'));
    let stays = Path::new(path)
        .components()
        .all(|part| part != std::path::Component::ParentDir);
    if stays && folder.is_dir() {
        folder
    } else {
        mount.to_path_buf()
    }
}

/// Reads a file of a group, or returns `None` if it is not there or cannot be read: not every group has every file.
fn text(folder: &Path, file: &str) -> Option<String> {
    fs::read_to_string(folder.join(file)).ok()
}

/// Reads the only number of a file. The word `max` means no limit and gives `None`.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Finds the number after a name, in lines of names and numbers; 0 if the name is not there.
fn stat(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(' ')?
                .trim()
                .parse()
                .ok()
        })
        .unwrap_or(0)
}

/// Computes the number of processors that `quota period` allows. The quotas `max` and `-1` mean no limit.
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u32, u32) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0 && period > 0).then(|| f64::from(quota) / f64::from(period))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact for three months of nanoseconds"
)]
fn seconds(count: u64, a_second: f64) -> f64 {
    count as f64 / a_second
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "9:name=systemd:/\n5:cpu,cpuacct:/box\n4:memory:/api/box\n0::/\n";

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn the_path_of_a_group_is_found_by_its_controller() {
        assert_eq!(membership(HYBRID, "memory"), Some("/api/box"));
        assert_eq!(membership(HYBRID, "cpuacct"), Some("/box"));
        assert_eq!(membership(HYBRID, ""), Some("/"));
        assert_eq!(membership(HYBRID, "systemd"), None);
        assert_eq!(membership("0::/a:b/c\n", ""), Some("/a:b/c"));
        for text in ["", "nonsense", "1:memory", "::"] {
            assert_eq!(membership(text, "memory"), None);
        }
    }

    #[test]
    fn the_numbers_in_control_group_files_are_read() {
        assert_eq!(number("1073741824\n"), Some(1 << 30));
        assert_eq!(number("max\n"), None);
        assert_eq!(number("-1\n"), None);
        assert_eq!(quota("150000 100000\n"), Some(1.5));
        assert_eq!(quota("max 100000\n"), None);
        assert_eq!(quota("-1 100000"), None);
        assert_eq!(quota("100000 0"), None);
        let text = "anon 5\ninactive_file 7\ninactive_file_x 9\n";
        assert_eq!(stat(text, "inactive_file"), 7);
        assert_eq!(stat(text, "file"), 0);
    }

    #[test]
    fn the_tightest_limit_of_a_version_2_group_and_its_parents_counts() {
        let root = tree(&[
            ("cgroup.controllers", "cpu memory\n"),
            ("a/memory.max", "1000\n"),
            ("a/memory.current", "900\n"),
            ("a/memory.stat", "anon 1\ninactive_file 300\n"),
            ("a/cpu.max", "50000 100000\n"),
            ("a/cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
            ("a/b/memory.max", "800\n"),
            ("a/b/memory.current", "100\n"),
            ("a/b/memory.stat", "inactive_file 0\n"),
            ("a/b/cpu.max", "max 100000\n"),
            ("a/b/cpu.stat", "usage_usec 1\n"),
        ]);
        let cgroup = ControlGroups::of("0::/a/b\n", root.path()).read();
        assert_eq!(
            cgroup.memory,
            Some(MemoryLimit {
                limit: 1000,
                used: 600
            })
        );
        let cpu = cgroup.cpu.unwrap();
        assert!((cpu.processors - 0.5).abs() < 1e-9);
        assert!((cpu.used_seconds - 2.5).abs() < 1e-9);
    }

    #[test]
    fn version_1_groups_are_read_from_the_tree_of_each_controller() {
        let root = tree(&[
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.usage_in_bytes", "5\n"),
            ("memory/memory.stat", "total_inactive_file 0\n"),
            ("memory/api/box/memory.limit_in_bytes", "4096\n"),
            ("memory/api/box/memory.usage_in_bytes", "1000\n"),
            (
                "memory/api/box/memory.stat",
                "inactive_file 9\ntotal_inactive_file 100\n",
            ),
            ("cpu/box/cpu.cfs_quota_us", "200000\n"),
            ("cpu/box/cpu.cfs_period_us", "100000\n"),
            ("cpuacct/box/cpuacct.usage", "1500000000\n"),
            ("unified/cgroup.controllers", "\n"),
        ]);
        let cgroup = ControlGroups::of(HYBRID, root.path()).read();
        let memory = cgroup.memory.unwrap();
        assert_eq!(
            (memory.limit, memory.used, memory.free()),
            (4096, 900, 3196)
        );
        let cpu = cgroup.cpu.unwrap();
        assert!((cpu.processors - 2.0).abs() < 1e-9);
        assert!((cpu.used_seconds - 1.5).abs() < 1e-9);
    }

    #[test]
    fn a_group_path_that_is_not_mounted_stands_for_the_root() {
        let root = tree(&[
            ("cgroup.controllers", "memory\n"),
            ("memory.max", "1000\n"),
            ("memory.current", "1\n"),
            ("memory.stat", ""),
        ]);
        for path in ["0::/docker/0123\n", "0::/../../etc\n"] {
            let memory = ControlGroups::of(path, root.path()).read().memory;
            assert_eq!(memory.unwrap().limit, 1000);
        }
    }

    #[test]
    fn a_system_without_control_groups_has_no_limits() {
        let root = tree(&[]);
        assert_eq!(ControlGroups::of("", root.path()).read(), Cgroup::default());
        assert_eq!(
            ControlGroups::of(HYBRID, root.path()).read(),
            Cgroup::default()
        );
    }
}
