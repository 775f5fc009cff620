//! Which of stdin, stdout and stderr were closed when this process was started, as by `>&-` in a shell.
//!
//! The standard library opens `/dev/null` in the place of a descriptor that is closed, before `main` begins. Results that are
//! written there would be lost without an error, and a list of items would seem to be empty. So this module looks at the
//! descriptors before the standard library does.
#![expect(
    unsafe_code,
    reason = "only a function that the loader calls runs before the standard library, and it asks for descriptors by number"
)]

use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::CliError;

const STDIN: RawFd = 0;
const STDOUT: RawFd = 1;

/// A bit for each descriptor that was closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Has the loader call [`record_closed`] before `main`.
// SAFETY: the loader calls what this section lists, with the C calling convention, before any other thread exists. `record_closed`
// needs nothing that is set up later: it makes system calls and writes to an atomic.
#[used]
#[cfg_attr(
    target_vendor = "apple",
    unsafe(link_section = "__DATA,__mod_init_func")
)]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
static RECORD_CLOSED: extern "C" fn() = record_closed;

/// Records which of the standard descriptors were closed when this process was started.
extern "C" fn record_closed() {
    for descriptor in STDIN..=2 {
        // SAFETY: the descriptor may be closed, which the call then says. Nothing is read, written or closed.
        let known = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(descriptor) });
        if known.is_err() {
            // Relaxed: there is one thread.
            CLOSED.fetch_or(1 << descriptor, Ordering::Relaxed);
        }
    }
}

fn is_open(descriptor: RawFd) -> bool {
    // Relaxed: it was written before `main` began.
    CLOSED.load(Ordering::Relaxed) & (1 << descriptor) == 0
}

/// Fails if stdin was closed when this process was started. Call it before stdin is read.
pub(crate) fn need_stdin() -> Result<(), CliError> {
    if is_open(STDIN) {
        return Ok(());
    }
    Err(
        CliError::usage("stdin is closed, so nothing can be read from it")
            .with_help("leave out `<&-`; `</dev/null` is an input without lines"),
    )
}

/// Fails if stdout was closed when this process was started. Call it before something runs whose results go there.
pub(crate) fn need_stdout() -> Result<(), CliError> {
    if is_open(STDOUT) {
        return Ok(());
    }
    Err(
        CliError::usage("stdout is closed, so the results would be lost").with_help(
            "leave out `>&-`; `>/dev/null` drops results, and `-o FILE` writes them to a file",
        ),
    )
}
