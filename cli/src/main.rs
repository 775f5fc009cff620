//! The `ratchet` command: jobs in, results out, nothing lost.
//!
//! ```text
//! seq 100 | ratchet map -- echo number {}
//! ratchet run jobs.yaml
//! ```
//!
//! What can be typed is in `args`, one verb a file; what is done about it in `commands`, one verb a file
//! too. `run`, `map` and `resume` meet in `session`, which puts a run together of where its jobs come
//! from (`job_file`, `map`), what it is made with, what people see of it (`progress`) and where its
//! outcomes go (`report`). `settings` is what was set instead of typed, `diagnostic` says what is wrong
//! where, `exit` has the codes that scripts may rely on. All the rest is `ratchet-runtime`.

mod about;
mod args;
mod commands;
mod diagnostic;
mod document;
mod error;
mod exit;
mod job_file;
mod map;
mod places;
mod progress;
mod report;
mod schema;
#[cfg(test)]
mod seen;
mod session;
mod settings;
mod value;

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Verb};
use diagnostic::Look;
use error::CliError;

/// Jobs and outcomes are made on one thread and dropped on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Arguments { verb } = Arguments::parse();
    let out = &mut io::stdout();
    let done = match verb {
        Verb::Run(run) => return end(commands::run::run(&run, None)),
        Verb::Map(map) => return end(commands::map::run(&map, None)),
        Verb::Resume(resume) => return end(commands::resume::run(*resume)),
        Verb::Check(check) => commands::check::run(&check),
        Verb::Config(config) => commands::config::run(&config),
        Verb::Schema(schema) => commands::schema::run(&schema),
        Verb::Runs(runs) => commands::runs::run(&runs),
        Verb::Cache(cache) => commands::cache::run(&cache),
        Verb::Worker(worker) => commands::worker::run(&worker),
        Verb::Completions(completions) => commands::completions::run(&completions, out),
        Verb::Man(man) => commands::man::run(&man, out),
    };
    end(done.map(|()| exit::SUCCESS))
}

fn end(done: Result<u8, CliError>) -> ExitCode {
    ExitCode::from(done.unwrap_or_else(|error| report(&error)))
}

/// Says what went wrong and why, a cause a line, and what to do about it.
fn report(error: &CliError) -> u8 {
    if error.is_broken_pipe() {
        return error.exit_code();
    }
    let mut text = error.reports(Look::of_stderr());
    let _ = writeln!(text, "ratchet: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = writeln!(text, "  because: {error}");
        cause = error.source();
    }
    if let Some(help) = error.help() {
        let _ = writeln!(text, "  help: {help}");
    }
    // There is nobody left to tell where stderr is closed; the exit code still says it.
    let _ = io::stderr().write_all(text.as_bytes());
    error.exit_code()
}
