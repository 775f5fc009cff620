//! Shortages: times in which a limit keeps the host from starting any process or thread.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, geteuid, getrlimit, prlimit};

/// Begins and ends shortages of a host.
#[derive(Debug)]
pub(super) struct Shortage {
    way: Way,
}

#[derive(Debug)]
/// The limits by which a shortage can be made.
enum Way {
    /// A control group that the host joins, with a limit on the processes and threads in it.
    ControlGroup(PathBuf),
    /// `RLIMIT_NPROC` of the host. It counts all processes of the user, but restricts only the host.
    UserLimit,
    /// `RLIMIT_NOFILE` of the host: a start needs descriptors.
    Descriptors,
}

impl Shortage {
    /// Finds the first way that works on this machine, and prints to stderr what that way does not test.
    pub(super) fn find() -> io::Result<Self> {
        if let Some(folder) = control_group()? {
            return Ok(Self {
                way: Way::ControlGroup(folder),
            });
        }
        let (way, skipped) = if geteuid().is_root() {
            let skipped = "no control group can be made and root has no other limit on processes, so only descriptors are few";
            (Way::Descriptors, skipped)
        } else {
            let skipped =
                "no control group can be made, so only processes are few, and not threads";
            (Way::UserLimit, skipped)
        };
        // The error is ignored: the soak is valid even if the message is lost.
        let _ = writeln!(io::stderr(), "\n!! SKIPPED: {skipped}");
        Ok(Self { way })
    }

    /// Returns the control group that the host has to join before it starts anything, if this way needs one.
    pub(super) fn group(&self) -> Option<&Path> {
        match &self.way {
            Way::ControlGroup(folder) => Some(folder),
            Way::UserLimit | Way::Descriptors => None,
        }
    }

    /// Begins a shortage: from now on the host can start nothing.
    pub(super) fn begin(&self, host: Pid) -> io::Result<()> {
        self.set(host, true)
    }

    /// Ends a shortage.
    pub(super) fn end(&self, host: Pid) -> io::Result<()> {
        self.set(host, false)
    }

    /// Ends a shortage of a host that has been killed, so that the next host begins without one.
    pub(super) fn reset(&self) -> io::Result<()> {
        match &self.way {
            Way::ControlGroup(folder) => fs::write(folder.join("pids.max"), "max"),
            // These limits belong to the process of the host and end with it.
            Way::UserLimit | Way::Descriptors => Ok(()),
        }
    }

    /// Sets the limit of the host to its value in a shortage or outside of one.
    fn set(&self, host: Pid, is_short: bool) -> io::Result<()> {
        let resource = match &self.way {
            Way::ControlGroup(folder) => {
                let limit = if is_short { "1" } else { "max" };
                return fs::write(folder.join("pids.max"), limit);
            }
            Way::UserLimit => Resource::Nproc,
            Way::Descriptors => Resource::Nofile,
        };
        // Outside of a shortage the host has the limits of this process.
        let own = getrlimit(resource);
        let limit = Rlimit {
            current: if is_short { Some(1) } else { own.current },
            ..own
        };
        prlimit(Some(host), resource, limit)?;
        Ok(())
    }
}

impl Drop for Shortage {
    fn drop(&mut self) {
        if let Way::ControlGroup(folder) = &self.way {
            // The group can be removed once no process is in it. If one is left, the driver has reported that already.
            let _ = fs::remove_dir(folder);
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.way {
            Way::ControlGroup(_) => "processes and threads, by a control group",
            Way::UserLimit => "processes, by a limit of the user",
            Way::Descriptors => "descriptors",
        })
    }
}

/// Makes a control group below that of this process, if its limit can be set and processes can join it.
fn control_group() -> io::Result<Option<PathBuf>> {
    let own = fs::read_to_string("/proc/self/cgroup")?;
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        // An empty list of controllers stands for the only hierarchy of version 2.
        let root = match controllers {
            "" => Path::new("/sys/fs/cgroup"),
            "pids" => Path::new("/sys/fs/cgroup/pids"),
            _ => continue,
        };
        let name = format!("ratchet-chaos-{}", std::process::id());
        let folder = root.join(path.trim_start_matches('/')).join(name);
        if fs::create_dir(&folder).is_err() {
            continue;
        }
        if works(&folder) {
            return Ok(Some(folder));
        }
        fs::remove_dir(&folder)?;
    }
    Ok(None)
}

/// Whether a process can join a control group, which is tried with a process that ends at once.
fn works(folder: &Path) -> bool {
    let joins = r#"echo max >"$1/pids.max" && echo 0 >"$1/cgroup.procs""#;
    let tried = Command::new("sh")
        .args(["-c", joins, "sh"])
        .arg(folder)
        .output();
    tried.is_ok_and(|output| output.status.success())
}
