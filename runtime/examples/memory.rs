//! Shows that memory depends on the jobs in flight and not on the number of jobs. It prints the peak of resident memory
//! for a thousand jobs, for a million submitted ones and for ten million streamed ones.
//!
//! `cargo run --release --example memory`
#![expect(clippy::print_stdout, reason = "what it says is what it is run for")]

use std::process::Command;

use ratchet_runtime::{Executor, Job, Payload, Run};

type Done = Result<(), Box<dyn std::error::Error>>;

fn nothing(number: u64) -> Job {
    Job::closure(number.to_string(), |_| async { Ok(Payload::null()) })
}

/// Takes all outcomes, and returns how many jobs succeeded.
async fn count(mut run: Run) -> u64 {
    let (mut count, mut outcomes) = (0, Vec::new());
    while run.next_many(&mut outcomes, 256).await > 0 {
        count += outcomes.drain(..).filter(|one| one.is_success()).count() as u64;
    }
    count
}

/// Runs jobs from an iterator. The run pulls a job when it has room for it.
async fn streamed(jobs: u64) -> Done {
    let run = Executor::builder().build()?.run((0..jobs).map(nothing))?;
    assert_eq!(count(run).await, jobs);
    Ok(())
}

/// Runs jobs that another task submits. That task waits while the run has no room.
async fn submitted(jobs: u64) -> Done {
    let (submitter, run) = Executor::builder().build()?.open()?;
    let sending = tokio::spawn(async move {
        for number in 0..jobs {
            submitter.submit(nothing(number)).await?;
        }
        Ok::<(), ratchet_runtime::Error>(())
    });
    assert_eq!(count(run).await, jobs);
    Ok(sending.await??)
}

/// Returns the peak of this process's resident memory, as the system reports it.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or("not known here".to_owned(), |peak| peak.trim().to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [way, jobs] = &arguments[..] {
        let start = tokio::time::Instant::now();
        match way.as_str() {
            "streamed" => streamed(jobs.parse()?).await?,
            "submitted" => submitted(jobs.parse()?).await?,
            other => return Err(format!("`{other}` is neither streamed nor submitted").into()),
        }
        println!(
            "{jobs:>8} {way:<9} peak {:>9}, {:.1?}",
            peak(),
            start.elapsed()
        );
        return Ok(());
    }
    // Each has a process of its own, because a peak never goes back.
    for (way, jobs) in [
        ("streamed", 1_000),
        ("submitted", 1_000_000),
        ("streamed", 10_000_000),
    ] {
        let status = Command::new(std::env::current_exe()?)
            .args([way, &jobs.to_string()])
            .status()?;
        if !status.success() {
            return Err(format!("{jobs} {way}: {status}").into());
        }
    }
    Ok(())
}
