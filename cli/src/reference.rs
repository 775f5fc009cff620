//! References of what ratchet reads, made from the definitions that read it: every key of job files and of config files,
//! with its values, its default and an example; and the protocol of workers.

mod keys;
mod render;

use serde_json::Value;

use crate::args::help::ReferenceFormat;
use crate::schema;
use keys::sections;

/// The first sentences of the reference of job files.
const JOB_FILES: &str = "A job file is YAML, JSON or TOML, all with the same keys. A stream (`.jsonl` or stdin) has a job on each \
line; its first line may set what is not a job, such as `version`, `workers`, `limits`, `resources`, `groups`, `hosts`, `defaults` and `overrides`. A job beats its worker, and that beats \
`defaults`. Relative paths are relative to the file. `ratchet check FILE` says whether a file is sound. \
A key is there since version 0.1.0, unless its text names a later one.";

/// The first sentences of the reference of config files.
const SETTINGS: &str = "A config file is `ratchet.toml` of a project, or `ratchet/config.toml` in the XDG config folder of the user. A \
flag comes first, then a variable `RATCHET_..`, then the project's file, then the user's, then the default. `ratchet config \
show` prints what holds and where it comes from. \
A key is there since version 0.1.0, unless its text names a later one.";

/// A reference that `ratchet help` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reference {
    /// The keys of job files.
    JobFile,
    /// The keys of config files.
    Settings,
    /// The messages between ratchet and its workers.
    Protocol,
}

impl Reference {
    /// The names by which references are asked for.
    pub(crate) const NAMES: [&str; 3] = ["job-file", "settings", "protocol"];

    /// Returns the reference of this name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::JobFile, Self::Settings, Self::Protocol]
            .into_iter()
            .find(|reference| reference.name() == name)
    }

    /// Returns the name by which it is asked for.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::JobFile => "job-file",
            Self::Settings => "settings",
            Self::Protocol => "protocol",
        }
    }

    /// Writes the reference.
    pub(crate) fn render(self, format: ReferenceFormat) -> String {
        let (title, about, schema): (_, _, Value) = match self {
            Self::JobFile => ("The keys of a job file", JOB_FILES, schema::jobs()),
            Self::Settings => ("The keys of a config file", SETTINGS, schema::config()),
            Self::Protocol => return render::document(self.name(), ratchet_ipc::PROTOCOL, format),
        };
        let sections = sections(&schema);
        match format {
            ReferenceFormat::Text => render::text(title, about, &sections),
            ReferenceFormat::Markdown => render::markdown(title, about, &sections),
            ReferenceFormat::Man => render::man(self.name(), title, about, &sections),
        }
    }
}

#[cfg(test)]
mod tests;
