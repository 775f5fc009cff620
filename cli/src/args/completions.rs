//! `ratchet completions`.

use clap::Args;
use clap_complete::Shell;

/// Prints what makes a shell complete ratchet's verbs and options.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ratchet completions bash > ~/.local/share/bash-completion/completions/ratchet
  ratchet completions zsh > ~/.zfunc/_ratchet
  ratchet completions fish > ~/.config/fish/completions/ratchet.fish")]
pub(crate) struct CompletionsArguments {
    /// Which shell.
    pub(crate) shell: Shell,
}
