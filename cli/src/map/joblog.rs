//! `--joblog`: a line for each command that has ended, in GNU parallel's columns.

use std::io::{self, Write};
use std::time::SystemTime;

use ratchet_runtime::process::Exit;

use super::quote::shell_line;
use super::runner::Printed;

/// Writes the lines.
pub(crate) struct Joblog<W>(W);

impl<W: Write> Joblog<W> {
    /// Begins with the names of the columns.
    pub(crate) fn begin(mut out: W) -> io::Result<Self> {
        out.write_all(
            b"Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n",
        )?;
        Ok(Self(out))
    }

    /// Goes on with a log that has its columns.
    pub(crate) fn go_on(out: W) -> Self {
        Self(out)
    }

    /// A command has ended. Each line is there at once: the log is read while the run goes on.
    pub(crate) fn ended(&mut self, printed: &Printed) -> io::Result<()> {
        let started = printed
            .started
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let (exit, signal) = match printed.exit {
            Exit::Code(code) => (code, 0),
            Exit::Signal(signal) => (0, signal),
            Exit::Unknown => (-1, 0),
        };
        let mut line = format!(
            "{}\t:\t{:.3}\t{:10.3}\t0\t{}\t{exit}\t{signal}\t",
            printed.number,
            started.as_secs_f64(),
            printed.ran.as_secs_f64(),
            printed.stdout.len(),
        )
        .into_bytes();
        for byte in shell_line(&printed.command) {
            match byte {
                // A line is a line, also where a word is no UTF-8.
                b'\n' => line.extend_from_slice(b"\\n"),
                byte => line.push(byte),
            }
        }
        line.push(b'\n');
        self.0.write_all(&line)?;
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::map::{Item, Spool};

    #[test]
    fn has_the_columns_of_gnu_parallel() {
        let mut stdout = Spool::default();
        stdout.push(b"12345");
        let mut printed = Printed {
            number: 3,
            item: Arc::new(Item::from("a b")),
            command: ["gzip", "a b\nc"].map(Into::into).into(),
            started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250),
            ran: Duration::from_millis(1_500),
            exit: Exit::Code(2),
            stdout,
            stderr: Spool::default(),
        };
        let mut out = Vec::new();
        let mut log = Joblog::begin(&mut out).unwrap();
        log.ended(&printed).unwrap();
        printed.exit = Exit::Signal(9);
        log.ended(&printed).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n\
             3\t:\t1700000000.250\t     1.500\t0\t5\t2\t0\tgzip $'a b\\nc'\n\
             3\t:\t1700000000.250\t     1.500\t0\t5\t0\t9\tgzip $'a b\\nc'\n"
        );
    }
}
