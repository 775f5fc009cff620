//! Linux: starts a process, with a few steps between fork and exec.
//!
//! The standard library starts processes with `posix_spawn`, which allows no steps of our own, or, with `pre_exec`, by
//! a plain `fork`, which copies the page tables of this process and is several times slower. This module does what
//! `posix_spawn` does internally, `clone` with `CLONE_VM` and `CLONE_VFORK`, with these steps in the child:
//!
//! 1. It makes its group, so that it does not get signals to the group of this process, and takes the terminal if it is
//!    to have it.
//! 2. All signals get their default action back. Only an ignored SIGHUP stays ignored: a user who said `nohup` meant
//!    the jobs as well.
//! 3. It gets its three descriptors, and then the limit of descriptors that this process was started with, before it
//!    raised its own.
//! 4. It changes to its folder.
//! 5. It writes its own line of the keeper's list, so that no process ever runs that is not on the list.
//! 6. It executes the program.
//!
//! The child shares the memory of this process, and the thread that started it waits until it has executed its program
//! or has ended. So between fork and exec it makes system calls and nothing else: it does not allocate, lock or panic,
//! and everything that it needs is prepared in a [`ChildPlan`].

#![expect(
    unsafe_code,
    reason = "there is no safe way to run code between fork and exec"
)]

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::process::{Pid, Rlimit};

use crate::os::exit::reap;
use crate::os::keeper::{LINE_BYTES, line_of};
use crate::os::start::{StartedProcess, Stdin};
use crate::os::{Keeper, ProcessConfig, descriptors, terminal};

/// The folders in which programs are searched if there is no `PATH`. They are those of the C library.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The size of the child's stack. The deepest call on it is a system call.
const STACK_BYTES: usize = 32 * 1024;

/// A program with its arguments, environment and folder, in the form that system calls take.
pub(in crate::os) struct PreparedProcess {
    /// The files to try, in this order.
    programs: Vec<CString>,
    args: Vec<CString>,
    env: Vec<CString>,
    /// The folder that the child enters; `None` if it stays in that of this process.
    folder: Option<CString>,
    stdin: Stdin,
}

impl PreparedProcess {
    /// Prepares the strings for system calls. An argument, a variable or a path with a NUL in it is an error, because
    /// it cannot be passed to a process.
    pub(in crate::os) fn new(config: &ProcessConfig, stdin: Stdin) -> io::Result<Self> {
        let command = config.command.as_os_str();
        let args = std::iter::once(command).chain(config.args.iter().map(OsString::as_os_str));
        let declared = || config.env.declared();
        let is_declared = |name: &OsStr| declared().any(|(known, _)| known == name);
        let inherited = config.env.inherits().then(std::env::vars_os);
        let inherited = inherited
            .into_iter()
            .flatten()
            .filter(|(name, _)| !is_declared(name))
            .map(|(name, value)| variable(name, &value));
        let own = declared().map(|(name, value)| variable(name.to_owned(), value));
        let folder = config.working_dir.as_deref();
        Ok(Self {
            programs: programs(command, &search_path(config))?,
            args: args.map(c_string).collect::<io::Result<_>>()?,
            env: inherited.chain(own).collect::<io::Result<_>>()?,
            folder: folder
                .map(|folder| c_string(folder.as_os_str()))
                .transpose()?,
            stdin,
        })
    }

    /// Starts the process, and waits until its program is loaded.
    pub(in crate::os) fn start(&self, keeper: Option<&Keeper>) -> io::Result<StartedProcess> {
        let listing = keeper.map(Keeper::reserve).transpose()?;
        let (stdin, our_stdin) = match &self.stdin {
            Stdin::Empty | Stdin::Given(_) => (None, None),
            Stdin::Piped => {
                let (reader, writer) = io::pipe()?;
                (Some(OwnedFd::from(reader)), Some(OwnedFd::from(writer)))
            }
            Stdin::Terminal => (Some(OwnedFd::from(terminal::open()?)), None),
        };
        let (our_stdout, stdout) = io::pipe()?;
        let (our_stderr, stderr) = io::pipe()?;
        let args = pointers(&self.args);
        let env = pointers(&self.env);
        let plan = ChildPlan {
            programs: &self.programs,
            args: &args,
            env: &env,
            folder: self.folder.as_deref(),
            stdio: [
                match &self.stdin {
                    Stdin::Given(given) => Some(given.as_raw_fd()),
                    _ => stdin.as_ref().map(AsRawFd::as_raw_fd),
                },
                Some(stdout.as_raw_fd()),
                Some(stderr.as_raw_fd()),
            ],
            takes_terminal: matches!(self.stdin, Stdin::Terminal),
            descriptors: descriptors::original().map(rlimit),
            list: listing
                .as_ref()
                .map(|listing| (listing.file().as_raw_fd(), listing.offset().cast_signed())),
            error: AtomicI32::new(0),
        };
        let (leader, ended) = plan.clone_process()?;
        match plan.error.load(Ordering::Relaxed) {
            0 => Ok(StartedProcess {
                leader,
                ended,
                listing,
                stdin: our_stdin,
                stdout: our_stdout.into(),
                stderr: our_stderr.into(),
            }),
            error => {
                // The child has ended without executing a program, and only this function knows of it, so it is reaped
                // here.
                reap(leader);
                Err(io::Error::from_raw_os_error(error))
            }
        }
    }
}

/// Converts a limit to the form that the system call takes.
fn rlimit(limit: Rlimit) -> libc::rlimit {
    let number = |limit: Option<u64>| limit.unwrap_or(libc::RLIM_INFINITY);
    libc::rlimit {
        rlim_cur: number(limit.current),
        rlim_max: number(limit.maximum),
    }
}

/// Returns the value of `PATH` by which the program is found: that of the new process, if its configuration sets it.
fn search_path(config: &ProcessConfig) -> OsString {
    let mut declared = config.env.declared();
    let own = declared.find(|(name, _)| *name == "PATH");
    let inherited = || std::env::var_os("PATH").filter(|_| config.env.inherits());
    own.map(|(_, value)| value.to_owned())
        .or_else(inherited)
        .unwrap_or_else(|| DEFAULT_PATH.into())
}

/// Returns the files that a program's name may refer to.
fn programs(command: &OsStr, path: &OsStr) -> io::Result<Vec<CString>> {
    if command.is_empty() || command.as_bytes().contains(&b'/') {
        return Ok(vec![c_string(command)?]);
    }
    let folders = path.as_bytes().split(|byte| *byte == b':');
    let files = folders.map(|folder| {
        // An empty entry means the folder that the program runs in.
        let separator: &[u8] = if folder.is_empty() { b"" } else { b"/" };
        CString::new([folder, separator, command.as_bytes()].concat())
    });
    Ok(files.collect::<Result<_, _>>()?)
}

fn variable(name: OsString, value: &OsStr) -> io::Result<CString> {
    let mut bytes = name.into_vec();
    bytes.push(b'=');
    bytes.extend_from_slice(value.as_bytes());
    Ok(CString::new(bytes)?)
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    Ok(CString::new(text.as_bytes())?)
}

/// Makes a list of strings for `execve`, which ends with a null pointer.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    let pointers = strings.iter().map(|string| string.as_ptr());
    pointers.chain([ptr::null()]).collect()
}

/// Everything that the child needs between fork and exec. Parent and child share it, since they share memory until the
/// exec.
struct ChildPlan<'a> {
    /// The files to try, in this order.
    programs: &'a [CString],
    /// The arguments, with a null pointer at the end.
    args: &'a [*const c_char],
    /// The variables as `NAME=value`, with a null pointer at the end.
    env: &'a [*const c_char],
    folder: Option<&'a CStr>,
    /// The descriptors that become stdin, stdout and stderr. `None` stands for an empty stdin.
    stdio: [Option<RawFd>; 3],
    /// Whether its stdin is the terminal, and its group becomes the foreground group.
    takes_terminal: bool,
    /// The limit of descriptors that the child gets back, if this process has raised its own.
    descriptors: Option<libc::rlimit>,
    /// The file with the keeper's list, and the offset of the child's line in it.
    list: Option<(RawFd, i64)>,
    /// The error for which the child has not executed its program, if any. The parent reads it after `clone` has
    /// returned; the kernel orders that after everything that the child did.
    error: AtomicI32,
}

impl ChildPlan<'_> {
    /// Clones the child. Returns its id and a descriptor that becomes readable when it has ended.
    fn clone_process(&self) -> io::Result<(Pid, OwnedFd)> {
        let mut stack: Vec<MaybeUninit<u8>> = Vec::with_capacity(STACK_BYTES);
        let stack = stack.spare_capacity_mut().as_mut_ptr_range();
        let top = stack.end.map_addr(|address| address & !15);
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        let plan = ptr::from_ref(self).cast_mut().cast::<c_void>();
        let mut descriptor: c_int = -1;
        let blocked = BlockedSignals::new();
        // SAFETY: The stack is aligned and not used by anything else. `run` reads the plan and writes only the atomic
        // in it. Stack and plan outlive the call, and with CLONE_VFORK this thread continues only when the child no
        // longer uses them. No signal handler runs in the child: all signals are blocked until they have their default
        // actions. With CLONE_PIDFD the kernel takes the next argument as the place for the descriptor.
        let child =
            unsafe { libc::clone(run, top.cast(), flags, plan, ptr::from_mut(&mut descriptor)) };
        let error = io::Error::last_os_error();
        drop(blocked);
        // -1 is an error, and no number that `Pid` takes.
        let child = if child > 0 {
            Pid::from_raw(child)
        } else {
            None
        };
        let Some(child) = child else {
            return Err(error);
        };
        // SAFETY: The kernel has just opened the descriptor for this call, and nothing else owns it.
        Ok((child, unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Performs the child's steps between fork and exec, and executes the program. It returns only with an error.
    ///
    /// # Safety
    ///
    /// Call it only between fork and exec, with all signals blocked. It makes system calls and nothing else.
    unsafe fn execute(&self) -> Result<(), c_int> {
        // SAFETY: These are system calls on this process alone, with pointers that live until the exec. The memory is
        // shared with the parent, and nothing in it is written but this stack, `errno` of the thread that waits, and
        // the plan's atomic.
        unsafe {
            check(libc::setpgid(0, 0))?;
            if let (true, [Some(terminal), ..]) = (self.takes_terminal, self.stdio) {
                // The child's group is in the background until now, and SIGTTOU is blocked as all signals are.
                check(libc::tcsetpgrp(terminal, libc::getpid()))?;
            }
            default_signals();
            self.place_descriptors()?;
            if let Some(limit) = &self.descriptors {
                // The limit is not set earlier: the child still has all descriptors of this process, so below the lower
                // limit none may be free for a copy.
                check(libc::setrlimit(libc::RLIMIT_NOFILE, limit))?;
            }
            if let Some(folder) = self.folder {
                check(libc::chdir(folder.as_ptr()))?;
            }
            self.write_list_line()?;
            let mut none = MaybeUninit::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            check(libc::sigprocmask(
                libc::SIG_SETMASK,
                none.as_ptr(),
                ptr::null_mut(),
            ))?;
            Err(self.execute_program())
        }
    }

    /// Gives the child its stdin, stdout and stderr.
    unsafe fn place_descriptors(&self) -> Result<(), c_int> {
        let mut stdio = [-1; 3];
        for (place, given) in stdio.iter_mut().zip(self.stdio) {
            // SAFETY: As for `execute`.
            *place = unsafe {
                if let Some(given) = given {
                    check(libc::fcntl(given, libc::F_DUPFD_CLOEXEC, 3))?
                } else {
                    // One of the descriptors 0 to 2 may be free, if this process was started without it.
                    let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
                    check(libc::fcntl(check(null)?, libc::F_DUPFD_CLOEXEC, 3))?
                }
            };
        }
        for (number, from) in (0..).zip(stdio) {
            // SAFETY: As for `execute`. The two numbers differ, so the copy is not closed on exec.
            check(unsafe { libc::dup2(from, number) })?;
        }
        Ok(())
    }

    /// Writes the child's id into its line of the keeper's list.
    unsafe fn write_list_line(&self) -> Result<(), c_int> {
        let Some((file, offset)) = self.list else {
            return Ok(());
        };
        // SAFETY: As for `execute`; the line lives for the call.
        unsafe {
            let line = line_of(libc::getpid());
            let written = libc::pwrite(file, line.as_ptr().cast(), LINE_BYTES, offset);
            if usize::try_from(written) == Ok(LINE_BYTES) {
                return Ok(());
            }
            match if written < 0 { errno() } else { libc::EIO } {
                // A limit on the size of files (`ulimit -f`) can forbid every line. A job that runs and is not on the
                // list is better than no job: only a killed host would leave it behind. The signal that came with the
                // refusal is pending, and ignoring a signal discards it.
                libc::EFBIG => {
                    let mut action: libc::sigaction = std::mem::zeroed();
                    for disposition in [libc::SIG_IGN, libc::SIG_DFL] {
                        action.sa_sigaction = disposition;
                        libc::sigaction(libc::SIGXFSZ, &raw const action, ptr::null_mut());
                    }
                    Ok(())
                }
                error => Err(error),
            }
        }
    }

    /// Executes the first of the files that exists. Returns the most informative error.
    unsafe fn execute_program(&self) -> c_int {
        let mut refused = None;
        let mut error = libc::ENOENT;
        for program in self.programs {
            // SAFETY: As for `execute`; both lists end with a null pointer.
            unsafe {
                libc::execve(program.as_ptr(), self.args.as_ptr(), self.env.as_ptr());
            }
            error = errno();
            match error {
                libc::EACCES => refused = Some(error),
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
                _ => return error,
            }
        }
        refused.unwrap_or(error)
    }
}

/// Executes the plan in the cloned child, of which this is the entry point.
extern "C" fn run(plan: *mut c_void) -> c_int {
    // SAFETY: `clone_process` passes a plan that lives until this process has executed its program or has ended, and
    // calls this between fork and exec with all signals blocked.
    unsafe {
        let plan = &*plan.cast::<ChildPlan<'_>>();
        if let Err(error) = plan.execute() {
            plan.error.store(error, Ordering::Relaxed);
        }
    }
    127
}

/// Gives all signals their default action, except an ignored SIGHUP.
unsafe fn default_signals() {
    // SAFETY: As for `ChildPlan::execute`. A zeroed `sigaction` has no flags and an empty mask, and 0 is SIG_DFL.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        // Until the child had its own group, the terminal may have sent it signals that were meant for this process.
        // Ignoring a signal discards one that is pending.
        action.sa_sigaction = libc::SIG_IGN;
        for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP] {
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
        action.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=libc::SIGRTMAX() {
            if signal == libc::SIGHUP {
                let mut known: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, ptr::null(), &raw mut known);
                if known.sa_sigaction == libc::SIG_IGN {
                    continue;
                }
            }
            // The call fails for SIGKILL, SIGSTOP and the signals that the C library reserves.
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
    }
}

/// Converts the result of a system call, and reads its error.
fn check(result: c_int) -> Result<c_int, c_int> {
    if result < 0 { Err(errno()) } else { Ok(result) }
}

fn errno() -> c_int {
    // SAFETY: The pointer is valid on every thread.
    unsafe { *libc::__errno_location() }
}

/// Blocks all signals on this thread until it is dropped.
struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    fn new() -> Self {
        let mut before = MaybeUninit::uninit();
        let mut all = MaybeUninit::uninit();
        // SAFETY: Both sets are written before they are read; neither call can fail with these arguments.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::sigemptyset(before.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: The set was filled in by `new`.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut());
        }
    }
}
