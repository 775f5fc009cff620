//! Job files, good and bad, as people write them.

mod refusals;
mod sound;
mod streams;

use std::path::Path;

use tempfile::TempDir;

use super::error::FileError;
use super::*;
use crate::style::Style;

/// A folder with one file in it.
struct Written {
    folder: TempDir,
    name: &'static str,
}

fn write(name: &'static str, text: impl AsRef<[u8]>) -> Written {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join(name), text).unwrap();
    Written { folder, name }
}

impl Written {
    fn open(&self) -> Result<Plan, FileError> {
        self.open_with(&PlanOptions::default())
    }

    fn open_with(&self, options: &PlanOptions) -> Result<Plan, FileError> {
        open(&self.folder.path().join(self.name), options)
    }

    /// Returns the diagnostics of the file, without the name of the folder.
    fn refusal(&self) -> String {
        self.shown(self.open().unwrap_err())
    }

    fn shown(&self, error: FileError) -> String {
        let text = match error {
            FileError::Refused(report) => report.render(Style::PLAIN),
            other => other.to_string(),
        };
        text.replace(&format!("{}/", self.path().display()), "")
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn listed(plan: Plan) -> Vec<ratchet_runtime::Job> {
    match plan.jobs {
        Jobs::Listed { jobs, .. } => jobs,
        Jobs::Streamed(_) => panic!("a document is no stream"),
    }
}

#[expect(clippy::disallowed_methods, reason = "a test may look at the clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
