//! Input that is split into blocks of whole records, each the stdin of a command.
//!
//! ```text
//! stdin --BlockReader--> Block --(the stdin of a job)--> dropped with its job --> BlockBuffers --> BlockReader
//! ```
//!
//! The number of buffers is fixed, and a reader waits for one before it reads the next block. So memory is bounded by
//! the number of jobs that run at once, however long the input is.

mod buffers;
mod parts;
mod reader;
mod separator;
mod sharing;

use std::fs::File;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ratchet_runtime::process::{InputBytes, ProgramInput};

use self::buffers::BlockBuffers;
use self::parts::FileParts;
use self::reader::BlockReader;
pub(crate) use self::separator::RecordSeparator;
use self::sharing::SharedBlocks;
use super::item::ItemError;
use crate::error::CliError;
use crate::standard_streams::need_stdin;

/// How many blocks may exist besides those of running jobs: one that is being read, and one that is ready.
const AHEAD: usize = 2;

/// How the input is split.
#[derive(Debug, Clone)]
pub(crate) struct BlockRule {
    /// How large a block is.
    pub(crate) size: BlockSize,
    /// Where records end.
    pub(crate) separator: RecordSeparator,
    /// How many lines a record has: with more than one, the separator is a newline.
    pub(crate) lines: NonZeroU32,
    /// Whether the first line stands at the beginning of each block.
    pub(crate) has_header: bool,
    /// Whether blocks that are blank are left out.
    pub(crate) skips_blank: bool,
}

/// How large a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockSize {
    /// As many records as fit into this many bytes, and at least one.
    Bytes(usize),
    /// This many records.
    Records(NonZeroU32),
}

/// The source of the blocks of a map.
pub(crate) enum Blocks {
    /// Each block is the stdin of a job.
    OfStream(Box<BlockReader>),
    /// The blocks are shared by as many jobs as run at once.
    Shared(SharedBlocks),
    /// Each part of a file is the stdin of a job.
    OfFile(Box<FileParts>),
}

impl Blocks {
    /// Opens a file or stdin, each block of which becomes the stdin of a job of its own.
    pub(crate) fn of_stream(
        file: Option<&PathBuf>,
        rule: BlockRule,
        slots: u32,
    ) -> Result<Self, CliError> {
        let reader = reader(file, rule, slots)?;
        Ok(Self::OfStream(Box::new(reader)))
    }

    /// Opens a file or stdin, whose blocks are shared by up to `jobs` jobs.
    pub(crate) fn shared(
        file: Option<&PathBuf>,
        rule: BlockRule,
        jobs: u32,
    ) -> Result<Self, CliError> {
        let reader = reader(file, rule, jobs)?;
        Ok(Self::Shared(SharedBlocks::new(reader, jobs)))
    }

    /// Opens a file, each part of which becomes the stdin of a job.
    pub(crate) fn of_file(
        path: &Path,
        bytes: usize,
        separator: RecordSeparator,
        has_header: bool,
    ) -> Result<Self, CliError> {
        FileParts::open(path, bytes, separator, has_header)
            .map(|parts| Self::OfFile(Box::new(parts)))
    }

    /// Returns the stdin of the next job. It may wait for input, and for a buffer.
    pub(super) fn next(&mut self) -> Option<Result<ProgramInput, ItemError>> {
        match self {
            Self::OfStream(reader) => {
                let block = reader.next()?;
                Some(block.map(|block| ProgramInput::Bytes(InputBytes::new(block))))
            }
            Self::Shared(blocks) => blocks.next(),
            Self::OfFile(parts) => parts.next(),
        }
    }
}

/// Makes the reader of a file, or of stdin if no file or `-` is named.
fn reader(file: Option<&PathBuf>, rule: BlockRule, slots: u32) -> Result<BlockReader, CliError> {
    let file = file.filter(|file| file.as_os_str() != "-");
    if file.is_none() {
        need_stdin()?;
    }
    // The file is read without `BufReader` or `Stdin`, whose buffers would cost a second copy of each byte.
    let opened = match file {
        Some(path) => File::open(path),
        None => io::stdin().as_fd().try_clone_to_owned().map(File::from),
    };
    let name = file.map_or(Path::new("stdin"), PathBuf::as_path);
    let input = opened.map_err(|error| CliError::unreadable(name, error))?;
    let most = usize::try_from(slots).unwrap_or(usize::MAX);
    let buffers = BlockBuffers::new(most.saturating_add(AHEAD));
    Ok(BlockReader::new(Box::new(input), rule, buffers))
}
