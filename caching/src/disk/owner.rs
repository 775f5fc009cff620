//! The thread that has the index.
//!
//! One thread takes the turn, opens the index, changes it and closes it. Everyone else sends it requests; those who only
//! read a small value look into the index themselves while it is open.
//!
//! ```text
//!          request              turn is ours             bell rung, and the quantum is over
//!  Idle  ---------->  Waiting  -------------->  Holding  ---------------------------------->  Idle
//! ```

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvError, SyncSender};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::cache::Listing;
use crate::disk::files::{self, FileName, Incoming};
use crate::disk::index::{Change, Found, Index, Trouble};
use crate::disk::record::Record;
use crate::disk::shared::{Phase, Shared};
use crate::disk::turn::Turn;
use crate::error::CacheError;
use crate::invalidation::Selector;
use crate::key::{Digest, Key};

/// How long a process keeps its turn although another one asks for it. Changing hands takes about a millisecond, so two
/// busy processes spend a tenth of their time on it at most, and neither waits for long.
const QUANTUM: Duration = Duration::from_millis(10);
/// How many changes go into one transaction: enough to share the cost of a sync, few enough for the first not to wait.
const BATCH: usize = 256;

pub(super) type Reply<T> = SyncSender<Result<T, CacheError>>;

/// What the thread is asked for.
pub(super) enum Request {
    Get(Key, Reply<Found>),
    Put(Put, Reply<()>),
    /// Drop an entry that has expired or is damaged, if it is still the one that was seen.
    Discard(Key, Option<Digest>),
    Invalidate(Selector, Reply<u64>),
    List(Selector, Reply<Vec<Listing>>),
    Totals(Reply<(u64, u64)>),
    /// Write down which entries were used.
    Flush,
    Stop,
}

pub(super) struct Put {
    pub(super) key: Key,
    pub(super) record: Box<Record>,
    pub(super) value: Placed,
}

/// Where the value of an entry is.
pub(super) enum Placed {
    Inline(Arc<[u8]>),
    File(Incoming),
}

pub(super) struct Owner {
    pub(super) shared: Arc<Shared>,
    pub(super) requests: Receiver<Request>,
    pub(super) wake: UnixStream,
    /// Taken from the channel and not served yet.
    pub(super) pending: VecDeque<Request>,
    /// Whether leftovers of older builds were looked for.
    pub(super) tidied: bool,
}

enum End {
    Yield,
    Stop,
}

impl Owner {
    pub(super) fn run(mut self) {
        loop {
            if self.pending.is_empty() {
                match self.requests.recv() {
                    Ok(Request::Stop) | Err(RecvError) => return,
                    // Not worth a turn: what was used is written down with the next change.
                    Ok(Request::Flush) => continue,
                    Ok(request) => self.pending.push_back(request),
                }
            }
            self.shared.enter(Phase::Waiting);
            let end = self.hold();
            self.shared.enter(Phase::Idle);
            match end {
                Ok(End::Yield) => {}
                Ok(End::Stop) => return,
                Err(error) => {
                    self.drain();
                    let mut stop = false;
                    for request in self.pending.drain(..) {
                        stop |= matches!(request, Request::Stop);
                        request.refuse(&error);
                    }
                    if stop {
                        return;
                    }
                }
            }
        }
    }

    /// Takes the turn, and serves until it is given up.
    fn hold(&mut self) -> Result<End, CacheError> {
        let shared = Arc::clone(&self.shared);
        shared.layout.prepare()?;
        if !std::mem::replace(&mut self.tidied, true) {
            shared.layout.remove_older_schemas();
        }
        let mut turn = Turn::take(&shared.layout)?;
        if !shared.enter(Phase::Holding) {
            return Ok(End::Stop);
        }
        // Goes before the turn, however this ends.
        let _closing = Closing(&shared);
        let index = self.open()?;
        *shared.index.write().unwrap_or_else(PoisonError::into_inner) = Some(index);
        let end = self.serve(&mut turn)?;
        self.change(&[])?;
        Ok(end)
    }

    fn open(&self) -> Result<Index, CacheError> {
        let shared = &self.shared;
        let index = match Index::open(&shared.layout.index(), shared.sync) {
            Err(Trouble::Damaged) => {
                shared.condemn_index()?;
                Index::open(&shared.layout.index(), shared.sync)
            }
            other => other,
        }
        .map_err(|trouble| shared.explain(trouble))?;
        if index.needs_cleaning {
            let referred = index
                .referred_files()
                .map_err(|trouble| shared.explain(trouble))?;
            files::clean(&shared.layout, &referred);
        }
        Ok(index)
    }

    fn serve(&mut self, turn: &mut Turn) -> Result<End, CacheError> {
        let opened = now();
        let mut asked = false;
        loop {
            self.drain();
            while let Some(request) = self.pending.pop_front() {
                if self.answer(request)? {
                    return Ok(End::Stop);
                }
            }
            let left = QUANTUM.saturating_sub(now().saturating_duration_since(opened));
            if asked && left.is_zero() {
                return Ok(End::Yield);
            }
            asked |= turn
                .wait(&mut self.wake, !asked, asked.then_some(left))
                .by_bell;
        }
    }

    fn drain(&mut self) {
        self.pending.extend(self.requests.try_iter());
    }

    /// Serves a request; says whether it was the last one. An error means that the index has to be opened anew.
    fn answer(&mut self, request: Request) -> Result<bool, CacheError> {
        let shared = Arc::clone(&self.shared);
        let time = shared.clock.now();
        match request {
            Request::Stop => return Ok(true),
            Request::Flush => self.change(&[])?,
            Request::Put(..) | Request::Discard(..) => self.answer_changes(request)?,
            Request::Get(key, reply) => self.reply(&reply, |index| index.get(&key))?,
            Request::List(selector, reply) => {
                self.reply(&reply, |index| index.list(&selector, time))?;
            }
            Request::Totals(reply) => self.reply(&reply, Index::totals)?,
            Request::Invalidate(selector, reply) => {
                let mut unreferred = Vec::new();
                self.reply(&reply, |index| {
                    let applied = index.invalidate(&selector)?;
                    unreferred = applied.unreferred;
                    Ok(applied.dropped)
                })?;
                remove_files(&shared, unreferred);
            }
        }
        Ok(false)
    }

    fn reply<T>(
        &self,
        reply: &Reply<T>,
        act: impl FnOnce(&Index) -> Result<T, Trouble>,
    ) -> Result<(), CacheError> {
        let result = self.with_index(act);
        let failed = result.as_ref().err().cloned();
        // Whoever asked may have given up.
        let _ = reply.send(result);
        failed.map_or(Ok(()), Err)
    }

    /// Puts a change and those that wait behind it into one transaction.
    fn answer_changes(&mut self, first: Request) -> Result<(), CacheError> {
        let (mut changes, mut replies) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Put(put, reply) => match self.place(put) {
                    Ok(change) => {
                        changes.push(change);
                        replies.push(reply);
                    }
                    Err(error) => {
                        let _ = reply.send(Err(error));
                    }
                },
                Request::Discard(key, seen) => changes.push(Change::Discard(key, seen)),
                other => {
                    self.pending.push_front(other);
                    break;
                }
            }
            if changes.len() >= BATCH {
                break;
            }
            if self.pending.is_empty() {
                self.drain();
            }
            next = self.pending.pop_front();
        }
        let result = self.change(&changes);
        for reply in replies {
            let _ = reply.send(result.clone());
        }
        result
    }

    /// Gives the file of a large value its name, before the index refers to it.
    fn place(&self, put: Put) -> Result<Change, CacheError> {
        let Put { key, record, value } = put;
        match value {
            Placed::Inline(value) => Ok(Change::Put(key, record, Some(value))),
            Placed::File(incoming) => {
                incoming.install(&self.shared.layout, FileName::of(&key, &record.digest))?;
                Ok(Change::Put(key, record, None))
            }
        }
    }

    fn change(&self, changes: &[Change]) -> Result<(), CacheError> {
        let shared = &self.shared;
        let touched = shared.take_touched();
        if changes.is_empty() && touched.is_empty() {
            return Ok(());
        }
        let applied = self.with_index(|index| {
            index.apply(changes, &touched, shared.max_bytes, shared.clock.now())
        })?;
        shared.counters.add_evicted(applied.evicted);
        remove_files(shared, applied.unreferred);
        Ok(())
    }

    fn with_index<T>(
        &self,
        act: impl FnOnce(&Index) -> Result<T, Trouble>,
    ) -> Result<T, CacheError> {
        let shared = &self.shared;
        let trouble = match shared
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
        {
            Some(index) => match act(index) {
                Ok(done) => return Ok(done),
                Err(trouble) => trouble,
            },
            None => return Err(CacheError::Closed),
        };
        if let Trouble::Damaged = trouble {
            drop(
                shared
                    .index
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
            );
            shared.condemn_index()?;
        }
        Err(shared.explain(trouble))
    }
}

/// Closes the index while the turn is still ours. A clock or a subscriber that is not ours may panic in between, and then
/// neither may a reader go on with an index that others change, nor `stop` wait for ever.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        // Readers are let go first.
        let index = self
            .0
            .index
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(index);
        self.0.enter(Phase::Idle);
    }
}

fn remove_files(shared: &Shared, names: Vec<FileName>) {
    for name in names {
        files::remove(&shared.layout, name);
    }
}

/// The quantum is between processes, so it runs on real time even where a test has paused tokio's clock: this thread
/// is not one of the runtime's.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Request {
    fn refuse(self, error: &CacheError) {
        let error = error.clone();
        // Whoever asked may have given up.
        let _ = match self {
            Self::Get(_, reply) => reply.send(Err(error)).is_ok(),
            Self::Put(_, reply) => reply.send(Err(error)).is_ok(),
            Self::Invalidate(_, reply) => reply.send(Err(error)).is_ok(),
            Self::List(_, reply) => reply.send(Err(error)).is_ok(),
            Self::Totals(reply) => reply.send(Err(error)).is_ok(),
            Self::Discard(..) | Self::Flush | Self::Stop => true,
        };
    }
}
