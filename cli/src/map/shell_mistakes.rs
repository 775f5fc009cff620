//! Detects commands that were meant for a shell.

use std::ffi::OsString;

use ratchet_runtime::process::ProcessConfig;

use crate::error::CliError;
use crate::job_file::cannot_start;
use crate::shell_quote::shell_line;
use crate::value;

/// Words that are operators of a shell and hardly ever arguments. `;`, `<` and `&` are not among them, because `find`
/// and `test` have them as arguments.
const OPERATORS: [&str; 8] = ["|", "||", "&&", ">", ">>", "2>", "2>&1", "|&"];

/// Refuses a command that is a whole command line in one word, as in `map 'echo {} | wc -c'`.
pub(crate) fn refuse_shell_line(command: &[OsString], has_shell: bool) -> Result<(), CliError> {
    let [line] = command else {
        return Ok(());
    };
    if has_shell {
        return Ok(());
    }
    let Some(text) = line
        .to_str()
        .filter(|text| text.contains(char::is_whitespace))
    else {
        return Ok(());
    };
    let is_program = |word: &str| cannot_start(&ProcessConfig::new(word)).is_none();
    // The name of a program may contain blanks.
    if is_program(text) {
        return Ok(());
    }
    let words = value::split_words(text).ok();
    let shell = words
        .as_ref()
        .and_then(|words| words.shell_syntax.as_deref());
    let first = words.as_ref().and_then(|words| words.words.first());
    if shell.is_none() && !first.is_some_and(|first| is_program(first)) {
        return Ok(());
    }
    let quoted = String::from_utf8_lossy(&shell_line(command)).into_owned();
    let error = CliError::usage(format!(
        "the command is one word, {quoted}, and there is no program of that name"
    ));
    Err(error.with_help(match shell {
        Some(shell) => format!(
            "`{shell}` is shell syntax: add --shell, as in: ratchet map --shell -- {quoted}"
        ),
        None => format!(
            "write the program and its arguments as words of their own, as in: ratchet map -- {text}; or add --shell, so that a shell runs the line"
        ),
    }))
}

/// Returns the first word that is an operator of a shell. It reached ratchet because it was quoted or escaped.
pub(crate) fn shell_operator(command: &[OsString]) -> Option<&str> {
    let mut words = command.iter().filter_map(|word| word.to_str());
    words.find(|word| OPERATORS.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> Option<String> {
        let refused = refuse_shell_line(&[line.into()], false).err()?;
        Some(format!("{refused}; {}", refused.help().unwrap()))
    }

    #[test]
    fn a_line_for_a_shell_in_one_word_is_refused_with_the_flag_that_runs_it() {
        let said = refused("echo {} | wc -c").unwrap();
        assert!(said.contains("`|` is shell syntax"), "{said}");
        assert!(
            said.ends_with("ratchet map --shell -- 'echo {} | wc -c'"),
            "{said}"
        );
        let said = refused("no-such-program {} > out").unwrap();
        assert!(said.contains("--shell"), "{said}");
        let said = refused("sh -c exit").unwrap();
        assert!(said.contains("ratchet map -- sh -c exit; or"), "{said}");
    }

    #[test]
    fn what_may_be_the_name_of_a_program_is_not_refused() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("my tool");
        std::os::unix::fs::symlink("/bin/sh", &program).unwrap();
        for line in [program.to_str().unwrap(), "./my tools/{}", "sh", "{}"] {
            assert_eq!(refused(line), None, "{line}");
        }
        let words = ["echo", "a", "|", "wc"].map(OsString::from);
        assert!(refuse_shell_line(&words, false).is_ok());
        assert!(refuse_shell_line(&["echo a | wc".into()], true).is_ok());
        assert_eq!(shell_operator(&words), Some("|"));
        assert_eq!(
            shell_operator(&["find".into(), ";".into(), "a|b".into()]),
            None
        );
    }
}
