//! SIGUSR1 and SIGUSR2 from the first moment on. By default they would end this process, and a script may send SIGUSR1 to a run
//! that it has just started, to ask for its state.
//!
//! The handlers are set before `main` begins. `run`, `map` and `resume` answer SIGUSR1 once they can; SIGUSR2 has no meaning.
//! A program that is started gets the default actions again.
#![expect(
    unsafe_code,
    reason = "only a function that the loader calls runs early enough, and only an unsafe call sets a handler"
)]

use std::ffi::c_int;

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

/// Sets handlers that do nothing, unless whoever started this process has the signals ignored.
extern "C" fn set() {
    let nothing = SigAction::new(
        SigHandler::Handler(do_nothing),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2] {
        // SAFETY: the handler does nothing, so it may interrupt anything. An action that was in place before is put back
        // as it was.
        unsafe {
            if let Ok(before) = sigaction(signal, &nothing)
                && matches!(before.handler(), SigHandler::SigIgn)
            {
                let _ = sigaction(signal, &before);
            }
        }
    }
}

extern "C" fn do_nothing(_: c_int) {}
