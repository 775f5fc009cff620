//! The jobs of a map, which are made from its items.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use ratchet_ipc::LineFormat;
use ratchet_runtime::process::{PoolConfig, ProcessConfig, ProgramInput, Size, WorkerProtocol};
use ratchet_runtime::{
    CacheTerms, Class, Failure, ItemName, Job, JobItem, Payload, PlaceName, Placement, TaskName,
    Terms,
};

use super::blocks::Blocks;
use super::columns::Columns;
use super::command_line::ItemCommand;
use super::files::FileTemplates;
use super::identity::Identities;
use super::item::{Item, ItemError};
use super::item_terms::ItemTerms;
use super::items::Items;
use super::outputs::PendingOutputs;
use super::prompt::Prompt;
use super::start::CommandStart;
use super::template::Template;
use super::word::PlaceholderValues;
use crate::error::CliError;
use crate::escape::{plain, text_of};

/// How each item is processed: by a command, a filter or a worker.
pub(crate) enum MapWork {
    /// A command is started for each item.
    Command {
        /// The command of each item.
        command: ItemCommand,
        /// The files that are pushed for it and pulled after it.
        files: Option<FileTemplates>,
        /// The folder and the variables of all commands.
        start: CommandStart,
    },
    /// A filter that keeps running gets each item as a line.
    Warm(TaskName),
    /// A worker that keeps running gets each item as the input of a task.
    Worker(TaskName),
}

impl MapWork {
    /// Returns the command, if one is started for each item.
    pub(crate) fn command(&self) -> Option<&ItemCommand> {
        match self {
            Self::Command { command, .. } => Some(command),
            Self::Warm(_) | Self::Worker(_) => None,
        }
    }

    /// Returns the folder, the variables and the niceness with which commands start.
    pub(crate) fn start(&self) -> CommandStart {
        match self {
            Self::Command { start, .. } => start.clone(),
            Self::Warm(_) | Self::Worker(_) => CommandStart::default(),
        }
    }

    /// Returns the command with its placeholders, if one is started for each item and the items are not commands
    /// themselves.
    pub(crate) fn template(&self) -> Option<&Template> {
        match self {
            Self::Command { command, .. } => command.template(),
            Self::Warm(_) | Self::Worker(_) => None,
        }
    }
}

/// The source of the jobs of a map.
pub(crate) enum MapSource {
    /// Each job is for an item.
    Items(Items),
    /// Each job reads blocks of the input.
    Blocks(Box<Blocks>),
}

/// The jobs of a map, numbered from 1. They are made one by one, when there is room for them.
pub(crate) struct MapJobs {
    source: MapSource,
    work: MapWork,
    terms: Arc<Terms>,
    /// The outputs of the commands that have ended, until the report takes them.
    outputs: Arc<PendingOutputs>,
    identities: Identities,
    /// The number of the last job that was made.
    number: u64,
    /// The parts of the terms that depend on the item.
    item_terms: ItemTerms,
    /// Asks before each command, with `--interactive`.
    prompt: Option<Prompt>,
    /// The hosts of `--each-host`. Each item is the name of one of them.
    hosts: Option<Arc<[PlaceName]>>,
}

impl MapJobs {
    /// Makes the jobs for items or blocks. `command` is the command as it was typed. It is part of the identities of
    /// the jobs.
    pub(crate) fn new(
        source: MapSource,
        command: &[OsString],
        work: MapWork,
        terms: Arc<Terms>,
        outputs: Arc<PendingOutputs>,
    ) -> Self {
        Self {
            source,
            identities: Identities::of_command(command),
            work,
            terms,
            outputs,
            number: 0,
            item_terms: ItemTerms::default(),
            prompt: None,
            hosts: None,
        }
    }

    /// Lets the hint and the host of each job depend on its item.
    #[must_use]
    pub(crate) fn with_terms(mut self, item_terms: ItemTerms) -> Self {
        self.item_terms = item_terms;
        self
    }

    /// Asks before each command. An item whose command is refused becomes no job.
    #[must_use]
    pub(crate) fn asking(mut self, prompt: Option<Prompt>) -> Self {
        self.prompt = prompt;
        self
    }

    /// Runs each job on the host that its item names. `hosts` are all hosts.
    #[must_use]
    pub(crate) fn on_each(mut self, hosts: Option<Arc<[PlaceName]>>) -> Self {
        self.hosts = hosts;
        self
    }

    /// Returns how many jobs there will be, if that is known before the items are read.
    pub(crate) fn total(&self) -> Option<u64> {
        match &self.source {
            MapSource::Items(items) => items.total(),
            MapSource::Blocks(_) => None,
        }
    }

    /// Returns where the commands run.
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
        match &self.source {
            _ if self.prompt.is_some() => true,
            MapSource::Items(items) => items.may_wait(),
            MapSource::Blocks(_) => true,
        }
    }

    /// Returns the job of an item, or nothing if the user refused its command.
    fn job(
        &mut self,
        id: String,
        item: Result<Item, ItemError>,
        stdin: ProgramInput,
    ) -> Option<Job> {
        let item = match item {
            Ok(item) => item,
            Err(ItemError(reason)) => return Some(self.refused(id, reason)),
        };
        let name = text_of(&item.joined()).into_owned();
        let of_item = JobItem {
            name: ItemName::new(&name),
            identity: self.identities.next(&item, self.number),
        };
        let (host, terms) = match self.item_terms.of(&self.terms, &item, self.number) {
            Ok(terms) => terms,
            Err(reason) => return Some(self.refused(id, reason)),
        };
        let job = match &self.work {
            MapWork::Command {
                command,
                files,
                start,
            } => {
                let words = command.expand(PlaceholderValues {
                    item: &item,
                    number: self.number,
                    slot: None,
                });
                let words = match words {
                    Ok(words) => words,
                    Err(reason) => return Some(self.refused(id, reason)),
                };
                if self
                    .prompt
                    .as_mut()
                    .is_some_and(|prompt| !prompt.allows(&words))
                {
                    return None;
                }
                let mut config = start.apply(process(words));
                config.stdin = stdin;
                if let Some(files) = files {
                    let each_host = self.hosts.is_some().then_some(name.as_str());
                    config.files = match files.expand(&item, self.number, each_host) {
                        Ok(files) => Some(files),
                        Err(reason) => return Some(self.refused(id, reason)),
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
                        "`{}` is not UTF-8, and a worker takes only UTF-8 items",
                        plain(&text_of(error.as_bytes()))
                    ),
                ),
            },
        };
        let job = job.for_item(of_item).terms(terms);
        Some(match (&self.hosts, host) {
            (Some(_), _) => job.on_host(name.as_str()),
            (None, Some(host)) => job.on_host(host),
            (None, None) => job,
        })
    }

    /// Returns a job that fails at once, in place of an item that cannot be read or used.
    fn refused(&self, id: String, reason: String) -> Job {
        bad(id, reason).terms(Arc::clone(&self.terms))
    }
}

impl Iterator for MapJobs {
    type Item = Job;

    fn next(&mut self) -> Option<Job> {
        loop {
            let number = self.number + 1;
            let (item, stdin) = self.next_item(number)?;
            self.number = number;
            if let Some(job) = self.job(number.to_string(), item, stdin) {
                return Some(job);
            }
        }
    }
}

impl MapJobs {
    /// Returns the item of the job of this number, and the stdin of its command.
    fn next_item(&mut self, number: u64) -> Option<(Result<Item, ItemError>, ProgramInput)> {
        match &mut self.source {
            MapSource::Items(items) => loop {
                let item = items.next()?;
                let is_command = match (&item, self.work.command()) {
                    (Ok(item), Some(command)) => !command.skips(item),
                    _ => true,
                };
                if is_command {
                    return Some((item, ProgramInput::Nothing));
                }
            },
            MapSource::Blocks(blocks) => Some(match blocks.next()? {
                // A block has no text of its own, so its item is its number.
                Ok(stdin) => (Ok(Item::from(number.to_string().as_str())), stdin),
                Err(error) => (Err(error), ProgramInput::Nothing),
            }),
        }
    }
}

/// Returns the input of a task: an item that is a JSON object or array as it is, and any other item as a string.
fn input_of(text: &str) -> Payload {
    let is_json = text.trim_start().starts_with(['{', '[']);
    let json = is_json.then(|| Payload::from_json(text).ok()).flatten();
    json.unwrap_or_else(|| Payload::from_text(text))
}

/// Returns a job that fails at once, in place of an item that cannot be read or used.
fn bad(id: String, reason: String) -> Job {
    Job::refused(id, "item", Failure::new(Class::Input, reason))
}

#[expect(
    clippy::expect_used,
    reason = "a template has at least one word, and so has a line that is not a comment"
)]
fn process(words: Vec<OsString>) -> ProcessConfig {
    let mut words = words.into_iter();
    let command = words.next().expect("a command has at least one word");
    ProcessConfig::new(PathBuf::from(command)).args(words)
}

/// Returns the pool of a filter that keeps running, and the name of the filter's task.
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
        language: WorkerProtocol::Lines {
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
    use crate::map::lines::ItemEnd;
    use crate::map::split_words;

    fn jobs(line: &str, work: impl FnOnce(&[OsString]) -> MapWork) -> Vec<Job> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let (command, lists) = split_words(&words).unwrap();
        let items = Items::lists(lists.unwrap(), ItemEnd::Line).unwrap();
        let outputs = Arc::default();
        let items = MapSource::Items(items);
        MapJobs::new(items, command, work(command), Terms::standard(), outputs).collect()
    }

    #[test]
    fn each_item_is_a_job_with_a_number() {
        let jobs = jobs("convert {} {#}.jpg ::: a.png b.png", |words| {
            MapWork::Command {
                command: ItemCommand::Template(Template::parse(words, Columns::ONE).unwrap()),
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
    fn the_name_of_a_long_item_is_the_whole_item() {
        let item = "x".repeat(100_000);
        let jobs = jobs(&format!("sed ::: {item}"), |_| MapWork::Warm("sed".into()));
        assert_eq!(jobs[0].item.as_ref().unwrap().name.as_str(), item);
    }

    #[test]
    fn a_warm_filter_gets_the_item_as_text() {
        let jobs = jobs("sed ::: a", |_| MapWork::Warm("sed".into()));
        match &jobs[0].work {
            Work::Task { task, input, .. } => {
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
