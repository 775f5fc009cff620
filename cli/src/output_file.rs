//! The files that a run writes: each is opened before the run, and loses its former content only when the run begins.
//!
//! Much can refuse a run after its files are open: another file that cannot be written, a record that another process
//! holds, a flag. If opening emptied a file, such a call would destroy the results of an earlier run, or of one that is
//! still going on. So what is written before the run begins is held back, and dropped if the run never begins.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What becomes of the content that a file has before the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FormerContent {
    /// It is lost.
    Lost,
    /// It stays, and what is written follows it.
    Kept,
    /// Its whole lines stay. A last line that was cut off, because the process was killed that wrote it, is removed.
    KeptLines,
}

/// A file that a run writes. Clones write to the same file.
#[derive(Debug, Clone)]
pub(crate) struct OutputFile(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    file: File,
    former: FormerContent,
    /// Whether the file has content of an earlier run, which a run that does not begin must not touch.
    has_former_content: bool,
    progress: Progress,
    /// What was written before the run began.
    held: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The file is as it was.
    Opened,
    /// The run has begun, but the file could not be prepared. The next write tries again, and returns the error.
    Failed,
    /// The file is written to.
    Begun,
}

impl OutputFile {
    /// Opens a file, and creates it if there is none. Opening a pipe waits for its reader.
    pub(crate) fn open(path: &Path, former: FormerContent) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true);
        let file = match former {
            FormerContent::Lost => options.write(true).truncate(false).open(path)?,
            FormerContent::Kept => options.append(true).open(path)?,
            FormerContent::KeptLines if is_pipe(path) => options.append(true).open(path)?,
            FormerContent::KeptLines => options.read(true).append(true).open(path)?,
        };
        let known = file.metadata()?;
        let has_former_content = known.is_file() && known.len() > 0;
        let state = State {
            file,
            former,
            has_former_content,
            // A pipe, a terminal and the like have no content that could be lost.
            progress: if known.is_file() {
                Progress::Opened
            } else {
                Progress::Begun
            },
            held: Vec::new(),
        };
        Ok(Self(Arc::new(Mutex::new(state))))
    }

    /// Whether what is written is the first content of the file.
    pub(crate) fn starts_anew(&self) -> bool {
        let state = self.lock();
        state.former == FormerContent::Lost || !state.has_former_content
    }

    /// Empties the file if its former content is lost, and writes what was held back.
    pub(crate) fn begin(&self) -> io::Result<()> {
        self.lock().begin()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change of the state is one assignment, so a panic in another thread leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self) -> io::Result<()> {
        if self.progress == Progress::Begun {
            return Ok(());
        }
        self.progress = Progress::Failed;
        match self.former {
            FormerContent::Lost => {
                self.file.set_len(0)?;
                self.file.rewind()?;
            }
            FormerContent::Kept => {}
            FormerContent::KeptLines => cut_last_line(&mut self.file)?,
        }
        self.file.write_all(&self.held)?;
        self.held = Vec::new();
        self.progress = Progress::Begun;
        Ok(())
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.lock();
        match state.progress {
            Progress::Opened => {
                state.held.extend_from_slice(bytes);
                return Ok(bytes.len());
            }
            Progress::Failed => state.begin()?,
            Progress::Begun => {}
        }
        state.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut state = self.lock();
        if state.progress == Progress::Failed || !state.has_former_content {
            state.begin()?;
        }
        state.file.flush()
    }
}

/// The files of a run that begin when its first job is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct OutputFiles(Vec<OutputFile>);

impl OutputFiles {
    /// Adds a file.
    pub(crate) fn add(&mut self, file: OutputFile) {
        self.0.push(file);
    }

    /// Begins each file.
    pub(crate) fn begin(&self) {
        for file in &self.0 {
            // A file that cannot be prepared returns the error again when it is written to or flushed.
            let _ = file.begin();
        }
    }
}

/// Whether a path is that of a named pipe, which has no content before something reads from it.
pub(crate) fn is_pipe(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|known| known.file_type().is_fifo())
}

/// Removes what follows the last newline of a file.
fn cut_last_line(file: &mut File) -> io::Result<()> {
    /// The most bytes that an event has, and more.
    const LONGEST: u64 = 64 << 20;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(LONGEST);
    file.seek(SeekFrom::Start(from))?;
    let mut end = Vec::new();
    (&*file).take(length - from).read_to_end(&mut end)?;
    let whole = memchr::memrchr(b'\n', &end).map_or(0, |at| at + 1);
    file.set_len(from + whole as u64)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_keeps_its_content_until_the_run_begins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let read = || fs::read_to_string(&path).unwrap();
        fs::write(&path, "precious\n").unwrap();
        let mut refused = OutputFile::open(&path, FormerContent::Lost).unwrap();
        refused.write_all(b"head\n").unwrap();
        refused.flush().unwrap();
        drop(refused);
        assert_eq!(read(), "precious\n");
        let mut file = OutputFile::open(&path, FormerContent::Lost).unwrap();
        file.write_all(b"head\n").unwrap();
        let mut files = OutputFiles::default();
        files.add(file.clone());
        files.begin();
        assert_eq!(read(), "head\n");
        file.write_all(b"line\n").unwrap();
        assert_eq!(read(), "head\nline\n");
        let mut more = OutputFile::open(&path, FormerContent::Kept).unwrap();
        assert!(!more.starts_anew());
        more.write_all(b"more\n").unwrap();
        assert_eq!(read(), "head\nline\n");
        more.begin().unwrap();
        assert_eq!(read(), "head\nline\nmore\n");
    }

    #[test]
    fn what_is_written_to_an_empty_file_is_there_even_if_no_job_begins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut file = OutputFile::open(&path, FormerContent::Lost).unwrap();
        assert!(file.starts_anew());
        file.write_all(b"{}\n").unwrap();
        file.flush().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n");
    }

    #[test]
    fn lines_are_continued_without_one_that_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        for (before, kept) in [("", ""), ("{", ""), ("a\n", "a\n"), ("a\nb", "a\n")] {
            fs::write(&path, before).unwrap();
            let mut file = OutputFile::open(&path, FormerContent::KeptLines).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), before);
            file.begin().unwrap();
            file.write_all(b"c\n").unwrap();
            let all = fs::read_to_string(&path).unwrap();
            assert_eq!(all, format!("{kept}c\n"), "{before}");
        }
        // What has no content is written to as well.
        let mut none = OutputFile::open(Path::new("/dev/null"), FormerContent::KeptLines).unwrap();
        none.write_all(b"c\n").unwrap();
    }
}
