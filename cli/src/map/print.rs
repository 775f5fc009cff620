//! Writes what commands printed: whole, never mixed.

use std::io::{self, Write};

use super::runner::Printed;
use super::spool::Spool;
use crate::report::InOrder;

/// How outputs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Manner {
    /// Each line begins with the item.
    pub(crate) tag: bool,
    /// In the order of the items, not in that of their ends.
    pub(crate) keep_order: bool,
}

/// Writes the outputs of commands that have ended: stdout to stdout, stderr to stderr.
pub(crate) struct Printer<O, E> {
    out: O,
    err: E,
    tag: bool,
    order: Option<InOrder<Option<Printed>>>,
}

impl<O: Write, E: Write> Printer<O, E> {
    pub(crate) fn new(manner: Manner, out: O, err: E) -> Self {
        Self {
            out,
            err,
            tag: manner.tag,
            order: manner.keep_order.then(|| InOrder::from(1)),
        }
    }

    /// The job of this number has ended, and has printed this, if it ran.
    pub(crate) fn ended(&mut self, number: u64, printed: Option<Printed>) -> io::Result<()> {
        let Some(order) = &mut self.order else {
            return printed.iter().try_for_each(|printed| self.write(printed));
        };
        order.put(number, printed);
        while let Some(printed) = self.order.as_mut().and_then(InOrder::next) {
            printed.iter().try_for_each(|printed| self.write(printed))?;
        }
        Ok(())
    }

    /// The run has ended: what still waited for its turn is written.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let waiting = self.order.take().map(InOrder::into_rest);
        for printed in waiting.into_iter().flatten().flatten() {
            self.write(&printed)?;
        }
        self.out.flush()?;
        self.err.flush()
    }

    fn write(&mut self, printed: &Printed) -> io::Result<()> {
        if self.tag {
            let tag = printed.item.joined();
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
    // A last line without an end would run into the next tag.
    if empty || starts {
        Ok(())
    } else {
        out.write_all(b"\n")
    }
}

/// Writes lines, each behind a tag and a tab; `starts` if the first is the beginning of a line.
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
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use ratchet_runtime::process::Exit;

    use super::*;
    use crate::map::Item;

    fn printed(number: u64, stdout: &str) -> Option<Printed> {
        let mut printed = Printed {
            number,
            item: Arc::new(Item::from(format!("i{number}").as_str())),
            command: Vec::new(),
            started: SystemTime::UNIX_EPOCH,
            ran: Duration::ZERO,
            exit: Exit::Code(0),
            stdout: Spool::default(),
            stderr: Spool::default(),
        };
        printed.stdout.push(stdout.as_bytes());
        printed.stderr.push(b"e\n");
        Some(printed)
    }

    fn written(manner: Manner) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut printer = Printer::new(manner, &mut out, &mut err);
        printer.ended(2, printed(2, "two\nzwei")).unwrap();
        printer.ended(3, None).unwrap();
        printer.ended(1, printed(1, "one\n")).unwrap();
        printer.ended(5, printed(5, "five\n")).unwrap();
        printer.finish().unwrap();
        (
            String::from_utf8(out).unwrap(),
            String::from_utf8(err).unwrap(),
        )
    }

    #[test]
    fn writes_whole_outputs_as_they_end() {
        let (out, err) = written(Manner::default());
        assert_eq!(
            (out.as_str(), err.as_str()),
            ("two\nzweione\nfive\n", "e\ne\ne\n")
        );
    }

    #[test]
    fn keeps_the_order_and_loses_nothing_at_the_end() {
        let manner = Manner {
            tag: true,
            keep_order: true,
        };
        let (out, err) = written(manner);
        assert_eq!(out, "i1\tone\ni2\ttwo\ni2\tzwei\ni5\tfive\n");
        assert_eq!(err, "i1\te\ni2\te\ni5\te\n");
    }
}
