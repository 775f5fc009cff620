//! The parts of a file. Their boundaries are found without reading the whole file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ratchet_runtime::process::{InputBytes, ProgramInput};

use super::separator::{Found, RecordSeparator};
use crate::error::CliError;
use crate::job_file::LONGEST;
use crate::map::item::ItemError;

/// How many bytes are read at once to find the end of a record.
const READ_BYTES: usize = 64 * 1024;

/// A file that is split into parts of whole records. Each job reads its part from the file.
pub(crate) struct FileParts {
    path: PathBuf,
    file: File,
    /// How long the file was when it was opened.
    length: u64,
    /// The offset of the next part.
    start: u64,
    /// The least number of bytes of a part, except for the last one.
    bytes: u64,
    separator: RecordSeparator,
    /// The first line, if it is written before each part.
    header: Option<InputBytes>,
}

impl FileParts {
    /// Opens a file. Refuses everything that is not a regular file. With `has_header`, the first line is written before
    /// each part.
    pub(super) fn open(
        path: &Path,
        bytes: usize,
        separator: RecordSeparator,
        has_header: bool,
    ) -> Result<Self, CliError> {
        let unreadable = |error| CliError::unreadable(path, error);
        let no_parts = |what: &str| {
            let error = CliError::usage(format!(
                "`{}` {what}, so it cannot be split into parts",
                path.display()
            ));
            error.with_help("pass it through stdin, and use --pipe instead of --pipe-part")
        };
        if path == Path::new("-") {
            return Err(no_parts("is stdin"));
        }
        // This is checked before the file is opened, because opening a named pipe would wait for a writer.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(no_parts("is not a regular file"));
        }
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        // The files in /proc have content although their length is given as 0.
        if length == 0 && file.read_at(&mut [0], 0).map_err(unreadable)? > 0 {
            return Err(no_parts("has content but reports a length of 0"));
        }
        let header = if has_header {
            first_line(&file, length).map_err(unreadable)?
        } else {
            Vec::new()
        };
        Ok(Self {
            // The path is made absolute, because jobs may start in another folder.
            path: std::path::absolute(path).map_err(unreadable)?,
            file,
            length,
            start: header.len() as u64,
            bytes: bytes as u64,
            separator,
            header: (!header.is_empty()).then(|| InputBytes::new(header)),
        })
    }

    /// Returns the next part.
    pub(super) fn next(&mut self) -> Option<Result<ProgramInput, ItemError>> {
        if self.start >= self.length {
            return None;
        }
        let start = self.start;
        let end = match self.end_of_part() {
            Ok(end) => end,
            Err(error) => {
                self.start = self.length;
                return Some(Err(ItemError(format!(
                    "`{}` cannot be read further: {error}",
                    self.path.display()
                ))));
            }
        };
        self.start = end;
        Some(Ok(ProgramInput::Part {
            path: self.path.clone(),
            start,
            bytes: end - start,
            header: self.header.clone(),
        }))
    }

    /// Returns the first boundary between records at which the part is long enough.
    fn end_of_part(&self) -> io::Result<u64> {
        let target = self.start.saturating_add(self.bytes);
        let mut chunk = Vec::new();
        // A separator that ends after the target may begin before it.
        let overlap = self.separator.overlap() as u64;
        let begin = target.saturating_sub(overlap + 1).max(self.start);
        let mut from = 0;
        while begin + (chunk.len() as u64) < self.length {
            let filled = chunk.len();
            chunk.resize(filled + READ_BYTES, 0);
            let read = self
                .file
                .read_at(&mut chunk[filled..], begin + filled as u64);
            let read = match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => read?,
            };
            chunk.truncate(filled + read);
            let is_end = begin + chunk.len() as u64 >= self.length;
            loop {
                match self.separator.find(&chunk, from, is_end) {
                    Found::At { boundary, .. } if begin + boundary as u64 >= target => {
                        return Ok((begin + boundary as u64).min(self.length));
                    }
                    Found::At { next, .. } => from = next,
                    Found::Not { next } => {
                        from = next;
                        break;
                    }
                }
            }
        }
        Ok(self.length)
    }
}

/// Reads the first line with its newline, or the whole file if it has no newline.
fn first_line(file: &File, length: u64) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while (line.len() as u64) < length {
        if line.len() > LONGEST {
            return Err(io::Error::other(
                "its first line is too long to be a header",
            ));
        }
        let filled = line.len();
        line.resize(filled + READ_BYTES, 0);
        let read = match file.read_at(&mut line[filled..], filled as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => read?,
        };
        line.truncate(filled + read);
        if let Some(end) = memchr::memchr(b'\n', &line[filled..]) {
            line.truncate(filled + end + 1);
            break;
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str, bytes: usize, (start, end): (&str, &str)) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let separator = RecordSeparator::of_texts(start.as_bytes(), end.as_bytes()).unwrap();
        let mut parts = FileParts::open(file.path(), bytes, separator, false).unwrap();
        std::iter::from_fn(|| parts.next())
            .map(|part| match part.unwrap() {
                ProgramInput::Part { start, bytes, .. } => {
                    let [start, end] = [start, start + bytes]
                        .map(|at| usize::try_from(at).expect("it lies within a text in memory"));
                    text[start..end].to_owned()
                }
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn parts_end_with_the_record_in_which_they_are_full() {
        let lines = ("", "\n");
        assert_eq!(parts("a\nb\nc\n", 2, lines), ["a\n", "b\n", "c\n"]);
        assert_eq!(parts("a\nb\nc\n", 3, lines), ["a\nb\n", "c\n"]);
        assert_eq!(parts("a\nb\nlong", 3, lines), ["a\nb\n", "long"]);
        assert_eq!(
            parts(">a\n>b\n>c\n", 1, (">", "")),
            [">a\n", ">b\n", ">c\n"]
        );
        assert_eq!(parts("a--b--c", 3, ("", "--")), ["a--", "b--", "c"]);
        assert_eq!(parts("a--b--c", 2, ("", "--")), ["a--", "b--", "c"]);
        assert_eq!(parts("", 2, lines), [""; 0]);
    }

    #[test]
    fn a_long_record_is_searched_to_its_end() {
        let long = "x".repeat(3 * READ_BYTES);
        let text = format!("{long}\nshort\n");
        assert_eq!(
            parts(&text, 1, ("", "\n")),
            [format!("{long}\n"), "short\n".to_owned()]
        );
    }

    #[test]
    fn what_is_no_plain_file_has_no_parts() {
        let separator = RecordSeparator::of_texts(b"", b"\n").unwrap();
        let error = FileParts::open(Path::new("/dev/null"), 1, separator, false)
            .err()
            .unwrap();
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
}
