//! Opens job files of every format.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use ratchet_runtime::{Error, Job, JobKey, Limit, Placement, Work, order_by_needs};

use super::builder::JobBuilder;
use super::error::FileError;
use super::expand::SectionExpansion;
use super::hosts::HostRegistry;
use super::job::{JobPlaces, JobReader};
use super::options::{BreakerAndBudget, PlanOptions, WorkerPlan};
use super::program::ProgramSearch;
use super::resources::Resources;
use super::selection::Selection;
use super::spec::{FileSpec, JobSpec};
use super::stream::JobLines;
use crate::diagnostic::{Diagnostic, Diagnostics, Problems, Source, Span};
use crate::document::{DocumentFormat, Extent, FromNode, Node, Part, Section, source, unknown_key};
use crate::value;

/// The largest document: it takes several times its size in memory.
const LARGEST: u64 = 256 << 20;

/// How much is read at once; larger reads are not faster.
const BUFFER: usize = 256 * 1024;

/// A job file that can be run, as far as that can be told without running it.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The kinds of workers, in the order of the file.
    pub(crate) workers: Vec<WorkerPlan>,
    /// The named limits that the file defines.
    pub(crate) limits: Vec<(String, Limit)>,
    /// The resources that the file and flags declare.
    pub(crate) resources: Resources,
    /// The breaker of commands and the retry budget.
    pub(crate) protection: BreakerAndBudget,
    /// The hosts on which jobs and workers can run.
    pub(crate) hosts: HostRegistry,
    /// The jobs of the file, or the stream that brings them.
    pub(crate) jobs: Jobs,
    /// The warnings, which do not stop the run.
    pub(crate) warnings: Diagnostics,
}

/// The jobs of a file, which are all known or are read on demand.
#[derive(Debug)]
pub(crate) enum Jobs {
    /// All jobs in the order of the file, and their indexes in an order in which each comes after its needs.
    Listed { jobs: Vec<Job>, order: Vec<usize> },
    /// Jobs that are read on demand. A job can need only earlier ones.
    Streamed(Box<JobLines>),
}

/// Reads a job file. If the path is `-`, it reads JSON lines from stdin.
pub(crate) fn open(path: &Path, options: &PlanOptions) -> Result<Plan, FileError> {
    if path == Path::new("-") {
        return stream("<stdin>", Box::new(io::stdin()), None, options);
    }
    let name = path.display().to_string();
    let unreadable = |source| FileError::Unreadable {
        name: name.clone(),
        source,
    };
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let similar = similar(path);
            return Err(FileError::Missing { name, similar });
        }
        Err(error) => return Err(unreadable(error)),
    };
    if found.is_dir() {
        return Err(FileError::Folder { name });
    }
    let Some(format) = DocumentFormat::of(path) else {
        return Err(FileError::Format { name });
    };
    let folder = std::path::absolute(path)
        .map_err(unreadable)?
        .parent()
        .map(Path::to_path_buf);
    let file = File::open(path).map_err(unreadable)?;
    if format == DocumentFormat::JsonLines {
        return stream(&name, Box::new(file), folder.as_deref(), options);
    }
    // A buffer that grows would touch several times the memory. A pipe has no length, and its buffer grows.
    let capacity = usize::try_from(found.len().min(LARGEST)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(capacity + 1);
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        let limit = value::show_size(LARGEST);
        return Err(FileError::TooLarge { name, limit });
    }
    let source = source(&name, bytes).map_err(FileError::Refused)?;
    document(source, format, folder.as_deref(), options)
}

fn stream(
    name: &str,
    reader: Box<dyn Read + Send>,
    folder: Option<&Path>,
    options: &PlanOptions,
) -> Result<Plan, FileError> {
    if !options.selection.is_all() {
        let name = name.to_owned();
        return Err(FileError::NotSelectable { name });
    }
    let reader = BufReader::with_capacity(BUFFER, reader);
    let lines = JobLines::open(name, reader, folder, options)?;
    Ok(Plan {
        workers: lines.workers().to_vec(),
        limits: lines.limits().to_vec(),
        resources: lines.resources().clone(),
        protection: lines.protection(),
        hosts: lines.hosts().clone(),
        warnings: lines.warnings().clone(),
        jobs: Jobs::Streamed(Box::new(lines)),
    })
}

fn refused(source: Source, diagnostics: Vec<Diagnostic>) -> FileError {
    FileError::Refused(Box::new(Diagnostics {
        source,
        diagnostics,
    }))
}

fn document(
    source: Source,
    format: DocumentFormat,
    folder: Option<&Path>,
    options: &PlanOptions,
) -> Result<Plan, FileError> {
    let mut problems = Vec::new();
    let mut document = DocumentReader::new(folder);
    let mut take = |part: Part<'_>, problems: &mut Problems| document.take(part, problems);
    match format.parts(&source, "jobs", &mut take, &mut problems) {
        Extent::Nothing => {
            let name = source.name().to_owned();
            return Err(FileError::Nothing { name });
        }
        // Relations to the part that could not be read cannot be checked.
        Extent::BrokenOff => return Err(refused(source, problems)),
        Extent::Whole => {}
    }
    let DocumentReader {
        file,
        mut jobs,
        mut places,
        mut reader,
        expanded,
        ..
    } = document;
    if let Some(listed) = file.jobs.into_value() {
        for (number, mut job) in (1..).zip(listed) {
            let (job, place) = reader.read(&mut job.value, number, &mut problems);
            jobs.push(job);
            places.push(place);
        }
    }
    name_each(&expanded, &mut jobs, &mut places);
    let mut builder = JobBuilder::new(
        *file.header.unwrap_or_default(),
        folder,
        options,
        &mut problems,
    );
    let mut programs = ProgramSearch::new();
    for (job, place) in jobs.iter_mut().zip(&places) {
        builder.settle(job, place, &mut problems);
        problems.extend(missing(job, place.work, &mut programs));
    }
    builder.warn_of_unused_overrides(&mut problems);
    builder.groups.warn_of_unused(&mut problems);
    let order = order(
        &jobs,
        &places,
        by_id(&jobs, &places, &mut problems),
        &mut problems,
    );
    problems.sort_by_key(|problem| problem.span.map(Span::start));
    problems.dedup();
    let report = Diagnostics {
        source,
        diagnostics: problems,
    };
    if report.has_errors() {
        return Err(FileError::Refused(Box::new(report)));
    }
    if let Some(pattern) = builder.groups.unused_typed() {
        let pattern = pattern.as_str().to_owned();
        return Err(FileError::NoSuchGroup { pattern });
    }
    let (jobs, order) = select(&options.selection, jobs, &places, order);
    if jobs.is_empty() {
        let name = report.source.name().to_owned();
        return Err(FileError::Nothing { name });
    }
    Ok(Plan {
        workers: builder.workers,
        limits: builder.limits,
        resources: builder.resources,
        protection: builder.protection,
        hosts: builder.hosts,
        jobs: Jobs::Listed { jobs, order },
        warnings: report,
    })
}

/// Has needs of a section that makes several jobs be needs of each of them.
fn name_each(expanded: &SectionExpansion, jobs: &mut [Job], places: &mut [JobPlaces]) {
    if expanded.is_empty() {
        return;
    }
    let ids: HashSet<JobKey> = jobs.iter().map(|job| job.id.clone()).collect();
    for (job, places) in jobs.iter_mut().zip(places) {
        let is_of_several =
            |need: &JobKey| !ids.contains(need) && expanded.of(need.as_str()).is_some();
        if !job.needs.iter().any(is_of_several) {
            continue;
        }
        let (mut needs, mut spans, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for (need, span) in job.needs.iter().zip(&places.needs) {
            let each = expanded.of(need.as_str()).filter(|_| is_of_several(need));
            for need in each.unwrap_or(std::slice::from_ref(need)) {
                if seen.insert(need.clone()) {
                    needs.push(need.clone());
                    spans.push(*span);
                }
            }
        }
        job.needs = needs;
        places.needs = spans.into();
    }
}

/// Leaves the jobs that are selected, and their order.
fn select(
    selection: &Selection,
    jobs: Vec<Job>,
    places: &[JobPlaces],
    order: Vec<usize>,
) -> (Vec<Job>, Vec<usize>) {
    if selection.is_all() {
        return (jobs, order);
    }
    let groups: Vec<_> = places
        .iter()
        .map(|places| places.group.as_deref())
        .collect();
    let chosen = selection.choose(&jobs, &groups, &order);
    let mut left = 0;
    let numbers: Vec<usize> = chosen
        .iter()
        .map(|is_chosen| {
            left += usize::from(*is_chosen);
            left.saturating_sub(1)
        })
        .collect();
    let order = order.into_iter().filter(|at| chosen[*at]);
    let order = order.map(|at| numbers[at]).collect();
    let mut jobs = jobs;
    let mut chosen = chosen.into_iter();
    jobs.retain(|_| chosen.next().unwrap_or_default());
    (jobs, order)
}

/// Collects the parts of a document. The sections may come after the jobs, so jobs are completed at the end.
struct DocumentReader {
    file: FileSpec,
    jobs: Vec<Job>,
    places: Vec<JobPlaces>,
    reader: JobReader,
    expanded: SectionExpansion,
    /// The folder of the file.
    folder: Option<PathBuf>,
}

impl DocumentReader {
    fn new(folder: Option<&Path>) -> Self {
        Self {
            file: FileSpec::default(),
            jobs: Vec::new(),
            places: Vec::new(),
            reader: JobReader::new(folder.map(Path::to_path_buf)),
            expanded: SectionExpansion::default(),
            folder: folder.map(Path::to_path_buf),
        }
    }

    /// Takes the section of a job, which may make several.
    fn take_job(&mut self, node: Node<'_>, problems: &mut Problems) {
        let Self {
            jobs,
            places,
            reader,
            expanded,
            folder,
            ..
        } = self;
        expanded.each(node, folder.as_deref(), problems, |node, problems| {
            if let Some(mut spec) = JobSpec::from_node(node, problems) {
                let number = jobs.len() as u64 + 1;
                let (job, of_job) = reader.read(&mut spec, number, problems);
                jobs.push(job);
                places.push(of_job);
            }
        });
    }

    fn take(&mut self, part: Part<'_>, problems: &mut Problems) {
        match part {
            Part::Member(node) => self.take_job(node, problems),
            // A list that was not delivered member by member.
            Part::Entry(entry) if entry.name == "jobs" && entry.node.is_list() => {
                for node in entry.node.into_list().unwrap_or_default() {
                    self.take_job(node, problems);
                }
            }
            Part::Entry(entry) => {
                if let Err(entry) = self.file.read_entry(entry, problems) {
                    problems.push(unknown_key::<FileSpec>(&entry));
                }
            }
            Part::Whole(node) if node.is_list() => {
                let start = node.span.start();
                let place = Span::new(start, start + 1);
                problems.push(
                    Diagnostic::error(place, "a job file is a map, not a list")
                        .help("write `jobs:` before the list"),
                );
            }
            Part::Whole(node) => {
                // The document is no map, so this adds the error.
                FileSpec::from_node(node, problems);
            }
        }
    }
}

/// Warns of a program that does not exist. Another job may create it, so a job with needs is not checked.
fn missing(job: &Job, place: Span, programs: &mut ProgramSearch) -> Option<Diagnostic> {
    let Work::Command(process) = &job.work else {
        return None;
    };
    if !job.needs.is_empty() || job.terms.on != Placement::Here {
        return None;
    }
    let missing = programs.missing(process)?;
    let warning = Diagnostic::warning(place, format!("this cannot start: {missing}"));
    Some(warning.help("the job fails, unless the program is there by then"))
}

/// Indexes of jobs by their ids. There may be hundreds of thousands, and the standard hash takes three times as long.
type ById<'a> = HashMap<&'a str, usize, foldhash::fast::RandomState>;

/// Indexes the jobs by their ids, and refuses ids that are used twice.
fn by_id<'a>(jobs: &'a [Job], places: &[JobPlaces], problems: &mut Problems) -> ById<'a> {
    let mut used =
        ById::with_capacity_and_hasher(jobs.len(), foldhash::fast::RandomState::default());
    for (at, (job, place)) in jobs.iter().zip(places).enumerate() {
        let id = &job.id;
        let Some(first) = used.insert(id.as_str(), at) else {
            continue;
        };
        let first = &places[first];
        // Of an id and a number, only the id can be changed.
        let (here, other) = match (place.id, first.id) {
            (Some(here), other) => (here, other.unwrap_or(first.head)),
            (None, Some(here)) => (here, place.head),
            (None, None) => continue,
        };
        let (message, label) = if place.id.is_some() && first.id.is_some() {
            (format!("id `{id}` is used twice"), "first used here")
        } else {
            let message =
                format!("id `{id}` is the number of another job, which has no id of its own");
            (message, "this one")
        };
        problems.push(Diagnostic::error(here, message).other(other, label));
    }
    used
}

/// An order of the jobs in which each comes after its needs. If there is none, the circles are reported.
fn order(
    all: &[Job],
    places: &[JobPlaces],
    known: ById<'_>,
    problems: &mut Problems,
) -> Vec<usize> {
    /// Finding a similar name takes time, and nobody reads more suggestions.
    const SUGGESTED: usize = 50;
    let mut names: Option<Vec<&str>> = None;
    let mut jobs = Vec::with_capacity(all.len());
    for (job, place) in all.iter().zip(places) {
        let mut needs = Vec::with_capacity(job.needs.len());
        for (need, place) in job.needs.iter().zip(&place.needs) {
            if known.contains_key(need.as_str()) {
                needs.push(need.as_str());
                continue;
            }
            let message = format!("job `{}` needs `{need}`, which does not exist", job.id);
            let error = Diagnostic::error(*place, message);
            problems.push(if problems.len() < SUGGESTED {
                let names = names.get_or_insert_with(|| {
                    let mut names: Vec<_> = known.keys().copied().collect();
                    names.sort_unstable();
                    names
                });
                error.did_you_mean(need.as_str(), names.iter().copied(), "known ids")
            } else {
                error
            });
        }
        jobs.push((job.id.as_str(), needs));
    }
    drop(known);
    // Each circle is reported, up to a handful.
    for _ in 0..5 {
        let names = match order_by_needs(&jobs) {
            Ok(order) => return order,
            Err(Error::NeedCircle { names }) => names,
            Err(_) => break,
        };
        let [first, second, ..] = &names[..] else {
            break;
        };
        let Some(at) = jobs.iter().position(|(name, _)| name == first) else {
            break;
        };
        let mut needs = all[at].needs.iter().zip(&places[at].needs);
        let place = needs.find(|(need, _)| need.as_str() == second);
        let message = format!(
            "these jobs wait for each other for ever: {}",
            names.join(" -> ")
        );
        problems.push(
            Diagnostic::error(place.map_or(places[at].head, |(_, place)| *place), message)
                .help("each needs the next; take one of the needs away"),
        );
        jobs[at].1.retain(|need| need != second);
    }
    Vec::new()
}

/// A job file in the same folder with almost this name.
fn similar(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let names: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| DocumentFormat::of(Path::new(name)).is_some())
        .collect();
    let near = value::closest(name, names.iter().map(String::as_str))?;
    Some(path.with_file_name(near).display().to_string())
}
