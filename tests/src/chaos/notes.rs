//! The notes of workers, hosts and the driver: a line for each fact, with the time on a clock that all processes share.
//!
//! Every line has 64 bytes and is appended by one call. So no line crosses the border of a page, where the kernel may stop
//! the write of a process that is killed, and no kill leaves half a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

/// The length of a line with its line break.
pub const LINE: usize = 64;

/// A fact with its time and the process that noted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// The time of the fact, in nanoseconds of the system's monotonic clock.
    pub at: u64,
    /// The life of the host in which it was noted.
    pub life: u32,
    /// The id of the process that noted it.
    pub process: u32,
    /// The fact.
    pub fact: Fact,
}

/// Something that happened in a soak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// A worker has started. The next six facts are about its attempts, and have the number of the job and of the attempt.
    Born,
    /// The worker has read a request and begins the attempt.
    Starts(u32, u32),
    /// The attempt at this job, which has just begun, was given this device.
    Has(u32, u32),
    /// The worker is still working on the attempt.
    Beats(u32, u32),
    /// The attempt succeeded, and the worker is about to answer.
    Done(u32, u32),
    /// The attempt failed, and the worker is about to answer with an error.
    Fails(u32, u32),
    /// The worker is about to die of the attempt.
    Dies(u32, u32),
    /// The call that wrote the answer has returned.
    Answered(u32, u32),
    /// A worker has loaded and reads requests from now on. The number is the content of the script that it runs.
    Ready(u32),
    /// A command that does not know its job has read the script. The numbers are its input and the content.
    Computes(u32, u32),
    /// Such a command is about to print its result.
    Computed(u32, u32),
    /// The host granted an attempt at a job. The second number is the greatest number of nanoseconds that may have
    /// passed since the decision.
    Grants(u32, u32),
    /// The host granted an attempt at the job just before. The second number is the greatest among its slots.
    Fills(u32, u32),
    /// The host is about to change a limit. The numbers are the limit and its new value.
    Changing(u32, u32),
    /// The host has changed a limit.
    Changed(u32, u32),
    /// The host heard of the outcome of a job. The numbers are the job, and whether it succeeded.
    Hears(u32, u32),
    /// How many descriptors the host held before its run, and after it.
    Descriptors(u32, u32),
    /// How many children the host had before its run, and after it.
    Children(u32, u32),
    /// The host is about to make its pools.
    MakesPools,
    /// The host has made its pools, and has read the content that their workers are assumed to run.
    MadePools,
    /// The host takes a job from its list.
    Takes(u32),
    /// The driver is about to give the script this content.
    Edits(u32),
    /// The driver has given the script this content.
    Edited(u32),
    /// The driver has stopped the host for this many milliseconds.
    Stopped(u32),
    /// The host could start nothing for this many milliseconds.
    Short(u32),
}

impl Fact {
    /// Returns the word and the two numbers of the fact in a note.
    fn words(self) -> (&'static str, u32, u32) {
        match self {
            Self::Born => ("born", 0, 0),
            Self::Starts(job, attempt) => ("starts", job, attempt),
            Self::Has(job, device) => ("has", job, device),
            Self::Beats(job, attempt) => ("beats", job, attempt),
            Self::Done(job, attempt) => ("done", job, attempt),
            Self::Fails(job, attempt) => ("fails", job, attempt),
            Self::Dies(job, attempt) => ("dies", job, attempt),
            Self::Grants(job, earlier) => ("grants", job, earlier),
            Self::Fills(job, slot) => ("fills", job, slot),
            Self::Changing(limit, value) => ("changing", limit, value),
            Self::Changed(limit, value) => ("changed", limit, value),
            Self::Hears(job, success) => ("hears", job, success),
            Self::Descriptors(before, after) => ("files", before, after),
            Self::Children(before, after) => ("children", before, after),
            Self::Answered(job, attempt) => ("answered", job, attempt),
            Self::Ready(content) => ("ready", content, 0),
            Self::Computes(input, content) => ("computes", input, content),
            Self::Computed(input, content) => ("computed", input, content),
            Self::MakesPools => ("makes", 0, 0),
            Self::MadePools => ("made", 0, 0),
            Self::Takes(job) => ("takes", job, 0),
            Self::Edits(content) => ("edits", content, 0),
            Self::Edited(content) => ("edited", content, 0),
            Self::Stopped(millis) => ("stopped", millis, 0),
            Self::Short(millis) => ("short", millis, 0),
        }
    }

    /// Makes a fact from its word and its two numbers.
    fn read(word: &str, one: u32, two: u32) -> Option<Self> {
        Some(match word {
            "born" => Self::Born,
            "starts" => Self::Starts(one, two),
            "has" => Self::Has(one, two),
            "beats" => Self::Beats(one, two),
            "done" => Self::Done(one, two),
            "fails" => Self::Fails(one, two),
            "dies" => Self::Dies(one, two),
            "grants" => Self::Grants(one, two),
            "fills" => Self::Fills(one, two),
            "changing" => Self::Changing(one, two),
            "changed" => Self::Changed(one, two),
            "hears" => Self::Hears(one, two),
            "files" => Self::Descriptors(one, two),
            "children" => Self::Children(one, two),
            "answered" => Self::Answered(one, two),
            "ready" => Self::Ready(one),
            "computes" => Self::Computes(one, two),
            "computed" => Self::Computed(one, two),
            "makes" => Self::MakesPools,
            "made" => Self::MadePools,
            "takes" => Self::Takes(one),
            "edits" => Self::Edits(one),
            "edited" => Self::Edited(one),
            "stopped" => Self::Stopped(one),
            "short" => Self::Short(one),
            _ => return None,
        })
    }
}

/// Writes the notes of a process.
#[derive(Debug)]
pub struct NoteWriter {
    file: File,
    life: u32,
    process: u32,
}

impl NoteWriter {
    /// Opens a file of notes for appending. Several processes may write to it.
    pub fn open(path: &Path, life: u32) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self {
            file,
            life,
            process: std::process::id(),
        })
    }

    /// Notes a fact with the present time, and returns that time.
    pub fn note(&mut self, fact: Fact) -> io::Result<u64> {
        self.note_all([fact])
    }

    /// Notes several facts with the same time.
    pub fn note_all(&mut self, facts: impl IntoIterator<Item = Fact>) -> io::Result<u64> {
        let at = now();
        let mut lines = Vec::with_capacity(LINE);
        for fact in facts {
            let (word, one, two) = fact.words();
            let (life, process) = (self.life, self.process);
            let text = format!("{at} {life} {process} {word} {one} {two}");
            writeln!(lines, "{text:<width$}", width = LINE - 1)?;
        }
        if lines.len() % LINE != 0 {
            return Err(io::Error::other("a note is too long for its line"));
        }
        self.file.write_all(&lines)?;
        Ok(at)
    }
}

/// Returns the time on the system's monotonic clock, which is the same for all processes and processors.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds * 1_000_000_000 + nanos
}

/// Reads a file of notes. A line that is not a note is an error with its position.
pub fn read(path: &Path) -> io::Result<Vec<Note>> {
    let bytes = std::fs::read(path)?;
    let lines = bytes.chunks(LINE).enumerate();
    let notes = lines.map(|(number, bytes)| {
        parse(bytes).ok_or_else(|| {
            let text = String::from_utf8_lossy(bytes);
            let place = format!("{}, line {}", path.display(), number + 1);
            io::Error::other(format!("{place} is no note: {text:?}"))
        })
    });
    notes.collect()
}

fn parse(bytes: &[u8]) -> Option<Note> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.strip_suffix('\n').filter(|_| bytes.len() == LINE)?;
    let mut words = text.split_ascii_whitespace();
    let at = words.next()?.parse().ok()?;
    let life = words.next()?.parse().ok()?;
    let process = words.next()?.parse().ok()?;
    let word = words.next()?;
    let (one, two) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let fact = Fact::read(word, one, two)?;
    words.next().is_none().then_some(Note {
        at,
        life,
        process,
        fact,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_back_and_an_unfinished_line_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        let mut notebook = NoteWriter::open(&path, 3).unwrap();
        let before = now();
        notebook.note(Fact::Born).unwrap();
        let both = [Fact::Starts(u32::MAX, 6), Fact::Done(7, 1)];
        notebook.note_all(both).unwrap();

        let notes = read(&path).unwrap();
        let facts: Vec<Fact> = notes.iter().map(|note| note.fact).collect();
        assert_eq!(
            facts,
            [Fact::Born, Fact::Starts(u32::MAX, 6), Fact::Done(7, 1)]
        );
        assert!(notes.iter().all(|note| note.life == 3 && note.at >= before));

        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let refused = read(&path).unwrap_err().to_string();
        assert!(refused.contains("line 3 is no note"), "{refused}");
    }
}
