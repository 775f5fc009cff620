//! Copies files to a host, for `copy`, `template` and `assemble`.

use std::path::Path;

use serde_json::{Map, Value, json};
use sha1::{Digest as _, Sha1};

use super::{ActionResult, HostAction, below, failed, unreadable, walk};
use crate::call::CopySource;
use crate::result::flag;
use crate::targets::{CallError, FileSource};

/// The largest file whose difference is shown.
const LARGEST_DIFF: usize = 104_448;

/// The arguments of the module `file` that `copy` also takes.
const OF_FILE: [&str; 11] = [
    "attributes",
    "follow",
    "group",
    "mode",
    "owner",
    "selevel",
    "serole",
    "setype",
    "seuser",
    "unsafe_writes",
    "attr",
];

impl HostAction<'_> {
    /// Performs `copy` for a content, a file or a folder.
    pub(super) async fn copy(&self, source: &CopySource) -> ActionResult {
        let dest = self.required("dest")?;
        match source {
            CopySource::Content { bytes, name } => {
                self.copy_file(&dest, FileSource::Bytes(bytes.clone()), name, None)
                    .await
            }
            CopySource::File(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let source = self.source_of(path).await?;
                self.copy_file(&dest, source, &name, Some(path)).await
            }
            CopySource::Folder { path, only_inside } => {
                self.copy_folder(&dest, path, *only_inside).await
            }
        }
    }

    /// Copies a folder to the host, file by file.
    async fn copy_folder(&self, dest: &str, path: &Path, only_inside: bool) -> ActionResult {
        let root = if only_inside {
            dest.to_owned()
        } else {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            below(dest, &name)
        };
        let path = path.to_path_buf();
        let walked = path.clone();
        let walked = tokio::task::spawn_blocking(move || walk(&walked)).await;
        let (folders, files) = walked.map_err(|error| failed(error.to_string()))??;
        let mut changed = false;
        let roots = std::iter::once(root.clone());
        let inner = folders
            .iter()
            .map(|folder| below(&root, &folder.to_string_lossy()));
        for folder in roots.chain(inner) {
            let mut arguments = self.file_arguments();
            arguments.shift_remove("mode");
            if let Some(mode) = self.argument("directory_mode") {
                arguments.insert("mode".to_owned(), mode.clone());
            }
            arguments.insert("path".to_owned(), folder.into());
            arguments.insert("state".to_owned(), "directory".into());
            let result = self.module("ansible.legacy.file", arguments).await?;
            if flag(&result, "failed") {
                return Ok(result);
            }
            changed |= flag(&result, "changed");
        }
        let mut diffs = Vec::new();
        for file in &files {
            let local = path.join(file);
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let dest = below(&root, &file.to_string_lossy());
            let source = self.source_of(&local).await?;
            let mut result = self.copy_file(&dest, source, &name, Some(&local)).await?;
            if flag(&result, "failed") {
                return Ok(result);
            }
            changed |= flag(&result, "changed");
            match result.shift_remove("diff") {
                Some(Value::Array(more)) => diffs.extend(more),
                Some(other) => diffs.push(other),
                None => {}
            }
        }
        let result = json!({
            "changed": changed,
            "dest": below(dest, ""),
            "src": path.display().to_string(),
        });
        let mut result = as_map(result);
        if !diffs.is_empty() {
            result.insert("diff".to_owned(), Value::Array(diffs));
        }
        Ok(result)
    }

    /// Copies one file to the host, if the host has a different one or none.
    async fn copy_file(
        &self,
        dest: &str,
        source: FileSource,
        name: &str,
        local: Option<&Path>,
    ) -> ActionResult {
        let content = match &source {
            FileSource::Bytes(bytes) => bytes.clone(),
            FileSource::Path(path) => tokio::fs::read(path)
                .await
                .map_err(|error| unreadable(path, &error))?,
        };
        let checksum = hex(&Sha1::digest(&content));
        let follow = self.argument("follow").is_none_or(|_| self.flag("follow"));
        let given = dest;
        let mut dest = dest.to_owned();
        let mut stat = if dest.ends_with('/') {
            dest = below(&dest, name);
            self.stat(&dest, follow).await?
        } else {
            self.stat(&dest, follow).await?
        };
        if flag(&stat, "isdir") {
            dest = below(&dest, name);
            stat = self.stat(&dest, follow).await?;
        }
        let exists = flag(&stat, "exists");
        let forces = self.argument("force").is_none_or(|_| self.flag("force"));
        if exists && !forces {
            return Ok(as_map(json!({"changed": false, "dest": dest, "src": name})));
        }
        if exists && stat.get("checksum").and_then(Value::as_str) == Some(&checksum) {
            let mut arguments = self.file_arguments();
            preserve_mode(&mut arguments, local)?;
            arguments.insert("path".to_owned(), dest.clone().into());
            arguments.insert("state".to_owned(), "file".into());
            let mut result = self.module("ansible.legacy.file", arguments).await?;
            result.insert("checksum".to_owned(), checksum.into());
            result.insert("dest".to_owned(), dest.into());
            return Ok(result);
        }
        let diff = if self.call.diff && !self.call.no_log {
            let shown = match local {
                Some(path) => path.display().to_string(),
                None => name.to_owned(),
            };
            Some(self.difference(&dest, &stat, &content, &shown).await?)
        } else {
            None
        };
        let mut result = if self.call.check {
            as_map(json!({"changed": true}))
        } else {
            // The module makes the folder that a trailing `/` names, and adds the name of the file itself.
            let dest = if given.ends_with('/') {
                given
            } else {
                dest.as_str()
            };
            self.bring(dest, &source, name, &checksum, local).await?
        };
        if let Some(diff) = diff {
            result.insert("diff".to_owned(), Value::Array(vec![diff]));
        }
        Ok(result)
    }

    /// Sends a file and runs the module that moves it to its place.
    async fn bring(
        &self,
        dest: &str,
        source: &FileSource,
        name: &str,
        checksum: &str,
        local: Option<&Path>,
    ) -> ActionResult {
        let targets = &self.performer.targets;
        let privilege = self.privilege.as_ref();
        let sent = targets
            .send_file(&self.target, privilege, (name, source), self.context)
            .await?;
        let mut arguments = self.call.arguments.clone();
        arguments.shift_remove("decrypt");
        if !dest.ends_with('/') {
            arguments.shift_remove("directory_mode");
        }
        preserve_mode(&mut arguments, local)?;
        arguments.insert("src".to_owned(), sent.clone().into());
        arguments.insert("dest".to_owned(), dest.into());
        arguments.insert("checksum".to_owned(), checksum.into());
        arguments.insert("_original_basename".to_owned(), name.into());
        arguments.entry("follow").or_insert(true.into());
        let result = self.module("ansible.legacy.copy", arguments).await;
        // If the module has not moved the file away, it would stay until the worker ends.
        targets
            .remove(&self.target, privilege, &sent, self.context)
            .await?;
        result
    }

    /// Returns the arguments of `copy` that are passed on to the module `file`.
    fn file_arguments(&self) -> Map<String, Value> {
        let given = self.call.arguments.iter();
        let given =
            given.filter(|(name, value)| OF_FILE.contains(&name.as_str()) && !value.is_null());
        given
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Returns how a file changes, for display.
    async fn difference(
        &self,
        dest: &str,
        stat: &Map<String, Value>,
        content: &[u8],
        shown: &str,
    ) -> Result<Value, CallError> {
        let mut diff = Map::new();
        diff.insert("before_header".to_owned(), dest.into());
        diff.insert("after_header".to_owned(), shown.into());
        let size = stat.get("size").and_then(Value::as_u64).unwrap_or(0);
        if !flag(stat, "exists") {
            diff.insert("before".to_owned(), "".into());
        } else if size > LARGEST_DIFF as u64 {
            diff.insert("dst_larger".to_owned(), LARGEST_DIFF.into());
        } else {
            match self.slurp(dest).await? {
                Some(before) if before.contains(&0) => {
                    diff.insert("dst_binary".to_owned(), 1.into());
                }
                Some(before) => {
                    let text = String::from_utf8_lossy(&before).into_owned();
                    diff.insert("before".to_owned(), text.into());
                }
                None => {
                    diff.insert("before".to_owned(), "".into());
                }
            }
        }
        if content.len() > LARGEST_DIFF {
            diff.insert("src_larger".to_owned(), LARGEST_DIFF.into());
        } else if content.contains(&0) {
            diff.insert("src_binary".to_owned(), 1.into());
        } else {
            let text = String::from_utf8_lossy(content).into_owned();
            diff.insert("after".to_owned(), text.into());
        }
        Ok(Value::Object(diff))
    }

    /// Reads a small file on the host; `None` if it cannot be read.
    async fn slurp(&self, path: &str) -> Result<Option<Vec<u8>>, CallError> {
        use base64::Engine as _;
        let mut arguments = Map::new();
        arguments.insert("src".to_owned(), path.into());
        let result = self.module("ansible.legacy.slurp", arguments).await?;
        if flag(&result, "failed") {
            return Ok(None);
        }
        let content = result
            .get("content")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let decoded = base64::engine::general_purpose::STANDARD.decode(content);
        decoded
            .map(Some)
            .map_err(|error| failed(format!("the content of `{path}` is not base64: {error}")))
    }
}

/// Replaces the mode `preserve` by the permissions of the file on this machine. Content without a file counts as a file
/// that only its owner may read, as with Ansible.
fn preserve_mode(
    arguments: &mut Map<String, Value>,
    local: Option<&Path>,
) -> Result<(), CallError> {
    use std::os::unix::fs::PermissionsExt as _;
    if arguments.get("mode").and_then(Value::as_str) != Some("preserve") {
        return Ok(());
    }
    let permissions = match local {
        Some(path) => {
            let known = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
            known.permissions().mode() & 0o7777
        }
        None => 0o600,
    };
    let mode = format!("0{permissions:03o}");
    arguments.insert("mode".to_owned(), mode.into());
    Ok(())
}

pub(super) fn as_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
