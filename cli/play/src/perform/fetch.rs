//! Copies files from a host to this machine.

use std::path::PathBuf;

use md5::Md5;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use super::copy::{as_map, hex};
use super::{ActionResult, HostAction, failed, unreadable};
use crate::result::flag;
use crate::targets::CallError;

impl HostAction<'_> {
    /// Performs `fetch`.
    pub(super) async fn fetch(&self) -> ActionResult {
        if self.call.check {
            return Ok(as_map(json!({
                "skipped": true,
                "msg": "check mode not (yet) supported for this module",
            })));
        }
        let src = self.required("src")?;
        let dest = self.required("dest")?;
        let stat = self.stat(&src, true).await?;
        let must_exist = self
            .argument("fail_on_missing")
            .is_none_or(|_| self.flag("fail_on_missing"));
        let problem = if !flag(&stat, "exists") {
            Some("the remote file does not exist, not transferring, ignored")
        } else if flag(&stat, "isdir") {
            Some("remote file is a directory, fetch cannot work on directories")
        } else {
            None
        };
        if let Some(problem) = problem {
            if must_exist {
                let told = problem.trim_end_matches(", not transferring, ignored");
                return Ok(as_map(json!({"failed": true, "msg": told})));
            }
            return Ok(as_map(
                json!({"changed": false, "msg": problem, "file": src}),
            ));
        }
        let into = self.fetched_path(&src, &dest)?;
        let remote = stat
            .get("checksum")
            .and_then(Value::as_str)
            .map(str::to_owned);
        if let Ok(content) = tokio::fs::read(&into).await
            && remote.as_ref() == Some(&hex(&Sha1::digest(&content)))
        {
            return Ok(as_map(json!({
                "changed": false,
                "file": src,
                "dest": into.display().to_string(),
                "md5sum": hex(&Md5::digest(&content)),
                "checksum": remote,
            })));
        }
        if let Some(folder) = into.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(|error| {
                failed(format!("`{}` cannot be made: {error}", folder.display()))
            })?;
        }
        let targets = &self.performer.targets;
        let privilege = self.privilege.as_ref();
        targets
            .fetch_file(&self.target, privilege, &src, &into, self.context)
            .await?;
        let content = tokio::fs::read(&into)
            .await
            .map_err(|error| unreadable(&into, &error))?;
        let checksum = hex(&Sha1::digest(&content));
        let validates = self
            .argument("validate_checksum")
            .is_none_or(|_| self.flag("validate_checksum"));
        if validates && remote.as_ref().is_some_and(|remote| *remote != checksum) {
            return Ok(as_map(json!({
                "failed": true,
                "msg": "checksum mismatch",
                "file": src,
                "dest": into.display().to_string(),
                "checksum": checksum,
                "remote_checksum": remote,
            })));
        }
        Ok(as_map(json!({
            "changed": true,
            "dest": into.display().to_string(),
            "md5sum": hex(&Md5::digest(&content)),
            "checksum": checksum,
            "remote_checksum": remote,
            // The host does not report an MD5 sum.
            "remote_md5sum": null,
        })))
    }

    /// Returns the path on this machine to which a file of the host is copied.
    fn fetched_path(&self, src: &str, dest: &str) -> Result<PathBuf, CallError> {
        let dest_path = self.call.folder.join(dest);
        if self.flag("flat") {
            return Ok(if dest.ends_with('/') {
                dest_path.join(src.rsplit('/').next().unwrap_or(src))
            } else {
                dest_path
            });
        }
        let inside = src.trim_start_matches('/');
        if inside.split('/').any(|part| part == "..") {
            return Err(failed(format!("`{src}` leads out of its folder")));
        }
        Ok(dest_path.join(&self.call.inventory_name).join(inside))
    }
}
