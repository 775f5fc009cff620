//! Keeps the results of a slow function on disk: a second process gets them without another call.
//!
//! `cargo run -p ratchet-caching --example memoise_on_disk`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;

use ratchet_caching::{CallKey, DiskOptions, TaskCache};

/// The result for a file. Any type of serde can be a result.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Report {
    lines: usize,
    longest: usize,
}

/// Reads a file, which takes long if it is large. An error is not stored.
async fn report(path: &Path) -> std::io::Result<Report> {
    println!("reading {}", path.display());
    let path = path.to_owned();
    let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await??;
    Ok(Report {
        lines: text.lines().count(),
        longest: text.lines().map(str::len).max().unwrap_or_default(),
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("poem.txt");
    std::fs::write(&file, "to be\nor not to be\n")?;

    // Each iteration represents a process, which opens the cache again.
    for process in 1..=2 {
        let options = DiskOptions::at(folder.path().join("cache")).max_bytes(100 << 20);
        let cache = TaskCache::on_disk(options);
        // The time of the last change is part of the key, so that a result is not used after a change.
        let changed = std::fs::metadata(&file)?.modified()?;
        let key = CallKey::new("report 1", &(&file, changed))?;
        let report = cache.memo(&key, || report(&file)).await?;
        let stats = cache.stats().await?;
        println!(
            "process {process}: {report:?}, {} hits, {} misses",
            stats.hits,
            stats.misses.total()
        );
    }
    Ok(())
}
