//! Sets up the log, which never goes to stdout.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::sync::Mutex;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::console::{Console, LogWriter};
use super::options::RunOptions;
use crate::error::CliError;
use crate::escape::plain;

/// The variable that selects what is logged, as in many Rust programs.
const VARIABLE: &str = "RUST_LOG";

/// Starts the log: to the console, or to the file that was asked for.
pub(super) fn begin(options: &RunOptions, console: &Console) -> Result<(), CliError> {
    let wanted = filter(options)?;
    let log = tracing_subscriber::registry().with(wanted);
    let begun = match &options.log_file {
        None => {
            let console = console.clone();
            let lines = fmt::layer()
                .with_writer(move || OneLine(LogWriter(console.clone())))
                .with_ansi(false)
                .without_time()
                .with_target(false)
                .compact();
            log.with(lines).try_init()
        }
        Some(path) => {
            let file = OpenOptions::new().append(true).create(true).open(path);
            let file = file.map_err(|error| CliError::unwritable(path, error))?;
            let lines = fmt::layer()
                .with_writer(Mutex::new(OneLine(file)))
                .with_ansi(false);
            log.with(lines).try_init()
        }
    };
    begun.map_err(|error| CliError::internal("the log cannot be set up").because(error))
}

/// Writes each event of the log as one line without control characters, because events contain text of workers.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    /// Writes an event as one line. The formatter passes one whole event at a time.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = format!("{}\n", plain(text.trim_end_matches('\n')));
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Returns what is logged: by the variable if it is set, else by `--verbose` and `--quiet`.
fn filter(options: &RunOptions) -> Result<Targets, CliError> {
    let level = match options.verbose {
        0 if options.quiet => LevelFilter::ERROR,
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let Some(text) = std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) else {
        return Ok(Targets::new().with_default(level));
    };
    let refused = |reason: String| {
        CliError::usage(format!("the variable {VARIABLE} cannot be read: {reason}")).with_help(
            "write a level, or targets with levels, as in `debug` or `info,ratchet_runtime=trace`",
        )
    };
    let text = text
        .to_str()
        .ok_or_else(|| refused("its value is not UTF-8".to_owned()))?;
    text.parse()
        .map_err(|error: tracing_subscriber::filter::ParseError| refused(error.to_string()))
}
