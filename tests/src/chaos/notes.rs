//! What workers and hosts write down: one line a fact, each with the time on a clock that all processes share.
//!
//! Every line is 64 bytes long and written by one call that appends. So no line crosses the border of a page, where
//! the kernel may stop a write of a process that is killed, and no kill leaves half a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

/// How long a line is, its end included.
pub const LINE: usize = 64;

/// One fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// When, in nanoseconds of the system's monotonic clock.
    pub at: u64,
    /// In which life of the host.
    pub life: u32,
    /// By which process.
    pub process: u32,
    /// What.
    pub fact: Fact,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// A worker is there. The next six are its attempts': which job, and which try.
    Born,
    /// It has begun with an attempt.
    Starts(u32, u32),
    /// It is still at it.
    Beats(u32, u32),
    /// It is done, and is about to answer so.
    Done(u32, u32),
    /// It is done, and is about to answer with an error.
    Fails(u32, u32),
    /// It is about to die of it.
    Dies(u32, u32),
    /// Its answer is on its way: the call that wrote it has returned.
    Answered(u32, u32),
    /// A worker has loaded and reads its requests from now on: by which content of the script.
    Ready(u32),
    /// A command of which nobody knows the job has read the script: its input, and the content.
    Computes(u32, u32),
    /// It is done with it, and is about to print the result.
    Computed(u32, u32),
    /// The host lets an attempt of a job begin, and decided so at most this many nanoseconds ago.
    Grants(u32, u32),
    /// The host is about to change a limit: which, and to what.
    Changing(u32, u32),
    /// It has.
    Changed(u32, u32),
    /// The host has heard of a job's outcome: whose, and whether it was a success.
    Hears(u32, u32),
    /// What the host held before its run, and after it: descriptors.
    Descriptors(u32, u32),
    /// Likewise: children.
    Children(u32, u32),
    /// The host is about to make its pools.
    MakesPools,
    /// It has: what the workers of a pool are taken to run was looked at before.
    MadePools,
    /// The host takes a job from its list.
    Takes(u32),
    /// The driver is about to give the script this content.
    Edits(u32),
    /// It has.
    Edited(u32),
    /// The driver has stopped the host for so many milliseconds.
    Stopped(u32),
    /// The host could start nothing for so many milliseconds.
    Short(u32),
}

impl Fact {
    fn words(self) -> (&'static str, u32, u32) {
        match self {
            Self::Born => ("born", 0, 0),
            Self::Starts(job, attempt) => ("starts", job, attempt),
            Self::Beats(job, attempt) => ("beats", job, attempt),
            Self::Done(job, attempt) => ("done", job, attempt),
            Self::Fails(job, attempt) => ("fails", job, attempt),
            Self::Dies(job, attempt) => ("dies", job, attempt),
            Self::Grants(job, earlier) => ("grants", job, earlier),
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

    fn read(word: &str, one: u32, two: u32) -> Option<Self> {
        Some(match word {
            "born" => Self::Born,
            "starts" => Self::Starts(one, two),
            "beats" => Self::Beats(one, two),
            "done" => Self::Done(one, two),
            "fails" => Self::Fails(one, two),
            "dies" => Self::Dies(one, two),
            "grants" => Self::Grants(one, two),
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

/// Where a process writes its notes.
#[derive(Debug)]
pub struct NoteWriter {
    file: File,
    life: u32,
    process: u32,
}

impl NoteWriter {
    /// Opens a notebook that others may write into as well.
    pub fn open(path: &Path, life: u32) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self {
            file,
            life,
            process: std::process::id(),
        })
    }

    /// Writes a fact down, as of now. Says when that is.
    pub fn note(&mut self, fact: Fact) -> io::Result<u64> {
        self.note_all([fact])
    }

    /// Writes facts down that became known together.
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

/// The time on the system's monotonic clock, which is one for all its processes and processors.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds * 1_000_000_000 + nanos
}

/// Reads a notebook. What is not a note is an error, with its place.
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
    fn what_is_written_is_read_again_and_half_a_line_is_refused() {
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
