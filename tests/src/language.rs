//! Languages of test workers that a machine may lack.

use std::io::Write;
use std::process::{Command, Stdio};

/// A language other than Rust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerProtocol {
    /// `python3`.
    Python,
    /// `node`.
    Node,
}

impl WorkerProtocol {
    /// Returns the program that runs scripts in the language.
    pub fn program(self) -> &'static str {
        match self {
            Self::Python => "python3",
            Self::Node => "node",
        }
    }
}

/// Whether the machine has a language. If not, it prints to stderr what is not tested.
pub fn present(language: WorkerProtocol, untested: &str) -> bool {
    let mut version = Command::new(language.program());
    version
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let present = version.status().is_ok_and(|status| status.success());
    if !present {
        // `eprintln!` would not do: the test runner captures it and drops it when the test passes.
        let line = format!(
            "\n!! SKIPPED: there is no {}, so {untested}\n",
            language.program()
        );
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    present
}
