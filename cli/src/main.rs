//! The `ratchet` command, which runs jobs in parallel on supervised worker processes.
//!
//! ```text
//! seq 100 | ratchet map -- echo number {}
//! ratchet run jobs.yaml
//! ```
//!
//! `args` defines the command line, and `commands` performs its verbs, one verb a file. `run`, `map` and `resume` share
//! `session`, which runs jobs from their source (`job_file`, `map`) to their report (`report`), shows how far the run
//! is (`progress`), and ends with a code of `exit`. The engine under all of it is `ratchet-runtime`.
//!
//! # Layers
//!
//! Imports run one way. The lowest layer comes first, and a module imports only from lines above its own:
//!
//! ```text
//! ratchet_input                         what users write, as typed values with their places, in a crate of its own
//! exit, spool, shared_buffer            exit codes, output on disk, a buffer that two threads share: each stands alone
//! shell_quote, readable, invocation     words for a shell, times and names for people, a recorded command line
//! error                                 the error that ends a call
//! standard_streams, early_signals       streams that were closed at the start; signals that come before anything else
//! recorded, github                      recorded runs as reports see them; what a workflow on GitHub is told
//! output, environment                   writers that know their destination; variables and folders of the user
//! report, semaphore, trust              results as text; locks that calls share; whose files may be used
//! job_file                              job files: from text to jobs
//! settings, map, live                   variables and config files; one command over many items; the socket of a run
//! queue                                 jobs in a queue that many nodes share
//! schema, args                          JSON Schemas; what can be typed
//! reference                             every key of job files and settings, for people
//! folders, progress                     where runs and results are kept; bars and lines that show how far a run is
//! session, preflight                    a run from its jobs to its exit code; calls that are refused at once
//! play, top                             a playbook as the jobs of a run, and its report; a run on the whole terminal
//! commands                              the verbs
//! parse, print_error                    the first and the last step of a call
//! ```

mod args;
mod commands;
mod early_signals;
mod environment;
mod error;
mod exit;
mod folders;
mod github;
mod invocation;
mod job_count;
mod job_file;
mod live;
mod map;
mod output;
mod output_file;
mod parse;
mod play;
mod preflight;
mod print_error;
mod progress;
#[cfg(feature = "queue")]
mod queue;
mod readable;
mod recorded;
mod reference;
mod report;
mod schema;
mod semaphore;
mod session;
mod settings;
#[cfg(test)]
mod shared_buffer;
mod shell_quote;
mod spool;
mod standard_streams;
mod top;
mod trust;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use args::{Arguments, Verb};
// What users write is read by a crate that playbooks share; its modules are used like those of this crate.
use ratchet_input::{diagnostic, document, escape, inventory, style, value};

/// The allocator. Jobs and outcomes are allocated on one thread and freed on another by the million, which mimalloc
/// does faster than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Arguments { verb } = match parse::parse_or_exit() {
        Ok(arguments) => arguments,
        Err(error) => return ExitCode::from(print_error::print_error(&error, None)),
    };
    let mut color = verb.color();
    if let Err(error) = need_streams(&verb) {
        return ExitCode::from(print_error::print_error(&error, color));
    }
    let out = &mut io::stdout();
    let result = match verb {
        Verb::Run(run) => commands::run::run(&run, None),
        Verb::Map(map) => commands::map::run(&map, None),
        Verb::Resume(resume) => commands::resume::run(*resume, &mut color),
        #[cfg(feature = "queue")]
        Verb::Submit(submit) => commands::submit::run(&submit),
        #[cfg(feature = "queue")]
        Verb::Node(node) => commands::node::run(&node),
        #[cfg(feature = "queue")]
        Verb::Queue(queue) => commands::queue::run(&queue),
        Verb::Check(check) => commands::check::run(&check).map(success),
        Verb::Config(config) => commands::config::run(&config).map(success),
        Verb::Inventory(inventory) => commands::inventory::run(&inventory).map(success),
        Verb::Hosts(hosts) => commands::hosts::run(&hosts),
        Verb::Play(play) => commands::play::run(&play, None),
        Verb::Schema(schema) => commands::schema::run(&schema).map(success),
        Verb::Sem(sem) => commands::sem::run(&sem),
        Verb::Runs(runs) => commands::runs::run(&runs).map(success),
        Verb::Top(top) => commands::top::run(&top),
        Verb::Cache(cache) => commands::cache::run(&cache).map(success),
        Verb::Agent(agent) => commands::agent::run(&agent).map(success),
        Verb::Worker(worker) => commands::worker::run(&worker).map(success),
        Verb::Completions(completions) => {
            commands::completions::run(&completions, out).map(success)
        }
        Verb::Man(man) => commands::man::run(&man, out).map(success),
        Verb::Help(help) => commands::help::run(&help, out).map(success),
    };
    ExitCode::from(result.unwrap_or_else(|error| print_error::print_error(&error, color)))
}

/// Refuses a call that would read from a closed stdin, or write results to a closed stdout.
fn need_streams(verb: &Verb) -> Result<(), error::CliError> {
    let reads_stdin = match verb {
        #[cfg(feature = "queue")]
        Verb::Run(run) if run.through.attach.is_some() => false,
        Verb::Run(run) => run
            .file
            .as_deref()
            .is_none_or(|file| file == Path::new("-")),
        Verb::Worker(_) => true,
        // The others look at their lists first, or read stdin only in part.
        _ => false,
    };
    if reads_stdin {
        standard_streams::need_stdin()?;
    }
    let file = match verb {
        Verb::Run(run) => run.common.output.output.as_deref(),
        Verb::Map(map) => map.common.output.output.as_deref(),
        Verb::Play(play) => play.output.as_deref(),
        // The call that is resumed may name a file.
        Verb::Resume(_) => return Ok(()),
        _ => None,
    };
    match file {
        Some(file) if file != Path::new("-") => Ok(()),
        Some(_) | None => standard_streams::need_stdout(),
    }
}

fn success((): ()) -> u8 {
    exit::SUCCESS
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    /// A huge page is resident as a whole, although the blocks in it may hardly be used.
    #[test]
    fn the_allocator_asks_for_no_huge_pages() {
        let block = vec![1_u8; 4 << 20];
        let memory = std::fs::read_to_string("/proc/self/smaps").expect("the system tells it");
        let mut flags = memory
            .lines()
            .filter_map(|line| line.strip_prefix("VmFlags:"));
        let asks = |flags: &str| flags.split_whitespace().any(|flag| flag == "hg");
        assert!(!flags.any(asks), "{} bytes", block.len());
    }
}
