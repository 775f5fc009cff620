//! A worker with two tasks, one of which reports progress and can be cancelled.
//!
//! `echo '{"type":"request","id":1,"task":"count","input":"to be or not"}' | cargo run -p ratchet-ipc --example worker`
use std::time::Duration;

use ratchet_ipc::serve::{Call, Json, Task, Worker};
use ratchet_ipc::{IpcError, TaskError};

/// Counts the words of a text.
async fn count(call: Call) -> Result<Json<usize>, TaskError> {
    let text: String = call.read()?;
    Ok(Json(text.split_whitespace().count()))
}

/// Waits this many seconds, and reports its progress.
async fn wait(call: Call) -> Result<Json<f64>, TaskError> {
    let seconds: u32 = call.read()?;
    for second in 0..seconds {
        call.progress(f64::from(second), Some(f64::from(seconds)), None);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = call.cancelled() => return Err(TaskError::new(TaskError::CANCELLED, "asked to stop")),
        }
    }
    Ok(Json(f64::from(seconds)))
}

fn main() -> Result<(), IpcError> {
    Worker::new("words")
        .version("1.0")
        .task(Task::new("count", count).cacheable())
        .task(Task::new("wait", wait))
        .run()
}
