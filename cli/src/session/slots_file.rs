//! `-j FILE`: changes how many jobs run at once during the run.

use std::path::PathBuf;
use std::time::Duration;

use ratchet_runtime::RunHandle;

use super::console::Console;
use super::options::cores;
use super::system_limits;
use crate::job_count::JobCount;

/// How often the file is read. It is polled, because not every file system can notify of changes.
const INTERVAL: Duration = Duration::from_secs(1);

/// Polls the file, and applies the number of jobs in it. No more jobs run than the limits of open files allow.
pub(super) fn watch(path: PathBuf, mut slots: u32, handle: RunHandle, console: Option<Console>) {
    let most = slots.max(system_limits::most_jobs());
    tokio::spawn(async move {
        let mut told = None;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let read = {
                let path = path.clone();
                let resolve =
                    move || JobCount::File(path).resolve(cores(), system_limits::most_jobs);
                tokio::task::spawn_blocking(resolve).await
            };
            let problem = match read {
                Ok(Ok(wanted)) if wanted.min(most) == slots => None,
                Ok(Ok(wanted)) => match handle.set_slots(wanted.min(most)).await {
                    Ok(()) => {
                        slots = wanted.min(most);
                        None
                    }
                    Err(error) => Some(error.to_string()),
                },
                // The file may have been read in the middle of a write, so the last number stays in effect.
                Ok(Err(error)) => Some(error.to_string()),
                // The event loop is ending.
                Err(_) => return,
            };
            if problem != told
                && let (Some(problem), Some(console)) = (&problem, &console)
            {
                console.say(&format!("ratchet: still {slots} jobs at once: {problem}\n"));
            }
            told = problem;
        }
    });
}
