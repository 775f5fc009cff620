//! Exit codes: constants that scripts may rely on.

use std::process::ExitCode;

/// All went well.
pub(crate) const SUCCESS: ExitCode = ExitCode::SUCCESS;

/// Something went wrong that is nobody's job to fail.
pub(crate) const INTERNAL: ExitCode = ExitCode::FAILURE;

/// As `--help` has it. Usage errors are clap's, which ends with 2.
pub(crate) const HELP: &str = "\
Exit codes:
  0  all went well
  1  internal error
  2  usage error, nothing ran";
