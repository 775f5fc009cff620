//! The relay between the dispatcher and the agent of a host.

use std::error::Error;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use super::HOST_VARIABLE;

/// Runs a command on the host with this number, and passes its stdin and its stdout on, as `ssh` does.
pub fn run_relay(host: &str, command: &[&str]) -> Result<(), Box<dyn Error>> {
    let (program, args) = command.split_first().ok_or("there is no command")?;
    let mut child = Command::new(program)
        .args(args)
        .env(HOST_VARIABLE, host)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
        return Err("the pipes are not there".into());
    };
    // The thread ends with this process.
    thread::spawn(move || pass_on(io::stdin(), stdin));
    pass_on(stdout, io::stdout());
    child.wait()?;
    Ok(())
}

/// Passes bytes on until one side is closed.
fn pass_on(mut from: impl Read, mut to: impl Write) {
    let mut chunk = vec![0; 1 << 16];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => {
                if to
                    .write_all(&chunk[..read])
                    .and_then(|()| to.flush())
                    .is_err()
                {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
