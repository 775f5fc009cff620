//! A host that starts a process, which starts a child, prints the ids of both, and waits to be killed.

use std::io::Write;

use ratchet_runtime::process::{LocalProcesses, ProcessConfig, ProcessManager};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let processes = LocalProcesses::start();
    // Both processes ignore signals that ask them to end, and hold no pipe whose end would signal it to them.
    let script = "trap '' TERM HUP; sleep 1000 & echo $$ $!; exec >/dev/null; wait";
    let config = ProcessConfig::new("sh").args(["-c", script]);
    let mut process = processes.spawn_process(&config).await?;
    let (_stdin, stdout, _stderr) = process.take_pipes().ok_or("it has pipes")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).await?;
    std::io::stdout().write_all(line.as_bytes())?;
    std::future::pending().await
}
