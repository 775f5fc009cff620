//! Reads jobs as JSON lines, on demand.

mod read;
mod refused;

use std::io::{self, BufReader};
use std::path::Path;

use ratchet_runtime::{Job, JobKey, Limit, TaskName};

pub(crate) use self::read::{LONGEST, LineRead, read_until};
pub(crate) use self::refused::{RefusedLine, StreamError};
use super::addition::JobAdder;
use super::builder::JobBuilder;
use super::error::FileError;
use super::folders::FileFolders;
use super::header_line::is_header;
use super::hosts::HostRegistry;
use super::job::{JobPlaces, JobReader};
use super::options::{BreakerAndBudget, PlanOptions, WorkerPlan};
use super::resources::Resources;
use super::seen_ids::SeenIds;
use super::spec::{HeaderSpec, JobSpec};
use crate::diagnostic::{Diagnostic, Diagnostics, Problems, Severity, Source, Span};
use crate::document::{FromNode, Node, json_node};
use crate::value;

/// The reader of the lines.
pub(super) type LineReader = BufReader<Box<dyn io::Read + Send>>;

/// The capacity above which the buffer is freed after a line.
const KEPT: usize = 1 << 20;

/// The jobs of a stream, which are read on demand.
pub(crate) struct JobLines {
    name: String,
    reader: LineReader,
    jobs: JobReader,
    builder: JobBuilder,
    warnings: Diagnostics,
    number: u64,
    buffer: Vec<u8>,
    /// The job of the first line, which had to be read because it could be a header.
    first: Option<Result<Job, StreamError>>,
    ids: SeenIds,
    ended: bool,
}

impl JobLines {
    /// Opens a stream, and reads its header if it has one.
    pub(super) fn open(
        name: &str,
        reader: LineReader,
        folder: Option<&Path>,
        options: &PlanOptions,
    ) -> Result<Self, FileError> {
        let mut problems = Vec::new();
        let folders = FileFolders::of_one(folder);
        let no_header = HeaderSpec::default();
        let mut lines = Self {
            name: name.to_owned(),
            reader,
            jobs: JobReader::new(folder.map(Path::to_path_buf)),
            builder: JobBuilder::new(no_header, &folders, options, &mut problems),
            warnings: Diagnostics {
                source: Source::new(name, String::new()),
                diagnostics: Vec::new(),
            },
            number: 0,
            buffer: Vec::new(),
            first: None,
            ids: SeenIds::new(),
            ended: false,
        };
        let unreadable = |source| FileError::Unreadable {
            name: name.to_owned(),
            source,
        };
        let read = lines.next_line().map_err(unreadable)?;
        if matches!(read, LineRead::End) {
            let name = name.to_owned();
            return Err(FileError::Nothing { name });
        }
        if lines.buffer.starts_with(b"\xef\xbb\xbf") {
            lines.buffer.drain(..3);
        }
        let buffer = std::mem::take(&mut lines.buffer);
        let (LineRead::Line, Ok(text)) = (&read, std::str::from_utf8(&buffer)) else {
            lines.buffer = buffer;
            lines.first = lines.item(&read);
            return Ok(lines);
        };
        let node = json_node(text, &mut problems);
        if !node.as_ref().is_some_and(is_header) {
            lines.first = Some(
                lines
                    .job_of(text, node, problems)
                    .map_err(StreamError::Refused),
            );
            lines.buffer = buffer;
            return Ok(lines);
        }
        let header = node.and_then(|node| HeaderSpec::from_node(node, &mut problems));
        let header = header.unwrap_or_default();
        lines.builder = JobBuilder::new(header, &folders, options, &mut problems);
        lines.warnings = Diagnostics {
            source: Source::from_line(name, text.to_owned(), lines.number),
            diagnostics: problems,
        };
        if lines.warnings.has_errors() {
            return Err(FileError::Refused(Box::new(lines.warnings)));
        }
        Ok(lines)
    }

    /// Returns the reader of what is added to the run while it goes on, with the sections of the first line.
    pub(super) fn adder(&self) -> JobAdder {
        // Every other line has places of its own, which begin anew.
        JobAdder::new(self.builder.clone(), LONGEST + 1)
    }

    /// Returns the name of the stream in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether reading the next line may wait.
    pub(crate) fn may_wait(&self) -> bool {
        self.first.is_none() && memchr::memchr(b'\n', self.reader.buffer()).is_none()
    }

    /// Returns the pools of workers that the first line of the stream declares.
    pub(crate) fn workers(&self) -> &[WorkerPlan] {
        &self.builder.workers
    }

    /// Returns the limits that the first line of the stream declares, by name.
    pub(crate) fn limits(&self) -> &[(String, Limit)] {
        self.builder.limits()
    }

    /// Returns the resources that flags and the first line of the stream declare.
    pub(super) fn resources(&self) -> &Resources {
        self.builder.resources()
    }

    /// Returns the breakers and the retry budget that the first line of the stream declares.
    pub(super) fn protection(&self) -> BreakerAndBudget {
        self.builder.protection
    }

    /// Returns the hosts that the first line of the stream declares.
    pub(super) fn hosts(&self) -> &HostRegistry {
        self.builder.hosts()
    }

    /// Returns the warnings about the first line of the stream.
    pub(super) fn warnings(&self) -> &Diagnostics {
        &self.warnings
    }

    /// Reads the next line into the buffer, and skips blank lines.
    fn next_line(&mut self) -> io::Result<LineRead> {
        loop {
            if self.buffer.capacity() > KEPT {
                self.buffer = Vec::new();
            }
            self.buffer.clear();
            let read = read_until(&mut self.reader, b'\n', &mut self.buffer)?;
            self.number += u64::from(!matches!(read, LineRead::End));
            if !matches!(read, LineRead::Line) || !self.buffer.trim_ascii().is_empty() {
                return Ok(read);
            }
        }
    }

    /// Returns the job of the line that was read. It is nothing at the end.
    fn item(&mut self, read: &LineRead) -> Option<Result<Job, StreamError>> {
        match read {
            LineRead::End => {
                self.ended = true;
                None
            }
            LineRead::TooLong => Some(Err(StreamError::Refused(self.too_long()))),
            LineRead::Line => {
                // The buffer is taken out of `self`, because the line is borrowed while `self` is changed.
                let buffer = std::mem::take(&mut self.buffer);
                let job = self.job(&buffer);
                self.buffer = buffer;
                Some(job.map_err(StreamError::Refused))
            }
        }
    }

    /// Returns the job of a line.
    fn job(&mut self, line: &[u8]) -> Result<Job, Box<RefusedLine>> {
        let text = match std::str::from_utf8(line) {
            Ok(text) => text,
            Err(error) => {
                let at = error.valid_up_to();
                let shown = String::from_utf8_lossy(line).into_owned();
                let wide = shown[at..].chars().next().map_or(0, char::len_utf8);
                let found = Diagnostic::error(Span::new(at, at + wide), "this is not UTF-8");
                return Err(self.refuse(shown, vec![found], None, None));
            }
        };
        let mut problems = Vec::new();
        let node = json_node(text, &mut problems);
        self.job_of(text, node, problems)
    }

    /// Returns the job of a line that was parsed as JSON.
    fn job_of(
        &mut self,
        text: &str,
        node: Option<Node<'_>>,
        mut problems: Problems,
    ) -> Result<Job, Box<RefusedLine>> {
        let spec = node.and_then(|node| JobSpec::from_node(node, &mut problems));
        let Some(mut spec) = spec else {
            return Err(self.refuse(text.to_owned(), problems, None, None));
        };
        let (mut job, places) = self.jobs.read(&mut spec, self.number, &mut problems);
        self.builder.settle(&mut job, &places, &mut problems);
        if !has_errors(&problems) {
            self.check_relations(&job, &places, &mut problems);
        }
        if has_errors(&problems) {
            let (id, task) = (spec.id.into_value(), spec.task.into_value());
            return Err(self.refuse(text.to_owned(), problems, id, task));
        }
        Ok(job)
    }

    /// Checks the id and the needs of a job against the earlier lines.
    fn check_relations(&mut self, job: &Job, places: &JobPlaces, problems: &mut Problems) {
        if let Some(of) = &places.stdin {
            let message = "a job of a stream cannot use the output of another job, because each line is read separately";
            let help = "write the jobs into a file in YAML, JSON or TOML, or let one job write a file that the other reads";
            problems.push(Diagnostic::error(of.span, message).help(help));
            return;
        }
        let mut lacks_one = false;
        for (need, place) in job.needs.iter().zip(&places.needs) {
            if self.ids.lacks(need.as_str()) {
                lacks_one = true;
                problems.push(
                    Diagnostic::error(*place, format!("there is no earlier job `{need}`"))
                        .help("in a stream, a job can need only jobs of earlier lines"),
                );
            }
        }
        if lacks_one {
            return;
        }
        let taken = match places.id {
            Some(_) => self.ids.add(job.id.as_str()),
            None => self.ids.number(self.number),
        };
        if let Err(message) = taken {
            let place = places.id.unwrap_or(places.head);
            problems.push(Diagnostic::error(place, message).help("give each job its own id"));
        }
    }

    fn refuse(
        &self,
        text: String,
        diagnostics: Vec<Diagnostic>,
        id: Option<JobKey>,
        task: Option<TaskName>,
    ) -> Box<RefusedLine> {
        Box::new(RefusedLine {
            line: self.number,
            id: id.unwrap_or_else(|| self.id_of_line()),
            task,
            diagnostics: Diagnostics {
                source: Source::from_line(&self.name, text, self.number),
                diagnostics,
            },
        })
    }

    /// Returns the id of the result of a line that names none: its number, unless that is the id of an earlier line.
    fn id_of_line(&self) -> JobKey {
        let number = self.number.to_string();
        if self.ids.lacks(&number) {
            number.into()
        } else {
            format!("line {number}").into()
        }
    }

    fn too_long(&self) -> Box<RefusedLine> {
        let head = String::from_utf8_lossy(&self.buffer[..self.buffer.len().min(200)]).into_owned();
        let message = format!(
            "the line is longer than {}",
            value::show_size(LONGEST as u64)
        );
        let found = Diagnostic::error(Span::default(), message)
            .help("put large inputs into files, and pass their paths");
        self.refuse(head, vec![found], None, None)
    }
}

fn has_errors(problems: &[Diagnostic]) -> bool {
    let mut found = problems.iter();
    found.any(|found| found.severity == Severity::Error)
}

impl Iterator for JobLines {
    type Item = Result<Job, StreamError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.ended {
            return None;
        }
        match self.next_line() {
            Ok(read) => self.item(&read),
            Err(error) => {
                self.ended = true;
                Some(Err(StreamError::Unreadable(error)))
            }
        }
    }
}

impl std::fmt::Debug for JobLines {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "JobLines({} at {})", self.name, self.number)
    }
}
