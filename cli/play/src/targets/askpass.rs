//! Passes a password to ssh: ssh runs a program that reads it from a named pipe that only this user can open.
//!
//! The password is never in an argument, the environment or a file. It is only in the pipe, until it is read.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

use nix::libc::O_NONBLOCK;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use ratchet_runtime::process::{Environment, ProcessConfig};
use tempfile::TempDir;

use super::bootstrap::quoted;
use crate::modules::Secret;

/// A password that ssh can ask for any number of times.
#[derive(Debug)]
pub(super) struct Askpass {
    /// A folder that only this user can enter, which contains the pipe and the program.
    folder: TempDir,
    /// Both ends of the pipe, so that a reader never sees its end, and opening it never blocks.
    pipe: File,
    password: Secret,
}

impl Askpass {
    /// Makes the pipe and the program.
    pub(super) fn new(password: Secret) -> io::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("ratchet-askpass-")
            .tempdir()?;
        let path = folder.path().join("pipe");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let pipe = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(O_NONBLOCK)
            .open(&path)?;
        // ssh also asks whether to trust a host, and for the passphrase of a key. Neither may get the password.
        let script = format!(
            "#!/bin/sh\ncase $1 in\n*[Pp]assword*) IFS= read -r password <{} && printf '%s\\n' \"$password\";;\n*) exit 1;;\nesac\n",
            quoted(&path.display().to_string())
        );
        let program = folder.path().join("askpass");
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o700)
            .open(&program)?;
        file.write_all(script.as_bytes())?;
        drop(file);
        std::fs::set_permissions(&program, Permissions::from_mode(0o700))?;
        let askpass = Self {
            folder,
            pipe,
            password,
        };
        askpass.refill()?;
        Ok(askpass)
    }

    /// Fills the pipe, from which each question reads a line.
    pub(super) fn refill(&self) -> io::Result<()> {
        let line = format!("{}\n", self.password.reveal());
        loop {
            // A line as short as this is written to the pipe whole or not at all.
            match (&self.pipe).write(line.as_bytes()) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes a call of ssh ask for the password here, whether it has a terminal or not.
    pub(super) fn set(&self, process: ProcessConfig) -> ProcessConfig {
        let program = self.folder.path().join("askpass");
        let environment = Environment::inherited()
            .set("SSH_ASKPASS", program)
            .set("SSH_ASKPASS_REQUIRE", "force");
        process.env(environment)
    }
}
