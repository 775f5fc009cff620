//! Opens job files of every format.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use ratchet_runtime::{Job, JobKey, Limit};

use super::addition::JobAdder;
use super::builder::JobBuilder;
use super::documents::{self, Documents};
use super::error::FileError;
use super::expand::SectionExpansion;
use super::found::FoundFile;
use super::hosts::HostRegistry;
use super::job::JobPlaces;
use super::options::{BreakerAndBudget, PlanOptions, WorkerPlan};
use super::program::{ProgramSearch, warn_missing};
use super::relations::{by_id, name_each, order};
use super::resources::Resources;
use super::selection::{SelectableNames, Selection};
use super::stream::JobLines;
use super::{outputs, setup};
use crate::diagnostic::{Diagnostic, Diagnostics, Source, Span};
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
    /// Reads what is added to the run while it goes on.
    pub(crate) adder: JobAdder,
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
    let FoundFile {
        name,
        format,
        folder,
    } = FoundFile::at(path)?;
    let unreadable = |source| FileError::Unreadable {
        name: name.clone(),
        source,
    };
    if format == DocumentFormat::JsonLines {
        let file = File::open(path).map_err(unreadable)?;
        return stream(&name, Box::new(file), Some(&folder), options);
    }
    let Some(bytes) = documents::read_document(path, 0).map_err(unreadable)? else {
        let limit = value::show_size(documents::LARGEST);
        return Err(FileError::TooLarge { name, limit });
    };
    let source = source(&name, bytes).map_err(FileError::Refused)?;
    document(source, path, format, Some(&folder), options)
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
        adder: lines.adder(),
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
    let (scripts, matchers) = setup::needed(setup, &folders, &mut jobs, &mut places, &mut problems);
    let (scripts, script_places): (Vec<_>, Vec<_>) = scripts.into_iter().unzip();
    jobs.splice(0..0, scripts);
    places.splice(0..0, script_places);
    outputs::connect(&mut jobs, &places, &expanded, &mut problems);
    let mut builder = JobBuilder::new(header, &folders, options, &mut problems);
    let mut programs = ProgramSearch::new();
    for (job, place) in jobs.iter_mut().zip(&places) {
        builder.settle(job, place, &mut problems);
        problems.extend(warn_missing(job, place.work, &mut programs));
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
    let (jobs, order) = select(&options.selection, jobs, (&places, &expanded), order)?;
    if jobs.is_empty() {
        let name = report.source.name().to_owned();
        return Err(FileError::Nothing { name });
    }
    let start = report.source.next_start();
    Ok(Plan {
        workers: builder.workers.clone(),
        limits: builder.limits().to_vec(),
        resources: builder.resources().clone(),
        protection: builder.protection,
        hosts: builder.hosts().clone(),
        adder: JobAdder::new(builder, start).with_sections(expanded, matchers),
        jobs: Jobs::Listed {
            jobs,
            order,
            setups,
        },
        warnings: report,
    })
}

/// Keeps only the selected jobs, and returns them with their order. A pattern that matches no job is refused, unless no
/// job is left anyway.
fn select(
    selection: &Selection,
    jobs: Vec<Job>,
    (places, expanded): (&[JobPlaces], &SectionExpansion),
    order: Vec<usize>,
) -> Result<(Vec<Job>, Vec<usize>), FileError> {
    if selection.is_all() {
        return Ok((jobs, order));
    }
    let sections = sections_of(&jobs, expanded);
    let names: Vec<_> = places
        .iter()
        .zip(sections)
        .map(|(places, section)| SelectableNames {
            group: places.group.as_deref(),
            section,
            is_setup: places.is_setup,
        })
        .collect();
    let chosen = selection.choose(&jobs, &names, &order);
    if chosen.contains(&true)
        && let Some(option) = selection.unmatched(&jobs, &names)
    {
        return Err(FileError::NoSuchJob { option });
    }
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
    Ok((jobs, order))
}

/// Returns the id of the section that has made each job together with others. As in `needs`, the id of a section stands
/// for its jobs only if no job has it.
fn sections_of<'a>(jobs: &[Job], expanded: &'a SectionExpansion) -> Vec<Option<&'a str>> {
    let ids: HashSet<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
    let sections = expanded.sections();
    let sections = sections.filter(|(section, _)| !ids.contains(section));
    let of: HashMap<&str, &str> = sections
        .flat_map(|(section, of)| of.iter().map(move |id| (id.as_str(), section)))
        .collect();
    jobs.iter()
        .map(|job| of.get(job.id.as_str()).copied())
        .collect()
}
