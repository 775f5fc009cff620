//! Sets the signal actions of children of tests.

#![expect(
    unsafe_code,
    reason = "there is no safe way to change the signals that a child begins with"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Gives a child the default action for SIGINT, SIGQUIT and SIGHUP. Tests that are started by `nohup cargo test &` inherit
/// these signals as ignored, and a child that does not handle them would never be ended by one.
pub(crate) fn default_signals(command: &mut Command) {
    let reset = || {
        for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
            // SAFETY: This only changes how this process takes a signal, and may be called between fork and exec.
            if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: Between fork and exec, the closure makes system calls and nothing else.
    unsafe {
        command.pre_exec(reset);
    }
}
