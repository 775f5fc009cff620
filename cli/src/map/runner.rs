//! The runner of the commands of a map.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use ratchet_runtime::process::{CommandLimits, CommandRunner, Exit, ProcessConfig, working_now};
use ratchet_runtime::{
    Attempt, Class, Context, Failure, Job, Payload, PlaceName, Runner, Work, command_failure,
    start_failure,
};

use super::collector::{CollectedOutput, OutputCollector};
use super::live::LiveOutput;
use super::median_timeout::MedianTimeout;
use super::outputs::{CommandRecord, PendingOutputs};
use super::start::CommandStart;
use super::template::Template;
use super::word::PlaceholderValues;
use crate::escape::text_of;
use crate::shell_quote::shell_text;

/// SIGKILL, the signal that ends an attempt whose future is dropped.
const SIGKILL: i32 = 9;

/// Prints the line of a command.
pub(crate) type CommandPrinter = Box<dyn Fn(&str) + Send + Sync>;

/// Runs the commands of jobs, and stores what they print with the pending outputs.
pub(crate) struct MapRunner {
    /// Runs commands on this machine.
    pub(crate) commands: CommandRunner,
    /// Runs commands on other hosts.
    pub(crate) elsewhere: BTreeMap<PlaceName, CommandRunner>,
    /// The command, if it depends on the slot, which is known only when an attempt starts.
    pub(crate) slot_template: Option<Template>,
    /// The folder, the variables and the niceness of all commands.
    pub(crate) start: CommandStart,
    /// Prints each command when it starts, with `--print-commands`.
    pub(crate) command_printer: Option<CommandPrinter>,
    /// The timeout in percent of the median, which ends commands that take far longer than the others.
    pub(crate) median_timeout: Option<MedianTimeout>,
    /// How long a command has to end after it was asked to stop.
    pub(crate) grace: Duration,
    /// Takes each command with its output when it has ended.
    pub(crate) outputs: Arc<PendingOutputs>,
    /// The output to which lines are written as they come, with `--line-buffer`.
    pub(crate) live: Option<Arc<LiveOutput>>,
    /// Whether the whole output is needed at the end although its lines were written already.
    pub(crate) keeps: bool,
    /// How many bytes of stdout, and of stderr, become part of the result.
    pub(crate) result_bytes: usize,
    /// The clock for the times of day at which jobs start.
    pub(crate) clock: fn() -> SystemTime,
}

#[async_trait]
impl Runner for MapRunner {
    async fn run(&self, attempt: Attempt, context: Context) -> Result<Payload, Failure> {
        let job = &attempt.job;
        let (Work::Command(config), Some((number, item))) = (&job.work, self.outputs.item(&job.id))
        else {
            return Err(Failure::new(
                Class::Input,
                "this job is not a command of this map",
            ));
        };
        let mut config = context.command_with_variables(config);
        if let Some(template) = &self.slot_template {
            let slot = context.slot();
            let item = &item;
            let mut words = template.expand(PlaceholderValues { item, number, slot });
            config.args = words.split_off(1);
            config.command = words.swap_remove(0).into();
        }
        let timeouts = job.terms.timeouts;
        let limits = CommandLimits {
            soft: timeouts.soft,
            hard: timeouts.hard_for_asked(),
            grace: self.grace,
            memory: job.terms.memory,
            ..CommandLimits::default()
        };
        let collector = Arc::new(OutputCollector {
            live: self.live.clone(),
            context,
            number,
            item: Arc::clone(&item),
            keeps: self.keeps || self.live.is_none(),
            result_bytes: self.result_bytes,
            collected: Mutex::default(),
        });
        let guard = KillGuard {
            outputs: &self.outputs,
            job,
            collector: Some(Arc::clone(&collector)),
            command: words(&config),
            started: (self.clock)(),
            start: working_now(),
        };
        let place = collector.context.place();
        let commands = place.map_or(Some(&self.commands), |place| self.elsewhere.get(place));
        let Some(commands) = commands else {
            return Err(Failure::new(
                Class::Input,
                "no runner of commands exists for this host",
            ));
        };
        if let Some(print) = &self.command_printer {
            print(&format!("{}\n", text_of(&shell_text(&guard.command))));
        }
        let config = self.start.with_niceness(config);
        let sink = Arc::<OutputCollector>::clone(&collector) as _;
        let asked = collector.context.cancellation();
        let result = match &self.median_timeout {
            None => commands.run_into(&config, limits, asked, sink).await,
            Some(timeout) => {
                let asked = asked.child_token();
                let run = commands.run_into(&config, limits, &asked, sink);
                timeout.guard(run, &asked).await
            }
        };
        if let Ok(end) = &result {
            collector.context.ended(end);
        }
        let (command, started, ran) = guard.disarm();
        let CollectedOutput {
            stdout,
            stderr,
            captured,
            ..
        } = collector.finish_without_blocking().await?;
        let exit = match &result {
            Ok(end) => end.ended.exit,
            // A shell exits with this code if there is no such program.
            Err(_) => Exit::Code(127),
        };
        let record = CommandRecord {
            number,
            item,
            command,
            started,
            ran,
            exit,
            stdout,
            stderr,
        };
        self.outputs.put(&job.id, record);
        match result {
            Ok(end) if end.is_success() => captured
                .to_payload()
                .map_err(|error| Failure::new(Class::Protocol, error.to_string())),
            Ok(end) => Err(command_failure(&end, timeouts)),
            Err(error) => Err(start_failure(&error)),
        }
    }
}

fn words(config: &ProcessConfig) -> Vec<OsString> {
    let command = config.command.clone().into_os_string();
    std::iter::once(command)
        .chain(config.args.iter().cloned())
        .collect()
}

/// Stores the output of a command that is killed.
///
/// An attempt is killed by dropping the future that runs it. No code after an `await` of that future runs then, so only
/// a destructor can store the output.
struct KillGuard<'a> {
    outputs: &'a PendingOutputs,
    job: &'a Job,
    /// The output of the command. It is nothing once the command has ended by itself.
    collector: Option<Arc<OutputCollector>>,
    /// The words of the command with the item filled in.
    command: Vec<OsString>,
    /// When the attempt began, by the wall clock.
    started: SystemTime,
    /// The same moment by the monotonic clock, from which the duration is computed.
    start: Instant,
}

impl KillGuard<'_> {
    /// Keeps the destructor from storing the output, because the command has ended by itself. Returns the command, when
    /// it started and how long it ran.
    fn disarm(mut self) -> (Vec<OsString>, SystemTime, Duration) {
        self.collector = None;
        let command = std::mem::take(&mut self.command);
        (
            command,
            self.started,
            working_now().saturating_duration_since(self.start),
        )
    }
}

impl Drop for KillGuard<'_> {
    fn drop(&mut self) {
        let Some(collector) = self.collector.take() else {
            return;
        };
        if let Some(collected) = collector.cut_off() {
            let record = CommandRecord {
                number: collector.number,
                item: Arc::clone(&collector.item),
                command: std::mem::take(&mut self.command),
                started: self.started,
                ran: working_now().saturating_duration_since(self.start),
                exit: Exit::Signal(SIGKILL),
                stdout: collected.stdout,
                stderr: collected.stderr,
            };
            self.outputs.put(&self.job.id, record);
        }
        // Ending the last line may wait for the reader of stdout, and this may be the thread of the executor's loop, so
        // it is done on another thread. Without a runtime the program is about to end, and the line stays open.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn_blocking(move || collector.finish()));
        }
    }
}

#[cfg(test)]
mod tests;
