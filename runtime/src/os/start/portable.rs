//! macOS and other POSIX systems: starts a process by the standard library, with two steps between fork and exec.

#![expect(
    unsafe_code,
    reason = "there is no safe way to run code between fork and exec"
)]

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;

use rustix::io::{Errno, pwrite};
use rustix::process::{Pid, Resource, WaitId, WaitIdOptions, getpid, setrlimit, waitid};

use crate::os::keeper::line_of;
use crate::os::start::{StartedProcess, Stdin};
use crate::os::{Keeper, ProcessConfig, descriptors, terminal};

/// A program with its configuration and the kind of its stdin.
pub(in crate::os) struct PreparedProcess {
    config: ProcessConfig,
    stdin: Stdin,
}

impl PreparedProcess {
    /// Keeps the configuration. Anything that prevents a start is an error of [`start`](Self::start).
    #[expect(clippy::unnecessary_wraps, reason = "on Linux it can fail")]
    pub(in crate::os) fn new(config: &ProcessConfig, stdin: Stdin) -> io::Result<Self> {
        let config = config.clone();
        Ok(Self { config, stdin })
    }

    /// Starts the process, and waits until its program is loaded.
    ///
    /// Between fork and exec the child writes its own line of the keeper's list, so that no process ever runs that is
    /// not on the list, and gets back the limit of descriptors that this process was started with. For these steps the
    /// standard library forks, which copies the page tables of this process. Without them it would use `posix_spawn`,
    /// which is faster, but would leave the process unlisted for a moment.
    pub(in crate::os) fn start(&self, keeper: Option<&Keeper>) -> io::Result<StartedProcess> {
        let listing = keeper.map(Keeper::reserve).transpose()?;
        let list = match &listing {
            Some(listing) => Some((listing.file().try_clone_to_owned()?, listing.offset())),
            None => None,
        };
        let limit = descriptors::original();
        let config = &self.config;
        let mut command = Command::new(&config.command);
        command
            .args(&config.args)
            .stdin(match &self.stdin {
                Stdin::Empty => Stdio::null(),
                Stdin::Piped => Stdio::piped(),
                Stdin::Terminal => terminal::open()?.into(),
                Stdin::Given(given) => given.try_clone()?.into(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let prepare = move || {
            // The child has made its group by now: the standard library does so before it calls this.
            if let Some((file, offset)) = &list {
                write_own_line(file, *offset)?;
            }
            if let Some(limit) = &limit {
                setrlimit(Resource::Nofile, *limit)?;
            }
            Ok(())
        };
        // SAFETY: Another thread may have held any lock when this process was forked, so the child must not allocate or
        // lock. The closure only makes system calls; its errors are numbers of the system, which need no memory, and
        // nothing that it owns is dropped before the exec.
        unsafe { command.pre_exec(prepare) };
        if !config.env.inherits() {
            command.env_clear();
        }
        command.envs(config.env.declared());
        if let Some(folder) = &config.working_dir {
            command.current_dir(folder);
        }
        let mut child = command.spawn()?;
        let leader = Pid::from_child(&child);
        let ended = exit_notice(leader);
        let pipes = (child.stdout.take(), child.stderr.take());
        let (Ok(ended), (Some(stdout), Some(stderr))) = (ended, pipes) else {
            // A process that cannot be watched must not run.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
            child.wait()?;
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        Ok(StartedProcess {
            leader,
            ended,
            listing,
            stdin: child.stdin.take().map(OwnedFd::from),
            stdout: stdout.into(),
            stderr: stderr.into(),
        })
    }
}

/// Writes the line of this process, which is a child between fork and exec, on the keeper's list.
fn write_own_line(file: &OwnedFd, offset: u64) -> io::Result<()> {
    let line = line_of(getpid().as_raw_nonzero().get());
    match pwrite(file, &line, offset) {
        Ok(written) if written == line.len() => Ok(()),
        // `Errno` converts to an error with the system's number, which allocates nothing.
        Ok(_) => Err(Errno::IO.into()),
        // A limit on the size of files (`ulimit -f`) can forbid every line. A job that runs and is not on the list is
        // better than no job: only a host that is killed would leave it behind.
        Err(Errno::FBIG) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes a descriptor that becomes readable when a child has ended and waits to be reaped.
fn exit_notice(child: Pid) -> io::Result<OwnedFd> {
    let (reader, writer) = io::pipe()?;
    thread::Builder::new()
        .stack_size(64 * 1024)
        .spawn(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(child), options), Err(Errno::INTR)) {}
            drop(writer);
        })?;
    Ok(reader.into())
}
