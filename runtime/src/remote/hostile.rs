//! Tests of whole connections to another side that breaks every promise: a dispatcher with a hostile agent, and an
//! agent with a hostile dispatcher.

mod agent;
mod dispatcher;

use std::cell::Cell;
use std::panic::{self, Location, PanicHookInfo};
use std::sync::Once;

use proptest::prelude::*;

thread_local! {
    /// How many tasks and tests have panicked on this thread.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// Runs a test on an event loop of this thread. Returns its result and how many tasks panicked in it, since the runtime
/// catches the panic of a task whose result is not awaited.
fn count_panics<T>(paused: bool, test: impl Future<Output = T>) -> (T, u32) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !is_of_no_harm(info) {
                PANICS.set(PANICS.get() + 1);
            }
            before(info);
        }));
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(paused)
        .build();
    let before = PANICS.get();
    let tested = runtime.unwrap().block_on(test);
    (tested, PANICS.get() - before)
}

/// Whether a panic is a false alarm: in debug builds h2 asserts that all streams of a broken connection have been
/// closed, which need not hold (hyperium/h2#907).
fn is_of_no_harm(info: &PanicHookInfo<'_>) -> bool {
    let is_there = |at: &Location<'_>| at.file().ends_with("proto/streams/counts.rs");
    let said = info.payload_as_str().unwrap_or_default();
    info.location().is_some_and(is_there) && said.contains("!self.has_streams()")
}

/// Bytes that are no message.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"{\"is\":\"nothing\"}\n".to_vec()),
        Just(b"{\"do\":\"nothing\"}\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(vec![b' '; 2 << 20]),
        proptest::collection::vec(any::<u8>(), 0..100),
    ]
}
