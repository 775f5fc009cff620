//! The agent's side: answers the requests about files.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Method, Response, StatusCode};
use ratchet_caching::{Clock as _, SystemClock};
use serde::Serialize;
use tokio::sync::{Mutex as AsyncMutex, OnceCell, OwnedMutexGuard};

use super::pieces::{self, read_all, receive_pieces, send_pieces};
use super::read_back::read_back;
use super::session::{HostFolders, default_cache};
use super::wire::{ContentDigest, FolderAnswer, MANIFEST_BYTES, Manifest, Problem, PullRequest};
use super::work_folder::{self, MadeFolder};
use crate::blocking::run_blocking;
use crate::remote::RemoteError;
use crate::remote::stream::{CONTENT_PATH, FOLDER_PATH, PULL_PATH};

/// A request about files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::remote) enum FileRequest {
    /// The work folder of a process is to be made.
    Folder(u64),
    /// A content of this size is to be stored.
    Content(ContentDigest, u64),
    /// Files of the work folder of a process are to be sent.
    Pull(u64),
    /// The work folder of a process is to be removed.
    Remove(u64),
}

impl FileRequest {
    /// Reads a request, if it is one about files.
    pub(in crate::remote) fn parse(method: &Method, path: &str) -> Option<Self> {
        let number = |prefix| path.strip_prefix(prefix)?.parse::<u64>().ok();
        match *method {
            Method::POST => {
                let folder = number(FOLDER_PATH).map(Self::Folder);
                folder.or_else(|| number(PULL_PATH).map(Self::Pull))
            }
            Method::PUT => {
                let (digest, size) = path.strip_prefix(CONTENT_PATH)?.split_once('/')?;
                Some(Self::Content(digest.parse().ok()?, size.parse().ok()?))
            }
            Method::DELETE => number(FOLDER_PATH).map(Self::Remove),
            _ => None,
        }
    }
}

/// The files of one connection on the host.
#[derive(Debug)]
pub(in crate::remote) struct FileService {
    shared: Arc<ServiceState>,
}

/// The slot for the work folder of a process. It is locked while the folder is made or removed.
type Slot = Arc<AsyncMutex<Option<MadeFolder>>>;

/// The state that the requests of one connection share.
#[derive(Debug)]
struct ServiceState {
    /// The cache folder; `None` for that of the user.
    cache: Option<PathBuf>,
    /// The folders of this agent, once they are needed.
    folders: OnceCell<Arc<HostFolders>>,
    slots: Mutex<BTreeMap<u64, Slot>>,
}

impl ServiceState {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<u64, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the folders of this agent. The first call makes them, and prunes old files in the background.
    async fn folders(&self) -> Result<Arc<HostFolders>, Problem> {
        let folders = self.folders.get_or_try_init(|| async {
            let cache = self.cache.clone().or_else(default_cache);
            let cache = cache.ok_or_else(|| Problem::Other {
                message: "there is no folder for files: neither XDG_CACHE_HOME nor HOME is set"
                    .to_owned(),
            })?;
            let folders = Arc::new(blocking(move || HostFolders::open(&cache)).await?);
            let pruned = Arc::clone(&folders);
            tokio::spawn(async move {
                let pruned = run_blocking(move || {
                    pruned.store.prune()?;
                    pruned.prune_kept(SystemClock.now())
                });
                if let Err(error) = pruned.await.and_then(|pruned| pruned) {
                    tracing::warn!(%error, "old files of the host cannot be removed");
                }
            });
            Ok(folders)
        });
        folders.await.cloned()
    }
}

/// Runs blocking work on a thread for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = run_blocking(work).await;
    done.map_err(|error| Problem::io("the host could not begin", &error))?
}

impl FileService {
    /// Makes the service for the files of a connection. `cache` is the cache folder; `None` for that of the user.
    pub(in crate::remote) fn new(cache: Option<PathBuf>) -> Self {
        Self {
            shared: Arc::new(ServiceState {
                cache,
                folders: OnceCell::new(),
                slots: Mutex::default(),
            }),
        }
    }

    /// Returns the work folder that was made for a process, if there is one.
    pub(in crate::remote) fn folder_of(&self, id: u64) -> Option<PathBuf> {
        let slot = self.shared.slots().get(&id).cloned()?;
        // The lock is free: a dispatcher starts a process only when it knows that its folder was made.
        let made = slot.try_lock().ok()?;
        Some(made.as_ref()?.path.clone())
    }

    /// Answers a request. The part that has to follow the order of requests is done when this returns, before the
    /// future is polled.
    pub(in crate::remote) fn answer(
        &self,
        request: FileRequest,
        body: RecvStream,
        respond: SendResponse<Bytes>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        let work = match request {
            FileRequest::Folder(id) => {
                let slot = Arc::clone(shared.slots().entry(id).or_default());
                PreparedRequest::Make(id, slot.try_lock_owned().ok())
            }
            FileRequest::Content(digest, size) => PreparedRequest::Store(digest, size),
            FileRequest::Pull(id) => PreparedRequest::Pull(shared.slots().get(&id).cloned()),
            FileRequest::Remove(id) => PreparedRequest::Remove(shared.slots().remove(&id)),
        };
        work.run(shared, body, respond)
    }
}

/// A request, with what it refers to.
enum PreparedRequest {
    Make(u64, Option<OwnedMutexGuard<Option<MadeFolder>>>),
    Store(ContentDigest, u64),
    Pull(Option<Slot>),
    Remove(Option<Slot>),
}

impl PreparedRequest {
    /// Performs the request, and answers it.
    async fn run(
        self,
        shared: Arc<ServiceState>,
        body: RecvStream,
        mut respond: SendResponse<Bytes>,
    ) {
        let answered = match self {
            Self::Make(id, slot) => {
                let made = make(&shared, id, slot, body).await;
                made.map(|answer| reply(&mut respond, StatusCode::OK, &answer))
            }
            Self::Store(digest, size) => {
                let stored = store(&shared, digest, size, body).await;
                stored.map(|()| reply(&mut respond, StatusCode::OK, &()))
            }
            Self::Pull(slot) => match pull(slot, body).await {
                Ok((folder, request)) => return send_back(folder, request, respond).await,
                Err(problem) => Err(problem),
            },
            Self::Remove(slot) => {
                let removed = remove(slot).await;
                removed.map(|()| reply(&mut respond, StatusCode::OK, &()))
            }
        };
        if let Err(problem) = answered {
            reply(&mut respond, StatusCode::UNPROCESSABLE_ENTITY, &problem);
        }
    }
}

/// Sends an answer. Errors are ignored: the dispatcher may be gone, or may not want it any more.
fn reply(respond: &mut SendResponse<Bytes>, status: StatusCode, answer: &impl Serialize) {
    let mut head = Response::new(());
    *head.status_mut() = status;
    if let (Ok(mut stream), Ok(json)) = (
        respond.send_response(head, false),
        serde_json::to_vec(answer),
    ) {
        let _ = stream.send_data(json.into(), true);
    }
}

fn broken(error: &RemoteError) -> Problem {
    Problem::Other {
        message: format!("a request about files broke off: {error}"),
    }
}

/// Makes a work folder from the manifest in the body, or returns which contents are missing.
async fn make(
    shared: &ServiceState,
    id: u64,
    slot: Option<OwnedMutexGuard<Option<MadeFolder>>>,
    body: RecvStream,
) -> Result<FolderAnswer, Problem> {
    let manifest = read_all(body, MANIFEST_BYTES)
        .await
        .map_err(|error| broken(&error))?;
    let Some(mut slot) = slot.filter(|slot| slot.is_none()) else {
        return Err(Problem::Other {
            message: format!("the work folder of process {id} was made before"),
        });
    };
    let folders = shared.folders().await?;
    blocking(move || {
        let manifest: Manifest =
            serde_json::from_slice(&manifest).map_err(|error| Problem::Other {
                message: format!("a manifest is malformed: {error}"),
            })?;
        let (answer, made) = work_folder::make(&folders, id, manifest)?;
        // The lock is held until here, even if the task that waits for this has ended.
        *slot = made;
        Ok(answer)
    })
    .await
}

/// Stores the content in the body.
async fn store(
    shared: &ServiceState,
    digest: ContentDigest,
    size: u64,
    body: RecvStream,
) -> Result<(), Problem> {
    let folders = shared.folders().await?;
    let (sender, mut receiver) = pieces::channel();
    let storing = blocking(move || {
        let unfinished = folders.unfinished();
        folders
            .store
            .receive(digest, size, &unfinished, &mut receiver)
    });
    // A stream that breaks off ends the pieces early, so the store refuses what came as damaged.
    let (stored, _) = tokio::join!(storing, receive_pieces(body, sender));
    stored
}

/// Reads a request for files, and finds the work folder that it is about.
async fn pull(slot: Option<Slot>, body: RecvStream) -> Result<(PathBuf, PullRequest), Problem> {
    let request = read_all(body, MANIFEST_BYTES)
        .await
        .map_err(|error| broken(&error))?;
    let request = serde_json::from_slice(&request).map_err(|error| Problem::Other {
        message: format!("a request for files is malformed: {error}"),
    })?;
    let missing = || Problem::Other {
        message: "there is no such work folder".to_owned(),
    };
    let slot = slot.ok_or_else(missing)?;
    let made = slot.lock().await;
    let made = made.as_ref().ok_or_else(missing)?;
    Ok((made.path.clone(), request))
}

/// Sends the requested files of a work folder as frames.
async fn send_back(folder: PathBuf, request: PullRequest, mut respond: SendResponse<Bytes>) {
    let Ok(mut stream) = respond.send_response(Response::new(()), false) else {
        return;
    };
    let (sender, receiver) = pieces::channel();
    let reading = run_blocking(move || read_back(&folder, request, &sender));
    // The dispatcher takes a stream without its last frame for a broken one, so no error is lost.
    let sending = async {
        if send_pieces(receiver, &mut stream).await.is_ok() {
            let _ = stream.send_data(Bytes::new(), true);
        }
    };
    let _: (io::Result<()>, ()) = tokio::join!(reading, sending);
}

async fn remove(slot: Option<Slot>) -> Result<(), Problem> {
    let Some(slot) = slot else { return Ok(()) };
    let made = slot.lock().await.take();
    let Some(made) = made else { return Ok(()) };
    blocking(move || {
        let path = made.path.clone();
        made.give_up()
            .map_err(|error| Problem::io(format!("{} cannot be given up", path.display()), &error))
    })
    .await
}
