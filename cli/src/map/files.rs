//! The files that are pushed to other hosts for the jobs of a map, and those that are pulled back.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path};
use std::sync::Arc;

use ratchet_runtime::PlaceName;
use ratchet_runtime::process::{WorkFiles, WorkPath, WorkPathError};

use super::columns::Columns;
use super::item::Item;
use super::text_template::TextTemplate;
use crate::error::CliError;
use crate::escape::{plain, text_of};

/// The paths of the files of a job, with placeholders for its item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileTemplates {
    push: Vec<TextTemplate>,
    pull: Vec<TextTemplate>,
    /// The files that are the same for every item.
    base: Vec<WorkPath>,
    keeps: bool,
}

/// The flags about files, as they were typed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileFlags<'a> {
    /// The files to push, for each item.
    pub(crate) push: &'a [OsString],
    /// The files to pull, for each item.
    pub(crate) pull: &'a [OsString],
    /// Whether the item itself is pushed.
    pub(crate) transfer: bool,
    /// The files of `--trc`, which are pulled. The item itself is then pushed, too.
    pub(crate) trc: &'a [OsString],
    /// The files that are pushed for every item.
    pub(crate) basefile: &'a [OsString],
    /// Whether `--cleanup` was typed. The files are removed without it, too.
    pub(crate) cleanup: bool,
    /// Whether the work folders stay.
    pub(crate) keep_remote: bool,
}

impl FileFlags<'_> {
    /// Whether any file is pushed or pulled.
    pub(crate) fn has_any(&self) -> bool {
        let lists = [self.push, self.pull, self.trc, self.basefile];
        self.transfer || lists.iter().any(|list| !list.is_empty())
    }
}

impl FileTemplates {
    /// Parses the flags. Returns nothing if no file is pushed or pulled.
    pub(crate) fn of(typed: FileFlags<'_>, columns: Columns<'_>) -> Result<Option<Self>, CliError> {
        let whole = OsString::from("{}");
        let is_item_pushed = typed.transfer || !typed.trc.is_empty();
        let parse = |paths: &mut dyn Iterator<Item = &OsString>| {
            let templates = paths.map(|path| TextTemplate::parse(path, columns));
            templates.collect::<Result<Vec<_>, _>>()
        };
        let files = Self {
            push: parse(&mut typed.push.iter().chain(is_item_pushed.then_some(&whole)))?,
            pull: parse(&mut typed.pull.iter().chain(typed.trc))?,
            base: base_files(typed.basefile)?,
            keeps: typed.keep_remote,
        };
        if typed.has_any() {
            return Ok(Some(files));
        }
        let flags = [("--keep-remote", files.keeps), ("--cleanup", typed.cleanup)];
        match flags.into_iter().find(|(_, is_typed)| *is_typed) {
            Some((flag, _)) => Err(CliError::usage(format!(
                "{flag} has no effect, because no files are copied to or from hosts"
            ))
            .with_help(format!(
                "add --push {{}} or --pull PATH, or leave {flag} out"
            ))),
            None => Ok(None),
        }
    }

    /// Returns the files of an item. With `--each-host`, `each_host` is the host of the job. What is pulled from it
    /// goes into a folder of its name, because the hosts would otherwise overwrite each other's files.
    pub(super) fn expand(
        &self,
        item: &Item,
        number: u64,
        each_host: Option<&str>,
    ) -> Result<Arc<WorkFiles>, String> {
        let own_folder = match each_host {
            // On this machine nothing is pulled: the files stay where the command made them.
            Some(host) if host != PlaceName::LOCAL.as_str() => Some(folder_of(host)?),
            _ => None,
        };
        let paths = |templates: &[TextTemplate]| {
            let paths = templates.iter();
            let paths = paths.flat_map(|template| template.expand(item, number));
            let paths = paths.map(|path| {
                WorkPath::parse(Path::new("."), &path).map_err(|error| refusal(&path, error))
            });
            paths.collect::<Result<Vec<_>, _>>()
        };
        let mut push = self.base.clone();
        push.extend(paths(&self.push)?);
        let mut pull = paths(&self.pull)?;
        if let Some(folder) = own_folder {
            pull = pull.into_iter().map(|path| path.within(folder)).collect();
        }
        Ok(Arc::new(WorkFiles {
            push,
            pull,
            keep: self.keeps.then(|| number.to_string()),
        }))
    }

    /// Returns the files of a filter. They are pushed before the first item, so they do not depend on items.
    pub(crate) fn of_filter(&self) -> WorkFiles {
        WorkFiles {
            push: self.base.clone(),
            pull: Vec::new(),
            keep: self.keeps.then(|| "filter".to_owned()),
        }
    }
}

/// Returns the folder for what is pulled from a host: its name, if that can be the name of a folder.
fn folder_of(host: &str) -> Result<&Path, String> {
    let path = Path::new(host);
    let mut parts = path.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) if name == host => Ok(path),
        _ => Err(format!(
            "`{}` cannot be the name of a folder, so the files of this host cannot be pulled into one: give the host another name",
            plain(host)
        )),
    }
}

/// Returns the files of `--basefile`, which have to exist.
fn base_files(paths: &[OsString]) -> Result<Vec<WorkPath>, CliError> {
    let files = paths.iter().map(|path| {
        let refuse = |why: String| CliError::usage(format!("--basefile {why}"));
        let parsed = WorkPath::parse(Path::new("."), path);
        let parsed = parsed.map_err(|error| refuse(refusal(path, error)))?;
        match parsed.here().symlink_metadata() {
            Ok(_) => Ok(parsed),
            Err(error) => Err(refuse(plain(&text_of_path(path)).to_string()).because(error)),
        }
    });
    files.collect()
}

fn text_of_path(path: &OsStr) -> String {
    text_of(path.as_encoded_bytes()).into_owned()
}

fn refusal(path: &OsStr, error: WorkPathError) -> String {
    format!("`{}`: {error}", plain(&text_of_path(path)))
}
