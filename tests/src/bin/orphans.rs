//! Kills `ratchet map` in its first 50 milliseconds, many times, and counts the processes that are left behind.

use std::error::Error;
use std::process::ExitCode;

use ratchet_tests::orphans::{OrphanCounts, OrphanHunt};

/// The text that is printed for unknown flags.
const USAGE: &str = "usage: orphans [--seed N] [--kills N] [--jobs N,N,..]";

#[expect(clippy::print_stdout, reason = "the report is what it is run for")]
fn main() -> Result<ExitCode, Box<dyn Error>> {
    let (mut seed, mut kills, mut jobs) = (7, 200, vec![2, 16, 150]);
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for pair in words.chunks(2) {
        match *pair {
            ["--seed", number] => seed = number.parse()?,
            ["--kills", number] => kills = number.parse()?,
            ["--jobs", list] => jobs = list.split(',').map(str::parse).collect::<Result<_, _>>()?,
            _ => return Err(USAGE.into()),
        }
    }
    let mut clean = true;
    for jobs in jobs {
        let found = OrphanHunt { seed, kills, jobs }.run()?;
        let OrphanCounts {
            kills_with_orphans,
            orphans,
            kills_with_jobs,
        } = found;
        println!(
            "-j {jobs}: {kills} kills, {kills_with_jobs} of them while jobs ran: \
             {orphans} processes left after {kills_with_orphans} kills"
        );
        clean &= orphans == 0;
    }
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
