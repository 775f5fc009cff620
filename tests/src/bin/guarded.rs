//! A worker with the Rust library whose tasks misbehave: they print, they start children that print and read, and they fail
//! in every way. `workers/guarded.py` and `workers/guarded.mjs` are the same worker in other languages.

use std::process::Command;

use ratchet_ipc::serve::{Call, Json, Task, Worker};
use ratchet_ipc::{IpcError, LogLevel, Payload, TaskError};

/// Prints, and starts a child that reads stdin and prints.
#[expect(clippy::print_stdout, reason = "to see that it does no harm")]
fn noisy(_: &Call) -> Result<Json<&'static str>, TaskError> {
    println!("a print");
    let child = Command::new("sh")
        .args(["-c", "cat; echo a child"])
        .status()?;
    if !child.success() {
        return Err(TaskError::new("child", "the child failed"));
    }
    Ok(Json("quiet"))
}

/// Reports progress and logs a warning.
async fn talk(call: Call) -> Result<(), TaskError> {
    call.progress(1.0, Some(2.0), Some("half"));
    call.log(LogLevel::Warn, "odd");
    Ok(())
}

/// Fails with all fields of an error set.
fn fail(_: &Call) -> Result<(), TaskError> {
    Err(TaskError::new("not_found", "no such file")
        .retryable(false)
        .retry_after(std::time::Duration::from_millis(1500))
        .data(Payload::from_text("a.png")))
}

/// Waits until it is cancelled.
fn wait(call: &Call) -> Result<(), TaskError> {
    call.progress(0.0, None, None);
    while !call.is_cancelled() {
        std::thread::yield_now();
    }
    Err(call.cancelled_error())
}

/// Returns the descriptors that a child of this worker inherits.
fn descriptors(_: &Call) -> Result<Json<Vec<String>>, TaskError> {
    let output = Command::new("ls").arg("/proc/self/fd").output()?;
    Ok(Json(
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(ToOwned::to_owned)
            .collect(),
    ))
}

fn main() -> Result<(), IpcError> {
    Worker::new("guarded")
        .version("1.0")
        .task(Task::new("echo", |call: Call| async move { Ok(call.input().clone()) }).cacheable())
        .task(Task::blocking("noisy", noisy))
        .task(Task::new("talk", talk))
        .task(Task::blocking("fail", fail))
        .task(Task::blocking("wait", wait))
        .task(Task::blocking("descriptors", descriptors))
        .run()
}
