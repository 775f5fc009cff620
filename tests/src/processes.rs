//! Starts processes through a manager of them, and reads what they print.

use ratchet_runtime::process::{ProcessConfig, ProcessHandle, ProcessManager};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use crate::{eventually, is_alive, within};

/// Makes the config of a shell that runs this script.
pub fn shell(script: &str) -> ProcessConfig {
    ProcessConfig::new("sh").args(["-c", script])
}

/// Starts a shell with this script, and reads the numbers on the first line that it prints. Its pipes stay open for as
/// long as the test runs.
pub async fn start_announced(
    processes: &dyn ProcessManager,
    script: &str,
) -> (ProcessHandle, Vec<u32>) {
    let started = within(processes.spawn_process(&shell(script))).await;
    let mut process = started.unwrap_or_else(|error| panic!("{script}: {error}"));
    let Some((stdin, stdout, stderr)) = process.take_pipes() else {
        unreachable!("nobody else has taken them")
    };
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    if let Err(error) = within(stdout.read_line(&mut line)).await {
        panic!("{script}: {error}");
    }
    std::mem::forget((stdin, stdout, stderr));
    let number = |word: &str| {
        word.parse()
            .unwrap_or_else(|error| panic!("{script} says {line:?}: {error}"))
    };
    let numbers = line.split_ascii_whitespace().map(number).collect();
    (process, numbers)
}

/// Reads a pipe to its end.
pub async fn read_text(mut pipe: impl AsyncRead + Unpin) -> String {
    let mut text = String::new();
    match within(pipe.read_to_string(&mut text)).await {
        Ok(_) => text,
        Err(error) => panic!("the pipe cannot be read: {error}"),
    }
}

/// Waits until none of these processes is alive.
pub async fn all_gone(ids: &[u32]) {
    let none_lives = || !ids.iter().any(|id| is_alive(*id));
    eventually("none of the processes lives", none_lives).await;
}
