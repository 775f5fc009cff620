//! A report as the recipient of a run's outcomes.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::{Outcome, Summary};

use super::{Report, Style, report};
use crate::args::output::Format;
use crate::error::CliError;
use crate::session::{Recipient, Rules, Screen};

/// Where results go.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Stdout,
    File(PathBuf),
}

impl Place {
    /// What could not be written, and where.
    pub(crate) fn error(&self, source: io::Error) -> CliError {
        match self {
            Self::Stdout => CliError::Output(source),
            Self::File(path) => CliError::Write {
                path: path.clone(),
                source,
            },
        }
    }
}

impl Rules {
    /// Whether results are lines for people, on the terminal that they look at.
    pub(crate) fn is_for_people(&self) -> bool {
        self.output.is_none()
            && io::stdout().is_terminal()
            && matches!(self.format, None | Some(Format::Human))
    }

    /// Where results go, opened.
    pub(crate) fn open_output(
        &self,
        screen: &Screen,
    ) -> Result<(Box<dyn Write + Send>, Place), CliError> {
        match self.output.as_ref().filter(|path| path.as_os_str() != "-") {
            Some(path) => match File::create(path) {
                Ok(file) => Ok((Box::new(file), Place::File(path.clone()))),
                Err(source) => Err(CliError::Create {
                    path: path.clone(),
                    source,
                }),
            },
            None => Ok((stdout(screen), Place::Stdout)),
        }
    }

    /// The report in the format that was asked for, else the one that suits its reader.
    pub(crate) fn recipient(&self, screen: &Screen) -> Result<Box<dyn Recipient>, CliError> {
        let terminal = self.output.is_none() && io::stdout().is_terminal();
        let format = self.format.unwrap_or(if terminal {
            Format::Human
        } else {
            Format::Jsonl
        });
        let style = Style::decide(self.color, terminal, |name| std::env::var_os(name));
        let (out, place) = self.open_output(screen)?;
        let started: SystemTime = SystemClock.now();
        let report = report(format, out, style, started).map_err(|error| place.error(error))?;
        Ok(Box::new(Reported { report, place }))
    }
}

struct Reported {
    report: Box<dyn Report>,
    place: Place,
}

impl Recipient for Reported {
    fn outcome(&mut self, outcome: &Outcome) -> Result<(), CliError> {
        let written = self.report.outcome(outcome);
        written.map_err(|error| self.place.error(error))
    }

    fn idle(&mut self) -> Result<(), CliError> {
        self.report.idle().map_err(|error| self.place.error(error))
    }

    fn finish(&mut self, summary: &Summary) -> Result<(), CliError> {
        let written = self.report.finish(summary);
        written.map_err(|error| self.place.error(error))
    }
}

/// Stdout, beside whatever else is on the same terminal.
pub(crate) fn stdout(screen: &Screen) -> Box<dyn Write + Send> {
    if io::stdout().is_terminal() {
        Box::new(Aside {
            screen: screen.clone(),
            ends_line: true,
        })
    } else {
        Box::new(io::stdout())
    }
}

/// Stdout on a terminal, where bars may have to make way.
struct Aside {
    screen: Screen,
    /// Whether what was written so far ends with a newline.
    ends_line: bool,
}

impl Write for Aside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self
            .screen
            .aside(bytes.ends_with(b"\n"), || io::stdout().write(bytes))?;
        if written > 0 {
            self.ends_line = bytes[..written].ends_with(b"\n");
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.screen.aside(self.ends_line, || io::stdout().flush())
    }
}
