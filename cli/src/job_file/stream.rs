//! JSON lines: a job a line, read as they are wanted.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, BufRead};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ratchet_runtime::{
    Class, Failure, HostName, Job, JobKey, Limit, Outcome, Payload, TaskName, Terms, Work,
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

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
pub(super) type Stream = Box<dyn BufRead + Send>;

/// A longer line is refused and passed over. It is twice the largest message there may be, so that
/// no job that could be sent is.
const LONGEST: usize = 32 << 20;

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

/// Why there is no job.
#[derive(Debug)]
pub(crate) enum BadLine {
    /// The line makes none; the next one may.
    Refused(Box<LineError>),
    /// There is nothing more to be read.
    Unreadable(io::Error),
}

/// A line that makes no job.
#[derive(Debug)]
pub(crate) struct LineError {
    /// Its number, from 1.
    pub(crate) line: u64,
    /// The id that its result goes by: what it says, or its number.
    pub(crate) id: JobKey,
    /// The task it names, if it does.
    pub(crate) task: Option<TaskName>,
    /// All that is wrong with it.
    pub(crate) report: Report,
}

#[cfg_attr(
    not(test),
    expect(dead_code, reason = "whoever runs jobs makes results of it")
)]
impl LineError {
    /// What is wrong, in one line.
    pub(crate) fn message(&self) -> String {
        let mut errors = self
            .report
            .diagnostics
            .iter()
            .filter(|found| found.severity == Severity::Error);
        let Some(first) = errors.next() else {
            return format!("line {}", self.line);
        };
        let place = first.span.map(|span| self.report.source.place(span.start));
        let column = place.map_or(1, |place| place.column);
        let mut message = format!("line {}, column {column}: {}", self.line, first.message);
        if let Some(help) = &first.help {
            message.push_str("; ");
            message.push_str(help);
        }
        match errors.count() {
            0 => {}
            more => message.push_str(&[" (and ", &more.to_string(), " more)"].concat()),
        }
        message
    }

    /// The failed result that it becomes.
    pub(crate) fn outcome(&self) -> Outcome {
        Outcome {
            id: self.id.clone(),
            task: self.task.clone().unwrap_or_else(|| "unknown".into()),
            host: None,
            result: Err(Box::new(Failure::new(Class::Input, self.message()))),
            attempts: 0,
            cached: false,
            worker: None,
            queued: Duration::ZERO,
            duration: Duration::ZERO,
        }
    }
}

/// A line whose values are left as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow, default, deserialize_with = "written")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    task: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "payload")]
    input: Option<Payload>,
    #[serde(borrow, default, deserialize_with = "written")]
    host: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    hint: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    limits: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    slots: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    priority: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    timeout: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    retry: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    cache: Option<&'a RawValue>,
}

/// A null is something written, too: an `Option` alone would take it for nothing.
fn written<'de, D: Deserializer<'de>>(input: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(input).map(Some)
}

fn payload<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Payload>, D::Error> {
    Payload::deserialize(input).map(Some)
}

/// The text of a JSON string without escapes.
fn plain(raw: &RawValue) -> Option<&str> {
    let text = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    (!text.is_empty() && !text.contains('\\')).then_some(text)
}

impl Line<'_> {
    fn terms(&self) -> [Option<&RawValue>; 7] {
        [
            self.hint,
            self.limits,
            self.slots,
            self.priority,
            self.timeout,
            self.retry,
            self.cache,
        ]
    }
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
            let read = read_line(&mut *self.reader, &mut self.buffer)?;
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
            id,
            work: Work::Task {
                task,
                input: line.input.unwrap_or_else(Payload::null),
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

/// A task and its terms as they are written.
fn written_key(key: &mut String, task: &str, terms: &[Option<&RawValue>; 7]) {
    key.clear();
    key.push_str(task);
    for term in terms {
        key.push('\n');
        key.push_str(term.map(RawValue::get).unwrap_or_default());
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

enum Read {
    Line,
    /// Only its beginning was kept.
    TooLong,
    End,
}

/// Reads a line without its end, in bounded memory.
fn read_line(reader: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<Read> {
    let mut any = false;
    loop {
        let bytes = match reader.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if bytes.is_empty() {
            break;
        }
        any = true;
        let end = memchr::memchr(b'\n', bytes);
        let taken = end.unwrap_or(bytes.len());
        // One byte more than is allowed shows that it is too long; the rest is passed over.
        let room = (LONGEST + 1).saturating_sub(line.len());
        line.extend_from_slice(&bytes[..taken.min(room)]);
        reader.consume(taken + usize::from(end.is_some()));
        if end.is_some() {
            break;
        }
    }
    Ok(match any {
        false => Read::End,
        true if line.len() > LONGEST => Read::TooLong,
        true => Read::Line,
    })
}
