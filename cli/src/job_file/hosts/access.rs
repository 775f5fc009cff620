//! How a host is reached, and the words that run a command there.

use crate::value::ValueError;

/// How a host is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostAccess {
    /// By ssh.
    Ssh {
        /// The destination, with its user if there is one.
        destination: String,
        /// The port, if it is not the default.
        port: Option<u16>,
    },
    /// By `docker exec`, in this container.
    Docker(String),
    /// By `kubectl exec`.
    Kubectl {
        /// The pod.
        pod: String,
        /// The container of the pod.
        container: Option<String>,
        /// The namespace of the pod.
        namespace: Option<String>,
        /// The context of the configuration.
        context: Option<String>,
    },
    /// By `srun`, on this node of the allocation.
    Srun(String),
    /// By a prefix: these words, before a command, run it on the host.
    Via(Vec<String>),
    /// The host is this machine, under another name.
    Local,
}

impl HostAccess {
    /// Returns the words that, before a command, run it on the host.
    pub(crate) fn launcher(&self) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let option = |launcher: &mut Vec<String>, flag: &str, value: &Option<String>| {
            if let Some(value) = value {
                launcher.extend([flag.to_owned(), value.clone()]);
            }
        };
        match self {
            Self::Ssh { destination, port } => {
                // ssh must not ask for a password, because nobody could answer. It must not use the connection of
                // another ssh, whose end would end this one, too.
                let mut launcher: Vec<String> = words(&[
                    "ssh",
                    "-T",
                    "-o",
                    "BatchMode=yes",
                    "-o",
                    "ControlMaster=no",
                    "-o",
                    "ControlPath=none",
                    "-o",
                    "ServerAliveInterval=5",
                    "-o",
                    "ServerAliveCountMax=3",
                ]);
                option(&mut launcher, "-p", &port.map(|port| port.to_string()));
                launcher.extend(["--".to_owned(), destination.clone()]);
                launcher
            }
            Self::Docker(container) => words(&["docker", "exec", "-i", container]),
            Self::Kubectl {
                pod,
                container,
                namespace,
                context,
            } => {
                let mut launcher: Vec<String> = words(&["kubectl"]);
                option(&mut launcher, "--context", context);
                option(&mut launcher, "--namespace", namespace);
                launcher.extend(words(&["exec", "-i", pod]));
                option(&mut launcher, "--container", container);
                launcher.push("--".to_owned());
                launcher
            }
            // With `--overlap` the step shares the resources of the allocation with all other steps. Without
            // `--unbuffered`, srun would hold back bytes until a line ends, but the messages of the agent are not
            // lines.
            Self::Srun(node) => words(&[
                "srun",
                "--overlap",
                "--nodes=1",
                "--ntasks=1",
                "--cpu-bind=none",
                "--unbuffered",
                "--quiet",
                "-w",
                node,
            ]),
            Self::Via(prefix) => prefix.clone(),
            Self::Local => Vec::new(),
        }
    }

    /// Returns the way to the host in the words of a user, without the options that every launcher of its kind has.
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::Ssh { destination, port } => match port {
                Some(port) => format!("ssh -p {port} {destination}"),
                None => format!("ssh {destination}"),
            },
            Self::Local => "this machine".to_owned(),
            Self::Docker(_) | Self::Kubectl { .. } | Self::Srun(_) | Self::Via(_) => {
                self.launcher().join(" ")
            }
        }
    }

    /// Parses a destination of ssh: `[user@]name[:port]`. A name that contains colons stands in brackets.
    pub(crate) fn ssh(text: &str) -> Result<Self, ValueError> {
        let refuse = |reason: &str| {
            Err(ValueError::new(reason.to_owned())
                .hint("write [user@]name[:port], as in deploy@web1.example:2222"))
        };
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, text),
        };
        let (name, port) = match rest.strip_prefix('[') {
            Some(bracketed) => match bracketed.split_once(']') {
                Some((name, "")) => (name, None),
                Some((name, port)) => match port.strip_prefix(':') {
                    Some(port) => (name, Some(port)),
                    None => return refuse("only a port can follow the brackets"),
                },
                None => return refuse("the bracket is not closed"),
            },
            // More than one colon means an IPv6 address without a port.
            None => match rest.split_once(':') {
                Some((name, port)) if !port.contains(':') => (name, Some(port)),
                _ => (rest, None),
            },
        };
        if name.is_empty() || user == Some("") {
            return refuse("the name of the host is missing");
        }
        if text.starts_with('-') {
            return refuse(
                "a destination cannot begin with a dash, which ssh would take for a flag",
            );
        }
        if text
            .chars()
            .any(|char| char.is_whitespace() || char.is_control())
        {
            return refuse("a destination cannot contain blanks");
        }
        let port = match port.map(str::parse::<u16>) {
            None => None,
            Some(Ok(port)) if port > 0 => Some(port),
            Some(_) => return refuse("a port is a number from 1 to 65535"),
        };
        let destination = match user {
            Some(user) => format!("{user}@{name}"),
            None => name.to_owned(),
        };
        Ok(Self::Ssh { destination, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(destination: &str, port: Option<u16>) -> HostAccess {
        HostAccess::Ssh {
            destination: destination.to_owned(),
            port,
        }
    }

    #[test]
    fn a_destination_of_ssh_has_a_user_and_a_port_if_they_are_said() {
        for (text, destination, port) in [
            ("web1", "web1", None),
            (
                "deploy@web1.example:2222",
                "deploy@web1.example",
                Some(2222),
            ),
            ("a@b@web1", "a@b@web1", None),
            ("[fe80::1]:22", "fe80::1", Some(22)),
            ("root@[::1]", "root@::1", None),
            ("fe80::1", "fe80::1", None),
        ] {
            assert_eq!(
                HostAccess::ssh(text).unwrap(),
                ssh(destination, port),
                "{text}"
            );
        }
        for text in [
            "",
            "@web1",
            "web1:",
            "web1:0",
            "web1:70000",
            "-oProxyCommand=x",
            "web 1",
            "[::1",
            "[::1]22",
        ] {
            assert!(HostAccess::ssh(text).is_err(), "{text}");
        }
    }
}
