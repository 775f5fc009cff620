//! The dispatcher's side: makes work folders on a host, and brings files there and back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Method, Request, StatusCode};
use ratchet_caching::FileHasher;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};

use super::manifest::{SourceFile, collect};
use super::pieces::{self, read_all, receive_pieces, send_pieces};
use super::receive::{ReceiveError, receive};
use super::send::read_content;
use super::wire::{ANSWER_BYTES, ContentDigest, FolderAnswer, Problem, PullRequest, PulledPath};
use crate::blocking::run_blocking;
use crate::os::{FileError, ProcessError, WorkFiles, WorkFolder, WorkPath};
use crate::remote::RemoteError;
use crate::remote::loss::LossWatch;
use crate::remote::message::WireText;
use crate::remote::stream::{CONTENT_PATH, FOLDER_PATH, MAX_TRANSFERS, PULL_PATH};
use crate::remote::text::printable;

/// How many characters of a host's message are shown.
const MESSAGE_CHARACTERS: usize = 500;

/// How often missing contents are sent before a folder is given up. Only a store that loses contents needs more than
/// one round.
const MAX_ROUNDS: u32 = 3;

/// How many sent contents are remembered. The host knows which ones it has; this only saves asking it.
const MAX_REMEMBERED: usize = 4096;

/// The digests of files that were read. All hosts share them, so a file that is sent to many hosts is hashed once.
static HASHER: LazyLock<Arc<FileHasher>> = LazyLock::new(Arc::default);

/// Why a transfer has failed.
enum Failed {
    /// The files or the host are the cause.
    Files(FileError),
    /// The connection is the cause.
    Connection(RemoteError),
}

impl From<FileError> for Failed {
    fn from(error: FileError) -> Self {
        Self::Files(error)
    }
}

impl From<RemoteError> for Failed {
    fn from(error: RemoteError) -> Self {
        Self::Connection(error)
    }
}

impl From<h2::Error> for Failed {
    fn from(error: h2::Error) -> Self {
        Self::Connection(error.into())
    }
}

/// Brings files to the host of a connection, and back.
#[derive(Debug)]
pub(in crate::remote) struct FileClient {
    host: String,
    requests: SendRequest<Bytes>,
    loss: LossWatch,
    /// One permit for each transfer.
    transfers: Semaphore,
    /// The contents that are being sent to the host, or were sent. A process that needs one that is being sent waits
    /// for it.
    sent: Mutex<BTreeMap<ContentDigest, Arc<AsyncMutex<bool>>>>,
}

impl FileClient {
    /// Makes the client of a connection.
    pub(in crate::remote) fn new(
        host: String,
        requests: SendRequest<Bytes>,
        loss: LossWatch,
    ) -> Self {
        Self {
            host,
            requests,
            loss,
            transfers: Semaphore::new(usize::try_from(MAX_TRANSFERS).unwrap_or(usize::MAX)),
            sent: Mutex::default(),
        }
    }

    /// Makes the work folder of a process that is about to be started, with all files that are pushed.
    pub(in crate::remote) async fn make_folder(
        self: &Arc<Self>,
        id: u64,
        files: Arc<WorkFiles>,
    ) -> Result<RemoteFolder, ProcessError> {
        // The handle exists before the request is sent, so the folder is removed whatever happens to the request.
        let folder = RemoteFolder {
            client: Arc::clone(self),
            id,
            is_removed: Mutex::new(false),
        };
        match self.try_make_folder(id, files).await {
            Ok(path) => {
                tracing::info!(host = self.host, folder = %path.display(), "a work folder was made");
                Ok(folder)
            }
            Err(failed) => Err(self.process_error(failed).await),
        }
    }

    /// Sends the manifest, then the missing contents, until the host has made the folder.
    async fn try_make_folder(&self, id: u64, files: Arc<WorkFiles>) -> Result<PathBuf, Failed> {
        let hasher = Arc::clone(&HASHER);
        let collected = run_blocking(move || collect(&hasher, &files)).await;
        let collected = collected.map_err(|source| FileError::Read {
            path: PathBuf::from("."),
            source,
        })??;
        let manifest = Bytes::from(collected.manifest);
        for round in 1.. {
            let path = format!("{FOLDER_PATH}{id}");
            let answer = self.ask(Method::POST, &path, manifest.clone()).await?;
            let missing = match answer {
                FolderAnswer::Made { folder } => {
                    let folder = std::ffi::OsString::from(folder);
                    let folder = printable(folder.as_encoded_bytes(), MESSAGE_CHARACTERS);
                    return Ok(folder.into());
                }
                FolderAnswer::Missing { contents } => contents,
            };
            if round > MAX_ROUNDS {
                break;
            }
            for digest in missing {
                // A host can only ask for contents that are to be pushed.
                let Some(source) = collected.sources.get(&digest) else {
                    let message = "it asks for a file that is not pushed".to_owned();
                    return Err(RemoteError::Malformed(message).into());
                };
                self.bring(digest, source, round > 1).await?;
            }
        }
        Err(self
            .on_host("the files that were sent are not there")
            .into())
    }

    fn on_host(&self, message: &str) -> FileError {
        FileError::OnHost {
            host: self.host.clone(),
            message: printable(message.as_bytes(), MESSAGE_CHARACTERS),
        }
    }

    /// Sends a content, unless another process has just sent it.
    async fn bring(
        &self,
        digest: ContentDigest,
        source: &SourceFile,
        is_again: bool,
    ) -> Result<(), Failed> {
        let slot = {
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            if sent.len() >= MAX_REMEMBERED {
                // Contents that are being sent have further owners.
                sent.retain(|_, slot| Arc::strong_count(slot) > 1);
            }
            Arc::clone(sent.entry(digest).or_default())
        };
        let mut was_sent = slot.lock().await;
        if *was_sent && !is_again {
            return Ok(());
        }
        self.send_content(digest, source).await?;
        *was_sent = true;
        Ok(())
    }

    /// Sends the content of a file, and waits until the host has stored it.
    async fn send_content(&self, digest: ContentDigest, source: &SourceFile) -> Result<(), Failed> {
        let _permit = self.transfers.acquire().await;
        let path = format!("{CONTENT_PATH}{digest}/{}", source.size);
        let (response, mut stream) = self.open(Method::PUT, &path).await?;
        let (sender, receiver) = pieces::channel();
        let to_read = source.clone();
        let reading = run_blocking(move || read_content(&to_read, digest, &sender));
        let answer = self.answer::<()>(response);
        tokio::pin!(answer);
        let sending = async {
            let (read, sent) = tokio::join!(reading, send_pieces(receiver, &mut stream));
            read.map_err(|error| FileError::Read {
                path: source.path.clone(),
                source: error,
            })??;
            sent?;
            // A stream that is dropped before its end is reset, so the host never takes a partial content for a whole
            // one.
            stream.send_data(Bytes::new(), true)?;
            Ok::<(), Failed>(())
        };
        tokio::select! {
            biased;
            // A host that cannot store the content answers before all of it has come.
            answered = &mut answer => return answered,
            sent = sending => sent?,
        }
        answer.await
    }

    /// Pulls files from the work folder of a process, and writes them here.
    async fn pull(&self, id: u64, paths: &[WorkPath]) -> Result<(), Failed> {
        let _permit = self.transfers.acquire().await;
        let asked = paths.iter().map(|path| PulledPath {
            name: WireText::from(path.name().as_os_str()),
            is_folder: path.is_folder(),
        });
        let request = PullRequest {
            paths: asked.collect(),
        };
        let json = serde_json::to_vec(&request)
            .map_err(|error| RemoteError::Malformed(format!("our own request: {error}")))?;
        let (response, mut stream) = self.open(Method::POST, &format!("{PULL_PATH}{id}")).await?;
        pieces::send(&mut stream, json.into()).await?;
        stream.send_data(Bytes::new(), true)?;
        let body = self.good_body(response).await?;
        let (sender, mut receiver) = pieces::channel();
        let (host, paths) = (self.host.clone(), paths.to_vec());
        let receiving = run_blocking(move || receive(&host, paths, &mut receiver));
        let (written, taken) = tokio::join!(receiving, receive_pieces(body, sender));
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ReceiveError::Files(error))) => Err(error.into()),
            Ok(Err(ReceiveError::Cut)) => {
                taken?;
                Err(RemoteError::Malformed("the files that are pulled broke off".to_owned()).into())
            }
            Err(source) => Err(FileError::Write {
                path: PathBuf::from("."),
                source,
            }
            .into()),
        }
    }

    async fn remove(&self, id: u64) -> Result<(), Failed> {
        let path = format!("{FOLDER_PATH}{id}");
        self.ask(Method::DELETE, &path, Bytes::new()).await
    }

    /// Sends a request with a short body, and reads the answer.
    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Failed> {
        let (response, mut stream) = self.open(method, path).await?;
        pieces::send(&mut stream, body).await?;
        stream.send_data(Bytes::new(), true)?;
        self.answer(response).await
    }

    /// Opens a stream for a request to the agent.
    async fn open(
        &self,
        method: Method,
        path: &str,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Failed> {
        #[expect(clippy::expect_used, reason = "the path is ours, and has only digits")]
        let request = Request::builder()
            .method(method)
            .uri(format!("http://agent{path}"))
            .body(())
            .expect("the path is one of a URI");
        let mut requests = self.requests.clone().ready().await?;
        Ok(requests.send_request(request, false)?)
    }

    async fn answer<T: DeserializeOwned>(&self, response: ResponseFuture) -> Result<T, Failed> {
        let body = self.good_body(response).await?;
        let json = read_all(body, ANSWER_BYTES).await?;
        let answer = serde_json::from_slice(&json)
            .map_err(|error| RemoteError::Malformed(format!("an answer: {error}")))?;
        Ok(answer)
    }

    /// Returns the body of a response that is not an error.
    async fn good_body(&self, response: ResponseFuture) -> Result<RecvStream, Failed> {
        let (head, body) = response.await?.into_parts();
        if head.status == StatusCode::OK {
            return Ok(body);
        }
        let json = read_all(body, ANSWER_BYTES).await?;
        let problem: Problem = serde_json::from_slice(&json)
            .map_err(|error| RemoteError::Malformed(format!("an error: {error}")))?;
        Err(match problem {
            Problem::Other { message } => self.on_host(&message).into(),
            Problem::NotMade { .. } => {
                RemoteError::Malformed("an error of another request".to_owned()).into()
            }
        })
    }

    /// Turns a failed transfer into the error of its process. It waits a moment to find out whether the connection was
    /// lost.
    async fn process_error(&self, failed: Failed) -> ProcessError {
        match failed {
            Failed::Files(error) => error.into(),
            Failed::Connection(error) => {
                if self.loss.is_lost_soon().await {
                    return ProcessError::HostLost {
                        host: self.host.clone(),
                        reason: self.loss.reason(),
                        // Otherwise a link that breaks on each push would be retried forever.
                        has_begun: true,
                    };
                }
                self.on_host(&ratchet_ipc::error_chain(&error)).into()
            }
        }
    }
}

/// The work folder of a process on a host.
#[derive(Debug)]
pub(in crate::remote) struct RemoteFolder {
    client: Arc<FileClient>,
    id: u64,
    is_removed: Mutex<bool>,
}

impl RemoteFolder {
    /// Marks the removal as begun. Returns whether this is the first call.
    fn begin_removal(&self) -> bool {
        let mut is_removed = self
            .is_removed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut *is_removed, true)
    }
}

#[async_trait]
impl WorkFolder for RemoteFolder {
    async fn pull(&self, files: &[WorkPath]) -> Result<(), ProcessError> {
        match self.client.pull(self.id, files).await {
            Ok(()) => Ok(()),
            Err(failed) => Err(self.client.process_error(failed).await),
        }
    }

    async fn remove(&self) {
        if self.begin_removal() {
            removed(&self.client, self.id).await;
        }
    }
}

impl Drop for RemoteFolder {
    fn drop(&mut self) {
        // Without a runtime the connection has ended, and the agent removes the folder.
        if self.begin_removal()
            && let Ok(runtime) = Handle::try_current()
        {
            let (client, id) = (Arc::clone(&self.client), self.id);
            runtime.spawn(async move { removed(&client, id).await });
        }
    }
}

/// Makes a host remove a folder. A host that is lost does so by itself.
async fn removed(client: &FileClient, id: u64) {
    if let Err(Failed::Files(error)) = client.remove(id).await {
        tracing::warn!(host = client.host, %error, "a work folder was not removed");
    }
}
