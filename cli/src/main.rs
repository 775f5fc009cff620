//! The `ratchet` command: jobs in, results out, nothing lost.
//!
//! ```text
//! seq 100 | ratchet map -- echo number {}
//! ratchet run jobs.yaml
//! ```
//!
//! What can be typed is in `args`, but for the few words of `check`, `config` and `schema`; what is done about it
//! in `commands`, one verb a file. `run`, `map` and `resume` meet in `session`, which puts a run together of where its jobs come
//! from (`job_file`, `map`), what it is made with, what people see of it (`progress`) and where its
//! outcomes go (`report`). `settings` is what was set instead of typed, `diagnostic` says what is wrong
//! where, `exit` has the codes that scripts may rely on. All the rest is `ratchet-runtime`.

mod about;
mod args;
mod commands;
mod complaint;
mod diagnostic;
mod document;
mod error;
mod escape;
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
mod trust;
mod value;

use std::io;
use std::process::ExitCode;

use args::{Arguments, Verb};

/// Jobs and outcomes are made on one thread and dropped on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Arguments { verb } = complaint::arguments();
    let mut color = verb.color();
    let out = &mut io::stdout();
    let done = match verb {
        Verb::Run(run) => commands::run::run(&run, None),
        Verb::Map(map) => commands::map::run(&map, None),
        Verb::Resume(resume) => commands::resume::run(*resume, &mut color),
        Verb::Check(check) => commands::check::run(&check).map(success),
        Verb::Config(config) => commands::config::run(&config).map(success),
        Verb::Schema(schema) => commands::schema::run(&schema).map(success),
        Verb::Runs(runs) => commands::runs::run(&runs).map(success),
        Verb::Cache(cache) => commands::cache::run(&cache).map(success),
        Verb::Worker(worker) => commands::worker::run(&worker).map(success),
        Verb::Completions(completions) => {
            commands::completions::run(&completions, out).map(success)
        }
        Verb::Man(man) => commands::man::run(&man, out).map(success),
    };
    ExitCode::from(done.unwrap_or_else(|error| complaint::report(&error, color)))
}

fn success((): ()) -> u8 {
    exit::SUCCESS
}
