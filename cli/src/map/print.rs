//! Prints the outputs of commands that have ended, each as a whole.

use std::io::{self, Write};

use super::line_tag::LineTag;
use super::outputs::CommandRecord;
use crate::shell_quote::shell_text;
use crate::spool::Spool;

/// A printer of outputs: stdout goes to stdout, and stderr to stderr.
pub(crate) struct Printer {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// The tag before each line.
    tag: LineTag,
    /// Whether each command is printed before its output.
    prints_commands: bool,
}

impl Printer {
    /// Makes a printer to this output.
    pub(crate) fn new(
        tag: LineTag,
        prints_commands: bool,
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
    ) -> Self {
        Self {
            out,
            err,
            tag,
            prints_commands,
        }
    }

    /// Writes everything that is buffered.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.err.flush()
    }

    /// Prints a message of ratchet to stderr.
    pub(crate) fn note(&mut self, text: &[u8]) -> io::Result<()> {
        self.err.write_all(text)
    }

    /// Prints the output of a command.
    pub(crate) fn write(&mut self, printed: &CommandRecord) -> io::Result<()> {
        if self.prints_commands {
            self.out.write_all(&shell_text(&printed.command))?;
            self.out.write_all(b"\n")?;
        }
        if let Some(tag) = self.tag.of(&printed.item, printed.number) {
            tagged(&tag, &printed.stdout, &mut self.out)?;
            tagged(&tag, &printed.stderr, &mut self.err)
        } else {
            printed.stdout.write_to(&mut self.out)?;
            printed.stderr.write_to(&mut self.err)
        }
    }
}

fn tagged(tag: &[u8], spool: &Spool, out: &mut dyn Write) -> io::Result<()> {
    let (mut starts, mut empty) = (true, true);
    spool.read(|bytes| {
        if bytes.is_empty() {
            return Ok(());
        }
        tagged_lines(tag, bytes, starts, out)?;
        (starts, empty) = (bytes.ends_with(b"\n"), false);
        Ok(())
    })?;
    // Without a newline, the next tag would continue the last line.
    if empty || starts {
        Ok(())
    } else {
        out.write_all(b"\n")
    }
}

/// Writes lines, each after a tag and a tab. `starts` is whether the bytes begin at the start of a line.
pub(super) fn tagged_lines(
    tag: &[u8],
    bytes: &[u8],
    mut starts: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if starts {
            out.write_all(tag)?;
            out.write_all(b"\t")?;
        }
        out.write_all(line)?;
        starts = true;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::item::Item;
    use crate::shared_buffer::SharedBuffer;

    fn printed(number: u64, stdout: &str) -> CommandRecord {
        let mut printed =
            CommandRecord::without_output(number, Item::from(format!("i{number}").as_str()));
        printed.stdout.push(stdout.as_bytes());
        printed.stderr.push(b"e\n");
        printed
    }

    fn written(tag: bool) -> (String, String) {
        let (out, err) = (SharedBuffer::default(), SharedBuffer::default());
        let tag = if tag { LineTag::Item } else { LineTag::None };
        let mut printer = Printer::new(tag, false, Box::new(out.clone()), Box::new(err.clone()));
        for (number, stdout) in [(2, "two\nzwei"), (1, "one\n"), (5, "")] {
            printer.write(&printed(number, stdout)).unwrap();
        }
        printer.flush().unwrap();
        (out.text(), err.text())
    }

    #[test]
    fn writes_whole_outputs_as_they_are() {
        assert_eq!(
            written(false),
            ("two\nzweione\n".to_owned(), "e\n".repeat(3))
        );
    }

    #[test]
    fn tags_each_line_and_ends_the_last() {
        let (out, err) = written(true);
        assert_eq!(out, "i2\ttwo\ni2\tzwei\ni1\tone\n");
        assert_eq!(err, "i2\te\ni1\te\ni5\te\n");
    }
}
