//! Programs whose output an evaluation needs: the command of the lookup `pipe`, `curl`, `ansible-vault`.
//!
//! The code that decides what comes next evaluates templates, and must not wait for a program. So [`evaluate`] runs
//! none. If an evaluation needs the output of a program, it is broken off, and `evaluate` returns the program. The
//! caller has it run by a [`ProgramRunner`], adds its answer to the [`Answers`], and evaluates again from the start.
//!
//! Outside of `evaluate`, for example while playbooks are read, programs run at once.

mod runner;

use std::cell::RefCell;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

pub(crate) use runner::ProgramRunner;

/// A program on the controller whose output is needed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// The program: a path, or a name that is searched in `PATH`.
    pub(crate) command: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// What it reads from its stdin.
    pub(crate) stdin: Vec<u8>,
    /// The folder in which it runs, if it is not that of this process.
    pub(crate) folder: Option<PathBuf>,
    /// The content of a temporary file, whose path is its last argument.
    pub(crate) file: Option<Vec<u8>>,
}

/// Debug output must not contain what a program reads, which may be a password.
impl fmt::Debug for Program {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Program")
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

impl Program {
    /// Makes a program without arguments and without input.
    pub(crate) fn new(command: impl Into<PathBuf>) -> Self {
        Self {
            command: command.into(),
            arguments: Vec::new(),
            stdin: Vec::new(),
            folder: None,
            file: None,
        }
    }

    /// Writes the temporary file of the program, which is removed when the returned file is dropped.
    fn written_file(&self) -> io::Result<Option<tempfile::NamedTempFile>> {
        let Some(content) = &self.file else {
            return Ok(None);
        };
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(content)?;
        file.flush()?;
        Ok(Some(file))
    }

    /// Runs the program and waits for its end.
    fn run_here(&self) -> Answer {
        let told = |error: io::Error| error.to_string();
        let file = self.written_file().map_err(told)?;
        let mut command = Command::new(&self.command);
        command.args(&self.arguments);
        if let Some(file) = &file {
            command.arg(file.path());
        }
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(told)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ended early reports the reason itself.
            let _ = stdin.write_all(&self.stdin);
        }
        let output = child.wait_with_output().map_err(told)?;
        Ok(ProgramOutput {
            failure: (!output.status.success()).then(|| output.status.to_string()),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// The output of a program that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProgramOutput {
    /// How the program ended, unless it succeeded.
    pub(crate) failure: Option<String>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// The output of a program, or why it could not be run.
pub(crate) type Answer = Result<ProgramOutput, String>;

/// The answers of the programs that an evaluation needs. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers(Arc<Vec<(Program, Answer)>>);

impl Answers {
    /// Adds the answer of a program.
    pub(crate) fn add(&mut self, program: Program, answer: Answer) {
        Arc::make_mut(&mut self.0).push((program, answer));
    }

    /// Returns the number of answers.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

/// The state of an evaluation that runs no program.
struct Evaluation {
    answers: Answers,
    /// Whether each answer was given to the evaluation.
    is_given: Vec<bool>,
    /// The program that has to run before the evaluation can end.
    needed: Option<Program>,
}

impl Evaluation {
    /// Returns the answer of a program that was not given yet.
    ///
    /// One and the same program may be needed several times, and give another answer each time, as `uuidgen` does. So
    /// each answer is given once. An expression with a random part needs another program whenever it is evaluated; it
    /// gets the answer of its earlier form, since it would never end otherwise.
    fn answer(&mut self, program: &Program) -> Option<Answer> {
        let open = || (0..self.answers.count()).filter(|at| !self.is_given[*at]);
        let same = open().find(|at| self.answers.0[*at].0 == *program);
        let similar = || open().find(|at| self.answers.0[*at].0.command == program.command);
        let at = same.or_else(similar)?;
        self.is_given[at] = true;
        Some(self.answers.0[at].1.clone())
    }
}

thread_local! {
    /// The evaluation in progress on this thread, if it must not run programs.
    static OPEN: RefCell<Option<Evaluation>> = const { RefCell::new(None) };
}

/// Restores the evaluation that was in progress before another one, also after a panic.
struct Restore(Option<Evaluation>);

impl Drop for Restore {
    fn drop(&mut self) {
        OPEN.set(self.0.take());
    }
}

/// Evaluates something without running a program. The error is the program that has to run first.
///
/// The evaluation has to be repeatable: it must not change anything before its last use of a program.
pub(crate) fn evaluate<T>(
    answers: &Answers,
    evaluation: impl FnOnce() -> T,
) -> Result<T, Box<Program>> {
    // An evaluation may catch the error that breaks it off, so the program counts, and not how it ended.
    match evaluated(answers, evaluation) {
        (_, Some(program)) => Err(Box::new(program)),
        (value, None) => Ok(value),
    }
}

/// Evaluates something without running a program. Whatever needs a program that has not run fails.
pub(crate) fn evaluate_with_known<T>(answers: &Answers, evaluation: impl FnOnce() -> T) -> T {
    evaluated(answers, evaluation).0
}

/// Evaluates something with the answers of the programs that have run. Returns the program that has to run first, if
/// there is one.
fn evaluated<T>(answers: &Answers, evaluation: impl FnOnce() -> T) -> (T, Option<Program>) {
    let open = Evaluation {
        is_given: vec![false; answers.count()],
        answers: answers.clone(),
        needed: None,
    };
    let restore = Restore(OPEN.replace(Some(open)));
    let value = evaluation();
    let needed = OPEN.take().and_then(|ended| ended.needed);
    drop(restore);
    (value, needed)
}

/// Returns the answer of a program.
pub(crate) fn output(program: &Program) -> Answer {
    let answer = OPEN.with_borrow_mut(|open| {
        let open = open.as_mut()?;
        if open.needed.is_some() {
            return Some(None);
        }
        let answer = open.answer(program);
        if answer.is_none() {
            open.needed = Some(program.clone());
        }
        Some(answer)
    });
    match answer {
        None => program.run_here(),
        Some(Some(answer)) => answer,
        // Nobody sees this text, because the evaluation is repeated.
        Some(None) => Err("it has not run yet".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(word: &str) -> String {
        let mut program = Program::new("echo");
        program.arguments = vec![word.into()];
        match output(&program) {
            Ok(output) => String::from_utf8(output.stdout).unwrap(),
            Err(reason) => reason,
        }
    }

    fn printing(text: &str) -> ProgramOutput {
        ProgramOutput {
            failure: None,
            stdout: text.into(),
            stderr: String::new(),
        }
    }

    #[test]
    fn an_evaluation_is_broken_off_at_each_program_and_ends_with_all_answers() {
        let evaluation = || [printed("a"), printed("b"), printed("a")];
        let mut answers = Answers::default();
        for (needed, given) in [("a", "1"), ("b", "2"), ("a", "3")] {
            let program = *evaluate(&answers, evaluation).unwrap_err();
            assert_eq!(program.arguments, [needed]);
            answers.add(program, Ok(printing(given)));
        }
        let ended = evaluate(&answers, evaluation).unwrap();
        assert_eq!(ended, ["1", "2", "3"]);
        // Outside of an evaluation a program runs at once.
        assert_eq!(printed("x"), "x\n");
    }

    #[test]
    fn an_expression_that_needs_another_program_each_time_gets_the_answer_of_the_earlier_one() {
        let mut round = 0;
        let mut answers = Answers::default();
        for _ in 0..2 {
            round += 1;
            match evaluate(&answers, || printed(&round.to_string())) {
                Ok(text) => assert_eq!((round, text.as_str()), (2, "first")),
                Err(program) => answers.add(*program, Ok(printing("first"))),
            }
        }
        assert_eq!(round, 2);
    }

    #[test]
    fn an_evaluation_that_catches_the_error_is_broken_off_nevertheless() {
        let evaluation = || printed("a").len();
        let program = evaluate(&Answers::default(), evaluation).unwrap_err();
        assert_eq!(program.command, PathBuf::from("echo"));
    }
}
