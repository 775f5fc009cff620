//! Builds the commands that run something on a host.

use ratchet_input::value::split_words;
use ratchet_runtime::process::ProcessConfig;

use super::askpass::Askpass;
use super::bootstrap::quoted;
use super::{Connection, SshConnection, Target, bootstrap};

/// After how many seconds of silence ssh probes the host, and after how many unanswered probes it gives up.
const ALIVE: (u32, u32) = (15, 3);

impl Target {
    /// Returns the password prompt for ssh, if it needs a password.
    pub(super) fn askpass(&self) -> Result<Option<Askpass>, String> {
        let Connection::Ssh(ssh) = &self.connection else {
            return Ok(None);
        };
        let askpass = ssh.password.clone().map(Askpass::new).transpose();
        askpass.map_err(|error| {
            format!(
                "host `{}`: the password cannot be given to ssh: {error}",
                self.name
            )
        })
    }

    /// Builds the process of the worker. The error describes what is wrong with the given Python.
    pub(super) fn worker_process(
        &self,
        askpass: Option<&Askpass>,
    ) -> Result<ProcessConfig, String> {
        let python = self.python.as_deref().map(|text| match split_words(text) {
            Ok(line) if !line.words.is_empty() => Ok(line.words),
            _ => Err(format!(
                "host `{}`: `ansible_python_interpreter` is not a command: {text}",
                self.name
            )),
        });
        let script = bootstrap::script(python.transpose()?.as_deref());
        Ok(self.shell_process(&script, askpass))
    }

    /// Builds a process that runs a script with `sh` on the host.
    pub(super) fn shell_process(&self, script: &str, askpass: Option<&Askpass>) -> ProcessConfig {
        match &self.connection {
            Connection::Local => ProcessConfig::new("/bin/sh").args(["-c", script]),
            Connection::Ssh(ssh) => {
                let process = self.ssh(ssh, askpass);
                // The login shell may be any shell. Single quotes mean the same in all of them.
                process.arg(format!("exec /bin/sh -c {}", quoted(script)))
            }
            Connection::Docker { container, user } => {
                let mut process = ProcessConfig::new("docker").args(["exec", "-i"]);
                if let Some(user) = user {
                    process = process.args(["-u", user.as_str()]);
                }
                process.args([container.as_str(), "/bin/sh", "-c", script])
            }
        }
    }

    /// Builds the call of ssh, without the command. If an option is given twice, ssh uses the first.
    fn ssh(&self, ssh: &SshConnection, askpass: Option<&Askpass>) -> ProcessConfig {
        let mut process = ProcessConfig::new(&ssh.program);
        process = process.args(&ssh.arguments);
        let option = |process: ProcessConfig, text: String| process.args(["-o".to_owned(), text]);
        process = process.arg("-T");
        if let Some(port) = ssh.port {
            process = process.args(["-p".to_owned(), port.to_string()]);
        }
        if let Some(key) = &ssh.key {
            process = process.args(["-i", key.as_str()]);
        }
        if let Some(user) = &ssh.user {
            process = process.args(["-l", user.as_str()]);
        }
        let (interval, count) = ALIVE;
        process = option(
            process,
            format!("ConnectTimeout={}", self.connect_timeout.as_secs().max(1)),
        );
        process = option(process, format!("ServerAliveInterval={interval}"));
        process = option(process, format!("ServerAliveCountMax={count}"));
        if !ssh.checks_host_key {
            process = option(process, "StrictHostKeyChecking=no".to_owned());
        }
        process = match askpass {
            // In batch mode ssh never asks. A password that was refused once is not tried again.
            Some(askpass) => {
                process = option(process, "BatchMode=no".to_owned());
                askpass.set(option(process, "NumberOfPasswordPrompts=1".to_owned()))
            }
            None => option(process, "BatchMode=yes".to_owned()),
        };
        process.args(["--", ssh.host.as_str()])
    }
}
