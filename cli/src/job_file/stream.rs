//! JSON lines: a job a line, read as they are wanted.

mod bad;
mod line;
mod read;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use ratchet_runtime::{HostName, Job, JobKey, Limit, Payload, TaskName, Terms, Work};

pub(crate) use self::bad::{BadLine, LineError};
use self::line::{Line, plain, written_key};
pub(crate) use self::read::{LONGEST, Read, read_until};
use super::book::Book;
use super::error::FileError;
use super::ids::Ids;
use super::job::Links;
use super::keys;
use super::plan::{Options, WorkerPlan};
use crate::diagnostic::{Diagnostic, Report, Severity, Source, Span};
use crate::document::{Format, Node, Shape, Value, check};
use crate::value;

/// What lines come from.
pub(super) type Stream = BufReader<Box<dyn io::Read + Send>>;

/// A buffer that one huge line has made larger than this is given back.
const KEPT: usize = 1 << 20;

/// Terms, by how they are written: more different ones than these are forgotten and read again.
const MOST_WRITTEN: usize = 1024;

/// The jobs of a stream, each as it is asked for.
pub(crate) struct Lines {
    name: String,
    reader: Stream,
    book: Book,
    warnings: Report,
    number: u64,
    buffer: Vec<u8>,
    /// The first line, if it was read already and is no header.
    first: bool,
    ids: Ids,
    written: HashMap<String, Arc<Terms>>,
    recent: Option<(TaskName, Arc<Terms>)>,
    /// Where keys and numbers are written before they are looked up.
    key: String,
    ended: bool,
}

impl Lines {
    /// Reads the header, if there is one.
    pub(super) fn open(
        name: &str,
        reader: Stream,
        folder: Option<PathBuf>,
        options: &Options,
    ) -> Result<Self, FileError> {
        let nothing = Node::new(Value::Map(Vec::new()), Span::default());
        let mut problems = Vec::new();
        let mut lines = Self {
            name: name.to_owned(),
            reader,
            book: Book::open(&nothing, folder.clone(), options, &mut problems),
            warnings: Report {
                source: Source::new(name, String::new()),
                diagnostics: Vec::new(),
            },
            number: 0,
            buffer: Vec::new(),
            first: false,
            ids: Ids::new(),
            written: HashMap::new(),
            recent: None,
            key: String::new(),
            ended: false,
        };
        let unreadable = |source| FileError::Unreadable {
            name: name.to_owned(),
            source,
        };
        match lines.next_line().map_err(unreadable)? {
            Read::End => {
                let name = name.to_owned();
                return Err(FileError::Nothing { name });
            }
            Read::TooLong => {
                lines.first = true;
                return Ok(lines);
            }
            Read::Line => {}
        }
        if lines.buffer.starts_with(b"\xef\xbb\xbf") {
            lines.buffer.drain(..3);
        }
        let Some((source, header)) = lines.header() else {
            lines.first = true;
            return Ok(lines);
        };
        check(&header, &Shape::Section(&keys::HEADER), &mut problems);
        lines.book = Book::open(&header, folder, options, &mut problems);
        lines.warnings = Report {
            source,
            diagnostics: problems,
        };
        if lines.warnings.has_errors() {
            return Err(FileError::Refused(Box::new(lines.warnings)));
        }
        Ok(lines)
    }

    /// The line as a header, if it is one: about all lines, and no job.
    fn header(&self) -> Option<(Source, Node)> {
        let text = std::str::from_utf8(&self.buffer).ok()?;
        let source = Source::from_line(&self.name, text.to_owned(), self.number);
        let node = Format::Json.read(&source).ok()??;
        let has = |key| node.get(key).is_some();
        let is_job = has("task") || has("run");
        let is_header = ["version", "workers", "defaults"].into_iter().any(has)
            || node
                .get("limits")
                .is_some_and(|limits| matches!(limits.value, Value::Map(_)));
        (is_header && !is_job).then_some((source, node))
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the next line may have to be waited for.
    pub(crate) fn may_wait(&self) -> bool {
        !self.first && memchr::memchr(b'\n', self.reader.buffer()).is_none()
    }

    pub(crate) fn workers(&self) -> &[WorkerPlan] {
        &self.book.workers
    }

    pub(crate) fn limits(&self) -> &[(String, Limit)] {
        &self.book.limits
    }

    pub(super) fn warnings(&self) -> &Report {
        &self.warnings
    }

    /// Reads the next line that is not blank into the buffer.
    fn next_line(&mut self) -> io::Result<Read> {
        loop {
            if self.buffer.capacity() > KEPT {
                self.buffer = Vec::new();
            }
            self.buffer.clear();
            let read = read_until(&mut self.reader, b'\n', &mut self.buffer)?;
            self.number += u64::from(!matches!(read, Read::End));
            if !matches!(read, Read::Line) || !self.buffer.trim_ascii().is_empty() {
                return Ok(read);
            }
        }
    }

    /// The job of the line in the buffer.
    fn job(&mut self) -> Result<Job, Box<LineError>> {
        let buffer = std::mem::take(&mut self.buffer);
        let job = match self.fast(&buffer) {
            Some(job) => Ok(job),
            None => self.slow(&buffer),
        };
        self.buffer = buffer;
        job
    }

    /// The usual line, without a detour. What is unusual or wrong is left to [`slow`](Self::slow).
    fn fast(&mut self, buffer: &[u8]) -> Option<Job> {
        let text = std::str::from_utf8(buffer).ok()?;
        let line: Line<'_> = serde_json::from_str(text).ok()?;
        let name = plain(line.task?)?;
        let host = match line.host {
            None => None,
            Some(host) => Some(HostName::from(plain(host)?)),
        };
        let (task, plain_terms) = self.known(name)?;
        let terms = line.terms();
        let terms = if terms.iter().all(Option::is_none) {
            plain_terms
        } else {
            written_key(&mut self.key, name, &terms);
            Arc::clone(self.written.get(&self.key)?)
        };
        let id = if let Some(id) = line.id {
            let id = plain(id)?;
            self.ids.take(id).ok()?;
            JobKey::from(id)
        } else {
            self.ids.number(self.number).ok()?;
            self.key.clear();
            // Writing to a string cannot fail.
            let _ = write!(self.key, "{}", self.number);
            JobKey::from(self.key.as_str())
        };
        Some(Job {
            item: None,
            id,
            work: Work::Task {
                task,
                input: line.input.map_or_else(Payload::null, Payload::from),
            },
            host,
            needs: Vec::new(),
            terms,
        })
    }

    /// A task and its plain terms. Most lines ask for what the line before asked for.
    fn known(&mut self, name: &str) -> Option<(TaskName, Arc<Terms>)> {
        if let Some((task, terms)) = &self.recent
            && task.as_str() == name
        {
            return Some((task.clone(), Arc::clone(terms)));
        }
        let task = self.book.task(name)?;
        let terms = self.book.plain_terms(Some(name)).ok()?;
        self.recent = Some((task.clone(), Arc::clone(&terms)));
        Some((task, terms))
    }

    /// Any line, with all that is wrong with it.
    fn slow(&mut self, buffer: &[u8]) -> Result<Job, Box<LineError>> {
        let text = match std::str::from_utf8(buffer) {
            Ok(text) => text,
            Err(error) => {
                let at = error.valid_up_to();
                let shown = String::from_utf8_lossy(buffer).into_owned();
                let wide = shown[at..].chars().next().map_or(0, char::len_utf8);
                let found = Diagnostic::error(Span::new(at, at + wide), "this is not UTF-8");
                return Err(self.refuse(shown, vec![found], None));
            }
        };
        let source = Source::from_line(&self.name, text.to_owned(), self.number);
        let node = match Format::Json.read(&source) {
            Ok(Some(node)) => node,
            Ok(None) => Node::new(Value::Null, Span::new(0, text.len())),
            Err(problems) => return Err(self.refuse(text.to_owned(), problems, None)),
        };
        let mut problems = Vec::new();
        check(&node, &Shape::Section(&keys::JOB), &mut problems);
        let links = Links::read(&node, self.number);
        let job = match node.value {
            Value::Map(_) => self.book.job(&node, &links, Some(text), &mut problems),
            _ => None,
        };
        let is_sound = |problems: &[Diagnostic]| {
            let mut found = problems.iter();
            !found.any(|found| found.severity == Severity::Error)
        };
        if let Some(job) = job
            && is_sound(&problems)
        {
            self.relations(&links, &mut problems);
            if is_sound(&problems) {
                self.remember(text, &job);
                return Ok(job);
            }
        }
        Err(self.refuse(text.to_owned(), problems, Some(&node)))
    }

    /// What has to do with other lines: its id and its needs.
    fn relations(&mut self, links: &Links, problems: &mut Vec<Diagnostic>) {
        let mut lacks_one = false;
        for (need, place) in &links.needs {
            if self.ids.lacks(need.as_str()) {
                lacks_one = true;
                problems.push(
                    Diagnostic::error(*place, format!("there is no earlier job `{need}`"))
                        .help("in a stream, a job can need only what stands before it"),
                );
            }
        }
        if lacks_one {
            return;
        }
        let taken = match links.place {
            Some(_) => self.ids.take(links.id.as_str()),
            None => self.ids.number(self.number),
        };
        if let Err(message) = taken {
            let place = links.place.unwrap_or(links.whole);
            problems.push(Diagnostic::error(place, message).help("give each job an id of its own"));
        }
    }

    /// Keeps the terms by how they are written, for the lines that say the same.
    fn remember(&mut self, text: &str, job: &Job) {
        let Ok(line) = serde_json::from_str::<Line<'_>>(text) else {
            return;
        };
        let terms = line.terms();
        let (Some(name), true) = (line.task.and_then(plain), terms.iter().any(Option::is_some))
        else {
            return;
        };
        if self.written.len() >= MOST_WRITTEN {
            self.written.clear();
        }
        written_key(&mut self.key, name, &terms);
        self.written
            .insert(self.key.clone(), Arc::clone(&job.terms));
    }

    fn refuse(
        &self,
        text: String,
        diagnostics: Vec<Diagnostic>,
        node: Option<&Node>,
    ) -> Box<LineError> {
        let said = |key| {
            node.and_then(|node| node.get(key))
                .filter(|said| said.text() != Some(""))
        };
        Box::new(LineError {
            line: self.number,
            id: said("id")
                .and_then(Node::text_or_number)
                .map_or_else(|| self.number.to_string().into(), JobKey::from),
            task: said("task").and_then(Node::text).map(TaskName::from),
            report: Report {
                source: Source::from_line(&self.name, text, self.number),
                diagnostics,
            },
        })
    }

    fn too_long(&self) -> Box<LineError> {
        let head = String::from_utf8_lossy(&self.buffer[..self.buffer.len().min(200)]).into_owned();
        let message = format!(
            "the line is longer than {}",
            value::show_size(LONGEST as u64)
        );
        let found = Diagnostic::error(Span::default(), message)
            .help("put large inputs into files, and send their paths");
        self.refuse(head, vec![found], None)
    }
}

impl Iterator for Lines {
    type Item = Result<Job, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = if std::mem::take(&mut self.first) {
            if self.buffer.len() > LONGEST {
                Read::TooLong
            } else {
                Read::Line
            }
        } else {
            match self.next_line() {
                Ok(read) => read,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(BadLine::Unreadable(error)));
                }
            }
        };
        match read {
            Read::End => {
                self.ended = true;
                None
            }
            Read::TooLong => Some(Err(BadLine::Refused(self.too_long()))),
            Read::Line => Some(self.job().map_err(BadLine::Refused)),
        }
    }
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Lines({} at {})", self.name, self.number)
    }
}
