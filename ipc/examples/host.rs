//! A host of one worker: connect, call, cancel, close.
//!
//! `cargo run -p ratchet-ipc --example host`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use ratchet_ipc::host::{WorkerClient, WorkerError};
use tokio::process::Command;

/// A worker in a shell. It answers each request with the length of its line.
const WORKER: &str = r#"while IFS= read -r line; do
    id=${line#*'"id":"'}; id=${id%%'"'*}
    printf '{"type":"response","id":"%s","result":%s}\n' "$id" "${#line}"
done"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut command = Command::new("sh");
    command.args(["-c", WORKER]);
    let worker = WorkerClient::start(command)?;

    let length: u32 = worker.call("measure", &"to be or not to be").await?;
    println!("the request had {length} bytes");

    // This worker works on one request at a time, so the second one waits, and can still be cancelled.
    let (first, second) = (worker.begin("measure", &1)?, worker.begin("measure", &2)?);
    second.cancel();
    println!("first: {}", first.answer().await?);
    match second.answer().await {
        Err(WorkerError::Task(error)) => println!("second: {error}"),
        other => println!("second: {other:?}"),
    }
    worker.close().await?;
    Ok(())
}
