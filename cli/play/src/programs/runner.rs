//! Runs programs whose output an evaluation needs, through the process manager of the run.

use std::sync::Arc;
use std::time::Duration;

use ratchet_runtime::process::{
    CommandLimits, CommandRunner, InputBytes, ProcessConfig, ProcessManager, ProgramInput,
    StopCause,
};
use ratchet_runtime::{Class, Context, Failure, error_chain};

use super::{Answer, Answers, Program, ProgramOutput, evaluate};

/// The maximum size of the output of a program.
const MAX_OUTPUT_BYTES: usize = 64 << 20;

/// Runs programs whose output an evaluation needs.
#[derive(Debug, Clone)]
pub(crate) struct ProgramRunner(CommandRunner);

impl ProgramRunner {
    /// Makes a runner whose programs this manager starts, so that none of them survives this process.
    pub(crate) fn new(manager: Arc<dyn ProcessManager>) -> Self {
        Self(CommandRunner::through(manager))
    }

    /// Runs a program until it ends. The error is that it took longer than `limit`, or that the attempt was cancelled.
    ///
    /// Dropping the future kills the program.
    pub(crate) async fn run(
        &self,
        program: &Program,
        limit: Option<Duration>,
        context: &Context,
    ) -> Result<Answer, Failure> {
        // The file is small, and in a folder of this machine.
        let file = match program.written_file() {
            Ok(file) => file,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut config = ProcessConfig::new(&program.command).args(&program.arguments);
        if let Some(file) = &file {
            config = config.arg(file.path());
        }
        if let Some(folder) = &program.folder {
            config = config.working_dir(folder);
        }
        if !program.stdin.is_empty() {
            let input = InputBytes::new(program.stdin.clone());
            config = config.stdin(ProgramInput::Bytes(input));
        }
        let limits = CommandLimits {
            hard: limit,
            grace: Duration::from_secs(2),
            capture_bytes: MAX_OUTPUT_BYTES,
            ..CommandLimits::default()
        };
        let ran = self.0.run(&config, limits, context.cancellation()).await;
        let output = match ran {
            Ok(output) => output,
            Err(error) => return Ok(Err(error_chain(&error))),
        };
        match output.stopped {
            Some(StopCause::Timeout) => {
                let seconds = limit.unwrap_or_default().as_secs_f64();
                let message = format!(
                    "a lookup took longer than the `timeout` of the task allows: `{}` was killed after {seconds:.1} s",
                    program.command.display()
                );
                return Err(Failure::new(Class::Timeout, message));
            }
            Some(StopCause::Cancelled) => {
                let message = "the task was stopped during a lookup";
                return Err(Failure::new(Class::Cancelled, message));
            }
            _ => {}
        }
        if output.stdout.dropped > 0 {
            return Ok(Err(format!(
                "it printed more than {} MiB",
                MAX_OUTPUT_BYTES >> 20
            )));
        }
        Ok(Ok(ProgramOutput {
            failure: (!output.is_success()).then(|| output.ended.exit.to_string()),
            stdout: output.stdout.bytes,
            stderr: output.stderr.to_text(),
        }))
    }

    /// Evaluates something, and runs the programs that it needs on the way.
    pub(crate) async fn evaluate<T>(
        &self,
        context: &Context,
        evaluation: impl Fn() -> T,
    ) -> Result<T, Failure> {
        let mut answers = Answers::default();
        loop {
            let program = match evaluate(&answers, &evaluation) {
                Ok(value) => return Ok(value),
                Err(program) => program,
            };
            let answer = self.run(&program, None, context).await?;
            answers.add(*program, answer);
        }
    }
}
