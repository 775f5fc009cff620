//! Starts a thousand processes that crash, and prints what this process holds before and after.

use ratchet_runtime::process::{Exit, LocalProcesses, ProcessConfig, ProcessManager};
use ratchet_tests::Holdings;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "what it says is what it is run for")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let processes = LocalProcesses::start();
    let config = ProcessConfig::new("sh").args(["-c", "echo something; kill -KILL $$"]);
    let crash = async || {
        let mut process = processes.spawn_process(&config).await?;
        let ended = process.exit().wait().await;
        assert!(
            ended.exit == Exit::Signal(9) && ended.survivors.is_empty(),
            "{ended:?}"
        );
        Ok::<(), Box<dyn std::error::Error>>(())
    };
    // The first process opens what all later ones share.
    crash().await?;
    let before = Holdings::now();
    for _ in 0..1000 {
        crash().await?;
    }
    println!("{before:?} -> {:?}", Holdings::now());
    Ok(())
}
