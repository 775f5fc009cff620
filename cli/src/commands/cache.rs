//! `ratchet cache`: shows, explains and clears the result cache.

mod explain;
mod stats;

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use ratchet_caching::{Cache, Clock, DiskCache, Selector, SystemClock};

use crate::args::cache::{CacheAction, CacheArguments};
use crate::args::record::StateArguments;
use crate::error::CliError;
use crate::folders::Folders;
use crate::output::Destination;
use crate::readable::{ago, timestamp};
use crate::value;

/// Lists, explains or clears cached results.
pub(crate) fn run(arguments: &CacheArguments) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::internal("the event loop cannot be started").because(error))?;
    let text = runtime.block_on(async {
        match &arguments.action {
            None => stats(&arguments.state).await,
            Some(CacheAction::Stats { state }) => stats(state).await,
            Some(CacheAction::Explain(explain)) => explain::run(explain).await,
            Some(CacheAction::Clear {
                task,
                older_than,
                state,
            }) => {
                let (folders, _) = Folders::load(state)?;
                clear(existing(&folders)?, task.as_deref(), *older_than).await
            }
        }
    })?;
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Destination::Stdout.error(error).into())
}

/// Opens the cache in a folder; `None` if there is none. A command that only reads must not create one.
fn existing(folders: &Folders) -> Result<Option<DiskCache>, CliError> {
    let folder = &folders.cache;
    match std::fs::metadata(folder) {
        Ok(_) => Ok(Some(folders.cache_owner.cache(folder))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CliError::unreadable(folder, error)),
    }
}

async fn stats(typed: &StateArguments) -> Result<String, CliError> {
    let (folders, _) = Folders::load(typed)?;
    let (kept, listings) = match existing(&folders)? {
        None => (None, Vec::new()),
        Some(cache) => {
            let kept = cache.stats().await?;
            let listings = cache.list(&Selector::all()).await?;
            cache.close().await;
            (Some(kept), listings)
        }
    };
    if io::stdout().is_terminal() {
        let bytes = kept.unwrap_or_default().bytes;
        Ok(stats::table(
            &folders.cache,
            bytes,
            &listings,
            SystemClock.now(),
        ))
    } else {
        Ok(stats::lines(&listings))
    }
}

async fn clear(
    cache: Option<DiskCache>,
    task: Option<&str>,
    older_than: Option<Duration>,
) -> Result<String, CliError> {
    let Some(cache) = cache else {
        return Ok(describe_removed(0));
    };
    let mut selector = Selector::all();
    if let Some(task) = task {
        selector = selector.and_task(task);
    }
    if let Some(age) = older_than {
        selector = selector.and_older_than(age, SystemClock.now());
    }
    let count = cache.invalidate(&selector).await?;
    if let (0, Some(task)) = (count, task) {
        note_misspelt(&cache, task).await?;
    }
    cache.close().await;
    Ok(describe_removed(count))
}

/// Prints to stderr that no result of a task is stored, because its name may be misspelt.
async fn note_misspelt(cache: &DiskCache, task: &str) -> Result<(), CliError> {
    let listings = cache.list(&Selector::all()).await?;
    let tasks = listings
        .iter()
        .map(|listing| listing.metadata.labels.task.as_str());
    if tasks.clone().any(|known| known == task) {
        return Ok(());
    }
    let meant = value::closest(task, tasks);
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
    let _ = writeln!(
        io::stderr(),
        "ratchet: no result of a task `{task}` is stored{meant}"
    );
    Ok(())
}

fn describe_removed(count: u64) -> String {
    format!("removed {}\n", count_results(count))
}

fn count_results(count: u64) -> String {
    match count {
        1 => "1 result".to_owned(),
        count => format!("{count} results"),
    }
}

/// Formats a time: for people as how long ago it was, for programs as it is.
fn show_time(then: SystemTime, now: Option<SystemTime>) -> String {
    match now {
        Some(now) => ago(now, then),
        None => format!("{}Z", timestamp(then)),
    }
}

#[cfg(test)]
mod tests;
