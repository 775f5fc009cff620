//! Opens job files of every format.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use ratchet_runtime::{Error, Job, JobKey, Limit, Placement, Work, order_by_needs};

use super::builder::JobBuilder;
use super::documents::{self, Documents};
use super::error::FileError;
use super::expand::SectionExpansion;
use super::hosts::HostRegistry;
use super::job::JobPlaces;
use super::options::{BreakerAndBudget, PlanOptions, WorkerPlan};
use super::program::ProgramSearch;
use super::resources::Resources;
use super::selection::Selection;
use super::stream::JobLines;
use super::{outputs, setup};
use crate::diagnostic::{Diagnostic, Diagnostics, Problems, Source, Span};
use crate::document::{DocumentFormat, Extent, source};
use crate::value;

/// How many bytes are read at once. Larger reads are not faster.
const BUFFER: usize = 256 * 1024;

/// The content of a job file that passed all checks which are possible without running it.
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
    /// The jobs of the file, or the stream from which they are read.
    pub(crate) jobs: Jobs,
    /// The warnings, which do not stop the run.
    pub(crate) warnings: Diagnostics,
}

/// The jobs of a file. Either all are known, or they are read on demand.
#[derive(Debug)]
pub(crate) enum Jobs {
    /// The jobs are all known.
    Listed {
        /// The jobs in the order of the file, after the setup scripts.
        jobs: Vec<Job>,
        /// The indexes of the jobs, in an order in which each comes after its needs.
        order: Vec<usize>,
        /// The setup scripts among them.
        setups: HashSet<JobKey>,
    },
    /// The jobs are read on demand. A job can need only earlier ones.
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
    if format == DocumentFormat::JsonLines {
        let file = File::open(path).map_err(unreadable)?;
        return stream(&name, Box::new(file), folder.as_deref(), options);
    }
    let Some(bytes) = documents::read_document(path, 0).map_err(unreadable)? else {
        let limit = value::show_size(documents::LARGEST);
        return Err(FileError::TooLarge { name, limit });
    };
    let source = source(&name, bytes).map_err(FileError::Refused)?;
    document(source, path, format, folder.as_deref(), options)
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
    path: &Path,
    format: DocumentFormat,
    folder: Option<&Path>,
    options: &PlanOptions,
) -> Result<Plan, FileError> {
    let mut problems = Vec::new();
    let documents = documents::read(source, path, format, folder, &mut problems);
    match documents.extent {
        Extent::Nothing => {
            let name = documents.source.name().to_owned();
            return Err(FileError::Nothing { name });
        }
        // The relations to jobs in the part that was not read cannot be checked.
        Extent::BrokenOff => return Err(refused(documents.source, problems)),
        Extent::Whole => {}
    }
    let Documents {
        source,
        folders,
        header,
        mut jobs,
        mut places,
        setup,
        expanded,
        ..
    } = documents;
    name_each(&expanded, &mut jobs, &mut places);
    let (scripts, script_places) =
        setup::needed(setup, &folders, &mut jobs, &mut places, &mut problems);
    jobs.splice(0..0, scripts);
    places.splice(0..0, script_places);
    outputs::connect(&mut jobs, &places, &expanded, &mut problems);
    let mut builder = JobBuilder::new(header, &folders, options, &mut problems);
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
    let setups = places.iter().zip(&jobs);
    let setups = setups.filter(|(place, _)| place.is_setup);
    let setups = setups.map(|(_, job)| job.id.clone()).collect();
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
        jobs: Jobs::Listed {
            jobs,
            order,
            setups,
        },
        warnings: report,
    })
}

/// Replaces each need of a section that makes several jobs by needs of all these jobs.
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

/// Keeps only the selected jobs, and returns them with their order.
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
    let is_setup: Vec<bool> = places.iter().map(|places| places.is_setup).collect();
    let chosen = selection.choose(&jobs, (&groups, &is_setup), &order);
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

/// Warns of a program that does not exist. A job with needs is not checked, because one of them may create the program.
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

/// The indexes of jobs by their ids. There may be hundreds of thousands, and the standard hash takes three times as
/// long.
type ById<'a> = HashMap<&'a str, usize, foldhash::fast::RandomState>;

/// Indexes the jobs by their ids, and reports ids that are used twice.
fn by_id<'a>(jobs: &'a [Job], places: &[JobPlaces], problems: &mut Problems) -> ById<'a> {
    let mut used =
        ById::with_capacity_and_hasher(jobs.len(), foldhash::fast::RandomState::default());
    for (at, (job, place)) in jobs.iter().zip(places).enumerate() {
        let id = &job.id;
        let Some(first) = used.insert(id.as_str(), at) else {
            continue;
        };
        let first = &places[first];
        // If an id equals the number of a job without an id, the error is placed at the id, because only the id can be
        // changed.
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

/// An order of the jobs in which each comes after its needs. If there is none because needs form circles, these are
/// reported.
fn order(
    all: &[Job],
    places: &[JobPlaces],
    known: ById<'_>,
    problems: &mut Problems,
) -> Vec<usize> {
    /// The number of problems after which no similar names are suggested. Finding them takes time, and nobody reads so
    /// many.
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
    // At most five circles are reported. One need of each is taken away, so that the next round finds another circle.
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

/// The path of a job file in the same folder that has almost this name.
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
