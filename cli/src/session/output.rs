//! Opens the output of a run: a file or stdout, which may share a terminal with progress and messages.

use std::io::{self, IsTerminal, Write};

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::AttemptsShown;

use super::Session;
use super::console::Console;
use crate::error::CliError;
use crate::output::{Destination, Output};
use crate::output_file::FormerContent;
use crate::report::{Report, ResultFormat, report};
use crate::standard_streams::need_stdout;
use crate::style::Style;

/// Opens the output of a run.
pub(crate) fn open_output(
    session: &mut Session,
) -> Result<(Box<dyn Write + Send>, Destination), CliError> {
    let destination = session.options().output.clone().map(Destination::of);
    match destination {
        Some(Destination::File(path)) => {
            let file = session.open_file(&path, FormerContent::Lost)?;
            Ok((Box::new(file), Destination::File(path)))
        }
        Some(Destination::Stdout) | None => {
            need_stdout()?;
            Ok((stdout(session.console()), Destination::Stdout))
        }
    }
}

/// Opens the report of a run: in the format that was asked for, else in one for people on a terminal and for programs
/// elsewhere.
pub(crate) fn open_report(session: &mut Session) -> Result<Box<dyn Report>, CliError> {
    let (out, destination) = open_output(session)?;
    let out = Output::new(out, destination);
    let options = session.options();
    let is_terminal = options.output.is_none() && io::stdout().is_terminal();
    let format = options.format.unwrap_or(if is_terminal {
        ResultFormat::Human
    } else {
        ResultFormat::Jsonl
    });
    let style = Style::decide(options.color, is_terminal, |name| std::env::var_os(name));
    let attempts = if options.verbose > 0 {
        AttemptsShown::All
    } else {
        AttemptsShown::None
    };
    Ok(report(format, attempts, out, style, SystemClock.now())?)
}

/// Opens the output of a play for people, with the style of its lines.
pub(crate) fn open_play_output(
    session: &mut Session,
) -> Result<(Output<'static>, Style), CliError> {
    let (out, destination) = open_output(session)?;
    let options = session.options();
    let is_terminal = options.output.is_none() && io::stdout().is_terminal();
    let style = Style::decide(options.color, is_terminal, |name| std::env::var_os(name));
    Ok((Output::new(out, destination), style))
}

/// Returns stdout. On a terminal, the bars are hidden during each write.
pub(crate) fn stdout(console: &Console) -> Box<dyn Write + Send> {
    if io::stdout().is_terminal() {
        Box::new(TerminalStdout {
            console: console.clone(),
            ends_line: true,
        })
    } else {
        Box::new(io::stdout())
    }
}

/// Stdout on a terminal that may show bars.
struct TerminalStdout {
    console: Console,
    /// Whether what was written so far ends with a newline.
    ends_line: bool,
}

impl Write for TerminalStdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self
            .console
            .write_aside(bytes.ends_with(b"\n"), || io::stdout().write(bytes))?;
        if written > 0 {
            self.ends_line = bytes[..written].ends_with(b"\n");
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.console
            .write_aside(self.ends_line, || io::stdout().flush())
    }
}
