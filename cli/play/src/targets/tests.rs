//! Tests of targets with real workers on this machine.

mod ansible;
mod figures;
mod privilege;
mod python;
mod ssh;
mod system;
mod worker;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ratchet_runtime::Context;
use ratchet_runtime::process::LocalProcesses;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::call::object;
use super::{CallError, Target, Targets};
use crate::modules::{Module, ModuleCall, ModulePaths, Modules};

/// The time limit for everything that a test waits for.
const LIMIT: Duration = Duration::from_mins(1);

/// A folder for all files of a test, targets on this machine, and the modules of a user.
struct Bench {
    folder: TempDir,
    targets: Arc<Targets>,
    modules: Modules,
}

impl Bench {
    /// Makes a bench for a user without Ansible.
    fn new() -> Self {
        Self::with(None)
    }

    /// Makes a bench for a user with the programs in these folders.
    fn with(programs: Option<std::ffi::OsString>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        fs::create_dir(folder.path().join("library")).unwrap();
        Self {
            targets: Arc::new(Targets::new(Arc::new(LocalProcesses::start()))),
            modules: Modules::find_ansible(ModulePaths {
                programs,
                ..ModulePaths::default()
            }),
            folder,
        }
    }

    /// Makes a bench with the Ansible of this machine. Prints a message if it is not installed.
    fn with_ansible() -> Option<Self> {
        let bin = std::env::var_os("ANSIBLE_BIN");
        let bench = Self::with(bin.or_else(|| std::env::var_os("PATH")));
        if bench.modules.version().is_none() {
            eprintln!(
                "SKIPPED: ansible-core is not installed (or not in ANSIBLE_BIN), so its modules are not run"
            );
            return None;
        }
        Some(bench)
    }

    /// Returns a path in the folder of the bench.
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and returns its path.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Returns this machine as a target, with a home folder of its own.
    fn target(&self) -> Arc<Target> {
        self.target_with(&format!("env HOME={} python3", self.at("home").display()))
    }

    /// Returns this machine as a target, with these words before the arguments of Python.
    fn target_with(&self, python: &str) -> Arc<Target> {
        let python = python.replace("HOME_OF_BENCH", &self.at("home").display().to_string());
        let variables =
            json!({ "ansible_connection": "local", "ansible_python_interpreter": python });
        Arc::new(Target::of("here", |name| variables.get(name).cloned()).unwrap())
    }

    /// Writes a module of the user's `library` that is a Python program, with its arguments in the map `arguments`.
    fn program(&self, name: &str, code: &str) -> Arc<Module> {
        let text = format!(
            "#!/usr/bin/python3\n# WANT_JSON\nimport json, os, sys, time\narguments = json.load(open(sys.argv[1]))\n{code}\n"
        );
        self.file(&format!("library/{name}.py"), &text);
        self.modules.find(name, &[self.at("library")], &[]).unwrap()
    }

    /// Calls a module, and returns its result.
    async fn call(
        &self,
        target: &Arc<Target>,
        call: &ModuleCall,
    ) -> Result<Map<String, Value>, CallError> {
        let context = context();
        let called = self.targets.call(target, call, &context);
        tokio::time::timeout(LIMIT, called)
            .await
            .expect("the call takes too long")
    }

    /// Calls a module, and returns its result, which it has to have.
    async fn result(&self, target: &Arc<Target>, module: &Arc<Module>, arguments: Value) -> Value {
        Value::Object(self.call(target, &call(module, arguments)).await.unwrap())
    }

    /// Calls a module by its name.
    async fn run(&self, target: &Arc<Target>, name: &str, arguments: Value) -> Value {
        let module = self.modules.find(name, &[], &[]).unwrap();
        self.result(target, &module, arguments).await
    }
}

/// Makes the call of a module with these arguments.
fn call(module: &Arc<Module>, arguments: Value) -> ModuleCall {
    ModuleCall {
        module: Arc::clone(module),
        arguments: object(arguments),
        check: false,
        diff: false,
        no_log: false,
        verbosity: 0,
        environment: Vec::new(),
        privilege: None,
    }
}

/// Returns the context of an attempt that is never cancelled.
fn context() -> Context {
    context_of(&CancellationToken::new())
}

fn context_of(token: &CancellationToken) -> Context {
    Context::new(1, token.clone(), |_| {})
}

/// Waits until a condition holds.
async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < LIMIT, "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether the process whose number is in a file is alive.
fn is_alive(file: &PathBuf) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    let Ok(number) = text.trim().parse::<i32>() else {
        return false;
    };
    // A zombie, which was not reaped yet, is no longer running.
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| state != "Z" && state != "X")
}
