//! Reads a journal: what it records about a run.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ratchet_ipc::JobKey;

use super::CHUNK;
use super::content::{self, Content};
use super::error::JournalError;
use super::index::{Index, IndexEntry};
use super::record::{self, Header, Record, Unreadable};
use super::scan::{DamagedLine, Scanned, Scanner, TornLine};
use crate::job::Job;
use crate::outcome::{Class, Failure, Outcome, Status};
use crate::summary::Summary;

/// How many damaged lines are kept individually; more are only counted.
const DAMAGE_KEPT: usize = 100;

/// What a journal records about a run: the last outcome of each job, and the content that the job had then.
///
/// Only forty bytes per job are kept in memory. Outcomes are read from the file again when they are requested.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    /// The journal, from which outcomes are read on request.
    file: File,
    header: Header,
    index: Index,
    /// Whether jobs of items are recorded by their identities, not by their ids.
    knows_identities: bool,
    /// The byte after the last complete line. A resumed run appends from here.
    end: u64,
    facts: RunFacts,
}

/// What the lines of a journal say about the run as a whole.
#[derive(Debug, Default)]
struct RunFacts {
    /// How many outcomes were recorded, including those of replaced and missing records.
    recorded: u64,
    /// When the run ended, with its summary; `None` if it was interrupted, or continued after that end.
    ended: Option<(SystemTime, Box<Summary>)>,
    /// How often the run was resumed.
    resumed: u32,
    /// How many records of resumptions there are. More than one is a reason to compact the journal.
    resumed_records: u32,
    suspensions: Suspensions,
    worked: WorkedTime,
    /// The last line, if it was not finished.
    torn: Option<TornLine>,
    /// The first damaged lines.
    damage: Vec<DamagedLine>,
    /// How many lines are damaged in total.
    damaged: u64,
}

/// How long the process of a run was stopped with all its jobs, as by Ctrl-Z.
#[derive(Debug, Clone, Copy, Default)]
struct Suspensions {
    /// The length of all stops that have ended.
    total: Duration,
    /// When the current stop began, if there is one.
    since: Option<SystemTime>,
}

impl RunFacts {
    /// Begins a part of the run.
    fn begin_part(&mut self, at: SystemTime) {
        self.worked.begin(at, &self.suspensions);
    }
}

impl Suspensions {
    fn begin(&mut self, at: SystemTime) {
        self.since = Some(at);
    }

    fn end(&mut self, at: SystemTime) {
        self.total = self.until(at);
        self.since = None;
    }

    fn until(&self, at: SystemTime) -> Duration {
        // The system's clock may have been set back during the stop, and then its length is unknown.
        let last = self.since.and_then(|since| at.duration_since(since).ok());
        self.total + last.unwrap_or_default()
    }
}

/// How long a run was worked on: the length of its parts, without the breaks between them and the times for which its
/// process was stopped.
#[derive(Debug, Clone, Copy, Default)]
struct WorkedTime {
    /// The length of the parts that are over.
    earlier: Duration,
    /// The part whose end is not recorded; `None` after a recorded end.
    part: Option<RunPart>,
}

/// A part of a run: the work of one process.
#[derive(Debug, Clone, Copy)]
struct RunPart {
    began: SystemTime,
    /// The latest moment in the records of the part.
    last: SystemTime,
    /// How long earlier parts were stopped.
    suspended_before: Duration,
}

impl WorkedTime {
    /// Begins a part. A part that was not over ended with its last record.
    fn begin(&mut self, at: SystemTime, suspensions: &Suspensions) {
        self.earlier = self.until(None, suspensions);
        self.part = Some(RunPart {
            began: at,
            last: at,
            suspended_before: suspensions.total,
        });
    }

    /// Extends the part to a moment in its records.
    fn reach(&mut self, at: SystemTime) {
        if let Some(part) = &mut self.part {
            part.last = part.last.max(at);
        }
    }

    /// Ends the run, whose summary has the length of all its parts.
    fn end(&mut self, all: Duration) {
        *self = Self {
            earlier: all,
            part: None,
        };
    }

    /// Returns the length of all parts. The one that is not over counts up to this moment, or up to its last record.
    fn until(&self, until: Option<SystemTime>, suspensions: &Suspensions) -> Duration {
        let Some(part) = self.part else {
            return self.earlier;
        };
        let until = until.unwrap_or(part.last);
        // The system's clock may have been set back during the part, and then its length is unknown.
        let length = until.duration_since(part.began).unwrap_or_default();
        self.earlier + (length + part.suspended_before).saturating_sub(suspensions.until(until))
    }
}

/// A reference to an outcome in a journal. [`History::outcome`] reads the outcome itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedOutcome {
    /// How the job ended.
    pub status: Status,
    /// A digest of what the job did when it was recorded.
    pub content: Content,
    /// The position of the outcome in the index.
    pub(super) number: usize,
    /// The byte at which the record begins. Outcomes that were recorded later have greater offsets.
    pub(super) offset: u64,
}

impl History {
    /// Reads a journal, even while another process writes it.
    ///
    /// An unfinished last line ([`torn`](Self::torn)) and damaged lines ([`damage`](Self::damage)) are left out. Only
    /// the first line has to be whole.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| JournalError::io("open", path, error))?;
        Self::read(path, file)
    }

    /// Reads the journal in an open file. The path is used only in errors.
    pub(super) fn read(path: &Path, file: File) -> Result<Self, JournalError> {
        let failed = |error| JournalError::io("read", path, error);
        let mut input = file.try_clone().map_err(failed)?;
        input.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut scanner = Scanner::new(BufReader::with_capacity(CHUNK, input));
        let header = read_header(path, &mut scanner)?;
        let mut reader = HistoryReader::default();
        reader.facts.begin_part(header.started);
        while let Some(scanned) = scanner.next().map_err(failed)? {
            reader.take(scanned);
        }
        if !reader.suspects.is_empty() {
            let mut input = file.try_clone().map_err(failed)?;
            input.seek(SeekFrom::Start(0)).map_err(failed)?;
            let input = BufReader::with_capacity(CHUNK, input);
            reader.mark_suspects(Scanner::new(input)).map_err(failed)?;
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            header,
            knows_identities: reader.entries.is_empty() || reader.knows_identities,
            index: Index::new(reader.entries),
            end: scanner.end(),
            facts: reader.facts,
        })
    }

    /// Returns the first line of the journal: what the run was started with.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the number of jobs that have an outcome.
    pub fn jobs(&self) -> usize {
        self.index.len()
    }

    /// Returns how each job ended, by its position in the index.
    pub(super) fn statuses(&self) -> impl Iterator<Item = Status> {
        self.index.entries().iter().map(IndexEntry::status)
    }

    /// Returns the number of outcomes that were recorded. A job that was done again has more than one.
    pub fn recorded(&self) -> u64 {
        self.facts.recorded
    }

    /// Returns when the run ended, and its summary; `None` if the run was interrupted or is in progress.
    pub fn ended(&self) -> Option<(SystemTime, &Summary)> {
        self.facts
            .ended
            .as_ref()
            .map(|(at, summary)| (*at, &**summary))
    }

    /// Returns how often the run was resumed.
    pub fn resumed(&self) -> u32 {
        self.facts.resumed
    }

    /// Returns how long the process of the run was stopped with all its jobs, as by Ctrl-Z, up to this time. The
    /// durations of jobs do not include that time.
    pub fn suspended(&self, until: SystemTime) -> Duration {
        self.facts.suspensions.until(until)
    }

    /// Returns how long the run was worked on: all its parts, without the breaks between them and the times for which
    /// its process was stopped.
    ///
    /// A part whose end is not recorded counts up to `until`, or up to its last outcome if that is `None`.
    pub fn worked(&self, until: Option<SystemTime>) -> Duration {
        self.facts.worked.until(until, &self.facts.suspensions)
    }

    /// Returns the unfinished last line, if there is one.
    pub fn torn(&self) -> Option<TornLine> {
        self.facts.torn
    }

    /// Returns the first hundred damaged lines.
    pub fn damage(&self) -> &[DamagedLine] {
        &self.facts.damage
    }

    /// Returns the number of lines that are damaged, and of places where lines are missing.
    pub fn damaged(&self) -> u64 {
        self.facts.damaged
    }

    /// Finds the last outcome of the job with this id. Jobs of items are found by [`find_job`](Self::find_job) alone.
    pub fn find(&self, id: &JobKey) -> Option<RecordedOutcome> {
        self.find_key(content::key_of(id.as_str(), None))
    }

    /// Finds the last outcome of a job. The job of an item is found even if the item has moved in its list.
    pub fn find_job(&self, job: &Job) -> Option<RecordedOutcome> {
        let identity = job.item.as_ref().map(|item| item.identity);
        let identity = identity.filter(|_| self.knows_identities);
        self.find_key(content::key_of(job.id.as_str(), identity))
    }

    fn find_key(&self, key: [u8; 16]) -> Option<RecordedOutcome> {
        let (number, entry) = self.index.find(key)?;
        Some(RecordedOutcome::new(number, entry))
    }

    /// Whether jobs of items are recorded by their identities. Journals of older versions have none.
    pub(super) fn knows_identities(&self) -> bool {
        self.knows_identities
    }

    /// Reads an outcome from the file. It fails if the file has changed since it was loaded.
    pub fn outcome(&self, recorded: &RecordedOutcome) -> Result<Outcome, JournalError> {
        let mut line = Vec::new();
        let failed = |error| JournalError::io("read", &self.path, error);
        let mut input = ReadAt {
            file: &self.file,
            offset: recorded.offset,
        };
        BufReader::with_capacity(4096, &mut input)
            .read_until(b'\n', &mut line)
            .map_err(failed)?;
        line.pop_if(|last| *last == b'\n');
        record::read_outcome(&line)
            .map_err(|why| self.changed(recorded.offset, &why))
            .and_then(|(mut outcome, identity)| {
                let found = self.find_key(content::key_of(outcome.id.as_str(), identity));
                if found.is_some_and(|found| found.offset == recorded.offset) {
                    // The record has a success, but a later record marks this result as suspect.
                    if outcome.is_success() && recorded.status != Status::Succeeded {
                        outcome.result = Err(Box::new(suspect()));
                    }
                    Ok(outcome)
                } else {
                    let why = format!("it is the outcome of `{}`", outcome.id);
                    Err(self.changed(recorded.offset, &why))
                }
            })
    }

    /// Reads the last outcome of each job, in the order in which they were recorded.
    pub fn outcomes(&self) -> impl Iterator<Item = Result<Outcome, JournalError>> {
        let entries = self.index.entries().iter().enumerate();
        let mut recorded: Vec<RecordedOutcome> = entries
            .map(|(number, entry)| RecordedOutcome::new(number, entry))
            .collect();
        // The file is then also read in order, which is faster than jumping.
        recorded.sort_unstable_by_key(|recorded| recorded.offset);
        recorded.into_iter().map(|recorded| self.outcome(&recorded))
    }

    /// Whether compaction would remove anything: outcomes that were superseded, or more than one record of a
    /// resumption.
    pub(super) fn has_superseded(&self) -> bool {
        self.facts.recorded > self.index.len() as u64 || self.facts.resumed_records > 1
    }

    /// Returns the offsets of the last record of each job, in the order of the file.
    pub(super) fn offsets(&self) -> Vec<u64> {
        let mut offsets: Vec<u64> = self
            .index
            .entries()
            .iter()
            .map(IndexEntry::offset)
            .collect();
        offsets.sort_unstable();
        offsets
    }

    /// Returns the path of the journal.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file from its beginning, with a position of its own.
    pub(super) fn reader(&self) -> ReadAt<'_> {
        ReadAt {
            file: &self.file,
            offset: 0,
        }
    }

    /// Returns the status of the outcome that counts for a job, if it is the one at this offset.
    pub(super) fn status_at(&self, key: [u8; 16], offset: u64) -> Option<Status> {
        let found = self.find_key(key)?;
        (found.offset == offset).then_some(found.status)
    }

    /// Returns the byte at which the last complete line ends.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    fn changed(&self, offset: u64, reason: &dyn ToString) -> JournalError {
        JournalError::Changed {
            path: self.path.clone(),
            offset,
            reason: reason.to_string(),
        }
    }
}

impl RecordedOutcome {
    fn new(number: usize, entry: &IndexEntry) -> Self {
        Self {
            status: entry.status(),
            content: entry.content(),
            number,
            offset: entry.offset(),
        }
    }
}

/// Makes the failure that replaces a result whose filter proved to be out of step after the result was reported.
pub(super) fn suspect() -> Failure {
    Failure::new(
        Class::Protocol,
        "its result is suspect: the filter that gave it proved to be out of step after that",
    )
}

/// Reads the header of a journal, which has to be the first line.
pub(super) fn read_header<R: BufRead>(
    path: &Path,
    scanner: &mut Scanner<R>,
) -> Result<Header, JournalError> {
    let refused = |reason: &str| JournalError::NotAJournal {
        path: path.to_path_buf(),
        reason: reason.to_owned(),
    };
    let first = scanner
        .next()
        .map_err(|error| JournalError::io("read", path, error))?;
    match first {
        None => Err(refused("it is empty")),
        Some(Scanned::Torn(_)) => Err(refused("its first line is unfinished")),
        Some(Scanned::Record {
            record: Record::Header(header),
            ..
        }) => Ok(header),
        Some(Scanned::Record { .. }) => Err(refused("its first line is not a header")),
        Some(Scanned::Damaged {
            why: Unreadable::Version(version),
            ..
        }) => Err(JournalError::Version {
            path: path.to_path_buf(),
            version,
            newest: Header::VERSION,
        }),
        Some(Scanned::Damaged { damage, .. }) => Err(refused(&damage.to_string())),
    }
}

/// Collects the records of a journal while its lines are read.
#[derive(Default)]
struct HistoryReader {
    /// One entry for each job record, in the order of the file.
    entries: Vec<IndexEntry>,
    /// Whether a job was recorded by its identity.
    knows_identities: bool,
    /// The ids of suspect jobs, each with the number of entries before the record that marks them. Only these entries
    /// of the job are suspect: an outcome after that record is that of a new attempt.
    suspects: HashMap<String, usize>,
    /// Whether a damaged line was skipped since the last record. It may be the record that is missing.
    left_out: bool,
    facts: RunFacts,
}

impl HistoryReader {
    /// Handles one line of the journal.
    fn take(&mut self, scanned: Scanned<'_>) {
        match scanned {
            Scanned::Torn(torn) => self.facts.torn = Some(torn),
            Scanned::Damaged { damage, .. } => {
                self.left_out = true;
                // Whatever the line was, the run continued after its recorded end.
                self.facts.ended = None;
                self.note_damage(damage);
            }
            Scanned::Record {
                offset,
                line,
                record,
            } => self.take_record(offset, line, record),
        }
    }

    /// Handles a record, and reports a gap in the numbers of job records as damage.
    fn take_record(&mut self, offset: u64, line: u64, record: Record<'_>) {
        self.facts.ended = None;
        let n = match record {
            Record::Header(_) => {
                return self.note_damage(DamagedLine {
                    line,
                    offset,
                    reason: "a second header".to_owned(),
                });
            }
            Record::Job(entry) => {
                let key = content::key_of(&entry.id, entry.identity);
                self.knows_identities |= entry.identity.is_some();
                self.entries
                    .push(IndexEntry::new(key, entry.content, entry.status, offset));
                self.facts.recorded += 1;
                if let Some(at) = entry.ended {
                    self.facts.worked.reach(at);
                }
                entry.n
            }
            Record::Suspect { n, ids } => {
                let before = self.entries.len();
                let ids = ids.into_iter().map(|id| (id.into_owned(), before));
                self.suspects.extend(ids);
                n
            }
            Record::Suspended { n, at } => {
                self.facts.worked.reach(at);
                self.facts.suspensions.begin(at);
                n
            }
            Record::Continued { n, at } => {
                self.facts.worked.reach(at);
                self.facts.suspensions.end(at);
                n
            }
            Record::Resumed { n, at, times } => {
                if let Some(at) = at {
                    self.facts.begin_part(at);
                }
                // A process that was killed while it was stopped does not continue.
                self.facts.suspensions.since = None;
                self.facts.resumed = self.facts.resumed.saturating_add(times);
                self.facts.resumed_records = self.facts.resumed_records.saturating_add(1);
                n
            }
            Record::Planned { n, at } => {
                if let Some(at) = at {
                    self.facts.worked.reach(at);
                }
                n
            }
            Record::Remark { n } => n,
            Record::Ended { n, at, summary } => {
                self.facts.worked.end(summary.elapsed);
                self.facts.ended = Some((at, summary));
                n
            }
        };
        if n > self.facts.recorded && !self.left_out {
            self.note_damage(DamagedLine {
                line,
                offset,
                reason: format!("{} records before it are missing", n - self.facts.recorded),
            });
        }
        self.left_out = false;
        self.facts.recorded = n.max(self.facts.recorded);
    }

    /// Makes results that may be wrong count as failures.
    ///
    /// A `suspect` record names ids, but the keys of entries may be made from identities. So the file is read once more
    /// from its beginning: its job records come in the order of the entries.
    fn mark_suspects<R: BufRead>(&mut self, mut scanner: Scanner<R>) -> io::Result<()> {
        // If the journal is being written, this second read may find more records than the first.
        let mut entries = self.entries.iter_mut().enumerate();
        while let Some(scanned) = scanner.next()? {
            let Scanned::Record {
                record: Record::Job(job),
                ..
            } = scanned
            else {
                continue;
            };
            let Some((number, entry)) = entries.next() else {
                break;
            };
            if self
                .suspects
                .get(&*job.id)
                .is_some_and(|before| number < *before)
            {
                entry.suspect();
            }
        }
        Ok(())
    }

    fn note_damage(&mut self, damage: DamagedLine) {
        self.facts.damaged += 1;
        if self.facts.damage.len() < DAMAGE_KEPT {
            self.facts.damage.push(damage);
        }
    }
}

/// Reads a file from an offset of its own, so that several readers can share one open file.
#[derive(Debug)]
pub(super) struct ReadAt<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for ReadAt<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = std::os::unix::fs::FileExt::read_at(self.file, buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
