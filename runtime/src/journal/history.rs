//! What a journal tells of a run.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ratchet_ipc::JobKey;

use super::CHUNK;
use super::content::{self, Content};
use super::error::JournalError;
use super::index::{Entry, Index};
use super::record::{self, Header, Record, Unreadable};
use super::scan::{Damage, Scanned, Scanner, Torn};
use crate::job::Job;
use crate::outcome::{Class, Failure, Outcome, Status};
use crate::summary::Summary;

/// Of a journal full of damage, this much is told line by line.
const DAMAGE_KEPT: usize = 100;

/// What a journal tells of a run: for each job the last outcome that was recorded, with the content it had.
///
/// Forty bytes a job are kept; outcomes are read from the file again when they are asked for.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    file: File,
    header: Header,
    index: Index,
    recorded: u64,
    /// Jobs of items are known by their identities, not by their ids.
    knows_identities: bool,
    end: u64,
    ended: Option<(SystemTime, Box<Summary>)>,
    resumed: u32,
    resumed_records: u32,
    torn: Option<Torn>,
    damage: Vec<Damage>,
    damaged: u64,
}

/// An outcome that stands in a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// How the job ended.
    pub status: Status,
    /// What the job was then.
    pub content: Content,
    pub(super) number: usize,
    /// Where its record begins; later outcomes have greater ones.
    pub(super) offset: u64,
}

impl History {
    /// Reads a journal, also one that is being written.
    ///
    /// An unfinished last line is left out ([`torn`](Self::torn)), as is each line that is damaged
    /// ([`damage`](Self::damage)); only the first line has to be whole.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| JournalError::io("open", path, error))?;
        Self::read(path, file)
    }

    pub(super) fn read(path: &Path, file: File) -> Result<Self, JournalError> {
        let failed = |error| JournalError::io("read", path, error);
        let mut input = file.try_clone().map_err(failed)?;
        input.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut scanner = Scanner::new(BufReader::with_capacity(CHUNK, input));
        let header = read_header(path, &mut scanner)?;
        let mut reading = Reading::default();
        while let Some(scanned) = scanner.next().map_err(failed)? {
            reading.take(scanned);
        }
        if !reading.suspects.is_empty() {
            let mut input = file.try_clone().map_err(failed)?;
            input.seek(SeekFrom::Start(0)).map_err(failed)?;
            let input = BufReader::with_capacity(CHUNK, input);
            reading.mark_suspects(Scanner::new(input)).map_err(failed)?;
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            header,
            knows_identities: reading.entries.is_empty() || reading.knows_identities,
            index: Index::new(reading.entries),
            recorded: reading.recorded,
            end: scanner.end(),
            ended: reading.ended,
            resumed: reading.resumed,
            resumed_records: reading.resumed_records,
            torn: reading.torn,
            damage: reading.damage,
            damaged: reading.damaged,
        })
    }

    /// What the run was begun with.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many jobs have an outcome.
    pub fn jobs(&self) -> usize {
        self.index.len()
    }

    /// How many outcomes were recorded: a job that was done again has more than one.
    pub fn recorded(&self) -> u64 {
        self.recorded
    }

    /// When the run came to its end and what came of it; nothing if it was interrupted, or goes on.
    pub fn ended(&self) -> Option<(SystemTime, &Summary)> {
        self.ended.as_ref().map(|(at, summary)| (*at, &**summary))
    }

    /// How often it was resumed.
    pub fn resumed(&self) -> u32 {
        self.resumed
    }

    /// The unfinished last line, if there was one.
    pub fn torn(&self) -> Option<Torn> {
        self.torn
    }

    /// The damaged lines, the first hundred of them.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// How many lines are damaged, or missing.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// The outcome of a job that is known by its id, if one is recorded.
    pub fn find(&self, id: &JobKey) -> Option<Recorded> {
        self.find_key(content::key_of(id.as_str(), None))
    }

    /// The outcome of a job, if one is recorded. One of an item is found wherever the item stands in its list.
    pub fn find_job(&self, job: &Job) -> Option<Recorded> {
        let identity = job.item.as_ref().map(|item| item.identity);
        let identity = identity.filter(|_| self.knows_identities);
        self.find_key(content::key_of(job.id.as_str(), identity))
    }

    fn find_key(&self, key: [u8; 16]) -> Option<Recorded> {
        let (number, entry) = self.index.find(key)?;
        Some(Recorded::new(number, entry))
    }

    /// Whether jobs of items are recorded by their identities. Those of versions that knew none are not.
    pub(super) fn knows_identities(&self) -> bool {
        self.knows_identities
    }

    /// Reads an outcome from the file again.
    pub fn outcome(&self, recorded: &Recorded) -> Result<Outcome, JournalError> {
        let mut line = Vec::new();
        let failed = |error| JournalError::io("read", &self.path, error);
        let mut input = At {
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
                    // A result that was reported, and proved to be in doubt after that.
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

    /// Every job's outcome, in the order in which they were recorded.
    pub fn outcomes(&self) -> impl Iterator<Item = Result<Outcome, JournalError>> {
        let entries = self.index.entries().iter().enumerate();
        let mut recorded: Vec<Recorded> = entries
            .map(|(number, entry)| Recorded::new(number, entry))
            .collect();
        // So the file is read from its beginning to its end, too.
        recorded.sort_unstable_by_key(|recorded| recorded.offset);
        recorded.into_iter().map(|recorded| self.outcome(&recorded))
    }

    /// The outcome with this number, of [`jobs`](Self::jobs).
    pub(super) fn numbered(&self, number: usize) -> Option<Recorded> {
        let entry = self.index.entries().get(number)?;
        Some(Recorded::new(number, entry))
    }

    /// Whether records are in it that no longer count, or several resumptions that one record could stand for.
    pub(super) fn has_superseded(&self) -> bool {
        self.recorded > self.index.len() as u64 || self.resumed_records > 1
    }

    /// Where the records begin that count, in the order of the file: the last one of each job.
    pub(super) fn offsets(&self) -> Vec<u64> {
        let mut offsets: Vec<u64> = self.index.entries().iter().map(Entry::offset).collect();
        offsets.sort_unstable();
        offsets
    }

    /// Where the last whole line ends.
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

impl Recorded {
    fn new(number: usize, entry: &Entry) -> Self {
        Self {
            status: entry.status(),
            content: entry.content(),
            number,
            offset: entry.offset(),
        }
    }
}

/// What the result of a job counts as whose filter proved to be out of step after it was reported.
fn suspect() -> Failure {
    Failure::new(
        Class::Protocol,
        "its result is suspect: the filter that gave it proved to be out of step after that",
    )
}

/// The header of a journal, which has to be its first line.
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
        Some(Scanned::Record { .. }) => Err(refused("its first line is no header")),
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

/// What has been read so far.
#[derive(Default)]
struct Reading {
    entries: Vec<Entry>,
    recorded: u64,
    knows_identities: bool,
    /// Ids of jobs whose outcomes among the first so many entries may be wrong.
    suspects: HashMap<String, usize>,
    /// A damaged line was left out since the last record, which may be the one that is missing.
    left_out: bool,
    ended: Option<(SystemTime, Box<Summary>)>,
    resumed: u32,
    resumed_records: u32,
    torn: Option<Torn>,
    damage: Vec<Damage>,
    damaged: u64,
}

impl Reading {
    fn take(&mut self, scanned: Scanned<'_>) {
        match scanned {
            Scanned::Torn(torn) => self.torn = Some(torn),
            Scanned::Damaged { damage, .. } => {
                self.left_out = true;
                // Whatever it was, something was written after the end.
                self.ended = None;
                self.complain(damage);
            }
            Scanned::Record {
                offset,
                line,
                record,
            } => self.take_record(offset, line, record),
        }
    }

    fn take_record(&mut self, offset: u64, line: u64, record: Record<'_>) {
        self.ended = None;
        let n = match record {
            Record::Header(_) => {
                return self.complain(Damage {
                    line,
                    offset,
                    reason: "a second header".to_owned(),
                });
            }
            Record::Job(entry) => {
                let key = content::key_of(&entry.id, entry.identity);
                self.knows_identities |= entry.identity.is_some();
                self.entries
                    .push(Entry::new(key, entry.content, entry.status, offset));
                self.recorded += 1;
                entry.n
            }
            Record::Suspect { n, ids } => {
                let before = self.entries.len();
                let ids = ids.into_iter().map(|id| (id.into_owned(), before));
                self.suspects.extend(ids);
                n
            }
            Record::Resumed { n, times } => {
                self.resumed = self.resumed.saturating_add(times);
                self.resumed_records = self.resumed_records.saturating_add(1);
                n
            }
            Record::Ended { n, at, summary } => {
                self.ended = Some((at, summary));
                n
            }
        };
        if n > self.recorded && !self.left_out {
            self.complain(Damage {
                line,
                offset,
                reason: format!("{} records before it are missing", n - self.recorded),
            });
        }
        self.left_out = false;
        self.recorded = n.max(self.recorded);
    }

    /// Has results that may be wrong count as failures.
    ///
    /// A `suspect` record names ids, and entries are known by keys that may be made of identities instead. So the file
    /// is read once more, from its beginning: its job records come in the order of the entries.
    fn mark_suspects<R: BufRead>(&mut self, mut scanner: Scanner<R>) -> io::Result<()> {
        // Of a journal that is being written, the second look may see more than the first.
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

    fn complain(&mut self, damage: Damage) {
        self.damaged += 1;
        if self.damage.len() < DAMAGE_KEPT {
            self.damage.push(damage);
        }
    }
}

/// Reads a file from a place of its own, so that several can read it at once.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = std::os::unix::fs::FileExt::read_at(self.file, buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
