//! The keeper: a process that outlives this one for a moment, to kill what it leaves.
//!
//! A host that is killed with SIGKILL can do nothing more, and the kernel kills nobody else with it.
//! `PR_SET_PDEATHSIG` reaches the child but not its children, depends on the thread that started it,
//! and rules out the fast way to start processes. So a process that does nothing but wait holds the
//! read end of a pipe and keeps the list of groups that are told to it. At the end of the pipe, for
//! whatever reason it has come, it kills the groups that are still on the list.
//!
//! It is an `awk` of one line, so that a library needs no program of its own beside it.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::Pid;

/// `+ n` puts a group on the list, `- n` takes it off. `kill` gets a few hundred at a time, since a
/// command line is not endless.
const PROGRAM: &str = r#"
$1 == "+" { groups[$2] }
$1 == "-" { delete groups[$2] }
END {
    for (group in groups) {
        list = list " -" group
        if (++count % 500 == 0) { system("kill -s KILL --" list); list = "" }
    }
    if (list != "") system("kill -s KILL --" list)
}
"#;

/// Kills what this process leaves behind, should it be killed itself.
///
/// Cheap to clone; all clones are one keeper. It ends when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Keeper(Arc<Mutex<Line>>);

/// The line to the keeper.
#[derive(Debug)]
struct Line {
    process: Child,
    /// Gone once the keeper is.
    pipe: Option<ChildStdin>,
    /// What the pipe had no room for.
    unsaid: Vec<u8>,
    watched: usize,
}

impl Keeper {
    /// Starts a keeper.
    ///
    /// It needs `awk`, which POSIX systems have; where there is none, this is an error, and one may go
    /// on without.
    pub fn start() -> io::Result<Self> {
        let mut process = Command::new("awk")
            .arg(PROGRAM)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What the terminal sends to this process's group is not for the keeper.
            .process_group(0)
            .spawn()?;
        let pipe = process.stdin.take();
        if let Some(pipe) = &pipe {
            // A keeper that is stopped must not stop this process.
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(Self(Arc::new(Mutex::new(Line {
            process,
            pipe,
            unsaid: Vec::new(),
            watched: 0,
        }))))
    }

    /// Puts the group that a process leads on the list.
    pub(super) fn watch(&self, leader: Pid) {
        self.with(|line| {
            line.watched += 1;
            line.say('+', leader);
        });
    }

    /// Takes a group off the list.
    pub(super) fn release(&self, leader: Pid) {
        self.with(|line| {
            line.watched = line.watched.saturating_sub(1);
            line.say('-', leader);
        });
    }

    /// Nothing that runs under this lock can panic half way.
    fn with(&self, action: impl FnOnce(&mut Line)) {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Line {
    fn say(&mut self, sign: char, leader: Pid) {
        let Some(pipe) = &mut self.pipe else { return };
        self.unsaid
            .extend_from_slice(format!("{sign} {}\n", leader.as_raw_nonzero()).as_bytes());
        while !self.unsaid.is_empty() {
            match pipe.write(&self.unsaid) {
                Ok(bytes) => drop(self.unsaid.drain(..bytes)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The rest goes with the next.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "the keeper is gone: should this process be killed, its workers live on");
                    self.pipe = None;
                    return;
                }
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.watched == 0 {
            // Nothing is left to do for it. Killed, it ends even if somebody has stopped it.
            let _ = self.process.kill();
        }
        self.pipe = None;
        // It ends with its pipe, and what it kills first takes no time.
        let _ = self.process.wait();
    }
}
