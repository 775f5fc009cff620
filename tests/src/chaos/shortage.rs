//! A limit on processes that comes and goes: while it is there, the host can start nothing.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, geteuid, getrlimit, prlimit};

/// How the host is kept from starting processes.
#[derive(Debug)]
pub(super) struct Shortage {
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// A control group that the host joins, with a limit on the processes and threads in it.
    ControlGroup(PathBuf),
    /// `RLIMIT_NPROC` of the host. It counts all processes of the user, and binds nobody but the host.
    UserLimit,
    /// `RLIMIT_NOFILE` of the host: a start needs descriptors.
    Descriptors,
}

impl Shortage {
    /// The first way that works here. What is not tested for it is said on stderr.
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
        // A failure to say so would not make it less true.
        let _ = writeln!(io::stderr(), "\n!! SKIPPED: {skipped}");
        Ok(Self { way })
    }

    /// What the host has to join before it starts anything.
    pub(super) fn group(&self) -> Option<&Path> {
        match &self.way {
            Way::ControlGroup(folder) => Some(folder),
            Way::UserLimit | Way::Descriptors => None,
        }
    }

    /// From now on the host can start nothing.
    pub(super) fn begin(&self, host: Pid) -> io::Result<()> {
        self.set(host, true)
    }

    /// From now on it can again.
    pub(super) fn end(&self, host: Pid) -> io::Result<()> {
        self.set(host, false)
    }

    /// For the next host, when there is none.
    pub(super) fn reset(&self) -> io::Result<()> {
        match &self.way {
            Way::ControlGroup(folder) => fs::write(folder.join("pids.max"), "max"),
            // These end with the host.
            Way::UserLimit | Way::Descriptors => Ok(()),
        }
    }

    fn set(&self, host: Pid, is_short: bool) -> io::Result<()> {
        let resource = match &self.way {
            Way::ControlGroup(folder) => {
                let limit = if is_short { "1" } else { "max" };
                return fs::write(folder.join("pids.max"), limit);
            }
            Way::UserLimit => Resource::Nproc,
            Way::Descriptors => Resource::Nofile,
        };
        // The host has the limits of this process, unless it is short.
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
            // It can be removed once nobody is in it; whoever is left has been told of by then.
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
        // Nothing is the one hierarchy of version 2.
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

/// Tries it out with a process that joins the group and ends.
fn works(folder: &Path) -> bool {
    let joins = r#"echo max >"$1/pids.max" && echo 0 >"$1/cgroup.procs""#;
    let tried = Command::new("sh")
        .args(["-c", joins, "sh"])
        .arg(folder)
        .output();
    tried.is_ok_and(|output| output.status.success())
}
