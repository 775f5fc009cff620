//! Jobs that are added to a run in progress, read with the sections that the run has.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ratchet_runtime::{CacheTerms, Job, JobKey, PlaceName, Placement, TaskName, Work};
use serde::{Deserialize, Serialize};

use super::builder::JobBuilder;
use super::documents::{self, AddedSections};
use super::error::FileError;
use super::expand::SectionExpansion;
use super::found::FoundFile;
use super::job::JobPlaces;
use super::options::ServedTasks;
use super::outputs;
use super::program::{ProgramSearch, warn_missing};
use super::relations::{by_id, in_order, name_each};
use super::setup::{self, SetupMatcher};
use crate::diagnostic::{Diagnostic, Diagnostics, Problems, Source, Span};
use crate::document::{DocumentFormat, Extent, source};
use crate::value;

/// The most bytes that a text may have. It is sent to the run and recorded as a whole.
const LARGEST_ADDITION: u64 = 8 << 20;

/// A text with jobs that somebody adds to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Addition {
    /// What messages call the text.
    pub(crate) name: String,
    /// The folder that its paths are relative to.
    pub(crate) folder: PathBuf,
    /// How it is written.
    pub(crate) format: DocumentFormat,
    /// The text.
    pub(crate) text: String,
}

impl Addition {
    /// Reads a job file, or JSON lines from stdin if the path is `-`.
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        if path == Path::new("-") {
            let name = "<stdin>".to_owned();
            let folder = std::env::current_dir();
            let folder = folder.map_err(|error| unreadable(&name, error))?;
            return Self::of(name, folder, DocumentFormat::JsonLines, &mut io::stdin());
        }
        let FoundFile {
            name,
            format,
            folder,
        } = FoundFile::at(path)?;
        let mut file = File::open(path).map_err(|error| unreadable(&name, error))?;
        Self::of(name, folder, format, &mut file)
    }

    fn of(
        name: String,
        folder: PathBuf,
        format: DocumentFormat,
        reader: &mut dyn Read,
    ) -> Result<Self, FileError> {
        let mut bytes = Vec::new();
        let read = reader.take(LARGEST_ADDITION + 1).read_to_end(&mut bytes);
        read.map_err(|error| unreadable(&name, error))?;
        if bytes.len() as u64 > LARGEST_ADDITION {
            let limit = value::show_size(LARGEST_ADDITION);
            return Err(FileError::TooLargeToAdd { name, limit });
        }
        let source = source(&name, bytes).map_err(FileError::Refused)?;
        Ok(Self {
            text: source.text().to_owned(),
            name,
            folder,
            format,
        })
    }

    /// Returns the text for messages about it.
    pub(crate) fn source(&self) -> Source {
        Source::new(&self.name, self.text.clone())
    }
}

/// Reads what is added to a run, with the sections of the run.
#[derive(Clone)]
pub(crate) struct JobAdder {
    builder: JobBuilder,
    /// Where the spans of each text begin: behind those of the run's file. Texts are not put behind each other, since spans have
    /// an end.
    start: usize,
    /// The sections of the run's file that make several jobs.
    expanded: SectionExpansion,
    /// The setup scripts of the run's file.
    setup: Vec<SetupMatcher>,
}

impl std::fmt::Debug for JobAdder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "JobAdder(from {})", self.start)
    }
}

impl JobAdder {
    /// Makes the reader for a run whose jobs this builder has completed. The spans of its texts end before `start`.
    pub(super) fn new(builder: JobBuilder, start: usize) -> Self {
        Self {
            builder,
            start,
            expanded: SectionExpansion::default(),
            setup: Vec::new(),
        }
    }

    /// Sets which sections of the run's file make several jobs, and which jobs its setup scripts are for.
    pub(super) fn with_sections(
        self,
        expanded: SectionExpansion,
        setup: Vec<SetupMatcher>,
    ) -> Self {
        Self {
            expanded,
            setup,
            ..self
        }
    }

    /// Reads a text that is added to a run with this many slots. Additions are numbered from 1 on.
    ///
    /// Returns the jobs together with the reader of the next addition, which has to be dropped if these are not added.
    pub(crate) fn read(
        &self,
        addition: &Addition,
        number: u32,
        slots: u32,
    ) -> Result<(AddedJobs, Self), Box<Diagnostics>> {
        let mut next = self.clone();
        let start = self.start;
        next.builder.begin_addition(start, &addition.folder, slots);
        let source = addition.source();
        let mut problems = Problems::new();
        let prefix = format!("added-{number}-");
        let sections = documents::read_added(
            &source,
            addition.format,
            &addition.folder,
            (start, &prefix),
            &mut problems,
        );
        let (jobs, places) = next.complete(sections, &mut problems);
        let diagnostics = of_addition(problems, start);
        let report = Diagnostics {
            source,
            diagnostics,
        };
        if report.has_errors() {
            return Err(Box::new(report));
        }
        let added = AddedJobs {
            jobs,
            places,
            start,
            report,
        };
        Ok((added, next))
    }

    /// Completes the jobs of a text, each after those of the text that it needs.
    fn complete(
        &mut self,
        sections: AddedSections,
        problems: &mut Problems,
    ) -> (Vec<Job>, Vec<JobPlaces>) {
        let AddedSections {
            mut jobs,
            mut places,
            expanded,
            extent,
        } = sections;
        if extent == Extent::BrokenOff {
            return (Vec::new(), Vec::new());
        }
        if jobs.is_empty() && problems.is_empty() {
            let nothing = Diagnostic::error(Span::new(self.start, self.start), "there are no jobs");
            problems.push(nothing.help("write `jobs:` with a list, or a JSON object on each line"));
        }
        name_each(&expanded, &mut jobs, &mut places);
        name_each(&self.expanded, &mut jobs, &mut places);
        setup::needed_by_added(&self.setup, &mut jobs, &mut places, problems);
        outputs::connect(&mut jobs, &places, &expanded, problems);
        let mut programs = ProgramSearch::new();
        for (job, place) in jobs.iter_mut().zip(&places) {
            self.builder.settle(job, place, problems);
            problems.extend(warn_missing(job, place.work, &mut programs));
        }
        let known = by_id(&jobs, &places, problems);
        let mut named = Vec::with_capacity(jobs.len());
        for (job, place) in jobs.iter().zip(&places) {
            if let Some(of) = &place.stdin
                && !known.contains_key(of.value.as_str())
            {
                let message = format!(
                    "the output of `{}` was not kept, because no job of the run reads it",
                    of.value
                );
                let help = "a job can read what another one of the same file gives";
                problems.push(Diagnostic::error(of.span, message).help(help));
            }
            let needs = job.needs.iter().map(JobKey::as_str);
            let inside = needs.filter(|need| known.contains_key(need)).collect();
            named.push((job.id.as_str(), inside));
        }
        let order = in_order(named, &jobs, &places, problems);
        if order.len() != jobs.len() {
            return (jobs, places);
        }
        let mut parts: Vec<_> = jobs.into_iter().zip(places).map(Some).collect();
        let in_order = order.into_iter().filter_map(|at| parts[at].take());
        in_order.unzip()
    }
}

fn unreadable(name: &str, source: io::Error) -> FileError {
    let name = name.to_owned();
    FileError::Unreadable { name, source }
}

/// What has become of a job of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobFate {
    /// It has not ended.
    Living,
    /// It has succeeded.
    Succeeded,
    /// It has ended in this other way.
    Lost(String),
}

/// The workers and hosts that a run has begun with. Others cannot be started any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct StartedParts {
    /// The tasks that the workers serve.
    pub(crate) serves: Vec<ServedTasks>,
    /// The hosts, without this machine.
    pub(crate) hosts: HashSet<PlaceName>,
    /// Why no job may use the cache, if none may and the run does without.
    pub(crate) cache_refused: Option<String>,
}

impl StartedParts {
    fn serve(&self, task: &TaskName) -> bool {
        self.serves.iter().any(|served| match served {
            ServedTasks::Everything => true,
            ServedTasks::Named(tasks) => tasks.contains(task),
        })
    }

    /// Returns a host that a job may need and that was not started.
    fn missing_host<'a>(&self, job: &'a Job) -> Option<&'a str> {
        match &job.terms.on {
            Placement::Here => None,
            Placement::Host => {
                let host = job.host.as_ref()?.as_str();
                let is_started = self.hosts.iter().any(|started| started.as_str() == host);
                (!is_started).then_some(host)
            }
            Placement::Among(places) => {
                let is_missing = |place: &&PlaceName| {
                    **place != PlaceName::LOCAL && !self.hosts.contains(*place)
                };
                places.iter().find(is_missing).map(PlaceName::as_str)
            }
        }
    }
}

/// Jobs that were read, and are not compared with those of the run yet.
pub(crate) struct AddedJobs {
    /// The jobs, each after those of the text that it needs.
    jobs: Vec<Job>,
    places: Vec<JobPlaces>,
    /// Where the spans of the text begin.
    start: usize,
    /// The text and the warnings about it.
    report: Diagnostics,
}

impl AddedJobs {
    /// Returns the warnings, which keep no job from being added.
    pub(crate) fn warnings(&self) -> &[Diagnostic] {
        &self.report.diagnostics
    }

    /// Returns the jobs as they stand in the text, for a run that begins anew with all of its jobs.
    pub(crate) fn into_jobs(self) -> Vec<Job> {
        self.jobs
    }

    /// Returns the ids that matter: those of the jobs, and those that they need of the run.
    pub(crate) fn ids(&self) -> Vec<JobKey> {
        let ids = self.jobs.iter().map(|job| &job.id);
        let needs = self.jobs.iter().flat_map(|job| &job.needs);
        let mut seen = HashSet::new();
        ids.chain(needs)
            .filter(|id| seen.insert(*id))
            .cloned()
            .collect()
    }

    /// Compares the jobs with those of the run, of which `fates` has each that is known among [`ids`](Self::ids).
    ///
    /// A need that has succeeded already is left out.
    pub(crate) fn join(
        &self,
        fates: &HashMap<JobKey, JobFate>,
        started: &StartedParts,
    ) -> Result<Vec<Job>, Box<Diagnostics>> {
        let own: HashSet<&JobKey> = self.jobs.iter().map(|job| &job.id).collect();
        let mut problems = Problems::new();
        let mut joined = self.jobs.clone();
        for (job, places) in joined.iter_mut().zip(&self.places) {
            if fates.contains_key(&job.id) {
                let message = format!("the run has a job `{}` already", job.id);
                let error = Diagnostic::error(places.id.unwrap_or(places.head), message);
                problems.push(error.help("give each job its own id"));
            }
            let mut needs = Vec::with_capacity(job.needs.len());
            for (need, span) in job.needs.iter().zip(&places.needs) {
                let refused = match fates.get(need) {
                    _ if own.contains(need) => None,
                    Some(JobFate::Living) => None,
                    Some(JobFate::Succeeded) => continue,
                    Some(JobFate::Lost(status)) => Some((
                        format!("job `{}` needs `{need}`, which has {status}", job.id),
                        "the job would be skipped; `ratchet resume` does both again, if it stands in the file",
                    )),
                    None => Some((
                        format!(
                            "job `{}` needs `{need}`, which the run does not know",
                            job.id
                        ),
                        "it may need a job of this file, or one that was handed over to the run",
                    )),
                };
                if let Some((message, help)) = refused {
                    problems.push(Diagnostic::error(*span, message).help(help));
                }
                needs.push(need.clone());
            }
            job.needs = needs;
            if let Work::Task { task, .. } = &job.work
                && !started.serve(task)
            {
                let message = format!("the run has not started the worker of `{task}`");
                let help = "no job of its file has this task, and workers cannot be added";
                problems.push(Diagnostic::error(places.work, message).help(help));
            }
            if let (Some(why), true) = (&started.cache_refused, may_use_cache(job)) {
                let error = Diagnostic::error(places.work, why.clone());
                problems.push(error.help("the job may use the cache; write `cache: false`"));
            }
            if let Some(host) = started.missing_host(job) {
                let message = format!("the run has not begun to reach host `{host}`");
                let help = "no job or worker of its file can run there, and hosts cannot be added";
                problems.push(Diagnostic::error(places.work, message).help(help));
            }
        }
        if problems.is_empty() {
            return Ok(joined);
        }
        Err(Box::new(Diagnostics {
            source: self.report.source.clone(),
            diagnostics: of_addition(problems, self.start),
        }))
    }
}

/// Whether a job may use the cache. A worker may say in its hello that the results of its tasks can be reused.
pub(crate) fn may_use_cache(job: &Job) -> bool {
    match job.terms.cache {
        Some(CacheTerms::On { .. }) => true,
        Some(CacheTerms::Off) => false,
        None => matches!(job.work, Work::Task { .. }),
    }
}

/// Moves what was found to the places in the text itself, which begins at `start` among all texts of the run. Of texts before,
/// only the message is left, since they are not at hand any more.
fn of_addition(problems: Problems, start: usize) -> Vec<Diagnostic> {
    let moved = |span: Span| {
        let moved = |at: usize| at.checked_sub(start);
        Some(Span::new(moved(span.start())?, moved(span.end())?))
    };
    let mut found: Vec<Diagnostic> = problems
        .into_iter()
        .map(|problem| Diagnostic {
            span: problem.span.and_then(moved),
            other: (problem.other).and_then(|(span, label)| Some((moved(span)?, label))),
            ..problem
        })
        .collect();
    found.sort_by_key(|found| found.span.map(Span::start));
    found.dedup();
    found
}

#[cfg(test)]
mod tests;
