//! Reads files of this machine that go to a host, and decrypts them on the way.

use std::path::Path;

use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::{HostAction, failed, unreadable};
use crate::targets::{CallError, FileSource};
use crate::vault;

impl HostAction<'_> {
    /// Returns what the host receives for a file of this machine. A file that `ansible-vault` has encrypted is
    /// decrypted in memory, unless the task sets `decrypt: false`.
    pub(super) async fn source_of(&self, path: &Path) -> Result<FileSource, CallError> {
        let decrypts = self
            .argument("decrypt")
            .is_none_or(|_| self.flag("decrypt"));
        if !decrypts || !is_encrypted(path).await? {
            return Ok(FileSource::Path(path.to_path_buf()));
        }
        let content = tokio::fs::read(path).await;
        let content = content.map_err(|error| unreadable(path, &error))?;
        let decrypted = || self.call.vault.plain(content.clone());
        let decrypted = self
            .performer
            .programs
            .evaluate(self.context, decrypted)
            .await;
        let decrypted = decrypted.map_err(|failure| CallError::Failed(Box::new(failure)))?;
        decrypted
            .map(FileSource::Bytes)
            .map_err(|reason| failed(format!("`{}` cannot be read: {reason}", path.display())))
    }
}

/// Whether a file begins like one that `ansible-vault` has encrypted.
async fn is_encrypted(path: &Path) -> Result<bool, CallError> {
    let file = File::open(path).await;
    let file = file.map_err(|error| unreadable(path, &error))?;
    let mut beginning = Vec::new();
    let mut file = file.take(vault::HEADER.len() as u64);
    let read = file.read_to_end(&mut beginning).await;
    read.map_err(|error| unreadable(path, &error))?;
    Ok(vault::is_encrypted(&beginning))
}
