//! Sends files to hosts, and fetches files from them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ratchet_runtime::{Class, Context, Failure};
use serde_json::{Value, json};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::call::{PART_BYTES, object, result_of};
use super::{CallError, Target, Targets};
use crate::modules::Become;

/// The content of a file that is sent.
#[derive(Debug, Clone)]
pub(crate) enum FileSource {
    Bytes(Vec<u8>),
    /// The path of a file on this machine.
    Path(PathBuf),
}

/// The properties of a file that was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FetchedFile {
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its permissions on the host.
    pub(crate) mode: u32,
}

impl Targets {
    /// Sends a file to a target, as a temporary file of this name that only the user of `privilege`, or of the connection,
    /// can read. Returns its path there. The caller has to remove it; otherwise it stays until the worker ends.
    pub(crate) async fn send_file(
        &self,
        target: &Arc<Target>,
        privilege: Option<&Become>,
        (name, source): (&str, &FileSource),
        context: &Context,
    ) -> Result<String, CallError> {
        let mut source = match source {
            FileSource::Bytes(bytes) => PartReader::Bytes(bytes),
            FileSource::Path(path) => {
                let file = File::open(path).await;
                PartReader::File(file.map_err(|error| local(path, &error))?, path)
            }
        };
        let mut remote: Option<String> = None;
        let mut offset = 0;
        loop {
            let part = match source.part().await {
                Ok(part) => part,
                Err(error) => {
                    if let Some(path) = &remote {
                        self.remove(target, privilege, path, context).await?;
                    }
                    return Err(error);
                }
            };
            if let Some(path) = remote.take_if(|_| part.is_empty()) {
                return Ok(path);
            }
            let input = object(
                json!({ "path": remote, "name": name, "offset": offset, "data": STANDARD.encode(&part) }),
            );
            let answer = self
                .file_request(target, "put", privilege, input, context)
                .await?;
            offset += part.len();
            let path = answer["path"].as_str().map(str::to_owned);
            remote =
                Some(path.ok_or_else(|| broken("the answer to a file that was sent has no path"))?);
        }
    }

    /// Fetches a file from a target, and writes it to a path on this machine.
    ///
    /// If the file changes during the transfer, this is an error, and what was written is removed.
    pub(crate) async fn fetch_file(
        &self,
        target: &Arc<Target>,
        privilege: Option<&Become>,
        path: &str,
        into: &Path,
        context: &Context,
    ) -> Result<FetchedFile, CallError> {
        let mut file = File::create(into)
            .await
            .map_err(|error| local(into, &error))?;
        let fetched = self
            .fetch_into(target, privilege, path, (&mut file, into), context)
            .await;
        if fetched.is_err() {
            // The error of the transfer is the one to return.
            let _ = tokio::fs::remove_file(into).await;
        }
        fetched
    }

    async fn fetch_into(
        &self,
        target: &Arc<Target>,
        privilege: Option<&Become>,
        path: &str,
        (file, into): (&mut File, &Path),
        context: &Context,
    ) -> Result<FetchedFile, CallError> {
        let mut first_stamp: Option<Value> = None;
        let mut size = 0;
        loop {
            let input = object(json!({ "path": path, "offset": size, "length": PART_BYTES }));
            let answer = self
                .file_request(target, "get", privilege, input, context)
                .await?;
            let stamp = answer["stamp"].clone();
            if *first_stamp.get_or_insert_with(|| stamp.clone()) != stamp {
                return Err(transfer(format!(
                    "`{path}` was changed while it was fetched"
                )));
            }
            let data = STANDARD.decode(answer["data"].as_str().unwrap_or_default());
            let data =
                data.map_err(|_| broken("a part of a file that was fetched is not base64"))?;
            file.write_all(&data)
                .await
                .map_err(|error| local(into, &error))?;
            size += data.len() as u64;
            if answer["is_last"] == true {
                file.flush().await.map_err(|error| local(into, &error))?;
                let mode = answer["mode"]
                    .as_u64()
                    .and_then(|mode| u32::try_from(mode).ok());
                return Ok(FetchedFile {
                    size,
                    mode: mode.unwrap_or(0o600),
                });
            }
        }
    }

    /// Removes a file that [`send_file`](Self::send_file) has made. It is no error if a module has moved it away.
    pub(crate) async fn remove(
        &self,
        target: &Arc<Target>,
        privilege: Option<&Become>,
        path: &str,
        context: &Context,
    ) -> Result<(), CallError> {
        let input = object(json!({ "path": path }));
        self.file_request(target, "remove", privilege, input, context)
            .await?;
        Ok(())
    }

    /// Sends a request about a file to the worker.
    async fn file_request(
        &self,
        target: &Target,
        task: &str,
        privilege: Option<&Become>,
        input: serde_json::Map<String, Value>,
        context: &Context,
    ) -> Result<Value, CallError> {
        match self.request(target, task, privilege, input, context).await {
            Ok(answer) => {
                let read = answer.read::<Value>();
                read.map_err(|error| {
                    broken(&format!("the answer of the host cannot be read: {error}"))
                })
            }
            Err(refusal) => {
                let failure = result_of(refusal)?;
                Err(CallError::Failed(Box::new(Failure {
                    class: Class::Transfer,
                    ..*failure
                })))
            }
        }
    }
}

/// Reads a file in parts. An empty part marks the end, so an empty file consists of a single empty part.
enum PartReader<'a> {
    Bytes(&'a [u8]),
    File(File, &'a Path),
}

impl PartReader<'_> {
    async fn part(&mut self) -> Result<Vec<u8>, CallError> {
        match self {
            Self::Bytes(bytes) => {
                let (part, rest) = bytes.split_at(bytes.len().min(PART_BYTES));
                *bytes = rest;
                Ok(part.to_vec())
            }
            Self::File(file, path) => {
                let mut part = Vec::new();
                let mut limited = file.take(PART_BYTES as u64);
                let read = limited.read_to_end(&mut part).await;
                read.map_err(|error| local(path, &error))?;
                Ok(part)
            }
        }
    }
}

fn transfer(message: String) -> CallError {
    CallError::Failed(Box::new(Failure::new(Class::Transfer, message)))
}

fn local(path: &Path, error: &io::Error) -> CallError {
    transfer(format!("`{}`: {error}", path.display()))
}

fn broken(message: &str) -> CallError {
    CallError::Failed(Box::new(Failure::new(Class::Protocol, message)))
}
