//! Asks on the terminal whether a command is to be run.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};

use crate::error::CliError;
use crate::shell_quote::shell_line;

/// The terminal on which is asked before each command.
pub(crate) struct Prompt {
    questions: Box<dyn Write + Send>,
    answers: Box<dyn BufRead + Send>,
}

impl Prompt {
    /// Opens the terminal of this process. Answers are not read from stdin, because it may contain the items.
    pub(crate) fn open() -> Result<Self, CliError> {
        let open = || {
            let terminal = File::options().read(true).write(true).open("/dev/tty")?;
            Ok::<_, io::Error>((terminal.try_clone()?, terminal))
        };
        let (answers, questions) = open().map_err(|error| {
            CliError::usage(format!(
                "-p asks on the terminal, and this process has none: {error}"
            ))
            .with_help("run it in a terminal, or leave -p out; --dry-run prints the commands")
        })?;
        Ok(Self {
            questions: Box::new(questions),
            answers: Box::new(BufReader::new(answers)),
        })
    }

    /// Asks whether to run the command. Every answer but a yes means no, and so does the end of the input.
    pub(super) fn allows(&mut self, words: &[OsString]) -> bool {
        let mut question = shell_line(words);
        question.extend_from_slice(b" ?... ");
        let asked = self.questions.write_all(&question);
        let mut answer = Vec::new();
        let answered = asked.and_then(|()| {
            self.questions.flush()?;
            self.answers.read_until(b'\n', &mut answer)
        });
        answered.is_ok() && matches!(answer.first(), Some(b'y' | b'Y'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_buffer::SharedBuffer;

    #[test]
    fn only_yes_lets_a_command_run() {
        let asked = SharedBuffer::default();
        let mut prompt = Prompt {
            questions: Box::new(asked.clone()),
            answers: Box::new(&b"y\nno\n\nYes\n"[..]),
        };
        let allows = |word: &str| prompt.allows(&["echo".into(), word.into()]);
        let answers = ["a b", "c", "d", "e", "f"].map(allows);
        assert_eq!(answers, [true, false, false, true, false]);
        assert!(
            asked.text().starts_with("echo 'a b' ?... echo c ?... "),
            "{}",
            asked.text()
        );
    }
}
