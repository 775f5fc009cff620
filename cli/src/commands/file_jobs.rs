//! What every verb does with the jobs of a file, whoever performs them.

use std::io::{self, Write};

use ratchet_runtime::Limit;

use crate::args::terms::TermsArguments;
use crate::error::CliError;
use crate::exit;
use crate::job_file::Jobs;
use crate::output::Destination;

/// Returns the limits of flags, and those of the file that flags do not replace. A flag that names a limit that nobody
/// defines is refused.
pub(super) fn limits(
    terms: &TermsArguments,
    of_file: Vec<(String, Limit)>,
) -> Result<Vec<(String, Limit)>, CliError> {
    let is_defined = |name: &str| of_file.iter().any(|(known, _)| known == name);
    if let Some(name) = terms.undefined_limit(is_defined) {
        return Err(
            CliError::usage(format!("--limit {name}: no limit of that name is defined")).with_help(
                format!("define it in `limits` of the file, or with --limit {name}=4 or --limit {name}=10/s"),
            ),
        );
    }
    let mut limits = terms.defined_limits();
    // A limit that a flag defines overrides the limit of the same name in the file.
    let is_typed = |name: &str| {
        terms
            .limit
            .iter()
            .any(|it| it.limit.is_some() && it.name == name)
    };
    limits.extend(of_file.into_iter().filter(|(name, _)| !is_typed(name)));
    Ok(limits)
}

/// Prints the ids of the jobs that would run.
pub(super) fn list(jobs: &Jobs, name: &str) -> Result<u8, CliError> {
    let Jobs::Listed { jobs, .. } = jobs else {
        return Err(CliError::usage(format!(
            "--list needs to know all jobs, and {name} is a stream"
        )));
    };
    let mut text = String::new();
    for job in jobs {
        text.push_str(job.id.as_str());
        text.push('\n');
    }
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Destination::Stdout.error(error))?;
    Ok(exit::SUCCESS)
}
