//! Runs scripts of this machine on a host, unpacks archives there, and runs commands without Python.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::copy::as_map;
use super::{ActionResult, HostAction};
use crate::result::flag;

impl HostAction<'_> {
    /// Sends a script and runs it.
    pub(super) async fn script(&self, path: &Path, words: &[String]) -> ActionResult {
        for (name, is_wanted) in [("creates", true), ("removes", false)] {
            if let Some(there) = self.text(name)
                && flag(&self.stat(&there, true).await?, "exists") == is_wanted
            {
                let told = format!(
                    "`{there}` {}",
                    if is_wanted {
                        "exists"
                    } else {
                        "does not exist"
                    }
                );
                return Ok(as_map(
                    json!({"skipped": true, "changed": false, "msg": told}),
                ));
            }
        }
        if self.call.check {
            return Ok(as_map(json!({
                "skipped": true,
                "changed": false,
                "msg": "Check mode is not supported for this task.",
            })));
        }
        let targets = &self.performer.targets;
        let privilege = self.privilege.as_ref();
        let source = self.source_of(path).await?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let sent = targets
            .send_file(&self.target, privilege, (&name, &source), self.context)
            .await?;
        let mut words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        words.insert(0, quoted(&sent));
        let line = match self.text("executable") {
            Some(program) => format!("{program} {}", words.join(" ")),
            None => format!("chmod u+x {} && {}", quoted(&sent), words.join(" ")),
        };
        let mut arguments = Map::new();
        arguments.insert("_raw_params".to_owned(), line.into());
        arguments.insert("_uses_shell".to_owned(), true.into());
        // The output of a script is returned in full.
        arguments.insert("strip_empty_ends".to_owned(), false.into());
        if let Some(folder) = self.argument("chdir") {
            arguments.insert("chdir".to_owned(), folder.clone());
        }
        let result = self.module("ansible.legacy.command", arguments).await;
        targets
            .remove(&self.target, privilege, &sent, self.context)
            .await?;
        let mut result = result?;
        for name in ["cmd", "delta", "start", "end"] {
            result.shift_remove(name);
        }
        if result.get("msg").and_then(Value::as_str) == Some("") {
            result.shift_remove("msg");
        }
        result.insert("changed".to_owned(), true.into());
        Ok(result)
    }

    /// Runs a command on a host without Python.
    pub(super) async fn raw(&self) -> ActionResult {
        if self.call.check {
            return Ok(as_map(json!({"skipped": true, "changed": false})));
        }
        let mut command = self.required("_raw_params")?;
        if !self.call.environment.is_empty() {
            let set = self.call.environment.iter();
            let set: Vec<_> = set
                .map(|(name, value)| format!("{name}={}", quoted(value)))
                .collect();
            command = format!("export {}; {command}", set.join(" "));
        }
        let shell = self.text("executable");
        let targets = &self.performer.targets;
        let privilege = self.privilege.as_ref();
        let mut result = targets
            .raw(
                &self.target,
                privilege,
                &command,
                shell.as_deref(),
                self.context,
            )
            .await?;
        result.insert("changed".to_owned(), true.into());
        Ok(result)
    }

    /// Unpacks an archive, which is sent first if it is on this machine.
    pub(super) async fn unarchive(&self, source: Option<&Path>) -> ActionResult {
        if let Some(there) = self.text("creates")
            && flag(&self.stat(&there, true).await?, "exists")
        {
            return Ok(as_map(json!({
                "skipped": true,
                "changed": false,
                "msg": format!("skipped, since {there} exists"),
            })));
        }
        let mut arguments = self.call.arguments.clone();
        for name in ["creates", "decrypt", "copy"] {
            arguments.shift_remove(name);
        }
        let name = "ansible.legacy.unarchive";
        let Some(path) = source else {
            arguments.insert("remote_src".to_owned(), true.into());
            return self.module(name, arguments).await;
        };
        let targets = &self.performer.targets;
        let privilege = self.privilege.as_ref();
        let source = self.source_of(path).await?;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let sent = targets
            .send_file(&self.target, privilege, (&file, &source), self.context)
            .await?;
        arguments.insert("src".to_owned(), sent.clone().into());
        let result = self.module(name, arguments).await;
        targets
            .remove(&self.target, privilege, &sent, self.context)
            .await?;
        result
    }
}

/// Quotes a word for the shell.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./=:,+@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\"'\"'"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_takes_a_quoted_word_as_it_is() {
        assert_eq!(quoted("a-b/c.d"), "a-b/c.d");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r#"'it'"'"'s'"#);
        assert_eq!(quoted("$HOME"), "'$HOME'");
    }
}
