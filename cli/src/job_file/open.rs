//! Opening a job file, of whatever format.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use ratchet_runtime::{Error, Job, JobKey, Work, order_by_needs};

use super::book::Book;
use super::error::FileError;
use super::job::Links;
use super::keys;
use super::plan::{Jobs, Options, Plan};
use super::program::Search;
use super::stream::Lines;
use crate::diagnostic::{Diagnostic, Report, Source, Span};
use crate::document::{Format, Node, Shape, Value, check, source};
use crate::value;

/// A larger document would take several times its size of memory.
const LARGEST: u64 = 256 << 20;

/// Larger reads make fewer of them; beyond this it makes no difference.
const BUFFER: usize = 256 * 1024;

/// Reads a job file, or JSON lines from stdin where the path is `-`.
pub(crate) fn open(path: &Path, options: &Options) -> Result<Plan, FileError> {
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
    let Some(format) = Format::of(path) else {
        return Err(FileError::Format { name });
    };
    let folder = std::path::absolute(path)
        .map_err(unreadable)?
        .parent()
        .map(Path::to_path_buf);
    let file = File::open(path).map_err(unreadable)?;
    if format == Format::JsonLines {
        return stream(&name, Box::new(file), folder, options);
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        let limit = value::show_size(LARGEST);
        return Err(FileError::TooLarge { name, limit });
    }
    let source = source(&name, bytes).map_err(FileError::Refused)?;
    document(source, format, folder, options)
}

fn stream(
    name: &str,
    reader: Box<dyn Read + Send>,
    folder: Option<std::path::PathBuf>,
    options: &Options,
) -> Result<Plan, FileError> {
    let reader = BufReader::with_capacity(BUFFER, reader);
    let lines = Lines::open(name, reader, folder, options)?;
    Ok(Plan {
        workers: lines.workers().to_vec(),
        limits: lines.limits().to_vec(),
        warnings: lines.warnings().clone(),
        jobs: Jobs::Streamed(Box::new(lines)),
    })
}

fn refused(source: Source, diagnostics: Vec<Diagnostic>) -> FileError {
    FileError::Refused(Box::new(Report {
        source,
        diagnostics,
    }))
}

fn document(
    source: Source,
    format: Format,
    folder: Option<std::path::PathBuf>,
    options: &Options,
) -> Result<Plan, FileError> {
    let document = match format.read(&source) {
        Ok(Some(document)) => document,
        Ok(None) => {
            let name = source.name().to_owned();
            return Err(FileError::Nothing { name });
        }
        Err(problems) => return Err(refused(source, problems)),
    };
    let mut problems = Vec::new();
    if let Value::List(_) = document.value {
        let place = Span::new(document.span.start, document.span.start + 1);
        let error = Diagnostic::error(place, "a job file is a map, not a list")
            .help("write `jobs:` before the list");
        return Err(refused(source, vec![error]));
    }
    check(&document, &Shape::Section(&keys::FILE), &mut problems);
    let mut book = Book::open(&document, folder, options, &mut problems);
    let json = (format == Format::Json).then(|| source.text());
    let nodes = document.get("jobs").map(Node::members).unwrap_or_default();
    let mut links = Vec::with_capacity(nodes.len());
    let mut jobs = Vec::with_capacity(nodes.len());
    let mut programs = Search::new();
    for (number, node) in (1..).zip(nodes) {
        if matches!(node.value, Value::Map(_)) {
            let own = Links::read(node, number);
            if let Some(job) = book.job(node, &own, json, &mut problems) {
                problems.extend(missing(&job, node, &mut programs));
                jobs.push(job);
            }
            links.push(own);
        }
    }
    refuse_used_ids(&links, &mut problems);
    let order = order(&links, &mut problems);
    problems.sort_by_key(|problem| problem.span.map(|span| span.start));
    problems.dedup();
    let report = Report {
        source,
        diagnostics: problems,
    };
    if report.has_errors() {
        return Err(FileError::Refused(Box::new(report)));
    }
    if jobs.is_empty() {
        let name = report.source.name().to_owned();
        return Err(FileError::Nothing { name });
    }
    Ok(Plan {
        workers: book.workers,
        limits: book.limits,
        jobs: Jobs::Listed { jobs, order },
        warnings: report,
    })
}

/// A program that is not there may be by then, if another job makes it; it is odd if nothing comes first.
fn missing(job: &Job, node: &Node, programs: &mut Search) -> Option<Diagnostic> {
    let (Work::Command(process), Some(run)) = (&job.work, node.get("run")) else {
        return None;
    };
    if !job.needs.is_empty() {
        return None;
    }
    let missing = programs.missing(process)?;
    let warning = Diagnostic::warning(run.span, format!("this cannot start: {missing}"));
    Some(warning.help("the job fails, unless the program is there by then"))
}

fn refuse_used_ids(jobs: &[Links], problems: &mut Vec<Diagnostic>) {
    let mut used: HashMap<&JobKey, &Links> = HashMap::with_capacity(jobs.len());
    for job in jobs {
        let id = &job.id;
        let Some(first) = used.insert(id, job) else {
            continue;
        };
        // Of a number and an id, the id is what can be changed.
        let (place, other) = match (job.place, first.place) {
            (Some(place), other) => (place, other.unwrap_or(first.whole)),
            (None, Some(place)) => (place, job.whole),
            (None, None) => continue,
        };
        let (message, label) = if job.place.is_some() && first.place.is_some() {
            (format!("id `{id}` is used twice"), "first used here")
        } else {
            let message =
                format!("id `{id}` is the number of another job, which has no id of its own");
            (message, "this one")
        };
        problems.push(Diagnostic::error(place, message).other(other, label));
    }
}

/// The order in which each job comes after its needs, if there is one.
fn order(all: &[Links], problems: &mut Vec<Diagnostic>) -> Vec<usize> {
    let known: HashSet<&str> = all.iter().map(|job| job.id.as_str()).collect();
    let mut names: Vec<&str> = known.iter().copied().collect();
    names.sort_unstable();
    let mut jobs = Vec::with_capacity(all.len());
    for job in all {
        let mut needs = Vec::with_capacity(job.needs.len());
        for (need, place) in &job.needs {
            if known.contains(need.as_str()) {
                needs.push(need.as_str());
                continue;
            }
            let message = format!("job `{}` needs `{need}`, which does not exist", job.id);
            let error = Diagnostic::error(*place, message);
            // Comparing names takes time, and nobody sees more than a few.
            problems.push(if problems.len() < 50 {
                error.did_you_mean(need.as_str(), names.iter().copied(), "known ids")
            } else {
                error
            });
        }
        jobs.push((job.id.as_str(), needs));
    }
    // Each circle is told; a handful of them is enough to see what is wrong.
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
        let needs = &all[at].needs;
        let place = needs.iter().find(|(need, _)| need.as_str() == second);
        let message = format!(
            "these jobs wait for each other for ever: {}",
            names.join(" -> ")
        );
        problems.push(
            Diagnostic::error(place.map_or(all[at].whole, |(_, place)| *place), message)
                .help("each needs the next; take one of the needs away"),
        );
        jobs[at].1.retain(|need| need != second);
    }
    Vec::new()
}

/// A file of nearly this name in the same folder.
fn similar(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let names: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| Format::of(Path::new(name)).is_some())
        .collect();
    let near = value::closest(name, names.iter().map(String::as_str))?;
    Some(path.with_file_name(near).display().to_string())
}
