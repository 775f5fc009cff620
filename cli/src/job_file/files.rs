//! Turns `push` and `pull` into the files of a process.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use ratchet_runtime::process::{ProcessConfig, WorkFiles, WorkPath};

use super::program;
use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::document::{Field, Spanned};

/// The placeholder in a path for the id of the job.
const ID: &str = "{id}";

/// A list of paths, as it is written in a file.
pub(super) type Paths = Field<Vec<Spanned<String>>>;

/// Whether a file that is pushed has to exist when the job file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It has to exist.
    Now,
    /// It may be made by a job that comes before.
    Later,
}

/// Makes the files of a process, if it has any. `id` is the id of its job, if the process is that of a job.
pub(super) fn work_files(
    push: &Paths,
    pull: &Paths,
    id: Option<&str>,
    folder: Option<&Path>,
    presence: Presence,
    problems: &mut Problems,
) -> Option<Arc<WorkFiles>> {
    if !push.is_present() && !pull.is_present() {
        return None;
    }
    let folder = folder.unwrap_or(Path::new("."));
    let mut read = |paths: &Paths, presence| {
        let paths = paths.get().into_iter().flatten();
        let read = paths.filter_map(|path| read_path(path, id, folder, presence, problems));
        read.collect::<Vec<WorkPath>>()
    };
    let files = WorkFiles {
        push: read(push, presence),
        pull: read(pull, Presence::Later),
        keep: None,
    };
    (!files.push.is_empty() || !files.pull.is_empty()).then(|| Arc::new(files))
}

fn read_path(
    path: &Spanned<String>,
    id: Option<&str>,
    folder: &Path,
    presence: Presence,
    problems: &mut Problems,
) -> Option<WorkPath> {
    let text = match id {
        Some(id) => path.value.replace(ID, id),
        None => path.value.clone(),
    };
    let mut refuse = |message: String, help: &str| {
        problems.push(Diagnostic::error(path.span, message).help(help));
        None
    };
    let parsed = match WorkPath::parse(folder, OsStr::new(&text)) {
        Ok(parsed) => parsed,
        Err(error) => {
            return refuse(
                format!("`{text}`: {error}"),
                "paths are relative to the folder of the file",
            );
        }
    };
    if presence == Presence::Now
        && let Err(error) = parsed.here().symlink_metadata()
    {
        let message = if error.kind() == ErrorKind::NotFound {
            format!("`{text}` has to be pushed, but does not exist")
        } else {
            format!("`{text}` cannot be pushed: {error}")
        };
        return refuse(
            message,
            "if another job makes the file, add that job to `needs`",
        );
    }
    Some(parsed)
}

/// Prepares a process for another host. If `keep` is a name, the work folder is kept under that name.
///
/// Reports a process that has files, but whose folder lies outside of its work folder.
pub(super) fn prepare_for_remote(
    process: &mut ProcessConfig,
    folder: Option<&Path>,
    keep: Option<&str>,
    place: Span,
    problems: &mut Problems,
) {
    program::prepare_for_remote(process, folder);
    let Some(files) = &mut process.files else {
        return;
    };
    if let Some(name) = keep {
        Arc::make_mut(files).keep = Some(name.to_owned());
    }
    let inside = process.working_dir.as_deref();
    if let Some(folder) = inside.filter(|folder| folder.is_absolute()) {
        let message = format!(
            "`push` and `pull` move files of the work folder, but this job runs in `{}`",
            folder.display()
        );
        let help = "leave out `cwd`, or write a folder within the work folder, without a slash at its beginning";
        problems.push(Diagnostic::error(place, message).help(help));
    }
}
