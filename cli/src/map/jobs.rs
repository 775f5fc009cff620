//! Turns items into jobs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use ratchet_ipc::LineFormat;
use ratchet_runtime::process::{Language, PoolConfig, ProcessConfig, Size};
use ratchet_runtime::{
    CacheTerms, Class, Failure, ItemName, Job, JobItem, Payload, PlaceName, Placement, TaskName,
    Terms,
};

use super::files::FileTemplates;
use super::identity::Identities;
use super::item::Item;
use super::items::{ItemError, Items};
use super::outputs::PendingOutputs;
use super::start::CommandStart;
use super::template::{Columns, PlaceholderValues, Template};
use crate::error::CliError;
use crate::escape::{plain, text_of};

/// How the item of each job is processed: by a command, or by a filter.
pub(crate) enum MapWork {
    /// A command is started for it.
    Command {
        /// The command with its placeholders.
        template: Template,
        /// The files that it gets, and those that come back.
        files: Option<FileTemplates>,
        /// The folder and the variables of all commands.
        start: CommandStart,
    },
    /// A filter that keeps running gets it as a line.
    Warm(TaskName),
    /// A worker that keeps running gets it as the input of a task.
    Worker(TaskName),
}

impl MapWork {
    /// The command, if one is started for each item.
    pub(crate) fn template(&self) -> Option<&Template> {
        match self {
            Self::Command { template, .. } => Some(template),
            Self::Warm(_) | Self::Worker(_) => None,
        }
    }
}

/// The jobs of a map, numbered from 1. They are made one by one, as there is room.
pub(crate) struct MapJobs {
    items: Items,
    work: MapWork,
    terms: Arc<Terms>,
    /// Where the jobs leave what their commands print, until the report takes it.
    outputs: Arc<PendingOutputs>,
    identities: Identities,
    /// The number of the last job that was made.
    number: u64,
    /// The hosts of which each item names one, with `--each-host`.
    hosts: Option<Arc<[PlaceName]>>,
}

impl MapJobs {
    /// Makes the jobs of items. `command` is the command as it was typed, which is part of the identities of the jobs.
    pub(crate) fn new(
        items: Items,
        command: &[OsString],
        work: MapWork,
        terms: Arc<Terms>,
        outputs: Arc<PendingOutputs>,
    ) -> Self {
        Self {
            items,
            identities: Identities::of_command(command),
            work,
            terms,
            outputs,
            number: 0,
            hosts: None,
        }
    }

    /// Makes each job one of the host that its item names. These are all hosts.
    #[must_use]
    pub(crate) fn on_each(mut self, hosts: Option<Arc<[PlaceName]>>) -> Self {
        self.hosts = hosts;
        self
    }

    /// How many jobs there will be, if that is known before the items are read.
    pub(crate) fn total(&self) -> Option<u64> {
        self.items.total()
    }

    /// Where the jobs run that are commands.
    pub(crate) fn placement(&self) -> Placement {
        match &self.hosts {
            Some(hosts) => Placement::Among(Arc::clone(hosts)),
            None => self.terms.on.clone(),
        }
    }

    /// Whether the cache is on for the jobs of this map.
    pub(crate) fn may_use_cache(&self) -> bool {
        matches!(self.terms.cache, Some(CacheTerms::On { .. }))
    }

    /// Whether reading the next item may wait.
    pub(crate) fn may_wait(&self) -> bool {
        self.items.may_wait()
    }

    fn job(&mut self, id: String, item: Result<Item, ItemError>) -> Job {
        let item = match item {
            Ok(item) => item,
            Err(ItemError(reason)) => return bad(id, reason),
        };
        let name = text_of(&item.joined()).into_owned();
        let of_item = JobItem {
            name: ItemName::new(&name),
            identity: self.identities.next(&item, self.number),
        };
        let job = match &self.work {
            MapWork::Command {
                template,
                files,
                start,
            } => {
                let config = process(template.expand(PlaceholderValues {
                    item: &item,
                    number: self.number,
                    slot: None,
                }));
                let mut config = start.apply(config);
                if let Some(files) = files {
                    let each_host = self.hosts.is_some().then_some(name.as_str());
                    config.files = match files.expand(&item, self.number, each_host) {
                        Ok(files) => Some(files),
                        Err(reason) => return bad(id, reason),
                    };
                }
                self.outputs.add(id.as_str().into(), self.number, item);
                Job::command(id, config)
            }
            MapWork::Warm(task) | MapWork::Worker(task) => match String::from_utf8(item.joined()) {
                Ok(text) => {
                    let input = match &self.work {
                        MapWork::Worker(_) => input_of(&text),
                        _ => Payload::from_text(&text),
                    };
                    self.outputs.add(id.as_str().into(), self.number, item);
                    Job::task(id, task.clone(), input)
                }
                Err(error) => bad(
                    id,
                    format!(
                        "`{}` is no UTF-8, which an item for a worker has to be",
                        plain(&text_of(error.as_bytes()))
                    ),
                ),
            },
        };
        let job = job.for_item(of_item);
        match self.hosts {
            Some(_) => job.on_host(name.as_str()),
            None => job,
        }
    }
}

impl Iterator for MapJobs {
    type Item = Job;

    fn next(&mut self) -> Option<Job> {
        let item = self.items.next()?;
        self.number += 1;
        let job = self.job(self.number.to_string(), item);
        Some(job.terms(Arc::clone(&self.terms)))
    }
}

/// The input of a worker: an object or a list as it stands in the item, and any other item as a text.
fn input_of(text: &str) -> Payload {
    let is_json = text.trim_start().starts_with(['{', '[']);
    let json = is_json.then(|| Payload::from_json(text).ok()).flatten();
    json.unwrap_or_else(|| Payload::from_text(text))
}

/// A job that fails at once, in the place of an item that cannot be had.
fn bad(id: String, reason: String) -> Job {
    Job::refused(id, "item", Failure::new(Class::Input, reason))
}

#[expect(
    clippy::expect_used,
    reason = "`split_words` refuses a command without words"
)]
fn process(words: Vec<OsString>) -> ProcessConfig {
    let mut words = words.into_iter();
    let command = words.next().expect("a command has at least one word");
    ProcessConfig::new(PathBuf::from(command)).args(words)
}

/// The pool of a filter that keeps running, and the name of its task.
pub(crate) fn warm_pool(
    words: &[OsString],
    columns: Columns<'_>,
    workers: u32,
) -> Result<(PoolConfig, TaskName), CliError> {
    if Template::has_placeholder(words, columns)? {
        return Err(CliError::usage("a warm command starts before the first item, so it has no placeholder")
            .with_help("it reads each item as a line from its stdin; leave out --warm to start it for every item"));
    }
    let process = process(words.to_vec());
    let name = process.command.file_name().map_or_else(
        || "filter".into(),
        |name| name.to_string_lossy().into_owned(),
    );
    let config = PoolConfig {
        language: Language::Lines {
            input: LineFormat::Text,
            output: LineFormat::Text,
        },
        size: Size::fixed(workers),
        ..PoolConfig::new(name.clone(), process)
    };
    Ok((config, TaskName::from(name)))
}

#[cfg(test)]
mod tests {
    use ratchet_runtime::Work;

    use super::*;
    use crate::map::items::ItemEnd;
    use crate::map::split_words;

    fn jobs(line: &str, work: impl FnOnce(&[OsString]) -> MapWork) -> Vec<Job> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let (command, lists) = split_words(&words).unwrap();
        let items = lists.unwrap().open(ItemEnd::Line).unwrap();
        let outputs = Arc::default();
        MapJobs::new(items, command, work(command), Terms::standard(), outputs).collect()
    }

    #[test]
    fn each_item_is_a_job_with_a_number() {
        let jobs = jobs("convert {} {#}.jpg ::: a.png b.png", |words| {
            MapWork::Command {
                template: Template::parse(words, Columns::ONE).unwrap(),
                files: None,
                start: CommandStart::default(),
            }
        });
        let lines: Vec<String> = jobs
            .iter()
            .map(|job| match &job.work {
                Work::Command(config) => format!("{} {config}", job.id),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(lines, ["1 convert a.png 1.jpg", "2 convert b.png 2.jpg"]);
        let names: Vec<_> = jobs
            .iter()
            .filter_map(|job| Some(job.item.as_ref()?.name.as_str()))
            .collect();
        assert_eq!(names, ["a.png", "b.png"]);
    }

    #[test]
    fn a_warm_filter_gets_the_item_as_text() {
        let jobs = jobs("sed ::: a", |_| MapWork::Warm("sed".into()));
        match &jobs[0].work {
            Work::Task { task, input } => {
                assert_eq!((task.as_str(), input.as_str()), ("sed", "\"a\""));
            }
            other => panic!("{other:?}"),
        }
        let (pool, task) = warm_pool(&["/bin/sed".into(), "-u".into()], Columns::ONE, 3).unwrap();
        pool.check().unwrap();
        assert_eq!(
            (pool.name.as_str(), task.as_str(), pool.size.max),
            ("sed", "sed", 3)
        );
        assert!(warm_pool(&["sed".into(), "{}".into()], Columns::ONE, 3).is_err());
    }

    #[test]
    fn a_worker_gets_objects_and_lists_as_they_are_and_anything_else_as_text() {
        let jobs = jobs("w ::: {\"a\":1} [2] 3 {x", |_| MapWork::Worker("t".into()));
        let inputs: Vec<_> = jobs
            .iter()
            .map(|job| match &job.work {
                Work::Task { input, .. } => input.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(inputs, ["{\"a\":1}", "[2]", "\"3\"", "\"{x\""]);
    }

    #[test]
    fn what_cannot_be_an_item_is_a_job_that_fails() {
        let job = bad("7".into(), "line 9 has 1 columns".into());
        assert_eq!((job.id.as_str(), job.task_name()), ("7", "item"));
    }
}
