//! Finds the Ansible of this machine.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The oldest version of ansible-core whose modules are run.
const OLDEST: (u32, u32) = (2, 15);

/// The name of the Ansible command, whose first line names the Python that it runs with.
const COMMAND: &str = "ansible";

/// A Python script that prints where Ansible is, without importing it. The version comes from the metadata of the
/// installation, since an import could find another one.
const WHERE: &str = r#"
import importlib.metadata, importlib.util, json, os, sys
sys.path[:] = [path for path in sys.path if path]
spec = importlib.util.find_spec("ansible")
path = spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else None
try:
    version = importlib.metadata.version("ansible-core")
except importlib.metadata.PackageNotFoundError:
    version = None
print(json.dumps({"path": path and os.path.realpath(path), "version": version, "folders": sys.path}))
"#;

/// An installed ansible-core.
#[derive(Debug, Clone)]
pub(crate) struct Ansible {
    /// The folder of its package, which has `modules` and `module_utils`.
    pub(crate) root: PathBuf,
    /// Its version.
    pub(crate) version: String,
    /// The Python in which it is installed.
    pub(crate) python: PathBuf,
    /// The folders from which that Python imports, which may contain collections.
    pub(crate) folders: Vec<PathBuf>,
}

impl Ansible {
    /// Looks for it with the `python3` in these folders, and with the Python that their `ansible` runs with. If none is
    /// found, returns what was found instead, if anything was.
    pub(crate) fn find(programs: Option<&OsStr>) -> Result<Self, Option<String>> {
        let folders: Vec<PathBuf> =
            programs.map_or_else(Vec::new, |path| std::env::split_paths(path).collect());
        let in_path = |name: &str| {
            let files = folders.iter().map(|folder| folder.join(name));
            files
                .filter(|file| file.is_file())
                .collect::<Vec<PathBuf>>()
        };
        let mut pythons: Vec<PathBuf> = in_path("python3").into_iter().take(1).collect();
        let commands = in_path(COMMAND);
        pythons.extend(commands.iter().filter_map(|command| interpreter(command)));
        pythons.dedup();
        let mut reason = None;
        for python in pythons {
            match Self::of(&python) {
                Ok(found) => return Ok(found),
                Err(why) => reason = reason.or(why),
            }
        }
        Err(reason)
    }

    /// Returns the Ansible that this Python has, or what was found instead.
    fn of(python: &Path) -> Result<Self, Option<String>> {
        let output = Command::new(python)
            .args(["-c", WHERE])
            .stdin(Stdio::null())
            .output();
        let output = output.map_err(|error| Some(format!("{}: {error}", python.display())))?;
        let said: Value = serde_json::from_slice(&output.stdout).map_err(|_| None)?;
        let (Some(root), Some(version)) = (said["path"].as_str(), said["version"].as_str()) else {
            return Err(None);
        };
        if !is_supported(version) {
            let (major, minor) = OLDEST;
            return Err(Some(format!(
                "ansible-core {version} of {} is older than {major}.{minor}",
                python.display()
            )));
        }
        let folders = said["folders"].as_array();
        let folders = folders.into_iter().flatten().filter_map(Value::as_str);
        Ok(Self {
            root: root.into(),
            version: version.to_owned(),
            python: python.to_owned(),
            folders: folders.map(PathBuf::from).collect(),
        })
    }
}

fn is_supported(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) >= OLDEST,
        _ => false,
    }
}

/// Returns the Python that a script runs with, from its first line. In scripts of pipx and of virtual environments, it
/// is in the second line if its path is too long.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let file = std::fs::File::open(script).ok()?;
    let mut lines = BufReader::new(file).lines().take(3).map_while(Result::ok);
    let first = lines.next()?;
    let words = first.strip_prefix("#!")?;
    let mut words = words.split_whitespace();
    let program = Path::new(words.next()?);
    let name = program.file_name()?.to_str()?;
    if name.starts_with("python") {
        return Some(program.to_owned());
    }
    if name == "env" {
        return words
            .next()
            .filter(|name| name.starts_with("python"))
            .map(PathBuf::from);
    }
    let exec = lines.next()?;
    let exec = exec.strip_prefix("'''exec' ")?;
    let python = exec.split(" \"$0\"").next()?.trim_matches('"');
    Some(PathBuf::from(python)).filter(|python| python.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_python_of_a_script_is_read_from_its_first_lines() {
        let folder = tempfile::tempdir().unwrap();
        let python = folder.path().join("a folder/python3");
        std::fs::create_dir(python.parent().unwrap()).unwrap();
        std::fs::write(&python, "").unwrap();
        let long = format!(
            "#!/bin/sh\n'''exec' \"{}\" \"$0\" \"$@\"\n' '''\n",
            python.display()
        );
        for (text, found) in [
            (
                "#!/opt/venv/bin/python3.12\nimport re\n",
                Some(PathBuf::from("/opt/venv/bin/python3.12")),
            ),
            ("#!/usr/bin/env python3\n", Some(PathBuf::from("python3"))),
            (long.as_str(), Some(python.clone())),
            ("#!/bin/sh\necho no\n", None),
            ("", None),
        ] {
            let script = folder.path().join("ansible");
            std::fs::write(&script, text).unwrap();
            assert_eq!(interpreter(&script), found, "{text}");
        }
    }

    #[test]
    fn versions_from_2_15_on_are_supported() {
        for (version, is) in [
            ("2.14.9", false),
            ("2.15.0", true),
            ("2.19.14", true),
            ("3.0", true),
            ("2.20.0b1", true),
            ("", false),
        ] {
            assert_eq!(is_supported(version), is, "{version}");
        }
    }
}
