//! Commands that run behind a prefix, on a host without an agent.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::os::{
    FileError, Keeper, LocalProcesses, ProcessConfig, ProcessError, ProcessHandle, ProcessId,
    ProcessInfo, ProcessManager, ProcessUsage,
};
use crate::place::PlaceState;

/// How the words of a command get to the host behind a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefixWords {
    /// Unchanged: the prefix runs them as a program and its arguments, as `docker exec` does.
    Passed,
    /// As one line for a shell, as with `ssh`. So each word is quoted.
    ThroughShell,
}

/// Processes that are started by a prefix, such as `docker exec -i box`. It is used for a host without an agent.
///
/// A process is the local process of the prefix. So ending, stopping and waiting affect only the prefix, and what it
/// started elsewhere ends only if the prefix ends it. Nothing is measured, because only the prefix could be measured.
///
/// The prefix gets the environment of this process. Variables that a process declares are set on the host by `env`,
/// where others can see them in the list of processes.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use ratchet_runtime::process::{CommandLimits, CommandRunner, ProcessConfig};
/// use ratchet_runtime::remote::{PrefixWords, PrefixedProcesses};
///
/// // It is mostly one that leads to another machine.
/// let nice = ["nice", "-n", "5"].map(str::to_owned);
/// let processes = PrefixedProcesses::start(nice, PrefixWords::Passed, [], 2, None);
/// let runner = CommandRunner::through(Arc::new(processes));
/// let command = ProcessConfig::new("echo").arg("hello");
/// let output = runner.run(&command, CommandLimits::default(), &Default::default()).await?;
/// assert_eq!(output.stdout.to_text(), "hello\n");
/// # Ok::<(), ratchet_runtime::process::ProcessError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct PrefixedProcesses {
    processes: LocalProcesses,
    prefix: Vec<OsString>,
    words: PrefixWords,
    env: Vec<(String, String)>,
    /// The sender is kept, because dropping it would end the watch for those that watch the state.
    state: watch::Sender<PlaceState>,
}

impl PrefixedProcesses {
    /// Makes a host from a prefix, with variables for every process that is started there, and with this many slots.
    ///
    /// Call it within a tokio runtime. The keeper kills what is left of the prefixes if this process is killed.
    pub fn start(
        prefix: impl IntoIterator<Item = String>,
        words: PrefixWords,
        env: impl IntoIterator<Item = (String, String)>,
        slots: u32,
        keeper: Option<Keeper>,
    ) -> Self {
        Self {
            processes: LocalProcesses::with_keeper(keeper),
            prefix: prefix.into_iter().map(OsString::from).collect(),
            words,
            env: env.into_iter().collect(),
            state: watch::Sender::new(PlaceState::Ready { slots }),
        }
    }

    /// Returns a watch channel with the state of the host. A host without an agent always counts as ready.
    pub fn state(&self) -> watch::Receiver<PlaceState> {
        self.state.subscribe()
    }

    /// Makes the local process that runs a program behind the prefix.
    fn prefixed(&self, config: &ProcessConfig) -> ProcessConfig {
        let mut words = words_there(&self.env, config);
        if self.words == PrefixWords::ThroughShell {
            words = words.iter().map(|word| quoted(word)).collect();
        }
        let mut words = self.prefix.iter().cloned().chain(words);
        // There is always at least the program of the config.
        let program = words.next().unwrap_or_default();
        ProcessConfig::new(program).args(words)
    }
}

/// Returns the words of a program on the host, with those that set its folder and its variables.
fn words_there(env: &[(String, String)], config: &ProcessConfig) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    if let Some(folder) = &config.working_dir {
        words.extend(["sh", "-c", r#"cd -- "$0" && exec "$@""#].map(OsString::from));
        words.push(folder.into());
    }
    // The variables that a process declares override those of the host.
    let mut variables: BTreeMap<&OsStr, &OsStr> = BTreeMap::new();
    let of_host = env.iter();
    variables.extend(of_host.map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
    variables.extend(config.env.declared());
    if !variables.is_empty() || !config.env.inherits() {
        words.push("env".into());
        if !config.env.inherits() {
            words.push("-i".into());
        }
        for (name, value) in variables {
            let mut variable = name.to_owned();
            variable.push("=");
            variable.push(value);
            words.push(variable);
        }
        if config.command.as_os_str().as_bytes().contains(&b'=') {
            // `env` would take the program for another variable.
            words.extend(["sh", "-c", r#"exec "$0" "$@""#].map(OsString::from));
        }
    }
    words.push(config.command.clone().into());
    words.extend(config.args.iter().cloned());
    words
}

/// Quotes a word for a shell.
fn quoted(word: &OsStr) -> OsString {
    let mut line = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => line.extend_from_slice(br"'\''"),
            byte => line.push(*byte),
        }
    }
    line.push(b'\'');
    OsString::from_vec(line)
}

#[async_trait]
impl ProcessManager for PrefixedProcesses {
    async fn spawn_process(&self, config: &ProcessConfig) -> Result<ProcessHandle, ProcessError> {
        if config.files.is_some() {
            return Err(FileError::NoAgent.into());
        }
        self.processes.spawn_process(&self.prefixed(config)).await
    }

    async fn get_process(&self, id: ProcessId) -> Result<Option<ProcessInfo>, ProcessError> {
        self.processes.get_process(id).await
    }

    async fn list_processes(&self) -> Result<Vec<ProcessInfo>, ProcessError> {
        self.processes.list_processes().await
    }

    async fn terminate_process(&self, id: ProcessId, grace: Duration) -> Result<(), ProcessError> {
        self.processes.terminate_process(id, grace).await
    }

    async fn stop_process(&self, id: ProcessId) -> Result<(), ProcessError> {
        self.processes.stop_process(id).await
    }

    async fn continue_process(&self, id: ProcessId) -> Result<(), ProcessError> {
        self.processes.continue_process(id).await
    }

    async fn measure_processes(
        &self,
        _: &[ProcessId],
    ) -> Result<BTreeMap<ProcessId, ProcessUsage>, ProcessError> {
        Ok(BTreeMap::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::Environment;

    fn words(env: &[(&str, &str)], config: &ProcessConfig) -> Vec<String> {
        let env: Vec<_> = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let words = words_there(&env, config);
        words
            .iter()
            .map(|word| word.display().to_string())
            .collect()
    }

    #[test]
    fn a_command_is_passed_as_it_is_unless_its_folder_or_its_variables_are_set() {
        let echo = ProcessConfig::new("echo").arg("a b");
        assert_eq!(words(&[], &echo), ["echo", "a b"]);
        let own = echo
            .clone()
            .env(Environment::inherited().set("A", "own").set("C", "3"));
        assert_eq!(
            words(&[("A", "host"), ("B", "2")], &own),
            ["env", "A=own", "B=2", "C=3", "echo", "a b"]
        );
        let clean = echo.env(Environment::clean()).working_dir("/srv");
        assert_eq!(
            words(&[], &clean)[3..],
            ["/srv", "env", "-i", "echo", "a b"]
        );
    }

    #[tokio::test]
    async fn a_command_with_files_is_refused_for_nobody_brings_them() {
        let processes = PrefixedProcesses::start([], PrefixWords::Passed, [], 1, None);
        let config = ProcessConfig::new("true").files(crate::os::WorkFiles::default());
        let refused = processes.spawn_process(&config).await;
        assert!(matches!(
            refused,
            Err(ProcessError::Files(FileError::NoAgent))
        ));
    }

    #[test]
    fn a_quoted_word_is_one_word_of_a_shell() {
        for word in ["", "a b", "it's", "$HOME `x` \"y\"", "new\nline", "*"] {
            let quoted = quoted(OsStr::new(word));
            let line = format!("printf %s {}", quoted.display());
            let output = std::process::Command::new("sh")
                .args(["-c", &line])
                .output();
            assert_eq!(output.unwrap().stdout, word.as_bytes(), "{word}");
        }
    }
}
