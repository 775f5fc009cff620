//! Reads the connection to a host from its variables.

use std::time::Duration;

use ratchet_input::value::split_words;
use serde_json::Value;

use super::{Connection, SshConnection, Target, text_of};
use crate::modules::Secret;

/// How long it may take to connect by default.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a connection of this name is supported.
pub(crate) fn is_connection(kind: &str) -> bool {
    let own_name = kind.strip_prefix("ansible.builtin.").unwrap_or(kind);
    matches!(
        own_name,
        "local"
            | "docker"
            | "community.docker.docker"
            | "ssh"
            | "smart"
            | "paramiko"
            | "paramiko_ssh"
    )
}

impl Target {
    /// Reads the connection to a host from its variables. By default it is ssh, to the host's own name.
    ///
    /// The error names the variable, and what is wrong with it.
    pub(crate) fn of(name: &str, variable: impl Fn(&str) -> Option<Value>) -> Result<Self, String> {
        let text = |names: &[&str]| {
            let mut values = names
                .iter()
                .filter_map(|name| variable(name).and_then(text_of));
            values.next()
        };
        let refused = |reason: String| format!("host `{name}`: {reason}");
        let words = |names: &[&str]| match text(names) {
            None => Ok(Vec::new()),
            Some(text) => match split_words(&text) {
                Ok(line) => Ok(line.words),
                Err(_) => Err(refused(format!(
                    "`{}` has a quote that is not closed",
                    names[0]
                ))),
            },
        };
        let host = text(&["ansible_host", "ansible_ssh_host"]).unwrap_or_else(|| name.to_owned());
        let user = text(&["ansible_user", "ansible_ssh_user"]);
        let kind = text(&["ansible_connection"]);
        let connection = match kind
            .as_deref()
            .map(|kind| kind.strip_prefix("ansible.builtin.").unwrap_or(kind))
        {
            Some("local") => Connection::Local,
            Some("docker" | "community.docker.docker") => Connection::Docker {
                container: host.clone(),
                user,
            },
            None | Some("ssh" | "smart" | "paramiko" | "paramiko_ssh") => {
                let port =
                    text(&["ansible_port", "ansible_ssh_port"]).map(|port| port.parse::<u16>());
                let port = port
                    .transpose()
                    .map_err(|_| refused("`ansible_port` is not a port number".to_owned()))?;
                let mut arguments = words(&["ansible_ssh_args"])?;
                arguments.extend(words(&["ansible_ssh_common_args"])?);
                arguments.extend(words(&["ansible_ssh_extra_args"])?);
                let check = ["ansible_ssh_host_key_checking", "ansible_host_key_checking"];
                Connection::Ssh(Box::new(SshConnection {
                    program: text(&["ansible_ssh_executable"]).unwrap_or_else(|| "ssh".to_owned()),
                    host: host.clone(),
                    port,
                    user,
                    key: text(&["ansible_ssh_private_key_file", "ansible_private_key_file"]),
                    arguments,
                    checks_host_key: text(&check).is_none_or(|word| is_true(&word)),
                    password: text(&[
                        "ansible_password",
                        "ansible_ssh_pass",
                        "ansible_ssh_password",
                    ])
                    .map(Secret::new),
                }))
            }
            Some(other) => {
                return Err(refused(format!(
                    "the connection `{other}` is not supported: use ssh, docker or local"
                )));
            }
        };
        if host.starts_with('-') || host.is_empty() {
            return Err(refused(format!("`{host}` is not the name of a host")));
        }
        let timeout = match text(&["ansible_ssh_timeout", "ansible_timeout"]) {
            None => CONNECT_TIMEOUT,
            Some(seconds) => {
                let seconds = seconds.parse::<u32>().ok().filter(|seconds| *seconds > 0);
                let seconds = seconds.ok_or_else(|| {
                    refused("`ansible_timeout` is not a number of seconds".to_owned())
                })?;
                Duration::from_secs(seconds.into())
            }
        };
        let python = text(&["ansible_python_interpreter"]);
        Ok(Self {
            name: name.to_owned(),
            connection,
            python: python.filter(|python| !python.starts_with("auto")),
            remote_tmp: text(&["ansible_remote_tmp"])
                .unwrap_or_else(|| "~/.ansible/tmp".to_owned()),
            shell: text(&["ansible_shell_executable"]).unwrap_or_else(|| "/bin/sh".to_owned()),
            connect_timeout: timeout,
        })
    }
}

fn is_true(word: &str) -> bool {
    !matches!(
        word.to_ascii_lowercase().as_str(),
        "false" | "no" | "off" | "0" | "n" | "f"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn target(variables: &Value) -> Result<Target, String> {
        Target::of("web1", |name| variables.get(name).cloned())
    }

    #[test]
    fn a_host_without_variables_is_reached_by_ssh() {
        let found = target(&json!({})).unwrap();
        let Connection::Ssh(ssh) = found.connection else {
            panic!("{found:?}");
        };
        assert_eq!(
            (ssh.host.as_str(), ssh.port, ssh.user, ssh.password),
            ("web1", None, None, None)
        );
        assert!(ssh.checks_host_key);
        assert_eq!(
            (found.python, found.connect_timeout),
            (None, Duration::from_secs(10))
        );
    }

    #[test]
    fn each_variable_of_a_connection_counts() {
        let found = target(&json!({
            "ansible_host": "10.0.0.1", "ansible_port": 2222, "ansible_user": "deploy",
            "ansible_ssh_private_key_file": "~/.ssh/deploy", "ansible_ssh_common_args": "-o 'ProxyCommand=ssh -W %h:%p jump'",
            "ansible_ssh_extra_args": "-v", "ansible_ssh_executable": "/opt/ssh", "ansible_host_key_checking": false,
            "ansible_python_interpreter": "/usr/bin/env python3", "ansible_timeout": "30", "ansible_password": "geheim",
            "ansible_remote_tmp": "/var/tmp/a", "ansible_shell_executable": "/bin/bash",
        }));
        let found = found.unwrap();
        assert_eq!(found.python.as_deref(), Some("/usr/bin/env python3"));
        assert_eq!(found.connect_timeout, Duration::from_secs(30));
        assert_eq!(
            (found.remote_tmp.as_str(), found.shell.as_str()),
            ("/var/tmp/a", "/bin/bash")
        );
        assert!(!format!("{found:?}").contains("geheim"));
        let Connection::Ssh(ssh) = found.connection else {
            panic!("it has no connection by ssh");
        };
        assert_eq!(
            ssh.arguments,
            ["-o", "ProxyCommand=ssh -W %h:%p jump", "-v"]
        );
        assert_eq!(
            (ssh.host.as_str(), ssh.port, ssh.user.as_deref()),
            ("10.0.0.1", Some(2222), Some("deploy"))
        );
        assert_eq!(
            (ssh.key.as_deref(), ssh.program.as_str()),
            (Some("~/.ssh/deploy"), "/opt/ssh")
        );
        assert!(!ssh.checks_host_key);
        assert_eq!(ssh.password, Some(Secret::new("geheim")));
    }

    #[test]
    fn what_cannot_be_a_connection_is_refused() {
        for (variables, reason) in [
            (json!({"ansible_connection": "winrm"}), "connection `winrm`"),
            (
                json!({"ansible_port": "ssh"}),
                "`ansible_port` is not a port number",
            ),
            (
                json!({"ansible_host": "-oProxyCommand=id"}),
                "is not the name of a host",
            ),
            (
                json!({"ansible_ssh_extra_args": "'"}),
                "`ansible_ssh_extra_args` has a quote",
            ),
            (json!({"ansible_timeout": 0}), "`ansible_timeout`"),
        ] {
            let refused = target(&variables).unwrap_err();
            assert!(
                refused.contains(reason) && refused.contains("web1"),
                "{refused}"
            );
        }
    }

    #[test]
    fn other_connections_are_this_machine_and_containers() {
        let local = target(
            &json!({"ansible_connection": "ansible.builtin.local", "ansible_python_interpreter": "auto_silent"}),
        );
        let local = local.unwrap();
        assert_eq!((local.connection, local.python), (Connection::Local, None));
        let container = target(
            &json!({"ansible_connection": "docker", "ansible_host": "box", "ansible_user": "app"}),
        );
        let user = Some("app".to_owned());
        assert_eq!(
            container.unwrap().connection,
            Connection::Docker {
                container: "box".to_owned(),
                user
            }
        );
    }
}
