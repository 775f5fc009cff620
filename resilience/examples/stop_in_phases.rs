//! Stops a program in phases: the first Ctrl-C finishes the work in progress, the second drops it.
//!
//! `cargo run -p ratchet-resilience --example stop_in_phases`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use ratchet_resilience::shutdown::{Phase, ShutdownCoordinator, Signals};

/// Works until new work is no longer wanted, and returns how much was done.
async fn work(shutdown: ShutdownCoordinator) -> u32 {
    let mut done = 0;
    while shutdown.phase() == Phase::Running && done < 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        done += 1;
    }
    done
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ratchet_resilience::ResilienceError> {
    let shutdown = ShutdownCoordinator::new();
    let mut signals = Signals::install()?;
    let listener = shutdown.clone();
    tokio::spawn(async move {
        loop {
            let signal = signals.recv().await;
            println!("{signal}: {}", listener.signalled(signal));
        }
    });
    tokio::select! {
        done = work(shutdown.clone()) => println!("did {done} pieces of work"),
        () = shutdown.reached(Phase::Cancelling) => println!("dropped the work at hand"),
    }
    Ok(())
}
