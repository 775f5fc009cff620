//! SIGUSR1 and SIGUSR2 from the first moment on. By default they would end this process, and a script may send SIGUSR1 to a run
//! that it has just started, to ask for its state.
//!
//! The handlers are set before `main` begins. `run`, `map` and `resume` answer SIGUSR1 once they can, also one that came before
//! that; SIGUSR2 has no meaning.
//! A program that is started gets the default actions again.
#![expect(
    unsafe_code,
    reason = "only a function that the loader calls runs early enough, and only an unsafe call sets a handler"
)]

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Has the loader call [`set`] before `main`.
// SAFETY: the loader calls what this section lists, with the C calling convention, before any other thread exists. `set`
// needs nothing that is set up later: it only makes system calls.
#[used]
#[cfg_attr(
    target_vendor = "apple",
    unsafe(link_section = "__DATA,__mod_init_func")
)]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
static SET: extern "C" fn() = set;

/// Whether SIGUSR1 has come.
static STATUS_ASKED: AtomicBool = AtomicBool::new(false);

/// Whether SIGUSR1 has come since the start of this process.
pub(crate) fn status_was_asked() -> bool {
    // Relaxed: nothing else is ordered by it.
    STATUS_ASKED.load(Ordering::Relaxed)
}

/// Sets handlers that at most remember the signal, unless whoever started this process has the signals ignored.
extern "C" fn set() {
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2] {
        let remembers = SigAction::new(
            SigHandler::Handler(remember),
            SaFlags::SA_RESTART,
            SigSet::empty(),
        );
        // SAFETY: the handler stores to an atomic at most, so it may interrupt anything. An action that was in place before
        // is put back as it was.
        unsafe {
            if let Ok(before) = sigaction(signal, &remembers)
                && matches!(before.handler(), SigHandler::SigIgn)
            {
                let _ = sigaction(signal, &before);
            }
        }
    }
}

extern "C" fn remember(signal: c_int) {
    if signal == Signal::SIGUSR1 as c_int {
        STATUS_ASKED.store(true, Ordering::Relaxed);
    }
}
