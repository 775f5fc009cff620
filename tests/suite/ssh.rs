//! A real server for ssh on an address of its own, for tests.
#![cfg(target_os = "linux")]

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use ratchet_tests::{Folder, eventually};

/// Says loudly that something is not tested, and why.
#[expect(clippy::print_stderr, reason = "whoever runs the tests has to see it")]
pub(crate) fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// A server for ssh. It is ended when this is dropped.
pub(crate) struct SshServer {
    folder: Folder,
    address: String,
    port: u16,
    process: Child,
}

/// The port of the next server of this process. `cargo test` runs many tests in one process, which has one address.
static NEXT_PORT: AtomicU16 = AtomicU16::new(2222);

impl SshServer {
    /// Starts a server with these lines in its config, on this address, behind these words of a launcher. Returns nothing,
    /// and says so, where there can be none.
    pub(crate) async fn start(options: &str, address: &str, launcher: &[&str]) -> Option<Self> {
        let sshd = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].into_iter();
        let Some(sshd) = sshd
            .into_iter()
            .find(|path| fs::exists(path).unwrap_or(false))
        else {
            skip("there is no sshd, so no real ssh connection is tried");
            return None;
        };
        if !rustix::process::getuid().is_root() {
            skip("only root may start a server for ssh, so no real connection is tried");
            return None;
        }
        let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        let folder = Folder::new();
        let at = |name: &str| folder.at(name).display().to_string();
        for key in ["host_key", "user_key", "unknown_key"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)])
                .status();
            assert!(made.is_ok_and(|made| made.success()), "there is no key");
        }
        let public =
            |key: &str| fs::read_to_string(at(&format!("{key}.pub"))).expect("it was made");
        let config = format!(
            "ListenAddress {address}:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
             PermitRootLogin yes\nClientAliveInterval 1\nClientAliveCountMax 5\nSetEnv RATCHET_SSH={}\n{options}\n",
            at("host_key"),
            at("user_key.pub"),
            folder.path().display(),
        );
        let known = format!("[{address}]:{port} {}", public("host_key"));
        let client = format!(
            "Host *\n  HostName {address}\n  Port {port}\n  User root\n  IdentitiesOnly yes\n  BatchMode yes\n\
             \x20 ControlPath none\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n\
             \x20 IdentityAgent none\n"
        );
        let folder = folder
            .clone()
            .file("sshd_config", config)
            .file("known_hosts", known)
            .file("nobody_known", "")
            .file("ssh_config", client);
        // It is where sshd separates its privileges. It may exist.
        let _ = fs::create_dir("/run/sshd");
        let log = fs::File::create(folder.at("log")).expect("the folder is ours");
        let mut words = launcher.iter().copied().chain([sshd, "-D", "-e", "-f"]);
        let program = words.next().unwrap_or(sshd);
        let process = Command::new(program)
            .args(words)
            .arg(folder.at("sshd_config"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn();
        let server = Self {
            process: process.expect("it was found"),
            address: address.to_owned(),
            port,
            folder,
        };
        let listens = || TcpStream::connect((server.address.as_str(), server.port)).is_ok();
        eventually("the server listens", listens).await;
        Some(server)
    }

    /// Returns an address that is free, as long as no other process of this machine has the same number.
    pub(crate) fn own_address() -> String {
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        format!("127.{}.{middle}.{low}", 64 + high)
    }

    /// Returns the words before a command that run it on the server, with the key that it accepts and that of the
    /// server.
    pub(crate) fn launcher(&self) -> Vec<String> {
        self.launcher_with("user_key", "known_hosts")
    }

    /// Returns the words before a command that run it on the server, with this key and these known hosts.
    pub(crate) fn launcher_with(&self, key: &str, known: &str) -> Vec<String> {
        let path = |name: &str| self.folder.at(name).display().to_string();
        [
            "env".to_owned(),
            self.mark(),
            "ssh".to_owned(),
            "-F".to_owned(),
            path("ssh_config"),
            format!("-oIdentityFile={}", path(key)),
            format!("-oUserKnownHostsFile={}", path(known)),
            "-T".to_owned(),
            "--".to_owned(),
            "web1".to_owned(),
        ]
        .into()
    }

    /// Returns the variables by which Ansible's inventories name the server, one a line.
    pub(crate) fn ansible_variables(&self) -> String {
        let path = |name: &str| self.folder.at(name).display().to_string();
        format!(
            "ansible_connection=ssh\nansible_host={}\nansible_port={}\nansible_user=root\n\
             ansible_ssh_private_key_file={}\nansible_ssh_common_args='-o UserKnownHostsFile={}'",
            self.address,
            self.port,
            path("user_key"),
            path("known_hosts"),
        )
    }

    /// Returns what has to be in the environment of all that is started on either side.
    pub(crate) fn mark(&self) -> String {
        format!("RATCHET_SSH={}", self.folder.path().display())
    }

    /// Returns what the server has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.at("log")).unwrap_or_default()
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
