//! Reads a job file and the files that it includes as if they were one.
//!
//! The texts of all files follow each other in one [`Source`], so a span also identifies the file. Paths are relative
//! to the file in which they are written, and [`FileFolders`] finds its folder by the span of a path.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ratchet_runtime::Job;

use super::expand::SectionExpansion;
use super::folders::FileFolders;
use super::header_line::is_header;
use super::hosts::words_of;
use super::job::{JobPlaces, JobReader};
use super::paths::within;
use super::spec::{FileSpec, HeaderSpec, JobSpec, SetupSpec};
use crate::diagnostic::{Diagnostic, Problems, Source, Span};
use crate::document::{
    DocumentFormat, Extent, Field, FromNode, Named, Node, Part, Section, Spanned, json_node,
    source, unknown_key,
};

/// The content of a job file and of those that it includes.
pub(super) struct Documents {
    /// The texts of all files.
    pub(super) source: Source,
    /// The folders of the files.
    pub(super) folders: FileFolders,
    /// The sections that are not jobs.
    pub(super) header: HeaderSpec,
    /// The jobs, those of the first file first.
    pub(super) jobs: Vec<Job>,
    /// The places of the parts of the jobs.
    pub(super) places: Vec<JobPlaces>,
    /// The setup scripts.
    pub(super) setup: Vec<Spanned<SetupSpec>>,
    /// The sections that make several jobs.
    pub(super) expanded: SectionExpansion,
    /// How much was read. If the reading of any file was broken off, this says so.
    pub(super) extent: Extent,
}

/// The largest document, in bytes. A document takes several times its size in memory.
pub(super) const LARGEST: u64 = 256 << 20;

/// A file of the documents: the first one, or one that is included.
struct IncludedFile {
    /// What messages call it.
    name: String,
    /// The path without symbolic links, by which files are compared.
    path: PathBuf,
    /// The index of the file that includes it. It is nothing for the first file.
    by: Option<usize>,
    /// Where it is included.
    place: Span,
}

/// Reads a whole document. Returns nothing if it and the `before` bytes of earlier files are too large together.
pub(super) fn read_document(path: &Path, before: u64) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    let left = LARGEST.saturating_sub(before);
    // The capacity is reserved at once, because a buffer that grows would touch several times the memory. For a pipe
    // the length is not known, so its buffer grows.
    let capacity = usize::try_from(file.metadata()?.len().min(left)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(capacity + 1);
    file.take(left + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= left).then_some(bytes))
}

/// Reads a document and the files that it includes. `path` is the path of the document.
pub(super) fn read(
    root: Source,
    path: &Path,
    format: DocumentFormat,
    folder: Option<&Path>,
    problems: &mut Problems,
) -> Documents {
    let mut reader = DocumentReader::default();
    let mut folders = FileFolders::of_one(folder);
    let mut extent = reader.read(&root, format, folder, 0, problems);
    let first = reader.take_file();
    let mut header = *first.header.unwrap_or_default();
    let mut setup = first.setup.into_value().unwrap_or_default();
    let mut files = vec![IncludedFile {
        name: root.name().to_owned(),
        // If the path cannot be resolved, an empty one is stored, which equals the path of no other file.
        path: path.canonicalize().unwrap_or_default(),
        by: None,
        place: Span::default(),
    }];
    let mut all = root;
    let mut waiting: VecDeque<(usize, Spanned<String>)> = VecDeque::new();
    waiting.extend(included(&first.include, 0, problems));
    while let Some((by, named)) = waiting.pop_front() {
        let Some((file, text, format)) = open(&files, by, &named, &folders, &all, problems) else {
            continue;
        };
        let start = all.next_start();
        let folder = file.path.parent().map(Path::to_path_buf);
        folders.add(start, folder.clone());
        if reader.read(&text, format, folder.as_deref(), start, problems) == Extent::BrokenOff {
            extent = Extent::BrokenOff;
        } else if extent == Extent::Nothing {
            extent = Extent::Whole;
        }
        all.append(&text);
        let one = reader.take_file();
        waiting.extend(included(&one.include, files.len(), problems));
        setup.extend(one.setup.into_value().unwrap_or_default());
        add(&mut header, *one.header.unwrap_or_default(), problems);
        files.push(file);
    }
    let DocumentReader {
        jobs,
        places,
        expanded,
        ..
    } = reader;
    Documents {
        source: all,
        folders,
        header,
        jobs,
        places,
        setup,
        expanded,
        extent,
    }
}

/// The jobs of a text that is added to a run, and the places of their parts.
pub(super) struct AddedSections {
    /// The jobs in the order of the text.
    pub(super) jobs: Vec<Job>,
    /// The places of the parts of the jobs.
    pub(super) places: Vec<JobPlaces>,
    /// The sections that make several jobs.
    pub(super) expanded: SectionExpansion,
    /// How much was read.
    pub(super) extent: Extent,
}

/// Reads a text that is added to a run. Its spans begin at `start`, and it has nothing but jobs: all other sections are those of
/// the run. A job without an id is called by its number, behind `number_prefix`.
pub(super) fn read_added(
    text: &Source,
    format: DocumentFormat,
    folder: &Path,
    (start, number_prefix): (usize, &str),
    problems: &mut Problems,
) -> AddedSections {
    let folder = Some(folder);
    let mut reader = DocumentReader {
        number_prefix: number_prefix.to_owned(),
        ..DocumentReader::default()
    };
    let extent = match format {
        DocumentFormat::JsonLines => reader.read_lines(text, folder, start, problems),
        format => reader.read(text, format, folder, start, problems),
    };
    let FileSpec {
        include,
        setup,
        header,
        ..
    } = reader.take_file();
    let header = *header.unwrap_or_default();
    for (key, place) in [
        ("include", include.key()),
        ("setup", setup.key()),
        ("workers", header.workers.key()),
        ("limits", header.limits.key()),
        ("resources", header.resources.key()),
        ("hosts", header.hosts.key()),
        ("defaults", header.defaults.key()),
        ("groups", header.groups.key()),
        ("overrides", header.overrides.key()),
    ] {
        let Some(place) = place else { continue };
        let message = format!("`{key}` cannot be added to a run, which has begun with its own");
        let help = "leave only `jobs`; they may name what the run has";
        problems.push(Diagnostic::error(place, message).help(help));
    }
    let DocumentReader {
        jobs,
        places,
        expanded,
        ..
    } = reader;
    AddedSections {
        jobs,
        places,
        expanded,
        extent,
    }
}

/// Returns the files that a file includes, each with the index of that file.
fn included(
    include: &Field<crate::document::Either<String, Vec<Spanned<String>>>>,
    by: usize,
    problems: &mut Problems,
) -> Vec<(usize, Spanned<String>)> {
    let named = words_of(include);
    if let (true, Some(place)) = (
        named.is_empty(),
        include.span().filter(|_| include.get().is_some()),
    ) {
        let error = Diagnostic::error(place, "`include`: the list is empty");
        problems.push(error.help("name a file, or leave `include` out"));
    }
    named.into_iter().map(|named| (by, named)).collect()
}

/// Opens a file that another one includes. Returns nothing if it was refused.
fn open(
    files: &[IncludedFile],
    by: usize,
    named: &Spanned<String>,
    folders: &FileFolders,
    all: &Source,
    problems: &mut Problems,
) -> Option<(IncludedFile, Source, DocumentFormat)> {
    let mut refuse = |message: String, help: &str| {
        problems.push(Diagnostic::error(named.span, message).help(help));
        None
    };
    let text = &named.value;
    let path = within(folders.at(named.span), text.as_str());
    let beside = Path::new(&files[by].name).parent();
    let name = within(beside, text.as_str()).display().to_string();
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(error) => {
            return refuse(
                format!("`{text}` cannot be included: {error}"),
                "the path is relative to the file that includes it",
            );
        }
    };
    if let Some(known) = files.iter().position(|file| file.path == path) {
        problems.push(included_before(files, by, named, known));
        return None;
    }
    let format = match DocumentFormat::of(&path) {
        Some(DocumentFormat::JsonLines) => {
            return refuse(
                format!("`{text}` is a stream of JSON lines, which cannot be included"),
                "write it as YAML, JSON or TOML, or run it separately",
            );
        }
        None => {
            return refuse(
                format!("the format of `{text}` cannot be told from its name"),
                "its name should end with .yaml, .json or .toml",
            );
        }
        Some(format) => format,
    };
    let bytes = match read_document(&path, all.text().len() as u64) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            return refuse(
                format!("`{text}` is too large to be included"),
                "write its jobs as JSON lines (.jsonl), which are read one by one",
            );
        }
        Err(error) => {
            return refuse(
                format!("`{text}` cannot be included: {error}"),
                "the path is relative to the file that includes it",
            );
        }
    };
    match source(&name, bytes) {
        Ok(source) => {
            let file = IncludedFile {
                name,
                path,
                by: Some(by),
                place: named.span,
            };
            Some((file, source, format))
        }
        Err(_) => refuse(
            format!("`{text}` cannot be included: it is not UTF-8"),
            "save it as UTF-8",
        ),
    }
}

/// Returns the error of a file that includes a `known` one again, which may be one of those that include it.
fn included_before(
    files: &[IncludedFile],
    by: usize,
    named: &Spanned<String>,
    known: usize,
) -> Diagnostic {
    let chain = chain(files, by);
    let Some(from) = chain.iter().position(|at| *at == known) else {
        let message = format!("`{}` is included twice", named.value);
        let error = Diagnostic::error(named.span, message);
        return error.other(files[known].place, "first included here");
    };
    let mut circle: Vec<&str> = chain[from..].iter().map(|at| &*files[*at].name).collect();
    circle.push(&files[known].name);
    let message = format!(
        "these files include each other in a circle: {}",
        circle.join(" -> ")
    );
    Diagnostic::error(named.span, message).help("remove one of the includes")
}

/// Returns the files from the first one to this one, each of which includes the next.
fn chain(files: &[IncludedFile], to: usize) -> Vec<usize> {
    let mut chain: Vec<usize> = std::iter::successors(Some(to), |at| files[*at].by).collect();
    chain.reverse();
    chain
}

/// Adds the sections of an included file.
fn add(header: &mut HeaderSpec, other: HeaderSpec, problems: &mut Problems) {
    for (key, place) in [
        ("defaults", other.defaults.key()),
        ("hosts", other.hosts.key()),
    ] {
        if let Some(place) = place {
            let message =
                format!("`{key}` applies to the whole run, so an included file cannot set it");
            let help = format!("write `{key}` into the file that includes it");
            problems.push(Diagnostic::error(place, message).help(help));
        }
    }
    refuse_twice("worker", &header.workers, &other.workers, problems);
    refuse_twice("limit", &header.limits, &other.limits, problems);
    refuse_twice("resource", &header.resources, &other.resources, problems);
    refuse_twice("group", &header.groups, &other.groups, problems);
    join(&mut header.workers, other.workers);
    join(&mut header.limits, other.limits);
    join(&mut header.resources, other.resources);
    join(&mut header.groups, other.groups);
    join(&mut header.overrides, other.overrides);
}

/// Reports names that an included file declares and another file declares, too.
fn refuse_twice<T>(
    what: &str,
    known: &Field<Vec<Named<T>>>,
    others: &Field<Vec<Named<T>>>,
    problems: &mut Problems,
) {
    let known = known.get().map(Vec::as_slice).unwrap_or_default();
    for other in others.get().into_iter().flatten() {
        if let Some(first) = known.iter().find(|known| known.name == other.name) {
            let message = format!("{what} `{}` is declared twice", other.name);
            problems.push(Diagnostic::error(other.place, message).other(first.place, "here first"));
        }
    }
}

/// Adds the members of another list to a list.
fn join<T>(list: &mut Field<Vec<T>>, other: Field<Vec<T>>) {
    if !list.is_present() {
        *list = other;
        return;
    }
    let more = other.into_value().unwrap_or_default();
    let joined = std::mem::take(list).map(|mut members| {
        members.extend(more);
        members
    });
    *list = joined;
}

/// Collects the parts of documents. Sections may follow the jobs, so jobs are completed when all is read.
#[derive(Default)]
struct DocumentReader {
    /// The sections of the file that is read now.
    file: FileSpec,
    /// What stands before the number of a job that has no id.
    number_prefix: String,
    jobs: Vec<Job>,
    places: Vec<JobPlaces>,
    expanded: SectionExpansion,
}

impl DocumentReader {
    /// Reads a file whose text begins at this offset of the whole source.
    fn read(
        &mut self,
        text: &Source,
        format: DocumentFormat,
        folder: Option<&Path>,
        start: usize,
        problems: &mut Problems,
    ) -> Extent {
        let mut jobs =
            JobReader::new(folder.map(Path::to_path_buf)).with_number_prefix(&self.number_prefix);
        let mut found = Problems::new();
        let mut of_syntax = Problems::new();
        let mut take = |part: Part<'_>, _: &mut Problems| {
            self.take(part.shifted(start), &mut jobs, folder, &mut found);
        };
        let extent = format.parts(text, "jobs", &mut take, &mut of_syntax);
        problems.extend(found);
        let of_syntax = of_syntax.into_iter();
        problems.extend(of_syntax.map(|problem| problem.shifted(start)));
        if let Some(listed) = std::mem::take(&mut self.file.jobs).into_value() {
            for mut job in listed {
                let number = self.jobs.len() as u64 + 1;
                let (job, place) = jobs.read(&mut job.value, number, problems);
                self.jobs.push(job);
                self.places.push(place);
            }
        }
        extent
    }

    /// Reads JSON lines that begin at this offset: a job on each line that is not blank.
    fn read_lines(
        &mut self,
        text: &Source,
        folder: Option<&Path>,
        start: usize,
        problems: &mut Problems,
    ) -> Extent {
        let mut reader =
            JobReader::new(folder.map(Path::to_path_buf)).with_number_prefix(&self.number_prefix);
        let mut extent = Extent::Nothing;
        let mut start = start;
        for line in text.text().split_inclusive('\n') {
            if !line.trim_ascii().is_empty() {
                extent = Extent::Whole;
                let mut of_line = Problems::new();
                // What is wrong with the end of a line is not told of the next one.
                let line = line.trim_end_matches(['\r', '\n']);
                if let Some(node) = json_node(line, &mut of_line) {
                    self.take_line(node.shifted(start), &mut reader, folder, problems);
                }
                problems.extend(of_line.into_iter().map(|problem| problem.shifted(start)));
            }
            start += line.len();
        }
        extent
    }

    /// Takes what a line says: the sections of a header, or else a job.
    fn take_line(
        &mut self,
        node: Node<'_>,
        reader: &mut JobReader,
        folder: Option<&Path>,
        problems: &mut Problems,
    ) {
        if !is_header(&node) {
            return self.take_job(node, reader, folder, problems);
        }
        for entry in node.into_map(problems).unwrap_or_default() {
            self.take(Part::Entry(entry), reader, folder, problems);
        }
    }

    /// Returns the sections of the file that was read.
    fn take_file(&mut self) -> FileSpec {
        std::mem::take(&mut self.file)
    }

    /// Adds the jobs of a section, which may be several.
    fn take_job(
        &mut self,
        node: Node<'_>,
        reader: &mut JobReader,
        folder: Option<&Path>,
        problems: &mut Problems,
    ) {
        let Self {
            jobs,
            places,
            expanded,
            ..
        } = self;
        expanded.each(node, folder, problems, |node, problems| {
            if let Some(mut spec) = JobSpec::from_node(node, problems) {
                let number = jobs.len() as u64 + 1;
                let (job, of_job) = reader.read(&mut spec, number, problems);
                jobs.push(job);
                places.push(of_job);
            }
        });
    }

    fn take(
        &mut self,
        part: Part<'_>,
        reader: &mut JobReader,
        folder: Option<&Path>,
        problems: &mut Problems,
    ) {
        match part {
            Part::Member(node) => self.take_job(node, reader, folder, problems),
            // The list of jobs was not delivered member by member.
            Part::Entry(entry) if entry.name == "jobs" && entry.node.is_list() => {
                for node in entry.node.into_list().unwrap_or_default() {
                    self.take_job(node, reader, folder, problems);
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
                // The document is not a map, so this call only reports the error.
                FileSpec::from_node(node, problems);
            }
        }
    }
}
