//! What a program reads from its stdin.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// What a program reads from its stdin. It is for a [`CommandRunner`](super::CommandRunner): workers have a stdin of
/// their own.
///
/// It is not an error if a program ends or closes its stdin before it has read everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ProgramInput {
    /// Nothing: the stdin ends at once.
    #[default]
    Nothing,
    /// The terminal of this process (`/dev/tty`), with the program in its foreground while it runs. One program has it
    /// at a time; the others wait.
    ///
    /// Only the program gets Ctrl-C, so if SIGINT ends it, this process gets SIGINT as well. If Ctrl-Z stops it, this
    /// process gets SIGTSTP, and is expected to call [`suspend_while`](super::suspend_while) then.
    Terminal,
    /// These bytes.
    Bytes(InputBytes),
    /// The content of a file of this machine, which is opened again at each start.
    File(PathBuf),
    /// A part of a file of this machine, which is opened again at each start.
    Part {
        /// The file.
        path: PathBuf,
        /// The offset of the first byte.
        start: u64,
        /// How many bytes there are. If the file has fewer, the run of the program fails.
        bytes: u64,
        /// What the program reads before them, as the first line of the file.
        header: Option<InputBytes>,
    },
    /// The output of another job, which must have ended before the program starts.
    Output(EarlierOutput),
    /// What comes out of a pipe. It can be read only once, so a second start gets only what the first did not read.
    Pipe(InputPipe),
}

impl ProgramInput {
    /// Returns how many bytes of memory the input takes.
    pub fn weight(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.as_slice().len(),
            _ => 0,
        }
    }

    /// Opens the files, so that a program can be started.
    pub(super) fn open(&self) -> io::Result<OpenedInput> {
        Ok(match self {
            Self::Nothing => OpenedInput::Nothing,
            Self::Terminal => OpenedInput::Terminal,
            Self::Bytes(bytes) => OpenedInput::Bytes(bytes.clone()),
            Self::File(path) => OpenedInput::Whole(Arc::new(open(path)?.into())),
            Self::Part {
                path,
                start,
                bytes,
                header,
            } => OpenedInput::Part(FilePart {
                file: open(path)?,
                start: *start,
                bytes: *bytes,
                header: header.clone(),
                header_read: 0,
            }),
            Self::Output(output) => OpenedInput::Bytes(output.bytes()?),
            Self::Pipe(pipe) => OpenedInput::Whole(Arc::clone(&pipe.0)),
        })
    }
}

/// Opens a file for a program. A pipe is refused: the program could wait on it forever, and a second start would find
/// nothing in it.
fn open(path: &PathBuf) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let wait_for_no_writer = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    options.read(true).custom_flags(wait_for_no_writer);
    let file = options.open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if kind.is_fifo() || kind.is_socket() {
        return Err(io::Error::other("it is a pipe, and can be read only once"));
    }
    rustix::fs::fcntl_setfl(&file, rustix::fs::OFlags::empty())?;
    Ok(file)
}

/// Bytes that a program reads, in memory that is shared.
#[derive(Clone)]
pub struct InputBytes(Arc<dyn AsRef<[u8]> + Send + Sync>);

impl InputBytes {
    /// Shares bytes. Their owner is dropped when no job and no attempt needs them any more.
    pub fn new(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self(Arc::new(bytes))
    }

    /// Returns the bytes.
    pub fn as_slice(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl fmt::Debug for InputBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InputBytes({} bytes)", self.as_slice().len())
    }
}

impl PartialEq for InputBytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for InputBytes {}

/// The output of a job, for later jobs that read it as their stdin. The job that produces it has this as its
/// [`kept_output`](crate::Job::kept_output), and the jobs that read it must need that job.
///
/// ```
/// use ratchet_runtime::process::{EarlierOutput, ProcessConfig, ProgramInput};
/// use ratchet_runtime::{Executor, Job};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ratchet_runtime::Error> {
/// let listed = EarlierOutput::of("list");
/// let mut list = Job::command("list", ProcessConfig::new("echo").args(["b"]));
/// list.kept_output = Some(listed.clone());
/// let sort = ProcessConfig::new("cat").stdin(ProgramInput::Output(listed));
/// let sort = Job::command("sort", sort).needs(["list"]);
/// let outcomes = Executor::builder().build()?.run_all([list, sort]).await?;
/// assert!(outcomes[1].result.as_ref().unwrap().as_str().contains("b\\n"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct EarlierOutput {
    /// The id of the job that produces it.
    job: Arc<str>,
    /// The output, or why it cannot be read; unset until the job has ended.
    given: Arc<OnceLock<Result<InputBytes, String>>>,
}

impl EarlierOutput {
    /// Makes a place for the output of the job of this id. It is empty until that job has ended.
    pub fn of(job: &str) -> Self {
        Self {
            job: job.into(),
            given: Arc::default(),
        }
    }

    /// Returns the id of the job that produces the output.
    pub fn job(&self) -> &str {
        &self.job
    }

    /// Stores the output of the job, or why it cannot be read.
    pub(crate) fn give(&self, given: Result<Vec<u8>, String>) {
        // A job has one result, and one that was kept from an earlier run is the same.
        let _ = self.given.set(given.map(InputBytes::new));
    }

    /// Returns the output of the job.
    pub(crate) fn bytes(&self) -> io::Result<InputBytes> {
        let job = &self.job;
        match self.given.get() {
            Some(Ok(bytes)) => Ok(bytes.clone()),
            Some(Err(why)) => Err(io::Error::other(format!(
                "the output of job `{job}`: {why}"
            ))),
            None => Err(io::Error::other(format!("job `{job}` has no output yet"))),
        }
    }
}

impl PartialEq for EarlierOutput {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.given, &other.given)
    }
}

impl Eq for EarlierOutput {}

/// The reading end of a pipe that a program gets as its stdin.
#[derive(Debug, Clone)]
pub struct InputPipe(Arc<OwnedFd>);

impl InputPipe {
    /// Makes an input from a pipe. This process keeps the reading end open until no job needs it any more.
    pub fn new(reader: impl Into<OwnedFd>) -> Self {
        Self(Arc::new(reader.into()))
    }
}

impl PartialEq for InputPipe {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for InputPipe {}

/// An input whose files are open, for one start.
#[derive(Debug)]
pub(super) enum OpenedInput {
    /// Nothing is read.
    Nothing,
    /// The terminal of this process.
    Terminal,
    /// The program reads this descriptor itself.
    Whole(Arc<OwnedFd>),
    /// These bytes are written to the program.
    Bytes(InputBytes),
    /// This part of a file is written to the program.
    Part(FilePart),
}

/// A part of an open file.
#[derive(Debug)]
pub(super) struct FilePart {
    /// The file.
    pub(super) file: File,
    /// The offset of the first byte.
    pub(super) start: u64,
    /// How many bytes there are.
    pub(super) bytes: u64,
    /// What comes before them.
    header: Option<InputBytes>,
    /// How many bytes of the header have been read.
    header_read: usize,
}

impl Read for FilePart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(header) = &self.header {
            let left = &header.as_slice()[self.header_read..];
            if !left.is_empty() {
                let count = left.len().min(buffer.len());
                buffer[..count].copy_from_slice(&left[..count]);
                self.header_read += count;
                return Ok(count);
            }
        }
        let left = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = loop {
            match self.file.read_at(&mut buffer[..most], self.start) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if count == 0 {
            // The file has become shorter, so the program would take a part for the whole.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.start += count as u64;
        self.bytes -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::ProcessError;

    #[test]
    fn what_is_no_file_is_refused_before_a_program_starts() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        for path in [
            fifo,
            folder.path().to_path_buf(),
            folder.path().join("missing"),
        ] {
            let input = ProgramInput::File(path.clone());
            let error = ProcessError::input(&input, input.open().unwrap_err());
            let told = error.to_string();
            assert!(told.contains(path.to_str().unwrap()), "{told}");
        }
    }

    #[test]
    fn an_output_that_is_no_text_is_refused_by_the_job_that_printed_it() {
        let output = EarlierOutput::of("list");
        output.give(Err("it is not UTF-8".to_owned()));
        let input = ProgramInput::Output(output);
        let error = ProcessError::input(&input, input.open().unwrap_err());
        assert_eq!(
            ratchet_ipc::error_chain(&error),
            "the output of another job cannot be read as stdin: the output of job `list`: it is not UTF-8"
        );
    }

    #[test]
    fn bytes_are_equal_by_content_and_weigh_what_they_take() {
        let bytes = |text: &str| ProgramInput::Bytes(InputBytes::new(text.to_owned()));
        assert_eq!(bytes("ab"), bytes("ab"));
        assert_ne!(bytes("ab"), bytes("b"));
        assert_eq!(
            (bytes("abc").weight(), ProgramInput::Nothing.weight()),
            (3, 0)
        );
    }
}
