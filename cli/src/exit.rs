//! Exit codes: constants that scripts may rely on.

/// All went well.
pub(crate) const SUCCESS: u8 = 0;

/// Something went wrong that is nobody's job to fail.
pub(crate) const INTERNAL: u8 = 1;

/// What was typed, or a file, makes no sense; nothing ran. It is clap's code too.
pub(crate) const USAGE: u8 = 2;

/// There was nothing to do.
pub(crate) const NOTHING: u8 = 4;

/// As `--help` has it.
pub(crate) const HELP: &str = "\
Exit codes:
  0    all went well
  1    internal error
  2    usage or file error, nothing ran
  4    nothing to do";
